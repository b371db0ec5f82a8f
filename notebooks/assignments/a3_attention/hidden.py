"""The hidden checks of A3: other shapes and values for every student, against the reference."""

import contextlib

import numpy as np

SMALL = 1e-12  # absolute: what is 0 on paper, gradients above all, is rounding on a computer
SPLITS = [12], [4, 4, 4], [1] * 12, [5, 1, 6], [2, 10]


def _case(t, batch, heads, queries, keys, width, value_width):
    """q, k, v and g of one attention."""
    shapes = (queries, width), (keys, width), (keys, value_width), (queries, value_width)
    return [t.rng.standard_normal((batch, heads, *shape)) for shape in shapes]


def _square(t):
    """M = N = K = V, where a wrong axis gives a wrong number and no error."""
    n = int(t.rng.integers(3, 6))
    return (2, 3, n, n, n, n) if t.rng.random() < 0.5 else (3, 2, n, n, n, n)


def _oblong(t):
    """B, H and M, N, K, V all different."""
    return (*t.rng.permutation([2, 3]).tolist(), *t.rng.permutation([2, 3, 4, 5, 6])[:4].tolist())


def _shapes(t):
    """Shapes without a mask: square, all equal, all different, one query, one key, width 1."""
    one_query, one_key, width_1 = _oblong(t), _oblong(t), _oblong(t)
    one_query, one_key = (*one_query[:2], 1, *one_query[3:]), (*one_key[:3], 1, *one_key[4:])
    width_1, cube = (*width_1[:4], 1, width_1[5]), (int(t.rng.integers(2, 4)),) * 6
    return [_square(t), cube, (1, 1, 4, 4, 4, 4), _oblong(t), _oblong(t), one_query, one_key, width_1]


def _some(t, shape):
    """A random mask: every query has a key that it may look at and one that it may not."""
    mask = t.rng.random(shape) < 0.5
    for row in np.ndindex(shape[:-1]):
        yes, no = t.rng.permutation(shape[-1])[:2]
        mask[(*row, yes)], mask[(*row, no)] = True, False
    return mask


def _masked(t):
    """(q, k, v, g, mask): masks of every kind, square and oblong; every query has a key."""
    found = []
    for shape in (_square(t), _oblong(t)):
        batch, heads, queries, keys = shape[:4]
        kinds = [(batch, heads, queries, keys), (batch, 1, queries, keys), (queries, keys), (batch, 1, 1, keys)]
        found += [(shape, _some(t, kind)) for kind in (*kinds, (heads, 1, keys), (keys,))]
        found.append(((*shape[:3], queries, *shape[4:]), np.tri(queries, dtype=bool)))
    return [(*_case(t, *found[i][0]), found[i][1]) for i in t.rng.permutation(len(found))]


def _nowhere(t):
    """(q, k, v, g, mask): some queries may look at no key."""
    found = []
    for shape in (_square(t), _oblong(t), _oblong(t)):
        batch, heads, queries, keys = shape[:4]
        single = _some(t, (batch, heads, queries, keys))
        single[int(t.rng.integers(batch)), :, int(t.rng.integers(queries))] = False
        padding = _some(t, (batch, 1, 1, keys))
        padding[int(t.rng.integers(batch))] = False
        column = np.arange(queries)[:, None] != int(t.rng.integers(queries))
        found += [(shape, single), (shape, padding), (shape, column)]
    found.append((shape, np.zeros((queries, keys), bool)))
    return [(*_case(t, *shape), mask) for shape, mask in found]


def _large(t):
    """(q, k, v, g, mask): scores of thousands, of either sign, alike within a row or not, and behind a mask."""
    found = []
    for spread, shape in enumerate((_square(t), _oblong(t), _oblong(t))):
        q, k, v, g = _case(t, *shape)
        if spread:
            q, k = q * 30, k * 30  # scores of hundreds to thousands that differ within a row
        else:
            q[..., 0] = 80 * np.sqrt(shape[4]) * np.where(np.arange(shape[2]) % 2, -1, 1)
            k[..., 0] = 60  # so 4800 is added to the scores of every other query, and taken from those of the rest
        found.append((q, k, v, g, None))
    for size in (5, 95):  # the scores are -500, then -9500, and 500 or 9500 where nobody may look
        shape = _oblong(t)
        q, k, v, g = _case(t, *shape)
        q[..., 0], k[..., 0] = size * np.sqrt(shape[4]), -100
        mask = _some(t, (shape[0], 1, *shape[2:4]))
        mask[..., 0], mask[..., 1] = False, True
        k[..., 0, 0] = 100
        found.append((q, k, v, g, mask))
    return found


def q1_h_attention(t):
    cases = [_case(t, *shape)[:3] for shape in _shapes(t)]
    again = [t.rng.standard_normal(x.shape) for x in cases[0]]
    for q, k, v in [*cases, again, cases[0]]:
        t.agree("attention", q, k, v, None, atol=SMALL)


def q1_h_attention_masks(t):
    for q, k, v, _, mask in _masked(t):
        t.agree("attention", q, k, v, mask, atol=SMALL, what=f"attention with a mask of shape {mask.shape}")


def q1_h_attention_empty_row(t):
    for q, k, v, _, mask in _nowhere(t):
        t.agree("attention", q, k, v, mask, atol=SMALL, what="attention where a query may look at no key")


def q1_h_attention_large(t):
    for q, k, v, _, mask in _large(t):
        t.agree("attention", q, k, v, mask, rtol=1e-8, atol=SMALL, what="attention with scores of thousands")


def q2_h_backward(t):
    cases = [_case(t, *shape) for shape in _shapes(t)]
    other = [t.rng.standard_normal(x.shape) for x in cases[0]]
    steep = _case(t, *_oblong(t)), _case(t, *_oblong(t))  # no difference quotient is right to 1e-9 at these
    steep = [(q * f, k / f, v + 1000, g) for f, (q, k, v, g) in zip((100, 0.01), steep)]  # noqa: B905 - Python 3.9
    for q, k, v, g in [*cases, other, *steep, cases[0]]:
        with contextlib.suppress(Exception):  # a backward pass must not live on what the last forward pass left
            t.call("attention", -q, k, v, None)
        t.agree("attention_backward", q, k, v, None, g, atol=SMALL, what="(dq, dk, dv)")


def q2_h_backward_masks(t):
    for q, k, v, g, mask in _masked(t):
        t.agree("attention_backward", q, k, v, mask, g, atol=SMALL, what="(dq, dk, dv) with a mask")


def q2_h_backward_empty_row(t):
    for q, k, v, g, mask in _nowhere(t):
        t.agree("attention_backward", q, k, v, mask, g, atol=SMALL, what="(dq, dk, dv) with a query that sees no key")


def q2_h_backward_large(t):
    for q, k, v, g, mask in _large(t):
        what = "(dq, dk, dv) with scores of thousands"
        t.agree("attention_backward", q, k, v, mask, g, rtol=1e-7, atol=1e-9, what=what)


def _layers(t):
    """(B, N, H, K): square, all different, one head, heads of width 1, one example; square once more."""
    n = int(t.rng.integers(2, 5))
    batch, tokens, heads, width = t.rng.permutation([2, 3, 4, 5]).tolist()
    oblong = [(batch, tokens, heads, width), (3, 5, 2, 4), (2, tokens, 1, width), (2, tokens, heads, 1), (1, 4, 3, 2)]
    return [(n, n, n, n), (1, 3, 3, 3), *oblong, (n, n, n, n)]


def q3_h_split(t):
    for batch, tokens, heads, width in _layers(t):
        qkv = t.rng.standard_normal((batch, tokens, 3 * heads * width))
        t.agree("split_heads", qkv, heads, rtol=0, what=f"(q, k, v) of {heads} heads of width {width}")


def q3_h_merge(t):
    for batch, tokens, *heads in _layers(t):
        x = t.rng.standard_normal((batch, heads[0], tokens, heads[1]))
        t.agree("merge_heads", x, rtol=0, what=f"merging {heads[0]} heads of width {heads[1]}")


def _layer(t, batch, tokens, heads, width):
    """x, params and g of a layer; the parameters come in any order."""
    d = heads * width
    shapes = {"qkv.weight": (d, 3 * d), "qkv.bias": (3 * d,), "out.weight": (d, d), "out.bias": (d,)}
    scale = 1.5 / np.sqrt(d)
    params = {name: t.rng.standard_normal(shapes[name]) * scale for name in t.rng.permutation(list(shapes))}
    x, g = t.rng.standard_normal((2, batch, tokens, d))
    return x, {str(name): value for name, value in params.items()}, g


def q4_h_multi_head(t):
    for shape in _layers(t):
        x, params, _ = _layer(t, *shape)
        what = f"multi-head attention with {shape[2]} heads"
        t.agree("multi_head_attention", x, params, shape[2], atol=SMALL, what=what)


def q4_h_permutation(t):
    for shape in _layers(t)[:4]:
        x, params, _ = _layer(t, *shape)
        order = np.roll(np.arange(shape[1]), 1)
        got = t.call("multi_head_attention", x[:, order].copy(), params, shape[2])
        want = t.ref("multi_head_attention", x, params, shape[2])[:, order]
        t.close(got, want, atol=SMALL, what="multi-head attention of the same tokens in another order")


def _gradients(t, place, what, atol):
    """Compare one of the two results of the backward pass."""
    for shape in _layers(t):
        x, params, g = _layer(t, *shape)
        with contextlib.suppress(Exception):  # a backward pass must not live on what the last forward pass left
            t.call("multi_head_attention", g, params, shape[2])
        got = t.call("multi_head_attention_backward", x, params, shape[2], g)
        want = t.ref("multi_head_attention_backward", x, params, shape[2], g)
        part = got[place] if isinstance(got, (list, tuple)) and len(got) == 2 else None
        t.close(part, want[place], atol=atol, what=what)


def q5_h_input(t):
    _gradients(t, 0, "dx", SMALL)


def q5_h_parameters(t):
    _gradients(t, 1, "gradients", SMALL)


def _blocks(lengths, k, v):
    """k and v in blocks of these lengths."""
    places = [slice(sum(lengths[:i]), sum(lengths[: i + 1])) for i in range(len(lengths))]
    return [(k[:, :, place].copy(), v[:, :, place].copy()) for place in places]


def _stream(t, q, k, v, lengths):
    """What a stream of blocks of these lengths gives."""
    state = t.call("stream_begin", q, v.shape[-1])
    for block in _blocks(lengths, k, v):
        state = t.call("stream_update", t.scratch(state), *block)
    return t.call("stream_end", t.scratch(state))


def _long(t, factor=1.0):
    """q, k, v with 12 keys."""
    batch, heads, queries, _, width, value_width = _oblong(t)
    q, k, v, _ = _case(t, batch, heads, queries, 12, width, value_width)
    return q * factor, k, v


def _streams(t, q, k, v, rtol, what):
    """All splits of the same 12 keys."""
    want = t.ref("attention", q, k, v, None)
    for lengths in SPLITS:
        t.close(_stream(t, q, k, v, lengths), want, rtol, SMALL, what=f"{what} in blocks of {lengths}")


def q6_h_blocks(t):
    _streams(t, *_long(t), 1e-9, "12 keys")
    q, k, v = _long(t)
    q = q[:, :, :1].copy()
    t.close(_stream(t, q, k, v, [3, 9]), t.ref("attention", q, k, v, None), atol=SMALL, what="12 keys for one query")


def q6_h_large_scores(t):
    _streams(t, *_long(t, 40.0), 1e-8, "12 keys with large scores")
    q, k, v = _long(t)
    offset = np.sqrt(q.shape[-1]) * np.where(np.arange(q.shape[2]) % 2, -1, 1)
    for slope in (3, -3, 300, -300):  # the scores rise by this from key to key, for every other query they fall
        q[..., 0], k[..., 0] = 10 * offset, slope * np.arange(12) / 10
        _streams(t, q, k, v, 1e-8, "12 keys whose scores rise or fall")


def q6_h_negative_scores(t):
    q, k, v = _long(t)
    q[..., 0], k[..., 0] = 60 * np.sqrt(q.shape[-1]), -40
    q[:, :, 0, 0] *= 2
    q[:, 0, :, 0] *= 2
    _streams(t, q, k, v, 1e-8, "12 keys with scores below -1600")


def _bytes(x):
    """What a state takes."""
    if isinstance(x, (dict, list, tuple)):
        return sum(map(_bytes, x.values() if isinstance(x, dict) else x))
    if isinstance(x, np.ndarray):
        return x.nbytes if x.dtype.kind in "biuf" else np.inf
    return max(8, x.bit_length() // 8 if isinstance(x, int) else len(x) if isinstance(x, str) else 0)


def q6_h_memory(t):
    batch, heads, queries, _, width, value_width = _oblong(t)
    q, k, v, _ = _case(t, batch, heads, queries, 60, width, value_width)
    state, sizes = t.call("stream_begin", q, value_width), []
    for block in _blocks([1] * 60, k, v):
        state = t.call("stream_update", t.scratch(state), *block)
        sizes.append(_bytes(state))
    grown = f"the state grows: it has {sizes[0]} bytes after the first block and {sizes[-1]} after 60"
    t.require(isinstance(state, dict), "the state should be a dict of arrays and numbers")
    t.require(sizes[-1] <= sizes[0] + 64, grown, seen=float(sizes[-1]))
    want = t.ref("attention", q, k, v, None)
    t.close(t.call("stream_end", t.scratch(state)), want, atol=SMALL, what="60 keys, one by one")


def q6_h_two_streams(t):
    streams = [_long(t), _long(t)]
    states = [t.call("stream_begin", q, v.shape[-1]) for q, _, v in streams]
    for turn in range(3):
        for i, (_, k, v) in enumerate(streams):
            t.call("stream_update", t.scratch(states[i]), -k, v)  # another way to go on, which is not taken
            states[i] = t.call("stream_update", t.scratch(states[i]), *_blocks([5, 1, 6], k, v)[turn])
    for i, (q, k, v) in enumerate(streams):
        want = t.ref("attention", q, k, v, None)
        t.close(t.call("stream_end", t.scratch(states[i])), want, atol=SMALL, what="one of two streams in turn")


def q7_h_engines(t):
    t.catches("find_bugs", "attention", "attention_backward")

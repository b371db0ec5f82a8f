"""The visible checks of A3. They see that the work has begun well, not that it is done: write your own beside them."""

import numpy as np

SMALL = 1e-12  # a gradient that is 0 on paper is rounding on a computer


def _case(t, batch, heads, queries, keys, width, value_width):
    """q, k, v and g of one attention."""
    shapes = (queries, width), (keys, width), (keys, value_width), (queries, value_width)
    return [t.rng.standard_normal((batch, heads, *shape)) for shape in shapes]


def _layer(t, batch, tokens, width):
    """x, params and g of a layer."""
    d = width
    shapes = {"qkv.weight": (d, 3 * d), "qkv.bias": (3 * d,), "out.weight": (d, d), "out.bias": (d,)}
    params = {name: t.rng.standard_normal(shape) for name, shape in shapes.items()}
    x, g = t.rng.standard_normal((2, batch, tokens, width))
    return x, params, g


def _shape(t, what, got, shape):
    """Ask for an array of a shape."""
    try:
        has = np.shape(got)
    except ValueError:
        has = "of its own in every row"
    t.require(has == shape, f"{what} has shape {has}, it should be {shape}")


def _part(got, place):
    """One of several results, None where there is none."""
    return got[place] if isinstance(got, (list, tuple, np.ndarray)) and len(got) > place else None


def q1_v_ones(t):
    q, k, _, _ = _case(t, 1, 1, 4, 4, 3, 2)
    y = t.call("attention", q, k, np.ones((1, 1, 4, 2)), None)
    t.close(y, np.ones((1, 1, 4, 2)), atol=SMALL, what="attention to values that are all 1 (a mean of ones is 1)")


def q1_v_one_head(t):
    q, k, v, _ = _case(t, 1, 1, 4, 4, 4, 4)
    t.agree("attention", q, k, v, None, atol=SMALL)


def q1_v_shapes(t):
    q, k, v, _ = _case(t, 2, 3, 5, 4, 3, 2)
    _shape(t, "attention", t.call("attention", q, k, v, None), (2, 3, 5, 2))
    _shape(t, "attention with a mask", t.call("attention", q, k, v, np.ones((5, 4), bool)), (2, 3, 5, 2))


def q2_v_one_head(t):
    q, k, v, g = _case(t, 1, 1, 4, 4, 4, 4)
    t.agree("attention_backward", q, k, v, None, g, atol=SMALL, what="(dq, dk, dv)")


def q2_v_shapes(t):
    q, k, v, g = _case(t, 2, 3, 4, 4, 3, 2)
    got = t.call("attention_backward", q, k, v, np.ones((4, 4), bool), g)
    for place, (name, x) in enumerate({"dq": q, "dk": k, "dv": v}.items()):
        _shape(t, name, _part(got, place), x.shape)


def q3_v_one_head(t):
    qkv = t.rng.standard_normal((2, 4, 9))
    t.agree("split_heads", qkv, 1, rtol=0, what="(q, k, v) of one head")
    t.agree("merge_heads", t.rng.standard_normal((2, 1, 4, 3)), rtol=0)


def q3_v_shapes(t):
    got = t.call("split_heads", t.rng.standard_normal((2, 5, 18)), 3)
    for place, name in enumerate("qkv"):
        _shape(t, name, _part(got, place), (2, 3, 5, 2))
    _shape(t, "merge_heads", t.call("merge_heads", t.rng.standard_normal((2, 4, 5, 3))), (2, 5, 12))


def q4_v_one_head(t):
    x, params, _ = _layer(t, 1, 4, 3)
    t.agree("multi_head_attention", x, params, 1, atol=SMALL)


def q4_v_shapes(t):
    x, params, _ = _layer(t, 2, 5, 6)
    _shape(t, "multi_head_attention", t.call("multi_head_attention", x, params, 3), (2, 5, 6))


def q5_v_out_bias(t):
    x, params, g = _layer(t, 1, 4, 3)
    gradients = _part(t.call("multi_head_attention_backward", x, params, 1, g), 1)
    got = gradients.get("out.bias") if isinstance(gradients, dict) else None
    want = t.ref("multi_head_attention_backward", x, params, 1, g)[1]["out.bias"]
    t.close(got, want, atol=SMALL, what="gradients['out.bias']")


def q5_v_shapes(t):
    x, params, g = _layer(t, 2, 5, 6)
    got = t.call("multi_head_attention_backward", x, params, 3, g)
    _shape(t, "dx", _part(got, 0), x.shape)
    gradients = _part(got, 1)
    t.require(isinstance(gradients, dict), "the second result should be a dict: name of a parameter -> its gradient")
    for name, value in params.items():
        _shape(t, f"gradients[{name!r}]", gradients.get(name) if isinstance(gradients, dict) else None, value.shape)


def q6_v_one_block(t):
    q, k, v, _ = _case(t, 1, 2, 3, 4, 2, 5)
    state = t.call("stream_begin", q, 5)
    state = t.call("stream_update", t.scratch(state), k, v)
    want = t.ref("attention", q, k, v, None)
    t.close(t.call("stream_end", t.scratch(state)), want, atol=SMALL, what="a stream of one block")


def q6_v_shapes(t):
    q, k, v, _ = _case(t, 2, 2, 3, 6, 4, 1)
    state = t.call("stream_begin", q, 1)
    for i in (0, 2, 4):
        t.require(isinstance(state, dict), "the state should be a dict of arrays and numbers")
        state = t.call("stream_update", t.scratch(state), k[:, :, i : i + 2], v[:, :, i : i + 2])
    _shape(t, "stream_end", t.call("stream_end", t.scratch(state)), (2, 2, 3, 1))


def _agrees(t, adapter, args, want):
    """Does an adapter give what it should? An exception is a no."""
    try:
        got = t.call(adapter, *args)
    except Exception:
        return False
    try:
        if not isinstance(want, (list, tuple)):
            return _near(got, want)
        return len(got) == len(want) and all(_near(got[i], want[i]) for i in range(len(want)))
    except (TypeError, ValueError, IndexError):
        return False


def _near(a, b):
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-7, atol=1e-9)


def q7_v_own(t):
    """Without points: is your own attention right where this check looks, and does find_bugs say so?"""
    right = True
    for shape in ((2, 3, 4, 4, 4, 4), (2, 2, 3, 5, 4, 2)) * 2:
        q, k, v, g = _case(t, *shape)
        mask = t.rng.random((shape[0], 1, *shape[2:4])) < 0.6
        mask[0, 0, 1] = False
        q[..., 0], k[..., 0] = 60 * np.where(np.arange(shape[2]) % 2, 1, -1), 60
        for allowed in (None, mask):
            for adapter, args in (("attention", ()), ("attention_backward", (g,))):
                want = t.ref(adapter, q, k, v, allowed, *args)
                right = _agrees(t, adapter, (q, k, v, allowed, *args), want) and right
    says = t.call("find_bugs", t.own("attention"), t.own("attention_backward"))
    t.require(isinstance(says, bool), "find_bugs should return True or False")
    t.require(not right or says is False, "find_bugs says of your own attention that it is wrong, and it is right here")

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


def q1_v_ones(t):
    """Attention to values that are all 1."""
    q, k, _, _ = _case(t, 1, 1, 4, 4, 3, 2)
    y = t.call("attention", q, k, np.ones((1, 1, 4, 2)), None)
    t.close(y, np.ones((1, 1, 4, 2)), atol=SMALL, what="attention to values that are all 1 (a mean of ones is 1)")


def q1_v_one_head(t):
    """One example, one head, a square, no mask."""
    q, k, v, _ = _case(t, 1, 1, 4, 4, 4, 4)
    t.agree("attention", q, k, v, None, atol=SMALL)


def q1_v_shapes(t):
    """Shapes, with a mask and without, where all lengths differ."""
    q, k, v, _ = _case(t, 2, 3, 5, 4, 3, 2)
    t.shape(t.call("attention", q, k, v, None), (2, 3, 5, 2), "attention")
    t.shape(t.call("attention", q, k, v, np.ones((5, 4), bool)), (2, 3, 5, 2), "attention with a mask")


def q2_v_one_head(t):
    """The gradients of one head, a square, no mask."""
    q, k, v, g = _case(t, 1, 1, 4, 4, 4, 4)
    t.agree("attention_backward", q, k, v, None, g, atol=SMALL, what="(dq, dk, dv)")


def q2_v_shapes(t):
    """Shapes of dq, dk and dv."""
    q, k, v, g = _case(t, 2, 3, 4, 4, 3, 2)
    got = t.call("attention_backward", q, k, v, np.ones((4, 4), bool), g)
    for name, part, x in zip(("dq", "dk", "dv"), t.parts(got, 3, "attention_backward"), (q, k, v)):
        t.shape(part, x.shape, name)


def q3_v_one_head(t):
    """Splitting and merging one head."""
    qkv = t.rng.standard_normal((2, 4, 9))
    t.agree("split_heads", qkv, 1, rtol=0, what="(q, k, v) of one head")
    t.agree("merge_heads", t.rng.standard_normal((2, 1, 4, 3)), rtol=0)


def q3_v_shapes(t):
    """Shapes of several heads, split and merged."""
    got = t.call("split_heads", t.rng.standard_normal((2, 5, 18)), 3)
    for name, part in zip("qkv", t.parts(got, 3, "split_heads")):
        t.shape(part, (2, 3, 5, 2), name)
    t.shape(t.call("merge_heads", t.rng.standard_normal((2, 4, 5, 3))), (2, 5, 12), "merge_heads")


def q4_v_one_head(t):
    """A layer of one head."""
    x, params, _ = _layer(t, 1, 4, 3)
    t.agree("multi_head_attention", x, params, 1, atol=SMALL)


def q4_v_shapes(t):
    """The shape of a layer of three heads."""
    x, params, _ = _layer(t, 2, 5, 6)
    t.shape(t.call("multi_head_attention", x, params, 3), (2, 5, 6), "multi_head_attention")


def q5_v_out_bias(t):
    """The gradient of the last bias."""
    x, params, g = _layer(t, 1, 4, 3)
    got = t.parts(t.call("multi_head_attention_backward", x, params, 1, g), 2, "multi_head_attention_backward")
    got = t.entries(got[1], params, "gradients")["out.bias"]
    want = t.ref("multi_head_attention_backward", x, params, 1, g)[1]["out.bias"]
    t.close(got, want, atol=SMALL, what="gradients['out.bias']")


def q5_v_shapes(t):
    """Names and shapes of all gradients."""
    x, params, g = _layer(t, 2, 5, 6)
    got = t.call("multi_head_attention_backward", x, params, 3, g)
    dx, gradients = t.parts(got, 2, "multi_head_attention_backward")
    t.shape(dx, x.shape, "dx")
    for name, gradient in t.entries(gradients, params, "gradients").items():
        t.shape(gradient, params[name].shape, f"gradients[{name!r}]")


def q6_v_one_block(t):
    """A stream of a single block."""
    q, k, v, _ = _case(t, 1, 2, 3, 4, 2, 5)
    state = t.call("stream_begin", q, 5)
    state = t.call("stream_update", t.scratch(state), k, v)
    want = t.ref("attention", q, k, v, None)
    t.close(t.call("stream_end", t.scratch(state)), want, atol=SMALL, what="a stream of one block")


def q6_v_shapes(t):
    """The shape after three blocks."""
    q, k, v, _ = _case(t, 2, 2, 3, 6, 4, 1)
    state = t.call("stream_begin", q, 1)
    for i in (0, 2, 4):
        t.require(isinstance(state, dict), "the state should be a dict of arrays and numbers")
        state = t.call("stream_update", t.scratch(state), k[:, :, i : i + 2], v[:, :, i : i + 2])
    t.shape(t.call("stream_end", t.scratch(state)), (2, 2, 3, 1), "stream_end")


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
                right = t.right(adapter, q, k, v, allowed, *args, rtol=1e-7, atol=1e-9) and right
    t.innocent("find_bugs", "attention", "attention_backward", right=right)

"""The hidden checks of the variant RoPE with SwiGLU."""

import numpy as np

GRIDS = ((2, 3), (3, 2), (1, 4), (4, 1), (3, 3), (5, 2))


def _cases(rng):
    """x, grid, base: oblong, square, one row, one column; widths of 4, 8 and 12; whole and fractional bases."""
    for grid, width in zip(GRIDS, (8, 12, 4, 8, 8, 16)):
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), grid[0] * grid[1], width)
        yield rng.normal(size=shape), grid, float(rng.uniform(2, 10000))


def q1_h_values(t):
    """The turned features."""
    for case in _cases(t.rng):
        t.agree("rope", *case)


def q1_h_backward(t):
    """The gradient."""
    for x, grid, base in _cases(t.rng):
        t.agree("rope_backward", x, grid, base, t.rng.normal(size=x.shape))


def q1_h_square(t):
    """As many images as heads as tokens as features."""
    x = t.rng.normal(size=(4, 4, 4, 4))
    t.agree("rope", x, (2, 2), 50.0)
    t.agree("rope_backward", x, (2, 2), 50.0, t.rng.normal(size=x.shape))


def q1_h_differences(t):
    """The product of a turned query and a turned key depends on the difference of their places alone."""
    rows, cols = 4, 5
    q, k = t.rng.normal(size=(2, 8))
    both = np.stack([np.tile(v, (rows * cols, 1)) for v in (q, k)])[:, None]
    turned = np.asarray(t.call("rope", both, (rows, cols), 30.0)).reshape(2, rows, cols, 8)
    products = [turned[0, r, c] @ turned[1, r + 2, c + 1] for r in range(rows - 2) for c in range(cols - 1)]
    t.close(np.array(products), np.full(len(products), products[0]), what="q . k at equal differences of place")
    t.require(abs(turned[0, 0, 0] @ turned[1, 2, 1] - q @ k) > 1e-6, "q . k does not depend on the places at all")


def q1_h_linear(t):
    """The gradient is that of a linear map: it does not depend on x."""
    x, g = t.rng.normal(size=(2, 1, 2, 6, 8))
    one, other = t.call("rope_backward", x, (2, 3), 9.0, g), t.call("rope_backward", 3 * x + 1, (2, 3), 9.0, g)
    t.close(other, one, what="dx for another x")


def _rows(rng):
    """x, scale, eps, g: one to four axes, a large epsilon, a row of zeros."""
    for shape, eps in (((5,), 1e-6), ((4, 3), 1e-6), ((3, 3), 0.3), ((2, 3, 4), 1e-2), ((2, 2, 3, 5), 1e-5)):
        x = rng.uniform(0.3, 3) * rng.normal(size=shape) + rng.uniform(-1, 1)
        yield x, rng.uniform(0.5, 2, shape[-1]), eps, rng.normal(size=shape)
    x = rng.normal(size=(3, 4))
    x[1] = 0
    yield x, rng.uniform(0.5, 2, 4), 1e-3, rng.normal(size=(3, 4))


def q2_h_values(t):
    """The normalised rows."""
    for x, scale, eps, _ in _rows(t.rng):
        t.agree("rms_norm", x, scale, eps)


def q2_h_dx(t):
    """The gradient of x."""
    for case in _rows(t.rng):
        got, want = t.call("rms_norm_backward", *case), t.ref("rms_norm_backward", *case)
        t.close(got[0], want[0], atol=1e-13, what="dx")


def q2_h_dscale(t):
    """The gradient of the scale."""
    for case in _rows(t.rng):
        got, want = t.call("rms_norm_backward", *case), t.ref("rms_norm_backward", *case)
        t.close(got[1], want[1], atol=1e-13, what="dscale")


def _mlp(rng, width, hidden, prefix=""):
    shapes = {"out.weight": (hidden, width), "up.weight": (width, hidden), "gate.weight": (width, hidden)}
    return {prefix + name: 0.7 * rng.normal(size=shape) for name, shape in shapes.items()}


def _mlps(rng):
    """x, params: one to three axes, hidden wider and narrower, all lengths alike."""
    for shape, hidden in (((4,), 6), ((3, 5), 2), ((2, 3, 4), 7), ((4, 4), 4)):
        yield 1.5 * rng.normal(size=shape), _mlp(rng, shape[-1], hidden)


def q3_h_values(t):
    """The result."""
    for case in _mlps(t.rng):
        t.agree("swiglu", *case)


def q3_h_dx(t):
    """The gradient of x."""
    for x, params in _mlps(t.rng):
        g = t.rng.normal(size=x.shape)
        got, want = t.call("swiglu_backward", x, params, g), t.ref("swiglu_backward", x, params, g)
        t.close(got[0], want[0], what="dx")


def q3_h_dparams(t):
    """The gradients of the three matrices."""
    for x, params in _mlps(t.rng):
        g = t.rng.normal(size=x.shape)
        got, want = t.call("swiglu_backward", x, params, g), t.ref("swiglu_backward", x, params, g)
        t.close(got[1], want[1], what="the gradients")


def _block(rng, width, hidden, heads):
    shapes = {
        "norm2.scale": (width,),
        "attention.out.bias": (width,),
        "attention.qkv.weight": (width, 3 * width),
        "attention.qkv.bias": (3 * width,),
        "attention.out.weight": (width, width),
        "norm1.scale": (width,),
    }
    params = {name: 0.6 * rng.normal(size=shape) for name, shape in shapes.items()} | _mlp(rng, width, hidden, "mlp.")
    eps = float(rng.choice([1e-6, 1e-2]))
    return params, {"width": width, "heads": heads, "norm_eps": eps, "rope_base": float(rng.uniform(5, 200))}


def _blocks(t, front):
    for grid, heads, head, hidden in (((2, 3), 2, 4, 7), ((3, 1), 3, 8, 5), ((2, 2), 1, 4, 4)):
        params, config = _block(t.rng, heads * head, hidden, heads)
        x = t.rng.normal(size=(2, front + grid[0] * grid[1], heads * head))
        t.agree("block_modern", x, params, config, grid)


def q4_h_patches(t):
    """The block, patches alone."""
    _blocks(t, 0)


def q4_h_class_token(t):
    """The block with a class token in front."""
    _blocks(t, 1)

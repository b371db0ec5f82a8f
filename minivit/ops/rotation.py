"""Positions as rotations (RoPE, Su et al. 2021): pairs of features are turned by angles that grow with the position."""

from minivit.backend import Array, xp_of
from minivit.backend.arrays import stretches
from minivit.backend.precision import widened


def rotate(x: Array, angles: Array, halves: bool = False):
    """Every pair of features (a, b) becomes (a cos t - b sin t, a sin t + b cos t), t its angle.

    x, y: (..., 2 P); angles: broadcast to (..., P), for heads (B, N, H, Dh) for instance (N, 1, Dh / 2); no
    gradient. The pairs are features 0 and 1, 2 and 3, and so on (RoFormer, EVA), or with `halves` i and P + i (LLaMA,
    DINOv3).   dx = g turned back, by -angles.
    """
    shape = (*x.shape[:-1], x.shape[-1] // 2) if x.ndim else ()
    if not x.ndim or x.shape[-1] % 2 or not stretches(angles.shape, shape):
        raise ValueError(f"rotate: x {x.shape} and angles {angles.shape} are not (..., 2 P) and (..., P)")
    xp, x = xp_of(x), widened(x)
    cos, sin = (f(angles).astype(x.dtype, copy=False) for f in (xp.cos, xp.sin))
    y = turned(x, cos, sin, halves)

    def vjp(g):
        return turned(g, cos, -sin, halves), None

    return y, vjp


def turned(x: Array, cos: Array, sin: Array, halves: bool) -> Array:
    """The pairs of x (..., 2 P) turned by angles of these cosines and sines."""
    pairs = x.shape[-1] // 2
    first, second = (slice(pairs), slice(pairs, None)) if halves else (slice(0, None, 2), slice(1, None, 2))
    a, b = x[..., first], x[..., second]
    y = xp_of(x).empty(x.shape, dtype=x.dtype)
    y[..., first] = a * cos - b * sin
    y[..., second] = a * sin + b * cos
    return y

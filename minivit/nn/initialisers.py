"""Initial values of the published ViT (flax.linen.initializers), drawn in float64 from an explicit NumPy generator.

`rng=None` gives zeros, which take no memory until they are written: enough to count parameters or to be filled from a
checkpoint.
"""

import math

import numpy as np

from minivit.tensor import Tensor

Rng = np.random.Generator | None


def lecun_normal(rng: Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """(fan_in, fan_out): normal with standard deviation sqrt(1 / fan_in), cut off at two of its own sigmas.

    Cutting narrows the distribution, so sigma is first widened by 1 / 0.8796, the standard deviation of a standard
    normal cut at +-2.
    """
    if rng is None:
        return constant(0, (fan_in, fan_out))
    draw = rng.standard_normal((fan_in, fan_out))
    while (outside := abs(draw) > 2).any():
        draw[outside] = rng.standard_normal(int(outside.sum()))
    return draw * (math.sqrt(1 / fan_in) / 0.87962566103423978)


def xavier_uniform(rng: Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """(fan_in, fan_out): uniform on +-sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out)) if rng else constant(0, (fan_in, fan_out))


def three_xavier(rng: Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """Three (D, D) matrices side by side: one (D, 3D) draw would come out too small by sqrt 2."""
    if rng is None:
        return constant(0, (fan_in, fan_out))
    return np.concatenate([xavier_uniform(rng, fan_in, fan_out // 3) for _ in range(3)], axis=1)


def zeros(rng: Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """(fan_in, fan_out) zeros."""
    return constant(0, (fan_in, fan_out))


def normal(rng: Rng, shape: tuple[int, ...], std: float) -> np.ndarray:
    """Normal with the given standard deviation, not truncated."""
    return rng.standard_normal(shape) * std if rng and std else constant(0, shape)


def constant(value: float, shape: tuple[int, ...]) -> np.ndarray:
    """An array of one repeated value that itself takes no memory."""
    return np.broadcast_to(np.float64(value), shape)


def parameter(values: np.ndarray, dtype: str = "float32") -> Tensor:
    """A leaf that learns. Raises ValueError for a number without axes, because gradients are added up in place, which
    NumPy cannot do to a number. Give it the shape (1,)."""
    if values.ndim == 0:
        raise ValueError("parameter: the shape is (), expected at least one axis; use (1,) for a single number")
    blank = not any(values.strides) and values.flat[0] == 0  # np.zeros is free until written, a copy of zeros is not
    data = np.zeros(values.shape, dtype) if blank else values.astype(dtype)
    return Tensor(np.ascontiguousarray(data), requires_grad=True)

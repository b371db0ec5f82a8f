"""Numerical checks of derivatives, on which every claim of correctness rests.

A vjp is right if, for a random cotangent g and random directions v, the pulled-back gradient predicts how <g, f>
changes:  sum_i <vjp(g)_i, v_i> = d/dt <g, f(x + t v)>. The right side is measured by central differences, in float64.
The cotangent must be random: with all ones, the gradient of anything that ends in a softmax or a normalisation is zero,
and a backward that returns zeros would pass.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minivit.backend import Array, is_array, to_numpy
from minivit.backend.arrays import asarray_like
from minivit.backward import unbroadcast
from minivit.tensor import Tensor, grad, no_grad


class GradientError(AssertionError):
    """A derivative that disagrees with the numerical one, or an op that breaks its contract."""


def check_vjp(
    op: Callable,
    *arrays: Any,
    rng: np.random.Generator | int = 0,
    rtol: float = 1e-6,
    step: float = 1e-5,
    directions: int = 3,
    dtypes: Sequence[str] = ("float64", "float32"),
    **params: Any,
) -> float:
    """Check an op `op(*arrays, **params) -> (y, vjp)` on these arguments; return the largest relative error found.

    Floating-point arrays are checked in float64, as they are and as non-contiguous copies (the cotangent as well). Also
    checked: gradient shapes, unmodified inputs, y and cotangent, that no gradient is an input itself, and that each of
    `dtypes` is kept. Stay away from kinks by more than `step`. rng: a generator or seed for cotangent and directions.
    Raises GradientError with the numbers.
    """
    rng = np.random.default_rng(rng)
    name = op.__name__
    for i, a in enumerate(arrays):
        if isinstance(a, Tensor):
            raise TypeError(f"check_vjp: argument {i} is a Tensor, ops take arrays; pass its .data")
    wide = [_cast(a, "float64") for a in arrays]
    worst = 0.0
    for variant in (wide, [_non_contiguous(a) for a in wide]):
        before = [a.copy() if is_array(a) else a for a in variant]
        y, vjp = op(*variant, **params)
        g = _like(rng.standard_normal(np.shape(y)), y)
        g = g if variant is wide else _non_contiguous(g)
        g_before, y_before = g.copy(), y.copy()
        gradients = _one_per_argument(name, vjp(g), variant)
        _check_contract(name, variant, before, gradients, ("the cotangent", g, g_before), ("y", y, y_before))
        gradients = [
            None if d is None or not _is_float(a) else unbroadcast(d, a.shape)
            for a, d in zip(variant, gradients, strict=True)
        ]
        for i, d in enumerate(gradients):
            if d is not None and d.shape != variant[i].shape:
                raise GradientError(f"{name}: gradient {i} has shape {d.shape}, argument {i} has {variant[i].shape}")

        def value(*moved: Any, g: Array = g) -> float:
            return _inner(g, op(*moved, **params)[0])

        worst = max(worst, _compare(name, value, variant, gradients, rng, rtol, step, directions))
    for dtype in [dtypes] if isinstance(dtypes, str) else dtypes:
        _check_dtype(name, op, [_cast(a, dtype) for a in arrays], params, dtype)
    return worst


def check_gradients(
    f: Callable,
    *inputs: Any,
    rng: np.random.Generator | int = 0,
    rtol: float = 1e-6,
    step: float = 1e-5,
    directions: int = 3,
) -> float:
    """Check `grad` through `f(*tensors) -> Tensor` of any shape; return the largest relative error.

    inputs: arrays, which become float64 leaves, or leaf Tensors (parameters of a model), which are used as they are.
    These should be float64, and f may use them without taking them as arguments. Each Tensor's data is moved in place
    during the check and restored. f must draw the same random numbers at every call.
    Raises GradientError with the numbers.
    """
    rng = np.random.default_rng(rng)
    name = getattr(f, "__name__", type(f).__name__)
    if any(isinstance(x, list | tuple | Iterator) and any(isinstance(t, Tensor) for t in x) for x in inputs):
        raise TypeError(f"check_gradients: pass the Tensors one by one: check_gradients({name}, *tensors)")
    tensors = [x if isinstance(x, Tensor) else Tensor(_cast(_as_array(x), "float64"), True) for x in inputs]
    y = f(*tensors)
    if not y.requires_grad:
        raise GradientError(f"{name}: its output is not connected to its inputs by the tape")
    g = _like(rng.standard_normal(y.shape), y.data)
    gradients = grad(y, tensors, g)
    for i, (tensor, d) in enumerate(zip(tensors, gradients, strict=True)):
        if d.shape != tensor.shape or d.dtype != tensor.dtype:
            raise GradientError(f"{name}: gradient {i} is {d.dtype} {d.shape}, input {tensor.dtype} {tensor.shape}")
    originals = [tensor.data for tensor in tensors]

    def value(*moved: Array) -> float:
        for tensor, data in zip(tensors, moved, strict=True):
            tensor.data = data
        with no_grad():
            return _inner(g, f(*tensors).data)

    try:
        return _compare(name, value, originals, gradients, rng, rtol, step, directions)
    finally:
        for tensor, data in zip(tensors, originals, strict=True):
            tensor.data = data


def _compare(
    name: str,
    value: Callable[..., float],
    arrays: Sequence[Any],
    gradients: Sequence[Array | None],
    rng: np.random.Generator,
    rtol: float,
    step: float,
    directions: int,
) -> float:
    """Predicted against measured change of `value` along random directions, one argument at a time."""
    worst = 0.0
    for i, (x, d) in enumerate(zip(arrays, gradients, strict=True)):
        if d is None or x.size == 0:
            continue
        for _ in range(directions):
            # Each component is at least 1/4 in size, so that no entry of the gradient goes unseen.
            v = rng.uniform(0.25, 1.0, x.shape) * rng.choice([-1.0, 1.0], x.shape)
            v = _like(v / np.linalg.norm(v), x)
            up = value(*arrays[:i], x + step * v, *arrays[i + 1 :])
            down = value(*arrays[:i], x - step * v, *arrays[i + 1 :])
            measured, predicted = (up - down) / (2 * step), _inner(d, v)
            # Rounding of the two values, and the size of the terms that may cancel in the prediction.
            noise = 1e-15 * (abs(up) + abs(down)) / step + 1e-9 * np.abs(to_numpy(d * v)).sum() + 1e-12
            error = abs(measured - predicted) / max(abs(measured), abs(predicted), noise / rtol, 1e-300)
            worst = max(worst, float(error))
            if not error <= rtol:
                raise GradientError(
                    f"{name}: gradient of argument {i} {x.shape} is wrong: along a random direction it predicts "
                    f"{predicted:.10g}, central differences measure {measured:.10g} (relative error {error:.2g}, "
                    f"allowed {rtol:.2g})"
                )
    return worst


def _one_per_argument(name: str, gradients: Any, arrays: Sequence[Any]) -> Sequence[Array | None]:
    """The gradients of `arrays`, without the None for each optional argument that was left out."""
    n = len(arrays)
    if not isinstance(gradients, tuple) or len(gradients) < n or any(d is not None for d in gradients[n:]):
        raise GradientError(f"{name}: its vjp must return a tuple of {n} gradients, one per array argument")
    return gradients[:n]


def _check_contract(
    name: str,
    arrays: Sequence[Any],
    before: Sequence[Any],
    gradients: Sequence[Array | None],
    *others: tuple[str, Array, Array],
) -> None:
    """Nothing was written to, and no gradient is an argument itself."""
    for i, (now, then) in enumerate(zip(arrays, before, strict=True)):
        if is_array(now) and not _equal(now, then):
            raise GradientError(f"{name}: argument {i} was modified")
        if any(d is now for d in gradients if d is not None):
            raise GradientError(f"{name}: a gradient is argument {i} itself, not a new array")
    for what, now, then in others:
        if not _equal(now, then):
            raise GradientError(f"{name}: its vjp modified {what}")


def _equal(x: Array, y: Array) -> bool:
    return np.array_equal(to_numpy(x), to_numpy(y), equal_nan=x.dtype.kind == "f")


def _check_dtype(name: str, op: Callable, arrays: Sequence[Any], params: dict[str, Any], dtype: str) -> None:
    y, vjp = op(*arrays, **params)
    if y.dtype != dtype:
        raise GradientError(f"{name}: y is {y.dtype} for {dtype} arguments")
    for i, d in enumerate(vjp(_like(np.ones(y.shape), y))):
        if d is not None and _is_float(arrays[i]) and d.dtype != dtype:
            raise GradientError(f"{name}: gradient {i} is {d.dtype} for {dtype} arguments")


def _is_float(x: Any) -> bool:
    return is_array(x) and x.dtype.kind == "f"


def _cast(x: Any, dtype: str) -> Any:
    return x.astype(dtype, copy=False) if _is_float(x) else x  # a copy would lose the strides


def _as_array(x: Any) -> Array:
    return x if is_array(x) else np.asarray(x)


def _non_contiguous(x: Any) -> Any:
    """The same values behind column-major, reversed and padded strides."""
    if not is_array(x) or x.ndim == 0:
        return x
    padded = _like(np.zeros((2 * x.shape[-1] + 1, *x.shape[-2::-1])), x).transpose()
    strided = padded[..., ::-2][..., : x.shape[-1]]
    strided[...] = x
    return strided


def _like(x: Any, like: Any) -> Array:
    return asarray_like(np.asarray(x), like) if is_array(like) else np.asarray(x, dtype=like.dtype)


def _inner(x: Array, y: Array) -> float:
    return float((x * y).sum())

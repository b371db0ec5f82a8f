"""What the tests of ops and engine are made of: Hypothesis strategies for arrays, and the checks that every op gets.

Hypothesis chooses shapes, memory layouts and seeds, and shrinks them; the values come from NumPy generators, so that
they stay in a moderate range and clear of the kinks and poles that numerical differentiation cannot cross.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ORIGINALS, to_device, to_host

from minivit import gradcheck, ops
from minivit.backend import is_array
from minivit.tensor import Tensor, grad

Shape = tuple[int, ...]
Values = Callable[[np.random.Generator, Shape], np.ndarray]

CHECKED: set[str] = set()  # names of the public ops that `check` has checked since the current test began


# values


def moderate(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Between -2 and 2."""
    return rng.uniform(-2, 2, shape)


def positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Between 0.5 and 2."""
    return rng.uniform(0.5, 2, shape)


def nonzero(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Of either sign, 0.25 to 2 in size."""
    return rng.uniform(0.25, 2, shape) * rng.choice([-1.0, 1.0], shape)


def distinct(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Multiples of 0.1, no two alike, so that the largest stays the largest."""
    n = math.prod(shape)
    return 0.1 * (rng.permutation(n).reshape(shape) - n // 2)


def between(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Distinct from each other and from every `distinct` number, by 0.05 at least."""
    return distinct(rng, shape) + 0.05


# strategies

seeds = st.integers(0, 2**32 - 1)
rngs = seeds.map(np.random.default_rng)


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4) -> st.SearchStrategy[Shape]:
    """Shapes from 0-d up, with axes of length 1 and 0 among them."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def shape_pairs(min_side: int = 0) -> st.SearchStrategy[tuple[Shape, Shape]]:
    """Two shapes that broadcast against each other."""
    pairs = hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=3, min_side=min_side, max_side=3)
    return pairs.map(lambda broadcast: broadcast.input_shapes)


def axes(ndim: int) -> st.SearchStrategy[int | tuple[int, ...] | None]:
    """None, one axis or several of an array with `ndim` axes, counted from either end."""
    several = hnp.valid_tuple_axes(ndim)
    return st.one_of(st.none(), several, st.integers(-ndim, ndim - 1)) if ndim else st.one_of(st.none(), several)


@st.composite
def arrays(draw: st.DrawFn, shape: Shape | st.SearchStrategy[Shape], values: Values = moderate) -> np.ndarray:
    """A float64 array of `shape` in one of several memory layouts."""
    drawn = shape if isinstance(shape, tuple) else draw(shape)
    x = np.asarray(values(draw(rngs), drawn))
    return draw(layouts)(x) if x.ndim else x


def reversed_layout(x: np.ndarray) -> np.ndarray:
    """The same array, with negative strides."""
    backwards = (slice(None, None, -1),) * x.ndim
    return x[backwards].copy()[backwards]


def sliced_layout(x: np.ndarray) -> np.ndarray:
    """The same array, with gaps between its elements."""
    apart = np.full([2 * n + 1 for n in x.shape], np.nan if x.dtype.kind == "f" else 99, x.dtype)
    sliced = apart[tuple(slice(1, None, 2) for _ in x.shape)]
    sliced[...] = x
    return sliced


def read_only(x: np.ndarray) -> np.ndarray:
    """The same array, which raises if an op writes to it."""
    x.flags.writeable = False
    return x


layouts = st.sampled_from([np.ascontiguousarray, np.asfortranarray, reversed_layout, sliced_layout, read_only])


# checks


def op_case(name: str, *rest: Any) -> Any:
    """One row of a parametrised test that is the gradient check of op `name`."""
    return pytest.param(name, *rest, id=name, marks=pytest.mark.gradient_check(name))


def check(op: Callable, *inputs: Any, constant: Sequence[int] = (), rtol: float = 1e-6, **params: Any) -> None:
    """All that is asked of an op: right gradients for every floating-point input but the `constant` ones, whatever
    the memory layout, and float32 results that are float64 results rounded. On the device of the test. Notes that the
    op was checked, also if `op` is a wrapper around it (functools.wraps)."""
    op, inputs, params = ORIGINALS.get(op, op), to_device(inputs), to_device(params)
    gradcheck.check_vjp(op, *inputs, rtol=rtol, **params)
    y, gradients = run(op, inputs, params)
    floats = [i for i, x in enumerate(inputs) if is_array(x) and x.dtype.kind == "f"]
    for i in floats:
        assert (gradients[i] is None) == (i in constant), f"{op.__name__}: argument {i} has no gradient"

    copies = [x.copy(order="C") if i in floats else x for i, x in enumerate(inputs)]
    assert_close((y, gradients), run(op, copies, params), 1e-12)
    narrow = [x.astype("float32") if i in floats else x for i, x in enumerate(inputs)]
    narrow_result = run(op, narrow, params)
    rounded = [x.astype("float64") if i in floats else x for i, x in enumerate(narrow)]
    assert_close(narrow_result, run(op, rounded, params), 1e-5)

    is_public = inspect.unwrap(op) is getattr(ops, op.__name__, None)
    if is_public and any(inputs[i].size for i in floats if i not in constant):
        CHECKED.add(op.__name__)


def run(op: Callable, inputs: Sequence[Any], params: dict[str, Any]) -> tuple[Any, tuple]:
    """The value, and the gradients for a random cotangent that depends on the size of y alone: computed on the device
    of the test, or that of the inputs, as NumPy arrays."""
    y, vjp = op(*to_device(inputs), **to_device(params))
    g = np.random.default_rng(y.size).standard_normal(y.shape)
    return to_host(y), to_host(vjp(to_device(np.asarray(g, dtype=y.dtype))))


def assert_close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    """Arrays, or nested tuples and lists of them, agree to `tolerance` times the largest number of each array."""
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, tolerance)
    elif expected is None:
        assert found is None
    else:
        found, expected = to_host(found), to_host(expected)
        assert np.shape(found) == np.shape(expected)
        scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def assert_same(function: Callable, composition: Callable, *inputs: np.ndarray, tolerance: float = 1e-10) -> None:
    """Two functions of Tensors agree in value and, for a random cotangent, in every gradient."""
    one, other = (value_and_gradients(f, *inputs) for f in (function, composition))
    assert_close(one, other, tolerance)


def value_and_gradients(f: Callable, *inputs: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """f on Tensors made of the inputs, on the device of the test, and its gradients for a random cotangent that depends
    on the size of y alone; as NumPy arrays."""
    tensors = [Tensor(to_device(x), requires_grad=True) for x in inputs]
    y = f(*tensors)
    g = to_device(np.random.default_rng(y.size).standard_normal(y.shape))
    return to_host(y.data), to_host(grad(y, tensors, g))

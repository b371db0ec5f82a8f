"""Every registered kernel does what its op does: value, gradients, dtypes, refusals, over shapes and memory layouts.

A new kernel is tested as soon as it is registered; if its op has no cases here yet, a test says so. CuPy's kernels run
on the stand-in, and where there is a GPU, on CuPy too.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from devices import library, to_device
from kernel_cases import CASES, REFUSED, Case, normal
from strategies import assert_close, read_only, reversed_layout, run, sliced_layout

from minivit import ops
from minivit.backend import tiles
from minivit.backend.cupy_kernels.table import KERNELS as CUPY_KERNELS
from minivit.backend.kernels import registered
from minivit.backward import unbroadcast
from minivit.gradcheck import GradientError, check_vjp

ON_NUMPY = [(op_name, vjp) for op_name, array_type, vjp in registered() if array_type is np.ndarray]
KERNELS = [  # (op name, whether with vjp, device, size of a tile)
    *[(*key, "numpy", tile) for key in ON_NUMPY for tile in (tiles.TILE, 5)],  # with 5 the last tile is not full
    *[(*key, device, tiles.TILE) for device in ("standin", "cupy") for key in CUPY_KERNELS],
]

LAYOUTS = [np.ascontiguousarray, np.asfortranarray, reversed_layout, sliced_layout, read_only]
TOLERANCE = {"numpy": {"float64": 1e-12, "float32": 3e-6}, "cupy": {"float32": 2e-5}}  # CuPy's leave float64 to the op


@pytest.fixture
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the pieces in which the CPU's kernels work."""
    monkeypatch.setattr(tiles, "TILE", request.param)


def attempt(kernel: Callable, op: Callable, case: Case, vjp: bool = True) -> bool:
    """Hold the kernel to its op on one case; False if it leaves the case to the op. vjp=False: its value only."""
    inputs, params = case
    if not vjp:
        op = functools.wraps(op)(value_only(op))
    for dtype, tolerance in TOLERANCE[library().__name__].items():
        typed = [x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs]
        if kernel(*to_device(typed), **to_device(params)) is NotImplemented:
            return False
        expected = run(op, typed, params)
        for layout in LAYOUTS:
            arranged = [layout(x.copy()) if np.ndim(x) else x for x in typed]
            found = run(kernel if vjp else value_only(kernel), arranged, params)
            assert found[0].dtype == expected[0].dtype == dtype
            assert_close(fitted(found, typed), fitted(expected, typed), tolerance * slack(op, inputs, params))
    if vjp and library() is np:
        check_vjp(kernel, *inputs, **params)
    return True


def fitted(result: tuple[Any, tuple], inputs: list[Any]) -> tuple[Any, list[Any]]:
    """Value and gradients, these summed to the shapes of the inputs: whether an op or the engine does so is open."""
    y, gradients = result
    shapes = [np.shape(x) for x in inputs] + [()] * len(gradients)  # an optional argument may have been left out
    return y, [None if d is None else unbroadcast(d, shape) for d, shape in zip(gradients, shapes, strict=False)]


def slack(op: Callable, inputs: list[Any], params: dict[str, Any]) -> float:
    """By how much a case magnifies rounding: a score s that is rounded by eps s changes its weight e^s by that factor,
    and matrix libraries round differently on different processors."""
    if op.__name__ not in ("attention", "attend"):
        return 1.0
    q, k = inputs[:2] if op.__name__ == "attend" else (inputs[0], inputs[0])
    features = (q.shape[-1] if op.__name__ == "attend" else q.shape[-1] / 3) / params["heads"]
    scale = abs(params.get("scale") or features**-0.5)
    return max(1.0, np.abs(q).max(initial=0) * np.abs(k).max(initial=0) * features * scale / 10)


def value_only(function: Callable) -> Callable:
    """The function with a vjp that gives nothing; a kernel registered with vjp=False must return None for its own."""

    def wrapped(*inputs: Any, **params: Any) -> Any:
        y, vjp = function(*inputs, **params)
        assert (vjp is None) == (function in registered().values())
        return y, lambda g: tuple(None for _ in inputs)

    return wrapped


def result_or_refusal(kernel: Callable, *inputs: Any, **params: Any) -> Any:
    """What the kernel returns, or what its ValueError says."""
    try:
        return kernel(*inputs, **params)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("op_name", sorted({op_name for op_name, *_ in KERNELS}))
def test_every_kernel_has_cases(op_name):
    assert op_name in CASES, f"add cases of {op_name} to this file: a kernel is registered for it"


@pytest.mark.parametrize(("op_name", "vjp", "device", "tile"), KERNELS, indirect=["device", "tile"])
@pytest.mark.usefixtures("device", "tile")
class TestKernel:
    def test_it_does_what_its_op_does(self, op_name, vjp):
        kernel, op = registered()[op_name, library().ndarray, vjp], getattr(ops, op_name)
        done = [attempt(kernel, op, case, vjp) for case in CASES[op_name]]
        assert any(done), f"the kernel of {op_name} handles none of the cases"

    def test_it_refuses_what_its_op_refuses(self, op_name, vjp):
        kernel = registered()[op_name, library().ndarray, vjp]
        for inputs, params in REFUSED.get(op_name, []):
            answer = result_or_refusal(kernel, *to_device(inputs), **to_device(params))
            in_its_own_words = isinstance(answer, str) and answer.startswith(f"{op_name}: ")
            assert in_its_own_words or answer is NotImplemented, f"{[x.shape for x in inputs]} {params}: {answer}"


@pytest.mark.parametrize("op_name", CASES)
def test_the_op_takes_the_cases_and_refuses_the_refused(op_name):
    op = getattr(ops, op_name)
    for inputs, params in CASES[op_name]:
        assert np.isfinite(run(op, inputs, params)[0]).all()
    for inputs, params in REFUSED.get(op_name, []):
        with pytest.raises(ValueError, match=f"{op_name}|" + "|".join(op_name.split("_"))):  # or one it is made of
            op(*inputs, **params)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y, vjp: (y * 1.0001, vjp),
        lambda y, vjp: (y, lambda g: tuple(d * 1.0001 for d in vjp(g))),
        lambda y, vjp: (y.astype("float64"), vjp),
        lambda y, vjp: (y, lambda g: vjp(np.ascontiguousarray(g.T).reshape(g.shape))),
        lambda y, vjp: (y, lambda g: (np.multiply(g, 2, out=g), *vjp(g / 2))[1:]),
    ],
)
def test_a_wrong_kernel_is_found(spoil):
    @functools.wraps(ops.gelu)
    def wrong(x, form="tanh"):
        return spoil(*ops.gelu(x, form))

    with pytest.raises((AssertionError, GradientError)):
        attempt(wrong, ops.gelu, ([normal(3, 4)], {}))

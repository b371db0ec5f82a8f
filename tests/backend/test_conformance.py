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
from strategies import assert_close, read_only, reversed_layout, run, sliced_layout

from minivit import ops
from minivit.backend import tiles
from minivit.backend.cupy_kernels.table import KERNELS as CUPY_KERNELS
from minivit.backend.kernels import registered
from minivit.gradcheck import GradientError, check_vjp

ON_NUMPY = [(op_name, vjp) for op_name, array_type, vjp in registered() if array_type is np.ndarray]
KERNELS = [  # (op name, whether with vjp, device, size of a tile)
    *[(*key, "numpy", tile) for key in ON_NUMPY for tile in (tiles.TILE, 5)],  # with 5 the last tile is not full
    *[(*key, device, tiles.TILE) for device in ("standin", "cupy") for key in CUPY_KERNELS],
]

Case = tuple[list[Any], dict[str, Any]]  # arguments, parameters
LAYOUTS = [np.ascontiguousarray, np.asfortranarray, reversed_layout, sliced_layout, read_only]
TOLERANCE = {"numpy": {"float64": 1e-12, "float32": 3e-6}, "cupy": {"float32": 2e-5}}  # CuPy's leave float64 to the op


def normal(*shape: int, spread: float = 1.0) -> np.ndarray:
    return np.asarray(spread * np.random.default_rng(len(shape)).standard_normal(shape))


def layer_norm_case(*shape: int, **params: Any) -> Case:
    return [3 + normal(*shape), normal(shape[-1]), normal(shape[-1])], params


def conv2d_case(images: tuple[int, ...], kernel: tuple[int, ...], **params: Any) -> Case:
    return [normal(*images), normal(*kernel, spread=0.3)], params


def group_norm_case(*shape: int, **params: Any) -> Case:
    return [3 + normal(*shape), normal(shape[-1]), normal(shape[-1])], params


LOGITS = normal(6, 5)
NUMBERS = np.arange(6) % 5
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(5), 6)
KEEP = (np.random.default_rng(0).random((2, 2, 3, 3)) < 0.7) / np.float32(0.7)
ROWS = [(5,), (1, 2), (3, 4), (0, 3), (2, 3, 4)]

CASES: dict[str, list[Case]] = {
    "gelu": [
        *[([normal(*shape, spread=3)], {}) for shape in [(), (1,), (0, 3), (17,), (3, 5, 4)]],
        *[([normal(*shape, spread=3)], {"form": "erf"}) for shape in [(), (17,)]],
    ],
    "layer_norm": [
        *[layer_norm_case(*shape) for shape in [(8,), (0, 4), (1, 2), (13, 4), (3, 5, 7), (4, 1)]],
        layer_norm_case(3, 6, eps=0.1),
    ],
    "conv2d": [
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2)),
        conv2d_case((2, 6, 5, 3), (3, 3, 3, 2), stride=2),
        conv2d_case((1, 9, 8, 2), (7, 5, 2, 3), stride=2),  # every other row needs another border
        conv2d_case((1, 3, 4, 2), (5, 5, 2, 3), stride=3),
        conv2d_case((2, 5, 4, 3), (2, 2, 3, 2)),  # another border on either side, at stride 1
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2), padding="valid"),
        conv2d_case((2, 5, 6, 2), (2, 3, 2, 1), padding="valid"),
        conv2d_case((3, 7, 1, 1), (1, 2, 1, 1)),
        conv2d_case((2, 5, 7, 2), (2, 2, 2, 3), stride=3, padding="valid"),
        conv2d_case((2, 4, 3, 3), (1, 1, 3, 4)),
        conv2d_case((2, 4, 5, 3), (1, 1, 3, 4), stride=2),
        conv2d_case((0, 4, 5, 3), (3, 3, 3, 4)),
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2), padding=1),
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2), padding=(0, 2)),
        conv2d_case((2, 5, 4, 3), (3, 2, 3, 2), padding=2),
        conv2d_case((2, 6, 5, 3), (3, 3, 3, 2), padding=4),  # wider than the window reaches
        conv2d_case((2, 6, 5, 3), (3, 3, 3, 2), stride=2, padding=1),
        conv2d_case((2, 4, 3, 3), (1, 1, 3, 4), padding=1),
        conv2d_case((2, 5, 4, 4), (3, 3, 2, 6), groups=2),
        conv2d_case((2, 5, 4, 6), (3, 3, 2, 3), groups=3, stride=2, padding=1),
        conv2d_case((2, 5, 4, 4), (1, 1, 2, 6), groups=2),
        conv2d_case((3, 5, 4, 3), (3, 3, 1, 6), groups=3),
        conv2d_case((3, 5, 4, 3), (3, 3, 1, 3), groups=3),
        conv2d_case((3, 5, 6, 3), (3, 2, 1, 3), groups=3, stride=2),
        conv2d_case((3, 9, 8, 2), (7, 7, 1, 2), groups=2, padding=3),
        conv2d_case((3, 5, 6, 3), (3, 3, 1, 3), groups=3, padding="valid"),
        conv2d_case((0, 4, 5, 3), (3, 3, 1, 3), groups=3),
    ],
    "group_norm": [
        *[group_norm_case(*shape, groups=2) for shape in [(2, 3, 4, 6), (3, 1, 1, 4), (2, 5, 4), (0, 3, 4), (2, 8)]],
        group_norm_case(2, 3, 3, 6, groups=1),
        group_norm_case(2, 3, 3, 6, groups=6, eps=0.1),
        group_norm_case(2, 2, 3, 64),
    ],
    "attention": [
        ([normal(2, 3, 12)], {"heads": 1}),
        ([normal(7, 5, 12)], {"heads": 4}),
        ([normal(1, 1, 6)], {"heads": 2}),
        ([normal(0, 3, 6)], {"heads": 1}),
        ([normal(2, 3, 12)], {"heads": 2, "keep": KEEP}),
        ([normal(7, 5, 12)], {"heads": 2, "queries": 1}),
        ([normal(2, 5, 12)], {"heads": 2, "queries": 3}),
        ([normal(2, 5, 12, spread=20)], {"heads": 2}),  # scores in the hundreds
        ([normal(1, 130, 6)], {"heads": 2}),
        ([normal(2, 5, 12) + 9], {"heads": 1}),  # scores all above 100: e^100 is no float32
        ([normal(2, 5, 12) + np.repeat([9, -9, 1], 4)], {"heads": 1}),  # all below -100: e^-100 is 0
    ],
    "linear": [
        *[([normal(*shape, 4), normal(4, 3), normal(3)], {}) for shape in [(), (5,), (2, 3), (0,)]],
        ([normal(5, 4), normal(4, 3)], {}),
        ([normal(5, 4), normal(4, 3), None], {}),
    ],
    "linear_gelu": [
        *[([normal(*shape, 4), normal(4, 3), normal(3)], {}) for shape in [(), (5,), (2, 3), (0,)]],
        ([normal(5, 4), normal(4, 3), normal(3)], {"form": "erf"}),
    ],
    "matmul": [
        ([normal(3, 4), normal(4, 2)], {}),
        ([normal(2, 3, 4), normal(2, 4, 5)], {}),
        ([normal(2, 1, 3, 4), normal(2, 1, 4, 1)], {}),
        ([normal(0, 4), normal(4, 2)], {}),
        ([normal(3, 0), normal(0, 2)], {}),
        ([normal(2, 3, 4), normal(4, 5)], {}),
        ([normal(4), normal(4, 5)], {}),
    ],
    "resize": [
        ([normal(2, 4, 5, 3)], {"size": (6, 3)}),
        ([normal(1, 3, 3, 2)], {"size": (5, 4), "method": "bicubic", "scale": (5.1 / 3, 4.1 / 3)}),
        ([normal(3, 6, 1, 1)], {"size": (1, 2), "method": "bicubic_antialias"}),
        ([normal(2, 4, 2, 5)], {"size": (8, 4), "method": "nearest"}),
        ([normal(0, 4, 2, 5)], {"size": (8, 4)}),
    ],
    "softmax": [*[([normal(*shape, spread=4)], {}) for shape in ROWS], ([normal(2, 3, 4, spread=4)], {"axis": 1})],
    "log_softmax": [*[([normal(*shape, spread=4)], {}) for shape in ROWS], ([normal(2, 3, 4, spread=4)], {"axis": 1})],
    "cross_entropy": [
        *[([LOGITS, labels], {}) for labels in (NUMBERS, NUMBERS.astype("uint8"), PROBABILITIES)],
        *[([LOGITS, labels], {"label_smoothing": 0.1}) for labels in (NUMBERS, PROBABILITIES)],
    ],
}

REFUSED: dict[str, list[Case]] = {
    "resize": [
        ([normal(4, 5, 3)], {"size": (6, 3)}),
        ([normal(2, 4, 5, 3)], {"size": (6, 0)}),
        ([normal(2, 4, 5, 3)], {"size": (6, 3), "method": "quick"}),
    ],
    "gelu": [([normal(3)], {"form": "quick"})],
    "layer_norm": [
        ([normal(2, 3), normal(4), normal(3)], {}),
        ([normal(2, 3), normal(3), normal(4)], {}),
        ([normal(2, 3), normal(1), normal(1)], {}),
        ([normal(), normal(), normal()], {}),
    ],
    "conv2d": [
        ([normal(2, 5, 4, 3), normal(3, 3, 2, 4)], {}),
        ([normal(5, 4, 3), normal(3, 3, 3, 4)], {}),
        ([normal(2, 5, 4, 3), normal(3, 3)], {}),
        ([normal(2, 5, 4, 3), normal(3, 3, 3, 4)], {"stride": 0}),
        ([normal(2, 5, 4, 3), normal(3, 3, 3, 4)], {"padding": "reflect"}),
        ([normal(2, 5, 4, 3), normal(3, 3, 3, 4)], {"padding": -1}),
        ([normal(2, 5, 4, 4), normal(3, 3, 4, 4)], {"groups": 2}),
        ([normal(2, 5, 4, 4), normal(3, 3, 2, 3)], {"groups": 2}),
        ([normal(2, 5, 4, 4), normal(3, 3, 2, 4)], {"groups": 0}),
        ([normal(2, 1, 1, 4), normal(3, 3, 1, 4)], {"groups": 4, "padding": "valid"}),
        ([normal(2, 5, 2, 3), normal(3, 3, 3, 4)], {"padding": "valid"}),
    ],
    "group_norm": [
        ([normal(2, 3, 6), normal(6), normal(6)], {"groups": 4}),
        ([normal(2, 3, 6), normal(3), normal(6)], {"groups": 2}),
        ([normal(2, 3, 6), normal(6), normal(3)], {"groups": 2}),
        ([normal(6), normal(6), normal(6)], {"groups": 2}),
    ],
    "attention": [
        ([normal(2, 3, 10)], {"heads": 1}),
        ([normal(2, 3, 12)], {"heads": 3}),
        ([normal(3, 12)], {"heads": 2}),
        ([normal(2, 3, 12)], {"heads": 2, "queries": 0}),
        ([normal(2, 3, 12)], {"heads": 2, "keep": KEEP, "queries": 1}),
    ],
    "linear": [([normal(2, 3), normal(4, 3), normal(3)], {}), ([normal(2, 3), normal(3, 4), normal(3)], {})],
    "matmul": [([normal(2, 3), normal(2, 3)], {}), ([normal(2, 3, 4), normal(2, 3, 4)], {})],
    "linear_gelu": [
        ([normal(2, 3), normal(4, 3), normal(3)], {}),
        ([normal(2, 3), normal(3, 4), normal(4)], {"form": "quick"}),
    ],
    "cross_entropy": [([LOGITS, labels], {}) for labels in (NUMBERS + 1, NUMBERS - 1, NUMBERS[1:], LOGITS[:, 0])],
}


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
            assert_close(found, expected, tolerance * slack(op, inputs, params))
    if vjp and library() is np:
        check_vjp(kernel, *inputs, **params)
    return True


def slack(op: Callable, inputs: list[Any], params: dict[str, Any]) -> float:
    """By how much a case magnifies rounding: a score s that is rounded by eps s changes its weight e^s by that factor,
    and matrix libraries round differently on different processors."""
    if op.__name__ != "attention":
        return 1.0
    largest = np.abs(inputs[0]).max(initial=0)
    return max(1.0, largest**2 * (inputs[0].shape[-1] / 3 / params["heads"]) ** 0.5 / 10)


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

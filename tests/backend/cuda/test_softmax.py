"""softmax.cu against ops.softmax."""

import numpy as np
import pytest
from cuda_on_cpu.kernels import (
    assert_near,
    both_orders,
    module,
    must_fail,
    needs_compiler,
    normal,
    numbers,
    stored,
    unwritten,
)

from minivit import ops

pytestmark = needs_compiler
SCALE = 0.3
SHAPES = [(1, 1), (5, 7), (9, 50), (3, 64), (2, 197), (3, 264)]
TYPES = [("float", "float"), ("bf16", "bf16"), ("float", "bf16")]


def launch(name, arrays, rows, width, pitch, types, reverse, bug, empty=np.nan):
    args = [*arrays, np.int64(rows), np.int32(width), np.int32(pitch), np.float32(SCALE)]
    args += [np.float32(empty)] if name == "softmax_forward" else []
    # 4 warps, each with several rows
    module("softmax.cu", bug, X=types[0], Y=types[1]).launch(name, 2, 64, args, reverse=reverse)


def padded(x, pitch):
    """Behind each row as many columns, of NaN and of large numbers, as make it `pitch` long."""
    dtype = "bf16" if x.dtype == np.uint16 else "float"
    wide = unwritten((len(x), pitch), dtype)
    wide[:, ::2] = stored(3e4, dtype)
    wide[:, : x.shape[1]] = x
    return wide


def check_forward(shape, types, reverse, bug=None, shift=0.0, pitch=None):
    rows, width = shape
    pitch = pitch or width
    x, y = normal(np.random.default_rng(1), shape, types[0], 5), unwritten((rows, pitch), types[1])
    x = x + np.float32(shift) if types[0] == "float" else x
    launch("softmax_forward", [padded(x, pitch), y], rows, width, pitch, types, reverse, bug)
    expected = ops.softmax(np.float32(SCALE) * numbers(x))[0]
    assert_near(y[:, :width], expected, 2e-5 if shift else 2e-6)


def check_backward(shape, types, reverse, bug=None, pitch=None):
    rows, width = shape
    pitch = pitch or width
    rng = np.random.default_rng(2)
    x, g = normal(rng, shape, types[0], 5), normal(rng, shape, types[0])
    dx = unwritten((rows, pitch), types[1])
    y, vjp = ops.softmax(SCALE * numbers(x))
    y = y.astype(np.float32)
    if types[1] == "bf16":
        y = (y.view(np.uint32) >> 16).astype(np.uint16)  # rows that do not add up to 1: the formula is meant
    arrays = [padded(y, pitch), padded(g, pitch), dx]
    launch("softmax_backward", arrays, rows, width, pitch, types, reverse, bug)
    ys, gs = numbers(y), numbers(g)
    assert_near(dx[:, :width], SCALE * ys * (gs - (gs * ys).sum(axis=-1, keepdims=True)))
    if types[1] == "float":
        assert_near(dx[:, :width], SCALE * vjp(gs)[0])


@both_orders
@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_softmax(check, shape, types, reverse):
    check(shape, types, reverse)


@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize(("shape", "pitch"), [((9, 50), 56), ((5, 7), 8), ((2, 197), 200), ((3, 5), 7)])
@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_columns_that_do_not_count(check, shape, pitch, types):
    check(shape, types, reverse=False, pitch=pitch)


def test_results_may_take_the_place_of_what_they_come_from():
    x = normal(np.random.default_rng(1), (3, 50), "float")
    y = padded(x, 56)
    launch("softmax_forward", [y, y], 3, 50, 56, ("float", "float"), False, None)
    assert_near(y[:, :50], ops.softmax(SCALE * numbers(x))[0])
    g = normal(np.random.default_rng(2), (3, 50), "float")
    dx = padded(g, 56)
    launch("softmax_backward", [y, dx, dx], 3, 50, 56, ("float", "float"), False, None)
    assert_near(dx[:, :50], SCALE * ops.softmax(SCALE * numbers(x))[1](numbers(g))[0])


@pytest.mark.parametrize("shift", [1000.0, -1000.0])
def test_large_numbers_of_one_sign(shift):
    check_forward((3, 50), ("float", "float"), False, shift=shift)


def check_empty(shape, types, reverse, bug=None, empty=0.0):
    """Every other row is of minus infinity alone."""
    rows, width = shape
    x, y = normal(np.random.default_rng(1), shape, types[0], 5), unwritten(shape, types[1])
    x[::2] = stored(np.array(-np.inf), types[0])
    x[1, 0] = x[0, 0]
    launch("softmax_forward", [x, y], rows, width, width, types, reverse, bug, empty)
    np.testing.assert_array_equal(numbers(y[::2]), np.full_like(y[::2], empty, np.float64))
    assert_near(y[1::2], ops.softmax(np.float32(SCALE) * numbers(x[1::2]))[0])


@both_orders
@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize("empty", [0.0, np.nan])
def test_a_row_of_minus_infinity_alone(types, empty, reverse):
    check_empty((5, 33), types, reverse, empty=empty)


@pytest.mark.parametrize(
    ("check", "bug", "options"),
    [
        (check_forward, ("expf(scale * values[j] - largest)", "expf(scale * values[j])"), {"shift": 1000.0}),
        (check_forward, ("? scale * values[j] : -INF", "? values[j] : -INF"), {"shift": 1000.0}),
        (check_forward, ("column + j < width ? scale", "true ? scale"), {"pitch": 56}),
        (check_forward, ("column + j < width ? expf", "true ? expf"), {"pitch": 56}),
        (check_forward, ("y + row * pitch", "y + row * width"), {"pitch": 56}),
        (check_backward, ("column + j < width ? ys", "true ? ys"), {"pitch": 56}),
        (check_forward, ("largest = -INFINITY", "largest = 0"), {"shift": -1000.0}),
        (check_forward, ("largest = warp_max(largest);", ""), {}),
        (check_forward, ("sum = warp_sum(sum);", ""), {}),
        (check_empty, ("if (largest == -INFINITY) largest = 0;", ""), {}),
        (check_empty, ("sum == 0 ? empty : 1 / sum", "1 / sum"), {}),
        (check_empty, ("sum == 0 ? empty : 1 / sum", "empty"), {}),
        (check_forward, ("row += row_step()", "row += rows"), {}),
        (check_backward, ("gs[j] - dot", "gs[j]"), {}),
        (check_backward, ("scale * (gs", "(gs"), {}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
@pytest.mark.planted
def test_a_planted_error_is_found(check, bug, options):
    must_fail(check, (9, 50), ("float", "float"), bug=bug, **options)

"""softmax.cu against ops.softmax."""

import numpy as np
import pytest
from cuda_on_cpu.kernels import (
    assert_near,
    both_orders,
    both_types,
    module,
    must_fail,
    needs_compiler,
    normal,
    numbers,
    unwritten,
)

from minivit import ops

pytestmark = needs_compiler
SCALE = 0.3
SHAPES = [(1, 1), (5, 7), (9, 50), (3, 64), (2, 197), (3, 264)]


def launch(name, arrays, rows, width, dtype, reverse, bug):
    args = [*arrays, np.int64(rows), np.int32(width), np.float32(SCALE)]
    module("softmax.cu", bug, T=dtype).launch(name, 2, 64, args, reverse=reverse)  # 4 warps, each with several rows


def check_forward(shape, dtype, reverse, bug=None, shift=0.0):
    x, y = normal(np.random.default_rng(1), shape, dtype, 5), unwritten(shape, dtype)
    x = x + np.float32(shift) if dtype == "float" else x
    launch("softmax_forward", [x, y], *shape, dtype, reverse, bug)
    assert_near(y, ops.softmax(np.float32(SCALE) * numbers(x))[0], 2e-5 if shift else 2e-6)


def check_backward(shape, dtype, reverse, bug=None):
    rng = np.random.default_rng(2)
    x, g, dx = normal(rng, shape, dtype, 5), normal(rng, shape, dtype), unwritten(shape, dtype)
    y, vjp = ops.softmax(SCALE * numbers(x))
    y = y.astype(np.float32)
    if dtype == "bf16":
        y = (y.view(np.uint32) >> 16).astype(np.uint16)  # rows that do not add up to 1: the formula is meant
    launch("softmax_backward", [y, g, dx], *shape, dtype, reverse, bug)
    ys, gs = numbers(y), numbers(g)
    assert_near(dx, SCALE * ys * (gs - (gs * ys).sum(axis=-1, keepdims=True)))
    if dtype == "float":
        assert_near(dx, SCALE * vjp(gs)[0])


@both_orders
@both_types
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_softmax(check, shape, dtype, reverse):
    check(shape, dtype, reverse)


@pytest.mark.parametrize("shift", [1000.0, -1000.0])
def test_large_numbers_of_one_sign(shift):
    check_forward((3, 50), "float", False, shift=shift)


@pytest.mark.parametrize(
    ("check", "bug", "options"),
    [
        (check_forward, ("expf(scale * values[j] - largest)", "expf(scale * values[j])"), {"shift": 1000.0}),
        (check_forward, ("fmaxf(largest, scale * values[j])", "fmaxf(largest, values[j])"), {"shift": 1000.0}),
        (check_forward, ("largest = -INFINITY", "largest = 0"), {"shift": -1000.0}),
        (check_forward, ("largest = warp_max(largest);", ""), {}),
        (check_forward, ("1 / warp_sum(sum)", "1 / sum"), {}),
        (check_forward, ("row += row_step()", "row += rows"), {}),
        (check_backward, ("gs[j] - dot", "gs[j]"), {}),
        (check_backward, ("scale * (gs", "(gs"), {}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_planted_error_is_found(check, bug, options):
    must_fail(check, (9, 50), "float", bug=bug, **options)

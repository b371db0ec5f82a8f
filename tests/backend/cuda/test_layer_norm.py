"""layer_norm.cu against ops.layer_norm."""

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
EPS = 1e-3  # large enough for its absence to show
CASES = [  # X, Y, WIDTH, rows: vectors of 8, rows longer than 32 vectors, single elements
    ("float", "bf16", 48, 9),
    ("bf16", "bf16", 264, 5),
    ("float", "float", 272, 1),
    ("bf16", "bf16", 33, 6),
    ("float", "float", 1, 3),
]


def inputs(x_type, y_type, width, rows):
    rng = np.random.default_rng(width)
    x = stored(rng.standard_normal((rows, width)) + 3 * rng.standard_normal((rows, 1)), x_type)
    scale, bias = normal(rng, (width,), "float"), normal(rng, (width,), "float")
    return x, scale, bias, normal(rng, (rows, width), y_type), normal(rng, (rows, width), x_type)


def statistics(x):
    x = numbers(x)
    return x.mean(axis=1), 1 / np.sqrt(x.var(axis=1) + EPS)


def check_forward(x_type, y_type, width, rows, reverse, bug=None, with_statistics=True):
    x, scale, bias, *_ = inputs(x_type, y_type, width, rows)
    y = unwritten((rows, width), y_type)
    mean = unwritten((rows,), "float") if with_statistics else None
    inverse_std = unwritten((rows,), "float") if with_statistics else None
    kernels = module("layer_norm.cu", bug, X=x_type, Y=y_type, WIDTH=width)
    args = [x, scale, bias, y, mean, inverse_std, np.int32(rows), np.float32(EPS)]
    kernels.launch("layer_norm_forward", (rows + 3) // 4, 128, args, reverse=reverse)
    expected, _ = ops.layer_norm(numbers(x), numbers(scale), numbers(bias), eps=EPS)
    assert_near(y, expected)
    if with_statistics:
        assert_near(mean, statistics(x)[0])
        assert_near(inverse_std, statistics(x)[1])


def check_backward(x_type, y_type, width, rows, reverse, bug=None, with_residual=True, blocks=2):
    x, scale, bias, g, residual = inputs(x_type, y_type, width, rows)
    dx, partial = unwritten((rows, width), x_type), unwritten((2, blocks, width), "float")
    mean, inverse_std = (stored(s, "float") for s in statistics(x))
    kernels = module("layer_norm.cu", bug, X=x_type, Y=y_type, WIDTH=width)
    args = [g, x, scale, mean, inverse_std, residual if with_residual else None, dx, partial, np.int32(rows)]
    kernels.launch("layer_norm_backward", blocks, 128, args, reverse=reverse)
    _, vjp = ops.layer_norm(numbers(x), numbers(scale), numbers(bias), eps=EPS)
    expected, dscale, dbias = vjp(numbers(g))
    assert_near(dx, expected + numbers(residual) * with_residual)
    assert_near(partial.sum(axis=1), np.stack([dscale, dbias]), tolerance=5e-6)


@both_orders
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case, reverse):
    check_forward(*case, reverse)


@both_orders
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(case, reverse):
    check_backward(*case, reverse)


def test_what_may_be_null():
    check_forward(*CASES[0], reverse=False, with_statistics=False)
    check_backward(*CASES[0], reverse=False, with_residual=False)


@pytest.mark.parametrize("blocks", [1, 3, 5])
def test_any_number_of_blocks(blocks):
    check_backward(*CASES[0], reverse=False, blocks=blocks)


def test_rows_at_any_address():
    """A view that begins in the middle of a vector: read one element at a time."""
    x, scale, bias, *_ = inputs("bf16", "bf16", 264, 5)
    crooked = np.concatenate([x.reshape(-1)[:1], x.reshape(-1)])[1:].reshape(x.shape)
    y = unwritten(x.shape, "bf16")
    args = [crooked, scale, bias, y, None, None, np.int32(5), np.float32(EPS)]
    module("layer_norm.cu", X="bf16", Y="bf16", WIDTH=264).launch("layer_norm_forward", 2, 128, args)
    assert_near(y, ops.layer_norm(numbers(x), numbers(scale), numbers(bias), eps=EPS)[0])


@pytest.mark.parametrize(
    ("check", "bug"),
    [
        (check_forward, ("/ WIDTH + eps", "/ WIDTH")),
        (check_forward, (" * scales[j] + biases[j]", " * scales[j]")),
        (check_forward, ("if (row >= rows) return;", "")),
        (check_forward, ("values[i][j] -= row_mean;", "")),
        (check_forward, ("if (column < WIDTH) load", "load")),
        (check_backward, ("        __syncthreads();\n", "")),
        (check_backward, ("        __syncthreads();  // before", "  // before")),
        (check_backward, ("if (residual) load", "if (false) load")),
        (check_backward, ("h[i][j] *= scales[j];", "")),
        (check_backward, (" - x_hat[i][j] * mean_h_x_hat", "")),
        (check_backward, ("row += gridDim.x * WARPS", "row += rows")),
    ],
    ids=lambda value: value[0].strip() if isinstance(value, tuple) else value.__name__,
)
@pytest.mark.planted
def test_a_planted_error_is_found(check, bug):
    must_fail(check, "bf16", "bf16", 264, 13, bug=bug)

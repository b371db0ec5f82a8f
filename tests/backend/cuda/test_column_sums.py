"""column_sums.cu against the sum over rows."""

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

pytestmark = needs_compiler


def check_sums(shape, dtype, reverse, bug=None, shares=3):
    rows, width = shape
    x = normal(np.random.default_rng(width), shape, dtype)
    partial, total = unwritten((shares, width), "float"), unwritten((width,), "float")
    columns = -(-width // 128)
    sizes = np.int64(rows), np.int32(width)
    module("column_sums.cu", bug, T=dtype).launch(
        "column_sums", (columns, shares), 64, [x, partial, None, *sizes], reverse=reverse
    )
    sizes = np.int64(shares), np.int32(width)
    module("column_sums.cu", bug, T="float").launch(
        "column_sums", (columns, 1), 1024, [partial, total, None, *sizes], reverse=reverse
    )
    assert_near(total, numbers(x).sum(axis=0), 5e-6)


@both_orders
@both_types
@pytest.mark.parametrize("shape", [(1, 1), (50, 10), (9, 130), (40, 256), (7, 300)], ids=str)
def test_column_sums(shape, dtype, reverse):
    check_sums(shape, dtype, reverse)


def check_two_sums(shape, reverse, bug=None):
    rows, width = shape
    x = normal(np.random.default_rng(width), (2, rows, width), "float")
    first, second = unwritten((width,), "float"), unwritten((width,), "float")
    args = [x, first, second, np.int64(rows), np.int32(width)]
    module("column_sums.cu", bug, T="float").launch(
        "column_sums", (-(-width // 128), 1, 2), 1024, args, reverse=reverse
    )
    assert_near(np.stack([first, second]), numbers(x).sum(axis=1), 5e-6)


@both_orders
@pytest.mark.parametrize("shape", [(9, 130), (40, 256)], ids=str)
def test_two_matrices_into_two_arrays(shape, reverse):
    check_two_sums(shape, reverse)


@pytest.mark.parametrize("bug", [("x += blockIdx.z * rows * width;", ""), ("partial = second", "second = partial")])
@pytest.mark.planted
def test_an_error_planted_in_the_second_matrix_is_found(bug):
    must_fail(check_two_sums, (9, 130), bug=bug)


@pytest.mark.parametrize(
    "bug",
    [
        ("    __syncthreads();\n", ""),
        ("if (column >= width) continue;", ""),
        ("lane * VECTOR + j : lane + j", "lane + j * WARP_SIZE : lane + j"),
        ("row += step", "row += rows"),
        ("blockIdx.y + static_cast<long long>(gridDim.y)", "blockIdx.y + static_cast<long long>(1)"),
    ],
    ids=lambda bug: bug[0].strip(),
)
@pytest.mark.planted
def test_a_planted_error_is_found(bug):
    must_fail(check_sums, (40, 256) if "VECTOR" in bug[0] else (40, 130 - 1), "bf16", bug=bug)

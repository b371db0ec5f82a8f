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
        "column_sums", (columns, shares), 64, [x, partial, *sizes], reverse=reverse
    )
    sizes = np.int64(shares), np.int32(width)
    module("column_sums.cu", bug, T="float").launch(
        "column_sums", (columns, 1), 1024, [partial, total, *sizes], reverse=reverse
    )
    assert_near(total, numbers(x).sum(axis=0), 5e-6)


@both_orders
@both_types
@pytest.mark.parametrize("shape", [(1, 1), (50, 10), (9, 130), (40, 256), (7, 300)], ids=str)
def test_column_sums(shape, dtype, reverse):
    check_sums(shape, dtype, reverse)


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
def test_a_planted_error_is_found(bug):
    must_fail(check_sums, (40, 256) if "VECTOR" in bug[0] else (40, 130 - 1), "bf16", bug=bug)

"""embedding.cu against ops.embedding."""

import numpy as np
import pytest
from cuda_on_cpu.kernels import assert_near, both_orders, module, must_fail, needs_compiler, normal, unwritten

from minivit import ops

pytestmark = needs_compiler
SHAPES = [(1, 1, 1), (7, 5, 3), (40, 9, 70), (75, 3, 600)]  # ids, rows of the table, width


def launch(name, arrays, shape, reverse, bug, grid):
    count, rows, width = shape
    args = [*arrays, np.int64(count), np.int32(rows), np.int32(width)]
    module("embedding.cu", bug).launch(name, grid, 64, args, reverse=reverse)


def inputs(shape):
    count, rows, width = shape
    rng = np.random.default_rng(count)
    ids = np.minimum(rng.integers(0, rows, count), rng.integers(0, rows, count)).astype(np.int32)
    return normal(rng, (rows, width), "float"), ids, normal(rng, (count, width), "float")


def check_forward(shape, reverse, bug=None):
    table, ids, g = inputs(shape)
    y = unwritten(g.shape, "float")
    launch("embedding_forward", [table, ids, y], shape, reverse, bug, 2)
    np.testing.assert_array_equal(y, table[ids])


def check_backward(shape, reverse, bug=None):
    table, ids, g = inputs(shape)
    dtable = unwritten(table.shape, "float")
    launch("embedding_backward", [g, ids, dtable], shape, reverse, bug, (2, -(-shape[2] // 512)))
    expected = ops.embedding(table.astype("float64"), ids)[1](g.astype("float64"))[0]
    assert_near(dtable, expected)


@both_orders
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_embedding(check, shape, reverse):
    check(shape, reverse)


def test_a_row_that_is_not_there_is_nan():
    table, y = np.ones((3, 5), np.float32), np.zeros((4, 5), np.float32)
    launch("embedding_forward", [table, np.array([0, 3, -1, 2], np.int32), y], (4, 3, 5), False, None, 1)
    np.testing.assert_array_equal(y, np.array([1, np.nan, np.nan, 1])[:, None] * np.ones(5))


@pytest.mark.parametrize(
    ("check", "bug"),
    [
        (check_forward, ("n * width + column", "n + column")),
        (check_forward, ("column += WARP_SIZE", "column += 2 * WARP_SIZE")),
        (check_forward, ("n += row_step()", "n += count")),
        (check_backward, ("ids[start + lane] == row", "ids[start] == row")),
        (check_backward, ("__ffs(found) - 1", "__ffs(found)")),
        (check_backward, ("start < count", "start + WARP_SIZE < count")),
        (check_backward, ("sums[j] += g_row", "sums[j] = g_row")),
        (check_backward, ("blockIdx.y * COLUMNS + lane", "lane")),
        (check_backward, ("row += row_step()", "row += rows")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_planted_error_is_found(check, bug):
    must_fail(check, (75, 9, 600), bug=bug)

"""Relative positions: numbers of offsets, and what is made of them, against loops."""

import itertools
import math

import numpy as np
import pytest

from minivit.gradcheck import check_gradients
from minivit.models.relative import (
    RelativeMLP,
    RelativeTable,
    alibi_bias,
    alibi_slopes,
    distances,
    log_offsets,
    relative_index,
    table_rows,
)

GRIDS = [(2, 3), (1, 4), (3, 1), (1, 1)]


def places(grid):
    return list(np.ndindex(grid))


@pytest.mark.parametrize("grid", GRIDS)
def test_every_offset_has_its_number(grid):
    index = relative_index(grid)
    of_offset = {}
    for (n, (y1, x1)), (m, (y2, x2)) in itertools.product(enumerate(places(grid)), repeat=2):
        number = (y1 - y2 + grid[0] - 1) * (2 * grid[1] - 1) + x1 - x2 + grid[1] - 1
        assert index[n, m] == number
        assert of_offset.setdefault(number, (y1 - y2, x1 - x2)) == (y1 - y2, x1 - x2)
    assert len(of_offset) == table_rows(grid) == index.max() + 1


@pytest.mark.parametrize("grid", GRIDS)
def test_beit_has_three_numbers_more_for_the_class(grid):
    index, rows = relative_index(grid, class_token=True), table_rows(grid)
    assert np.array_equal(index[1:, 1:], relative_index(grid))
    assert (index[0, 1:] == rows).all()
    assert (index[1:, 0] == rows + 1).all()
    assert index[0, 0] == rows + 2 == table_rows(grid, class_token=True) - 1


def test_a_table_has_a_row_of_each_offset_and_a_column_of_each_head():
    rng = np.random.default_rng(0)
    module = RelativeTable((2, 3), 2, True, "float64")
    assert not module.table.data.any()
    module.table.data[...] = rng.normal(size=module.table.shape)
    bias = module().data
    index = relative_index((2, 3), True)
    for h, n, m in itertools.product(range(2), range(7), range(7)):
        assert bias[h, n, m] == module.table.data[index[n, m], h]
    assert not np.allclose(bias, bias.transpose(0, 2, 1))


@pytest.mark.parametrize("swin", [False, True])
@pytest.mark.parametrize("before", [0, 2])
def test_a_network_gives_the_same_number_to_the_same_offset(swin, before):
    grid = 2, 3
    module = RelativeMLP(grid, 2, np.random.default_rng(0), "float64", hidden=5, before=before, swin=swin)
    module.hidden.bias.data[...] = np.arange(5) / 5
    bias = module().data
    assert bias.shape == (2, 6 + before, 6 + before)
    assert not bias[:, :before].any()
    assert not bias[:, :, :before].any()
    for (n, (y1, x1)), (m, (y2, x2)) in itertools.product(enumerate(places(grid)), repeat=2):
        d = [y1 - y2, x1 - x2]
        if swin:
            d = [8 * d[0] / (grid[0] - 1), 8 * d[1] / (grid[1] - 1)]
        logs = [math.copysign(math.log(1 + abs(one)), one) / (math.log(8) if swin else 1) for one in d]
        hidden = np.maximum(logs @ module.hidden.weight.data + module.hidden.bias.data, 0)
        out = hidden @ module.out.weight.data + (0 if swin else module.out.bias.data)
        out = 16 / (1 + np.exp(-out)) if swin else out
        assert np.allclose(bias[:, before + n, before + m], out)
    assert (module.out.bias is None) == swin


def test_the_network_learns_from_every_pair():
    module = RelativeMLP((2, 2), 2, np.random.default_rng(0), "float64", hidden=4)
    module.hidden.bias.data[...] = 0.3
    check_gradients(lambda *parameters: module(), *module.parameters())


def test_offsets_of_a_single_row_are_zero_and_finite():
    for swin in (False, True):
        found = log_offsets((1, 3), swin)
        assert found.shape == (5, 2)
        assert not found[:, 0].any()
        assert np.isfinite(found).all()
        assert np.array_equal(found, -found[::-1])


def test_slopes_of_alibi():
    assert np.allclose(alibi_slopes(8), 2.0 ** -np.arange(1, 9))
    assert np.allclose(alibi_slopes(1), [2**-8])
    assert np.allclose(alibi_slopes(4), 2.0 ** -np.array([2, 4, 6, 8]))
    assert np.allclose(alibi_slopes(6), 2.0 ** -np.array([2, 4, 6, 8, 1, 3]))
    assert np.allclose(alibi_slopes(12), 2.0 ** -np.array([1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]))
    assert len(alibi_slopes(7)) == 7


def test_alibi_sinks_with_the_distance():
    for (n, a), (m, b) in itertools.product(enumerate(places((2, 3))), repeat=2):
        assert distances((2, 3))[n, m] == pytest.approx(math.dist(a, b))
    bias = alibi_bias((2, 3), 2)
    assert bias.shape == (2, 6, 6)
    assert np.allclose(bias[1], -(2.0**-8) * distances((2, 3)))

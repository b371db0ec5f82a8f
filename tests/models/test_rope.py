"""Rotary positions: angles against loops, and what they are for, scores that know differences of places only."""

import cmath
import math

import numpy as np
import pytest

from minivit import functional as F
from minivit.gradcheck import check_gradients
from minivit.models.rope import Rope, axial_angles, dinov3_angles, mixed_frequencies, mixed_places, turn
from minivit.tensor import Tensor

GRID = 2, 3


def test_axial_angles_by_loops():
    found = axial_angles(GRID, 8, 100.0)
    assert found.shape == (6, 1, 4)
    for n, (row, column) in enumerate(np.ndindex(GRID)):
        assert np.allclose(found[n, 0], [row, row / 10, column, column / 10], atol=1e-15)
    x_first = axial_angles(GRID, 8, 100.0, x_first=True)
    assert np.array_equal(x_first, np.roll(found, 2, axis=-1))
    stretched = axial_angles(GRID, 8, 100.0, trained=(4, 6), first=1.0)
    for n, (row, column) in enumerate(np.ndindex(GRID)):
        row, column = 2.0 * (row + 1), 2.0 * (column + 1)
        assert np.allclose(stretched[n, 0], [row, row / 10, column, column / 10], atol=1e-15)


def test_dinov3_angles_span_the_same_range_on_both_axes():
    found = dinov3_angles((2, 4), 4)[:, 0]
    assert found.shape == (8, 2)
    assert np.allclose(found[:, 0].reshape(2, 4)[:, 0], 2 * math.pi * np.array([-0.5, 0.5]))
    assert np.allclose(found[:, 1].reshape(2, 4)[0], 2 * math.pi * np.array([-0.75, -0.25, 0.25, 0.75]))


def test_tables_are_float64():
    assert axial_angles(GRID, 8).dtype == dinov3_angles(GRID, 8).dtype == np.float64


def score(rope, q, k, grid, block=0):
    """(N, N, H): every query against every key, after both are turned."""
    angles = rope.angles(grid, block, q)
    tokens = [np.broadcast_to(x, (1, grid[0] * grid[1], *x.shape)) for x in (q, k)]
    q, k = (rope(Tensor(x.copy()), angles).data[0] for x in tokens)
    return np.einsum("nhd,mhd->nmh", q, k)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("kind", ["axial", "mixed", "dinov3"])
def test_scores_depend_on_differences_of_places_only(kind, halves):
    rng = np.random.default_rng(0)
    rope = Rope(kind, 8, 2, 3, rng, "float64", halves=halves)
    scores = score(rope, rng.normal(size=(2, 8)), rng.normal(size=(2, 8)), (3, 4), 2).reshape(3, 4, 3, 4, 2)
    assert np.allclose(scores[1:, 1:, 1:, 1:], scores[:-1, :-1, :-1, :-1])
    assert not np.allclose(scores[0, 0, 0, 0], scores[0, 0, 0, 1])
    assert not np.allclose(scores[0, 0, 0, 1], scores[0, 0, 1, 0])


def test_pairs_turn_as_complex_numbers_and_other_tokens_stay():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 2 + 6, 2, 8))
    for halves in (False, True):
        rope = Rope("axial", 8, 2, 1, None, "float64", halves=halves)
        angles = rope.angles(GRID, 0, x)
        y = rope(Tensor(x), angles).data
        assert np.array_equal(y[:, :2], x[:, :2])
        for j in range(4):
            a, b = (j, 4 + j) if halves else (2 * j, 2 * j + 1)
            z = (x[1, 3, 1, a] + 1j * x[1, 3, 1, b]) * cmath.exp(1j * angles[1, 0, j])
            assert np.allclose((y[1, 3, 1, a], y[1, 3, 1, b]), (z.real, z.imag))
        assert np.array_equal(rope(Tensor(x[:, 2:]), angles).data, y[:, 2:])


@pytest.mark.parametrize("halves", [False, True])
def test_learned_angles_turn_as_constant_ones_and_have_a_gradient(halves):
    rng = np.random.default_rng(0)
    x, angles = rng.normal(size=(2, 6, 2, 8)), rng.normal(size=(6, 2, 4))
    assert np.allclose(turn(Tensor(x), Tensor(angles), halves).data, F.rotate(x, angles, halves).data, atol=1e-15)
    check_gradients(lambda a, b: turn(a, b, halves), x[:1], angles)


def test_learned_frequencies_give_each_block_and_head_its_own_angles():
    rope = Rope("mixed", 8, 2, 3, np.random.default_rng(0), "float64", x_first=True)
    assert rope.frequencies.shape == (2, 3, 2, 4)
    like = np.zeros(1)
    for block in (0, 2):
        angles = rope.angles(GRID, block, like).data
        for n, (row, column) in enumerate(np.ndindex(GRID)):
            f, g = rope.frequencies.data[:, block]
            assert np.allclose(angles[n], column * f + row * g)
    rows_first = Rope("mixed", 8, 2, 3, np.random.default_rng(0), "float64", x_first=False)
    assert np.allclose(rows_first.angles(GRID, 0, like).data[1], rope.frequencies.data[1, 0])
    assert np.array_equal(mixed_places(GRID, True)[0], mixed_places(GRID, False)[1])


def test_frequencies_begin_as_axes_at_right_angles_turned_at_random():
    f, g = mixed_frequencies(np.random.default_rng(0), 3, 5, 8)
    size = np.hypot(f, g)
    assert np.allclose(size, np.tile([1, 10**-0.5], 2))
    assert np.allclose(f[..., :2] * f[..., 2:] + g[..., :2] * g[..., 2:], 0)
    turns = np.arctan2(g, f)[..., 0]
    assert len(np.unique(turns.round(6))) == 15
    assert np.allclose(np.arctan2(g, f)[..., 1], turns)
    assert not mixed_frequencies(None, 3, 5, 8).any()


def test_bases_are_those_of_the_forms_unless_another_is_given():
    assert [Rope(kind, 8, 1, 1, None).base for kind in ("axial", "mixed", "dinov3")] == [10_000.0, 10.0, 100.0]
    assert Rope("axial", 8, 1, 1, None, base=7.0).base == 7.0
    assert not Rope("axial", 8, 1, 1, None).parameters()

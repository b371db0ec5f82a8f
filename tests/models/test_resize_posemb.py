"""Resizing position embeddings: recorded tables, loops that follow each convention, and what must not change."""

import math

import numpy as np
import pytest

from minivit.models import resize_posemb

GRIDS = [((3, 5), (7, 4)), ((4, 2), (2, 6)), ((5, 4), (9, 13)), ((6, 7), (3, 2)), ((1, 3), (4, 1)), ((3, 1), (1, 5))]
METHODS = ["align_corners", "half_pixel", "bicubic"]


def table(grid, prefix=1, features=3, seed=0):
    return np.random.default_rng(seed).standard_normal((1, prefix + grid[0] * grid[1], features))


# (position of new index i on the old axis, number of neighbours, weight of a neighbour at distance d)


def triangle(d):
    return max(0.0, 1 - d)


def keys_cubic(d, a=-0.75):
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


CONVENTIONS = {
    "align_corners": (lambda i, old, new: i * (old - 1) / (new - 1) if new > 1 else 0.0, triangle),
    "half_pixel": (lambda i, old, new: (i + 0.5) * old / new - 0.5, triangle),
    "bicubic": (lambda i, old, new: (i + 0.5) * old / new - 0.5, keys_cubic),
}


def resized_by_loops(posemb, old, new, prefix, method):
    """One new patch at a time: the weighted sum of the old patches around it, those beyond the edge clamped to it."""
    place, weight = CONVENTIONS[method]
    grid = posemb[0, prefix:].reshape(*old, -1)
    rows = list(posemb[0, :prefix])
    for i in range(new[0]):
        for j in range(new[1]):
            y, x = place(i, old[0], new[0]), place(j, old[1], new[1])
            total = np.zeros(grid.shape[2])
            for m in range(math.floor(y) - 1, math.floor(y) + 3):
                for n in range(math.floor(x) - 1, math.floor(x) + 3):
                    clamped = grid[min(max(m, 0), old[0] - 1), min(max(n, 0), old[1] - 1)]
                    total += weight(abs(y - m)) * weight(abs(x - n)) * clamped
            rows.append(total)
    return np.array(rows)[None]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), GRIDS)
@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_against_loops(old, new, prefix, method):
    posemb = table(old, prefix)
    expected = resized_by_loops(posemb, old, new, prefix, method)
    resized = resize_posemb(posemb, old, new, prefix, method)
    assert resized.shape == (1, prefix + new[0] * new[1], 3)
    np.testing.assert_allclose(resized, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("recorded", "method", "tolerance"),
    [
        ("14to24_cls/official", "align_corners", 1e-12),
        ("24to14_cls/official", "align_corners", 1e-12),
        ("14to24_nocls/official", "align_corners", 1e-12),
        ("24to14_nocls/official", "align_corners", 1e-12),
        ("14to24_cls/timm_bilinear", "half_pixel", 1e-5),  # timm computes in float32
        ("24to14_cls/timm_bilinear", "half_pixel", 1e-5),
        ("14to24_cls/torch_bicubic_noaa", "bicubic", 1e-12),
        ("24to14_cls/torch_bicubic_noaa", "bicubic", 1e-12),
        ("14to24_cls/timm_bicubic_aa", "bicubic_antialias", 1e-5),  # as above
        ("24to14_cls/timm_bicubic_aa", "bicubic_antialias", 1e-5),
    ],
)
def test_recorded_tables(vectors, recorded, method, tolerance):
    tables, case = vectors("posembed"), recorded.partition("/")[0]
    old, new = (int(side) for side in case.partition("_")[0].split("to"))
    prefix = int(case.endswith("_cls"))
    resized = resize_posemb(tables[f"{case}/in"], (old, old), (new, new), prefix, method)
    np.testing.assert_allclose(resized, tables[recorded], rtol=0, atol=tolerance)


def test_the_published_convention_is_the_default(vectors):
    tables = vectors("posembed")
    resized = resize_posemb(tables["14to24_cls/in"], (14, 14), (24, 24))
    np.testing.assert_allclose(resized, tables["14to24_cls/official"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prefix", [0, 1])
def test_an_equal_grid_gives_an_equal_copy(prefix, method):
    posemb = table((5, 7), prefix)
    same = resize_posemb(posemb, (5, 7), (5, 7), prefix, method)
    np.testing.assert_array_equal(same, posemb)
    assert not np.shares_memory(same, posemb)


@pytest.mark.parametrize("method", [*METHODS, "bicubic_antialias"])
def test_the_class_token_is_copied_and_touches_nothing_else(method):
    posemb = table((3, 3))
    other = posemb.copy()
    other[0, 0] = 100
    one, two = (resize_posemb(t, (3, 3), (5, 4), 1, method) for t in (posemb, other))
    np.testing.assert_array_equal(one[0, 0], posemb[0, 0])
    np.testing.assert_array_equal(two[0, 0], other[0, 0])
    np.testing.assert_array_equal(one[0, 1:], two[0, 1:])


@pytest.mark.parametrize("method", [*METHODS, "bicubic_antialias"])
def test_a_constant_table_stays_constant(method):
    resized = resize_posemb(np.full((1, 12, 2), 3.0), (3, 4), (8, 5), 0, method)
    np.testing.assert_allclose(resized, 3.0, rtol=1e-14)


def test_rows_and_columns_are_not_exchanged():
    """A table that counts rows and columns still does; with aligned corners exactly, from first to last."""
    y, x = np.mgrid[:3, :5]
    posemb = np.stack([y, x], axis=-1).reshape(1, 15, 2).astype(float)
    resized = resize_posemb(posemb, (3, 5), (5, 9), prefix=0).reshape(5, 9, 2)
    y, x = np.mgrid[0:2:5j, 0:4:9j]
    np.testing.assert_allclose(resized, np.stack([y, x], axis=-1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_dtype_is_kept_and_a_flat_table_accepted(method):
    posemb = table((3, 3))
    wide = resize_posemb(posemb, (3, 3), (4, 6), 1, method)
    narrow = resize_posemb(posemb.astype("float32"), (3, 3), (4, 6), 1, method)
    assert (wide.dtype, narrow.dtype) == ("float64", "float32")
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(resize_posemb(posemb[0], (3, 3), (4, 6), 1, method), wide[0])


@pytest.mark.parametrize(("grid", "prefix"), [((3, 3), 0), ((3, 4), 1), ((9, 1), 2)])
def test_a_table_that_does_not_fit_its_grid(grid, prefix):
    with pytest.raises(ValueError, match=rf"table \(1, 10, 3\) has not {prefix} \+ {grid[0]} x {grid[1]} rows"):
        resize_posemb(table((3, 3)), grid, (4, 4), prefix)


def test_an_unknown_method():
    with pytest.raises(ValueError, match='method is "quick", expected one of align_corners, half_pixel, bicubic'):
        resize_posemb(table((3, 3)), (3, 3), (4, 4), method="quick")

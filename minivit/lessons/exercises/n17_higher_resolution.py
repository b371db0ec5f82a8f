"""Exercises of notebook 17, fine-tuning at higher resolution."""

from collections.abc import Callable

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number
from minivit.models.posemb import resize_matrix, resize_posemb

Grid = tuple[int, int]
Weights = Callable[[int, int], np.ndarray]


def corner_weights(old: int, new: int) -> np.ndarray:
    """Weights along one axis as the published code has them: (new, old)."""
    return resize_matrix(old, new, "align_corners")


def half_pixel_weights(old: int, new: int) -> np.ndarray:
    """Weights along one axis with patch centres at half-integers: (new, old)."""
    return resize_matrix(old, new, "half_pixel")


def _resized(table, old, new, weights):
    return resize_posemb(table, old, new, method="half_pixel" if weights is half_pixel_weights else "align_corners")


def _own_weights(table, old, new, weights):
    return resize_posemb(table, old, new)


def _own_weights_backward(d_new, old, new, weights):
    return _backward(d_new, old, new, corner_weights)


def _transposed(table, old, new, weights):
    """The grid is read column by column."""
    grid = table[1:].reshape(old[1], old[0], -1)
    moved = np.einsum("iu,jv,vud->jid", weights(old[0], new[0]), weights(old[1], new[1]), grid)
    return np.concatenate([table[:1], moved.reshape(-1, table.shape[1])])


def _as_a_list(table, old, new, weights):
    return np.concatenate([table[:1], weights(len(table) - 1, new[0] * new[1]) @ table[1:]])


def _class_row_in_list(table, old, new, weights):
    return weights(len(table), 1 + new[0] * new[1]) @ table


def _class_row_last(table, old, new, weights):
    resized = _resized(table, old, new, weights)
    return np.concatenate([resized[1:], resized[:1]])


def _new_grid_by_columns(table, old, new, weights):
    resized = _resized(table, old, new, weights)
    grid = resized[1:].reshape(*new, -1).swapaxes(0, 1)
    return np.concatenate([resized[:1], grid.reshape(-1, table.shape[1])])


def _backward(d_new, old, new, weights):
    grid = d_new[1:].reshape(*new, -1)
    d = np.einsum("iu,jv,ijd->uvd", weights(old[0], new[0]), weights(old[1], new[1]), grid)
    return np.concatenate([d_new[:1], d.reshape(-1, d_new.shape[1])])


def _undone(d_new, old, new, weights):
    """The pseudo-inverse."""
    return _backward(d_new, old, new, lambda old, new: np.linalg.pinv(weights(old, new)).T)


def _class_row_zero(d_new, old, new, weights):
    d = _backward(d_new, old, new, weights)
    d[0] = 0
    return d


def _averaged(d_new, old, new, weights):
    """Divided by how much of an old place is in the new ones."""
    d = _backward(d_new, old, new, weights)
    sums = np.outer(weights(old[0], new[0]).sum(axis=0), weights(old[1], new[1]).sum(axis=0))
    d[1:] /= sums.reshape(-1, 1)
    return d


def _nearest(old: int, new: int) -> np.ndarray:
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.eye(old)[np.rint(places).astype(int)]


def _unclipped(old: int, new: int) -> np.ndarray:
    """Extrapolates beyond the first and the last place."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    below = np.clip(np.floor(places).astype(int), 0, old - 2)
    weights = np.zeros((new, old))
    weights[np.arange(new), below] = 1 - (places - below)
    weights[np.arange(new), below + 1] = places - below
    return weights


def _half_forgotten(old: int, new: int) -> np.ndarray:
    """The left edges of the patches in the place of their centres."""
    places = np.clip(np.arange(new) * old / new, 0, old - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)))


# old grid, new grid, width, weights
GRIDS = (
    ((3, 4), (5, 6), 2, corner_weights),
    ((2, 5), (4, 7), 3, half_pixel_weights),
    ((4, 2), (3, 5), 1, corner_weights),
)


def _tables(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((1 + h * w, d)), (h, w), new, weights) for (h, w), new, d, weights in GRIDS]


def _gradients(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((1 + h * w, d)), old, (h, w), weights) for old, (h, w), d, weights in GRIDS]


EXERCISES = [
    Exercise(
        "17.1",
        number(
            577,
            {
                576: "These are the patches. The [class] token has a position embedding of its own.",
                197: "This is the table before: (224 / 16)^2 + 1.",
                24: "This is the number of patches along one side.",
                147457: "One row per pixel? One per patch.",
            },
        ),
        "24 x 24 + 1: nearly three times as many tokens as before, more than eight times as many attention weights.",
    ),
    Exercise(
        "17.2",
        function_like(
            lambda old, new: resize_matrix(old, new, "half_pixel"),
            lambda rng: [(3, 5), (4, 7), (5, 3), (6, 4)],
            {
                "These are the weights of align_corners: the first and the last place coincide.": corner_weights,
                "This takes the nearest old place alone; linear interpolation mixes two.": _nearest,
                "Places before the first and behind the last one are extrapolated: limit the coordinate to "
                "0..old-1.": _unclipped,
                "A patch's centre is half a patch from its edge: (i + 1/2) old / new - 1/2.": _half_forgotten,
                "The weights are transposed: a row for each new place.": (
                    lambda old, new: resize_matrix(old, new, "half_pixel").T
                ),
            },
        ),
        "It treats all patches alike, whereas align_corners fixes the outermost ones: two answers to what a place is.",
    ),
    Exercise(
        "17.3",
        function_like(
            _resized,
            _tables,
            {
                "The table is in row-major order: its grid is (h, w), row by row.": _transposed,
                "The new grid, too, is to be written row by row.": _new_grid_by_columns,
                "This stretches the table as if it were a list: the end of one row of patches is mixed with the "
                "beginning of the next.": _as_a_list,
                "The [class] row was interpolated with the others. It has no place in the image: copy it.": (
                    _class_row_in_list
                ),
                "The [class] row comes first.": _class_row_last,
                "The [class] row is missing.": lambda *given: _resized(*given)[1:],
                "Use the weights that you are given; they need not be those of align_corners.": _own_weights,
            },
        ),
        "This is resize_posemb, for any weights.",
    ),
    Exercise(
        "17.4",
        function_like(
            _backward,
            _gradients,
            {
                "This interpolates the gradient back to the old grid. The pullback of A G B^T has the same weights, "
                "transposed: A^T dG' B.": lambda d, old, new, weights: _resized(d, new, old, weights),
                "Use the weights that you are given; they need not be those of align_corners.": _own_weights_backward,
                "This undoes the interpolation, with the inverse. The pullback is the transpose.": _undone,
                "The [class] row was copied, so its gradient is copied as well.": _class_row_zero,
                "No division: an old place that contributes to many new ones collects from all of them.": _averaged,
            },
        ),
        "For a linear map the pullback is its transpose, whatever the map is.",
    ),
]

"""Exercises of notebook 17, fine-tuning at higher resolution."""

from collections.abc import Callable

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import number
from minivit.lessons.slips.half_pixel import SLIPS, corner_weights, half_pixel_weights, nearest
from minivit.models.posemb import resize_posemb

Grid = tuple[int, int]
Weights = Callable[[int, int], np.ndarray]


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


def _with_first(table, row):
    return np.concatenate([row[None], table[1:]])


def _by_columns(table, grid):
    """A table of a grid (rows, columns) whose rows are taken as if it had been written column by column."""
    d = table[1:].reshape(grid[1], grid[0], -1).swapaxes(0, 1)
    return np.concatenate([table[:1], d.reshape(-1, table.shape[1])])


def _resized_by(table, old, new, weights):
    grid = table[1:].reshape(*old, -1)
    moved = np.einsum("iu,jv,uvd->ijd", weights(old[0], new[0]), weights(old[1], new[1]), grid)
    return np.concatenate([table[:1], moved.reshape(-1, table.shape[1])])


# old grid, new grid, width, weights
GRIDS = (
    ((3, 4), (5, 6), 2, corner_weights),
    ((2, 5), (4, 7), 3, half_pixel_weights),
    ((4, 2), (3, 5), 1, corner_weights),
    ((3, 3), (2, 4), 4, half_pixel_weights),
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
                196: "This is the table before, without the [class] token.",
                25: "These are the patches along one side and the [class] token; patches fill a square.",
                578: "There is one [class] token.",
                9217: "The pixels are divided by 16 in both directions: (384 / 16)^2 patches.",
                9216: "The pixels are divided by 16 in both directions: (384 / 16)^2 patches.",
                380: "576 - 196 patches are new; the table has all of them.",
            },
        ),
        "24 x 24 + 1: nearly three times as many tokens as before, more than eight times as many attention weights.",
    ),
    Exercise(
        "17.2",
        diagnosed(
            half_pixel_weights,
            lambda rng: [(3, 5), (4, 7), (5, 3), (6, 4), (2, 8), (9, 3), (4, 4), (7, 1), (12, 3), (1, 4)],
            SLIPS,
            allowed=(),
            where={
                "the grid shrinks": lambda old, new: new < old,
                "the grid grows": lambda old, new: new > old,
                "old is no multiple of new": lambda old, new: old % new > 0,
            },
        ),
        "It treats all patches alike, whereas align_corners fixes the outermost ones: two answers to what a place is.",
    ),
    Exercise(
        "17.3",
        diagnosed(
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
                "Use the weights that you are given; they need not be those of half_pixel.": (
                    lambda table, old, new, weights: _resized_by(table, old, new, half_pixel_weights)
                ),
                "The [class] row is zero here: copy it.": (
                    lambda *given: _resized(*given) * (np.arange(1 + given[2][0] * given[2][1]) > 0)[:, None]
                ),
                "The [class] row is a mean of the others here: copy it.": (
                    lambda *given: np.concatenate([given[0][1:].mean(axis=0)[None], _resized(*given)[1:]])
                ),
                "This takes the nearest old place; use the weights that you are given.": (
                    lambda table, old, new, weights: _resized_by(table, old, new, nearest)
                ),
                "The rows are resized with the weights in reverse: place 0 is the first of the new ones, too.": (
                    lambda table, old, new, weights: _resized_by(table, old, new, lambda a, b: weights(a, b)[::-1])
                ),
            },
            allowed=(),
            where={
                "the weights are not those of align_corners": lambda *given: given[3] is half_pixel_weights,
                "the old grid is not square": lambda table, old, new, weights: old[0] != old[1],
            },
        ),
        "This is resize_posemb, for any weights.",
    ),
    Exercise(
        "17.4",
        diagnosed(
            _backward,
            _gradients,
            {
                "This interpolates the gradient back to the old grid. The pullback of W_rows G W_cols^T has the same "
                "weights, transposed: W_rows^T dG' W_cols.": lambda d, old, new, weights: _resized(
                    d, new, old, weights
                ),
                "Use the weights that you are given; they need not be those of align_corners.": _own_weights_backward,
                "Use the weights that you are given; they need not be those of half_pixel.": (
                    lambda d, old, new, weights: _backward(d, old, new, half_pixel_weights)
                ),
                "This undoes the interpolation, with the inverse. The pullback is the transpose.": _undone,
                "The [class] row was copied, so its gradient is copied as well.": _class_row_zero,
                "No division: an old place that contributes to many new ones collects from all of them.": _averaged,
                "The [class] row comes first, in the gradient as well.": (
                    lambda *given: np.roll(_backward(*given), -1, axis=0)
                ),
                "The [class] row is missing.": lambda *given: _backward(*given)[1:],
                "The [class] row collects nothing from the patches: its gradient is copied, not added to.": (
                    lambda *given: _with_first(_backward(*given), given[0].sum(axis=0))
                ),
                "The gradient of the new table is in row-major order: its grid is (h2, w2), row by row.": (
                    lambda d, old, new, weights: _backward(_by_columns(d, new), old, new, weights)
                ),
                "The old grid, too, is to be written row by row.": (
                    lambda d, old, new, weights: _by_columns(_backward(d, old, new, weights), old[::-1])
                ),
            },
            allowed=(),
            where={
                "the weights are not those of align_corners": lambda *given: given[3] is half_pixel_weights,
                "the old grid is not square": lambda d, old, new, weights: old[0] != old[1],
            },
        ),
        "For a linear map the pullback is its transpose, whatever the map is.",
    ),
]

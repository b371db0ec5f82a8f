"""Exercises of notebook 04, the [class] token and the positions."""

from functools import partial

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number


def _permuted(A, order):
    return A[order][:, order]


def _learned_2d_backward(dpositions, rows, columns, row_first=False, transposed=False):
    grid = dpositions.reshape(columns, rows, -1).swapaxes(0, 1) if transposed else dpositions.reshape(rows, columns, -1)
    halves = np.split(grid, 2, axis=-1)
    of_columns, of_rows = reversed(halves) if row_first else halves
    return of_rows.sum(axis=1), of_columns.sum(axis=0)


def _means(dpositions, rows, columns):
    dby_row, dby_column = _learned_2d_backward(dpositions, rows, columns)
    return dby_row / columns, dby_column / rows


def _relative_backward(q, k, r, dS, sign=1, through_r=True, scaled=True, add=True):
    """The right gradients; each of the last four arguments makes one mistake."""
    n = len(q)
    offset = sign * (np.arange(n)[:, None] - np.arange(n)) + n - 1  # (N, N): the row of r for each pair
    dS = dS / q.shape[1] ** 0.5 if scaled else dS
    dq = dS @ k + through_r * np.einsum("ij,ijc->ic", dS, r[offset])
    dr = np.zeros_like(r)
    if add:
        np.add.at(dr, offset, dS[:, :, None] * q[:, None])
    else:
        dr[offset] = dS[:, :, None] * q[:, None]
    return dq, dS.T @ q, dr


def _scores(rng: np.random.Generator) -> list[tuple]:
    return [
        (*rng.standard_normal((2, n, width)), rng.standard_normal((2 * n - 1, width)), rng.standard_normal((n, n)))
        for n, width in ((4, 3), (6, 5))
    ]


EXERCISES = [
    Exercise(
        "4.1",
        number(
            197 * 768,
            {
                196 * 768: "The [class] token has a position, too.",
                197: "This is the number of positions. Each has a vector of D numbers.",
                196: "This is the number of patches. Each position has a vector of D numbers, and one is missing.",
                198 * 768: "One position too many: 14 x 14 patches and the [class] token.",
                15 * 768: "14 is the number of patches along one side; the grid has 14 x 14.",
                225 * 768: "The grid has 224 / 16 = 14 patches along each side, not 15.",
            },
        ),
        "A small part of the model's 86 million (Table 1), and the only part that depends on the resolution.",
    ),
    Exercise(
        "4.2",
        function_like(
            _permuted,
            lambda rng: [(rng.standard_normal((n, n)), rng.permutation(n)) for n in (5, 8)],
            {
                "Only the rows, that is the queries, are reordered. The keys come in the new order, too.": (
                    lambda A, order: A[order]
                ),
                "Only the columns, that is the keys, are reordered. The queries come in the new order, too.": (
                    lambda A, order: A[:, order]
                ),
                "This reorders by the inverse permutation: token n of z[order] is token order[n] of z.": (
                    lambda A, order: _permuted(A, np.argsort(order))
                ),
                "A[order, order] picks N single entries, the diagonal in a new order.": lambda A, order: A[
                    order, order
                ],
            },
            allowed=(),
        ),
        "The proof: row 0 of the result is the sum over j of A[0, j] v[j]. After the shuffle it is the sum over n of "
        "A[order[0], order[n]] v[order[n]]; with order[0] = 0 these are the same terms in another order.",
    ),
    Exercise(
        "4.3",
        function_like(
            _learned_2d_backward,
            lambda rng: [
                (rng.standard_normal((rows * columns, width)), rows, columns)
                for rows, columns, width in ((2, 3, 8), (5, 4, 6))
            ],
            {
                "The halves are swapped: the column's vector comes first.": partial(
                    _learned_2d_backward, row_first=True
                ),
                "The patches are numbered row by row: the first axis of the grid is the row.": (
                    partial(_learned_2d_backward, transposed=True)
                ),
                "These are means. A vector that was used for several patches gets the sum of their gradients.": _means,
                "The two results are in the wrong order: dby_row comes first.": (
                    lambda *args: _learned_2d_backward(*args)[::-1]
                ),
            },
            allowed=(),
            results="dby_row dby_column",
        ),
        "What is used for a whole row of patches collects the gradients of that row.",
    ),
    Exercise(
        "4.4",
        function_like(
            _relative_backward,
            _scores,
            {
                "The offsets are counted the wrong way round: query minus key.": (partial(_relative_backward, sign=-1)),
                "q has a second use, in q . r, and its gradient a second term.": (
                    partial(_relative_backward, through_r=False)
                ),
                "The scores are divided by the root of D_h, and so are all three gradients.": (
                    partial(_relative_backward, scaled=False)
                ),
                "Many pairs share one offset, and dr is the sum over them; `dr[offset] = ...` and `+=` with an array "
                "of indices keep only one of each. See np.add.at.": partial(_relative_backward, add=False),
            },
            allowed=(),
            results="dq dk dr",
        ),
        "The gradient of r is made of sums along the diagonals of dS.",
    ),
]

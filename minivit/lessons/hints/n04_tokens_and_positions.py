"""Hints for the exercises of notebook 04."""

HINTS = {
    "4.1": (
        "How many rows does the position embedding have, and how long is a row?",
        "There is one row for each of the (224 / 16) x (224 / 16) patches, and one more.",
    ),
    "4.2": (
        "Entry (n, m) of A says how much token n attends to token m. Which two tokens are in rows n and m of z[order]?",
        "Row n of z[order] is row order[n] of z, and row m is row order[m]. Rows and columns of A are both reordered.",
        "Try N = 3 and order = [0, 2, 1] on paper. Then do it in two steps, rows and columns. `A[order, order]` picks "
        "single entries.",
    ),
    "4.3": (
        "by_row[i] was used by every patch in row i of the grid. What does a vector that is used several times get?",
        "Reshape dpositions to (rows, columns, D) and split the last axis in two halves. Which half came from "
        "which table?",
        "The first half belongs to by_column. Sum it over the rows of the grid, and the second half over the columns.",
    ),
    "4.4": (
        "Write S[n, m] with its two products. q[n] occurs in both, k[m] in one, and the vector of n - m in the other.",
        "Divide dS by the root of D_h first. Then dq[n] is a sum over m of dS[n, m] times the vectors that q[n] was "
        "multiplied by.",
        "In a loop over n and m, each pair adds to one row of dq, one of dk and one of dr. Many pairs share a row of "
        "dr. Without loops, see `np.add.at`.",
    ),
}

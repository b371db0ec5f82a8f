"""Hints for the exercises of notebook 04."""

HINTS = {
    "4.1": (
        "How many rows does the position embedding have, and how long is a row?",
        "There is one row for each of the (224 / 16) x (224 / 16) patches, and one more.",
    ),
    "4.2": (
        "Entry (i, j) of A says how much token i attends to token j. Which two tokens stand in the places i and j "
        "of z[order]?",
        "Place i of z[order] holds token order[i] of z, and place j holds token order[j]. Rows and columns are "
        "both reordered.",
        "Index the rows with `order` first, and then the columns of the result. `A[order, order]` does something else.",
    ),
    "4.3": (
        "by_row[i] was used by every patch in row i of the grid. What does a vector that is used several times get?",
        "Reshape dpositions to (rows, columns, D) and split the last axis in two halves. Which half came from "
        "which table?",
        "The first half belongs to by_column. Sum it over the rows of the grid, and the second half over the columns.",
    ),
    "4.4": (
        "Write S[i, j] with its two products. q[i] occurs in both, k[j] in one, and r[i - j] in the other.",
        "Divide dS by the root of D_h first. Then dq[i] is a sum over j of dS[i, j] times the vectors that q[i] "
        "was multiplied by.",
        "With loops over i and j: dq[i] collects dS[i, j] * (k[j] + r[o]), dk[j] collects dS[i, j] * q[i], and so "
        "does dr[o], with o = i - j + Np - 1. For the last one without loops, see `np.add.at`.",
    ),
}

"""Hints for the exercises of notebook 18, looking inside."""

HINTS = {
    "18.1": (
        "The centres lie at 0, 4 and 8 pixels. Take one query at a time.",
        "Uniform attention gives each of the three patches a third, the query's own patch included.",
        "Each of the nine pairs has the weight 1/3 for its query, and the three queries are averaged.",
    ),
    "18.2": (
        "Begin with the identity, and let one block after the other act on what is there.",
        "In each block take the mean over the heads, then mix it with the identity by the shares.",
        "The matrix of a block is kept[l] I + (1 - kept[l]) times the mean attention, multiplied from the left.",
    ),
    "18.3": (
        "First cut out the patches, in rows and in columns; then set the weight of the query itself to 0.",
        "Divide each row by what is left of its sum, and only then weigh the distances.",
        "Patch i lies in row i // columns and column i % columns; the distance is the root of the sum of two squares.",
    ),
    "18.4": (
        "U has one block of Dh rows for each head. What does head 0 alone add to token i from token j?",
        "Project the values of each head once; the attention weight is a factor in front.",
        "f[i, j] sums A[head, i, j] times the projected value over the heads; take lengths only after this sum.",
    ),
}

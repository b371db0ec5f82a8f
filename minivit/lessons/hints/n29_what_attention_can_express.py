"""Hints for the exercises of notebook 29."""

HINTS = {
    "29.1": (
        "Write down the weights of the right key and of the wrong keys to first order, as in step 6.",
        "Add the absolute differences of all keys, the right one included: a number times e^-alpha.",
        "The right key has lost as much as all wrong ones have gained. Set the sum to 1e-6, take logarithms.",
    ),
    "29.2": (
        "Take one query at the border, and ask which key is nearest to query + centre.",
        "Rows and columns are independent: bring each into the image.",
        "`np.clip` of the row numbers plus the centre's row gives the rows to take; columns likewise.",
    ),
    "29.3": (
        "Multiply the square out, as in steps 1 and 2; keep what depends on the offset.",
        "There are two mixed terms, which are equal because Q is symmetric, and two equal linear terms.",
        "The linear part is the offset times Q centre. Quadratic parts keep the 1/2, and the mixed one occurs twice.",
    ),
    "29.4": (
        "Let u be the place of the query and v that of the key, and expand the square of v - (u + centre).",
        "One of the three parts is the same for all keys of a query, so it may go. The other two depend on v.",
        "The keys are (v_1, v_2, |v|^2). Choose the three numbers of the query so that the product is right.",
    ),
}

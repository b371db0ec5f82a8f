"""Hints for the exercises of notebook 02, shapes."""

HINTS = {
    "2.1": (
        "In how many places is one entry of the bias used?",
        "It is used in every image and for every token. Sum over both, and keep the last axis.",
    ),
    "2.2": (
        "Write the product with indices: Y_nf is a sum over d. Which index does W have first?",
        "Y_nf = sum_d X_nd W_fd. For dX, sum over the index that X does not have; likewise for dW.",
        "dX_nd = sum_f dY_nf W_fd, dW_fd = sum_n dY_nf X_nd. Which of the factors stands the wrong way round?",
    ),
    "2.3": (
        "X_1 is used in every entry of Y, the last X in one.",
        "dX_i is the sum of dY_i and all later entries: a running sum from the other end.",
        "Turn dY round, take `np.cumsum`, and turn the result round.",
    ),
    "2.4": (
        "The right gradient is 2 X G. What could you do to G that changes nothing if all its entries are 1?",
        "Leave it out, replace it by its mean, move its entries: each leaves ones as they are.",
    ),
    "2.5": (
        "In `nd,df->nf` the gradient dX is `nf,df->nd`: the cotangent takes the place of X in the formula.",
        "So swap the letters: the result's letters first, then those of the other argument, and the letters of the "
        "wanted gradient after the arrow.",
        "A letter that only X has appears neither in the result nor in Y. Bring it in with a third array of ones of"
        " X's shape: every entry along that axis gets the same gradient.",
    ),
}

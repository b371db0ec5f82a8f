"""Hints for the exercises of notebook 17, fine-tuning at higher resolution."""

HINTS = {
    "17.1": (
        "Count the patches along one side of the larger image; the patch size did not change.",
        "The patches fill a square, and one token has no place in it.",
    ),
    "17.2": (
        "Compute the place of each new entry first, then bring it back between 0 and old - 1.",
        "The two old places around it share the weight 1 in proportion to their nearness, as in `linear_weights`.",
        "The weight of old place u is max(0, 1 - |place - u|), where `place` lies between the ends already.",
    ),
    "17.3": (
        "Split the table: row 0, and the rest as a grid of shape (h, w, D).",
        "Ask for one matrix of weights per axis, and multiply as in the section on the forward pass.",
        'With both matrices, einsum("iu,jv,uvd->ijd", ...) makes the new grid; flatten it and put row 0 back in front.',
    ),
    "17.4": (
        "Which rows of the old table does each row of the new one depend on, and with which weight?",
        "Row 0 was copied. For the patches, transpose both matrices: nothing is divided or inverted.",
        "The same einsum as forward, but it sums over the new places i and j instead of the old ones u and v.",
    ),
}

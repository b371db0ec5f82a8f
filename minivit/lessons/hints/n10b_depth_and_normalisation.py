"""Hints for the exercises of notebook 10b."""

HINTS = {
    "10b.1": (
        "Variances of independent things add up.",
        "A block has two branches, and z_0 counts too.",
    ),
    "10b.2": (
        "Change one of z, gamma and f at a time. What happens to z_out?",
        "gamma is shared by all images and tokens. So its gradient is a sum over both.",
        "In gamma f each factor has the other as its derivative. Multiply dz_out by it, and for gamma sum.",
    ),
    "10b.3": (
        "The sum hands dz_out to both terms, unchanged.",
        "In the branch, go backwards: first through the LayerNorm, then through the product with W.",
        "With db = LN*(dz_out), taken at z W, the rest is the pullback of a matrix product.",
    ),
    "10b.4": (
        "Write one layer forwards and backwards first. It is 10b.3's scheme with the LayerNorm after the sum.",
        "In the forward loop keep every z and every pullback of LN. The backward loop begins with the last layer.",
        "With ds = LN*(dz): the stream gives alpha ds, the branch ds W^T, and dW of the layer is its input^T ds.",
    ),
}

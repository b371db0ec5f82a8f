"""Hints for the exercises of notebook 10b."""

HINTS = {
    "10b.1": (
        "Variances of independent things add up.",
        "Count the independent parts of the sum that makes z_L.",
    ),
    "10b.2": (
        "Change one of z, gamma and f at a time. What happens to z_out?",
        "gamma is shared by all images and tokens. So its gradient is a sum over both.",
        "In gamma f each factor has the other as its derivative. Multiply dz_out by it, and for gamma sum.",
    ),
    "10b.3": (
        "The sum hands dz_out to both terms, unchanged.",
        "In the branch, go backwards: first through the LayerNorm, then through the product with W.",
        "The pullback of LN needs the input that LN had in the forward pass. Which array was that?",
    ),
    "10b.4": (
        "Write one layer forwards and backwards first. It is 10b.3's scheme with the LayerNorm after the sum.",
        "In the forward loop keep every z and every pullback of LN. The backward loop begins with the last layer.",
        "In a layer the gradient passes LN first. Then it splits between alpha z and z W. Each has its own pullback.",
    ),
}

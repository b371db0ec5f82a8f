"""Hints for the exercises of notebook 11."""

HINTS = {
    "11.1": (
        "List the layers of a block: two LayerNorms and four linear layers.",
        "A linear layer from m to n features has mn + n parameters, a LayerNorm of D features has 2D.",
        "The linear layers go from D to 3D, from D to D, from D to F and from F to D.",
    ),
    "11.2": (
        "Take the counts from the table of multiply-adds. Which of its rows belong to attention?",
        "Put F = 4D, and cancel what numerator and denominator have in common.",
        "One term of the result is a plain number. The other grows with N.",
    ),
    "11.3": (
        "Follow the gradient from the loss. Which product contains the head's matrix, and which does not?",
        "Step 2: the gradient of the head's matrix is y^T dlogits, and dy is dlogits times the matrix transposed.",
    ),
    "11.4": (
        "Token 0 is the [class] token and has no pixels. The others each have a row of P P C pixels.",
        "First pull back through E: (B, patches, P P C). Then undo the cutting of `patches`.",
        "Reshape to (B, rows, columns, P, P, C), exchange two axes, and reshape to the image.",
    ),
    "11.5": (
        "Begin with `vit_loops`, and mark the lines that assume a [class] token.",
        'Count names that end in "norm1.scale", and take the blocks in the order of their numbers, not of their names.',
        "The last LayerNorm works on every token. Only then take the mean over the tokens, and then the head.",
    ),
}

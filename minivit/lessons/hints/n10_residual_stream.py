"""Hints for the exercises of notebook 10."""

HINTS = {
    "10.1": (
        "Take one MLP and write the gradients of its two matrices. What occurs in each of them?",
        "The second matrix has the gradient a^T df, where a is the result of the GELU and df comes along the stream.",
        "The gradient that reaches the first matrix is da = df W_out^T, multiplied by more. Now put W_out = 0.",
    ),
    "10.2": (
        "Each of the factors (I + J^T) gives two choices, and a path makes one choice at each factor.",
        "Count the factors: a block has two branches.",
        "You need the number of ways to choose two things out of 24 without order.",
    ),
    "10.3": (
        "Draw it: z goes into the sum and into the LayerNorm, and u goes into two branches.",
        "Collect the gradient of u first, through V and through tanh and W. The slope of tanh is 1 - tanh^2.",
        "Pull the sum of the two back through the LayerNorm once, and add what comes along the stream.",
    ),
    "10.4": (
        "Invert the second equation first: y1 is known, so its branch can be computed again.",
        "y1 is used twice: it is an output, and the second branch reads it. Its whole gradient is dy1 plus a pullback.",
        "dx1 is the whole gradient of y1. Pull it back through tanh(x2 V) for dV and for one part of dx2.",
    ),
}

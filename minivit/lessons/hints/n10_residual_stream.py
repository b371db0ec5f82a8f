"""Hints for the exercises of notebook 10."""

HINTS = {
    "10.1": (
        "Take one MLP and write the gradients of its two matrices. What occurs in each of them?",
        "In x W the gradient of W is x^T times the gradient of the product. What is x for the second matrix?",
        "On its way to the first matrix the gradient passes the second. By what is it multiplied there?",
    ),
    "10.2": (
        "Each of the factors (I + J^T) gives two choices, and a path makes one choice at each factor.",
        "Count the factors: a block has two branches.",
        "A path is fixed by the two factors at which it takes J. The order in which you name them makes no difference.",
    ),
    "10.3": (
        "Draw it: z goes into the sum and into the LayerNorm, and u goes into two branches.",
        "Collect the gradient of u first, through V and through tanh and W. The slope of tanh is 1 - tanh^2.",
        "Pull the sum of the two back through the LayerNorm once, and add what comes along the stream.",
    ),
    "10.4": (
        "Invert the second equation first: y1 is known, so its branch can be computed again.",
        "Which arrays are used twice? Each of them has a gradient of two portions.",
        "Go from the second equation to the first. Collect both portions of y1's gradient before you pass the first.",
    ),
}

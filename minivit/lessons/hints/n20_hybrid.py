"""Hints for the exercises of notebook 20, the hybrid."""

HINTS = {
    "20.1": (
        "Where may the last window begin at the latest?",
        "Windows begin at 0, s, 2 s, ..., and none begins after n - k.",
    ),
    "20.2": (
        "Keep two numbers: how many pixels are seen, and how many pixels apart neighbouring values are.",
        "A layer adds k - 1 steps to the field; the length of a step depends on the layers before it.",
        "After each layer the step is multiplied by its stride.",
    ),
    "20.3": (
        "Sum over u and v only; the channels stay apart, so broadcasting over c will do.",
        "For fixed u, v the whole sum is one shifted piece of x times W[u, v].",
        "The piece is x[u : u + rows, v : v + columns], with the rows and columns of y.",
    ),
    "20.4": (
        "Differentiate one term of the sum: x[i + u, j + v, c] W[u, v, c].",
        "dW[u, v] sums over all places; dx collects from every (u, v), so add.",
        "For fixed u, v the piece of x from the forward pass meets dy: multiply and sum for dW, add dy W[u, v] to the "
        "same piece of dx.",
    ),
}

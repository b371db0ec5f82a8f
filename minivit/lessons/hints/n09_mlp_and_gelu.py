"""Hints for the exercises of notebook 09, the MLP and GELU."""

HINTS = {
    "9.1": (
        "Write down GELU(-x) by its definition, with Phi(-x) in it.",
        "Put in Phi(-x) = 1 - Phi(x) and multiply out.",
        "Two terms remain. One of them is x Phi(x), which you have already: it is y.",
    ),
    "9.2": (
        "A product of x and a function of x: x is used twice.",
        "The slope of the sigmoid is sigmoid(s) (1 - sigmoid(s)). The chain rule adds an inner factor.",
        "With s = sigmoid(1.702 x) there are two terms: s itself, and x times the slope of s, which holds the 1.702.",
    ),
    "9.3": (
        "At the lowest point the slope is zero. Its formula stands in the notebook.",
        "The slope is negative at -1 and positive at 0. Halve that interval again and again.",
        "Or Newton: x becomes x - f(x) / f'(x) with f = Phi + x phi. The slope of f is phi (2 - x^2).",
    ),
    "9.4": (
        "The three steps of the notebook stay. Only two things depend on the form of GELU: G and its slope.",
        "Compute X1 again from z. You need Phi(X1) for both G and the slope.",
        "dX1 = (dR W2^T) times (Phi(X1) + X1 phi(X1)), element by element. The gradients follow from it and from G.",
    ),
    "9.5": (
        "Name the parts: a = zW, v = zV, and h = silu(a) v, so that R = h W2. Go backwards from R.",
        "In the product each factor gets dh times the other factor. The gate then needs the slope of silu.",
        "silu'(a) = s + a s (1 - s) with s = sigmoid(a). z is used by both layers, so dz is a sum of two products.",
    ),
}

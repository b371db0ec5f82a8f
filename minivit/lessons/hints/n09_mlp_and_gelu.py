"""Hints for the exercises of notebook 09, the MLP and GELU."""

HINTS = {
    "9.1": (
        "Write down GELU(-x) by its definition, with Phi(-x) in it.",
        "Put in Phi(-x) = 1 - Phi(x) and multiply out.",
        "Two terms remain. One of them is x Phi(x), which you have already: it is y.",
    ),
    "9.2": (
        "Go backwards in two steps: the product of x and the gate, and then the gate. x is used in both, a in one.",
        "The slope of the sigmoid is sigmoid(u) (1 - sigmoid(u)). Which inner factor belongs to x, and which to a?",
        "dx has two terms, as for GELU. da has one term per entry of x, and a is the same number for all entries.",
    ),
    "9.3": (
        "At the lowest point the slope is zero. Its formula stands in the notebook.",
        "The slope is negative at -1 and positive at 0. Halve that interval again and again.",
        "Or Newton: x becomes x - f(x) / f'(x) with f = Phi + x phi. The slope of f is phi (2 - x^2).",
    ),
    "9.4": (
        "The three steps of the notebook stay. Only two things depend on the form of GELU: G and its slope.",
        "Compute X1 again from z. You need Phi(X1) for both G and the slope.",
        "Put the slope of the erf form into step 2. Steps 1 and 3 then give all five gradients. Which of them needs G?",
    ),
    "9.5": (
        "Name the parts: a = zW, v = zV, and h = silu(a) v, so that R = h W2. Go backwards from R.",
        "In the product each factor gets dh times the other factor. The gate then needs the slope of silu.",
        "silu'(a) = s + a s (1 - s) with s = sigmoid(a). z is used by both layers, so dz is a sum of two products.",
    ),
}

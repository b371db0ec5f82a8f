"""Hints for the exercises of notebook 31."""

HINTS = {
    "31.1": (
        "Divide query and key by the fourth root of their width first.",
        "Set the root of (5) equal to `error` times s and solve for R. What cancels?",
        "R is a quotient with the square of `error` below. Round it so that the error does not become larger.",
    ),
    "31.2": (
        "What is the sum of e^S over the keys of each machine? And over all keys?",
        "Each result counts with its share of the common sum: e^(lse1 - lse) for the first.",
        "`np.logaddexp` adds in logarithms. Where it is -inf, subtract 0 in its place.",
    ),
    "31.3": (
        "S now reaches the loss in two ways, through y and through lse. Their gradients add.",
        "Write lse as log sum e^S and differentiate it with respect to one score. You know the result by another name.",
        "The new term stands in the bracket beside delta, with the other sign.",
    ),
    "31.4": (
        "The square brackets of (4) become sums over j up to i.",
        "From token i to i + 1 each sum grows by one term. Keep the sums and add.",
        "In a loop: add the outer product of phi(k_i) and v_i to one array, phi(k_i) to another, then compute row i.",
    ),
    "31.5": (
        "Write (7) as a product of three matrices. The last one is v.",
        "Matrix products may be bracketed anew: what multiplies v?",
        "It is the (N, R) matrix of the softmax times an (R, N) matrix.",
    ),
}

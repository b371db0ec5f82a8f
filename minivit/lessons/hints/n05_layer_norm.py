"""Hints for the exercises of notebook 05."""

HINTS = {
    "5.1": (
        "Walk through the eight steps. What is the mean of the row, and what is left after step 2?",
        "The centred row is zero, and epsilon keeps rho finite. Which of gamma and beta still has a say in step 8?",
    ),
    "5.2": (
        "Write their variance as ours times a factor.",
        "Their variance is larger by D / (D - 1). The normalised numbers are divided by its root.",
    ),
    "5.3": (
        "y[i] depends on x[j] in two ways: through x[i] itself, if i = j, and through rho.",
        "Differentiate rho = (mean of squares + eps) to the power -1/2 with respect to x[j]. The 1 / D of the mean"
        " stays.",
        "The derivative of rho with respect to x[j] is -rho^3 x[j] / D. Use the product rule on gamma[i] x[i] rho,"
        " and write the result with x_hat = x rho.",
    ),
    "5.4": (
        "Only the set over which a mean is taken differs from LayerNorm. Which axes does it have after the reshape?",
        "Take the means over height, width and the channels of the group, axes 1, 2 and 4, with `keepdims=True`.",
        "Compute x_hat, rho and g = dy * gamma with the axes split, use the line of the notebook, and reshape back"
        " to x's shape. dgamma and dbeta are sums over images and pixels, one number per channel.",
    ),
}

"""Hints for the exercises of notebook 05."""

HINTS = {
    "5.1": (
        "Walk through the eight steps. What is the mean of the row, and what is left after step 2?",
        "The centred row is zero, and epsilon keeps rho finite. Which of gamma and beta still has a say in step 8?",
    ),
    "5.2": (
        "Write their variance as ours times a factor.",
        "Their variance is ours times D / (D - 1). What does LayerNorm divide by, and in which direction does that go?",
    ),
    "5.3": (
        "y[i] depends on x[j] in two ways: through x[i] itself, if i = j, and through rho.",
        "Differentiate rho = (mean of squares + eps) to the power -1/2 with respect to x[j]. The 1 / D of the mean"
        " stays.",
        "The product rule on gamma[i] x[i] rho gives one term on the diagonal and one everywhere. Write the second with"
        " x_hat = x rho: how many factors rho are left?",
    ),
    "5.4": (
        "Only the set over which a mean is taken differs from LayerNorm. Which axes does it have after the reshape?",
        "Take the means over height, width and the channels of the group, axes 1, 2 and 4, with `keepdims=True`.",
        "gamma has one number per channel, so dy * gamma comes before the split of the axes. Over which axes of x must"
        " dgamma and dbeta be summed to leave one number per channel?",
    ),
}

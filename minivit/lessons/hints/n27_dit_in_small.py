"""Hints for the exercises of notebook 27."""

HINTS = {
    "27.1": (
        "Three steps: pixels from -1 to 1, the share of each picture, equation 2.",
        "The shares are (B,). Give them three more axes before they meet the pictures.",
        "`np.cumprod` gives the shares after 1, 2, ... steps. The share after one step stands at place 0.",
    ),
    "27.2": (
        "The walk has as many steps as `kept` has entries. Begin with its last entry.",
        "The network is told `kept[i]`. Two shares are needed: that of now and that of the next visited step.",
        "After the first entry of `kept` nothing is left to visit. Which share has a picture without noise?",
    ),
    "27.3": (
        "Write the logarithm of the combined density. It is a quadratic function of x.",
        "Collect the terms with x squared: precisions add, each with its factor g or 1 - g.",
        "The mean is the mean of both means, weighted by these precisions. One of the two means is 0.",
    ),
    "27.4": (
        "Divide (11) by the root of (1 - t)^2 + t^2. What stands before x_0 now?",
        "The network names the noise e. With x and e, (11) gives x_0.",
        "The velocity is e - x_0. Put both over the same denominator.",
    ),
    "27.5": (
        "For one pixel: x_t is a sum of two independent normal numbers. What is the variance of x_0 once x_t is known?",
        "Precisions add: that of x_0 alone, and that of what x_t says about it. By (4), an error of x_0 is one of e.",
        "The least loss goes from 1 at no noise to 0 at pure noise. Sum it over the first tenth and over all.",
    ),
}

"""Hints for the exercises of notebook 15, how much data."""

HINTS = {
    "15.1": (
        "The standard error is the standard deviation of one run, made smaller because R runs were averaged.",
        "The deviations are taken from the mean of the same runs, so their squares are divided by R - 1.",
        "`np.std` has an argument `ddof` for this. Then divide by the root of R.",
    ),
    "15.2": (
        "Count the images of all batches together.",
        "Every batch has 128 images; all of them are drawn from the same 500.",
    ),
    "15.3": (
        "In which coordinates is the law a straight line?",
        "Fit a line to log e against log n by least squares, `np.polyfit` for example.",
        "The slope of that line is -b, its value at log n = 0 is log a.",
    ),
    "15.4": (
        "Set the two errors equal, and bring both powers of n to one side.",
        "n then stands to the power b1 - b2, and a quotient of the two factors stands on the other side.",
    ),
    "15.5": (
        "If you knew c, the errors minus c would be a power law, and 15.3 would do the rest.",
        "So write a function that says how badly the best law fits for a given c, and search c between 0 and the "
        "smallest error.",
        "Try 100 values of c, then 100 more around the best one, and so on. Keep c below the smallest error, because "
        "of the logarithm.",
    ),
}

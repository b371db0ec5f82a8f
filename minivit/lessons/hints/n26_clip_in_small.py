"""Hints for the exercises of notebook 26."""

HINTS = {
    "26.1": (
        "Take one pair. What is the chance that a certain other pair has a different caption?",
        "The other captions are independent. What is the chance that all of them differ from this one?",
    ),
    "26.2": (
        "With the cosine 1 the image and its text are the same vector. So there are B vectors, with one common cosine.",
        "The sum of the B vectors has a squared length. Write it with the common cosine. It cannot be negative.",
        "All rows and columns have the same loss. Write it for one row: a logit for the own text, another for others.",
    ),
    "26.3": (
        "`sentence[:, None] == sentence` has True where the captions are equal. Divide each row by its sum.",
        "Cross-entropy with targets t is -sum t log p. Compute log p by subtracting the maximum first.",
        "The gradient is (2) with the new targets in the place of I.",
    ),
    "26.4": (
        "A sentence that occurs m times has m x m pairs with one logit. How many of them have the answer yes?",
        "Which probability of yes makes m times -log q plus m (m - 1) times -log(1 - q) smallest?",
        "Add up all pairs, divide by the number of images. Mind m = 1, where 0 times the logarithm of 0 is 0.",
    ),
}

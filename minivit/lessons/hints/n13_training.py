"""Hints for the exercises of notebook 13, training."""

HINTS = {
    "13.1": (
        "The head is zero at the start. So which probability does each class get?",
        "Check 1 does it for 10 classes.",
    ),
    "13.2": (
        "Write the mean loss over the whole batch with the mean losses of the pieces. Which weights do they have?",
        "A piece with twice as many images has twice the weight, and the weights sum to 1.",
        "Test yours with pieces of 1 and 3 images: the second gradient must count three times as much as the first.",
    ),
    "13.3": (
        "Go through the classes one by one. Skip those that no label has.",
        "For class k look only at the images whose label is k: which share of them was predicted as k?",
        "Collect these shares in a list and average the list.",
    ),
    "13.4": (
        "Work with the exponent: look at x between -6 and 0 and train with 10**x.",
        "Look coarsely first, for example at 7 exponents. Then look more finely around the best so far, on both sides. "
        "Do this twice: with 20 runs on grids one round of refinement is not enough.",
        "Comparisons with nan are False: treat a loss that is not finite as larger than all others. In the last round "
        "the exponents must lie at most 0.1 apart.",
    ),
    "13.5": (
        "Compare each row of the table with the row of the sound set-up. In which columns does it differ?",
        "Which of the faults would leave some parameters without a gradient? Check 4 tells, after a few updates.",
        "Measure the accuracy of each twice. A measurement in evaluation mode has no randomness.",
    ),
}

"""Hints for the exercises of notebook 13, training."""

HINTS = {
    "13.1": (
        "The head is zero at the start. So which probability does each class get?",
        "The cross-entropy is minus the natural logarithm of the probability of the right class.",
    ),
    "13.2": (
        "Write the mean loss over the whole batch with the mean losses of the pieces. Which weights do they have?",
        "A piece with twice as many images has twice the weight, and the weights sum to 1.",
        "Weight each row by its share of the images, and add the rows up.",
    ),
    "13.3": (
        "Go through the classes one by one. Skip those that no label has.",
        "For class k look only at the images whose label is k: which share of them was predicted as k?",
        "Collect these shares in a list and average the list.",
    ),
    "13.4": (
        "Work with the exponent: look at x between -6 and 0 and train with 10**x.",
        "Look coarsely first, for example at 13 exponents, and then finely around the best one, on both sides.",
        "Comparisons with nan are False: treat a loss that is not finite as larger than all others. In the second "
        "round the exponents must lie at most 0.2 apart.",
    ),
    "13.5": (
        "Compare each row of the table with the row of the sound set-up. In which columns does it differ?",
        "Ask for every fault on the list what it would do to each column. Two of the faults would leave some "
        "parameters without a gradient.",
        "A measurement in evaluation mode has no randomness. A model that has learned only labels without meaning "
        "guesses on new images.",
    ),
}

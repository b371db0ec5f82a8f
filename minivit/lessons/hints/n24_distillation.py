"""Hints for the exercises of notebook 24."""

HINTS = {
    "24.1": (
        "What does a second token need that the first one has, too? Count learned numbers, not tokens.",
        "There is the token itself, its row of the position embedding, and a second head with a bias.",
    ),
    "24.2": (
        "Only the ratio of the two terms counts, since a constant factor is free.",
        "The paper's ratio of the terms is alpha / (1 - alpha). Write the code's, and set them equal.",
        "alpha' / (1 - alpha') = K alpha / (1 - alpha). Solve for alpha'.",
    ),
    "24.3": (
        "The two terms are two cross-entropies: one sees z and y, the other d and the teacher's first choice.",
        "A cross-entropy takes rows of shares as it takes one-hot rows: its gradient is softmax minus target.",
        "Use the log-sum-exp for both, divide by the number of images, and weight by 1 - alpha and alpha.",
    ),
    "24.4": (
        "Sort the student's logits into the teacher's order first. Then place i competes with the places from i on.",
        "The log of the sum of the last K - i exponentials can be built from the end: one running log-sum-exp.",
        "The gradient of a place is a softmax over the places that are left, minus 1 at the place itself. Add them for "
        "m places, and undo the sorting.",
    ),
}

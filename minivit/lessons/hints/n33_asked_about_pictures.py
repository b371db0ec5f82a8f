"""Hints for the exercises of notebook 33."""

HINTS = {
    "33.1": (
        "Begin with the causal mask, `np.tri`.",
        "Which part of the square holds patches that look at patches?",
        "Set that part to True. Leave the part in which patches look at words as it is.",
    ),
    "33.2": (
        "Compute the logarithms of the softmax, and drop the last token: nothing follows it.",
        "For token n pick the entry of word n + 1. It counts if word n + 1 is spoken.",
        "Add over the whole batch first, then divide once.",
    ),
    "33.3": (
        "Put a = 0 into the four equations of (3).",
        "A parameter inside the branch gets its gradient through dy.",
    ),
    "33.4": (
        "Token number n of a text, counted from 1, reads n keys.",
        "When the last of the new words is written, how many of the new words have been read?",
        "With a cache, read the text once, then one token for each further word. Without, read a whole text for each.",
    ),
    "33.5": (
        "Which number does an image need to have, compared with the count of `<image>` up to the token?",
        "A token before the first image has the count 0. Which images does it see by your rule?",
        "Change one comparison in `sight`.",
    ),
}

"""Hints for the exercises of notebook 19, [class] token or pooling."""

HINTS = {
    "19.1": (
        "Which parameters exist only because there is a [class] token?",
        "The token itself is one. The table of position embeddings has a row for it.",
    ),
    "19.2": (
        "A mask of shape (B, N, 1) can be multiplied with the tokens.",
        "Divide by the number of real tokens of each image, not by N.",
        "dx is the mask times dy over that number, broadcast over the features.",
    ),
    "19.3": (
        "Each feature has its own largest token, and only that one matters for y.",
        "`argmax` over the tokens finds it. All other tokens get zero.",
        "Start from zeros and write dy[d] into row argmax[d], column d.",
    ),
    "19.4": (
        "Name the steps: scores s, weights a, result y. Go back through them in the reverse order.",
        "da = x dy, and the softmax hands back ds = a (da - <a, da>), as in notebook 06.",
        "x gets one part from y (a times dy) and one from the scores (ds times u), both as outer products; do not "
        "lose the scale in the second.",
    ),
}

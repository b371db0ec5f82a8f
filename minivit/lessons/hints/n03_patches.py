"""Hints for the exercises of notebook 03."""

HINTS = {
    "3.1": (
        "The patches lie in a grid. How many are there along one side of the image?",
        "512 / 16 patches lie along each of the two sides. The [class] token is not a patch.",
    ),
    "3.2": (
        "Take the two formulas of the loops apart: `//` and `%` by the same number give the two parts of a sum.",
        "First find the row and the column of the patch in the grid, which has `width // P` columns. Then find "
        "row, column and channel inside the patch; the channel is the fastest.",
        "Patch n is in row `n // (width // P)` of the grid, and begins P times as many pixels down. Inside it the "
        "row is `m // (P * C)`, and the column is what `m // C` leaves when divided by P.",
    ),
    "3.3": (
        "The shapes have the same axes in different orders. Which order of axes does E have, before its first "
        "three are merged?",
        "E is (row, column, channel, D) with the first three merged. Transpose first, reshape last.",
        "D is axis 0 of `weight` and must come last; C is axis 1 and must come just before it.",
    ),
    "3.4": (
        "A pixel that lies in several windows influences the loss through each of them. What does the chain rule "
        "do with that?",
        "Begin with zeros. For each patch, reshape its row of dpatches to a window and add it where the window lies in "
        "the image.",
        "Patch n begins at row `n // columns * step` and column `n % columns * step`, where `columns` is counted "
        "with the formula of the exercise. Use `+=` on a slice of P x P pixels.",
    ),
}

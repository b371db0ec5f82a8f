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
        "Patch n begins P pixels further down for every row of the grid above it. Inside the patch, divide m by C: the "
        "remainder is the channel, and the quotient counts pixels of the patch row by row.",
    ),
    "3.3": (
        "The shapes have the same axes in different orders. Which order of axes does E have, before its first "
        "three are merged?",
        "E is (row, column, channel, D) with the first three merged. Transpose first, reshape last.",
        "Name the axes of `weight` D, C, u, v, and write down the order that E needs. `transpose` takes the old number "
        "of each new axis.",
    ),
    "3.4": (
        "A pixel that lies in several windows influences the loss through each of them. What does the chain rule "
        "do with that?",
        "Begin with zeros. For each patch, reshape its row of dpatches to a window and add it where the window lies in "
        "the image.",
        "Row and column of window n in the grid follow from n as in exercise 3.2. From one window to the next the "
        "corner moves by `step`, but the window stays P pixels wide.",
    ),
}

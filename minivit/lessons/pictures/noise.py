"""A picture on its way to noise and back, and the network that leads it back."""

import numpy as np

from minivit.lessons.pictures.sketch import BLUE, INK, ORANGE, arrow, box, canvas, label, matrix

CELL, GAP, TOP = 0.13, 0.75, 0.75  # inches: side of a pixel, between pictures, above them


def there_and_back(stages: list[tuple[str, np.ndarray]]) -> None:
    """Pictures (h, w) in -1..1 with their names, from clean to noise, and the arrows both ways."""
    side = CELL * stages[0][1].shape[0]
    width = 0.3 + len(stages) * (side + GAP) - GAP + 0.3
    _, axes = canvas(width, TOP + side + 1.85)
    for i, (name, picture) in enumerate(stages):
        x = 0.3 + i * (side + GAP)
        matrix(axes, x, TOP, picture, CELL, limits=(-1, 1))
        label(axes, x + side / 2, TOP - 0.2, name, 12)
        if i:
            arrow(axes, (x - GAP + 0.08, TOP + side / 3), (x - 0.08, TOP + side / 3), color=ORANGE)
            arrow(axes, (x - 0.08, TOP + 2 * side / 3), (x - GAP + 0.08, TOP + 2 * side / 3), color=BLUE)
    middle, below = width / 2, TOP + side
    label(axes, 0.3, 0.22, "noise is added, nothing is learned", 12, color=ORANGE, ha="left")
    label(axes, width - 0.3, below + 0.28, "one step back needs the network", 12, color=BLUE, ha="right")
    box(axes, middle - 1.1, below + 0.85, 2.2, 0.8, "DiT", BLUE)
    for i, text in enumerate(("$\\mathbf{x}_t$, a picture in noise", "$t$, how much noise", "$y$, the class, or none")):
        y = below + 0.98 + 0.27 * i
        label(axes, middle - 1.65, y, text, 11, ha="right")
        arrow(axes, (middle - 1.58, y), (middle - 1.1, y))
    arrow(axes, (middle + 1.1, below + 1.25), (middle + 1.58, below + 1.25))
    label(axes, middle + 1.65, below + 1.25, "$\\hat{\\mathbf{e}}$, the noise in it", 11, ha="left", color=INK)

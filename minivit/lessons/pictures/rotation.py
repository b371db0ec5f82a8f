"""Pictures for notebook 25: pairs of features that turn with the place of their token."""

import math
from typing import Any

import numpy as np

from minivit.lessons.pictures import sketch

RADIUS = 0.42  # inches


def turning_pairs(angles: np.ndarray, names: list[str]) -> Any:
    """A row of dials for each pair of features, one dial for each column of patches.

    angles: (pairs, columns), in radians.   names: what stands before each row.
    """
    pairs, columns = angles.shape
    figure, axes = sketch.canvas(2.1 + 1.15 * columns, 0.55 + 1.05 * pairs)
    for column in range(columns):
        sketch.label(axes, 2.1 + 1.15 * column, 0.2, f"column {column}", size=11)
    for row, name in enumerate(names):
        y = 0.95 + 1.05 * row
        sketch.label(axes, 0.1, y, name, size=11, ha="left")
        for column, angle in enumerate(angles[row]):
            x = 2.1 + 1.15 * column
            circle = np.linspace(0, 2 * math.pi, 60)
            axes.plot(x + RADIUS * np.cos(circle), y + RADIUS * np.sin(circle), color="#bbbbbb", linewidth=1)
            axes.plot((x, x + RADIUS), (y, y), color="#bbbbbb", linewidth=1)
            end = x + RADIUS * math.cos(angle), y - RADIUS * math.sin(angle)  # y points down on the canvas
            sketch.arrow(axes, (x, y), end, color=sketch.BLUE)
    return figure

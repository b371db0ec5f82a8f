"""Heads that look at places: nine of them on an image, and the weights of one by sharpness."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivit.lessons.pictures.sketch import BLUE, INK, ORANGE, arrow, canvas, label, matrix, outline

CELL = 0.3  # inches


def nine_heads(image: np.ndarray, query: tuple[int, int], sharpnesses: Sequence[float] = (0.5, 2.0, 8.0)) -> Any:
    """An image with one query and the nine pixels that its heads look at; then the weights of the head that looks up
    and to the right, at some sharpnesses.   image: (height, width); the query is inside it, not at the border."""
    rows, columns = image.shape
    wide, tall, top = columns * CELL, rows * CELL, 0.75
    figure, axes = canvas(0.4 + (wide + 0.45) * (1 + len(sharpnesses)), top + tall + 0.75)
    matrix(axes, 0.4, top, image, CELL, limits=(0, 1.8 * float(image.max())))  # pale, so that lines are seen
    label(axes, 0.4 + wide / 2, top - 0.3, "nine heads of one query")
    middle = (0.4 + (query[1] + 0.5) * CELL, top + (query[0] + 0.5) * CELL)
    for row, column in np.ndindex(3, 3):
        x, y = 0.4 + (query[1] + column - 1) * CELL, top + (query[0] + row - 1) * CELL
        outline(axes, x, y, CELL, CELL, ORANGE)
    outline(axes, middle[0] - CELL / 2, middle[1] - CELL / 2, CELL, CELL, BLUE)
    arrow(axes, middle, (middle[0] + CELL, middle[1] - CELL), color=BLUE)
    label(axes, 0.4 + wide / 2, top + tall + 0.28, "blue: the query; arrow: one centre $\\Delta$", 9)
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    distance = np.square(places - np.array(query) - (-1, 1)).sum(axis=-1)
    for i, alpha in enumerate(sharpnesses):
        left = 0.4 + (wide + 0.45) * (i + 1)
        weights = np.exp(-alpha * distance)
        matrix(axes, left, top, weights / weights.sum(), CELL, cmap="Oranges", limits=(0, 1))
        outline(axes, left + query[1] * CELL, top + query[0] * CELL, CELL, CELL, BLUE)
        label(axes, left + wide / 2, top - 0.3, f"its weights, $\\alpha$ = {alpha:g}", color=INK)
        label(axes, left + wide / 2, top + tall + 0.28, f"largest: {(weights / weights.sum()).max():.3f}", 9)
    return figure

"""The parts of schematic pictures: a canvas without axes, boxes, arrows, labels, and matrices as coloured cells.

Coordinates are inches from the upper left corner, x to the right and y down, so a picture is laid out as a page is.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from minivit.plots.canvas import BLUE, GREEN, ORANGE

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "ORANGE",
    "PALE",
    "PURPLE",
    "arrow",
    "box",
    "canvas",
    "label",
    "matrix",
    "outline",
]

INK, PALE, PURPLE = "#333333", "#eeeeee", "#a45c8b"
TEXT = 10  # points


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A white figure without axes, its size in inches."""
    figure = plt.figure(figsize=(width, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return figure, axes


def label(axes: Axes, x: float, y: float, text: str, size: float = TEXT, **style: Any) -> None:
    """Text centred at a point; `ha`, `va`, `color` and other properties of text as in matplotlib."""
    defaults: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "color": INK}
    axes.text(x, y, text, **defaults | style)


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str = "", color: str = PALE) -> None:
    """A rounded box with its upper left corner at (x, y), and text in its middle."""
    round_corners = f"round,pad=0,rounding_size={min(width, height, 0.6) / 6}"
    axes.add_patch(FancyBboxPatch((x, y), width, height, round_corners, facecolor=color, edgecolor=INK, linewidth=1))
    label(axes, x + width / 2, y + height / 2, text, color=INK if color == PALE else "white")


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", color: str = INK, bend: float = 0
) -> None:
    """An arrow between two points, with text above its middle.   bend: 0 for a straight one, to +-0.5 for a curve."""
    curve = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=color, connectionstyle=curve, shrinkA=0)
    )
    label(axes, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 0.13, text, size=TEXT - 1, color=color)


def matrix(
    axes: Axes,
    x: float,
    y: float,
    values: np.ndarray,
    cell: float = 0.22,
    *,
    cmap: str = "gray_r",
    limits: tuple[float, float] | None = None,
    title: str = "",
    numbers: str = "",
    border: str = INK,
) -> tuple[float, float]:
    """A matrix as coloured cells with its upper left corner at (x, y); returns its width and height in inches.

    values: (rows, columns).   cell: side of a cell in inches.   limits: of the colours (default: those of the values).
    title: text above.   numbers: a format such as ".1f" writes each value into its cell.
    """
    values = np.atleast_2d(values)
    low, high = limits or (float(values.min()), float(values.max()))
    shade = plt.get_cmap(cmap)
    rows, columns = values.shape
    for i in range(rows):
        for j in range(columns):
            colour = shade((values[i, j] - low) / (high - low) if high > low else 0.5)
            place = (x + j * cell, y + i * cell)
            axes.add_patch(Rectangle(place, cell, cell, facecolor=colour, edgecolor="white", linewidth=0.5))
            if numbers:
                dark = np.dot(colour[:3], (0.3, 0.59, 0.11)) < 0.5
                middle = (place[0] + cell / 2, place[1] + cell / 2)
                label(axes, *middle, f"{values[i, j]:{numbers}}", size=TEXT - 3, color="white" if dark else INK)
    axes.add_patch(Rectangle((x, y), columns * cell, rows * cell, fill=False, edgecolor=border, linewidth=1.2))
    if title:
        label(axes, x + columns * cell / 2, y - 0.14, title)
    return columns * cell, rows * cell


def outline(axes: Axes, x: float, y: float, width: float, height: float, color: str = ORANGE) -> None:
    """A thick frame without filling, to point at a part of a picture."""
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=2.5))

"""Pictures of windows on a map of places: who sees whom in one layer, regions after a roll, and two blocks."""

from itertools import pairwise
from typing import Any

import numpy as np

from minivit.lessons.pictures.sketch import BLUE, GREEN, INK, ORANGE, arrow, box, canvas, label, matrix, outline

SIDE, WINDOW, SHIFT = 8, 4, 2  # of the map, of a window, by how much windows move
HERE = (3, 2)  # the place that looks
LOOKS, SEEN, REST = 1.0, 0.45, 0.08


def seen_from(kind: str, here: tuple[int, int] = HERE) -> np.ndarray:
    """Which places one place sees in a layer, (SIDE, SIDE) bool.   kind: global, window, shifted or convolution."""
    row, column = np.indices((SIDE, SIDE))
    if kind == "global":
        return np.ones((SIDE, SIDE), bool)
    if kind == "convolution":
        return (abs(row - here[0]) <= 1) & (abs(column - here[1]) <= 1)
    start = SHIFT if kind == "shifted" else 0
    same = [(axis - start) // WINDOW == (at - start) // WINDOW for axis, at in zip((row, column), here, strict=True)]
    return same[0] & same[1]


def reach() -> Any:
    """The same place of the same map in four kinds of layer, with all places that it sees."""
    figure, axes = canvas(9.6, 2.85)
    cell, step = 0.25, 2.4
    for i, (kind, title) in enumerate(
        {
            "global": "attention",
            "window": "in windows",
            "shifted": "in shifted windows",
            "convolution": "3 × 3 convolution",
        }.items()
    ):
        x, y = 0.2 + i * step, 0.55
        seen = seen_from(kind)
        shade = np.where(seen, SEEN, REST)
        shade[HERE] = LOOKS
        label(axes, x + SIDE * cell / 2, 0.25, title, 12)
        matrix(axes, x, y, shade, cell, cmap="Blues", limits=(0, 1))
        if kind in ("window", "shifted"):
            _grid(axes, x, y, cell, SHIFT if kind == "shifted" else 0)
        label(axes, x + SIDE * cell / 2, y + SIDE * cell + 0.18, f"{seen.sum()} places", 10)
    return figure


def _grid(axes: Any, x: float, y: float, cell: float, start: int) -> None:
    """The borders of the windows; those at the edge of the map are cut."""
    cuts = sorted({0, SIDE, *range(start, SIDE, WINDOW)})
    for top, bottom in pairwise(cuts):
        for left, right in pairwise(cuts):
            outline(axes, x + left * cell, y + top * cell, (right - left) * cell, (bottom - top) * cell)


def rolled(labels: np.ndarray, window: int) -> Any:
    """The 3 x 3 regions of a rolled map, numbered, with its windows, and which pairs of places may see each other.

    labels: (side, side) whole numbers below 9."""
    side, cell = len(labels), 0.3
    figure, axes = canvas(8, 3.4)
    label(axes, 0.3 + side * cell / 2, 0.25, "the rolled map: regions", 12)
    matrix(axes, 0.3, 0.55, labels, cell, cmap="Pastel1", limits=(0, 8), numbers=".0f")
    count = side // window
    for i in range(count):
        for j in range(count):
            corner = 0.3 + j * window * cell, 0.55 + i * window * cell
            outline(axes, *corner, window * cell, window * cell)
    parts = labels.reshape(count, window, count, window).swapaxes(1, 2).reshape(count * count, window * window)
    label(axes, 5.75, 0.25, "may see each other (dark), in each window", 12)
    small = 0.085
    for n, part in enumerate(parts):
        x, y = 4.0 + n % count * 2.35, 0.75 + n // count * 1.36
        pairs = (part[:, None] == part[None]).astype(float)
        tall = len(part) * small * 0.92
        matrix(axes, x, y, pairs, tall / len(part), cmap="Blues", limits=(0, 1.4))
        label(axes, x - 0.12, y + tall / 2, f"window {n}", 9, rotation=90)
    return figure


def blocks() -> Any:
    """A Transformer block above a ConvNeXt block: LayerNorm, what mixes places, and what mixes features."""
    figure, axes = canvas(9.6, 3.75)
    _block(axes, 1.45, "Transformer block", [("LN", ORANGE), ("attention", BLUE), ("+", ""), ("LN", ORANGE)])
    _block(axes, 3.35, "ConvNeXt block", [("depthwise", BLUE), ("LN", ORANGE)])
    return figure


def _block(axes: Any, y: float, name: str, parts: list[tuple[str, str]]) -> None:
    """The stream as a line at height y, and boxes above it; a "+" goes back to the stream and leaves it again."""
    end, high, wide = 9.1, y - 0.8, 1.1
    label(axes, 0.2, y - 1.26, name, 12, ha="left", weight="bold")
    axes.plot((0.2, end), (y, y), color=INK, linewidth=4, zorder=0)
    x, previous = 0.7, 0.45
    axes.plot((previous, previous), (y, high), color=INK, linewidth=1.3)
    parts = [*parts, ("D → 4D", GREEN), ("GELU", "#777777"), ("4D → D", GREEN), ("+", "")]
    for i, (text, color) in enumerate(parts):
        if text == "+":
            x += 0.1
            axes.plot((previous, x), (high, high), color=INK, linewidth=1.3)
            arrow(axes, (x, high), (x, y - 0.03))
            label(axes, x, y + 0.22, "+", 13)
            previous, x = x + 0.25, x + 0.5
            if i + 1 < len(parts):
                axes.plot((previous, previous), (y, high), color=INK, linewidth=1.3)
            continue
        width = 0.6 if text == "LN" else wide
        arrow(axes, (previous, high), (x, high))
        box(axes, x, high - 0.23, width, 0.46, text, color)
        previous, x = x + width, x + width + 0.22

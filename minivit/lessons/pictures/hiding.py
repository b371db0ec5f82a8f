"""Four ways to learn from hidden patches, as pictures: what is hidden, what enters the encoder, what is predicted."""

import numpy as np
from matplotlib.patches import Rectangle

from minivit.lessons.pictures.sketch import BLUE, INK, ORANGE, PALE, Axes, arrow, box, canvas, label

CELL, SIDE, STEP = 0.27, 6, 2.55  # inches of a patch; patches of a side; inches from one way to the next
TOP, ENCODER, TARGET = 0.85, 2.95, 4.0
HIDDEN = {
    "mean colours": ("100101", "001101", "110010", "010101", "101001", "011010"),
    "visual tokens (BEiT)": ("000000", "011100", "011100", "011100", "000000", "011111"),
    "pixels (SimMIM)": ("111100", "111100", "001111", "001111", "110011", "110011"),
    "pixels (MAE)": ("110111", "101111", "011101", "011110", "110101", "111011"),
}
KEPT, OTHER = {(1, 2), (4, 5)}, {(3, 3), (5, 1)}  # of the chosen patches of the first way


def four_ways() -> None:
    """Mean colours, visual tokens, pixels, and the masked autoencoder, side by side."""
    _, axes = canvas(4 * STEP, 5.0)
    for i, (name, rows) in enumerate(HIDDEN.items()):
        middle, hidden = STEP * (i + 0.5), np.array([list(row) for row in rows]) == "1"
        label(axes, middle, 0.25, name, 12, weight="bold")
        label(axes, middle, TOP - 0.22, _share(hidden), 9)
        _grid(axes, middle - SIDE * CELL / 2, hidden, special=i == 0, removed=i == 3)
        seen = int((~hidden).sum()) if i == 3 else SIDE * SIDE
        arrow(axes, (middle, TOP + SIDE * CELL + 0.06), (middle, ENCODER - 0.06))
        box(axes, middle - 0.85, ENCODER, 1.7, 0.42, f"encoder: {seen} tokens", BLUE if i == 3 else PALE)
        arrow(axes, (middle, ENCODER + 0.45), (middle, TARGET - 0.06))
        (_colours, _tokens, _pixels, _pixels)[i](axes, middle)
    for i, text in enumerate(("one of 512 colours", "one of K tokens", "pixels", "pixels, by a decoder")):
        label(axes, STEP * (i + 0.5), TARGET + 0.72, text, 11)


def _share(hidden: np.ndarray) -> str:
    return f"{hidden.sum()} of {hidden.size} patches"


def _cell(axes: Axes, x: float, y: float, color: str, side: float = CELL) -> None:
    axes.add_patch(Rectangle((x, y), side, side, facecolor=color, edgecolor="white", linewidth=1))


def scene(row: int, column: int) -> str:
    """The colour of a patch of a small landscape: sky, sun, hill."""
    if row < 2 and column > 3:
        return "#e8b33c"
    return "#7fae6b" if row + abs(column - 2) * 0.8 > 3.5 else "#a9c9e8"


def _grid(axes: Axes, left: float, hidden: np.ndarray, special: bool, removed: bool) -> None:
    """The patches of an image; hidden ones are grey, with an m.   special: some of them are kept or another patch.
    removed: hidden ones leave a gap."""
    for (row, column), gone in np.ndenumerate(hidden):
        x, y = left + column * CELL, TOP + row * CELL
        unlike = (row, column) in OTHER and special
        shown = not gone or (special and (row, column) in KEPT)
        color = scene(0, 5) if unlike else scene(row, column) if shown else "white" if removed else "#8a8a8a"
        _cell(axes, x, y, color)
        if gone and removed:
            axes.add_patch(Rectangle((x, y), CELL, CELL, fill=False, edgecolor="#cccccc", linestyle=":"))
        elif gone and not shown and not unlike:
            label(axes, x + CELL / 2, y + CELL / 2, "m", 9, color="white")
        if special and gone and (shown or unlike):
            axes.add_patch(Rectangle((x, y), CELL, CELL, fill=False, edgecolor=ORANGE, linewidth=2))


def _colours(axes: Axes, middle: float) -> None:
    for i, color in enumerate(("#a9c9e8", "#e8b33c", "#7fae6b")):
        _cell(axes, middle - 0.6 + 0.43 * i, TARGET + 0.05, color, 0.38)


def _tokens(axes: Axes, middle: float) -> None:
    for i, (color, number) in enumerate((("#a9c9e8", "7"), ("#e8b33c", "41"), ("#7fae6b", "12"))):
        x = middle - 0.6 + 0.43 * i
        _cell(axes, x, TARGET + 0.05, color, 0.38)
        label(axes, x + 0.19, TARGET + 0.24, number, 10, color=INK)


def _pixels(axes: Axes, middle: float) -> None:
    """Two patches of 4 x 4 pixels, each with an edge in it."""
    small = 0.1
    for i, colors in enumerate((("#a9c9e8", "#e8b33c"), ("#a9c9e8", "#7fae6b"))):
        for row, column in np.ndindex(4, 4):
            color = colors[int(row + column > 3 if i == 0 else row > 1)]
            _cell(axes, middle - 0.5 + 0.56 * i + column * small, TARGET + 0.05 + row * small, color, small)

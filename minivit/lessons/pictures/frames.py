"""Which tokens of a clip a token sees: three frames of nine patches, one panel for each kind of attention."""

from collections.abc import Callable

from matplotlib.patches import Rectangle

from minivit.lessons.pictures.sketch import BLUE, INK, ORANGE, Axes, arrow, canvas, label

FRAMES, SIDE, CELL = 3, 3, 0.26  # frames, patches in a row, inches of a patch
LEFT, TOP, GAP, STEP = 0.35, 0.85, 0.18, 3.0
QUERY = (1, 1, 1)  # frame, row, column
Place = tuple[int, int, int]


def who_sees_whom() -> None:
    """Joint, divided in time, divided in space, and factorised attention, side by side."""
    _, axes = canvas(4 * STEP + 0.1, 2.55)
    sees: dict[str, Callable[[Place], bool]] = {
        "joint": lambda place: True,
        "divided: first in time": lambda place: place[1:] == QUERY[1:],
        "divided: then in space": lambda place: place[0] == QUERY[0],
        "factorised": lambda place: place[0] == QUERY[0],
    }
    below = ("all tokens", "one place, all frames", "one frame, all places", "then one token for each frame")
    for i, ((name, seen), text) in enumerate(zip(sees.items(), below, strict=True)):
        x = LEFT + STEP * i
        middle = x + (FRAMES * SIDE * CELL + (FRAMES - 1) * GAP) / 2
        label(axes, middle, 0.2, name, 13, weight="bold")
        label(axes, middle, 2.4, text, 11)
        for frame in range(FRAMES):
            _frame(axes, x + frame * (SIDE * CELL + GAP), frame, seen)
        if name == "factorised":
            _summaries(axes, x)


def _frame(axes: Axes, x: float, frame: int, seen: Callable[[Place], bool]) -> None:
    label(axes, x + SIDE * CELL / 2, TOP - 0.2, f"frame {frame + 1}", 9)
    for row in range(SIDE):
        for column in range(SIDE):
            place = (frame, row, column)
            colour = ORANGE if place == QUERY else BLUE if seen(place) else "white"
            corner = (x + column * CELL, TOP + row * CELL)
            axes.add_patch(Rectangle(corner, CELL, CELL, facecolor=colour, edgecolor=INK, linewidth=0.8))


def _summaries(axes: Axes, x: float) -> None:
    """One token below each frame."""
    for frame in range(FRAMES):
        middle = x + frame * (SIDE * CELL + GAP) + SIDE * CELL / 2
        bottom = TOP + SIDE * CELL
        arrow(axes, (middle, bottom + 0.05), (middle, bottom + 0.28))
        corner = (middle - CELL / 2, bottom + 0.3)
        axes.add_patch(Rectangle(corner, CELL, CELL, facecolor=BLUE, edgecolor=INK, linewidth=0.8))

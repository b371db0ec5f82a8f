"""Which sides of a ViT's parameters grow with the width."""

from typing import Any

from minivit.lessons.pictures.sketch import BLUE, INK, ORANGE, PALE, Axes, Rectangle, canvas, label

UNIT = 0.62  # inches for the base width
FIXED = 0.3  # inches for a side that does not grow

KINDS = (  # name, shape as text, whether height and width grow, rate
    ("patch embedding", "$P^2C \\times D$", False, True, "rate $\\eta$"),
    ("matrices of the blocks", "$D \\times D$", True, True, "rate $\\eta/m$"),
    ("positions", "$N \\times D$", False, True, "rate $\\eta$"),
    ("biases, LayerNorm", "$D$", None, True, "rate $\\eta$"),
    ("head", "$D \\times K$", True, False, "rate $\\eta$, logits$/m$"),
)


def growing_sides() -> Any:
    """Each kind of parameter at the base width and at twice that width; the sides that grow are thick."""
    figure, axes = canvas(11, 3.1)
    for i, (name, shape, tall, wide, rule) in enumerate(KINDS):
        left = 0.25 + i * 2.18
        label(axes, left + 0.95, 0.25, name, 12)
        label(axes, left + 0.95, 0.52, shape, 11)
        for start, factor, color in ((left, 1, PALE), (left + 0.78, 2, BLUE)):
            height = 0.1 if tall is None else UNIT * factor if tall else FIXED
            width = UNIT * factor if wide else FIXED
            _shape(axes, start, 0.9, width, height, color, tall=bool(tall), wide=wide)
        label(axes, left + 0.95, 2.45, rule, 12, color=ORANGE if "/" in rule else INK)
    label(axes, 5.5, 2.88, "grey: base width   blue: twice as wide   thick orange: sides that grow", 10)
    return figure


def _shape(axes: Axes, x: float, y: float, width: float, height: float, color: str, *, tall: bool, wide: bool) -> None:
    """A rectangle whose growing sides are thick."""
    axes.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor=INK, linewidth=0.8))
    if wide:
        axes.plot([x, x + width], [y, y], color=ORANGE, linewidth=3.5)
    if tall:
        axes.plot([x, x], [y, y + height], color=ORANGE, linewidth=3.5)

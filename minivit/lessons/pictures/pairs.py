"""Images and texts as rows and columns of one table."""

from minivit.lessons.pictures.sketch import INK, ORANGE, PALE, PURPLE, Axes, arrow, box, canvas, label, outline

CELL, LEFT, TOP, COUNT = 0.55, 3.4, 1.35, 4
TEXTS = ("red disc", "blue ring", "green cross", "red square")


def two_encoders() -> None:
    """Four pairs: an encoder for the images, one for the texts, and the table of their cosines."""
    side = COUNT * CELL
    _, axes = canvas(7.6, TOP + side + 0.75)
    box(axes, LEFT, 0.1, side, 0.38, "text encoder")
    box(axes, 1.35, TOP, 1.2, side, "image\nencoder")
    for i in range(COUNT):
        x, y = LEFT + (i + 0.5) * CELL, TOP + (i + 0.5) * CELL
        _picture(axes, 0.75, y, i)
        arrow(axes, (1.0, y), (1.32, y))
        arrow(axes, (2.58, y), (2.85, y))
        label(axes, 3.1, y, f"$\\hat{{\\mathbf{{f}}}}_{i + 1}$", 12)
        arrow(axes, (x, 0.5), (x, 0.82))
        label(axes, x, 1.08, f"$\\hat{{\\mathbf{{g}}}}_{i + 1}$", 12)
        for j in range(COUNT):
            own = i == j
            box(axes, LEFT + j * CELL, y - CELL / 2, CELL, CELL, f"$c_{{{i + 1}{j + 1}}}$", ORANGE if own else PALE)
    outline(axes, LEFT, TOP + CELL, side, CELL, INK)
    outline(axes, LEFT + 2 * CELL, TOP, CELL, side, PURPLE)
    right = LEFT + side + 0.15
    label(axes, right, TOP + 1.5 * CELL, "a row: which text\nbelongs to image 2?", ha="left")
    label(axes, LEFT + 2.5 * CELL, TOP + side + 0.35, "a column: which image\nbelongs to text 3?", color=PURPLE)
    label(axes, right, 0.29, "texts: " + ", ".join(TEXTS[:2]) + ",\n" + ", ".join(TEXTS[2:]), ha="left")


def _picture(axes: Axes, x: float, y: float, which: int) -> None:
    """A small sign for an image: what its text says."""
    sign, color = (("o", "#d92e26"), ("o", "#3359e6"), ("P", "#33ad40"), ("s", "#d92e26"))[which]
    face = "none" if which == 1 else color
    axes.plot([x], [y], sign, markersize=15, markerfacecolor=face, markeredgecolor=color, markeredgewidth=3)

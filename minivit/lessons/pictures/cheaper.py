"""Attention and three cheaper ways as shapes: which arrays are stored."""

from matplotlib.patches import Rectangle

from minivit.lessons.pictures.sketch import INK, ORANGE, PALE, Axes, arrow, canvas, label, outline

N, WIDTH, FEW = 1.5, 0.3, 0.45  # inches for N tokens, the width of a head, and R features or mixed keys
TOP, STEP, TILE = 0.95, 2.75, 0.5


def four_ways() -> None:
    """Exact attention, attention in tiles, random features and mixed keys, side by side."""
    _, axes = canvas(4 * STEP + 0.1, 3.35)
    names = ("exact", "exact, in tiles", "random features", "mixed keys")
    for i, name in enumerate(names):
        label(axes, 0.1 + STEP * (i + 0.5), 0.2, name, 13, weight="bold")
    _pair(axes, 0.25, (N, N), "$A$", (WIDTH, N), "$\\mathbf{v}$")
    _tiles(axes, 0.25 + STEP)
    features = (FEW, N), "$\\phi(\\mathbf{q})$", (WIDTH, FEW), "$\\phi(\\mathbf{k})^\\top\\mathbf{v}$"
    _pair(axes, 0.8 + 2 * STEP, *features)
    mixed = (FEW, N), "softmax", (WIDTH, FEW), "$G_v\\mathbf{v}$"
    _pair(axes, 0.8 + 3 * STEP, *mixed)
    stored = ("$N^2$ weights", "one tile at a time", "nothing of size $N^2$", "nothing of size $N^2$")
    for i, text in enumerate(stored):
        label(axes, 0.1 + STEP * (i + 0.5), TOP + N + 0.6, text, 12, color=ORANGE if i == 1 else INK)


def _shape(axes: Axes, x: float, y: float, size: tuple[float, float], name: str, sides: tuple[str, str]) -> None:
    """A grey array with its name above and its lengths below and on the left."""
    axes.add_patch(_rectangle(x, y, *size, PALE))
    label(axes, x + size[0] / 2, y - 0.17, name, 12)
    label(axes, x + size[0] / 2, y + size[1] + 0.16, sides[1], 10)
    label(axes, x - 0.13, y + size[1] / 2, sides[0], 10)


def _pair(axes: Axes, x: float, left: tuple[float, float], name: str, right: tuple[float, float], other: str) -> None:
    """A product of two arrays, given by width and height."""
    letters = {N: "$N$", FEW: "$R$", WIDTH: "$D_h$"}
    _shape(axes, x, TOP, left, name, (letters[left[1]], letters[left[0]]))
    place = x + left[0] + 0.45
    _shape(axes, place, TOP, right, other, (letters[right[1]], letters[right[0]]))


def _tiles(axes: Axes, x: float) -> None:
    """Weights of which one tile exists, and the values that it meets."""
    count = round(N / TILE)
    for row in range(count):
        for column in range(count):
            patch = _rectangle(x + column * TILE, TOP + row * TILE, TILE, TILE, "white")
            patch.set(linestyle=":", edgecolor="#999999")
            axes.add_patch(patch)
    axes.add_patch(_rectangle(x + TILE, TOP + TILE, TILE, TILE, ORANGE))
    for begin in (x, x + 2 * TILE):
        arrow(axes, (begin + 0.08, TOP + 1.5 * TILE), (begin + TILE - 0.08, TOP + 1.5 * TILE))
    label(axes, x + N / 2, TOP - 0.17, "tiles of $A$", 12)
    label(axes, x + N / 2, TOP + N + 0.16, "$N$", 10)
    label(axes, x - 0.13, TOP + N / 2, "$N$", 10)
    _shape(axes, x + N + 0.45, TOP, (WIDTH, N), "$\\mathbf{v}$", ("$N$", "$D_h$"))
    outline(axes, x + N + 0.45, TOP + TILE, WIDTH, TILE)


def _rectangle(x: float, y: float, width: float, height: float, color: str) -> Rectangle:
    return Rectangle((x, y), width, height, facecolor=color, edgecolor=INK, linewidth=1)

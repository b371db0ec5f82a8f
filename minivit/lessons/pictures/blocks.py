"""Pictures of a Transformer block: the stream of tokens as a thick line, the branches beside it."""

from typing import Any

from minivit.lessons.pictures.sketch import BLUE, GREEN, INK, ORANGE, PURPLE, arrow, box, canvas, label

STREAM = 4  # points: the width of the stream's line
BRANCH_ABOVE = 0.95  # inches between the stream and the middle of a branch
HEIGHT = 0.46  # of a box, in inches


def pre_ln() -> Any:
    """One block of a ViT (Eq. 2 and 3): nothing but two sums lies on the stream."""
    figure, axes = canvas(9.4, 2.15)
    _pre_ln(axes, 1.55)
    return figure


def pre_and_post_ln() -> Any:
    """One block in both orders, pre-LN above, post-LN below."""
    figure, axes = canvas(9.4, 4.5)
    label(axes, 0.15, 0.25, "pre-LN: nothing but sums on the stream", size=12, ha="left", weight="bold")
    _pre_ln(axes, 1.75)
    label(axes, 0.15, 2.45, "post-LN: LayerNorm lies on the stream", size=12, ha="left", weight="bold")
    _post_ln(axes, 3.95)
    return figure


def of_2020_and_later() -> Any:
    """One block of the ViT of 2020 above, one of later models below: what has changed has another name."""
    figure, axes = canvas(12.2, 4.5)
    label(axes, 0.15, 0.25, "2020", size=12, ha="left", weight="bold")
    label(axes, 0.15, 2.45, "later", size=12, ha="left", weight="bold")
    names = r"$\mathbf{z}_{\ell-1}$", r"$\mathbf{z}'_\ell$", r"$\mathbf{z}_\ell$"
    for y in (1.75, 3.95):
        _stream(axes, y, names, (0.85, 6.05, 11.25), 11.8)
    _branch(axes, 1.75, 1.15, (("LN", 0.7, ORANGE), ("MSA", 1.9, BLUE)), 5.65)
    _branch(axes, 1.75, 6.4, (("LN", 0.7, ORANGE), ("MLP", 1.9, GREEN)), 10.9)
    for start, text, color in ((1.15, "QK-norm, RoPE", BLUE), (6.4, "SwiGLU", GREEN)):
        _branch(axes, 3.95, start, (("RMS", 0.7, ORANGE), (text, 1.9, color), ("s", 0.4, PURPLE)), start + 4.5)
    return figure


def _pre_ln(axes: Any, y: float) -> None:
    _stream(axes, y, (r"$\mathbf{z}_{\ell-1}$", r"$\mathbf{z}'_\ell$", r"$\mathbf{z}_\ell$"), (0.85, 4.7, 8.45), 9.1)
    _branch(axes, y, 1.15, (("LN", 0.7, ORANGE), ("MSA", 1.1, BLUE)), 4.15)
    _branch(axes, y, 4.9, (("LN", 0.7, ORANGE), ("MLP", 1.1, GREEN)), 7.9)


def _post_ln(axes: Any, y: float) -> None:
    _stream(axes, y, (r"$\mathbf{z}_{\ell-1}$", r"$\mathbf{z}'_\ell$", r"$\mathbf{z}_\ell$"), (0.85, 4.7, 8.45), 9.1)
    for start, text, color in ((1.15, "MSA", BLUE), (4.9, "MLP", GREEN)):
        _branch(axes, y, start, ((text, 1.1, color),), start + 2.05)
        _box(axes, start + 2.45, y, 0.7, "LN", ORANGE)


def _stream(axes: Any, y: float, names: tuple[str, ...], places: tuple[float, ...], end: float) -> None:
    """The thick line from left to right, with the name of the tokens below it at some places."""
    axes.plot((0.6, end), (y, y), color=INK, linewidth=STREAM, solid_capstyle="butt", zorder=0)
    arrow(axes, (end - 0.05, y), (end + 0.2, y))
    for name, x in zip(names, places, strict=True):
        label(axes, x, y + 0.27, name, size=14)


def _branch(axes: Any, y: float, start: float, boxes: tuple[tuple[str, float, str], ...], end: float) -> None:
    """A path off the stream at x = start, through boxes (text, width, colour), back to a sum at x = end."""
    high, x = y - BRANCH_ABOVE, start + 0.4
    axes.plot((start, start), (y, high), color=INK, linewidth=1.3)
    previous = start
    for text, width, color in boxes:
        arrow(axes, (previous, high), (x, high))
        _box(axes, x, high, width, text, color)
        previous, x = x + width, x + width + 0.4
    axes.plot((previous, end), (high, high), color=INK, linewidth=1.3)
    arrow(axes, (end, high), (end, y - 0.16))
    axes.plot(end, y, marker="o", markersize=23, markerfacecolor="white", markeredgecolor=INK, zorder=3)
    label(axes, end, y, "+", size=15, zorder=4)


def _box(axes: Any, x: float, y: float, width: float, text: str, color: str) -> None:
    """A box whose left side is at x and whose middle is at height y."""
    box(axes, x, y - HEIGHT / 2, width, HEIGHT, color=color)
    label(axes, x + width / 2, y, text, size=13, color="white", weight="bold")

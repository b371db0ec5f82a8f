"""Draws images/vit.svg, the picture of a Vision Transformer on the home page: `python docs/vit_picture.py`.

The image is a digit that comes with minivit, cut as the preset for digits cuts it. The picture brings its own light
ground, so that it is legible on dark pages.
"""

from html import escape
from pathlib import Path

import numpy as np

from minivit import data
from minivit.runs import presets

PICTURE = Path(__file__).parent / "images/vit.svg"
WIDTH, HEIGHT = 960, 340
INK, GREY, BLUE, ORANGE, GREEN = "#1b1f24", "#57606a", "#1f5fa8", "#b3500b", "#1a6b39"
TITLE = (
    "A Vision Transformer: an image of a digit is cut into 16 patches; a linear layer makes each a token; a class "
    "token and positions are added; a stack of blocks of attention and MLP follows; the class token is read as the "
    "digit."
)


def text(x: float, y: float, words: str, size: int = 15, colour: str = INK, weight: str = "normal") -> str:
    """Words centred at a place."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="middle">{escape(words)}</text>'
    )


def box(x: float, y: float, width: float, height: float, fill: str, border: str = "none", round: float = 3) -> str:
    """A rectangle."""
    size = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {size} rx="{round:g}" fill="{fill}" stroke="{border}"/>'


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A line with a tip."""
    return f'<path d="M{x1:g},{y1:g} L{x2:g},{y2:g}" stroke="{GREY}" stroke-width="1.6" marker-end="url(#tip)"/>'


def pixels(image: np.ndarray, x: float, y: float, side: float) -> list[str]:
    """An image (height, width) of 0..255, bright on black."""
    shades = [f"#{value:02x}{value:02x}{value:02x}" for value in image.ravel()]
    places = [(x + side * column, y + side * row) for row, column in np.ndindex(image.shape)]
    squares = [box(*place, side, side, shade, round=0) for place, shade in zip(places, shades, strict=True)]
    return ['<g shape-rendering="crispEdges">', *squares, "</g>"]  # or the ground shows between neighbours


def drawing() -> list[str]:
    """The parts from left to right."""
    digits = data.load("digits")
    index = int(np.flatnonzero(digits.labels == 3)[0])
    image, patch = digits[index][0][..., 0], presets.preset("digits")["model"]["patch_size"]
    depth, across = presets.preset("digits")["model"]["depth"], image.shape[0] // patch
    parts = [*pixels(image, 24, 96, 14), text(80, 84, "an image")]
    parts += [arrow(144, 152, 172, 152), text(242, 84, f"{across * across} patches")]
    for row, column in np.ndindex(across, across):
        cut = image[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
        parts += pixels(cut, 180 + 32 * column, 90 + 32 * row, 28 / patch)
    parts += [arrow(312, 152, 352, 152), text(332, 142, "E", 16, BLUE, "bold")]

    # tokens, with their positions
    tokens = across * across + 1
    parts += [text(402, 40, "tokens"), text(402, 58, "+ positions", 13, GREY)]
    for n in range(tokens):
        y = 70 + 14 * n
        parts.append(box(362, y, 60, 11, ORANGE if n == 0 else BLUE))
        parts.append(text(434, y + 10, str(n), 11, GREY))
    parts += [text(392, 325, "[class] and patches", 13, GREY), arrow(448, 184, 484, 184)]

    # the encoder
    parts += [box(492, 50, 268, 262, "#eef3f9", "#8aa4c2", 10), text(626, 38, f"{depth} blocks", 15, INK, "bold")]
    layers = ((66, "attention", "tokens look at tokens", GREEN), (194, "MLP", "each token by itself", BLUE))
    for y, name, what, colour in layers:
        parts += [box(536, y, 180, 26, "#ffffff", "#8aa4c2"), text(626, y + 18, "LayerNorm", 13)]
        parts += [arrow(626, y + 26, 626, y + 36), box(536, y + 38, 180, 44, "#ffffff", colour)]
        parts += [text(626, y + 57, name, 15, colour, "bold"), text(626, y + 74, what, 12, GREY)]
        parts += [f'<path d="M516,{y - 6:g} V{y + 97:g} H616" stroke="{GREY}" fill="none" stroke-width="1.6"/>']
        parts += [f'<path d="M626,{y - 6:g} H516" stroke="{GREY}" fill="none" stroke-width="1.6"/>']
        parts += [arrow(626, y - 10, 626, y), arrow(626, y + 82, 626, y + 89), text(626, y + 102, "+", 18, INK, "bold")]
    parts += [f'<path d="M626,170 V186" stroke="{GREY}" stroke-width="1.6"/>']
    parts += [arrow(760, 184, 796, 184)]

    # the answer: how long the bars are is made up
    parts += [box(804, 70 + 14 * n, 28, 11, "#d3dae2" if n else ORANGE) for n in range(tokens)]
    parts += [text(818, 60, "[class]", 13, GREY)]
    parts += [
        arrow(836, 76, 868, 76),
        text(852, 66, "W", 16, BLUE, "bold"),
        text(908, 72, "it is a 3", 16, INK, "bold"),
    ]
    scores = [6, 4, 9, 88, 3, 12, 4, 5, 14, 10]
    for digit in range(10):
        y = 92 + 20 * digit
        parts.append(text(876, y + 11, str(digit), 12, INK if digit == 3 else GREY))
        parts.append(box(886, y, 0.62 * scores[digit], 13, ORANGE if digit == 3 else "#b9c6d6"))
    return parts


def picture() -> str:
    """The file."""
    tip = f'<path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/>'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">',
            f"<title>{TITLE}</title>",
            f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto">{tip}</marker></defs>',
            box(0, 0, WIDTH, HEIGHT, "#fbfcfd", "none", 12),
            *drawing(),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8", newline="\n")

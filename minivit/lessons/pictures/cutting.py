"""Pictures for notebook 03: an image, its patches, the patches as rows, and their tokens."""

from typing import Any

import numpy as np

from minivit.lessons.pictures import sketch
from minivit.lessons.pictures.sheets import sheet

HERE = 9  # the patch that is followed through the picture


def to_tokens(image: np.ndarray, P: int, tokens: np.ndarray) -> None:
    """Draw image -> patches -> rows -> tokens.   image: (height, width), grey, 0..255; P: side of a patch;
    tokens: (Np, D), of its patches row by row."""
    rows, columns = image.shape[0] // P, image.shape[1] // P
    patches = image.reshape(rows, P, columns, P).swapaxes(1, 2).reshape(-1, P, P)
    count, per_patch = len(patches), P * P
    _, axes = sketch.canvas(11, 4.1)
    top, height, cell = 0.62, 3.2, 0.26
    grey: dict[str, Any] = {"limits": (0.0, 255.0)}

    sketch.label(axes, 1.2, 0.3, f"the image, {image.shape[0]} × {image.shape[1]}", 12)
    middle = top + height / 2
    corner = middle - image.shape[0] * cell / 2
    sketch.matrix(axes, 0.16, corner, image, cell, **grey)
    sketch.outline(axes, *_place(HERE, columns, 0.16, corner, P * cell), P * cell, P * cell)
    sketch.arrow(axes, (2.35, middle), (2.85, middle), "cut")

    sketch.label(axes, 4.2, 0.3, f"{count} patches of {P} × {P}", 12)
    pitch = P * cell + 0.2
    corner = middle - rows * pitch / 2 + 0.12
    for n, patch in enumerate(patches):
        place = _place(n, columns, 2.98, corner, pitch)
        sketch.matrix(axes, *place, patch, cell, border="#999999", **grey)
        sketch.label(axes, place[0] + P * cell / 2, place[1] - 0.08, str(n), 8)
    sketch.outline(axes, *_place(HERE, columns, 2.98, corner, pitch), P * cell, P * cell)
    sketch.arrow(axes, (5.85, middle), (6.4, middle), "one row\neach\n")

    sketch.label(axes, 7.05, 0.3, rf"$\mathbf{{x}}_p$, {count} × {per_patch}", 12)
    row = height / count
    sketch.matrix(axes, 6.65, top, patches.reshape(count, per_patch), row, border="#999999", **grey)
    for n in range(count):
        sketch.label(axes, 6.55, top + (n + 0.5) * row, str(n), 8, ha="right")
    sketch.outline(axes, 6.65, top + HERE * row, per_patch * row, row)
    sketch.arrow(axes, (7.6, middle), (8.2, middle), "to −1..1\nthen\n" + r"$\cdot\,\mathbf{E} + \mathbf{b}$" + "\n\n")

    sketch.label(axes, 9.6, 0.3, f"tokens, {count} × {tokens.shape[1]}", 12)
    sheet(axes, 8.35, top, tokens, 2.5, height)
    sketch.outline(axes, 8.35, top + HERE * row, 2.5, row)
    sketch.label(axes, 9.6, 4.0, "red: positive, blue: negative", 9)


def _place(n: int, columns: int, x: float, y: float, pitch: float) -> tuple[float, float]:
    """Upper left corner of patch n in a grid that begins at (x, y)."""
    return x + n % columns * pitch, y + n // columns * pitch

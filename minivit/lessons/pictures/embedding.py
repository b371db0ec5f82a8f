"""Pictures for notebook 04: the sum of Eq. 1, and a layer that does not know the order of its tokens."""

import numpy as np

from minivit.lessons.pictures import sketch
from minivit.lessons.pictures.sheets import sheet

ROW_COLORS = (sketch.ORANGE, sketch.BLUE, sketch.GREEN, sketch.PURPLE, sketch.INK, "#b07d12")


def equation_1(class_token: np.ndarray, patch_tokens: np.ndarray, positions: np.ndarray) -> None:
    """Draw [class token; patch tokens] + positions = z_0.   (D,), (Np, D), (Np + 1, D)."""
    sequence = np.concatenate([class_token[None], patch_tokens])
    limit = float(max(np.abs(sequence).max(), np.abs(positions).max()))
    _, axes = sketch.canvas(11, 4.35)
    top, width, height = 0.62, 2.6, 3.4
    row = height / len(sequence)
    names = ["[class]", *(f"patch {n}" for n in range(len(patch_tokens)))]
    places = [f"position {i}" for i in range(len(positions))]
    titles = ("the tokens", r"$\mathbf{E}_{pos}$", r"$\mathbf{z}_0$")
    parts = (sequence, positions, sequence + positions)
    for left, title, part, labels in zip((0.85, 4.55, 8.15), titles, parts, (names, places, ()), strict=True):
        sketch.label(axes, left + width / 2, 0.3, f"{title}, {len(part)} × {part.shape[1]}", 12)
        sheet(axes, left, top, part, width, height, limit=limit, labels=labels)
        sketch.outline(axes, left, top, width, row)
    sketch.label(axes, 3.62, top + height / 2, "+", 20)
    sketch.label(axes, 7.65, top + height / 2, "=", 20)
    sketch.label(axes, 5.85, 4.18, "red: positive, blue: negative", 9)


def reordered(before: np.ndarray, after: np.ndarray, moved: np.ndarray, after_moved: np.ndarray, order: list) -> None:
    """Draw four arrays (N, D) of few tokens: z, f(z), and the same with the rows of z in another order."""
    _, axes = sketch.canvas(11, 3.9)
    width, height, left, right = 3.2, 1.3, 1.3, 7.3
    original = list(range(len(before)))
    for top, given, result, tokens, name in (
        (0.45, before, after, original, r"\mathbf{z}"),
        (2.45, moved, after_moved, list(order), r"\Pi\mathbf{z}"),
    ):
        labels = [f"token {n}" for n in tokens]
        colors = [ROW_COLORS[n % len(ROW_COLORS)] for n in tokens]
        for x, values, title in ((left, given, f"${name}$"), (right, result, f"$f({name})$")):
            sketch.label(axes, x + width / 2, top - 0.2, title, 13)
            sheet(axes, x, top, values, width, height, labels=labels, colors=colors)
        sketch.box(axes, 5.05, top + height / 2 - 0.28, 1.0, 0.56, "block $f$", sketch.BLUE)
        sketch.arrow(axes, (left + width + 0.08, top + height / 2), (5.0, top + height / 2))
        sketch.arrow(axes, (6.1, top + height / 2), (right - 0.65, top + height / 2))
    for x in (left + 2.6, right + 2.6):
        sketch.arrow(axes, (x, 1.82), (x, 2.3))
        sketch.label(axes, x + 0.2, 2.05, r"$\Pi$", 13)

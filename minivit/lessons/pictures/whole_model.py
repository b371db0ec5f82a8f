"""The whole Vision Transformer on one image: pixels, patches, tokens before and after the blocks, probabilities."""

from typing import Any

import numpy as np

from minivit.lessons.pictures.sketch import BLUE, INK, ORANGE, TEXT, arrow, canvas, label, matrix, outline

TOP = 0.75  # inches above the matrices, for their titles


def overview(
    image: np.ndarray, patches: np.ndarray, before: np.ndarray, after: np.ndarray, probabilities: np.ndarray
) -> Any:
    """One image passing through a ViT, from left to right.

    image: (height, width).   patches: (N_p, pixels).   before, after: (N, D), the tokens that enter the first block and
    that leave the last.   probabilities: (K,).
    """
    tall = 1.45
    figure, axes = canvas(11.7, 2.75)
    middle = TOP + tall / 2
    wide, _ = matrix(axes, 0.15, TOP, image, tall / len(image))
    label(axes, 0.15 + wide / 2, TOP - 0.3, "image")
    x = _step(axes, 0.15 + wide, middle, "cut", 0.5)
    wide, _ = matrix(axes, x, TOP, patches, tall / len(patches))
    label(axes, x + wide / 2, TOP - 0.3, f"{len(patches)} patches\nof {patches.shape[1]} pixels")
    x = _step(axes, x + wide, middle, "Eq. 1", 0.65)
    cell = tall / len(before)
    for tokens, name, text in (
        (before, r"\mathbf{z}_0", "Eq. 2, 3"),
        (after, r"\mathbf{z}_L", "Eq. 4,\nhead,\nsoftmax"),
    ):
        largest = float(np.abs(tokens).max())
        wide, _ = matrix(axes, x, TOP, tokens, cell, cmap="RdBu_r", limits=(-largest, largest))
        label(axes, x + wide / 2, TOP - 0.3, f"${name}$: {tokens.shape[0]} tokens\nof {tokens.shape[1]} features")
        last = name.endswith("L")
        if last:
            outline(axes, x, TOP, wide, cell)
            label(axes, x + wide / 2, TOP + tall + 0.2, "row 0, [class], is read", color=ORANGE)
        x = _step(axes, x + wide, TOP + cell / 2 if last else middle, text, 0.75, middle)
    _bars(axes, x, tall, probabilities)
    return figure


def _step(axes: Any, x: float, y: float, text: str, length: float, to: float | None = None) -> float:
    """An arrow with a text, from (x, y) to height `to`; returns where the next part begins."""
    arrow(axes, (x + 0.06, y), (x + length - 0.06, y if to is None else to))
    label(axes, x + length / 2, (y if to is None else max(y, to)) + 0.2, text, size=TEXT)
    return x + length


def _bars(axes: Any, x: float, tall: float, probabilities: np.ndarray) -> None:
    """One bar for each class, the longest in another colour."""
    row = tall / len(probabilities)
    label(axes, x + 0.75, TOP - 0.3, "probabilities\nof the classes")
    for i, share in enumerate(probabilities):
        y, best = TOP + i * row, i == int(probabilities.argmax())
        label(axes, x + 0.12, y + row / 2, str(i), size=TEXT - 1, weight="bold" if best else "normal")
        left, right = x + 0.3, x + 0.3 + 1.1 * float(share)
        axes.fill(
            [left, right, right, left], [y + 0.02, y + 0.02, y + row - 0.02, y + row - 0.02], ORANGE if best else BLUE
        )
    axes.plot((x + 0.3, x + 0.3), (TOP, TOP + tall), color=INK, linewidth=1)

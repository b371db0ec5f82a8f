"""Attention drawn: one query over its keys, weights between words, and where a [class] token looks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivit.lessons.pictures import sketch

ROW = 0.62  # inches from one key to the next
LEAST = 0.02  # smaller weights of words are not drawn


def one_query(query: np.ndarray, keys: np.ndarray, values: np.ndarray, names: Sequence[str]) -> None:
    """From left to right: a query, keys, their dot products, the weights, the values and their weighted mean.

    query: (Dh,).   keys: (N, Dh).   values: (N, 1), a number for each key.   names: of the keys.
    """
    products = keys @ query
    weights = softmax(products[None])[0]
    height, big = ROW * len(keys), sketch.TEXT + 2
    _, axes = sketch.canvas(10, height + 1.1)
    top, middle, size = 0.55, 0.55 + height / 2, float(np.abs(keys).max())
    cell = 1.9 / len(query)
    style: dict[str, Any] = {"cmap": "RdBu_r", "limits": (-size, size)}
    sketch.matrix(axes, 0.2, middle - cell / 2, query[None], cell, **style)
    sketch.label(axes, 1.15, middle - 0.28, "query $q$", big)
    for x, title in {3.75: "keys $k$", 5.3: "dot products", 6.7: "weights $A$", 8.1: "values $v$"}.items():
        sketch.label(axes, x, 0.25, title, big)
    for i, name in enumerate(names):
        y = top + ROW * (i + 0.5)
        color, weight = (sketch.ORANGE, "bold") if weights[i] == weights.max() else (sketch.INK, "normal")
        sketch.arrow(axes, (2.15, middle), (2.7, y), color=color)
        sketch.matrix(axes, 2.8, y - cell / 2, keys[i][None], cell, border=color, **style)
        sketch.label(axes, 3.75, y - 0.2, name, big, color=color, weight=weight)
        sketch.label(axes, 5.3, y, f"{products[i]:.2f}", big, color=color, weight=weight)
        axes.barh(y, weights[i], 0.3, left=6.05, color=color if weight == "bold" else sketch.BLUE)
        sketch.label(axes, 6.1 + weights[i], y, f"{weights[i]:.3f}", big, ha="left", color=color, weight=weight)
        sketch.label(axes, 8.1, y, f"{values[i, 0]:g}", big, color=color, weight=weight)
        sketch.arrow(axes, (8.3, y), (8.85, middle), color=color)
    bottom = top + height + 0.15
    sketch.arrow(axes, (5.3, bottom), (6.6, bottom))
    sketch.label(axes, 5.95, bottom + 0.2, "softmax", big)
    sketch.box(axes, 8.9, middle - 0.35, 0.9, 0.7, color=sketch.ORANGE)
    sketch.label(axes, 9.35, middle, f"{float((weights @ values)[0]):.2f}", big + 1, color="white", weight="bold")
    sketch.label(axes, 9.35, middle - 0.55, "result $Y$", big)


def weights_of_words(weights: np.ndarray, word: str) -> None:
    """Tokens in a row below, results above, and lines from each result to the tokens that it was made of.

    weights: (N, N), row i of result i.   word: one letter for each token.
    """
    step, letters, big = 1.4, list(word), sketch.TEXT + 4
    _, axes = sketch.canvas(step * len(letters) + 1.4, 2.9)
    for i, row in enumerate(weights):
        x = 1.9 + step * i
        for j, weight in enumerate(row):
            if weight > LEAST:
                axes.plot([1.9 + step * j, x], [2.2, 0.75], color=sketch.BLUE, linewidth=9 * weight, zorder=0)
        names = [letters[j] for j in np.flatnonzero(row > LEAST)]
        sketch.box(axes, x - 0.55, 0.2, 1.1, 0.55)
        sketch.label(axes, x, 0.475, names[0] if len(names) == 1 else "mean of all", big if len(names) == 1 else 11)
    for j, letter in enumerate(letters):
        sketch.box(axes, 1.35 + step * j, 2.2, 1.1, 0.55, color=sketch.BLUE)
        sketch.label(axes, 1.9 + step * j, 2.475, letter, big, color="white")
    for y, text in (
        (0.475, "results $Y$"),
        (1.475, f"weights $A$\n(thickness,\nfrom {LEAST:g} on)"),
        (2.475, "values $v$"),
    ):
        sketch.label(axes, 0.7, y, text, sketch.TEXT + 2)


def class_attention(image: np.ndarray, weights: np.ndarray) -> None:
    """An image, and for each block and head the weights that the [class] token gives the patches.

    image: (height, width, 1).   weights: (L, H, N), rows of [class]; the first of the N tokens is [class] itself, the
    others are the patches of a square grid. Each map has its own scale, darkest at its largest weight.
    """
    blocks, heads, tokens = weights.shape
    side, step, size, big = round((tokens - 1) ** 0.5), 1.85, 1.45, sketch.TEXT + 2
    _, axes = sketch.canvas(2.9 + step * heads, 0.45 + step * blocks)
    pixel, top = 1.8 / image.shape[0], 0.45 + (step * blocks - 1.8) / 2
    sketch.matrix(axes, 0.15, top, image[..., 0], pixel)
    sketch.label(axes, 1.05, top - 0.2, "image, patches", big)
    _grid(axes, 0.15, top, 1.8, side)
    sketch.label(axes, 1.05, top + 2.1, "dots in the maps:\nits dark pixels", sketch.TEXT + 1)
    for head in range(heads):
        sketch.label(axes, 2.8 + step * head + size / 2, 0.2, f"head {head}", big)
    for block in range(blocks):
        y = 0.4 + step * block
        sketch.label(axes, 2.4, y + size / 2, f"block\n{block}", big)
        for head in range(heads):
            patches = weights[block, head, 1:].reshape(side, side)
            x = 2.8 + step * head
            sketch.matrix(axes, x, y, patches, size / side, cmap="Purples", limits=(0, float(patches.max())))
            _dots(axes, x, y, size / image.shape[0], image[..., 0])
            sketch.label(axes, x + size / 2, y + size + 0.16, f"largest {patches.max():.2f}", sketch.TEXT + 1)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Row by row, (..., N) -> (..., N)."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _grid(axes: sketch.Axes, x: float, y: float, size: float, parts: int) -> None:
    """Lines between the patches of a square image, its side given in inches."""
    for i in range(1, parts):
        place = size * i / parts
        axes.plot([x + place, x + place], [y, y + size], color=sketch.ORANGE, linewidth=1.2)
        axes.plot([x, x + size], [y + place, y + place], color=sketch.ORANGE, linewidth=1.2)


def _dots(axes: sketch.Axes, x: float, y: float, cell: float, pixels: np.ndarray) -> None:
    """A dot on every dark pixel of the image, so that a map can be laid on it."""
    rows, columns = np.nonzero(pixels > 128)  # large values are drawn dark
    axes.plot(x + cell * (columns + 0.5), y + cell * (rows + 0.5), ".", color=sketch.ORANGE, markersize=5)

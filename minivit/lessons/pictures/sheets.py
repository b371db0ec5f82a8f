"""Tokens drawn as a sheet: one row per token, one thin column per feature, with labels at the rows."""

from collections.abc import Sequence

import numpy as np

from minivit.lessons.pictures import sketch


def sheet(
    axes: sketch.Axes,
    x: float,
    y: float,
    values: np.ndarray,
    width: float,
    height: float,
    *,
    limit: float | None = None,
    labels: Sequence[str] = (),
    colors: Sequence[str] = (),
) -> None:
    """A matrix (rows, columns) as an image of so many inches, its upper left corner at (x, y): red above 0, blue below.

    limit: value of the strongest colour (default: the largest size).   labels: at the left of the rows, in `colors`.
    """
    limit = limit or float(np.abs(values).max()) or 1.0
    extent = (x, x + width, y + height, y)
    axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent, aspect="equal", interpolation="nearest")
    axes.add_patch(sketch.Rectangle((x, y), width, height, fill=False, edgecolor=sketch.INK, linewidth=1.2))
    for i, text in enumerate(labels):
        color = colors[i] if colors else sketch.INK
        sketch.label(axes, x - 0.08, y + (i + 0.5) * height / len(values), text, 8, ha="right", color=color)

"""Rows of images side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minivit.plots.canvas import new_figure, plain, save, show_image


def image_rows(rows: Mapping[str, np.ndarray], title: str, path: Path) -> None:
    """A row of images for each name, the columns the same images in other forms, as a PNG file.

    rows: name -> (B, height, width, C) of 0..1, equally many in each; values outside are clipped.
    """
    count = len(next(iter(rows.values())))
    height, width = next(iter(rows.values())).shape[1:3]
    side = max(0.7, min(1.4, 10 / count))
    figure = new_figure(max(4.0, side * count + 1.2), max(0.8, side * height / width) * len(rows) + 0.6)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for place, image in zip(row, images, strict=True):
            show_image(place, np.clip(image, 0, 1))
        row[0].set_ylabel(plain(name), fontsize=10, rotation=0, ha="right", va="center")
    figure.suptitle(plain(title))
    save(figure, path, dpi=110)

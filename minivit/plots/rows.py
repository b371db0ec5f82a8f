"""Rows of images side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minivit.plots.canvas import BLUE, GREEN, ORANGE, new_figure, plain, save, show_image

COLOURS = ("#DDDDDD", ORANGE, BLUE, GREEN, "#E69F00", "#56B4E9", "#CC79A7", "#F0E442")  # of the first classes


def in_colours(classes: np.ndarray) -> np.ndarray:
    """Numbers of classes 0 to 255, or booleans, (...) -> (..., 3); 255, which stands for none, is white."""
    table = np.random.default_rng(0).random((256, 3))
    table[: len(COLOURS)] = [[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in COLOURS]
    table[255] = 1
    return table[classes.astype(int)]


def image_rows(rows: Mapping[str, np.ndarray], title: str, path: Path) -> None:
    """A row of images for each name, the columns the same images in other forms, as a PNG file.

    rows: name -> (B, height, width, C) of 0..1, equally many in each; values outside are clipped. Or (B, height, width)
    of classes or booleans, see `in_colours`.
    """
    rows = {name: in_colours(x) if x.ndim == 3 else x for name, x in rows.items()}
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

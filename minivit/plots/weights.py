"""Filters of the patch projection, position embeddings, and the confusion matrix of a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minivit.plots.canvas import colour_bar, new_figure, picture_axes, plain, save


def patch_filters(components: np.ndarray, shares: np.ndarray, title: str, path: Path) -> None:
    """Principal components of the patch filters (Figure 7 left), as a PNG file.

    components: (K, height, width, C), C = 1 or 3; shares: (K,) of the variance, written under each. Grey is 0; each
    component is stretched to the full range, so that small ones are visible too.
    """
    count = len(components)
    columns = min(7, count)
    rows = -(-count // columns)
    figure = new_figure(max(4.0, 1.15 * columns + 0.3), 1.4 * rows + 1)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for component, share, place in zip(components, shares, axes, strict=False):
        shown = 0.5 + component / (2 * abs(component).max())
        place.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
        place.set_xlabel(f"{share:.1%}", fontsize=10)
    for place in axes:
        picture_axes(place)
    figure.supxlabel("share of the variance of the filters", fontsize=10)
    figure.suptitle(plain(title))
    save(figure, path, dpi=120)


def position_similarity(similarity: np.ndarray, title: str, path: Path, most: int = 8) -> None:
    """The similarity of the position embeddings (Figure 7 centre), as a PNG file.

    The tile in row i and column j compares that patch with all patches. similarity: (rows, columns, rows, columns),
    cosines; in a grid with more than `most` rows or columns only every second (third, ...) has a tile.
    """
    rows, columns = similarity.shape[:2]
    step = -(-max(rows, columns) // most)
    tiles = similarity[::step, ::step]
    high, wide = tiles.shape[:2]
    figure = new_figure(0.75 * wide + 1.6, 0.75 * high + 1.1)
    axes = figure.subplots(high, wide, squeeze=False)
    for i in range(high):
        for j in range(wide):
            drawn = axes[i, j].imshow(tiles[i, j], cmap="viridis", vmin=-1, vmax=1)
            picture_axes(axes[i, j])
        axes[i, 0].set_ylabel(f"{i * step + 1}", rotation=0, ha="right", va="center", fontsize=10)
    for j in range(wide):
        axes[-1, j].set_xlabel(f"{j * step + 1}", fontsize=10)
    figure.supylabel("row of the patch", fontsize=10)
    figure.supxlabel("column of the patch", fontsize=10)
    colour_bar(figure, drawn, axes, "cosine similarity", fraction=0.05)
    figure.suptitle(plain(title))
    save(figure, path, dpi=110)


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """True against predicted classes, as a PNG file.   counts: (K, K), [true, predicted] (`confusion_counts`).

    Colours are shares of the true class; up to 20 classes are named and counted in the cells.
    """
    count = len(classes)
    named = count <= 20
    side = 0.5 * count + 1.8 if named else 7.5
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100)
    if named:
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, classes)) > 2 else {}
        names = [plain(name) for name in classes]
        axes.set_xticks(range(count), names, **slanted)
        axes.set_yticks(range(count), names)
        for i, j in np.argwhere(counts):
            ink = "black" if shares[i, j] > 55 else "white"
            axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=9, color=ink)
    axes.set(xlabel="predicted class", ylabel="true class", title=plain(title))
    axes.spines[:].set_visible(False)
    colour_bar(figure, drawn, axes, "share of the true class (%)")
    save(figure, path, dpi=110)

"""Where a model looks: attention by head and layer, attention rollout, mean attention distance.

Attention is drawn as a multiple of 1/N, the share of each of N tokens under uniform attention, on a logarithmic scale.
So 1 means "as much as the others" in every model, and weak and strong heads fit into one figure.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.plots.canvas import BLUE, ORANGE, colour_bar, new_figure, open_axes, plain, save, show_image

OPAQUE = 0.6  # of a heat map over its image
PALE = 0.25  # contrast of the image under a heat map: a dark one would turn equal weights into other colours
IMAGE_SIDE = 2.4  # inches, of the image beside the maps of its attention


def attention_maps(image: np.ndarray, maps: np.ndarray, title: str, path: Path) -> None:
    """The attention of every head of every layer over one image, as a PNG file: a row per layer, a column per head,
    the image on the left.

    image: (height, width, C) in 0..1; maps: (L, H, rows, columns), multiples of uniform attention.
    """
    layers, heads = maps.shape[:2]
    side = max(0.75, min(1.45, 10 / (heads + 1), 11 / layers))
    high = max(0.65, side * _flatness(image))  # room for the name of a layer
    figure = new_figure(IMAGE_SIDE + max(3.6, side * heads + 1.5), max(2.4, high * layers + 0.9))
    grid = figure.add_gridspec(layers, heads + 1, width_ratios=[IMAGE_SIDE] + [side] * heads)
    rows = min(layers, math.ceil(IMAGE_SIDE * _flatness(image) / high))  # that the image takes
    picture = figure.add_subplot(grid[:rows, 0])
    show_image(picture, image)
    picture.set_anchor("N")
    picture.set_title("image", fontsize=10)
    axes = np.array([[figure.add_subplot(grid[i, j + 1]) for j in range(heads)] for i in range(layers)])
    for layer in range(layers):
        axes[layer, 0].set_ylabel(f"layer {layer + 1}")
        for head in range(heads):
            drawn = _heat_map(axes[layer, head], maps[layer, head], image, most=8)
            if layer == 0:
                axes[0, head].set_title(f"head {head + 1}", fontsize=10)
    _multiples_bar(figure, drawn, axes, "attention /\nuniform attention (1/N)", fraction=0.03)
    figure.suptitle(plain(title))
    save(figure, path, dpi=110)


def attention_rollout(images: np.ndarray, maps: np.ndarray, captions: Sequence[str], title: str, path: Path) -> None:
    """Images, their attention rollout, and each image lit by it (as Figure 6 of the paper), as a PNG file.

    images: (B, height, width, C) in 0..1; maps: (B, rows, columns), multiples of uniform attention; captions: one per
    image.
    """
    count = len(images)
    figure = new_figure(max(5.0, 1.75 * count + 1.4), 5.25 * _flatness(images[0]) + 0.95)
    axes = figure.subplots(3, count, squeeze=False)
    for i, (image, heat) in enumerate(zip(images, maps, strict=True)):
        show_image(axes[0, i], image)
        axes[0, i].set_title(plain("\n".join(map(_shortened, captions[i].splitlines()))), fontsize=10)
        drawn = _heat_map(axes[1, i], heat, image, most=4)
        show_image(axes[2, i], image * _enlarged(heat / heat.max(), image)[..., None])
    for row, label in enumerate(("image", "rollout", "image × rollout")):
        axes[row, 0].set_ylabel(label)
    _multiples_bar(figure, drawn, axes, "rollout /\nuniform rollout (1/N)", fraction=0.05)
    figure.suptitle(plain(title))
    save(figure, path, dpi=110)


def attention_distance(distances: np.ndarray, uniform: float, title: str, path: Path) -> None:
    """Mean attention distance by layer, a dot per head (Figure 7 right), as a PNG file.

    distances: (L, H) in pixels; uniform: the distance of uniform attention, drawn for comparison.
    """
    layers, heads = distances.shape
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    depth = np.repeat(np.arange(1, layers + 1), heads)
    axes.scatter(depth, distances.ravel(), s=45, color=BLUE, alpha=0.7, linewidths=0, label="a head")
    axes.plot(np.arange(1, layers + 1), distances.mean(axis=1), color=BLUE, linewidth=1, label="mean of the heads")
    axes.axhline(uniform, color=ORANGE, linestyle="--", label=f"uniform attention: {uniform:.1f} px")
    axes.set(xlabel="layer", ylabel="mean attention distance (pixels)", title=plain(title))
    axes.set_xticks(range(1, layers + 1, max(1, layers // 12)))
    axes.set_xlim(0.5, layers + 0.5)
    axes.set_ylim(0, 1.35 * max(uniform, distances.max()))
    axes.legend(frameon=False, loc="upper left", ncols=3, columnspacing=1.2, handletextpad=0.5)
    open_axes(axes)
    save(figure, path, dpi=120)


def _flatness(image: np.ndarray) -> float:
    """Height over width, within what leaves room for the labels."""
    return min(2.0, max(0.6, image.shape[0] / image.shape[1]))


def _shortened(line: str, most: int = 23) -> str:
    """The line, cut where it would run into the next image's."""
    return line if len(line) <= most else line[: most - 1] + "…"


def _enlarged(heat: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(rows, columns) -> (height, width): every weight over the pixels of its patch."""
    (height, width), (rows, columns) = image.shape[:2], heat.shape
    return heat[np.arange(height) * rows // height][:, np.arange(width) * columns // width]


def _heat_map(axes: Any, heat: np.ndarray, image: np.ndarray, most: int) -> Any:
    """Draw multiples (rows, columns) of uniform attention over a pale image, on a scale from 1/most to most."""
    show_image(axes, 1 - PALE * (1 - image.mean(axis=-1, keepdims=True)))
    clipped = np.clip(heat, 1 / most, most)
    extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
    return axes.imshow(clipped, cmap="viridis", norm="log", vmin=1 / most, vmax=most, extent=extent, alpha=OPAQUE)


def _multiples_bar(figure: Any, drawn: Any, axes: Any, label: str, **options: Any) -> None:
    """The scale of `_heat_map`, with a tick at every power of 2."""
    bar = colour_bar(figure, drawn, axes, label, **options)
    power = round(np.log2(drawn.norm.vmax))
    names = [f"1/{2**-k}" if k < 0 else f"{2**k}" for k in range(-power, power + 1)]
    names = [f"≤ {names[0]}", *names[1:-1], f"≥ {names[-1]}"]
    bar.set_ticks([2.0**k for k in range(-power, power + 1)], labels=names)
    bar.minorticks_off()

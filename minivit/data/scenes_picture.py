"""Draws the layout of a scene: its picture, the masks of its shapes and their boxes."""

import math

import numpy as np

from minivit.data.scenes_layout import COLOURS, KINDS, Layout, hashed
from minivit.data.shapes import SHAPES


def coverage(layout: Layout, size: int) -> np.ndarray:
    """How much of each pixel each shape covers, 0..1: (B, n, size, size) float32. A shape that leaves the picture on
    one side comes back on the other. Outlines are smooth: a pixel centred on one is half covered, see `data.shapes`."""
    covered = np.zeros((*layout.kind.shape, size, size), np.float32)
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    for number, name in enumerate(KINDS):
        members = np.nonzero(layout.kind == number)
        x, y, radius, angle = (
            values[members][:, None, None] for values in (layout.x, layout.y, layout.radius, layout.angle)
        )
        across, down = _wrapped(middles - x) / radius, _wrapped(middles[:, None] - y) / radius
        cosine, sine = np.cos(2 * math.pi * angle), np.sin(2 * math.pi * angle)
        distance = SHAPES[name](cosine * across + sine * down, cosine * down - sine * across)
        covered[members] = np.clip(0.5 - size * radius * distance, 0, 1)
    return covered


def _wrapped(x: np.ndarray) -> np.ndarray:
    """The shortest way round a ring of length 1, -1/2 to 1/2."""
    return x - np.rint(x)


def paint(layout: Layout, covered: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """The pictures (B, size, size, 3) uint8.   covered: as of `coverage`.   grain: noise, 0 to 255, of that shape."""
    size = covered.shape[-1]
    colours = np.array([*COLOURS.values()], np.float32)[layout.colour] + layout.tint
    image = np.repeat(_ground(layout, size)[..., None], 3, axis=3)
    for j in range(covered.shape[1]):
        image += covered[:, j, ..., None] * (colours[:, j, None, None] - image)
    image += 0.1 * (grain.astype(np.float32) / 255 - 0.5)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _ground(layout: Layout, size: int) -> np.ndarray:
    """Dark grey with a wave of up to three turns each way: (B, size, size) float32."""
    grey, depth, across, down, phase = (layout.ground[:, k, None, None] for k in range(5))
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    turns = (6 * across - 3) * middles + (6 * down - 3) * middles[:, None] + phase
    return 0.15 + 0.25 * grey + 0.1 * depth * np.sin(2 * math.pi * turns)


def grain(seed: int, items: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Noise for each of the items (B,): (B, *shape) uint8, uniform."""
    count = math.prod(shape)
    octets = hashed((seed, 1), items, -(-count // 8)).astype("<u8").view(np.uint8)  # the same on every machine
    return octets[:, :count].reshape(len(items), *shape)


def seen(covered: np.ndarray) -> np.ndarray:
    """Where each shape is visible: (B, n, size, size) bool. A pixel belongs to the last shape that covers half of
    it."""
    visible = covered >= 0.5
    hidden = np.zeros_like(visible[:, 0])
    for j in reversed(range(visible.shape[1])):
        visible[:, j] &= ~hidden
        hidden |= visible[:, j]
    return visible


def by_kind(instances: np.ndarray, layout: Layout) -> np.ndarray:
    """The kind visible at each pixel: (B, size, size) uint8, 0 for the background, or 1 + the number of the kind."""
    mask = np.zeros_like(instances[:, 0], np.uint8)
    for j in range(instances.shape[1]):
        mask[instances[:, j]] = np.broadcast_to(layout.kind[:, j, None, None] + 1, mask.shape)[instances[:, j]]
    return mask


def boxes(instances: np.ndarray) -> np.ndarray:
    """The smallest boxes (x0, y0, x1, y1) around the visible parts: (B, n, 4) int64, x1 and y1 excluded; 0 for none."""
    (x0, x1), (y0, y1) = (_ends(np.asarray(instances.any(axis=axis))) for axis in (2, 3))
    return np.stack([x0, y0, x1, y1], axis=2)


def _ends(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the True of (..., L) begin and end."""
    return line.argmax(axis=-1), np.where(line.any(axis=-1), line.shape[-1] - line[..., ::-1].argmax(axis=-1), 0)

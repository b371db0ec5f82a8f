"""Pictures of ten shapes, drawn by code: an unlimited number of labelled images, with no download.

Each image is one shape of random colour, place, size and angle in front of random stripes, under noise. A shape is
given by its signed distance: a function of the place (u, v) that is negative inside the shape, zero on its outline and
positive outside. It gives the share of a pixel that the shape covers, so outlines are smooth. The unit of u and v is
the shape's radius: the shape lies in the circle of radius 1 around (0, 0).
"""

import math

import numpy as np

from minivit.data.dataset import ArrayDataset, Indices, check_labels, whole_numbers

SIZE = 32  # pixels, height and width
SPLITS = {"train": (0, 10_000), "test": (1, 2_000)}  # name: (first number of its seeds, images unless told otherwise)
CHUNK = 256  # images drawn at once, to bound memory


def load_shapes(split: str, count: int | None = None, seed: int = 0) -> ArrayDataset:
    """`count` drawn images, 32x32x3 uint8, of ten classes in turn; None: 10,000 for "train", 2,000 for "test".

    Image i is a function of (seed, split, i) alone, so a smaller count gives the first images of a larger one.
    """
    number, default = SPLITS[split]
    labels = np.arange(default if count is None else count) % len(SHAPES)
    return ArrayDataset(draw_shapes(labels, (number, seed)), labels, list(SHAPES), "shapes")


def draw_shapes(labels: Indices, seed: tuple[int, ...] = (0,)) -> np.ndarray:
    """One image of each class in `labels` (N integers in 0..9): (N, 32, 32, 3) uint8. Everything about image i is drawn
    from a generator seeded with (*seed, i). Raises DataError for other labels."""
    labels = whole_numbers(labels, "shapes: labels")
    check_labels(labels, len(SHAPES), "shapes")
    images = np.empty((len(labels), SIZE, SIZE, 3), np.uint8)
    for start in range(0, len(labels), CHUNK):
        piece = slice(start, start + CHUNK)
        generators = [np.random.default_rng((*seed, start + i)) for i in range(len(labels[piece]))]
        images[piece] = _draw(labels[piece], generators)
    return images


def _draw(labels: np.ndarray, generators: list[np.random.Generator]) -> np.ndarray:
    """(B, 32, 32, 3) uint8: one shape for each of the labels (B,), each from its own generator."""
    places, stripes = (_uniform(generators, (1, 1, 4)) for _ in range(2))
    behind, shift, contrast = (_uniform(generators, (1, 1, 3)) for _ in range(3))  # of each channel
    noise = np.stack([rng.standard_normal((SIZE, SIZE, 3), np.float32) for rng in generators])
    covered = _coverage(labels, places)

    # Each channel of the shape's colour is a quarter to three quarters of the range above the background's, and where
    # it passes the end it goes on at the beginning: neither is the brighter one more often than the other.
    colour = (behind + 0.25 + 0.5 * shift) % 1
    background = behind + 0.3 * (contrast - 0.5) * _waves(stripes)
    level = 0.01 + 0.06 * stripes[..., 3:]  # standard deviation of the noise
    image = background + covered * (colour - background) + level * noise
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _uniform(generators: list[np.random.Generator], shape: tuple[int, ...]) -> np.ndarray:
    """(B, *shape) float32 in 0..1."""
    return np.stack([rng.random(shape, np.float32) for rng in generators])


def _coverage(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How much of each pixel the shape covers, 0..1: (B, 32, 32, 1). places: (B, 1, 1, 4), each in 0..1, for radius,
    centre and angle."""
    size, across, down, turn = (places[..., i] for i in range(4))
    radius = 6 + 7 * size  # pixels
    room = SIZE / 2 - radius  # for the centre to move either way: all of the shape lies in the image
    x, y = _pixels()
    x = (x - SIZE / 2 - room * (2 * across - 1)) / radius
    y = (y - SIZE / 2 - room * (2 * down - 1)) / radius
    cosine, sine = np.cos(2 * math.pi * turn), np.sin(2 * math.pi * turn)
    u, v = cosine * x + sine * y, cosine * y - sine * x
    distance = np.empty_like(u)
    for label, shape in enumerate(SHAPES.values()):
        members = labels == label
        distance[members] = shape(u[members], v[members])
    return np.clip(0.5 - radius * distance, 0, 1)[..., None]  # a pixel with its middle on the outline is half covered


def _waves(stripes: np.ndarray) -> np.ndarray:
    """Sine waves in -1..1 across the images: (B, 32, 32, 1). stripes: (B, 1, 1, 4) in 0..1, of which three are used."""
    across, down, phase = (stripes[..., i] for i in range(3))
    x, y = _pixels()
    turns = ((12 * across - 6) * x + (12 * down - 6) * y) / SIZE + phase  # up to 6 waves each way
    return np.sin(2 * math.pi * turns)[..., None]


def _pixels() -> tuple[np.ndarray, np.ndarray]:
    """x and y of the middle of each pixel, in pixels: (32, 32) float32 each."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5
    return x, y


# Signed distances: (..., 32, 32) from u and v of that shape.


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 1


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return abs(np.hypot(u, v) - 0.8) - 0.2


def _half_disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(_disc(u, v), v)


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(_disc(u, v), 0.8 - np.hypot(u, v - 0.5))  # a disc without another


def _box(u: np.ndarray, v: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(abs(u) - half_width, abs(v) - half_height)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _box(u, v, 0.7, 0.7)


def _frame(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return abs(_box(u, v, 0.55, 0.55)) - 0.15


def _bar(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _box(u, v, 0.95, 0.25)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.minimum(_bar(u, v), _bar(v, u))


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    slope = math.sqrt(3) / 2
    return np.maximum(v, slope * abs(u) - v / 2) - 0.5  # three lines at distance 1/2 from the centre


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Five points of radius 1, five corners of radius 0.4 between them."""
    tenth = math.pi / 5  # of a turn: from a point to the next corner
    angle = abs((np.arctan2(v, u) + tenth) % (2 * tenth) - tenth)  # from the nearest point: folds ten edges into one
    x, y = np.hypot(u, v) * np.cos(angle), np.hypot(u, v) * np.sin(angle)
    edge_x, edge_y = 0.4 * math.cos(tenth) - 1, 0.4 * math.sin(tenth)  # from the point (1, 0) to the corner
    return ((x - 1) * edge_y - y * edge_x) / math.hypot(edge_x, edge_y)


SHAPES = {
    "disc": _disc,
    "ring": _ring,
    "half disc": _half_disc,
    "crescent": _crescent,
    "square": _square,
    "frame": _frame,
    "bar": _bar,
    "cross": _cross,
    "triangle": _triangle,
    "star": _star,
}

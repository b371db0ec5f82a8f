"""The layout of a drawn scene, as a function of (seed, number of the scene) alone.

The random numbers are a hash of (seed, scene, place in a list). So scenes can be made in any order, by any thread and
thousands at once, and no scene depends on another.
"""

import dataclasses
from typing import ClassVar

import numpy as np

KINDS = ("disc", "square", "triangle", "cross", "ring")
SOLID = 3  # so many, the first, have room for another shape inside, and are no lines to blur when they are small
COLOURS = {"red": (0.85, 0.18, 0.15), "green": (0.2, 0.68, 0.25), "blue": (0.2, 0.35, 0.9), "yellow": (0.92, 0.82, 0.2)}
PLACES = ("top left", "top right", "bottom left", "bottom right")
MOST = len(PLACES)  # shapes in a scene: a quarter of the picture for each

_place, _kind, _colour = np.ogrid[: len(PLACES), : len(KINDS), : len(COLOURS)]
# (place, kind, colour): one kind of each colour and place, 16 of the 80 combinations. A kind, a colour or a place is
# held out with none of the others, and of a kind in a colour at least three places are left for training.
HELD_OUT = (_place + _kind + _colour) % len(KINDS) == 0


def uniform(seed: tuple[int, ...], items: np.ndarray, count: int) -> np.ndarray:
    """`count` numbers in 0..1 for each of the items (B,), which are integers of 0 or more: (B, count) float64."""
    return (hashed(seed, items, count) >> np.uint64(11)) * 2.0**-53


def hashed(seed: tuple[int, ...], items: np.ndarray, count: int) -> np.ndarray:
    """`count` random integers for each of the items (B,): (B, count) uint64.

    SplitMix64 (Steele, Lea and Flood 2014), started for each item from a hash of seed and item.
    """
    key = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    state = mixed(key + items.astype(np.uint64))[:, None]
    return mixed(state + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64))


def mixed(x: np.ndarray) -> np.ndarray:
    """SplitMix64's last step: one to one, and every bit of x changes half of the bits of the result."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclasses.dataclass(frozen=True)
class Layout:
    """B pictures with room for n shapes each, the rearmost first. Lengths are in sides of the picture.

    kind, colour: (B, n) int64, numbers in KINDS and COLOURS; -1 for no shape.   x, y, radius, angle: (B, n) float32;
    angles are in turns.   tint: (B, n, 3) float32, a shape's deviation from the middle of its colour. ground: (B, 5)
    float32 in 0..1, for the grey behind the shapes and its wave.
    """

    kind: np.ndarray
    colour: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    tint: np.ndarray
    ground: np.ndarray

    NUMBERS: ClassVar[int] = 7  # random ones for a shape: radius, two for its place, angle, three for its tint

    def repeated(self, times: int) -> "Layout":
        """Every picture `times` times in a row: (B times, ...)."""
        return Layout(*(np.repeat(value, times, axis=0) for value in vars(self).values()))


def lay_out(
    seed: int, items: np.ndarray, shapes: tuple[int, int], combinations: str = "all", nested: float = 0.0
) -> Layout:
    """The scenes with these numbers (B,), with n = shapes[1].

    Every shape stands in a quarter of its own, and no two agree in both kind and colour. The first is the largest and
    stands behind the others, which cover little of it and even less of each other. In a share `nested` of the scenes
    with two shapes or more the second lies inside the first; both are then solid and differ in colour.
    combinations: "train" has no held-out one, "held-out" has one in the first shape and none in the others.
    """
    low, high = shapes
    sizes = (2, MOST, MOST * len(KINDS) * len(COLOURS), MOST * Layout.NUMBERS, 5)
    rolls = uniform((seed, 0), items, sum(sizes))
    first, order, choice, rest, ground = np.split(rolls, np.cumsum(sizes)[:-1], axis=1)
    count = low + (first[:, 0] * (high - low + 1)).astype(np.int64)
    inside = (first[:, 1] < nested) & (count > 1)
    place = order.argsort(axis=1)[:, :high]
    if high > 1:
        place[inside, 1] = place[inside, 0]
    kind, colour = _choose(choice.reshape(-1, MOST, len(KINDS), len(COLOURS)), place, inside, combinations)

    size, across, down, turn, *tint = np.moveaxis(rest.reshape(len(items), MOST, -1)[:, :high], 2, 0)
    radius = 0.11 + 0.035 * size
    radius[:, 0] = np.where(inside, 0.27 + 0.03 * size[:, 0], 0.19 + 0.04 * size[:, 0])
    apart = np.where(inside, 0.6, 0.4)[:, None] * radius  # from the middle lines, so that little of it is covered
    x, y = (
        0.5 + (2 * half - 1) * (apart + roll * (0.5 - radius - apart))
        for half, roll in ((place % 2, across), (place // 2, down))
    )
    if high > 1:
        x[inside, 1], y[inside, 1] = x[inside, 0], y[inside, 0]
        radius[inside, 1] = 0.4 * radius[inside, 0]
    absent = np.arange(high) >= count[:, None]
    kind[absent] = colour[absent] = -1
    numbers = (x, y, radius, turn, 0.12 * np.stack(tint, axis=2) - 0.06, ground)
    return Layout(kind, colour, *(values.astype(np.float32) for values in numbers))


def _choose(
    rolls: np.ndarray, place: np.ndarray, inside: np.ndarray, combinations: str
) -> tuple[np.ndarray, np.ndarray]:
    """Kind and colour of every shape, (B, n) each, uniform over the allowed pairs.

    rolls: (B, MOST, kinds, colours) in 0..1.   place: (B, n).   inside: (B,) whether the first has another in it.
    """
    free = np.ones_like(rolls[:, 0], bool)
    kind, colour = np.empty_like(place), np.empty_like(place)
    for j in range(place.shape[1]):
        allowed = free.copy()
        if combinations != "all":
            held_out = HELD_OUT[place[:, j]]
            allowed &= held_out if combinations == "held-out" and j == 0 else ~held_out
        if j < 2:
            allowed[inside, SOLID:] = False
        if j == 1:
            allowed[inside, :, colour[inside, 0]] = False
        chosen = np.where(allowed, rolls[:, j], -1).reshape(len(rolls), -1).argmax(axis=1)
        kind[:, j], colour[:, j] = np.divmod(chosen, len(COLOURS))
        free[np.arange(len(rolls)), kind[:, j], colour[:, j]] = False
    return kind, colour

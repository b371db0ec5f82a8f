"""Drawn scenes of one to four shapes with masks, boxes, captions, questions and answers.

Scene i is a function of (seed, i) alone, so nothing is stored and the supply is unlimited. docs/drawn-world.md shows
them.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Self

import numpy as np

from minivit.data.dataset import Dataset, Images, Indices, as_indices
from minivit.data.scenes_layout import COLOURS, KINDS, MOST, Layout, lay_out, uniform
from minivit.data.scenes_picture import boxes, by_kind, coverage, grain, paint, seen
from minivit.data.scenes_words import CAPTION, NUMBER_OF, QUESTION, Thing, ask, caption, encode
from minivit.errors import ConfigError

SPLITS = {"train": (0, 10_000), "test": (1, 2_000)}  # name: (what its seed is odd by, scenes unless told otherwise)
SMALLEST, SMALLEST_NESTED = 16, 32  # pixels; in smaller pictures colours blur into each other
CHUNK = 64  # scenes drawn at once: their arrays then stay in the cache
LABELS = {
    "kind": list(KINDS),
    "colour": list(COLOURS),
    "both": [f"{colour} {kind}" for kind in KINDS for colour in COLOURS],
}


def load_scenes(split: str, count: int | None = None, seed: int = 0, **options) -> "Scenes":
    """The "train" or "test" scenes, 10,000 or 2,000 unless a count is given.   options: those of `Scenes`."""
    odd, default = SPLITS[split]
    return Scenes(default if count is None else count, 2 * seed + odd, **options)


def load_captions(split: str, count: int | None = None, seed: int = 0) -> "Scenes":
    """Scenes of one shape, each described in one sentence: "train" has 64 combinations of kind, colour and place,
    "test" the sixteen others. The class is kind and colour."""
    combinations = {"train": "train", "test": "held-out"}[split]
    scenes = load_scenes(split, count, seed, shapes=(1, 1), label="both", combinations=combinations)
    scenes.name = "captions"
    return scenes


def load_nested(split: str, count: int | None = None, seed: int = 0) -> "Scenes":
    """Scenes of a shape in another, and of one or two more: a point in the inner one may mean either."""
    scenes = load_scenes(split, count, seed, shapes=(3, MOST), nested=1.0)
    scenes.name = "nested"
    return scenes


class Drawn(Dataset):
    """Shared by `Scenes` and `Clips`: items drawn on request, in columns by name.

    items: (N,) int64, the numbers of the scenes.   COLUMNS: name -> description, of all that `columns` gives.
    """

    COLUMNS: tuple[str, ...] = ()

    def __init__(
        self, name: str, count: int, seed: int, size: int, shapes: tuple[int, int], label: Callable, classes: list[str]
    ) -> None:
        for what, number, least in (("count", count, 0), ("seed", seed, 0), ("size", size, SMALLEST)):
            if not isinstance(number, int | np.integer) or number < least:
                raise ConfigError(f"{name}: {what} is {number}, expected a whole number of at least {least}")
        if not (len(shapes) == 2 and 1 <= shapes[0] <= shapes[1] <= MOST):
            raise ConfigError(f"{name}: shapes is {shapes}, expected the least and the most of them, 1 to {MOST}")
        self.seed, self.size, self.shapes = int(seed), int(size), (int(shapes[0]), int(shapes[1]))
        self.items = np.arange(count)
        pieces = [label(self.items[start : start + 4096]) for start in range(0, count, 4096)]
        super().__init__(np.concatenate([np.empty(0, np.int64), *pieces]), classes, name)
        self.image_size = self.size, self.size

    def columns(
        self, indices: Indices, names: Iterable[str], min_size: tuple[int, int] | None = None
    ) -> dict[str, Images]:
        """The columns with these names, of the items with these indices (B,): name -> (B, ...).

        Only what they need is drawn. Raises DataError for a name that is not in COLUMNS.
        """
        return {**self.arrays(indices, names)}

    def arrays(self, indices: Indices, names: Iterable[str]) -> dict[str, np.ndarray]:
        """`columns` with arrays only."""
        names, indices = list(names), as_indices(indices, self.name)
        self.check_columns(names)
        items = self.items[indices] if len(indices) else np.zeros(1, np.int64)  # then one, for its shapes and dtypes
        pieces = [self.draw(items[start : start + CHUNK], set(names)) for start in range(0, len(items), CHUNK)]
        return {
            name: self.labels[indices]
            if name == "labels"
            else np.concatenate([piece[name] for piece in pieces])[: len(indices)]
            for name in names
        }

    def draw(self, items: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
        """At least the columns `names`, except the labels, of the items with these numbers."""
        raise NotImplementedError

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        columns = self.arrays(indices, ("images", "labels"))
        return columns["images"], columns["labels"]

    def subset(self, indices: Indices) -> Self:
        indices = as_indices(indices, self.name)
        part = copy.copy(self)
        part.items, part.labels = self.items[indices], self.labels[indices]
        return part


class Scenes(Drawn):
    """`count` scenes of shapes[0] to shapes[1] shapes, H = W = `size` pixels, at least 16. n = shapes[1].

    label: which property of the largest shape is the class: "kind" (five), "colour" (four) or "both" (twenty).
    combinations: of kind, colour and place. "train" leaves out the sixteen of `HELD_OUT`, "held-out" uses them for the
    largest shape and no other, "all" allows every combination everywhere.
    nested: the share of scenes with two or more shapes in which the second lies inside the first; needs a size of at
    least 32.
    The columns, one row for each scene. Shapes are in drawing order; the first is the largest.
    images (H, W, 3) uint8.   labels: int64.   mask (H, W) uint8: 0, or 1 + the number in KINDS of the visible shape.
    instances (n, H, W) bool: where each shape is visible; False if it does not exist.   whole: as instances, including
    covered parts.   boxes (n, 4) int64: x0, y0, x1, y1 around the visible part of each, x1 and y1 excluded; 0 if it
    does not exist.   kinds, colours (n,) int64: numbers in KINDS and COLOURS; -1 for none.
    caption (20,), question (12,) int64: numbers of words, see `encode`.   answer: int64, the number of one word.
    Raises ConfigError for invalid options.
    """

    COLUMNS = (
        *("images", "labels", "mask", "instances", "whole", "boxes", "kinds", "colours"),
        *("caption", "question", "answer"),
    )

    def __init__(
        self,
        count: int,
        seed: int = 0,
        size: int = 32,
        shapes: tuple[int, int] = (1, 4),
        *,
        label: str = "kind",
        combinations: str = "all",
        nested: float = 0.0,
    ) -> None:
        if label not in LABELS:
            raise ConfigError(f'scenes: label is "{label}", expected {", ".join(LABELS)}')
        if combinations not in ("train", "held-out", "all"):
            raise ConfigError(f'scenes: combinations is "{combinations}", expected train, held-out or all')
        if not 0 <= nested <= 1:
            raise ConfigError(f"scenes: nested is {nested}, expected a share, 0 to 1")
        self.combinations, self.nested = combinations, float(nested)
        super().__init__(
            "scenes", count, seed, size, shapes, lambda items: label_of(self.layout(items), label), LABELS[label]
        )
        if nested and self.size < SMALLEST_NESTED:
            raise ConfigError(f"scenes: size is {size}, expected {SMALLEST_NESTED} or more for nested shapes")

    def layout(self, items: np.ndarray) -> Layout:
        """The layout of the scenes with these numbers."""
        return lay_out(self.seed, items, self.shapes, self.combinations, self.nested)

    def draw(self, items: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
        layout = self.layout(items)
        found = {"kinds": layout.kind, "colours": layout.colour}
        if names <= {"kinds", "colours", "labels"}:
            return found
        covered = coverage(layout, self.size)
        if "images" in names:
            found["images"] = paint(layout, covered, grain(self.seed, items, (self.size, self.size, 3)))
        if names <= {"images", *found, "labels"}:
            return found
        found["whole"], found["instances"] = covered >= 0.5, seen(covered)
        found["mask"] = by_kind(found["instances"], layout)
        found["boxes"] = boxes(found["instances"])
        things = things_of(layout, found["boxes"])
        if "caption" in names:
            texts = [encode(caption(scene, self.size), CAPTION) for scene in things]
            found["caption"] = np.array(texts)
        if not names.isdisjoint({"question", "answer"}):
            rolls = uniform((self.seed, 2), items, 3).tolist()
            asked = [ask(scene, roll) for scene, roll in zip(things, rolls, strict=True)]
            found["question"] = np.array([encode(question, QUESTION) for question, _ in asked])
            found["answer"] = np.array([NUMBER_OF[answer] for _, answer in asked], np.int64)
        return found


def label_of(layout: Layout, label: str) -> np.ndarray:
    """The class of the first shape of each picture: (B,) int64."""
    kind, colour = layout.kind[:, 0], layout.colour[:, 0]
    return {"kind": kind, "colour": colour, "both": kind * len(COLOURS) + colour}[label]


def things_of(layout: Layout, around: np.ndarray) -> list[list[Thing]]:
    """The shapes of each picture for `scenes_words`.   around: boxes (B, n, 4)."""
    kinds, colours = list(KINDS), list(COLOURS)
    return [
        [Thing(kinds[k], colours[c], box) for k, c, box in zip(*scene, strict=True) if k >= 0]
        for scene in zip(layout.kind.tolist(), layout.colour.tolist(), around.tolist(), strict=True)
    ]

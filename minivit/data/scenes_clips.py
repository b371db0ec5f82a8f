"""Drawn clips in which one shape moves up, down, left or right, and no single frame shows the direction.

A shape that leaves the picture on one side comes back on the other, and every shape starts anywhere. So each frame has
the same distribution for every motion, and a reversed clip is equally likely with the opposite label. Shuffled frames
show only the line of the motion, not its direction.
"""

import dataclasses

import numpy as np

from minivit.data.scenes import SPLITS, Drawn, things_of
from minivit.data.scenes_layout import KINDS, Layout, lay_out, uniform
from minivit.data.scenes_picture import boxes, by_kind, coverage, grain, paint, seen
from minivit.data.scenes_words import CAPTION, encode
from minivit.errors import ConfigError

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x and y, from the top left corner


def load_clips(split: str, count: int | None = None, seed: int = 0, **options) -> "Clips":
    """The "train" or "test" clips, 10,000 or 2,000 unless a count is given.   options: those of `Clips`."""
    odd, default = SPLITS[split]
    return Clips(default if count is None else count, 2 * seed + odd, **options)


class Clips(Drawn):
    """`count` clips of T = `frames` frames, H = W = `size` pixels, at least 16, with shapes[0] to shapes[1] = n shapes.

    label: the class: "motion" (four directions) or "kind" (five), both of the moving shape.
    The columns, one row for each clip: clip (T, H, W, 3) uint8.   labels: int64.   motion: int64, the number in
    DIRECTIONS.   mover: int64, the number of the moving shape.   kinds, colours (n,): as in `Scenes`.   mask (T, H, W),
    instances and whole (T, n, H, W), boxes (T, n, 4): those of `Scenes` for every frame. The box around a shape that
    leaves on one side and comes back on the other spans the picture.   caption (20,) int64: the motion in words.
    images (H, W, 3 T) uint8: the frames stacked as channels, for an image model.
    Raises ConfigError for invalid options.
    """

    COLUMNS = (
        *("clip", "images", "labels", "motion", "mover", "mask", "instances", "whole", "boxes", "kinds", "colours"),
        "caption",
    )

    def __init__(
        self,
        count: int,
        seed: int = 0,
        size: int = 32,
        shapes: tuple[int, int] = (1, 3),
        *,
        frames: int = 8,
        label: str = "motion",
    ) -> None:
        if label not in ("motion", "kind"):
            raise ConfigError(f'clips: label is "{label}", expected motion or kind')
        if not isinstance(frames, int | np.integer) or frames < 1:
            raise ConfigError(f"clips: frames is {frames}, expected a whole number of at least 1")
        self.frames, self.channels = int(frames), 3 * int(frames)
        classes = list(DIRECTIONS) if label == "motion" else list(KINDS)
        super().__init__("clips", count, seed, size, shapes, lambda items: self._label(items, label), classes)

    def layout(self, items: np.ndarray) -> tuple[Layout, np.ndarray, np.ndarray]:
        """The layout of every frame of the clips with these numbers (B,), B T pictures; the number of the moving shape,
        (B,); and its direction, (B,)."""
        scene = lay_out(self.seed, items, self.shapes)
        n = self.shapes[1]
        rolls = uniform((self.seed, 3), items, 3 + 3 * n)
        mover = (rolls[:, 0] * (scene.kind >= 0).sum(axis=1)).astype(np.int64)
        motion = (rolls[:, 1] * len(DIRECTIONS)).astype(np.int64)
        speed = 0.04 + 0.06 * rolls[:, 2]  # sides of the picture from frame to frame
        size, across, down = (rolls[:, 3 + k * n : 3 + (k + 1) * n].astype(np.float32) for k in range(3))

        time = np.tile(np.arange(self.frames), len(items))
        moves = np.repeat(np.arange(n) == mover[:, None], self.frames, axis=0)
        way = np.repeat(np.array([*DIRECTIONS.values()])[motion] * speed[:, None], self.frames, axis=0)
        still = dataclasses.replace(scene, x=across, y=down, radius=0.13 + 0.06 * size).repeated(self.frames)
        x, y = (
            (start + moves * (time * way[:, axis])[:, None]).astype(np.float32)
            for axis, start in enumerate((still.x, still.y))
        )
        return dataclasses.replace(still, x=x, y=y), mover, motion

    def _label(self, items: np.ndarray, label: str) -> np.ndarray:
        layout, mover, motion = self.layout(items)
        kinds = layout.kind[:: self.frames]
        return motion if label == "motion" else kinds[np.arange(len(items)), mover]

    def draw(self, items: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
        layout, mover, motion = self.layout(items)
        per_clip = (len(items), self.frames)
        kind, colour = (values.reshape(*per_clip, -1)[:, 0] for values in (layout.kind, layout.colour))
        found = {"motion": motion, "mover": mover, "kinds": kind, "colours": colour}
        if "caption" in names:
            found["caption"] = self._captions(layout, mover, motion)
        if names <= {*found, "labels"}:
            return found
        covered = coverage(layout, self.size)
        if not names.isdisjoint({"clip", "images"}):
            noise = grain(self.seed, items, (self.frames, self.size, self.size, 3))
            pictures = paint(layout, covered, noise.reshape(-1, *noise.shape[2:]))
            found["clip"] = pictures.reshape(noise.shape)
        if "images" in names:
            found["images"] = found["clip"].transpose(0, 2, 3, 1, 4).reshape(len(items), self.size, self.size, -1)
        if names <= {*found, "labels"}:
            return found
        instances = seen(covered)
        masks = {"whole": covered >= 0.5, "instances": instances, "mask": by_kind(instances, layout)}
        masks["boxes"] = boxes(instances)
        return found | {name: values.reshape(*per_clip, *values.shape[1:]) for name, values in masks.items()}

    def _captions(self, layout: Layout, mover: np.ndarray, motion: np.ndarray) -> np.ndarray:
        names = list(DIRECTIONS)
        nowhere = np.zeros((*layout.kind[:: self.frames].shape, 4), np.int64)  # a place has no word here
        first = Layout(*(values[:: self.frames] for values in vars(layout).values()))
        scenes = zip(things_of(first, nowhere), mover, motion, strict=True)
        texts = [encode(f"a {things[which]} moves {names[where]}", CAPTION) for things, which, where in scenes]
        return np.array(texts)

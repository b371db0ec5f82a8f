"""Draws the output of a system into a file: `python -m minivit.evaluate RUN --how NAME`."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from minivit.backend import Array, to_numpy
from minivit.data import Dataset
from minivit.models import ViTConfig
from minivit.nn.windows import whole
from minivit.plots import image_rows

FOLDER = Path("pictures")  # where `minivit.visualize` draws, too
IMAGES = 8


def unpatchify(patches: Array, config: ViTConfig) -> Array:
    """(B, N, P_h P_w C) -> (B, height, width, C), the inverse of `nn.patchify`."""
    pixels = patches.reshape(-1, math.prod(config.patch_size), config.channels)
    return whole(pixels, config.patch_size, config.image_size)


def reconstructions(objective: Any, data: Dataset, recipe: Any) -> list[str]:
    """Draw the first images of a data set, their visible parts, and the completed images.

    objective: with `paint(batch)`, which gives patches (B, N, P P C) with the missing ones 0, and with predictions.
    """
    images, augment = data.fetch(np.arange(min(IMAGES, len(data))))[0], recipe.augment.evaluation()
    batch = {"images": augment(images, None)}
    batch |= objective.draw(batch, 0, np.random.default_rng((recipe.seed, 3, 0)))  # as in evaluation
    seen, painted = (unpatchify(to_numpy(x), objective.encoder.config) for x in objective.paint(batch))
    rows = {"image": batch["images"], "seen": seen, "completed": painted}
    shown = {title: x * np.float32(recipe.std) + np.float32(recipe.mean) for title, x in rows.items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    image_rows(shown, f"{data.name}: image, its visible part, completed", FOLDER / "reconstructions.png")
    return [str(FOLDER / "reconstructions.png")]

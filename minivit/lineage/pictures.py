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
from minivit.update.batch import Batch

FOLDER = Path("pictures")  # where `minivit.visualize` draws, too
IMAGES = 8


def unpatchify(patches: Array, config: ViTConfig) -> Array:
    """(B, N, P_h P_w C) -> (B, height, width, C), the inverse of `nn.patchify`."""
    pixels = patches.reshape(-1, math.prod(config.patch_size), config.channels)
    return whole(pixels, config.patch_size, config.image_size)


def completed(objective: Any, batch: Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Images, their visible parts, and the completed images, (B, height, width, C) each.

    objective: with `paint(batch)`, which gives patches (B, N, P P C) with the missing ones 0, and with predictions.
    """
    batch = {"images": batch["images"]} | objective.draw(batch, 0, rng)
    seen, painted = (unpatchify(to_numpy(x), objective.encoder.config) for x in objective.paint(batch))
    return {"image": batch["images"], "seen": seen, "completed": painted}


def reconstructions(objective: Any, data: Dataset, recipe: Any) -> list[str]:
    """Draw the first images of a data set, their visible parts, and the completed images."""
    images, augment = data.fetch(np.arange(min(IMAGES, len(data))))[0], recipe.augment.evaluation()
    rng = np.random.default_rng((recipe.seed, 3, 0))  # as in evaluation
    rows = completed(objective, {"images": augment(images, None)}, rng)
    shown = {title: x * np.float32(recipe.std) + np.float32(recipe.mean) for title, x in rows.items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    image_rows(shown, f"{data.name}: image, its visible part, completed", FOLDER / "reconstructions.png")
    return [str(FOLDER / "reconstructions.png")]

"""A class for every pixel of drawn scenes: what a smaller patch, a mask decoder and positions are worth.

Segmenter (arXiv 2105.05633) with patches of 4 and of 8 pixels and both decoders, and SegFormer (arXiv 2105.15203) with
and without its depthwise convolutions, which are all that tells it places. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.dense

Five minutes of one core. Writes results/dense.json after every run; started again, it goes on where it was. All are
trained on scenes of 32 pixels; they are also asked about others, drawn at 48 and 64 pixels. The mean IoU of background
everywhere, and of the true labels in cells of 4 and of 8 pixels, is on the page docs/lineage/dense.md.
"""

import dataclasses
from typing import Any

import numpy as np
from experiments import record

from minivit.backend.workers import Workers
from minivit.data.scenes import load_scenes
from minivit.runs.evaluation import evaluate
from minivit.runs.presets import preset
from minivit.runs.recipes import Recipe, complete
from minivit.runs.trainer import Trainer

SEEDS = 3
CHOICES = {"steps": 250, "eval_every": 250, "workers": 1}
SIZES = {32: 2_000, 48: 300, 64: 300}  # pixels of a side -> test scenes
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # preset, changes of objective and of model
    "Segmenter, mask, patches of 4": ("scenes-segmenter", {"decoder": "mask"}, {}),
    "Segmenter, linear, patches of 4": ("scenes-segmenter", {}, {}),
    "Segmenter, mask, patches of 8": ("scenes-segmenter", {"decoder": "mask"}, {"patch_size": 8}),
    "Segmenter, linear, patches of 8": ("scenes-segmenter", {}, {"patch_size": 8}),
    "SegFormer": ("scenes-segformer", {}, {}),
    "SegFormer, no depthwise": ("scenes-segformer", {}, {"depthwise": False}),
}


def recipe_of(name: str, seed: int) -> Recipe:
    """The choices of a run."""
    which, objective, model = MODELS[name]
    fields = preset(which)
    changed = {part: {**fields[part], **more} for part, more in (("objective", objective), ("model", model))}
    return complete({**fields, **CHOICES, **changed, "seed": seed}, load_scenes("train", 1))


def measure(name: str, seed: int) -> dict[str, float]:
    """Train, and return the mean IoU on test scenes of every size."""
    recipe = recipe_of(name, seed)
    trainer = Trainer(recipe, load_scenes("train"), None, None)
    losses = [progress.loss for progress in trainer.run()]
    found = {"loss": float(np.mean(losses[-100:]))}
    with Workers(1) as workers:
        for size, count in SIZES.items():
            asked = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, image_size=size))
            found[f"{size}"] = evaluate(trainer.objective, load_scenes("test", count, size=size), asked, workers)["iou"]
    return found


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    presets = {which: preset(which) for which, *_ in MODELS.values()}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.dense",
        "data": "drawn scenes: 10,000 to train on, at 32 pixels",
        "config": {**CHOICES, "sizes": list(SIZES.items()), "models": MODELS, "presets": presets},
    }


def main() -> None:
    record.complete("dense", header(), SEEDS, MODELS, measure)


if __name__ == "__main__":
    main()

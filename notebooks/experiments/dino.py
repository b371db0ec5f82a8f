"""DINO with and without what keeps it from collapsing, and what its features are worth without any training of a head.

Sections 3.1 and 5.3 and Figure 7 of the paper, in small, on 10,000 images of CIFAR-10. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.dino

Twenty minutes of one core. Writes results/dino.json after every run; started again, it goes on where it was.
"""

import math
from typing import Any

import numpy as np
from experiments import record

from minivit import lineage
from minivit.backend import Array
from minivit.backend.workers import Workers
from minivit.data import Dataset, Loader, load
from minivit.lineage.dino import DINO
from minivit.runs.building import make_optimizer
from minivit.runs.evaluation import neighbours
from minivit.runs.recipes import Recipe, complete
from minivit.tensor import Tensor
from minivit.update.objective import Classification, Objective
from minivit.update.step import step

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "no centring": {"centre_momentum": 1.0},
    "no sharpening": {"teacher_temperature": 0.1, "first_temperature": 0.1},
    "the student teaches": {"momentum": 0.0, "last_momentum": 0.0},
    "full, longer": {},
}
LONGER = 1500  # steps
SEEDS = 3
IMAGES, ASKED = 10_000, 2_000  # to train on, and of the test images, which the nearest of 5,000 of the former name
EVERY = 25  # steps of which the means are kept
CHOICES: dict[str, Any] = {
    "model": {"patch_size": 8, "width": 64, "depth": 3, "heads": 4, "mlp_width": 128, "gelu": "erf"},
    "objective": {
        "name": "dino", "outputs": 256, "hidden": 128, "bottleneck": 32, "local_crops": 2, "local_size": 16,
        "global_scale": (0.5, 1.0), "local_scale": (0.2, 0.5), "momentum": 0.99, "freeze_last": 0.05,
    },
    "batch_size": 64, "steps": 400, "lr": 1e-3, "warmup": 0.1, "weight_decay": 0.04, "final_weight_decay": 0.4,
    "clip_norm": 3.0, "flip": True, "mean": (0.49, 0.48, 0.45), "std": 0.25,
}  # fmt: skip


class Pixels(Objective):
    """Images as they are, for comparison."""

    tokens = 1

    def __init__(self) -> None:
        self.nothing = Tensor(np.zeros(1, "float32"))

    def features(self, images: Array) -> Tensor:
        return Tensor(images.reshape(len(images), -1))


def recipe_of(variant: str, seed: int, train: Dataset) -> Recipe:
    """The choices of a run."""
    objective = {**CHOICES["objective"], **VARIANTS[variant]}
    steps = LONGER if variant == "full, longer" else CHOICES["steps"]
    return complete({**CHOICES, "objective": objective, "steps": steps, "seed": seed}, train)


def objective_of(recipe: Recipe, train: Dataset) -> DINO:
    """Teacher and student before the first step."""
    objective = lineage.build(
        recipe, lineage.Given(recipe.model, train.classes, recipe.total_steps(len(train)), recipe.seed)
    )
    assert isinstance(objective, DINO)
    return objective


def measure(variant: str, seed: int, train: Dataset, test: Dataset) -> dict[str, Any]:
    """Train, and return the entropy of the teacher's answers and their divergence from the student's, every so many
    steps, and in the end what the nearest neighbours make of both."""
    recipe = recipe_of(variant, seed, train)
    objective, total = objective_of(recipe, train), recipe.total_steps(len(train))
    optimizer = make_optimizer(recipe, objective, total)
    entropies, divergences = [], []
    batches = Loader(train, recipe.batch_size, recipe.augment, objective, total_steps=total, seed=seed)
    with Workers(1) as workers, batches:
        for i, batch in enumerate(batches):
            result = step(objective, optimizer, batch, recipe.clip_norm, workers, accumulate=2, seed=(seed, 2, i))
            entropies.append(float(result.means["entropy"]))
            divergences.append(result.loss - entropies[-1])
        accuracies = {
            "teacher": neighbours(objective, train, test, recipe, workers),
            "student": neighbours(Classification(objective.student.encoder), train, test, recipe, workers),
        }
    curves = {"entropy": means(entropies), "divergence": means(divergences)}
    return {**curves, **{name: round(x, 4) for name, x in accuracies.items()}}


def means(values: list[float]) -> list[float]:
    """Of every EVERY values."""
    return [round(float(np.mean(values[i : i + EVERY])), 4) for i in range(0, len(values), EVERY)]


def controls(seed: int, train: Dataset, test: Dataset) -> dict[str, float]:
    """What the nearest neighbours make of pixels and of an encoder that has not been trained."""
    recipe = recipe_of("full", seed, train)
    with Workers(1) as workers:
        found = {"pixels": Pixels(), "untrained": objective_of(recipe, train)}
        return {name: round(neighbours(x, train, test, recipe, workers), 4) for name, x in found.items()}


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.dino",
        "data": f"CIFAR-10 (JPEG copy), {IMAGES:,} training images, {ASKED:,} test images",
        "config": {
            **CHOICES,
            "variants": VARIANTS,
            "longer": LONGER,
            "every": EVERY,
            "most_entropy": math.log(CHOICES["objective"]["outputs"]),
        },
    }


def main() -> None:
    results = record.begin("dino", header())
    whole, test = load("cifar10"), load("cifar10", split="test").limit(ASKED)
    for seed in range(SEEDS):  # outermost, so that the variants have as many runs each, whenever this is stopped
        train = whole.limit(IMAGES, seed)
        for name in ("controls", *VARIANTS):
            runs = results["results"].setdefault(name, [])
            if len(runs) <= seed:
                runs.append(controls(seed, train, test) if name == "controls" else measure(name, seed, train, test))
                record.write("dino", results)


if __name__ == "__main__":
    main()

"""DINOv2's two additions to DINO, each left out: hidden patches (iBOT) and the distance between images (KoLeo).

Oquab et al. 2023 (arXiv 2304.07193) in small, the preset cifar10-dinov2 on CIFAR-10. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.dinov2

Several minutes of one core. Writes results/dinov2.json after every run; started again, it goes on where it was.
"class" and "patches" are accuracies of a vote of the nearest neighbours, by the teacher's [class] tokens and by the
means of its patches. "distance" is the mean distance of a test image's [class] token to the nearest other, both of
length 1.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.backend import Array
from minivit.backend.workers import Workers
from minivit.data import load
from minivit.lineage.dinov2 import DINOv2Network
from minivit.runs.evaluation import features_of, neighbours
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor
from minivit.update.objective import Objective

SEEDS = 3
ASKED = 2_000  # test images, which the nearest of 5,000 of the training images name
CHOICES = {"workers": 1}
SETTINGS: dict[str, dict[str, float] | None] = {
    "all": {},
    "without iBOT": {"patch_weight": 0.0},
    "without KoLeo": {"koleo_weight": 0.0},
    "untrained": None,
}


class PatchMeans(Objective):
    """An encoder whose features are the means of its patches."""

    tokens = 1

    def __init__(self, network: DINOv2Network):
        self.network = network

    def features(self, images: Array) -> Tensor:
        return self.network.patches(self.network.tokens(images)).mean(axis=1)


def measure(setting: str, seed: int) -> dict[str, float]:
    """Train, unless the setting is "untrained", and look at the teacher's features."""
    train, test = load("cifar10"), load("cifar10", split="test").limit(ASKED)
    fields, changes = preset("cifar10-dinov2"), SETTINGS[setting]
    objective = {**fields["objective"], **(changes or {})}
    recipe = complete({**fields, **CHOICES, "objective": objective, "seed": seed}, train)
    trainer, found = Trainer(recipe, train, None, None), {}
    if changes is not None:
        found["loss"] = float(np.mean([progress.loss for progress in trainer.run()][-50:]))
    whole, patches = trainer.objective, PatchMeans(trainer.objective.encoder)
    with Workers(1) as workers:
        for name, kind in (("class", whole), ("patches", patches)):
            found[name] = neighbours(kind, train, test, recipe, workers)
        x, _ = features_of(whole, test, recipe, workers)
    return found | {"distance": float(np.sqrt(np.maximum(2 - 2 * alike(x), 0)).mean())}


def alike(x: np.ndarray) -> np.ndarray:
    """The largest cosine of each row with another.   x: (N, D), rows of length 1."""
    cosines = x @ x.T
    np.fill_diagonal(cosines, -1)
    return cosines.max(axis=1)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.dinov2",
        "data": f"CIFAR-10 (JPEG copy), 50,000 training images, {ASKED:,} test images",
        "config": {"preset": preset("cifar10-dinov2"), **CHOICES, "settings": SETTINGS},
    }


def main() -> None:
    record.complete("dinov2", header(), SEEDS, SETTINGS, measure)


if __name__ == "__main__":
    main()

"""Accuracy against compute when depth, width, width of the MLP or number of patches of one ViT is changed, on CIFAR-10.

Appendix D.2 and Figure 8 of the paper, in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.shape_scaling

About half an hour of one core. Writes results/shape_scaling.json after every run; started again, it goes on
where it was.
All models of one seed see the same images, in the same order. The learning rate is chosen for each model, on training
images that it was not trained on, with the smaller number of updates.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record
from experiments.rates import best_rate, next_rate

from minivit.data import Augment, Dataset, load
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig

SEEDS = 3
STEPS = (400, 1_000)  # updates; the learning rates are chosen with the first number
LADDER = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)  # learning rates to choose from
START = 2e-3  # which is tried first
HELD_OUT = 5_000  # training images on which the rates are chosen
FIT = {"batch_size": 128, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}
AUGMENT = {"flip": True, "crop_padding": 2}
BASE = {"image_size": 32, "patch_size": 8, "width": 48, "depth": 3, "heads": 3, "mlp_width": 192, "num_classes": 10}
STUDIES = {  # one field each; the middle one is the base's
    "depth": (1, 3, 8),
    "width": (24, 48, 96),
    "mlp_width": (48, 192, 768),
    "patch_size": (16, 8, 4),
}


def changed(study: str, value: int) -> ViTConfig:
    """The base with another depth, width, width of the MLP or side of the patches; the rest stays."""
    return ViTConfig(**BASE | {study: value})


def measure(config: ViTConfig, rate: float, seed: int, steps: int, train: Dataset, test: Dataset) -> float:
    """Train on CIFAR-10 and return the accuracy on the test images."""
    model = ViT(config, seed)
    fit(model, train, steps, lr=rate, augment=Augment(train.image_size, **AUGMENT), seed=seed, **FIT)
    return round(accuracy(model, test), 4)


def try_rate(config: ViTConfig, rate: float, train: Dataset) -> float:
    """Accuracy on `HELD_OUT` training images, learned on the others."""
    order = np.random.default_rng(100).permutation(len(train))
    return measure(config, rate, 100, STEPS[0], train.subset(order[HELD_OUT:]), train.subset(order[:HELD_OUT]))


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run. The base is part of each study, and runs once."""
    for steps, (study, values) in itertools.product(STEPS, STUDIES.items()):
        for value in values:
            config = changed(study, value)
            key = ("base", "base") if config == ViTConfig(**BASE) else (study, str(value))
            tried = results["rates_tried"].setdefault(key[0], {}).setdefault(key[1], {})
            while (rate := next_rate(LADDER, tried, START)) is not None:
                tried[str(rate)] = try_rate(config, rate, train)
                yield
            by_seed = results["results"].setdefault(str(steps), {}).setdefault(key[0], {}).setdefault(key[1], [])
            while len(by_seed) < SEEDS:
                by_seed.append(measure(config, best_rate(tried), len(by_seed), steps, train, test))
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    rates = {"ladder": LADDER, "start": START, "held_out": HELD_OUT}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.shape_scaling",
        "data": "CIFAR-10 (JPEG copy), 50,000 training and 10,000 test images",
        "config": {"steps": STEPS, **FIT, "augment": AUGMENT, **rates, "base": BASE, **STUDIES},
    }


def main() -> None:
    results = record.begin("shape_scaling", header())
    results.setdefault("rates_tried", {})
    for _ in run_all(results, load("cifar10"), load("cifar10", split="test")):
        record.write("shape_scaling", results)


if __name__ == "__main__":
    main()

"""A hybrid and a plain ViT of about equal arithmetic on CIFAR-10.

Section 4.4 and Figure 5 of the paper, in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.hybrid

About a quarter of an hour of one core. Writes results/hybrid.json after every run; started again, it goes on where it
was. The learning rate of each model is chosen first, on training images that it was not trained on.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record
from experiments.answers import answers, packed
from experiments.rates import best_rate

from minivit.data import Dataset, load
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig

SEEDS = 5
STEPS = 1_000
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
FIT = {"batch_size": 64, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}
COMMON = {"image_size": 32, "width": 64, "heads": 4, "num_classes": 10}
MODELS = {
    "ViT": {"patch_size": 8, "depth": 6, "mlp_width": 256},  # patches of 8 x 8 pixels
    "hybrid": {"patch_size": 2, "depth": 4, "mlp_width": 320, "stem": (), "stem_width": 32},  # of 2 x 2 places
}
HELD_OUT = 5_000  # training images that choose the rate
EVERY = 100  # updates between two points of a curve
CURVE_IMAGES = 2_000  # test images that a curve is measured on; its end is measured on all


def config_of(name: str) -> ViTConfig:
    return ViTConfig(**COMMON | MODELS[name])


def measure(name: str, rate: float, seed: int, train: Dataset, test: Dataset) -> dict[str, Any]:
    """Train one model: accuracies on the way; at the end on all images of `test`, and which of them are right."""
    model, curve, some = ViT(config_of(name), seed), [], test.subset(np.arange(min(CURVE_IMAGES, len(test))))

    def watch(done: int) -> None:
        if done % EVERY == 0:
            curve.append(round(accuracy(model, some), 4))

    fit(model, train, STEPS, lr=rate, seed=seed, watch=watch, **FIT)
    right = answers(model, test)
    return {"after": round(float(right.mean()), 4), "right": packed(right), "curve": curve}


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    order = np.random.default_rng(20).permutation(len(train))
    held_out, rest = train.subset(order[:HELD_OUT]), train.subset(order[HELD_OUT:])
    for name in MODELS:
        tried = results["rates_tried"].setdefault(name, {})
        for rate in RATES:
            if str(rate) not in tried:
                tried[str(rate)] = measure(name, rate, 100, rest, held_out)["after"]
                yield
        results["rates"][name] = best_rate(tried)
    for seed in range(SEEDS):  # outermost, so that both have as many runs, whenever this is stopped
        for name in MODELS:
            runs = results["results"].setdefault(name, [])
            if len(runs) == seed:
                runs.append(measure(name, results["rates"][name], seed, rest, test))
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"steps": STEPS, "rates": RATES, **FIT, "common": COMMON, "models": MODELS}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.hybrid",
        "data": "CIFAR-10 (JPEG copy), 45,000 training and 10,000 test images",
        "config": {**config, "held_out": HELD_OUT, "every": EVERY, "curve_images": CURVE_IMAGES},
    }


def main() -> None:
    results = record.begin("hybrid", header())
    for part in ("rates_tried", "rates"):
        results.setdefault(part, {})
    for _ in run_all(results, load("cifar10"), load("cifar10", split="test")):
        record.write("hybrid", results)


if __name__ == "__main__":
    main()

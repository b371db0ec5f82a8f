"""Guidance of a diffusion Transformer on the digits, against a network that never saw a label.

From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.dit

A few minutes of one core. Writes results/dit.json after every run; started again, it goes on where it was.
"""

import dataclasses
from typing import Any

import numpy as np
from experiments import record

from minivit.data import Dataset
from minivit.lessons import digits
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer

SEEDS = 3
SCALES = (1.0, 2.0, 4.0)  # of guidance
SAMPLES = 100
SETTINGS = {"labels": 0.1, "no labels": 1.0}  # name -> share of the labels that is dropped in training
CHOICES = {"steps": 800, "lr": 2e-3, "ema": 0.99, "eval_every": 800, "workers": 1}


def measure(drop: float, seed: int) -> dict[str, Any]:
    """Train, and sample with each scale: how often the nearest training picture is of the asked class, the mean
    distance between samples of a class and from a sample to that picture, both in pixels of -1..1."""
    train, test = digits()
    recipe = complete({**preset("digits-dit"), **CHOICES, "seed": seed}, train)
    recipe = dataclasses.replace(recipe, objective={**(recipe.objective or {}), "drop": drop})
    trainer = Trainer(recipe, train, test, None)
    losses = [progress.loss for progress in trainer.run()]
    pictures, labels = pixels(train)
    asked = np.arange(SAMPLES) % 10
    found: dict[str, Any] = {"loss": round(float(np.mean(losses[-100:])), 4), "test": trainer.metrics[-1]["test_loss"]}
    assert trainer.ema is not None
    with trainer.ema.swapped():
        for scale in SCALES:
            made = trainer.objective.sample(asked, np.random.default_rng((seed, 7)), scale).reshape(SAMPLES, -1)
            to_real = np.linalg.norm(made[:, None] - pictures, axis=-1)
            spread = [between(made[asked == digit]) for digit in range(10)]
            found[f"guidance {scale:g}"] = {
                "right": float((labels[to_real.argmin(axis=1)] == asked).mean()),
                "spread": round(float(np.mean(spread)), 3),
                "nearest": round(float(to_real.min(axis=1).mean()), 3),
            }
    return found


def pixels(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All images in -1..1, flat, and their labels."""
    images, labels = data.fetch(np.arange(len(data)))
    return images.reshape(len(data), -1) / 127.5 - 1, labels


def between(rows: np.ndarray) -> float:
    """The mean distance of two different rows."""
    distances = np.linalg.norm(rows[:, None] - rows, axis=-1)
    return float(distances.sum() / (len(rows) * (len(rows) - 1)))


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.dit",
        "data": "digits: 1,438 training and 359 test images of 8x8 pixels",
        "config": {"preset": "digits-dit", **CHOICES, "samples": SAMPLES, "scales": SCALES, "settings": SETTINGS},
    }


def main() -> None:
    results = record.begin("dit", header())
    if "real" not in results:
        train, test = digits()
        images, labels = pixels(train)
        spread = float(np.mean([between(images[labels == digit]) for digit in range(10)]))
        nearest = np.linalg.norm(pixels(test)[0][:, None] - images, axis=-1).min(axis=1).mean()
        results["real"] = {"spread": round(spread, 3), "nearest": round(float(nearest), 3)}
    for seed in range(SEEDS):
        for name, drop in SETTINGS.items():
            by_seed = results["results"].setdefault(name, [])
            if len(by_seed) <= seed:
                by_seed.append(measure(drop, seed))
                record.write("dit", results)


if __name__ == "__main__":
    main()

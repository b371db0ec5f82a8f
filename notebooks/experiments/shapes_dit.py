"""Drawn shapes from noise, with the preset shapes-dit: does the asked class appear?

From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.shapes_dit

About nine minutes of one core. Writes results/shapes_dit.json after every run; started again, it goes on where it was.
The judge needs no training: of MASKS drawn shapes of each class, it takes the one that explains the largest part of a
picture as two colours. The control is the same network and noise without a class, guidance 0.
"""

import functools
from typing import Any

import numpy as np
from experiments import record

from minivit.data import load, shapes
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer

SEEDS = 3
SAMPLES = 200  # 20 of each class
SCALES = (0.0, 1.0, 4.0)
MASKS = 2000  # of each class
REAL = 300  # test images for the judge
CHOICES = {"workers": 1, "eval_every": 1800}


@functools.cache
def masks() -> tuple[np.ndarray, np.ndarray]:
    """Drawn shapes without noise: (10 MASKS, 1024) of mean 0 and length 1, and their classes."""
    rng, found = np.random.default_rng(0), []
    y, x = np.mgrid[: shapes.SIZE, : shapes.SIZE] + 0.5 - shapes.SIZE / 2
    for shape in shapes.SHAPES.values():
        size, across, down, turn = rng.random((4, MASKS, 1, 1))
        radius = 6 + 7 * size  # as in minivit.data.shapes
        room = shapes.SIZE / 2 - radius
        right, below = (x - room * (2 * across - 1)) / radius, (y - room * (2 * down - 1)) / radius
        cosine, sine = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
        distance = shape(cosine * right + sine * below, cosine * below - sine * right)
        found.append(np.clip(0.5 - radius * distance, 0, 1).reshape(MASKS, -1).astype(np.float32))
    rows = np.concatenate(found)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), np.repeat(np.arange(len(shapes.SHAPES)), MASKS)


def classes(images: np.ndarray) -> tuple[np.ndarray, float]:
    """The class of each picture (n, 32, 32, 3), and the mean part of its variance that one shape explains."""
    rows, labels = masks()
    pixels = images.reshape(len(images), -1, 3).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    explained = sum(np.square(pixels[..., channel] @ rows.T) for channel in range(3))
    part = explained.max(axis=1) / np.square(pixels).sum(axis=(1, 2))
    return labels[explained.argmax(axis=1)], float(part.mean())


def judged(images: np.ndarray, asked: np.ndarray) -> dict[str, float]:
    found, part = classes(images)
    return {"right": round(float((found == asked).mean()), 4), "explained": round(part, 4)}


def measure(seed: int) -> dict[str, Any]:
    """Train with the preset, and judge samples with each scale of guidance."""
    train, test = load("shapes", split="train"), load("shapes", split="test")
    recipe = complete({**preset("shapes-dit"), **CHOICES, "seed": seed}, train)
    trainer = Trainer(recipe, train, test, None)
    for _ in trainer.run():
        pass
    objective: Any = trainer.objective
    asked = np.arange(SAMPLES) % 10
    found: dict[str, Any] = {"loss": round(trainer.metrics[-1]["test_loss"], 4)}
    assert trainer.ema is not None
    with trainer.ema.swapped():
        for scale in SCALES:
            found[f"{scale:g}"] = judged(objective.sample(asked, np.random.default_rng((seed, 7)), scale), asked)
    return found


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.shapes_dit",
        "data": "shapes: 10,000 training and 2,000 test images of 32x32 pixels",
        "config": {
            "preset": "shapes-dit", **CHOICES, "samples": SAMPLES, "scales": SCALES, "masks": MASKS, "real": REAL,
        },
    }  # fmt: skip


def main() -> None:
    results = record.begin("shapes_dit", header())
    if "real" not in results:
        test = load("shapes", split="test")
        images, labels = test.fetch(np.arange(REAL))
        results["real"] = judged(images, labels)
    by_seed = results["results"].setdefault("shapes-dit", [])
    for seed in range(len(by_seed), SEEDS):
        by_seed.append(measure(seed))
        record.write("shapes_dit", results)


if __name__ == "__main__":
    main()

"""An image as a text of pixels: what iGPT knows of the next pixel, against tables of counts, and what its layers know
of the class, against layers that have not been trained.

Chen et al. 2020, "Generative Pretraining from Pixels", in small, on the digits, whose pixels have 17 levels. From the
folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.igpt

Two minutes of one core. Writes results/igpt.json after every run; started again, it goes on where it was. Surprise is
in nats per pixel. A table says of a pixel the share of its level among the training images, by the context that it
names; PRIOR is added to every count. "upper" is the pixel above; outside the image is a level of its own.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.data import Dataset
from minivit.lessons import digits
from minivit.lineage.igpt import probe, probes
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer

SEEDS = 3
PRIOR = 0.1
CHOICES = {"workers": 1}
SETTINGS = ("trained", "untrained")
TABLES = {
    "place": ("place",),
    "place, previous": ("place", "previous"),
    "previous, upper": ("previous", "upper"),
    "previous, upper, upper left": ("previous", "upper", "corner"),
    "place, previous, upper": ("place", "previous", "upper"),
}


def contexts(data: Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The levels 0..16 of all pixels, (images, 64), and what may be known before each, in arrays of the same shape."""
    images = np.rint(data.fetch(np.arange(len(data)))[0].reshape(-1, 8, 8) / 255 * 16).astype(int)
    around = np.pad(images, ((0, 0), (1, 0), (1, 0)), constant_values=17)
    flat = images.reshape(-1, 64)
    previous = np.concatenate([np.full((len(flat), 1), 17), flat[:, :-1]], axis=1)
    parts = {"upper": around[:, :-1, 1:], "corner": around[:, :-1, :-1]}
    known = {name: x.reshape(-1, 64) for name, x in parts.items()}
    return flat, {**known, "previous": previous, "place": np.broadcast_to(np.arange(64), flat.shape)}


def surprise(names: tuple[str, ...], train: Dataset, test: Dataset) -> float:
    """The mean of -log p over the pixels of the test images, by a table."""
    (pixels, known), (asked, given) = contexts(train), contexts(test)
    counts = np.full((64,) * len(names) + (17,), PRIOR)
    np.add.at(counts, (*(known[name] for name in names), pixels), 1)
    shares = counts / counts.sum(axis=-1, keepdims=True)
    return float(-np.log(shares[(*(given[name] for name in names), asked)]).mean())


def measure(setting: str, seed: int) -> dict[str, Any]:
    """The surprise at pixels of test images, and the accuracy of a linear probe of every layer."""
    train, test = digits()
    trainer = Trainer(complete({**preset("digits-igpt"), **CHOICES, "seed": seed}, train), train, test, None)
    found: dict[str, Any] = {}
    if setting == "trained":
        losses = [progress.loss for progress in trainer.run()]
        found = {"steps": len(losses), "train": float(np.mean(losses[-22:]))}
        found["surprise"] = [line["test_loss"] for line in trainer.metrics]
    return found | {"probes": probes(trainer.objective, test, trainer.recipe.augment.evaluation())}


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.igpt",
        "data": "digits: 1,438 training and 359 test images of 8x8 pixels",
        "config": {**CHOICES, "preset": preset("digits-igpt"), "tables": TABLES, "prior": PRIOR, "settings": SETTINGS},
    }


def main() -> None:
    results = record.begin("igpt", header())
    if "tables" not in results:
        found = {name: surprise(names, *digits()) for name, names in TABLES.items()}
        pixels, labels = digits()[1].fetch(np.arange(len(digits()[1])))
        found = {"tables": found, "probe of pixels": probe(pixels.reshape(len(pixels), 64).astype(float), labels)}
        record.write("igpt", {**results, **record.rounded(found)})
    record.complete("igpt", header(), SEEDS, SETTINGS, measure)


if __name__ == "__main__":
    main()

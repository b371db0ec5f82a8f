"""CLIP and SigLIP on drawn scenes of one shape, asked about combinations that they have not seen.

"presets": both presets to their end, and both again with the captions shuffled among the images before training.
"short": runs of four epochs with batches of other sizes, SigLIP with a bias that starts at 0, CLIP with an image tower
that stays as it was drawn. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.contrast

About 20 minutes of one core. Writes results/contrast.json after every run; started again, it goes on where it was.
"""

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from experiments import record

from minivit.data import Augment, Scenes
from minivit.data.dataset import Indices
from minivit.data.scenes import load_captions
from minivit.data.scenes_words import about_one
from minivit.lineage.matching import Matching
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer
from minivit.tensor import no_grad
from minivit.update.batch import Batch

SEEDS = 3
SHORT = 4  # epochs of the short runs
TESTED = 2_000  # images of each test
SYSTEMS = ("CLIP", "SigLIP")
BATCHES = (16, 64, 256)
RUNS: dict[str, dict[str, Any]] = {
    **{name: {} for name in SYSTEMS},
    **{f"{name}, shuffled": {"shuffled": True} for name in SYSTEMS},
    **{f"{name}, batch {size}": {"batch_size": size} for size in BATCHES for name in SYSTEMS},
    "SigLIP, batch 64, bias 0": {"batch_size": 64, "objective": {"bias": 0.0}},
    "CLIP, batch 64, image tower frozen": {"batch_size": 64, "freeze": "backbone"},
}
SAID = {"colour": [2], "kind": [3], "place": [6, 7]}  # where in a sentence about one shape


class Drawn(Scenes):
    """The captions of a preset, drawn once and kept."""

    kept: dict[str, np.ndarray]

    def arrays(self, indices: Indices, names: Iterable[str]) -> dict[str, np.ndarray]:
        return {name: self.kept[name][np.asarray(indices)] for name in names}


@functools.cache
def columns(split: str) -> dict[str, np.ndarray]:
    data = load_captions(split)
    return data.arrays(range(len(data)), ("images", "labels", "caption"))


def scenes(split: str, shuffle: int | None = None) -> Drawn:
    """The data of the presets.   shuffle: the seed with which the captions are shuffled among the images, if any."""
    data = load_captions(split)
    data.__class__ = Drawn
    assert isinstance(data, Drawn)
    data.kept = dict(columns(split))
    if shuffle is not None:
        data.kept["caption"] = np.random.default_rng((shuffle, 5)).permutation(data.kept["caption"])
    return data


@functools.cache
def pairs(combinations: str) -> Batch:
    """New images of one shape, and what is said of them."""
    data = Scenes(TESTED, 1, 32, (1, 1), combinations=combinations)
    found = data.columns(range(TESTED), ("images", "caption"))
    return {"images": Augment((32, 32))(found["images"]), "caption": found["caption"]}


def likeness(objective: Matching, images: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Cosines of images and sentences."""
    with objective.evaluating(), no_grad():
        texts = objective.text(sentences).data
        parts = [objective.image(images[i : i + 250]).data for i in range(0, len(images), 250)]
    return np.concatenate(parts) @ texts.T


def tested(objective: Matching) -> dict[str, float]:
    """The shares of images that find their sentence. Of held-out images among all 80 also the shares of those whose
    nearest sentence names their colour, their kind, their place."""
    found, every = {}, about_one()
    for name, combinations in (("held out", "held-out"), ("trained", "train")):
        images, own = pairs(combinations)["images"], pairs(combinations)["caption"]
        known = np.unique(own, axis=0)
        near = {len(k): k[likeness(objective, images, k).argmax(axis=1)] for k in (known, every)}
        found |= {f"{name}, of {n}": float((told == own).all(axis=1).mean()) for n, told in near.items()}
        for word, where in SAID.items():
            right = (near[len(every)] == own)[:, where].all(axis=1)
            found[f"{name}, {word}"] = float(right.mean())
    return {name: round(share, 4) for name, share in found.items()}


def trained(name: str, seed: int) -> tuple[Matching, list[dict[str, float]]]:
    """One of `RUNS`, to its end, and what was noted after each epoch: the mean loss, the scale, the bias."""
    run = {key: value for key, value in RUNS[name].items() if key not in ("objective", "shuffled")}
    choices = preset(f"captions-{name.partition(',')[0].lower()}")
    choices["objective"] |= RUNS[name].get("objective", {})
    choices |= {**run, **({"epochs": SHORT} if "batch_size" in run else {}), "eval_every": 10**6, "workers": 1}
    train = scenes("train", seed if RUNS[name].get("shuffled") else None)
    trainer = Trainer(complete({**choices, "seed": seed}, train), train, None, None)
    objective: Any = trainer.objective
    losses, noted = [], []
    for progress in trainer.run():
        losses.append(progress.loss)
        if progress.step % trainer.steps_per_epoch == 0:
            noted.append({"loss": round(float(np.mean(losses[-trainer.steps_per_epoch :])), 4)})
            noted[-1]["scale"] = round(float(np.exp(objective.log_scale.data[0])), 3)
            if hasattr(objective, "bias"):
                noted[-1]["bias"] = round(float(objective.bias.data[0]), 3)
    noted[0]["first"] = round(losses[0], 4)
    return objective, noted


def measure(name: str, seed: int) -> dict[str, Any]:
    objective, noted = trained(name, seed)
    return {**tested(objective), "epochs": noted}


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.contrast",
        "data": "drawn scenes of one shape, 32x32 pixels: 10,000 of 64 combinations; tests of 2,000",
        "config": {
            "presets": {name: preset(f"captions-{name.lower()}") for name in SYSTEMS},
            "short": SHORT,
            "tested": TESTED,
            "batches": BATCHES,
            "said": SAID,
            "runs": RUNS,
        },
    }


def main() -> None:
    results = record.begin("contrast", header())
    for seed in range(SEEDS):
        for name in RUNS:
            by_seed = results["results"].setdefault(name, [])
            if len(by_seed) == seed:
                by_seed.append(measure(name, seed))
                record.write("contrast", results)


if __name__ == "__main__":
    main()

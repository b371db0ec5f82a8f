"""Drawn shapes from their captions, with the preset captions-mmdit: does the asked colour appear, at the asked place?

From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.captions_mmdit

About twelve minutes of one core. Writes results/captions_mmdit.json after every run; started again, it goes on where it
was. The judge needs no training: the background is grey, so the coloured pixels say which colour is drawn, and where
their middle is. The control is the same network and noise without a caption, guidance 0.
"""

import dataclasses
from typing import Any

import numpy as np
from experiments import record

from minivit.data import load, scenes_layout, scenes_words
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer

SEEDS = 3
SAMPLES = 2  # of each of the 80 captions of one shape
SCALES = (0.0, 1.0, 4.0)
REAL = 300  # training pictures for the judge
CHOICES = {"workers": 1, "eval_every": 1000}


def seen(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colour of each picture (n, h, w, 3) of -1..1 and its quarter: numbers in COLOURS and in PLACES."""
    names = np.array([*scenes_layout.COLOURS.values()])
    names = names - names.mean(axis=1, keepdims=True)
    names /= np.linalg.norm(names, axis=1, keepdims=True)
    tints = images - images.mean(axis=3, keepdims=True)  # 0 in a grey pixel
    tints = tints * np.linalg.norm(tints, axis=3, keepdims=True)  # strong ones count more
    colour = (tints.sum(axis=(1, 2)) @ names.T).argmax(axis=1)
    weight = np.maximum((tints * names[colour][:, None, None]).sum(axis=3), 0)
    middles = np.arange(images.shape[1]) + 0.5 - images.shape[1] / 2
    right, low = (weight.sum(axis=axis) @ middles > 0 for axis in (1, 2))
    return colour, 2 * low + right


def judged(images: np.ndarray, colours: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
    colour, place = seen(images)
    return {"colour": colour == colours, "place": place == places}


def asked() -> tuple[np.ndarray, ...]:
    """Colour, kind and place of the captions of `about_one`: numbers."""
    return np.unravel_index(
        np.arange(80), (len(scenes_layout.COLOURS), len(scenes_layout.KINDS), len(scenes_layout.PLACES))
    )


def measure(seed: int) -> dict[str, Any]:
    """Train with the preset, and judge samples with each scale of guidance."""
    train, test = load("captions", split="train"), load("captions", split="test")
    recipe = complete({**preset("captions-mmdit"), **CHOICES, "seed": seed}, train)
    trainer = Trainer(recipe, train, test, None)
    for _ in trainer.run():
        pass
    objective: Any = trainer.objective
    colours, kinds, places = (np.tile(numbers, SAMPLES) for numbers in asked())
    new = scenes_layout.HELD_OUT[places, kinds, colours]
    found: dict[str, Any] = {"loss": round(trainer.metrics[-1]["test_loss"], 4)}
    assert trainer.ema is not None
    with trainer.ema.swapped():
        for scale in SCALES:
            objective.config = dataclasses.replace(objective.config, guidance=scale)
            made = objective.sample(
                np.tile(scenes_words.about_one(), (SAMPLES, 1)), scenes_words.PAD, np.random.default_rng((seed, 7))
            )
            for what, right in judged(made, colours, places).items():
                found[f"{scale:g}, {what}"] = round(float(right.mean()), 4)
                found[f"{scale:g}, {what}, held out"] = round(float(right[new].mean()), 4)
    return found


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.captions_mmdit",
        "data": "captions: 10,000 training and 2,000 test images of 32x32 pixels",
        "config": {"preset": "captions-mmdit", **CHOICES, "samples": SAMPLES, "scales": SCALES, "real": REAL},
    }


def main() -> None:
    results = record.begin("captions_mmdit", header())
    if "real" not in results:
        columns = load("captions", split="train").columns(np.arange(REAL), ("images", "colours", "caption"))
        order = {tuple(words): number for number, words in enumerate(scenes_words.about_one().tolist())}
        numbers = np.array([order[tuple(words)] for words in columns["caption"].tolist()])
        colours, _, places = (of[numbers] for of in asked())
        right = judged(columns["images"] / 127.5 - 1, colours, places)
        results["real"] = {what: round(float(share.mean()), 4) for what, share in right.items()}
    by_seed = results["results"].setdefault("captions-mmdit", [])
    for seed in range(len(by_seed), SEEDS):
        by_seed.append(measure(seed))
        record.write("captions_mmdit", results)


if __name__ == "__main__":
    main()

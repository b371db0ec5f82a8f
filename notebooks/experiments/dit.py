"""A diffusion Transformer and a rectified flow on the digits: guidance, steps, times; against hidden labels.

Notebook 27 discusses them. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.dit

About 20 minutes of one core. Writes results/dit.json after every run; started again, it goes on where it was. Three
networks are trained for each seed: the presets digits-dit and digits-flow, and as a control digits-dit with all labels
hidden in training.
"""

import dataclasses
from typing import Any

import numpy as np
from experiments import record

from minivit.data import Dataset
from minivit.lessons import digits
from minivit.lineage import diffusion
from minivit.lineage.dit import Denoising
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer

SEEDS = 3
SAMPLES = 100  # 10 of each digit
SCALES = (0.0, 1.0, 2.0, 4.0, 8.0)  # of guidance, in WALK steps
WALK = 50
MIDDLE = 2.0  # the scale for everything else
STEPS = (2, 5, 10, 20)  # fewer steps, with each sampler
MOMENTS = (150, 300, 600, 1200)  # updates after which samples are judged, besides the last
BUCKETS = 10  # equal parts of the times
SHOWN = (3, 8)  # digits whose way from noise is kept, of the first seed
STAGES = (0, 10, 20, 30, 40, 45, 48, 50)  # steps of that way
RUNS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> preset, fields of its objective
    "labels": ("digits-dit", {}),
    "flow": ("digits-flow", {}),
    "no labels": ("digits-dit", {"drop": 1.0}),
}
SAMPLERS = {"labels": ("DDPM", "DDIM", "told the index"), "flow": ("Euler",)}
CHOICES = {"eval_every": 2400, "workers": 1}


def measure(name: str, seed: int) -> dict[str, Any]:
    """Train with a preset; quality of samples by scale, by sampler and steps, by updates; loss by time."""
    source, fields = RUNS[name]
    train, test = digits()
    recipe = complete({**preset(source), **CHOICES, "seed": seed}, train)
    recipe = dataclasses.replace(recipe, objective={**(recipe.objective or {}), **fields})
    trainer, way = Trainer(recipe, train, test, None), "Euler" if name == "flow" else "DDPM"
    objective: Any = trainer.objective
    assert trainer.ema is not None
    found: dict[str, Any] = {"updates": {}, "scales": {}, "walks": {}, "losses": {}}
    for progress in trainer.run():
        if progress.step in MOMENTS and name != "no labels":
            with trainer.ema.swapped():
                judged = quality(sample(objective, MIDDLE, WALK, way, seed)[-1], train)
                found["updates"][str(progress.step)] = {**judged, "loss": mean(losses(objective, test, True))}
    with trainer.ema.swapped():
        for scale in SCALES:
            made = sample(objective, scale, WALK, way, seed)[-1]
            found["scales"][f"{scale:g}"] = quality(made, train)
            if seed == 0:
                found.setdefault("pictures", {})[f"{scale:g}"] = drawn(made[:10])
        if name == "no labels":
            return found
        for sampler in SAMPLERS[name]:
            for steps in (*STEPS, WALK) if sampler != "told the index" else (WALK,):
                meant: list[np.ndarray] = []
                made = sample(objective, MIDDLE, steps, sampler, seed, meant)
                found["walks"].setdefault(sampler, {})[str(steps)] = quality(made[-1], train)
                if seed == 0 and steps == WALK and sampler != "told the index":
                    found.setdefault("ways", {})[sampler] = shown(made, meant)
        parts = {"test": (test, True), "test, no label": (test, False), "training": (train, True)}
        found["losses"] = {part: strung(losses(objective, *args)) for part, args in parts.items()}
    return found


def sample(
    objective: Denoising, scale: float, steps: int, way: str, seed: int, meant: list[np.ndarray] | None = None
) -> list[np.ndarray]:
    """The digits 0 to 9 in turn, from pure noise to the last step: steps + 1 arrays (SAMPLES, 8, 8, 1).   way: DDPM,
    DDIM, Euler; or DDPM that tells the network the number of the step in the walk instead of t. meant: a list to which
    the x_0 that the network means at each step is added."""
    rng, asked = np.random.default_rng((seed, 7)), np.arange(SAMPLES) % 10
    x = rng.standard_normal((SAMPLES, *objective.shape))
    both = np.concatenate([asked, np.full_like(asked, 10)])
    guided = diffusion.with_guidance(objective.predictor(both), scale, 1)

    def predict(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        output = guided(x, t)
        if meant is not None and way == "Euler":
            meant.append((x - t[:, None, None, None] * output)[:SAMPLES])
        elif meant is not None:
            meant.append(objective.schedule.start(x, output, t)[:SAMPLES])
        return output

    twice = np.concatenate([x, x])
    if way == "Euler":
        walk = diffusion.euler(predict, twice, diffusion.times(steps))
    else:
        kept = objective.schedule.respaced(diffusion.spaced(objective.config.steps, [steps]))
        if way == "told the index":
            kept = diffusion.Schedule(kept.betas, np.arange(steps))
        noises = (rng.standard_normal(twice.shape) for _ in range(steps))
        walk = diffusion.walk(kept, predict, twice, noises, True, 0.0 if way == "DDIM" else None)
    return [x, *(later[:SAMPLES] for later in walk)]


def losses(objective: Denoising, data: Dataset, told: bool) -> np.ndarray:
    """The loss in each tenth of the times, on at most 359 images.   told: whether the network knows their classes."""
    rng, (images, labels) = np.random.default_rng(5), data.fetch(np.arange(min(len(data), 359)))
    x0 = images / 127.5 - 1
    predict, found = objective.predictor(labels if told else np.full_like(labels, 10)), []
    for bucket in range(BUCKETS):
        t, noise = (bucket + rng.random(len(x0))) / BUCKETS, rng.standard_normal(x0.shape)
        if objective.config.path == "diffusion":
            t = (t * objective.config.steps).astype(int)
        clean, noisy = (column[:, None, None, None] for column in objective.at(t).T[:2])
        target = noise - x0 if objective.config.path == "flow" else noise
        found.append(np.square(predict(clean * x0 + noisy * noise, t) - target).mean())
    return np.array(found)


def quality(made: np.ndarray, train: Dataset) -> dict[str, float]:
    """right: how often the nearest training picture is of the asked class; spread: the mean distance of two samples of
    a class; nearest: the mean distance to the nearest training picture. Distances are in pixels of -1..1."""
    rows, asked = made.reshape(len(made), -1), np.arange(len(made)) % 10
    pictures, labels = pixels(train)
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(pictures).sum(axis=1) - 2 * rows @ pictures.T
    to_real = np.sqrt(np.maximum(squares, 0))
    return {
        "right": round(float((labels[to_real.argmin(axis=1)] == asked).mean()), 4),
        "spread": mean([between(rows[asked == digit]) for digit in range(10)]),
        "nearest": mean(to_real.min(axis=1)),
    }


def pixels(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All images in -1..1, flat, and their labels."""
    images, labels = data.fetch(np.arange(len(data)))
    return images.reshape(len(data), -1) / 127.5 - 1, labels


def between(rows: np.ndarray) -> float:
    """The mean distance of two different rows."""
    distances = np.linalg.norm(rows[:, None] - rows, axis=-1)
    return float(distances.sum() / (len(rows) * (len(rows) - 1)))


def mean(values: Any) -> float:
    return round(float(np.mean(values)), 4)


def shown(walk: list[np.ndarray], meant: list[np.ndarray]) -> dict[str, list[str]]:
    """Of the digits SHOWN, x and the x_0 that is meant at the STAGES of a walk, for `drawn`."""
    both = {"x": walk, "meant": [*meant, walk[-1]]}
    return {
        f"{digit}, {name}": drawn(np.stack([images[stage][digit] for stage in STAGES]))
        for digit in SHOWN
        for name, images in both.items()
    }


def strung(values: np.ndarray) -> str:
    """Numbers in one line."""
    return " ".join(f"{value:.4f}" for value in values)


def drawn(images: np.ndarray) -> list[str]:
    """One character for each pixel, 0 for -1 or less to f for 1 or more: short, and good enough for the eye."""
    levels = np.rint((np.clip(images, -1, 1) + 1) * 7.5).astype(int)
    return ["".join(f"{level:x}" for level in image.ravel()) for image in levels]


def undrawn(texts: list[str]) -> np.ndarray:
    """(n, 8, 8), in -1..1."""
    return np.array([[int(character, 16) for character in text] for text in texts]).reshape(-1, 8, 8) / 7.5 - 1


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.dit",
        "data": "digits: 1,438 training and 359 test images of 8x8 pixels",
        "config": {
            "runs": RUNS, **CHOICES, "samples": SAMPLES, "scales": SCALES, "walk": WALK, "middle": MIDDLE,
            "steps": STEPS, "samplers": SAMPLERS, "moments": MOMENTS, "buckets": BUCKETS, "shown": SHOWN,
            "stages": STAGES,
        },
    }  # fmt: skip


def main() -> None:
    results = record.begin("dit", header())
    if "real" not in results:
        (images, labels), (others, theirs) = (pixels(data) for data in digits())
        distances = np.linalg.norm(others[:, None] - images, axis=-1)
        results["real"] = {
            "right": mean(labels[distances.argmin(axis=1)] == theirs),
            "spread": mean([between(images[labels == digit]) for digit in range(10)]),
            "nearest": mean(distances.min(axis=1)),
        }
    for seed in range(SEEDS):
        for name in RUNS:
            by_seed = results["results"].setdefault(name, [])
            if len(by_seed) <= seed:
                by_seed.append(measure(name, seed))
                record.write("dit", results)


if __name__ == "__main__":
    main()

"""Patches of space and time: what a clip gains when its tokens see other times.

A diffusion Transformer for clips (`minivit.lineage.spacetime`), whose control attends within each time only. The clips
hold one shape that moves left, right, up or down, which is the class. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.spacetime

Several minutes of one core. Writes results/spacetime.json after every run; started again, it goes on where it was.
"loss" is that of new clips. Of sampled clips, "in a tubelet" and "between" are the mean changes of pixels from frame to
frame, in -1..1, where both frames are of one tubelet or of two. "unsteady" is the mean change of the shape's velocity,
in pixels per frame; "direction" is the share of clips whose shape goes most in the direction asked for. "real" says the
same of clips that were drawn.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.data import scenes_clips
from minivit.data.scenes_clips import Clips
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer

SEEDS = 3
SIZE, FRAMES = 16, 8
TRAIN, TEST = 10_000, 500
SAMPLES = 64
CHOICES = {"steps": 1500, "eval_every": 1500, "workers": 1}
SETTINGS = {"all times": True, "each time alone": False}
COLOURED = 0.4  # how far the channels of a pixel lie apart where the shape is; noise on grey has at most 0.2


def clips(count: int, seed: int) -> Clips:
    """Drawn clips of one shape."""
    return Clips(count, seed, SIZE, (1, 1), frames=FRAMES)


def measure(setting: str, seed: int) -> dict[str, float]:
    """Train, sample and look at the samples."""
    train, test = clips(TRAIN, 2 * seed), clips(TEST, 2 * seed + 1)
    fields = preset("clips-spacetime")
    objective = {**fields["objective"], "joint": SETTINGS[setting]}
    trainer = Trainer(complete({**fields, **CHOICES, "objective": objective, "seed": seed}, train), train, test, None)
    for _ in trainer.run():
        pass
    asked = np.arange(SAMPLES) % len(scenes_clips.DIRECTIONS)
    assert trainer.ema is not None
    with trainer.ema.swapped():
        made = trainer.objective.sample(asked, len(scenes_clips.DIRECTIONS), np.random.default_rng((seed, 7)))
    tubelet = fields["objective"].get("tubelet", 2)
    return {"loss": trainer.metrics[-1]["test_loss"], **looked_at(made, asked, tubelet)}


def looked_at(stacked: np.ndarray, directions: np.ndarray, tubelet: int = 2) -> dict[str, float]:
    """What is to be known of clips.   stacked: (B, height, width, T C) in -1..1; directions: (B,) numbers in
    DIRECTIONS."""
    frames = np.moveaxis(stacked.reshape(*stacked.shape[:3], FRAMES, -1), 3, 1)
    changes = np.abs(np.diff(frames, axis=1)).mean(axis=(0, 2, 3, 4))
    inside = np.arange(1, FRAMES) % tubelet > 0
    velocity = velocities(frames)
    ways = np.array([*scenes_clips.DIRECTIONS.values()])  # x and y
    went = (velocity.mean(axis=1) @ ways.T).argmax(axis=1)
    return {
        "in a tubelet": float(changes[inside].mean()),
        "between": float(changes[~inside].mean()),
        "unsteady": float(np.linalg.norm(np.diff(velocity, axis=1), axis=-1).mean()),
        "direction": float((went == directions).mean()),
    }


def velocities(frames: np.ndarray) -> np.ndarray:
    """How far the middle of the coloured pixels moves from frame to frame, in x and y: (B, T - 1, 2) pixels. The
    picture is a ring both ways, as the drawn shapes move on it.   frames: (B, T, height, width, C)."""
    weight = np.maximum(frames.max(axis=-1) - frames.min(axis=-1) - COLOURED, 0)
    turn = np.exp(2j * np.pi * np.arange(SIZE) / SIZE)
    middles = np.stack([(weight.sum(axis=axis) * turn).sum(axis=-1) for axis in (2, 3)], axis=-1)
    return np.angle(middles[:, 1:] * middles[:, :-1].conj()) * SIZE / (2 * np.pi)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"preset": preset("clips-spacetime"), **CHOICES, "samples": SAMPLES, "settings": SETTINGS}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.spacetime",
        "data": f"{TRAIN:,} drawn training clips and {TEST} test clips of {FRAMES} frames, {SIZE}x{SIZE} pixels, "
        "one shape",
        "config": {**config, "coloured": COLOURED},
    }


def main() -> None:
    results = record.begin("spacetime", header())
    if "real" not in results:
        columns = clips(SAMPLES, 1).arrays(range(SAMPLES), ("images", "labels"))
        real = looked_at(columns["images"] / 127.5 - 1, columns["labels"])
        record.write("spacetime", {**results, "real": record.rounded(real)})
    record.complete("spacetime", header(), SEEDS, SETTINGS, measure)


if __name__ == "__main__":
    main()

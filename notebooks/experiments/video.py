"""Video: what motion asks of a model. ViViT with tubelets of two frames and of one, and TimeSformer, on drawn clips.
The label is the direction of motion, which no single frame shows, or, as a second task, the colour of the shape. The
control has the frames of every clip shuffled. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.video              # all
    OPENBLAS_NUM_THREADS=1 python -m experiments.video vivit        # one system

Half an hour of one core. Writes results/video.json after every run; started again, it goes on where it was.
"""

import sys
from typing import Any

import numpy as np
from experiments import record

from minivit.data import ArrayDataset, Augment
from minivit.data.scenes_clips import Clips
from minivit.data.scenes_layout import COLOURS
from minivit.lessons import accuracy, fit
from minivit.lineage.timesformer import TimeSformer, TimeSformerConfig
from minivit.lineage.vivit import ViViT, ViViTConfig
from minivit.nn import Module

SEEDS = 3
STEPS = 400
BATCH = 64  # clips
RATE = 2e-3
SIZE, FRAMES, EVERY = 16, 4, 2  # every second of 8 drawn frames
TRAIN, TEST = 6000, 1000
SHAPE = {"image_size": SIZE, "frames": FRAMES, "channels": 3 * FRAMES, "width": 48, "heads": 4, "mlp_width": 96}
KINDS: dict[str, dict[str, Any]] = {  # with two blocks in all
    "joint": {"attention": "joint", "depth": 2},
    "factorised": {"attention": "factorised", "depth": 1, "temporal_depth": 1},
    "frames": {"attention": "frames", "depth": 2},
}
MODELS: dict[str, dict[str, Any]] = {
    f"vivit {kind}, {t}": {**SHAPE, **fields, "tubelet": (t, 4, 4)} for t in (2, 1) for kind, fields in KINDS.items()
}
MODELS |= {
    f"timesformer {kind}": {**SHAPE, "patch_size": 4, "attention": kind, "depth": 2}
    for kind in ("divided", "joint", "space")
}
TASKS = ("motion", "motion, shuffled", "colour")


def clips(task: str, count: int, seed: int) -> ArrayDataset:
    """Drawn clips with one moving shape each, their frames as channels."""
    data = Clips(count, seed, SIZE, (1, 1), frames=EVERY * FRAMES)
    arrays = data.arrays(range(count), ("clip", "labels", "colours"))
    frames = arrays["clip"][:, ::EVERY]
    labels, classes = (arrays["colours"][:, 0], COLOURS) if task == "colour" else (arrays["labels"], data.classes)
    if task.endswith("shuffled"):
        order = np.random.default_rng(seed).random(frames.shape[:2]).argsort(axis=1)
        frames = np.take_along_axis(frames, order[:, :, None, None, None], axis=1)
    images = frames.transpose(0, 2, 3, 1, 4).reshape(count, SIZE, SIZE, -1)
    return ArrayDataset(images, labels, list(classes), "clips")


def model_of(name: str, classes: int, seed: int) -> Module:
    """The model called `name`."""
    fields = {**MODELS[name], "num_classes": classes}
    if name.startswith("vivit"):
        return ViViT(ViViTConfig(**fields), seed)
    return TimeSformer(TimeSformerConfig(**fields), seed)


def measure(name: str, task: str, seed: int) -> float:
    """Train on clips of a task and return the accuracy on new ones."""
    train, test = clips(task, TRAIN, 2 * seed), clips(task, TEST, 2 * seed + 1)
    model = model_of(name, len(train.classes), seed)
    fit(model, train, STEPS, batch_size=BATCH, lr=RATE, augment=Augment((SIZE, SIZE)), seed=seed)
    return accuracy(model, test)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.video",
        "data": f"{TRAIN:,} drawn training clips and {TEST:,} test clips of {FRAMES} frames, {SIZE}x{SIZE} pixels",
        "config": {"models": MODELS, "steps": STEPS, "batch_size": BATCH, "lr": RATE},
    }


def main() -> None:
    results = record.begin("video", header())
    asked = [name for name in MODELS if name.startswith(tuple(sys.argv[1:]) or "")]
    for seed in range(SEEDS):
        for task in TASKS:
            for name in asked:
                by_seed = results["results"].setdefault(f"{name}: {task}", [])
                if len(by_seed) <= seed:
                    by_seed.append(round(measure(name, task, seed), 4))
                    record.write("video", results)


if __name__ == "__main__":
    main()

"""Video: what motion asks of a model. ViViT with tubelets of two frames and of one on drawn clips of four frames;
TimeSformer with a drawn table of times and with one of zeros on clips of three. The label is the direction of motion,
which no single frame shows, or as a second task the colour of the shape. The control has the frames of every clip
shuffled. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.video              # all
    OPENBLAS_NUM_THREADS=1 python -m experiments.video vivit        # one system

Ten minutes of one core. Writes results/video.json after every run; started again, it goes on where it was.
"""

import sys
from typing import Any

import numpy as np
from experiments import record

from minivit.data import ArrayDataset, Augment, scenes_layout
from minivit.data.scenes_clips import Clips
from minivit.lessons import accuracy, fit
from minivit.lineage.timesformer import TimeSformer, TimeSformerConfig
from minivit.lineage.vivit import ViViT, ViViTConfig
from minivit.nn import Module

SEEDS = 3
STEPS = {"vivit": 400, "timesformer": 700}
WARMUP = 0.35  # of the updates; a shorter one was not compared with this
BATCH = 32  # clips
RATE = 2e-3
SIZE, EVERY = 16, 3  # every third of the drawn frames
TRAIN, TEST = 8000, 1000


def models() -> dict[str, dict[str, Any]]:
    """Name -> fields; each has two blocks in all."""
    shape = {"image_size": SIZE, "width": 32, "heads": 4, "mlp_width": 96}
    four = {**shape, "frames": 4, "channels": 12}
    three = {**shape, "frames": 3, "channels": 9, "patch_size": 4, "depth": 2, "time_std": 0.3}
    kinds: dict[str, dict[str, Any]] = {
        "joint": {"attention": "joint", "depth": 2},
        "factorised": {"attention": "factorised", "depth": 1, "temporal_depth": 1},
        "frames": {"attention": "frames", "depth": 2},
    }
    found = {f"vivit {kind}, {t}": {**four, **own, "tubelet": (t, 4, 4)} for t in (2, 1) for kind, own in kinds.items()}
    found |= {f"timesformer {kind}": {**three, "attention": kind} for kind in ("divided", "joint", "space")}
    return {**found, "timesformer divided, zero": {**three, "attention": "divided", "time_std": 0.0}}


MODELS = models()
TASKS = ("motion", "motion, shuffled", "colour")
MORE = {"vivit joint, 2": TASKS, "timesformer divided": TASKS[:2]}  # the others have the first task alone


def clips(task: str, count: int, seed: int, frames: int) -> ArrayDataset:
    """Drawn clips with one moving shape each, their frames as channels."""
    data = Clips(count, seed, SIZE, (1, 1), frames=EVERY * frames)
    arrays = data.arrays(range(count), ("clip", "labels", "colours"))
    kept = arrays["clip"][:, ::EVERY]
    labels, classes = (
        (arrays["colours"][:, 0], scenes_layout.COLOURS) if task == "colour" else (arrays["labels"], data.classes)
    )
    if task.endswith("shuffled"):
        order = np.random.default_rng(seed).random(kept.shape[:2]).argsort(axis=1)
        kept = np.take_along_axis(kept, order[:, :, None, None, None], axis=1)
    images = kept.transpose(0, 2, 3, 1, 4).reshape(count, SIZE, SIZE, -1)
    return ArrayDataset(images, labels, list(classes), "clips")


def model_of(name: str, classes: int, seed: int) -> Module:
    """The model called `name`."""
    fields = {**MODELS[name], "num_classes": classes}
    if name.startswith("vivit"):
        return ViViT(ViViTConfig(**fields), seed)
    return TimeSformer(TimeSformerConfig(**fields), seed)


def measure(name: str, task: str, seed: int) -> float:
    """Train on clips of a task and return the accuracy on new ones."""
    system = name.split()[0]
    train, test = (clips(task, n, 2 * seed + i, MODELS[name]["frames"]) for i, n in enumerate((TRAIN, TEST)))
    model = model_of(name, len(train.classes), seed)
    options: dict[str, Any] = {"batch_size": BATCH, "lr": RATE, "warmup": WARMUP, "seed": seed}
    fit(model, train, STEPS[system], augment=Augment((SIZE, SIZE)), **options)
    return accuracy(model, test)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.video",
        "data": f"{TRAIN:,} drawn training clips and {TEST:,} test clips, {SIZE}x{SIZE} pixels, {EVERY} steps apart",
        "config": {
            "models": MODELS,
            "steps": STEPS,
            "batch_size": BATCH,
            "lr": RATE,
            "warmup": WARMUP,
            "tasks": TASKS,
            "more": MORE,
        },
    }


def main() -> None:
    asked = [name for name in MODELS if name.startswith(tuple(sys.argv[1:]) or "")]  # by their beginning
    for task in TASKS:
        for seed in range(SEEDS):
            for name in (name for name in asked if task in MORE.get(name, TASKS[:1])):
                run = f"{name}: {task}"
                if len(record.begin("video", header())["results"].get(run, [])) <= seed:
                    found = round(measure(name, task, seed), 4)
                    results = record.begin("video", header())  # the other system may have written meanwhile
                    results["results"].setdefault(run, []).append(found)
                    record.write("video", results)


if __name__ == "__main__":
    main()

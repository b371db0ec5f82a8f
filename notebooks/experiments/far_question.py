"""A question about two far places of a map, for ViTDet's blocks: windows alone, windows and one block that sees the
whole map, and the whole map in every block.

Sections 3 and 4.2 of Li et al. 2022 (arXiv 2203.16527) compare such blocks by detection. Here an image has two squares
in two of its quarters, each of one of four colours. Do the colours agree? A window is a quarter. From the folder
notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.far_question

Half a minute of one core. Writes results/far_question.json after every run; started again, it goes on where it was.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.data import ArrayDataset, scenes_layout
from minivit.lessons import accuracy, fit
from minivit.lineage.vitdet import ViTDet, ViTDetConfig

BLOCKS: dict[str, dict[str, Any]] = {
    "whole map": {"window": 0},
    "windows, last block whole": {"global_blocks": (1,)},
    "windows alone": {"global_blocks": ()},
}
SEEDS = 3
IMAGES, TESTED = 4_000, 1_000
STEPS, BATCH, RATE = 300, 64, 5e-3
SHAPE = {
    "image_size": 32, "pretrain_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 2, "mlp_width": 64,
    "window": 2, "num_classes": 2, "global_blocks": (),
}  # fmt: skip


def pairs(count: int, seed: int) -> ArrayDataset:
    """Images of 32 x 32 pixels with two squares of 8 x 8, in two different quarters; label 1 if their colours agree."""
    rng = np.random.default_rng((seed, 35))
    images = rng.uniform(0.4, 0.6, (count, 32, 32, 3))
    palette = np.array(list(scenes_layout.COLOURS.values()))
    same, first = rng.integers(0, 2, count), rng.integers(0, len(palette), count)
    second = (first + (1 - same) * rng.integers(1, len(palette), count)) % len(palette)
    quarters = rng.random((count, 4)).argsort(axis=1)[:, :2]
    corners = 16 * np.stack([quarters // 2, quarters % 2], axis=2) + 8 * rng.integers(0, 2, (count, 2, 2))
    for image, colours, places in zip(images, np.stack([first, second], axis=1), corners, strict=True):
        for colour, (row, column) in zip(colours, places, strict=True):
            image[row : row + 8, column : column + 8] = palette[colour] + rng.normal(0, 0.03, (8, 8, 3))
    pixels = (255 * images.clip(0, 1)).round().astype(np.uint8)
    return ArrayDataset(pixels, same.astype(np.int64), ["different", "same"], "pairs")


def measure(name: str, seed: int) -> float:
    """Train a backbone with these blocks: the share of right answers on new images."""
    train, test = pairs(IMAGES, 2 * seed), pairs(TESTED, 2 * seed + 1)
    model = ViTDet(ViTDetConfig(**{**SHAPE, **BLOCKS[name]}), seed)
    fit(model, train, STEPS, batch_size=BATCH, lr=RATE, seed=seed)
    return accuracy(model, test)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"shape": SHAPE, "blocks": BLOCKS, "steps": STEPS, "batch_size": BATCH, "lr": RATE}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.far_question",
        "data": f"drawn pairs of squares: {IMAGES:,} training and {TESTED:,} test images of 32x32 pixels",
        "config": config,
    }


def main() -> None:
    results = record.begin("far_question", header())
    for seed in range(SEEDS):
        for name in BLOCKS:
            by_seed = results["results"].setdefault(name, [])
            if len(by_seed) <= seed:
                by_seed.append(round(measure(name, seed), 4))
                record.write("far_question", results)


if __name__ == "__main__":
    main()

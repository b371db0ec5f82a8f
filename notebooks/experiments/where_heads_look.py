"""A network of attention by place alone learns to classify photographs: where its heads look, by depth.

Cordonnier, Loukas & Jaggi 2019 (arXiv 1911.03584), in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.where_heads_look

Several minutes of one core. Writes results/where_heads_look.json after every run; started again, it goes on where it
was. In the control the centres and the sharpness of the heads stay where they were drawn, and all else learns.
"""

from functools import partial
from typing import Any

import numpy as np
from experiments import record

from minivit.data import Augment, Dataset, load
from minivit.lessons import accuracy, fit
from minivit.lineage.cordonnier import Cordonnier, CordonnierConfig
from minivit.optim import AdamW

SEEDS = 5
KINDS = ("learned", "frozen")
IMAGES = 20_000
STEPS = 400
BATCH = 64
RATE = 2e-3
FASTER = 10.0  # factor on the learning rate of centres and sharpness
SHAPE = {"image_size": 32, "patch": 4, "width": 48, "depth": 3, "heads": 9, "mlp_width": 96}


def places(model: Cordonnier) -> list[list[float]]:
    """For each block and head the row and column of the centre and the sharpness, one head after the other."""
    rows = [np.column_stack([b.attention.centres.data, b.attention.spread.data**2 / 2]) for b in model.blocks]
    return [row.astype(float).round(2).ravel().tolist() for row in rows]


def is_place(name: str) -> bool:
    """Whether a parameter says where a head looks."""
    return name.endswith(("centres", "spread"))


def measure(kind: str, seed: int, train: Dataset, test: Dataset) -> dict[str, Any]:
    """Train one network; its accuracy on the test images, and where its heads look before and after."""
    model = Cordonnier(CordonnierConfig(**SHAPE), seed)
    images = train.subset(np.random.default_rng(seed).permutation(len(train))[:IMAGES])
    factor = FASTER if kind == "learned" else 0.0
    adam = partial(AdamW, rates=lambda name: factor if is_place(name) else 1.0)
    found = {"before": places(model)}
    augment = Augment(images.image_size, flip=True)
    fit(model, images, STEPS, batch_size=BATCH, lr=RATE, augment=augment, optimizer=adam, seed=seed)
    return found | {"after": places(model), "accuracy": round(accuracy(model, test), 4)}


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.where_heads_look",
        "data": "CIFAR-10: for each seed 20,000 of the 50,000 training images; 10,000 test images",
        "config": {
            **SHAPE, "kinds": KINDS, "images": IMAGES, "steps": STEPS, "batch_size": BATCH, "rate": RATE,
            "faster": FASTER,
        },
    }  # fmt: skip


def main() -> None:
    images = load("cifar10", split="train"), load("cifar10", split="test")
    record.complete("where_heads_look", header(), SEEDS, KINDS, lambda kind, seed: measure(kind, seed, *images))


if __name__ == "__main__":
    main()

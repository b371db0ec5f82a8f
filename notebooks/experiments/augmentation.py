"""What each kind of augmentation or regularisation brings a small ViT that sees 1,000 photographs 64 times.

Appendix B.1 of the paper asks for strong regularisation on small sets. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.augmentation

About 25 minutes of one core. Writes results/augmentation.json after every run; started again, it goes on where it was.
A seed draws the training images, the initial weights and their order, the same for all methods: differences to "none"
are taken seed by seed. The test images are always the same 10,000. They are counted in ten parts, whose differences
tell how much another choice of test images could change.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record

from minivit.data import Augment, Dataset, load
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig

SEEDS = 8
TRAIN_IMAGES = 1_000
PARTS = 10  # of the test images
FIT = {"steps": 1_000, "batch_size": 64, "lr": 2e-3, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}
VIT = {"image_size": 32, "patch_size": 8, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128, "num_classes": 10}
METHODS: dict[str, dict[str, dict[str, Any]]] = {  # fields of the model, of Augment, arguments of fit
    "none": {},
    "flip": {"augment": {"flip": True}},
    "crop": {"augment": {"crop_padding": 4}},
    "RandAugment (2, 5)": {"augment": {"randaugment": (2, 5)}},  # operations, magnitude
    "RandAugment (2, 10)": {"augment": {"randaugment": (2, 10)}},
    "mixup": {"fit": {"mixup": 0.2}},
    "CutMix": {"fit": {"cutmix": 1.0}},
    "dropout": {"model": {"dropout": 0.1}},
    "stochastic depth": {"model": {"drop_path": 0.1}},
    "flip, crop, mixup": {"augment": {"flip": True, "crop_padding": 4}, "fit": {"mixup": 0.2}},
}


def measure(name: str, train: Dataset, test: Dataset, seed: int) -> tuple[float, list[float]]:
    """Train with one method -> accuracy on the training images, unchanged, and on each part of the test images."""
    method = METHODS[name]
    model = ViT(ViTConfig(**VIT, **method.get("model", {})), seed)
    augment = Augment(train.image_size, **method.get("augment", {}))
    fit(model, train, augment=augment, seed=seed, **FIT, **method.get("fit", {}))
    parts = np.array_split(np.arange(len(test)), PARTS)
    return accuracy(model, train), [accuracy(model, test.subset(part)) for part in parts]


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    for seed in range(SEEDS):  # outermost, so that the methods have as many runs each, whenever this is stopped
        images = None
        for name in METHODS:
            seen = results["train_accuracy"].setdefault(name, [])
            unseen = results["results"].setdefault(name, [])
            if len(unseen) == seed:
                images = images or train.limit(TRAIN_IMAGES, seed)
                on_train, on_test = measure(name, images, test, seed)
                seen.append(round(on_train, 4))
                unseen.append([round(part, 4) for part in on_test])
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.augmentation",
        "data": "CIFAR-10 (JPEG copy), 10,000 test images",
        "config": {"train_images": TRAIN_IMAGES, "parts": PARTS, "fit": FIT, "vit": VIT, "methods": METHODS},
    }


def main() -> None:
    results = record.begin("augmentation", header())
    results.setdefault("train_accuracy", {})
    for _ in run_all(results, load("cifar10"), load("cifar10", split="test")):
        record.write("augmentation", results)


if __name__ == "__main__":
    main()

"""Accuracy against compute when depth, width or the number of patches of one ViT is changed, on CIFAR-10.

Appendix D.2 and Figure 8 of the paper, in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.shape_scaling

About half an hour of one core. Writes results/shape_scaling.json after every run; started again, it goes on where it
was. All models see the same images, in the same order; the learning rate is the same for all.
"""

from typing import Any

from experiments import record

from minivit.data import Augment, Dataset, load
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig

SEEDS = 3
STEPS = 1_500
FIT = {"batch_size": 128, "lr": 1e-3, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}
AUGMENT = {"flip": True, "crop_padding": 2}
BASE = {"image_size": 32, "patch_size": 8, "width": 48, "depth": 3, "heads": 3, "mlp_width": 192, "num_classes": 10}
STUDIES = {"depth": (1, 3, 8), "width": (24, 48, 96), "patch": (16, 8, 4)}  # the middle one is the base's


def changed(study: str, value: int) -> ViTConfig:
    """The base with another depth, width (and 4 times it in the MLP) or side of the patches."""
    other = {
        "depth": {"depth": value},
        "width": {"width": value, "mlp_width": 4 * value},
        "patch": {"patch_size": value},
    }
    return ViTConfig(**BASE | other[study])


def measure(config: ViTConfig, seed: int, train: Dataset, test: Dataset) -> float:
    """Train on CIFAR-10 and return the accuracy on its 10,000 test images."""
    model = ViT(config, seed)
    fit(model, train, STEPS, augment=Augment(train.image_size, **AUGMENT), seed=seed, **FIT)
    return accuracy(model, test)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.shape_scaling",
        "data": "CIFAR-10 (JPEG copy), 50,000 training and 10,000 test images",
        "config": {"steps": STEPS, **FIT, "augment": AUGMENT, "base": BASE, **STUDIES},
    }


def main() -> None:
    results = record.begin("shape_scaling", header())
    train, test = load("cifar10"), load("cifar10", split="test")
    for seed in range(SEEDS):  # outermost, so that all have as many runs, whenever this is stopped
        for study, values in STUDIES.items():
            for value in values:
                by_seed = results["results"].setdefault(study, {}).setdefault(str(value), [])
                if len(by_seed) == seed:
                    by_seed.append(known(results, study, value, seed) or measured(study, value, seed, train, test))
                    record.write("shape_scaling", results)


def known(results: dict, study: str, value: int, seed: int) -> float | None:
    """The result of the same model in another study: the base is part of each."""
    if changed(study, value) != ViTConfig(**BASE):
        return None
    runs = [results["results"].get(other, {}).get(str(values[1]), []) for other, values in STUDIES.items()]
    return next((run[seed] for run in runs if len(run) > seed), None)


def measured(study: str, value: int, seed: int, train: Dataset, test: Dataset) -> float:
    """What `measure` finds, in four digits."""
    return round(measure(changed(study, value), seed, train, test), 4)


if __name__ == "__main__":
    main()

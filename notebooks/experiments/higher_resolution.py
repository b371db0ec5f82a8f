"""Fine-tuning at 48 x 48 pixels after pre-training at 32 x 32, with position embeddings of three kinds, on CIFAR-10.

Section 3.2 and Table 4 of the paper, in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.higher_resolution

About a quarter of an hour of one core. Writes results/higher_resolution.json after every run; started again, it goes
on where it was. The images for pre-training, for fine-tuning and for the choice of the learning rate are different
ones. For each run the file says which test images the model got right, so that two runs can be compared image by image.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record
from experiments.answers import answers, packed
from experiments.rates import best_rate

from minivit import optim
from minivit.data import ArrayDataset, Dataset, load, resize
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig, resize_posemb
from minivit.models.posemb import resize_matrix

SEEDS = 3  # pre-trained models
LARGE = 48  # pixels along one side; the small images have 32
VIT = {"image_size": 32, "patch_size": 8, "width": 64, "depth": 4, "heads": 4, "num_classes": 10}
PRETRAINING = {"steps": 1_500, "lr": 1e-3, "weight_decay": 0.05}  # AdamW
TUNING = {"steps": 150, "weight_decay": 0.0}  # SGD with momentum 0.9
WAYS = ("2-D interpolation", "1-D interpolation", "fresh", "control")
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)  # those of the paper, and one more
FRESH_STD = 0.02  # of new random position embeddings, as at the start of training
IMAGES = (35_000, 10_000, 5_000)  # for pre-training, for fine-tuning, held out to choose the rate
EVERY = 30  # updates between two points of a curve
CURVE_IMAGES = 2_000  # test images that a curve is measured on; its ends are measured on all


def enlarged(dataset: Dataset, pixels: int = LARGE) -> ArrayDataset:
    """The same images with more pixels."""
    images, labels = dataset.fetch(range(len(dataset)))
    large = np.stack([resize(image, (pixels, pixels)) for image in images])
    return ArrayDataset(large, labels, dataset.classes, dataset.name)


def table_for(way: str, old: np.ndarray, old_grid: tuple[int, int], grid: tuple[int, int], seed: int) -> np.ndarray:
    """Position embeddings for `grid`, made of those for `old_grid` in one of the three ways.

    old: (1, 1 + h w, D) -> (1, 1 + h' w', D), float32. The [class] row is copied.   seed: of fresh ones.
    """
    places = grid[0] * grid[1]
    if way == "2-D interpolation":
        table = resize_posemb(old, old_grid, grid)
    elif way == "1-D interpolation":
        patches = resize_matrix(old.shape[1] - 1, places, "align_corners") @ old[0, 1:]
        table = np.concatenate([old[:, :1], patches[None]], axis=1)
    else:
        fresh = FRESH_STD * np.random.default_rng((seed, 17)).standard_normal((1, places, old.shape[2]))
        table = np.concatenate([old[:, :1], fresh], axis=1)
    return table.astype(np.float32)


def transferred(model: ViT, way: str, seed: int, pixels: int = LARGE) -> ViT:
    """A copy of a pre-trained model: for larger images, or for images of the same size ("control")."""
    config = model.config if way == "control" else dataclasses.replace(model.config, image_size=(pixels, pixels))
    copy, state = ViT(config), dict(model.state_dict())
    if way != "control":
        state["position_embedding"] = table_for(
            way, model.position_embedding.data, model.config.grid, config.grid, seed
        )
    copy.load_state_dict(state)
    return copy


@functools.cache
def parts() -> dict[str, Dataset]:
    """The images of each purpose at 32 x 32, and at 48 x 48 those that are needed."""
    train, test = load("cifar10"), load("cifar10", split="test")
    order, ends = np.random.default_rng(17).permutation(len(train)), np.cumsum((0, *IMAGES))
    names = ("pretrain", "tune", "held out")
    small = {name: train.subset(order[ends[i] : ends[i + 1]]) for i, name in enumerate(names)} | {"test": test}
    some = {"curve": test.subset(np.arange(CURVE_IMAGES))}
    return (
        small | some | {f"large {name}": enlarged(part) for name, part in (small | some).items() if name != "pretrain"}
    )


@functools.cache
def pretrained(seed: int) -> ViT:
    model = ViT(ViTConfig(**VIT), seed)
    fit(model, parts()["pretrain"], seed=seed, **PRETRAINING)
    return model


def measure(way: str, rate: float, seed: int, on: str = "test") -> dict[str, Any]:
    """Fine-tune one pre-trained model; accuracies before and after, which images are right after, and the curve."""
    model, size = transferred(pretrained(seed), way, seed), "" if way == "control" else "large "
    data = {name: parts()[size + name] for name in ("tune", on, "curve")}
    before, curve = accuracy(model, data[on]), []

    def watch(done: int) -> None:
        if done % EVERY == 0:
            curve.append(round(accuracy(model, data["curve"]), 4))

    if on == "test":
        watch(0)
    fit(model, data["tune"], lr=rate, seed=seed, optimizer=optim.SGD, watch=watch if on == "test" else None, **TUNING)
    right = answers(model, data[on])
    result = {"before": round(before, 4), "after": round(float(right.mean()), 4)}
    return result | ({"right": packed(right), "curve": curve} if on == "test" else {})


def run_all(results: dict[str, Any]) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    for way in WAYS:
        tried = results["rates_tried"].setdefault(way, {})
        for rate in RATES:
            if str(rate) not in tried:
                tried[str(rate)] = measure(way, rate, 0, on="held out")["after"]
                yield
        results["rates"][way] = best_rate(tried)
    for seed in range(SEEDS):  # outermost, so that all ways have as many runs, whenever this is stopped
        for way in WAYS:
            runs = results["results"].setdefault(way, [])
            if len(runs) == seed:
                runs.append(measure(way, results["rates"][way], seed))
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"large": LARGE, "vit": VIT, "pretraining": PRETRAINING, "tuning": TUNING, "ways": WAYS, "rates": RATES}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.higher_resolution",
        "data": "CIFAR-10 (JPEG copy), 10,000 test images",
        "config": {**config, "fresh_std": FRESH_STD, "images": IMAGES, "every": EVERY, "curve_images": CURVE_IMAGES},
    }


def main() -> None:
    results = record.begin("higher_resolution", header())
    for part in ("rates_tried", "rates"):
        results.setdefault(part, {})
    for _ in run_all(results):
        record.write("higher_resolution", results)


if __name__ == "__main__":
    main()

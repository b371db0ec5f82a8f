"""Five kinds of network with equally many parameters on CIFAR-10, with few and more images, and once more on images
whose pixels stand in another order.

A ViT mixes all places by attention; Swin and Hiera attend inside windows first, on maps that shrink; ConvNeXt has
convolutions alone; CoAtNet has convolutions, then attention. One permutation of the 1,024 pixels, the same for all
images of a run, takes away what is near to what, and nothing else. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.locality

About 45 minutes of one core. Writes results/locality.json after every run; started again, it goes on where it was.
All models see the same number of images, STEPS x 64, however often each. The learning rate is chosen for every model,
order of pixels and number of images, on training images that the model was not trained on.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from experiments import record
from experiments.rates import best_rate, next_rate

from minivit.data import Augment, Dataset, load
from minivit.data.dataset import ArrayDataset
from minivit.lessons import accuracy, fit
from minivit.lineage.coatnet import CoAtNet, CoAtNetConfig
from minivit.lineage.convnext import ConvNeXt, ConvNeXtConfig
from minivit.lineage.hiera import Hiera, HieraConfig
from minivit.lineage.swin import Swin, SwinConfig
from minivit.models import ViT, ViTConfig
from minivit.nn import Module
from minivit.nn.batch_norm import batch_statistics
from minivit.tensor import no_grad

SIZES = (1_000, 10_000)  # training images
ORDERS = ("in place", "permuted")  # of the pixels
LADDER = (3e-4, 1e-3, 3e-3, 9e-3, 2.7e-2)  # learning rates to choose from
START = 3e-3  # the one that is tried first
SEEDS = 4
STEPS = 300
HELD_OUT = 3_000  # training images on which the rates are chosen
TEST = 4_000  # test images
FIT = {"batch_size": 64, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}  # the same for all models

ALL = {"image_size": 32, "num_classes": 10}
VIT = {"patch_size": 4, "width": 48, "depth": 4, "heads": 3, "mlp_width": 192}
SWIN = {"patch_size": 4, "width": 32, "depths": (2, 2), "heads": (2, 4), "window": 4, "mlp_ratio": 3.125}
HIERA = {"patch_size": 4, "patch_kernel": 4, "patch_padding": (0, 0), "width": 32, "depths": (2, 2), "heads": 2}
HIERA |= {"unit": 4, "pools": 1, "local": (True, False), "mlp_ratio": 3.75}
CONVNEXT = {"patch_size": 4, "dims": (36, 72), "depths": (2, 2), "strides": (1, 2), "kernel": 3, "layer_scale": None}
COATNET = {"stem": (16, 16), "widths": (32, 64), "depths": (2, 2), "kinds": ("C", "T"), "stem_stride": 2}
COATNET |= {"head_width": 16, "hidden": None, "pool_first": True, "expansion": 3}
MODELS: dict[str, Callable[[int], Module]] = {
    "ViT": lambda seed: ViT(ViTConfig(**ALL, **VIT), seed),
    "Swin": lambda seed: Swin(SwinConfig(**ALL, **SWIN), seed),
    "Hiera": lambda seed: Hiera(HieraConfig(**ALL, **HIERA), seed),
    "ConvNeXt": lambda seed: ConvNeXt(ConvNeXtConfig(**ALL, **CONVNEXT), seed),
    "CoAtNet": lambda seed: CoAtNet(CoAtNetConfig(**ALL, **COATNET), seed),
}


def permuted(images: Dataset, seed: int) -> Dataset:
    """The same images, the pixels of all of them in one other order, which `seed` decides."""
    pixels, labels = images.fetch(np.arange(len(images)))
    order = np.random.default_rng((seed, 30)).permutation(32 * 32)
    pixels = pixels.reshape(len(pixels), 32 * 32, 3)[:, order].reshape(pixels.shape)
    return ArrayDataset(pixels, labels, images.classes, images.name)


def settle_batch_norm(model: Module, train: Dataset) -> None:
    """Give every BatchNorm the mean and variance of its channels on 1,000 training images, under the final weights."""
    model.train()
    with no_grad(), batch_statistics() as seen:
        model(Augment((32, 32))(train.fetch(np.arange(min(1_000, len(train))))[0]))
    for layer, found in seen.items():
        layer.running_mean.data[...], layer.running_variance.data[...] = found["mean"], found["variance"]
    model.eval()


def measure(name: str, order: str, train: Dataset, test: Dataset, rate: float, seed: int, steps: int = STEPS) -> float:
    """Train one model and return its accuracy on the test images."""
    if order == "permuted":
        train, test = permuted(train, seed), permuted(test, seed)
    model = MODELS[name](seed)
    fit(model, train, steps, lr=rate, seed=seed, **FIT)
    settle_batch_norm(model, train)
    return round(accuracy(model, test), 4)


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run. First all rates, then seed by seed."""
    shuffled = np.random.default_rng(100).permutation(len(train))
    held_out, rest = train.subset(shuffled[:HELD_OUT]), train.subset(shuffled[HELD_OUT:])
    cells = [(name, order, size) for size in SIZES for order in ORDERS for name in MODELS]
    tried = results.setdefault("rates_tried", {})
    for name, order, size in cells:
        of_cell = tried.setdefault(order, {}).setdefault(str(size), {}).setdefault(name, {})
        while (rate := next_rate(LADDER, of_cell, START)) is not None:
            of_cell[str(rate)] = measure(name, order, rest.limit(size, seed=100), held_out, rate, seed=100)
            yield
    for seed in range(SEEDS):
        for name, order, size in cells:
            rate = best_rate(tried[order][str(size)][name])
            found = results["results"].setdefault(order, {}).setdefault(str(size), {}).setdefault(name, [])
            if len(found) == seed:
                found.append(measure(name, order, rest.limit(size, seed), test, rate, seed))
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    shapes = {"all": ALL, "ViT": VIT, "Swin": SWIN, "Hiera": HIERA, "ConvNeXt": CONVNEXT, "CoAtNet": COATNET}
    config = {"sizes": SIZES, "orders": ORDERS, "steps": STEPS, **FIT, "test": TEST, "shapes": shapes}
    rates = {"ladder": LADDER, "start": START, "held_out": HELD_OUT}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.locality",
        "data": f"CIFAR-10, the same {TEST:,} test images in every run",
        "config": {**config, **rates},
    }


def main() -> None:
    results = record.begin("locality", header())
    for _ in run_all(results, load("cifar10"), load("cifar10", split="test").limit(TEST, seed=100)):
        record.write("locality", results)


if __name__ == "__main__":
    main()

"""Accuracy by patch size on CIFAR-10: a FlexiViT, whose patch size is drawn in every step, and models of one size.

After Beyer et al. 2022 (arXiv 2212.08013), in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.patch_sizes

About twenty minutes of one core. Writes results/patch_sizes.json after every run; started again, it goes on where it
was. All models have the same blocks. Each gets as many updates as fit into the same number of multiply-adds: the larger
its patches, the more. Another FlexiViT gets three times as many, what the three models of one size take together. Rates
are chosen on training images that were held out. Every model is tested at all sizes, with its kernel resized in two
ways: by the pseudo-inverse, as in the paper, and like an image, as a control.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record
from experiments.rates import best_rate

from minivit import functional as F
from minivit.data import Augment, Dataset, load
from minivit.lessons import accuracy, fit
from minivit.lineage.flexivit import FlexiViT, FlexiViTConfig, resized_kernel
from minivit.models import ViTConfig
from minivit.models.cost import multiply_adds
from minivit.tensor import Tensor

IMAGE = 32  # pixels along one side
SIZES = (2, 4, 8)  # of the patches in training, in pixels
TESTED = (2, 4, 8, 16)
MODELS = ("FlexiViT", "fixed 2", "fixed 4", "fixed 8", "FlexiViT, 3 times")
KERNELS = ("pseudo-inverse", "like an image")
SEEDS = 3
UPDATES = {"FlexiViT": 480, "fixed 2": 189, "fixed 4": 1_275, "fixed 8": 5_398, "FlexiViT, 3 times": 1_440}
RATES = (1e-3, 2e-3)
HELD_OUT = 2_000  # training images on which the rates are chosen
TEST_IMAGES = 2_000
FIT = {"batch_size": 32, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}
AUGMENT = {"flip": True, "crop_padding": 2}
VIT = {"width": 48, "depth": 3, "heads": 3, "mlp_width": 96, "num_classes": 10}


def config_of(name: str) -> FlexiViTConfig:
    """The parameters of a model of one size have that size; those of the FlexiViT are 8 x 8 patches of 8 x 8 pixels."""
    if name.startswith("FlexiViT"):
        grids = tuple(IMAGE // size for size in SIZES)
        return FlexiViTConfig(image_size=IMAGE, patch_size=4, base_patch=8, base_grid=8, grids=grids, **VIT)
    size = size_of(name)
    grid = IMAGE // size
    return FlexiViTConfig(image_size=IMAGE, patch_size=size, base_patch=size, base_grid=grid, grids=(grid,), **VIT)


def size_of(name: str) -> int:
    """The patch size of "fixed 4"."""
    return int(name.removeprefix("fixed "))


def cost(size: int) -> int:
    """Multiply-adds of one image cut into patches of this size, by which `UPDATES` was chosen."""
    return multiply_adds(ViTConfig(image_size=IMAGE, patch_size=size, **VIT))


def at_size(model: FlexiViT, size: int, kernels: str) -> FlexiViT:
    """A copy for patches of this size, with the kernel resized in one of two ways."""
    old, name, state = model.config, "network.patch_embed.projection.weight", dict(model.state_dict())
    kernel = Tensor(state[name].reshape(*old.base_patch, old.channels, old.width))
    if kernels == "pseudo-inverse":
        resized = resized_kernel(kernel, (size, size), old.kernel_method)
    else:
        resized = F.resize(kernel.reshape(1, *old.base_patch, -1), (size, size), old.kernel_method)
    copy = FlexiViT(dataclasses.replace(old, patch_size=size, base_patch=size))
    copy.load_state_dict(state | {name: resized.data.reshape(-1, old.width)})
    return copy.eval()


def trained(name: str, rate: float, seed: int, train: Dataset) -> FlexiViT:
    """A model trained on these images."""
    model = FlexiViT(config_of(name), seed)
    fit(model, train, UPDATES[name], lr=rate, augment=Augment((IMAGE, IMAGE), **AUGMENT), seed=seed, **FIT)
    return model


def measure(name: str, rate: float, seed: int, train: Dataset, test: Dataset) -> dict[str, dict[str, float]]:
    """Train, and return the accuracy on the test images by way of resizing the kernel and by patch size."""
    model = trained(name, rate, seed, train)
    return {
        kernels: {str(size): round(accuracy(at_size(model, size, kernels), test), 4) for size in TESTED}
        for kernels in KERNELS
    }


def try_rate(name: str, rate: float, train: Dataset) -> float:
    """Accuracy on `HELD_OUT` training images, learned on the others; of the FlexiViT the mean over the sizes."""
    order = np.random.default_rng(100).permutation(len(train))
    held_out, rest = train.subset(order[:HELD_OUT]), train.subset(order[HELD_OUT:])
    model = trained(name, rate, 100, rest)
    sizes = SIZES if name == "FlexiViT" else (size_of(name),)
    found = [accuracy(at_size(model, size, "pseudo-inverse"), held_out) for size in sizes]
    return round(float(np.mean(found)), 4)


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    for name in MODELS[:4]:
        tried = results["rates_tried"].setdefault(name, {})
        for rate in RATES:
            if str(rate) not in tried:
                tried[str(rate)] = try_rate(name, rate, train)
                yield
    for seed in range(SEEDS):  # outermost, so that all models have as many runs, whenever this is stopped
        for name in MODELS:
            runs = results["results"].setdefault(name, [])
            if len(runs) == seed:
                rate = best_rate(results["rates_tried"][name.removesuffix(", 3 times")])
                runs.append(measure(name, rate, seed, train, test))
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"image": IMAGE, "sizes": SIZES, "tested": TESTED, "kernels": KERNELS, **FIT, "augment": AUGMENT}
    config |= {"rates": RATES, "held_out": HELD_OUT, "test_images": TEST_IMAGES, "vit": VIT}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.patch_sizes",
        "data": "CIFAR-10 (JPEG copy)",
        "config": {**config, "updates": UPDATES},
    }


def main() -> None:
    results = record.begin("patch_sizes", header())
    results.setdefault("rates_tried", {})
    test = load("cifar10", split="test").subset(np.arange(TEST_IMAGES))
    for _ in run_all(results, load("cifar10"), test):
        record.write("patch_sizes", results)


if __name__ == "__main__":
    main()

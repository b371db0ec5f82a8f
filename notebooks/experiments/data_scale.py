"""Accuracy against the number of training images on CIFAR-10: a ViT, a convolutional network, the same network on
shuffled pixels, and a linear classifier.

Section 4.3 and Figures 3 and 4 of the paper, in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.data_scale

About half an hour of one core. Writes results/data_scale.json after every run; started again, it goes on
where it was.
All models see the same number of images, STEPS x 128, however often each: only the number of different ones varies.
The learning rate is chosen for each model at each size, and for each number of updates, on training images that the
model was not trained on. The lead of the CNN over the ViT is measured after other numbers of updates, too.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record
from experiments.rates import best_rate, next_rate

from minivit import functional as F
from minivit.data import Augment, Dataset, load
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.convolution import GroupNorm, StdConv
from minivit.tensor import Tensor

SIZES = (500, 2_000, 8_000, 32_000)  # training images
SEEDS = 3
STEPS = 300  # of 128 images
OTHER_STEPS = (100, 900)  # at which the lead is measured as well, each with a schedule of its own,
LEAD_SIZES = (500, 32_000)  # at these sizes,
LEAD_MODELS = ("ViT", "CNN")  # of these two
HELD_OUT = 5_000  # training images on which the rates are chosen
LADDERS = {  # the rates to choose from; each is twice the one before
    "ViT": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    "CNN": (6.25e-3, 1.25e-2, 2.5e-2, 5e-2, 0.1, 0.2, 0.4),
    "CNN, shuffled": (6.25e-3, 1.25e-2, 2.5e-2, 5e-2, 0.1, 0.2, 0.4),
    "linear": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
}
START = 3  # the place in the ladder that is tried first
FIT = {"batch_size": 128, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}  # the same for all models
AUGMENT = {"flip": True, "crop_padding": 2}
VIT = {"image_size": 32, "patch_size": 8, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128, "num_classes": 10}
CNN_WIDTHS = (32, 64, 128)  # of its maps
LAST = 50  # steps at the end over which the training loss is averaged


class LinearClassifier(Module):
    """Logits are a linear function of the pixels.   images: (B, 32, 32, 3) -> (B, 10)."""

    def __init__(self, seed: int):
        self.head = Linear(32 * 32 * 3, 10, np.random.default_rng(seed), weight=init.zeros)

    def forward(self, images: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
        return self.head(Tensor(images.reshape(len(images), -1)))


class SmallCNN(Module):
    """Three 3x3 convolutions that each halve the map, the mean over its places, a linear head.

    images: (B, 32, 32, 3) -> maps of 16x16x32, 8x8x64 and 4x4x128 -> features (B, 128) -> logits (B, 10).
    Normalised as in the ResNets of the paper: standardised weights, GroupNorm.
    """

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        widths = (3, *CNN_WIDTHS)
        self.convolutions = [StdConv(3, widths[i], widths[i + 1], rng, stride=2) for i in range(3)]
        self.norms = [GroupNorm(width, groups=8) for width in widths[1:]]
        self.head = Linear(widths[-1], 10, rng, weight=init.zeros)

    def forward(self, images: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
        x = Tensor(images)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return self.head(x.mean(axis=(1, 2)))


def shuffle_pixels(images: np.ndarray, side: int, within: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The pixels of each patch in another order, the same in all, and the patches in another order.

    images: (B, height, width, C).   side: of the patches.   within: a permutation of side^2 pixels.   among: a
    permutation of the patches. Pixel i of the new patch j is pixel within[i] of the old patch among[j].
    """
    B, height, width, C = images.shape
    rows, columns = height // side, width // side
    patches = images.reshape(B, rows, side, columns, side, C).transpose(0, 1, 3, 2, 4, 5)
    patches = patches.reshape(B, rows * columns, side * side, C)[:, among][:, :, within]
    patches = patches.reshape(B, rows, columns, side, side, C).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(images.shape)


class ShuffledCNN(SmallCNN):
    """The same network, but what it sees are the images after `shuffle_pixels`, with one shuffle for all of them."""

    def __init__(self, seed: int):
        super().__init__(seed)
        rng = np.random.default_rng((seed, 1))
        side = VIT["patch_size"]
        self.shuffle = side, rng.permutation(side**2), rng.permutation((VIT["image_size"] // side) ** 2)

    def forward(self, images: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
        return super().forward(shuffle_pixels(images, *self.shuffle), rng)


def small_vit(seed: int) -> ViT:
    """Patches of 8x8 pixels, 16 of them: about as much work for an image as `SmallCNN`."""
    return ViT(ViTConfig(**VIT), seed)


MODELS = {"ViT": small_vit, "CNN": SmallCNN, "CNN, shuffled": ShuffledCNN, "linear": LinearClassifier}


def measure(
    name: str, train: Dataset, test: Dataset, rate: float, seed: int, steps: int = STEPS
) -> tuple[float, float]:
    """Train one model and return its accuracy on the test images and its loss on the last training batches."""
    model = MODELS[name](seed)
    augment = Augment(train.image_size, **AUGMENT)
    history = fit(model, train, steps, lr=rate, augment=augment, seed=seed, **FIT)
    return accuracy(model, test), float(np.mean([result.loss for result in history[-LAST:]]))


def try_rate(name: str, size: int, rate: float, steps: int, train: Dataset) -> float:
    """Accuracy on `HELD_OUT` training images, learned on `size` of the others."""
    order = np.random.default_rng(100).permutation(len(train))
    held_out, rest = train.subset(order[:HELD_OUT]), train.subset(order[HELD_OUT:])
    return round(measure(name, rest.limit(size, seed=100), held_out, rate, seed=100, steps=steps)[0], 4)


def plan() -> Iterator[tuple[int, str, int]]:
    """Updates, model and size of each measurement: first all of `STEPS`, then those of the lead."""
    yield from ((STEPS, name, size) for size in SIZES for name in MODELS)
    yield from ((steps, name, size) for steps in OTHER_STEPS for size in LEAD_SIZES for name in LEAD_MODELS)


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    for steps, name, size in plan():
        ladder = LADDERS[name]
        tried = results["rates_tried"].setdefault(str(steps), {}).setdefault(name, {}).setdefault(str(size), {})
        while (rate := next_rate(ladder, tried, ladder[START])) is not None:
            tried[str(rate)] = try_rate(name, size, rate, steps, train)
            yield
        for seed in range(SEEDS):
            accuracies = results["results"].setdefault(str(steps), {}).setdefault(name, {}).setdefault(str(size), [])
            losses = results["train_loss"].setdefault(str(steps), {}).setdefault(name, {}).setdefault(str(size), [])
            if len(accuracies) == seed:
                right, loss = measure(name, train.limit(size, seed), test, best_rate(tried), seed, steps)
                accuracies.append(round(right, 4))
                losses.append(round(loss, 4))
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    lead = {"other_steps": OTHER_STEPS, "lead_sizes": LEAD_SIZES, "lead_models": LEAD_MODELS}
    rates = {"ladders": LADDERS, "start": START, "held_out": HELD_OUT}
    config = {"sizes": SIZES, "steps": STEPS, **lead, **FIT, "augment": AUGMENT, **rates}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.data_scale",
        "data": "CIFAR-10 (JPEG copy), 10,000 test images",
        "config": {**config, "last": LAST, "vit": VIT, "cnn_widths": CNN_WIDTHS},
    }


def main() -> None:
    results = record.begin("data_scale", header())
    for part in ("rates_tried", "train_loss"):
        results.setdefault(part, {})
    for _ in run_all(results, load("cifar10"), load("cifar10", split="test")):
        record.write("data_scale", results)


if __name__ == "__main__":
    main()

"""Accuracy against the number of training images: a ViT, a convolutional network and a linear classifier on CIFAR-10.

Section 4.3 and Figures 3 and 4 of the paper, in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.data_scale

About a quarter of an hour of one core. Writes results/data_scale.json after every run; started again, it goes on where
it was.
All models see the same number of images, STEPS x 128, however often each: only the number of different ones varies.
The learning rate of each model is chosen first, on training images that it was not trained on.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record

from minivit import functional as F
from minivit.data import Augment, Dataset, load
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.convolution import GroupNorm, StdConv
from minivit.tensor import Tensor

SIZES = (500, 2_000, 10_000, 50_000)  # training images
SEEDS = 3
STEPS = 600  # of 128 images
RATE_STEPS = 800  # of the runs that choose the learning rate; chosen when STEPS was 800 too, and kept
RATES = {  # to choose from; for each model so many that the best is not the first or the last
    "ViT": (1e-3, 2e-3, 4e-3),
    "CNN": (4e-3, 1e-2, 2.5e-2, 5e-2, 0.1),
    "linear": (3e-4, 1e-3, 3e-3, 1e-2),
}
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


def small_vit(seed: int) -> ViT:
    """Patches of 8x8 pixels, 16 of them: about as much work for an image as `SmallCNN`."""
    return ViT(ViTConfig(**VIT), seed)


MODELS = {"ViT": small_vit, "CNN": SmallCNN, "linear": LinearClassifier}


def measure(
    name: str, train: Dataset, test: Dataset, rate: float, seed: int, steps: int = STEPS
) -> tuple[float, float]:
    """Train one model and return its accuracy on the test images and its loss on the last training batches."""
    model = MODELS[name](seed)
    augment = Augment(train.image_size, **AUGMENT)
    history = fit(model, train, steps, lr=rate, augment=augment, seed=seed, **FIT)
    return accuracy(model, test), float(np.mean([result.loss for result in history[-LAST:]]))


def choose_rate(name: str, train: Dataset, tried: dict[str, float]) -> Iterator[None]:
    """Fill `tried`, rate -> accuracy on 2,000 held-out training images, learned on 10,000 others; yields each time."""
    some = train.limit(12_000, seed=100)
    order = np.random.default_rng(100).permutation(len(some))
    held_out, rest = some.subset(order[:2_000]), some.subset(order[2_000:])
    for rate in RATES[name]:
        if str(rate) not in tried:
            tried[str(rate)], _ = measure(name, rest, held_out, rate, seed=100, steps=RATE_STEPS)
            yield


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    for name in MODELS:
        tried = results["rates_tried"].setdefault(name, {})
        yield from choose_rate(name, train, tried)
        results["rates"][name] = float(max(tried, key=tried.__getitem__))
    for seed in range(SEEDS):  # outermost, so that the models have as many runs each, whenever this is stopped
        for size in SIZES:
            for name in MODELS:
                accuracies = results["results"].setdefault(name, {}).setdefault(str(size), [])
                losses = results["train_loss"].setdefault(name, {}).setdefault(str(size), [])
                if len(accuracies) == seed:
                    right, loss = measure(name, train.limit(size, seed), test, results["rates"][name], seed)
                    accuracies.append(round(right, 4))
                    losses.append(round(loss, 4))
                    yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"sizes": SIZES, "steps": STEPS, **FIT, "augment": AUGMENT, "rates": RATES, "rate_steps": RATE_STEPS}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.data_scale",
        "data": "CIFAR-10 (JPEG copy), 10,000 test images",
        "config": {**config, "last": LAST, "vit": VIT, "cnn_widths": CNN_WIDTHS},
    }


def main() -> None:
    results = record.begin("data_scale", header())
    for part in ("rates_tried", "rates", "train_loss"):
        results.setdefault(part, {})
    for _ in run_all(results, load("cifar10"), load("cifar10", split="test")):
        record.write("data_scale", results)


if __name__ == "__main__":
    main()

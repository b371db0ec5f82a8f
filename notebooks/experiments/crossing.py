"""A crossing that does not last: a ViT and a convolutional network on a drawn task, with few images and with many,
after few updates and after more, at every learning rate of a list.

From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.crossing

About 25 minutes of one core. Writes results/crossing.json after every run; started again, it goes on where it was.
An image has three glyphs; its class is the kind of the leftmost one. The figure of the paper, in which the ViT
overtakes with more images, appears after few updates; after three times as many it is gone.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record

from minivit import functional as F
from minivit.data import ArrayDataset
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.convolution import GroupNorm, StdConv
from minivit.tensor import Tensor

SIZES = (500, 12_800)  # training images; 200 updates go through 12,800 once
SEEDS = 5
RATES = {  # updates -> model -> learning rates
    200: {"ViT": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2), "CNN": (1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2)},
    600: {"ViT": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2), "CNN": (2.5e-3, 1e-2, 2.5e-2)},
}
FIT = {"batch_size": 64, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}
TESTED = 2_000  # images of each of the two tests: one to choose the rate, one to report
SIDE, GLYPH = 16, 4  # pixels
GLYPHS = 3  # in an image
LEAD = 2  # columns, by which the leftmost glyph is ahead of the others
NOISE = 0.1  # standard deviation; a glyph is 1, the ground 0
KINDS = ("1001 0110 0110 1001", "0110 1001 1001 0110", "1111 0000 0000 1111", "0011 0011 1100 1100")  # rows of pixels
VIT = {"image_size": SIDE, "patch_size": 4, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128, "channels": 1}
CNN_WIDTHS = (32, 64, 96)  # of its maps


def glyphs() -> np.ndarray:
    """(kinds, GLYPH, GLYPH) of 0 and 1."""
    return np.array([[[float(pixel) for pixel in row] for row in kind.split()] for kind in KINDS])


def places(rng: np.random.Generator) -> np.ndarray:
    """Rows and columns of the glyphs, (GLYPHS, 2): they do not overlap, and the first is ahead by `LEAD` columns."""
    while True:
        corners = rng.integers(0, SIDE - GLYPH + 1, (GLYPHS, 2))
        corners = corners[corners[:, 1].argsort()]
        apart = abs(corners[:, None] - corners).max(axis=2) >= GLYPH
        if corners[1, 1] - corners[0, 1] >= LEAD and apart[np.triu_indices(GLYPHS, 1)].all():
            return corners


@functools.lru_cache(4)  # the runs of one seed share them
def draw(count: int, seed: int) -> ArrayDataset:
    """Images (count, SIDE, SIDE, 1) uint8; the label is the kind of the leftmost glyph."""
    rng, shapes = np.random.default_rng(seed), glyphs()
    images = NOISE * rng.standard_normal((count, SIDE, SIDE))
    kinds = rng.integers(len(KINDS), size=(count, GLYPHS))
    for image, its_kinds in zip(images, kinds, strict=True):
        for (row, column), kind in zip(places(rng), its_kinds, strict=True):
            image[row : row + GLYPH, column : column + GLYPH] += shapes[kind]
    pixels = np.clip(255 * (0.2 + 0.6 * images), 0, 255).astype(np.uint8)[..., None]
    return ArrayDataset(pixels, kinds[:, 0], [f"kind {i}" for i in range(len(KINDS))], "glyphs")


class Unit(Module):
    """x + f(x), with two convolutions in f, each after a normalisation and a ReLU.   (B, h, w, C) -> (B, h', w', E)."""

    def __init__(self, channels: int, filters: int, stride: int, rng: np.random.Generator):
        self.norms = [GroupNorm(channels, groups=8), GroupNorm(filters, groups=8)]
        self.convolutions = [StdConv(3, channels, filters, rng, stride=stride), StdConv(3, filters, filters, rng)]
        changed = stride > 1 or channels != filters
        self.shortcut = StdConv(1, channels, filters, rng, stride=stride) if changed else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](x))
        left = x if self.shortcut is None else self.shortcut(y)
        y = F.relu(self.norms[1](self.convolutions[0](y)))
        return left + self.convolutions[1](y)


class ResidualCNN(Module):
    """A convolution of stride 2, three units of strides 1, 2 and 2, the mean over places, a linear head.

    images: (B, SIDE, SIDE, 1) -> (B, kinds). Its last map sees the whole image.
    """

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        first, second, third = CNN_WIDTHS
        self.root = StdConv(3, 1, first, rng, stride=2)
        self.units = [Unit(first, first, 1, rng), Unit(first, second, 2, rng), Unit(second, third, 2, rng)]
        self.norm = GroupNorm(third, groups=8)
        self.head = Linear(third, len(KINDS), rng, weight=init.zeros)

    def forward(self, images: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
        x = self.root(Tensor(images))
        for unit in self.units:
            x = unit(x)
        return self.head(F.relu(self.norm(x)).mean(axis=(1, 2)))


def small_vit(seed: int) -> ViT:
    """Patches of 4x4 pixels, 16 of them."""
    return ViT(ViTConfig(**VIT, num_classes=len(KINDS)), seed)


MODELS = {"ViT": small_vit, "CNN": ResidualCNN}


def measure(name: str, size: int, rate: float, seed: int, steps: int) -> list[float]:
    """Train one model; its accuracy on the images that the rate is chosen by, and on those that are reported."""
    model = MODELS[name](seed)
    fit(model, draw(size, 3 * seed), steps, lr=rate, seed=seed, **FIT)
    return [round(accuracy(model, draw(TESTED, 3 * seed + i)), 4) for i in (1, 2)]


def run_all(results: dict[str, Any]) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    for seed, steps in itertools.product(range(SEEDS), RATES):
        for name, rates in RATES[steps].items():
            for size, rate in itertools.product(SIZES, rates):
                of_size = results.setdefault(str(steps), {}).setdefault(name, {}).setdefault(str(size), {})
                cell = of_size.setdefault(str(rate), [])
                if len(cell) == seed:
                    cell.append(measure(name, size, rate, seed, steps))
                    yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    task = {"side": SIDE, "glyph": GLYPH, "glyphs": GLYPHS, "lead": LEAD, "noise": NOISE, "kinds": KINDS}
    config = {"sizes": SIZES, "rates": RATES, **FIT, "tested": TESTED, "task": task}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.crossing",
        "data": "drawn images of three glyphs; the class is the kind of the leftmost",
        "config": {**config, "vit": VIT, "cnn_widths": CNN_WIDTHS},
    }


def main() -> None:
    results = record.begin("crossing", header())
    for _ in run_all(results["results"]):
        record.write("crossing", results)


if __name__ == "__main__":
    main()

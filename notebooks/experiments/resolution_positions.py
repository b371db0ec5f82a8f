"""Positions and resolution: models without positions, with a learned table and with rotary positions (RoPE), trained at
32 x 32 pixels and tested at 24 to 64 without training again.

From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.resolution_positions

About a quarter of an hour of one core. Writes results/resolution_positions.json after every run; started again, it goes
on where it was.
Two tasks. "left": which colour has the left one of two drawn shapes? A bag of patches shows both colours, but not which
is left, so without positions half of the answers are right. "CIFAR-10": photographs, where positions help but are not
needed. Patches have 4 x 4 pixels at every resolution, so a larger image has more of them. Drawn scenes are drawn again
in each size, photographs are resized. The learned table is interpolated to the new grid. RoPE is tested in two ways:
with rows and columns counted on, and with the places stretched to the grid of training.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record

from minivit.data import ArrayDataset, Dataset, load
from minivit.data import resize as resized
from minivit.data.scenes import Scenes
from minivit.lessons import accuracy, fit
from minivit.models import ViT, ViTConfig, resize_posemb

TASKS = ("left", "CIFAR-10")
KINDS = ("none", "learned", "rope")  # of positions
SIZES = (24, 32, 40, 48, 64)  # pixels along one side, of the test images
TRAINED = 32
SEEDS = 5
TEST_IMAGES = 1_000
SCENES = 12_000  # in training, of which about half are of use
APART = 0.2  # least horizontal distance of two shapes, in sides of the picture
VIT = {"patch_size": 4, "width": 64, "depth": 3, "heads": 4, "mlp_width": 128, "classifier": "gap"}
FITS = {
    "left": {"steps": 250, "batch_size": 64, "lr": 2e-3},
    "CIFAR-10": {"steps": 300, "batch_size": 64, "lr": 2e-3},
}


def scenes(count: int, seed: int, size: int) -> ArrayDataset:
    """Of `count` scenes of two shapes those that differ in colour and in column; the class is the colour of the left
    one."""
    drawn = Scenes(count, seed, size, shapes=(2, 2), label="colour")
    layout = drawn.layout(drawn.items)
    left = layout.x.argmin(axis=1)
    of_use = (np.ptp(layout.x, axis=1) >= APART) & (np.ptp(layout.colour, axis=1) > 0)
    labels = layout.colour[np.arange(count), left]
    images, _ = drawn.subset(np.nonzero(of_use)[0]).fetch(range(int(of_use.sum())))
    return ArrayDataset(images, labels[of_use], drawn.classes, "scenes of two shapes")


@functools.cache
def photographs() -> ArrayDataset:
    """The test images of CIFAR-10 that are used, at 32 x 32."""
    some = load("cifar10", split="test").subset(np.arange(TEST_IMAGES))
    images, labels = some.fetch(range(TEST_IMAGES))
    return ArrayDataset(images, labels, some.classes, some.name)


@functools.cache
def test_images(task: str, size: int) -> Dataset:
    """The same images at every size."""
    if task == "left":
        whole = scenes(3 * TEST_IMAGES, 2, size)
        return whole.subset(np.arange(TEST_IMAGES))
    given = photographs()
    images = np.stack([resized(image, (size, size)) for image in given.images])
    return ArrayDataset(images, given.labels, given.classes, given.name)


@functools.cache
def train_images(task: str) -> Dataset:
    """The training images: other scenes than those of the test."""
    return scenes(SCENES, 1, TRAINED) if task == "left" else load("cifar10")


def at_size(model: ViT, size: int, stretched: bool = False) -> ViT:
    """The same weights for images of another size.   stretched: whether RoPE's places span the grid of training."""
    config = dataclasses.replace(model.config, image_size=(size, size))
    copy, state = ViT(config), dict(model.state_dict())
    if model.config.position == "learned":
        table = state["position_embedding"]
        state["position_embedding"] = resize_posemb(table, model.config.grid, config.grid, prefix=0)
    copy.load_state_dict(state)
    for block in copy.blocks if stretched else ():
        block.attention.rope.trained = model.config.grid
    return copy.eval()


def measure(task: str, kind: str, seed: int) -> dict[str, dict[str, float]]:
    """Train at 32 x 32, and return the accuracy by way of placing tokens and by size."""
    train = train_images(task)
    model = ViT(ViTConfig(image_size=TRAINED, num_classes=len(train.classes), position=kind, **VIT), seed)
    fit(model, train, seed=seed, **FITS[task])
    ways = {kind: False, "rope, stretched": True} if kind == "rope" else {kind: False}
    return {
        way: {str(size): round(accuracy(at_size(model, size, wide), test_images(task, size), 100), 4) for size in SIZES}
        for way, wide in ways.items()
    }


def run_all(results: dict[str, Any]) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    for seed in range(SEEDS):  # outermost, so that all kinds have as many runs, whenever this is stopped
        for task in TASKS:
            for kind in KINDS:
                found = results["results"].setdefault(task, {})
                if len(found.get(kind, [])) == seed:
                    for way, by_size in measure(task, kind, seed).items():
                        found.setdefault(way, []).append(by_size)
                    yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    scenes_of = {"scenes": SCENES, "apart": APART}
    config = {"tasks": TASKS, "kinds": KINDS, "sizes": SIZES, "trained": TRAINED, "test_images": TEST_IMAGES}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.resolution_positions",
        "data": "drawn scenes of two shapes; CIFAR-10 (JPEG copy)",
        "config": {**config, **scenes_of, "vit": VIT, "fits": FITS},
    }


def main() -> None:
    results = record.begin("resolution_positions", header())
    for _ in run_all(results):
        record.write("resolution_positions", results)


if __name__ == "__main__":
    main()

"""The part of a training batch that one of several processes computes.

Process `rank` of `ranks` takes the examples rank * b .. (rank + 1) * b - 1 of each batch, b = batch size / ranks. Their
random changes are drawn for the whole batch, so together the processes see exactly the batch of a single one. Where
each example can be made alone, a process reads and decodes only its own images.
"""

from typing import Any, NamedTuple

import numpy as np

from minivit.data.mixing import Mixing, mix, one_hot
from minivit.data.transform import Augment, Changes


class Drawn(NamedTuple):
    """The draws of a step for the images of a part.

    rows: (R,), their numbers in the batch. If images are mixed, the first one belongs to the part before: image 0 of
    this part is mixed with it. beside: the objective's draws for the part.
    """

    rows: np.ndarray
    changes: Changes
    mixing: Mixing | None
    beside: dict[str, np.ndarray]


def makes_each_alone(loader: Any) -> bool:
    """Whether the examples of a batch can be made one by one from images, labels and draws."""
    objective = loader.objective
    return prepares_plainly(objective) and not objective.compares and type(loader.transform) is Augment


def prepares_plainly(objective: Any) -> bool:
    """Whether an objective leaves images to the transform and mixing, and needs nothing else but labels."""
    plain = getattr(objective, "prepares_plainly", False)
    return bool(plain) and not {*objective.columns} - {"images", "labels"}


def draw(loader: Any, step: int) -> Drawn:
    """Everything random of a step, drawn in the order of `Loader.batch`, for this process's part."""
    objective, augment, rng = loader.objective, loader.transform, loader.generator(step)
    changes = augment.draw((loader.batch_size, *augment.image_size, loader.dataset.channels), rng)
    mixing = objective.mixer.draw(*augment.image_size, rng) if objective.mixer else None
    beside = objective.draw({"labels": loader.dataset.labels[loader.indices(step)]}, step, rng)
    rows = np.arange(loader.batch_size)[loader.part]
    if loader.ranks == 1:
        return Drawn(rows, changes, mixing, beside)
    if mixing:
        rows = np.concatenate([[(rows[0] - 1) % loader.batch_size], rows])
    return Drawn(rows, changes.of(rows), mixing, cut(beside, loader.part))


def read(loader: Any, step: int, rows: np.ndarray, changes: Changes) -> dict[str, np.ndarray]:
    """The columns of the examples with these numbers in a batch; the images in their final size, uint8."""
    augment = loader.transform
    cuts = augment.cuts(changes)
    columns = loader.fetch(step, rows, cuts)
    images = augment.resized(columns["images"], changes) if cuts is None else np.stack(columns["images"])
    return {**{name: np.asarray(x) for name, x in columns.items() if name != "images"}, "images": images}


def make(loader: Any, step: int) -> dict[str, np.ndarray]:
    """The part of a batch, from its images alone."""
    rows, changes, mixing, beside = draw(loader, step)
    batch = read(loader, step, rows, changes)
    batch["images"] = loader.transform.apply(batch["images"], changes)
    if mixing:
        dense = one_hot(batch["labels"], loader.objective.mixer.classes)
        images, labels = mix(batch["images"], dense, mixing)
        batch |= {"images": images[1:], "labels": labels[1:]}  # without the other part's, which met the wrong image
    return {**batch, **beside}


def cut(batch: dict[str, np.ndarray], part: slice) -> dict[str, np.ndarray]:
    """The part of every array with examples."""
    return {name: x[part] if x.ndim else x for name, x in batch.items()}

"""Dense labels: what objectives that name a class for every pixel have in common.

With z (B, height, width, K) the logits, t the labels and V the pixels whose label is not 255, the loss is

    L = -1/|V| sum over p in V of log softmax(z_p)[t_p].

The mean intersection over union is taken from counts of the whole data set, not averaged over pictures: for every class
k the pixels that answer and label both call k, divided by those that at least one of them calls k, then the mean over
the classes that occur in either.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.data import Dataset
from minivit.data.augment import draw_flips, flip
from minivit.errors import ConfigError, DataError
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Objective, Outputs

IGNORED = 255  # the label of pixels that count nowhere


def labelled(classes: int) -> None:
    """Raises ConfigError for a number of classes that labels of a byte cannot tell apart."""
    if not 2 <= classes <= IGNORED:
        raise ConfigError(f"classes is {classes}, expected 2 to {IGNORED}, since the label {IGNORED} stands for none")


class DenseObjective(Objective):
    """Images to a class for every pixel.

    batch: images (B, height, width, C), mask (B, height, width) labels in 0..K-1 or 255, weight (B,), which makes the
    mean over examples a mean over the labelled pixels of the whole batch. A subclass has `classes`, K, and `logits`.
    Of the random changes to images only the flip is made, to image and labels alike.
    """

    columns = ("images", "mask")
    unheeded = ("crop_padding", "resized_crop", "randaugment", "erasing")
    classes: int
    cell: tuple[int, int]  # pixels for which the encoder has one token, in its finest map

    def prepare(self, columns: Mapping[str, Any], augment: Any, rng: np.random.Generator | None) -> Batch:
        batch = super().prepare(columns, augment.evaluation(), None)
        if rng is None or not augment.flip:
            return batch
        mirrored = draw_flips(size(batch), rng)
        return {**batch, **{name: flip(batch[name], mirrored) for name in ("images", "mask")}}

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        labels = batch["mask"]
        wrong = labels[(labels >= self.classes) & (labels != IGNORED)]
        if wrong.size:
            raise DataError(f"a label is {wrong.max()}, expected 0 to {self.classes - 1}, or {IGNORED} for none")
        counted = max(1, int((labels != IGNORED).sum()))
        return {"weight": np.full(len(labels), labels.size / counted)}

    def logits(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The logits of every labelled pixel: (B, height, width, K)."""
        return outputs[0]

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        logits, labels = self.logits(outputs, batch) + 0.0, batch["mask"]  # + 0.0: what was bfloat16 is float32
        known = labels[..., None] == xp_of(logits.data).arange(self.classes)
        return F.cross_entropy(logits, known * batch["weight"][:, None, None, None])

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        labels, answers = batch["mask"], self.logits(outputs, batch).data.argmax(axis=-1)
        counted = labels != IGNORED
        right = ((answers == labels) & counted).sum(axis=(1, 2))
        found = {"accuracy": (right / counted.sum(axis=(1, 2)).clip(1)).sum()}
        for k in range(0 if self.training else self.classes):
            said, true = (answers == k) & counted, labels == k
            found |= {f"both{k}": (said & true).sum(), f"either{k}": (said | true).sum()}
        return found

    def concluded(self, means: Mapping[str, float]) -> dict[str, float]:
        counts = {name: x for name, x in means.items() if name.startswith(("both", "either"))}
        either = {k: x for k in range(self.classes) if (x := counts[f"either{k}"]) > 0}
        shares = [counts[f"both{k}"] / x for k, x in either.items()]
        return {name: x for name, x in means.items() if name not in counts} | {"iou": sum(shares) / max(1, len(shares))}

    def predict(self, batch: Batch) -> Array:
        """The class of every pixel: (B, height, width)."""
        with no_grad(), self.evaluating():
            return self.logits(self(batch), batch).data.argmax(axis=-1)

    def shown(self, batch: Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
        images, labels = batch["images"], batch.get("mask")
        answers = self.predict({"images": images, "mask": images[..., 0] if labels is None else labels})
        true = {} if labels is None else {"true": labels}
        return {"image": images, **true, "predicted": to_numpy(answers)}


def references(objective: Any, data: Dataset, recipe: Any) -> list[str]:
    """The mean IoU of two answers without a network: the commonest class everywhere, and the true labels at the
    resolution of the objective's tokens, the commonest of each cell in all of its pixels."""
    labels = np.asarray(data.columns(range(len(data)), ("mask",))["mask"])
    counts = np.stack([labels == k for k in range(objective.classes)], axis=-1)
    common = np.full_like(labels, counts.sum(axis=(0, 1, 2)).argmax())
    (rows, columns), (count, height, width) = objective.cell, labels.shape
    tiles = counts[:, : height // rows * rows, : width // columns * columns]
    cells = tiles.reshape(count, height // rows, rows, width // columns, columns, -1).sum(axis=(2, 4)).argmax(axis=-1)
    coarse = cells.repeat(rows, axis=1).repeat(columns, axis=2)
    inside = labels[:, : coarse.shape[1], : coarse.shape[2]]
    return [
        f"one class everywhere: iou {mean_iou(common, labels, objective.classes):.4f}",
        f"true labels in cells of {rows}x{columns}: iou {mean_iou(coarse, inside, objective.classes):.4f}",
    ]


def mean_iou(answers: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Of all pixels together.   answers, labels: of equal shape."""
    counted = labels != IGNORED
    said = [(answers == k) & counted for k in range(classes)]
    pairs = [((one & (labels == k)).sum(), (one | (labels == k)).sum()) for k, one in enumerate(said)]
    return float(np.mean([both / either for both, either in pairs if either]))


HOW = {"references": references}

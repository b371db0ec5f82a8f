"""Noisy Student (Xie et al. 2019, "Self-training with Noisy Student improves ImageNet classification", arXiv
1911.04252): EfficientNets that learn from images without labels.

A teacher learns from labelled images. Then, again and again: it says p = softmax(z / T) about every image without a
label; the images of which it is sure stay; a student, of at least its size, learns from both kinds,

    L = mean over all rows of -sum_k t_k log s(z)_k,   t: the smoothed label, or p, or its largest entry,

and becomes the teacher. The teacher sees every image as it is, without dropout and stochastic depth. The student is
noised by all of them: that it must agree with a teacher who had it easier is what it learns from.

Selection: of the images whose largest p is at least `threshold`, each class gets the `per_class` with the largest. A
class with fewer gets them several times, one with none stays without.

New against ViT: nothing in the network. Labels of hundreds of millions of images cost nothing but a forward pass.

Source: google-research/noisystudent, main.py and filter_unlabel.py; the thresholds are the paper's. Paper: images of a
small class are drawn again at random; code: each is copied as often as needed, by a coin for the fraction; here they
are repeated from the surest on, without chance. The code smooths hard labels of the teacher too, the paper and this
file do not. The paper averages over both kinds of rows together, as here; the code adds two means, weighted by sizes.

B batch, N unlabelled images, K classes.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import to_numpy
from minivit.data import Dataset, eval_batches
from minivit.data.dataset import Images, Indices, as_indices
from minivit.data.images import Cut
from minivit.errors import ConfigError, DataError
from minivit.nn import Module
from minivit.tensor import Tensor, no_grad

PARITY = "selection, loss and gradients of a second implementation of the paper"


@dataclasses.dataclass(frozen=True)
class NoisyStudentConfig:
    """threshold, per_class: see above. soft: whether labels are p, or its largest entry. temperature: T. rounds: of
    teachers. label_smoothing: of true labels. The defaults are the paper's."""

    threshold: float = 0.3
    per_class: int = 130_000
    soft: bool = True
    temperature: float = 1.0
    rounds: int = 3
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        for name in ("threshold", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a share, 0 to 1")
        if self.per_class < 1 or self.rounds < 1 or self.temperature <= 0:
            raise ConfigError("per_class and rounds: expected at least 1; temperature: above 0")


def choose(probabilities: np.ndarray, threshold: float, per_class: int) -> np.ndarray:
    """The chosen images, class by class, the surest first, with repetitions.   probabilities: (N, K)."""
    confidence, label = probabilities.max(axis=1), probabilities.argmax(axis=1)
    surest = np.argsort(-confidence, kind="stable")
    surest = surest[confidence[surest] >= threshold]
    of_classes = [surest[label[surest] == k] for k in range(probabilities.shape[1])]
    return np.concatenate([np.resize(images, per_class if len(images) else 0) for images in of_classes])


def smoothed(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """Targets (B, K) of labels (B,)."""
    return np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes


def hardened(probabilities: np.ndarray) -> np.ndarray:
    """1 for the largest entry of each row, 0 elsewhere."""
    return np.eye(probabilities.shape[1], dtype=probabilities.dtype)[probabilities.argmax(axis=1)]


def says(teacher: Module, data: Dataset, transform: Any, temperature: float = 1.0, batch_size: int = 256) -> np.ndarray:
    """p for every image of `data`: (N, K). The teacher is in evaluation mode, and the images are only normalised.

    transform: `Augment(...).evaluation()` of the teacher's training. Raises DataError if an image cannot be read.
    """
    rows = []
    with no_grad(), teacher.evaluating():
        for images, _ in eval_batches(data, batch_size, transform):
            rows.append(to_numpy(F.softmax(teacher(images) * (1 / temperature)).data))
    if sum(map(len, rows)) != len(data):
        raise DataError(f"{data.name}: {len(data) - sum(map(len, rows))} images cannot be read, so none can be counted")
    return np.concatenate(rows)


class PseudoLabelled(Dataset):
    """Labelled images, then chosen ones without labels; every label is a row of `targets`, (B, K) float32.

    chosen: numbers of images in `unlabelled`, whose own labels are never read; p: targets of all of them, (N, K).
    """

    def __init__(
        self, labelled: Dataset, unlabelled: Dataset, chosen: np.ndarray, p: np.ndarray, smoothing: float = 0.0
    ):
        kinds = len(labelled.classes)
        if p.shape != (len(unlabelled), kinds) or labelled.channels != unlabelled.channels:
            raise DataError(
                f"{unlabelled.name}: {p.shape} predictions do not fit it, or {kinds} classes, or its channels"
            )
        labels = np.concatenate([labelled.labels, p[chosen].argmax(axis=1)])
        super().__init__(labels, labelled.classes, f"{labelled.name} and {len(chosen)} of {unlabelled.name}")
        true = smoothed(labelled.labels, kinds, smoothing)
        self._from(labelled, unlabelled, np.concatenate([np.arange(len(labelled)), len(labelled) + chosen]))
        self.targets = np.concatenate([true, p[chosen]]).astype(np.float32)

    def _from(self, labelled: Dataset, unlabelled: Dataset, rows: np.ndarray) -> None:
        self.labelled, self.unlabelled, self.rows = labelled, unlabelled, rows
        self.channels = labelled.channels
        alike = labelled.image_size == unlabelled.image_size
        self.image_size = labelled.image_size if alike else None

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[Images, np.ndarray]:
        images, targets = self._read(indices, lambda data, row, _: data.fetch([row], min_size)[0])
        return (np.stack(images) if self.image_size and images else images), targets

    def cut(self, indices: Indices, cuts: Sequence[Cut]) -> tuple[Images, np.ndarray]:
        return self._read(indices, lambda data, row, i: data.cut([row], [cuts[i]])[0])

    def _read(self, indices: Indices, read: Callable[[Dataset, int, int], Images]) -> tuple[list, np.ndarray]:
        indices, own = as_indices(indices, self.name), len(self.labelled)
        images, seen = [], []
        for i, index in enumerate(indices):
            row = int(self.rows[index])
            data, row = (self.labelled, row) if row < own else (self.unlabelled, row - own)
            found = read(data, row, i)  # none, if the image was skipped
            images += list(found)
            seen += [index] * len(found)
        return images, self.targets[np.array(seen, np.int64)]

    def subset(self, indices: Indices) -> "PseudoLabelled":
        """A data set of the images with these indices, in this order."""
        indices, part = as_indices(indices, self.name), object.__new__(PseudoLabelled)
        Dataset.__init__(part, self.labels[indices], self.classes, self.name)
        part._from(self.labelled, self.unlabelled, self.rows[indices])
        part.targets = self.targets[indices]
        return part


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over all rows, labelled and not.   logits, targets: (B, K)."""
    return -(targets * F.log_softmax(logits)).sum(axis=-1).mean()


def students(
    config: NoisyStudentConfig,
    teacher: Module,
    labelled: Dataset,
    unlabelled: Dataset,
    transform: Any,
    train: Callable[[Dataset, int], Module],
) -> Iterator[Module]:
    """The student of every round.

    train: makes a student and trains it, with noise and by cross-entropy without label smoothing, on a data set whose
    labels are (B, K); its second argument is the round, from 0. transform: as of `says`. Raises DataError if the
    teacher is sure of no image.
    """
    for number in range(config.rounds):
        p = says(teacher, unlabelled, transform, config.temperature)
        chosen = choose(p, config.threshold, config.per_class)
        if not len(chosen):
            raise DataError(f"{unlabelled.name}: the teacher is sure of no image; lower the threshold")
        data = PseudoLabelled(labelled, unlabelled, chosen, p if config.soft else hardened(p), config.label_smoothing)
        teacher = train(data, number)
        yield teacher

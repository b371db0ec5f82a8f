"""Three training set-ups with one fault each, and a sound one: exercise 13.5 asks for the faults.

Find them by experiment. This file makes the faults, so it gives the answers away.
"""

import dataclasses
from typing import Any, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import Dataset
from minivit.lessons.exercise import Unanswered
from minivit.models import ViT, ViTConfig
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class SetUp:
    """The parts of a training run: a new model, the images with their labels, and the learning rate."""

    model: ViT
    train: Dataset
    lr: float


def set_up(name: str, config: ViTConfig, train: Dataset, lr: float) -> SetUp:
    """A new set-up, untrained: "sound", or one of "A", "B" and "C", which have a fault.

    config: a ViT with a [class] token and learned positions.   Raises ValueError for another name.
    """
    if name == "A":
        return SetUp(_First(config), train, lr)
    if name == "B":
        return SetUp(_Second(dataclasses.replace(config, dropout=0.3)), train, lr)
    if name == "C":
        mixed_up = train.subset(np.arange(len(train)))
        mixed_up.labels = np.random.default_rng(0).permutation(train.labels)
        return SetUp(ViT(config), mixed_up, lr)
    if name != "sound":
        raise ValueError(f'there is no set-up "{name}": choose sound, A, B or C')
    return SetUp(ViT(config), train, lr)


class _First(ViT):
    """The patch embedding gets no gradient: what it returns is cut off from the graph."""

    class_token: Tensor

    def embed(self, images: Tensor) -> Tensor:
        patches = Tensor(self.patch_embed(images).data)
        batch, _, width = patches.shape
        return F.concat(F.broadcast_to(self.class_token, (batch, 1, width)), patches, axis=1) + self.position_embedding


class _Second(ViT):
    """Dropout stays on in evaluation."""

    def eval(self) -> Self:
        return self.train()

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        noise = vars(self).setdefault("_noise", np.random.default_rng(0))
        return super().forward(images, tap, noise if rng is None else rng)


FAULTS = {"A": "patches", "B": "dropout", "C": "labels"}
AGAINST = {  # a fault -> what one would see of it
    "patches": "Then the patch embedding would have no gradient. Which parameters have none here?",
    "positions": "Then the position embedding would have no gradient. Which parameters have none here?",
    "labels": "Then it would classify new images no better than guessing. Look at the test accuracy.",
    "rate": "Then it could not learn one batch by heart. Look at that loss.",
    "dropout": "Then two measurements of the same accuracy would differ. Look at the two columns.",
    "head": "Then the loss would not begin at log K. Look at the first column.",
}


def judge(answer: Any) -> str | None:
    """The error in a diagnosis, {"A": fault, "B": fault, "C": fault}; None if it is right. Raises Unanswered."""
    if not isinstance(answer, dict) or set(answer) != set(FAULTS):
        return 'Give a dictionary with a fault for each of "A", "B" and "C".'
    if all(fault is None or fault is ... for fault in answer.values()):
        raise Unanswered
    options = ", ".join(map(repr, AGAINST))
    for name, fault in answer.items():
        said = fault.strip().lower() if isinstance(fault, str) else fault
        if said is None or said is ...:
            return f"{name} has no diagnosis yet."
        if not isinstance(said, str) or said not in AGAINST:
            return f"{name}: choose one of {options}; this is {fault!r}."
        if said != FAULTS[name]:
            return f"{name} has another fault. {AGAINST[said]}"
    return None

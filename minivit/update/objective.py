"""The objective of a run: the contract between the training loop and a system.

A batch is drawn once, on the host, and cut into pieces. Each piece goes through `forward`, `loss` and `sums` in one
worker thread. Then the gradients are added up, the optimiser updates the parameters, and `after_update` follows.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data.mixing import Mixer, one_hot
from minivit.nn import Module
from minivit.nn.layers import Rng
from minivit.tensor import Tensor
from minivit.update.batch import Batch

Outputs = tuple[Tensor, ...]


class Objective(Module):
    """A Module that owns all networks of a run and defines their training.

    Tensors that require a gradient learn. Every other Tensor, such as a teacher or a centre, is state: it is saved with
    the rest, and only `after_update` changes it. A subclass defines `forward` and `loss`, and the other methods as
    needed.
    """

    compares: ClassVar[bool] = False  # whether the loss of an example depends on the others of the batch
    columns: ClassVar[tuple[str, ...]] = ("images", "labels")  # of the data set
    clips_each: ClassVar[bool] = False  # whether each gradient is clipped by its own norm, instead of all by theirs
    unheeded: ClassVar[tuple[str, ...]] = ()  # fields of Recipe that change images, but not those of this class
    has_features: ClassVar[bool] = True  # whether `features` gives any
    mixer: Mixer | None = None  # of training images and their labels

    def begin(self, data: Any, transform: Any, seed: int) -> None:
        """Look at the training data once, before the first step, and set state by it, such as a vocabulary.

        data: a Dataset; transform: an `Augment` without chance. A run that is resumed loads the state afterwards.
        """

    def prepare(self, columns: Mapping[str, Any], augment: Any, rng: np.random.Generator | None) -> Batch:
        """The data of a batch: the columns of some examples, their images changed at random and mixed.

        augment: an `Augment`; rng: None in evaluation, where nothing is random. Runs in the loader's threads.
        """
        batch = {name: np.asarray(x) for name, x in columns.items() if name != "images"}
        batch = {"images": augment(columns["images"], rng), **batch}
        return self.mixer(batch, rng) if self.mixer and rng is not None else batch

    @property
    def prepares_plainly(self) -> bool:
        """Whether a GPU may replace `prepare` by its own method."""
        return type(self).prepare is Objective.prepare

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The parts of a batch beside the data: masks, noise, a schedule's value at this step (an array without axes).

        Runs in the loader's threads and depends on its arguments alone, so there is no state to keep. Also used in
        evaluation. batch: on the host, perhaps without images, which may already be on a GPU.
        """
        return {}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        """The networks' outputs for a batch or a piece of it: Tensors with the examples first. rng: for dropout."""
        raise NotImplementedError

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The mean over the examples, a scalar: of a piece, or of the whole batch if the loss `compares`.

        A mean over something else, such as masked tokens, is a mean over examples with weights from `draw`.
        """
        raise NotImplementedError

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Other numbers about a batch, such as right answers: arrays, summed over the examples."""
        return {}

    def concluded(self, means: Mapping[str, float]) -> dict[str, float]:
        """The numbers of an evaluation, from the loss and `sums` per example of the whole data set: here the same."""
        return dict(means)

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        """Change the state, in place, once the parameters have been updated.

        means: `sums` over the whole batch, divided by the number of its examples.
        """

    def optimizer_options(self, total_steps: int) -> dict[str, Any]:
        """Further options for the optimiser beside the recipe, such as `rates` or `decay`, see `minivit.optim`."""
        return {}

    def pictures(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Images that the objective makes, (B, height, width, C) normalised as in training, equally many under each
        name: a row of samples.png, which every evaluation draws anew. `rng` is the same every time."""
        return {}

    def shown(self, batch: Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What the objective makes of examples, for `minivit.visualize`: rows as of `pictures`, or maps (B, height,
        width) of classes as integers, or of masks as booleans.   batch: from `prepare`, or of images alone."""
        return self.pictures(rng)

    def clicked(self, images: Array, points: Array) -> tuple[np.ndarray, np.ndarray] | None:
        """Masks (B, P, M, h, w), booleans, of what is at points (B, P, 2) as (x, y) in pixels, and how good each may be
        (B, P, M), the best first. None if clicks mean nothing to the objective."""
        return None

    @property
    def encoder(self) -> Module:
        """The network to be trained, from which a later run can start."""
        raise NotImplementedError

    @property
    def learner(self) -> Module:
        """The trainable network of the encoder's shape: the encoder, unless it only follows another."""
        return self.encoder

    def features(self, images: Array) -> Tensor:
        """The encoder's output before any head: (B, D). Its nearest neighbours measure the quality of the features.

        A class whose encoder is not from `minivit.models` overrides it or sets `has_features = False`.
        """
        tap: dict[str, Any] = {}
        self.encoder(images, tap=tap)
        return tap["features"]

    @property
    def tokens(self) -> int:
        """The cost of one example, in tokens of the encoder's width, by which a batch is cut."""
        return self.encoder.config.num_tokens  # type: ignore[attr-defined]


class Classification(Objective):
    """Images to classes, as in the paper.   batch: images (B, height, width, C), labels (B,) or dense (B, K).

    kind: "softmax" or "sigmoid" cross-entropy. mixup, cutmix: alpha of their Beta distributions, 0 for none.
    classes: K, by default of the model's config; mixing needs it.
    """

    def __init__(
        self,
        model: Module,
        kind: str = "softmax",
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        classes: int | None = None,
    ):
        self.model, self.kind, self.label_smoothing = model, kind, label_smoothing
        if mixup or cutmix:
            self.mixer = Mixer(mixup, cutmix, classes or model.config.num_classes)  # type: ignore[attr-defined]

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return (self.model(batch["images"], rng=rng),)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        (logits,), labels = outputs, batch["labels"]
        if self.kind == "softmax":
            return F.cross_entropy(logits, labels, self.label_smoothing if self.training else 0.0)
        dense = one_hot(labels, logits.shape[-1]) if labels.ndim == 1 else labels  # the op would look at the numbers
        return F.sigmoid_cross_entropy(logits + 0.0, dense)  # + 0.0: what was bfloat16 is float32

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        labels = batch["labels"] if batch["labels"].ndim == 1 else batch["labels"].argmax(axis=-1)
        return {"accuracy": (outputs[0].data.argmax(axis=-1) == labels).sum()}

    @property
    def encoder(self) -> Module:
        return self.model

"""What systems that match images with texts share: CLIP and SigLIP most, BLIP-2 its checks and numbers.

B pairs in a batch, T tokens of a text, E width of the shared space.
"""

import dataclasses
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.data import Scenes
from minivit.data.scenes_words import about_one
from minivit.errors import ConfigError
from minivit.models import ViT, ViTConfig
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch
from minivit.update.objective import Objective, Outputs


class Matching(Objective):
    """Matches images with their texts. A subclass has `config`, `image_tower` and `log_scale`, and defines `image`,
    `text`, `similarity` and `loss`.

    batch: images (B, height, width, C); caption (B, T), token ids; sentence (B,), a number shared by pairs with equal
    captions. Such pairs still count as wrong answers to each other.
    """

    compares = True
    columns = ("images", "caption")
    config: Any
    image_tower: ViT
    log_scale: Tensor

    @property
    def encoder(self) -> ViT:
        return self.image_tower

    @property
    def tokens(self) -> int:
        shape, text = self.image_tower.config, self.config
        return shape.num_tokens + text.context * text.width * text.depth // (shape.width * shape.depth)

    def image(self, images: Array | Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, height, width, C) -> (B, E), of length 1."""
        raise NotImplementedError

    def text(self, ids: Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, T) -> (B, E), of length 1."""
        raise NotImplementedError

    def similarity(self, outputs: Outputs) -> Tensor:
        """S (B, B): a row for each image, a column for each text."""
        raise NotImplementedError

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        ids = batch["caption"]
        check_captions(ids, type(self).__name__, self.config.vocabulary, context=self.config.context)
        return {"sentence": np.unique(ids, axis=0, return_inverse=True)[1].reshape(-1)}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return self.image(batch["images"], rng), self.text(batch["caption"], rng)

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        return retrieval(self.similarity(outputs).data, batch["sentence"])


def retrieval(similar: Array, sentence: Array) -> dict[str, Array]:
    """retrieval: the images that find their own sentence among those of the batch; repeated: the pairs whose sentence
    another pair has as well.   similar: (B, B), a row for each image; sentence: (B,), equal for equal captions."""
    times = (sentence[:, None] == sentence).sum(axis=1)
    return {"retrieval": (sentence[similar.argmax(axis=1)] == sentence).sum(), "repeated": (times > 1).sum()}


def check_captions(ids: np.ndarray, system: str, vocabulary: int, **longest: int) -> None:
    """Raise ConfigError for token ids (B, T) that the system does not know, or too many.   longest: the most of a text,
    by the name of the field that says so."""
    ((name, most),) = longest.items()
    if ids.shape[1] > most or ids.min() < 0 or ids.max() >= vocabulary:
        raise ConfigError(
            f"captions have {ids.shape[1]} ids from {ids.min()} to {ids.max()}, but {system} was made for at most "
            f"{most} ({name}), below {vocabulary} (vocabulary)"
        )


def check_plain(model: Any, system: str, *further: str) -> None:
    """Raise ConfigError for a model that the system cannot use, or with options that it would ignore.
    further: options that it heeds beside those of a plain ViT."""
    if not isinstance(model, ViTConfig):
        raise ConfigError(f"{system} needs a ViT here: give a --model such as Ti/16")
    heeded = "image_size patch_size width depth heads mlp_width channels dropout attention_dropout drop_path"
    elsewhere = "gelu norm_eps num_classes head_bias"  # said by the system's own configuration, or of a head
    for field in dataclasses.fields(ViTConfig):
        known = field.name in (*heeded.split(), *elsewhere.split(), *further)
        if not known and getattr(model, field.name) != field.default:
            raise ConfigError(f"{system} has no {field.name}: leave it out")


def direction(x: Tensor) -> Tensor:
    """x / |x|.   (..., E) -> (..., E)."""
    return x / F.sqrt((x * x).sum(axis=-1, keepdims=True))


def share_found(objective: Matching, pairs: Batch, known: np.ndarray) -> float:
    """The share of images whose own caption is the nearest of the known ones (K, T)."""
    images, on_device = pairs["images"], xp_of(objective.log_scale.data).asarray
    with objective.evaluating(), no_grad():
        texts = objective.text(on_device(known)).T
        near = [(objective.image(images[i : i + 250]) @ texts).data.argmax(axis=1) for i in range(0, len(images), 250)]
    return float((known[np.concatenate([to_numpy(x) for x in near])] == pairs["caption"]).all(axis=1).mean())


def zero_shot(objective: Matching, data: Scenes, recipe: Any) -> list[str]:
    """The share of images that find their sentence among those of the data set and, for captions of one drawn shape,
    among all 80."""
    pairs = objective.prepare(data.columns(range(len(data)), objective.columns), recipe.augment.evaluation(), None)
    own, every = np.unique(pairs["caption"], axis=0), about_one()
    about_others = len(np.unique(np.concatenate([own, every]), axis=0)) > len(every)
    return [
        f"zero-shot: {share_found(objective, pairs, known):.1%} of {len(data):,} images find their sentence among "
        f"{len(known)} (by chance {1 / len(known):.1%})"
        for known in ([own] if about_others else [own, every])
    ]

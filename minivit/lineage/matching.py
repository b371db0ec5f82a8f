"""What systems that match images with texts share: CLIP and SigLIP most, BLIP-2 its checks and numbers.

B pairs in a batch, T tokens of a text, E width of the shared space.
"""

import dataclasses
from typing import Any, Self

import numpy as np

from minivit.backend import Array, to_numpy, xp_of
from minivit.data import Scenes
from minivit.data.scenes_words import about_one
from minivit.errors import ConfigError
from minivit.models import ViT, ViTConfig
from minivit.nn import MLP, Embedding, EncoderBlock, LayerNorm, Module, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch
from minivit.update.objective import Objective, Outputs


class TextTower(Module):
    """Token ids -> a row for each token.   (B, T) -> (B, T, W).

    deviations: of words and of positions, at first. rng: of these; of_blocks: of the blocks, None draws nothing.
    """

    def __init__(
        self,
        config: Any,
        attention: type[MultiHeadAttention],
        deviations: tuple[float, float],
        rng: init.Rng,
        of_blocks: init.Rng,
        dtype: str,
    ):
        width, eps = config.width, config.norm_eps
        self.words = Embedding(config.vocabulary, width, rng, dtype, std=deviations[0])
        self.positions = init.parameter(init.normal(rng, (config.context, width), deviations[1]), dtype)
        self.blocks = [
            EncoderBlock(
                attention(width, config.heads, of_blocks, dtype),
                MLP(width, config.mlp_width, of_blocks, dtype, gelu=config.gelu),
                width,
                dtype,
                norm_eps=eps,
            )
            for _ in range(config.depth)
        ]
        self.norm = LayerNorm(width, eps, dtype)

    def forward(self, ids: Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        x = self.words(ids) + self.positions[: ids.shape[1]]
        found: dict[str, Any] = {"embedded": x}
        for i, block in enumerate(self.blocks):
            x = found[f"block{i}/output"] = block(x, rng)
        found["encoded"] = self.norm(x)
        if tap is not None:
            tap.update(found)
        return found["encoded"]


class Tower(ViT):
    """CLIP's image tower, also of LLaVA: a LayerNorm before the blocks, and no bias in the patch projection."""

    def __init__(self, config: ViTConfig, gelu: str, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, seed, dtype)
        self.patch_embed.projection.bias = None
        self.before = LayerNorm(config.width, config.norm_eps, dtype)
        for block in self.blocks:
            block.mlp.gelu = gelu  # type: ignore[attr-defined]

    def embed(self, images: Tensor) -> Tensor:
        return self.before(ViT.embed(self, images))


class Matching(Objective):
    """Matches images with their texts. A subclass has `config`, `image_tower`, which can `take` the weights of a ViT,
    and `log_scale`, and defines `image`, `text`, `similarity` and `loss`.

    batch: images (B, height, width, C); caption (B, T), token ids; sentence (B,), a number shared by pairs with equal
    captions. Such pairs still count as wrong answers to each other.
    """

    compares = True
    columns = ("images", "caption")
    config: Any
    image_tower: Any
    log_scale: Tensor

    @classmethod
    def build(cls, config: Any, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        objective = cls(config, given.model, given.seed, given.dtype)  # type: ignore[call-arg]
        if given.start:
            objective.image_tower.take(given.start)
        return objective

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


def check_fields(config: Any, system: str, counts: str, *further: tuple[str, bool, str]) -> None:
    """Raise ConfigError for fields that do not fit.   counts: fields of 1 or more; further: a field, whether it fits,
    and what is expected."""
    for name, fits, expected in (
        *((name, getattr(config, name) >= 1, "at least 1") for name in counts.split()),
        ("heads", config.heads >= 1 and config.width % config.heads == 0, f"a divisor of width {config.width}"),
        ("gelu", config.gelu in ("quick", "erf", "tanh"), "quick, erf or tanh"),
        ("norm_eps", 0 < config.norm_eps < 1, "a number above 0 and below 1"),
        *further,
    ):
        if not fits:
            raise ConfigError(f"{name} of {system} is {getattr(config, name)}, expected {expected}")


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

"""Flamingo: a frozen language model that looks at images between its layers (Alayrac et al. 2022, "Flamingo: a Visual
Language Model for Few-Shot Learning", arXiv 2204.14198).

New against ViT: its patches are read by a language model (`llama`) that stays as it is. A resampler makes R vectors of
an image, whatever its size: R learned latents ask the features f and each other,

    l = l + attend(LN(l); [LN(f); LN(l)]),   l = l + FFW(LN(l)),   after the last layer LN(l).

Before every n-th layer of the language model stands a gated block. Tokens x ask the latents of their image,

    x = x + tanh(a) attend(LN(x); l),   x = x + tanh(b) FFW(LN(x)),

with a = b = 0 at first: then the language model says what it said before. The image of a token is the last one that
its text names before it, number cumsum(token is <image>). Before the first one, attention adds 0.

Source: the paper, without code, and mlfoundations/open_flamingo, helpers.py and flamingo_lm.py. There the FFW has a
GELU, in the paper a squared ReLU (`activation`). With `all_media`, a token sees its image and all earlier ones; the
published code then lets a token before the first image read the mean of the values of *all* images, later ones as well,
and so does this one. The data here have one image for each text.

B batch, T images of a text, F frames, v tokens of a frame, C width of the encoder, R latents, N tokens of the text,
W width of the language model, V words.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.data import Dataset, Scenes
from minivit.data.scenes_words import CAPTION, WORDS
from minivit.errors import ConfigError
from minivit.files.checks import at_least, one_of, positive
from minivit.lineage import llama
from minivit.lineage.answers import COLUMNS, controls, texts
from minivit.lineage.llama import Llama, LlamaConfig
from minivit.lineage.reading import NORM_EPS, FeedForward, Reading
from minivit.models import ViT, ViTConfig
from minivit.nn import LayerNorm, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Objective, Outputs

PARITY = "resampled features, gated blocks, logits, loss and gradients of the open reference, with both masks"
PRESETS: dict[str, dict[str, Any]] = {
    "scenes-flamingo": {
        "data": "scenes",
        "objective": {
            "name": "flamingo", "learn": "all", "vocabulary": len(WORDS) + 1, "image": len(WORDS), "width": 64,
            "mlp_width": 128, "depth": 2, "heads": 4, "kv_heads": 2, "deviation": 0.1, "latents": 8,
            "resampler_depth": 1, "resampler_heads": 2, "resampler_features": 32, "cross_heads": 2,
            "cross_features": 32, "gate": 0.5,
        },
        "model": {"patch_size": 8, "width": 64, "depth": 3, "heads": 2, "mlp_width": 128},
        "batch_size": 64,
        "steps": 2000,
        "lr": 2e-3,
        "beta2": 0.98,
        "crop_padding": 2,
        "eval_every": 500,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FlamingoConfig(LlamaConfig):
    """image: the id of <image>. latents: R. resampler_depth; resampler_heads and their resampler_features each,
    resampler_ratio of FFWs; the same with cross_ for gated blocks. frames, media: how many frames and images have a
    vector of their own, 0 for none. every: n. all_media: whether earlier images are seen, too. activation: "gelu" or
    "squared_relu". gate: a and b at first. learn: "bridge", resampler and gated blocks, or "all". text: "question" or
    "caption". The other defaults are those of open_flamingo."""

    image: int = 31_999
    latents: int = 64
    resampler_depth: int = 6
    resampler_heads: int = 8
    resampler_features: int = 64
    resampler_ratio: float = 4.0
    cross_heads: int = 8
    cross_features: int = 64
    cross_ratio: float = 4.0
    frames: int = 0
    media: int = 0
    every: int = 1
    all_media: bool = False
    activation: str = "gelu"
    gate: float = 0.0
    learn: str = "bridge"
    text: str = "question"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "latents", "resampler_heads", "resampler_features", "cross_heads", "cross_features", "every")
        positive(self, "resampler_ratio", "cross_ratio")
        at_least(self, 0, "resampler_depth", "frames", "media")
        one_of(self, activation=("gelu", "squared_relu"), learn=("bridge", "all"), text=("question", "caption"))
        if not 0 <= self.image < self.vocabulary:
            raise ConfigError(f"image is {self.image}, expected 0 to {self.vocabulary - 1}")
        if self.every > self.depth:
            raise ConfigError(f"every is {self.every}, but the language model has {self.depth} layers")


class ResamplerLayer(Module):
    """Latents (B T, R, C), features (B T, F v, C) -> latents."""

    def __init__(self, width: int, config: FlamingoConfig, dtype: str):
        self.media_norm = LayerNorm(width, NORM_EPS, dtype)
        self.norm = LayerNorm(width, NORM_EPS, dtype)
        self.attention = Reading(width, width, config.resampler_heads, config.resampler_features, dtype)
        self.mlp = FeedForward(width, config.resampler_ratio, config.activation, dtype)

    def forward(self, latents: Tensor, features: Tensor) -> Tensor:
        asking = self.norm(latents)
        latents = latents + self.attention(asking, F.concat(self.media_norm(features), asking, axis=1))
        return latents + self.mlp(latents)


class Resampler(Module):
    """Features (B, T, F, v, C) -> (B, T, R, C)."""

    def __init__(self, width: int, config: FlamingoConfig, dtype: str):
        self.latents = init.parameter(init.constant(0, (config.latents, width)), dtype)
        self.frames: Any = init.parameter(init.constant(0, (config.frames, width)), dtype) if config.frames else None
        self.media: Any = init.parameter(init.constant(0, (config.media, width)), dtype) if config.media else None
        self.layers = [ResamplerLayer(width, config, dtype) for _ in range(config.resampler_depth)]
        self.norm = LayerNorm(width, NORM_EPS, dtype)

    def forward(self, features: Tensor) -> Tensor:
        """Raises ValueError for more frames or images than have a vector."""
        batch, media, frames, _, width = features.shape
        for table, there, name in ((self.frames, frames, "frames"), (self.media, media, "images")):
            if table is not None and there > len(table):
                raise ValueError(f"Flamingo: {there} {name}, but only {len(table)} have a vector")
        if self.frames is not None:
            features = features + self.frames[:frames].reshape(frames, 1, width)
        if self.media is not None:
            features = features + self.media[:media].reshape(media, 1, 1, width)
        features = features.reshape(batch * media, -1, width)
        latents = F.broadcast_to(self.latents, (batch * media, *self.latents.shape))
        for layer in self.layers:
            latents = layer(latents, features)
        return self.norm(latents).reshape(batch, media, -1, width)


class GatedBlock(Module):
    """Tokens x (B, N, W), latents (B, T R, C) -> (B, N, W)."""

    def __init__(self, config: FlamingoConfig, context_width: int, dtype: str):
        self.norm = LayerNorm(config.width, NORM_EPS, dtype)
        self.attention = Reading(config.width, context_width, config.cross_heads, config.cross_features, dtype)
        self.gate = init.parameter(init.constant(config.gate, (1,)), dtype)
        self.mlp = FeedForward(config.width, config.cross_ratio, config.activation, dtype)
        self.mlp_gate = init.parameter(init.constant(config.gate, (1,)), dtype)

    def forward(self, x: Tensor, latents: Tensor, mask: Array, evenly: Array, tap: Tap = None) -> Tensor:
        """mask, evenly: as of `Reading`. tap: "attention" and "output" (B, N, W)."""
        y = self.attention(self.norm(x), latents, mask, evenly)
        x = x + F.tanh(self.gate) * y
        x = x + F.tanh(self.mlp_gate) * self.mlp(x)
        if tap is not None:
            tap.update(attention=y, output=x)
        return x


class SeeingLlama(Module):
    """Features (B, T, F, v, C), ids (B, N) -> logits (B, N, V). seed=None draws nothing."""

    def __init__(self, config: FlamingoConfig, context_width: int, seed: int | None = 0, dtype: str = "float32"):
        self.config = config
        self.language = Llama(config, seed, dtype)
        self.resampler = Resampler(context_width, config, dtype)
        self.gated = [GatedBlock(config, context_width, dtype) for _ in range(config.depth // config.every)]
        if seed is not None:
            rng = np.random.default_rng((seed, 6))
            for part in (self.resampler, *self.gated):
                llama.draw(part, rng, config.deviation)

    def forward(self, features: Tensor, ids: Array, seen: Array | None = None, tap: Tap = None) -> Tensor:
        """seen: (B, N), 0 for padding. tap: "resampled" (B, T, R, C), "gated1/attention", "gated1/output" and so on for
        the block before layer 1, and as of `Llama`."""
        resampled = self.resampler(features)
        mask, evenly = self.sight(ids, *resampled.shape[1:3])
        latents = resampled.reshape(len(ids), -1, resampled.shape[-1])

        def before(i: int, x: Tensor) -> Tensor:
            number, rest = divmod(i + 1, self.config.every)
            if rest:
                return x
            inner: Tap = None if tap is None else {}
            x = self.gated[number - 1](x, latents, mask, evenly, inner)
            if tap is not None:
                tap.update({f"gated{i}/{name}": value for name, value in (inner or {}).items()})
            return x

        if tap is not None:
            tap["resampled"] = resampled
        return self.language(self.language.words(ids), seen, tap, before)

    def sight(self, ids: Array, media: int, latents: int) -> tuple[Array, Array]:
        """What a token sees of the latents of T images, (B, N, T R), and which tokens read the mean of all, (B, N)."""
        xp = xp_of(ids)
        number = xp.cumsum(ids == self.config.image, axis=1)[:, :, None]
        images = xp.arange(1, media + 1)
        there = number >= images if self.config.all_media else number == images
        evenly = ~there.any(axis=2) & (self.config.all_media | (number[:, :, 0] > 0))
        return xp.repeat(there, latents, axis=2), evenly


class Flamingo(Objective):
    """batch: images (B, height, width, C), one for each text; ids, labels, seen (B, N) and weight (B, N - 1), which
    `draw` makes of the data's questions or captions, see `answers.texts`."""

    Config: ClassVar[type] = FlamingoConfig
    columns = COLUMNS

    def __init__(self, config: FlamingoConfig, vision: ViT, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(vision, ViT):
            raise ConfigError("Flamingo needs a ViT here: give a --model such as Ti/16")
        self.config, self.vision = config, vision
        self.reader = SeeingLlama(config, vision.config.width, seed, dtype)
        if config.learn == "bridge":
            vision.freeze()
            self.reader.language.freeze()

    @classmethod
    def build(cls, config: FlamingoConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> ViT:
        return self.vision

    @property
    def tokens(self) -> int:
        shape, own = self.vision.config, self.config
        words = CAPTION * own.width * own.depth + own.latents * shape.width * own.resampler_depth
        return shape.num_tokens + words // (shape.width * shape.depth)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return texts(batch, self.config.text, self.config.vocabulary, self.config.image, 1)

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        """Logits (B, N, V)."""
        return (self.read(self.project(batch["images"], rng), batch["ids"], batch["seen"]),)

    def read(self, features: Tensor, ids: Array, seen: Array | None = None) -> Tensor:
        """Logits (B, N, V) of texts (B, N) with the features (B, T, F, v, C) of their images."""
        return self.reader(features, ids, seen)

    def project(self, images: Tensor | Array, rng: Rng = None) -> Tensor:
        """One image of one frame for each text: (B, height, width, C) -> (B, 1, 1, v, C), without [class]."""
        vision = self.vision
        x = vision.encode(vision.dropout(vision.embed(self.tensor(images)), rng), rng)
        before = vision.config.num_prefix_tokens
        x = x[:, before:] if before else x
        return x.reshape(len(x), 1, 1, *x.shape[1:])

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        return llama.next_token_loss(outputs[0], batch["labels"], batch["weight"])

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """word_accuracy: the share of the predicted words that are the most probable ones."""
        return {"word_accuracy": llama.right(outputs[0], batch["labels"], batch["weight"])}


HOW = {"controls": controls}


def tiny(dtype: str = "float32") -> tuple[Flamingo, Dataset]:
    """The objective in small and 16 scenes, for tests."""
    shape = ViTConfig(image_size=16, patch_size=8, width=8, depth=1, heads=2, mlp_width=12, num_classes=0, dropout=0.1)
    own = FlamingoConfig(
        vocabulary=len(WORDS) + 1, image=len(WORDS), width=8, mlp_width=12, depth=2, heads=2, kv_heads=1, latents=3,
        resampler_depth=1, resampler_heads=2, resampler_features=4, cross_heads=2, cross_features=4, every=2, frames=1,
        resampler_ratio=1.0, cross_ratio=1.0,
        gate=0.5, deviation=0.2, learn="all", text="caption",
    )  # fmt: skip
    return Flamingo(own, ViT(shape, 0, dtype), 0, dtype), Scenes(16, 0, 16, shapes=(1, 3))

"""LLaVA: image tokens as the first words of a language model (Liu et al. 2023, "Visual Instruction Tuning",
arXiv 2304.08485; version 1.5: "Improved Baselines with Visual Instruction Tuning", arXiv 2310.03744).

New against ViT: its patches are read by a language model. The tokens after a layer of a frozen encoder, by default the
last but one, are projected to the width of the words, W_2 gelu(W_1 h + b_1) + b_2. They take the places of <image> in
the text, and the decoder (`llama`) reads them as words:

    L = mean over the words of answers of -log p(word | image tokens, the words before it)

The words of the question are read, but not predicted. The encoder never learns. In stage 1 only the projector learns,
in stage 2 the language model, too (`learn`).

Source: haotian-liu/LLaVA, llava_arch.py; transformers, modeling_llava.py. The mean over words is one over the whole
batch, so the pieces of a batch are weighted by their words. LLaVA has one dense layer as its projector
(`projector=1`), 1.5 has two. The [class] token is dropped, and the encoder's last LayerNorm is not used.

B batch, N tokens of the text with its <image>s, I images, P tokens of an image, C width of the encoder, W of the words.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.data import Dataset, Scenes
from minivit.data.scenes_words import CAPTION, WORDS
from minivit.errors import ConfigError
from minivit.files.checks import at_least, one_of
from minivit.lineage import llama
from minivit.lineage.answers import COLUMNS, controls, texts
from minivit.lineage.llama import Llama, LlamaConfig
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, Module
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Objective, Outputs

PARITY = "image features, projection, logits, loss and gradients of the published code, and its greedy words"
PRESETS: dict[str, dict[str, Any]] = {
    "scenes-llava": {
        "data": "scenes",
        "objective": {
            "name": "llava", "learn": "all", "layer": -1, "vocabulary": len(WORDS) + 1, "image": len(WORDS),
            "width": 64, "mlp_width": 128, "depth": 2, "heads": 4, "kv_heads": 2, "deviation": 0.1,
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
class LLaVAConfig(LlamaConfig):
    """image: the id of <image>. layer: after which layer of the encoder its tokens are read; -1: the last, -2: the one
    before. keep_class: whether the [class] token is an image token, too. projector: its dense layers, 1 or 2. learn:
    "projector" (stage 1), "language" (stage 2) or "all", with the encoder. text: "question" or "caption", what is
    answered or said about an image. The defaults are those of version 1.5 with 7 billion parameters."""

    image: int = 31_999
    layer: int = -2
    keep_class: bool = False
    projector: int = 2
    learn: str = "language"
    text: str = "question"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "projector")
        one_of(self, learn=("projector", "language", "all"), text=("question", "caption"))
        if self.projector > 2:
            raise ConfigError(f"projector is {self.projector}, expected 1 or 2 dense layers")
        if not 0 <= self.image < self.vocabulary:
            raise ConfigError(f"image is {self.image}, expected 0 to {self.vocabulary - 1}")


class Projector(Module):
    """Tokens of the encoder -> tokens of the language model.   (..., C) -> (..., W)."""

    def __init__(self, fan_in: int, width: int, layers: int, dtype: str):
        self.hidden = Linear(fan_in, width, None, dtype)
        self.out: Any = Linear(width, width, None, dtype) if layers == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x)
        return x if self.out is None else self.out(F.gelu(x, "erf"))


class LLaVA(Objective):
    """batch: images (I, height, width, C), in the order of their <image>s; ids (B, N), with an <image> for each of the
    P tokens of an image; labels (B, N), IGNORED where nothing is to be predicted; seen (B, N), 0 for padding; weight
    (B, N - 1), from `llama.shares`. `draw` makes them of the data's questions or captions, with one image each."""

    Config: ClassVar[type] = LLaVAConfig
    columns = COLUMNS

    def __init__(self, config: LLaVAConfig, vision: ViT, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(vision, ViT):
            raise ConfigError("LLaVA needs a ViT here: give a --model such as Ti/16")
        depth = vision.config.depth
        if not -depth - 1 <= config.layer <= depth:
            raise ConfigError(f"layer is {config.layer}, but the encoder has {depth} layers")
        if config.keep_class and not vision.config.num_prefix_tokens:
            raise ConfigError("keep_class is true, but the encoder has no [class] token")
        self.config, self.vision = config, vision
        self.projector = Projector(vision.config.width, config.width, config.projector, dtype)
        self.language = Llama(config, seed, dtype)
        if seed is not None:
            llama.draw(self.projector, np.random.default_rng((seed, 5)), config.deviation)
        if config.learn != "all":
            vision.freeze()
        if config.learn == "projector":
            self.language.freeze()

    @classmethod
    def build(cls, config: LLaVAConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> ViT:
        return self.vision

    @property
    def image_tokens(self) -> int:
        """P."""
        shape = self.vision.config
        return shape.num_tokens - (0 if self.config.keep_class else shape.num_prefix_tokens)

    @property
    def tokens(self) -> int:
        shape, own = self.vision.config, self.config
        words = (self.image_tokens + CAPTION) * own.width * own.depth
        return shape.num_tokens + words // (shape.width * shape.depth)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        own = self.config
        return texts(batch, own.text, own.vocabulary, own.image, self.image_tokens)

    def forward(self, batch: Batch, rng: Rng = None, tap: Tap = None) -> Outputs:
        """Logits (B, N, V).   tap: "features" (I, P or P + 1, C), "projected" (I, P, W), and as of `Llama`."""
        return (self.read(self.project(batch["images"], rng, tap), batch["ids"], batch["seen"], tap),)

    def read(self, rows: Tensor, ids: Array, seen: Array | None = None, tap: Tap = None) -> Tensor:
        """Logits (B, N, V) of texts (B, N) with the rows (I, P, W) in the places of <image>."""
        return self.language(self.inserted(ids, rows), seen, tap)

    def project(self, images: Tensor | Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(I, height, width, C) -> (I, P, W)."""
        vision, layer = self.vision, self.config.layer
        x = vision.dropout(vision.embed(self.tensor(images)), rng)
        for block in vision.blocks[: layer if layer >= 0 else len(vision.blocks) + 1 + layer]:
            x = block(x, rng)
        before = 0 if self.config.keep_class else vision.config.num_prefix_tokens
        projected = self.projector(x[:, before:] if before else x)
        if tap is not None:
            tap.update(features=x, projected=projected)
        return projected

    def inserted(self, ids: Array, rows: Tensor) -> Tensor:
        """The vectors of the words, and in the places of <image> the rows (I, P, W), one after another.   (B, N) ->
        (B, N, W)."""
        xp, words = xp_of(ids), self.language.words(ids)
        there = ids == self.config.image
        number = xp.maximum(xp.cumsum(there.reshape(-1)).reshape(ids.shape) - 1, 0)
        images = F.embedding(rows.reshape(-1, rows.shape[-1]) + 0.0, number)  # + 0.0: what was bfloat16 is float32
        return F.where(there[..., None], images, words)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        return llama.next_token_loss(outputs[0], batch["labels"], batch["weight"])

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """word_accuracy: the share of the predicted words that are the most probable ones."""
        return {"word_accuracy": llama.right(outputs[0], batch["labels"], batch["weight"])}


def greedy(objective: LLaVA, images: Array, ids: Array, length: int) -> np.ndarray:
    """The `length` most probable words, one by one, after texts without padding: (B, N) -> (B, length) ids."""
    x, found = objective.inserted(ids, objective.project(images)), []
    for _ in range(length):
        following = objective.language(x)[:, -1:].data.argmax(axis=-1)
        found.append(to_numpy(following))
        x = F.concat(x, objective.language.words(following), axis=1)
    return np.concatenate(found, axis=1)


HOW = {"controls": controls}


def tiny(dtype: str = "float32") -> tuple[LLaVA, Dataset]:
    """The objective in small and 16 scenes, for tests."""
    shape = ViTConfig(image_size=16, patch_size=8, width=8, depth=2, heads=2, mlp_width=12, num_classes=0, dropout=0.1)
    own = LLaVAConfig(
        vocabulary=len(WORDS) + 1, image=len(WORDS), width=8, mlp_width=12, depth=1, heads=2, kv_heads=1,
        deviation=0.2, learn="all", text="caption",
    )  # fmt: skip
    return LLaVA(own, ViT(shape, 0, dtype), 0, dtype), Scenes(16, 0, 16, shapes=(1, 3))

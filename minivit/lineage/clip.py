"""CLIP: contrastive language-image pre-training (Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision", arXiv 2103.00020).

New against ViT: no classes. Images and texts become vectors of length 1, i_1 ... i_B and t_1 ... t_B for the B pairs of
a batch. Each image has to find its text among those of all pairs, and each text its image:

    S = e^s I T^T,   L = (CE(S) + CE(S^T)) / 2, where the right answer of row b is b,

with e^s learned, 1 / 0.07 at first and never above 100. A sentence about a class is then a classifier for it, also for
a class that nobody has trained.

Source: openai/CLIP, clip/model.py. The image tower is a ViT with a LayerNorm before the first block, no bias in the
patch projection and gelu as x sigmoid(1.702 x). Text tokens look at themselves and at those before them. The row of the
first <end> stands for the text. Dense kernels of the text tower are normal at first, as published. Those of the image
tower begin as a ViT's do here; the published code leaves them at the defaults of PyTorch.

B batch, N tokens of an image, T of a text, D width of the image tower, W of the text tower, E of the shared space.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.backend.precision import precision
from minivit.data import Dataset, Scenes
from minivit.data.scenes_layout import COLOURS, KINDS, PLACES
from minivit.data.scenes_words import CAPTION, END, WORDS, encode
from minivit.errors import ConfigError
from minivit.models import ViT, ViTConfig
from minivit.nn import MLP, CausalAttention, Embedding, EncoderBlock, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch
from minivit.update.objective import Objective, Outputs

LARGEST_SCALE = 100
PARITY = "embeddings, similarities, loss and gradients of the published code, both layouts of its weights"
PRESETS: dict[str, dict[str, Any]] = {
    "captions-clip": {
        "data": "captions",
        "objective": {
            "name": "clip", "width": 64, "depth": 2, "heads": 2, "vocabulary": len(WORDS), "context": CAPTION,
            "end": END, "shared": 64,
        },
        "model": {"patch_size": 4, "width": 96, "depth": 4, "heads": 3, "mlp_width": 192},
        "batch_size": 128,
        "epochs": 12,
        "lr": 1e-3,
        "beta2": 0.98,
        "weight_decay": 0.2,
        "eval_every": 156,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CLIPConfig:
    """width, depth, heads, mlp_width (0: 4 W): of the text tower; the image tower has those of the model. vocabulary:
    number of token ids. context: tokens of the longest text. end: the id of <end>; None: the largest id of each text.
    shared: E. scale: what e^s is at first. learn_scale: whether it changes. gelu, norm_eps: of both towers, whatever
    the model says; gelu is "quick", or "erf" as in LAION's models. The defaults are those of CLIP B/32 and B/16."""

    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp_width: int = 0
    vocabulary: int = 49408
    context: int = 77
    end: int | None = None
    shared: int = 512
    scale: float = 1 / 0.07
    learn_scale: bool = True
    gelu: str = "quick"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        for name in ("width", "depth", "heads", "mlp_width", "vocabulary", "context", "shared"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of the text tower is {getattr(self, name)}, expected at least 1")
        if self.width % self.heads:
            raise ConfigError(f"{self.heads} heads do not divide width {self.width} of the text tower")
        if self.end is not None and not 0 <= self.end < self.vocabulary:
            raise ConfigError(f"end is {self.end}, expected an id of the vocabulary, 0 to {self.vocabulary - 1}")
        if not 0 < self.scale <= LARGEST_SCALE:
            raise ConfigError(f"scale is {self.scale}, expected a number above 0, at most {LARGEST_SCALE}")
        if self.gelu not in ("quick", "erf", "tanh"):
            raise ConfigError(f'gelu is "{self.gelu}", expected quick, erf or tanh')
        if not 0 < self.norm_eps < 1:
            raise ConfigError(f"norm_eps is {self.norm_eps}, expected 0 < norm_eps < 1")


class ImageTower(ViT):
    """The [class] token's row of a ViT, changed as the top of the file says.   (B, height, width, C) -> (B, D)."""

    def __init__(self, config: ViTConfig, gelu: str, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, seed, dtype)
        self.patch_embed.projection.bias = None
        self.before = LayerNorm(config.width, config.norm_eps, dtype)
        for block in self.blocks:
            block.mlp.gelu = gelu
        if seed is not None:
            rng = np.random.default_rng((seed, 2))
            for token in (self.class_token, self.position_embedding):
                token.data[...] = init.normal(rng, token.shape, config.width**-0.5)

    def embed(self, images: Tensor) -> Tensor:
        return self.before(super().embed(images))


class TextTower(Module):
    """Token ids -> a row for each token.   (B, T) -> (B, T, W)."""

    def __init__(self, config: CLIPConfig, rng: init.Rng, dtype: str):
        width, eps = config.width, config.norm_eps
        self.words = Embedding(config.vocabulary, width, rng, dtype, std=0.02)
        self.positions = init.parameter(init.normal(rng, (config.context, width), 0.01), dtype)
        self.blocks = []
        for _ in range(config.depth):
            attention = CausalAttention(width, config.heads, None, dtype)
            mlp = MLP(width, config.mlp_width, None, dtype, gelu=config.gelu)
            self.blocks.append(EncoderBlock(attention, mlp, width, dtype, norm_eps=eps))
            if rng is not None:
                branch = width**-0.5 * (2 * config.depth) ** -0.5
                for layer, std in (
                    (attention.qkv, width**-0.5), (attention.out, branch), (mlp.hidden, (2 * width) ** -0.5), (mlp.out, branch),
                ):  # fmt: skip
                    layer.weight.data[...] = init.normal(rng, layer.weight.shape, std)
        self.norm = LayerNorm(width, eps, dtype)

    def forward(self, ids: Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        x = self.words(ids) + self.positions[: ids.shape[1]]
        outputs = [x]
        for block in self.blocks:
            outputs.append(block(outputs[-1], rng))
        encoded = self.norm(outputs[-1])
        if tap is not None:
            tap.update(embedded=x, encoded=encoded, **{f"block{i}/output": y for i, y in enumerate(outputs[1:])})
        return encoded


class CLIP(Objective):
    """Pairs of images and texts find each other.

    batch: images (B, height, width, C); caption (B, T), token ids with an <end>, and anything behind it; sentence (B,),
    a number that pairs with equal captions share. Such pairs are wrong answers to each other all the same.
    """

    Config: ClassVar[type] = CLIPConfig
    compares = True
    columns = ("images", "caption")

    def __init__(self, config: CLIPConfig, image: ViTConfig, seed: int | None = 0, dtype: str = "float32"):
        if image.classifier != "token" or image.position != "learned" or image.no_embed_class or image.stem:
            raise ConfigError("CLIP needs a ViT with a [class] token and one position table, and no stem")
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.config = config
        image = dataclasses.replace(image, norm_eps=config.norm_eps, num_classes=0)
        self.image_tower = ImageTower(image, config.gelu, seed, dtype)
        self.image_projection = Linear(image.width, config.shared, rng, dtype, weight=by_width, bias=False)
        self.text_tower = TextTower(config, rng, dtype)
        self.text_projection = Linear(config.width, config.shared, rng, dtype, weight=by_width, bias=False)
        self.log_scale = init.parameter(init.constant(math.log(config.scale), (1,)), dtype)
        self.log_scale.requires_grad = config.learn_scale

    @classmethod
    def build(cls, config: CLIPConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        if given.start is not None:
            raise ConfigError("the image tower of CLIP is no plain ViT, so it cannot start from one (--init-from)")
        return cls(config, given.model, given.seed, given.dtype)

    @property
    def encoder(self) -> ImageTower:
        return self.image_tower

    @property
    def tokens(self) -> int:
        shape = self.image_tower.config
        work = self.config.context * self.config.width * self.config.depth
        return shape.num_tokens + work // (shape.width * shape.depth)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        ids, known = batch["caption"], self.config.vocabulary
        if ids.shape[1] > self.config.context:
            raise ConfigError(f"captions have {ids.shape[1]} tokens, but context is {self.config.context}")
        if ids.min() < 0 or ids.max() >= known:
            raise ConfigError(f"captions have ids from {ids.min()} to {ids.max()}, but the vocabulary has {known}")
        return {"sentence": np.unique(ids, axis=0, return_inverse=True)[1].reshape(-1)}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return self.image(batch["images"], rng), self.text(batch["caption"], rng)

    def image(self, images: Array | Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, height, width, C) -> (B, E), of length 1."""
        return direction(self.image_projection(self.image_tower(images, tap, rng)))

    def text(self, ids: Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, T) -> (B, E), of length 1. Nothing behind the first <end> is looked at."""
        encoded = self.text_tower(ids, rng, tap)
        end = (ids if self.config.end is None else ids == self.config.end).argmax(axis=1)
        return direction(self.text_projection(F.select(encoded, end[:, None])[:, 0]))

    def similarity(self, outputs: Outputs) -> Tensor:
        """S (B, B): a row for each image, a column for each text. In full precision: the scale makes errors large."""
        images, texts = outputs
        with precision("float32"):
            return F.exp(self.log_scale) * (images @ texts.T)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        similar = self.similarity(outputs)
        own = xp_of(similar.data).arange(len(similar))
        return (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) * 0.5

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """retrieval: the images that find their own sentence among those of the batch; repeated: the pairs whose
        sentence another pair has as well."""
        nearest, sentence = self.similarity(outputs).data.argmax(axis=1), batch["sentence"]
        times = (sentence[:, None] == sentence).sum(axis=1)
        return {"retrieval": (sentence[nearest] == sentence).sum(), "repeated": (times > 1).sum()}

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        scale = self.log_scale.data
        xp_of(scale).minimum(scale, math.log(LARGEST_SCALE), out=scale)


def direction(x: Tensor) -> Tensor:
    """x / |x|.   (..., E) -> (..., E)."""
    return x / F.sqrt((x * x).sum(axis=-1, keepdims=True))


def by_width(rng: init.Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """(fan_in, fan_out): normal with standard deviation fan_in^(-1/2)."""
    return init.normal(rng, (fan_in, fan_out), fan_in**-0.5)


def zero_shot(objective: CLIP, data: Dataset, recipe: Any) -> list[str]:
    """How many images find their sentence: among those of the data set, and among all about one drawn shape."""
    known = [encode(f"a {colour} {kind} in the {place}", CAPTION) for colour in COLOURS for kind in KINDS for place in PLACES]
    own = np.unique(data.columns(range(len(data)), ("caption",))["caption"], axis=0)
    lines = []
    for what, sentences in (("of this data set", own), ("about one shape", np.array(known))):
        share = share_found(objective, data, sentences, recipe.augment.evaluation())
        lines.append(
            f"zero-shot: {share:.1%} of {len(data):,} images find their sentence among the {len(sentences)} {what} "
            f"(by chance {1 / len(sentences):.1%})"
        )
    return lines


def share_found(objective: CLIP, data: Dataset, sentences: np.ndarray, augment: Any, batch_size: int = 250) -> float:
    """The share of images whose own caption is the nearest of the sentences (K, T)."""
    right = 0
    with objective.evaluating(), no_grad():
        texts = objective.text(sentences)
        for start in range(0, len(data), batch_size):
            rows = data.columns(range(start, min(start + batch_size, len(data))), objective.columns)
            batch = objective.prepare(rows, augment, None)
            nearest = (objective.image(batch["images"]) @ texts.T).data.argmax(axis=1)
            right += int((sentences[nearest] == batch["caption"]).all(axis=1).sum())
    return right / len(data)


HOW = {"zero-shot": zero_shot}


def tiny(dtype: str = "float32") -> tuple[CLIP, Dataset]:
    """The objective in small and 16 pairs, for tests."""
    shape = ViTConfig(
        image_size=16, patch_size=8, width=8, depth=2, heads=2, mlp_width=16, num_classes=0, dropout=0.1, drop_path=0.1
    )
    config = CLIPConfig(8, 1, 2, 16, len(WORDS), CAPTION, END, shared=6)
    return CLIP(config, shape, 0, dtype), Scenes(16, 0, 16)

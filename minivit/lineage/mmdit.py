"""MM-DiT: a diffusion Transformer with two streams, the network of Stable Diffusion 3 (Esser et al. 2024, "Scaling
Rectified Flow Transformers for High-Resolution Image Synthesis", arXiv 2403.03206).

New against DiT: text is no single vector. Its tokens are a second sequence with weights of its own, for norms,
projections and MLP; only the attention is common, over the image tokens and then the text tokens:

    softmax(q k^T / sqrt(Dh)) v   with q = [q_image, q_text], k and v likewise.

Queries and keys are first divided by their root mean square, per head (`qk_norm`). c = MLP(t) + MLP(pooled text) steers
both streams as in DiT. In the last block the text only gives keys and values. Trained as a rectified flow:
x_t = (1 - t) x_0 + t eps, the target is eps - x_0, t is the sigmoid of a normal number, the network is told 1000 t.

Source: diffusers, SD3Transformer2DModel. There the last norms, of the image before the pixels and of the text in the
last block, order their two vectors (scale, shift). Positions are the middle of a larger fixed table, so that an image
may have any size up to the table's. The published text comes from three frozen encoders; here words are a learned
table, and the pooled text is their mean. Biases of MLPs begin with deviation 1e-6.

B batch, N image tokens, T text tokens, D width, W width of the text's vectors, V width of the pooled text, C channels.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import Dataset, Scenes
from minivit.data.scenes_words import CAPTION, PAD, WORDS, encode
from minivit.errors import ConfigError
from minivit.files.checks import at_least
from minivit.lineage.flowing import Flow, plain_shape
from minivit.lineage.modulated import FEATURES, Embedder, Modulation, modulated, places, time_features, unpatchify
from minivit.models import ViTConfig
from minivit.nn import MLP, Embedding, Linear, Module, RMSNorm, patchify
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Outputs

PARITY = "values in both streams, output and gradients of diffusers' network"
PRESETS: dict[str, dict[str, Any]] = {
    "captions-mmdit": {
        "data": "captions",
        "objective": {"name": "mmdit", "vocabulary": len(WORDS), "context": CAPTION, "text_width": 64},
        "model": {"patch_size": 4, "width": 96, "depth": 3, "heads": 3, "mlp_width": 192},
        "batch_size": 64, "steps": 1000, "lr": 1e-3, "warmup": 0.05, "weight_decay": 0.0, "ema": 0.99,
        "eval_every": 250,
    },
}  # fmt: skip
SHOWN = ("a red disc in the top left", "a green square in the top right", "a blue ring in the bottom left")


@dataclasses.dataclass(frozen=True)
class MMDiTConfig:
    """vocabulary: number of words. context: tokens of a text, of which id 0 is padding. text_width: W and V. drop:
    share of the texts that training replaces by padding. qk_norm: whether queries and keys are normalised. table: side
    of the table of positions in patches, 0 for the image's own. guidance, walk: of sampled pictures."""

    vocabulary: int = 49408
    context: int = 77
    text_width: int = 64
    drop: float = 0.1
    qk_norm: bool = True
    table: int = 0
    guidance: float = 4.0
    walk: int = 28

    def __post_init__(self) -> None:
        at_least(self, 1, "vocabulary", "context", "text_width", "walk")
        at_least(self, 0, "table")
        if not 0 <= self.drop <= 1:
            raise ConfigError(f"drop is {self.drop}, expected a share of the texts, 0 to 1")


class Stream(Module):
    """One sequence's weights in a block.   last: of the text in the last block, which gives keys and values only."""

    def __init__(self, config: ViTConfig, qk_norm: bool, last: bool, rng: Any, dtype: str):
        width = config.width
        self.heads, self.last, self.eps = config.heads, last, config.norm_eps
        self.modulation = Modulation(width, 2 if last else 6, dtype)
        self.query, self.key, self.value = (Linear(width, width, rng, dtype) for _ in range(3))
        norms = [RMSNorm(width // config.heads, 1e-6, dtype) if qk_norm else None for _ in range(2)]
        self.query_norm, self.key_norm = norms
        self.out = None if last else Linear(width, width, rng, dtype)
        self.mlp = None if last else MLP(width, config.mlp_width, rng, dtype, config.dropout)

    def steer(self, x: Tensor, c: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What attends, and the four vectors for the rest of the block."""
        shift, scale, *rest = self.modulation(c)
        if self.last:
            shift, scale = scale, shift  # as published
        return modulated(x, shift, scale, self.eps), rest

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, n, D)."""
        return self.by_head(self.query(x), self.query_norm), self.by_head(self.key(x), self.key_norm), self.value(x)

    def by_head(self, x: Tensor, norm: RMSNorm | None) -> Tensor:
        return norm(x.reshape(*x.shape[:2], self.heads, -1)).reshape(*x.shape) if norm else x

    def finish(self, x: Tensor, attended: Tensor, steering: list[Tensor], rng: Rng) -> Tensor:
        gate1, shift2, scale2, gate2 = steering
        assert self.out is not None
        assert self.mlp is not None
        x = x + gate1 * self.out(attended)
        return x + gate2 * self.mlp(modulated(x, shift2, scale2, self.eps), rng)


class JointBlock(Module):
    """Both streams through one attention.   (B, N, D), (B, T, D), (B, D) -> (B, N, D) and (B, T, D), or None for the
    text of the last block."""

    def __init__(self, config: ViTConfig, qk_norm: bool, last: bool, rng: Any, dtype: str):
        self.image = Stream(config, qk_norm, False, rng, dtype)
        self.text = Stream(config, qk_norm, last, rng, dtype)

    def forward(self, x: Tensor, text: Tensor, c: Tensor, rng: Rng = None) -> tuple[Tensor, Tensor | None]:
        streams, tokens = ((self.image, x), (self.text, text)), x.shape[1]
        steered = [stream.steer(sequence, c) for stream, sequence in streams]
        projected = [stream.project(y) for (stream, _), (y, _) in zip(streams, steered, strict=True)]
        q, k, v = (F.concat(one, other, axis=1) for one, other in zip(*projected, strict=True))
        q = q[:, :tokens] if self.text.last else q
        attended = F.attend(q, k, v, heads=self.image.heads)
        x = self.image.finish(x, attended[:, :tokens], steered[0][1], rng)
        if self.text.last:
            return x, None
        return x, self.text.finish(text, attended[:, tokens:], steered[1][1], rng)


class MMDiT(Module):
    """Images in noise, vectors of a text, its pooled vector, times 0..1000 -> a prediction.

    x: (B, height, width, C), of any size up to the table of positions; text: (B, T, W); pooled: (B, V); t: (B,).
    outputs: channels of the prediction. table: side of the table of positions, 0: that of the image. stretched: patches
    over which its sines and cosines are spread, 0: as many as it has.
    """

    def __init__(
        self, config: ViTConfig, text_width: int, pooled_width: int, outputs: int, qk_norm: bool = True,
        table: int = 0, stretched: int = 0, seed: int | None = 0, dtype: str = "float32",
    ):  # fmt: skip
        rng, width = None if seed is None else np.random.default_rng(seed), config.width
        if width % 4:
            raise ConfigError(f"width is {width}, expected a multiple of 4 for sines and cosines of x and y")
        self.config, (rows, columns) = config, config.patch_size
        self.embed = Linear(rows * columns * config.channels, width, rng, dtype)
        grid = (table, table) if table else config.grid
        spacing = stretched / table if table and stretched else 1.0
        self.positions = Tensor(places(grid, width, spacing).astype(dtype))
        self.time = Embedder(FEATURES, width, rng, dtype)
        self.pooled = Embedder(pooled_width, width, rng, dtype)
        self.context = Linear(text_width, width, rng, dtype)
        last = config.depth - 1
        self.blocks = [JointBlock(config, qk_norm, i == last, rng, dtype) for i in range(config.depth)]
        self.modulation = Modulation(width, 2, dtype)
        self.pixels = Linear(width, rows * columns * outputs, rng, dtype)

    def forward(
        self, x: Tensor | Array, text: Tensor, pooled: Tensor, t: Array, rng: Rng = None, tap: Tap = None
    ) -> Tensor:
        tap, x, patch = {} if tap is None else tap, self.tensor(x), self.config.patch_size
        grid = x.shape[1] // patch[0], x.shape[2] // patch[1]
        tap["embedded"] = x = self.embed(patchify(x, patch)) + self.middle(grid)
        tap["condition"] = c = self.time(Tensor(time_features(self.like(t)))) + self.pooled(pooled)
        tap["text_embedded"] = words = self.context(text)
        for i, block in enumerate(self.blocks):
            x, words = block(x, words, c, rng)
            tap[f"block{i}_image"] = x
            if words is not None:
                tap[f"block{i}_text"] = words
        scale, shift = self.modulation(c)
        tap["pixels"] = x = self.pixels(modulated(x, shift, scale))
        return unpatchify(x, grid, patch)

    def middle(self, grid: tuple[int, int]) -> Tensor:
        """The rows of the table for a grid, (N, D). Raises ValueError for one that is larger than the table."""
        (rows, columns), (most_rows, most_columns, width) = grid, self.positions.shape
        if rows > most_rows or columns > most_columns:
            raise ValueError(f"MMDiT: {rows}x{columns} patches, the table of positions has {most_rows}x{most_columns}")
        top, left = (most_rows - rows) // 2, (most_columns - columns) // 2
        return self.positions[top : top + rows, left : left + columns].reshape(rows * columns, width)


class TextFlow(Flow):
    """A flow that is told a text.   batch: as in `Flow`, and caption (B, T), words."""

    Config: ClassVar[type] = MMDiTConfig
    columns = ("images", "caption")

    def __init__(self, config: MMDiTConfig, network: MMDiT, seed: int | None = 0, dtype: str = "float32"):
        self.config, self.network = config, network
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.words = Embedding(config.vocabulary, config.text_width, rng, dtype, 1.0)
        self.shape = (*network.config.image_size, network.config.channels)

    @classmethod
    def build(cls, config: MMDiTConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        shape, width = plain_shape(given, "mmdit"), config.text_width
        if 0 < config.table < max(shape.grid):
            raise ConfigError(
                f"table is {config.table}, expected 0 or at least the {max(shape.grid)} patches of a side"
            )
        table = config.table
        network = MMDiT(shape, width, width, shape.channels, config.qk_norm, table, 0, given.seed, given.dtype)
        return cls(config, network, given.seed, given.dtype)

    @property
    def tokens(self) -> int:
        return self.network.config.num_tokens + self.config.context

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        words = batch["caption"]
        if self.training:
            words = words * ~batch["dropped"][:, None]
        return (self.told(self.noised(batch), words, batch["time"], rng),)

    def told(self, x: Tensor | Array, condition: Array, time: Array, rng: Rng = None) -> Tensor:
        """condition: words (B, T). The pooled text is the mean over all places."""
        text = self.words(condition)
        return self.network(x, text, text.mean(axis=1), time * 1000, rng)

    def pictures(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Samples for captions of one shape each; none of a vocabulary that is not that of the captions."""
        if self.config.vocabulary != len(WORDS):
            return {}
        captions = [encode(text, self.config.context) for text in SHOWN]
        return {"\n".join(SHOWN): self.sample(np.array(captions), PAD, rng)}


def tiny(dtype: str = "float32") -> tuple[TextFlow, Dataset]:
    """The objective in small and 16 images, for tests. Its zeros are drawn, so that everything learns at once."""
    shape = ViTConfig(
        image_size=(16, 16), patch_size=(8, 8), width=8, depth=2, heads=2, mlp_width=16, num_classes=0, dropout=0.1,
        classifier="gap", position="sincos2d",
    )  # fmt: skip
    config = MMDiTConfig(len(WORDS), CAPTION, text_width=4, drop=0.3, walk=2)
    network, rng = MMDiT(shape, 4, 4, 3, dtype=dtype), np.random.default_rng(1)
    for parameter in network.parameters():
        parameter.data[...] += rng.normal(0, 0.1, parameter.shape)
    return TextFlow(config, network, 0, dtype), Scenes(16, 0, 16)

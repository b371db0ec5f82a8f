"""BLIP-2: a few learned queries between a frozen image encoder and words (Li et al. 2023, "BLIP-2: Bootstrapping
Language-Image Pre-training with Frozen Image Encoders and Large Language Models", arXiv 2301.12597).

The image encoder is a ViT that no longer learns. What is new is the Q-Former, which reads it. The Q-Former is BERT with
M learned queries. Queries and words go through the same self-attention, and each of them has its own MLP. In every
second layer the queries, and only they, also attend to the patches. After each branch comes a LayerNorm:

    [q; t] = LN([q; t] + MSA([q; t])),   q = LN(q + CA(q, patches)),   q = LN(q + MLP_q(q)),   t = LN(t + MLP_t(t)).

Three losses are added. They differ in what may look at what:

    ITC  queries at queries, words at words: S_bc = max_m <i_bm, t_c> / tau, each image finds its text, each text its
         image, with t_c the first word's row
    ITM  everything at everything: does this text belong to this image? Wrong pairs are drawn by S, the near ones often
    ITG  queries at queries, words at queries and at earlier words: the next word

Stage 2 is a dense layer: it turns the rows of the queries into a prefix for a language model (`qformer.Prefix`).

Source: salesforce/LAVIS, blip2_qformer.py and Qformer.py. There, ITG reads keys and values that the pass of ITC kept.
Queries never look at words in ITG, so one pass over queries and words gives both here. In ITG, the first word becomes
[DEC]. Wrong pairs are drawn without a gradient, from softmax(S) + 1e-4 with 0 for the right pair. Against the published
code: tau stays at 0.01 or above; ITM is computed without dropout; the Q-Former is drawn, not started from BERT; the
encoder is a plain ViT with a [class] token, whose last LayerNorm is LAVIS's ln_vision and learns, as there.

B batch, N tokens of the encoder, C their width, M queries, T words of a text, D width of the Q-Former, V words, E of
the shared space.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.precision import precision
from minivit.data import Dataset, Scenes
from minivit.data.scenes_words import CAPTION, PAD, WORDS
from minivit.errors import ConfigError
from minivit.files.checks import at_least, positive, rates
from minivit.lineage import words
from minivit.lineage.matching import check_captions, retrieval
from minivit.lineage.qformer import QFormer, QFormerConfig
from minivit.models import ViT, ViTConfig
from minivit.nn import LayerNorm, Linear
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng
from minivit.nn.lengths import unit
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Objective, Outputs

PARITY = "values of all three passes, similarities, the three losses and their gradients, both layouts of weights"
LEAST_TEMPERATURE = 0.01  # as in CLIP
LOTS = 2**53  # of equal chance: integers, since float32 would round them


@dataclasses.dataclass(frozen=True)
class BLIP2Config(QFormerConfig):
    """pad, start: ids of padding and of [DEC]. shared: E. temperature: tau at first. smoothing: of labels in ITC and
    ITG. itc, itm, itg: weights of the losses. frozen: whether the encoder stays as it is. The defaults are the
    paper's."""

    pad: int = 0
    start: int = 30_522
    shared: int = 256
    temperature: float = 0.07
    smoothing: float = 0.1
    itc: float = 1.0
    itm: float = 1.0
    itg: float = 1.0
    frozen: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "shared")
        at_least(self, 0, "itc", "itm", "itg")
        positive(self, "temperature")
        rates(self, "smoothing")
        for name in ("pad", "start"):
            if not 0 <= getattr(self, name) < self.vocabulary:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 to {self.vocabulary - 1}")
        if not self.itc + self.itm + self.itg:
            raise ConfigError("itc, itm and itg are 0, expected at least one weight above 0")
        if not self.text:
            raise ConfigError("text is false, but BLIP-2's losses need words")


class BLIP2(Objective):
    """Stage 1.   batch: images (B, height, width, C); caption (B, T), token ids; seen (B, T), 0 for padding; lots
    (B, 2), uniform integers below LOTS, which choose a wrong image for each text and a wrong text for each image."""

    Config: ClassVar[type] = BLIP2Config
    compares = True
    columns = ("images", "caption")

    def __init__(self, config: BLIP2Config, vision: ViT, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(vision, ViT):
            raise ConfigError("BLIP-2 needs a ViT here: give a --model such as Ti/16")
        self.config, self.vision, width = config, vision, config.width
        self.qformer = QFormer(config, vision.config.width, seed, dtype)
        self.image_projection = Linear(width, config.shared, None, dtype)
        self.text_projection = Linear(width, config.shared, None, dtype)
        self.match = Linear(width, 2, None, dtype)
        self.transform = Linear(width, width, None, dtype)
        self.transform_norm = LayerNorm(width, config.norm_eps, dtype)
        self.words_bias = init.parameter(init.constant(0, (config.vocabulary,)), dtype)
        self.temperature = init.parameter(init.constant(config.temperature, (1,)), dtype)
        if seed is not None:
            for i, layer in enumerate((self.image_projection, self.text_projection, self.match, self.transform)):
                words.draw(layer, np.random.default_rng((seed, 3, i)), config.deviation)
        if config.frozen:
            vision.freeze()
            for _, tensor in vision.norm.named_tensors():
                tensor.requires_grad = True

    @classmethod
    def build(cls, config: BLIP2Config, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> ViT:
        return self.vision

    @property
    def tokens(self) -> int:
        shape, own = self.vision.config, self.config
        joint = (2 * own.queries + 2 * own.positions) * own.width * own.depth
        return shape.num_tokens + joint // (shape.width * shape.depth)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        ids = batch["caption"]
        check_captions(ids, "BLIP-2", self.config.vocabulary, positions=self.config.positions)
        return {"seen": (ids != self.config.pad).astype(np.int64), "lots": rng.integers(0, LOTS, (len(ids), 2))}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        """Patches (B, N, C), vectors of the queries (B, M, E) and of the text (B, E), logits of words (B, T, V)."""
        patches, ids, seen = self.patches(batch["images"], rng), batch["caption"], batch["seen"]
        joint = self.qformer(patches, self.begun(ids), seen, causal=True, rng=rng)
        text = self.qformer(None, ids, seen, rng=rng)
        count = self.config.queries
        return patches, self.image(joint[:, :count]), self.text(text), self.logits(joint[:, count:])

    def patches(self, images: Array | Tensor, rng: Rng = None) -> Tensor:
        """(B, height, width, C) -> (B, N, C), after the last LayerNorm."""
        vision = self.vision
        encoded = vision.encode(vision.dropout(vision.embed(self.tensor(images)), rng), rng)
        return vision.norm(encoded) if vision.config.fc_norm else encoded

    def begun(self, ids: Array) -> Array:
        """The ids with [DEC] in the place of the first."""
        ids = ids.copy()
        ids[:, 0] = self.config.start
        return ids

    def image(self, queries: Tensor) -> Tensor:
        """Rows of the queries -> (B, M, E), each of length 1."""
        return unit(self.image_projection(queries))

    def text(self, encoded: Tensor) -> Tensor:
        """Rows of the words -> (B, E), of length 1."""
        return unit(self.text_projection(encoded[:, 0]))

    def logits(self, encoded: Tensor) -> Tensor:
        """Of the word that follows each: (B, T, D) -> (B, T, V). The table of words is that of the Q-Former."""
        hidden = self.transform_norm(F.gelu(self.transform(encoded), self.config.gelu))
        return F.linear(hidden, self.qformer.words.table.T, self.words_bias)

    def by_query(self, outputs: Outputs) -> Tensor:
        """Products of unit vectors, (B, B, M): a row for each image, a column for each text. In full precision."""
        _, images, texts, _ = outputs
        with precision("float32"):
            return F.linear(images, texts.T).transpose(0, 2, 1)

    def similarity(self, outputs: Outputs) -> Tensor:
        """S (B, B): a row for each image, a column for each text."""
        return F.max(self.by_query(outputs), axis=2) / self.temperature

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        similar, total = self.similarity(outputs), None
        for name in ("itc", "itm", "itg"):
            if weight := getattr(self.config, name):
                part = getattr(self, name)(outputs, batch, similar) * weight
                total = part if total is None else total + part
        assert total is not None
        return total

    def itc(self, outputs: Outputs, batch: Batch, similar: Tensor) -> Tensor:
        """Contrast: images find their texts, and texts their images."""
        own, smoothing = xp_of(similar.data).arange(len(similar)), self.config.smoothing
        return (F.cross_entropy(similar, own, smoothing) + F.cross_entropy(similar.T, own, smoothing)) * 0.5

    def itm(self, outputs: Outputs, batch: Batch, similar: Tensor) -> Tensor:
        """Matching: B right pairs, and twice as many wrong ones. A batch of one has none of these."""
        values = similar.data
        if len(values) == 1:
            return F.cross_entropy(
                self.matches(outputs[0], batch["caption"], batch["seen"]), xp_of(values).ones(1, int)
            )
        lots = batch["lots"]
        wrong_image, wrong_text = drawn(chances(values.T), lots[:, 0]), drawn(chances(values), lots[:, 1])
        return self.matching(self.pairs(outputs[0], batch, wrong_image, wrong_text))

    @staticmethod
    def matching(logits: Tensor) -> Tensor:
        """The mean cross entropy of `pairs`, of which the first third is right."""
        return F.cross_entropy(logits, (xp_of(logits.data).arange(len(logits)) < len(logits) // 3).astype(int))

    def pairs(self, patches: Tensor, batch: Batch, wrong_image: Array, wrong_text: Array) -> Tensor:
        """Logits (3 B, 2) of "no" and "yes": for right pairs, wrong images of texts, and wrong texts of images."""
        xp = xp_of(patches.data)
        ids, seen = (xp.concatenate([x, x, x[wrong_text]]) for x in (batch["caption"], batch["seen"]))
        return self.matches(F.concat(patches, patches[wrong_image], patches, axis=0), ids, seen)

    def matches(self, patches: Tensor, ids: Array, seen: Array) -> Tensor:
        """The mean over the queries of their answers: (B, 2)."""
        with self.qformer.evaluating():
            joint = self.qformer(patches, ids, seen)
        return self.match(joint[:, : self.config.queries]).mean(axis=1)

    def itg(self, outputs: Outputs, batch: Batch, similar: Tensor) -> Tensor:
        """Generation: each word from the image and the words before it."""
        labels = self.labels(batch["caption"])[:, 1:]
        return words.smoothed_loss(outputs[3][:, :-1], labels, self.config.smoothing)

    def labels(self, ids: Array) -> Array:
        """The words to predict, (B, T). Padding is not."""
        ids = self.begun(ids)
        return xp_of(ids).where(ids == self.config.pad, words.IGNORED, ids)

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        tau = self.temperature.data
        xp_of(tau).maximum(tau, LEAST_TEMPERATURE, out=tau)

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Of `retrieval`. A repeated sentence counts as a wrong one in the losses."""
        ids = batch["caption"]
        first = (ids[:, None] == ids).all(axis=2).argmax(axis=1)  # the first pair with this sentence
        return retrieval(self.similarity(outputs).data, first)


def chances(similar: Array) -> Array:
    """How often each column is drawn for a row, in proportion: softmax + 1e-4, and 0 for its own.   (B, B)."""
    xp = xp_of(similar)
    rows = xp.exp((similar - similar.max(axis=1, keepdims=True)).astype("float64"))
    rows = rows / rows.sum(axis=1, keepdims=True) + 1e-4
    return xp.where(xp.eye(len(rows), dtype=bool), 0, rows)


def drawn(weights: Array, lots: Array) -> Array:
    """A column for each row, with probabilities in the ratio of the weights.   (B, B), (B,) below LOTS -> (B,)."""
    ends = weights.cumsum(axis=1)
    return (ends <= (lots / LOTS * ends[:, -1])[:, None]).sum(axis=1)


def greedy(objective: BLIP2, images: Array, length: int) -> np.ndarray:
    """The most probable words one by one, after [DEC]: (B, height, width, C) -> (B, length) ids."""
    patches = objective.patches(images)
    ids = xp_of(patches.data).full((len(patches), 1), objective.config.start)
    for _ in range(length - 1):
        joint = objective.qformer(patches, ids, causal=True)
        following = objective.logits(joint[:, -1:]).data.argmax(axis=-1)
        ids = xp_of(ids).concatenate([ids, following], axis=1)
    return to_numpy(ids)


def tiny(dtype: str = "float32") -> tuple[BLIP2, Dataset]:
    """The objective in small and 16 pairs, for tests."""
    shape = ViTConfig(image_size=16, patch_size=8, width=8, depth=1, heads=2, mlp_width=16, num_classes=0)
    own = BLIP2Config(
        queries=3, width=8, depth=2, heads=2, mlp_width=12, vocabulary=len(WORDS) + 1, start=len(WORDS), pad=PAD,
        positions=CAPTION, shared=6,
    )  # fmt: skip
    return BLIP2(own, ViT(shape, 0, dtype), 0, dtype), Scenes(16, 0, 16)

"""iGPT: an image is a text of pixels (Chen et al. 2020, "Generative Pretraining from Pixels", ICML).

New against ViT: no patches and no labels. Each pixel becomes the number of the nearest of K typical colours, and the
image is read row by row as N = height x width such numbers p_1 ... p_N. A Transformer in which each token sees only
itself and those before it says of each pixel which comes next; a learned token <sos> stands in front:

    L = -1/N sum_n log softmax(h_n W)[p_n],   where h_n is computed from <sos>, p_1, ..., p_(n-1).

`target` "masked" is the BERT variant: no <sos>, every pixel sees every pixel, the embeddings of some pixels are set to
zero before positions are added, and L is the mean over these. Images count alike, however many pixels they hide.

Source: openai/image-gpt, src/model.py; Hugging Face, ImageGPTForCausalImageModeling. The normalisation has neither mean
nor shift, x / sqrt(mean(x^2) + eps) * scale (RMSNorm; the published comment says otherwise), and gelu is x
sigmoid(1.702 x). W, which begins at zero, is not the table of the colours. The published layers have no biases. Those
of Hugging Face have, and so do these; they are zero at first. Typical colours are the centres of k-means, here of the
training images at hand.

B batch, N pixels, D width, K colours, C channels.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.files.checks import at_least, one_of
from minivit.lineage.masked_tokens import weighted_cross_entropy
from minivit.lineage.matching import check_plain
from minivit.lineage.typical import nearest, of_images
from minivit.models import ViTConfig
from minivit.nn import MLP, CausalAttention, Dropout, Embedding, EncoderBlock, Linear, Module, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.rms_norm import RMSNorm
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Objective, Outputs

PARITY = "logits, loss, inner values and gradients of Hugging Face's model, numbers of colours, published counts"
PRESETS: dict[str, dict[str, Any]] = {"digits-igpt": {
    "data": "digits", "objective": {"name": "igpt", "colours": 17},
    "model": {"width": 48, "depth": 4, "heads": 4, "mlp_width": 192},
    "batch_size": 64, "epochs": 20, "lr": 3e-3, "beta2": 0.95, "eval_every": 110,
}}  # fmt: skip
LONGEST = 256  # pixels of an image that every evaluation samples


@dataclasses.dataclass(frozen=True)
class ImageGPTConfig:
    """The shape of the network. colours: K; positions: the longest text of pixels; causal: whether a pixel sees only
    those before it, behind a token <sos>. The defaults are those of iGPT-S."""

    colours: int = 512
    positions: int = 1024
    width: int = 512
    depth: int = 24
    heads: int = 8
    mlp_width: int = 0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    gelu: str = "quick"
    norm_eps: float = 1e-5
    causal: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 1, "colours", "positions", "width", "depth", "heads", "mlp_width")
        if self.width % self.heads:
            raise ConfigError(f"heads is {self.heads}, expected a divisor of width {self.width}")
        one_of(self, gelu=("quick", "erf", "tanh"))


class ImageGPT(Module):
    """Numbers of colours -> logits for each pixel.   (B, N) -> (B, N, K). The number K is <sos>."""

    def __init__(self, config: ImageGPTConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.own, width = config, config.width
        self.config: Any = config  # in a run, that of its model
        self.words = Embedding(config.colours + config.causal, width, rng, dtype, std=0.02)
        self.positions = init.parameter(init.normal(rng, (config.positions, width), 0.01), dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = [block(config, i, rng, dtype) for i in range(config.depth)]
        self.norm = RMSNorm(width, config.norm_eps, dtype)
        self.head = Linear(width, config.colours, rng, dtype, weight=init.zeros, bias=False)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, ids: Array, rng: Rng = None, tap: Tap = None, mask: Array | None = None) -> Tensor:
        """mask: (B, N), True where the embedding becomes zero. tap: "embedded", "block0/output", "encoded"."""
        return self.head(self.encode(self.embed(ids, mask), rng, tap))

    def embed(self, ids: Array, mask: Array | None = None) -> Tensor:
        """(B, N) -> (B, N, D), with positions."""
        words = self.words(ids)
        words = words if mask is None else words * Tensor((~mask[:, :, None]).astype(words.data.dtype))
        return words + self.positions[: ids.shape[1]]

    def encode(self, x: Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        found: dict[str, Any] = {"embedded": x}
        x = self.dropout(x, rng)
        for i, layer in enumerate(self.blocks):
            x = found[f"block{i}/output"] = layer(x, rng)
        found["encoded"] = self.norm(x)
        if tap is not None:
            tap.update(found)
        return found["encoded"]

    def after_sos(self, ids: Array) -> Array:
        """The input that predicts the pixels `ids` (B, N): <sos> and all but the last."""
        xp = xp_of(ids)
        return xp.concatenate([xp.full_like(ids[:, :1], self.own.colours), ids[:, :-1]], axis=1)


def block(config: ImageGPTConfig, i: int, rng: init.Rng, dtype: str) -> EncoderBlock:
    """Block i, with the first values of the published code."""
    width, kind = config.width, CausalAttention if config.causal else MultiHeadAttention
    attention = kind(width, config.heads, None, dtype, config.attention_dropout)
    mlp = MLP(width, config.mlp_width, None, dtype, config.dropout, config.gelu)
    drop_path = config.drop_path * i / max(1, config.depth - 1)
    made = EncoderBlock(attention, mlp, width, dtype, config.dropout, drop_path)
    for name in ("norm1", "norm2"):
        setattr(made, name, RMSNorm(width, config.norm_eps, dtype))
    deviations = {attention.qkv: width**-0.5, attention.out: (width * config.depth) ** -0.5, mlp.hidden: 0.02}
    for layer, deviation in (deviations | {mlp.out: 0.02}).items() if rng else ():
        layer.weight.data[...] = init.normal(rng, layer.weight.shape, deviation)
        layer.bias.data[...] = 0
    return made


@dataclasses.dataclass(frozen=True)
class IGPTConfig:
    """colours: K. target: "next" pixel, or the "masked" ones. masked: their probability. layer: the block after which
    features are taken, from 1; 0: the one in the middle."""

    colours: int = 512
    target: str = "next"
    masked: float = 0.15
    layer: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "colours")
        at_least(self, 0, "layer")
        one_of(self, target=("next", "masked"))
        if not 0 < self.masked < 1:
            raise ConfigError(f"masked is {self.masked}, expected a probability above 0 and below 1")


class IGPT(Objective):
    """Predicts pixels from pixels.   batch: images (B, height, width, C); for the target "masked" also mask and weight
    (B, N)."""

    Config: ClassVar[type] = IGPTConfig
    columns = ("images",)

    def __init__(self, config: IGPTConfig, model: ViTConfig, seed: int | None = 0, dtype: str = "float32"):
        check_plain(model, "iGPT", "classifier")
        self.config, self.shape = config, (*model.image_size, model.channels)
        if config.layer > model.depth:
            raise ConfigError(f"layer is {config.layer}, but the model has {model.depth} blocks")
        if tuple(model.patch_size) != (1, 1):
            raise ConfigError("iGPT reads pixels: give --patch-size 1, and small images")
        shared = ("width", "depth", "heads", "mlp_width", "dropout", "attention_dropout", "drop_path")
        fields = {name: getattr(model, name) for name in shared}
        pixels = model.image_size[0] * model.image_size[1]
        own = ImageGPTConfig(config.colours, pixels, causal=config.target == "next", **fields)
        self.network = ImageGPT(own, seed, dtype)
        self.network.config = model
        self.centres = Tensor(init.constant(0, (config.colours, model.channels)).astype(dtype))

    @classmethod
    def build(cls, config: IGPTConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        if given.start is not None:
            raise ConfigError("iGPT begins with weights of its own: leave out --init-from")
        return cls(config, given.model, given.seed, given.dtype)

    @staticmethod
    def needs(config: IGPTConfig) -> dict[str, Any]:
        """Fields of ViTConfig: pixels instead of patches, no [class] token, learned positions."""
        return {"patch_size": 1, "classifier": "gap", "position": "learned"}

    @property
    def encoder(self) -> ImageGPT:
        return self.network

    def begin(self, data: Dataset, transform: Any, seed: int) -> None:
        """Choose the typical colours, by k-means on random images."""
        count = self.config.colours
        images = max(64, -(-64 * count // self.network.own.positions))

        def points(chosen: np.ndarray) -> np.ndarray:
            return chosen.reshape(-1, chosen.shape[-1])

        self.centres.data[...] = of_images(data, transform, seed, images, points, count, "colours")

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        if self.config.target == "next":
            return {}
        mask = rng.random((size(batch), self.network.own.positions)) < self.config.masked
        return {"mask": mask, "weight": mask / np.maximum(1, mask.sum(axis=1, keepdims=True))}

    def ids(self, images: Tensor | Array) -> Array:
        """The number of each pixel's colour, row by row.   (B, height, width, C) -> (B, N)."""
        pixels = self.tensor(images).data
        return nearest(pixels.reshape(len(pixels), self.network.own.positions, -1), self.centres.data)

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        ids = self.ids(batch["images"])
        if self.config.target == "next":
            return (self.network(self.network.after_sos(ids), rng),)
        return (self.network(ids, rng, mask=batch["mask"]),)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        ids = self.ids(batch["images"])
        zero = self.tensor(batch["images"]).data.sum() * 0  # or NaN, to be reported: such a pixel has no colour
        if self.config.target == "next":
            return F.cross_entropy(outputs[0], ids) + Tensor(zero)
        return weighted_cross_entropy(outputs[0], ids, batch["weight"]) + Tensor(zero)

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """The share of predicted pixels whose colour is the most probable one."""
        right = outputs[0].data.argmax(axis=-1) == self.ids(batch["images"])
        return {"pixel_accuracy": (right * batch.get("weight", 1 / right.shape[1])).sum()}

    def inner(self, images: Tensor | Array) -> list[Tensor]:
        """The mean over pixels before the first block and after each: arrays (B, D)."""
        ids = self.ids(images)
        tap: dict[str, Any] = {}
        self.network(self.network.after_sos(ids) if self.config.target == "next" else ids, tap=tap)
        names = ["embedded", *(f"block{i}/output" for i in range(self.network.own.depth))]
        return [tap[name].mean(axis=1) for name in names]

    def features(self, images: Array) -> Tensor:
        return self.inner(images)[self.config.layer or (self.network.own.depth + 1) // 2]

    def sample(self, count: int, rng: np.random.Generator, start: np.ndarray | None = None) -> np.ndarray:
        """Pixel after pixel from the predicted probabilities: (count, N) numbers of colours.   start: (count, n), the
        first n pixels."""
        pixels, xp = self.network.own.positions, xp_of(self.centres.data)
        ids, begun = np.zeros((count, pixels), np.int64), 0 if start is None else start.shape[1]
        ids[:, :begun] = 0 if start is None else start
        with self.evaluating(), no_grad():
            for n in range(begun, pixels):
                logits = self.network(self.network.after_sos(xp.asarray(ids[:, : n + 1])))[:, n]
                noise = rng.gumbel(size=logits.shape)  # its maximum is distributed as softmax(logits)
                ids[:, n] = (to_numpy(logits.data) + noise).argmax(axis=1)
        return ids

    def painted(self, ids: np.ndarray) -> np.ndarray:
        """Numbers (B, N) -> images (B, height, width, C)."""
        return to_numpy(self.centres.data)[ids].reshape(len(ids), *self.shape)

    def pictures(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Ten samples, if images are small and pixels are predicted one after another."""
        drawn = self.config.target == "next" and self.network.own.positions <= LONGEST
        return {"samples": self.painted(self.sample(10, rng))} if drawn else {}


def probes(objective: IGPT, data: Dataset, transform: Any) -> list[float]:
    """The accuracy of a linear probe before the first block and after each."""
    pixels = transform(data.fetch(range(len(data)))[0], None)
    with objective.evaluating(), no_grad():
        parts = [objective.inner(pixels[i : i + 100]) for i in range(0, len(pixels), 100)]
    layers = zip(*parts, strict=True)
    return [probe(np.concatenate([to_numpy(x.data) for x in layer]).astype(float), data.labels) for layer in layers]


def probe(x: np.ndarray, labels: np.ndarray) -> float:
    """Ridge regression on the first half of the rows of x, asked about the others."""
    half, hot = len(x) // 2, np.eye(labels.max() + 1)[labels]
    x = (x - x[:half].mean(axis=0)) / (x[:half].std(axis=0) + 1e-6)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    weight = np.linalg.solve(x[:half].T @ x[:half] + np.eye(x.shape[1]), x[:half].T @ hot[:half])
    return float(((x[half:] @ weight).argmax(axis=1) == labels[half:]).mean())


def by_layer(objective: IGPT, data: Dataset, recipe: Any) -> list[str]:
    """A linear probe of every layer."""
    found, asked = probes(objective, data, recipe.augment.evaluation()), len(data) - len(data) // 2
    return [f"layer {i}: {share:.1%} of {asked:,} images by a linear probe" for i, share in enumerate(found)]


HOW = {"layers": by_layer}


def tiny(dtype: str = "float32") -> tuple[IGPT, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = ViTConfig(4, 1, 8, 2, 2, 16, num_classes=0, channels=1, classifier="gap", dropout=0.1, drop_path=0.1)
    rng = np.random.default_rng(0)
    objective = IGPT(IGPTConfig(6), shape, 0, dtype)
    objective.centres.data[...] = np.linspace(-1, 1, 6)[:, None]
    objective.network.head.weight.data[...] = rng.normal(0, 0.1, (8, 6))
    return objective, ArrayDataset(rng.integers(0, 256, (16, 4, 4, 1), np.uint8), [0] * 16, ["any"], "noise")

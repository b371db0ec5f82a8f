"""muP: sizes and learning rates for which the best learning rate stays the same when the width grows (Yang et al. 2022,
"Tensor Programs V", arXiv 2203.03466, tables 3 and 8).

With the usual choices a wider model needs a smaller learning rate: Adam moves every weight by about the rate, and what
D aligned moves do to a product grows with D. With m = width / width of a base model, a ViT and Adam:

    parameter                               first deviation     rate      multiplier
    patch projection                        1 / sqrt(fan in)    lr        1            its input does not grow
    positions, tokens, LayerNorm, biases    as ever             lr        1            "vectors": one axis grows
    matrices of the blocks                  1 / sqrt(fan in)    lr / m    1            both axes grow
    head                                    that of the base    lr        1 / m        its output does not grow

Scores of attention are multiplied by sqrt(Dh of the base) / Dh instead of 1 / sqrt(Dh), if the heads grow. If their
number grows instead, 1 / sqrt(Dh) stays. A head and queries of zero are
recommended. The ViT's first values fit already: Xavier for blocks, LeCun for patches, zero for the head, 0.02 for
positions. (0.02 for all matrices, as in timm's ViT, does not.) A model of the base width is the usual model.

Only products of multiplier, first value and rate matter to Adam. So the matrices may keep the rate lr, if they are
stored m times too large and multiplied by 1 / m: `multipliers`, with which any AdamW trains a `Mup` rightly. Without,
`MuAdamW` gives each parameter its rate. Weight decay: AdamW multiplies it by the rate, so the library multiplies it by
m for matrices, unless it is `decoupled`. Of both forms the decay is the same.

Source: microsoft/mup. What does depend on the width: Adam's epsilon, since gradients of matrices shrink (1e-12 in the
check below), and a clipped norm of gradients. The depth is not covered.

B batch, N tokens, D width, H heads, Dh width of a head, F MLP width, K classes.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.lineage.exchanged import only_plain
from minivit.models import ViT, ViTConfig
from minivit.models.config import variant_fields
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, HeadwiseAttention, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng
from minivit.ops.attention import attention_weights
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

PARITY = "groups of the published library for a ViT; coordinate check of a slow reference, up to its random draws"
Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class MupConfig(ViTConfig):
    """A ViT's, and: base_width: the width of the base model; base_heads: its number of heads, if heads grow with the
    width; 0 if their number grows. zero_head, zero_query: whether the head and the queries begin as zero; multipliers:
    see above."""

    base_width: int = 64
    base_heads: int = 0
    zero_head: bool = True
    zero_query: bool = False
    multipliers: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_width < 1 or self.base_heads < 0 or self.base_width % (self.base_heads or 1):
            raise ConfigError(f"base_width is {self.base_width}, expected a multiple of base_heads {self.base_heads}")
        for name, wanted in (("representation_size", None), ("stem", None), ("distillation_token", False)):
            if getattr(self, name) != wanted:
                raise ConfigError(f"muP is for a ViT without {name}")
        only_plain(self, "muP")

    @property
    def growth(self) -> float:
        """m, the width as a multiple of the base model's."""
        return self.width / self.base_width

    @property
    def score_scale(self) -> float:
        """The factor on q k^T: 1 / sqrt(Dh) in the base model, and falling as 1 / Dh."""
        own = self.width // self.heads
        return math.sqrt(self.base_width // self.base_heads if self.base_heads else own) / own


@dataclasses.dataclass(frozen=True)
class Group:
    """How a parameter is trained.   infinite: how many of its axes grow with the width; growth: m along its input, or
    along its one growing axis."""

    infinite: int
    growth: float
    lr: float
    weight_decay: float


def base_shape(base: tuple[int, ...], delta: tuple[int, ...]) -> tuple[int | None, ...]:
    """The lengths of the axes that grow, which are those that differ between two models; None for others. Raises
    ValueError for shapes with different numbers of axes."""
    return tuple(a if a != b else None for a, b in zip(base, delta, strict=True))


def groups(
    shapes: Shapes,
    base: Shapes,
    delta: Shapes,
    lr: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    fan_in: int = -2,
) -> dict[str, Group]:
    """The rate and weight decay of each parameter for Adam.

    shapes: of the model, by name; base: of the base model; delta: of one of another width, which shows the axes that
    grow. decoupled: the decay is not multiplied by the rate. fan_in: the axis of a matrix along which it sums; -1 where
    a layer is (out, in). Raises ValueError for other names or numbers of axes, and for three growing axes.
    """
    if not shapes.keys() == base.keys() == delta.keys():
        raise ValueError(f"groups: these are not in all models: {sorted(shapes.keys() ^ base.keys()) or sorted(delta)}")
    found = {}
    for name, shape in shapes.items():
        known = base_shape(base[name], delta[name])
        growth = {axis: n / b for axis, (n, b) in enumerate(zip(shape, known, strict=True)) if b is not None}
        if len(growth) > 2:
            raise ValueError(f"groups: {len(growth)} axes of {name} grow with the width, expected at most 2")
        m = growth.get(len(shape) + fan_in, next(iter(growth.values()), 1.0))
        rate, decay = (lr / m, weight_decay * (1 if decoupled else m)) if len(growth) == 2 else (lr, weight_decay)
        found[name] = Group(len(growth), m, rate, decay)
    return found


class MuAdamW(AdamW):
    """AdamW with the rates and decays of `groups`, for a model whose matrices have no multiplier.

    base, delta: shapes by name, from `shapes_of`.   The other arguments: AdamW.
    """

    def __init__(
        self, parameters: Any, base: Shapes, delta: Shapes, *args: Any, decoupled: bool = False, **options: Any
    ):
        parameters = list(parameters)
        super().__init__(parameters, *args, **options)
        shapes = {name: tensor.shape for name, tensor in parameters}
        own = groups(shapes, base, delta, 1.0, 1.0, decoupled)
        self.factors = [(own[name].lr, own[name].weight_decay) for name in self.names]

    def current(self) -> list[tuple[float, float]]:
        pairs = zip(super().current(), self.factors, strict=True)
        return [(lr * rate, decay * more) for (lr, decay), (rate, more) in pairs]


def shapes_of(model: Module) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters that learn, by name."""
    return {name: tensor.shape for name, tensor in model.named_parameters()}


class ScaledLinear(Linear):
    """y = x (W / m) + b."""

    factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.factor, self.bias)


class ScaledMLP(MLP):
    """An MLP of two ScaledLinear."""

    hidden: ScaledLinear

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = F.linear_gelu(x, self.hidden.weight * self.hidden.factor, self.hidden.bias, self.gelu)
        return self.dropout(self.out(self.dropout(x, rng)), rng)


class MupAttention(HeadwiseAttention):
    """Attention with its own scale of the scores."""

    scale = 1.0

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.softmax((q * self.scale) @ k.transpose(0, 1, 3, 2)) @ v

    def shown(self, q: Array, k: Array) -> dict[str, Array]:
        usual = q.shape[-1] ** -0.5
        scores = (q * self.scale) @ k.swapaxes(-1, -2)
        return {"attention_scores": scores, "attention_weights": attention_weights(q * (self.scale / usual), k)}


class Readout(Head):
    """A head whose input is divided by m: (B, D) -> (B, K). Its bias is not."""

    factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.factor)


class Mup(ViT):
    """A ViT in muP. At the base width it is the usual ViT, and its parameters have the same names at every width."""

    def __init__(self, config: MupConfig, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, seed, dtype)
        m = config.growth
        for block in self.blocks:
            block.attention = MupAttention.instead_of(block.attention, scale=config.score_scale)
            if config.zero_query:
                block.attention.qkv.weight.data[:, : config.width] = 0
            if config.multipliers and m != 1:
                block.mlp = _as(ScaledMLP, block.mlp)
                for layer, name in (
                    (block.attention, "qkv"),
                    (block.attention, "out"),
                    (block.mlp, "hidden"),
                    (block.mlp, "out"),
                ):
                    setattr(layer, name, _as(ScaledLinear, getattr(layer, name), factor=1 / m))
                    if seed is not None:  # zeros take no memory until they are written
                        getattr(layer, name).weight.data *= m
        if config.num_classes:
            self.head = _as(Readout, self.head, factor=1 / m)
        if config.num_classes and not config.zero_head and seed is not None:
            rng = np.random.default_rng((seed, 1))
            self.head.weight.data[...] = init.normal(rng, self.head.weight.shape, config.base_width**-0.5)


def _as(kind: Any, given: Module, **fields: Any) -> Any:
    """A module of another class with the attributes of `given`, and with these."""
    made = kind.__new__(kind)
    vars(made).update(vars(given), **fields)
    return made


def coordinate_check(
    model: ViT, images: np.ndarray, labels: np.ndarray, optimizer: AdamW, steps: tuple[int, ...] = (1, 5)
) -> dict[str, dict[str, float]]:
    """How large the values inside a model are at the start, "init", and how far they have moved after some updates on
    one batch, "change1", "change5": means of absolute values. In muP the second does not depend on the width. With a
    head of zero the first update moves only the head, so look at later ones."""
    start, found = coordinates(model, images), {}
    found["init"] = {name: float(np.abs(x).mean()) for name, x in start.items()}
    for step in range(1, max(steps) + 1):
        loss = F.cross_entropy(model(images), labels)
        optimizer.step(grad(loss, optimizer.parameters))
        if step in steps:
            now = coordinates(model, images)
            found[f"change{step}"] = {name: float(np.abs(now[name] - x).mean()) for name, x in start.items()}
    return found


def coordinates(model: ViT, images: np.ndarray) -> dict[str, np.ndarray]:
    """The values of a model on some images: "embed", of each block its scores "logits0" and output "block0",
    "features" and the "output"."""
    tap: dict[str, Any] = {}
    output = model(images, tap)
    names = {"embedded": "embed", "features": "features"}
    for i in range(len(model.blocks)):
        names |= {f"block{i}/attention_scores": f"logits{i}", f"block{i}/output": f"block{i}"}
    found = {name: tap[place] for place, name in names.items()}
    return {name: np.array(getattr(x, "data", x)) for name, x in {**found, "output": output}.items()}


def slope(values: Mapping[int, float]) -> float:
    """By how many doublings a value grows with each doubling of the width: the least-squares slope of the logarithms.
    values: by width."""
    return float(np.polyfit(np.log2(list(values)), np.log2(list(values.values())), 1)[0])


def fields(name: str) -> dict[str, Any]:
    """The fields for "mup-S/16": a ViT-S/16 whose base has the width 64, and heads of the same width."""
    return variant_fields(name.partition("-")[2])


FAMILY = Family(MupConfig, Mup, r"mup-.+", fields)

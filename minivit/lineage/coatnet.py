"""CoAtNet (Dai et al. 2021, "CoAtNet: Marrying Convolution and Attention for All Data Sizes", arXiv 2106.04803).

Two stages of convolutions, then two of attention, each on a map of half the side. A depthwise convolution weights its
neighbours by w(i - j), attention by the content; the sum of both inside one softmax is attention with a bias:

    y_i = sum over j of softmax_j(q_i k_j / sqrt(Dh) + w(i - j)) v_j.

New against ViT: w, a table of its own in every block, one number for each head and each difference (rows, columns) of
two places; no [class] token and no position embedding; convolutional stages before. All blocks normalise first: x <-
shortcut(x) + f(norm(x)). Where a stage begins, f halves the map, and shortcut is a 2 x 2 mean and a matrix. C is MBConv
with batch normalisation, T is attention and an MLP with LN.

There is no official code. timm's maxxvit.py is the source here; its coatnet_0 to 5 follow the paper. C: BN, 1 x 1 to
4 E channels, four times the output's, BN, GELU, 3 x 3 depthwise with the stride, BN, GELU, SE with 0.25 E channels
inside, 1 x 1. T: the map is pooled after its LN and before queries, keys and values, which lie head by head: q, k, v of
head 0, then of head 1. The head is mean, LN, a matrix and tanh, a matrix. The trained weights, timm's "rw", differ by
fields below. Kernels are drawn with variance 2 / fan_out, matrices of T as a ViT's. The head begins at zero.

B batch, h x w places, N = h w, C channels before a block and E after, Dh width of an attention head.
"""

import dataclasses
import functools
import math
import re
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, leaves_width, one_of, positive, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, BatchNorm, Conv, DropPath, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layer_scale import LayerScale
from minivit.nn.layers import Rng, Tap
from minivit.nn.sequence import Sequence
from minivit.nn.squeeze_excite import ACTIVATIONS, NormAct, SqueezeExcite
from minivit.nn.windows import relative_index
from minivit.tensor import Tensor

PARITY = "logits, maps inside and gradients of timm's code"
_SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {  # blocks and channels of each stage, of the stem
    "coatnet-0": ((2, 3, 5, 2), (96, 192, 384, 768), 64), "coatnet-1": ((2, 6, 14, 2), (96, 192, 384, 768), 64),
    "coatnet-2": ((2, 6, 14, 2), (128, 256, 512, 1024), 128), "coatnet-3": ((2, 6, 14, 2), (192, 384, 768, 1536), 192),
    "coatnet-4": ((2, 12, 28, 2), (192, 384, 768, 1536), 192),
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"depths": d, "widths": w, "stem": (s, s), "hidden": w[-1]} for name, (d, w, s) in _SHAPES.items()},
    "coatnet-small32": {"depths": (1, 1, 2, 1), "widths": (32, 48, 96, 128), "stem": (24, 24), "hidden": 128,
                        "stem_stride": 1, "head_width": 16},  # for images of 32 pixels
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CoAtNetConfig:
    """The shape of a CoAtNet; the defaults are CoAtNet-0's. Raises ConfigError for parts that do not fit.
    depths, widths, kinds: blocks, channels and kinds of each stage, "C" or "T", or "CT" for C first and then T.
    stem: channels of both first convolutions. stem_stride: of the first. head_width: Dh. hidden: of the classifier,
    None for none. drop_path: rate at the last block, falling linearly to 0.
    Of C: act; kernel; expansion, of the output's channels or without `of_output` the input's; squeeze: channels in SE,
    a share of the output's or else of the expanded ones; squeeze_act; squeeze_early: SE before the second norm;
    pre_act: activation after the first norm; conv_bias: of the last 1 x 1 and the shortcut; pool_first: a mean shrinks
    the map, not the depthwise convolution; conv_eps. Of T: mlp_ratio; wide: queries, keys and values are as wide
    as the output, else as the input; attention_bias; shortcut_bias; batch_norm: BN for LN; norm_eps; layer_scale.
    """

    depths: tuple[int, ...] = (2, 3, 5, 2)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    kinds: tuple[str, ...] = ("C", "C", "T", "T")
    stem: tuple[int, ...] = (64, 64)
    image_size: Size = Size(224)
    num_classes: int = 1000
    channels: int = 3
    hidden: int | None = 768
    head_width: int = 32
    stem_stride: int = 2
    stem_bias: bool = False
    drop_path: float = 0.0
    act: str = "gelu"
    kernel: int = 3
    expansion: float = 4.0
    of_output: bool = True
    squeeze: float = 0.25
    squeeze_act: str = "silu"
    squeeze_early: bool = False
    pre_act: bool = False
    conv_bias: bool = True
    pool_first: bool = False
    conv_eps: float = 1e-5
    mlp_ratio: float = 4.0
    wide: bool = True
    attention_bias: bool = True
    shortcut_bias: bool = True
    batch_norm: bool = False
    norm_eps: float = 1e-6
    layer_scale: float | None = None

    def __post_init__(self) -> None:
        settle(self)
        if not self.depths or not len(self.depths) == len(self.widths) == len(self.kinds) or len(self.stem) != 2:
            raise ConfigError("depths, widths and kinds: expected one each to a stage; stem: two numbers")
        if not all(re.fullmatch("[CT]+", kinds) for kinds in self.kinds):
            raise ConfigError(f"kinds is {self.kinds}, expected letters C and T for each stage")
        if min(*self.depths, *self.widths, *self.stem) < 1 or self.kernel % 2 == 0:
            raise ConfigError("expected depths, widths and a stem of at least 1, and an odd kernel")
        at_least(self, 1, "channels", "head_width", "stem_stride")
        at_least(self, 0, "num_classes", "squeeze", "hidden")
        positive(self, "expansion", layer_scale="none")
        epsilon(self, "conv_eps", "norm_eps")
        leaves_width(self.mlp_ratio, min(self.widths))
        rates(self, "drop_path")
        one_of(self, act=ACTIVATIONS, squeeze_act=ACTIVATIONS)
        shrink = self.stem_stride * 2 ** len(self.depths)
        if any(side % shrink or not side for side in self.image_size):
            raise ConfigError(f"image_size is {self.image_size}, expected multiples of {shrink}")

    @property
    def width(self) -> int:
        """The channels of the last map."""
        return self.widths[-1]

    def grid(self, stage: int) -> tuple[int, int]:
        """The rows and columns of the map of a stage."""
        shrink = self.stem_stride * 2 ** (stage + 1)
        return self.image_size[0] // shrink, self.image_size[1] // shrink

    @property
    def num_tokens(self) -> int:
        """The places of the first map: batches are cut by it."""
        return math.prod(self.grid(0))

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"CoAtNet: {self.depths} blocks {'-'.join(self.kinds)}, {self.widths[0]} to {self.width} channels"


class Mean(Module):
    """The mean of 2 x 2 places.   (B, h, w, C) -> (B, h / 2, w / 2, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x)


class ConvBlock(Module):
    """MBConv that normalises first.   (B, h, w, C) -> (B, h / stride, w / stride, E)."""

    def __init__(self, ends: tuple[int, int], stride: int, grid: Any, config: CoAtNetConfig, rate: float, dtype: str):
        before, after = ends
        inside = max(8, int((after if config.of_output else before) * config.expansion + 4) // 8 * 8)
        squeezed = int(config.squeeze * (after if config.of_output else inside))
        squeeze = SqueezeExcite(inside, squeezed, None, dtype, config.squeeze_act) if squeezed else Sequence()
        self.shortcut = shortcut(ends, stride, config.conv_bias, dtype)
        self.pools = stride == 2 and config.pool_first
        stride, kernel = 1 if self.pools else stride, config.kernel
        self.pre_norm = NormAct(before, config.act if config.pre_act else "none", dtype, eps=config.conv_eps)
        self.conv1_1x1 = Linear(before, inside, None, dtype, bias=False)
        self.norm1 = NormAct(inside, config.act, dtype, eps=config.conv_eps)
        self.conv2_kxk = Conv(kernel, inside, inside, None, dtype, stride, kernel // 2, groups=inside, bias=False)
        self.se_early = squeeze if config.squeeze_early else Sequence()
        self.norm2 = NormAct(inside, config.act, dtype, eps=config.conv_eps)
        self.se = Sequence() if config.squeeze_early else squeeze
        self.conv3_1x1 = Linear(inside, after, None, dtype, bias=config.conv_bias)
        self.drop_path = DropPath(rate)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        y = self.pre_norm(x)
        y = self.norm1(self.conv1_1x1(F.avg_pool2d(y) if self.pools else y))
        y = self.se(self.norm2(self.se_early(self.conv2_kxk(y))))
        return self.shortcut(x) + self.drop_path(self.conv3_1x1(y), rng)


class Attention(Module):
    """(B, h, w, C) -> (B, h, w, E).   table: w, ((2 h - 1)(2 w - 1), heads)."""

    def __init__(self, ends: tuple[int, int], grid: tuple[int, int], config: CoAtNetConfig, dtype: str):
        inside = ends[1] if config.wide else ends[0]
        if inside % config.head_width:
            raise ConfigError(f"head_width {config.head_width} does not divide {inside} channels")
        self.grid, self.heads = grid, inside // config.head_width
        self.qkv = Linear(ends[0], 3 * inside, None, dtype, bias=config.attention_bias)
        self.table = init.parameter(init.constant(0, ((2 * grid[0] - 1) * (2 * grid[1] - 1), self.heads)), dtype)
        self.proj = Linear(inside, ends[1], None, dtype, bias=config.attention_bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        if (height, width) != self.grid:
            raise ValueError(f"CoAtNet: a map of {(height, width)} places, expected {self.grid}")
        parts = self.qkv(x).reshape(batch, height * width, self.heads, 3, -1)  # head by head
        q, k, v = (parts[:, :, :, i].reshape(batch, height * width, -1) for i in range(3))
        bias = self.table[relative_index(self.grid, xp_of(x.data))].transpose(2, 0, 1)  # (heads, N, N)
        y = F.attend(q, k, v, bias, heads=self.heads)
        return self.proj(y.reshape(batch, height, width, -1))


class TransformerBlock(Module):
    """(B, h, w, C) -> (B, h / stride, w / stride, E)."""

    def __init__(self, ends: tuple[int, int], stride: int, grid: Any, config: CoAtNetConfig, rate: float, dtype: str):
        norm, scale = block_norm(ends[0], config, dtype), config.layer_scale
        self.shortcut = shortcut(ends, stride, config.shortcut_bias, dtype)
        self.norm1 = Sequence(norm, Mean()) if stride == 2 else norm
        self.attn = Attention(ends, grid, config, dtype)
        self.ls1, self.ls2 = (LayerScale(ends[1], scale, dtype) if scale else Sequence() for _ in range(2))
        self.norm2 = block_norm(ends[1], config, dtype)
        self.mlp = MLP(ends[1], int(ends[1] * config.mlp_ratio), None, dtype, gelu="erf")
        self.drop_path = DropPath(rate)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = self.shortcut(x) + self.drop_path(self.ls1(self.attn(self.norm1(x))), rng)
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))), rng)


def shortcut(ends: tuple[int, int], stride: int, bias: bool, dtype: str) -> Sequence:
    """(B, h, w, C) -> (B, h / stride, w / stride, E): a mean and a matrix, each where needed."""
    matrix = [Linear(*ends, None, dtype, bias=bias)] if ends[0] != ends[1] else []
    return Sequence(*([Mean()] if stride == 2 else []), *matrix)


def block_norm(channels: int, config: CoAtNetConfig, dtype: str) -> Module:
    """The normalisation of T and of the classifier."""
    return (BatchNorm if config.batch_norm else LayerNorm)(channels, eps=config.norm_eps, dtype=dtype)


class Hidden(Linear):
    """A matrix, then tanh."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(super().forward(x))


class Classifier(Module):
    """(B, h, w, C) -> logits (B, num_classes), or features without classes."""

    def __init__(self, config: CoAtNetConfig, dtype: str):
        width, hidden = config.width, config.hidden
        self.norm = block_norm(width, config, dtype)
        self.pre_logits = Hidden(width, hidden, None, dtype) if hidden else None
        self.fc = Head(hidden or width, config.num_classes, None, dtype) if config.num_classes else None

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        hidden = self.pre_logits
        features = hidden(self.norm(x.mean(axis=(1, 2)))) if hidden else self.norm(x).mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return self.fc(features) if self.fc else features


class CoAtNet(Module):
    """The model of `config`. seed=None draws nothing: arrays of zeros, to be counted or filled."""

    def __init__(self, config: CoAtNetConfig, seed: int | None = 0, dtype: str = "float32"):
        self.config, (first, second) = config, config.stem
        self.stem = Sequence(
            Conv(3, config.channels, first, None, dtype, config.stem_stride, 1, bias=config.stem_bias),
            NormAct(first, config.act, dtype, eps=config.conv_eps),
            Conv(3, first, second, None, dtype, 1, 1, bias=config.stem_bias),
        )
        rates = np.split(np.linspace(0, config.drop_path, sum(config.depths)), np.cumsum(config.depths)[:-1])
        before, self.stages = config.stem[1], []
        for i, after in enumerate(config.widths):
            blocks: list[Module] = []
            for j, rate in enumerate(rates[i]):
                kind = ConvBlock if config.kinds[i][min(j, len(config.kinds[i]) - 1)] == "C" else TransformerBlock
                blocks.append(kind((before, after), 1 if j else 2, config.grid(i), config, float(rate), dtype))
                before = after
            self.stages.append(Sequence(*blocks))
        self.head = Classifier(config, dtype)
        rng = None if seed is None else np.random.default_rng(seed)
        for name, tensor in self.named_parameters():
            tensor.name, shape = name, tensor.shape
            if rng and name.endswith("attn.table"):
                tensor.data[...] = rng.normal(0, 0.02, shape)
            elif rng and name.endswith("weight") and (name.startswith("stem") or re.search(r"conv|\.se|expand", name)):
                fan_out = math.prod(shape[:-2]) * (1 if "kxk" in name else shape[-1])
                tensor.data[...] = rng.normal(0, math.sqrt(2 / fan_out), shape)
            elif rng and name.endswith("weight") and not name.startswith("head.fc"):
                tensor.data[...] = init.xavier_uniform(rng, *shape)

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, C) if the model has no head.

        images: (B, height, width, channels) of the config's size. tap: a dict for "stage0", ... and "features".
        """
        x = self.stem(self.tensor(images))
        for i, stage in enumerate(self.stages):
            x = stage(x, rng)
            if tap is not None:
                tap[f"stage{i}"] = x
        return self.head(x, tap)


FAMILY = Family(CoAtNetConfig, CoAtNet, "coatnet-.*", functools.partial(variant, VARIANTS))

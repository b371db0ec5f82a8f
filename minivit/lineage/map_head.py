"""A ViT whose head attends (Zhai et al. 2021, "Scaling Vision Transformers", arXiv 2106.04560): the MAP head.

New against ViT: in place of a [class] token that walks through all blocks, one learned query, the probe, reads the
patches after the last of them. With x the patches after the last LayerNorm,

    y = MHA(probe; x),   z = y + MLP(LN(y)),   logits = z W + b.

The probe itself is not added to y. SigLIP's image tower is such a model without W and b.

Source: google-research/big_vision, models/vit.py, pool_type "map"; timm, layers/attention_pool.py. big_vision has the
tanh form of GELU, timm the erf form; timm packs keys and values.

B batch, N patches, D width, K classes.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from minivit.backend import Array
from minivit.files.checks import at_least
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models import ViT, ViTConfig
from minivit.models.config import VARIANTS as SIZES
from minivit.models.config import Size, variant_fields
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Module
from minivit.nn import initialisers as init
from minivit.nn.attention_pool import AttentionPool
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

PARITY = "logits, loss and gradients of timm's ViT with attention pooling"
VARIANTS: dict[str, dict[str, Any]] = {
    f"map-{name.lower()}{patch}": variant_fields(f"{name}/{patch}") for name in SIZES for patch in (16, 14, 32)
}
VARIANTS["map-mini"] = {"image_size": 32, "patch_size": 4, "width": 96, "depth": 6, "heads": 3, "mlp_width": 192}


@dataclasses.dataclass(frozen=True)
class MapHeadConfig:
    """The shape of a ViT with attention pooling: fields as in ViTConfig. Raises ConfigError for parts that do not fit.

    pool_heads, pool_mlp_width: of the pooling; 0 for those of a block. pool_prefix: whether tokens before the patches
    are read with them.
    """

    image_size: Size = Size(224)
    patch_size: Size = Size(16)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 3
    gelu: str = "tanh"
    norm_eps: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0
    class_token: bool = False
    register_tokens: int = 0
    no_embed_class: bool = False
    layer_scale: float | None = None
    qkv_bias: bool = True
    pool_heads: int = 0
    pool_mlp_width: int = 0
    pool_prefix: bool = False

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 0, "num_classes", "pool_heads", "pool_mlp_width")
        ViTConfig(**{**_shared(self), "heads": self.pool_heads or self.heads})  # checks both numbers of heads
        self.base  # noqa: B018  raises for parts that do not fit

    @property
    def base(self) -> ViTConfig:
        """The ViT below the head."""
        return ViTConfig(**_shared(self))

    @property
    def num_tokens(self) -> int:
        return self.base.num_tokens

    @property
    def description(self) -> str:
        """The model in a few words."""
        size = f"width {self.width}, depth {self.depth}, {self.heads} heads, {self.num_tokens} tokens"
        return f"MapHead: {size}, attention pooling"


def _shared(config: MapHeadConfig) -> dict[str, Any]:
    own = ("pool_heads", "pool_mlp_width", "pool_prefix")
    return {**{name: x for name, x in vars(config).items() if name not in own}, "num_classes": 0, "classifier": "gap"}


class MapHead(Module):
    """The model of `config`; the last layer begins at zero. seed, dtype: as in `ViT`."""

    def __init__(self, config: MapHeadConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.config, width = config, config.width
        heads, hidden = config.pool_heads or config.heads, config.pool_mlp_width or config.mlp_width
        self.network = ViT(config.base, seed, dtype)
        self.pool = AttentionPool(width, heads, hidden, rng, dtype, config.gelu, config.norm_eps)
        if config.num_classes:
            self.head = Head(width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, K), or what the pooling gives, (B, D), without a head.   images, tap: as in `ViT`; "features" are
        (B, D)."""
        inner: Tap = None if tap is None else {}
        x = self.network.dropout(self.network.embed(self.network.tensor(images)), rng)
        encoded = self.network.encode(x, rng, inner)
        before = 0 if self.config.pool_prefix else self.config.class_token + self.config.register_tokens
        features = self.pool(encoded[:, before:] if before else encoded)[:, 0]
        if tap is not None:
            tap.update(inner or {}, embedded=x, encoded=encoded, features=features)
        return self.head(features) if self.config.num_classes else features


FAMILY = Family(MapHeadConfig, MapHead, "map-.*", functools.partial(variant, VARIANTS))

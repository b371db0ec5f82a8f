"""The shape of a modern ViT, and the published models by their names in timm."""

import dataclasses
import math
import re
from typing import Any

from minivit.errors import ConfigError, shown
from minivit.files.checks import at_least, epsilon, heads_divide, one_of, patches_tile, positive, rates
from minivit.files.fields import settle
from minivit.models.config import Size

CHOICES = {
    "classifier": ("token", "gap"),
    "position": ("none", "learned", "patches"),
    "rope": ("none", "axial", "mixed", "dinov3"),
    "relative": ("none", "table", "shared", "mlp", "shared-mlp", "swin-mlp", "shared-swin-mlp"),
    "norm": ("layer", "layer-no-bias", "rms"),
    "qkv_bias": ("none", "qv", "all"),
    "mlp": ("gelu", "swiglu", "geglu"),
}


@dataclasses.dataclass(frozen=True)
class ModernConfig:
    """The shape of a modern ViT. Raises ConfigError, in one line, for parts that do not fit.

    Fields of ViTConfig's names mean what they mean there. mlp_width: default 4 D, of a gated MLP 8 D / 3.
    classifier: "token" or "gap"; class_token: whether there is one, "token" needs it.
    position: "none", "learned" (a row for every token) or "patches" (rows for patches only).
    rope, rope_base, rope_x_first, rope_halves, rope_first: as in `models.rope.Rope`; rope_grid: its `trained`.
    relative: "table" (BEiT, a table in each block), "mlp" (timm), "swin-mlp"; with "shared" one for all blocks.
    relative_width: hidden features of the network that gives relative positions.
    norm: kind of all norms; qk_norm: whether queries and keys are normalised; attention_norm: a norm on what attention
    gives, before its last matrix; mlp_norm: the same in the MLP. qkv_bias: "qv" gives keys none.
    mlp: "gelu" (exact), "swiglu", or "geglu", whose gate is gelu instead of silu.
    fc_norm: the last norm comes after the mean over patches.
    """

    image_size: Size = Size(224)
    patch_size: Size = Size(16)
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 3
    classifier: str = "gap"
    class_token: bool = False
    register_tokens: int = 0
    position: str = "none"
    rope: str = "none"
    rope_base: float | None = None
    rope_x_first: bool = False
    rope_halves: bool = False
    rope_grid: tuple[int, int] | None = None
    rope_first: float = 0.0
    relative: str = "none"
    relative_width: int = 128
    norm: str = "layer"
    norm_eps: float = 1e-6
    qk_norm: bool = False
    qkv_bias: str = "all"
    attention_norm: bool = False
    mlp: str = "gelu"
    mlp_norm: bool = False
    layer_scale: float | None = None
    fc_norm: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        usual = 4 * self.width if self.mlp == "gelu" else 8 * self.width // 3
        object.__setattr__(self, "mlp_width", self.mlp_width or usual)
        at_least(self, 1, "width", "depth", "heads", "mlp_width", "channels", "relative_width")
        at_least(self, 0, "num_classes", "register_tokens")
        one_of(self, **CHOICES)
        patches_tile(self.image_size, self.patch_size)
        heads_divide(self.width, self.heads)
        if self.rope != "none" and self.width // self.heads % 4:
            raise ConfigError(f"rope needs heads whose width is a multiple of 4, not {self.width // self.heads}")
        if self.relative in ("table", "shared") and self.register_tokens:
            raise ConfigError("a table of relative positions has no rows for register_tokens")
        if self.classifier == "token" and not self.class_token:
            raise ConfigError('classifier "token" reads the [class] token: set class_token')
        rates(self, "dropout", "drop_path")
        epsilon(self)
        positive(self, rope_base="the usual one", layer_scale="none")
        if not math.isfinite(self.rope_first):
            raise ConfigError(f"rope_first is {self.rope_first}, expected a finite number")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def before(self) -> int:
        """The tokens before the patches."""
        return self.class_token + self.register_tokens

    @property
    def num_tokens(self) -> int:
        """N: patches, and the tokens before them."""
        return self.grid[0] * self.grid[1] + self.before

    @property
    def description(self) -> str:
        """The model in a few words."""
        parts = [f"RoPE {self.rope}"] * (self.rope != "none") + [f"relative {self.relative}"] * (
            self.relative != "none"
        )
        parts += [self.mlp] * (self.mlp != "gelu") + ["QK-norm"] * self.qk_norm + ["RMSNorm"] * (self.norm == "rms")
        return (
            f"Modern: {', '.join([*parts, ''])}width {self.width}, depth {self.depth}, {self.heads} heads, "
            f"{self.num_tokens} tokens"
        )


SIZES = {  # width, depth, heads; nano, for small images, is not a published one
    "nano": (96, 6, 3),
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 20),
    "7b": (4096, 40, 32),
}
_ROPE_VIT = {"classifier": "token", "class_token": True, "layer_scale": 1e-5, "rope_x_first": True}
_LEARNED = {"position": "patches"}
KINDS: dict[str, dict[str, Any]] = {
    "modern": {
        "rope": "axial", "rope_base": 100.0, "norm": "rms", "qk_norm": True, "qkv_bias": "none", "mlp": "swiglu",
        "register_tokens": 4, "layer_scale": 0.1,
    },
    "eva02": {
        "class_token": True, "position": "learned", "rope": "axial", "rope_grid": (16, 16), "qkv_bias": "qv",
        "mlp": "swiglu", "fc_norm": True,
    },
    "beit": {"class_token": True, "relative": "table", "qkv_bias": "qv", "fc_norm": True, "layer_scale": 0.1},
    "vit_relpos": {"relative": "mlp", "qkv_bias": "none", "fc_norm": True, "layer_scale": 1e-6},
    "rope": {**_ROPE_VIT, "rope": "axial", "rope_base": 100.0},
    "rope_ape": {**_ROPE_VIT, **_LEARNED, "rope": "axial", "rope_base": 100.0},
    "rope_mixed": {**_ROPE_VIT, "rope": "mixed"},
    "rope_mixed_ape": {**_ROPE_VIT, **_LEARNED, "rope": "mixed"},
    "dinov3": {
        "classifier": "token", "class_token": True, "register_tokens": 4, "rope": "dinov3", "rope_halves": True,
        "qkv_bias": "none", "layer_scale": 1e-5, "norm_eps": 1e-5,
    },
}  # fmt: skip
NAMES = (
    r"(?!vit_[a-z0-9]+_patch[0-9]+(_[0-9]+)?$)"  # of a plain ViT
    rf"(?P<kind>eva02|beit|modern|vit_relpos|vit)_(?P<size>{'|'.join(SIZES)})(?P<plus>_plus)?"
    r"_patch(?P<patch>[0-9]{1,5})(_(?P<form>rope_mixed_ape|rope_mixed|rope_ape|rope|dinov3))?(_(?P<image>[0-9]{1,5}))?"
    r"(?<!^vit_\w)"
)


def fields(name: str) -> dict[str, Any]:
    """The fields of ModernConfig for a name as timm has it: "eva02_small_patch14_224", "vit_small_patch16_rope_224",
    "vit_small_plus_patch16_dinov3", "beit_base_patch16_224". Any size, patch and image may be named."""
    match = re.fullmatch(NAMES, name)
    kind = match and (match["form"] if match["kind"] == "vit" else match["kind"])
    if not match or not kind or (match["kind"] != "vit" and match["form"]) or (match["plus"] and kind != "dinov3"):
        raise ConfigError(f'unknown model "{shown(name)}", expected a name such as vit_small_patch16_rope_224')
    width, depth, heads = SIZES[match["size"]]
    found = {"patch_size": int(match["patch"]), "width": width, "depth": depth, "heads": heads, **KINDS[kind]}
    if match["image"]:
        found["image_size"] = int(match["image"])
    if kind == "eva02" and width >= 768:
        found["mlp_norm"] = True
    if kind == "beit" and width >= 1024:
        found["layer_scale"] = 1e-5
    if match["plus"]:
        found |= {"mlp": "swiglu", "mlp_width": 4 * width}
    if kind == "dinov3" and match["size"] == "7b":
        found |= {"mlp": "swiglu", "mlp_width": 2 * width}
    return found

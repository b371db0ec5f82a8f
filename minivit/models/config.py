"""ViTConfig: the shape of a Vision Transformer, and the variants of the paper by name."""

import dataclasses
import math
import re
from numbers import Integral
from typing import Any

from minivit.errors import ConfigError, shown
from minivit.files.checks import at_least, epsilon, heads_divide, one_of, patches_tile, rates
from minivit.files.fields import settle

# name: width, depth, heads, MLP width. Ti and S: Steiner et al. 2021; B, L, H: Dosovitskiy et al. 2020, Table 1.
VARIANTS = {
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
}

MAX_SIDE = 2**14  # pixels
MAX_LAYER_SCALE = 1e6  # such factors begin below 1; a file may say anything, and this is still a float32

# name: variant, patch size on the feature map, units per stage of the stem (Steiner et al. 2021). "R+Ti/16" is its
# published name, but as the stem already shrinks by 4, it sees as many tokens as a model of patch size 32.
HYBRIDS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "R+Ti/16": ("Ti", 8, ()),
    "R26+S/32": ("S", 1, (2, 2, 2, 2)),
    "R26+B/32": ("B", 1, (2, 2, 2, 2)),
    "R50+B/16": ("B", 1, (3, 4, 9)),
    "R50+L/32": ("L", 1, (3, 4, 6, 3)),
}


class Size:
    """A field that holds (height, width); assigning one number sets both. Raises ConfigError as `size_pair`.

    This is a descriptor: Python calls its methods when the field of a record is read or set, and type checkers know it.
    """

    def __init__(self, default: int):
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, record: object, owner: type | None = None) -> tuple[int, int]:
        return (self.default, self.default) if record is None else vars(record)[self.name]

    def __set__(self, record: object, value: int | tuple[int, int]) -> None:
        vars(record)[self.name] = size_pair(value, self.name)


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """The shape of a Vision Transformer. Raises ConfigError (a ValueError), in one line, for parts that do not fit.

    image_size, patch_size: (height, width) in pixels; a number stands for both.
    width D, depth L, heads H, mlp_width F (default 4 D), num_classes (0: no head, the model returns features).
    classifier: "token" (a [class] token is prepended and read) or "gap" (no such token; mean over all tokens).
    representation_size: width of a tanh layer before the head, None for none.
    dropout: after the position embedding, the attention's projection, the GELU and the MLP;
    attention_dropout: on the attention weights; drop_path: stochastic depth, rising linearly to this rate at the last
    block. gelu: "tanh" (published code) or "erf" (timm, Hugging Face). norm_eps: of every LayerNorm.
    position: "learned" (1-D, the default), "learned2d" (one table for rows and one for columns, half the width each),
    "sincos2d" (fixed), "relative" (1-D) or "none": the ablation of the paper's appendix D.4; or "rope" (rotary). Both
    "relative" and "rope" are parts of the attention (`minivit.models.placed_attention`).
    head_bias: initial bias of the head (-10 in the published multi-label pre-training).
    stem: None, patches are cut from the image; or, for a hybrid model, units per stage of a ResNet (`ResNetStem`):
    patches are cut from its feature map, and patch_size counts the map's places. stem_width: channels of its root.

    What later published models changed:
    class_token: whether there is a [class] token; None: if the classifier reads it. So "gap" has none, unless True.
    register_tokens: further learned tokens, read by nobody (Darcet et al. 2024).
    distillation_token: a second token with a head of its own; logits are the mean of both heads (DeiT, Touvron 2021).
    no_embed_class: learned positions are those of patches only, not of the tokens before them.
    fc_norm: the last LayerNorm comes after the mean over patches instead of before (MAE and BEiT, fine-tuning).
    layer_scale: initial value of a learned factor per feature on both branches of a block (CaiT), None for none.
    qkv_bias: whether queries, keys and values have biases.

    Configurations of the same model are equal: a class_token that the classifier needs anyway becomes None, and
    no_embed_class False where there are no such tokens or positions.
    """

    image_size: Size = Size(224)
    patch_size: Size = Size(16)
    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 3
    classifier: str = "token"
    representation_size: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    gelu: str = "tanh"
    norm_eps: float = 1e-6
    position: str = "learned"
    head_bias: float = 0.0
    class_token: bool | None = None
    register_tokens: int = 0
    distillation_token: bool = False
    no_embed_class: bool = False
    fc_norm: bool = False
    layer_scale: float | None = None
    qkv_bias: bool = True
    stem: tuple[int, ...] | None = None
    stem_width: int = 64

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 1, "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "num_classes", "representation_size", "register_tokens")
        self._check_patches()
        heads_divide(self.width, self.heads)
        one_of(
            self,
            classifier=("token", "gap"),
            gelu=("tanh", "erf"),
            position=("learned", "learned2d", "sincos2d", "relative", "rope", "none"),
        )
        if self.position in ("learned2d", "sincos2d") and self.width % (4 if self.position == "sincos2d" else 2):
            raise ConfigError(f"position {self.position} cannot split width {self.width} evenly between its axes")
        if self.position == "rope" and self.width // self.heads % 4:
            raise ConfigError(
                f"position rope turns pairs for rows and columns: heads of width {self.width // self.heads} "
                "cannot be divided by 4"
            )
        rates(self, "dropout", "attention_dropout", "drop_path")
        if not abs(self.head_bias) < math.inf:
            raise ConfigError(f"head_bias is {self.head_bias}, expected a finite number")
        epsilon(self)
        if self.class_token == (self.classifier == "token"):
            object.__setattr__(self, "class_token", None)
        if self.position != "learned" or not self.num_prefix_tokens:
            object.__setattr__(self, "no_embed_class", False)
        self._check_tokens()

    def _check_patches(self) -> None:
        if self.stem is not None:
            if any(count < 1 for count in self.stem):
                raise ConfigError(f"stem is {self.stem}, expected at least 1 unit in each stage")
            if self.stem_width < 32 or self.stem_width % 32:
                raise ConfigError(f"stem_width is {self.stem_width}, expected a multiple of 32 (groups)")
        what = "image size" if self.stem is None else "the stem's feature map"
        patches_tile(self.map_size, self.patch_size, what, self.stem_reduction)

    def _check_tokens(self) -> None:
        if self.layer_scale is not None and not 0 < self.layer_scale < MAX_LAYER_SCALE:
            raise ConfigError(f"layer_scale is {shown(self.layer_scale)}, expected a positive number, or None for none")
        if self.classifier == "token" and self.class_token is False:
            raise ConfigError('classifier "token" reads the [class] token, which class_token=False removes')
        if self.distillation_token:
            for name, wanted in (("classifier", "token"), ("representation_size", None), ("register_tokens", 0)):
                if getattr(self, name) != wanted:
                    raise ConfigError(f"a distillation_token does not go together with {name}={getattr(self, name)!r}")

    @classmethod
    def variant(cls, name: str, **changes: Any) -> "ViTConfig":
        """The configuration called "B/16", a variant of `VARIANTS` and a patch size, or "R50+B/16", one of `HYBRIDS`.

        `changes` replace fields.
        """
        return cls(**{**variant_fields(name), **changes})

    @property
    def stem_reduction(self) -> int:
        """The factor by which the stem shrinks height and width."""
        return reduction_of(self.stem)

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the map that is cut into patches: the image, or the stem's feature map."""
        height, width = self.image_size
        return -(-height // self.stem_reduction), -(-width // self.stem_reduction)

    @property
    def map_channels(self) -> int:
        """The channels of the map that is cut into patches."""
        if self.stem is None:
            return self.channels
        return self.stem_width * (4 * 2 ** (len(self.stem) - 1) if self.stem else 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per column and per row: (height / P, width / P)."""
        (height, width), (patch_h, patch_w) = self.map_size, self.patch_size
        return height // patch_h, width // patch_w

    @property
    def prefix_tokens(self) -> dict[str, int]:
        """The learned tokens before the patches, in their order: {parameter: how many}."""
        has_class = self.classifier == "token" if self.class_token is None else self.class_token
        counts = {
            "class_token": int(has_class),
            "distillation_token": int(self.distillation_token),
            "register_tokens": self.register_tokens,
        }
        return {name: count for name, count in counts.items() if count}

    @property
    def num_prefix_tokens(self) -> int:
        """The number of learned tokens before the patches."""
        return sum(self.prefix_tokens.values())

    @property
    def num_tokens(self) -> int:
        """N: patches, and the learned tokens before them."""
        return self.grid[0] * self.grid[1] + self.num_prefix_tokens

    @property
    def num_positions(self) -> int:
        """Rows of a learned position table: all tokens, or the patches alone with no_embed_class."""
        return self.num_tokens - (self.num_prefix_tokens if self.no_embed_class else 0)

    @property
    def description(self) -> str:
        """The model in a few words."""
        stem = "" if self.stem is None else f"ResNet stem ({'+'.join(map(str, self.stem)) or 'root only'}), "
        return f"ViT: {stem}width {self.width}, depth {self.depth}, {self.heads} heads, {self.num_tokens} tokens"


def reduction_of(stem: tuple[int, ...] | None) -> int:
    """The factor by which a stem with these units per stage shrinks height and width: 4 by its root, 2 by each stage
    but the first; 1 without a stem."""
    return 1 if stem is None else 4 * 2 ** max(0, len(stem) - 1)


def variant_fields(name: str) -> dict[str, Any]:
    """The fields of ViTConfig for the name of a variant, such as "B/16" or "R50+B/16"."""
    if name in HYBRIDS:
        base, patch, stem = HYBRIDS[name]
        return {**variant_fields(f"{base}/{patch}"), "stem": stem}
    match = re.fullmatch(r"(\w+)/([0-9]{1,9})", name)
    if not match or match[1] not in VARIANTS:
        meant = _meant(name)
        raise ConfigError(
            f'unknown variant "{name}": expected one of {", ".join(VARIANTS)} and a patch size, as B/16, '
            f"or one of {', '.join(HYBRIDS)}{f'; did you mean {meant}?' if meant else ''}"
        )
    sizes = dict(zip(("width", "depth", "heads", "mlp_width"), VARIANTS[match[1]], strict=True))
    return {"patch_size": int(match[2]), **sizes}


def _meant(name: str) -> str | None:
    """The variant known elsewhere as "vit_base_patch16_224" or "ViT-B_16", if it is one."""
    known = {key.lower(): key for key in HYBRIDS} | {"tiny": "Ti", "small": "S", "base": "B", "large": "L", "huge": "H"}
    known |= {key.lower(): key for key in VARIANTS}
    found = re.search(r"(?:^|[^a-z])(ti|s|b|l|h|tiny|small|base|large|huge)[-_/ ]*(?:patch)?(\d+)", name.lower())
    if meant := known.get(name.lower()):
        return meant if meant in HYBRIDS else f"{meant}/16"  # a size alone
    return f"{known[found[1]]}/{found[2]}" if found else None


def size_pair(size: Any, name: str) -> tuple[int, int]:
    """`size` as (height, width): a number of pixels stands for both. Raises ConfigError, calling it `name`."""
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    if not isinstance(height, Integral) or not isinstance(width, Integral):
        raise ConfigError(f"{name} is {size!r}, expected a number of pixels or (height, width)")
    height, width = int(height), int(width)
    if min(height, width) < 1:
        raise ConfigError(f"{name} is {height}x{width}, expected at least 1x1")
    if max(height, width) > MAX_SIDE:
        raise ConfigError(f"{name} is {shown(f'{height}x{width}')}, expected at most {MAX_SIDE}x{MAX_SIDE}")
    return height, width

"""FlexiViT (Beyer et al. 2022, "FlexiViT: One Model for All Patch Sizes", arXiv 2212.08013).

New against ViT: the patch size is drawn anew in every training step, so one model serves all sizes, from few large
patches (fast) to many small ones (exact). Its parameters are a kernel and a position table of one base size; both are
resized to the patches at hand, differentiably. Let B be the matrix that resizes a patch, resize(x) = B x. A kernel w is
resized not by B but by

    w' = (B^T)^+ w,   the least-squares solution of <B x, w'> = <x, w>,

so that where patches grow, B^+ B = 1, a resized patch gives exactly the same token. Resizing the kernel like an image
would change the length of the token by the ratio of the areas.

Source: google-research/big_vision, models/proj/flexi/vit.py. Two different ways to resize meet in it: kernels by
TensorFlow's bilinear without antialiasing, as images were, tables by JAX's linear with antialiasing. timm takes bicubic
with antialiasing for both: the fields `kernel_method` and `table_method`. The [class] token comes after positions are
added and has none. Kernels are drawn as a ViT's. The grid of a training step is a function of the step's seed, so all
pieces of a batch have the same, and a resumed run draws what an uninterrupted one would. Its shapes change, so on a
GPU the step is not recorded as a graph.

B batch, N patches, D width, K classes, P patch size, C channels.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.backend.resizing import METHODS
from minivit.errors import ConfigError
from minivit.files.checks import at_least, one_of, patches_tile
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models import ViT, ViTConfig
from minivit.models.config import Size, variant_fields
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Module, patchify
from minivit.nn import initialisers as init
from minivit.nn.attention_pool import AttentionPool
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor
from minivit.update.draws import shared_number

PARITY = "kernels in both codes' ways to resize; logits, losses and gradients at four grids of one model"
VARIANTS: dict[str, dict[str, Any]] = {f"flexivit-{name.lower()}": variant_fields(f"{name}/16") for name in "SBL"}
VARIANTS["flexivit-mini"] = {  # for 32 x 32
    "image_size": 32, "patch_size": 4, "base_patch": 4, "base_grid": 8, "grids": (4, 8, 16), "width": 96, "depth": 6,
    "heads": 3, "mlp_width": 192,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FlexiViTConfig:
    """The shape of a FlexiViT. Raises ConfigError, in one line, for parts that do not fit.

    patch_size: that of `model(images)` in evaluation. base_patch, base_grid: of the parameters, the kernel and the
    position table. grids: patches per side, of which training draws one in each step, each equally likely: those that
    divide the images, and always the grid of patch_size. classifier: "token", "gap" (mean over patches) or
    "map" (attention pooling). kernel_method, table_method: of `backend.resizing`. The rest as in ViTConfig. The
    defaults are those of the distillation on ImageNet-1k; the code's own default is a kernel of 32 x 32.
    """

    image_size: Size = Size(240)
    patch_size: Size = Size(16)
    base_patch: Size = Size(16)
    base_grid: Size = Size(7)
    grids: tuple[int, ...] = (5, 6, 8, 10, 12, 15, 16, 20, 24, 30)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 3
    classifier: str = "token"
    gelu: str = "tanh"
    norm_eps: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0
    kernel_method: str = "bilinear"
    table_method: str = "bilinear_antialias"

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 0, "num_classes")
        one_of(self, classifier=("token", "gap", "map"), kernel_method=METHODS, table_method=METHODS)
        if not self.grids or min(self.grids) < 1:
            raise ConfigError(f"grids is {self.grids}, expected numbers of patches per side, each at least 1")
        self.base  # noqa: B018  raises for parts that do not fit
        patches_tile(self.image_size, self.patch_size)

    @property
    def base(self) -> ViTConfig:
        """The ViT whose parameters these are, without a head."""
        (down, across), (rows, columns) = self.base_patch, self.base_grid
        fields = ("width", "depth", "heads", "mlp_width", "channels", "gelu", "norm_eps", "dropout", "drop_path")
        return ViTConfig(
            image_size=(down * rows, across * columns),
            patch_size=self.base_patch,
            num_classes=0,
            classifier="token" if self.classifier == "token" else "gap",
            no_embed_class=True,
            **{name: getattr(self, name) for name in fields},
        )

    @property
    def num_tokens(self) -> int:
        (height, width), (down, across) = self.image_size, self.patch_size
        return (height // down) * (width // across) + (self.classifier == "token")

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"FlexiViT: width {self.width}, depth {self.depth}, {self.heads} heads, {self.num_tokens} tokens"


def resized_kernel(kernel: Tensor, size: tuple[int, int], method: str) -> Tensor:
    """A kernel (h, w, C, D) for patches of another size: (B^T)^+ w, B the matrix of `method`.

    B is the Kronecker product of one matrix per axis, and so is its pseudo-inverse."""
    height, width, channels, features = kernel.shape
    if (height, width) == tuple(size):
        return kernel
    maps = kernel.reshape(1, height, width, channels * features)
    return F.resize(maps, size, f"{method}_pinv").reshape(*size, channels, features)


def resized_table(table: Tensor, old: tuple[int, int], new: tuple[int, int], method: str) -> Tensor:
    """A position table (1, N, D) of a grid for another grid."""
    if old == tuple(new):
        return table
    width = table.shape[-1]
    return F.resize(table.reshape(1, *old, width), new, method).reshape(1, new[0] * new[1], width)


def training_grids(config: FlexiViTConfig, image: tuple[int, int] | None = None) -> list[tuple[int, int]]:
    """Rows and columns of which training draws, for images of this size (default: the configuration's)."""
    (height, width), (down, across) = image or config.image_size, config.patch_size
    own = {(height // down, width // across)} if height % down == width % across == 0 else set()
    return sorted(own | {(n, n) for n in config.grids if height % n == width % n == 0})


def distillation(logits: Tensor, teacher: Array) -> Tensor:
    """KL(teacher || student), the mean over the examples: how the published files were trained.   both (B, K)."""
    log_p = F.log_softmax(Tensor(teacher))
    return (F.exp(log_p) * (log_p - F.log_softmax(logits))).sum(axis=-1).mean()


class FlexiViT(Module):
    """The model of `config`; the head begins at zero. seed, dtype: as in `ViT`."""

    def __init__(self, config: FlexiViTConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.config, width = config, config.width
        self.network = ViT(config.base, seed, dtype)
        self.pool = None
        if config.classifier == "map":
            self.pool = AttentionPool(width, config.heads, config.mlp_width, rng, dtype, config.gelu, config.norm_eps)
        if config.num_classes:
            self.head = Head(width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    @property
    def varies(self) -> bool:
        return self.training and len(training_grids(self.config)) > 1

    def drawn_grid(self, image: tuple[int, int], rng: Rng) -> tuple[int, int] | None:
        """The grid of a training step for images of this size; None in evaluation.   rng: as in `forward`."""
        choices = training_grids(self.config, image) if self.training else []
        if len(choices) < 2:
            return choices[0] if choices else None
        if rng is None:
            raise ValueError("FlexiViT: in training mode it draws a patch size; pass rng=..., grid=..., or eval()")
        return choices[int(shared_number(rng) * len(choices))]

    def forward(
        self, images: Tensor | Array, tap: Tap = None, rng: Rng = None, grid: int | tuple[int, int] | None = None
    ) -> Tensor:
        """Logits (B, K), or features (B, D) without a head.   images: (B, height, width, C), of any size that the grid
        divides. grid: patches per side, or (rows, columns); None: in training one drawn from rng, in evaluation patches
        of the configuration's size. tap: as in `ViT`, and "stem", the patches before positions, (B, N, D)."""
        images = self.tensor(images)
        _, height, width, _ = images.shape
        down, across = self.config.patch_size
        grid = (grid, grid) if isinstance(grid, int) else grid or self.drawn_grid((height, width), rng)
        rows, columns = grid or (height // down, width // across)
        if min(rows, columns) < 1 or height % rows or width % columns:
            raise ValueError(f"FlexiViT: images {images.shape} cannot be cut into {rows}x{columns} equal patches")
        if grid is None and (height % down or width % across):
            raise ValueError(f"FlexiViT: patches {down}x{across} do not tile images of {height}x{width}")
        x = self.network.dropout(self.embed(images, (rows, columns), tap), rng)
        if tap is not None:
            tap["embedded"] = x
        encoded = self.network.encode(x, rng, tap)
        features = self.pool(encoded)[:, 0] if self.pool else self.network.classify(encoded)
        if tap is not None:
            tap.update(encoded=encoded, features=features)
        return self.head(features) if self.config.num_classes else features

    def embed(self, images: Tensor, grid: tuple[int, int], tap: Tap = None) -> Tensor:
        """Patches by the resized kernel, the resized positions, the [class] token.   -> (B, N, D)."""
        config, (batch, height, width, channels) = self.config, images.shape
        size = height // grid[0], width // grid[1]
        projection = self.network.patch_embed.projection
        kernel = projection.weight.reshape(*config.base_patch, channels, config.width)
        kernel = resized_kernel(kernel, size, config.kernel_method)
        x = F.linear(patchify(images, size), kernel.reshape(-1, config.width), projection.bias)
        if tap is not None:
            tap["stem"] = x
        x = x + resized_table(self.network.position_embedding, config.base_grid, grid, config.table_method)
        if config.classifier != "token":
            return x
        token: Tensor = vars(self.network)["class_token"]
        return F.concat(F.broadcast_to(token, (batch, 1, config.width)), x, axis=1)


FAMILY = Family(FlexiViTConfig, FlexiViT, "flexivit-.*", functools.partial(variant, VARIANTS))

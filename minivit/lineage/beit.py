"""BEiT: masked image modelling (Bao et al. 2021, "BEiT: BERT Pre-Training of Image Transformers", arXiv 2106.08254).

New against ViT: blocks of patches are hidden behind a learned [mask] token e_M, and the encoder says which of K visual
tokens stands at each hidden place. With x_n the projected patch, w_n 1 where it is masked, M all masked patches of the
batch, z_n its token and h_n its feature after the last LayerNorm,

    x'_n = (1 - w_n) x_n + w_n e_M        L = -1/|M| sum over n in M of log softmax(h_n W + b)[z_n].

|M| counts all masked patches of a batch: an image with more of them weighs more. Blocks are drawn until `masked` of the
patches are hidden: the area is uniform between `block` and what is missing, the logarithm of the aspect uniform between
-log(1 / aspect) and log(1 / aspect). A block that hides more than is missing is drawn again, at most ten times, so a
mask may end with fewer.

Source: microsoft/unilm, beit/modeling_pretrain.py and masking_generator.py. Its encoder has no table of absolute
positions but one of relative ones that all blocks share, LayerScale, and keys without bias: the model
`beit_nano_patch4` and its like with relative="shared". A ViT will do, too.

Where the paper's tokens are those of DALL-E's image tokeniser, which were learned from 250 million images, a token here
is the number of the nearest of K typical patches: the centres of k-means on patches of the training images. A batch
with an array "tokens" (B, N) uses those. Kernels begin as a ViT's, and the [mask] token, which
decays there, does not decay.

B batch, N patches, D width, K tokens, P patch size, C channels.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from minivit.backend import Array
from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.files.checks import at_least
from minivit.lineage.masked_tokens import MaskedTokens, blocks, weighted_cross_entropy, weights
from minivit.lineage.pictures import completed
from minivit.lineage.typical import nearest, of_images
from minivit.models import families
from minivit.nn import Linear, patchify
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Outputs

PARITY = "logits, loss and gradients of transformers' BeitForMaskedImageModeling"
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10-beit": {
        "data": "cifar10",
        "objective": {"name": "beit", "vocabulary": 64, "block": 4},
        "model": {
            "patch_size": 4,
            "width": 96,
            "depth": 4,
            "heads": 3,
            "mlp_width": 192,
            "gelu": "erf",
            "layer_scale": 0.1,
            "position": "rope",
        },
        "batch_size": 256,
        "epochs": 3,
        "lr": 1.5e-3,
        "beta2": 0.98,
        "weight_decay": 0.05,
        "flip": True,
        "eval_every": 390,
        "mean": (0.49, 0.48, 0.45),
        "std": 0.25,
    },
}


@dataclasses.dataclass(frozen=True)
class BEiTConfig:
    """vocabulary: K. masked: share of the patches to hide. block: patches of the smallest block. aspect: of the widest
    block, height by width. The defaults are the paper's: 75 of 196 patches."""

    vocabulary: int = 8192
    masked: float = 75 / 196
    block: int = 16
    aspect: float = 0.3

    def __post_init__(self) -> None:
        at_least(self, 1, "vocabulary", "block")
        if not 0 < self.masked < 1:
            raise ConfigError(f"masked is {self.masked}, expected a share of the patches, above 0 and below 1")
        if not 0 < self.aspect <= 1:
            raise ConfigError(f"aspect is {self.aspect}, expected 0 < aspect <= 1")


class BEiT(MaskedTokens):
    """Predicts the visual tokens of masked patches.

    batch: images (B, height, width, C); mask (B, N), true where a patch is hidden; weight (B, N), see `weights`; tokens
    (B, N) integers, if the data have them. centres (K, P P C), state: the typical patch of every token.
    """

    Config: ClassVar[type] = BEiTConfig
    columns = ("images",)
    title = "BEiT"

    def __init__(self, config: BEiTConfig, encoder: Any, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, encoder, seed, dtype)
        shape = encoder.config
        self.hidden_patches = round(config.masked * self.patches)
        self.head = Linear(shape.width, config.vocabulary, self.rng, dtype)
        pixels = shape.patch_size[0] * shape.patch_size[1] * shape.channels
        self.centres = Tensor(init.constant(0, (config.vocabulary, pixels)).astype(dtype))

    @classmethod
    def build(cls, config: BEiTConfig, given: Any) -> Self:
        """The objective of a run. Raises ConfigError for masks that cannot be drawn.   given: a `lineage.Given`."""
        objective = super().build(config, given)
        (rows, columns), hidden = objective.grid, objective.hidden_patches
        if not 0 < hidden < rows * columns or min(rows, columns) < 2:
            raise ConfigError(f"masked is {config.masked}: no blocks hide {hidden} of {rows}x{columns} patches")
        if config.block > hidden:
            raise ConfigError(f"block is {config.block}, expected at most {hidden}, the patches to hide")
        return objective

    def begin(self, data: Dataset, transform: Any, seed: int) -> None:
        """Choose the typical patches, by k-means on patches of random images."""
        count, patch = self.config.vocabulary, self.network.config.patch_size
        images = max(512, -(-16 * count // self.patches))

        def points(chosen: np.ndarray) -> np.ndarray:
            return np.concatenate(patchify(Tensor(chosen), patch).data)

        self.centres.data[...] = of_images(data, transform, seed, images, points, count, "patches")

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        given = self.grid, self.hidden_patches, self.config.block, self.config.aspect
        mask = np.stack([blocks(*given, rng).ravel() for _ in range(size(batch))])
        return {"mask": mask, "weight": weights(mask)}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return (self.head(self.encode(batch["images"], lambda x: self.masked(x, batch["mask"]), rng)),)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        return weighted_cross_entropy(outputs[0], self.tokens_of(batch), batch["weight"])

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """The share of masked patches whose token is the most probable one."""
        right = outputs[0].data.argmax(axis=-1) == self.tokens_of(batch)
        return {"token_accuracy": (right * batch["weight"]).sum()}

    def tokens_of(self, batch: Batch) -> Array:
        """The visual token of every patch, (B, N): given, or the nearest typical patch."""
        if "tokens" in batch:
            return batch["tokens"]
        return nearest(patchify(self.tensor(batch["images"]), self.network.config.patch_size).data, self.centres.data)

    shown = completed

    def paint(self, batch: Batch) -> tuple[Array, Array]:
        """Patches (B, N, P P C) of the images, with the masked ones 0, and with typical patches of the predicted tokens
        in their place."""
        with no_grad(), self.evaluating():
            tokens = self(batch)[0].data.argmax(axis=-1)
        true = patchify(self.tensor(batch["images"]), self.network.config.patch_size).data
        hidden = batch["mask"][:, :, None]
        return true * ~hidden, true * ~hidden + self.centres.data[tokens] * hidden


def tiny(dtype: str = "float32") -> tuple[BEiT, Dataset]:
    """The objective in small and 16 images, for tests."""
    fields = families.named_fields("beit_nano_patch2_8") | {"width": 8, "depth": 2, "heads": 2, "mlp_width": 16}
    more = {"num_classes": 0, "channels": 1, "relative": "shared", "dropout": 0.1, "drop_path": 0.1}
    encoder = families.build(families.config_of({**fields, **more}, "tiny"), 0, dtype)
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    objective = BEiT(BEiTConfig(vocabulary=5, block=2), encoder, 0, dtype)
    data = ArrayDataset(images, [0] * 16, ["any"], "noise")
    objective.begin(data, lambda images, rng: images.astype(np.float32) / 127.5 - 1, 0)
    return objective, data

"""The work of a forward pass: multiply-adds of the matrix products and convolutions, counted from the shapes."""

from minivit.models.config import ViTConfig
from minivit.models.resnet import ResNetConfig


def multiply_adds(config: ViTConfig | ResNetConfig, class_row_only: bool = False) -> int:
    """Multiply-adds for one image; a FLOP count is twice that, and training costs three forward passes.

    class_row_only: in the last block, count attention queries, its output and the MLP only for the rows that the head
    of a model with a [class] token reads, as `ViT` computes them; publications count all rows.
    """
    if isinstance(config, ResNetConfig):
        return _resnet(config)
    rows, columns = config.grid
    patch = config.patch_size[0] * config.patch_size[1] * config.map_channels
    tokens, width = config.num_tokens, config.width
    work = rows * columns * patch * width + (0 if config.stem is None else _stem(config))
    last = tokens
    if class_row_only and config.classifier == "token":
        last = 1 + config.distillation_token
    for read in [tokens] * (config.depth - 1) + [last]:  # rows of the block that are read
        projections = 3 * tokens * width**2 + read * width**2
        work += projections + 2 * read * tokens * width + 2 * read * width * config.mlp_width
        if config.position == "relative":
            work += read * (2 * tokens - 1) * width
    features = config.representation_size or width
    heads = 1 + config.distillation_token
    return work + width * (config.representation_size or 0) + heads * features * config.num_classes


def _resnet(config: ResNetConfig) -> int:
    window, shrink = (7, 2) if config.root == "7x7" else (3, 1)
    size = _shrunk(config.image_size, shrink)
    work = window**2 * config.channels * config.width * size[0] * size[1]
    if config.root == "7x7":
        size = _shrunk(size, 2)
    features = 4 * config.width * 2 ** (len(config.units) - 1)
    return work + _units(config.units, config.width, size) + features * config.num_classes


def _stem(config: ViTConfig) -> int:
    size = _shrunk(config.image_size, 2)
    root = 7**2 * config.channels * config.stem_width * size[0] * size[1]
    return root + _units(config.stem or (), config.stem_width, _shrunk(size, 2))


def _units(counts: tuple[int, ...], width: int, size: tuple[int, int]) -> int:
    """For bottleneck units, this many in each stage, on a map of `size` with `width` channels: 1x1, 3x3 and 1x1
    convolutions, and a 1x1 one if the input is projected."""
    work, channels = 0, width
    for stage, count in enumerate(counts):
        inner = width * 2**stage
        for unit in range(count):
            stride = 2 if stage > 0 and unit == 0 else 1
            before, size = size, _shrunk(size, stride)
            work += before[0] * before[1] * channels * inner
            projected = channels if channels != 4 * inner or stride != 1 else 0
            work += size[0] * size[1] * (9 * inner**2 + inner * 4 * inner + projected * 4 * inner)
            channels = 4 * inner
    return work


def _shrunk(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width after a convolution with "same" padding."""
    return -(-size[0] // stride), -(-size[1] // stride)

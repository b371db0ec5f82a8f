"""The ResNet around systems that replace its convolutions: SASA, Axial-DeepLab, Visual Transformers."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, one_of
from minivit.files.fields import settle
from minivit.models.config import Size
from minivit.models.head import Head
from minivit.nn import Module
from minivit.nn import initialisers as init
from minivit.nn.bottleneck import SHRINKS, Bottleneck
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class ResidualConfig:
    """The shape of such a ResNet. Raises ConfigError for parts that do not fit.

    units: residual units per stage; each stage but the first halves the map and doubles the channels, which are 4 width
    in the first. root: what makes the first map, "7x7" or "3x3" as of ResNetConfig, or another of `shrinks`.
    """

    shrinks: ClassVar[dict[str, int]] = SHRINKS  # root -> by how much it makes the image smaller
    halves: ClassVar[bool] = True  # whether a stage takes only maps of an even number of rows and columns

    units: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    root: str = "7x7"
    image_size: Size = Size(224)
    num_classes: int = 1000
    channels: int = 3

    def __post_init__(self) -> None:
        settle(self)
        if not self.units or min(self.units) < 1:
            raise ConfigError(f"units is {self.units}, expected at least 1 in each of at least one stage")
        numbers = {field.name for field in dataclasses.fields(self) if isinstance(getattr(self, field.name), int)}
        at_least(self, 1, *sorted(numbers - {"num_classes"}))
        at_least(self, 0, "num_classes")
        one_of(self, root=self.shrinks)
        shrink = self.shrinks[self.root] * 2 ** (len(self.units) - 1)
        if self.halves and (self.image_size[0] % shrink or self.image_size[1] % shrink):
            raise ConfigError(f"image_size is {self.image_size}, expected multiples of {shrink}")
        if self.map_size(len(self.units) - 1) == (1, 1):  # batch normalisation of a single image needs two places
            raise ConfigError(f"image_size is {self.image_size}: {len(self.units)} stages leave a map of one place")

    @property
    def map_channels(self) -> int:
        """The channels of the last map."""
        return int(4 * self.width * 2 ** (len(self.units) - 1))

    def map_size(self, stage: int) -> tuple[int, int]:
        """Rows and columns of the map of a stage, counted from 0."""
        shrink = self.shrinks[self.root] * 2**stage
        return -(-self.image_size[0] // shrink), -(-self.image_size[1] // shrink)

    @property
    def num_tokens(self) -> int:
        """The places of the second map: the trainer cuts a batch by it, as by a ViT's tokens."""
        rows, columns = self.map_size(1)
        return rows * columns

    @property
    def description(self) -> str:
        """The model in a few words."""
        name = type(self).__name__.removesuffix("Config")
        return f"{name}: {'+'.join(map(str, self.units))} units, width {self.width}, root {self.root}"


class ResidualNetwork(Module):
    """Root, units, mean over the map, head. A subclass may replace `features`.

    middle: the layers in the middle of a unit, from their channels, the number of the stage and the stride. inner:
    those channels in the first stage. The head begins at zero.
    """

    def __init__(
        self,
        config: Any,
        root: Module,
        middle: Callable[[int, int, int], list[Module]],
        inner: int,
        rng: init.Rng,
        dtype: str,
    ):
        self.config, self.root = config, root
        self.units: list[Bottleneck] = []
        channels = config.width
        for stage, count in enumerate(config.units):
            filters = 4 * config.width * 2**stage
            for unit in range(count):
                stride, width = 2 if stage > 0 and unit == 0 else 1, inner * 2**stage
                layers = middle(width, stage, stride)
                self.units.append(Bottleneck(channels, width, filters, layers, rng, dtype, stride))
                channels = filters

    def finish(self, features: int, rng: init.Rng, dtype: str) -> None:
        """Add the head, of so many features, and name the parameters."""
        classes = self.config.num_classes
        self.head = Head(features, classes, rng, dtype, weight=init.zeros) if classes else None
        for name, tensor in self.named_parameters():
            tensor.name = name

    def features(self, x: Tensor, tap: Tap = None) -> Tensor:
        """The last map (B, height, width, C) -> (B, C)."""
        return x.mean(axis=(1, 2))

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, C) without a head.   images: (B, height, width, channels). tap:
        collects "root", "unit0", ... (B, height, width, C) and "features". rng: unused; nothing is random."""
        x = self.root(self.tensor(images))
        maps = {"root": x}
        for i, unit in enumerate(self.units):
            maps[f"unit{i}"] = x = unit(x)
        features = self.features(x, tap)
        if tap is not None:
            tap.update(maps, features=features)
        return features if self.head is None else self.head(features)

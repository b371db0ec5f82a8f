"""Spacetime patches: a diffusion Transformer for clips, a demonstration of one idea.

The report on Sora (OpenAI, February 2024, "Video generation models as world simulators") says that videos are cut into
patches of space and time, which are the tokens of a diffusion Transformer. It gives no sizes, equations or code, and
this file is no copy of that system. It joins parts that are published: the blocks of DiT (arXiv 2212.09748), the
tubelets of ViViT (arXiv 2103.15691) and rectified flow (arXiv 2403.03206). Latte (arXiv 2401.03048) is a published
system of this kind; its layers are not these.

New against DiT: a token is a tubelet of t frames times P x P pixels. Positions are fixed sines and cosines, half of the
features for the time, a quarter for the column and a quarter for the row. They have no end, so that a trained network
takes clips of another length or size: it begins with noise of that shape. All tokens attend to all (`joint`). The
control attends within each time only; it is told the time, but not what the other frames show.

    x_s = (1 - s) x_0 + s eps,   L = mean (v - (eps - x_0))^2,   s the sigmoid of a normal number.

Clips come as images with the frames stacked as channels, (B, height, width, T C), frame after frame. Training here uses
clips of one shape; the report mixes many.

B batch, T frames, t frames of a tubelet, N = T / t * rows * columns tokens, D width, P patch size, C channels, K
classes.
"""

import dataclasses
import math
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.files.checks import at_least
from minivit.lineage.flowing import Flow, plain_shape
from minivit.lineage.modulated import Condition, DiTBlock, Modulation, modulated, places, sines
from minivit.models import ViTConfig
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng
from minivit.nn.tubelets import frames_of, tubelets
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Outputs

PARITY = "none: nothing is published; clips of one frame agree with DiT"
PRESETS: dict[str, dict[str, Any]] = {
    "clips-spacetime": {
        "data": "clips",
        "objective": {"name": "spacetime"},
        "model": {"patch_size": 4, "width": 96, "depth": 3, "heads": 3, "mlp_width": 192},
        "batch_size": 16, "steps": 1500, "lr": 2e-3, "warmup": 0.05, "weight_decay": 0.0, "ema": 0.99,
        "eval_every": 500,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SpacetimeConfig:
    """frames: T. tubelet: t. joint: whether tokens attend to other times. drop: share of the labels that training
    replaces by "none". guidance, walk: of sampled clips, the scale and the steps of Euler."""

    frames: int = 8
    tubelet: int = 2
    joint: bool = True
    drop: float = 0.1
    guidance: float = 2.0
    walk: int = 28

    def __post_init__(self) -> None:
        at_least(self, 1, "frames", "tubelet", "walk")
        if self.frames % self.tubelet:
            raise ConfigError(f"frames is {self.frames}, expected a multiple of the {self.tubelet} of a tubelet")
        if not 0 < self.drop <= 1:
            raise ConfigError(f"drop is {self.drop}, expected a share of the labels, above 0 and at most 1")


class SpacetimeDiT(Module):
    """Clips in noise, their times 0..1000 and classes -> a prediction of the same shape.   (B, height, width, T C) of
    any T, height and width that tubelets tile; classes are 0..K, and K is none."""

    def __init__(self, config: ViTConfig, own: SpacetimeConfig, seed: int | None = 0, dtype: str = "float32"):
        if config.width % 8 or config.channels % own.frames:
            raise ConfigError(
                f"a width of {config.width} and {config.channels} channels, expected multiples of 8 and of the "
                f"{own.frames} frames"
            )
        rng, width = None if seed is None else np.random.default_rng(seed), config.width
        self.config, self.own, self.channels = config, own, config.channels // own.frames
        pixels = own.tubelet * config.patch_size[0] * config.patch_size[1] * self.channels
        self.embed = Linear(pixels, width, rng, dtype)
        self.usual = own.frames // own.tubelet, *config.grid
        self.table = Tensor(table(self.usual, width).astype(dtype))
        self.condition = Condition(width, config.num_classes, True, rng, dtype)
        self.blocks = [DiTBlock(config, rng, dtype) for _ in range(config.depth)]
        self.modulation = Modulation(width, 2, dtype)
        self.pixels = Linear(width, pixels, None, dtype, weight=init.zeros)

    def forward(self, x: Tensor | Array, t: Array, y: Array, rng: Rng = None) -> Tensor:
        pixels, grid = self.tubelets(self.tensor(x))
        tokens = self.embed(pixels) + self.positions(grid)
        c = self.condition(t, y)
        batch, count, width = tokens.shape
        if not self.own.joint:  # every time is an example of its own
            tokens = tokens.reshape(batch * grid[0], count // grid[0], width)
            c = F.broadcast_to(c[:, None], (batch, grid[0], width)).reshape(batch * grid[0], width)
        for block in self.blocks:
            tokens = block(tokens, c, rng)
        return self.clips(self.pixels(modulated(tokens, *self.modulation(c))), grid)

    def tubelets(self, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """(B, height, width, T C) -> (B, N, t P P C), by time, row, column; and how many of each. Raises ValueError if
        tubelets do not tile the clip."""
        height, width = self.config.patch_size
        cut = tubelets(frames_of(x, x.shape[3] // self.channels), (self.own.tubelet, height, width))
        grid = cut.shape[1], x.shape[1] // height, x.shape[2] // width
        return cut.reshape(x.shape[0], math.prod(grid), cut.shape[3]), grid

    def clips(self, tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """The inverse of `tubelets`."""
        (times, rows, columns), (height, width) = grid, self.config.patch_size
        cut = tokens.reshape(-1, times, rows, columns, self.own.tubelet, height, width, self.channels)
        return cut.transpose(0, 2, 5, 3, 6, 1, 4, 7).reshape(
            -1, rows * height, columns * width, times * self.own.tubelet * self.channels
        )

    def positions(self, grid: tuple[int, int, int]) -> Tensor:
        """The fixed table of a grid, (N, D): the one of training is kept."""
        if grid == self.usual:
            return self.table
        return Tensor(self.like(table(grid, self.config.width)))


def table(grid: tuple[int, int, int], width: int) -> np.ndarray:
    """Sines and cosines of the places of a grid, (N, D): half for the time, then a quarter for column and for row."""
    parts = sines(np.arange(grid[0]), width // 2)[:, None, None], places(grid[1:], width // 2)[None]
    return np.concatenate([np.broadcast_to(part, (*grid, width // 2)) for part in parts], axis=-1).reshape(-1, width)


class ClipFlow(Flow):
    """A flow of clips that is told a class.   batch: as in `Flow`, the images with frames stacked as channels, and
    labels (B,)."""

    Config: ClassVar[type] = SpacetimeConfig

    def __init__(self, config: SpacetimeConfig, network: SpacetimeDiT):
        self.config, self.network = config, network
        self.shape = (*network.config.image_size, network.config.channels)

    @classmethod
    def build(cls, config: SpacetimeConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, SpacetimeDiT(plain_shape(given, "spacetime"), config, given.seed, given.dtype))

    @property
    def tokens(self) -> int:
        found: int = self.network.config.num_tokens * self.config.frames // self.config.tubelet
        return found

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return (self.told(self.noised(batch), self.labels(batch), batch["time"], rng),)

    def told(self, x: Tensor | Array, condition: Array, time: Array, rng: Rng = None) -> Tensor:
        found: Tensor = self.network(x, time * 1000, condition, rng)
        return found

    def pictures(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The frames of a sampled clip of each of the first four classes."""
        classes = self.network.config.num_classes
        labels = np.arange(min(4, classes))
        clips = self.sample(labels, classes, rng)
        frames = clips.reshape(*clips.shape[:3], self.config.frames, -1)
        return {f"class {label}": np.moveaxis(frames[label], 2, 0) for label in labels}


def tiny(dtype: str = "float32") -> tuple[ClipFlow, Dataset]:
    """The objective in small and 16 clips, for tests. Its zeros are drawn, so that everything learns at once."""
    shape = ViTConfig(
        image_size=(4, 4), patch_size=(2, 2), width=8, depth=2, heads=2, mlp_width=16, num_classes=3, channels=4,
        dropout=0.1, classifier="gap", position="sincos2d",
    )  # fmt: skip
    config, rng = SpacetimeConfig(frames=4, tubelet=2, drop=0.3, walk=2), np.random.default_rng(1)
    network = SpacetimeDiT(shape, config, 0, dtype)
    for parameter in network.parameters():
        parameter.data[...] += rng.normal(0, 0.1, parameter.shape)
    images = rng.integers(0, 256, (16, 4, 4, 4), np.uint8)
    return ClipFlow(config, network), ArrayDataset(images, [*range(3)] * 5 + [0], list("abc"), "noise")

"""DiT: diffusion Transformers (Peebles & Xie 2022, "Scalable Diffusion Models with Transformers", arXiv 2212.09748).

New against ViT: the network sees a picture in noise and predicts the noise. A condition c = MLP(time t) + E[class y]
steers every block (adaLN-Zero). From Linear(silu(c)), zero at first, come six vectors:

    x += gate_1 MSA(LN(x) (1 + scale_1) + shift_1),   x += gate_2 MLP(LN(x) (1 + scale_2) + shift_2),

in the order shift_1, scale_1, gate_1, shift_2, scale_2, gate_2; these LN have no parameters. A last such norm and a
Linear, zero at first, give the pixels of each patch. With x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps and t drawn
evenly from T steps,

    L = mean (eps - eps')^2 + KL(q(x_{t-1} | x_t, x_0) || p),

the second term, in bits, only if the variance of a step is learned; it sees eps' without a gradient. In training one
label of ten is replaced by "none", so that sampling can be guided: eps' = u + s (c - u), u without a class.

With path="flow" (Esser et al. 2024, arXiv 2403.03206): x_t = (1 - t) x_0 + t eps, the target is eps - x_0, t is the
sigmoid of a normal number, and the network is told 1000 t.

Source: facebookresearch/DiT, models.py and diffusion/. Its x_0 are latents of an autoencoder, here pixels in -1..1. Its
sampling guides 3 of 4 channels, here all. Biases of an MLP are drawn with deviation 1e-6 instead of 0. Diffusers' port
(`diffusers=True`) keeps an MLP(t) and E in every block, spaces frequencies by 1/127 instead of 1/128, and has an
epsilon of 1e-5 before its MLPs.

B batch, N patches, D width, P patch size, C channels, K classes, T steps of the diffusion.
"""

import dataclasses
import math
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.files.checks import at_least, one_of
from minivit.lineage import diffusion
from minivit.lineage.flowing import Denoiser, plain_shape
from minivit.lineage.modulated import Condition, DiTBlock, Modulation, modulated, places, unpatchify
from minivit.models import ViTConfig
from minivit.nn import Linear, Module, patchify
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Outputs

PARITY = "noise, velocities, both losses, gradients and samples (DDPM, DDIM, guided) of the published code"
_SMALL = {"patch_size": 2, "width": 64, "depth": 3, "heads": 4, "mlp_width": 256}
_DIGITS: dict[str, Any] = {
    "data": "digits", "model": _SMALL, "batch_size": 128, "steps": 2400, "lr": 1e-3, "schedule": "constant",
    "warmup": 0.0, "weight_decay": 0.0, "ema": 0.999, "eval_every": 400,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "digits-dit": {**_DIGITS, "objective": {"name": "dit", "learned_variance": False}},
    "digits-flow": {**_DIGITS, "objective": {"name": "dit", "path": "flow"}},
    "shapes-dit": {
        **_DIGITS, "data": "shapes", "objective": {"name": "dit", "path": "flow", "walk": 25},
        "model": {**_SMALL, "patch_size": 4}, "batch_size": 64, "steps": 1800, "lr": 2e-3, "ema": 0.995,
        "eval_every": 450,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """path: "diffusion" or "flow". learned_variance: whether a diffusion predicts the variance of its steps, too.
    steps: T of the diffusion. drop: share of labels that training replaces by "none"; with 1 no label is ever seen.
    guidance, walk, clip: of sampled pictures: s, the number of steps of DDPM or Euler, and whether x_0 stays within
    -1..1 at every step. The defaults are the published ones, except `walk` (250) and `clip` (False)."""

    path: str = "diffusion"
    learned_variance: bool = True
    steps: int = 1000
    drop: float = 0.1
    guidance: float = 4.0
    walk: int = 50
    clip: bool = True

    def __post_init__(self) -> None:
        one_of(self, path=("diffusion", "flow"))
        at_least(self, 1, "walk")
        at_least(self, 21, "steps")  # the last beta is 20 / steps
        if not 0 <= self.drop <= 1:
            raise ConfigError(f"drop is {self.drop}, expected a share of the labels, 0 to 1")
        if not math.isfinite(self.guidance) or (self.guidance != 1 and not self.drop):
            raise ConfigError(f"guidance is {self.guidance}: expected a finite number, and 1 where drop is 0")
        if self.path == "diffusion" and self.walk > self.steps:
            raise ConfigError(f"walk is {self.walk}, expected at most the {self.steps} steps of the diffusion")

    @property
    def outputs(self) -> int:
        """Numbers that are predicted for each number of an image."""
        return 2 if self.path == "diffusion" and self.learned_variance else 1


class DiT(Module):
    """Images in noise, their times and classes -> a prediction.   (B, height, width, C), (B,), (B,) -> (B, height,
    width, outputs C).   config: its num_classes is K; null: whether there is a class for "none", number K."""

    def __init__(
        self, config: ViTConfig, outputs: int = 1, null: bool = True, seed: int | None = 0, dtype: str = "float32",
        diffusers: bool = False, mlp_eps: float = 1e-5,
    ):  # fmt: skip
        width, (rows, columns) = config.width, config.patch_size
        if width % 4:
            raise ConfigError(f"width is {width}, expected a multiple of 4 for sines and cosines of x and y")
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, pixels = config, rows * columns * config.channels
        self.embed = Linear(pixels, width, rng, dtype)
        self.positions = Tensor(places(config.grid, width).reshape(1, -1, width).astype(dtype))
        count, shift = (config.depth, 1) if diffusers else (1, 0)  # of conditions
        self.conditions = [Condition(width, config.num_classes, null, rng, dtype, shift) for _ in range(count)]
        self.blocks = [DiTBlock(config, rng, dtype, mlp_eps if diffusers else None) for _ in range(config.depth)]
        self.modulation = Modulation(width, 2, dtype)
        self.pixels = Linear(width, outputs * pixels, None, dtype, weight=init.zeros)

    def forward(self, x: Tensor | Array, t: Array, y: Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        x = self.embed(patchify(self.tensor(x), self.config.patch_size)) + self.positions
        tap = {} if tap is None else tap
        tap["embedded"] = x
        conditions = [condition(t, y) for condition in self.conditions]
        for i, block in enumerate(self.blocks):
            tap[f"condition{i}"] = c = conditions[i % len(conditions)]
            tap[f"block{i}"] = x = block(x, c, rng)
        tap["pixels"] = x = self.pixels(modulated(x, *self.modulation(conditions[0])))
        return unpatchify(x, self.config.grid, self.config.patch_size)


class Denoising(Denoiser):
    """Predicts the noise in images, or the direction of their flow.

    batch: as in `Denoiser`, with labels (B,) and, for each example, (B, 8) numbers of its time, see `at`.
    """

    Config: ClassVar[type] = DiTConfig

    def __init__(self, config: DiTConfig, network: DiT):
        self.config, self.network = config, network
        self.schedule = diffusion.Schedule.linear(config.steps)
        shape = network.config
        self.shape = (*shape.image_size, shape.channels)

    @classmethod
    def build(cls, config: DiTConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        shape = plain_shape(given, "dit")
        return cls(config, DiT(shape, config.outputs, config.drop > 0, given.seed, given.dtype))

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        drawn = super().draw(batch, step, rng)
        return {**drawn, "at": self.at(drawn["time"])}

    def draw_times(self, count: int, rng: np.random.Generator) -> np.ndarray:
        if self.config.path == "flow":
            return super().draw_times(count, rng)
        return rng.integers(0, self.config.steps, count)

    def at(self, time: np.ndarray) -> np.ndarray:
        """(B, 8): x_t = [0] x_0 + [1] eps. Of a diffusion also x_0 = [2] x_t - [3] eps, the posterior's mean [4] x_0 +
        [5] x_t, the logarithms of its variance [6] and of beta [7]."""
        if self.config.path == "flow":
            return np.stack([1 - time, time, *[np.zeros(len(time))] * 6], axis=1)
        own = self.schedule
        forth, back = (np.sqrt(own.abar), np.sqrt(1 - own.abar)), (np.sqrt(1 / own.abar), np.sqrt(1 / own.abar - 1))
        columns = (*forth, *back, own.of_start, own.of_state, own.posterior_log_variance, own.log_betas)
        return np.stack([column[time] for column in columns], axis=1)

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return (self.told(self.noised(batch), self.labels(batch), batch["time"], rng),)

    def told(self, x: Tensor | Array, condition: Array, time: Array, rng: Rng = None) -> Tensor:
        return self.network(x, time * 1000 if self.config.path == "flow" else time, condition, rng)

    def noised(self, batch: Batch) -> Tensor:
        """x_t, (B, height, width, C)."""
        clean, noise, *_ = self.numbers(batch)
        return self.tensor(batch["images"]) * clean + self.tensor(batch["noise"]) * noise

    def numbers(self, batch: Batch) -> list[Array]:
        """The columns of `at`, each of a shape that broadcasts to images."""
        return [column[:, None, None, None] for column in self.network.like(batch["at"]).T]

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        return self.losses(outputs, batch).mean()

    def losses(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Of each example: (B,)."""
        channels = self.shape[-1]
        found, target = outputs[0][..., :channels], self.tensor(batch["noise"])
        if self.config.path == "flow":
            target = target - self.tensor(batch["images"])
        error = ((found - target) ** 2).mean(axis=(1, 2, 3))
        if self.config.outputs == 1:
            return error
        return error + self.bits(found.detach(), outputs[0][..., channels:], batch)

    def bits(self, noise: Tensor, variance: Tensor, batch: Batch) -> Tensor:
        """The variational bound of one step, in bits per number: (B,).   variance: -1 for the posterior's, 1 for
        beta."""
        *_, from_x, from_noise, of_start, of_state, small, large = self.numbers(batch)
        x0, x = self.tensor(batch["images"]), self.noised(batch)
        share = (variance + 1) / 2
        log_variance = share * large + (1 - share) * small
        mean = (x * from_x - noise * from_noise) * of_start + x * of_state
        kl = divergence(x0 * of_start + x * of_state, small, mean, log_variance)
        first = (batch["time"] == 0)[:, None, None, None]
        return F.where(first, surprise(x0, mean, log_variance), kl).mean(axis=(1, 2, 3)) / math.log(2)

    def sample(self, labels: np.ndarray, rng: np.random.Generator, guidance: float | None = None) -> np.ndarray:
        """New images (B, height, width, C) of the classes `labels`, in float64."""
        guidance = self.config.guidance if guidance is None else guidance
        x = rng.standard_normal((len(labels), *self.shape))
        if guidance == 1:
            predict = self.predictor(labels)
        else:
            x, free = np.concatenate([x, x]), np.full_like(labels, self.network.config.num_classes)
            predict = self.predictor(np.concatenate([labels, free]))
            predict = diffusion.with_guidance(predict, guidance, self.shape[-1])
        if self.config.path == "flow":
            walk = diffusion.euler(predict, x, diffusion.times(self.config.walk))
        else:
            kept = self.schedule.respaced(diffusion.spaced(self.config.steps, [self.config.walk]))
            noises = (rng.standard_normal(x.shape) for _ in kept.betas)
            walk = diffusion.walk(kept, predict, x, noises, self.config.clip)
        *_, last = walk
        return last[: len(labels)]

    def pictures(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One sample of each of the first ten classes, without guidance and with it."""
        labels = np.arange(min(10, self.network.config.num_classes))
        scales = sorted({1.0, self.config.guidance} if self.config.drop else {1.0})
        return {f"guidance {scale:g}": self.sample(labels, rng, scale) for scale in scales}


def divergence(mean: Tensor, log_variance: Any, other: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, e^log_variance) || N(other, e^other_log_variance)), in nats."""
    ratio = F.exp(log_variance - other_log_variance)
    return ((mean - other) ** 2 * F.exp(-other_log_variance) + other_log_variance - log_variance - 1 + ratio) / 2


def surprise(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log of the probability that N(mean, e^log_variance) gives to the bin of x, one of 256 in -1..1, in nats."""

    def below(edge: Tensor) -> Tensor:  # the tanh form of the normal distribution function
        z = (edge - mean) * F.exp(log_variance * -0.5)
        return (F.tanh((z + z**3 * 0.044715) * math.sqrt(2 / math.pi)) + 1) / 2

    def log(p: Tensor) -> Tensor:
        return F.log(F.maximum(p, 1e-12))

    upper, lower = below(x + 1 / 255), below(x - 1 / 255)
    inside = F.where(x.data > 0.999, log(1 - lower), log(upper - lower))
    return -F.where(x.data < -0.999, log(upper), inside)


def tiny(dtype: str = "float32") -> tuple[Denoising, Dataset]:
    """The objective in small and 16 images, for tests. Its zeros are drawn, so that everything learns at once."""
    shape = ViTConfig(
        image_size=(4, 4), patch_size=(2, 2), width=8, depth=2, heads=2, mlp_width=16, num_classes=3, channels=1,
        dropout=0.1, classifier="gap", position="sincos2d",
    )  # fmt: skip
    network, rng = DiT(shape, 2, True, 0, dtype), np.random.default_rng(1)
    for parameter in network.parameters():
        parameter.data[...] += rng.normal(0, 0.1, parameter.shape)
    images = rng.integers(0, 256, (16, 4, 4, 1), np.uint8)
    return Denoising(DiTConfig(steps=100, walk=3), network), ArrayDataset(
        images, [*range(3)] * 5 + [0], list("abc"), "noise"
    )

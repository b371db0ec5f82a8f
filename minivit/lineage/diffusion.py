"""Noise schedules and samplers of diffusion and of rectified flow, in NumPy, without derivatives.

Diffusion (Ho et al. 2020, arXiv 2006.11239; Nichol & Dhariwal 2021, arXiv 2102.09672) adds noise in T steps,

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   abar_t = product of (1 - beta_s) over s <= t,

and walks back from noise with a network that predicts eps, and perhaps the variance of a step. DDIM (Song et al. 2020,
arXiv 2010.02502) walks back without new noise. Rectified flow (Liu et al. 2022, arXiv 2209.03003) goes along straight
lines x_t = (1 - t) x_0 + t eps, 0 <= t <= 1, with a network that predicts their direction eps - x_0.

Source: facebookresearch/DiT, diffusion/gaussian_diffusion.py and respace.py. Images are (B, height, width, C); i holds
a step for each image, (B,), or is one number for all. A walk visits some of the T steps only; the network is still
told the step of the whole schedule.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from minivit.errors import ConfigError

Steps = np.ndarray | int
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (x, step of each image) -> output of the network


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """betas: (T,), in float64.   told: the number of each step for the network, (T,)."""

    betas: np.ndarray
    told: np.ndarray

    @classmethod
    def linear(cls, steps: int = 1000) -> "Schedule":
        """The betas of DDPM and DiT: 1e-4 to 0.02 in 1000 steps."""
        return cls(np.linspace(1000 / steps * 1e-4, 1000 / steps * 0.02, steps), np.arange(steps))

    @classmethod
    def cosine(cls, steps: int = 1000) -> "Schedule":
        """abar_t follows a squared cosine (Nichol & Dhariwal 2021)."""
        abar = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
        return cls(np.minimum(1 - abar[1:] / abar[:-1], 0.999), np.arange(steps))

    def respaced(self, kept: Iterable[int]) -> "Schedule":
        """The schedule that visits only the steps `kept`: their abar stay, and the betas follow from them."""
        kept = np.array(sorted(set(kept)), np.int64)
        abar = self.abar[kept]
        return Schedule(1 - abar / np.append(1.0, abar[:-1]), self.told[kept])

    @functools.cached_property
    def abar(self) -> np.ndarray:
        return np.cumprod(1 - self.betas)

    @functools.cached_property
    def abar_before(self) -> np.ndarray:
        return np.append(1.0, self.abar[:-1])

    @functools.cached_property
    def posterior_variance(self) -> np.ndarray:
        """Of x_{t-1}, given x_t and x_0."""
        return self.betas * (1 - self.abar_before) / (1 - self.abar)

    @functools.cached_property
    def posterior_log_variance(self) -> np.ndarray:
        """Its logarithm; that of the first step, -infinity, is replaced by that of the second."""
        return np.log(np.append(self.posterior_variance[1:2], self.posterior_variance[1:]))

    @functools.cached_property
    def log_betas(self) -> np.ndarray:
        return np.log(self.betas)

    @functools.cached_property
    def fixed_log_variance(self) -> np.ndarray:
        """Of a walk whose network does not predict it: beta, but for the first step."""
        return np.append(self.posterior_log_variance[:1], self.log_betas[1:])

    @functools.cached_property
    def of_start(self) -> np.ndarray:
        """The mean of x_{t-1}, given x_t and x_0, is of_start x_0 + of_state x_t."""
        return self.betas * np.sqrt(self.abar_before) / (1 - self.abar)

    @functools.cached_property
    def of_state(self) -> np.ndarray:
        return (1 - self.abar_before) * np.sqrt(1 - self.betas) / (1 - self.abar)

    def start(self, x: np.ndarray, noise: np.ndarray, i: Steps) -> np.ndarray:
        """x_0, from x_t and the noise in it."""
        abar = _each(self.abar, i, x)
        return np.sqrt(1 / abar) * x - np.sqrt(1 / abar - 1) * noise


def _each(values: np.ndarray, i: Steps, x: np.ndarray) -> np.ndarray:
    """A value for each image, of a shape that broadcasts to x."""
    return np.asarray(values)[np.asarray(i)].reshape(-1, *[1] * (x.ndim - 1))


def spaced(total: int, how: str | Sequence[int]) -> list[int]:
    """The steps of `total` that a walk visits.   how: "ddimN", N equal strides from 0 on; "250", evenly from the first
    to the last; "10,15" or [10, 15], so many in each of equally long parts. Raises ConfigError if there are too few."""
    if isinstance(how, str) and how.startswith("ddim"):
        for visited in (range(0, total, n) for n in range(1, total)):
            if len(visited) == int(how[4:]):
                return [*visited]
        raise ConfigError(f"{how}: no whole stride visits so many of {total} steps")
    counts = [int(count) for count in how.split(",")] if isinstance(how, str) else [*how]
    kept: list[int] = []
    first = 0
    for part, count in enumerate(counts):
        length = total // len(counts) + (part < total % len(counts))
        if not 0 < count <= length:
            raise ConfigError(f"a walk visits {count} of {length} steps, expected 1 to {length}")
        stride, place = ((length - 1) / (count - 1) if count > 1 else 1.0), 0.0
        for _ in range(count):
            kept.append(first + round(place))
            place += stride
        first += length
    return kept


def moments(
    schedule: Schedule, output: np.ndarray, x: np.ndarray, i: Steps, clip: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and logarithm of the variance of x_{t-1}, and the x_0 that the network means.

    output: (..., C), the noise in x; or (..., 2 C) with the variance behind it: -1 stands for the posterior's, 1 for
    beta, and between them the logarithm is linear. clip: whether x_0 is kept within -1..1.
    """
    noise, variance = np.split(output, [x.shape[-1]], axis=-1)
    x0 = schedule.start(x, noise, i)
    x0 = np.clip(x0, -1, 1) if clip else x0
    log_variance = _each(schedule.fixed_log_variance, i, x)
    if variance.size:
        share = (variance + 1) / 2
        small, large = (_each(values, i, x) for values in (schedule.posterior_log_variance, schedule.log_betas))
        log_variance = share * large + (1 - share) * small
    mean = _each(schedule.of_start, i, x) * x0 + _each(schedule.of_state, i, x) * x
    return mean, np.broadcast_to(log_variance, x.shape), x0


def ddpm_step(
    schedule: Schedule, output: np.ndarray, x: np.ndarray, i: Steps, noise: np.ndarray, clip: bool = False
) -> np.ndarray:
    """One step back, x_t -> x_{t-1}. The last one, i = 0, adds no noise."""
    mean, log_variance, _ = moments(schedule, output, x, i, clip)
    noisy = np.asarray(i).reshape(-1, *[1] * (x.ndim - 1)) > 0
    return mean + noisy * np.exp(log_variance / 2) * noise


def ddim_step(
    schedule: Schedule,
    output: np.ndarray,
    x: np.ndarray,
    i: Steps,
    noise: np.ndarray | float = 0.0,
    eta: float = 0.0,
    clip: bool = False,
) -> np.ndarray:
    """One step back along the noise that the network sees. eta: share of new noise, 0 for none; 1 is close to DDPM."""
    x0 = moments(schedule, output, x, i, clip)[2]
    abar, before = _each(schedule.abar, i, x), _each(schedule.abar_before, i, x)
    seen = (np.sqrt(1 / abar) * x - x0) / np.sqrt(1 / abar - 1)  # the noise again, since x_0 may be clipped
    sigma = eta * np.sqrt((1 - before) / (1 - abar)) * np.sqrt(1 - abar / before)
    return np.sqrt(before) * x0 + np.sqrt(1 - before - sigma**2) * seen + sigma * noise  # sigma is 0 at i = 0


def walk(
    schedule: Schedule,
    predict: Predict,
    x: np.ndarray,
    noises: Iterable[np.ndarray],
    clip: bool = False,
    eta: float | None = None,
) -> Iterator[np.ndarray]:
    """The images after each step of the way back, the last step of the schedule first. eta: of DDIM; None: DDPM."""
    for i, noise in zip(reversed(range(len(schedule.betas))), noises, strict=False):
        output = predict(x, np.full(len(x), schedule.told[i]))
        if eta is None:
            x = ddpm_step(schedule, output, x, i, noise, clip)
        else:
            x = ddim_step(schedule, output, x, i, noise, eta, clip)
        yield x


def guided(output: np.ndarray, scale: float, channels: int) -> np.ndarray:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598): u + scale (c - u), in both halves of the batch.

    output: of a batch whose first half asks for classes, c, and whose second half is the same without, u.
    channels: so many are guided, and the others stay. The published sampling of DiT guides 3 of 4.
    """
    asked, free = np.split(output[..., :channels], 2)
    both = free + scale * (asked - free)
    return np.concatenate([np.concatenate([both, both]), output[..., channels:]], axis=-1)


def with_guidance(predict: Predict, scale: float, channels: int) -> Predict:
    """A network for batches of two halves, of which the second becomes a copy of the first."""

    def predicted(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        half = x[: len(x) // 2]
        return guided(predict(np.concatenate([half, half]), t), scale, channels)

    return predicted


def shifted(t: np.ndarray, shift: float) -> np.ndarray:
    """Times of a flow moved towards noise, as for large images: s t / (1 + (s - 1) t)."""
    return shift * t / (1 + (shift - 1) * t)


def times(steps: int, shift: float = 1.0) -> np.ndarray:
    """The times of a walk in `steps` steps, from 1 to 0: (steps + 1,)."""
    return shifted(np.linspace(1, 0, steps + 1), shift)


def times_of_diffusers(steps: int, shift: float = 1.0, total: int = 1000) -> np.ndarray:
    """The times of diffusers' FlowMatchEulerDiscreteScheduler, which shifts the smallest time twice."""
    first, last = shifted(np.array([1.0, 1 / total]), shift)
    return np.append(shifted(np.linspace(first, last, steps), shift), 0.0)


def euler(predict: Predict, x: np.ndarray, at: np.ndarray) -> Iterator[np.ndarray]:
    """The images after each step along a flow: x += (t' - t) v. The network is told t as a number in 0..1."""
    for t, later in itertools.pairwise(at):
        x = x + (later - t) * predict(x, np.full(len(x), t))
        yield x

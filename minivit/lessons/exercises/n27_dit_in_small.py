"""Exercises of notebook 27, from noise to digits."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.slips.walking import SLIPS, ddim_walk, walks


def _noisy(
    images: np.ndarray,
    noise: np.ndarray,
    betas: np.ndarray,
    t: np.ndarray,
    *,
    pixels: Callable[[np.ndarray], np.ndarray] = lambda images: images / 127.5 - 1,
    shares: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda betas, t: np.cumprod(1 - betas)[t - 1],
    clean: float = 0.5,
    noisy: float = 0.5,
) -> np.ndarray:
    """shares: what is left of each picture; clean, noisy: the powers of the shares of picture and noise."""
    abar = shares(betas, t)[:, None, None, None]
    return abar**clean * pixels(images) + (1 - abar) ** noisy * noise


def _batches(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for count, shape, steps in ((3, (4, 5, 2), 20), (5, (2, 3, 4), 30), (2, (6, 4, 3), 12)):
        images = rng.integers(0, 256, (count, *shape), np.uint8)
        betas = np.linspace(0.01, 0.2, steps)
        cases.append((images, rng.standard_normal(images.shape), betas, 2 + rng.permutation(steps - 2)[:count]))
    return cases


def _guided_normal(
    m: float, s: float, r: float, g: float, power: int = 2, without: Callable[[float], float] = lambda g: 1 - g
) -> tuple[float, float]:
    """power: of the deviations; without: how often the density of all pictures counts."""
    precision = g / s**power + without(g) / r**power
    return g * m / s**power / precision, precision**-0.5


def _changed(mean: Callable, deviation: Callable, m: float, s: float, r: float, g: float) -> tuple[float, float]:
    """The right results, replaced by functions of both and of the arguments."""
    right = _guided_normal(m, s, r, g)
    return mean(*right, m, s, r, g), deviation(*right, m, s, r, g)


def _same(place: int) -> Callable:
    return lambda mean, deviation, *rest: (mean, deviation)[place]


def _classes(rng: np.random.Generator) -> list[tuple]:
    values = ((0.7, 0.3, 1.1, 2.0), (-0.4, 0.5, 0.9, 4.0), (1.3, 0.2, 1.6, 0.5), (0.9, 0.6, 1.2, 8.0))
    return [*values, (0.8, 0.4, 1.3, 1.0), (-0.6, 0.7, 1.5, 0.25)]


def _velocity(
    predict: Callable,
    x: np.ndarray,
    t: float,
    *,
    size: Callable[[float], float] = lambda t: math.hypot(1 - t, t),
    share: Callable[[float], float] = lambda t: (1 - t) ** 2 / ((1 - t) ** 2 + t**2),
    then: Callable[[np.ndarray, np.ndarray, float], np.ndarray] = lambda e, x, t: (e - x) / (1 - t),
) -> np.ndarray:
    """size: what x is divided by; share: for the network; then: the velocity, from noise and x."""
    return then(predict(x / size(t), share(t)), x, t)


def _asked(x: np.ndarray, abar: float) -> np.ndarray:
    """Stands for a network that is told the share of the picture."""
    return np.tanh(x + 0.4 * x.mean()) * (1.5 - abar) + 0.3 * abar


def _places(rng: np.random.Generator) -> list[tuple]:
    return [
        (_asked, rng.standard_normal(shape), t)
        for shape, t in (((3, 4), 0.3), ((2, 5), 0.8), ((5, 3), 0.45), ((4, 2), 0.9))
    ]


def _first_tenth(
    abar: np.ndarray,
    s: float,
    *,
    loss: Callable[[np.ndarray, float], np.ndarray] = lambda abar, s: abar * s**2 / (abar * s**2 + 1 - abar),
    of: Callable[[np.ndarray, int], float] = lambda losses, tenth: losses[:tenth].sum() / losses.sum(),
) -> float:
    return float(of(loss(abar, s), len(abar) // 10))


def _schedules(rng: np.random.Generator) -> list[tuple]:
    sizes = ((20, 0.2, 0.8), (40, 0.1, 0.5), (30, 0.15, 1.3), (100, 0.05, 0.3))
    return [(np.cumprod(1 - np.linspace(0.001, last, steps)), s) for steps, last, s in sizes]


EXERCISES = [
    Exercise(
        "27.1",
        diagnosed(
            _noisy,
            _batches,
            {
                "These pixels go from 0 to 1: half the contrast. They must go from -1 to 1.": (
                    partial(_noisy, pixels=lambda images: images / 255)
                ),
                "These pixels go from -0.5 to 0.5: half the contrast.": (
                    partial(_noisy, pixels=lambda images: images / 255 - 0.5)
                ),
                "Picture and noise have exchanged their shares.": (
                    partial(_noisy, shares=lambda betas, t: 1 - np.cumprod(1 - betas)[t - 1])
                ),
                "A step leaves 1 - beta of the picture, not beta.": (
                    partial(_noisy, shares=lambda betas, t: np.cumprod(betas)[t - 1])
                ),
                "The pixels are still 0 to 255.": partial(_noisy, pixels=lambda images: images.astype(float)),
                "Whole numbers of 8 bits have no room above 255: make them floating-point numbers first.": (
                    partial(_noisy, pixels=lambda images: (images * np.uint8(2)) / 255 - 1)
                ),
                "Step t comes after t factors: where is the share of step t in an array that begins at 0?": (
                    partial(_noisy, shares=lambda betas, t: np.cumprod(1 - betas)[t])
                ),
                "One factor too few: the product includes that of step t.": (
                    partial(_noisy, shares=lambda betas, t: np.cumprod(1 - betas)[t - 2])
                ),
                "This is one step alone, from a clean picture. All steps up to t have taken their part.": (
                    partial(_noisy, shares=lambda betas, t: 1 - betas[t - 1])
                ),
                "The steps differ: their shares are multiplied, not one of them taken t times.": (
                    partial(_noisy, shares=lambda betas, t: (1 - betas[t - 1]) ** t)
                ),
                "Shares multiply; these betas are added.": (
                    partial(_noisy, shares=lambda betas, t: 1 / (1 + np.cumsum(betas)[t - 1]))
                ),
                "Shares are of variances. Pictures and noise are multiplied by their roots.": (
                    partial(_noisy, clean=1, noisy=1)
                ),
                "The factor of the picture lacks its root.": partial(_noisy, clean=1),
                "The factor of the noise lacks its root.": partial(_noisy, noisy=1),
                "Each picture has a step of its own.": (
                    partial(_noisy, shares=lambda betas, t: np.cumprod(1 - betas)[np.full_like(t, t[0]) - 1])
                ),
            },
            allowed=(),
        ),
        "Pixels from 0 to 1 have half the contrast: at equal shares, less of the picture would be seen.",
    ),
    Exercise(
        "27.2",
        diagnosed(
            ddim_walk,
            walks,
            SLIPS,
            allowed=(),
        ),
        "A walk in ten steps uses the same network as one in a thousand: only the visited steps differ.",
    ),
    Exercise(
        "27.3",
        diagnosed(
            _guided_normal,
            _classes,
            {
                "The mean is right. This is the variance.": partial(_changed, _same(0), lambda a, b, *rest: b**2),
                "The mean is right. This is the precision.": partial(_changed, _same(0), lambda a, b, *rest: b**-2),
                "Guidance does not multiply the mean: both densities pull.": (
                    partial(_changed, lambda a, b, m, s, r, g: g * m, _same(1))
                ),
                "The deviation is right. The mean does not stay that of the class.": (
                    partial(_changed, lambda a, b, m, s, r, g: m, _same(1))
                ),
                "These are a line through the two densities' means and deviations. Their logarithms are combined, not "
                "these.": partial(_changed, lambda a, b, m, s, r, g: g * m, lambda a, b, m, s, r, g: r + g * (s - r)),
                "This is the class itself: guidance with g = 1.": (
                    partial(_changed, lambda a, b, m, s, r, g: m, lambda a, b, m, s, r, g: s)
                ),
                "The density of all pictures is left out.": partial(_guided_normal, without=lambda g: 0.0),
                "The density of all pictures counts 1 - g times, not once.": (
                    partial(_guided_normal, without=lambda g: 1.0)
                ),
                "For g > 1 the density of all pictures counts less than nothing: 1 - g is negative.": (
                    partial(_guided_normal, without=lambda g: abs(1 - g))
                ),
                "Precisions are one over variances, not one over deviations.": partial(_guided_normal, power=1),
            },
            where={"g is less than 1": lambda m, s, r, g: g < 1, "g is more than 1": lambda m, s, r, g: g > 1},
            allowed=(),
            results="mean deviation",
        ),
        "As g grows, the deviation falls like 1/sqrt(g). The mean goes to m/(1 - s^2/r^2), beyond that of the class.",
    ),
    Exercise(
        "27.4",
        diagnosed(
            _velocity,
            _places,
            {
                "x is too small for this network: it has seen pictures whose squared factors add up to 1.": (
                    partial(_velocity, size=lambda t: 1.0)
                ),
                "This network knows pictures of (2). Divide that of (11) so that the squares of both factors add up to "
                "1, and then find its share.": partial(_velocity, size=lambda t: 1.0, share=lambda t: (1 - t) ** 2),
                "x is multiplied by the length instead of divided.": (
                    partial(_velocity, size=lambda t: 1 / math.hypot(1 - t, t))
                ),
                "x is divided by the squared length.": partial(_velocity, size=lambda t: (1 - t) ** 2 + t**2),
                "The network was told the share before the division.": partial(_velocity, share=lambda t: (1 - t) ** 2),
                "The share of the picture is not 1 - t: after the division, which square stands before x_0?": (
                    partial(_velocity, share=lambda t: 1 - t)
                ),
                "The network was told the root of the share.": (
                    partial(_velocity, share=lambda t: (1 - t) / math.hypot(1 - t, t))
                ),
                "The network was told the share of the noise.": (
                    partial(_velocity, share=lambda t: t**2 / ((1 - t) ** 2 + t**2))
                ),
                "This is the way from noise to picture; the velocity goes the other way.": (
                    partial(_velocity, then=lambda e, x, t: (x - e) / (1 - t))
                ),
                "This is the x_0 that the network means.": (
                    partial(_velocity, then=lambda e, x, t: (x - t * e) / (1 - t))
                ),
                "The velocity is the noise less the clean picture, not less x.": (
                    partial(_velocity, then=lambda e, x, t: e - x)
                ),
                "This is the noise; x_0 has to be taken away.": partial(_velocity, then=lambda e, x, t: e),
                "The noise was taken out of the divided x, and the velocity is that of the other line.": (
                    partial(_velocity, then=lambda e, x, t: (e - x / math.hypot(1 - t, t)) / (1 - t))
                ),
            },
            allowed=(),
        ),
        "Size and clock are all that differs. So one trained network can walk both ways.",
    ),
    Exercise(
        "27.5",
        diagnosed(
            _first_tenth,
            _schedules,
            {
                "This is the last tenth.": (
                    partial(_first_tenth, of=lambda losses, tenth: losses[-tenth:].sum() / losses.sum())
                ),
                "This is the mean loss of the first tenth; a share of the sum is asked for.": (
                    partial(_first_tenth, of=lambda losses, tenth: losses[:tenth].mean())
                ),
                "This compares the first tenth with the rest; it is asked as a share of all.": (
                    partial(_first_tenth, of=lambda losses, tenth: losses[:tenth].sum() / losses[tenth:].sum())
                ),
                "This is the mean of the first tenth over the mean of all: ten times the share.": (
                    partial(_first_tenth, of=lambda losses, tenth: losses[:tenth].mean() / losses.mean())
                ),
                "This is how uncertain x_0 is. The loss is about the noise: (4) says how their errors are related.": (
                    partial(_first_tenth, loss=lambda abar, s: (1 - abar) * s**2 / (abar * s**2 + 1 - abar))
                ),
                "The deviation of the pixels enters by its square.": (
                    partial(_first_tenth, loss=lambda abar, s: abar * s / (abar * s + 1 - abar))
                ),
                "The factor between picture and noise is a root; for squared errors take its square.": (
                    partial(
                        _first_tenth,
                        loss=lambda abar, s: np.sqrt(abar * (1 - abar)) * s**2 / (abar * s**2 + 1 - abar),
                    )
                ),
                "If nothing of the picture is known, all loss would be the same. x_t says a part of it.": (
                    partial(_first_tenth, loss=lambda abar, s: np.ones_like(abar))
                ),
            },
            allowed=(),
        ),
        "Of the digits' schedule, too, the nearly clean pictures have the largest losses. The mean loss says little "
        "about the steps that decide what is drawn.",
    ),
]

"""A walk of DDIM through some of the steps, and its usual mistakes."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np


def _ddim(x: np.ndarray, e: np.ndarray, now: float, later: float) -> np.ndarray:
    return math.sqrt(later) * (x - math.sqrt(1 - now) * e) / math.sqrt(now) + math.sqrt(1 - later) * e


def _ddpm(x: np.ndarray, e: np.ndarray, now: float, later: float) -> np.ndarray:
    """The mean of a step of DDPM, without its fresh noise."""
    return (x - (1 - now / later) / math.sqrt(1 - now) * e) * math.sqrt(later / now)


def ddim_walk(
    predict: Callable,
    x: np.ndarray,
    kept: np.ndarray,
    abar: np.ndarray,
    *,
    told: Callable[[np.ndarray, int], int] = lambda kept, i: kept[i],
    share: Callable[[np.ndarray, np.ndarray, int], float] = lambda kept, abar, i: abar[kept[i]],
    before: Callable[[np.ndarray, np.ndarray, int], float] = lambda kept, abar, i: abar[kept[i - 1]],
    end: float | None = 1.0,
    step: Callable[[np.ndarray, np.ndarray, float, float], np.ndarray] = _ddim,
    whole: bool = True,
    forwards: bool = False,
) -> np.ndarray:
    """told: the number for the network; share, before: those of steps i and i - 1; end: that after the last step,
    None for what `before` finds there; step: from x, its noise and both shares; whole: whether there is one at i = 0.
    """
    order = range(len(kept)) if forwards else reversed(range(len(kept)))
    for i in order:
        if i == 0 and not whole:
            continue
        now, later = share(kept, abar, i), before(kept, abar, i) if i or end is None else end
        x = step(x, predict(x, int(told(kept, i))), now, later)
    return x


def _seen(x: np.ndarray, index: int | np.ndarray) -> np.ndarray:
    """Stands for a network: what it returns depends on every pixel and on the step."""
    index = np.reshape(index, (-1, 1))
    return np.tanh(x - 0.3 * x.mean()) * (1 + 0.5 * np.cos(index)) + 0.2 * np.sin(index / 3)


def walks(rng: np.random.Generator) -> list[tuple]:
    """Arguments for the judge: networks, noisy pictures, steps that are visited, shares."""
    cases = []
    for steps, kept, shape in (
        (30, [0, 7, 12, 29], (3, 4)),
        (20, [3, 11, 19], (2, 5)),
        (40, [5, 6, 20, 31, 38], (4, 2)),
    ):
        cases.append((_seen, rng.standard_normal(shape), np.array(kept), np.cumprod(1 - np.linspace(0.01, 0.2, steps))))
    return cases


SLIPS: dict[str, Callable] = {
    "The network was told the number of the step within the walk. It was trained with the index in the "
    "whole schedule.": partial(ddim_walk, told=lambda kept, i: i),
    "The network is told one more than the index.": partial(ddim_walk, told=lambda kept, i: kept[i] + 1),
    "The network is told the step to which the walk goes. The picture in hand is that of the step before it.": partial(
        ddim_walk, told=lambda kept, i: kept[max(i - 1, 0)]
    ),
    "The shares are taken at the number of the step within the walk.": (
        partial(ddim_walk, share=lambda kept, abar, i: abar[i], before=lambda kept, abar, i: abar[i - 1])
    ),
    "Each step goes back by one step of the whole schedule; it must go to the next visited one.": (
        partial(ddim_walk, before=lambda kept, abar, i: abar[kept[i] - 1])
    ),
    "The last step is missing: at the first visited step there is still noise in the picture.": (
        partial(ddim_walk, whole=False)
    ),
    "The last step does not end at a clean picture.": partial(ddim_walk, end=0.99),
    "At i = 0, kept[i - 1] is the last entry. The last step ends at a clean picture.": partial(ddim_walk, end=None),
    "These are the means of DDPM's steps, equation 8. DDIM puts the noise back that the network sees.": (
        partial(ddim_walk, step=_ddpm)
    ),
    "Each step ends at a clean picture. Only the last one does.": partial(ddim_walk, before=lambda kept, abar, i: 1.0),
    "The walk begins with the most noise: the last entry of `kept` comes first.": (partial(ddim_walk, forwards=True)),
}

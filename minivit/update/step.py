"""One update on one batch: the heart of training, and the start of the reading path."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.arrays import asarray_like
from minivit.backend.workers import Workers
from minivit.errors import NonFiniteError
from minivit.optim import SGD, AdamW, global_norm
from minivit.optim.gradients import clip_scale, each_scale
from minivit.ranks import Ranks
from minivit.tensor import Tensor, grad
from minivit.update.batch import Batch, Found, Piece, cut, examples
from minivit.update.comparing import compared
from minivit.update.not_finite import first_non_finite
from minivit.update.objective import Objective


@dataclasses.dataclass(frozen=True)
class StepResult:
    """Mean loss over the batch, norm of its gradient before clipping, means of what the objective sums up."""

    loss: float
    grad_norm: float
    means: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN where nothing is classified."""
        return float(self.means.get("accuracy", math.nan))


@np.errstate(all="ignore")  # what is not finite is found below, and named
def step(
    objective: Objective,
    optimizer: AdamW | SGD,
    batch: Batch,
    clip_norm: float | None = None,
    workers: Workers | None = None,
    accumulate: int = 1,
    seed: tuple[int, ...] = (0,),
    ranks: Ranks | None = None,
) -> StepResult:
    """One update on one batch.

    The batch is cut into `accumulate` pieces per worker, whose gradients are added up: the gradient of the mean loss
    over the whole batch, in less memory. seed: of this step's dropout masks; drawn by example, so that pieces change
    the result by rounding only. ranks: the processes that share a batch, each with its part. Raises ValueError for an
    empty batch, and NonFiniteError, before anything is changed, naming the first tensor that is NaN or infinite.
    """
    workers, parameters = workers or Workers(1), optimizer.parameters
    batch = {name: xp_of(parameters[0].data).asarray(x) for name, x in batch.items()}
    cut_anew = functools.partial(cut, batch, accumulate * workers.count, seed, ranks, whole=objective.compares)
    pieces = cut_anew()
    of_piece = by_piece(objective, parameters, batch, pieces, workers, ranks)
    loss, sums, gradients = (ranks or Ranks()).found(of_piece, len(pieces), parameters, workers)
    most = clip_norm or math.inf

    def limits() -> tuple[float, float | list[float]]:
        norm = global_norm(gradients, workers)
        return norm, each_scale(gradients, most, workers) if objective.clips_each else clip_scale(norm, most)

    norm, scale = (ranks or Ranks()).first(limits)  # of one rank, since another kind of CPU may round otherwise
    if not math.isfinite(loss + norm):
        again = lambda: [*map(by_piece(objective, parameters, batch, cut_anew(), ranks=ranks), range(len(pieces)))]
        raise NonFiniteError(first_non_finite(optimizer, batch, gradients, again))
    optimizer.step(gradients, scale, workers)
    means = {name: total / examples(pieces) for name, total in sums.items()}
    objective.after_update(means, batch)
    return StepResult(loss, norm, {name: to_numpy(mean) for name, mean in means.items()})


def by_piece(
    objective: Objective,
    parameters: list[Tensor],
    batch: Batch,
    pieces: list[Piece],
    workers: Workers | None = None,
    ranks: Ranks | None = None,
) -> Callable[..., Found]:
    """What piece i adds to the update, as a function of i: its share of the mean over the batch."""
    if objective.compares:
        return compared(objective, parameters, batch, pieces, workers or Workers(1), ranks)

    def of_piece(i: int, pull: Callable[..., list[Array]] = grad) -> Found:
        part, share, rng = pieces[i]
        outputs = objective(part, rng)
        loss, sums = objective.loss(outputs, part), objective.sums(outputs, part)
        share = asarray_like(share, loss.data)
        return Found(loss.data.astype("float64") * share, sums, pull(loss, parameters, share))

    return of_piece

"""The backward pass of a loss that compares the examples of a batch with each other (InfoNCE, KoLeo, Sinkhorn)."""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence

from minivit.backend import xp_of
from minivit.backend.workers import Workers
from minivit.ranks import Ranks
from minivit.tensor import Tensor, grad
from minivit.update.batch import Batch, Found, Piece, size
from minivit.update.objective import Objective, Outputs


def compared(
    objective: Objective,
    parameters: list[Tensor],
    batch: Batch,
    pieces: list[Piece],
    workers: Workers,
    ranks: Ranks | None = None,
) -> Callable[..., Found]:
    """The function from i to piece i's contribution to the update.

    The outputs of all pieces are joined, and the loss is computed on the whole. Its gradient with respect to each
    output is pulled back through its piece: exact for any cut. The tapes of all pieces are kept until then, so more
    pieces save no memory here; recomputed blocks do. The first piece adds everything that belongs to no piece: the
    loss, the sums, and the gradients of parameters that the loss itself reads, such as a temperature.
    """
    given = workers.map(lambda piece: objective(piece.batch, piece.rng), pieces)
    whole = together(given, parameters[0], ranks)
    learning = [output for output in whole if output.requires_grad]
    loss, sums = objective.loss(whole, batch), objective.sums(whole, batch)
    gradients = grad(loss, [*learning, *parameters])
    value = loss.data.astype("float64")
    cotangents, direct = gradients[: len(learning)], gradients[len(learning) :]
    own = sum(size(piece.batch) for piece in pieces)
    rank = ranks.rank if ranks else 0
    ends = [rank * own, *(rank * own + end for end in itertools.accumulate(size(piece.batch) for piece in pieces))]

    def of_piece(i: int, pull: object = None) -> Found:
        part = slice(ends[i], ends[i + 1])
        outputs = [output for output in given[i] if output.requires_grad]
        # d(sum of y g) is g dy: the cotangents of several outputs in one scalar
        scalars = [(output * g[part]).sum() for output, g in zip(outputs, cotangents, strict=True)]
        pulled = grad(functools.reduce(operator.add, scalars), parameters) if scalars else [0 * d for d in direct]
        if i or rank:
            return Found(0 * value, {name: 0 * x for name, x in sums.items()}, pulled)
        return Found(value, sums, [g + d for g, d in zip(pulled, direct, strict=True)])

    return of_piece


def together(given: Sequence[Outputs], like: Tensor, ranks: Ranks | None = None) -> Outputs:
    """The outputs of all pieces, and of all ranks, joined as those of the batch: leaves, in the dtype of `like`, since
    bfloat16 would round."""
    xp = xp_of(like.data)

    def join(parts: Sequence[Tensor]) -> Tensor:
        own = xp.concatenate([one.data for one in parts]).astype(like.dtype, copy=False)
        return Tensor(ranks.joined(own) if ranks else own, parts[0].requires_grad)

    return tuple(map(join, zip(*given, strict=True)))

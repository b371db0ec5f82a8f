"""Sums, norms and clipping of gradients."""

import math
from collections.abc import Iterable

from minivit.backend import Array, xp_of
from minivit.backend.tiles import flat_tiles
from minivit.backend.workers import Workers
from minivit.protocol import array_list, listed


def add_up(shares: Iterable[Iterable[Array]], workers: Workers | None = None) -> list[Array]:
    """The sum over shares of every gradient, in the arrays of the first share.   shares: lists of the same shapes."""
    lists = [array_list(share, "add_up") for share in listed(shares, "add_up", "lists of arrays")]

    def add(tile: tuple[Array, ...]) -> None:
        total, *others = tile
        for other in others:
            total += other

    tiles = (tile for arrays in zip(*lists, strict=True) for tile in flat_tiles(*arrays))
    (workers or Workers(1)).map(add, tiles, size=lambda tile: tile[0].size)
    return lists[0]


def global_norm(grads: Iterable[Array], workers: Workers | None = None) -> float:
    """Euclidean norm of all gradients taken as one vector: tiles in their own precision, their sum in float64."""

    def square(tile: tuple[Array]) -> float:
        (g,) = tile
        return float(xp_of(g).vdot(g, g))

    tiles = [tile for g in array_list(grads, "global_norm") for tile in flat_tiles(g)]
    return math.sqrt(sum((workers or Workers(1)).map(square, tiles, size=lambda tile: tile[0].size)))


def clip_scale(norm: float, max_norm: float) -> float:
    """What to multiply all gradients by, so that their global norm is at most `max_norm`.

    1 if norm < max_norm, else max_norm / norm, with no epsilon: optax's convention, used by the published fine-tuning
    (torch adds 1e-6 to the norm).
    """
    return 1.0 if norm < max_norm or norm == 0 else max_norm / norm


def each_scale(grads: Iterable[Array], max_norm: float, workers: Workers | None = None) -> list[float]:
    """The factor on each gradient that keeps its own norm below `max_norm`: DINO's clipping, with torch's 1e-6.
    `Optimizer.step` takes such a list, or the one number of `clip_scale`."""
    norms = (workers or Workers(1)).map(lambda g: global_norm([g]), array_list(grads, "each_scale"), lambda g: g.size)
    return [min(1.0, max_norm / (norm + 1e-6)) for norm in norms]


def clip_by_global_norm(grads: Iterable[Array], max_norm: float) -> tuple[list[Array], float]:
    """All gradients times `clip_scale`, and their norm before. The given arrays are unchanged."""
    grads = array_list(grads, "clip_by_global_norm")
    norm = global_norm(grads)
    if norm == math.inf:  # perhaps of the squares only
        norm = global_norm([g.astype("float64") for g in grads])
    scale = clip_scale(norm, max_norm)
    return [g * scale for g in grads] if scale != 1 else grads, norm

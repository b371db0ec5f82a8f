"""Functions of all gradients together."""

import math
from collections.abc import Sequence

from minivit.backend import Array


def global_norm(grads: Sequence[Array]) -> float:
    """Euclidean norm of all gradients taken as one vector, summed in float64 across arrays."""
    return math.sqrt(sum(float((g * g).sum()) for g in grads))


def clip_by_global_norm(grads: Sequence[Array], max_norm: float) -> tuple[list[Array], float]:
    """Scale all gradients by one factor so that their global norm is at most `max_norm`; return them and the old norm.

    g if norm < max_norm, else g / norm * max_norm, with no epsilon: optax's convention, used by the published
    fine-tuning (torch adds 1e-6 to the norm). The arrays given are left as they are.
    """
    norm = global_norm(grads)
    if norm < max_norm or norm == 0:
        return list(grads), norm
    return [g * (max_norm / norm) for g in grads], norm

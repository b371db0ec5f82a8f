"""Parts of DINOv2's training: balanced answers, distances between images, what is hidden. See `dinov2_objective`."""

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.backend.precision import precision
from minivit.tensor import Tensor, no_grad


def sinkhorn(t: Tensor, steps: int, counts: Tensor | None = None) -> Tensor:
    """Answers (R, K) whose outputs win about equally often.   counts: (R, 1), 0 for rows that do not count, which are 0
    in the result, else 1."""
    q = F.exp(t - t.max())
    q = q if counts is None else q * counts
    rows, outputs = (float(t.shape[0]) if counts is None else F.maximum(counts.sum(), 1.0)), t.shape[1]
    q = q / q.sum()
    for _ in range(steps):
        q = q / (F.maximum(q.sum(axis=0, keepdims=True), 1e-30) * outputs)
        q = q / (F.maximum(q.sum(axis=1, keepdims=True), 1e-30) * rows)
    return q * rows


def koleo(x: Tensor) -> Tensor:
    """-mean log of the distance of each of x (B, D), divided by its length, to its nearest other; 0 if there is one."""
    count = x.shape[0]
    if count < 2:
        return (x * 0.0).sum()
    x = x / F.maximum(F.sqrt((x * x).sum(axis=-1, keepdims=True)), 1e-8)
    to_other = x - x[nearest(x.data)] + 1e-8
    return -F.log(F.sqrt((to_other * to_other).sum(axis=-1)) + 1e-8).mean()


def nearest(x: Array) -> Array:
    """For each of x (B, D) the number of the other with the largest product: (B,)."""
    with no_grad(), precision("float32"):
        alike = F.matmul(Tensor(x), Tensor(x.T)).data
    own = xp_of(x).eye(len(x), dtype=x.dtype)
    return (alike * (1 - own) - own).argmax(axis=1)


def hidden(mask: np.ndarray, most: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a batch that say which patches are hidden.   mask: (B, 2, N), True for those. most: M, at least as
    many as are hidden in a crop; a GPU needs the same for every batch. 0: as many as in the crop with most of them."""
    counts = mask.sum(axis=-1, keepdims=True)
    places = np.argsort(~mask, axis=-1, kind="stable")[..., : max(1, most or counts.max())]
    weights = np.take_along_axis(mask, places, axis=-1) / np.maximum(counts, 1)
    return {"mask": mask.astype(np.int8), "places": places, "patch_weights": weights}

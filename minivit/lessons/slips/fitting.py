"""The largest batch that fits into memory: right, or with a typical slip in counting the memory."""

import math
from collections.abc import Callable
from typing import Any


def _images(
    memory: float,
    n: float,
    each: float,
    copies: float = 4,
    width: float = 4,
    rounding: Callable[[float], int] = math.floor,
) -> int:
    """How many images fit: `each` numbers per image, beside `copies` arrays of n numbers, `width` bytes a number."""
    return max(0, rounding((memory / width - copies * n) / each))


def _activations(N: int, D: int, M: int, H: int) -> int:
    return 8 * N * D + 2 * N * M + H * N * N


def _batch(each: Callable[..., float], **changed: Any) -> Callable:
    """An answer to 28.4 that counts `each(L, N, D, M, H)` numbers per image; changed: see `_images`."""
    return lambda memory, n, L, N, D, M, H: _images(memory, n, each(L, N, D, M, H), **changed)


def _recomputed(L: int, N: int, D: int, M: int, H: int) -> int:
    return L * N * D + _activations(N, D, M, H)


TRAININGS = [
    (80e9, 86e6, 12, 197, 768, 3072, 12),
    (24e9, 304e6, 24, 577, 1024, 4096, 16),
    (2e9, 5.6e6, 6, 65, 192, 1000, 3),
    (1.7e9, 1e6, 3, 4097, 64, 100, 4),
    (3.2e9, 22e6, 40, 101, 384, 512, 2),
    (4e9, 304e6, 24, 257, 1024, 4096, 16),
    (48.1e9, 10e6, 1, 50, 256, 2048, 8),
]

largest_batch = _batch(_recomputed)

SLIPS: dict[str, Callable] = {
    "The gradients are held, too: parameters, gradients and two moments are four arrays of n numbers.": (
        _batch(_recomputed, copies=3)
    ),
    "Adam has two moments, m and v, beside the parameters and the gradients.": _batch(_recomputed, copies=2),
    "Gradients and both moments are held beside the parameters.": _batch(_recomputed, copies=1),
    "Parameters, gradients and both moments take memory before there is an image.": (_batch(_recomputed, copies=0)),
    "A number in float32 takes 4 bytes.": _batch(_recomputed, width=1),
    "A number in float32 takes 4 bytes, not 2.": _batch(_recomputed, width=2),
    "A number in float32 takes 4 bytes, not 8.": _batch(_recomputed, width=8),
    "This keeps the activations of all L blocks. Recomputed, only one block has them at a time.": (
        _batch(lambda L, N, D, M, H: L * _activations(N, D, M, H))
    ),
    "The inputs of the blocks are kept beside the activations of the one that is computed again.": (
        _batch(lambda L, N, D, M, H: _activations(N, D, M, H))
    ),
    "This keeps the activations of all L blocks, and their inputs as well. Recomputed, only one block has "
    "activations at a time.": _batch(lambda L, N, D, M, H: L * (N * D + _activations(N, D, M, H))),
    "This keeps one input. Every block keeps its own.": (
        _batch(lambda L, N, D, M, H: N * D + _activations(N, D, M, H))
    ),
    "The inputs of L blocks are kept, but the block that is computed again has activations, too.": (
        _batch(lambda L, N, D, M, H: L * N * D)
    ),
    "Each head has attention weights of its own.": (
        _batch(lambda L, N, D, M, H: L * N * D + 8 * N * D + 2 * N * M + N * N)
    ),
    "The attention weights are missing: N * N numbers for each head.": (
        _batch(lambda L, N, D, M, H: L * N * D + 8 * N * D + 2 * N * M)
    ),
    "The MLP need not be four times as wide as the model: it has the width M.": (
        _batch(lambda L, N, D, M, H: L * N * D + 16 * N * D + H * N * N)
    ),
    "This is the number of images rounded up: the last one does not fit.": (_batch(_recomputed, rounding=math.ceil)),
    "This is rounded to the nearest number: the last image may not fit.": _batch(_recomputed, rounding=round),
    "Return a whole number of images.": (
        lambda memory, n, L, N, D, M, H: max(0.0, (memory / 4 - 4 * n) / _recomputed(L, N, D, M, H))
    ),
    "If parameters, gradients and moments alone do not fit, the answer is 0 and not negative.": (
        lambda memory, n, L, N, D, M, H: math.floor((memory / 4 - 4 * n) / _recomputed(L, N, D, M, H))
    ),
}

"""The receptive field of a stack of convolutions, and typical slips: for the judge of exercise 20.2."""

import math
from collections.abc import Callable
from functools import partial

Layers = list[tuple[int, int]]


def receptive_field(layers: Layers, jump_at: Callable[[Layers, int], float] | None = None, first: int = 1) -> float:
    """jump_at: the number of pixels of a step in layer i, instead of the product of all strides before it."""

    def product(layers: Layers, i: int) -> int:
        return math.prod(s for _, s in layers[:i])

    return first + sum((k - 1) * (jump_at or product)(layers, i) for i, (k, _) in enumerate(layers))


def _from_the_wrong_end(layers: Layers) -> int:
    field = 1
    for k, s in layers:
        field = (field - 1) * s + k
    return field


def _overlap_forgotten(layers: Layers) -> int:
    """Windows that do not overlap: every layer multiplies."""
    field = 1
    for k, _ in layers:
        field *= k
    return field


def _whole_windows(layers: Layers) -> int:
    """k steps for each layer, instead of k - 1."""
    return 1 + sum(k * math.prod(s for _, s in layers[:i]) for i, (k, _) in enumerate(layers))


def distinct_strides(layers: Layers) -> bool:
    """Whether different strides above 1 come before the last layer."""
    return len({s for _, s in layers[:-1] if s > 1}) > 1


# what is said -> how many pixels a step in layer i is taken to be
_JUMPS: dict[str, Callable[[Layers, int], float]] = {
    "This ignores the strides. A step in a later layer is as many pixels as all strides before it multiplied.": (
        lambda layers, i: 1
    ),
    "The stride of a layer widens the steps of the layers after it, not its own.": (
        lambda layers, i: math.prod(s for _, s in layers[: i + 1])
    ),
    "The strides before a layer are added up here. A step of 2 in steps of 3 is a step of 6.": (
        lambda layers, i: sum(s for _, s in layers[:i]) or 1
    ),
    "The strides before a layer are added up here, those of 1 left out. A step of 2 in steps of 3 is one of 6.": (
        lambda layers, i: sum(s for _, s in layers[:i] if s > 1) or 1
    ),
    "Only the stride of the layer just before counts here; all of those before it multiply.": (
        lambda layers, i: layers[i - 1][1] if i else 1
    ),
    "Only the stride of the layer itself counts here; it is those before it that widen its steps.": (
        lambda layers, i: layers[i][1]
    ),
    "The strides need not be equal: this takes the first one for all.": lambda layers, i: layers[0][1] ** i,
    "The strides need not be equal: this takes the largest for all.": lambda layers, i: max(s for _, s in layers) ** i,
    "The strides need not be equal: this raises that of the layer before to a power.": (
        lambda layers, i: layers[i - 1][1] ** i
    ),
    "The strides need not be 2: multiply those that are given.": lambda layers, i: 2**i,
    "The strides need not be 2: multiply those that are given, all of them.": (
        lambda layers, i: 2 ** sum(s > 1 for _, s in layers[:i])
    ),
    "A step in every layer is taken to be as long as in the last; it is the product of the strides before.": (
        lambda layers, i: math.prod(s for _, s in layers[:-1])
    ),
    "A step in a layer is as many pixels as the largest stride before it; it is the product of them.": (
        lambda layers, i: max([s for _, s in layers[:i]], default=1)
    ),
}


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {hint: partial(receptive_field, jump_at=jump) for hint, jump in _JUMPS.items()} | {
    "Windows of neighbouring outputs overlap: the second layer adds k - 1 steps, not k.": (
        lambda layers: sum(k for k, _ in layers)
    ),
    "A layer adds k - 1 steps, not k: the first pixel of its window is there already.": _whole_windows,
    "The value itself depends on one pixel before any layer is counted: begin with 1.": (
        partial(receptive_field, first=0)
    ),
    "The recursion is run from the wrong end: go from the last layer to the first, or carry the product of "
    "the strides along.": _from_the_wrong_end,
    "The fields do not multiply: neighbouring windows overlap.": _overlap_forgotten,
    "This is how far apart the fields of two neighbours are; how many pixels does one see?": (
        lambda layers: math.prod(s for _, s in layers)
    ),
    "This is the window of the last layer, in its own input; go on to the pixels.": (lambda layers: layers[-1][0]),
    "This is the largest window; each layer adds to what the layers before it see.": (
        lambda layers: max(k for k, _ in layers)
    ),
}

# strides 1, 2 and larger, equal and different, of up to five layers
STACKS = [
    (layers,)
    for layers in (
        [(3, 1), (3, 1)],
        [(7, 2), (3, 2)],
        [(3, 2), (3, 2), (3, 1)],
        [(5, 1)],
        [(3, 2), (3, 3), (5, 1)],
        [(7, 2), (3, 1), (3, 2), (3, 1)],
        [(3, 2), (3, 2), (3, 2), (3, 1)],
        [(4, 4), (1, 3), (2, 1)],
        [(2, 3), (6, 5)],
        [(11, 4), (5, 1), (3, 1), (3, 2), (2, 7)],
    )
]

"""Weights that resize one axis, right and wrong: for the judge of exercise 17.2."""

from collections.abc import Callable

import numpy as np

from minivit.models.posemb import resize_matrix


def corner_weights(old: int, new: int) -> np.ndarray:
    """Weights along one axis as the published code has them: (new, old)."""
    return resize_matrix(old, new, "align_corners")


def half_pixel_weights(old: int, new: int) -> np.ndarray:
    """Weights along one axis with patch centres at half-integers: (new, old)."""
    return resize_matrix(old, new, "half_pixel")


def _places(old: int, new: int, before: float = 0.5, after: float = 0.5) -> np.ndarray:
    return (np.arange(new) + before) * old / new - after


def _linear(places: np.ndarray, old: int) -> np.ndarray:
    """Weights of the places, limited to 0..old - 1, on the two old places beside each."""
    return np.maximum(0, 1 - np.abs(places.clip(0, old - 1)[:, None] - np.arange(old)))


def nearest(old: int, new: int) -> np.ndarray:
    """Weights (new, old) that take the nearest old place alone."""
    return np.eye(old)[np.rint(_places(old, new).clip(0, old - 1)).astype(int)]


def _two_beside(old: int, new: int, places: np.ndarray, exchanged: bool = False) -> np.ndarray:
    """Extrapolates beyond the first and the last place.   exchanged: the two weights."""
    below = np.clip(np.floor(places).astype(int), 0, max(old - 2, 0))
    above = np.minimum(below + 1, old - 1)
    share = np.where(above > below, places - below, 0)
    share = 1 - share if exchanged else share
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new), below), 1 - share)
    np.add.at(weights, (np.arange(new), above), share)
    return weights


def _antialiased(old: int, new: int, normalised: bool = True) -> np.ndarray:
    """A triangle that is as wide as a new place."""
    width = max(1.0, old / new)
    distances = np.abs(_places(old, new)[:, None] - np.arange(old)) / width
    weights = np.maximum(0, 1 - distances)
    return weights / weights.sum(axis=1, keepdims=True) if normalised else weights


def _faded(old: int, new: int) -> np.ndarray:
    """Not limited: behind the last old place there is nothing."""
    return np.maximum(0, 1 - np.abs(_places(old, new)[:, None] - np.arange(old)))


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "These are the weights of align_corners: the first and the last place coincide.": corner_weights,
    "This takes the nearest old place alone; linear interpolation mixes two.": nearest,
    "Places before the first and behind the last one are extrapolated: limit the coordinate to "
    "0..old-1.": lambda old, new: _two_beside(old, new, _places(old, new)),
    "A patch's centre is half a patch from its edge: (i + 1/2) old / new - 1/2.": (
        lambda old, new: _linear(_places(old, new, 0, 0), old)
    ),
    "Old places are centres, too: the - 1/2 is missing.": (lambda old, new: _linear(_places(old, new, 0.5, 0), old)),
    "New places are centres, too: i + 1/2 is multiplied by old / new.": (
        lambda old, new: _linear(_places(old, new, 0, 0.5), old)
    ),
    "The coordinate is (i + 1/2) old / new - 1/2; here the halves have the wrong signs.": (
        lambda old, new: _linear(_places(old, new, -0.5, -0.5), old)
    ),
    "At the end 1/2 is subtracted, not added.": lambda old, new: _linear(_places(old, new, 0.5, -0.5), old),
    "The middle of new place i is at i + 1/2, not at i - 1/2.": (
        lambda old, new: _linear(_places(old, new, -0.5, 0.5), old)
    ),
    "The middle of new place i is at i + 1/2, not at i + 1.": (
        lambda old, new: _linear(_places(old, new, 1, 0.5), old)
    ),
    "old and new are exchanged in the coordinate: the new places are to be found among the old.": (
        lambda old, new: _linear((np.arange(new) + 0.5) * new / old - 0.5, old)
    ),
    "The two weights are exchanged: the nearer place has the larger one.": (
        lambda old, new: _two_beside(old, new, _places(old, new).clip(0, old - 1), exchanged=True)
    ),
    "This is the filter with antialiasing, widened where the grid shrinks. Here each new place mixes two "
    "old ones, whatever the sizes are.": _antialiased,
    "At the rim the rows do not sum to 1: limit the coordinate before the weights are taken.": _faded,
    "The coordinate is limited below, but not at the last old place.": (
        lambda old, new: _two_beside(old, new, _places(old, new).clip(0, None))
    ),
    "The coordinate is limited above, but not at the first old place.": (
        lambda old, new: _two_beside(old, new, _places(old, new).clip(None, old - 1))
    ),
    "A row for each new place: the weights are transposed.": lambda old, new: half_pixel_weights(old, new).T,
}

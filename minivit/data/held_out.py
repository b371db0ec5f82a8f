"""Holds out a share of each class."""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np

from minivit.errors import DataError


def check_share(share: float) -> None:
    """Raise DataError unless the share is between 0 and 1."""
    if not 0 < share < 1:
        raise DataError(f"val_share is {share}, expected more than 0 and less than 1")


def held_out(
    labels: np.ndarray, names: Iterable[str], share: float, seed: int, place: Callable[[int], str]
) -> np.ndarray:
    """Which of N images are held out: a share of each class, at least one and not all; a mask (N,).

    The images of each class are ordered by a hash of seed and name, and the first are held out. So a new or removed
    image moves hardly any other to the other side.   names: N names.   place: how an image is called in messages.
    Raises DataError for a class with a single image.
    """
    digests = bytearray()  # of a million names it is small
    for name in names:
        digests += hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()[:8]
    hashes = np.frombuffer(digests, ">u8")
    order = np.lexsort((hashes, labels))
    mask = np.zeros(len(labels), bool)
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(members) == 1:
            only = place(int(members[0]))
            raise DataError(f"{only} is the only image of its class: add one, so that each side has some, or remove it")
        mask[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return mask

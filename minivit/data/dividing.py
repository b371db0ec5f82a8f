"""Which share of a data set is held out for testing: a hash of names decides."""

import hashlib
from collections.abc import Callable

import numpy as np

from minivit.errors import DataError


def held_out(labels: np.ndarray, name: Callable[[int], str], share: float, seed: int) -> np.ndarray:
    """Which examples form the other split: (N,) bool, this share of each class, at least one.

    labels: (N,).   name: of an example, the same wherever the data lies. Each class is divided in the order of a hash
    of seed and name, so a new or removed example moves hardly any other to the other side. Raises DataError for a share
    outside 0..1 and for a class with a single example.
    """
    if not 0 < share < 1:
        raise DataError(f"val_share is {share}, expected more than 0 and less than 1")
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            only = name(int(members[0]))
            raise DataError(f"{only} is the only image of its class: add one, so that each side has some, or remove it")
        count = min(max(1, round(share * len(members))), len(members) - 1)
        order = sorted(members.tolist(), key=lambda k: hashlib.sha256(f"{seed}/{name(k)}".encode()).digest())
        test[order[:count]] = True
    return test

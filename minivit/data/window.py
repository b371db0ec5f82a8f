"""A shuffle that reads a disk from front to back: random runs of neighbours, then a window."""

import numpy as np

WINDOW = 16_384  # images; those of ImageNet take 1.8 GB, which the system keeps in memory between two reads
RUN = 256  # images read one after the other
RUN_OF_A_CLASS = 8  # where neighbours have the same class: about 0.9 MB of ImageNet


def runs(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The number of the run of each image: (N,) int32, from 0, each of at most `RUN` neighbours at the same place.

    Where most neighbours have the same class, as in the training images of ILSVRC2012, runs are short: a window has
    images of 2,000 runs, and a batch of 256 has 215 of the 1,000 classes, of 226 in a uniform shuffle.
    labels, places: (N,), the class and the archive of each image.
    """
    count = len(labels)
    if count == 0:
        return np.zeros(0, np.int32)
    sorted_by_class = count > 1 and np.mean(labels[1:] == labels[:-1]) > 0.5
    length = RUN_OF_A_CLASS if sorted_by_class else RUN
    new = np.concatenate([[True], places[1:] != places[:-1]])
    starts = np.flatnonzero(new)
    rank = np.arange(count) - np.repeat(starts, np.diff([*starts, count]))  # from the first image of the place
    return np.cumsum(rank % length == 0, dtype=np.int32) - 1


def window_order(run: np.ndarray, rng: np.random.Generator, window: int = WINDOW) -> np.ndarray:
    """A permutation (N,) of 0..N-1 in which an image is not far from the others of its run.   run: see `runs`.

    At most `window` images are shuffled uniformly. Of more, the runs come in a random order, and then each image is
    moved back by a random number of places below `window`. So an epoch has every image once, a batch has images of as
    many runs as fit into a window, and while a run is in use only a window's images are read. What is lost against a
    uniform shuffle: two images of one run are always within a window of each other.
    """
    count = len(run)
    if count <= window:
        return rng.permutation(count)
    order = np.argsort(rng.permutation(run[-1] + 1)[run], kind="stable")
    return order[np.argsort(np.arange(count) + rng.uniform(0, window, count), kind="stable")]

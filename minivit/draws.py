"""Random numbers by image: each image of a batch gets the same ones, however the batch is cut into pieces."""

import math
from collections.abc import Sequence

import numpy as np


class ImageDraws:
    """The uniform numbers of `count` images of a batch of `batch`, from image number `first` on.

    It stands where a NumPy generator is expected. Every piece of the batch walks along one stream of numbers and skips
    what belongs to the other images, so a mask is a function of (seed, image), not of workers or pieces. The calls
    must be the same for every piece. seed: of the step.
    """

    def __init__(self, seed: Sequence[int], first: int, count: int, batch: int):
        self._bits = np.random.PCG64(tuple(seed))
        self._generator = np.random.Generator(self._bits)
        self._before, self._count, self._after = first, count, batch - first - count

    def random(self, size: Sequence[int], dtype: str = "float32") -> np.ndarray:
        """The next float32 numbers in [0, 1).   size: its first axis goes over the images (or over parts of each).

        Raises ValueError if the numbers cannot be dealt out to the images, and for any other dtype.
        """
        if dtype != "float32" or not size or size[0] % self._count:
            raise ValueError(f"ImageDraws: {size} of {dtype} for {self._count} images, expected float32 by image")
        each = math.prod(size) // self._count
        words = -(-each // 2)  # the generator makes two float32 of one 64-bit word; an image begins with a new one
        self._bits.advance(self._before * words)
        numbers = self._generator.random((self._count, 2 * words), np.float32)
        self._bits.advance(self._after * words)
        return numbers[:, :each].reshape(size)

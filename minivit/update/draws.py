"""Random numbers by image: each image of a batch gets the same ones, however the batch is cut into pieces."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minivit.backend import Array
from minivit.backend.cupy_kernels.pinned import PinnedCopies

SHARED = 4  # keeps what all images share apart from their masks, and from the loader's 1 to 3


class ImageDraws:
    """The uniform numbers of `count` images of a batch of `batch`, from image number `first` on.

    Used in place of a NumPy generator. Every piece of the batch walks along one stream of numbers and skips those of
    the other images, so a mask is a function of (seed, image), not of workers or pieces. The calls must be the same for
    every piece. seed: of the step.
    """

    def __init__(self, seed: Sequence[int], first: int, count: int, batch: int):
        self._bits = np.random.PCG64(tuple(seed))
        self._generator = np.random.Generator(self._bits)
        self._before, self._count, self._after = first, count, batch - first - count
        self._seed = tuple(seed)

    def random(self, size: Sequence[int], dtype: str = "float32") -> np.ndarray:
        """The next float32 numbers in [0, 1).   size: its first axis goes over the images (or over parts of each).
        Raises ValueError if the numbers cannot be divided among the images, and for any other dtype."""
        if dtype != "float32" or not size or size[0] % self._count:
            raise ValueError(f"ImageDraws: {size} of {dtype} for {self._count} images, expected float32 by image")
        each = math.prod(size) // self._count
        words = -(-each // 2)  # the generator makes two float32 of one 64-bit word; an image begins with a new one
        self._bits.advance(self._before * words)
        numbers = self._generator.random((self._count, 2 * words), np.float32)
        self._bits.advance(self._after * words)
        return numbers[:, :each].reshape(size)

    def shared(self) -> float:
        """A uniform number in [0, 1) for the whole step: the same for all images, pieces and ranks, and at every
        call."""
        return float(np.random.default_rng((*self._seed, SHARED)).random())


class RandomFeed:
    """Used in place of a generator: gives its uniform numbers, as arrays of the device.

    The first step draws array by array. Later steps draw the same arrays again and send them in one copy, so a recorded
    step reads new numbers at the same addresses.
    """

    def __init__(self, xp: Any):
        self.xp = xp
        self._arrays: list[Array] = []
        self._flat: Array | None = None
        self._copies: PinnedCopies | None = None
        self._position = 0
        self._draws: ImageDraws | None = None

    def refill(self, draws: ImageDraws) -> None:
        """Take new numbers for the next step from `draws`."""
        self._draws = draws
        if self._flat is None and self._arrays:
            ends = np.cumsum([array.size for array in self._arrays]).tolist()
            flat = self.xp.empty(ends[-1], "float32")
            self._copies = PinnedCopies(self.xp, ends[-1], np.float32)
            parts = zip([0, *ends], ends, self._arrays, strict=False)
            self._arrays = [flat[start:end].reshape(array.shape) for start, end, array in parts]
            self._flat = flat  # once all memory was had
        if self._flat is not None and self._copies is not None:
            numbers = [draws.random(array.shape).ravel() for array in self._arrays]
            self._copies.send(np.concatenate(numbers), self._flat)

    def shared(self) -> float:
        """As in `ImageDraws`, on the host. A recorded step would keep its first one: see `Module.varies`."""
        assert self._draws is not None
        return self._draws.shared()

    def rewind(self) -> None:
        """Start again at the first array."""
        self._position = 0

    def random(self, size: tuple[int, ...], dtype: str = "float32") -> Array:
        """The next uniform numbers in [0, 1)."""
        if self._position == len(self._arrays):
            if self._flat is not None:
                raise ValueError("RandomFeed: asked for more arrays than in the first step")
            assert self._draws is not None
            self._arrays.append(self.xp.asarray(self._draws.random(size)))
        array = self._arrays[self._position]
        self._position += 1
        if array.shape != tuple(size):
            raise ValueError(f"RandomFeed: asked for {size} where the first step asked for {array.shape}")
        return array

    def __deepcopy__(self, memo: dict) -> "RandomFeed":
        """A second reader of the same arrays, at the same place: for a repeated forward pass."""
        again = RandomFeed(self.xp)
        again._arrays, again._flat, again._position = self._arrays, self._flat, self._position
        again._draws = self._draws
        return again


def shared_number(rng: Any) -> float:
    """A number in [0, 1) that is the same for all images of a step; of a NumPy generator it is the next one."""
    return rng.shared() if hasattr(rng, "shared") else float(rng.random())

"""Many names in little memory."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np

from minivit.data.dataset import Indices

PIECE = 2**16  # names that are gathered or read at a time, so that the positions of their bytes take little memory


class Names:
    """N strings in two arrays. A million names of 25 characters take 33 MB; as a list of str they would take 80 MB.

    text: (M,) uint8, the UTF-8 bytes of all names, one after the other.   ends: (N+1,) int64, name i is
    text[ends[i]:ends[i+1]]. Bytes that are not UTF-8 survive, as in Python's file names.
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray) -> None:
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """These names, packed."""
        text, ends = bytearray(), [0]
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        return cls(np.frombuffer(text, np.uint8), np.array(ends, np.int64))

    @classmethod
    def joined(cls, parts: Iterable["Names"]) -> Self:
        """The names of several, one after the other."""
        parts = list(parts)
        if len(parts) == 1:
            return cls(parts[0].text, parts[0].ends)
        sizes = [part.ends[1:] - part.ends[:-1] for part in parts]
        ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
        return cls(np.concatenate([np.zeros(0, np.uint8), *(part.text for part in parts)]), ends)

    def part(self, start: int, stop: int) -> "Names":
        """The names start..stop - 1, which share the memory."""
        first, last = self.ends[[start, stop]]
        return Names(self.text[first:last], self.ends[start : stop + 1] - first)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.text[self.ends[index] : self.ends[index + 1]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        text = self.text.tobytes()
        for start in range(0, len(self), PIECE):
            ends = self.ends[start : start + PIECE + 1].tolist()
            for first, last in itertools.pairwise(ends):
                yield text[first:last].decode("utf-8", "surrogateescape")

    def take(self, indices: Indices) -> "Names":
        """The names with these indices (B,), in this order."""
        indices = np.asarray(indices, np.int64)
        sizes = self.ends[indices + 1] - self.ends[indices]
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        text = np.empty(ends[-1], np.uint8)
        for start in range(0, len(indices), PIECE):
            stop = min(start + PIECE, len(indices))
            shift = np.repeat(self.ends[indices[start:stop]] - ends[start:stop], sizes[start:stop])
            text[ends[start] : ends[stop]] = self.text[np.arange(ends[start], ends[stop]) + shift]
        return Names(text, ends)

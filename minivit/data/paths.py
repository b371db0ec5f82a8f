"""A million paths in a few arrays, which take a tenth of the memory of a list of strings."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Packed(Sequence[str]):
    """N texts, packed; a subclass defines `__len__` and `text`. Equal to a list of the same texts."""

    def text(self, index: int) -> str:
        """Text number `index`, from 0 to N - 1."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self.text(number) for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"number {index} of {len(self)} texts")
        return self.text(index % len(self))

    def __iter__(self) -> Iterator[str]:
        return map(self.text, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self):,}: {', '.join(self[:3])}{', ...' if len(self) > 3 else ''}"


class Texts(Packed):
    """N texts.   data: (M,) uint8, their bytes as in file names, one after another.   offsets: (N + 1,) int64, the
    first byte of each and the end."""

    def __init__(self, data: np.ndarray, offsets: np.ndarray) -> None:
        self.data, self.offsets = data, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """The packed form of these texts."""
        encoded = [os.fsencode(text) for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def joined(cls, parts: Sequence["Texts"]) -> "Texts":
        """All texts of the parts, one part after another."""
        ends, before = [np.zeros(1, np.int64)], 0
        for part in parts:
            ends.append(part.offsets[1:] + before)
            before += int(part.offsets[-1])
        return cls(np.concatenate([np.empty(0, np.uint8), *(part.data for part in parts)]), np.concatenate(ends))

    def part(self, start: int, stop: int) -> "Texts":
        """The texts start..stop - 1, which share the memory."""
        first, last = self.offsets[[start, stop]]
        return Texts(self.data[first:last], self.offsets[start : stop + 1] - first)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def text(self, index: int) -> str:
        return os.fsdecode(self.data[self.offsets[index] : self.offsets[index + 1]].tobytes())


class Paths(Packed):
    """N paths, each the name of a folder and a name in it.

    folders: M texts that end with a separator.   numbers: (N,) the folder of each.   names: Texts, N of them.
    rows: which of these rows are meant, in which order; None: all.
    """

    def __init__(
        self, folders: Sequence[str], numbers: np.ndarray, names: Texts, rows: np.ndarray | None = None
    ) -> None:
        self.folders, self.numbers, self.names, self.rows = folders, numbers, names, rows

    @classmethod
    def of(cls, paths: Iterable[str]) -> "Paths":
        """The packed form of these paths."""
        names = Texts.of(paths)
        return cls([""], np.zeros(len(names), np.int32), names)

    @classmethod
    def joined(cls, parts: Sequence["Paths"]) -> "Paths":
        """All paths of the parts, none of which is a selection."""
        folders = [folder for part in parts for folder in part.folders]
        before = np.cumsum([0, *(len(part.folders) for part in parts)])
        numbers = [part.numbers + int(first) for part, first in zip(parts, before, strict=False)]
        return cls(folders, np.concatenate(numbers).astype(np.int32), Texts.joined([part.names for part in parts]))

    def take(self, indices: np.ndarray) -> "Paths":
        """The paths with these indices, which share the memory.   indices: (B,) of 0..N-1."""
        rows = indices if self.rows is None else self.rows[indices]
        return Paths(self.folders, self.numbers, self.names, rows)

    def name(self, index: int) -> str:
        """The name of a path within its folder."""
        return self.names.text(index if self.rows is None else int(self.rows[index]))

    def text(self, index: int) -> str:
        row = index if self.rows is None else int(self.rows[index])
        return self.folders[self.numbers[row]] + self.names.text(row)

    def __len__(self) -> int:
        return len(self.names if self.rows is None else self.rows)

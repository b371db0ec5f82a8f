"""Stores the reference's results in the visible checks for students, who have no reference.

It travels with every release: Python 3.9 and NumPy only. A check is replayed with the same numbers that were drawn for
the release, since another version of NumPy or another processor might draw others.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from . import trial

__all__ = ["Drawing", "Noting", "Recorded", "Redrawing", "crc", "pack", "unpack"]

NOTHING = "\0the same as the reference"  # in place of what a wrong solution gives where it is right: close to no result


def _taken_apart(value: Any, arrays: list[np.ndarray]) -> Any:
    """JSON for a value; its arrays are appended."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcUS":
        arrays.append(np.asarray(value))
        return {"array" if isinstance(value, np.ndarray) else "scalar": len(arrays) - 1}
    if isinstance(value, Mapping):
        return {"dict": [[_taken_apart(part, arrays) for part in pair] for pair in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_taken_apart(part, arrays) for part in value]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {"other": type(value).__name__}  # such as a slice among arguments: known by its CRC alone


def _together(shape: Any, arrays: Callable[[int], np.ndarray]) -> Any:
    if not isinstance(shape, dict):
        return shape
    ((kind, inner),) = shape.items()
    if kind in ("array", "scalar"):
        return arrays(inner) if kind == "array" else arrays(inner)[()]
    if kind == "complex":
        return complex(*inner)
    if kind == "other":
        return inner
    parts = [_together(part, arrays) for part in inner] if kind != "dict" else []
    if kind == "dict":
        return {_together(key, arrays): _together(part, arrays) for key, part in inner}
    return tuple(parts) if kind == "tuple" else parts


def pack(value: Any) -> bytes:
    """An .npz with a value of arrays, numbers, text, lists, tuples and dicts. The same bytes every time, no pickle."""
    arrays: list[np.ndarray] = []
    text = json.dumps(_taken_apart(value, arrays), ensure_ascii=True)
    file = io.BytesIO()
    named = {str(i): array for i, array in enumerate(arrays)}
    np.savez_compressed(file, text=np.frombuffer(text.encode(), np.uint8), **named)  # type: ignore[arg-type]
    return file.getvalue()


def unpack(content: bytes) -> Any:
    """The value of `pack`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return _together(json.loads(arrays["text"].tobytes().decode()), lambda i: arrays[str(i)])


def crc(value: Any) -> int:
    """A number that identifies arguments, to the last bit."""
    arrays: list[np.ndarray] = []
    text = json.dumps(_taken_apart(value, arrays), sort_keys=True)
    found = zlib.crc32(text.encode())
    for array in arrays:
        found = zlib.crc32(array.tobytes(), zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), found))
    return found


class Drawing:
    """A generator that records all that it draws."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.drawn: list[Any] = []

    def __getattr__(self, name: str) -> Callable:
        def draw(*args: Any, **named: Any) -> Any:
            result = getattr(self.rng, name)(*args, **named)
            drawn = args[0] if result is None else result  # shuffle changes what it is given
            self.drawn.append([name, drawn.copy() if isinstance(drawn, np.ndarray) else drawn])
            return result

        return draw


class Redrawing:
    """A generator that replays recorded draws."""

    def __init__(self, drawn: list[Any]) -> None:
        self.drawn: Iterator[Any] = iter(drawn)

    def __getattr__(self, name: str) -> Callable:
        def draw(*args: Any, **named: Any) -> Any:
            noted, drawn = next(self.drawn, (None, None))
            if noted != name:
                raise trial.Wrong("this check is not the one of the release; unpack the zip again")
            if name == "shuffle":
                args[0][:] = drawn
                return None
            return drawn.copy() if isinstance(drawn, np.ndarray) else drawn

        return draw


class Noting:
    """A reference whose results are recorded, in the order of the calls."""

    def __init__(self, reference: Callable[[str, tuple], Any]) -> None:
        self.reference = reference
        self.noted: list[Any] = []

    def __call__(self, name: str, args: tuple) -> Any:
        result = self.reference(name, args)
        self.noted.append([name, crc(args), result])
        return result


class Recorded:
    """Replays the recorded results.   other: whether an argument differed from the release's."""

    def __init__(self, noted: list[Any]) -> None:
        self.noted = iter(noted)
        self.other = False

    def __call__(self, name: str, args: tuple) -> Any:
        noted, number, result = next(self.noted, (None, 0, None))
        if noted != name:
            raise trial.Wrong("this check is not the one of the release; unpack the zip again")
        self.other = self.other or number != crc(args)
        return result

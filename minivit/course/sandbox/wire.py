"""Values between grader and student: a skeleton in JSON, and the bytes of the arrays. Nothing is unpickled.

Python and NumPy alone: the student's process loads this file by its path, before the student's code. `encode` takes
every result apart with functions of C types that are bound here, so no method of a subclass is ever called, and sizes
are tested before a byte is copied.
"""

import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["LIMIT", "BadValue", "arrays", "decode", "encode", "frame", "overlap"]

LIMIT = 16 << 20  # bytes of arrays and of text in one message
NODES, DEPTH = 200_000, 60
DTYPE = re.compile(r"[<>|=]?[biufc]([0-9]{1,2})")
HEAD = struct.Struct("<QQ")  # lengths of skeleton and of arrays

_shape, _dtype = np.ndarray.shape.__get__, np.ndarray.dtype.__get__
_tobytes, _item = np.ndarray.tobytes, np.generic.item
_view, _may_share = np.ndarray.view, np.may_share_memory
_length: dict[type, Any] = {list: list.__len__, tuple: tuple.__len__, dict: dict.__len__, str: str.__len__}


class BadValue(Exception):
    """A value that cannot be sent, with a message for the student."""


class _Encoder:
    """One message. Arrays that occur twice are sent once, and are one array again on the other side."""

    def __init__(self, special: Callable[[Any], Any], limit: int) -> None:
        self.special, self.limit = special, limit
        self.arrays: list[tuple[str, list[int]]] = []
        self.blobs: list[bytes] = []
        self.places: dict[int, int] = {}
        self.kept: list[Any] = []
        self.nodes = self.size = 0

    def grow(self, size: int) -> None:
        self.size += size
        if self.size > self.limit:
            raise BadValue(f"it returns more than {self.limit >> 20} MiB")

    def array(self, value: Any) -> list:
        dtype, shape = _dtype(value), _shape(value)
        count = 1
        for length in shape:
            count *= length or 1  # an empty array may still have 2**40 rows
        if dtype.kind not in "biufcO":
            raise BadValue(f"it returns an array of {str(dtype)[:40]}, expected numbers")
        self.grow(count * dtype.itemsize)
        if dtype.kind == "O":
            return ["o", list(shape)]  # what it holds is never asked for
        if id(value) not in self.places:
            self.kept.append(value)  # an id is one's own only while the array lives
            self.places[id(value)] = len(self.arrays)
            self.arrays.append((dtype.str, list(shape)))
            self.blobs.append(_tobytes(value))
        return ["a", self.places[id(value)]]

    def node(self, value: Any, depth: int = 0) -> Any:
        self.nodes += 1
        if self.nodes > NODES or depth > DEPTH:
            raise BadValue("it returns lists or dicts that are too large or too deep")
        kind = type(value)
        if value is None or kind is bool:
            return value
        special = self.special(value)
        if special is not None:
            return special
        if issubclass(kind, np.ndarray):
            return self.array(value)
        if issubclass(kind, np.generic):
            dtype = np.generic.dtype.__get__(value)
            if dtype.kind == "U":
                return self.text(str.__str__(value))
            if dtype.kind not in "biufc":
                raise BadValue(f"it returns {str(dtype)[:40]}, expected numbers")
            return ["n", *self.array(np.array(_item(value), dtype))[1:]]
        return self.object(value, kind, depth)

    def text(self, value: str) -> str:
        self.grow(_length[str](value))
        return value

    def object(self, value: Any, kind: type, depth: int) -> Any:
        if issubclass(kind, str):
            self.grow(_length[str](value))
            return str.__str__(value)
        if issubclass(kind, float):
            return float.__pos__(value)
        if issubclass(kind, int):
            if int.bit_length(value) > 4096:
                raise BadValue("it returns a number of more than 4096 bits")
            return int.__pos__(value)
        if issubclass(kind, complex):
            value = complex.__pos__(value)
            return ["c", value.real, value.imag]
        for plain, letter in ((list, "l"), (tuple, "t")):
            if issubclass(kind, plain):
                if self.nodes + _length[plain](value) > NODES:
                    raise BadValue("it returns a list of too many parts")
                items = plain.__iter__(value)
                letter = letter if kind is plain else "l"
                return [letter, *[self.node(item, depth + 1) for item in items]]
        if issubclass(kind, dict):
            return self.mapping(value, depth)
        if value is Ellipsis:
            return ["e"]
        if kind is slice:
            return ["s", *[self.node(part, depth + 1) for part in (value.start, value.stop, value.step)]]
        raise BadValue(f"it returns an object of type {kind.__name__[:40]}, expected arrays, numbers, lists or dicts")

    def mapping(self, value: dict, depth: int) -> list:
        if self.nodes + _length[dict](value) > NODES:
            raise BadValue("it returns a dict of too many keys")
        pairs: list = []
        for key, item in dict.items(value):
            if not issubclass(type(key), (str, int)):
                raise BadValue("it returns a dict with keys that are not text")
            pairs.append([self.object(key, type(key), depth), self.node(item, depth + 1)])
        return ["d", *pairs]


def _nothing(value: Any) -> None:
    return None


def arrays(value: Any) -> list[np.ndarray]:
    """The arrays in a value accepted by `encode`, as plain views."""
    kind = type(value)
    if issubclass(kind, np.ndarray):
        return [_view(value, np.ndarray)]
    if issubclass(kind, dict):
        return [array for item in dict.values(value) for array in arrays(item)]
    for plain in (list, tuple):
        if issubclass(kind, plain):
            return [array for item in plain.__iter__(value) for array in arrays(item)]
    return []


def overlap(a: Any, b: Any) -> bool:
    """Whether any two arrays of two values share memory."""
    return any(_may_share(x, y) for x in arrays(a) for y in arrays(b))


def encode(value: Any, special: Callable[[Any], Any] = _nothing, limit: int = LIMIT) -> bytes:
    """One message.   special: value -> a list that stands for it, or None.   Raises BadValue for a value that cannot be
    sent."""
    coder = _Encoder(special, limit)
    try:
        tree = coder.node(value)
    except RecursionError:
        raise BadValue("it returns lists or dicts that are too deep") from None
    head = json.dumps({"tree": tree, "arrays": coder.arrays}).encode()
    if len(head) > limit // 2:
        raise BadValue("it returns lists or text that are too large")
    return b"".join([HEAD.pack(len(head), sum(map(len, coder.blobs))), head, *coder.blobs])


def frame(start: bytes, limit: int = 2 * LIMIT) -> tuple[int, int]:
    """The lengths that the first 16 bytes of a message promise. BadValue if it is larger than any honest one."""
    skeleton, blobs = HEAD.unpack(start)
    if skeleton > limit // 2 or blobs > limit:
        raise BadValue("its reply is too large")
    return skeleton, blobs


def _count(shape: Any) -> int:
    """How many numbers an array of this shape would hold if no axis of it were empty."""
    if len(shape) > 32 or any(type(length) is not int or length < 0 for length in shape):
        raise BadValue("its reply is malformed")
    return math.prod(length or 1 for length in shape)


class _Decoder:
    """The arrays of one message. Together, and as often as they occur, they are not larger than `encode` allows."""

    def __init__(self, rows: Any, blobs: memoryview, special: Callable[[list], Any]) -> None:
        self.special, self.left = special, LIMIT + len(blobs)
        self.arrays, place = [], 0
        for name, shape in rows:
            if not DTYPE.fullmatch(name):
                raise BadValue("its reply is malformed")
            dtype, most = np.dtype(name), _count(shape)
            self.grow(most * dtype.itemsize, 0)
            count = 0 if 0 in shape else most
            array = np.frombuffer(blobs, dtype, count, place).reshape(shape)
            self.arrays.append(array.astype(dtype.newbyteorder("="), order="C", copy=True))
            place += count * dtype.itemsize
        if place != len(blobs):
            raise BadValue("its reply is malformed")

    def grow(self, size: int, kept: int = 1) -> None:
        if size > self.left:
            raise BadValue("its reply is too large")
        self.left -= kept * size

    def value(self, tree: Any) -> Any:
        if not isinstance(tree, list):
            if isinstance(tree, dict):
                raise BadValue("its reply is malformed")
            return tree
        letter, *rest = tree
        if letter in ("l", "t"):
            items = map(self.value, rest)
            return list(items) if letter == "l" else tuple(items)
        if letter == "d":
            return {_key(key): self.value(item) for key, item in rest}
        if letter in ("a", "n"):
            array = self.arrays[rest[0]]
            self.grow(array.nbytes)
            return array if letter == "a" else array[()]
        if letter == "o":
            self.grow(8 * _count(rest[0]))
            return np.empty(rest[0], object)
        if letter == "c":
            return complex(*rest)
        if letter == "e":
            return Ellipsis
        if letter == "s":
            return slice(*map(self.value, rest))
        return self.special(tree)


def _key(key: Any) -> Any:
    if type(key) not in (str, int):
        raise BadValue("its reply is malformed")
    return key


def _refuse(tree: list) -> Any:
    raise BadValue("its reply is malformed")


def decode(head: bytes, blobs: bytes | bytearray, special: Callable[[list], Any] = _refuse) -> Any:
    """The value of a message, with plain new arrays. Raises BadValue for everything that `encode` would not write."""
    try:
        message = json.loads(head)
        return _Decoder(message["arrays"], memoryview(blobs), special).value(message["tree"])
    except BadValue:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError, OverflowError):
        raise BadValue("its reply is malformed") from None

"""Reads MATLAB files of version 5: the numbers, texts and structures in them, as much as meta.mat of ImageNet needs.

The format is described in "MAT-File Format" by The MathWorks. A file is a header of 128 bytes and data elements. An
element has a type, a number of bytes and its content, padded to 8 bytes; the content of an array is itself elements.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
CELL, STRUCT, CHAR, NUMERIC = 1, 2, 4, range(6, 16)  # classes of arrays
LARGEST = 2**28  # bytes of an unpacked element


def read_matlab(content: bytes) -> dict[str, Any]:
    """The arrays of a file by name: numbers as (..., ) arrays, a text as str, a structure array as a list of dicts.

    Lists are in MATLAB's order, columns first. Raises ValueError for another format or a damaged file.
    """
    if content[:6] != b"MATLAB" or content[124:126] not in (b"\x00\x01", b"\x01\x00"):
        raise ValueError("it is not a MATLAB file of version 5")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("it is not a MATLAB file of version 5")
    try:
        found = {}
        for kind, data in _elements(content[128:], order):
            if kind == COMPRESSED:
                ((kind, data),) = _elements(_unpacked(data), order)
            if kind == MATRIX:
                name, value = _array(data, order)
                found[name] = value
        return found
    except (struct.error, IndexError, UnicodeDecodeError, zlib.error, RecursionError) as error:
        raise ValueError("it is damaged") from error


def _unpacked(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, LARGEST)
    if not stream.eof:
        raise ValueError("it is damaged")
    return content


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element. A small one has both numbers in four bytes, and its content in the next."""
    here = 0
    while here < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, here)
        start = here + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, here + 4
            following = here + 8
        else:
            following = start + (size if kind == COMPRESSED else size + -size % 8)
        if start + size > len(content):
            raise ValueError("it is damaged")
        yield kind, content[start : start + size]
        here = following


def _array(content: bytes, order: str) -> tuple[str, Any]:
    """Name and value of an array."""
    if not content:
        return "", np.zeros(0)
    parts = list(_elements(content, order))
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    of_class, shape = flags & 0xFF, tuple(_numbers(*parts[1], order).tolist())
    name, count = parts[2][1].decode("latin-1"), math.prod(shape)
    if of_class == CHAR:
        return name, _text(*parts[3], order) if count else ""
    if of_class == CELL:
        return name, [_array(data, order)[1] for _, data in parts[3:]]
    if of_class == STRUCT:
        return name, _structures(parts[3:], count, order)
    if of_class not in NUMERIC:
        raise ValueError(f"it has an array of class {of_class}, which is not read here")
    values = _numbers(*parts[3], order)
    if len(values) != count:
        raise ValueError("it is damaged")
    return name, values.reshape(shape, order="F")


def _structures(parts: list[tuple[int, bytes]], count: int, order: str) -> list[dict[str, Any]]:
    """The elements of a structure array: a length, field names of this length, then the fields of one after the
    other."""
    length, names = int(_numbers(*parts[0], order)[0]), parts[1][1]
    keys = [names[k : k + length].partition(b"\0")[0].decode("latin-1") for k in range(0, len(names), length)]
    values = [_array(data, order)[1] for _, data in parts[2:]]
    if len(values) != count * len(keys):
        raise ValueError("it is damaged")
    return [dict(zip(keys, values[k : k + len(keys)], strict=True)) for k in range(0, len(values), len(keys))]


def _numbers(kind: int, data: bytes, order: str) -> np.ndarray:
    if kind not in NUMBERS or len(data) % int(NUMBERS[kind][1]):
        raise ValueError("it is damaged")
    return np.frombuffer(data, order + NUMBERS[kind])


def _text(kind: int, data: bytes, order: str) -> str:
    if kind not in TEXTS:
        raise ValueError("it is damaged")
    encoding = TEXTS[kind]
    return data.decode(encoding + ("-le" if order == "<" else "-be") if encoding == "utf-16" else encoding)

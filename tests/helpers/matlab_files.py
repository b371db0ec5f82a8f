"""Writes MATLAB files of version 5 as MATLAB does: small elements, numbers in the smallest type, compressed or not."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CHAR, STRUCT, DOUBLE, CELL = 4, 2, 6, 1


def matlab_file(arrays: Mapping[str, Any], compressed: bool = True, order: str = "<") -> bytes:
    """A file with these values: numbers, texts, lists (cells), sequences of dicts in a tuple (structure arrays)."""
    header = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + struct.pack(f"{order}H", 0x0100)
    content = header + (b"IM" if order == "<" else b"MI")
    for name, value in arrays.items():
        element = _array(name, value, order)
        if compressed:
            packed = zlib.compress(element)
            element = struct.pack(f"{order}II", 15, len(packed)) + packed
        content += element
    return content


def synsets(classes: Sequence[tuple[int, str]], **options: Any) -> bytes:
    """A meta.mat with these ILSVRC2012_ID and WNID, and above them one synset with children."""
    rows = [
        {"ILSVRC2012_ID": number, "WNID": wnid, "words": f"name of {wnid}", "num_children": 0, "children": np.zeros(0)}
        for number, wnid in classes
    ]
    above = {"ILSVRC2012_ID": 1001, "WNID": "n00001740", "words": "entity", "num_children": 2, "children": np.arange(2)}
    return matlab_file({"synsets": (*rows, above)}, **options)


def _element(kind: int, data: bytes, order: str) -> bytes:
    if 0 < len(data) <= 4:
        return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def _array(name: str, value: Any, order: str) -> bytes:
    if isinstance(value, str):
        of_class, shape = CHAR, (1, len(value))
        content = _element(4, value.encode("utf-16-le" if order == "<" else "utf-16-be"), order) if value else b""
    elif isinstance(value, tuple):
        of_class, shape, keys = STRUCT, (len(value), 1), list(value[0])
        content = _element(5, struct.pack(f"{order}i", 16), order)
        content += _element(1, b"".join(key.encode().ljust(16, b"\0") for key in keys), order)
        content += b"".join(_array("", row[key], order) for row in value for key in keys)
    elif isinstance(value, list):
        of_class, shape = CELL, (1, len(value))
        content = b"".join(_array("", each, order) for each in value)
    else:
        numbers = np.atleast_2d(value)
        of_class, shape = DOUBLE, numbers.shape
        small = numbers.dtype.kind == "i" and numbers.max(initial=0) < 256
        kind, dtype = (2, "u1") if small else (9, f"{order}f8")
        content = _element(kind, numbers.astype(dtype).tobytes("F"), order)
    head = _element(6, struct.pack(f"{order}II", of_class, 0), order)
    head += _element(5, struct.pack(f"{order}{len(shape)}i", *shape), order) + _element(1, name.encode(), order)
    return struct.pack(f"{order}II", 14, len(head + content)) + head + content

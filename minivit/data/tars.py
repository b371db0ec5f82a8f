"""Reads the headers of tar archives: where each member's content is. The content itself is skipped.

Formats: the old one of Unix V7, ustar, GNU (long names) and pax (also with sizes over 8 GB), described in
https://www.gnu.org/software/tar/manual/html_node/Standard.html and in POSIX.1 under "pax". A tar within a tar lies
there as it is, so its members are found in the same way.
"""

import io
import os
from collections.abc import Iterator
from typing import NamedTuple

from minivit.errors import DataError

BLOCK = 512
AHEAD = 4096  # bytes read at a time: often the label of an example and the next header are among them
LONGEST = 2**20  # bytes of a long name or of pax records
SPARE = 2**20  # zeros that may follow the end; tar itself writes fewer than 10 kB
REGULAR, LINK, WITHOUT_DATA = b"\x0007", b"12", b"123456"

_PACKED = {  # first bytes of files that people take for tar archives
    b"\x1f\x8b": ("compressed, so that no image can be read without all before it", "unpack it once, with gunzip"),
    b"BZh": ("compressed, so that no image can be read without all before it", "unpack it once, with bunzip2"),
    b"\xfd7zXZ": ("compressed, so that no image can be read without all before it", "unpack it once, with unxz"),
    b"\x28\xb5\x2f\xfd": ("compressed, so that no image can be read without all before it", "unpack it with unzstd"),
    b"PK\x03\x04": ("a zip file, not a tar archive", "unpack it and use folder:PATH"),
    b"version https://git-lfs": ("only a pointer of Git LFS", "fetch the archive itself, with git lfs pull"),
}


class CutError(Exception):
    """An archive ends too early, or cannot be read from some place on. The message continues the archive's name."""


class Member(NamedTuple):
    """A file in an archive: name, place of its first byte, number of bytes. A link has the size -1."""

    name: str
    start: int
    size: int


class Window:
    """Reads a file at any place, a few kilobytes at a time."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file, self._start, self._bytes = file, 0, b""

    def read(self, start: int, size: int) -> bytes:
        """The bytes at a place; fewer at the end of the file."""
        first = start - self._start
        if first < 0 or first + size > len(self._bytes):
            self._file.seek(start)
            parts, wanted = [], max(size, AHEAD)
            while wanted > 0 and (part := self._file.read(wanted)):
                parts.append(part)
                wanted -= len(part)
            self._start, self._bytes, first = start, b"".join(parts), 0
        return self._bytes[first : first + size]


def check_start(path: str | os.PathLike[str], window: Window) -> None:
    """Raise a DataError that says what to do about a file that is not a plain tar archive, CutError for one that may
    have been an archive."""
    start = window.read(0, BLOCK)
    if not start:
        raise CutError("is empty")
    for magic, (what, how) in _PACKED.items():
        if start.startswith(magic):
            raise DataError(f"{path}: this is {what}; {how}")
    if start.strip(b"\0") and not (len(start) == BLOCK and _is_header(start)):
        raise CutError("is damaged from its start, or is none")


def members(window: Window, start: int, end: int) -> Iterator[Member]:
    """The files of the archive in these bytes of a file, in order; folders and devices are left out.

    Raises CutError after the last complete member if the archive is cut or damaged, also if only the block of zeros is
    missing that marks its end.
    """
    here, long_name, long_size = start, "", -1
    while here < end:
        block = window.read(here, BLOCK)
        if len(block) < BLOCK or here + BLOCK > end:
            raise CutError("ends within the header of a member")
        if block[0] == 0 and not block.strip(b"\0"):
            if end - here > SPARE:
                raise CutError(f"has nothing in it after byte {here:,} of {end:,}")
            return
        if not _is_header(block):
            raise CutError(f"is damaged at byte {here:,}")
        kind, size = block[156:157], _size(block, here)
        content = here + BLOCK
        if kind in b"LKxXg":  # of the next member: its name, the target of its link, its pax records
            if size > LONGEST:
                raise CutError(f"is damaged at byte {here:,}")
            text = window.read(content, size)
            if len(text) < size or content + size > end:
                raise CutError("ends within the header of a member")
            if kind == b"L":
                long_name = text.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            elif kind in b"xX":
                records = _records(text, here)
                long_name = records.get("path", long_name)
                long_size = int(records["size"]) if records.get("size", "").isdecimal() else long_size
            here = content + _padded(size)
            continue
        name = (long_name or _name(block)).removeprefix("./")
        size = 0 if kind in WITHOUT_DATA else long_size if long_size >= 0 else size
        long_name, long_size = "", -1
        if kind == b"S":
            raise CutError(f"stores {name} with holes (a sparse file), which cannot be read")
        if content + size > end:
            raise CutError(f"ends within {name}")
        if kind in REGULAR and not name.endswith("/"):
            yield Member(name, content, size)
        elif kind in LINK:
            yield Member(name, content, -1)
        here = content + _padded(size)
    raise CutError("ends without the mark of its end, so that members may be missing")


def is_hidden(name: str) -> bool:
    """Whether a file is one that programs keep for themselves, such as the ._a.jpg of macOS, or in such a folder."""
    if not name.startswith((".", "__MACOSX")) and "/." not in name and "/__MACOSX" not in name:
        return False  # at once, since there may be millions
    return any((part.startswith(".") and part.strip(".")) or part == "__MACOSX" for part in name.split("/"))


def _padded(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK * BLOCK


def _is_header(block: bytes) -> bool:
    """Whether the sum of the bytes is the one in the header, where eight blanks stand for the sum itself."""
    try:
        stated = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    rest = block[:148] + block[156:]
    if sum(rest) + 256 == stated:
        return True
    return sum(byte - 256 if byte > 127 else byte for byte in rest) + 256 == stated  # of some old programs


def _size(block: bytes, here: int) -> int:
    """The size in octal digits or, if it needs more, as a number with the first bit set."""
    if block[124] == 0x80:
        return int.from_bytes(block[125:136], "big")
    try:
        size = int(block[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        size = -1
    if size < 0:
        raise CutError(f"is damaged at byte {here:,}")
    return size


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _records(text: bytes, here: int) -> dict[str, str]:
    """The records of a pax header, "LENGTH NAME=VALUE" and a line feed each."""
    found = {}
    while text.strip(b"\0"):
        digits, _, _ = text.partition(b" ")
        if not (digits.isdigit() and len(digits) + 2 < int(digits) <= len(text)):
            raise CutError(f"is damaged at byte {here:,}")
        name, _, value = text[len(digits) + 1 : int(digits) - 1].decode("utf-8", "surrogateescape").partition("=")
        found[name] = value
        text = text[int(digits) :]
    return found

"""Zips with the same bytes every time, and the key of a course."""

import io
import os
import secrets
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from minivit.course.assignment import CourseError
from minivit.errors import quoted
from minivit.files.paths import expanded

__all__ = ["course_key", "zipped"]

DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip knows
SHORTEST = 16  # bytes of a key


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of path -> content, sorted, without traces of this machine. Files that begin with #! are executable."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, DATE)
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = (0o100755 if content.startswith(b"#!") else 0o100644) << 16
            file.writestr(info, content, zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()


def course_key(path: str | os.PathLike[str], apart: Iterable[Path] = (), make: bool = False) -> tuple[bytes, bool]:
    """The key of a course from its file, and whether it was made just now.

    apart: folders that are handed out or written to; a key in one of them is refused. Raises CourseError if it is
    missing (and make is False), too short, or cannot be read or made.
    """
    file = expanded(path, CourseError)
    where = file.resolve()
    for folder in apart:
        if folder.resolve() in where.parents:
            raise CourseError(f"the key {quoted(file)} lies in {quoted(folder)}; keep it where nothing is handed out")
    try:
        if make and not file.exists():
            key = secrets.token_hex(32).encode()
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(key)
            return key, True
        key = file.read_bytes()
    except FileNotFoundError:
        raise CourseError(f"there is no key {quoted(file)}; release makes one if its folder exists") from None
    except OSError as error:
        raise CourseError(f"the key {quoted(file)}: {error.strerror}") from None
    if len(key.strip()) < SHORTEST:
        raise CourseError(
            f"the key {quoted(file)} has {len(key.strip())} bytes; expected {SHORTEST} random ones or more"
        )
    return key, False

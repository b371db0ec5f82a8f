"""Reads a submitted folder or zip: nothing is unpacked to disk, and no link is followed."""

import io
import os
import re
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MOST_BYTES", "MOST_OF_ZIP", "OUTSIDE", "Entry", "Unreadable", "in_folder", "in_zip", "is_junk", "on_disk"]

MOST_BYTES = 5 << 20  # of one file that is handed in
MOST_OF_ZIP = 64 << 20  # of a zip in a zip, or in a folder
MOST_ENTRIES = 20_000  # of a zip that a student has made
OUTSIDE = "leads out of the folder"
EMPTY = "is an empty folder"
JUNK = re.compile(
    r"__MACOSX|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|__pycache__|\.git|\.ipynb_checkpoints|\.?venv|node_modules"
    r"|site-packages",
    re.I,
)


class Unreadable(Exception):
    """A file cannot be accepted; the message tells the student why."""


@dataclass(frozen=True)
class Entry:
    """A file.   path: with /, relative to the start.   time: sortable text.   fault: the reason why it is refused, if
    any."""

    path: str
    size: int
    time: str
    content: Callable[[int], bytes]  # at most so many bytes of it
    fault: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    def read(self, most: int = MOST_BYTES) -> bytes:
        """Its bytes. Raises Unreadable if it has a fault or is longer than `most`."""
        if self.fault:
            raise Unreadable(f"{self.path} {self.fault}")
        try:
            data = self.content(most + 1) if self.size <= most else bytes(most + 1)
        except Unreadable as error:
            raise Unreadable(f"{self.path} {error}") from None
        if len(data) > most:  # which may be more than its size says
            raise Unreadable(f"{self.path} is larger than {most >> 20} MiB")
        return data


def is_junk(path: str) -> bool:
    """Whether a part of a path is left behind by a system: __MACOSX, .DS_Store, caches, environments."""
    return any(JUNK.fullmatch(part) for part in path.split("/"))


def in_folder(root: Path) -> Iterator[Entry]:
    """The files below a folder. Links, pipes, devices and unreadable folders get a fault."""
    todo = [root]
    while todo:
        folder = todo.pop()
        try:
            found = sorted(os.scandir(folder), key=lambda one: one.name)
        except OSError as error:
            path = folder.relative_to(root).as_posix()
            yield Entry(f"{path}/?", 0, "", lambda _: b"", f"cannot be listed ({error.strerror})")
            continue
        found = [one for one in found if not is_junk(one.name)]
        if not found and folder != root:
            yield Entry(f"{folder.relative_to(root).as_posix()}/.", 0, "", lambda _: b"", EMPTY)
        for one in found:
            path = Path(one.path).relative_to(root).as_posix()
            if one.is_symlink():
                yield Entry(path, 0, "", lambda _: b"", "is a link, not a file")
            elif one.is_dir(follow_symlinks=False):
                todo.append(Path(one.path))
            else:
                yield on_disk(Path(one.path), path)


def on_disk(file: Path, path: str) -> Entry:
    """A file, under its known path."""
    about = file.lstat()
    if not stat.S_ISREG(about.st_mode):
        return Entry(path, 0, "", lambda _: b"", "is a pipe or a device, not a file")

    def content(most: int) -> bytes:
        try:
            with file.open("rb") as stream:
                return stream.read(most)
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from None

    return Entry(path, about.st_size, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about.st_mtime)), content)


def in_zip(source: Path | bytes, name: str) -> list[Entry]:
    """The files of a zip. Raises Unreadable if it is not a zip, damaged, or absurdly large."""
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        raise Unreadable(f"{name} is an empty file")
    try:
        archive = zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
        infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, OverflowError):
        raise Unreadable(f"{name} cannot be opened as a zip file (damaged, or cut off during the upload?)") from None
    if isinstance(source, bytes) and len(infos) > MOST_ENTRIES:
        raise Unreadable(f"{name} holds {len(infos):,} files")
    files = [_member(archive, info) for info in infos if not info.filename.endswith(("/", "\\"))]
    folders = {info.filename.replace("\\", "/").strip("/") for info in infos} - {entry.path for entry in files}
    full = {entry.path[:place] for entry in files for place in range(len(entry.path)) if entry.path[place] == "/"}
    empty = [Entry(f"{folder}/.", 0, "", lambda _: b"", EMPTY) for folder in sorted(folders - full) if folder]
    return [entry for entry in (*files, *empty) if not is_junk(entry.path)]


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    written = info.filename
    if not info.flag_bits & 0x800:  # said to be of the code page 437; macOS writes UTF-8 and does not say so
        try:
            written = written.encode("cp437").decode("utf-8")
        except UnicodeError:
            written = info.filename
    path = written.replace("\\", "/")
    fault = ""
    if path.startswith("/") or re.match(r"[A-Za-z]:", path) or ".." in path.split("/"):
        fault = OUTSIDE
    elif stat.S_ISLNK(info.external_attr >> 16):
        fault = "is a link, not a file"
    elif info.flag_bits & 1:
        fault = "is encrypted: pack it without a password"
    if fault != OUTSIDE:
        path = "/".join(part for part in path.split("/") if part not in ("", ".")) or "?"

    def content(most: int) -> bytes:
        try:
            with archive.open(info) as stream:
                return stream.read(most)
        except Exception:  # whatever a decompressor finds wrong: one of a dozen kinds of error
            raise Unreadable("is damaged in its zip file, or packed in a way that is not known here") from None

    date = "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*info.date_time)
    return Entry(path, info.file_size, date, content, fault)

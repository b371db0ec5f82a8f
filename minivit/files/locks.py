"""Files and folders shared by several processes: only one writes at a time, and nothing is left half written.

A lock is the operating system's lock on an open file. It ends with its process, however the process ends.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from minivit.files import paths

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FAR = 1 << 30  # the byte that Windows locks, where nobody wants to read: locked bytes cannot be read there
TRIES = 10  # of a race that can be lost once or twice
TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


class HeldError(Exception):
    """Another process has the lock; the message says which one, where, and since when."""


def try_lock(file: int) -> bool | None:
    """Lock an open file without waiting: True, or False if it is locked already, or None if its file system has no
    locks."""
    try:
        if sys.platform == "win32":
            os.lseek(file, FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in TAKEN else None
    return True


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Hold the lock `path`, a file that names its owner. Yields False on a file system without locks.

    Raises HeldError if another process has the lock, OSError if the file cannot be made.
    """
    for tries_left in reversed(range(TRIES)):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        got = try_lock(file)
        if got is False:
            os.lseek(file, 0, os.SEEK_SET)
            holder = os.read(file, 300).decode("utf-8", "replace").strip()
            os.close(file)
            raise HeldError(holder or "another process")
        if _is_at(file, path) or not tries_left:  # not removed by a holder who left just now
            break
        os.close(file)
    try:
        with contextlib.suppress(OSError):  # on a full disk it is a lock all the same
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode())
        yield bool(got)
    finally:
        _close_and_remove(file, path)


@contextlib.contextmanager
def replacing(path: Path, folder: bool = False) -> Iterator[Path]:
    """A new file or folder to fill in this context; at the end it is flushed to disk and replaces `path`.

    Until then it lies beside `path` under a unique name. Leftovers of dead processes are removed. If `path` is a link,
    its target is replaced.
    Raises OSError, also if `path` is a pipe or a device; then `path` is unchanged.
    """
    if paths.is_special(path):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    path = path.resolve() if path.is_symlink() else path
    _remove_left(path)
    partial, file = _new_partial(path, folder)
    try:
        yield partial
        if not folder:
            os.fsync(file)
        if sys.platform == "win32":  # what is open keeps its name there
            os.close(file)
            file = -1
        paths.replace(partial, path)
    finally:
        _close_and_remove(file, partial)


def _new_partial(path: Path, folder: bool) -> tuple[Path, int]:
    """An empty file or folder beside `path`, and the descriptor of the open, locked file (-1 for none)."""
    for tries_left in reversed(range(TRIES)):
        partial = path.with_name(f"{path.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        if folder:
            partial.mkdir()
            file = -1 if sys.platform == "win32" else os.open(partial, os.O_RDONLY)
        else:
            file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if file == -1 or (try_lock(file) is not False and _is_at(file, partial)) or not tries_left:
            break
        os.close(file)  # taken for something left by a dead process, and removed
    return partial, file


def _remove_left(path: Path) -> None:
    """Remove the partial files of dead processes: those that nobody has locked."""
    name = re.compile(re.escape(path.name[:40]) + r"(\.\d+-[0-9a-f]{8})?\.partial")
    with contextlib.suppress(OSError):
        for left in [other for other in path.parent.iterdir() if name.fullmatch(other.name)]:
            with contextlib.suppress(OSError):
                file = os.open(left, os.O_RDONLY if left.is_dir() else os.O_RDWR)
                if try_lock(file):
                    _close_and_remove(file, left)
                else:
                    os.close(file)


def _close_and_remove(file: int, path: Path) -> None:
    """Remove the file or folder if it still exists, then close it; on Windows in the opposite order."""

    def close() -> None:
        with contextlib.suppress(OSError):
            os.close(file)

    if sys.platform == "win32":
        close()
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
    close()


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False

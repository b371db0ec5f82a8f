"""Fetching one file over HTTP: resumed where it stopped, checked, and only then given its name."""

import contextlib
import hashlib
import http.client
import os
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from minivit.errors import DataError, shown
from minivit.files import replace

Progress = Callable[[int, int | None], None]  # (bytes so far, bytes in all, None if the server does not say)

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a single byte


def download(url: str, target: Path, md5: str, progress: Progress | None = None) -> None:
    """Fetch `url` into the file `target`, creating its folder.

    Bytes collect in a file of this call's own, so that several may fetch one target at once, also from other machines:
    all end with the file. What there is when one is interrupted becomes `target` + ".part", with which a later call
    begins, asking for the rest by an HTTP Range request. Once complete it is checked and renamed, so `target` is always
    whole; with a wrong checksum it is deleted. Raises DataError.
    """
    try:
        _fetch(url, target, md5, progress)
    except (DataError, OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        if target.is_file():  # another call has been faster, and on finishing deleted what this one had
            return check_md5(target, md5)
        if isinstance(error, DataError):
            raise DataError(f"{url}: the download has a wrong checksum and was deleted; try again") from None
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        if isinstance(error, OSError) and error.filename and not isinstance(error, urllib.error.URLError):
            hint = "choose a folder that you can write, by --data-root or MINIVIT_DATA"
            raise DataError(f"cannot write {shown(error.filename, 200)} ({reason}): {hint}") from error
        raise DataError(
            f"cannot download {url} ({reason}): try again (it resumes), "
            f"or put {target.name} into {target.parent} yourself"
        ) from error


def _fetch(url: str, target: Path, md5: str, progress: Progress | None) -> None:
    """`download`, with the errors as they come; a DataError is a wrong checksum."""
    target.parent.mkdir(parents=True, exist_ok=True)
    own = target.with_name(f"{target.name}.{secrets.token_hex(6)}.part")
    longest = max(_parts(target), key=_size, default=None)
    try:
        if longest is not None:  # all are beginnings of the same file, even one that still grows
            with contextlib.suppress(OSError):
                shutil.copyfile(longest, own)
        _receive(url, own, progress)
        try:
            check_md5(own, md5)
        except DataError:
            for part in filter(None, (own, longest)):  # resuming could only repeat the error
                part.unlink(missing_ok=True)
            raise
        replace(own, target)
    finally:
        _keep(own, target)
    for part in _parts(target):
        with contextlib.suppress(OSError):  # on Windows another call may have it open
            part.unlink()


def _parts(target: Path) -> list[Path]:
    """What calls of `download` have left, or are receiving."""
    begin = target.name + "."
    return [path for path in target.parent.iterdir() if path.name.startswith(begin) and path.suffix == ".part"]


def _size(path: Path) -> int:
    """Of a file, in bytes; 0 if it has gone."""
    return path.stat().st_size if path.exists() else 0


def _keep(own: Path, target: Path) -> None:
    """What has been received but is not complete becomes the part that the next call finds, if it is the longest."""
    part = target.with_name(target.name + ".part")
    with contextlib.suppress(OSError):
        if part.exists() and _size(part) >= _size(own):
            own.unlink()
        else:
            os.replace(own, part)


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what it still lacks of `url`. Raises OSError or HTTPException when that fails."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing lies beyond `done`: complete or wrong, which the checksum decides
        raise
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            done = 0  # this server cannot resume and sends everything
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with open(part, "ab" if done else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and done < total:
        raise OSError(f"the connection closed after {done:,} of {total:,} bytes")


def check_md5(path: Path, md5: str) -> None:
    """Raise DataError unless the file's MD5 digest is `md5` (hexadecimal): it finds damage, not attackers."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise DataError(
            f"{path}: the file is incomplete or damaged (MD5 {found}, expected {md5}); delete it and download it again"
        )

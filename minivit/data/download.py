"""Fetching one file over HTTP: resumed where it stopped, checked, and only then given its name."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from minivit.errors import DataError

Progress = Callable[[int, int | None], None]  # (bytes so far, bytes in all, None if the server does not say)

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a single byte


def download(url: str, target: Path, md5: str, progress: Progress | None = None) -> None:
    """Fetch `url` into the file `target`, creating its folder.

    Bytes collect in `target` + ".part", which a later call resumes with an HTTP Range request. Once complete it is
    checked and renamed, so `target` is always whole; with a wrong checksum it is deleted. Raises DataError.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part, progress)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"cannot download {url} ({reason}): try again (it resumes), "
            f"or put {target.name} into {target.parent} yourself"
        ) from error
    try:
        check_md5(part, md5)
    except DataError:
        part.unlink()  # resuming could only repeat the error
        raise DataError(f"{url}: the download has a wrong checksum and was deleted; try again") from None
    os.replace(part, target)


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

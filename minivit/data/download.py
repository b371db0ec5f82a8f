"""Downloads one file over HTTP: resumes where it stopped, checks the file, and only then gives it its name."""

import base64
import binascii
import contextlib
import hashlib
import http.client
import os
import re
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from email.message import Message
from pathlib import Path
from typing import Any

from minivit.errors import DataError, MinivitError, shown
from minivit.files import replace

Progress = Callable[[int, int | None], None]  # (bytes so far, bytes in all, None if the server does not say)

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a single byte


class UnreachableError(DataError):
    """The server cannot provide the file now; `reason` says why."""

    def __init__(self, url: str, target: Path, reason: str):
        self.reason = reason
        super().__init__(
            f"cannot download {url} ({reason}): try again (it resumes), or put {target.name} into {target.parent} "
            "yourself"
        )


def download(
    url: str,
    target: Path,
    md5: str | None = None,
    progress: Progress | None = None,
    check: Callable[[Path], object] | None = None,
) -> str | None:
    """Fetch `url` into the file `target`, creating its folder.

    Each call collects bytes in a file of its own, so several may fetch one target at once, even from different
    machines; each ends with the whole file. An interrupted call leaves `target` + ".part"; a later call continues it
    with an HTTP Range request. A complete file is checked and renamed, so `target` is always whole; a file with a wrong
    checksum is deleted.
    md5: the hexadecimal digest; None for the checksum that the server states, if any (see `stated`).
    check: raises a MinivitError for an unwanted file, which is then deleted.
    Returns the name of the checksum used, None if there was none.
    Raises DataError, UnreachableError for a server that does not send the file.
    """
    try:
        return _fetch(url, target, ("md5", md5) if md5 else None, progress, check)
    except (MinivitError, OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        if target.is_file():  # another call has been faster, and on finishing deleted what this one had
            return check_md5(target, md5) if md5 else None
        if isinstance(error, MinivitError):
            raise DataError(f"{url}: {error}") from None
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason
        if isinstance(error, OSError) and error.filename and not isinstance(error, urllib.error.URLError):
            hint = "choose a writable folder with MINIVIT_DATA, or --data-root for data"
            raise DataError(f"cannot write {shown(error.filename, 200)} ({reason}): {hint}") from error
        raise UnreachableError(url, target, str(reason)) from error


def _fetch(
    url: str,
    target: Path,
    expected: tuple[str, str] | None,
    progress: Progress | None,
    check: Callable[[Path], object] | None,
) -> str | None:
    """`download`, with the errors as they come; a MinivitError is a file that is not what is expected."""
    target.parent.mkdir(parents=True, exist_ok=True)
    own = target.with_name(f"{target.name}.{secrets.token_hex(6)}.part")
    longest = max(_parts(target), key=_size, default=None)
    try:
        if longest is not None:  # all are beginnings of the same file, even one that still grows
            with contextlib.suppress(OSError):
                shutil.copyfile(longest, own)
        expected = _receive(url, own, expected, progress)
        try:
            _check(own, expected, check)
        except MinivitError:
            for part in filter(None, (own, longest)):  # resuming could only repeat the error
                part.unlink(missing_ok=True)
            raise
        replace(own, target)
    finally:
        _keep(own, target)
    for part in _parts(target):
        with contextlib.suppress(OSError):  # on Windows another call may have it open
            part.unlink()
    return {"md5": "MD5", "sha256": "SHA-256"}[expected[0]] if expected else None


def _check(path: Path, expected: tuple[str, str] | None, check: Callable[[Path], object] | None) -> None:
    """Raise DataError unless the file has the expected checksum and passes `check`."""
    if expected and digest(path, expected[0]) != expected[1]:
        raise DataError("the download has a wrong checksum and was deleted; try again")
    try:
        if check is not None:
            check(path)
    except MinivitError as error:
        reason = str(error).replace(str(path), "it")
        raise DataError(f"the server sent a different file, which was deleted ({reason})") from error


def _parts(target: Path) -> list[Path]:
    """The partial files of earlier and running calls of `download`."""
    begin = target.name + "."
    return [path for path in target.parent.iterdir() if path.name.startswith(begin) and path.suffix == ".part"]


def _size(path: Path) -> int:
    """The size of a file in bytes; 0 if it has gone."""
    return path.stat().st_size if path.exists() else 0


def _keep(own: Path, target: Path) -> None:
    """Turn an incomplete download into the part that the next call continues, if it is the longest."""
    part = target.with_name(target.name + ".part")
    with contextlib.suppress(OSError):
        if part.exists() and _size(part) >= _size(own):
            own.unlink()
        else:
            os.replace(own, part)


def _receive(
    url: str, part: Path, expected: tuple[str, str] | None, progress: Progress | None
) -> tuple[str, str] | None:
    """Append the missing rest of `url` to `part`; returns `expected`, or the checksum that the server states.

    Without a checksum nobody could tell whether the pieces belong to one file; then the whole file is fetched in one
    piece. Raises OSError or HTTPException on failure.
    """
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    redirects = _Redirects()
    try:
        response = urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if expected := expected or stated([*redirects.headers, error.headers]):
            return expected  # nothing lies beyond `done`: complete or wrong, which the checksum decides
        part.unlink()
        return _receive(url, part, expected, progress)
    with response:
        expected = expected or stated([*redirects.headers, response.headers])
        if response.status != http.client.PARTIAL_CONTENT:
            done = 0  # this server cannot resume and sends everything
        elif expected is None:
            part.unlink()
            return _receive(url, part, expected, progress)
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
    return expected


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps the headers of the answers that asked for it."""

    def __init__(self) -> None:
        self.headers: list[Message] = []

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.headers.append(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def stated(answers: Iterable[Message]) -> tuple[str, str] | None:
    """("sha256" or "md5", hexadecimal digest) from the headers of a server's answers; None if they have none.

    Hugging Face sends "X-Linked-Etag", the SHA-256 of a large file, with the redirect to the file; Google's storage
    sends "X-Goog-Hash: crc32c=...,md5=...", in base64.
    """
    for headers in answers:
        etag = headers.get("X-Linked-Etag", "").strip('" ').lower()
        if re.fullmatch("[0-9a-f]{64}", etag):
            return "sha256", etag
        for value in ",".join(headers.get_all("X-Goog-Hash", [])).split(","):
            name, _, text = value.strip().partition("=")
            if name == "md5":
                with contextlib.suppress(binascii.Error):
                    return "md5", base64.b64decode(text, validate=True).hex()
    return None


def digest(path: Path, kind: str) -> str:
    """The hexadecimal digest of a file.   kind: "md5", which detects damage but not attackers, or "sha256"."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def check_md5(path: Path, md5: str) -> str:
    """Raise DataError unless the file's MD5 digest is `md5` (hexadecimal). Returns "MD5"."""
    found = digest(path, "md5")
    if found != md5:
        raise DataError(
            f"{path}: the file is incomplete or damaged (MD5 {found}, expected {md5}); delete it and download it again"
        )
    return "MD5"

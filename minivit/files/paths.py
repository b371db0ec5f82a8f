"""Paths with ~, JSON files, and files that are written whole."""

import json
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from minivit.errors import DataError, MinivitError, shown

PATIENCE = 2.0  # seconds for which another program may hold a file


def expanded(path: str | os.PathLike[str], error: type[MinivitError] = DataError) -> Path:
    """The path with a leading ~ or ~user replaced. Raises `error` if that home folder is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        home = Path(path).parts[0]
        raise error(f"{os.fspath(path)}: the home folder {home} is not known here; write the path in full") from None


def is_special(path: Path) -> bool:
    """Whether the path is neither file nor folder, but a pipe or a device. Opening one may block for ever; replacing
    one takes it away from all other programs."""
    return path.exists() and not (path.is_file() or path.is_dir())


def parse_json(content: bytes) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark.

    Raises ValueError where JSON readers disagree or fail: a name twice in one object, NaN, numbers beyond float64,
    another encoding.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is UTF-16; save it as UTF-8")
    try:
        return json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: byte {error.start} is {content[error.start]:#x}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise ValueError(f'"{shown(twice[0])}" occurs twice')
    return dict(pairs)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{shown(text)} is too large")
    return float(text)


def replace(source: Path, target: Path) -> None:
    """Rename `source` to `target`, replacing what is there. Raises OSError.

    Windows refuses with a PermissionError while another program, such as a virus scanner, has either file open; so this
    retries for two seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)

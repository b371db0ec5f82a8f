"""What a person names or writes: paths with ~; and files that come into being whole."""

import os
import time
from pathlib import Path

from minivit.errors import DataError, MinivitError

PATIENCE = 2.0  # seconds for which another program may hold a file


def expanded(path: str | os.PathLike[str], error: type[MinivitError] = DataError) -> Path:
    """The path with ~ and ~user at its beginning replaced. Raises `error` where that home folder is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        home = Path(path).parts[0]
        raise error(f"{os.fspath(path)}: the home folder {home} is not known here; write the path in full") from None


def replace(source: Path, target: Path) -> None:
    """Give `source` the name `target`, in the place of what has it. Raises OSError.

    Windows refuses that with a PermissionError while another program, a virus scanner for instance, has either file
    open: then it is tried again for two seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)

"""Says under which kind the data at a path could be read, for messages to somebody who named another kind."""

import itertools
import os
import re
from pathlib import Path

MOST = 2000  # names in a folder that are looked at
SIGNS = {  # the names that each kind has, in lower case; the first that fits
    "imagenet": re.compile(r"n\d{8}(\.tar)?|ilsvrc|ilsvrc2012_img_(train|val)\.tar"),
    "shards": re.compile(r".*\.tar"),
    "parquet": re.compile(r".*\.(parquet|parq|pq)"),
}


def kind_at(path: Path) -> str | None:
    """ "imagenet", "shards" or "parquet" if names at a path, or in its folders, are of this kind, else None."""
    here = _names(path) if path.is_dir() else [path.name]
    names = {*here}
    while len(here) == 1 and (path / here[0]).is_dir():  # as unpacking makes them
        path /= here[0]
        here = _names(path)
        names |= {*here}
    names |= {inner for name in here[:10] for inner in _names(path / name)}
    for kind, sign in SIGNS.items():
        if any(sign.fullmatch(name.lower()) for name in names):
            return kind
    return None


def instead(path: Path, kind: str) -> str:
    """What a message about missing files of one kind ends with: which other kind there is, or nothing."""
    other = kind_at(path)
    return f"; for what is there write {other}:{path}" if other not in (None, kind) else ""


def _names(folder: Path) -> list[str]:
    """The visible names in a folder; none if it is no folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith((".", "__MACOSX")))

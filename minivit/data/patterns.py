"""Names of many files: "train-{000..127}.tar", "{a,b}.tar", "train-*.tar"."""

import glob
import itertools
import os
import re
from pathlib import Path

from minivit.errors import DataError

MOST = 100_000  # files that a pattern may name
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(pattern: str) -> list[str]:
    """All names of a pattern with braces, in its order: ranges of numbers, whose leading zeros are kept, and
    alternatives. Raises DataError for other braces."""
    choices: list[list[str]] = []
    for number, part in enumerate(_BRACES.split(pattern)):
        choices.append(_choices(part, pattern) if number % 2 else [part])
        if sum(map(len, choices)) > MOST:
            raise DataError(f"{pattern}: the braces name more than {MOST:,} files")
    if any(sign in text for texts in choices for text in texts for sign in "{}"):
        raise DataError(f"{pattern}: the braces do not match; write a range as {{000..127}}, alternatives as {{a,b}}")
    names = list(itertools.islice(map("".join, itertools.product(*choices)), MOST + 1))
    if len(names) > MOST:
        raise DataError(f"{pattern}: the braces name more than {MOST:,} files")
    return names


def matching(pattern: Path) -> list[Path]:
    """The files of a pattern with braces, "*", "?" or "[...]"; of braces in their order, else sorted.

    Raises DataError, which names the first, if there are none or if some of the files that the braces name are missing.
    """
    if pattern.exists():
        return [pattern]
    names = expand(os.fspath(pattern))
    found, missing = [], []
    for name in names:
        files = [name] if os.path.exists(name) else sorted(glob.glob(name))
        found += files
        missing += [] if files else [name]
    if missing and os.path.exists(f"{missing[0]}.gz"):
        raise DataError(f"{missing[0]}.gz: this is compressed; unpack it once, with gunzip, and others like it")
    if missing and len(names) > 1:
        more = f", nor {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}: there is no such file{more} of the {len(names):,} that {pattern.name} names")
    if missing:
        what = "file that fits" if set("*?[") & set(pattern.name) else "file or folder"
        raise DataError(f"{pattern}: there is no such {what}")
    return [Path(name) for name in found]


def loosened(pattern: str) -> str:
    """The pattern with "*" for what is in braces."""
    return _BRACES.sub("*", pattern)


def _choices(inside: str, pattern: str) -> list[str]:
    if found := _RANGE.fullmatch(inside):
        first, last = found.groups()
        width = max(map(len, found.groups())) if first.startswith("0") or last.startswith("0") else 0
        step = 1 if int(first) <= int(last) else -1
        if abs(int(last) - int(first)) >= MOST:
            raise DataError(f"{pattern}: the braces name more than {MOST:,} files")
        return [f"{number:0{width}}" for number in range(int(first), int(last) + step, step)]
    if "," in inside:
        return inside.split(",")
    raise DataError(f"{pattern}: {{{inside}}} is no range such as {{000..127}} and has no alternatives such as {{a,b}}")

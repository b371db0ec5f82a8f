"""Which Parquet files at a path are for training and which for testing.

The names decide, by the rules of Hugging Face's data sets: "train" or "training"; "validation", "valid", "val" or
"dev"; "test", "testing", "eval" or "evaluation", in the name of a file or of a folder, with no letter beside them. The
validation images are the ones to test on: of a competition, the labels of test images are often secret.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from minivit.data.instead import instead
from minivit.data.patterns import matching
from minivit.errors import DataError

SUFFIXES = (".parquet", ".parq", ".pq")
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
TESTS = ("validation", "test")  # the first that there is

_NUMBERED = re.compile(r"-(\d{5})-of-(\d{5})")
_WORD = {kind: re.compile(rf"(?<![a-z])({'|'.join(words)})(?![a-z])", re.IGNORECASE) for kind, words in WORDS.items()}


class Files(NamedTuple):
    """The files of one split.   missing: names that theirs promise beyond them, without suffix.   others: files of no
    split.   whole: no name says for what a file is, so there is only one split."""

    paths: list[Path]
    split: str
    missing: Sequence[str] = ()
    others: int = 0
    whole: bool = False


def files_of(path: Path, split: str, held_out: bool = False) -> Files:
    """The files of the "train" or "test" split of the data at a folder, file or pattern.

    held_out: a share of the training files will be the other split, so these are the files of both. Files without a
    word for a split in their names are for training if all are so. Given a pattern of one split, the other split is
    looked for in the same folder. Raises DataError if there is no such file, for several data sets in one folder, and
    for files of several versions of one data set.
    """
    root, paths, given = _listed(path)
    parts = _parted(root, paths)
    kinds = ("train",) if split == "train" or held_out else TESTS
    if given and not any(parts.get(kind) for kind in kinds) and list(parts) != [""]:
        parts, given = _parted(root, list(_below(root))), False
    whole = list(parts) == [""]
    kind = "" if whole and kinds == ("train",) else next((kind for kind in kinds if parts.get(kind)), None)
    if kind is None:
        raise DataError(_lacking(path, split, parts))
    chosen = _of_one(path, parts[kind])
    missing = [] if given else _missing(chosen)
    return Files(chosen, kind or "train", missing, 0 if whole else len(parts.get("", {}).get("", [])), whole)


def is_divided(path: Path) -> bool:
    """Whether the data at a path has test files of its own."""
    try:
        files_of(path, "test")
    except DataError:
        return False
    return True


def _listed(path: Path) -> tuple[Path, list[Path], bool]:
    """The folder of the data, its Parquet files, and whether these were given one by one: as a file, a pattern, or a
    folder with a split's name."""
    if path.is_dir():
        files = list(_below(path))
        if not files:
            raise DataError(f"{path}: there are no Parquet files in it ({', '.join(SUFFIXES)}){_hint(path)}")
        named = any(_kind(file.relative_to(path)) for file in files)
        return (path, files, False) if named or not _is_split(path) else (path.parent, files, True)
    files = [file for file in matching(path) if _is_parquet(file.name) or file == path]
    if not files:
        raise DataError(f"{path}: there are no Parquet files among those that fit ({', '.join(SUFFIXES)})")
    root = Path(os.path.commonpath([file.parent for file in files]))
    if _is_split(root) and not any(_kind(file.relative_to(root)) for file in files):
        root = root.parent
    return root, files, True


def _hint(folder: Path) -> str:
    """What to do with the files that a folder has instead."""
    if any(folder.rglob("*.arrow")):
        return "; it has .arrow files of save_to_disk: open it with load_from_disk and use to_parquet"
    return instead(folder, "parquet")


def _below(folder: Path) -> Iterator[Path]:
    """The Parquet files in a folder and its sub-folders, in order; hidden ones are left out."""
    entered = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (place := os.path.realpath(here)) in entered:  # links can form circles
            folders.clear()
            continue
        entered.add(place)
        for name in sorted(names):
            if _is_parquet(name) and not name.startswith("."):
                yield Path(here, name)


def _is_split(folder: Path) -> bool:
    """Whether a folder is called as a split: "train", not "train_of_toys"."""
    return any(folder.name.lower() in words for words in WORDS.values())


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _kind(path: Path) -> str:
    """ "train", "validation", "test", or "" if no part of a path says so; the last part that does decides."""
    for part in reversed(path.parts):
        for kind, word in _WORD.items():
            if word.search(part):
                return kind
    return ""


def _parted(root: Path, paths: Sequence[Path]) -> dict[str, dict[str, list[Path]]]:
    """Kind of split -> data set -> files. A data set is named by the folders above the part that names the split."""
    parts: dict[str, dict[str, list[Path]]] = {}
    for path in paths:
        inside = path.relative_to(root)
        kind = _kind(inside)
        above = inside.parent
        while kind and _kind(above) == kind:
            above = above.parent
        parts.setdefault(kind, {}).setdefault(above.as_posix() if kind else "", []).append(path)
    return parts


def _of_one(path: Path, sets: dict[str, list[Path]]) -> list[Path]:
    """The files of the only data set. Raises DataError for several."""
    if len(sets) > 1:
        names = sorted(sets)
        some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        raise DataError(
            f"{path}: there are {len(sets)} data sets in it ({some}); choose one, such as parquet:{path / names[0]}"
        )
    return next(iter(sets.values()))


def _missing(files: Sequence[Path]) -> list[str]:
    """The names, without suffix, that are missing from "train-00000-of-00294" to "train-00293-of-00294". Raises
    DataError if two files have one number, or different totals."""
    missing: list[str] = []
    named: list[tuple[str, int, int]] = []
    for file in files:
        if found := _NUMBERED.search(file.name):
            named.append((file.name[: found.start()], int(found[1]), int(found[2])))
    for begin in dict.fromkeys(begin for begin, _, _ in named):
        numbers = [number for other, number, _ in named if other == begin]
        totals = sorted({total for other, _, total in named if other == begin})
        if len(totals) > 1 or len(set(numbers)) < len(numbers):
            raise DataError(
                f"{files[0].parent}: there are files of several versions of one data set, {begin}-... of "
                f"{' and of '.join(map(str, totals))}; remove the old ones, or give a pattern for the right ones"
            )
        absent = sorted({*range(totals[0])} - {*numbers})
        missing += [f"{begin}-{number:05}-of-{totals[0]:05}" for number in absent]
    return missing


def _lacking(path: Path, split: str, parts: dict[str, dict[str, list[Path]]]) -> str:
    """What is missing, and what to do."""
    there = [kind for kind in WORDS if parts.get(kind)]
    if split == "train":
        return (
            f"{path}: there are no training files, only {' and '.join(there)}; training files have train in their names"
        )
    found = "only training files" if there else "no names that tell training files from others"
    return (
        f"{path}: there are {found}; add files with validation or test in their names, or have a share of each class "
        "held out: --val-share 0.2, or val_share=0.2 in Python"
    )

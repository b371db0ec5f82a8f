"""Finds shards: which tar archives hold training images, and which ones test images."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from minivit.data.instead import instead
from minivit.data.patterns import loosened, matching
from minivit.errors import DataError

TEST_NAMES = ("val", "validation", "valid", "test", "dev")  # the first that there is
TRAIN_NAMES = ("train", "training")
_NUMBER = re.compile(r"(.*?)(\d+)")  # the last number of a name
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Shards(NamedTuple):
    """The archives of a data set.   train, test: their paths; test_name: how the latter are called, such as "val"."""

    train: list[Path]
    test: list[Path]
    test_name: str


def find_shards(path: Path) -> Shards:
    """The shards in a folder, or those of a pattern and its counterpart.

    A word in the name of an archive, or of the sub-folder that holds it, says what it is for: train, or one of
    `TEST_NAMES`. Without any for training, archives without such a word are for training. If a pattern names training
    shards, those beside them with another word in its place are the test shards. Raises DataError if there are no
    shards.
    """
    try:
        if path.is_dir():
            return _sorted_out(_in_folder(path))
        files = matching(path)
        roles = {file: role(file) for file in files}
        if len(set(roles.values())) > 1:
            return _sorted_out(roles)
        own = roles[files[0]]
        if own in TEST_NAMES:
            return Shards([], files, own)
        for name in TEST_NAMES if own else ():
            if test := sorted(glob.glob(_counterpart(path, name))):
                return Shards(files, list(map(Path, test)), name)
        return Shards(files, [], "")
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error


def is_divided(path: Path) -> bool:
    """Whether there are test shards. Raises DataError as `find_shards`."""
    return bool(find_shards(path).test)


def is_part(folder: Path) -> bool:
    """Whether a folder is called as training shards are, and another one beside it as test shards."""
    roles = {role(place / "0.tar") for place in folder.absolute().parent.iterdir() if place.is_dir()}
    return role(folder.absolute() / "0.tar") == "train" and bool(roles & {*TEST_NAMES})


def missing(files: Sequence[Path]) -> int:
    """How many shards are missing, by their numbers, between the first and the last of those in one folder that are
    called alike; 0 if more are missing than there, since then the numbers mean something else."""
    numbers: dict[tuple[Path, str], set[int]] = {}
    for file in files:
        if found := _NUMBER.fullmatch(file.stem):
            numbers.setdefault((file.parent, found[1]), set()).add(int(found[2]))
    gaps = [(max(own) - min(own) + 1 - len(own), len(own)) for own in numbers.values()]
    return sum(gap for gap, there in gaps if gap <= there)


def role(path: Path) -> str:
    """ "train", one of `TEST_NAMES`, or "" if nothing says it: a word in the name of the archive, or the whole name of
    its folder, since a folder may be called "test-shards" for other reasons."""
    for name, words in (("train", TRAIN_NAMES), *((name, (name,)) for name in TEST_NAMES)):
        if any(_word(word).search(path.name) for word in words):
            return name
    whole = path.parent.name.lower()
    return "train" if whole in TRAIN_NAMES else whole if whole in TEST_NAMES else ""


def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-zA-Z]){word}(?![a-zA-Z])", re.IGNORECASE)


def _counterpart(path: Path, name: str) -> str:
    """A pattern for the test shards of this name that belong to training shards; in it only "*" and "?" have a
    meaning."""
    changed, times = _word(f"(?:{'|'.join(TRAIN_NAMES)})").subn(name, loosened(path.name))
    whole = path.parent / changed if times else path.parent.with_name(name) / loosened(path.name)
    return os.fspath(whole).replace("[", "[[]")


def _in_folder(folder: Path) -> dict[Path, str]:
    """The archives in a folder and in its sub-folders that are named for a split, with what each is for. If there are
    none but a single sub-folder, those in that; of several sub-folders, all, if no two archives have one name."""
    given = folder
    while True:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        folders = [entry for entry in entries if entry.is_dir()]
        files = {entry: role(Path(entry.name)) for entry in entries if entry not in folders}
        for place in folders:
            if of_place := role(Path(place.name)):
                inner = sorted(file for file in place.iterdir() if not file.name.startswith("."))
                files |= {file: role(Path(file.name)) or of_place for file in inner}
        found = {file: name for file, name in files.items() if _is_tar(file)}
        if not {"train", ""} & set(found.values()) and len(folders) + len(found) > 1:
            found |= _scattered(folder, folders)
        if found:
            return found
        if packed := [file for file in files if file.name.lower().endswith(PACKED)]:
            raise DataError(
                f"{packed[0]}: this is compressed, so that no image can be read without all before it; unpack the "
                "archives once, with gunzip"
            )
        if len(folders) != 1:
            raise DataError(f"{folder}: there are no shards in it, such as train-000000.tar{instead(given, 'shards')}")
        folder = folders[0]


def _scattered(folder: Path, folders: Sequence[Path]) -> dict[Path, str]:
    """The archives in sub-folders that are not named for a split. Raises DataError if some have the same name, as those
    of several data sets would."""
    places = [place for place in folders if not role(Path(place.name))]
    files = [file for place in places for file in sorted(place.iterdir()) if _is_tar(file)]
    if len({file.name for file in files}) < len(files):
        names = ", ".join(sorted({file.parent.name for file in files})[:3])
        raise DataError(f"{folder} holds several data sets: {names}; give one of them, as shards:{files[0].parent}")
    return {file: role(Path(file.name)) for file in files}


def _is_tar(file: Path) -> bool:
    return file.name.lower().endswith(".tar") and not file.name.startswith(".")


def _sorted_out(files: dict[Path, str]) -> Shards:
    test_name = next((name for name in TEST_NAMES if name in files.values()), "")
    of = {wanted: [file for file, name in files.items() if name == wanted] for wanted in {"train", "", *files.values()}}
    return Shards(of["train"] or of[""], of[test_name] if test_name else [], test_name)

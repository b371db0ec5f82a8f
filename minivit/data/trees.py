"""The image files in class folders: finds them, and remembers those of a large tree from one start to the next.

The suffix of a name decides whether a file counts as an image. The images and their order depend on names alone,
equally on every system: names are compared as composed Unicode (NFC), paths with "/" between their parts. Links are
followed.

A tree of more than LARGE images has an index file, which says for each class folder which images are in it. An entry is
used again if no folder of the class has changed since, as its time of modification says. Where this time says too
little, the folder is read anew at every start: if it changed just before it was read, or if links are in it, whose
targets may come and go.
"""

import json
import os
import time
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minivit.data import index
from minivit.data.dataset import in_words
from minivit.data.download import Progress
from minivit.data.images import SUFFIXES
from minivit.data.instead import instead
from minivit.data.packed import Names
from minivit.data.paths import Paths
from minivit.errors import DataError

LARGE = 20_000  # images; smaller trees are read in a moment
SETTLED = 3.0  # seconds after which a second change of a folder has another time, on every file system
UNKNOWN = -1  # the time of a folder that is to be read anew
KEY = "tree 1 of"  # to be changed with the form of the index


class ClassFolder(NamedTuple):
    """What is in a class folder.

    names: the images, sorted, as paths within the folder.   left_out: the numbers of other files by kind.
    times: path within the folder -> time of modification in ns, of the folder itself ("") and those in it.
    """

    names: Names
    left_out: Mapping[str, int]
    times: Mapping[str, int]


def composed(name: str) -> str:
    """The name in Unicode normal form C: "é" can also be written as e and an accent, as on old Macs."""
    return unicodedata.normalize("NFC", name)


def class_folders(folder: Path, left_out: Counter[str]) -> dict[str, str]:
    """Composed name -> path of each class folder, sorted by name. Raises DataError if there are none, or if two names
    differ only in their encoding."""
    if not folder.is_dir():
        raise DataError(f"{folder.parent}: there is no {folder.name}/ in it; put the class folders there")
    folders, files, _ = _entries(str(folder), left_out)
    if files:
        left_out["beside the class folders"] += len(files)
    found: dict[str, str] = {}
    for own in folders:
        name = composed(own)
        if name in found:
            raise DataError(f"{folder}: two class folders are called {name}, encoded differently: rename or merge them")
        found[name] = os.path.join(folder, own)
    if not found:
        other = instead(folder, "folder")
        raise DataError(f"{folder}: there are no class folders in it; put the images of each class into one{other}")
    return dict(sorted(found.items()))


def read_classes(
    root: Path,
    folders: Sequence[str],
    left_out: Counter[str],
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Paths, np.ndarray]:
    """The images in class folders, one folder after another, and their number in each (K,).

    root: the folder of the class folders, by which the index is found.   cache: the folder of index files; None: none.
    progress: called with the number of folders read and in all, once they have turned out to be many.
    Raises DataError for a folder without images and one that may not be read.
    """
    known = _recalled(cache, root) if cache else {}
    found: list[ClassFolder] = []
    listed = 0
    for number, folder in enumerate(folders):
        entry = known.get(os.path.basename(folder))
        if entry is None or not _unchanged(folder, entry):
            entry = read_class(folder)
            listed += len(entry.names)
            if progress and listed > LARGE:
                progress(number + 1, len(folders))
        found.append(entry)
        left_out += Counter(entry.left_out)
    counts = np.array([len(entry.names) for entry in found], np.int64)
    if cache and listed and counts.sum() > LARGE:
        _remember(cache, root, known | dict(zip(map(os.path.basename, folders), found, strict=True)))
    numbers = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
    prefixes = [os.path.join(folder, "") for folder in folders]
    return Paths(prefixes, numbers, Names.joined([entry.names for entry in found])), counts


def image_files(folder: str, left_out: Counter[str]) -> list[str]:
    """The images in a folder and its sub-folders, sorted by name; other files are counted by kind in `left_out`.
    Raises DataError if there are none."""
    found = read_class(folder)
    left_out += Counter(found.left_out)
    return [os.path.join(folder, name) for name in found.names]


def read_class(folder: str) -> ClassFolder:
    """What is in a folder and its sub-folders.

    Raises DataError if there are no images. A folder already visited, or one that contains this one, is not entered
    again: links can form circles.
    """
    around = Path(os.path.realpath(os.path.dirname(os.path.abspath(folder))))  # of "." it is ".."
    entered = {str(path) for path in (around, *around.parents, *Path(os.path.realpath(folder)).parents)}
    found: list[tuple[str, str]] = []  # what to sort by, path within the folder
    others: Counter[str] = Counter()
    times: dict[str, int] = {}
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        here = os.path.join(folder, inner) if inner else folder
        place = os.path.realpath(here)
        if place in entered:
            others["repeated folders"] += 1
            continue
        entered.add(place)
        settled = _time_of(here)
        folders, files, links = _entries(here, others)
        times[inner] = UNKNOWN if links or time.time_ns() - settled < SETTLED * 1e9 else settled
        waiting += [os.path.join(inner, name) for name in reversed(folders)]
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                path = os.path.join(inner, name) if inner else name
                found.append((composed(path.replace(os.sep, "/")), path))
            else:
                others[suffix or "without a suffix"] += 1
    if not found:
        seen = f" (only {in_words(others)})" if others else ""
        raise DataError(f"{folder}: there are no images in it{seen}; add some ({', '.join(SUFFIXES)}) or remove it")
    return ClassFolder(Names.of(path for _, path in sorted(found)), others, times)


def _entries(folder: str, left_out: Counter[str]) -> tuple[list[str], list[str], int]:
    """The names of the folders and of the files in a folder, including links, each sorted, and the number of links."""
    folders, files, links = [], [], 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    left_out["hidden"] += 1
                    continue
                link = entry.is_symlink()
                links += link
                if link and not os.path.exists(entry.path):
                    left_out["broken links"] += 1
                elif os.path.isdir(entry.path) if link else entry.is_dir():
                    folders.append(entry.name)
                else:
                    files.append(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return sorted(folders, key=composed), sorted(files, key=composed), links


def _time_of(folder: str) -> int:
    """When a folder was changed, in ns; UNKNOWN if it cannot be said."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return UNKNOWN


def _unchanged(folder: str, entry: ClassFolder) -> bool:
    return all(
        time != UNKNOWN and time == _time_of(os.path.join(folder, inner) if inner else folder)
        for inner, time in entry.times.items()
    )


def _recalled(cache: Path, root: Path) -> dict[str, ClassFolder]:
    """Name of each class folder -> what the index says. An index that is missing or damaged says nothing."""
    arrays = index.read(cache, f"{KEY} {root}")
    if arrays is None:
        return {}
    names, found, start = Names(arrays["text"], arrays["ends"]), {}, 0
    for name, count, left_out, times in json.loads(arrays["classes"].tobytes()):
        found[name] = ClassFolder(names.part(start, start + count), left_out, times)
        start += count
    return found


def _remember(cache: Path, root: Path, entries: Mapping[str, ClassFolder]) -> None:
    """Write the index."""
    names = Names.joined(entry.names for entry in entries.values())
    classes = [[name, len(entry.names), entry.left_out, entry.times] for name, entry in entries.items()]
    about = np.frombuffer(json.dumps(classes).encode("ascii"), np.uint8)
    index.write(cache, f"{KEY} {root}", {"text": names.text, "ends": names.ends, "classes": about})

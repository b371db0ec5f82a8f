"""WebDataset shards: tar archives of examples, each an image and its label under one name.

Members of one example have the same name up to the first dot of its last part: "a/000012.jpg" and "a/000012.cls". The
label is a whole number in .cls, or in .json under one of `NUMBERS`. See https://github.com/webdataset/webdataset.
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.data.archived import ArchivedDataset, Places, check_faults
from minivit.data.asked import Asked
from minivit.data.dataset import in_words
from minivit.data.held_out import check_share, held_out
from minivit.data.imagenet import imagenet_ids
from minivit.data.instead import instead
from minivit.data.listing import Draft, Listing, Meter, listings
from minivit.data.shard_files import Shards, find_shards, is_part, missing
from minivit.data.tars import CutError, Window, is_hidden, members
from minivit.errors import DataError, shown
from minivit.files import parse_json

IMAGES = ("jpg", "jpeg", "png", "webp")
NUMBERS = ("label", "cls", "class", "class_id", "class_index", "class_idx", "target")  # names of the label in .json
WORDS = ("class_name", "classname", "label_name", "synset", "wnid")  # names of the name of a class there
CLASS_NAMES = ("classnames.txt", "class_names.txt", "classes.txt")
LARGEST = 2**20  # bytes of a label or of a .json
LOOKED_AT = 1000  # members, to say what is in a shard without labels

Said = tuple[int, str | None]  # of an example: its label, or -1, and the name of its class


def load_shards(path: Path, asked: Asked) -> ArchivedDataset:
    """The images of shards in a folder or of a pattern such as "train-{000..127}.tar"; see `find_shards`.

    The names of the classes are the lines of classnames.txt beside the shards, else those in the .json of the training
    shards, else for 1,000 classes the ids of ImageNet's, else "0", "1", ... Examples without a label or an image are
    counted in `left_out`. Raises DataError.
    """
    name, shards = f"shards:{path}", find_shards(path.absolute())
    _check_sides(path, shards, asked)
    test = asked.split == "test" and asked.val_share is None
    listed = listings(shards.test if test else shards.train, asked.cache, "shard", _fill, asked.progress)
    paths, side = (shards.test, shards.test_name) if test else (shards.train, "train")
    deciding = listed  # on the classes
    if test and shards.train:
        deciding = listings(shards.train, asked.cache, "shard", _fill, asked.progress)
    classes, numbered = _classes(_beside(path), deciding, paths)
    places = Places.of(paths, listed)
    labels = _labels(listed, classes, numbered)
    left_out = check_faults(paths, listed, asked.bad_images)
    left_out["missing shards"] += missing(paths) if path.is_dir() else 0
    left_out["examples without a label"] += int(np.sum(labels < 0))
    known = np.flatnonzero(labels >= 0)
    if asked.val_share is not None:
        names = [f"{paths[places.archive[i]].name}/{places.names[int(i)]}" for i in known]
        mask = held_out(labels[known], names, asked.val_share, asked.seed, lambda i: f"{name}: {names[i]}")
        known, side = known[mask == (asked.split == "test")], "train" if asked.split == "train" else "val"
    if len(known) == 0:
        raise DataError(
            f"{paths[0]}: no example has both an image and a label; {_seen(paths[0])}{instead(path, 'shards')}"
        )
    rest = name, asked.bad_images, +left_out, side
    return ArchivedDataset(places.take(known), labels[known], classes, *rest)


def _check_sides(path: Path, shards: Shards, asked: Asked) -> None:
    if asked.val_share is not None:
        check_share(asked.val_share)
        if shards.test:
            name = shards.test_name
            raise DataError(f"{path} has {name} shards already, so nothing is held out: leave out val_share")
    elif asked.split == "test" and not shards.test:
        if path.is_dir() and is_part(path):
            raise DataError(f"{path}: this is a part of a data set; give the whole: shards:{path.parent}")
        raise DataError(
            f"{path}: there are no val, validation or test shards; add some, such as val-000000.tar, or have a share "
            "of each class held out: --val-share 0.1, or val_share=0.1 in Python"
        )
    if asked.split == "train" and not shards.train:
        raise DataError(f"{path}: there are only {shards.test_name} shards, none to train on")


def _fill(window: Window, end: int, draft: Draft, meter: Meter) -> None:
    """Add the examples of a shard, in the order of their images."""
    images: dict[str, tuple[str, int, int]] = {}
    said: dict[str, dict[str, Said]] = {}
    try:
        for name, start, size in members(window, 0, end):
            meter.at(start)
            folder, slash, base = name.rpartition("/")
            stem, _, suffix = base.partition(".")
            key, suffix = folder + slash + stem, suffix.lower()
            if is_hidden(name):
                draft.left_out["hidden"] += 1
            elif size < 0:
                draft.left_out["links"] += 1
            elif suffix in IMAGES:
                if key in images and images[key][0] != name:
                    draft.left_out["second images of an example"] += 1
                images[key] = name, start, size
            elif suffix in ("cls", "json") and size <= LARGEST:
                read = _of_cls if suffix == "cls" else _of_json
                said.setdefault(key, {})[suffix] = read(window.read(start, size))
    finally:
        for key, image in images.items():
            draft.add(*image, *_combined(said.pop(key, {})))
        draft.left_out["examples without an image"] += len(said)


def _combined(said: Mapping[str, Said]) -> Said:
    (number, word), (other_number, other_word) = (said.get(suffix, (-1, None)) for suffix in ("cls", "json"))
    return number if number >= 0 else other_number, word or other_word


def _of_cls(content: bytes) -> Said:
    text = content.decode("utf-8", "replace").strip("\ufeff\0 \r\n\t")
    return (int(text), None) if text.isascii() and text.isdecimal() else (-1, shown(text) or None)


def _of_json(content: bytes) -> Said:
    try:
        record = parse_json(content)
    except ValueError:
        return -1, None
    values = record if isinstance(record, dict) else {}
    number, word = -1, next((values[name] for name in WORDS if isinstance(values.get(name), str)), None)
    for value in (values.get(name) for name in NUMBERS):
        match value:
            case bool():
                continue
            case int() | float() if value >= 0 and value == int(value):
                number = int(value)
                break
            case str() if value.isascii() and value.isdecimal():
                number = int(value)
                break
            case str():
                word = word or value
    return number, word


def _labels(listed: Sequence[Listing], classes: Sequence[str], numbered: bool) -> np.ndarray:
    """The label of each image, -1 without one.   numbered: whether labels are numbers in the shards, not names."""
    found = [np.zeros(0, np.int64)]
    known = {name: number for number, name in enumerate(classes)}
    for listing in listed:
        if numbered:
            found.append(listing.labels)
        else:
            of_words = np.array([*(known.get(word, -1) for word in listing.words), -1], np.int64)
            found.append(of_words[listing.word])
    return np.concatenate(found)


def _classes(beside: list[str] | None, listed: Sequence[Listing], paths: Sequence[Path]) -> tuple[list[str], bool]:
    """The names of the classes, and whether labels are their numbers. beside: the names in a file, if there is one."""
    highest = max((int(listing.labels.max(initial=-1)) for listing in listed), default=-1)
    if highest < 0:
        words = sorted({word for listing in listed for word in listing.words})
        return words if beside is None or set(words) - set(beside) else beside, False
    if highest >= 10**6:
        raise DataError(f"{paths[0].parent}: a label is {highest}, too large for the number of a class")
    if beside is not None:
        if highest >= len(beside):
            raise DataError(f"{paths[0].parent}: there are {len(beside)} class names, but labels up to {highest}")
        return beside, True
    return _words(listed, highest + 1) or (
        imagenet_ids() if highest == 999 else list(map(str, range(highest + 1)))
    ), True


def _words(listed: Sequence[Listing], count: int) -> list[str] | None:
    """The names of the classes as the .json tell them; None unless they tell each class one name of its own."""
    names: dict[int, str] = {}
    for listing in listed:
        both = np.stack([listing.labels, listing.word])[:, (listing.labels >= 0) & (listing.word >= 0)]
        for label, word in np.unique(both, axis=1).T.tolist():
            if names.setdefault(label, listing.words[word]) != listing.words[word]:
                return None
    return [names[k] for k in range(count)] if len(names) == len(set(names.values())) == count else None


def _beside(path: Path) -> list[str] | None:
    """The class names in a file beside the shards or in the folder above; None without one."""
    folder = path if path.is_dir() else path.parent
    for file in (place / name for place in (folder, folder.parent) for name in CLASS_NAMES):
        if file.is_file():
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise DataError(f"{file}: the names of the classes must be text in UTF-8 ({error.reason})") from error
            names = [line.strip() for line in lines]
            while names and not names[-1]:
                names.pop()
            return names
    return None


def _seen(path: Path) -> str:
    """What a shard has instead of examples."""
    suffixes: dict[str, int] = {}
    keys: Mapping[str, Any] = {}
    with open(path, "rb", buffering=0) as file, contextlib.suppress(CutError):
        window = Window(file)
        for name, start, size in itertools.islice(members(window, 0, path.stat().st_size), LOOKED_AT):
            suffix = "." + name.rpartition("/")[2].partition(".")[2].lower()
            suffixes[suffix] = suffixes.get(suffix, 0) + 1
            if suffix == ".json" and not keys and size <= LARGEST:
                with contextlib.suppress(ValueError):
                    record = parse_json(window.read(start, size))
                    keys = record if isinstance(record, dict) else {}
    of_json = f", and its .json have {', '.join(map(shown, list(keys)[:8]))}" if keys else ""
    where = "labels are looked for in .cls and in label of .json; the name of an example ends at its first dot"
    return f"it has {in_words(suffixes) or 'nothing'}{of_json}; {where}"

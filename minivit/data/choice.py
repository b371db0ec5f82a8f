"""A choice of classes, such as the hundred of ImageNet-100."""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.data.dataset import Dataset
from minivit.data.imagenet import imagenet_classes, imagenet_ids, in_words, some
from minivit.errors import DataError, meant, shown
from minivit.files import parse_json

WNID = re.compile(r"n\d{8}")
LARGEST = 2**24  # bytes of a file
# Words for which common lists of the ImageNet classes have two meanings; our names tell them apart.
TWO_MEANINGS = {"crane bird": "crane", "maillot tank suit": "maillot", "cardigan": "cardigan"}


def read_choice(path: Path) -> list[str]:
    """The classes that a file names, each once: WordNet ids, words or numbers.

    One a line; empty lines and comments after # do not count. Of a line that begins with a WordNet id, such as
    "n01440764 tench" or "n01440764,tench", only the id is taken. Or JSON: {id: words}, {number: [id, words]}, or a
    list.
    Raises DataError for a file that cannot be read or names nothing.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)  # not all at once: a device has no end
        if len(content) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        text = content.decode("utf-8-sig")
        found = _of_json(parse_json(content)) if text.lstrip()[:1] in ("{", "[") else map(_of_line, text.splitlines())
        names = list(dict.fromkeys(name for name in found if name))
        if not names:
            raise ValueError("it names none")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a list of classes: {getattr(error, 'strerror', None) or error}") from error
    return names


def _of_line(line: str) -> str:
    line = re.sub(r"(^|\s)#.*", "", line).strip().strip("\"'")
    return line[:9] if re.match(r"n\d{8}(?![^\s,;:\"'])", line) else line


def _of_json(value: Any) -> list[str]:
    if isinstance(value, dict) and not all(map(WNID.fullmatch, value)):
        value = [each[0] if isinstance(each, list) and each else each for each in value.values()]
    names = list(value)
    if not all(isinstance(name, str | int) and not isinstance(name, bool) for name in names):
        raise ValueError("expected JSON of the form {WordNet id: words} or a list of names")
    return [str(name).strip() for name in names]


def chosen(wanted: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """The numbers, rising, of the wanted ones among `classes`.

    A class is wanted by its name, by its WordNet id or by its word (upper and lower case are the same), or by its
    number: of 0..999 of ImageNet if the classes are WordNet ids, however few.   where: the data, for messages. Raises
    DataError for a name that fits no class, or several.
    """
    exact = {name: number for number, name in enumerate(classes)}
    order = imagenet_ids() if all(map(WNID.fullmatch, classes)) else classes
    loose: dict[str, set[int]] = {}
    for number, name in enumerate(classes):
        for other in _other_names(name):
            loose.setdefault(other, set()).add(number)
    found = set()
    for name in wanted:
        if name not in exact and name.isdecimal() and int(name) < len(order):
            name = order[int(name)]
        fitting = {exact[name]} if name in exact else loose.get(name.lower(), set())
        if len(fitting) > 1:
            both = " and ".join(in_words(classes[number]) for number in sorted(fitting))
            raise DataError(f'{where}: "{shown(name)}" fits two classes, {both}: write which')
        if not fitting:
            real = any(name in names for names in _translations())  # so it is not misspelt
            near = "" if real else meant(name, exact) or meant(name.lower(), loose)
            near = near or f"; it has {len(classes)}: {some(classes)}"
            raise DataError(f'{where}: there is no class "{shown(in_words(name))}"{near}')
        found |= fitting
    return sorted(found)


def _other_names(name: str) -> set[str]:
    """The other names of a class, in lower case: the word of a WordNet id, the id of a word, "tench" for "tench, Tinca
    tinca"."""
    words, ids = _translations()
    first = name.partition(",")[0].strip()
    names = {first, words.get(name), ids.get(name), ids.get(first), TWO_MEANINGS.get((words.get(name) or name).lower())}
    return {each.lower() for each in (name, *names) if each}


@functools.cache
def _translations() -> tuple[dict[str, str], dict[str, str]]:
    """WordNet id -> word, and word -> WordNet id."""
    words = dict(zip(imagenet_ids(), imagenet_classes(), strict=True))
    return words, {word: wnid for wnid, word in words.items()}


def kept(data: Dataset, wanted: Sequence[str]) -> Dataset:
    """The images of the wanted classes, which are numbered anew, in their order (see `chosen`)."""
    numbers = chosen(wanted, data.classes, data.name)
    if len(numbers) == len(data.classes):
        return data
    return relabelled(data, {data.classes[k]: new for new, k in enumerate(numbers)}, [data.classes[k] for k in numbers])


def only(data: Dataset, wanted: Sequence[str]) -> Dataset:
    """The images of the wanted classes, with the labels that they have. Raises DataError if there are none."""
    rows = np.flatnonzero(np.isin(data.labels, chosen(wanted, data.classes, data.name)))
    if not len(rows):
        raise DataError(f"{data.name} has no images of the wanted classes")
    return data.subset(rows)


def relabelled(data: Dataset, numbers: Mapping[str, int], classes: Sequence[str]) -> Dataset:
    """The images whose class is in `numbers`, by its name, with these labels.   classes: the names of the labels.

    Raises DataError if there are none.
    """
    new = np.array([numbers.get(name, -1) for name in data.classes], np.int64)
    rows = np.flatnonzero(new[data.labels] >= 0)
    if not len(rows):
        raise DataError(f"{data.name} has no images of {some(classes)}")
    part = data.subset(rows)
    part.labels, part.classes = new[part.labels], list(classes)
    return part

"""Which of ImageNet's 1,000 classes a class is, whatever a data set or a model calls it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from minivit.data.imagenet import imagenet_classes, imagenet_ids

MOSTLY = 0.9  # the share of names that must agree in a list of 1,000
AMBIGUOUS = ("crane", "maillot")  # two classes each, which some lists tell apart by other words


def numbers_of(classes: Sequence[str]) -> list[int | None]:
    """For each class its number in ImageNet, 0 to 999, or None for another class.

    A class is known by its WordNet id, by its name in `imagenet_classes`, and by the first of several names ("tench,
    Tinca tinca"). A list of 1,000 names that mostly agrees, in order, stands for all 1,000: lists differ a little.
    """
    ids, words = imagenet_ids(), imagenet_classes()
    names = [_first(name) for name in classes]
    if len(names) == len(ids):
        alike = sum(name.lower() in (word.lower(), id) for name, word, id in zip(names, words, ids, strict=True))
        if alike >= MOSTLY * len(ids):
            return list(range(len(ids)))
    exact = _unique([*words]) | _unique(ids)
    lower = _unique(word.lower() for word in words)
    return [exact.get(name, lower.get(name.lower())) if name.lower() not in AMBIGUOUS else None for name in names]


def _first(name: str) -> str:
    return name.partition(",")[0].strip().replace("_", " ")


def _unique(names: Iterable[str]) -> dict[str, int]:
    """Name -> number, of the names that occur once."""
    names = list(names)
    times = Counter(names)
    return {name: number for number, name in enumerate(names) if times[name] == 1}

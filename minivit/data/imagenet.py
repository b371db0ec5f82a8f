"""The 1,000 classes of ImageNet-1k (ILSVRC 2012) in their standard order, which all published models use.

`imagenet1k.txt` lists their names as in torchvision, one a line, each different; `imagenet1k_ids.txt` lists their
WordNet ids (n01440764, ...), which name the folders of the data set. The order is that of the sorted ids.
"""

import functools
from collections.abc import Iterable
from importlib import resources


def imagenet_classes() -> list[str]:
    """The names: ["tench", "goldfish", ...]."""
    return _lines("imagenet1k.txt")


def imagenet_ids() -> list[str]:
    """The WordNet ids: ["n01440764", "n01443537", ...]."""
    return _lines("imagenet1k_ids.txt")


def in_words(name: str) -> str:
    """ "n03417042" as "garbage truck (n03417042)"; other names stay as they are."""
    word = _words().get(name)
    return f"{word} ({name})" if word else name


def some(classes: Iterable[str]) -> str:
    """The first three of these classes in words: "ant, bee, cat, ..."."""
    names = list(classes)
    return ", ".join([in_words(name) for name in names[:3]] + ["..."] * (len(names) > 3))


@functools.cache
def _words() -> dict[str, str]:
    return dict(zip(imagenet_ids(), imagenet_classes(), strict=True))


def _lines(name: str) -> list[str]:
    return resources.files("minivit.data").joinpath(name).read_text(encoding="utf-8").splitlines()

"""Captions, questions and answers about a drawn scene, in forty words.

They describe only the visible: the place of a shape is the middle of the box around its visible part.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from minivit.data.scenes_layout import COLOURS, KINDS, PLACES
from minivit.errors import DataError

NUMBERS = ("one", "two", "three", "four")
WORDS = (
    *("<pad>", "<start>", "<end>", "<unk>"),
    *(*KINDS, *COLOURS, *NUMBERS, "yes", "no"),
    *("a", "the", "is", "there", "what", "how", "many", "colour", "shapes"),
    *("of", "in", "top", "bottom", "left", "right", "above", "below", "and"),
    *("moves", "up", "down"),
)
NUMBER_OF = {word: number for number, word in enumerate(WORDS)}
PAD, START, END, UNKNOWN = range(4)
CAPTION, QUESTION = 20, 12  # words of the longest, with <start> and <end>, rounded up


def encode(text: str, length: int) -> np.ndarray:
    """The numbers in WORDS of <start>, the words of the text, <end>, and <pad> up to `length`: (length,) int64.

    An unknown word is <unk>; punctuation is dropped. Raises DataError if the text is too long.
    """
    numbers = [START, *(NUMBER_OF.get(word, UNKNOWN) for word in re.findall(r"<\w+>|\w+", text.lower())), END]
    if len(numbers) > length:
        raise DataError(f'"{text}" takes {len(numbers)} numbers with <start> and <end>, more than the length {length}')
    return np.array(numbers + [PAD] * (length - len(numbers)))


def decode(ids: Iterable[int]) -> str:
    """The words with these numbers (L,), up to <end>, without <start> and <pad>. Raises DataError for other numbers."""
    words = []
    for number in np.asarray(ids).tolist():
        if not 0 <= number < len(WORDS):
            raise DataError(f"{number} is not the number of a word, expected 0 to {len(WORDS) - 1}")
        if number == END:
            break
        if number not in (PAD, START):
            words.append(WORDS[number])
    return " ".join(words)


class Thing(NamedTuple):
    """A visible shape.   box: (x0, y0, x1, y1) around its visible part."""

    kind: str
    colour: str
    box: Sequence[int]

    def __str__(self) -> str:
        return f"{self.colour} {self.kind}"

    @property
    def middle(self) -> tuple[int, int]:
        """Twice the middle (x, y) of the box, a whole number."""
        x0, y0, x1, y1 = self.box
        return x0 + x1, y0 + y1


def place(thing: Thing, size: int) -> str:
    """The quarter of a picture of `size` pixels that it is in: "top left"."""
    x, y = thing.middle
    return f"{'top' if y < size else 'bottom'} {'left' if x < size else 'right'}"


def relation(a: Thing, b: Thing) -> str:
    """Where a is from b: "in" if a's box lies in b's, else the direction in which their middles differ most."""
    inside = all(low >= high for low, high in zip(a.box[:2], b.box[:2], strict=True))
    if inside and all(low <= high for low, high in zip(a.box[2:], b.box[2:], strict=True)):
        return "in"
    x, y = (a.middle[axis] - b.middle[axis] for axis in (0, 1))
    if abs(x) >= abs(y):
        return "left of" if x < 0 else "right of"
    return "above" if y < 0 else "below"


def caption(things: Sequence[Thing], size: int) -> str:
    """Describes the shapes two by two, each pair by its relation, and a remaining one by its place. If the second of a
    pair lies inside the first, it is described relative to the first."""
    parts = []
    for a, b in zip(things[::2], things[1::2], strict=False):
        a, b = (b, a) if relation(b, a) == "in" else (a, b)
        parts.append(f"a {a} {relation(a, b)} a {b}")
    if len(things) % 2:
        parts.append(f"a {things[-1]} in the {place(things[-1], size)}")
    return " and ".join(parts)


def about_one() -> np.ndarray:
    """The captions of all combinations of colour, kind and place of one shape: (80, 20), as from `encode`."""
    combinations = itertools.product(COLOURS, KINDS, PLACES)
    return np.array([encode(f"a {colour} {kind} in the {where}", CAPTION) for colour, kind, where in combinations])


def questions(things: Sequence[Thing]) -> list[list[list[tuple[str, str]]]]:
    """All questions about a scene, with their one-word answers: a list for each sort of question. Within it there is a
    list for each sort of answer, if one sort would otherwise be more frequent. None is empty."""
    kinds, colours = Counter(thing.kind for thing in things), Counter(thing.colour for thing in things)
    present = {(thing.colour, thing.kind) for thing in things}
    absent = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS if (colour, kind) not in present]
    counts = [(f"how many {colour} shapes", NUMBERS[number - 1]) for colour, number in colours.items()]
    sorts = [
        [[("how many shapes", NUMBERS[len(things) - 1])], counts],
        [[(f"what colour is the {thing.kind}", thing.colour) for thing in things if kinds[thing.kind] == 1]],
        [[(f"what is {thing.colour}", thing.kind) for thing in things if colours[thing.colour] == 1]],
        [[(f"is there a {thing}", "yes") for thing in things], [(f"is there a {name}", "no") for name in absent]],
        *_relations(things),
    ]
    return [some for sort in sorts if (some := [answers for answers in sort if answers])]


def _relations(things: Sequence[Thing]) -> list[list[list[tuple[str, str]]]]:
    """Questions where a shape is, to be answered with yes or no, and, if there are two, what is at a place."""
    pairs = [(a, relation(a, b), b) for a in things for b in things if a is not b]
    pairs = [pair for pair in pairs if pair[1] == "in" or relation(pair[2], pair[0]) != "in"]
    yes = [(f"is the {a} {where} the {b}", "yes") for a, where, b in pairs]
    no = [(f"is the {b} {where} the {a}", "no") for a, where, b in pairs]
    what = [(f"what is {where} the {b}", a.kind) for a, where, b in pairs] if len(things) == 2 else []
    return [[yes, no], [what]]


def ask(things: Sequence[Thing], rolls: Sequence[float]) -> tuple[str, str]:
    """A question and its answer, chosen by three numbers in 0..1: the sort of question, the sort of answer, and the
    question."""
    chosen: list = questions(things)
    for roll in rolls:
        chosen = chosen[int(roll * len(chosen))]
    question, answer = chosen
    return question, answer

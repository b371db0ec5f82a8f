"""Assignments by name, and the options shared by all commands."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minivit import cli
from minivit.course.assignment import ROOT, Assignment, CourseError, assignments
from minivit.course.classroom.gathering import Wanted, defined
from minivit.errors import meant, shown

__all__ = ["known_in", "named", "parser", "variant_of", "wanted"]


def parser(command: str, usage: str, **named: Any) -> cli.Parser:
    """The parser of a command, with the shared option."""
    made = cli.Parser(f"course {command}", usage, **named)
    made.add_argument(
        "--assignments",
        type=cli.path,
        default=ROOT,
        metavar="DIR",
        help="the folder of the assignments (default: notebooks/assignments of the clone)",
    )
    return made


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-").rstrip("/\\")


def known_in(root: Path) -> dict[str, Assignment]:
    """The assignments of a folder. Raises CourseError if there are none."""
    if found := assignments(root):
        return found
    raise CourseError(f"there are no assignments in {root}: run this in a clone of minivit, or give --assignments DIR")


def named(text: str, root: Path) -> list[Assignment]:
    """The assignment of this name: "a3", "a3_attention", a folder; for a name with variants, "a7", all of them.

    Raises CourseError, with the nearest name, if there is none.
    """
    folder = Path(text).expanduser()
    if (folder / "assignment.toml").is_file():
        return [Assignment(folder.resolve())]
    known = known_in(root)
    word = _key(text)
    for fits in (
        lambda one: word in (_key(one.id), _key(one.folder.name)),
        lambda one: _key(one.id).startswith(f"{word}-"),
        lambda one: len(word) > 1 and _key(one.folder.name).startswith(word),
    ):
        if found := [one for one in known.values() if fits(one)]:
            return found if len({one.id.partition("-")[0] for one in found}) == 1 else _several(text, found)
    if folder.is_dir():
        raise CourseError(f"{text} is not an assignment: it has no assignment.toml")
    names = dict.fromkeys([one.id for one in known.values()] + [one.id.partition("-")[0] for one in known.values()])
    near = meant(word, [*names, *known], 0.5) or f"; there are {', '.join(names)}"
    raise CourseError(f'there is no assignment "{shown(text)}"{near}')


def _several(text: str, found: Iterable[Assignment]) -> list[Assignment]:
    raise CourseError(f'"{shown(text)}" may be any of {", ".join(one.id for one in found)}')


def wanted(variants: Iterable[Assignment], base: str) -> Wanted:
    """The files that any of these accept."""
    patterns, adapters, words = {}, set(), set()
    for one in variants:
        patterns.update(dict.fromkeys(one.about.get("submit", ["*.py", "answers.md"])))
        adapters |= {name for question in one.questions.values() for name in question.adapters}
        words |= {one.id.lower(), one.folder.name.lower(), one.id.lower().partition("-")[0]}
    return Wanted(list(patterns), adapters, words, base == "own")


def variant_of(source: bytes, variants: dict[str, Assignment]) -> tuple[str, str]:
    """The variant to which an adapters.py belongs, by the functions that it defines; and a remark, or ""."""
    names = defined(source)
    scores = {
        name: len(names & {adapter for question in one.questions.values() for adapter in question.adapters})
        for name, one in variants.items()
    }
    best = [name for name, score in scores.items() if score == max(scores.values())]
    if len(best) == 1:
        return best[0], ""
    choices = ", ".join(best)
    return best[0], f"It is not clear which of {choices} this is, by the functions in it: graded as {best[0]}."

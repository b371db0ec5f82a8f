"""Finds the owner of a submission from the names that learning systems give to collected files.

Moodle       First Last_123456_assignsubmission_file_/...   or the same before the name of a file
Canvas       lastfirst_12345_678901_submission-a3.zip       also ..._LATE_..., and -1, -2 for further attempts
Blackboard   A3_user_attempt_2026-10-01-12-00-00_file.zip
Gradescope   submission_12345678/...                        with submission_metadata.yml beside
plain        alice.py, alice_adapters.py, alice.zip, alice/...
"""

import os.path
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["ARCHIVES", "Sent", "file_names", "metadata", "sent", "users_of_blackboard"]

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar", ".rar", ".7z", ".gz", ".xz", ".bz2")
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_(?P<rest>.*))?", re.S)
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:(?P<late>LATE)_)?(?P<id>\d+)_(?P<number>\d+)_(?P<rest>.+)", re.S)
BLACKBOARD = re.compile(r"(?P<user>.+)_attempt_(?P<date>\d{4}(?:-\d\d){5})(?:_(?P<rest>.+))?", re.S)
GRADESCOPE = re.compile(r"submission_(\d+)")
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}  # of Windows


@dataclass(frozen=True)
class Sent:
    """The information in the name of a file or folder.   rest: the student's own name for it.   order: of attempts."""

    student: str
    id: str = ""
    rest: str = ""
    order: tuple[str, int, int] = ("", 0, 0)
    late: bool = False
    aside: bool = False  # a text that the system adds to a submission; nothing to grade if there is more


def split(name: str) -> tuple[str, str]:
    """A name without its ending, and the ending; "tar.gz" is one ending."""
    double = next((end for end in (".tar.gz", ".tar.xz", ".tar.bz2") if name.lower().endswith(end)), None)
    return (name[: -len(double)], name[-len(double) :]) if double else os.path.splitext(name)


def sent(name: str, loose: bool, blackboard: Mapping[str, str]) -> Sent:
    """The owner of the file (loose) or folder `name`.   blackboard: the result of `users_of_blackboard` for the
    class."""
    name = unicodedata.normalize("NFC", name)
    if match := MOODLE.fullmatch(name):
        kind = match["kind"]
        return Sent(_tidy(match["name"]), match["id"], match["rest"] or "", aside=kind != "file")
    bare = name[:-4] if loose and re.search(r"(-\d\d){5}\.txt$", name) else name  # Blackboard's note on an attempt
    if match := BLACKBOARD.fullmatch(bare):
        user, rest = match["user"], match["rest"] or ""
        return Sent(blackboard.get(user, user), "", rest, (match["date"], 0, 0), aside=loose and not rest)
    if loose and (match := CANVAS.fullmatch(name)):
        stem, ending = split(match["rest"])
        again = re.fullmatch(r"(.+)-(\d+)", stem, re.S)  # no module that can be imported ends so
        rest, attempt = (again[1], int(again[2])) if again else (stem, 0)
        order = ("", attempt, int(match["number"]))
        return Sent(_tidy(match["name"]), match["id"], rest + ending, order, bool(match["late"]))
    if not loose:
        return Sent(_tidy(name), rest=name)
    stem, ending = split(name)
    if ending.lower() == ".py":
        return Sent(_tidy(re.sub(r"[_\- ]adapters$", "", stem, flags=re.I) or stem), rest="adapters.py")
    return Sent(_tidy(stem), rest=name)


def _tidy(name: str) -> str:
    """A name in one line, without space around it."""
    shown = "".join(c if c.isprintable() or c.isspace() else ascii(c)[1:-1] for c in name)
    return " ".join(shown.split()) or "nameless"


def users_of_blackboard(names: Iterable[str]) -> dict[str, str]:
    """The text before _attempt_ in the names of a class -> the user, which is the part that differs between them."""
    before = sorted(
        {unicodedata.normalize("NFC", name).rpartition("_attempt_")[0] for name in names if BLACKBOARD.match(name)}
    )
    if len(before) < 2:
        return {text: text.rpartition("_")[2] for text in before}
    alike = next((i for i, (a, b) in enumerate(zip(before[0], before[-1], strict=False)) if a != b), len(before[0]))
    shared = before[0][:alike].rfind("_") + 1
    return {text: _tidy(text[shared:]) for text in before}


def metadata(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """Gradescope's submission_metadata.yml: folder -> (name, id, time) of each author."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for block in re.split(r"^(?=submission_\d+:)", text, flags=re.M):
        folder = block.partition(":")[0]
        people: list[dict[str, str]] = []
        time = ""
        for line in re.finditer(r"^\s+(- )?:(name|sid|email|created_at):[ \t]*(.*)$", block, flags=re.M):
            first, field, value = line[1], line[2], line[3].strip().strip("'\"")
            if field == "created_at":
                time = time or value
            elif first:
                people.append({field: value})
            elif people:
                people[-1].setdefault(field, value)
        if GRADESCOPE.fullmatch(folder):
            found[folder] = [(one.get("name", ""), one.get("sid") or one.get("email", ""), time) for one in people]
    return found


def file_names(people: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(student, id) -> the name of their files, valid on every file system, and distinct even if case is ignored."""
    plain = {person: _file_name(person[0]) for person in sorted(set(people))}
    times = Counter(name.casefold() for name in plain.values())
    taken = {name for name, count in times.items() if count == 1}
    named = {}
    for person, name in plain.items():
        if times[name.casefold()] > 1:
            with_id = f"{name}_{_file_name(person[1])}" if person[1] else name
            name = next(
                one for one in (with_id, *(f"{name}~{i}" for i in range(2, 10_000))) if one.casefold() not in taken
            )
            taken.add(name.casefold())
        named[person] = name
    return named


def _file_name(name: str) -> str:
    """What of a name is fit for a file."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", unicodedata.normalize("NFC", name)).strip(". ")[:80].rstrip(". ")
    return f"{name}_" if name.casefold().partition(".")[0] in RESERVED or not name else name

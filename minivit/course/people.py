"""Whose a submission is: what the names say that learning systems give to what they collect.

Moodle       First Last_123456_assignsubmission_file_/...       or the same before the name of a file
Canvas       lastfirst_12345_678901_submission-a3.zip           also ..._LATE_..., and -1, -2 before the ending for a next attempt
Blackboard   A3_user_attempt_2026-10-01-12-00-00_file.zip
Gradescope   submission_12345678/...                            with submission_metadata.yml beside
plain        alice.py, alice_adapters.py, alice.zip, alice/...
"""

import os.path
import re
import unicodedata
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
    """What the name of a file or folder says.   rest: the name that the student gave it.   order: of attempts."""

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
    """Whose the file (loose) or folder `name` is.   blackboard: what `users_of_blackboard` found for the whole class."""
    name = unicodedata.normalize("NFC", name)
    if match := MOODLE.fullmatch(name):
        kind = match["kind"]
        return Sent(_tidy(match["name"]), match["id"], match["rest"] or "", aside=kind != "file")
    if match := BLACKBOARD.fullmatch(split(name)[0] if loose and not name.count("_attempt_") else name):
        rest = match["rest"] or ""
        return Sent(
            blackboard.get(match["user"], match["user"]), "", rest, (match["date"], 0, 0), aside=loose and not rest
        )
    if loose and (
        match := re.fullmatch(r"(.+_attempt_\d{4}(?:-\d\d){5})\.txt", name)
    ):  # Blackboard's note on an attempt
        user = match[1].rpartition("_attempt_")[0]
        return Sent(blackboard.get(user, user), "", "", (match[1][-19:], 0, 0), aside=True)
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
    return " ".join("".join(c if c.isprintable() else " " for c in name).split()) or "nameless"


def users_of_blackboard(names: Iterable[str]) -> dict[str, str]:
    """What stands before _attempt_ in the names of a class ("A3_alice") -> the user, which is what they do not share."""
    before = sorted(
        {unicodedata.normalize("NFC", name).rpartition("_attempt_")[0] for name in names if BLACKBOARD.match(name)}
    )
    if len(before) < 2:
        return {text: text.rpartition("_")[2] for text in before}
    shared = os.path.commonprefix(before).rpartition("_")
    return {text: _tidy(text[len(shared[0] + shared[1]) :]) for text in before}


def metadata(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """Gradescope's submission_metadata.yml: folder -> (name, id, time) of each who handed it in. Reads what it knows."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    folder, people, time = "", [], ""

    def done() -> None:
        if folder:
            found[folder] = [
                (person.get("name", ""), person.get("sid") or person.get("email", ""), time) for person in people
            ]

    for line in text.splitlines():
        if match := re.match(r"(submission_\d+):", line):
            done()
            folder, people, time = match[1], [], ""
        elif match := re.match(r"\s+(- )?:(name|sid|email|created_at):\s*(.*)", line):
            value = match[3].strip().strip("'\"")
            if match[2] == "created_at":
                time = time or value
            elif match[1]:
                people.append({match[2]: value})
            elif people:
                people[-1].setdefault(match[2], value)
    done()
    return found


def file_names(people: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(student, id) -> the name of their files, fit for every file system, and no two alike whatever the case."""
    plain = {person: _file_name(person[0]) for person in sorted(set(people))}
    many = [name.casefold() for name in plain.values()]
    named: dict[tuple[str, str], str] = {}
    for (student, number), name in plain.items():
        if many.count(name.casefold()) > 1 and number:
            name = f"{name}_{_file_name(number)}"
        taken = {other.casefold() for other in named.values()} | (
            {n.casefold() for n in plain.values()} - {plain[student, number].casefold()}
        )
        tries = (name if i == 1 else f"{name}~{i}" for i in range(1, len(plain) + 2))
        named[student, number] = next(one for one in tries if one.casefold() not in taken)
    return named


def _file_name(name: str) -> str:
    """What of a name is fit for a file."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", unicodedata.normalize("NFC", name)).strip(". ")[:80].rstrip(". ")
    return f"{name}_" if name.casefold().partition(".")[0] in RESERVED or not name else name

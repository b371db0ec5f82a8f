"""The submissions of a class: a folder or a zip of folders, zips and single files, named as in learning systems.

A fault in one of them becomes one of its remarks, and never stops the rest.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minivit.course.assignment import CourseError
from minivit.course.classroom import people
from minivit.course.classroom.gathering import METADATA, STAFFS, Wanted, defined, gather
from minivit.course.classroom.people import Sent, sent
from minivit.course.classroom.unpacking import Entry, Unreadable, in_folder, in_zip, on_disk
from minivit.files import is_special

__all__ = ["Submission", "collect"]


@dataclass(frozen=True)
class Submission:
    """One student's submission.   name: of its result files.   files: for the grader.   remarks: sentences for the
    student."""

    student: str
    id: str
    name: str
    files: dict[str, bytes]
    remarks: tuple[str, ...]

    @property
    def key(self) -> str:
        """The seed of the student's own cases."""
        return f"{self.student} {self.id}".strip()


@dataclass(frozen=True)
class _Attempt:
    about: Sent
    entries: list[Entry]
    called: str

    @property
    def order(self) -> tuple:
        return (*self.about.order, max((entry.time for entry in self.entries), default=""), self.called)


def collect(source: Path, wanted: Wanted) -> tuple[list[Submission], list[str]]:
    """The submissions by student, and the names of ignored files. Raises CourseError if there are none."""
    entries = _all(source, wanted)
    named, aside = _attempts(source, entries, wanted)
    by_student: dict[tuple[str, str], list[_Attempt]] = {}
    for attempt in named:
        by_student.setdefault((attempt.about.student, attempt.about.id), []).append(attempt)
    if not by_student:
        raise CourseError(f"{source} holds no submissions: folders, .zip or .py files, one a student")
    names = people.file_names(by_student)
    found = []
    for (student, number), attempts in sorted(by_student.items(), key=lambda one: (one[0][0].casefold(), one[0])):
        real = [attempt for attempt in attempts if not attempt.about.aside] or attempts
        last = max(real, key=lambda attempt: attempt.order)
        files, remarks = gather(last.entries, wanted)
        if len(real) > 1:
            others = ", ".join(sorted(attempt.called for attempt in real if attempt is not last))
            remarks.insert(0, f"There are {len(real)} submissions: the last, {last.called}, counts, not {others}.")
        if last.about.late:
            remarks.insert(0, "It is marked as late.")
        found.append(Submission(student, number, names[student, number], files, tuple(dict.fromkeys(remarks))))
    return found, aside


def _all(source: Path, wanted: Wanted) -> list[Entry]:
    """All files of the class, without the folder into which all are packed."""
    if not source.exists():
        raise CourseError(f"there is no {source}: give the folder or zip of the submissions")
    if is_special(source):
        raise CourseError(f"{source} is a pipe or a device, not a folder of submissions")
    try:
        if source.is_dir():
            entries = list(in_folder(source))
        elif source.suffix.lower() == ".zip":
            entries = in_zip(source, source.name)
        else:
            entries = [on_disk(source, source.name)]
    except Unreadable as error:
        raise CourseError(str(error)) from None
    tops = {entry.path.partition("/")[0] for entry in entries}
    if len(tops) > 1 or not all("/" in entry.path for entry in entries):
        return entries
    (top,) = tops or {""}
    inside = [_seen_from(entry, top) for entry in entries]
    if _adapters_at_top(inside):
        return entries
    several = len({entry.path.partition("/")[0] for entry in inside if _sends(entry, wanted)}) > 1
    return inside if several or (source.is_file() and top == source.stem) else entries


def _seen_from(entry: Entry, folder: str) -> Entry:
    """The same as seen from a folder below."""
    return Entry(entry.path[len(folder) + 1 :], entry.size, entry.time, entry.content, entry.fault)


def _sends(entry: Entry, wanted: Wanted) -> bool:
    """Whether this may be what makes a submission of the file or folder at the top of its path."""
    top, _, rest = entry.path.partition("/")
    if top in STAFFS or top.lower() in wanted.words:
        return False
    if rest or not entry.name.lower().endswith(".py"):
        return entry.name.lower() == "adapters.py" or entry.name.lower().endswith(".zip")
    try:
        return bool(defined(entry.read()) & set(wanted.adapters))
    except Unreadable:
        return False


def _adapters_at_top(entries: Iterable[Entry]) -> bool:
    return any(entry.path.lower() == "adapters.py" for entry in entries)


def _attempts(source: Path, entries: list[Entry], wanted: Wanted) -> tuple[list[_Attempt], list[str]]:
    """What was sent, each by somebody at some time; and the names of what nobody sent."""
    if _adapters_at_top(entries):  # one submission, unpacked
        zipped = source.is_file() and source.suffix.lower() == ".zip"
        folder = source.resolve() if source.is_dir() else source.resolve().parent
        name = source.stem if zipped else folder.name
        return [_Attempt(Sent(name), entries, source.name)], []
    units: dict[tuple[str, bool], list[Entry]] = {}
    for entry in entries:
        top, _, rest = entry.path.partition("/")
        units.setdefault((top, not rest), []).append(entry if not rest else _seen_from(entry, top))
    blackboard = people.users_of_blackboard(top for top, _ in units)
    authors = _authors(units)
    attempts: dict[tuple, _Attempt] = {}
    aside = []
    for (top, loose), inside in sorted(units.items(), key=lambda unit: unit[0]):
        if loose and top == METADATA:
            continue
        about = sent(top, loose, blackboard)
        known = about.id or about.order[0] or about.aside  # to a learning system
        ending = people.split(top)[1].lower()
        if loose and not known and ending not in (*people.ARCHIVES, ".py", ".ipynb"):
            aside.append(top)
            continue
        for one in authors.get(top, [about]) if not loose else [about]:
            own = not loose or ending in people.ARCHIVES
            key = (one.student, one.id, top if own else one.order[0], about.aside)
            if loose:
                inside = [_renamed(inside[0], about.rest or top)]
            if key in attempts:
                attempts[key].entries.extend(inside)
            else:
                attempts[key] = _Attempt(one, list(inside), unicodedata.normalize("NFC", top))
    return list(attempts.values()), aside


def _renamed(entry: Entry, name: str) -> Entry:
    return Entry(name.replace("/", "_"), entry.size, entry.time, entry.content, entry.fault)


def _authors(units: dict[tuple[str, bool], list[Entry]]) -> dict[str, list[Sent]]:
    """Who handed in the folders of Gradescope's export, by its file of metadata; several for a group."""
    found: dict[str, list[Sent]] = {}
    for (top, loose), entries in units.items():
        for entry in entries:
            if entry.path == METADATA and (loose or people.GRADESCOPE.fullmatch(top)):
                try:
                    told = people.metadata(entry.read().decode("utf-8", "replace"))
                except Unreadable:
                    continue
                for folder, persons in told.items():
                    found[folder] = [Sent(_nfc(n or i), i, order=(t, 0, 0)) for n, i, t in persons if n or i]
    return {folder: persons for folder, persons in found.items() if persons}


def _nfc(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())

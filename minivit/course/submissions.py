"""What a class has sent: a folder or a zip of folders, zips and single files, named as learning systems name them, one `Submission` a student.

Whatever is wrong with one of them becomes a sentence of its remarks, and never an error of all.
"""

import ast
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from minivit.course import people
from minivit.course.assignment import CourseError
from minivit.course.people import Sent, sent
from minivit.course.unpacking import MOST_OF_ZIP, Entry, Unreadable, in_folder, in_zip
from minivit.files import is_special

__all__ = ["Submission", "Wanted", "collect", "defined"]

STAFFS = {"check.py", "given.py", "test_visible.py", "_course", "given", "earlier"}  # the grader takes its own
METADATA = "submission_metadata.yml"
MOST_FILES = 200
MOST_IN_ALL = 20 << 20


@dataclass(frozen=True)
class Submission:
    """One student's.   name: of the files about it.   files: what the grader gets.   remarks: sentences for the student."""

    student: str
    id: str
    name: str
    files: dict[str, bytes]
    remarks: tuple[str, ...]

    @property
    def key(self) -> str:
        """What the student's own cases are drawn from."""
        return f"{self.student} {self.id}".strip()


@dataclass(frozen=True)
class Wanted:
    """What may be submitted.   patterns: of files.   adapters: names of functions.   words: of the assignment, "a3", "a3_attention"."""

    patterns: Sequence[str]
    adapters: Collection[str]
    words: Collection[str]
    earlier: bool = False  # earlier/a2/adapters.py and so on, too


@dataclass(frozen=True)
class _Attempt:
    about: Sent
    entries: list[Entry]
    called: str

    @property
    def order(self) -> tuple:
        return (*self.about.order, max((entry.time for entry in self.entries), default=""), self.called)


def collect(source: Path, wanted: Wanted) -> tuple[list[Submission], list[str]]:
    """The submissions in the order of their students, and the names of what was left aside. Raises CourseError if there are none."""
    entries = _all(source, wanted)
    named, aside = _attempts(source, entries, wanted)
    by_student: dict[tuple[str, str], list[_Attempt]] = {}
    for attempt in named:
        by_student.setdefault((attempt.about.student, attempt.about.id), []).append(attempt)
    if not by_student:
        raise CourseError(f"{source} holds no submissions: folders, .zip or .py files, one a student")
    names = people.file_names(by_student)
    found = []
    for (student, number), attempts in sorted(by_student.items()):
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
    """All files of the class."""
    if not source.exists():
        raise CourseError(f"there is no {source}: give the folder or zip of the submissions")
    if is_special(source):
        raise CourseError(f"{source} is a pipe or a device, not a folder of submissions")
    if source.is_dir():
        return list(in_folder(source))
    if source.suffix.lower() != ".zip":
        return [entry for entry in in_folder(source.parent) if entry.path == source.name]
    try:
        entries = in_zip(source, source.name)
    except Unreadable as error:
        raise CourseError(str(error)) from None
    tops = {entry.path.partition("/")[0] for entry in entries}
    if len(tops) == 1 and all("/" in entry.path for entry in entries):  # a folder of submissions was packed as a folder
        (top,) = tops
        inside = [_seen_from(entry, top) for entry in entries]
        starts = {entry.path.partition("/")[0] for entry in inside if _sends(entry, wanted)}
        if top == source.stem or len(starts) > 1:
            return inside if not _adapters_at_top(inside) else entries
    return entries


def _seen_from(entry: Entry, folder: str) -> Entry:
    """The same as seen from a folder below."""
    return Entry(entry.path[len(folder) + 1 :], entry.size, entry.time, entry.content, entry.fault)


def _sends(entry: Entry, wanted: Wanted) -> bool:
    top = entry.path.partition("/")[0]
    return entry.name.lower().endswith((".zip", ".py")) and top not in STAFFS and top.lower() not in wanted.words


def _adapters_at_top(entries: Iterable[Entry]) -> bool:
    return any(entry.path.lower() == "adapters.py" for entry in entries)


def _attempts(source: Path, entries: list[Entry], wanted: Wanted) -> tuple[list[_Attempt], list[str]]:
    """What was sent, each by somebody at some time; and the names of what nobody sent."""
    if _adapters_at_top(entries):  # one submission, unpacked
        name = people.split(source.name)[0] if source.is_file() else source.resolve().name
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


# one submission


def gather(entries: list[Entry], wanted: Wanted) -> tuple[dict[str, bytes], list[str]]:
    """The files of one submission that may be submitted, from where its adapters.py lies, and what there is to say."""
    remarks: list[str] = []
    entries = [entry for entry in entries if entry.name != METADATA]
    if not any(_is_adapters(entry.path) for entry in entries):
        entries = _unzipped(entries, remarks)
    remarks += [
        f"{entry.fault[:1].upper()}{entry.fault[1:]}: ignored." for entry in entries if " leads out of " in entry.fault
    ]
    entries = [entry for entry in entries if " leads out of " not in entry.fault]
    entry = _chosen(entries, wanted, remarks)
    if entry is None:
        remarks.append(_nothing(entries))
        return {}, remarks
    files: dict[str, bytes] = {}
    for other in sorted(entries, key=lambda one: (one.time, one.path)):  # of two of one name, the later
        name = "adapters.py" if other is entry else _name_of(other, entry.folder, wanted)
        if name is None or (name == "adapters.py" and other is not entry):
            continue
        try:
            data = other.read()
        except Unreadable as error:
            remarks.append(f"{str(error)[:1].upper()}{str(error)[1:]}: not taken.")
            continue
        if len(files) >= MOST_FILES or sum(map(len, files.values())) + len(data) > MOST_IN_ALL:
            remarks.append(f"More than {MOST_FILES} files or {MOST_IN_ALL >> 20} MiB: {other.path} is not taken.")
            continue
        files[name] = _readable(data, other.path, remarks) if name.endswith((".py", ".md")) else data
    return dict(sorted(files.items())), remarks


def _unzipped(entries: list[Entry], remarks: list[str], depth: int = 0) -> list[Entry]:
    """The same, with the files of the last zip among them that has an adapters.py or, without one, of all."""
    zips = [entry for entry in entries if entry.name.lower().endswith(".zip") and not entry.fault]
    opened: list[tuple[Entry, list[Entry]]] = []
    for entry in sorted(zips, key=lambda one: (one.time, one.path)):
        try:
            inside = in_zip(entry.read(MOST_OF_ZIP), entry.path)
        except Unreadable as error:
            remarks.append(f"{str(error)[:1].upper()}{str(error)[1:]}.")
            continue
        if not inside:
            remarks.append(f"{entry.path} is an empty zip file.")
        if depth < 2 and not any(_is_adapters(one.path) for one in inside):
            inside = _unzipped(inside, remarks, depth + 1)
        opened.append((entry, inside))
    good = [pair for pair in opened if any(_is_adapters(one.path) for one in pair[1])]
    if len(good) > 1:
        remarks.append(f"There are several zip files: {good[-1][0].path} counts.")
    rest = [entry for entry in entries if entry not in zips]
    return rest + [one for _, inside in (good[-1:] or opened) for one in inside]


def _is_adapters(path: str) -> bool:
    """Whether this is an adapters.py, perhaps with a name that a system has changed: Adapters.py, adapters.py.txt, adapters (1).py."""
    *folders, name = path.lower().split("/")
    stem = name.removesuffix(".txt").removesuffix(".py")
    plain = stem.rstrip("0123456789()- ") if stem[-1:] in "0123456789)" else stem
    return name.endswith((".py", ".py.txt")) and plain == "adapters" and not STAFFS & set(folders)


def _chosen(entries: list[Entry], wanted: Wanted, remarks: list[str]) -> Entry | None:
    """The adapters.py that counts: the shallowest."""

    def rank(entry: Entry) -> tuple:
        ours = any(part.lower() in wanted.words for part in entry.path.split("/"))
        return (
            entry.path.count("/"),
            not ours,
            entry.name != "adapters.py",
            entry.name.lower() != "adapters.py",
            entry.path,
        )

    found = sorted((entry for entry in entries if _is_adapters(entry.path)), key=rank)
    if found:
        entry = found[0]
        if entry.fault:
            remarks.append(f"{entry.fault[:1].upper()}{entry.fault[1:]}.")
            return None
        same = [one for one in found[1:] if one.path != entry.path]
        if same:
            more = "" if len(same) < 4 else f" and {len(same) - 3} more"
            remarks.append(f"{entry.path} counts, not {', '.join(one.path for one in same[:3])}{more}.")
        elif len(found) > 1:
            entry = max(found, key=lambda one: one.time)
            remarks.append(f"There are {len(found)} files {entry.path}: the later counts.")
        if entry.name != "adapters.py":
            remarks.append(f"{entry.path} is taken as adapters.py.")
        return entry
    scripts = [
        one
        for one in entries
        if one.name.lower().endswith(".py") and not one.fault and not STAFFS & set(one.path.split("/"))
    ]
    if len(scripts) == 1:
        try:
            if defined(scripts[0].read()) & set(wanted.adapters):
                remarks.append(f"{scripts[0].path} is taken as adapters.py.")
                return scripts[0]
        except Unreadable:
            pass
    return None


def _name_of(entry: Entry, base: str, wanted: Wanted) -> str | None:
    """The name under which the grader gets a file, None for one that it does not get."""
    if base and not entry.path.startswith(f"{base}/"):
        return None
    name = entry.path[len(base) + 1 :] if base else entry.path
    stem, dot, ending = name.rpartition(".")
    name = f"{stem}.{ending.lower()}" if dot else name
    parts = name.split("/")
    if wanted.earlier and parts[0] == "earlier" and name.endswith(".py"):
        return name
    if STAFFS & set(parts):
        return None
    for pattern in wanted.patterns:
        if name.lower() == pattern.lower():
            return pattern
        if len(PurePosixPath(pattern).parts) == len(parts) and PurePosixPath(name).match(pattern):
            return name
    return None


def _readable(data: bytes, path: str, remarks: list[str]) -> bytes:
    """A text in UTF-8 without a mark, if it is another one that can be told."""
    coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else None
    if coding is None and len(data) > 3 and data.count(b"\0") > len(data) // 3:
        coding = "utf-16-le" if data[1] == 0 else "utf-16-be"
    if coding is None:
        return data.removeprefix(b"\xef\xbb\xbf")
    remarks.append(f"{path} is in UTF-16; save it as UTF-8.")
    return data.decode(coding, "replace").encode("utf-8")


def _nothing(entries: list[Entry]) -> str:
    """Why there is nothing to grade."""
    files = [entry for entry in entries if not entry.fault]
    notebooks = [entry.path for entry in files if entry.name.lower().endswith(".ipynb")]
    if notebooks:
        return f"There is a notebook, {notebooks[0]}, but no adapters.py: put the functions into a file adapters.py."
    packed = [
        entry.path
        for entry in files
        if entry.name.lower().endswith(people.ARCHIVES) and not entry.name.lower().endswith(".zip")
    ]
    if packed:
        return f"{packed[0]} cannot be opened here: hand in a .zip, as `python check.py pack` makes it."
    seen = ", ".join(entry.path for entry in files[:3])
    return f"There is no adapters.py{f', only {seen}' + (' and others' if len(files) > 3 else '') if seen else ': nothing was handed in'}."


def defined(source: bytes) -> set[str]:
    """The names that a Python source defines at its top, as functions, values or imports; none if it cannot be parsed."""
    try:
        tree = ast.parse(source.removeprefix(b"\xef\xbb\xbf"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names

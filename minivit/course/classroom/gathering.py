"""Selects the files of a submission for the grader, and remarks on the others."""

import ast
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from minivit.course.classroom import people
from minivit.course.classroom.unpacking import MOST_OF_ZIP, OUTSIDE, Entry, Unreadable, in_zip
from minivit.course.student.packing import imported, parsed
from minivit.errors import shown

__all__ = ["METADATA", "STAFFS", "Wanted", "defined", "gather"]

STAFFS = {"check.py", "given.py", "test_visible.py", "_course", "given", "earlier"}  # the grader takes its own
METADATA = "submission_metadata.yml"  # of Gradescope
MOST_FILES = 200
MOST_IN_ALL = 20 << 20
MOST_ZIPS = 5  # in a folder or zip without an adapters.py: the last ones are opened
MOST_SOURCE = 256 << 10  # bytes of a source that is parsed for what it defines
MOST_REMARKS = 30


@dataclass(frozen=True)
class Wanted:
    """The accepted files.   patterns: of files.   adapters: names of functions.   words: of the assignment, "a3"."""

    patterns: Sequence[str]
    adapters: Collection[str]
    words: Collection[str]
    earlier: bool = False  # earlier/a2/adapters.py and so on, too


def gather(entries: list[Entry], wanted: Wanted) -> tuple[dict[str, bytes], list[str]]:
    """The accepted files of one submission, from the folder of its adapters.py, and remarks."""
    remarks: list[str] = []
    entries = [entry for entry in entries if entry.name != METADATA]
    if not any(_is_adapters(entry.path) for entry in entries):
        entries = _unzipped(entries, remarks)
    remarks += [f"{entry.path} {OUTSIDE}: ignored." for entry in entries if entry.fault == OUTSIDE]
    entries = [entry for entry in entries if entry.fault != OUTSIDE]
    entry = _chosen(entries, wanted, remarks)
    if entry is None:
        remarks.append(_nothing(entries))
        return {}, _few(remarks)
    files: dict[str, bytes] = {}
    size = 0
    folders = _folders(entries, entry, wanted)
    named = [(_name_of(one, entry.folder, wanted, folders), one) for one in entries if one is not entry]
    others = [(name, one) for name, one in named if name not in (None, "adapters.py")]
    others.sort(key=lambda pair: (pair[1].time, pair[1].path))  # of two of one name, the later
    for name, other in [("adapters.py", entry), *others]:
        if _unfit(name):
            remarks.append(f"{other.path} has a name that cannot be used: not taken.")
            continue
        if len(files) >= MOST_FILES or size > MOST_IN_ALL:
            remarks.append(
                f"More than {MOST_FILES} files or {MOST_IN_ALL >> 20} MiB: {other.path} and later are not taken."
            )
            break
        try:
            data = other.read()
        except Unreadable as error:
            remarks.append(f"{error}: not taken.")
            continue
        size += len(data)
        files[name] = _readable(data, other.path, remarks) if name.endswith((".py", ".md")) else data
    return dict(sorted(files.items())), _few(remarks)


def _few(remarks: list[str]) -> list[str]:
    """Remarks of one line each, not thousands of them."""
    lines = [shown(remark, 500) for remark in dict.fromkeys(remarks)]
    return lines if len(lines) <= MOST_REMARKS else [*lines[:MOST_REMARKS], f"And {len(lines) - MOST_REMARKS} more."]


def _unfit(name: str) -> bool:
    """Whether no file should have such a name: too long, or with signs that are none."""
    return any(len(part.encode("utf-8", "replace")) > 200 for part in name.split("/")) or not name.isprintable()


def _unzipped(entries: list[Entry], remarks: list[str], depth: int = 0) -> list[Entry]:
    """The same, with the files of the last zip among them that has an adapters.py or, without one, of all."""
    zips = [entry for entry in entries if entry.name.lower().endswith(".zip") and not entry.fault]
    opened: list[tuple[Entry, list[Entry]]] = []
    for entry in sorted(zips, key=lambda one: (one.time, one.path))[-MOST_ZIPS:]:
        try:
            inside = in_zip(entry.read(MOST_OF_ZIP), entry.path)
        except Unreadable as error:
            remarks.append(f"{error}.")
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
    """Whether this is an adapters.py, or what systems make of one: Adapters.py, adapters.py.txt, adapters (1).py."""
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
            remarks.append(f"{entry.path} {entry.fault}.")
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


def _folders(entries: Sequence[Entry], adapters: Entry, wanted: Wanted) -> set[str]:
    """The folders of modules that adapters.py, and the files that the grader gets with it, import from."""
    found: set[str] = set()
    small = [one for one in entries if one.name.lower().endswith(".py") and not one.fault and one.size <= MOST_SOURCE]
    names = {adapters.path: adapters} | {entry.path: entry for entry in small if entry.path != adapters.path}
    there = {path[len(adapters.folder) :].strip("/").partition("/")[0] for path in names}
    while "*.py" in wanted.patterns:
        sources: dict[str, bytes] = {}
        for path, entry in names.items():
            if len(sources) >= MOST_FILES:
                break
            if entry is adapters or _name_of(entry, adapters.folder, wanted, found):
                with contextlib.suppress(Unreadable):
                    sources[path] = entry.read(MOST_SOURCE)
        more = (imported(sources) & there) - found
        if not more:
            break
        found |= more
    return found


def _name_of(entry: Entry, base: str, wanted: Wanted, folders: Collection[str] = ()) -> str | None:
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
    if len(parts) > 1 and parts[0] in folders and name.endswith(".py"):
        return name
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
    seen = ", ".join(entry.path for entry in files[:3]) + (" and others" if len(files) > 3 else "")
    return f"There is no adapters.py, only {seen}." if seen else "There is no adapters.py: nothing was handed in."


def defined(source: bytes) -> set[str]:
    """The functions, values and imports that a Python source defines; none if it cannot be parsed."""
    names: set[str] = set()
    for node in ast.walk(parsed(source.removeprefix(b"\xef\xbb\xbf") if len(source) <= MOST_SOURCE else b"")):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names

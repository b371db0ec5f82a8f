"""The submission that a student hands in, from the files of a folder. Python 3.9 alone: it travels with a release."""

from __future__ import annotations

import ast
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

LARGEST = 5 * 2**20  # bytes of a file that the grader takes
STATEMENT = "AI tools"  # the heading in answers.md under which students say what they used


def ours(about: Mapping[str, Any]) -> set[str]:
    """The files of a release that are not handed in."""
    return {"_course", "given", "check.py", "test_visible.py", *about["released"]}


def chosen(here: Path, about: Mapping[str, Any]) -> list[Path]:
    """The files to hand in, with the folders of modules that they import, except files that are too large."""
    found = {path for pattern in about["submit"] for path in here.glob(pattern) if path.is_file()}
    found = {path for path in found if path.parent != here or path.name not in ours(about)}
    if "*.py" in about["submit"]:
        while (
            more := _imported_folders(here, found) - {path.relative_to(here).parts[0] for path in found} - ours(about)
        ):
            inside = {path for name in more for path in (here / name).rglob("*.py") if path.is_file()}
            if not inside:
                break
            found |= inside
    return sorted(path for path in found if path.stat().st_size <= LARGEST)


def _imported_folders(here: Path, paths: Collection[Path]) -> set[str]:
    """The folders of modules, not of the release, that these files import from."""
    sources = {path.as_posix(): path.read_bytes() for path in paths if path.suffix == ".py"}
    return {name for name in imported(sources) if any((here / name).rglob("*.py"))}


def imported(sources: Mapping[str, bytes]) -> set[str]:
    """The first words of the names of all modules that these sources import, except relative imports."""
    return {name for source in sources.values() for _, name in imports(source)}


def imports(source: bytes) -> list[tuple[int, str]]:
    """(line, first word of the module) of each import but the relative ones, in order, each once."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.lineno, (node.module or "").split(".")[0]))
    return sorted(set(found))


def parsed(source: bytes) -> ast.Module:
    """The tree of a source; an empty tree for text that is not Python. Warnings are suppressed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.parse("")


def banned(here: Path, paths: Collection[Path], modules: Collection[str]) -> list[str]:
    """A sentence for each import of a forbidden module."""
    sentences, reached = [], _reached(here, paths)
    for path in paths:
        name = path.relative_to(here).as_posix()
        for line, top in imports(path.read_bytes()) if path.suffix == ".py" else ():
            if top in modules:
                unused = (
                    "" if path in reached else f"; adapters.py does not use {name}, so that the grader only notes it"
                )
                sentences.append(f"{name} line {line} imports {top}, which the grader refuses{unused}.")
    return sentences


def _reached(here: Path, paths: Collection[Path]) -> set[Path]:
    """The files that adapters.py imports, and those that these import. All of a folder counts as one."""
    units: dict[str, list[Path]] = {}
    for path in paths:
        units.setdefault(path.relative_to(here).parts[0].rsplit(".py", 1)[0], []).append(path)
    found, new = set(), {"adapters"} & units.keys()
    while new:
        found |= new
        sources = {path.as_posix(): path.read_bytes() for name in new for path in units[name] if path.suffix == ".py"}
        new = (imported(sources) & units.keys()) - found
    return {path for name in found for path in units[name]}


def stubs(here: Path, about: Mapping[str, Any]) -> list[str]:
    """The questions whose open places are all unchanged."""
    text = "\n".join(path.read_text("utf-8", "replace") for path in chosen(here, about) if path.suffix == ".py")
    left = collections.Counter(re.findall(r"""(?m)^\s*raise NotImplementedError\(["'](q\d+)["']\)""", text))
    return [row["id"] for row in about["questions"] if 0 < row.get("open", 0) <= left[row["id"]]]


def _unimportable(here: Path, chosen: list[Path]) -> str:
    """Why adapters.py does not import beside the files that are handed in alone, or nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in chosen:
            (folder / path.relative_to(here)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.relative_to(here))
        for beside in ("_course", "given", "given.py", "check.py"):
            if (here / beside).is_dir():
                shutil.copytree(here / beside, folder / beside, ignore=shutil.ignore_patterns("__pycache__"))
            elif (here / beside).exists():
                shutil.copyfile(here / beside, folder / beside)
        try:
            command = [sys.executable, "-B", str(folder / "check.py"), "--imports"]
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        except subprocess.TimeoutExpired:
            return "importing adapters.py takes more than 60 seconds"
    said = done.stdout.decode("utf-8", "replace").strip().split("\n")[-1]
    return (said or f"importing adapters.py ends Python, with status {done.returncode}") if done.returncode else ""


def _broken(here: Path, paths: Collection[Path]) -> list[str]:
    """A sentence for each file that is no Python."""
    said = []
    for path in paths:
        try:
            if path.suffix == ".py":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            said.append(f"{path.relative_to(here).as_posix()}{line}: {getattr(error, 'msg', error)}.")
    return said


def _list(names: Collection[str], rest: str) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {rest}"


def _unwritten(here: Path, about: Mapping[str, Any]) -> list[str]:
    """What is missing in answers.md: written questions, and the statement on AI tools."""
    written = [question["id"] for question in about["written"]]
    answers = here / "answers.md"
    if not written:
        return []
    if not answers.exists():
        return [f"answers.md is missing: {_list(written, 'not answered')}."]
    data = answers.read_bytes()
    text = data.decode("utf-8", "replace")
    if not text.strip() or zlib.crc32(data) == about["answers"]:
        return [f"answers.md is as you got it: {_list(written, 'not answered')}."]
    said, empty = [], []
    for part in re.split(r"(?m)^(?=#)", text):
        heading, _, body = part.partition("\n")
        body = re.sub(r"(?s)<!--.*?-->", "", body)
        if found := re.match(r"#+\s*(w\d+)\b", heading):
            empty += [found.group(1)] if found.group(1) in written and not body.strip() else []
        elif heading.strip("# ") == STATEMENT and not body.strip():
            said.append(f'answers.md: "{STATEMENT}" is empty; ai_policy.md asks for a sentence there.')
    return [*([f"answers.md: {_list(empty, 'not answered')}."] if empty else []), *said]


def _warnings(here: Path, about: Mapping[str, Any], paths: Collection[Path]) -> list[str]:
    """What a student should look at before handing in."""
    said = [*banned(here, paths, about["banned"]), *_broken(here, paths)]
    python = {path.stem for path in Path(os.__file__).parent.iterdir()} | {*sys.builtin_module_names, "numpy"}
    for path in paths:
        if path.parent == here and path.stem in python:
            said.append(f"{path.name} has the name of a module of Python, which then cannot be imported.")
    if open_ := stubs(here, about):
        said.append(f"{_list(open_, 'not answered')}.")
    return said + _unwritten(here, about)


def pack(here: Path, about: Mapping[str, Any]) -> int:
    """Write submission-ID.zip of the files to hand in, and nothing else; 0 if all is well."""
    target, stays = here / f"submission-{about['id']}.zip", ours(about)
    paths = chosen(here, about)
    fault = _unimportable(here, paths) if here / "adapters.py" in paths else f"there is no adapters.py in {here}"
    if fault:
        print(f"Nothing is packed: {fault}")
        return 1
    part = target.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
        for path in paths:
            name = zipfile.ZipInfo(path.relative_to(here).as_posix())
            file.writestr(name, path.read_bytes(), zipfile.ZIP_DEFLATED)
    os.replace(part, target)
    print(f"{target.name} holds {', '.join(path.relative_to(here).as_posix() for path in paths)}.")
    known = {path.relative_to(here).parts[0] for path in paths} | stays | {target.name, "__pycache__"}
    left = [path for path in sorted(here.iterdir()) if path.name not in known and not path.name.startswith(".")]
    if left:
        names = ", ".join(path.name + "/" * path.is_dir() for path in left)
        print(f"Left out: {names}. Only {', '.join(about['submit'])} are handed in, up to {LARGEST >> 20} MiB each.")
    for sentence in _warnings(here, about, paths):
        print(f"Careful: {sentence}")
    return 0

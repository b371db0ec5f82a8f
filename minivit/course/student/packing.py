"""The submission that a student hands in, from the files of a folder. Python 3.9 alone: it travels with a release."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

LARGEST = 5 * 2**20  # bytes of a file that the grader takes


def ours(about: Mapping[str, Any]) -> set[str]:
    """What a release holds that is not handed in."""
    return {"_course", "given", "check.py", "test_visible.py", *about["released"]}


def banned(paths: list[Path], modules: Collection[str]) -> list[str]:
    """A sentence for each import of a module that may not be used."""
    sentences = []
    for path in paths:
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in sorted({name.split(".")[0] for name in names} & set(modules)):
                line = getattr(node, "lineno", 0)
                sentences.append(f"{path.name} line {line} imports {name}, which the grader refuses.")
    return sentences


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


def _warnings(here: Path, about: Mapping[str, Any], chosen: list[Path]) -> list[str]:
    """What a student should look at before handing in."""
    said = banned(chosen, about["banned"])
    python = {path.stem for path in Path(os.__file__).parent.iterdir()} | {*sys.builtin_module_names, "numpy"}
    for path in chosen:
        if path.parent == here and path.stem in python:
            said.append(f"{path.name} has the name of a module of Python, which then cannot be imported.")
    written = ", ".join(question["id"] for question in about["written"])
    answers = here / "answers.md"
    if written and not (answers.exists() and zlib.crc32(answers.read_bytes()) != about["answers"]):
        said.append(f"answers.md is as you got it: {written} not answered.")
    return said


def pack(here: Path, about: Mapping[str, Any]) -> int:
    """Write submission-ID.zip of the files that may be handed in, and nothing else; 0 if all is well."""
    target, stays = here / f"submission-{about['id']}.zip", ours(about)
    found = sorted({path for pattern in about["submit"] for path in here.glob(pattern) if path.is_file()})
    found = [path for path in found if path.parent != here or path.name not in stays]
    chosen = [path for path in found if path.stat().st_size <= LARGEST]
    fault = _unimportable(here, chosen) if here / "adapters.py" in chosen else f"there is no adapters.py in {here}"
    if fault:
        print(f"Nothing is packed: {fault}")
        return 1
    part = target.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
        for path in chosen:
            name = zipfile.ZipInfo(path.relative_to(here).as_posix())
            file.writestr(name, path.read_bytes(), zipfile.ZIP_DEFLATED)
    os.replace(part, target)
    print(f"{target.name} holds {', '.join(path.relative_to(here).as_posix() for path in chosen)}.")
    known = {path.relative_to(here).parts[0] for path in chosen} | stays | {target.name, "__pycache__"}
    left = [path for path in sorted(here.iterdir()) if path.name not in known and not path.name.startswith(".")]
    if left:
        names = ", ".join(path.name + "/" * path.is_dir() for path in left)
        print(f"Left out: {names}. Only {', '.join(about['submit'])} are handed in, up to {LARGEST >> 20} MiB each.")
    for sentence in _warnings(here, about, chosen):
        print(f"Careful: {sentence}")
    return 0

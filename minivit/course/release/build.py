"""Builds an assignment to hand out: zips for students, for staff and for Gradescope, and a folder for nbgrader.

The student files come from a whitelist, are searched for answers (`leaks`), and are tested before they are written: the
visible checks are collected, the stub gets no points, the reference gets all. On any fault CourseError is raised and
nothing is written.
"""

import ast
import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.course.assignment import REGION, Assignment, CourseError
from minivit.course.grading import check_environment, grade, shares
from minivit.course.release import gradescope, handouts, nbgrader
from minivit.course.release.archives import course_key, zipped
from minivit.course.release.given import given_files, masters
from minivit.course.release.leaks import leaks
from minivit.course.release.recording import expected
from minivit.course.sandbox.guard import BANNED
from minivit.errors import quoted
from minivit.files.paths import expanded

__all__ = ["KINDS", "release", "student_files"]

KINDS = ("student", "instructor", "gradescope", "nbgrader")

# of course/student/, into _course/
TRAVELLERS = ("comparing", "trial", "replay", "outcomes", "asking", "check", "packing")
FIGURES = (".svg", ".png")
METADATA = re.compile(r"<metadata\b.*?</metadata>\s*", re.S)


def _ours(name: str) -> str:
    return (Path(__file__).parents[1] / "student" / f"{name}.py").read_text(encoding="utf-8")


def _text(path: Path) -> str:
    """A text of the assignment's folder. CourseError if it is missing, or a link to elsewhere."""
    if path.is_symlink():
        raise CourseError(f"{quoted(path)} is a symbolic link; put the file itself there")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise CourseError(f"{quoted(path)} cannot be read: {error}") from None


def _figures(assignment: Assignment) -> Iterator[tuple[str, bytes]]:
    for path in sorted((assignment.folder / "figures").glob("*")):
        if path.suffix in FIGURES:
            if path.is_symlink():
                raise CourseError(f"{quoted(path)} is a symbolic link; put the file itself there")
            content = path.read_bytes()
            if path.suffix == ".svg":
                content = METADATA.sub("", content.decode()).encode()
            yield f"figures/{path.name}", content


def _about(assignment: Assignment, base: str, released: Collection[str], template: bytes) -> dict[str, Any]:
    """assignment.json: what check.py knows."""
    about, questions = assignment.about, []
    for question in assignment.questions.values():
        checks = [check for check in assignment.checks if check.question == question.id]
        points = shares(question, checks)
        visible = [
            {
                "name": check.name,
                "seconds": check.seconds,
                "points": points[check.name],
                "says": (check.run.__doc__ or "").strip().split("\n")[0],
            }
            for check in checks
            if not check.hidden
        ]
        left = sum(text.count(f'raise NotImplementedError("{question.id}")') for text in assignment.stub.values())
        row = {"id": question.id, "title": question.title, "of": question.points, "open": left}
        questions.append({**row, "calls": question.calls, "checks": visible})
    return {
        "id": about["id"],
        "title": about["title"],
        "numpy": np.__version__,
        "submit": [*about["submit"], *(["earlier/*/*.py"] if base == "own" and about.get("given") else [])],
        "banned": [*BANNED, *about.get("banned", ())],
        "questions": questions,
        "written": about.get("written", []),
        "released": sorted(released),
        "answers": zlib.crc32(template),
    }


def student_files(assignment: Assignment, base: str = "reference") -> dict[str, bytes]:
    """The files for a student: path -> content."""
    policy = assignment.folder.parent / "ai_policy.md"
    if hiding := {"given.py", "check.py", "test_visible.py"} & set(assignment.stub):
        raise CourseError(f"{assignment.id}: master/{min(hiding)} would hide the file of that name in the release")
    texts = {
        "README.md": handouts.readme(assignment, base, policy.exists()),
        "handout.md": _text(assignment.folder / "handout.md"),
        "check.py": handouts.CHECK,
        "test_visible.py": handouts.TEST_VISIBLE,
        "_course/__init__.py": "",
        "_course/visible.py": _text(assignment.folder / "visible.py"),
        **{f"_course/{name}.py": _ours(name) for name in TRAVELLERS},
        **given_files(assignment, base),
        **assignment.stub,
    }
    if policy.exists():
        texts["ai_policy.md"] = _text(policy)
    if assignment.about.get("written"):
        texts["answers.md"] = handouts.answers(assignment)
    files = {name: text.encode() for name, text in texts.items()}
    files.update(_figures(assignment))
    files["_course/expected.npz"] = expected(assignment)
    work = {*assignment.stub, "answers.md"}
    released = {name.split("/")[0] for name in files} - work
    about = _about(assignment, base, released, files.get("answers.md", b""))
    files["_course/assignment.json"] = (json.dumps(about, indent=1) + "\n").encode()
    return files


def instructor_files(assignment: Assignment, student: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files for staff: everything but the key."""
    files = {f"student/{name}": content for name, content in student.items()}
    files["GRADING.md"] = handouts.grading_notes(assignment).encode()
    files.update(assignment_files(assignment))
    return files


def assignment_files(assignment: Assignment) -> dict[str, bytes]:
    """The files of an assignment's folder, from a whitelist."""
    patterns = ("*.py", "*.md", "*.toml", "master/*.py", "right/*.py", "figures/*.svg", "figures/*.png")
    paths = sorted(path for pattern in patterns for path in assignment.folder.glob(pattern) if path.is_file())
    return {path.relative_to(assignment.folder).as_posix(): path.read_bytes() for path in paths}


def _unpacked(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _python(folder: Path, *words: str) -> tuple[int, str]:
    """Status and output of a Python in a folder."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace").strip()


def _collects(assignment: Assignment, folder: Path) -> None:
    """CourseError unless the stub imports and pytest, where it is there, finds each visible check."""
    status, said = _python(folder, "check.py", "--imports")
    if status:
        raise CourseError(f"{assignment.id}: the stub cannot be imported: {said}")
    if importlib.util.find_spec("pytest"):
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        words = ("-p", "no:cacheprovider", "--collect-only", "-q", "test_visible.py")
        status, said = _python(folder, "-m", "pytest", *words)
        (folder / "pytest.ini").unlink()
        count = sum(not check.hidden for check in assignment.checks)
        if status or said.count("test_visible.py::") != count:
            raise CourseError(f"{assignment.id}: pytest does not find the {count} visible checks: {said}")


def _sound(assignment: Assignment) -> None:
    """CourseError if a marker has no partner, a region no question, or visible.py needs more than NumPy."""
    for name, text in assignment.stub.items():
        if match := re.search("(BEGIN|END) SOLUTION", text):
            raise CourseError(f"{assignment.id}: master/{name} has a marker {match.group()} without its partner")
    blanked = {region.group(2) for text in assignment.master.values() for region in REGION.finditer(text)}
    if unknown := blanked - set(assignment.questions):
        raise CourseError(f"{assignment.id}: a region in master/ is of {min(unknown)}, and there is no such question")
    for node in ast.walk(ast.parse(_text(assignment.folder / "visible.py"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.split(".")[0] not in {*sys.stdlib_module_names, "numpy"}:
                raise CourseError(f"{assignment.id}: visible.py imports {name}, which students may not have")


def _prove(assignment: Assignment, files: Mapping[str, bytes], base: str, key: bytes) -> None:
    """CourseError unless the stub imports and scores 0, and the reference scores all, by check.py and the grader."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _unpacked(files, folder)
        for earlier in masters(assignment).values() if base == "own" else ():
            _unpacked({file: text.encode() for file, text in earlier.master.items()}, folder / "earlier" / earlier.id)
        _collects(assignment, folder)
        _, said = _python(folder, "check.py", "--points")
        if said.split("\n")[-1] != "0":
            raise CourseError(f"{assignment.id}: the stub reaches points in the visible checks: {said}")
        _unpacked({file: text.encode() for file, text in assignment.master.items()}, folder)
        status, said = _python(folder, "check.py")
        if status:
            raise CourseError(f"{assignment.id}: the reference does not pass its own visible checks: {said}")
    check_environment(assignment)
    stub = grade(assignment, {name: text.encode() for name, text in assignment.stub.items()}, "stub", key)
    if gained := [question for question, row in stub["questions"].items() if row["points"] != 0]:
        raise CourseError(f"{assignment.id}: the stub reaches points in {', '.join(gained)}")


def _clean(assignment: Assignment, files: Mapping[str, bytes], base: str, key: bytes, what: str) -> None:
    """CourseError if something leaks."""
    ours = [_ours(name) for name in TRAVELLERS]
    allowed = [*given_files(assignment, base).values(), *ours, handouts.CHECK, handouts.TEST_VISIBLE]
    if found := leaks(files, assignment, key, allowed):
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise CourseError(f"{assignment.id}: the {what} leaks: {'; '.join(found[:3])}{more}")


def release(
    assignment: Assignment,
    key_file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    base: str = "reference",
    only: Collection[str] = (),
) -> list[str]:
    """Write ID-student.zip, ID-instructor.zip, ID-gradescope.zip and nbgrader/source/ID into `out`.

    Returns sentences that list the results.
    key_file: the key of the course, made if it is missing.   only: some of KINDS.
    """
    if unknown := set(only) - set(KINDS):
        raise CourseError(f'there is no release "{min(unknown)}"; there are {", ".join(KINDS)}')
    folder, kinds = expanded(out, CourseError), [kind for kind in KINDS if not only or kind in only]
    key, made = course_key(key_file, [folder, assignment.folder.parent], make=True)
    new = f"{quoted(os.fspath(key_file))} is the key of the course, made just now: keep it, and keep it secret"
    said = [new] if made else []
    _sound(assignment)
    student = student_files(assignment, base)
    _clean(assignment, student, base, key, "student zip")
    _prove(assignment, student, base, key)
    products: dict[str, Mapping[str, bytes] | bytes] = {}
    if "student" in kinds:
        products[f"{assignment.id}-student.zip"] = zipped(
            {f"{assignment.id}/{name}": content for name, content in student.items()}
        )
    if "instructor" in kinds:
        products[f"{assignment.id}-instructor.zip"] = zipped(instructor_files(assignment, student))
    if "gradescope" in kinds:
        products[f"{assignment.id}-gradescope.zip"] = zipped(gradescope.autograder_files(assignment, key, base))
        said.append(f"{assignment.id}-gradescope.zip holds the key and the answers: for staff only")
    if "nbgrader" in kinds:
        source, public = nbgrader.source_files(assignment, student, base)
        _clean(assignment, public, base, key, "notebook")
        products[f"nbgrader/source/{assignment.id}"] = source
    earlier = ", ".join(assignment.about.get("given", ()))
    if earlier and base == "reference" and {"student", "nbgrader"} & set(kinds):
        said.append(f"students of {assignment.id} see answers to {earlier}: wait until nobody hands these in any more")
    _write(folder, products)
    return [*(f"{quoted(folder / name)}" for name in products), *said]


def _write(folder: Path, products: Mapping[str, Mapping[str, bytes] | bytes]) -> None:
    """All products, or none if one cannot be written."""
    done: list[Path] = []
    try:
        for name, content in products.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            done.append(part)
            if isinstance(content, bytes):
                part.write_bytes(content)
            else:
                shutil.rmtree(part, ignore_errors=True)
                _unpacked(content, part)
        for name, content in products.items():
            target = folder / name
            if target.is_dir() and not isinstance(content, bytes):
                shutil.rmtree(target)
            os.replace(target.with_name(f".{target.name}.part"), target)
    except OSError as error:
        raise CourseError(f"{quoted(folder)} cannot be written: {error}") from None
    finally:
        for part in done:
            shutil.rmtree(part, ignore_errors=True)
            with contextlib.suppress(OSError):
                part.unlink()

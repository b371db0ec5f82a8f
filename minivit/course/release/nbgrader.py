"""An assignment as a notebook for nbgrader, and what its test cells ask.

A test cell asks with `python -m minivit.course.release.nbgrader ID QUESTION visible|hidden`.
The notebook writes each module of the solution with %%writefile. A test cell starts the grader in a process of its
own, with the key in the file that $MINIVIT_COURSE_KEY names, and its value is the points. nbgrader itself runs the
cells of students with the rights of whoever grades, and believes the value of a cell: grade in a container, and if in
doubt collect the .py files and use `python -m minivit.course grade`. $MINIVIT_COURSE_ASSIGNMENTS names the folder of
the assignments if they are not those of the clone.

`python -m minivit.course.release.nbgrader ID` says whether all this works here; try it before `nbgrader autograde`. If
it does not, a test cell ends the kernel, so that nbgrader reports a failure in place of giving everybody a zero.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivit.course.assignment import REGION, ROOT, Assignment, CourseError, assignments
from minivit.course.grading import check_environment, grade, scores, shares
from minivit.course.release.archives import course_key
from minivit.course.student.packing import chosen
from minivit.errors import MinivitError

__all__ = ["main", "source_files"]

STUB = "# YOUR CODE HERE\n{0}raise NotImplementedError()"
VISIBLE = """\
# {question}: the visible checks. The value of this cell is the points.
import subprocess
import sys

said = subprocess.run([sys.executable, "check.py", "--points", "{question}"], capture_output=True, text=True).stdout
{hidden}print(said)
float(said.split()[-1])
"""
GRADER = """\
### BEGIN HIDDEN TESTS
import subprocess
import sys

command = [sys.executable, "-m", "minivit.course.release.nbgrader", "{id}", "{question}", "{kind}", "{base}"]
graded = subprocess.run(command, capture_output=True, text=True)
if graded.returncode:  # the grader cannot work here: without a kernel nbgrader gives no points, and no zero
    import os

    os._exit(1)
said = graded.stdout
### END HIDDEN TESTS
"""
HIDDEN = """\
# {question}: the hidden checks run here when the course is graded.
{hidden}### BEGIN HIDDEN TESTS
print(said)
float(said.split()[-1])
### END HIDDEN TESTS
"""
HIDDEN_TESTS = re.compile(r"^.*BEGIN HIDDEN TESTS.*\n(.*\n)*?.*END HIDDEN TESTS.*\n?", re.M)
MARK_SCHEME = re.compile(r"^.*BEGIN MARK SCHEME.*\n(.*\n)*?.*END MARK SCHEME.*\n?", re.M)


def _cell(kind: str, text: str, name: str, **flags: Any) -> dict[str, Any]:
    """A cell; with flags it is one of nbgrader's."""
    metadata: dict[str, Any] = {}
    if flags:
        flags = {"grade": False, "solution": False, "task": False, **flags}
        metadata["nbgrader"] = {"schema_version": 3, "grade_id": name, "locked": not flags["solution"], **flags}
    cell = {"cell_type": kind, "id": name, "metadata": metadata, "source": text.rstrip("\n").splitlines(keepends=True)}
    return {**cell, "outputs": [], "execution_count": None} if kind == "code" else cell


def _rubric(assignment: Assignment, written: str) -> str:
    """The section of rubric.md about a written question, or all of it."""
    path = assignment.folder / "rubric.md"
    text = path.read_text(encoding="utf-8") if path.exists() else "No rubric."
    sections = re.split(r"(?m)^(?=#+ )", text)
    about = [part for part in sections if re.match(rf"#+ .*\b{re.escape(written)}\b", part)]
    return "".join(about) or text


def _cells(assignment: Assignment, base: str) -> list[dict[str, Any]]:
    handout = (assignment.folder / "handout.md").read_text(encoding="utf-8")
    cells = [
        _cell("markdown", part, f"handout-{number}", solution=False)
        for number, part in enumerate(re.split(r"(?m)^(?=## )", handout))
        if part.strip()
    ]
    for name, text in assignment.master.items():
        flags = {"solution": True} if REGION.search(text) else {}  # without a region nbgrader would blank it whole
        cells.append(_cell("code", f"%%writefile {name}\n{text}", f"solution-{name.removesuffix('.py')}", **flags))
    for question in assignment.questions.values():
        checks = [check for check in assignment.checks if check.question == question.id]
        points = shares(question, checks)
        for kind, template in (("visible", VISIBLE), ("hidden", HIDDEN)):
            of = round(sum(points[check.name] for check in checks if check.hidden == (kind == "hidden")), 4)
            if any(check.hidden == (kind == "hidden") for check in checks):
                grader = GRADER.format(id=assignment.id, question=question.id, kind=kind, base=base)
                text = template.format(question=question.id, hidden=grader)
                cells.append(_cell("code", text, f"test-{question.id}-{kind}", grade=True, points=of))
    for row in assignment.about.get("written", []):
        scheme = f"### BEGIN MARK SCHEME\n{_rubric(assignment, row['id'])}\n### END MARK SCHEME"
        text = f"## {row['id']}. {row['title']}\n\nWrite your answer into the cell below.\n\n{scheme}"
        cells.append(_cell("markdown", text, f"task-{row['id']}", task=True, points=row["points"]))
        cells.append(_cell("markdown", "*Your answer.*", f"answer-{row['id']}"))
    return cells


def _bytes(cells: list[dict[str, Any]]) -> bytes:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _public(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell as nbgrader releases it."""
    text = REGION.sub(
        lambda region: region.group(1) + STUB.format(region.group(1)) + "\n", "".join(cell["source"]) + "\n"
    )
    text = MARK_SCHEME.sub("", HIDDEN_TESTS.sub("", text))
    return {**cell, "source": text.splitlines(keepends=True)}


def source_files(
    assignment: Assignment, student: Mapping[str, bytes], base: str = "reference"
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of source/ID, and the same as nbgrader will release them.   student: the files of the student zip."""
    cells = _cells(assignment, base)
    left = {*assignment.stub, "answers.md", "README.md", "test_visible.py"}
    beside = {name: content for name, content in student.items() if name not in left}
    name = f"{assignment.id}.ipynb"
    return {name: _bytes(cells), **beside}, {name: _bytes([_public(cell) for cell in cells]), **beside}


def _part(assignment: Assignment, question: str) -> Assignment:
    """The assignment of one question and those that it needs."""
    needed, more = {question}, {question}
    while more:
        more = {before for name in more for before in assignment.questions[name].after} - needed
        needed |= more
    part = Assignment(assignment.folder)
    vars(part)["questions"] = {name: row for name, row in assignment.questions.items() if name in needed}
    vars(part)["checks"] = [check for check in assignment.checks if check.question in needed]
    return part


def points(
    assignment: Assignment, question: str, kind: str, folder: Path, key: bytes, base: str
) -> tuple[list[str], float]:
    """Sentences about the visible or hidden checks of a question, and their points, for the files of a folder."""
    part = _part(assignment, question)
    patterns = [*assignment.about["submit"], *(["earlier/*/*.py"] if base == "own" else [])]
    paths = chosen(folder, {"submit": patterns, "released": ["given.py"]})
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    row = grade(part, files, folder.resolve().parent.name, key, base=base)["questions"][question]
    reached = scores(part.questions[question], [check for check in part.checks if check.question == question], row)
    names = [name for name in row["checks"] if name.startswith("h_") == (kind == "hidden")]
    said = [f"{question} {name.partition('_')[2]}: {row['checks'][name]}" for name in names]
    return said, round(sum(reached[name] for name in names), 4)


def main(words: list[str]) -> int:
    """Print the sentences, and on the last line the points; with ID alone, whether the grader works here."""
    name, *rest = words or [""]
    try:
        root = Path(os.environ.get("MINIVIT_COURSE_ASSIGNMENTS", ROOT))
        found = {assignment.id: assignment for assignment in assignments(root).values()}
        if name not in found or len(rest) not in (0, 3):
            raise CourseError(f"there is no assignment {name} in {root}; $MINIVIT_COURSE_ASSIGNMENTS names the folder")
        if "MINIVIT_COURSE_KEY" not in os.environ:
            raise CourseError("set $MINIVIT_COURSE_KEY to the file with the key of the course")
        key, _ = course_key(os.environ["MINIVIT_COURSE_KEY"])
        if not rest:
            check_environment(found[name])
            print(f"{name} can be graded here")  # noqa: T201
            return 0
        question, kind, base = rest
        said, reached = points(found[name], question, kind, Path.cwd(), key, base)
    except MinivitError as error:
        print(f"not graded: {error}")  # noqa: T201
        return 1
    print(*said, reached, sep="\n")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

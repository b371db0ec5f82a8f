"""The notebook for nbgrader: its form, what its test cells ask, and the real nbgrader from source to grades."""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_assignment import T1, toy_assignments

from minivit.course.assignment import assignments
from minivit.course.release import nbgrader
from minivit.course.release.build import _unpacked, student_files

KEY = b"0123456789abcdef0123456789abcdef"
RIGHT = {name.removeprefix("master/"): text for name, text in T1.items() if name.startswith("master/")}
HERE = Path(nbgrader.__file__).parents[2]


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course of nbgrader: source/t1, the key, the assignments."""
    root = tmp_path_factory.mktemp("course")
    assignment = assignments(toy_assignments(root / "assignments"))["t1_weights"]
    source, public = nbgrader.source_files(assignment, student_files(assignment))
    _unpacked(source, root / "source" / "t1")
    _unpacked(public, root / "public" / "t1")
    (root / "key").write_bytes(KEY)
    return root


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def name(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def text(cell: dict) -> str:
    return "".join(cell["source"])


def environment(course: Path) -> dict[str, str]:
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {"MINIVIT_COURSE_KEY": str(course / "key"), "MINIVIT_COURSE_ASSIGNMENTS": str(course / "assignments")}
    return {**os.environ, **settings, "PYTHONPATH": path, "PATH": scripts}


def asked(course: Path, folder: Path, *words: str, **changed: str) -> tuple[int, str]:
    """What a test cell's question is answered."""
    command = [sys.executable, "-m", "minivit.course.release.nbgrader", *words]
    done = subprocess.run(command, cwd=folder, env={**environment(course), **changed}, capture_output=True)
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.decode()


def test_cells_have_the_metadata_of_version_3_and_points_that_sum_to_100(course):
    found = [cell["metadata"]["nbgrader"] for cell in cells(course / "source" / "t1" / "t1.ipynb") if name(cell)]
    ids = [cell["grade_id"] for cell in found]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", one) for one in ids)
    allowed = {"schema_version", "grade_id", "grade", "solution", "locked", "task", "points"}
    assert all(set(cell) <= allowed and cell["schema_version"] == 3 for cell in found)
    assert all(("points" in cell) == (cell["grade"] or cell["task"]) for cell in found)
    assert sum(cell.get("points", 0) for cell in found) == pytest.approx(100, abs=1e-3)
    assert [one for one in ids if one.startswith("test")] == [
        "test-q1-visible", "test-q1-hidden", "test-q2-visible", "test-q2-hidden",
    ]  # fmt: skip


def test_what_is_released_has_no_answers_and_the_source_no_python_files_with_answers(course):
    assert not list((course / "source" / "t1").glob("weights.py"))
    public = "".join(text(cell) for cell in cells(course / "public" / "t1" / "t1.ipynb"))
    for secret in ("exponentials", "minivit", "hidden", "cancels", "SOLUTION", "MARK SCHEME", "HIDDEN TESTS"):
        assert secret not in public.replace("the hidden checks run here", "")
    source = "".join(text(cell) for cell in cells(course / "source" / "t1" / "t1.ipynb"))
    assert "A common factor of numerator and denominator cancels" in source
    assert "exponentials" in source


def test_points_of_a_question_are_those_of_the_grader(course, tmp_path):
    _unpacked({name: text.encode() for name, text in RIGHT.items()}, tmp_path)
    assert asked(course, tmp_path, "t1", "q1", "visible", "reference") == (
        0,
        "q1 rows: passed\nq1 sums: passed\n22.2222\n",
    )
    assert asked(course, tmp_path, "t1", "q2", "hidden", "reference") == (0, "q2 shapes: passed\n22.2222\n")
    wrong = RIGHT["weights.py"].replace("x - np.max(x, axis=-1, keepdims=True)", "x")
    (tmp_path / "weights.py").write_text(wrong, encoding="utf-8")
    status, said = asked(course, tmp_path, "t1", "q1", "hidden", "reference")
    assert status == 0
    assert said.endswith("\n13.8889\n")
    assert asked(course, tmp_path, "t1", "q1", "visible", "reference")[1].endswith("\n22.2222\n")
    (tmp_path / "adapters.py").unlink()
    assert asked(course, tmp_path, "t1", "q1", "hidden", "reference")[1].endswith("\n0.0\n")


def test_whether_the_grader_works_can_be_asked(course, tmp_path):
    assert asked(course, tmp_path, "t1") == (0, "t1 can be graded here\n")
    status, said = asked(course, tmp_path, "t9")
    assert status == 1
    assert "not graded: there is no assignment t9" in said
    status, said = asked(course, tmp_path, "t1", MINIVIT_COURSE_KEY=str(tmp_path / "none"))
    assert status == 1
    assert "not graded: there is no key" in said


# The real one: pip install "minivit[nbgrader]"

real = pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None,
    reason='NOT TESTED WITH THE REAL NBGRADER: python -m pip install -e ".[nbgrader]"',
)


def run(course: Path, *words: str, **changed: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "nbgrader", *words]
    done = subprocess.run(command, cwd=course, env={**environment(course), **changed}, capture_output=True)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def submit(course: Path, student: str, **edits: tuple[str, str]) -> None:
    """Hand in the released notebook, with the solutions of the source, edited; without edits it is as released."""
    folder = course / "submitted" / student / "t1"
    shutil.copytree(course / "release" / "t1", folder)
    notebook = json.loads((folder / "t1.ipynb").read_text(encoding="utf-8"))
    answers = {name(cell): text(cell) for cell in cells(course / "source" / "t1" / "t1.ipynb")}
    for cell in notebook["cells"]:
        if name(cell).startswith("solution") and edits:
            cell["source"] = answers[name(cell)].replace(*edits["edit"])
    (folder / "t1.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


@real
@pytest.mark.timeout(1200)
def test_the_real_nbgrader_generates_grades_and_exports(course):
    (course / "nbgrader_config.py").write_text(
        "c = get_config()\nc.ExecutePreprocessor.timeout = 600\n", encoding="utf-8"
    )
    status, said = run(course, "generate_assignment", "t1")
    assert status == 0, said
    released = course / "release" / "t1" / "t1.ipynb"
    ours = [text(cell).rstrip("\n") for cell in cells(course / "public" / "t1" / "t1.ipynb")]
    assert [text(cell).rstrip("\n") for cell in cells(released)] == ours  # what was looked through for leaks
    submit(course, "ada", edit=("", ""))
    submit(course, "bob", edit=("shifted = x - np.max(x, axis=-1, keepdims=True)", "shifted = x"))
    submit(course, "eve")
    submit(course, "noisy", edit=("    # BEGIN SOLUTION q2", "    import warnings; warnings.warn('x'); print('y')"))
    status, said = run(course, "autograde", "t1")
    assert status == 0, said
    status, said = run(course, "generate_feedback", "t1")
    assert status == 0, said
    assert "q1 large: softmax is not finite" in (course / "feedback" / "bob" / "t1" / "t1.html").read_text("utf-8")
    status, said = run(course, "export")
    assert status == 0, said
    with open(course / "grades.csv", encoding="utf-8", newline="") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == pytest.approx({"ada": 90, "bob": 90 - 125 / 9, "eve": 0, "noisy": 90}, abs=1e-3)


@real
@pytest.mark.timeout(1200)
def test_where_the_grader_cannot_work_nobody_gets_a_zero(course):
    if not (course / "release").exists():
        assert run(course, "generate_assignment", "t1")[0] == 0
    submit(course, "zoe", edit=("", ""))
    status, said = run(course, "autograde", "t1", "--student", "zoe", MINIVIT_COURSE_KEY=str(course / "none"))
    assert status != 0
    assert "dead" in said.lower() or "died" in said.lower()
    assert not (course / "autograded" / "zoe").exists() or not list((course / "autograded" / "zoe").rglob("*.ipynb"))

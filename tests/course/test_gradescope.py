"""The autograder for Gradescope, run in a temporary folder as it runs in its container."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from toy_assignment import T1, toy_assignments

from minivit.course.assignment import CourseError, assignments
from minivit.course.release import gradescope
from minivit.course.release.archives import zipped

KEY = b"0123456789abcdef0123456789abcdef"
RIGHT = {name.removeprefix("master/"): text for name, text in T1.items() if name.startswith("master/")}


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> bytes:
    assignment = assignments(toy_assignments(tmp_path_factory.mktemp("assignments")))["t1_weights"]
    return zipped(gradescope.autograder_files(assignment, KEY))


def container(image: bytes, root: Path, files: dict[str, str]) -> Path:
    """/autograder with a submission in it."""
    root.mkdir()
    (root / "image.zip").write_bytes(image)
    with zipfile.ZipFile(root / "image.zip") as file:
        file.extractall(root / "source")
    for name, text in files.items():
        (root / "submission" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "submission" / name).write_text(text, encoding="utf-8")
    (root / "results").mkdir()
    about = {"users": [{"id": 7, "email": "ada@example.org"}], "assignment": {"due_date": "2030-01-01T00:00:00Z"}}
    (root / "submission_metadata.json").write_text(json.dumps(about), encoding="utf-8")
    return root


def graded(root: Path) -> tuple[int, dict | None]:
    """Status, and results.json if there is one."""
    environment = {**os.environ, "MINIVIT_AUTOGRADER": str(root), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "minivit.course.release.gradescope"],
        cwd=root / "source",
        env=environment,
        capture_output=True,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    path = root / "results" / "results.json"
    return done.returncode, json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def score(results: dict) -> float:
    return sum(test["score"] for test in results["tests"])


def test_the_zip_holds_what_runs_and_the_sources_of_minivit_and_of_the_assignment(image, tmp_path):
    root = container(image, tmp_path / "a", {})
    names = {path.relative_to(root / "source").as_posix() for path in (root / "source").rglob("*") if path.is_file()}
    assert {"setup.sh", "run_autograder", "course_key", "settings.json", "minivit/course/grading.py"} <= names
    assert {f"assignments/t1_weights/{name}" for name in ("hidden.py", "oracle.py", "wrong.toml")} <= names
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)
    assert (root / "source" / "course_key").read_bytes() == KEY
    setup = (root / "source" / "setup.sh").read_text(encoding="utf-8")
    assert "pip install numpy==" in setup
    assert setup.startswith("#!/bin/sh\n")


def test_the_reference_reaches_all_points_in_the_format_of_gradescope(image, tmp_path):
    status, results = graded(container(image, tmp_path / "a", RIGHT))
    assert status == 0
    assert results["stdout_visibility"] == "hidden"
    assert score(results) == pytest.approx(90, abs=1e-3)
    assert sum(test["max_score"] for test in results["tests"]) == pytest.approx(90, abs=1e-3)
    seen = {test["name"]: test["visibility"] for test in results["tests"]}
    assert seen["q1 rows: Weights that sum to 1"] == "visible"
    assert seen["q1 large: Weights that sum to 1"] == "after_due_date"
    assert set(results["tests"][0]) == {"name", "score", "max_score", "output", "visibility"}


@pytest.mark.skipif(os.name == "nt", reason="Gradescope's containers run Linux")
def test_the_script_of_the_zip_runs_it(image, tmp_path):
    root = container(image, tmp_path / "a", RIGHT)
    environment = {**os.environ, "MINIVIT_AUTOGRADER": str(root), "MINIVIT_PYTHON": sys.executable}
    subprocess.run(["sh", str(root / "source" / "run_autograder")], env=environment, check=True, capture_output=True)
    assert (root / "results" / "results.json").exists()


def test_a_mistake_loses_its_tests_and_is_explained(image, tmp_path):
    wrong = RIGHT["weights.py"].replace("shifted = x - np.max(x, axis=-1, keepdims=True)", "shifted = x")
    status, results = graded(container(image, tmp_path / "a", {**RIGHT, "weights.py": wrong}))
    assert status == 0
    lost = {test["name"].split(":")[0]: test["output"] for test in results["tests"] if test["score"] == 0}
    assert set(lost) == {"q1 large"}
    assert "not finite" in lost["q1 large"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"notes.txt": "later"}, "there is no adapters.py"),
        ({"adapters.py": "x = (\n"}, "adapters.py raises SyntaxError"),
    ],
)
def test_where_no_check_can_run_the_first_line_says_why(image, tmp_path, files, told):
    status, results = graded(container(image, tmp_path / "a", files))
    assert status == 0
    assert score(results) == 0
    assert results["output"].startswith(f"No check could run: {told}")


def test_files_may_lie_deeper_and_files_of_the_release_are_not_taken(image, tmp_path):
    files = {f"a/b/{name}": text for name, text in RIGHT.items()}
    files |= {
        "a/b/check.py": "1 / 0",
        "a/b/_course/trial.py": "1 / 0",
        "a/b/notes.txt": "",
        "a/b/c/adapters.py": "1 / 0",
    }
    root = container(image, tmp_path / "a", files)
    assignment = assignments(root / "source" / "assignments")["t1_weights"]
    assert set(gradescope.submitted(assignment, root / "submission", "reference")) == {"adapters.py", "weights.py"}
    assert score(graded(root)[1]) == pytest.approx(90, abs=1e-3)


def test_no_submission_scores_nothing_and_says_why(image, tmp_path):
    status, results = graded(container(image, tmp_path / "a", {"readme.txt": ""}))
    assert status == 0
    assert score(results) == 0
    assert "adapters.py" in results["tests"][0]["output"]


CHEAT = """\
import atexit, json, os, pathlib, threading, time
FORGED = json.dumps({{"score": 100, "tests": []}})

def forge(*_):
    for path in ({target!r}, {target!r}.replace(".json", ".part"), "results.json", "../results/results.json"):
        try:
            pathlib.Path(path).write_text(FORGED)
        except BaseException:
            pass
        try:
            os.replace("mine", path)
        except BaseException:
            pass
        try:
            os.makedirs(path)
        except BaseException:
            pass

try:
    pathlib.Path("mine").write_text(FORGED)
except BaseException:
    pass
forge()
atexit.register(forge)
threading.Thread(target=lambda: [(forge(), time.sleep(0.01)) for _ in range(1000)], daemon=True).start()
try:
    if os.fork() == 0:
        for _ in range(300):
            time.sleep(0.01)
            forge()
        os._exit(0)
except BaseException:
    pass

def softmax(x):
    forge()
    return x

weighted_mean = softmax
"""


def test_the_submission_cannot_write_the_results(image, tmp_path):
    target = tmp_path / "a" / "results" / "results.json"
    status, results = graded(container(image, tmp_path / "a", {"adapters.py": CHEAT.format(target=str(target))}))
    assert status == 0
    assert len(results["tests"]) == 6
    assert score(results) == 0
    assert [path.name for path in target.parent.iterdir()] == ["results.json"]


def test_a_broken_environment_gives_no_results_rather_than_zeros(image, tmp_path):
    root = container(image, tmp_path / "a", RIGHT)
    oracle = root / "source" / "assignments" / "t1_weights" / "oracle.py"
    oracle.write_text(oracle.read_text("utf-8").replace("softmax(x)[0]", "softmax(x)[0] * 2"), encoding="utf-8")
    assert graded(root) == (1, None)


def test_partial_points_go_to_the_check_that_did_not_pass(tmp_path):
    assignment = assignments(toy_assignments(tmp_path))["t1_weights"]
    checks = {"v_rows": "passed", "v_sums": "passed", "h_shapes": "passed", "h_large": "half of it"}
    questions = {
        "q1": {"points": 50 * (1 - 5 / 36), "of": 50, "checks": checks},
        "q2": {"points": 0, "of": 40, "checks": {"v_small": "no", "h_shapes": "no"}},
    }
    results = gradescope.results(assignment, {"questions": questions}, "hidden")
    assert [test["score"] for test in results["tests"]] == pytest.approx(
        [100 / 9, 100 / 9, 125 / 9, 125 / 18, 0, 0], abs=1e-3
    )


def test_an_unknown_visibility_is_refused(tmp_path):
    assignment = assignments(toy_assignments(tmp_path))["t1_weights"]
    with pytest.raises(CourseError, match='no visibility "never"'):
        gradescope.autograder_files(assignment, KEY, hidden="never")

"""What a release writes, that it is the same every time, and that nothing is written if anything is amiss."""

import io
import json
import os
import signal
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from toy_assignment import T1, T2, forks, toy_assignments

from minivit.course.assignment import Assignment, CourseError, assignments
from minivit.course.release.archives import course_key, zipped
from minivit.course.release.build import _clean, _sound, release, student_files
from minivit.course.release.given import given_files

STUDENT = {
    "README.md",
    "_course/__init__.py",
    "_course/asking.py",
    "_course/assignment.json",
    "_course/check.py",
    "_course/comparing.py",
    "_course/expected.npz",
    "_course/outcomes.py",
    "_course/packing.py",
    "_course/replay.py",
    "_course/trial.py",
    "_course/visible.py",
    "adapters.py",
    "answers.md",
    "check.py",
    "figures/bars.svg",
    "handout.md",
    "test_visible.py",
    "weights.py",
}


@pytest.fixture
def root(tmp_path) -> Path:
    return toy_assignments(tmp_path / "assignments")


def t1(root: Path, **changes: tuple[str, str]) -> Assignment:
    """t1 with texts of its files replaced; keys are names of files with __ for / and without .py."""
    for name, (old, new) in changes.items():
        path = root / "t1_weights" / (name.replace("__", "/") + ".py")
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    return assignments(root)["t1_weights"]


def refused(assignment: Assignment, tmp_path: Path, **named) -> str:
    """Why a release is refused; nothing of it is left."""
    with pytest.raises(CourseError) as error:
        release(assignment, tmp_path / "key", tmp_path / "out", **named)
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert left == []
    assert "\n" not in str(error.value)
    return str(error.value)


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as file:
        return set(file.namelist())


@forks
def test_all_that_is_made_holds_what_it_should_and_is_the_same_twice(root, tmp_path):
    (root / "ai_policy.md").write_text("Think.\n", encoding="utf-8")
    said = release(t1(root), tmp_path / "key", tmp_path / "out")
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "t1-student.zip", "t1-instructor.zip", "t1-gradescope.zip", "nbgrader",
    }  # fmt: skip
    assert names(out / "t1-student.zip") == {f"t1/{name}" for name in STUDENT | {"ai_policy.md"}}
    instructor = names(out / "t1-instructor.zip")
    assert {f"student/{name}" for name in STUDENT} <= instructor
    assert {
        "GRADING.md",
        "hidden.py",
        "master/weights.py",
        "oracle.py",
        "right/loops.py",
        "rubric.md",
        "wrong.toml",
    } <= instructor
    assert "nbgrader/source/t1/t1.ipynb" in {path.relative_to(out).as_posix() for path in out.rglob("*")}
    key = (tmp_path / "key").read_bytes()
    for path in ("t1-student.zip", "t1-instructor.zip"):
        with zipfile.ZipFile(out / path) as file:
            assert not any(key in file.read(name) for name in file.namelist())
            assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert any("is the key of the course, made just now" in sentence for sentence in said)
    assert any("holds the key and the answers" in sentence for sentence in said)
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    said = release(t1(root), tmp_path / "key", out)
    assert not any("made just now" in sentence for sentence in said)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@forks
def test_only_some_can_be_asked_for(root, tmp_path):
    release(t1(root), tmp_path / "key", tmp_path / "out", only=["student"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["t1-student.zip"]
    assert 'there is no release "students"' in refused(t1(root), tmp_path / "2", only=["students"])


@forks
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"visible": ("import numpy as np", "import minivit\nimport numpy as np")}, "visible.py imports minivit"),
        ({"visible": ('t.agree("softmax"', 't.agree("soft_min"')}, "the reference fails the visible check q1 v_rows"),
        ({"visible": ("def q2_v_small(t):", "def q2_v_small(t):\n    t.bogus()\n")}, "AttributeError"),
        ({"master__adapters": ("from weights import", "from weights import nothing,")}, "nothing"),
        ({"master__weights": ("# BEGIN SOLUTION q2", "# q2")}, "weights.py has a marker END SOLUTION without"),
        ({"master__weights": ("# BEGIN SOLUTION q2", "# BEGIN SOLUTION q5")}, "is of q5"),
        ({"master__weights": ("return exponentials /", "return 2 * exponentials /")}, "the reference fails"),
        ({"hidden": ("def q1_h_large(t):\n", "def q1_h_large(t):\n    t.agree('no', 1)\n")}, "environment broken"),
        ({"hidden": ("def q2_h_shapes(t):\n", "def q2_h_shapes(t):\n    return\n")}, "the stub reaches points in q2"),
        ({"visible": ("def q2_v_small(t):\n", "def q2_v_small(t):\n    return\n")}, "points in the visible"),
    ],
)  # fmt: skip
def test_what_is_not_proven_is_not_written(root, tmp_path, changes, told):
    assert told in refused(t1(root, **changes), tmp_path)


def test_what_leaks_is_not_written(root, tmp_path):
    line = "    shifted = x - np.max(x, axis=-1, keepdims=True)"
    handout = root / "t1_weights" / "handout.md"
    handout.write_text(T1["handout.md"] + f"\n```\n{line}\n```\n", encoding="utf-8")
    said = refused(t1(root), tmp_path)
    assert said.startswith(
        "t1: the student zip leaks: handout.md holds a line of the region q1 of master/weights.py: shifted"
    )


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["handout.md", "figures/bars.svg", "visible.py"])
def test_links_are_refused(root, tmp_path, name):
    (tmp_path / "elsewhere").write_text((root / "t1_weights" / name).read_text(encoding="utf-8"), encoding="utf-8")
    (root / "t1_weights" / name).unlink()
    (root / "t1_weights" / name).symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in refused(t1(root), tmp_path)


def test_a_key_where_something_is_handed_out_is_refused(root, tmp_path):
    out = tmp_path / "out"
    for place in (out / "key", out / "deep" / "key", root / "key", root / "t1_weights" / "figures" / "key"):
        place.parent.mkdir(parents=True, exist_ok=True)
        with pytest.raises(CourseError, match="keep it where nothing is handed out"):
            release(t1(root), place, out)
        assert not place.exists()


def test_a_key_that_is_short_missing_or_a_folder_is_refused(tmp_path):
    (tmp_path / "short").write_bytes(b"fifteen bytes..\n")
    with pytest.raises(CourseError, match="has 15 bytes"):
        course_key(tmp_path / "short", make=True)
    with pytest.raises(CourseError, match="there is no key"):
        course_key(tmp_path / "none")
    with pytest.raises(CourseError, match="there is no key"):
        course_key(tmp_path / "no folder" / "key", make=True)
    with pytest.raises(CourseError, match=r"directory|denied"):
        course_key(tmp_path)


def test_zips_are_sorted_without_a_trace_of_when_and_where():
    content = zipped({"b": b"#!/bin/sh\n", "a": b"x"})
    assert content == zipped({"a": b"x", "b": b"#!/bin/sh\n"})
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert [info.filename for info in file.infolist()] == ["a", "b"]
        assert [oct(info.external_attr >> 16) for info in file.infolist()] == ["0o100644", "0o100755"]
        assert all(info.create_system == 3 and not info.extra and not info.comment for info in file.infolist())


def test_what_is_given_has_modules_of_its_own_names_and_no_markers(root):
    files = given_files(assignments(root)["t2_sharper"])
    assert set(files) == {"given/__init__.py", "given/adapters_t1.py", "given/weights_t1.py"}
    assert "from .weights_t1 import mean_by_weights" in files["given/adapters_t1.py"]
    assert not any("SOLUTION" in text for text in files.values())
    assert given_files(assignments(root)["t1_weights"]) == {}
    with pytest.raises(CourseError, match='no base "mine"'):
        given_files(assignments(root)["t2_sharper"], "mine")


def test_imports_of_a_master_are_rewritten_whatever_their_form(root, tmp_path, monkeypatch):
    glue = """\
import numpy as np
import weights
import weights as w
from weights import (
    mean_by_weights as mean,
    soft_maximum,
)


def softmax(x):
    from weights import soft_maximum as inner
    return (inner(x) + weights.soft_maximum(x) + w.soft_maximum(x) + soft_maximum(x)) / 4


def weighted_mean(x, v):
    return np.asarray(mean(x, v))
"""
    (root / "t1_weights" / "master" / "adapters.py").write_text(glue, encoding="utf-8")
    third = root / "t3_third"
    third.mkdir()
    text = T2["assignment.toml"].replace('"t2"', '"t3"').replace('["t1"]', '["t2"]')
    (third / "assignment.toml").write_text(text, encoding="utf-8")
    for name, content in given_files(assignments(root)["t3_third"]).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert (tmp_path / "given" / "weights_t1.py").exists()  # which t2, that is given, needs
    monkeypatch.syspath_prepend(tmp_path)
    import given

    assert given.__all__ == ["sharper"]
    assert given.sharper(np.zeros((1, 2)), 2.0).tolist() == [[0.5, 0.5]]


def test_a_master_that_cannot_be_given_is_told(root):
    path = root / "t2_sharper" / "master" / "adapters.py"
    path.write_text(path.read_text("utf-8").replace("from given import softmax", "import given"), encoding="utf-8")
    third = root / "t3_third"
    third.mkdir()
    text = T2["assignment.toml"].replace('"t2"', '"t3"').replace('["t1"]', '["t2"]')
    (third / "assignment.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=r"t2_sharper/master/adapters.py line 3: write `from given import x`"):
        given_files(assignments(root)["t3_third"])


@forks
def test_a_release_on_either_base_is_proven(root, tmp_path):
    for base in ("reference", "own"):
        said = release(assignments(root)["t2_sharper"], tmp_path / "key", tmp_path / base, base, ["student"])
        assert ("students of t2 see answers to t1: " in "\n".join(said)) == (base == "reference")
    assert "t2/given/weights_t1.py" in names(tmp_path / "reference" / "t2-student.zip")
    own = names(tmp_path / "own" / "t2-student.zip")
    assert "t2/given.py" in own
    assert not any(name.startswith(("t2/given/", "t2/earlier/")) for name in own)
    with zipfile.ZipFile(tmp_path / "own" / "t2-student.zip") as file:
        assert json.loads(file.read("t2/_course/assignment.json"))["submit"] == ["*.py", "answers.md", "earlier/*/*.py"]
        assert "`earlier/t1/`" in file.read("t2/README.md").decode()


def test_metadata_of_figures_is_left_out(root):
    path = root / "t1_weights" / "figures" / "bars.svg"
    path.write_text(T1["figures/bars.svg"].replace("<rect", "<metadata>who\nwhen</metadata><rect", 1), encoding="utf-8")
    assert b"metadata" not in student_files(t1(root))["figures/bars.svg"]


def test_a_master_may_not_hide_files_of_the_release(root, tmp_path):
    (root / "t1_weights" / "master" / "check.py").write_text("", encoding="utf-8")
    assert "master/check.py would hide" in refused(t1(root), tmp_path)


@pytest.mark.parametrize("name", sorted(assignments()))
def test_the_zips_of_the_course_are_sound_and_do_not_leak(name):
    """Their proofs by stub and reference are the gate's."""
    assignment = assignments()[name]
    _sound(assignment)
    files = student_files(assignment)
    _clean(assignment, files, "reference", b"a key that nobody has used", "student zip")
    assert len(zipped(files)) < 2**20


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no limit of time there")
def test_a_wrong_solution_that_hangs_does_not_hang_the_release(root):
    line = "    shifted = x"
    path = root / "t1_weights" / "wrong.toml"
    text = path.read_text(encoding="utf-8")
    loop = "    while True:\n        try:\n            pass\n        except Exception:\n            pass"
    path.write_text(text.replace(f"new = '''{line}'''", f"new = '''{loop}'''"), encoding="utf-8")
    toml = root / "t1_weights" / "assignment.toml"
    seconds = 'adapters = ["softmax"]\nseconds = { v_rows = 0.1, v_sums = 0.1 }'
    toml.write_text(toml.read_text("utf-8").replace('adapters = ["softmax"]', seconds), encoding="utf-8")
    assert student_files(t1(root))

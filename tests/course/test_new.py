"""The skeleton of an assignment is a whole one: gate and release take it as it is."""

from pathlib import Path

import pytest
from toy_assignment import forks

from minivit.course.assignment import CourseError, assignments
from minivit.course.grading import grade, texts
from minivit.course.release.build import release
from minivit.course.release.new import new

ROOT = Path("no clone")
KEY = b"0123456789abcdef"


@forks
def test_the_skeleton_is_graded_as_the_gate_asks(tmp_path):
    folder = new("b1_rows", "Rows", tmp_path)
    assignment = assignments(tmp_path)["b1_rows"]
    assert folder == tmp_path / "b1_rows"
    assert (assignment.id, assignment.about["title"]) == ("b1", "Rows")
    assert {check.name[0] for check in assignment.checks} == {"v", "h"}
    assert grade(assignment, texts(assignment.master), "a", KEY)["total"] == 100
    assert grade(assignment, texts(assignment.stub), "a", KEY)["total"] == 0
    for files in assignment.rights.values():
        assert grade(assignment, texts(files), "a", KEY)["total"] == 100
    assert assignment.wrongs
    for name, wrong in assignment.wrongs.items():
        graded = grade(assignment, texts(assignment.wrong_files(name)), "a", KEY)
        assert graded["questions"][wrong.question]["points"] < graded["questions"][wrong.question]["of"]
        assert wrong.hint in str(graded)


@forks
def test_the_skeleton_can_be_released(tmp_path):
    (tmp_path / "mine").mkdir()
    new("b1_rows", 'A "title"', tmp_path / "mine")
    release(assignments(tmp_path / "mine")["b1_rows"], tmp_path / "key", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.zip")} == {
        "b1-gradescope.zip", "b1-instructor.zip", "b1-student.zip",
    }  # fmt: skip


def test_a_folder_for_assignments_is_made(tmp_path):
    assert new("b1_rows", "", tmp_path / "my/assignments") == tmp_path / "my/assignments/b1_rows"


def test_names_that_are_taken_or_none_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("minivit.course.release.new.ROOT", ROOT)
    new("b1_rows", "", tmp_path)
    assert assignments(tmp_path)["b1_rows"].about["title"] == "Rows"
    for name in ("b1_rows", "b1_other", "b1"):
        with pytest.raises(CourseError, match="there is an assignment b1 already"):
            new(name, "", tmp_path)
    for name in ("B2", "../b2", "2b", "b 2", "b2-x", ""):
        with pytest.raises(CourseError, match="is not a name for an assignment"):
            new(name, "", tmp_path)
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", ROOT):
        with pytest.raises(CourseError, match="there is no folder"):
            new("b2_x", "", root)
    (tmp_path / "file").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["b1_rows"]

"""No wrong solution of an assignment passes its question, and nothing right fails. One test for each assignment."""

import os
from pathlib import Path

import pytest
from toy_assignment import toy_assignments

from minivit.course import gate, grading
from minivit.course.assignment import ROOT, Assignment, assignments

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork")
FOUND = sorted(assignments(ROOT))


@pytest.mark.planted
@pytest.mark.parametrize("name", FOUND)
def test_every_wrong_solution_loses_its_question(name):
    assignment = assignments(ROOT)[name]
    bench = gate.Bench(assignment)
    rows = [
        bench.row(solution, files, hinted=False, brief=True) for solution, files in gate.solutions(assignment).items()
    ]
    assert {row.name: row.fault for row in rows if row.fault} == {}


@pytest.mark.parametrize("name", FOUND)
def test_reference_and_stub_are_graded_as_submissions_are(name):
    assignment = assignments(ROOT)[name]
    grading.check_environment(assignment)
    stub = grading.grade(assignment, grading.texts(assignment.stub), "gate", gate.KEY, proven=True)
    assert stub["total"] == 0
    assert all(text != "passed" for q in stub["questions"].values() for text in q["checks"].values())


def test_each_assignment_gives_the_adapters_of_all_earlier_ones():
    earlier: list[str] = []
    for number in range(1, 8):
        found = [assignment for name, assignment in assignments(ROOT).items() if name.startswith(f"a{number}_")]
        assert [assignment.about.get("given", []) for assignment in found] == [earlier] * len(found), number
        earlier = [*earlier, f"a{number}"]


@pytest.fixture
def toy(tmp_path: Path) -> Assignment:
    return Assignment(toy_assignments(tmp_path) / "t1_weights")


def changed(assignment: Assignment, file: str, old: str, new: str) -> Assignment:
    path = assignment.folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return Assignment(assignment.folder)


def faults(assignment: Assignment, way: str) -> dict[str, str]:
    if way == "sandbox":
        rows = gate.gate(assignment, jobs=1)
    else:
        bench = gate.Bench(assignment)
        rows = [bench.row(name, files) for name, files in gate.solutions(assignment).items()]
    return {row.name: row.fault for row in rows if row.fault}


WAYS = pytest.mark.parametrize("way", ["sandbox", "in process"])


@WAYS
def test_the_toy_passes_the_gate(toy, way):
    assert faults(toy, way) == {}


@WAYS
def test_a_survivor_keeps_the_gate_shut(toy, way):
    weak = changed(toy, "hidden.py", "t.rng.uniform(750, 1000, size=(2, 5))", "t.rng.normal(size=(2, 5))")
    assert faults(weak, way) == {"overflows": "it survives q1"}


@WAYS
def test_a_question_lost_besides_keeps_the_gate_shut(toy, way):
    strict = changed(toy, "assignment.toml", 'after = ["q1"]\n', "")
    assert faults(strict, way) == {"columns": "it also loses q2"}


@WAYS
def test_a_stub_with_points_keeps_the_gate_shut(toy, way):
    open_ = changed(toy, "visible.py", '    t.agree("weighted_mean"', '    return\n    t.agree("weighted_mean"')
    assert faults(open_, way)["stub"] == "the stub passes q2 v_small"


def test_a_right_solution_that_fails_keeps_the_gate_shut(toy):
    narrow = changed(toy, "right/loops.py", "math.exp(entry - top)", "math.exp(entry - top) + 1e-3")
    assert "right:loops" in faults(narrow, "in process")


def test_the_matrix_as_text_and_as_a_page(toy):
    rows = gate.gate(toy, jobs=2)
    text = gate.table(toy, rows)
    assert len(text.splitlines()) == len(rows) == 3 + len(toy.wrongs)
    assert "BAD" not in text
    page = gate.markdown(toy, rows)
    caught = "`v_rows`, `v_sums`, `h_shapes`, `h_large`"
    assert f"| `columns` | the weights are made down the columns | **4/4** | 2/2 | {caught} | yes | shown |" in page
    assert "| `overflows` | large entries overflow | **1/4** |  | `h_large` | no | shown |" in page

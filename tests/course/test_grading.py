"""Points, words, hints and the environment."""

import json
import os

import numpy as np
import pytest
from toy_assignment import toy_assignments

from minivit.course.assignment import Assignment, Check, CourseError, Question
from minivit.course.grading import check_environment, grade, shares, texts
from minivit.course.student.replay import NOTHING
from minivit.course.student.trial import Trial, Wrong

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork")
KEY = b"a key of this test"


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_assignments(tmp_path_factory.mktemp("assignments"))


@pytest.fixture
def t1(toys):
    return Assignment(toys / "t1_weights")


def result(assignment, files, **options):
    return grade(assignment, texts(files), "ann", KEY, **options)


def check(name):
    return Check("q1", name, print, 10.0)


def test_points_are_four_ninths_for_visible_checks_and_five_for_hidden():
    checks = [check(name) for name in ("v_a", "v_b", "v_c", "h_a", "h_b")]
    assert shares(Question("q1", 18, "", unpaid=("v_c",)), checks) == {"v_a": 4, "v_b": 4, "v_c": 0, "h_a": 5, "h_b": 5}
    assert shares(Question("q1", 18, "", unpaid=("v_a", "v_b", "v_c")), checks)["h_a"] == 9
    assert shares(Question("q1", 18, ""), [check("v_a"), check("v_b")])["v_a"] == 9


def test_the_reference_and_other_right_solutions_reach_all(t1):
    assert result(t1, t1.master)["total"] == 100
    assert all(result(t1, files)["total"] == 100 for files in t1.rights.values())


def test_the_stub_reaches_nothing_and_is_not_answered(t1):
    stub = result(t1, t1.stub)
    assert stub["total"] == 0
    assert all("not answered yet" in text for q in stub["questions"].values() for text in q["checks"].values())


def test_the_result_is_the_contract_and_never_changes(t1):
    files = t1.wrong_files("overflows")
    first = result(t1, files)
    assert json.dumps(first) == json.dumps(result(t1, files))
    q1 = first["questions"]["q1"]
    assert (first["assignment"], q1["of"], q1["checks"]["v_rows"]) == ("t1", 50, "passed")
    assert q1["points"] == pytest.approx(50 * (4 / 9 + 5 / 18), abs=1e-3)
    assert first["total"] == round(100 * (q1["points"] + 40) / 90, 2)
    assert first["questions"]["q2"]["points"] == 40


def test_a_known_mistake_is_named_and_its_hint_shown(t1):
    graded = result(t1, t1.wrong_files("columns"))
    assert graded["mistakes"] == {"q1": ["columns"]}
    assert t1.wrongs["columns"].hint in graded["questions"]["q1"]["checks"]["h_shapes"]


def test_what_depends_on_a_wrong_question_gets_no_second_diagnosis(t1):
    words = result(t1, t1.wrong_files("columns"))["questions"]["q2"]["checks"]
    assert set(words.values()) == {"q2 depends on q1, which is wrong: first fix q1"}


def test_what_is_given_is_the_staffs(toys):
    t2 = Assignment(toys / "t2_sharper")
    assert result(t2, t2.master)["total"] == 100
    forged = {**t2.master, "given.py": "softmax = None", "given/__init__.py": "softmax = None"}
    assert result(t2, forged)["total"] == 100


def test_draws_depend_on_the_student(t1):
    seeds = [grade(t1, texts(t1.stub), name, KEY)["seeds"]["q1.h_shapes"] for name in ("ann", "bob")]
    assert seeds[0] != seeds[1]


def test_nobody_is_graded_where_the_reference_fails(tmp_path):
    broken = Assignment(toy_assignments(tmp_path) / "t1_weights")
    path = broken.folder / "master" / "weights.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace("return weights_of_rows @ v", "return 2 * weights_of_rows @ v"),
        encoding="utf-8",
    )
    with pytest.raises(
        CourseError, match=r"environment broken: the reference reaches 55\.56 percent of t1 \(q2 v_small"
    ):
        check_environment(broken)
    with pytest.raises(CourseError, match="environment broken"):
        result(broken, broken.stub)


def test_a_wrong_solution_that_does_not_end_stops_nobody(tmp_path):
    folder = toy_assignments(tmp_path) / "t1_weights"
    text = (folder / "wrong.toml").read_text(encoding="utf-8")
    text += """
[[wrong]]
name = "endless"
question = "q1"
misconception = "a loop without an end"
hint = "When does it end?"
file = "weights.py"
old = '''    shifted = x - np.max(x, axis=-1, keepdims=True)'''
new = '''    while True: pass'''
"""
    (folder / "wrong.toml").write_text(text, encoding="utf-8")
    about = folder / "assignment.toml"
    seconds = "seconds = { v_rows = 1, v_sums = 1, h_shapes = 1, h_large = 1 }"
    about.write_text(
        about.read_text(encoding="utf-8").replace('"softmax"]\n', f'"softmax"]\n{seconds}\n'), encoding="utf-8"
    )
    changed = Assignment(folder)
    files = {
        **changed.master,
        "weights.py": changed.master["weights.py"].replace("np.exp(shifted)", "np.cosh(shifted)"),
    }
    assert result(changed, files)["questions"]["q1"]["points"] < 50


def test_of_mistakes_that_are_alike_here_the_one_that_was_right_before_is_named():
    """What failed before this comparison is another mistake, though it comes first in the list."""
    early, late = ("early", [np.ones(2), np.full(2, 5.0)]), ("late", [np.zeros(2), np.full(2, 5.0)])
    rng = np.random.default_rng(0)
    for others, hint in (({"a": early, "b": late}, "late"), ({"b": late, "a": early}, "late"), ({"a": early}, "early")):
        trial = Trial(print, print, rng, lambda others=others: others)
        trial.close(np.zeros(2), np.zeros(2))
        with pytest.raises(Wrong, match=hint):
            trial.close(np.full(2, 5.0), np.ones(2))
    told = {"a": early, "b": ("record", [NOTHING, np.full(2, 5.0)])}  # as in the record of a visible check
    trial = Trial(print, print, rng, lambda: told)
    trial.close(np.zeros(2), np.zeros(2))
    with pytest.raises(Wrong, match="record"):
        trial.close(np.full(2, 5.0), np.ones(2))

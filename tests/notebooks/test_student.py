"""The student edition: what is left blank, what stays, that it stops where it should and runs once it is filled in."""

import subprocess
import sys

import pytest
from tiny_notebooks import notebook

from minivit.lessons import filled
from minivit.lessons.cells import NotFilled

nbformat, pairs, run, student = map(pytest.importorskip, ("nbformat", "tools.pairs", "run", "tools.student"))

CELL = '''\
# the scores
S = q @ k.T / Dh**0.5
e, total = (
    np.exp(S),
    1,
)
half = 0.5  # given
agree("S", S, reference)
Y = A @ v
S[0] = 1


def softmax(S):
    """S: (N, N) -> A."""
    e = np.exp(S)
    return e / e.sum()
'''
LEFT = '''\
# the scores
S = ...  # yours
e = total = ...  # yours
filled(S=S, e=e, total=total)
half = 0.5  # given
agree("S", S, reference)
Y = ...  # yours
filled(Y=Y)
S[0] = 1


def softmax(S):
    """S: (N, N) -> A."""
    raise NotImplementedError("softmax is yours to write")  # yours'''


def test_values_and_bodies_are_left_to_the_reader_and_all_else_stays():
    assert student.blanked(CELL) == LEFT


def test_the_answers_are_what_stood_there():
    whole = student.blanked(CELL, answers=True)
    assert [line for line in whole.splitlines() if not line.startswith("filled(")] == CELL.splitlines()
    assert whole.count("filled(") == 2


GIVEN = "def f():  # given\n    return 2"


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("x = y = 1\nz = 2", "x = y = 1\nz = ...  # yours\nfilled(z=z)"),  # an assignment to two names says nothing
        ("class A:\n    def f(self):\n        return 1\n\n    b = 2", None),
        ("def f():  # given\n    return 2\n\n\ny = 1", GIVEN + "\n\n\ny = ...  # yours\nfilled(y=y)"),
        ("for i in range(3):\n    a = i\nb = a", "for i in range(3):\n    a = i\nb = ...  # yours\nfilled(b=b)"),
    ],
)  # fmt: skip
def test_other_forms(source, left):
    if left is None:
        assert "f is yours to write" in student.blanked(source)
    else:
        assert student.blanked(source) == left


@pytest.mark.parametrize("source", ["agree('x', 1, 1)", "x = 1  # given", "x[0] = 2", "def f():\n    '''Nothing.'''"])
def test_a_tag_on_a_cell_without_anything_to_write_is_refused(source):
    with pytest.raises(pairs.PairError, match="nothing to fill in"):
        student.blanked(source)


def test_a_line_that_is_not_written_is_named():
    filled(a=1, b=None)
    with pytest.raises(NotFilled, match=r"`b = \.\.\.` and `c = \.\.\.`"):
        filled(a=1, b=..., c=...)


# whole notebooks

INPUTS = "import numpy as np\nfrom minivit.lessons import agree\nx = np.arange(3.0)"


def tagged(folder, *cells, name="07_tiny"):
    """A notebook whose cells that begin with "yours" are tagged."""
    path = notebook(folder, *cells, name=name)
    text = path.read_text(encoding="utf-8").replace("# %%\n# yours\n", '# %% tags=["yours"]\n')
    path.write_text(text, encoding="utf-8")
    return path


def test_a_sound_notebook_stops_at_its_blank_and_runs_filled_in(tmp_path, capsys):
    tagged(tmp_path, INPUTS, "# yours\ny = 2 * x", "agree('y', y, x + x)")
    assert run.main(["--rehearse"], tmp_path) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_a_blank_function_may_stop_later(tmp_path):
    tagged(tmp_path, INPUTS, "# yours\ndef double(x):\n    return 2 * x", "z = x", "agree('y', double(z), x + x)")
    assert run.main(["--rehearse"], tmp_path) == 0


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([INPUTS, "y = 2 * x"], 'no cell has the tag "yours"'),
        ([INPUTS, "y = 2 * missing", "# yours\nz = y"], "NameError"),
        ([INPUTS, "# yours\ndef double(x):\n    return 2 * x"], "runs to its end, although lines are blank"),
        ([INPUTS, "# yours\ny = 3 * x", "agree('y', y, x + x)"], "largest difference"),
        ([INPUTS, "# yours\ndef double(x):\n    return 2 * x", "double(x) + missing"], "NameError"),
    ],
    ids=["no blank", "an error before it", "nothing stops", "a wrong answer", "an error after it"],
)
def test_what_is_wrong_with_the_edition_is_found(tmp_path, capsys, cells, said):
    tagged(tmp_path, *cells)
    assert run.main(["--rehearse"], tmp_path) == 1
    assert said in capsys.readouterr().out


def test_a_wrong_stored_answer_of_an_exercise_is_found(tmp_path, capsys):
    exercise = 'from minivit.lessons import check\ndef f(x):\n    ...\ncheck("7.2", f)'
    tagged(tmp_path / "notebooks", INPUTS, "# yours\ny = 2 * x", exercise)
    answers = tmp_path / "tests/lessons/answers/n07_tiny.py"
    answers.parent.mkdir(parents=True)
    answers.write_text('RIGHT = {"7.2": [lambda *x: 1]}\n', encoding="utf-8")
    assert run.main(["--rehearse"], tmp_path / "notebooks") == 1
    assert "AssertionError" in capsys.readouterr().out


def test_what_is_written_can_be_worked_in(tmp_path):
    told = "# # What came out\n#\n# **In the stored run** it was 3.\n# It was large.\n#\n# More."
    path = tagged(tmp_path, INPUTS, "# yours\ny = 2 * x")
    path.write_text(path.read_text(encoding="utf-8") + f"\n# %% [markdown]\n{told}\n", encoding="utf-8")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/a.json").write_text("{}", encoding="utf-8")
    out = tmp_path / "mine"
    assert run.main(["--student", str(out)], tmp_path) == 0
    written = nbformat.read(out / "07_tiny.ipynb", as_version=4)
    nbformat.validate(written)
    code = [cell.source for cell in written.cells if cell.cell_type == "code"]
    assert code[0].startswith("from minivit.lessons import filled")
    assert code[1] == "y = ...  # yours\nfilled(y=y)"
    assert written.cells[0].source.splitlines()[2].startswith("**Student edition.**")
    assert written.cells[-1].source == f"# What came out\n\n{student.ASKED}\n\nMore."
    assert (out / "results/a.json").exists()


def test_a_students_work_is_not_overwritten(tmp_path, capsys):
    tagged(tmp_path, INPUTS, "# yours\ny = 2 * x")
    out = tmp_path / "mine"
    assert run.main(["--student", str(out)], tmp_path) == 0
    work = (out / "07_tiny.ipynb").read_text(encoding="utf-8") + "\n"
    (out / "07_tiny.ipynb").write_text(work, encoding="utf-8")
    assert run.main(["--student", str(out)], tmp_path) == 1
    assert "has 07_tiny already" in capsys.readouterr().err
    assert (out / "07_tiny.ipynb").read_text(encoding="utf-8") == work


def test_the_notebooks_themselves_are_not_overwritten(capsys):
    with pytest.raises(SystemExit):
        run.main(["--student", str(run.HERE)])
    assert "overwrite" in capsys.readouterr().err


def test_the_command_line_names_what_it_wrote(tmp_path):
    command = [sys.executable, str(run.HERE / "run.py"), "--student", str(tmp_path / "out"), "07"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("1 of the notebooks written to")
    assert (tmp_path / "out/07_attention.ipynb").exists()

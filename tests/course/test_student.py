"""check.py, as a student uses it: in a folder of its own, by an interpreter of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from toy_assignment import T1, toy_assignments

from minivit.course.assignment import assignments, draws
from minivit.course.release.build import _unpacked, student_files
from minivit.course.release.recording import VISIBLE
from minivit.course.student import replay, trial

RIGHT = {name.removeprefix("master/"): text for name, text in T1.items() if name.startswith("master/")}

SHARPER = """\
import weights
from given import softmax


def sharper(x, t):
    return softmax(x / t) + weights.nothing
"""


@pytest.fixture(scope="module")
def zips(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """What students get of t1, and of t2 on either base."""
    found = assignments(toy_assignments(tmp_path_factory.mktemp("assignments")))
    own = student_files(found["t2_sharper"], "own")
    return {"t1": student_files(found["t1_weights"]), "t2": student_files(found["t2_sharper"]), "t2-own": own}


def unpacked(files: dict[str, bytes], folder: Path, **own: str) -> Path:
    """The zip in a folder, with some files as a student has written them."""
    _unpacked({**files, **{f"{name}.py": text.encode() for name, text in own.items()}}, folder)
    return folder


def check(folder: Path, *words: str, cwd: Path | None = None) -> tuple[int, str]:
    """Status of check.py and what it says."""
    done = subprocess.run([sys.executable, str(folder / "check.py"), *words], cwd=cwd or folder, capture_output=True)
    assert b"Traceback" not in done.stderr
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def weights(**changes: str) -> str:
    """weights.py as the reference has it, with places replaced."""
    text = RIGHT["weights.py"]
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def folder(zips, tmp_path) -> Path:
    return unpacked(zips["t1"], tmp_path / "a folder with spaces")


def test_what_is_handed_out_is_not_answered_yet(folder):
    status, said = check(folder)
    assert status == 1
    assert said.count("not answered yet") == 2
    assert "v_" not in said
    assert "0 of 2 questions right, 0.0 of 40.0 visible points" in said


def test_the_reference_is_right_wherever_it_is_called_from(folder, tmp_path):
    unpacked({}, folder, weights=weights())
    status, said = check(folder, cwd=tmp_path)
    assert status == 0
    assert "2 of 2 questions right, 40.0 of 40.0 visible points" in said
    assert not list(folder.rglob("__pycache__"))


def test_a_known_mistake_is_told_by_its_hint_and_costs_its_question_alone(folder):
    wrong = weights(q2=("return weights_of_rows @ v", "return np.full_like(weights_of_rows, 1 / 3) @ v"))
    unpacked({}, folder, weights=wrong)
    status, said = check(folder)
    assert status == 1
    assert "Do all rows of v count the same?" in said
    assert "1 of 2 questions right, 22.2 of 40.0" in said


def test_questions_are_asked_one_by_one(folder):
    unpacked({}, folder, weights=weights(q2=("return weights_of_rows @ v", "return v")))
    assert check(folder, "q1")[0] == 0
    assert check(folder, "1")[0] == 0
    assert check(folder, "Q2", "q1")[0] == 1
    assert check(folder, "q1,1,")[0] == 0
    assert check(folder, "q1, q2")[0] == 1


def test_a_mistyped_question_gets_one_line(folder):
    assert check(folder, "q7") == (2, "There is no question q7; there are q1, q2, and the word pack.\n")
    assert check(folder, "w1") == (2, "w1 is a written question: answer it in answers.md.\n")
    assert check(folder, "pack", "q1") == (2, "`pack` stands alone: python check.py pack\n")


def test_the_list_and_the_help_name_questions_checks_and_commands(folder):
    status, said = check(folder, "--list")
    assert status == 0
    assert "q2  A mean by weights, 40 points\n      v_small: Two rows, three weights.\n" in said
    status, said = check(folder, "--help")
    assert status == 0
    assert "python check.py pack" in said
    assert "_course/visible.py, which you may read" in said


def test_the_list_says_the_name_of_a_check_without_words(folder):
    changed(folder, "assignment.json", "Two rows, three weights.", "")
    assert "      v_small: small\n" in check(folder, "--list")[1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("import os; os._exit(3)", "Python ended unexpectedly, with status 3"),
        ("import os; os._exit(0)", "Python ended"),
        (
            "raise SystemExit('bye')",
            "weighted_mean ends Python (SystemExit: bye), in weights.py line 18 (mean_by_weights)",
        ),
        ("return [][1]", "weighted_mean raises IndexError: list index out of range, in weights.py line 18"),
        ("return mean_by_weights(x, v)", "RecursionError"),
        ("x += 1; return x", "weighted_mean changes x, an argument"),
        ("return None", "weighted_mean returns None: is a `return` missing?"),
        ("return object()", "an object of type object"),
        ("while True: pass", "Does a loop never finish?"),
        ("import time; time.sleep(60)", "it was stopped after 3 seconds. Does"),
    ],
)
def test_what_crashes_or_hangs_costs_that_question_alone(folder, line, told):
    settings = folder / "_course" / "assignment.json"
    settings.write_text(settings.read_text("utf-8").replace('"seconds": 10.0', '"seconds": 0.5'), encoding="utf-8")
    before = "    # BEGIN SOLUTION q2\n"
    unpacked({}, folder, weights=RIGHT["weights.py"].replace(before, f"    {line}\n"))
    status, said = check(folder)
    assert status == 1
    assert told in said
    assert "1 of 2 questions right" in said


def changed(folder: Path, file: str, old: str, new: str) -> None:
    """A file of _course with a text replaced."""
    text = (folder / "_course" / file).read_text("utf-8")
    assert old in text
    (folder / "_course" / file).write_text(text.replace(old, new), encoding="utf-8")


def q1(folder: Path, line: str) -> None:
    """Let the answer of q1 begin with a line."""
    unpacked({}, folder, weights=weights(q1=("    # BEGIN SOLUTION q1\n", f"    {line}\n")))


@pytest.mark.skipif(os.name == "nt", reason="no limit of computing there")
def test_what_computes_too_long_is_stopped_by_its_computing(folder):
    changed(folder, "outcomes.py", "COMPUTING = 3", "COMPUTING = 0.1")
    q1(folder, "while True: pass")
    said = check(folder, "q1")[1]
    assert "v_rows, v_sums: it does not end; it was stopped after 1 second of computing. Does a loop" in said


def test_after_one_that_does_not_end_the_others_of_a_question_get_less_time(folder):
    changed(folder, "assignment.json", '"seconds": 10.0', '"seconds": 0.5')
    changed(folder, "asking.py", "SHORT = 10", "SHORT = 1")
    q1(folder, "import time; time.sleep(60)")
    said = check(folder, "q1")[1]
    assert "v_rows: it does not end; it was stopped after 3 seconds." in said
    assert "v_sums: it does not end; it was stopped after 1 second." in said


def test_what_the_grader_would_stop_is_told_though_it_is_right(folder):
    changed(folder, "assignment.json", '"seconds": 10.0', '"seconds": 0.4')
    busy = "import time; end = time.process_time() + 0.5\n    while time.process_time() < end: pass"
    q1(folder, busy)
    status, said = check(folder, "q1")
    assert status == 0
    assert "Careful: v_rows took 0." in said
    assert " s; the grader allows 0.4 s of CPU time" in said


@pytest.mark.skipif(os.name == "nt", reason="no such terminal there")
def test_a_question_that_takes_long_is_named_on_a_terminal(folder):
    import pty

    changed(folder, "asking.py", "SILENT = 10", "SILENT = 0")
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "check.py", "q1"], cwd=folder, stdout=theirs, stderr=theirs, check=False)
    os.close(theirs)
    assert b"q1: still running" in os.read(ours, 1 << 16)
    os.close(ours)


def test_prints_and_warnings_are_shown_and_cost_nothing(folder):
    noisy = "import warnings; warnings.warn('careful'); print('shape', x.shape, '\\u03b1')"
    unpacked({}, folder, weights=weights(q1=("    # BEGIN SOLUTION q1\n", f"    {noisy}\n")))
    status, said = check(folder, "q1")
    assert status == 0
    assert "| shape (2, 3) \u03b1" in said
    assert "UserWarning: careful" in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = = 1\n", "adapters.py cannot be imported: weights.py line 1"),
        ("import no_such_module\n", "No module named 'no_such_module', in weights.py line 1"),
        ("1 / 0\n", "ZeroDivisionError: division by zero, in weights.py line 1"),
        ("raise SystemExit\n", "SystemExit, in weights.py line 1"),
    ],
)
def test_files_that_cannot_be_imported_are_told_and_not_packed(folder, text, told):
    unpacked({}, folder, weights=text)
    status, said = check(folder)
    assert status == 1
    assert told in said
    status, said = check(folder, "pack")
    assert status == 1
    assert told in said
    assert not list(folder.glob("*.zip"))


def test_what_cannot_be_imported_is_told_once(folder):
    unpacked({}, folder, weights="x = = 1\n")
    status, said = check(folder)
    assert status == 1
    assert said.count("weights.py line 1") == 1
    assert "0 of 2 questions right" in said
    unpacked({}, folder, weights="import os; os._exit(3)\n")
    assert check(folder)[1].count("adapters.py cannot be imported: Python ended unexpectedly, with status 3") == 1


@pytest.mark.parametrize("name", ["expected.npz", "assignment.json", "visible.py", "trial.py", "check.py", ""])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_folder_of_the_course_that_is_not_whole_gets_one_line(folder, name, damaged):
    path = folder / "_course" / name
    if damaged and name:
        path.write_text("((", encoding="utf-8")
    elif name:
        path.unlink()
    else:
        shutil.rmtree(path)
    for words in ((), ("q1",), ("pack",), ("--list",)):
        status, said = check(folder, *words)
        assert status
        assert said.count("\n") == 1
        assert "unpack the zip again" in said


def test_what_is_open_is_told_unless_all_is_as_it_was_handed_out(folder):
    first = RIGHT["weights.py"].partition("    # BEGIN SOLUTION q2")[0]
    unpacked(
        {}, folder, weights=first + "    return later(v)\n\n\ndef later(v):\n    raise NotImplementedError('soon')\n"
    )
    said = check(folder, "q2")[1]
    assert "not answered yet" in said
    assert "v_small: weighted_mean reaches what is not answered yet: soon, in weights.py line 22 (later)\n" in said
    text = (folder / "adapters.py").read_text("utf-8")
    unpacked({}, folder, adapters=text.replace("def weighted_mean", "def mean"))
    assert "v_small: adapters.py has no weighted_mean\n" in check(folder, "q2")[1]


def test_a_missing_adapters_is_told(folder):
    (folder / "adapters.py").unlink()
    assert "adapters.py is missing" in check(folder)[1]
    assert "Nothing is packed: there is no adapters.py" in check(folder, "pack")[1]


def test_a_file_named_like_a_module_of_python_harms_nothing_and_is_told(folder):
    unpacked({}, folder, weights=weights(), random="", json="", ast="", numpy="")
    assert check(folder)[0] == 0
    said = check(folder, "pack")[1]
    assert "random.py has the name of a module of Python" in said
    assert "numpy.py has the name" in said


def test_a_banned_import_is_told(folder):
    unpacked({}, folder, weights=weights(), more="'import jax'\ndef f():\n    from torch.nn import functional\n")
    for words in ((), ("pack",)):
        said = check(folder, *words)[1]
        assert (
            "Careful: more.py line 3 imports torch, which the grader refuses; adapters.py does not use more.py, so"
            in said
        )
        assert "jax" not in said


def test_pack_takes_what_is_handed_in_and_nothing_else(folder):
    unpacked(
        {"notes.txt": b"", "drafts/old.py": b"", "big.py": b"#" * (5 * 2**20 + 1)}, folder, weights=weights(), own=""
    )
    status, said = check(folder, "pack")
    assert status == 0
    with zipfile.ZipFile(folder / "submission-t1.zip") as file:
        assert file.namelist() == ["adapters.py", "answers.md", "own.py", "weights.py"]
        assert file.read("weights.py").decode() == weights()
    assert "Left out: big.py, drafts/, notes.txt. Only *.py, answers.md are handed in" in said
    assert "answers.md is as you got it: w1 is not answered." in said
    answers = (folder / "answers.md").read_text("utf-8")
    (folder / "answers.md").write_text(answers.replace("## AI tools\n", "## AI tools\n\nNone.\n"), encoding="utf-8")
    said = check(folder, "pack")[1]
    assert "Careful: answers.md: w1 is not answered." in said
    assert "AI tools" not in said
    (folder / "answers.md").write_text(answers.replace("points)\n", "points)\n\nIt is zero.\n"), encoding="utf-8")
    said = check(folder, "pack")[1]
    assert "w1" not in said
    assert '"AI tools" is empty' in said
    (folder / "answers.md").unlink()
    assert "Careful: answers.md is missing: w1 is not answered." in check(folder, "pack")[1]
    (folder / "answers.md").write_text("A factor cancels.", encoding="utf-8")
    status, said = check(folder, "pack")
    assert status == 0
    assert "not answered" not in said
    assert "submission-t1.zip holds" in said
    assert "Left out: big.py, drafts/, notes.txt." in said


def test_pack_warns_of_stubs_and_of_files_that_are_no_python(folder):
    unpacked({}, folder, weights=weights(q2=("    # BEGIN SOLUTION q2\n", '    raise NotImplementedError("q2")\n')))
    unpacked({}, folder, draft="def f(:\n")
    status, said = check(folder, "pack")
    assert status == 0
    assert "Careful: q2 is not answered." in said
    assert "Careful: draft.py line 1: invalid syntax" in said


def test_pack_imports_only_what_is_packed(folder):
    lines = "\nimport pathlib\npathlib.Path(__file__).with_name('data.txt').read_text()\n"
    unpacked({"data.txt": b"1"}, folder, weights=weights() + lines)
    assert check(folder)[0] == 0
    status, said = check(folder, "pack")
    assert status == 1
    assert "data.txt" in said


def test_folders_of_modules_are_packed_where_they_are_imported(folder):
    files = {"more/own.py": b"import deep.er\nx = 1", "deep/er/__init__.py": b"", "drafts/old.py": b"import more.own"}
    unpacked(files, folder, weights=weights() + "\nfrom more.own import x\n")
    status, said = check(folder, "pack")
    assert status == 0
    with zipfile.ZipFile(folder / "submission-t1.zip") as file:
        names = file.namelist()
    assert names == ["adapters.py", "answers.md", "deep/er/__init__.py", "more/own.py", "weights.py"]
    assert "Left out: drafts/." in said


def test_pytest_finds_one_test_for_each_check_and_says_the_same(folder):
    unpacked(
        {"pytest.ini": b"[pytest]\n"},
        folder,
        weights=weights(q1=("axis=-1, keepdims=True)\n    #", "axis=0, keepdims=True)\n    #")),
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA"], cwd=folder, capture_output=True
    )
    said = done.stdout.decode("utf-8", "replace")
    for name in ("q1-v_rows", "q1-v_sums", "q2-v_small"):
        assert f"test_visible.py::test_visible[{name}]" in said
    assert "Which entries have to sum to 1" in said
    assert done.returncode == 1


def test_a_debugger_stands_in_the_students_code(folder):
    q1(folder, "width = len(x) + 40; return [][width]")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pdb", "-x", "-k", "q1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, input=b"p ('width', width)\nq\n")
    assert b"('width', 42)" in done.stdout


def test_a_breakpoint_without_a_debugger_is_told(folder):
    q1(folder, "breakpoint()")
    said = check(folder, "q1")[1]
    assert "softmax stops at a breakpoint, in weights.py line 8 (soft_maximum): use `python -m pytest -s`" in said


OWN = """\
    t.innocent("weighted_mean", "softmax", right=t.right("softmax", np.ones((1, 2))))
"""


@pytest.fixture(scope="module")
def unpaid(tmp_path_factory) -> dict[str, bytes]:
    """What students get of t1 where q2 has only a visible check without points, of a function given functions."""
    root = toy_assignments(tmp_path_factory.mktemp("unpaid"))
    toml, visible = root / "t1_weights" / "assignment.toml", root / "t1_weights" / "visible.py"
    text = toml.read_text("utf-8").replace('title = "A mean', 'calls = 3\nunpaid = ["v_small"]\ntitle = "A mean')
    toml.write_text(text, encoding="utf-8")
    visible.write_text(visible.read_text("utf-8").rpartition("    t.agree")[0] + OWN, encoding="utf-8")
    (root / "t1_weights" / "wrong.toml").write_text("", encoding="utf-8")
    master = root / "t1_weights" / "master" / "adapters.py"
    text = master.read_text("utf-8").replace("(x, v):", "(run):").replace("mean_by_weights(x, v)", "False")
    master.write_text(text, encoding="utf-8")
    return student_files(assignments(root)["t1_weights"])


@pytest.mark.parametrize(
    ("line", "softmax", "word", "told"),
    [
        (
            "return False",
            "",
            "no false alarm",
            "v_small: no false alarm on your own functions; this says nothing about",
        ),
        ("return True", "return 2 * x", "says nothing", "v_small: says nothing: your own softmax is not right here"),
        ("return False", "raise NotImplementedError", "says nothing", "your own softmax is not right here"),
        ("return 1", "", "wrong", "weighted_mean returned 1 (an int), expected True or False"),
        ("return [run([[1.0]]) for _ in range(4)] and False", "", "wrong", "calls the function more than 3 times"),
        ("return 1 / 0", "", "wrong", "weighted_mean raises ZeroDivisionError"),
    ],
)
def test_a_check_without_points_says_what_it_proves(unpaid, tmp_path, line, softmax, word, told):
    text = RIGHT["adapters.py"].replace("(x, v):", "(run):").replace("return mean_by_weights(x, v)", line)
    text = text.replace("return soft_maximum(x)", softmax or "return soft_maximum(x)")
    folder = unpacked(unpaid, tmp_path / "t1", weights=weights(), adapters=text)
    status, said = check(folder, "q2")
    assert status == (word != "no false alarm")
    assert f" {word} " in said
    assert told in said
    assert "graded by hidden checks alone" in said
    assert "0.0 of 0.0" not in said
    assert "The visible checks of q2 give no points" in (folder / "README.md").read_text("utf-8")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for another process")
def test_ctrl_c_ends_quietly(folder):
    unpacked(
        {},
        folder,
        weights=weights(q1=("    # BEGIN SOLUTION q1\n", "    open('begun', 'w').close()\n    while True: pass\n")),
    )
    process = subprocess.Popen(
        [sys.executable, "check.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    while not (folder / "begun").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[0].decode()
    assert process.returncode == 130
    assert said.endswith("\nStopped in q1.\n")
    assert "Traceback" not in said


def test_an_old_python_or_no_numpy_gets_one_line(folder):
    text = (folder / "check.py").read_text("utf-8")
    (folder / "check.py").write_text(text.replace("(3, 9)", "(9, 9)"), encoding="utf-8")
    status, said = check(folder)
    assert status == 1
    assert said.startswith("Python 3.9 or later is needed, and this is 3.")
    assert said.count("\n") == 1
    (folder / "check.py").write_text(text.replace("zipfile, numpy", "zipfile, no_numpy"), encoding="utf-8")
    status, said = check(folder)
    assert status == 1
    assert said.startswith("NumPy is missing. Install it with:")
    assert said.count("\n") == 1
    unpacked({".venv/bin/python": b""}, folder)
    said = check(folder)[1]
    assert f"Or did you mean {Path('.venv/bin/python')} check.py?" in said
    assert said.count("\n") == 1


def test_given_holds_the_reference_of_earlier_assignments_beside_modules_of_the_same_names(zips, tmp_path):
    text = SHARPER.replace("softmax\n", "softmax, weighted_mean\n")
    folder = unpacked(zips["t2"], tmp_path / "t2", adapters=text, weights="nothing = 0")
    assert check(folder)[0] == 0
    assert not (folder / "given" / "weights.py").exists()


def test_the_own_base_asks_for_the_earlier_files_keeps_them_apart_and_packs_them(zips, tmp_path):
    folder = unpacked(zips["t2-own"], tmp_path / "t2", adapters=SHARPER, weights="nothing = 0")
    assert "earlier/t1/adapters.py is missing: put there what you handed in for t1" in check(folder)[1]
    lazy = RIGHT["adapters.py"].replace("from weights import mean_by_weights, soft_maximum\n", "")
    lazy = lazy.replace("    return soft", "    from weights import soft_maximum\n    return soft")
    files = {"adapters.py": lazy, "weights.py": weights()}
    _unpacked({name: data.encode() for name, data in files.items()}, folder / "earlier" / "t1")
    assert check(folder)[0] == 0
    assert check(folder, "pack")[0] == 0
    with zipfile.ZipFile(folder / "submission-t2.zip") as file:
        names = file.namelist()
    assert names == ["adapters.py", "earlier/t1/adapters.py", "earlier/t1/weights.py", "weights.py"]


def test_a_right_solution_in_another_style_passes(zips, tmp_path):
    folder = unpacked(zips["t1"], tmp_path / "t1", adapters=T1["right/loops.py"])
    assert check(folder)[0] == 0


def test_another_numpy_changes_no_draw(folder):
    """The draws are those of the release, whatever this NumPy would draw."""
    records = replay.unpack((folder / "_course" / "expected.npz").read_bytes())
    again = replay.Redrawing(records["q1"]["v_rows"]["drawn"])
    assert again.normal(size=(2, 3)).tobytes() == draws(VISIBLE, "t1", "q1", "v_rows").normal(size=(2, 3)).tobytes()
    with pytest.raises(trial.Wrong, match="not the one of the release"):
        again.normal(size=2)


def test_values_survive_packing_bit_for_bit():
    value = {
        "a": [np.arange(6.0).reshape(2, 3), np.float32(0.1), (1, 2.5, None, True, "x")],
        "b": {1: 1j, "c": [-0.0, np.nan]},
    }
    assert replay.crc(replay.unpack(replay.pack(value))) == replay.crc(value)
    assert replay.pack(value) == replay.pack(value)
    assert replay.crc(np.zeros(2)) != replay.crc(np.zeros((1, 2))) != replay.crc(np.zeros((1, 2), np.int64))


def test_a_drawing_is_drawn_again_also_where_it_changes_its_argument():
    def use(rng):
        order = np.arange(5)
        rng.shuffle(order)
        return [order, rng.integers(3), rng.random(), rng.permutation(4), rng.choice(["a", "b"])]

    drawing = replay.Drawing(np.random.default_rng(0))
    first = use(drawing)
    again = use(replay.Redrawing(replay.unpack(replay.pack(drawing.drawn))))
    assert replay.crc(first) == replay.crc(again)


def test_wrong_solutions_are_recorded_where_they_differ(zips):
    records = replay.unpack(zips["t1"]["_course/expected.npz"])
    hints = [hint for hint, _ in records["q1"]["v_rows"]["others"]]
    assert hints == [
        "Which entries have to sum to 1: those of a row, or those of a column?"
    ]  # not the one that overflows
    about = json.loads(zips["t1"]["_course/assignment.json"])
    assert [check["points"] for check in about["questions"][0]["checks"]] == pytest.approx([100 / 9, 100 / 9])


@pytest.mark.skipif(shutil.which("python3.9") is None, reason="no Python 3.9 here")
def test_files_that_travel_are_python_3_9(zips, tmp_path):
    folder = unpacked(zips["t1"], tmp_path / "t1")
    sources = [str(path) for path in folder.rglob("*.py")]
    code = "import ast, sys; [ast.parse(open(name, encoding='utf-8').read()) for name in sys.argv[1:]]; print('parsed')"
    done = subprocess.run(["python3.9", "-c", code, *sources], capture_output=True)
    assert b"parsed" in done.stdout or b"not found" in done.stderr + done.stdout, done.stderr

"""A class is graded: what is written, by how many processes, stopped and started again."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_assignment

from minivit.course.__main__ import main
from minivit.files import locks

pytestmark = toy_assignment.forks

HOLDS_A_PROCESS = """
import time

def softmax(x):
    time.sleep(0.2)
    return x
"""


@pytest.fixture
def course(tmp_path):
    """A folder with assignments, a key and submissions: alice is right, bob forgot q2, carl's is no code."""
    toy_assignment.toy_assignments(tmp_path / "assignments")
    (tmp_path / "key").write_bytes(bytes(range(32)))
    right = toy_assignment.T1["master/weights.py"]
    wrong = "return np.full_like(weights_of_rows, 1 / weights_of_rows.shape[1]) @ v"
    for name, weights in (("alice", right), ("bob", right.replace("return weights_of_rows @ v", wrong))):
        files = {"adapters.py": toy_assignment.T1["master/adapters.py"], "weights.py": weights}
        toy_assignment.write(tmp_path / "sent" / name, files)
    (tmp_path / "sent/carl.py").write_text("def softmax(x)\n", encoding="utf-8")
    return tmp_path


def words(course: Path, *more: str, name: str = "t1", out: str = "out") -> list[str]:
    places = [str(course / one) for one in ("sent", "key", out, "assignments")]
    return ["grade", name, places[0], "--key", places[1], "--out", places[2], "--assignments", places[3], *more]


def rows(course: Path, out: str = "out") -> list[dict[str, str]]:
    return list(csv.DictReader((course / out / "grades.csv").read_text(encoding="utf-8-sig").splitlines()))


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_class_has_results_feedback_grades_and_an_overview(course, capsys):
    (course / "sent/alice/answers.md").write_text("# w1\n\nA factor cancels.\n", encoding="utf-8")
    assert main(words(course)) == 0
    assert (course / "out/answers/alice.md").read_text(encoding="utf-8") == "# w1\n\nA factor cancels.\n"
    assert set(everything(course / "out")) == {
        "answers.html",
        "answers/alice.md",
        *(f"results/{name}.json" for name in ("alice", "bob", "carl")),
        *(f"feedback/{name}.html" for name in ("alice", "bob", "carl")),
        "grades.csv",
        "overview.html",
        "written.csv",
    }
    bob = json.loads((course / "out/results/bob.json").read_text(encoding="utf-8"))
    assert bob["assignment"] == "t1"
    assert bob["total"] == 55.56
    checks = bob["questions"]["q1"]["checks"]
    assert bob["questions"]["q1"] == {
        "points": 50,
        "of": 50,
        "checks": dict.fromkeys(checks, "passed"),
    }
    assert "Do all rows of v count the same?" in bob["questions"]["q2"]["checks"]["v_small"]
    table = {row["student"]: row for row in rows(course)}
    assert {name: (row["q1"], row["q2"], row["w1"], row["total"]) for name, row in table.items()} == {
        "alice": ("50", "40", "", "100"),
        "bob": ("50", "0", "", "55.56"),
        "carl": ("0", "0", "", "0"),
    }
    assert "SyntaxError" in (course / "out/feedback/carl.html").read_text(encoding="utf-8")
    assert "the weights are not used" in (course / "out/overview.html").read_text(encoding="utf-8")
    assert "3 graded; mean 51.9 %" in capsys.readouterr().out


def test_what_is_done_is_not_done_again_and_what_has_changed_is(course, capsys):
    assert main(words(course)) == 0
    before = everything(course / "out")
    times = {name: (course / "out/results" / f"{name}.json").stat().st_mtime_ns for name in ("alice", "bob", "carl")}

    def graded():
        now = {name: (course / "out/results" / f"{name}.json").stat().st_mtime_ns for name in times}
        return {name for name in times if now[name] != times[name]}, times.update(now)

    assert main(words(course, "--jobs", "1")) == 0
    assert "3 of 3 are done already" in capsys.readouterr().out
    assert everything(course / "out") == before
    assert graded()[0] == set()
    assert main(words(course, "--again", "bob")) == 0
    assert "changed" not in capsys.readouterr().out
    assert everything(course / "out") == before
    assert graded()[0] == {"bob"}
    shutil.copy(course / "sent/alice/weights.py", course / "sent/bob/weights.py")
    assert main(words(course)) == 0
    assert graded()[0] == {"bob"}
    assert rows(course)[1]["total"] == "100"
    assert "changed: 1\n2 of 3 are done already" in capsys.readouterr().out
    (course / "key").write_bytes(bytes(range(1, 33)))
    assert main(words(course)) == 0
    assert "changed: 3\n" in capsys.readouterr().out
    assert graded()[0] == {"alice", "bob", "carl"}
    assert main(words(course, "--again", "bbo")) == 2
    assert 'no student "bbo"; did you mean "bob"?' in capsys.readouterr().err


def test_the_number_of_processes_changes_nothing(course):
    for jobs in ("1", "3"):
        assert main(words(course, "--jobs", jobs, out=f"out{jobs}")) == 0
    assert everything(course / "out1") == everything(course / "out3")


def started(course: Path, **more) -> subprocess.Popen:
    """The command in a process of its own, over a class that takes some seconds; it has begun."""
    for number in range(4):
        (course / f"sent/slow{number}.py").write_text(HOLDS_A_PROCESS + f"# {number}\n", encoding="utf-8")
    argv = [sys.executable, "-m", "minivit.course", *words(course)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    while process.poll() is None and len(list((course / "out/results").glob("*.json"))) < 3:
        time.sleep(0.02)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT] if sys.platform != "win32" else [])
def test_stopped_in_the_middle_it_goes_on(course, number):
    process = started(course)
    process.send_signal(number)
    _, told = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert told.count("\n") == 1
        assert "of 7 are graded; the same command continues" in told
    assert not (course / "out/grades.csv").exists()
    done = {path: path.stat().st_mtime_ns for path in (course / "out/results").glob("*.json")}
    assert 3 <= len(done) < 7
    assert main(words(course)) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    if number == signal.SIGKILL:
        assert main(words(course, out="at_once")) == 0
        assert everything(course / "out") == everything(course / "at_once")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_stopped_in_the_middle_it_leaves_no_folder_of_a_submission(course):
    temporary = course / "temporary"
    temporary.mkdir()
    toy_assignment.write(course / "sent/dora", {"adapters.py": "import endless\n", "endless.py": "while True: pass\n"})
    process = started(course, env={**os.environ, "TMPDIR": str(temporary)})
    while not list(temporary.glob("course-*/endless.py")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert not list(temporary.iterdir())


def test_two_runs_into_one_folder_are_one_too_many(course, capsys):
    (course / "out").mkdir()
    with locks.lock(course / "out/lock"):
        assert main(words(course)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"out is in use: process {os.getpid()}" in told


def test_without_a_right_reference_nobody_gets_a_grade(course, capsys):
    oracle = course / "assignments/t1_weights/oracle.py"
    oracle.write_text(oracle.read_text(encoding="utf-8").replace("(x)[0]", "(x)[0] * 1.1"), encoding="utf-8")
    assert main(words(course)) == 3
    told = capsys.readouterr().err
    assert told.startswith("error: environment broken")
    assert told.count("\n") == 1
    assert not (course / "out/grades.csv").exists()
    assert not list((course / "out/results").glob("[ab]*.json"))


def test_a_submission_that_brings_the_grader_down_is_left_to_people(course, capsys):
    visible = course / "assignments/t1_weights/visible.py"
    bomb = (
        "\n\ndef q1_v_bomb(t):\n    import os\n"
        "    if t.call('softmax', t.rng.normal(size=(2, 2)))[0, 0] == 7:\n        os._exit(9)\n"
    )
    visible.write_text(visible.read_text(encoding="utf-8") + bomb, encoding="utf-8")
    (course / "sent/dora.py").write_text("def softmax(x):\n    return x * 0 + 7\n", encoding="utf-8")
    assert main(words(course)) == 1
    assert "the grader failed on dora: the same command tries again" in capsys.readouterr().out
    dora = rows(course)[3]
    assert (dora["total"], dora["q1"]) == ("", "")
    assert dora["remarks"].startswith("NOT GRADED, the grader failed (its process ended with status 9)")
    assert not (course / "out/results/dora.json").exists()
    assert rows(course)[0]["total"] == "100"


def test_points_given_by_hand_are_merged(course, capsys):
    assert main(words(course)) == 0
    template = course / "out/written.csv"
    assert template.read_text(encoding="utf-8") == "student,id,w1\nalice,,\nbob,,\ncarl,,\n"
    template.write_text("student;id;w1\nalice;;7,5\nbob;;\n", encoding="utf-8")
    assert main(words(course, "--written", str(template))) == 0
    assert [(row["w1"], row["total"]) for row in rows(course)] == [("7.5", "97.5"), ("", "55.56"), ("", "0")]
    assert json.loads((course / "out/results/alice.json").read_text(encoding="utf-8"))["written"] == {
        "w1": {"points": 7.5, "of": 10}
    }
    assert template.read_text(encoding="utf-8") == "student,id,w1\nalice,,7.5\nbob,,\ncarl,,\n"
    assert "written questions of 2 are not graded" in capsys.readouterr().out
    template.write_text("student;id;w1\nalice;;7,5\nbob;;2\ncarl;;\n", encoding="utf-8")
    assert main(words(course)) == 0  # the points in the folder count, whether --written is given or not
    assert [(row["w1"], row["total"]) for row in rows(course)] == [("7.5", "97.5"), ("2", "52"), ("", "0")]
    assert template.read_text(encoding="utf-8").startswith("student;id;w1\nalice;;7,5\n")
    (course / "others.csv").write_text("student,w1\ncarl,1\nbob,3\n", encoding="utf-8")
    assert main(words(course, "--written", str(course / "others.csv"))) == 0
    assert main(words(course, "--again", "all")) == 0
    assert [row["w1"] for row in rows(course)] == ["7.5", "3", "1"]
    assert template.read_text(encoding="utf-8") == "student,id,w1\nalice,,7.5\nbob,,3\ncarl,,1\n"


def test_a_folder_of_another_assignment_is_left_alone(course, capsys):
    assert main(words(course)) == 0
    for path in (course / "out/results").glob("*.json"):
        path.write_text(path.read_text(encoding="utf-8").replace('"t1"', '"t9"', 1), encoding="utf-8")
    before = everything(course / "out")
    assert main(words(course)) == 2
    assert "holds grades of t9: choose another folder for t1, with --out" in capsys.readouterr().err
    assert everything(course / "out") == before


def test_a_program_that_does_not_import_is_remarked(course):
    assert main(words(course)) == 0
    alice, bob, carl = (row["remarks"] for row in rows(course))
    assert (alice, bob) == ("", "")
    assert carl.startswith("No check could run: adapters.py raises SyntaxError")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("student,w1\nalice,11\n", "line 2: w1: 11 points, where 0 to 10 can be given"),
        ("student,w1\nalice,-1\n", "line 2: w1: -1 points"),
        ("student,w1\nalice,nan\n", "line 2: w1: nan points"),
        ("student,w1\nalice,good\n", "line 2: w1: 'good' is not a number of points"),
        ("student,w1\nalicia,1\n", "line 2: there is no student 'alicia'; did you mean \"alice\"?"),
        ("student,w1\nalice,1\nalice,2\n", "line 3: alice is there twice"),
        ("student,w2\nalice,1\n", "the first line has to be student,w1"),
        ("student,w1,w3\nalice,1,1\n", "there is no written question 'w3'"),
        ("", "the first line has to be student,w1"),
        (None, "cannot be read"),
    ],
)
def test_what_cannot_be_points_is_one_line(course, capsys, table, told):
    file = course / "written.csv"
    if table is not None:
        file.write_text(table, encoding="utf-8")
    assert main(words(course, "--written", str(file))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error


def test_names_and_remarks_are_no_formulas(course):
    (course / "sent/carl.py").rename(course / "sent/=HYPERLINK(1).py")
    (course / "sent/-5").mkdir()
    (course / "sent/-5/@x.py").write_text("x = 1", encoding="utf-8")
    assert main(words(course)) == 0
    with (course / "out/grades.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")]
    assert {"'=HYPERLINK(1)", "'-5"} <= set(cells)
    table = (course / "out/written.csv").read_text(encoding="utf-8").replace("'=HYPERLINK(1),,", "'=HYPERLINK(1),,3")
    (course / "marks.csv").write_text(table, encoding="utf-8")
    assert main(words(course, "--written", str(course / "marks.csv"))) == 0
    assert {row["student"]: row["w1"] for row in rows(course)}["'=HYPERLINK(1)"] == "3"


def test_a_variant_is_told_by_its_functions(course, capsys):
    for name, adapter in (("mae", "softmax"), ("dino", "sharpen")):
        files = {path: text.replace("softmax(x", f"{adapter}(x") for path, text in toy_assignment.T1.items()}
        files["assignment.toml"] = (
            files["assignment.toml"].replace('"t1"', f'"a7-{name}"').replace('"softmax"', f'"{adapter}"')
        )
        files["oracle.py"] = files["oracle.py"].replace(f"ops.{adapter}", "ops.softmax")
        files = {p: t.replace('("softmax"', f'("{adapter}"') for p, t in files.items()}
        toy_assignment.write(course / "assignments" / f"a7_{name}", files)
    toy_assignment.write(
        course / "sent/dora",
        {
            p.removeprefix("master/"): t.replace("softmax(x", "sharpen(x")
            for p, t in toy_assignment.T1.items()
            if p.startswith("master/")
        },
    )
    (course / "sent/emil.py").write_text("def neither(): pass\n", encoding="utf-8")
    assert main(words(course, name="a7")) == 0
    found = {row["student"]: (row["assignment"], row["total"]) for row in rows(course)}
    assert found["alice"] == ("a7-mae", "100")
    assert found["dora"] == ("a7-dino", "100")
    assert found["emil"][1] == "0"
    assert "It is not clear which of" in rows(course)[-1]["remarks"]
    assert main(words(course, "--variant", "dino", name="a7", out="fixed")) == 0
    assert rows(course, "fixed")[0]["total"] == "44.44"  # q2 has the same function in both
    assert main(words(course, "--variant", "deno", name="A7", out="fixed")) == 2
    assert 'no variant "deno"; did you mean "dino"?' in capsys.readouterr().err


def test_results_of_others_stay_and_are_named(course, capsys):
    assert main(words(course)) == 0
    shutil.rmtree(course / "sent/bob")
    assert main(words(course)) == 0
    assert "of nobody in this class, and left as they are: bob" in capsys.readouterr().out
    assert [row["student"] for row in rows(course)] == ["alice", "carl"]

"""What an instructor types, rightly and wrongly."""

import subprocess
import sys

import pytest
import toy_assignment

from minivit.course.__main__ import COMMANDS, main


@pytest.fixture
def place(tmp_path, monkeypatch):
    toy_assignment.toy_assignments(tmp_path / "as")
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "short").write_bytes(b"x")
    toy_assignment.write(tmp_path / "sent", {"ann.py": "def softmax(x):\n    return None\n"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def status(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("grad t1", 'there is no command "grad"; did you mean "grade"?'),
        ("--key key grade", "options come after the command"),
        ("zzz", "choose from list, release, grade, gate, new"),
        ("grade t1 sent --key key --out out", "there are no assignments in"),
        ("grade t9 sent --key key --out out --assignments as", 'there is no assignment "t9"'),
        ("grade t1_wieghts sent --key key --out out --assignments as", 'did you mean "t1_weights"?'),
        ("grade sent sent --key key --out out --assignments as", "sent is not an assignment: it has no"),
        ("grade t1 snt --key key --out out --assignments as", "there is no snt: give the folder or zip"),
        ("grade t1 key --key key --out out --assignments as", "key"),
        ("grade t1 sent --key none --out out --assignments as", "there is no key none"),
        ("grade t1 sent --key short --out out --assignments as", "the key short has 1 bytes"),
        ("grade t1 sent --key key --out sent/out --assignments as", "sent/out lies among the submissions"),
        ("grade t1 sent --key key --out key --assignments as", "cannot write into key"),
        ("grade t1 sent --key key --out out --jobs 0 --assignments as", "expected a whole number of at least 1"),
        ("grade t1 sent --key key --ot out --assignments as", "--out"),
        ("grade t1 sent --key key --out out --again bob --assignments as", 'no student "bob"'),
        ("grade t1 sent --key key --out out --variant mae --assignments as", 't1 has no variant "mae"'),
        ("grade t1 sent --key key --out out --written no.csv --assignments as", "no.csv cannot be read"),
        ("release t1 --key as/t1_weights/key --out out --assignments as", "the key as/t1_weights/key lies in as"),
        ("release t1 --key key --out out --only student,staff --assignments as", "invalid choice"),
    ],
)
def test_what_is_wrong_is_one_line(place, capsys, monkeypatch, words, told):
    if "no assignments" in told:
        words += f" --assignments {place / 'sent'}"
    assert status(*words.split()) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (place / "out").exists() or not list((place / "out").glob("*.csv"))


@toy_assignment.forks
@pytest.mark.parametrize("name", ["t1", "T1", "t1_weights", "t1-weights", "as/t1_weights", "as/t1_weights/"])
def test_an_assignment_has_several_names(place, name):
    assert status("grade", name, "sent", "--key", "key", "--out", "out", "--assignments", "as") == 0
    assert (
        (place / "out/grades.csv")
        .read_text(encoding="utf-8")
        .startswith("student,id,q1,q2,w1,total,remarks\nann,,0,0,,0,")
    )


def test_the_list_says_what_there_is(place, capsys):
    assert status("list", "--assignments", "as") == 0
    told = capsys.readouterr().out
    assert "t1       Weights\n" in told
    assert "t1_weights; 1 h; 2 questions, 90 points + 10 by hand" in told


@toy_assignment.forks
def test_a_release_is_made_and_said(place, capsys):
    assert status("release", "t1", "--key", "new.key", "--out", "out", "--only", "student", "--assignments", "as") == 0
    assert (place / "out/t1-student.zip").exists()
    assert "new.key is the key of the course, made just now" in capsys.readouterr().out
    assert (place / "new.key").stat().st_size >= 16


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command, capsys):
    assert status(command, "--help") == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: ")
    assert command == "list" or f"course {command} " in told.partition("examples:")[2]


@pytest.mark.parametrize("door", [["minivit.course"], ["minivit", "course"]])
def test_both_doors_lead_there(door):
    run = [sys.executable, "-m", *door]
    assert "  grade     grade a class" in subprocess.run(run, capture_output=True, text=True, check=True).stdout
    wrong = subprocess.run([*run, "grade"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)

"""The gate as it is typed, and the page of kill matrices."""

import re

import pytest
import toy_assignment

from minivit.course import gate_command
from minivit.course.__main__ import main
from minivit.course.assignment import assignments

SECTIONS = gate_command.sections(gate_command.PAGE.read_text(encoding="utf-8"))
KNOWN = {one.id: one for one in assignments().values()}


def listed(section: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.M)


@pytest.mark.parametrize("name", KNOWN)
def test_the_page_shows_every_wrong_solution_of(name):
    assert name in SECTIONS, "python -m minivit.course gate --all --write"
    assert sorted(listed(SECTIONS[name])) == sorted(KNOWN[name].wrongs)
    assert "**nothing**" not in SECTIONS[name]


def test_the_page_shows_no_other_assignment():
    assert set(SECTIONS) <= set(KNOWN)


def test_the_course_is_listed_with_its_hours():
    page = (gate_command.PAGE.parents[1] / "course.md").read_text(encoding="utf-8")
    hours = {name.lower(): float(h) for name, h in re.findall(r"^\| (A\d|P) \|[^|]*\| (\d+) h", page, flags=re.M)}
    assert {name.partition("-")[0]: one.about["hours"] for name, one in KNOWN.items()}.items() <= hours.items()


@pytest.fixture
def toys(tmp_path, monkeypatch):
    monkeypatch.setattr(gate_command, "PAGE", tmp_path / "matrices.md")
    (tmp_path / "matrices.md").write_text("# Kill matrices\n", encoding="utf-8")
    return toy_assignment.toy_assignments(tmp_path / "assignments")


def gate(toys, *words: str) -> int:
    return main(["gate", *words, "--assignments", str(toys)])


def test_sections_are_made_one_by_one_or_all_at_once(toys, capsys):
    page = gate_command.PAGE
    assert gate(toys, "t2", "--write") == 0
    assert list(gate_command.sections(page.read_text(encoding="utf-8"))) == ["t2"]
    assert gate(toys, "t1_weights", "--write", "--jobs", "1") == 0
    both = page.read_text(encoding="utf-8")
    assert list(gate_command.sections(both)) == ["t1", "t2"]
    assert "5 in 2 assignments" in both
    assert listed(gate_command.sections(both)["t1"]) == ["columns", "overflows", "of_columns_of_v", "in_place"]
    assert gate(toys, "--all", "--write") == 0
    assert page.read_text(encoding="utf-8") == both
    assert "ok  reference" in capsys.readouterr().out


def test_a_survivor_is_told_and_not_written(toys, capsys):
    wrong = toys / "t2_sharper/wrong.toml"
    harmless = (
        toy_assignment.T2["wrong.toml"].replace('"times"', '"none"').replace("x * temperature", "x / (temperature)")
    )
    wrong.write_text(toy_assignment.T2["wrong.toml"] + harmless, encoding="utf-8")
    before = gate_command.PAGE.read_text(encoding="utf-8")
    assert gate(toys, "t2", "--write") == 1
    told = capsys.readouterr().out
    assert "BAD none" in told
    assert "it survives q1" in told
    assert gate_command.PAGE.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(("words", "told"), [([], "which assignment? or --all"), (["t1", "--all"], "--all, or some")])
def test_what_is_to_be_gated_has_to_be_said(toys, capsys, words, told):
    with pytest.raises(SystemExit) as end:
        gate(toys, *words)
    assert end.value.code == 2
    assert told in capsys.readouterr().err

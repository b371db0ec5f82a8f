"""Where assignments are found, and how solutions of the staff are loaded and given up."""

import sys

import pytest

from minivit.course.assignment import FOLDER, ROOT, assignments, home
from minivit.course.solution import TooLong, limited, load


def test_a_clone_has_its_assignments_beside_the_package():
    assert ROOT.is_absolute()
    assert "a3_attention" in assignments()


def test_an_installed_package_finds_those_of_the_folder_where_one_stands(tmp_path, monkeypatch):
    found = home(tmp_path / "site-packages" / "minivit")
    assert found == FOLDER
    (tmp_path / "clone" / FOLDER / "b1_own").mkdir(parents=True)
    (tmp_path / "clone" / FOLDER / "b1_own" / "assignment.toml").write_text('id = "b1"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path / "clone")
    assert [one.id for one in assignments(found).values()] == ["b1"]


def test_a_solution_leaves_no_module_behind():
    text = "from dataclasses import dataclass\n\n\n@dataclass\nclass Pair:\n    x: 'float'\n"
    before = set(sys.modules)
    module = load({"adapters.py": "from __future__ import annotations\nfrom pairs import Pair\n", "pairs.py": text})
    assert module.Pair(1.5).x == 1.5
    assert {name for name in set(sys.modules) - before if name.startswith("_course")} == set()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of CPU time there")
def test_what_does_not_end_is_given_up():
    def endless():
        with limited(0.1):
            while True:
                pass

    with pytest.raises(TooLong):
        endless()

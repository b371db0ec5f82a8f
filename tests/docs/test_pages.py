"""Pages that list what there is leave nothing out."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/api/*.rst"))
DOCUMENTED = re.findall(r"^\.\. automodule:: ([\w.]+)\n   :members:", REFERENCE, flags=re.M)


@pytest.mark.parametrize("room", ["ops", "nn", "models", "optim", "data", "plots", "stepper", "lessons"])
def test_the_reference_has_everything_that_a_room_offers(room):
    package = importlib.import_module(f"minivit.{room}")
    offered = {name: thing for name in package.__all__ if callable(thing := getattr(package, name))}
    assert [name for name, thing in offered.items() if thing.__module__ not in DOCUMENTED] == []


def test_the_reference_shows_every_command():
    commands = re.findall(
        r"^\| `minivit/train\.py`, .* \| the commands \|$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M
    )
    names = re.findall(r"`(?:minivit/)?(\w+)(?:\.py|/)`", commands[0])
    assert len(names) > 5
    assert [name for name in names if f".. command-help:: minivit.{name}\n" not in REFERENCE + "\n"] == []


def test_every_notebook_is_listed_by_its_title():
    page = (ROOT / "docs/notebooks.md").read_text(encoding="utf-8")
    listed = {
        name: title for title, name in re.findall(r"^- \[(.+)\]\(\.\./notebooks/(\w+)\.ipynb\)", page, flags=re.M)
    }
    sources = sorted(ROOT.glob("notebooks/source/*.py"))
    titles = [re.search(r"^# # (.+)$", path.read_text(encoding="utf-8"), flags=re.M) for path in sources]
    assert list(listed) == [path.stem for path in sources]
    assert list(listed.values()) == [title and title[1] for title in titles]


def test_the_reading_guide_has_the_reading_path_of_the_readme():
    in_readme = re.findall(
        r"^\d+\. \[`(minivit/[\w/]+\.py)`\]", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M
    )
    in_guide = re.findall(
        r"^\| \d+ \| \[`(minivit/[\w/]+\.py)`\]", (ROOT / "docs/reading.md").read_text(encoding="utf-8"), flags=re.M
    )
    assert len(in_readme) > 10
    assert in_guide == in_readme

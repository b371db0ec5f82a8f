"""Kinds of data with a path: one table that names, run folders and commands ask."""

from pathlib import Path

import pytest

from minivit import data
from minivit.cli import sources
from minivit.data import kinds
from minivit.data.about import about
from minivit.data.asked import Asked
from minivit.data.kinds import Kind, folder_of, is_divided, one_of, parted
from minivit.errors import ConfigError, DataError
from minivit.runs import folder, plan
from minivit.runs.recipes import Recipe


@pytest.fixture
def boxes(monkeypatch):
    """A kind of data called "boxes". The list gets what it was asked for."""
    asked = []

    def load(path: Path, how: Asked):
        asked.append((path, how))
        return data.load("digits")

    monkeypatch.setitem(kinds.KINDS, "boxes", Kind(load, lambda path: path.name == "divided", "images in boxes"))
    return asked


def test_a_name_is_parted_into_kind_and_path():
    assert parted("folder:a:b") == ("folder", "a:b")
    assert parted("digits") == ("digits", "")
    assert parted("C:/images") == ("C:/images", "")


def test_a_kind_is_loaded_with_all_that_was_asked_for(boxes, tmp_path):
    data.load("boxes:~", tmp_path, "test", bad_images="skip", val_share=0.5, seed=3)
    (path, asked), *_ = boxes
    assert path == Path.home()
    assert asked == Asked("test", "skip", 0.5, 3, None, tmp_path / "index")
    assert ("boxes:PATH", "images in boxes", "where you say") in list(about(None))


def test_run_folders_know_every_kind(boxes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pattern = tmp_path / "gone" / "train-{00..12}.tar"
    assert folder.located("boxes:gone/train-{00..12}.tar") == f"boxes:{pattern}"
    assert folder.short_name(f"boxes:{pattern}") == "boxes:train-{00..12}.tar"
    with pytest.raises(DataError, match=r"gone: there is no such folder, but run was .* --data boxes:PATH"):
        folder.check_place(f"boxes:{pattern}", Path("run"))
    pattern.parent.mkdir()
    folder.check_place(f"boxes:{pattern}", Path("run"))
    assert plan.same_kind("boxes:a", "boxes:b")
    assert not plan.same_kind("boxes:a", "folder:a")
    assert not plan.same_kind("digits", "shapes")


def test_a_run_holds_out_its_share_unless_the_data_is_divided(boxes, tmp_path):
    recipe = Recipe(data=f"boxes:{tmp_path}", val_share=0.25, val_seed=7)
    sources.load_data_of_run(recipe, "test", tmp_path)
    sources.load_data_of_run(recipe, "test", tmp_path, f"boxes:{tmp_path / 'divided'}")
    sources.load_data_of_run(recipe, "test", tmp_path, f"boxes:{tmp_path / 'whole'}")
    assert [(how.val_share, how.seed) for _, how in boxes] == [(0.25, 7), (None, 7), (0.25, 7)]
    assert is_divided("digits")
    with pytest.raises(ConfigError):
        Recipe(data=f"boxes:{tmp_path}", val_share=2)


def test_the_folder_of_a_pattern(tmp_path):
    (tmp_path / "odd[1]").mkdir()
    assert folder_of(tmp_path / "odd[1]") == tmp_path / "odd[1]"
    assert folder_of(tmp_path / "a" / "b*" / "c-{1..2}.tar") == tmp_path / "a"
    assert folder_of(tmp_path / "a" / "b") == tmp_path / "a" / "b"


def test_names_in_a_sentence():
    assert [one_of("abc"[:count]) for count in (1, 2, 3)] == ["a", "a or b", "a, b or c"]

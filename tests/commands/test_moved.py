"""Data that a run finds from everywhere, and data that has moved."""

import json
import os
import shutil
from pathlib import Path

import pytest

SMALL = ("--image-size", 16, "--patch-size", 8, "--width", 8, "--depth", 1, "--heads", 2, "--batch-size", 4)


@pytest.fixture
def run(pets, command, monkeypatch):
    """The folder of a run that was trained on "folder:pets", a path seen from another folder, and stopped in time."""
    monkeypatch.chdir(pets.parent)
    assert command("train", "--data", "folder:pets", *SMALL, "--steps", 2, "--out", "here/a").status == 0
    monkeypatch.chdir("here")
    return Path("a")


def stored(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def test_paths_are_stored_in_full(run, pets, command, monkeypatch):
    assert stored(run)["data"] == f"folder:{pets}"
    monkeypatch.setenv("HOME", str(pets.parent))
    monkeypatch.setenv("USERPROFILE", str(pets.parent))
    options = ("--data", "folder:~/pets", "--init-from", "a", "--data-root", "../here/x", "--steps", 1)
    assert command("train", *options, "--out", "b").status == 0
    found = stored(Path("b"))
    assert found["data"] == f"folder:{pets}"
    assert found["init_from"] == str(run.absolute())
    assert found["data_root"] == str(Path("x").resolve())


def test_a_run_goes_on_from_everywhere(run, pets, command):
    Path("deep").mkdir()
    os.chdir("deep")
    for argv in (
        ("train", "--resume", "../a"),
        ("train", "--config", "../a/config.json", "--out", "b"),
        ("train", "--init-from", "../a", "--steps", 1, "--out", "c"),
        ("visualize", "../a", "--figures", "confusion"),
    ):
        assert command(*argv).status == 0, argv
    assert f"\nfolder:{pets} val: 4 images" in command("evaluate", "../a").out


def test_data_that_has_moved(run, pets, command):
    pets.rename(pets.parent / "moved pets")
    for argv in (("train", "--resume", "a"), ("evaluate", "a"), ("visualize", "a", "--figures", "confusion")):
        text = command(*argv).complaint
        assert f"{pets}: there is no such folder, but a was trained on it" in text
        assert "--data folder:PATH" in text
    for option, source in (("--init-from", "a"), ("--config", "a/config.json")):
        text = command("train", option, source, "--out", "b").complaint
        assert f"{pets}: there is no such folder, but " in text
        assert "a was trained on it; if the data has moved, say where it is now: --data folder:PATH" in text
        assert not Path("b").exists()
    options = ("--data", "folder:../moved pets")
    assert f"\nfolder:{pets.parent / 'moved pets'} val: 4 images" in command("evaluate", "a", *options).out
    assert command("visualize", "a", "--figures", "confusion", *options).status == 0
    assert stored(run)["data"] == f"folder:{pets}"
    assert command("train", "--resume", "a", *options).status == 0
    assert stored(run)["data"] == f"folder:{pets.parent / 'moved pets'}"
    assert command("evaluate", "a").status == 0
    assert command("train", "--config", "a/config.json", *options, "--out", "b").status == 0


def test_a_run_of_before_with_a_path_seen_from_somewhere(run, pets, command):
    values = {**stored(run), "data": "folder:pets"}
    (run / "config.json").write_text(json.dumps(values), encoding="utf-8")
    text = command("evaluate", "a").complaint
    assert f"{Path('pets').absolute()} (folder:pets, seen from the working folder): there is no such folder" in text
    os.chdir(pets.parent)
    assert command("evaluate", "here/a").status == 0
    assert command("train", "--resume", "here/a").status == 0
    assert stored(Path("here/a"))["data"] == f"folder:{pets}"


def test_other_data_in_its_place_is_refused(run, pets, command):
    before = stored(run)
    other = pets.parent / "other"
    shutil.copytree(pets, other)
    (other / "train" / "cat" / "0.png").unlink()
    resume = ("train", "--resume", "a", "--data")
    assert "has changed: 7 images of 2 classes, 8 of 2 when" in command(*resume, f"folder:{other}").complaint
    shutil.copy(pets / "train" / "cat" / "0.png", other / "train" / "cat")
    for split in ("train", "val"):
        (other / split / "cat").rename(other / split / "eel")
    text = command(*resume, f"folder:{other}").complaint
    assert "8 images of 2 classes, 8 of 2 when" in text
    assert "; new: eel; missing: cat; " in text
    assert "has 2 classes (dog, eel), the model was trained on 2 (cat, dog" in (
        command("evaluate", "a", "--data", f"folder:{other}").complaint
    )
    assert "--data can only say where that has moved" in command(*resume, "digits").complaint
    assert f"where that has moved, as folder:{other}" in command(*resume, other).complaint
    assert f"{Path('nowhere').absolute()}: there is no such folder" in command(*resume, "folder:nowhere").complaint
    assert stored(run) == before


def test_the_title_of_a_picture_is_short(run, pets, command, monkeypatch):
    titles = []
    monkeypatch.setattr("minivit.runs.saving.learning_curves", lambda metrics, title, path, loss: titles.append(title))
    monkeypatch.setattr("minivit.files.locks.os.fsync", lambda file: None)
    assert command("train", "--resume", "a").status == 0
    assert titles == ["folder:pets, 2 steps"]

"""The images of large trees are listed once: with and without an index file the result is the same."""

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from minivit import data
from minivit.data import trees
from minivit.data.folder import load_folder

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Two images are many here."""
    monkeypatch.setattr(trees, "LARGE", 2)


@pytest.fixture
def root(tmp_path):
    """train/ with two classes and all that is left out; nothing has changed for long."""
    root = tmp_path / "pets"
    for name in ("cat/b.jpg", "cat/B.JPEG", "cat/deeper/a.png", "cat/deeper/n.txt", "cat/.hidden", "ox/1.jpg", "ox/no"):
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    settle(root)
    return root


def settle(root: Path) -> None:
    """As if no folder had changed for long."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            os.utime(path, (LONG_AGO, LONG_AGO))


def found(root, cache=None):
    """All that is known about the training images."""
    dataset = load_folder(root, "train", keeping=(cache, None))
    return list(dataset.paths), dataset.labels.tolist(), dataset.classes, dataset.left_out


@pytest.fixture
def walked(monkeypatch):
    """The folders that were read, by their names."""
    read, read_class = [], trees.read_class

    def counting(folder):
        read.append(os.path.basename(folder))
        return read_class(folder)

    monkeypatch.setattr(trees, "read_class", counting)
    return read


def test_the_index_says_the_same_without_reading_the_folders(root, tmp_path, walked):
    whole = found(root)
    assert found(root, tmp_path / "index") == whole
    assert walked == ["cat", "ox"] * 2
    assert found(root, tmp_path / "index") == whole
    assert walked == ["cat", "ox"] * 2
    assert len(list((tmp_path / "index").iterdir())) == 1


def test_only_changed_folders_are_read_again(root, tmp_path, walked):
    found(root, tmp_path)
    walked.clear()
    (root / "train" / "ox" / "2.jpg").touch()
    assert found(root, tmp_path) == found(root)
    assert walked == ["ox", "cat", "ox"]  # the latter two without an index


def test_a_change_in_an_inner_folder_is_seen(root, tmp_path, walked):
    found(root, tmp_path)
    walked.clear()
    (root / "train" / "cat" / "deeper" / "z.png").touch()
    assert str(root / "train" / "cat" / "deeper" / "z.png") in found(root, tmp_path)[0]
    assert walked == ["cat"]


def test_a_folder_that_has_just_changed_is_read_each_time(root, tmp_path, walked):
    """A further image could come within one tick of the clock of the file system."""
    os.utime(root / "train" / "ox")
    for _ in range(2):
        found(root, tmp_path)
    assert walked == ["cat", "ox", "ox"]
    os.utime(root / "train" / "ox", (time.time() + 1e6,) * 2)  # a clock that is wrong
    for _ in range(2):
        found(root, tmp_path)
    assert walked == ["cat", "ox", "ox", "ox", "ox"]


def test_folders_with_links_are_read_each_time(root, tmp_path, walked):
    try:
        (root / "train" / "ox" / "link.jpg").symlink_to(tmp_path / "target.jpg")
    except OSError:
        pytest.skip("no links here")
    settle(root)
    assert found(root, tmp_path / "index")[3]["broken links"] == 1
    (tmp_path / "target.jpg").touch()
    assert found(root, tmp_path / "index") == found(root)
    assert len(found(root, tmp_path / "index")[0]) == 5
    assert walked[:4] == ["cat", "ox", "ox", "cat"]


def test_new_and_removed_classes(root, tmp_path, walked):
    found(root, tmp_path)
    (root / "train" / "bee").mkdir()
    (root / "train" / "bee" / "1.jpg").touch()
    settle(root)
    (root / "train" / "ox").rename(tmp_path / "ox")
    walked.clear()
    assert found(root, tmp_path)[1:3] == ([0, 1, 1, 1], ["bee", "cat"])
    assert walked == ["bee"]


def test_what_is_known_of_other_classes_is_kept(root, tmp_path, walked, monkeypatch):
    """As where a run on some classes comes between two on all."""
    monkeypatch.setattr(trees, "LARGE", 0)
    found(root, tmp_path)
    folder = root / "train" / "ox"
    (folder / "2.jpg").touch()
    settle(root)
    os.utime(folder, (LONG_AGO + 1,) * 2)
    trees.read_classes(root / "train", [str(folder)], Counter(), tmp_path)
    walked.clear()
    assert len(found(root, tmp_path)[0]) == 5
    assert walked == []


def test_another_folder_has_another_index(root, tmp_path, walked):
    found(root, tmp_path / "index")
    other = tmp_path / "other"
    root.rename(other)
    assert found(other, tmp_path / "index")[0][0].startswith(str(other))
    assert len(list((tmp_path / "index").iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "nonsense", "foreign", "old"])
def test_a_damaged_index_is_made_anew(root, tmp_path, walked, damage, monkeypatch):
    whole = found(root, tmp_path / "index")
    (index,) = (tmp_path / "index").iterdir()
    if damage == "cut":
        index.write_bytes(index.read_bytes()[:-200])
    elif damage == "nonsense":
        index.write_bytes(b"nonsense")
    elif damage == "foreign":
        other = root.parent / "other" / "train" / "cat" / "strange.jpg"
        other.parent.mkdir(parents=True)
        for name in "strange.jpg", "1.jpg", "2.jpg":
            other.with_name(name).touch()
        os.utime(other.parent, (LONG_AGO, LONG_AGO))
        found(root.parent / "other", tmp_path / "others")
        (theirs,) = (tmp_path / "others").iterdir()
        index.write_bytes(theirs.read_bytes())
    else:
        monkeypatch.setattr(trees, "KEY", "tree 2 of")
    walked.clear()
    assert found(root, tmp_path / "index") == whole
    assert walked == ["cat", "ox"]
    assert found(root, tmp_path / "index") == whole
    assert walked == ["cat", "ox"]


def test_a_cache_that_cannot_be_written_is_no_error(root, tmp_path):
    (tmp_path / "file").touch()
    assert found(root, tmp_path / "file") == found(root, tmp_path / "file" / "deeper") == found(root)


def test_small_folders_have_no_index(root, tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "LARGE", 4)
    found(root, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_load_keeps_the_index_in_the_data_folder_and_tells_of_progress(root, tmp_path):
    steps = []
    for _ in range(2):
        data.load(f"folder:{root}", tmp_path / "data", progress=lambda *step: steps.append(step))
    assert list((tmp_path / "data" / "index").iterdir())
    assert steps == [(1, 2), (2, 2)]

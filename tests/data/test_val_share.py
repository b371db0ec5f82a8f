"""A share of a class folder held out: stratified, by seed and names alone, refused where it makes no sense."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from minivit import data
from minivit.data.folder import load_folder

COUNTS = {"cat": 10, "dog": 2, "ox": 31}


@pytest.fixture
def root(tmp_path):
    """Class folders without train/ and val/. Only names are read, so the files are empty."""
    for name, count in COUNTS.items():
        (tmp_path / "mine" / name / "deeper").mkdir(parents=True)
        for i in range(count):
            (tmp_path / "mine" / name / ("deeper" if i % 3 == 0 else "") / f"{i}.jpg").touch()
    return tmp_path / "mine"


def sides(root, share=0.2, seed=0):
    """The names below `root` on the training and on the test side."""
    found = [load_folder(root, split, val_share=share, seed=seed) for split in ("train", "test")]
    return [{Path(path).relative_to(root).as_posix() for path in dataset.paths} for dataset in found]


@pytest.mark.parametrize(("share", "held_out"), [(0.2, [2, 1, 6]), (0.5, [5, 1, 16]), (0.99, [9, 1, 30])])
def test_every_class_is_divided_and_keeps_some_on_both_sides(share, held_out, root):
    train, test = (load_folder(root, split, val_share=share) for split in ("train", "test"))
    assert [Counter(test.labels.tolist())[k] for k in range(3)] == held_out
    assert [Counter(train.labels.tolist())[k] for k in range(3)] == [
        count - out for count, out in zip(COUNTS.values(), held_out, strict=True)
    ]
    assert sorted([*train.paths, *test.paths]) == sorted(str(path) for path in root.rglob("*.jpg"))
    assert (train.classes, test.classes) == (["cat", "dog", "ox"],) * 2
    assert all(train.classes[label] in Path(path).parts for path, label in zip(test.paths, test.labels, strict=True))
    assert (train.split, test.split) == ("train", "val")


def test_the_division_depends_on_seed_and_names_alone(root, tmp_path):
    first = sides(root)
    assert sides(root) == first
    assert sides(root, seed=1) != first
    moved = shutil.copytree(root, tmp_path / "elsewhere" / "copy")
    assert sides(moved) == first
    (tmp_path / "whole").mkdir()
    shutil.move(root, tmp_path / "whole" / "train")  # class folders in train/, without val/
    train, test = sides(tmp_path / "whole")
    assert [{name.removeprefix("train/") for name in side} for side in (train, test)] == first


def test_an_image_more_moves_hardly_any_other(root):
    _, before = sides(root, 0.5)
    (root / "ox" / "new.jpg").touch()
    _, after = sides(root, 0.5)
    assert len(after ^ before) <= 2


def test_what_cannot_be_divided_is_refused(root, refused):
    for share in (0.0, 1.0, -0.2, float("nan")):
        with refused(f"val_share is {share}, expected more than 0 and less than 1"):
            sides(root, share)
    with refused("digits has its own test images"):
        data.load("digits", val_share=0.2)
    (root / "eel").mkdir()
    only = root / "eel" / "1.jpg"
    only.touch()
    with refused(f"{only} is the only image of its class"):
        sides(root)
    (root / "val").mkdir()
    with refused(f"{root} has val/ already"):
        sides(root)


def test_one_message_says_all_that_is_missing(root, refused):
    for split in ("train", "test"):
        with refused("no train/ and no val/ or test/ in it", "--val-share 0.2, or val_share=0.2"):
            load_folder(root, split)
    train = root / "train"
    train.mkdir()
    with refused("there is no val/ or test/ in it; put class folders there, or", "--val-share 0.2"):
        load_folder(root, "test")
    (root / "valid").mkdir()
    with refused("rename valid/ to val/"):
        load_folder(root, "test")
    train.rename(root / "val")
    with refused("there is no train/ in it; put the training images' class folders there"):
        load_folder(root, "train")


def test_a_part_is_called_as_the_whole(root):
    dataset = load_folder(root, "test", val_share=0.2)
    assert dataset.limit(2).split == dataset.subset([0]).split == "val"

"""Folders of images: layouts, classes, unreadable files."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivit import data
from minivit.data import FolderDataset
from minivit.data.dataset import in_words
from minivit.data.folder import load_labelled
from minivit.data.images import FORMATS


def paint(path, value, size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def root(tmp_path):
    """train/ with cat (2), dog (3, one nested), ox (1); val/ with dog (1), ox (1)."""
    root = tmp_path / "pets"
    paint(root / "train" / "dog" / "b.png", 3)
    paint(root / "train" / "dog" / "a.PNG", 2, (9, 2))
    paint(root / "train" / "dog" / "deeper" / "c.png", 4)
    paint(root / "train" / "cat" / "x.png", 0)
    paint(root / "train" / "cat" / "y.jpeg", 1)
    paint(root / "train" / "ox" / "z.JPG", 5)
    paint(root / "val" / "ox" / "1.png", 7)
    paint(root / "val" / "dog" / "1.png", 6)
    return root


def load(root, split="train", **options):
    return data.load(f"folder:{root}", split=split, **options)


def test_classes_and_files_are_sorted(root):
    dataset = load(root)
    assert isinstance(dataset, FolderDataset)
    assert dataset.classes == ["cat", "dog", "ox"]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert (len(dataset), dataset.channels, dataset.image_size, dataset.name) == (6, 3, None, f"folder:{root}")
    images, labels = dataset.fetch(np.arange(6))
    assert [image[0, 0, 0] for image in images] == [0, 1, 2, 3, 4, 5]
    assert (labels.tolist(), labels.dtype) == ([0, 0, 1, 1, 1, 2], np.int64)


def test_images_keep_their_own_sizes(root):
    images, _ = load(root).fetch([2, 3])
    assert [image.shape for image in images] == [(2, 9, 3), (3, 4, 3)]
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    image, label = load(root)[2]
    assert (image.shape, label) == ((2, 9, 3), 1)


def test_the_test_split_is_val_or_test_with_the_labels_of_train(root):
    dataset = load(root, "test")
    assert (dataset.classes, dataset.labels.tolist()) == (["cat", "dog", "ox"], [1, 2])
    paint(root / "test" / "cat" / "1.png", 9)
    assert len(load(root, "test")) == 2  # val/ comes first
    (root / "val").rename(root / "elsewhere")
    dataset = load(root, "test")
    assert dataset.labels.tolist() == [0]
    assert dataset[0][0][0, 0, 0] == 9


def test_what_is_left_out_is_counted(root):
    (root / "train" / "notes.txt").write_text("hello", encoding="utf-8")
    paint(root / "train" / "lost.png", 9)
    for number, name in enumerate(["notes.txt", "deeper/1.HEIC", "deeper/2.heic", "3.heic", "README"]):
        path = root / "train" / ("dog" if number else "cat") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("hello", encoding="utf-8")
    paint(root / "train" / "cat" / "._x.png", 9)
    paint(root / "train" / "cat" / ".thumbnails" / "x.png", 9)
    paint(root / "train" / ".hidden" / "x.png", 9)
    (root / "val" / "ox" / "a.csv").write_text("", encoding="utf-8")
    dataset = load(root)
    assert dataset.classes == ["cat", "dog", "ox"]
    assert len(dataset) == 6
    left_out = {".heic": 3, "hidden": 3, "beside the class folders": 2, ".txt": 1, "without a suffix": 1}
    assert dataset.left_out == left_out
    assert dataset.limit(2).left_out == left_out
    assert in_words(left_out) == "3 .heic, 3 hidden, 2 beside the class folders, 1 .txt, 1 without a suffix"
    assert load(root, "test").left_out == {".csv": 1}
    labelled = load_labelled(root, "train", {"cat": 0, "dog": 1, "ox": 2}, dataset.classes)
    assert labelled.left_out == left_out


def test_many_kinds_are_one_short_line():
    assert in_words({f".{number:02}": 1 for number in range(20)}).endswith("1 .07, 12 others")
    assert in_words({"." + 99 * "x": 1234}) == "1,234 ." + 59 * "x" + "..."
    assert in_words({}) == ""


def test_every_kind_of_image_that_can_be_read_is_taken(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    names = []
    for kind, suffixes in FORMATS.items():
        for suffix in (*suffixes, *map(str.upper, suffixes)):
            names.append(str(tmp_path / "train" / "a" / f"{kind}{len(names)}{suffix}"))
            Image.new("RGB", (4, 3), (255, 255, 255)).save(names[-1], kind)
    dataset = load(tmp_path)
    assert dataset.paths == sorted(names)
    assert dataset.left_out == {}
    images, labels = dataset.fetch(range(len(dataset)))
    assert len(labels) == len(names)
    assert np.min(images) > 250


def test_the_suffix_says_what_is_taken_and_the_content_how_it_is_read(root):
    (root / "train" / "cat" / "x.png").rename(root / "train" / "cat" / "x.gif")
    (root / "train" / "cat" / "y.jpeg").rename(root / "train" / "cat" / "y")
    dataset = load(root)
    assert (len(dataset), dataset.left_out) == (5, {"without a suffix": 1})
    assert dataset[0][0].max() == 0


def test_the_order_is_that_of_the_names_with_slashes(root):
    """As ever on Linux, and the same where a backslash stands between the parts of a path."""
    paint(root / "train" / "ox" / "b" / "1.png", 2)
    paint(root / "train" / "ox" / "b.png", 1)
    paint(root / "train" / "ox" / "bA.png", 3)
    assert [image[0, 0, 0] for image in load(root).fetch([5, 6, 7, 8])[0]] == [1, 2, 3, 5]


ACUTE = unicodedata.normalize("NFC", "f\u00eate"), unicodedata.normalize("NFD", "f\u00eate")


def test_names_are_the_same_in_both_normal_forms_of_unicode(root, refused):
    composed, decomposed = ACUTE
    paint(root / "train" / decomposed / f"{decomposed}.png", 1)
    paint(root / "train" / decomposed / "fo.png", 2)  # between the two forms of the other name
    paint(root / "val" / composed / "1.png", 1)
    dataset = load(root)
    assert dataset.classes == ["cat", "dog", composed, "ox"]
    assert [image[0, 0, 0] for image in dataset.fetch([5, 6])[0]] == [2, 1]
    assert load(root, "test").labels.tolist() == [1, 2, 3]
    for asked in ACUTE:
        labelled = load_labelled(root, "test", {"dog": 4, "ox": 6, asked: 5}, ["dog", "ox", asked] * 4)
        assert sorted(labelled.labels) == [4, 5, 6]
    (root / "train" / composed).mkdir(exist_ok=True)
    if len(list((root / "train").iterdir())) == 5:  # a file system may take the two for one
        with refused(str(root / "train"), f"two class folders are called {composed}"):
            load(root)


def link(place, target):
    """A link, or a skipped test where they cannot be made."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")


def test_links_are_followed_and_circles_are_not(root, tmp_path):
    paint(tmp_path / "elsewhere" / "1.png", 8)
    paint(tmp_path / "elsewhere" / "deep" / "2.png", 9)
    ox = root / "train" / "ox"
    link(ox / "more", tmp_path / "elsewhere")
    link(ox / "z1.png", tmp_path / "elsewhere" / "1.png")
    link(ox / "more again", tmp_path / "elsewhere")
    link(ox / "self", ox)
    link(ox / "up", "..")  # whose other classes are not oxen
    link(ox / "up2", root)
    link(ox / "round.png", "round.png")
    link(ox / "gone.jpg", "nowhere")
    link(tmp_path / "elsewhere" / "deep" / "back", ox)
    link(root / "train" / "gone", "nowhere")
    dataset = load(root)
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert sorted(image[0, 0, 0] for image in dataset.fetch(range(5, 9))[0]) == [5, 8, 8, 9]
    assert dataset.left_out == {"broken links": 3, "repeated folders": 5}


def test_a_folder_that_may_not_be_read_is_no_silent_gap(root, refused, monkeypatch):
    scandir = os.scandir

    def fail(path):
        if os.path.basename(path) == "deeper":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", fail)
    with refused(str(root / "train" / "dog" / "deeper"), "Permission denied"):
        load(root)


def test_constructor_arguments_may_be_generators_and_are_checked(root, refused):
    paths = [root / "train" / "cat" / "x.png", root / "train" / "dog" / "b.png"]
    dataset = FolderDataset(iter(paths), iter([0, 1]), iter(["cat", "dog"]), "pets")
    assert dataset.paths == [str(path) for path in paths]
    assert [int(image.max()) for image in dataset.fetch(i for i in (1, 0, 1))[0]] == [3, 0, 3]
    assert dataset.subset(i for i in (1,)).labels.tolist() == [1]
    assert len(dataset.subset([])) == 0
    with refused("pets: 2 paths with 1 labels"):
        FolderDataset(paths, [0], ["cat"], "pets")
    with refused('bad_images is "Skip"'):
        FolderDataset(paths, [0, 0], ["cat"], "pets", bad_images="Skip")
    with refused("pets: a mask is not a list of indices"):
        dataset.subset(dataset.labels == 1)


def test_a_class_may_be_a_link_to_a_folder(root, tmp_path):
    paint(tmp_path / "elsewhere" / "1.png", 8)
    link(root / "train" / "zebu", tmp_path / "elsewhere")
    dataset = load(root)
    assert dataset.classes[-1] == "zebu"
    assert dataset[6][0][0, 0, 0] == 8


def test_broken_layouts_are_one_line_each(root, tmp_path, refused):
    with refused("nowhere", "no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "text").touch()
    with refused("text: this is a file, not a folder"):
        load(tmp_path / "text")
    (tmp_path / "empty").mkdir()
    with refused("empty", "no train/"):
        load(tmp_path / "empty")
    with refused("empty", "no train/"):
        load(tmp_path / "empty", "test")
    (tmp_path / "empty" / "train").mkdir()
    with refused("train", "no class folders"):
        load(tmp_path / "empty")
    (root / "train" / "eel").mkdir()
    with refused(str(root / "train" / "eel"), "there are no images in it; add some (.jpg, "):
        load(root)
    (root / "train" / "eel" / "1.heic").write_bytes(b"")
    with refused("there are no images in it (only 1 .heic); add some"):
        load(root)
    (root / "train" / "eel" / "1.heic").unlink()
    (root / "train" / "eel").rmdir()
    paint(root / "val" / "gnu" / "1.png", 1)
    with refused(str(root / "val" / "gnu"), "not in"):
        load(root, "test")
    (root / "val").rename(root / "validation")
    with refused(str(root), "no val/ or test/"):
        load(root, "test")


def test_images_stay_where_they_are_when_the_program_goes_elsewhere(root, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(root.parent)
    datasets = load("pets"), load_labelled(Path("pets"), "train", {"cat": 0, "dog": 1, "ox": 2}, ["cat", "dog", "ox"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for dataset in datasets:
        assert (dataset.name, dataset[5][0].max()) == ("folder:pets", 5)
    with refused(f"pets: there is no such folder in {tmp_path / 'elsewhere'}"):
        load("pets")


def test_refuse_names_the_bad_image(root, refused):
    bad = root / "train" / "cat" / "w.png"
    bad.write_bytes(b"nonsense")
    dataset = load(root)  # only names are read here
    with refused(str(bad), "not an image", 'bad_images="skip"'):
        dataset.fetch([1, 0])
    assert dataset.skipped == {}


def test_skip_leaves_bad_images_out_and_says_why(root, refused):
    bad = root / "train" / "cat" / "w.png"
    bad.write_bytes(b"nonsense")
    paint(root / "train" / "ox" / "thin.png", 0, (1, 5))
    dataset = load(root, bad_images="skip")
    images, labels = dataset.fetch(np.arange(8))
    assert [image[0, 0, 0] for image in images] == [0, 1, 2, 3, 4, 5]
    assert labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert len(dataset) == 8
    assert dataset.skipped.keys() == {str(bad), str(root / "train" / "ox" / "thin.png")}
    assert dataset.skipped[str(bad)].startswith("not an image")
    assert "1 x 5 pixels" in dataset.skipped[str(root / "train" / "ox" / "thin.png")]
    images, labels = dataset.fetch([0])
    assert (images, labels.shape, labels.dtype) == ([], (0,), np.int64)
    with refused("image 0", "skipped"):
        dataset[0]


def test_subset_and_limit(root):
    part = load(root, bad_images="skip").subset([5, 2])
    assert (part.labels.tolist(), part.bad_images, part.classes) == ([2, 1], "skip", ["cat", "dog", "ox"])
    assert [image[0, 0, 0] for image in part.fetch([0, 1])[0]] == [5, 2]
    assert load(root).limit(3).labels.tolist() == [0, 1, 2]


def test_min_size_reaches_the_decoder(tmp_path):
    paint(tmp_path / "train" / "a" / "large.jpg", 100, (800, 400))
    dataset = load(tmp_path)
    assert dataset.fetch([0])[0][0].shape == (400, 800, 3)
    assert dataset.fetch([0], (50, 40))[0][0].shape == (50, 100, 3)

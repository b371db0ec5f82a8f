"""Folders of images: layouts, classes, unreadable files."""

import numpy as np
import pytest
from PIL import Image

from minivit import data
from minivit.data import FolderDataset


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


def test_other_files_and_hidden_ones_are_ignored(root):
    (root / "train" / "notes.txt").write_text("hello", encoding="utf-8")
    (root / "train" / "cat" / "notes.txt").write_text("hello", encoding="utf-8")
    paint(root / "train" / "cat" / "._x.png", 9)
    paint(root / "train" / "cat" / ".thumbnails" / "x.png", 9)
    paint(root / "train" / ".hidden" / "x.png", 9)
    assert load(root).classes == ["cat", "dog", "ox"]
    assert len(load(root)) == 6


def test_a_class_may_be_a_link_to_a_folder(root, tmp_path):
    paint(tmp_path / "elsewhere" / "1.png", 8)
    try:
        (root / "train" / "zebu").symlink_to(tmp_path / "elsewhere")
    except OSError:
        pytest.skip("Windows lets only some users make links")
    dataset = load(root)
    assert dataset.classes[-1] == "zebu"
    assert dataset[6][0][0, 0, 0] == 8


def test_broken_layouts_are_one_line_each(root, tmp_path, refused):
    with refused("nowhere", "no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with refused("empty", "no train/"):
        load(tmp_path / "empty")
    with refused("empty", "no train/"):
        load(tmp_path / "empty", "test")
    (tmp_path / "empty" / "train").mkdir()
    with refused("train", "no class folders"):
        load(tmp_path / "empty")
    (root / "train" / "eel").mkdir()
    with refused(str(root / "train" / "eel"), "no .jpg, .jpeg or .png images"):
        load(root)
    (root / "train" / "eel").rmdir()
    paint(root / "val" / "gnu" / "1.png", 1)
    with refused(str(root / "val" / "gnu"), "not in"):
        load(root, "test")
    (root / "val").rename(root / "validation")
    with refused(str(root), "no val/ or test/"):
        load(root, "test")


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

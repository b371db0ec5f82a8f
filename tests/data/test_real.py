"""ReaL labels: which image has which, and what counts as right."""

import json

import numpy as np
import pytest

from minivit import data
from minivit.data import FolderDataset
from minivit.data.imagenet import imagenet_ids
from minivit.data.real import read_real, real_accuracy, real_labels

LABELS = [[], [970, 795], [230, 231], [809], [999]]
PATHS = [f"val/ILSVRC2012_val_{k:08d}.JPEG" for k in (3, 1, 2)]


def images(paths, classes):
    return FolderDataset(paths, [0] * len(paths), classes, "folder:x")


def test_images_are_found_by_the_numbers_in_their_names():
    dataset = images(PATHS, imagenet_ids())
    assert real_labels(dataset, LABELS) == [{230, 231}, set(), {970, 795}]
    named = ["ILSVRC2012_val_00000004_n04263257.jpeg", "C:\\x\\ilsvrc2012_VAL_00000005.JPEG"]
    assert real_labels(images(named, imagenet_ids()), LABELS) == [{809}, {999}]


def test_labels_of_other_classes_are_dropped():
    classes = [imagenet_ids()[k] for k in (230, 795)]
    assert real_labels(images(PATHS, classes), LABELS) == [{0}, set(), {1}]


def test_other_images_and_classes_are_refused(refused):
    with refused("ReaL labels are for ImageNet's validation images", "val/3.png has another name"):
        real_labels(images(["val/3.png"], imagenet_ids()), LABELS)
    with refused("x/ILSVRC2012_val_000000012.JPEG has another name"):
        real_labels(images(["x/ILSVRC2012_val_000000012.JPEG"], imagenet_ids()), LABELS)
    with refused("ILSVRC2012_val_00000003/1.JPEG has another name"):  # a folder's name does not count
        real_labels(images(["ILSVRC2012_val_00000003/1.JPEG"], imagenet_ids()), LABELS)
    with refused("ILSVRC2012_val_00000006.JPEG: there are ReaL labels for 5 images, but not for this one"):
        real_labels(images(["ILSVRC2012_val_00000006.JPEG"], imagenet_ids()), LABELS)
    with refused("ILSVRC2012_val_00000000.JPEG: there are ReaL labels for 5 images"):
        real_labels(images(["ILSVRC2012_val_00000000.JPEG"], imagenet_ids()), LABELS)
    with refused('"my cat" is none of them'):
        real_labels(images(PATHS, ["n01440764", "my cat"]), LABELS)
    with refused('digits: ReaL labels are for ImageNet\'s classes, but "0" is none of them'):
        real_labels(data.load("digits"), LABELS)


def test_a_file_is_read_or_refused(tmp_path, refused):
    path = tmp_path / "real.json"
    path.write_text(json.dumps(LABELS), encoding="utf-8")
    assert read_real(path) == LABELS
    for content in ("", "{}", "[1, 2]", "[]", "[[1000]]", "[[-1]]", "[[1.5]]", "[[true]]", str([[]] * 50_001)):
        path.write_text(content, encoding="utf-8")
        with refused(f"{path} is no file of ReaL labels"):
            read_real(path)
    with refused("No such file"):
        read_real(tmp_path / "gone")
    with refused("is no file of ReaL labels"):
        read_real(tmp_path)


@pytest.mark.parametrize("right", [[{1}, {4, 2}, set(), {9}], [{1}, {0, 2}, set(), {3}]])
def test_one_of_several_labels_is_enough_and_images_without_one_do_not_count(right):
    best = np.array([[1, 0, 3], [0, 2, 5], [7, 8, 9], [4, 5, 6]])
    count, first, among = real_accuracy(best, [frozenset(labels) for labels in right])
    expected = (1 / 3, 2 / 3) if right[3] == {9} else (2 / 3, 2 / 3)
    assert (count, first, among) == (3, *expected)
    assert real_accuracy(best, [frozenset()] * 4) == (0, 0.0, 0.0)

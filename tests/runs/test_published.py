"""Data sets whose classes have other names than the model's."""

import pytest

from minivit.data import FolderDataset
from minivit.data.imagenet import imagenet_classes, imagenet_ids
from minivit.runs.published import renamed


def folder(classes):
    return FolderDataset(["a.png", "b.png"], [0, len(classes) - 1], classes, "folder:x")


def test_a_part_of_imagenet_gets_the_names_and_numbers_of_the_model():
    data = folder(["goldfish, Carassius auratus", "n01440764"])
    for classes in (imagenet_classes(), imagenet_ids()):
        found = renamed(data, classes)
        assert (found.labels.tolist(), found.classes) == ([1, 0], classes)
    assert data.labels.tolist() == [0, 1]
    assert data.classes[1] == "n01440764"
    found.skipped["a.png"] = "damaged"
    assert data.skipped  # it is the same data


@pytest.mark.parametrize("classes", [["n01440764", "cat"], ["n01440764", "tench"], ["n01484850", "n01440764"]])
def test_other_classes_stay_as_they_are(classes):
    data = folder(classes)
    assert renamed(data, imagenet_ids()[:2]) is data

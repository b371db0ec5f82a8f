"""Data sets in memory, subsets and limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivit.data import ArrayDataset, Dataset
from minivit.errors import DataError


def dataset(labels, classes="abc"):
    labels = np.asarray(labels)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    return ArrayDataset(images, labels, list(classes), "toy")


def test_fetch_gives_the_images_and_labels_of_the_indices():
    images, labels = dataset([0, 1, 2, 1]).fetch([3, 0, 3])
    assert images[:, 0, 0, 0].tolist() == [3, 0, 3]
    assert (images.dtype, images.shape) == (np.uint8, (3, 2, 3, 1))
    assert labels.tolist() == [1, 0, 1]
    assert labels.dtype == np.int64


def test_an_index_gives_one_image_and_iteration_ends():
    toy = dataset([0, 1, 2, 1])
    image, label = toy[2]
    assert (image.shape, image[0, 0, 0], label, type(label)) == ((2, 3, 1), 2, 2, int)
    assert [label for _, label in toy] == [0, 1, 2, 1]
    assert (toy.image_size, toy.channels, len(toy), toy.skipped) == ((2, 3), 1, 4, {})


@pytest.mark.parametrize(("labels", "record", "value"), [([0, 3], 1, 3), ([0, 1, -1], 2, -1)])
def test_labels_out_of_range_are_refused(refused, labels, record, value):
    with refused("toy", f"record {record}", f"label {value}", "0 to 2"):
        dataset(labels)


def test_images_of_another_kind_are_refused(refused):
    with refused("toy", "uint8", "float64"):
        ArrayDataset(np.zeros((2, 4, 4, 3)), np.zeros(2, int), ["a"], "toy")
    with refused("(2, 4, 4)"):
        ArrayDataset(np.zeros((2, 4, 4), np.uint8), np.zeros(2, int), ["a"], "toy")
    with refused("3 labels"):
        ArrayDataset(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, int), ["a"], "toy")


@pytest.mark.parametrize("labels", [[0.5, 1], [float("nan"), 0], ["0", "1"], [[0], [1]], 1e30 * np.ones(2)], ids=str)
def test_labels_that_are_no_whole_numbers_are_refused(refused, labels):
    with refused("toy", "labels must be whole numbers (N,)"):
        ArrayDataset(np.zeros((2, 4, 4, 1), np.uint8), labels, ["a", "b"], "toy")


def test_constructor_arguments_may_be_generators(refused):
    images = (np.full((2, 3, 1), i, np.uint8) for i in range(3))
    toy = ArrayDataset(images, (i % 2 for i in range(3)), (name for name in "ab"), "toy")
    assert (toy.images[:, 0, 0, 0].tolist(), toy.labels.tolist(), toy.classes) == ([0, 1, 2], [0, 1, 0], ["a", "b"])
    assert toy.fetch(i for i in (2, 1))[0][:, 0, 0, 0].tolist() == [2, 1]
    assert toy.subset(i for i in (2, 1)).labels.tolist() == [0, 1]
    with refused("toy", "same size"):
        ArrayDataset((np.zeros((i + 2, 2, 3), np.uint8) for i in range(2)), [0, 0], ["a"], "toy")


@pytest.mark.parametrize("labels", [np.array([True, False]), np.array([1.0, 0.0]), np.array([1, 0], np.uint8)], ids=str)
def test_whole_numbers_of_any_type_are_labels_and_copied(labels):
    toy = dataset(labels)
    labels[:] = 0
    assert (toy.labels.tolist(), toy.labels.dtype) == ([1, 0], np.int64)


def test_indices_are_whole_numbers_and_no_mask(refused):
    toy = dataset([0, 1, 2, 1])
    assert len(toy.fetch([])[1]) == len(toy.subset([])) == 0
    for wrong in ([0.5], [[0, 1]], ["1"]):
        with refused("toy", "indices must be whole numbers"):
            toy.fetch(wrong)
    for mask in (toy.labels == 1, [True, False, True, True]):
        with refused("toy", "np.flatnonzero(mask)"):
            toy.subset(mask)


def test_a_subset_keeps_order_and_kind():
    part = dataset([0, 1, 2, 1]).subset([2, 0])
    assert part.images[:, 0, 0, 0].tolist() == [2, 0]
    assert part.labels.tolist() == [2, 0]
    assert (part.classes, part.name) == (["a", "b", "c"], "toy")


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 50))
def test_a_limit_is_as_even_as_the_classes_allow(labels, count):
    limited = dataset(labels).limit(count)
    assert len(limited) == min(count, len(labels))
    indices = limited.images[:, 0, 0, 0].tolist()
    assert indices == sorted(set(indices))
    available, taken = (np.bincount(x, minlength=3) for x in (labels, limited.labels))
    for a in range(3):
        for b in range(3):
            assert taken[a] + 1 >= taken[b] or taken[a] == available[a]


def test_a_limit_is_random_but_always_the_same():
    toy = dataset([0, 1, 2] * 30)
    chosen = [toy.limit(30, seed).images[:, 0, 0, 0].tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] != list(range(30))
    assert set(toy.limit(10).images[:, 0, 0, 0]) < set(chosen[0])


def test_a_limit_below_one_is_refused(refused):
    with refused("toy", "at least 1"):
        dataset([0]).limit(0)


def test_the_base_class_fetches_nothing():
    with pytest.raises(NotImplementedError):
        Dataset(np.zeros(1, int), ["a"], "base").fetch([0])
    with pytest.raises(NotImplementedError):
        Dataset(np.zeros(1, int), ["a"], "base").subset([0])


def test_a_data_set_shows_what_is_in_it():
    assert repr(dataset([0, 1, 2, 1])) == (
        "ArrayDataset toy: 4 images, uint8 of 2x3 pixels in 1 channel, 3 classes with 1 to 2 images each: a, b, c"
    )
    assert "3 classes with 0 images each" in repr(dataset([]))
    assert repr(dataset([0, 1], "abcdefgh")).endswith("8 classes with 0 to 1 images each: a, b, c, d, e, ...")
    assert "\n" not in repr(ArrayDataset(np.zeros((1, 2, 2, 3), np.uint8), [0], ["a\nb" * 50], "toy"))


@pytest.mark.parametrize("classes", ["cat", {"cat", "dog"}, frozenset(["cat"])])
def test_classes_without_an_order_or_in_one_word_are_refused(classes):
    with pytest.raises(DataError, match="expected a list of names"):
        ArrayDataset(np.zeros((1, 4, 4, 3), np.uint8), [0], classes, "pets")

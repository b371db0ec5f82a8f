"""Drawn scenes: functions of (seed, number), pictures and masks that agree, options."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scene_witness import KINDS, witnessed

from minivit import data
from minivit.data.scenes import LABELS, Scenes, load_captions, load_nested, load_scenes
from minivit.data.scenes_words import WORDS, about_one, decode
from minivit.errors import ConfigError

COUNT = 300


@pytest.fixture(scope="module")
def scenes():
    return Scenes(COUNT, seed=3)


@pytest.fixture(scope="module")
def columns(scenes):
    return scenes.columns(range(COUNT), Scenes.COLUMNS)


def test_a_scene_is_a_function_of_seed_and_number(scenes, columns):
    order = np.random.default_rng(0).permutation(COUNT)[:90]
    mixed = Scenes(1000, seed=3).columns(order, Scenes.COLUMNS)
    part = scenes.subset(order)
    with ThreadPoolExecutor(3) as pool:
        pieces = list(pool.map(lambda i: part.columns([i], Scenes.COLUMNS), range(90)))
    for name, values in columns.items():
        assert np.array_equal(mixed[name], values[order]), name
        assert np.array_equal(np.concatenate([piece[name] for piece in pieces]), values[order]), name
        alone = scenes.columns(order, [name])  # whatever else is asked for
        assert list(alone) == [name]
        assert np.array_equal(alone[name], values[order]), name
    assert not (Scenes(COUNT, seed=4).fetch(range(COUNT))[0] == columns["images"]).all(axis=(1, 2, 3)).any()


def test_the_first_scenes_are_the_same_on_every_machine():
    found = Scenes(3).columns(range(3), ("caption", "question", "answer", "boxes"))
    assert [decode(ids) for ids in found["caption"]] == CAPTIONS
    assert [decode(ids) for ids in found["question"]] == QUESTIONS
    assert [WORDS[number] for number in found["answer"]] == ANSWERS
    assert found["boxes"][0].tolist() == BOXES


CAPTIONS = [
    "a red ring left of a blue triangle",
    "a yellow triangle above a yellow cross",
    "a green ring in the top right",
]
QUESTIONS = ["is there a blue cross", "what is above the yellow cross", "how many shapes"]
ANSWERS = ["no", "triangle", "one"]
BOXES = [[3, 15, 16, 28], [20, 5, 26, 11], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_splits_differ_and_are_data_sets_of_labelled_images(scenes, columns):
    train, test = data.load("scenes"), data.load("scenes", split="test")
    assert (len(train), len(test)) == (10_000, 2_000)
    assert (test.image_size, test.channels, test.classes) == ((32, 32), 3, list(KINDS))
    images, labels = test.fetch(range(50))
    assert (images.shape, images.dtype, labels.dtype) == ((50, 32, 32, 3), np.uint8, np.int64)
    assert not (images == train.fetch(range(50))[0]).all(axis=(1, 2, 3)).any()
    assert np.bincount(train.labels).min() > 1800
    assert len(load_scenes("train", 7, seed=5)) == 7
    assert (
        len({some.seed for some in (load_scenes(split, 1, seed) for split in ("train", "test") for seed in (0, 1))})
        == 4
    )
    assert np.array_equal(scenes.limit(100).fetch([4])[0], columns["images"][scenes.limit(100).items[[4]]])


def test_what_is_asked_for_of_no_scenes_has_its_shape(scenes, columns):
    for name, values in scenes.columns([], Scenes.COLUMNS).items():
        assert values.shape == (0, *values.shape[1:]) == (0, *columns[name].shape[1:])
        assert values.dtype == columns[name].dtype


@pytest.mark.parametrize("size", [16, 48])
def test_size_and_number_of_shapes(size):
    found = Scenes(40, size=size, shapes=(2, 3)).columns(range(40), Scenes.COLUMNS)
    assert found["images"].shape == (40, size, size, 3)
    assert found["instances"].shape == (40, 3, size, size)
    assert set(found["instances"].any(axis=(2, 3)).sum(axis=1)) == {2, 3}
    assert found["boxes"].max() <= size


def test_masks_agree_with_each_other(columns):
    instances, mask = columns["instances"], columns["mask"]
    assert instances.sum(axis=1).max() == 1  # a pixel shows one shape
    assert np.array_equal(instances.any(axis=1), mask > 0)
    assert not (instances & ~columns["whole"]).any()
    for image in range(COUNT):
        for j, kind in enumerate(columns["kinds"][image]):
            assert set(mask[image][instances[image, j]]) == ({1 + kind} if kind >= 0 else set())


def test_later_shapes_cover_earlier_ones_and_enough_is_seen(columns):
    instances, whole = columns["instances"], columns["whole"]
    hidden = whole & ~instances
    assert hidden.any(axis=(1, 2, 3)).mean() > 0.05
    for j in range(4):
        later = instances[:, j + 1 :].any(axis=1)
        assert not (hidden[:, j] & ~later).any()
    present = columns["kinds"] >= 0
    share = instances.sum(axis=(2, 3))[present] / whole.sum(axis=(2, 3))[present]
    assert share.min() > 0.4


def test_boxes_are_tight_around_what_is_seen(columns):
    for boxes, instances in zip(columns["boxes"], columns["instances"], strict=True):
        for (x0, y0, x1, y1), pixels in zip(boxes, instances, strict=True):
            y, x = np.nonzero(pixels)
            tight = (x.min(), y.min(), x.max() + 1, y.max() + 1) if pixels.any() else (0, 0, 0, 0)
            assert (x0, y0, x1, y1) == tight


def test_the_picture_shows_kinds_and_colours_of_the_record(columns):
    grey = columns["images"][columns["mask"] == 0].astype(int)
    assert np.percentile(np.ptp(grey, axis=1), 90) < 30  # behind the shapes, but for their smooth outlines
    for image in range(COUNT):
        shapes = witnessed(*(columns[name][image] for name in ("images", "mask", "instances")))
        record = [(k, c) for k, c in zip(columns["kinds"][image], columns["colours"][image], strict=True) if k >= 0]
        assert [shape.name for shape in shapes] == [LABELS["both"][4 * k + c] for k, c in record]


def around(pixels):
    """The radius of the circle around a shape, from the mean of its pixels."""
    places = np.argwhere(pixels)
    return np.hypot(*(places - places.mean(axis=0)).T).max()


@pytest.mark.parametrize("nested", [0.0, 1.0])
def test_the_label_is_of_the_largest_shape(nested):
    scenes = Scenes(100, 1, 64, (2, 4), label="both", nested=nested)
    found = scenes.columns(range(100), ("images", "mask", "instances", "whole", "labels"))
    for image, mask, instances, whole, label in zip(*found.values(), strict=True):
        largest = max(range(4), key=lambda j: around(whole[j]) if whole[j].any() else 0)
        assert witnessed(image, mask, instances)[largest].name == scenes.classes[label]
    assert np.array_equal(scenes.labels // 4, Scenes(100, 1, 64, (2, 4), nested=nested).labels)
    assert np.array_equal(scenes.labels % 4, Scenes(100, 1, 64, (2, 4), label="colour", nested=nested).labels)


def test_unknown_columns_and_options_are_refused(scenes, refused):
    with refused('there is no column "captions"', "choose from images, labels, mask"):
        scenes.columns([0], ("images", "captions"))
    for options, words in (
        ({"count": -1}, "count is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"size": 15}, "size is 15, expected a whole number of at least 16"),
        ({"size": 31, "nested": 0.1}, "size is 31, expected 32 or more"),
        ({"shapes": (0, 4)}, "shapes is (0, 4)"),
        ({"shapes": (3, 2)}, "shapes is (3, 2)"),
        ({"shapes": (1, 5)}, "1 to 4"),
        ({"label": "shape"}, 'label is "shape", expected kind, colour, both'),
        ({"combinations": "test"}, 'combinations is "test", expected train, held-out or all'),
        ({"nested": 2}, "nested is 2"),
    ):
        with pytest.raises(ConfigError) as caught:
            Scenes(**{"count": 3, **options})
        assert words in str(caught.value)


def test_nested_scenes_have_a_shape_in_another_and_one_or_two_more():
    for split in ("train", "test"):
        nested = load_nested(split, 200)
        assert len(load_nested(split)) == len(load_scenes(split))
        whole = nested.columns(range(200), ("whole",))["whole"]
        assert not (whole[:, 1] & ~whole[:, 0]).any()
        assert whole[:, :2].any(axis=(2, 3)).all()
        assert set(whole.any(axis=(2, 3)).sum(axis=1)) == {3, 4}
    assert nested.name == data.load("nested").name == "nested"


def test_captions_of_training_and_test_have_no_sentence_in_common():
    sentences = {}
    for split, count in (("train", 600), ("test", 200)):
        captions = load_captions(split, count)
        assert len(captions) == count
        assert len(load_captions(split)) == len(load_scenes(split))
        found = captions.columns(range(count), ("caption", "kinds", "labels", "colours"))
        assert (found["labels"] == found["kinds"][:, 0] * 4 + found["colours"][:, 0]).all()
        sentences[split] = {decode(ids) for ids in found["caption"]}
    assert [len(some) for some in sentences.values()] == [64, 16]
    assert not sentences["train"] & sentences["test"]
    assert all(len(sentence.split()) == 7 for sentence in sentences["train"])  # one shape and its place
    assert sorted(map(decode, about_one())) == sorted(sentences["train"] | sentences["test"])

"""Drawn clips: what moves where, and that no frame tells."""

import re

import numpy as np
import pytest
from scene_witness import KINDS, colour_of

from minivit import data
from minivit.data import scenes_clips
from minivit.data.scenes_clips import DIRECTIONS, Clips, load_clips
from minivit.data.scenes_words import decode
from minivit.errors import ConfigError

COUNT, SIZE, FRAMES = 240, 32, 8


@pytest.fixture(scope="module")
def clips():
    return Clips(COUNT, seed=4)


@pytest.fixture(scope="module")
def columns(clips):
    return clips.columns(range(COUNT), Clips.COLUMNS)


def middles(masks):
    """The middles of shapes on a ring as long as the picture: masks (..., H, W) -> x and y (..., 2) in pixels."""
    ring = np.exp(2j * np.pi * np.arange(masks.shape[-1]) / masks.shape[-1])
    sums = np.stack([(masks.sum(axis=axis) * ring).sum(axis=-1) for axis in (-2, -1)], axis=-1)
    return np.angle(sums) * masks.shape[-1] / (2 * np.pi)


def steps(masks):
    """By how many pixels (x, y) a shape goes from frame to frame: masks (T, H, W) -> (T - 1, 2)."""
    gone = np.diff(middles(masks), axis=0)
    return (gone + SIZE / 2) % SIZE - SIZE / 2


def test_the_label_says_where_the_one_shape_moves_that_moves(clips, columns):
    assert clips.classes == list(DIRECTIONS) == ["left", "right", "up", "down"]
    assert np.array_equal(columns["labels"], columns["motion"])
    for whole, label, mover in zip(columns["whole"], columns["labels"], columns["mover"], strict=True):
        along, aside = [(0, 1), (1, 0)][label // 2]
        sign = [-1, 1][label % 2]
        gone = steps(whole[:, mover])
        assert 1 < (sign * gone[:, along]).mean() < 3.5
        assert (sign * gone[:, along]).min() > 0
        assert np.abs(gone[:, aside].mean()) < 0.2
        still = np.delete(whole, mover, axis=1)
        assert (still == still[:1]).all()


def test_the_caption_says_what_moves_where(columns):
    for i in range(COUNT):
        found = re.fullmatch(r"a (\w+) (\w+) moves (\w+)", decode(columns["caption"][i]))
        instances, mask = columns["instances"][i][:, columns["mover"][i]], columns["mask"][i]
        assert {KINDS[number - 1] for number in np.unique(mask[instances])} == {found[2]}
        assert colour_of(columns["clip"][i][instances]) == found[1]
        assert found[3] == list(DIRECTIONS)[columns["motion"][i]]


def test_the_first_frame_is_the_same_wherever_the_shape_moves(monkeypatch, columns):
    monkeypatch.setattr(scenes_clips, "DIRECTIONS", {"left": (1, 0), "right": (0, 1), "up": (1, 0), "down": (-1, 0)})
    others = Clips(COUNT, seed=4).columns(range(COUNT), ("clip", "instances"))
    assert np.array_equal(others["clip"][:, 0], columns["clip"][:, 0])
    assert not (others["instances"][:, 1] == columns["instances"][:, 1]).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("frame", range(FRAMES))
def test_in_every_frame_every_shape_is_anywhere_whatever_the_label(frame):
    """Places on a ring, uniform ones, have no mean: that of n has a length of about 1 / sqrt(n)."""
    found = Clips(1200, seed=1, size=16).columns(range(1200), ("whole", "labels", "mover"))
    mover = found["whole"][np.arange(1200), frame, found["mover"]]
    places = np.exp(2j * np.pi * middles(mover) / 16)
    for label in range(4):
        members = places[found["labels"] == label]
        assert len(members) > 240
        assert np.abs(members.mean(axis=0)).max() < 4 / np.sqrt(len(members))


def test_labels_are_evenly_frequent_and_independent_of_what_moves():
    found = Clips(4000, seed=2, shapes=(2, 3)).columns(range(4000), ("motion", "mover", "kinds"))
    kind = found["kinds"][np.arange(4000), found["mover"]]
    table = np.zeros((4, 5), int)
    np.add.at(table, (found["motion"], kind), 1)
    assert np.abs(table - 200).max() < 5 * np.sqrt(200)
    assert np.bincount(found["mover"], minlength=3).min() > 400


def test_a_clip_is_a_function_of_seed_and_number(clips, columns):
    order = np.random.default_rng(0).permutation(COUNT)[:70]
    for name, values in columns.items():
        assert np.array_equal(clips.columns(order, [name])[name], values[order]), name
        assert np.array_equal(clips.subset(order).columns([9], [name])[name], values[order[9:10]]), name
        none = clips.columns([], [name])[name]
        assert (none.shape, none.dtype) == ((0, *values.shape[1:]), values.dtype)
    assert not (load_clips("test", COUNT, 2).fetch(range(COUNT))[0] == columns["images"]).all(axis=(1, 2, 3)).any()


def test_masks_and_boxes_are_those_of_every_frame(columns):
    assert columns["mask"].shape == (COUNT, FRAMES, SIZE, SIZE)
    assert columns["instances"].shape == (COUNT, FRAMES, 3, SIZE, SIZE)
    assert np.array_equal(columns["instances"].any(axis=2), columns["mask"] > 0)
    boxes, instances = columns["boxes"].reshape(-1, 4), columns["instances"].reshape(-1, SIZE, SIZE)
    for (x0, y0, x1, y1), pixels in list(zip(boxes, instances, strict=True))[::7]:
        y, x = np.nonzero(pixels)
        assert (x0, y0, x1, y1) == ((x.min(), y.min(), x.max() + 1, y.max() + 1) if pixels.any() else (0, 0, 0, 0))


def test_as_images_frames_are_channels(columns):
    test = data.load("clips", split="test")
    assert (len(test), test.image_size, test.channels) == (2_000, (SIZE, SIZE), 3 * FRAMES)
    images, labels = test.fetch([5, 3])
    assert (images.shape, images.dtype, labels.shape) == ((2, SIZE, SIZE, 24), np.uint8, (2,))
    for frame in range(FRAMES):
        assert np.array_equal(columns["images"][..., 3 * frame : 3 * frame + 3], columns["clip"][:, frame])


def test_other_lengths_sizes_and_the_kind_as_label():
    clips = Clips(60, size=16, shapes=(1, 1), frames=3, label="kind")
    found = clips.columns(range(60), ("clip", "labels", "mask"))
    assert found["clip"].shape == (60, 3, 16, 16, 3)
    assert clips.classes == list(KINDS)
    for mask, label in zip(found["mask"], found["labels"], strict=True):
        assert set(np.unique(mask)) == {0, 1 + label}


def test_unknown_columns_and_options_are_refused(clips, refused):
    with refused('clips: there is no column "question"', "choose from clip, images"):
        clips.columns([0], ["question"])
    for options, words in (
        ({"frames": 0}, "frames is 0"),
        ({"label": "direction"}, 'label is "direction", expected motion or kind'),
        ({"shapes": (1, 9)}, "clips: shapes is (1, 9)"),
    ):
        with pytest.raises(ConfigError) as caught:
            Clips(3, **options)
        assert words in str(caught.value)

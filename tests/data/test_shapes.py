"""The drawn shapes: what is drawn, from what, and that a straight line through pixel space cannot tell them apart."""

import math

import numpy as np
import pytest

from minivit import data
from minivit.data.shapes import SHAPES, SPLITS, draw_shapes, load_shapes


@pytest.fixture(scope="module")
def drawn():
    return load_shapes("train", 600)


def test_the_splits_have_their_sizes_and_ten_classes_in_turn():
    test = data.load("shapes", split="test")
    assert len(test) == SPLITS["test"][1] == 2_000
    assert (test.images.dtype, test.image_size, test.channels) == (np.uint8, (32, 32), 3)
    assert test.classes == list(SHAPES)
    assert len(test.classes) == 10
    assert test.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert SPLITS["train"][1] == 10_000


def test_an_image_is_a_function_of_seed_split_and_index(drawn):
    assert np.array_equal(load_shapes("train", 300).images, drawn.images[:300])  # whatever is drawn beside it
    assert not (load_shapes("test", 600).images == drawn.images).all(axis=(1, 2, 3)).any()
    assert not (load_shapes("train", 600, seed=1).images == drawn.images).all(axis=(1, 2, 3)).any()


def test_the_first_images_are_what_they_have_always_been(drawn):
    """Green in row 16, every fourth pixel; libraries of mathematics may round the last bit otherwise."""
    assert np.abs(drawn.images[:10, 16, 4::4, 1].astype(int) - FIRST).max() <= 1


FIRST = [
    [198, 77, 79, 76, 82, 82, 77],
    [133, 136, 9, 75, 18, 128, 54],
    [171, 152, 66, 85, 102, 77, 164],
    [92, 75, 102, 146, 143, 87, 202],
    [102, 63, 114, 72, 204, 205, 162],
    [102, 124, 206, 55, 104, 181, 216],
    [22, 28, 31, 48, 50, 133, 15],
    [173, 73, 79, 74, 78, 193, 193],
    [28, 0, 20, 30, 178, 183, 135],
    [93, 124, 124, 216, 213, 188, 109],
]


def test_images_use_all_colours_and_no_place_is_preferred(drawn):
    assert drawn.images.min() == 0
    assert drawn.images.max() == 255
    assert np.allclose(drawn.images.mean(axis=(0, 1, 2)), 127.5, atol=8)
    assert np.ptp(drawn.images.mean(axis=(0, 3))) < 40  # of the mean image: no shadow of the shapes


@pytest.fixture(scope="module")
def holes():
    """Where a ring and a disc drawn from the same seeds differ: (300, 32, 32) bool, the holes of the rings."""
    return (draw_shapes(np.zeros(300, int)) != draw_shapes(np.ones(300, int))).any(axis=3)


def test_the_label_chooses_the_shape_and_nothing_else(holes):
    assert holes.any(axis=(1, 2)).all()
    assert holes.mean() < 0.3  # elsewhere the images are the same to the last bit


def test_size_and_place_are_random(holes):
    area = holes.sum(axis=(1, 2))  # of a circle of radius 0.6 r, with r from 6 to 13 pixels
    assert math.pi * 3.6**2 * 0.8 < area.min() < 60
    assert math.pi * 7.8**2 * 0.8 < area.max() < math.pi * 7.8**2 * 1.25
    pixels = np.arange(32) + 0.5
    for axis in (1, 2):
        centre = (holes.sum(axis=3 - axis) * pixels).sum(axis=1) / area
        assert abs(centre.mean() - 16) < 1
        assert 2.5 < centre.std() < 5  # uniform over 32 - 2 r pixels: 13 / sqrt(12) for the average r


def test_many_images_of_one_class_are_all_different():
    images = draw_shapes(np.zeros(520, int)).reshape(520, -1)  # of more than two chunks
    assert len(np.unique(images, axis=0)) == 520


def test_a_shape_has_another_colour_than_what_is_behind_it(holes):
    """Within a hole the disc shows its own colour, the ring from the same seed what is behind."""
    disc, ring = (draw_shapes(np.full(300, label)) / 255 for label in (0, 1))
    contrast = np.stack([(d - r)[hole].mean(axis=0) for d, r, hole in zip(disc, ring, holes, strict=True)])
    assert 0.3 < np.abs(contrast).mean() < 0.5  # of the range, in each channel
    assert np.abs(contrast).max(axis=1).min() > 0.2  # no shape is drawn invisible
    assert np.abs(contrast.mean(axis=0)).max() < 0.1  # neither is the brighter one


def test_the_angle_is_random():
    """A disc and a bar from the same seed differ beside the bar: in two segments, one either side."""
    beside = (draw_shapes(np.full(300, 0)) != draw_shapes(np.full(300, 6))).any(axis=3)
    directions = []
    for picture in beside:
        y, x = np.argwhere(picture).T - np.argwhere(picture).mean(axis=0)[:, None]
        directions.append(np.arctan2(2 * np.mean(x * y), np.mean(x * x - y * y)))  # twice the angle of their axis
    counts, _ = np.histogram(directions, bins=4, range=(-math.pi, math.pi))
    assert counts.min() > 45  # 75 each, with a standard deviation of 7.5


@pytest.fixture(scope="module")
def behind():
    """What lies behind the shapes of 100 images, in 0..1: for each (n, 3), the pixels that all ten classes share."""
    images = np.stack([draw_shapes(np.full(100, label)) for label in range(10)]) / 255
    alike = (images == images[0]).all(axis=(0, 4))
    return [image[pixels] for image, pixels in zip(images[0], alike, strict=True)]


def test_behind_the_shapes_are_stripes_and_noise(behind):
    """Stripes change all channels together, noise each for itself: so stripes are in the first principal component
    only, noise in all three."""
    spread = np.stack([np.linalg.svd(p - p.mean(axis=0), compute_uv=False) / math.sqrt(len(p)) for p in behind])
    noise = spread[:, 1:].mean(axis=1)
    assert 0.005 < noise.min() < 0.02
    assert 0.03 < noise.mean() < 0.05  # levels are uniform in 0.01..0.07
    assert np.median(spread[:, 0] / noise) > 2


GRID = np.linspace(-1.6, 1.6, 801)


@pytest.fixture(scope="module")
def plane():
    return np.meshgrid(GRID, GRID)


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", math.pi),
        ("ring", math.pi * (1 - 0.6**2)),
        ("half disc", math.pi / 2),
        ("square", 1.4**2),
        ("frame", 1.4**2 - 0.8**2),
        ("bar", 1.9 * 0.5),
        ("cross", 2 * 1.9 * 0.5 - 0.5**2),
        ("triangle", 3 * math.sqrt(3) / 4),
        ("star", 5 * 0.4 * math.sin(math.pi / 5)),  # ten triangles with sides 1 and 0.4
    ],
)
def test_a_shape_has_the_area_of_geometry(plane, name, area):
    inside = SHAPES[name](*plane) < 0
    assert np.isclose(inside.mean() * np.ptp(GRID) ** 2, area, rtol=0.02)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_lies_in_the_circle_and_its_distance_has_slope_one_at_most(plane, name):
    distance = SHAPES[name](*plane)
    assert np.hypot(*plane)[distance < 0].max() <= 1.001
    slope = np.abs(np.diff(distance, axis=1)).max() / (GRID[1] - GRID[0])
    assert slope <= 1.001  # or the outline would be drawn too sharp or too soft


def test_no_linear_classifier_reads_the_shapes():
    """Least squares on the pixels, which reads 80 % and more of the digits, is not far above a guess."""
    train, test = load_shapes("train", 3_000), load_shapes("test", 500)
    x, x_test = (np.c_[part.images.reshape(len(part), -1) / 255, np.ones(len(part))] for part in (train, test))
    ridge = x.T @ x + 30 * np.eye(x.shape[1])
    weight = np.linalg.solve(ridge, x.T @ np.eye(10)[train.labels])
    accuracy = (np.argmax(x_test @ weight, axis=1) == test.labels).mean()
    assert accuracy < 0.25


def test_there_are_ten_shapes_and_a_generator_names_them(refused):
    assert np.array_equal(draw_shapes(k for k in (3, 7)), draw_shapes([3, 7]))
    for labels in ([3, 10], [-1], [0.5]):
        with refused("shapes", "label"):
            draw_shapes(labels)

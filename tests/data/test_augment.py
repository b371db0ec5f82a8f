"""Flip, crop, resized crop, erasing, normalisation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivit.data import normalize, random_crop, random_erasing, random_flip, random_resized_crop, resize
from minivit.data.augment import central_box, crop_box


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 256, shape, dtype=np.uint8)  # no 0, which fills crops


def rng(seed=0):
    return np.random.default_rng(seed)


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4]))


def test_normalize_is_the_published_formula_bit_for_bit():
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    y = normalize(x)
    assert y.dtype == np.float32
    assert np.array_equal(y, (x.astype(np.float32) - np.float32(127.5)) / np.float32(127.5))
    assert (y.min(), y.max()) == (-1, 1)


def test_normalize_takes_a_mean_and_std_per_channel():
    x = noise(2, 4, 5, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (x / 255 - np.array(mean)) / np.array(std)
    assert np.allclose(normalize(x, mean, std), expected, rtol=0, atol=2e-6)
    assert np.allclose(normalize(x, 0.0, 1.0), x / 255, rtol=1e-6)
    assert np.array_equal(x, noise(2, 4, 5, 3))


@settings(deadline=None)
@given(SHAPES, st.integers(0, 99))
def test_flip_mirrors_each_image_or_leaves_it(shape, seed):
    x = noise(*shape)
    y = random_flip(x, rng(seed))
    for before, after in zip(x, y, strict=True):
        assert np.array_equal(after, before) or np.array_equal(after, before[:, ::-1])
    assert np.array_equal(x, noise(*shape))


def test_flip_mirrors_half_of_the_images():
    x = noise(1000, 1, 2, 1)
    x[..., 0] = [1, 2]
    assert 450 < (random_flip(x, rng())[:, 0, 0, 0] == 2).sum() < 550


@settings(deadline=None, max_examples=50)
@given(SHAPES, st.integers(0, 3), st.integers(0, 99))
def test_crop_is_a_window_of_the_padded_image(shape, padding, seed):
    x = noise(*shape)
    y = random_crop(x, padding, rng(seed))
    height, width = shape[1:3]
    assert (y.shape, y.dtype) == (x.shape, np.uint8)
    for before, after in zip(x, y, strict=True):
        padded = np.pad(before, ((padding, padding), (padding, padding), (0, 0)))
        places = [(i, j) for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
        assert any(np.array_equal(after, padded[i : i + height, j : j + width]) for i, j in places)
    assert np.array_equal(x, noise(*shape))


def test_crop_uses_every_place_about_equally():
    x = np.zeros((9000, 3, 3, 1), np.uint8)
    x[:, 1, 1] = 1  # stays inside, whatever the shift by 1
    y = random_crop(x, 1, rng())
    counts = y.sum(0)[..., 0]
    assert counts.sum() == 9000
    assert counts.min() > 900


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 99))
def test_crop_boxes_stay_inside(height, width, a, b, seed):
    left, top, right, bottom = crop_box(height, width, rng(seed), (min(a, b), max(a, b)))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_crop_boxes_have_the_area_and_ratio_asked_for():
    boxes = np.array([crop_box(400, 300, rng(seed), (0.05, 0.5)) for seed in range(600)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share, ratio = width * height / (300 * 400), width / height
    assert 0.049 < share.min() < 0.06
    assert 0.48 < share.max() < 0.505
    assert abs(share.mean() - 0.275) < 0.02  # uniform
    assert 0.74 < ratio.min() < 0.77
    assert 1.3 < ratio.max() < 1.35
    assert abs(np.log(ratio).mean()) < 0.02  # uniform in the logarithm
    centre = (boxes[:, 0] + boxes[:, 2]).mean() / 2, (boxes[:, 1] + boxes[:, 3]).mean() / 2
    assert np.abs(np.array(centre) - [150, 200]).max() < 8


def test_crop_box_falls_back_to_the_largest_central_box():
    assert crop_box(10, 1000, rng(), (1, 1)) == (493, 0, 506, 10)
    assert crop_box(1000, 12, rng(), (1, 1)) == (0, 492, 12, 508)


def test_central_box():
    assert central_box(100, 200, 1.0) == (50, 0, 150, 100)
    assert central_box(200, 100, 2.0) == (0, 75, 100, 125)
    assert central_box(1, 500, 0.1) == (249, 0, 250, 1)


def test_resized_crop_of_everything_is_resize():
    images = [noise(20, 20, 3), noise(6, 6, 3, seed=1)]
    y = random_resized_crop(images, (8, 8), rng(), scale=(1, 1), ratio=(1, 1))
    assert np.array_equal(y, np.stack([resize(image, (8, 8)) for image in images]))


@pytest.mark.parametrize("channels", [1, 3])
def test_resized_crop_takes_arrays_and_lists_to_rectangles(channels):
    x = noise(3, 20, 30, channels)
    y = random_resized_crop(x, (5, 9), rng())
    assert (y.shape, y.dtype) == ((3, 5, 9, channels), np.uint8)
    assert np.array_equal(y, random_resized_crop(list(x), (5, 9), rng()))
    assert not np.array_equal(y, random_resized_crop(x, (5, 9), rng(1)))
    assert np.array_equal(x, noise(3, 20, 30, channels))


def test_resized_crops_differ_within_a_batch():
    x = np.repeat(noise(1, 32, 32, 1), 4, axis=0)
    y = random_resized_crop(x, (8, 8), rng())
    assert len({image.tobytes() for image in y}) == 4


def test_erasing_nothing_and_everything():
    x = normalize(noise(6, 12, 10, 3))
    before = x.copy()
    assert np.array_equal(random_erasing(x, 0.0, rng()), x)
    y = random_erasing(x, 1.0, rng())
    assert (y.dtype, y.shape) == (np.float32, x.shape)
    for changed in (y != x).any(-1):
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()  # a box, and nothing outside it
        assert 0.01 <= box.size / 120 <= 0.37
    assert np.array_equal(x, before)


def test_erasing_is_normal_noise_in_as_many_images_as_asked():
    x = np.full((400, 16, 16, 3), 9, np.float32)
    y = random_erasing(x, 0.25, rng())
    erased = y != 9
    assert 70 < erased.any((1, 2, 3)).sum() < 130
    values = y[erased]
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02

"""Random numbers by image."""

import copy
import itertools

import numpy as np
import pytest

from minivit.update.draws import ImageDraws, RandomFeed, shared_number

SIZES = [(3, 5), (1,), (4, 2, 2), (1, 1), (7,)]  # of one image; odd and even


def drawn(first, count, batch, seed=(0, 5)):
    draws = ImageDraws(seed, first, count, batch)
    return [draws.random((count, *size)) for size in SIZES]


@pytest.mark.parametrize("cuts", [(0, 6), (0, 1, 6), (0, 2, 4, 6), (0, 1, 2, 3, 4, 5, 6)])
def test_images_get_the_same_numbers_however_the_batch_is_cut(cuts):
    pieces = [drawn(a, b - a, 6) for a, b in itertools.pairwise(cuts)]
    for whole, *parts in zip(drawn(0, 6, 6), *pieces, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_images_calls_and_seeds_differ():
    first = np.concatenate([x.ravel() for x in drawn(0, 6, 6)])
    assert len(np.unique(first)) == first.size  # no number comes twice: no image or call repeats another's
    assert not np.intersect1d(first, np.concatenate([x.ravel() for x in drawn(0, 6, 6, seed=(0, 6))])).size


def test_numbers_are_uniform():
    numbers = ImageDraws((1,), 0, 100, 100).random((100, 999))
    assert numbers.dtype == np.float32
    assert 0 <= numbers.min() < 1e-3
    assert 0.999 < numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(), 0.5, atol=5 / np.sqrt(12 * numbers.size))
    rows = numbers - 0.5
    assert abs((rows[:-1] * rows[1:]).mean()) < 5 / 12 / np.sqrt(rows[1:].size)  # images are independent


def test_parts_of_images_stay_with_their_image():
    whole = ImageDraws((0,), 0, 4, 4).random((4 * 3, 5))
    part = ImageDraws((0,), 2, 1, 4).random((3, 5))
    np.testing.assert_array_equal(part, whole[6:9])


def test_a_copy_draws_the_same_again():
    draws = ImageDraws((0,), 1, 2, 4)
    draws.random((2, 3))
    again = copy.deepcopy(draws)
    np.testing.assert_array_equal(draws.random((2, 4)), again.random((2, 4)))


def test_the_shared_number_is_one_for_all_images_and_calls():
    drawn_ones = {ImageDraws((0, 5), first, count, 6).shared() for first, count in ((0, 6), (0, 2), (2, 4), (5, 1))}
    assert len(drawn_ones) == 1
    draws = ImageDraws((0, 5), 0, 6, 6)
    before = draws.random((6, 3))
    assert {draws.shared(), draws.shared(), copy.deepcopy(draws).shared()} == drawn_ones
    untouched = ImageDraws((0, 5), 0, 6, 6)
    assert np.array_equal(before, untouched.random((6, 3)))
    assert np.array_equal(draws.random((6, 4)), untouched.random((6, 4)))


def test_shared_numbers_are_uniform_and_differ_by_step_and_seed():
    numbers = np.array([[ImageDraws((seed, i, 2), 0, 1, 1).shared() for i in range(300)] for seed in range(2)])
    assert len(np.unique(numbers)) == 600
    assert 0 <= numbers.min() < 0.02
    assert 0.98 < numbers.max() < 1
    assert abs(np.corrcoef(numbers)[0, 1]) < 0.2
    assert abs(numbers.mean() - 0.5) < 4 / np.sqrt(12 * 600)
    masks = [ImageDraws((0, i, 2), 0, 1, 1).random((1, 1))[0, 0] for i in range(300)]
    assert abs(np.corrcoef(numbers[0], masks)[0, 1]) < 0.2


def test_feeds_and_generators_have_a_shared_number():
    draws, feed = ImageDraws((3, 1), 0, 2, 2), RandomFeed(np)
    feed.refill(draws)
    assert shared_number(feed) == shared_number(draws) == draws.shared()
    assert shared_number(np.random.default_rng(0)) == np.random.default_rng(0).random()


@pytest.mark.parametrize(("size", "dtype"), [((3, 2), "float32"), ((), "float32"), ((2, 2), "float64")])
def test_what_cannot_be_dealt_out_is_refused(size, dtype):
    with pytest.raises(ValueError, match="expected float32 by image"):
        ImageDraws((0,), 0, 2, 4).random(size, dtype)

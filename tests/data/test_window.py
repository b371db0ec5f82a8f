"""The window shuffle: every image once, near its run, and batches as mixed as the docstring says."""

import numpy as np
import pytest

from minivit.data.window import RUN, RUN_OF_A_CLASS, WINDOW, runs, window_order


def generator(seed=0):
    return np.random.default_rng(seed)


def test_runs_are_short_where_neighbours_have_the_same_class():
    one_archive = np.zeros(2000, int)
    by_class = runs(np.repeat(np.arange(10), 200), one_archive)
    assert np.bincount(by_class).tolist() == [RUN_OF_A_CLASS] * (2000 // RUN_OF_A_CLASS)
    mixed = runs(generator().integers(0, 10, 2000), one_archive)
    assert np.bincount(mixed).tolist() == [RUN] * (2000 // RUN) + [2000 % RUN]


def test_runs_end_with_their_archive():
    places = np.repeat([5, 2, 7], [300, 1, 10])
    run = runs(generator().integers(0, 100, 311), places)
    assert np.bincount(run).tolist() == [RUN, 300 - RUN, 1, 10]
    assert len(runs(np.zeros(0, int), np.zeros(0, int))) == 0
    assert runs(np.zeros(1, int), np.zeros(1, int)).tolist() == [0]


def test_an_epoch_has_every_image_once_and_follows_the_generator():
    run = runs(generator().integers(0, 10, 5000), np.arange(5000) // 1000)
    first = window_order(run, generator(1), window=500)
    assert sorted(first) == list(range(5000))
    np.testing.assert_array_equal(first, window_order(run, generator(1), window=500))
    assert (first != window_order(run, generator(2), window=500)).mean() > 0.9


def test_up_to_a_window_the_shuffle_is_uniform():
    run = runs(np.zeros(100, int), np.zeros(100, int))
    np.testing.assert_array_equal(window_order(run, generator(3), window=100), generator(3).permutation(100))


def test_images_of_a_run_are_within_a_window_and_runs_anywhere():
    window, length = 2000, 50_000
    run = runs(generator().integers(0, 10, length), np.arange(length) // 1000)
    order = window_order(run, generator(), window)
    position = np.argsort(order)
    spread = [np.ptp(position[run == number]) for number in range(run[-1] + 1)]
    assert max(spread) < 1.2 * window + RUN
    middles = np.array([position[run == number].mean() for number in range(run[-1] + 1)])
    assert abs(np.corrcoef(middles, np.arange(len(middles)))[0, 1]) < 0.2
    inside = position[run == 0]
    assert (np.diff(inside) < 0).any()  # and shuffled within


@pytest.mark.parametrize(("by_class", "least"), [(True, 0.92), (False, 0.95)])
def test_how_mixed_the_classes_of_a_batch_are(by_class, least):
    """As many classes in a batch of 256 as a uniform shuffle gives, to a few in a hundred, for 1,000 classes of 200
    images; also where the archive is sorted by class, except at the ends of an epoch."""
    labels = np.repeat(np.arange(1000), 200)
    labels = labels if by_class else generator(5).permutation(labels)
    order = window_order(runs(labels, np.zeros(len(labels), int)), generator())

    def classes(order):
        batches = labels[order][WINDOW:-WINDOW][: 256 * 600].reshape(-1, 256)
        return np.mean([len(np.unique(batch)) for batch in batches])

    assert classes(order) > least * classes(generator().permutation(len(labels)))

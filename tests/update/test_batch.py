"""A batch and its pieces."""

import numpy as np
import pytest

from minivit.update.batch import Found, cut, size

BATCH = {"images": np.arange(14.0).reshape(7, 2), "labels": np.arange(7), "momentum": np.asarray(0.9)}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_pieces_are_views_whose_shares_add_up(count):
    pieces = cut(BATCH, count, (1,))
    assert len(pieces) == min(count, 7)
    for name in ("images", "labels"):
        assert np.array_equal(np.concatenate([piece.batch[name] for piece in pieces]), BATCH[name])
        assert all(np.shares_memory(piece.batch[name], BATCH[name]) for piece in pieces)
    assert all(piece.batch["momentum"] is BATCH["momentum"] for piece in pieces)
    sizes = [size(piece.batch) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1
    assert [piece.share for piece in pieces] == [n / 7 for n in sizes]


def test_numbers_of_an_example_do_not_depend_on_the_cut():
    whole = cut(BATCH, 1, (1, 2))[0].rng.random((7, 3))
    parts = [piece.rng.random((size(piece.batch), 3)) for piece in cut(BATCH, 3, (1, 2))]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        ({"images": np.zeros((0, 2)), "labels": np.zeros(0)}, "0 images, 0 labels"),
        ({"images": np.zeros((3, 2)), "labels": np.zeros(2), "m": np.zeros(())}, "3 images, 2 labels"),
        ({"m": np.zeros(())}, "nothing"),
    ],
)
def test_a_batch_that_makes_no_sense(batch, found):
    with pytest.raises(ValueError, match=f"^a batch of {found}, expected equally many of each, and at least one$"):
        size(batch)


def test_what_pieces_found_is_added_up_in_the_arrays_of_the_first():
    first = Found(np.float64(1), {"right": np.int64(2), "mean": np.ones(2)}, [np.ones(3), np.zeros(1)])
    total = first.plus(Found(np.float64(2), {"right": np.int64(3), "mean": np.ones(2)}, [np.ones(3), np.ones(1)]))
    assert (total.loss, total.sums["right"], total.sums["mean"].tolist()) == (3, 5, [2, 2])
    assert [g.tolist() for g in total.gradients] == [[2, 2, 2], [1]]
    assert total.gradients[0] is first.gradients[0]
    assert first.sums["mean"].tolist() == [1, 1]

"""mixup, CutMix and dense labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivit.data import cutmix, mixup, one_hot
from minivit.data.mixing import Mixer
from minivit.errors import ConfigError

BATCH = 5


def batch(height=6, width=9):
    """Image i is i everywhere and has class i."""
    images = np.arange(BATCH, dtype=np.float32)[:, None, None, None] * np.ones((1, height, width, 3), np.float32)
    return images, one_hot(np.arange(BATCH), BATCH)


def test_one_hot():
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot(np.array([2, 0]), 3).dtype == np.float32


@settings(deadline=None)
@given(st.floats(0.05, 5), st.integers(0, 10**6))
def test_mixup_mixes_images_and_labels_alike(alpha, seed):
    images, labels = batch()
    x, y = mixup(images, labels, alpha, np.random.default_rng(seed))
    assert x.dtype == y.dtype == np.float32
    assert np.allclose(y.sum(1), 1, atol=1e-6)
    for i in range(BATCH):
        lam, rest = y[i, i], y[i, i - 1]
        assert lam >= 0.5
        assert np.allclose([lam, rest], [y[0, 0], 1 - y[0, 0]], atol=1e-6)  # one weight for the batch
        assert np.allclose(x[i], lam * i + rest * ((i - 1) % BATCH), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip((images, labels), batch(), strict=True))


@settings(deadline=None)
@given(st.floats(0.05, 5), st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_cutmix_labels_are_the_shares_of_pixels(alpha, seed, height, width):
    images, labels = batch(height, width)
    x, y = cutmix(images, labels, alpha, np.random.default_rng(seed))
    assert x.dtype == y.dtype == np.float32
    assert np.allclose(y.sum(1), 1, atol=1e-6)
    for i in range(BATCH):
        own, other = x[i] == i, x[i] == (i - 1) % BATCH
        assert (own ^ other).all()
        assert y[i, i] == pytest.approx(own.mean(), abs=1e-6)
    pasted = x[1, ..., 0] == 0
    rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
    if rows.size:
        assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # one box
    assert np.array_equal(images, batch(height, width)[0])


def test_cutmix_boxes_keep_the_aspect_ratio_and_follow_beta():
    shares = []
    for seed in range(300):
        x, _ = cutmix(*batch(100, 200), 1.0, np.random.default_rng(seed))
        pasted = x[1, ..., 0] == 0
        height, width = pasted.any(1).sum(), pasted.any(0).sum()
        inside = not (pasted[0].any() or pasted[-1].any() or pasted[:, 0].any() or pasted[:, -1].any())
        if inside and height > 10:
            assert abs(width - 2 * height) <= 2
        shares.append(pasted.mean())
    # Side s = sqrt(u), u uniform; cutting off leaves (s - s^2/4)^2 on average: 1/2 - 1/5 + 1/48 in all.
    assert abs(np.mean(shares) - 0.3208) < 0.03
    assert min(shares) < 0.02
    assert max(shares) > 0.7


def test_the_weights_of_mixup_follow_beta():
    weights = [mixup(*batch(1, 1), 1.0, np.random.default_rng(seed))[1][0, 0] for seed in range(500)]
    assert abs(np.mean(weights) - 0.75) < 0.02  # uniform in 1/2..1
    strong = [mixup(*batch(1, 1), 0.1, np.random.default_rng(seed))[1][0, 0] for seed in range(500)]
    assert np.mean(strong) > 0.9


@pytest.mark.parametrize(("name", "value"), [("mixup", -0.1), ("mixup", float("nan")), ("cutmix", float("inf"))])
def test_numbers_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}, expected 0 or more"):
        Mixer(**{"mixup": 0.0, "cutmix": 0.0, "classes": 3, name: value})

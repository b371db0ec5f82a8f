"""dropout and drop_path."""

import functools

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ORIGINALS, ops, tensor, to_device
from hypothesis import given
from strategies import arrays, assert_close, check, op_case, seeds, shapes

from minivit import functional as F
from minivit.ops.dropping import keep_mask

RATES = st.sampled_from([0.0, 0.1, 0.5, 0.9])


def seeded(op, seed):
    """The op with its generator started anew at every call, so that it is a function."""

    @functools.wraps(op)
    def with_seed(x, rate):
        return op(x, rate, np.random.default_rng(seed))

    return with_seed


@pytest.mark.parametrize("name", [op_case("dropout"), op_case("drop_path")])
@given(x=arrays(shapes(min_dims=1)), rate=RATES, seed=seeds)
def test_dropping(name, x, rate, seed):
    op = getattr(ops, name)
    check(seeded(ORIGINALS[op], seed), x, rate=rate)
    mask_shape = x.shape if name == "dropout" else (x.shape[0],) + (1,) * (x.ndim - 1)
    kept = np.random.default_rng(seed).random(mask_shape, dtype="float32") >= rate
    assert_close(op(x, rate, np.random.default_rng(seed))[0], np.where(kept, x / (1 - rate), 0))


def test_dropout_of_a_single_number():
    check(seeded(ORIGINALS[ops.dropout], 0), np.array(2.0), rate=0.5)


@pytest.mark.parametrize("op", [ops.dropout, ops.drop_path])
class TestBoth:
    def test_a_seed_gives_the_same_mask_in_every_dtype(self, op):
        x = np.ones((1000, 2))
        masks = [op(x.astype(dtype), 0.3, np.random.default_rng(7))[0] > 0 for dtype in ("float32", "float64")]
        np.testing.assert_array_equal(*masks)
        assert (op(x, 0.3, np.random.default_rng(8))[0] > 0).tolist() != masks[0].tolist()

    def test_the_mean_is_preserved(self, op):
        x = np.ones((40_000, 1))
        for rate in (0.1, 0.5, 0.9):
            y, _ = op(x, rate, np.random.default_rng(0))
            deviation = np.sqrt(rate / (1 - rate) / x.size)
            assert abs(y.mean() - 1) < 4 * deviation
            np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)])

    def test_rate_zero_changes_nothing(self, op):
        x = np.random.default_rng(0).standard_normal((5, 4))
        y, vjp = op(x, 0.0, np.random.default_rng(0))
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(vjp(x)[0], x)

    @pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
    def test_a_rate_outside_0_to_1_is_refused(self, op, rate):
        with pytest.raises(ValueError, match=f"{op.__name__}: .*rate is {rate}, expected 0 <= rate < 1"):
            getattr(F, op.__name__)(tensor(np.ones((2, 2))), rate, np.random.default_rng(0))


def test_drop_path_drops_whole_samples():
    y, _ = ops.drop_path(np.ones((1000, 3, 2)), 0.5, np.random.default_rng(0))
    by_sample = y.reshape(1000, 6)
    assert (by_sample == by_sample[:, :1]).all()
    assert 400 < (by_sample[:, 0] == 0).sum() < 600


def test_dropout_drops_elements_for_themselves():
    y, _ = ops.dropout(np.ones((1000, 2)), 0.5, np.random.default_rng(0))
    assert 400 < ((y[:, 0] == 0) != (y[:, 1] == 0)).sum() < 600


def test_the_mask_has_the_dtype_of_the_array():
    for dtype in ("float32", "float64"):
        assert keep_mask((2, 3), 0.5, np.random.default_rng(0), to_device(np.ones(1, dtype))).dtype == dtype

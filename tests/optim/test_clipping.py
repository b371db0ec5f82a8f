"""Global-norm clipping in optax's convention."""

import math

import numpy as np
import pytest
from devices import to_device, to_host

from minivit.optim import clip_by_global_norm, global_norm

pytestmark = pytest.mark.usefixtures("device")
NAMES = ("a/kernel", "a/bias", "n/scale")


@pytest.mark.parametrize("case", ["max1", "half", "double"])
def test_clipped_gradients_equal_the_recorded_ones_of_optax(vectors, case):
    recorded = vectors("optim")
    grads = to_device([recorded[f"g2/{name}"][0] for name in NAMES])
    clipped, norm = clip_by_global_norm(grads, float(recorded[f"clip/{case}/max_norm"]))
    assert norm == pytest.approx(float(recorded[f"clip/{case}/norm"]), rel=1e-14)
    for name, g in zip(NAMES, to_host(clipped), strict=True):
        np.testing.assert_allclose(g, recorded[f"clip/{case}/optax/{name}"], rtol=1e-14, atol=0)
        if case != "double":  # negative control: torch adds 1e-6 to the norm
            assert abs(g - recorded[f"clip/{case}/torch/{name}"]).max() > 1e-9


def test_norm_is_that_of_all_gradients_as_one_vector():
    assert global_norm(to_device([np.array([[3.0], [0.0]]), np.array(4.0), np.zeros((0, 2))])) == 5
    assert isinstance(global_norm(to_device([np.ones(4, "float32")])), float)


def test_norm_of_many_arrays_is_summed_in_float64():
    tiny = [np.full(1, 1e-4, "float32")] * 1000  # in float32, 1 + 1e-8 is 1
    assert global_norm(to_device([np.ones(1, "float32"), *tiny])) == pytest.approx(
        math.sqrt(1 + 1000 * 1e-8), rel=1e-10
    )


def test_below_the_limit_nothing_is_copied_or_changed():
    grads = to_device([np.array([0.3, 0.4])])
    clipped, norm = clip_by_global_norm(grads, 1.0)
    assert clipped[0] is grads[0]
    assert norm == pytest.approx(0.5)


def test_above_the_limit_the_norm_is_the_limit_and_the_given_arrays_stay():
    grads = to_device([np.array([3.0, 0.0]), np.array([[4.0]], "float32")])
    clipped, norm = clip_by_global_norm(grads, 2.0)
    assert norm == 5
    assert global_norm(clipped) == pytest.approx(2.0, rel=1e-7)
    assert [g.dtype for g in clipped] == ["float64", "float32"]
    assert grads[0].tolist() == [3.0, 0.0]
    assert grads[1].tolist() == [[4.0]]


def test_a_nan_is_not_hidden():
    clipped, norm = clip_by_global_norm(to_device([np.array([1.0, np.nan])]), 1.0)
    assert math.isnan(norm)
    assert np.isnan(to_host(clipped[0])).all()


@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e30), ("float16", 300.0)])
def test_gradients_whose_squares_overflow_are_clipped_and_not_zeroed(dtype, large):
    clipped, norm = clip_by_global_norm(to_device([np.array([3 * large, 4 * large], dtype)]), 1.0)
    assert norm == pytest.approx(5 * large, rel=1e-3)
    np.testing.assert_allclose(to_host(clipped)[0], [0.6, 0.8], rtol=1e-3)


def test_infinity_stays_infinity():
    assert global_norm(to_device([np.array([np.inf, 1.0], "float32")])) == np.inf

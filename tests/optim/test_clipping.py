"""Global-norm clipping in optax's convention."""

import math

import numpy as np
import pytest
from devices import tensor, to_device, to_host

from minivit.backend import tiles
from minivit.backend.workers import Workers
from minivit.optim import SGD, clip_by_global_norm, global_norm
from minivit.optim.gradients import each_scale

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


# A gradient of a small DINO, and what its clipping at 0.3 (utils.clip_gradients) makes of it in PyTorch.
# fmt: off
GRADIENT = np.array([
    1.6113822037003402, 0.7320660386372737, -2.3173082998898407, -0.2363100350291638, 0.44728220403834645,
    -0.4366458030008194, -1.160150972729796, 1.2801812648697584, -0.6780258726235813, -0.2637329454106526,
    0.846134143050055, -1.1531023866654841, 0.8268248140580876, -0.325314378003034, 0.0964565041679644,
    0.7302635208305458,
])
CLIPPED = np.array([
    0.12145983394563213, 0.055180341005339355, -0.17466984596150886, -0.017812147576420877, 0.033714423620031964,
    -0.03291269234806526, -0.08744774776340349, 0.09649517258805837, -0.05110699976119211, -0.01987918178692218,
    0.06377835889870682, -0.08691645227623922, 0.06232289545398203, -0.02452095489303483, 0.0072705227551314155,
    0.05504447409990471,
])
# fmt: on


def test_each_gradient_is_clipped_by_its_own_norm_as_dino_does():
    small = np.array([[0.1, -0.2]])
    grads = to_device([GRADIENT, small])
    scales = each_scale(grads, 0.3)
    np.testing.assert_allclose(GRADIENT * scales[0], CLIPPED, rtol=1e-15)
    assert scales[1] == 1
    parameters = [tensor(np.zeros(g.shape), requires_grad=True) for g in grads]
    SGD(parameters, lr=1.0, momentum=0).step(grads, scales)
    np.testing.assert_allclose(to_host(parameters[0].data), -CLIPPED, rtol=1e-15)
    np.testing.assert_array_equal(to_host(parameters[1].data), -small)


def test_each_norm_is_of_one_gradient_whatever_the_threads(monkeypatch):
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(shape) for shape in ((7, 11), (3,), (0, 2), (5, 4))]
    expected = [min(1, 2.0 / (np.linalg.norm(g) + 1e-6)) for g in grads]
    monkeypatch.setattr(tiles, "TILE", 5)
    with Workers(2) as workers:
        np.testing.assert_allclose(each_scale(grads, 2.0, workers), expected, rtol=1e-14)
    assert 0 < min(expected) < max(expected) == 1


def test_without_a_limit_nothing_is_clipped():
    assert each_scale([np.ones(3), np.zeros(2)], math.inf) == [1, 1]

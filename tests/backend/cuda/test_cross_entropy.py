"""cross_entropy.cu against ops.cross_entropy."""

import numpy as np
import pytest
from cuda_on_cpu.kernels import (
    assert_near,
    both_orders,
    both_types,
    module,
    must_fail,
    needs_compiler,
    normal,
    numbers,
    stored,
    unwritten,
)

from minivit import ops

pytestmark = needs_compiler
SHAPES = [(1, 1), (7, 10), (5, 33), (3, 100)]
LABELS = ["numbers", "probabilities"]
SMOOTHING = 0.1


def inputs(shape, dtype, labels):
    rng = np.random.default_rng(shape[1])
    logits = normal(rng, shape, dtype, 4)
    if labels == "numbers":
        return logits, rng.integers(0, shape[1], shape[0]), np.array([1.5], np.float32)
    return logits, rng.random(shape, np.float32), np.array([1.5], np.float32)  # they need not sum to 1


def launch(name, arrays, shape, dtype, labels, reverse, bug):
    kernels = module("cross_entropy.cu", bug, T=dtype, LABEL="float" if labels == "probabilities" else "long long")
    args = [*arrays, np.int32(shape[0]), np.int32(shape[1]), np.float32(SMOOTHING)]
    kernels.launch(name, 2, 64, args, reverse=reverse)


def log_sum_of(logits):
    return np.logaddexp.reduce(numbers(logits), axis=-1)


def check_forward(shape, dtype, labels, reverse, bug=None, shift=0.0):
    logits, given, _ = inputs(shape, dtype, labels)
    logits = logits + np.float32(shift) if shift else logits
    losses, log_sum = unwritten(shape[:1], "float"), unwritten(shape[:1], "float")
    launch("cross_entropy_forward", [logits, given, losses, log_sum], shape, dtype, labels, reverse, bug)
    expected = [ops.cross_entropy(numbers(logits[i : i + 1]), given[i : i + 1], SMOOTHING)[0] for i in range(shape[0])]
    assert_near(losses, np.array(expected), 2e-5 if shift else 2e-6)
    assert_near(log_sum, log_sum_of(logits))


def check_backward(shape, dtype, labels, reverse, bug=None):
    logits, given, g = inputs(shape, dtype, labels)
    dlogits = unwritten(shape, dtype)
    log_sum = stored(log_sum_of(logits), "float")
    launch("cross_entropy_backward", [logits, given, log_sum, g, dlogits], shape, dtype, labels, reverse, bug)
    _, vjp = ops.cross_entropy(numbers(logits), given, SMOOTHING)
    if shape[1] > 1:
        assert_near(dlogits, vjp(g[0])[0])
    else:  # one class: p sum t - t is 0 but for rounding
        assert np.abs(numbers(dlogits)).max() < 1e-6


@both_orders
@both_types
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_cross_entropy(check, shape, dtype, labels, reverse):
    check(shape, dtype, labels, reverse)


def test_large_logits():
    check_forward((7, 10), "float", "numbers", False, shift=1000.0)
    check_forward((7, 10), "float", "numbers", False, shift=-1000.0)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_number_that_is_no_class_gives_nan(label):
    logits, labels, g = inputs((7, 10), "float", "numbers")
    labels[2] = label
    losses, log_sum, dlogits = unwritten((7,), "float"), unwritten((7,), "float"), unwritten((7, 10), "float")
    launch("cross_entropy_forward", [logits, labels, losses, log_sum], (7, 10), "float", "numbers", False, None)
    launch("cross_entropy_backward", [logits, labels, log_sum, g, dlogits], (7, 10), "float", "numbers", False, None)
    assert np.isnan(losses).nonzero()[0].tolist() == [2]
    assert np.isnan(dlogits).all(axis=1).nonzero()[0].tolist() == [2]
    assert np.isfinite(np.delete(dlogits, 2, axis=0)).all()


@pytest.mark.parametrize(
    ("check", "bug", "options"),
    [
        (check_forward, ("expf(to_float(z[k]) - largest)", "expf(to_float(z[k]))"), {"shift": 1000.0}),
        (check_forward, ("largest = -INFINITY", "largest = 0"), {"shift": -1000.0}),
        (check_forward, ("largest + logf", "logf"), {}),
        (check_forward, ("(1 - smoothing) * ", ""), {}),
        (check_forward, (" + smoothing / classes", ""), {}),
        (check_forward, ("loss = warp_sum(loss);", ""), {}),
        (check_backward, ("g[0] / rows", "g[0]"), {}),
        (check_backward, ("p * target_sum - t", "p - t"), {}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
@pytest.mark.planted
def test_a_planted_error_is_found(check, bug, options):
    must_fail(check, (7, 10), "float", "probabilities", bug=bug, **options)

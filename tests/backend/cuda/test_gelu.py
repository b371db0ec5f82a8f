"""gelu.cu against ops.gelu."""

import functools

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
    unwritten,
)

from minivit import ops

pytestmark = needs_compiler
FORMS = {"tanh": 0, "erf": 1, "quick": 2}
SHAPES = [(1, 1), (7, 24), (5, 33), (3, 520)]
BLOCKS = 3


def inputs(shape, dtype):
    rng = np.random.default_rng(shape[1])
    x, bias = normal(rng, shape, dtype, 3), normal(rng, shape[1:], "float")
    return x, bias, normal(rng, shape, dtype)


def launch(name, arrays, shape, dtype, form, reverse, bug):
    kernels = module("gelu.cu", bug, T=dtype, FORM=FORMS[form])
    kernels.launch(name, BLOCKS, 32, [*arrays, np.int64(shape[0]), np.int32(shape[1])], reverse=reverse)


def check_forward(shape, dtype, reverse, form="tanh", bug=None, with_bias=True):
    x, bias, _ = inputs(shape, dtype)
    y = unwritten(shape, dtype)
    launch("bias_gelu_forward", [x, bias if with_bias else None, y], shape, dtype, form, reverse, bug)
    assert_near(y, ops.gelu(numbers(x) + with_bias * numbers(bias), form)[0])


def check_backward(shape, dtype, reverse, form="tanh", bug=None, with_bias=True):
    x, bias, g = inputs(shape, dtype)
    dx, partial = unwritten(shape, dtype), unwritten((BLOCKS, shape[1]), "float") if with_bias else None
    arrays = [g, x, bias if with_bias else None, dx, partial]
    launch("bias_gelu_backward", arrays, shape, dtype, form, reverse, bug)
    (expected,) = ops.gelu(numbers(x) + with_bias * numbers(bias), form)[1](numbers(g))
    assert_near(dx, expected)
    if with_bias:
        assert_near(partial.sum(axis=0), expected.sum(axis=0), tolerance=5e-6)


@both_orders
@both_types
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_gelu(check, shape, form, dtype, reverse):
    check(shape, dtype, reverse, form)


def test_bias_and_partial_sums_may_be_null():
    check_forward((7, 24), "bf16", False, with_bias=False)
    check_backward((7, 24), "bf16", False, with_bias=False)


@pytest.mark.parametrize("form", FORMS)
def test_far_from_zero(form):
    """Where exp overflows the function is 0 or the identity, and its derivative 0 or 1."""
    x = np.array([[-1e4, -50.0, -20.0, 20.0, 50.0, 1e4]], np.float32)
    y, dx = unwritten(x.shape, "float"), unwritten(x.shape, "float")
    launch("bias_gelu_forward", [x, None, y], x.shape, "float", form, False, None)
    launch("bias_gelu_backward", [np.ones_like(x), x, None, dx, None], x.shape, "float", form, False, None)
    near = 1e-12 if form == "quick" else 1e-30  # at -20 a sigmoid is not that small
    np.testing.assert_allclose(y, np.maximum(x, 0), atol=near)
    np.testing.assert_allclose(dx, x > 0, atol=near)


@pytest.mark.parametrize(
    ("check", "bug"),
    [
        (check_forward, ("values[j] + biases[j]", "values[j]")),
        (check_forward, ("if (bias) load(biases, bias + column);", "if (bias) load(biases, bias);")),
        (check_forward, ("0.044715f * x * x * x", "0.044715f * x * x")),
        (functools.partial(check_forward, form="quick"), ("expf(-1.702f * x)", "expf(-1.7f * x)")),
        (functools.partial(check_backward, form="quick"), ("x * (1.702f * cdf", "x * (cdf")),
        (check_forward, ("row += gridDim.x", "row += rows")),
        (check_backward, ("x * (1.5957691f", "(1.5957691f")),
        (check_backward, ("0.134145f", "0.044715f")),
        (check_backward, ("sums[j] += gradients[j];", "sums[j] = gradients[j];")),
        (check_backward, ("column += blockDim.x * N", "column += width")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
@pytest.mark.planted
def test_a_planted_error_is_found(check, bug):
    must_fail(check, (7, 520), "bf16", bug=bug)

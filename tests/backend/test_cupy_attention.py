"""Which way attention takes on a GPU, and what it asks of memory there: on the stand-in."""

import importlib

import numpy as np
import pytest
import standin_cupy

from minivit import ops
from minivit.backend import get_namespace
from minivit.backend.cupy_kernels import attention as module
from minivit.backend.precision import bfloat16, precision


@pytest.fixture
def cupy():
    with standin_cupy.installed():
        yield get_namespace("cupy")


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that attention launches, and the results of its products."""
    seen = []
    kernel, product = module.kernel, module.product

    def noted_kernel(file, name, **defines):
        seen.append(name)
        return kernel(file, name, **defines)

    def noted_product(a, b, **options):
        seen.append(product(a, b, **options))
        return seen[-1]

    monkeypatch.setattr(module, "kernel", noted_kernel)
    monkeypatch.setattr(module, "product", noted_product)
    return seen


def run(cupy, in_precision, tokens, heads, features, queries=None, shift=0.0, keep=None):
    """y and dqkv, and what they should be."""
    rng = np.random.default_rng(0)
    qkv = rng.standard_normal((1, tokens, 3 * heads * features)).astype("float32")
    qkv[..., [0, heads * features]] += shift  # one feature of a query and of all keys: as much more in all scores
    qkv = cupy.asarray(qkv)
    g = rng.standard_normal((1, queries or tokens, heads * features)).astype("float32")
    if in_precision == "bf16":
        qkv, g = qkv.astype(bfloat16()), cupy.asarray(g).astype(bfloat16()).astype("float64").get()
    y64, vjp64 = ops.attention(qkv.astype("float64").get(), heads, keep, queries)
    with precision(in_precision):
        y, vjp = module.attention(qkv, heads, None if keep is None else cupy.asarray(keep), queries)
        (dqkv,) = vjp(cupy.asarray(g, "float32"))
    return [(x.astype("float64").get(), expected) for x, expected in ((y, y64), (dqkv, vjp64(g)[0]))]


def assert_near(found, tolerance):
    for x, expected in found:
        assert np.linalg.norm(x - expected) / np.linalg.norm(expected) < tolerance


@pytest.mark.parametrize(("tokens", "queries"), [(197, None), (197, 1), (577, 20)])
def test_scores_stay_inside_for_any_number_of_tokens(cupy, launched, tokens, queries):
    assert_near(run(cupy, "bf16", tokens, 1, 16, queries), 1e-2)
    assert launched == ["attention_forward", "attention_backward_queries", "attention_backward_keys"]


def test_no_kernel_asks_for_more_shared_memory_than_every_gpu_has(cupy, monkeypatch):
    """48 KiB need no permission: a capability with less to give than the H200 refuses nothing."""
    limits = importlib.import_module("standin_cupy.machine")
    monkeypatch.setattr(limits, "SHARED_MEMORY", dict.fromkeys(limits.SHARED_MEMORY, 0))
    assert_near(run(cupy, "bf16", 197, 1, 64), 1e-2)


@pytest.mark.parametrize("crooked", ["qkv", "g"])
def test_arrays_that_begin_anywhere_are_copied(cupy, launched, crooked):
    """The kernels read 16 bytes at a time: anywhere else a GPU refuses, and all that follows in the process fails."""
    rng = np.random.default_rng(0)
    values = {"qkv": rng.standard_normal((1, 20, 48)), "g": rng.standard_normal((1, 20, 16))}
    found = []
    for name in (crooked, None):
        arrays = {}
        for one, x in values.items():
            padded = cupy.asarray(np.concatenate([[0], x.ravel()])).astype(bfloat16())
            arrays[one] = padded[1:].reshape(x.shape) if one == name else padded[1:].copy().reshape(x.shape)
            assert (arrays[one].data.ptr % 16 != 0) == (one == name)
        with precision("bf16"):
            y, vjp = module.attention(arrays["qkv"], 1)
            found.append([z.astype("float32").get() for z in (y, vjp(arrays["g"])[0])])
    assert len(launched) == 6
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("in_precision", ["float32", "tf32", "bf16"])
def test_rows_of_scores_are_aligned(cupy, launched, in_precision):
    """A leading dimension of 197 elements keeps cuBLASLt from reading 16 bytes at a time."""
    assert_near(run(cupy, in_precision, 197, 2, 20), 1e-2)
    scores = [x for x in launched if not isinstance(x, str) and x.shape[-1] == 197]
    assert [x.dtype for x in scores] == ["float32"] * 2  # scores, and the gradient of weights
    assert all(stride % 16 == 0 for x in scores for stride in x.strides[:-1])


def test_large_scores_are_not_rounded_before_the_softmax(cupy):
    """Scores in the hundreds, of which bfloat16 keeps no fractions: a weight would be wrong by a factor."""
    assert_near(run(cupy, "bf16", 9, 1, 20, shift=20), 1e-2)


def test_dropout_of_weights_with_rows_that_are_no_multiple_of_8(cupy):
    keep = (np.random.default_rng(1).random((1, 2, 13, 13)) < 0.7) / np.float32(0.7)
    assert_near(run(cupy, "float32", 13, 2, 5, keep=keep), 1e-5)
    assert_near(run(cupy, "bf16", 13, 2, 5, keep=keep), 2e-2)

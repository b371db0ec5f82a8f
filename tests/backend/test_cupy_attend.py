"""What attend does on a GPU with bfloat16, padded rows and packed arrays: on the stand-in."""

import numpy as np
import pytest
import standin_cupy

from minivit import ops
from minivit.backend import get_namespace
from minivit.backend.cupy_kernels import attend as module
from minivit.backend.precision import bfloat16, precision


@pytest.fixture
def cupy():
    with standin_cupy.installed():
        yield get_namespace("cupy")


def run(cupy, in_precision, queries, keys, shift=0.0):
    """Value and gradients with a bias and a mask, and what they should be."""
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.standard_normal((2, n, 40)).astype("float32") for n in (queries, keys, keys, queries))
    q[..., 0] += shift
    k[..., 0] += shift  # as much more in all scores
    if in_precision == "bf16":
        q, k, v, g = (cupy.asarray(x).astype(bfloat16()).astype("float32").get() for x in (q, k, v, g))
    bias, mask = rng.standard_normal((2, queries, keys)).astype("float32"), rng.random((queries, keys)) < 0.8
    with precision(in_precision):
        inputs = [cupy.asarray(x) for x in (q, k, v, bias)]
        y, vjp = module.attend(*inputs, heads=2, mask=cupy.asarray(mask))
        *found, dbias = vjp(cupy.asarray(g))
    assert dbias.dtype == "float32"  # a sum of them would lose its digits otherwise
    y64, vjp64 = ops.attend(*(x.astype("float64") for x in (q, k, v, bias)), heads=2, mask=mask)
    return zip((y, *found, dbias), (y64, *vjp64(g.astype("float64"))), strict=True)


@pytest.mark.parametrize(("in_precision", "tolerance"), [("float32", 1e-5), ("tf32", 1e-2), ("bf16", 1e-2)])
@pytest.mark.parametrize(("queries", "keys"), [(5, 13), (21, 8), (1, 50)])
def test_rows_that_are_no_multiple_of_8(cupy, in_precision, tolerance, queries, keys):
    for found, expected in run(cupy, in_precision, queries, keys):
        error = found.astype("float64").get() - expected
        assert np.linalg.norm(error) <= tolerance * np.linalg.norm(expected)


def test_large_scores_are_not_rounded_before_the_softmax(cupy):
    """In the hundreds bfloat16 has no fractions: a weight would be wrong by a factor."""
    y, expected = next(iter(run(cupy, "bf16", 9, 9, shift=20)))
    assert np.linalg.norm(y.astype("float64").get() - expected) < 1e-2 * np.linalg.norm(expected)


def test_parts_of_a_packed_array_are_not_copied(cupy, monkeypatch):
    seen = []
    product = module.product
    monkeypatch.setattr(module, "product", lambda a, b, **options: seen.append((a, b)) or product(a, b, **options))
    qkv = cupy.asarray(np.random.default_rng(0).standard_normal((2, 5, 36)).astype("float32"))
    module.attend(*(qkv[..., i : i + 12] for i in (0, 12, 24)), heads=2)
    q, k = seen[0]
    assert q.base is qkv
    assert k.base is qkv
    assert seen[1][1].base is qkv  # v

"""Products and kernels in the precisions and at the sizes of real training, against float64: on the stand-in with small
sizes, on a GPU with those of ViT-B/16 and of CIFAR models."""

import numpy as np
import pytest
import standin_cupy

from minivit import ops
from minivit.backend import get_namespace
from minivit.backend.cupy_kernels import linear, rows
from minivit.backend.cupy_kernels.attention import attention
from minivit.backend.cupy_kernels.product import product
from minivit.backend.precision import bfloat16, precision
from minivit.errors import BackendError

ERRORS = {"float32": 1e-5, "tf32": 2e-3, "bf16": 1e-2}  # relative, in the norm
WIDTHS = {
    "standin": [(7, 8, 24), (5, 24, 3)],
    "cupy": [(12608, 768, 3072), (12608, 3072, 768), (256, 768, 1000), (1024, 192, 10)],
}
HEADS = {
    "standin": [(2, 5, 2, 16), (1, 34, 1, 32)],
    "cupy": [
        (64, 65, 3, 64),
        (16, 197, 12, 64),
        (4, 197, 16, 80),
        (4, 197, 3, 32),
        (2, 577, 12, 64),
        (2, 257, 2, 20),
        (2, 1025, 2, 64),
    ],
}


@pytest.fixture(params=["standin", "cupy"])
def device(request):
    """Its name, and the library."""
    if request.param == "standin":
        with standin_cupy.installed():
            yield "standin", get_namespace("cupy")
        return
    try:
        library = get_namespace("cupy")
    except BackendError:
        pytest.skip("no GPU that CuPy can use: the CuPy tests did not run")
    yield "cupy", library


def random(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype("float32")


def there(cupy, x, in_precision="bf16"):
    """An array on the device, and what it holds in float64."""
    array = cupy.asarray(x)
    array = array.astype(bfloat16()) if in_precision == "bf16" else array
    return array, array.astype("float64").get()


def assert_near(found, expected, tolerance):
    found = found.astype("float64").get()
    assert found.shape == expected.shape
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < tolerance, error


@pytest.mark.parametrize("in_precision", ERRORS)
def test_products(device, in_precision, recwarn):
    """Of large products some rows are compared: whole ones in float64 would take the host minutes."""
    name, cupy = device
    tolerance = ERRORS[in_precision]
    for n, k, m in WIDTHS[name]:
        (x, x64), (w, w64), (g, g64) = (there(cupy, random(*s), in_precision) for s in ((n, k), (k, m), (n, m)))
        bias, bias64 = there(cupy, random(m), in_precision)
        some, few = (
            np.random.default_rng(n).choice(rows, min(rows, most), False) for rows, most in ((n, 256), (k, 64))
        )
        with precision(in_precision):
            assert_near(product(x, w, bias=bias)[some], x64[some] @ w64 + bias64, tolerance)
            assert_near(product(g, w, transpose_b=True)[some], g64[some] @ w64.T, tolerance)
            found = product(x, g, transpose_a=True, dtype=np.dtype("float32"))
            assert found.dtype == "float32"
            expected = x64[:, few].T @ g64
            assert_near(found[few], expected, tolerance)
            product(x, g, transpose_a=True, out=found, accumulate=True)
            assert_near(found[few], 2 * expected, tolerance)
    assert not [message for w in recwarn if "cuBLASLt" in (message := str(w.message))]


@pytest.mark.parametrize("queries", [None, 1])
@pytest.mark.parametrize("in_precision", ["float32", "bf16"])
def test_attention(device, in_precision, queries):
    name, cupy = device
    for batch, tokens, heads, features in HEADS[name]:
        qkv, qkv64 = there(cupy, random(batch, tokens, 3 * heads * features), in_precision)
        expected, vjp64 = ops.attention(qkv64, heads, queries=queries)
        with precision(in_precision):
            y, vjp = attention(qkv, heads, queries=queries)
            assert_near(y, expected, 2 * ERRORS[in_precision])
            g, g64 = there(cupy, random(*expected.shape), in_precision)
            assert_near(vjp(g)[0], vjp64(g64)[0], 2 * ERRORS[in_precision])


SHAPES = {"standin": [(3, 24), (5, 7)], "cupy": [(12608, 768), (66560, 192), (77, 1280), (13, 50)]}  # of rows
ROWS = {
    "layer_norm": (rows.layer_norm, ops.layer_norm),
    "softmax": (rows.softmax, ops.softmax),
    "gelu": (linear.gelu, ops.gelu),
}


@pytest.mark.parametrize("op_name", ROWS)
@pytest.mark.parametrize("in_precision", ["float32", "bf16"])
def test_rows(device, in_precision, op_name):
    name, cupy = device
    kernel, op = ROWS[op_name]
    for n, width in SHAPES[name]:
        x, x64 = there(cupy, random(n, width), in_precision)
        g, g64 = there(cupy, random(n, width)[::-1].copy(), in_precision)
        others = (random(width), random(width)[::-1].copy()) if op_name == "layer_norm" else ()  # scale, bias
        with precision(in_precision):
            y, vjp = kernel(x, *map(cupy.asarray, others))
            y64, vjp64 = op(x64, *(o.astype("float64") for o in others))
            assert_near(y, y64, ERRORS[in_precision])
            for one, other in zip(vjp(g), vjp64(g64), strict=True):
                assert_near(one, other, ERRORS[in_precision])


@pytest.mark.parametrize("in_precision", ["float32", "bf16"])
def test_cross_entropy(device, in_precision):
    name, cupy = device
    for n, width in SHAPES[name]:
        x, x64 = there(cupy, random(n, width), in_precision)
        labels = np.arange(n) % width
        with precision(in_precision):
            y, vjp = rows.cross_entropy(x, cupy.asarray(labels), 0.1)
            y64, vjp64 = ops.cross_entropy(x64, labels, 0.1)
            assert float(y) == pytest.approx(float(y64), rel=1e-3)
            assert_near(vjp(cupy.ones((), "float32"))[0], vjp64(np.ones(()))[0], ERRORS[in_precision])

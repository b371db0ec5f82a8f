"""Ops that a recorded step may hold: their value and gradients, from a CUDA graph of the stand-in, are NumPy's."""

import numpy as np
import pytest
import standin_cupy

from minivit import functional as F
from minivit.backend import get_namespace
from minivit.backend.precision import precision
from minivit.tensor import Tensor, grad


def normal(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype("float32")


TOKENS = normal(2, 5, 12)
CASES = {
    "attend": ([TOKENS, normal(2, 7, 12), normal(2, 7, 8)], {"heads": 4}),
    "attend, masked": (
        [TOKENS, TOKENS + 1, TOKENS, normal(2, 5, 5)],
        {"heads": 2, "mask": np.tri(5, k=-1, dtype=bool), "keep": np.float32(1.5) * (normal(2, 2, 5, 5) > -1)},
    ),
    "embedding": ([TOKENS[0], np.array([[3, 0, 3], [1, 4, 3]])], {}),
    "rotate": ([TOKENS, normal(5, 6) > 0], {"halves": True}),
    "rms_norm": ([TOKENS, normal(12)], {}),
    "swiglu": ([TOKENS, TOKENS + 1], {}),
    "gelu, quick": ([TOKENS], {"form": "quick"}),
    "linear_gelu, quick": ([TOKENS, normal(12, 3), normal(3)], {"form": "quick"}),
    "sin": ([TOKENS], {}),
    "cos": ([TOKENS], {}),
    "select": ([TOKENS, np.array([[3, 0], [1, 4]])], {}),
}


def placed(xp, x, requires_grad=False):
    array = xp.asarray(x) if isinstance(x, np.ndarray) else x
    learns = isinstance(x, np.ndarray) and x.dtype == "float32"
    return Tensor(array, True) if learns and requires_grad else array


def value_and_gradients(xp, case):
    """What computes them, and the arrays that it reads."""
    inputs, params = CASES[case]
    tensors = [placed(xp, x, requires_grad=True) for x in inputs]
    params = {name: placed(xp, x) for name, x in params.items()}
    leaves = [t for t in tensors if isinstance(t, Tensor)]

    def compute():
        y = getattr(F, case.partition(",")[0])(*tensors, **params)
        return [y.data, *grad(y, leaves, xp.ones(y.shape, "float32") * y.data)]

    return compute, [leaf.data for leaf in leaves]


@pytest.mark.parametrize("in_precision", ["float32", "bf16"])
@pytest.mark.parametrize("case", CASES)
def test_a_recorded_op_does_what_it_does_on_numpy(case, in_precision):
    with precision(in_precision), standin_cupy.installed():
        expected = value_and_gradients(np, case)[0]()
        cupy = get_namespace("cupy")
        compute, sources = value_and_gradients(cupy, case)
        compute()  # kernels are compiled
        numbers = [x.get() for x in sources]
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            with standin_cupy.forbid_synchronisation():
                stream.begin_capture()
                found = compute()
                graph = stream.end_capture()
            for source, x in zip(sources, numbers, strict=True):
                source[...] = 0
                source[...] = cupy.asarray(x)
            graph.launch(stream)
            for one, other in zip(found, expected, strict=True):
                tolerance = 1e-5 if in_precision == "float32" else 3e-2
                one = one.astype("float32").get()
                assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)

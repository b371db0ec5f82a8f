"""Ops of maps in a step that is recorded as a CUDA graph: no copies from the host, no products through cuBLAS."""

import numpy as np
import pytest
from devices import library, to_host

from minivit import functional as F
from minivit.tensor import Tensor, grad

pytestmark = [
    pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True),
    pytest.mark.usefixtures("device"),
]

X = (2, 6, 5, 4)
OPS = {
    "resize": (lambda x: F.resize(x, (9, 3), "bicubic", (9.1 / 6, 3.1 / 5)), []),
    "resize, a product of fewer rows": (lambda x: F.resize(x, (2, 2), "bilinear_antialias"), []),
    "conv2d, symmetric border": (lambda x, w: F.conv2d(x, w, 2, (1, 2)), [(3, 3, 4, 8)]),
    "conv2d, groups": (lambda x, w: F.conv2d(x, w, 1, 1, 2), [(3, 3, 2, 6)]),
    "conv2d, depthwise": (lambda x, w: F.conv2d(x, w, 1, 3, 4), [(7, 7, 1, 4)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), []),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), []),
    "roll": (lambda x: F.roll(x, (-1, 2), (1, 2)), []),
    "batch_norm": (lambda x, scale, bias: F.batch_norm(x, scale, bias, found={}), [(4,), (4,)]),
}


@pytest.mark.parametrize("name", OPS)
def test_forward_and_backward_can_be_recorded(name):
    function, shapes = OPS[name]
    values = [np.random.default_rng(i).standard_normal(shape).astype("float32") for i, shape in enumerate([X, *shapes])]

    def run(xp, given):
        tensors = [Tensor(x, requires_grad=True) for x in given]
        y = function(*tensors)
        return [y.data, *grad(y, tensors, y.data + 1)]

    xp = library()
    placed = [xp.asarray(x) for x in values]
    for _ in range(2):  # kernels are compiled, products choose their algorithms
        run(xp, placed)
    stream = xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        found = run(xp, placed)
        graph = stream.end_capture()
        graph.launch(stream=stream)
        stream.synchronize()
    for one, other in zip(found, run(np, values), strict=True):
        np.testing.assert_allclose(to_host(one), other, rtol=0, atol=1e-5 * max(1, abs(other).max()))

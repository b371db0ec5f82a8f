"""Flat parameters on the stand-in for CuPy: each tensor is updated with its rate, decay and factor, as on NumPy."""

import numpy as np
import pytest
import standin_cupy

from minivit.backend import get_namespace
from minivit.backend.cupy_kernels import flat
from minivit.backend.cupy_kernels.flat import CHUNK, NORM, FlatParameters, packed
from minivit.optim import SGD, AdamW, global_norm
from minivit.optim.gradients import clip_scale, each_scale
from minivit.tensor import Tensor

SHAPES = [(3, 4), (5,), (1, 1), (17, 31), (CHUNK,), (0, 2), (2, CHUNK), (1000,), (7, 3)]
STEPS = 4


@pytest.fixture
def cupy():
    with standin_cupy.installed():
        yield get_namespace("cupy")


def arrays(seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype("float32") for shape in SHAPES]


def made(kind, tensors):
    """An optimiser whose tensors differ in rate and decay, both of which change."""
    named = [(f"{i}.weight" if i % 3 else f"{i}.bias", tensor) for i, tensor in enumerate(tensors)]
    rates = {name: 0.5**i for i, (name, _) in enumerate(named)} | {"4.weight": lambda step: float(step > 1)}
    options = {"eps": 1e-4, "betas": (0.8, 0.95)} if kind is AdamW else {}
    return kind(named, lambda step: 0.1 / (step + 1), weight_decay=lambda step: 0.1 * step, rates=rates, **options)


@pytest.mark.parametrize("most", [4, 170], ids=["three tables", "one table"])
@pytest.mark.parametrize("each", [False, True], ids=["all", "each"])
@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_an_update_is_that_of_numpy(cupy, kind, each, most, monkeypatch):
    monkeypatch.setattr(flat, "MAX_TENSORS", most)
    table = [(name, *rest[:1], most + (name == "start")) for name, *rest in TABLE] + [("count", np.int32)]
    monkeypatch.setattr(flat, "TABLE", np.dtype(table, align=True))
    host = made(kind, [Tensor(x, requires_grad=True) for x in arrays(0)])
    optimizer = made(kind, [Tensor(x, requires_grad=True) for x in arrays(0)])  # of the rule alone
    parameters = FlatParameters([cupy.asarray(x) for x in arrays(0)])
    state = [cupy.zeros(parameters.size, "float32") for _ in kind.slots]
    for step in range(STEPS):
        grads = arrays(step + 1)
        host.step(grads, each_scale(grads, 3.0) if each else clip_scale(global_norm(grads), 3.0))
        current = optimizer.current()
        optimizer.steps += 1
        parameters.scalars.set(packed(optimizer.scalars(), current))
        parameters.gather([cupy.asarray(g) for g in grads], 3.0, each)
        assert float(parameters.scalars[NORM].get()) == pytest.approx(global_norm(grads), rel=1e-6)
        getattr(parameters, kind.__name__.lower())(*state)
    slots = [host.state[slot] for slot in kind.slots]
    for flat_array, expected in zip(
        [parameters.data, *state], [[p.data for p in host.parameters], *slots], strict=True
    ):
        for view, array in zip(parameters.views_of(flat_array), expected, strict=True):
            np.testing.assert_allclose(view.get(), array, rtol=2e-5, atol=2e-6)


TABLE = [("source", np.uint64), ("start", np.int64), ("size", np.int32)]


def test_tensors_begin_at_chunks_and_keep_their_order_and_values(cupy):
    parameters = FlatParameters([cupy.asarray(x) for x in arrays(0)])
    assert not (parameters.starts % CHUNK).any()
    assert parameters.size == parameters.starts[-1] == len(parameters.owner) * CHUNK
    for view, array in zip(parameters.views, arrays(0), strict=True):
        np.testing.assert_array_equal(view.get(), array)
        assert view.size == 0 or view.data.ptr % 512 == parameters.data.data.ptr % 512


def test_a_scalar_that_no_kernel_knows_is_refused():
    with pytest.raises(AssertionError, match="beta"):
        packed({"beta": 0.9}, [(0.1, 0.0)])


def test_arrays_that_are_not_float32_are_refused(cupy):
    with pytest.raises(TypeError, match="must be float32, one is float64"):
        FlatParameters([cupy.zeros(3, "float64")])

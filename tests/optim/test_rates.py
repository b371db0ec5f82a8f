"""Rates and decays of single parameters: each learns as if it had an optimiser of its own."""

import numpy as np
import pytest
from devices import assert_equal, tensor, to_device

from minivit.backend import tiles
from minivit.backend.workers import Workers
from minivit.models import ViT, ViTConfig
from minivit.optim import SGD, AdamW, layer_rates
from minivit.optim.optimizers import is_kernel
from minivit.optim.rates import is_matrix
from minivit.tensor import Tensor

SHAPES = {"a.weight": (3, 4), "a.bias": (4,), "b.weight": (4, 2)}
STEPS = 4


def numbers(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}


def held_at_first(step):
    return 0.0 if step < 2 else 0.5


RATES = {"a.weight": 0.25, "b.weight": held_at_first}


def rising(step):
    return 0.1 * (step + 1)


def falling(step):
    return 0.2 / (step + 1)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("rates", [RATES, lambda name: RATES.get(name, 1.0)], ids=["mapping", "function"])
@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_each_parameter_learns_at_its_rate(kind, rates):
    together = {name: tensor(x, requires_grad=True) for name, x in numbers(0).items()}
    alone = {name: tensor(x, requires_grad=True) for name, x in numbers(0).items()}
    optimizer = kind(together.items(), falling, weight_decay=rising, rates=rates)
    others = {
        "a.weight": kind([alone["a.weight"]], lambda step: 0.25 * falling(step)),
        "a.bias": kind([alone["a.bias"]], falling),
        "b.weight": kind([alone["b.weight"]], lambda step: held_at_first(step) * falling(step)),
    }
    for step in range(STEPS):
        grads = {name: to_device(g) for name, g in numbers(step + 1).items()}
        optimizer.step(grads.values(), scale=[0.5, 1.0, 2.0])
        for (name, other), scale in zip(others.items(), [0.5, 1.0, 2.0], strict=True):
            other.decays = [name != "a.bias"]
            other.weight_decay = [0.1, 0.2, 0.1 * 3, 0.4][step]
            other.step([grads[name] * scale])
    for name, parameter in together.items():
        assert_equal(parameter.data, alone[name].data)


def test_a_rate_of_0_holds_a_parameter_also_against_its_decay():
    weight = Tensor(np.ones((2, 2)), requires_grad=True, name="b.weight")
    optimizer = AdamW([weight], 0.1, weight_decay=0.5, rates={"b.weight": held_at_first})
    for _ in range(2):
        optimizer.step([np.ones((2, 2))])
        assert (weight.data == 1).all()
    optimizer.step([np.ones((2, 2))])
    np.testing.assert_allclose(
        weight.data, 1 - 0.1 * 0.5 * (1 + 0.5), rtol=1e-6
    )  # its moments went on: m / sqrt(v) = 1


def test_what_is_current_is_read_at_the_number_of_updates_done():
    pairs = [(name, Tensor(x, requires_grad=True)) for name, x in numbers(0).items()]
    optimizer = SGD(pairs, falling, weight_decay=rising, rates=RATES)
    assert optimizer.current() == [(0.25 * 0.2, 0.1), (0.2, 0.0), (0.0, 0.1)]
    optimizer.steps = 3
    assert optimizer.current() == [(0.25 * 0.05, 0.4), (0.05, 0.0), (0.5 * 0.05, 0.4)]


def test_without_rates_nothing_is_computed_otherwise():
    plain, ones = ([Tensor(x, requires_grad=True) for x in numbers(0).values()] for _ in range(2))
    optimizers = AdamW(plain, 0.1, weight_decay=0.3), AdamW(ones, 0.1, weight_decay=0.3, rates=lambda name: 1.0)
    for optimizer in optimizers:
        optimizer.step(numbers(1).values())
    for p, q in zip(plain, ones, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_tiles_and_threads_know_their_parameter(monkeypatch):
    def trained(workers):
        parameters = [(name, Tensor(x, requires_grad=True)) for name, x in numbers(0).items()]
        optimizer = AdamW(parameters, 0.1, weight_decay=rising, rates=RATES)
        for step in range(STEPS):
            optimizer.step(numbers(step + 1).values(), scale=[0.5, 1.0, 2.0], workers=workers)
        return [p.data for _, p in parameters]

    whole = trained(None)
    monkeypatch.setattr(tiles, "TILE", 3)
    with Workers(2) as workers:
        for x, y in zip(whole, trained(workers), strict=True):
            np.testing.assert_array_equal(x, y)


def test_names_that_no_parameter_has_are_refused():
    pairs = [("head.weight", Tensor(np.ones((2, 2)), requires_grad=True))]
    with pytest.raises(ValueError, match=r'learns is called "head.wieght"; did you mean "head.weight"\?'):
        SGD(pairs, rates={"head.wieght": 0.5})


@pytest.mark.parametrize("factor", [-0.5, float("nan"), float("inf")])
def test_factors_that_are_none_are_refused(factor):
    with pytest.raises(ValueError, match=f"rates: {factor} for w, expected a number of 0 or more"):
        SGD([("w", Tensor(np.ones(2), requires_grad=True))], rates=lambda name: factor)


def test_layer_rates_are_those_of_the_published_fine_tuning():
    """util/lr_decay.py of MAE for a depth of 2: 0.75 ** (depth + 1 - layer)."""
    layers = {"class_token": 0, "blocks.0.norm1.scale": 1, "blocks.1.mlp.hidden.weight": 2, "head.weight": 3}
    rates = layer_rates(layers, layers.__getitem__, 0.75)
    assert rates == {
        "class_token": 0.421875,
        "blocks.0.norm1.scale": 0.5625,
        "blocks.1.mlp.hidden.weight": 0.75,
        "head.weight": 1.0,
    }


def test_matrices_are_what_has_two_axes_or_more():
    model = ViT(ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=3))
    named = dict(model.named_parameters())
    matrices = {name for name, p in named.items() if is_matrix(name, p)}
    assert matrices == {name for name, p in named.items() if is_kernel(name, p)} | {"class_token", "position_embedding"}

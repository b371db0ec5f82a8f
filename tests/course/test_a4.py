"""A4, blocks and the whole ViT: the master solution and the handout, against differences and numbers made by hand."""

import math

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

A4 = assignments()["a4_vit"]
TINY = {
    "image_size": (4, 6),
    "patch_size": (2, 3),
    "channels": 1,
    "width": 4,
    "depth": 1,
    "heads": 2,
    "mlp_width": 6,
    "num_classes": 3,
    "classifier": "token",
    "gelu": "tanh",
    "norm_eps": 1e-6,
}


@pytest.fixture(scope="module")
def master():
    return load(A4.master, given=A4.given)


def drawn(master, config, seed=0):
    """Parameters of the right shapes, none of them at rest."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, value.shape) for name, value in master.init_params(config, 0).items()}


def slope(function, x, g, way, step=1e-5):
    """Central difference of <g, function(x)> along `way`."""
    return float(np.sum(g * (function(x + step * way) - function(x - step * way))) / (2 * step))


def test_gelu_has_the_values_and_slopes_of_the_handout(master):
    one = np.array([1.0])
    for form, value, rise in (("erf", 0.841345, 1.083315), ("tanh", 0.841192, 1.082964)):
        assert master.gelu(one, form) == pytest.approx(value, abs=1e-6)
        assert master.gelu_backward(one, form, 2 * one) == pytest.approx(2 * rise, abs=2e-6)


def test_the_forms_of_gelu_differ_by_as_much_as_the_handout_says(master):
    x = np.linspace(-5, 5, 10_001)
    assert np.abs(master.gelu(x, "erf") - master.gelu(x, "tanh")).max() == pytest.approx(4.7e-4, abs=1e-5)


def test_the_block_that_is_done_by_hand(master):
    norms = {f"norm{i}.{part}": np.full(2, float(part == "scale")) for i in (1, 2) for part in ("scale", "bias")}
    attention = {"attention.qkv.weight": np.hstack([np.zeros((2, 4)), np.eye(2)]), "attention.qkv.bias": np.zeros(6)}
    attention.update({"attention.out.weight": np.eye(2), "attention.out.bias": np.zeros(2)})
    branch = {"mlp.hidden.weight": np.array([[10.0], [0]]), "mlp.hidden.bias": np.zeros(1)}
    branch.update({"mlp.out.weight": np.array([[0.1, 0]]), "mlp.out.bias": np.zeros(2)})
    config = {**TINY, "width": 2, "heads": 1, "norm_eps": 1e-12}
    result = master.block(np.array([[[3.0, 1.0]]]), {**norms, **attention, **branch}, config)
    np.testing.assert_allclose(result, [[[5, 0]]], atol=1e-9)


@pytest.mark.parametrize("gelu", ["tanh", "erf"])
def test_gradients_of_a_block_agree_with_differences(master, gelu):
    config, rng = {**TINY, "gelu": gelu}, np.random.default_rng(1)
    params = {name[9:]: value for name, value in drawn(master, config).items() if name.startswith("blocks.0.")}
    x, g, way = rng.standard_normal((3, 2, 3, 4))
    dx, grads = master.block_backward(x, params, config, g)
    assert np.sum(dx * way) == pytest.approx(slope(lambda x: master.block(x, params, config), x, g, way), rel=1e-6)
    for name, value in params.items():
        way = rng.uniform(-1, 1, value.shape)
        measured = slope(lambda p, name=name: master.block(x, {**params, name: p}, config), value, g, way)
        assert np.sum(grads[name] * way) == pytest.approx(measured, rel=1e-6), name


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_gradients_of_the_model_agree_with_differences(master, classifier):
    config, rng = {**TINY, "classifier": classifier, "depth": 2}, np.random.default_rng(2)
    params, images = drawn(master, config), rng.standard_normal((2, 4, 6, 1))

    def loss(params):
        return master.vit_loss_and_gradients(params, config, images, np.array([2, 0]))[0]

    _, grads = master.vit_loss_and_gradients(params, config, images, np.array([2, 0]))
    assert {name: value.shape for name, value in grads.items()} == {name: p.shape for name, p in params.items()}
    for name, value in params.items():
        way = rng.uniform(-1, 1, value.shape)
        measured = slope(lambda p, name=name: loss({**params, name: p}), value, 1.0, way)
        assert np.sum(grads[name] * way) == pytest.approx(measured, rel=1e-5, abs=1e-9), name


def test_a_head_of_zeros_gives_log_of_the_classes_and_no_gradient_below(master):
    params = master.init_params(TINY, 3)
    loss, grads = master.vit_loss_and_gradients(params, TINY, np.ones((2, 4, 6, 1)), np.array([0, 1]))
    assert loss == pytest.approx(math.log(3))
    assert not any(value.any() for name, value in grads.items() if not name.startswith("head"))


def test_blocks_run_in_the_order_of_their_numbers(master):
    config = {**TINY, "depth": 11}
    params = drawn(master, config)
    images = np.random.default_rng(4).standard_normal((1, 4, 6, 1))
    before = master.vit(params, config, images)
    names = [name for name in params if name.startswith("blocks.10.")]
    exchanged = {name: params[name.replace(".10.", ".2.")] for name in names}
    exchanged.update({name.replace(".10.", ".2."): params[name] for name in names})
    assert np.abs(master.vit({**params, **exchanged}, config, images) - before).max() > 1e-3
    np.testing.assert_array_equal(master.vit(dict(sorted(params.items())), config, images), before)


def test_the_counts_of_the_handout(master):
    assert (master.count_parameters(TINY), master.count_multiply_adds(TINY)) == (229, 868)
    assert master.count_parameters(TINY) == sum(value.size for value in master.init_params(TINY, 0).values())
    large = {**TINY, "image_size": (224, 224), "patch_size": (16, 16), "channels": 3, "num_classes": 1000}
    tiny = {**large, "width": 192, "depth": 12, "heads": 3, "mlp_width": 768}
    base = {**large, "width": 768, "depth": 12, "heads": 12, "mlp_width": 3072}
    assert master.count_parameters(tiny) == 5_717_416
    assert (master.count_parameters(base), master.count_multiply_adds(base)) == (86_567_656, 17_563_828_224)


def test_dropping_keeps_the_mean_and_drop_path_whole_samples(master):
    x = np.random.default_rng(5).uniform(0.5, 2, (2000, 3, 2))
    y = master.drop_path(x, 0.25, 1, True) / x
    assert set(np.unique(np.round(y, 9))) == {0.0, np.round(4 / 3, 9)}
    assert (np.ptp(np.round(y, 9), axis=(1, 2)) == 0).all()
    assert master.dropout(x, 0.25, 1, True).mean() == pytest.approx(x.mean(), rel=0.03)
    np.testing.assert_array_equal(master.dropout(x, 0.25, 1, False), x)

"""A2: the conventions of its handout as numbers, and the master's gradients against differences of its own results."""

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

A2 = assignments()["a2_patches"]
SOLUTIONS = {"master": A2.master, **A2.rights}


@pytest.fixture(params=SOLUTIONS)
def adapters(request):
    return load(SOLUTIONS[request.param])


def slope(f, arguments, i, rng, delta=1e-5):
    """A random direction u of argument i, and how f changes along it."""
    u = rng.choice([-1, 1], np.shape(arguments[i])) * rng.uniform(0.25, 1, np.shape(arguments[i]))

    def at(step):
        moved = list(arguments)
        moved[i] = arguments[i] + step * u
        return f(*moved)

    return u, (at(delta) - at(-delta)) / (2 * delta)


def test_patches_go_row_by_row_and_pixels_within_them_too(adapters):
    image = np.arange(24.0).reshape(1, 4, 6, 1)
    patches = np.asarray(adapters.patchify(image, (2, 3)))
    assert patches.tolist()[0][:2] == [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]
    assert np.array_equal(adapters.unpatchify(patches, (2, 3), (4, 6)), image)


def test_channels_run_fastest(adapters):
    image = np.arange(8.0).reshape(1, 2, 2, 2)
    assert np.asarray(adapters.patchify(image, (1, 2))).tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]


def test_the_class_token_stands_first_and_has_a_position(adapters):
    arguments = np.ones((1, 2, 1)), np.full((1, 1), 2.0), np.array([3.0]), np.full((1, 1, 1), 10.0)
    tokens = adapters.embed(*arguments, np.array([[[0.1], [0.2], [0.3]]]))
    assert np.asarray(tokens).ravel() == pytest.approx([10.1, 5.2, 5.3])


def test_sine_cosine_positions_of_the_second_column(adapters):
    table = np.asarray(adapters.sincos_positions((2, 3), 8))
    assert table.shape == (6, 8)
    assert table[1] == pytest.approx([np.sin(1), 1e-4, np.cos(1), 1, 0, 0, 1, 1], abs=1e-8)
    assert table[3] == pytest.approx([0, 0, 1, 1, np.sin(1), 1e-4, np.cos(1), 1], abs=1e-8)
    assert np.asarray(adapters.sincos_positions((1, 2), 4))[1] == pytest.approx([np.sin(1), np.cos(1), 0, 1])


def test_layer_norm_by_hand(adapters):
    x, ones = np.array([1.0, 2, 3, 6]), np.ones(4)
    assert adapters.layer_norm(x, ones, 0 * ones, 0.5) == pytest.approx([-1, -0.5, 0, 1.5])
    dx, dscale, dbias = adapters.layer_norm_backward(x, ones, 0 * ones, 0.5, np.array([1.0, 0, 0, 0]))
    assert dx == pytest.approx([0.25, -0.1875, -0.125, 0.0625])
    assert list(dscale) == pytest.approx([-1, 0, 0, 0])
    assert list(dbias) == pytest.approx([1, 0, 0, 0])


def test_softmax_by_hand(adapters):
    x, g = np.log([1.0, 1, 2]), np.array([1.0, 0, 0])
    assert adapters.softmax(x + 2e4) == pytest.approx([0.25, 0.25, 0.5])
    assert adapters.log_softmax(x) == pytest.approx(np.log([0.25, 0.25, 0.5]))
    assert adapters.softmax_backward(x, g) == pytest.approx([3 / 16, -1 / 16, -1 / 8])
    assert adapters.log_softmax_backward(x, g) == pytest.approx([3 / 4, -1 / 4, -1 / 2])


def test_losses_by_hand(adapters):
    logits = np.log([[1.0, 1, 2]])
    loss, dlogits = adapters.cross_entropy(logits, np.array([2]), 0.3)
    assert loss == pytest.approx(0.2 * np.log(4) + 0.8 * np.log(2))
    assert np.asarray(dlogits) == pytest.approx(np.array([[0.15, 0.15, -0.3]]))
    loss, dlogits = adapters.sigmoid_cross_entropy(np.zeros((2, 5)), np.array([0, 4]))
    assert loss == pytest.approx(5 * np.log(2))
    assert np.asarray(dlogits)[0] == pytest.approx([-0.25, 0.25, 0.25, 0.25, 0.25])


def test_gradients_are_those_of_the_results(adapters):
    rng = np.random.default_rng(5)
    x, scale, bias = rng.normal(size=(2, 3, 4)), rng.uniform(0.5, 2, 4), rng.normal(size=4)
    g = rng.normal(size=x.shape)
    gradients = adapters.layer_norm_backward(x, scale, bias, 0.1, g)
    for i, gradient in enumerate(gradients):
        u, change = slope(lambda *a: (g * adapters.layer_norm(*a, 0.1)).sum(), (x, scale, bias), i, rng)
        assert (u * gradient).sum() == pytest.approx(change, rel=1e-6)
    for name in ("softmax", "log_softmax"):
        forward = getattr(adapters, name)
        u, change = slope(lambda a, f=forward: (g * f(a)).sum(), (x,), 0, rng)
        assert (u * getattr(adapters, f"{name}_backward")(x, g)).sum() == pytest.approx(change, rel=1e-6)
    arrays = [rng.normal(size=shape) for shape in ((2, 3, 4), (4, 5), (5,), (1, 1, 5), (1, 4, 5))]
    g = rng.normal(size=(2, 4, 5))
    gradients = adapters.embed_backward(*arrays, g)
    for i, name in enumerate(("weight", "bias", "class_token", "positions"), 1):
        u, change = slope(lambda *a: (g * np.asarray(adapters.embed(*a))).sum(), arrays, i, rng)
        assert (u * gradients[name]).sum() == pytest.approx(change, rel=1e-6)
    logits, labels = rng.normal(size=(3, 4)), np.array([0, 3, 1])
    for loss in (lambda z: adapters.cross_entropy(z, labels, 0.2), lambda z: adapters.sigmoid_cross_entropy(z, labels)):
        u, change = slope(lambda z, loss=loss: loss(z)[0], (logits,), 0, rng)
        assert (u * loss(logits)[1]).sum() == pytest.approx(change, rel=1e-6)

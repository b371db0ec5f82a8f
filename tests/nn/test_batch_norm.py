"""BatchNorm: in training and in evaluation, and how what it keeps changes, once an update, whatever the threads do."""

import numpy as np
import pytest
from devices import assert_allclose, assert_equal, check_gradients, placed, tensor, to_device, to_host

from minivit import functional as F
from minivit.backend.workers import Workers
from minivit.nn import Module
from minivit.nn.batch_norm import BatchNorm, batch_statistics, statistics_rows, update_running
from minivit.nn.convolution import Conv
from minivit.nn.recompute import recompute

pytestmark = pytest.mark.usefixtures("device")

IMAGES = np.random.default_rng(1).standard_normal((6, 4, 3, 2)) * 2 + 1


class Network(Module):
    """Two convolutions, each with a BatchNorm, and one that is never called."""

    def __init__(self, dtype="float64"):
        rng = np.random.default_rng(0)
        self.convs = [Conv(3, 2, 4, rng, dtype), Conv(1, 4, 3, rng, dtype)]
        self.norms = [BatchNorm(4, dtype), BatchNorm(3, dtype, momentum=0.25)]
        self.idle = BatchNorm(2, dtype)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return x


def test_in_training_each_channel_has_mean_0_and_variance_1():
    layer = placed(BatchNorm(2, "float64", eps=0.0))
    y = layer(tensor(IMAGES))
    assert_allclose(y.data.mean(axis=(0, 1, 2)), 0, atol=1e-14)
    assert_allclose((y.data * y.data).mean(axis=(0, 1, 2)), 1, rtol=1e-12)
    assert_equal(layer.running_mean, np.zeros(2))
    assert_equal(layer.running_variance, np.ones(2))


def test_the_running_statistics_are_those_of_pytorch():
    """r <- 0.9 r + 0.1 s, s the mean and the unbiased variance; evaluation normalises by r."""
    layer = placed(BatchNorm(2, "float64", eps=0.5))
    mean, variance = np.zeros(2), np.ones(2)
    for images in (IMAGES, IMAGES[:4] ** 2):
        with batch_statistics() as seen:
            layer(tensor(images))
        update_running(layer, statistics_rows(layer, seen, 1).data[0])
        mean = 0.9 * mean + 0.1 * images.mean(axis=(0, 1, 2))
        variance = 0.9 * variance + 0.1 * images.reshape(-1, 2).var(axis=0, ddof=1)
    assert_allclose(layer.running_mean, mean, rtol=1e-13)
    assert_allclose(layer.running_variance, variance, rtol=1e-13)
    assert_allclose(layer.eval()(tensor(IMAGES)), (IMAGES - mean) / np.sqrt(variance + 0.5), rtol=1e-12)


def test_they_are_state_and_no_parameters():
    layer = BatchNorm(3, gain=0.5)
    assert [name for name, _ in layer.named_parameters()] == ["scale", "bias"]
    assert list(layer.state_dict()) == ["scale", "bias", "running_mean", "running_variance"]
    assert_equal(layer.scale, np.full(3, 0.5, "float32"))


@pytest.mark.parametrize("training", [True, False])
def test_gradients(training):
    layer = placed(BatchNorm(2, "float64", eps=1e-2).train(training))
    rng = np.random.default_rng(0)
    for parameter in (*layer.parameters(), layer.running_mean):
        parameter.data += to_device(rng.standard_normal(2))

    def f(x, *parameters):
        layer.scale, layer.bias = parameters
        return layer(x)

    check_gradients(f, IMAGES, *(np.array(p.data.tolist()) for p in (layer.scale, layer.bias)))


def of_pieces(network, pieces, workers):
    """(examples, 18): what each piece saw, a row for each of its examples."""

    def seen_in(images):
        with batch_statistics() as seen:
            network(tensor(images))
        return to_host(statistics_rows(network, seen, len(images)))

    with Workers(workers) as threads:
        return np.concatenate(threads.map(seen_in, pieces))


@pytest.mark.parametrize("workers", [1, 3])
def test_statistics_of_pieces_are_averaged_whatever_the_threads_do(workers):
    network = placed(Network())
    pieces = [IMAGES[:1], IMAGES[1:4], IMAGES[4:]]
    found = of_pieces(network, pieces, workers)
    alone = np.concatenate([of_pieces(network, [piece], 1) for piece in pieces])
    np.testing.assert_array_equal(found, alone)
    assert np.ptp(alone, axis=0)[:14].min() > 1e-3  # ghosts: each piece has its own
    update_running(network, to_device(found.mean(axis=0)))
    split = np.split(found.mean(axis=0), np.cumsum([4, 4, 3, 3, 2]))
    assert_allclose(network.norms[0].running_mean, 0.1 * split[0], rtol=1e-13)
    assert_allclose(network.norms[0].running_variance, 0.9 + 0.1 * split[1], rtol=1e-13)
    assert_allclose(network.norms[1].running_mean, 0.25 * split[2], rtol=1e-13)
    assert_allclose(network.norms[1].running_variance, 0.75 + 0.25 * split[3], rtol=1e-13)


def test_what_saw_nothing_keeps_what_it_has():
    network = placed(Network())
    network.idle.running_mean.data[...] = 5
    network.norms[1].freeze()
    with batch_statistics() as seen:
        network(tensor(IMAGES))
    assert list(seen) == [network.norms[0]]
    update_running(network, statistics_rows(network, seen, 1).data[0] + 1)
    assert_equal(network.norms[1].running_mean, np.zeros(3))
    update_running(network, statistics_rows(network, {}, 1).data[0])
    assert_equal(network.idle.running_mean, np.array([5.1, 5.1]))
    assert not np.allclose(network.norms[0].running_mean.data.tolist(), 0)


def test_outside_the_context_nothing_is_noted_and_contexts_nest():
    one, two, three = (placed(BatchNorm(2, "float64")) for _ in range(3))
    with batch_statistics() as outer:
        with batch_statistics() as inner:
            one(tensor(IMAGES))
        two(tensor(IMAGES))
    three(tensor(IMAGES))
    assert list(inner) == [one]
    assert list(outer) == [two]


def test_a_block_computed_again_notes_once():
    network = placed(Network())
    with batch_statistics() as seen:
        y = recompute(lambda x, rng: network(x), tensor(IMAGES, requires_grad=True), network.parameters())
    first = to_host(statistics_rows(network, seen, 1))
    y.backward(y.data)
    assert_equal(statistics_rows(network, seen, 1), first)

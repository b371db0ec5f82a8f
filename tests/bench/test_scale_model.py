"""The model of many ranks: costs of sums against messages counted one by one, the overlap by hand."""

import dataclasses

import pytest

from minivit.bench.scale_model import (
    Cluster,
    Gpu,
    Layer,
    Link,
    fitted,
    halving,
    layers,
    ring,
    simulate,
    training_step,
)
from minivit.models import ViTConfig
from minivit.models.cost import multiply_adds

SLOW, FAST = Link(1e-3, 1e6), Link(1e-6, 1e9)
B16 = ViTConfig.variant("B/16")


def sent_one_by_one(messages, link):
    return sum(link.latency + size / link.bandwidth for size in messages)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 12])
def test_a_ring_sends_one_part_at_a_time_twice_around(ranks):
    messages = [5000 / ranks] * (ranks - 1) * 2
    assert ring(ranks, 5000, SLOW) == pytest.approx(sent_one_by_one(messages, SLOW))


@pytest.mark.parametrize(
    ("ranks", "rounds", "before_and_after"), [(1, 0, 0), (2, 1, 0), (16, 4, 0), (3, 1, 1), (12, 3, 1)]
)
def test_halving_sends_a_half_then_a_quarter_and_the_same_way_back(ranks, rounds, before_and_after):
    down = [5000 / 2 ** (i + 1) for i in range(rounds)]
    messages = [5000] * before_and_after + down + down[::-1] + [5000] * before_and_after
    assert halving(ranks, 5000, SLOW) == pytest.approx(sent_one_by_one(messages, SLOW))


def test_nodes_first_sum_within_themselves():
    cluster = Cluster(SLOW, FAST, per_node=4, way=ring)
    assert cluster.all_reduce(4, 8000) == ring(4, 8000, FAST)
    assert cluster.all_reduce(3, 8000) == ring(3, 8000, FAST)
    assert cluster.all_reduce(12, 8000) == pytest.approx(ring(4, 8000, FAST) + ring(3, 8000, SLOW))
    assert cluster.all_reduce(9, 8000) == cluster.all_reduce(12, 8000)  # the third node has one rank
    assert Cluster(SLOW, FAST).all_reduce(12, 8000) == halving(12, 8000, SLOW)


def test_the_layers_of_the_published_model():
    parts = layers(B16)
    assert len(parts) == 14
    assert sum(part.size for part in parts) == 4 * 86_567_656
    assert parts[1].size == 4 * 7_087_872  # 12 width^2 + 13 width
    assert parts[-1].size == 4 * (2 * 768 + 769 * 1000)
    assert sum(part.work for part in parts) == pytest.approx(1)
    patches = 196 * 768 * 768 / multiply_adds(B16)
    assert parts[0].work == pytest.approx(patches, rel=0.01)


# Forward 3 s, backward 6 s: the last layer 4 s of it, the first 2 s.
TWO = [Layer(1 / 3, 30.0), Layer(2 / 3, 20.0)]


def step(parts=TWO, compute=9.0, seconds_per_byte=0.1, **how):
    return simulate(parts, compute, lambda size: seconds_per_byte * size, **{"bucket": 20.0, **how})


def test_a_bucket_leaves_when_its_last_layer_is_done_and_the_link_is_free():
    # 20 bytes at 7 s until 9 s, 20 at 9 until 11, 10 until 12
    assert (step().seconds, step().waiting, step().summing) == (pytest.approx(12), pytest.approx(3), pytest.approx(5))
    # one bucket: only the first layer completes it, at 9 s
    assert step(bucket=50.0).waiting == pytest.approx(5)
    # 20 bytes at 7 s until 11 s, then the others: the link is late
    assert step(seconds_per_byte=0.2).waiting == pytest.approx(8)
    # all but the first layer's is hidden, even if the layers are the same object
    same = [Layer(1 / 2, 10.0)] * 2
    assert step(same, bucket=10.0).waiting == pytest.approx(1)


def test_only_the_last_piece_hides_sums():
    # forward 1 s, backward 2 s of the last of three pieces: 20 bytes at 8.33 s until 10.33, then 20 and 10
    assert step(pieces=3).waiting == pytest.approx(25 / 3 + 5 - 9)


def test_without_overlap_computing_stands_still():
    assert step(overlap=0.0).waiting == pytest.approx(5)
    assert step(overlap=0.5).waiting == pytest.approx(4)


def test_the_update_comes_after_everything():
    assert step(update=1.5).seconds == pytest.approx(13.5)


def test_a_rank_alone_computes_and_updates():
    gpu = Gpu(100e12, 1e12)
    alone = training_step(B16, 64, 1, Cluster(SLOW, SLOW, 8), gpu, 25e6)
    assert alone.waiting == 0
    assert alone.seconds == pytest.approx(6 * multiply_adds(B16) * 64 / 100e12 + 8 * 4 * 86_567_656 / 1e12)


def test_more_ranks_compute_less_and_wait_more():
    cluster = Cluster(Link(5e-6, 10e9), Link(3e-6, 400e9), 8)
    steps = [training_step(B16, 4096 // n, n, cluster, Gpu(), 25e6) for n in (8, 64, 512)]
    assert steps[0].waiting < steps[1].waiting < steps[2].waiting
    assert steps[0].compute > steps[1].compute > steps[2].compute
    slower = dataclasses.replace(cluster, between=Link(5e-6, 1e9))
    assert training_step(B16, 8, 512, slower, Gpu(), 25e6).seconds > 5 * steps[2].seconds


@pytest.mark.parametrize(("ranks", "way"), [(2, halving), (4, halving), (4, ring)])
def test_the_fitted_link_is_the_one_that_was_measured(ranks, way):
    link = Link(3e-6, 7e9)
    found = fitted(ranks, {size: way(ranks, size, link) for size in (4, 1 << 16, 1 << 20, 1 << 24)}, way)
    assert (found.latency, found.bandwidth) == (pytest.approx(3e-6), pytest.approx(7e9))


def test_a_fit_is_never_faster_than_at_once():
    assert fitted(2, {4: 1e-6, 8: 1e-6, 16: 0.9e-6}).bandwidth > 0
    assert fitted(2, {4: 1e-9, 1 << 20: 1.0, 1 << 21: 2.1}).latency >= 0

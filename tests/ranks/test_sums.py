"""The sum of gradients while the backward pass goes on."""

import numpy as np
import pytest

from minivit import functional as F
from minivit.backend.workers import Workers
from minivit.models import ViT, ViTConfig
from minivit.nn.recompute import recompute
from minivit.ranks import Ranks, sums
from minivit.ranks.sums import GradientSum, added_as_they_come, grad_as_it_comes
from minivit.tensor import Tensor, grad
from minivit.update.batch import cut
from minivit.update.objective import Classification
from minivit.update.step import by_piece


@pytest.fixture
def objective():
    config = ViTConfig(image_size=8, patch_size=2, channels=1, width=16, depth=2, heads=2, mlp_width=24, num_classes=5)
    return Classification(ViT(config, dtype="float64"))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {"images": rng.standard_normal((12, 8, 8, 1)), "labels": np.arange(12) % 5}


def test_gradients_come_early_and_are_those_of_grad(objective, batch):
    parameters = objective.parameters()
    came, expected = [], grad(objective.loss(objective(batch), batch), parameters)
    loss = objective.loss(objective(batch), batch)
    found = grad_as_it_comes(lambda i, g: came.append((i, g.copy())), loss, parameters)
    assert [i for i, _ in came] != sorted(i for i, _ in came)
    assert {i for i, _ in came} == set(range(len(parameters)))
    for gradients in (found, [g for _, g in sorted(came, key=lambda pair: pair[0])]):
        assert all(np.array_equal(one, two) for one, two in zip(gradients, expected, strict=True))


def test_a_gradient_comes_once_the_last_of_its_users_is_done():
    x, y, unused = (Tensor(np.full(3, v), requires_grad=True) for v in (2.0, 3.0, 5.0))
    came = {}
    loss = (x * (x * y) + y).sum()
    found = grad_as_it_comes(lambda i, g: came.setdefault(i, g.copy()), loss, [x, y, unused])
    assert came.keys() == {0, 1}
    assert [g.tolist() for g in found] == [[12.0] * 3, [5.0] * 3, [0.0] * 3]
    assert (came[0].tolist(), came[1].tolist()) == ([12.0] * 3, [5.0] * 3)


def test_a_recomputed_part_gives_its_gradients_once():
    w, x = (Tensor(np.full(3, v), requires_grad=True) for v in (2.0, 3.0))
    came = []
    loss = recompute(lambda z, rng: F.exp(z * w) * w, x, [w]).sum()
    found = grad_as_it_comes(lambda i, g: came.append((i, g.copy())), loss, [w, x])
    expected = grad(recompute(lambda z, rng: F.exp(z * w) * w, x, [w]).sum(), [w, x])
    assert sorted(i for i, _ in came) == [0, 1]
    assert all(np.array_equal(one, two) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("pieces", [1, 2, 5])
@pytest.mark.parametrize("ranks", [1, 3])
def test_buckets_add_up_what_the_workers_find(objective, batch, workers, pieces, ranks, monkeypatch):
    """Of ranks with equal batches, whose sum is a multiple."""
    monkeypatch.setattr(sums, "LEAST", 1000)
    parameters, added = objective.parameters(), []

    def allreduce(array):
        added.append(array.size)
        array *= ranks

    of_piece = by_piece(objective, parameters, batch, cut(batch, pieces, (0,)))
    with Workers(workers) as pool:
        alone = Ranks().found(of_piece, pieces, parameters, pool)
        total = GradientSum(parameters, min(workers, pieces), allreduce)
        for _ in range(2):  # the second starts from a used array
            added.clear()
            shares = added_as_they_come(total, of_piece, pieces, pool)
            gradients = total.finish()
            assert 1 < len(added) <= sums.BUCKETS
            assert sum(added) == sum(p.data.size for p in parameters)
            assert float(sum(share.loss for share in shares)) == alone[0]
            assert all(np.allclose(g, ranks * a, 1e-12, 0) for g, a in zip(gradients, alone[2], strict=True))


def test_the_first_bucket_is_added_before_the_backward_pass_has_ended(objective, batch, monkeypatch):
    monkeypatch.setattr(sums, "LEAST", 1000)
    parameters = objective.parameters()
    order, total = [], None
    of_piece = by_piece(objective, parameters, batch, cut(batch, 1, (0,)))
    total = GradientSum(parameters, 1, lambda array: order.append("added"))
    give = total.give

    def note(worker, i, gradient):
        order.append(i)
        give(worker, i, gradient)
        for sent in total._sent:
            sent.result()

    monkeypatch.setattr(total, "give", note)
    added_as_they_come(total, of_piece, 1, Workers(1))
    assert order.index("added") < len(order) - 2
    assert order[-1] == "added"


def test_an_error_of_the_allreduce_is_raised(objective, batch):
    parameters = objective.parameters()
    total = GradientSum(parameters, 1, lambda array: 1 / 0)
    of_piece = by_piece(objective, parameters, batch, cut(batch, 1, (0,)))
    added_as_they_come(total, of_piece, 1, Workers(1))
    with pytest.raises(ZeroDivisionError):
        total.finish()


def test_gradients_that_are_in_the_sum_are_not_kept(objective, batch):
    total = GradientSum(objective.parameters(), 2, lambda array: None)
    for worker in (0, 1):
        total.begin() if not worker else None
        for i, parameter in enumerate(objective.parameters()):
            total.give(worker, i, np.ones_like(parameter.data))
    assert all(np.shares_memory(x, total.flat) for given in total._given for x in given)
    assert all((x == 2).all() for x in total.finish())
    total.close()

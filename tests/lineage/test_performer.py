"""Attention by random features: held to a recording, to loops over single features, and to what is known of its
errors."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from mistakes import make_mistake
from recordings import write_case, wrong_arrays

from minivit.errors import ConfigError
from minivit.gradcheck import check_gradients
from minivit.lineage import performer, verify
from minivit.lineage.performer import Performer, PerformerConfig, mean_squared_error
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "performer"
SHAPE = {"image_size": 8, "patch_size": 2, "width": 12, "depth": 2, "heads": 3, "mlp_width": 16, "num_classes": 4}


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 10


WRONG = [
    ("features", "exponents = projected - half", "exponents = projected", "phi_q"),
    ("features", "ratio = 1 / math.sqrt(w.shape[-2])", "ratio = 1.0", "phi_k"),
    ("features", "(F.exp(exponents) + epsilon) * ratio", "F.softmax(exponents)", "output"),
    ("both_features", "q.shape[-1] ** -0.25", "q.shape[-1] ** -0.5", "output"),
    ("both_features", "features(k * shrink,", "features(k,", "output"),
    ("linear_attention", "phi_k.sum(axis=2, keepdims=True)", "phi_k.mean(axis=2, keepdims=True)", "output"),
    ("mean_squared_error", "/ count", "/ count**2", "mse_table"),
    ("mean_squared_error", "/ (2 * count)", "/ count", "mse_table"),
    ("mean_squared_error", "exact**-2", "exact**2", "mse_table"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, name, right, wrong, seen):
    make_mistake(monkeypatch, performer, name, right, wrong)
    assert seen in wrong_arrays(verify.open_case(CASE))


def drawn(queries=5, keys=7, width=4, count=6):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, n, width)) for n in (queries, keys, keys))
    return q, k, v, rng.normal(size=(count, width))


def by_hand(q, k, v, w, kind="positive", stabilise=False, epsilon=0.0):
    """phi(q), phi(k) and the result, one number after another, with all weights written out."""
    count, width = w.shape
    found = []
    for x, key in ((q, False), (k, True)):
        phi = np.zeros((*x.shape[:3], count * (1 + (kind == "trigonometric"))))
        for place in np.ndindex(*x.shape[:3]):
            y = x[place] / width**0.25
            others = x[place[:2]] / width**0.25 if key else y[None]
            size = sum(c * c for c in y) / 2
            for i in range(count):
                if kind == "trigonometric":
                    size_there = size - (max((o @ o) / 2 for o in others) if stabilise else 0)
                    both = math.sin(w[i] @ y), math.cos(w[i] @ y)
                    for j, value in enumerate(both):
                        phi[(*place, i + j * count)] = math.exp(size_there) * value / math.sqrt(count)
                else:
                    largest = max((w @ o).max() for o in others) if stabilise else 0
                    phi[(*place, i)] = (math.exp(w[i] @ y - size - largest) + epsilon) / math.sqrt(count)
        found.append(phi)
    a = np.einsum("bhmr,bhnr->bhmn", *found)
    return (*found, np.einsum("bhmn,bhne->bhme", a / a.sum(axis=-1, keepdims=True), v))


@pytest.mark.parametrize("stabilise", [False, True])
@pytest.mark.parametrize(("kind", "epsilon"), [("positive", 0.0), ("positive", 1e-2), ("trigonometric", 0.0)])
def test_features_and_results_agree_with_loops(tmp_path, kind, epsilon, stabilise):
    q, k, v, w = drawn()
    phi_q, phi_k, y = by_hand(q, k, v, w, kind, stabilise, epsilon)
    found = {"q": q, "k": k, "v": v, "phi_q": phi_q, "phi_k": phi_k, "output": y}
    config = {"kind": kind, "stabilise": stabilise, "epsilon": epsilon}
    assert wrong_arrays(write_case(tmp_path, "performer", config, {"omega": w}, found)) == []


@pytest.mark.parametrize(("kind", "epsilon"), [("positive", 1e-2), ("trigonometric", 0.0)])
def test_the_gradients_agree_with_differences(kind, epsilon):
    q, k, v, w = drawn(3, 4)

    def function(q, k, v):
        return performer.linear_attention(*performer.both_features(q, k, w, kind, True, epsilon), v)

    check_gradients(function, *(Tensor(x, requires_grad=True) for x in (q, k, v)))


def test_subtracting_the_largest_exponent_changes_nothing_but_with_epsilon_it_does():
    q, k, v, w = (Tensor(x) if x.ndim == 4 else x for x in drawn())

    def result(**how):
        return performer.linear_attention(*performer.both_features(q, k, w, **how), v).data

    assert np.allclose(result(), result(stabilise=True), rtol=0, atol=1e-14)
    assert np.abs(result(epsilon=0.1) - result(epsilon=0.1, stabilise=True)).max() > 1e-3
    far = performer.both_features(Tensor(q.data * 100), Tensor(k.data * 100), w, stabilise=True)
    assert all(np.isfinite(phi.data).all() for phi in far)


def test_another_number_for_each_key_would_change_the_result(monkeypatch):
    q, k, v, w = (Tensor(x) if x.ndim == 4 else x for x in drawn())
    right = performer.linear_attention(*performer.both_features(q, k, w, stabilise=True), v).data
    make_mistake(monkeypatch, performer, "both_features", "(-2, -1)", "(-1,)")
    wrong = performer.linear_attention(*performer.both_features(q, k, w, stabilise=True), v).data
    assert np.abs(wrong - right).max() > 1e-3


@pytest.mark.parametrize("kind", performer.KINDS)
def test_the_products_of_features_are_right_on_average_with_the_known_error(kind):
    rng = np.random.default_rng(3)
    x, y = 0.4 * rng.normal(size=(2, 4))
    count, repeats = 8, 20_000
    w = rng.normal(size=(repeats, 1, count, 4))
    phi = [performer.features(Tensor(np.broadcast_to(z, (repeats, 1, 1, 4))), w, kind).data for z in (x, y)]
    found = (phi[0] * phi[1]).sum(axis=-1).ravel()
    error = mean_squared_error(x, y, count, kind)
    assert abs(found.mean() - math.exp(x @ y)) < 5 * math.sqrt(error / repeats)
    assert np.square(found - math.exp(x @ y)).mean() == pytest.approx(error, rel=0.1)


def test_positive_features_are_better_where_the_weight_is_small():
    x = np.array([1.0, 0.5, -0.5])
    small, large = ([mean_squared_error(x, sign * x, 16, kind) for kind in performer.KINDS] for sign in (-1, 1))
    assert small[0] < 1e-3 * small[1]
    assert large[0] > large[1]


def test_directions_are_orthogonal_in_groups_and_as_long_as_gaussian_vectors():
    w = performer.directions(np.random.default_rng(0), 11, 4)
    assert w.shape == (11, 4)
    for start in (0, 4, 8):
        group = w[start : start + 4]
        inner = group @ group.T
        assert np.allclose(inner - np.diag(np.diag(inner)), 0, atol=1e-12)
    many = performer.directions(np.random.default_rng(1), 40_000, 4)
    assert np.square(many).sum(axis=1).mean() == pytest.approx(4, rel=0.03)
    assert np.square(many).sum(axis=1).var() == pytest.approx(8, rel=0.1)  # a constant length would have 0
    assert np.abs(many.T @ many / 40_000 - np.eye(4)).max() < 0.03
    free = performer.directions(np.random.default_rng(0), 4, 4, orthogonal=False)
    assert np.abs((free @ free.T)[0, 1:]).max() > 0.1


def test_orthogonal_directions_have_a_smaller_error_by_about_the_known_amount():
    x, y, repeats = np.array([0.4, 0.1, 0.0, 0.0]), np.array([0.4, 0.1, 0.1, 0.0]), 12_000
    gain = 2 * 3 / (4 * 6) * (math.exp(x @ y) - math.exp(-(x @ x + y @ y) / 2)) ** 2
    found = []
    for orthogonal in (True, False):
        rng = np.random.default_rng(1)
        w = np.stack([performer.directions(rng, 4, 4, orthogonal) for _ in range(repeats)])[:, None]
        phi = [performer.features(Tensor(np.broadcast_to(z, (repeats, 1, 1, 4))), w).data for z in (x, y)]
        found.append(np.square((phi[0] * phi[1]).sum(axis=-1) - math.exp(x @ y)).mean())
    assert found[0] < mean_squared_error(x, y, 4) - gain / 2 < found[1]


def test_with_equal_scores_it_is_exact_and_with_many_features_near():
    q, k, v, _ = drawn()
    q, k, rng = q / 2, k / 2, np.random.default_rng(0)

    def result(q, k, count):
        w = performer.directions(rng, count, 4)
        return performer.linear_attention(*performer.both_features(Tensor(q), Tensor(k), w), Tensor(v)).data

    assert np.allclose(result(0 * q, 0 * k, 4), v.mean(axis=2, keepdims=True), rtol=0, atol=1e-14)
    scores = q @ k.swapaxes(-1, -2) / 2
    exact = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True) @ v
    few, many = (np.abs(result(q, k, count) - exact).mean() for count in (8, 8000))
    assert many < 0.2 * few  # as 1 / sqrt(count) it would be a 32nd


def test_the_model_learns_all_but_the_directions_and_counts_as_it_says():
    plain = ViT(ViTConfig(**SHAPE), None)
    model = Performer(PerformerConfig(**SHAPE, features=5), 0)
    assert model.num_parameters() == plain.num_parameters()
    state = model.state_dict()
    assert state["blocks.1.attention.directions"].shape == (5, 4)
    assert not np.array_equal(*(state[f"blocks.{i}.attention.directions"] for i in (0, 1)))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    tap = {}
    assert np.allclose(model(images).data, model(images, tap).data, atol=1e-6)
    assert np.allclose(tap["block0/attention_weights"].sum(axis=-1), 1, atol=1e-5)
    assert performer.products(50, 50, 8) == 2 * 50 * 50 * 8
    assert performer.products(50, 50, 8, 6) == 4 * 50 * 6 * 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": 0},
        {"kind": "square"},
        {"epsilon": -1.0},
        {"epsilon": math.inf},
        {"attention_dropout": 0.1},
        {"position": "relative"},
        {"position": "rope"},
    ],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        dataclasses.replace(PerformerConfig(**SHAPE), **wrong)

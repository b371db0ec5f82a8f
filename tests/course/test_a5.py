"""The master solution of A5 against numbers made by hand and loops of its own, and the reference against the same."""

import math

import numpy as np
import pytest

from minivit.course.assignment import ROOT, Assignment
from minivit.course.gate import Bench
from minivit.course.gate import run as gate_run
from minivit.course.solution import load

A5 = Assignment(ROOT / "a5_training")
CONFIG = {
    "image_size": (4, 4),
    "patch_size": (2, 2),
    "channels": 1,
    "width": 4,
    "depth": 1,
    "heads": 2,
    "mlp_width": 6,
    "num_classes": 3,
    "classifier": "gap",
    "gelu": "erf",
    "norm_eps": 1e-6,
}
RECIPE = {
    "betas": (0.9, 0.99),
    "eps": 1e-8,
    "weight_decay": 0.1,
    "batch_size": 2,
    "total_steps": 6,
    "warmup_steps": 2,
    "base_lr": 0.02,
    "final_lr": 0.001,
    "kind": "linear",
    "clip_norm": 0.5,
    "seed": 3,
}


@pytest.fixture(scope="module", params=["master", "oracle"])
def a5(request):
    """Both must keep the conventions of the handout."""
    return load(A5.master, given=A5.given) if request.param == "master" else A5.oracle


def run():
    """A model with parameters that are not zero, five images and their labels."""
    rng = np.random.default_rng(0)
    params = {name: p + 0.3 * rng.normal(size=p.shape) for name, p in A5.given["init_params"](CONFIG, 0).items()}
    return params, CONFIG, RECIPE, rng.normal(size=(5, 4, 4, 1)), np.array([0, 1, 2, 2, 1])


def test_adamw_gives_the_numbers_of_the_handout(a5):
    hyper = {"betas": (0.5, 0.75), "eps": 0.0, "weight_decay": 0.0}
    one, grads = {"p": np.ones(1)}, [{"p": np.full(1, 2.0)}, {"p": np.full(1, -2.0)}]
    first, state = a5.adamw(one, grads[:1], [0.1], hyper, [])
    second, _ = a5.adamw(first, grads[1:], [0.1], hyper, [], state)
    np.testing.assert_allclose([first["p"][0], second["p"][0]], [0.9, 0.9 + 0.1 / 3], rtol=1e-12)
    decayed, _ = a5.adamw(one, grads[:1], [0.1], {**hyper, "weight_decay": 0.5}, ["p"])
    np.testing.assert_allclose(decayed["p"], [0.85], rtol=1e-12)


def test_adamw_agrees_with_a_loop_over_numbers(a5):
    rng = np.random.default_rng(1)
    start, grads, lrs = float(rng.normal()), rng.normal(size=20), rng.uniform(0, 0.3, 20)
    hyper = {"betas": (0.8, 0.95), "eps": 0.1, "weight_decay": 0.4}
    p, m, v = start, 0.0, 0.0
    for t, (g, lr) in enumerate(zip(grads, lrs, strict=True), 1):
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        p -= lr * (m / (1 - 0.8**t) / (math.sqrt(v / (1 - 0.95**t)) + 0.1) + 0.4 * p)
    got, _ = a5.adamw({"p": np.array([start])}, [{"p": np.array([g])} for g in grads], list(lrs), hyper, ["p"])
    np.testing.assert_allclose(got["p"], [p], rtol=1e-12)


def test_the_last_part_of_a_name_decides_what_decays(a5):
    shapes = {
        "weight": (2,),
        "a.weight": (2, 2),
        "my_weight": (2, 2),
        "a.weight.bias": (2, 2),
        "class_token": (1, 1, 2),
    }
    assert sorted(a5.decay_names(shapes)) == ["a.weight", "weight"]


def test_clipping_gives_the_numbers_of_the_handout(a5):
    grads = {"a": np.array([[0.0, 2.0], [4.0, 0.0]]), "b": np.array([4.0, 8.0])}
    for limit, factor in ((5.0, 0.5), (9.5, 0.95), (10.0, 1.0), (11.0, 1.0)):
        clipped, norm = a5.clip_by_global_norm(grads, limit)
        assert norm == pytest.approx(10, rel=1e-12)
        for name, g in grads.items():
            np.testing.assert_allclose(clipped[name], factor * g, rtol=1e-12)


def test_rates_are_those_of_the_handout(a5):
    cosine = [a5.learning_rate(s, "cosine", 0.8, 12, 4, 0.2) for s in (0, 2, 4, 8, 10, 12, 100)]
    np.testing.assert_allclose(cosine, [0, 0.4, 0.8, 0.5, 0.5 - 0.3 * math.sqrt(0.5), 0.2, 0.2], rtol=1e-12)
    linear = [a5.learning_rate(s, "linear", 0.8, 12, 4, 0.2) for s in (0, 2, 4, 8, 10, 12, 100)]
    np.testing.assert_allclose(linear, [0, 0.4, 0.8, 0.5, 0.35, 0.2, 0.2], rtol=1e-12)
    assert a5.learning_rate(0, "linear", 0.8, 12, 0, 0.2) == 0.8
    assert a5.learning_rate(6, "cosine", 0.8, 12, 12, 0.2) == pytest.approx(0.4)


def test_an_epoch_is_a_permutation_cut_into_batches(a5):
    orders = [[i for s in (2 * e, 2 * e + 1) for i in a5.batch_indices(7, 3, 5, s)] for e in range(6)]
    assert all(len(set(order)) == 6 and set(order) < set(range(7)) for order in orders)
    assert len(set(map(tuple, orders))) == 6


def test_statistics_are_those_of_all_pixels(a5):
    images = np.array([0, 255, 51, 51], np.uint8).reshape(2, 1, 1, 2)  # channels (0, 51) and (255, 51)
    mean, std = a5.channel_statistics(images)
    np.testing.assert_allclose([mean, std], [[0.1, 0.6], [0.1, 0.4]], rtol=1e-12)
    np.testing.assert_allclose(a5.normalize(images, mean, std)[:, 0, 0], [[-1, 1], [1, -1]], rtol=1e-12)


def test_an_augmented_image_is_a_window_of_its_own(a5):
    images = np.random.default_rng(2).integers(1, 256, (60, 3, 4, 2)).astype(np.uint8)
    seen = set()
    for image, got in zip(images, a5.augment(images, 1, 0), strict=True):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        windows = [(i, j, f, padded[i : i + 3, j : j + 4]) for i in range(3) for j in range(3) for f in (1, -1)]
        seen |= {(i, j, f) for i, j, f, window in windows if np.array_equal(got, window[:, ::f])}
    assert len(seen) > 12


def test_evaluation_is_a_mean_over_images(a5):
    params, config, _, images, labels = run()
    logits = A5.given["vit"](params, config, images)
    losses = [math.log(sum(map(math.exp, row))) - row[y] for row, y in zip(logits, labels, strict=True)]
    hits = [int(np.argmax(row)) == y for row, y in zip(logits, labels, strict=True)]
    for size in (1, 2, 5, 9):
        got = a5.evaluate(params, config, images, labels, size)
        assert got["loss"] == pytest.approx(sum(losses) / 5, rel=1e-10)
        assert got["accuracy"] == pytest.approx(sum(hits) / 5)


def test_a_resumed_run_is_the_same_run(a5):
    params, *rest = run()
    whole = a5.train(params, *rest, 6)
    assert whole["step"] == 6
    assert len(whole["losses"]) == 6
    for cut in (0, 1, 5, 6):
        again = a5.train(None, *rest, 6, a5.train(params, *rest, cut))
        assert again["losses"] == whole["losses"]
        assert all(np.array_equal(again["params"][name], p) for name, p in whole["params"].items())


def test_a_run_is_made_of_the_parts(a5):
    """Two updates, spelt out with the adapters themselves."""
    params, config, recipe, images, labels = run()
    got, state = params, None
    for step in range(2):
        pick = a5.batch_indices(5, 2, recipe["seed"], step)
        _, grads = A5.given["vit_loss_and_gradients"](got, config, images[pick], labels[pick])
        grads, norm = a5.clip_by_global_norm(grads, 0.5)
        assert norm > 0.5
        rate = a5.learning_rate(step, "linear", 0.02, 6, 2, 0.001)
        names = a5.decay_names({name: p.shape for name, p in params.items()})
        got, state = a5.adamw(got, [grads], [rate], recipe, names, state)
    want = a5.train(params, config, recipe, images, labels, 2)["params"]
    for name, p in got.items():
        np.testing.assert_allclose(p, want[name], rtol=1e-9, atol=1e-13)


def test_a_rate_of_zero_stops_the_decay_too(a5):
    hyper = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.3}
    got, _ = a5.adamw({"p": np.array([2.0])}, [{"p": np.array([1.0])}], [0.0], hyper, ["p"])
    assert got["p"].tolist() == [2.0]


def test_the_loss_of_a_label_of_tiny_probability(a5):
    params, config, _, images, _ = run()
    params = {**params, "head.weight": np.zeros((4, 3)), "head.bias": np.array([0.0, 60.0, 0.0])}
    got = a5.evaluate(params, config, images, np.zeros(5, np.int64), 2)
    assert got["loss"] == pytest.approx(60, rel=1e-12)


def test_functions_of_all_earlier_assignments_are_given():
    assert {"run_program", "log_softmax", "attention", "vit"} <= set(A5.given)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [("decays_at_rate_zero", "h_warm_rate"), ("adds_to_probability", "h_large"), ("state_rounded", "h_cut")],
)
def test_it_is_noticed_and_has_its_own_hint(wrong, check):
    bench = Bench(A5)
    (found,) = [each for each in A5.checks if each.name == check]
    said = gate_run(A5, A5.wrong_files(wrong), found, others=lambda: bench.others(found))
    assert isinstance(said, str)
    assert A5.wrongs[wrong].hint in said


def test_parameters_changed_in_place_are_no_matter_of_resuming():
    for check in A5.checks:
        if check.question == "q3":
            assert not isinstance(gate_run(A5, A5.wrong_files("changes_parameters"), check), str), check.name

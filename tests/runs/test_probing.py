"""The linear probe: ridge regression against the normal equations, the choice of its penalty, and its command."""

import numpy as np
from toy_objectives import CONFIG

from minivit import evaluate, train
from minivit.backend.workers import Workers
from minivit.data import ArrayDataset
from minivit.models import ViT
from minivit.runs.probing import accuracy, linear_probe, ridge
from minivit.runs.recipes import Recipe
from minivit.update.objective import Classification


def test_ridge_solves_the_normal_equations():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((40, 5)) * (1, 2, 3, 4, 5) + 7, rng.integers(0, 3, 40)
    weight, bias = ridge(x, labels, 3, 0.3)
    z, y = (x - x.mean(axis=0)) / x.std(axis=0), np.eye(3)[labels]
    scaled = weight * x.std(axis=0)[:, None]
    residual = y - x @ weight - bias
    np.testing.assert_allclose(z.T @ residual / 40, 0.3 * scaled, atol=1e-12)  # the gradient is zero
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1e-11)


def test_a_feature_that_is_constant_is_no_trouble():
    x = np.stack([np.ones(6), np.arange(6.0)], axis=1)
    assert accuracy(ridge(x, np.array([0, 0, 0, 1, 1, 1]), 2, 1e-3), x, np.array([0, 0, 0, 1, 1, 1])) == 1.0


class Rows(Classification):
    """Features from which the class can be read, among many that mean nothing."""

    def features(self, images):
        found = super().features(images)
        found.data = np.asarray(images, found.dtype).reshape(len(images), -1)
        return found


def noisy(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    bright = (np.arange(8)[None, :, None, None] // 2 == labels[:, None, None, None]) * 12
    return ArrayDataset((bright + rng.integers(0, 200, (count, 8, 8, 1))).astype(np.uint8), labels, list("abc"), "rows")


def test_the_probe_reads_classes_off_features_and_cannot_read_shuffled_ones():
    known, asked, objective = noisy(600, 0), noisy(600, 1), Rows(ViT(CONFIG))
    with Workers(1) as workers:
        share = linear_probe(objective, known, asked, Recipe(model=CONFIG), workers)
        again = linear_probe(objective, known, asked, Recipe(model=CONFIG), workers)
        shuffled = ArrayDataset(known.images, np.random.default_rng(2).permutation(known.labels), list("abc"), "rows")
        chance = linear_probe(objective, shuffled, asked, Recipe(model=CONFIG), workers)
    assert share == again
    assert share > 0.5 > chance + 0.05


def test_evaluate_probes_a_run_of_another_objective(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "--objective mae --set width=8 --set depth=1 --set heads=2 --data digits --width 16 --depth 1 --heads 2"
    train.main([*words.split(), "--patch-size", "2", "--steps", "2", "--limit", "200", "--out", "run"])
    capsys.readouterr()
    assert evaluate.main(["run", "--how", "linear-probe"]) == 0
    out = capsys.readouterr().out
    assert "digits test: a linear classifier on its features is right about " in out

"""What an evaluation measures beside classification: losses that compare, the neighbours of features."""

import dataclasses

import numpy as np
import pytest
from toy_objectives import CONFIG, TOYS, images

from minivit.backend.workers import Workers
from minivit.data import ArrayDataset
from minivit.ranks import Ranks
from minivit.runs import evaluation
from minivit.runs.evaluation import evaluate, neighbours
from minivit.runs.recipes import Recipe
from minivit.tensor import no_grad

RECIPE = Recipe(model=CONFIG, mean=0.4, std=0.5, flip=True, seed=2)


def clusters(count, seed, classes=3):
    """Images of three kinds with noise, which are told apart by their rows, not always."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    bright = (np.arange(8)[None, :, None, None] // 2 == labels[:, None, None, None]) * 70
    noise = rng.integers(0, 186, (count, 8, 8, 1))
    return ArrayDataset((bright + noise).astype(np.uint8), labels, list("abc"), "rows")


def neighbours_by_hand(objective, known, asked):
    def features(data):
        x = (data.images.astype(np.float64) / 255 - 0.4) / 0.5
        with no_grad(), objective.evaluating():
            found = objective.features(x).data
        return [row / np.sqrt((row * row).sum()) for row in found]

    right, known_features = 0, features(known)
    for f, truth in zip(features(asked), asked.labels, strict=True):
        cosines = sorted(((float(f @ g), label) for g, label in zip(known_features, known.labels, strict=True)))[-20:]
        votes = [sum(np.exp(c / 0.07) for c, label in cosines if label == k) for k in range(3)]
        right += int(np.argmax(votes) == truth)
    return right / len(asked)


@pytest.mark.parametrize("name", ["weights", "state"])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_nearest_neighbours_vote_for_a_class(name, workers):
    objective, _ = TOYS[name].tiny("float64")
    known, asked = clusters(90, 0), clusters(40, 1)
    with Workers(workers) as pool:
        found = neighbours(objective, known, asked, RECIPE, pool)
    assert found == neighbours_by_hand(objective, known, asked)
    assert 0.4 < found < 1
    assert objective.training


def test_no_more_images_are_known_than_are_needed(monkeypatch):
    monkeypatch.setattr(evaluation, "MOST_KNOWN", 30)
    objective, _ = TOYS["weights"].tiny("float64")
    known, asked = clusters(90, 0), clusters(40, 1)
    with Workers(1) as pool:
        found = neighbours(objective, known, asked, RECIPE, pool)
    assert found == neighbours_by_hand(objective, known.limit(30, RECIPE.seed), asked)
    assert found != neighbours_by_hand(objective, known, asked)


def test_a_loss_that_compares_is_of_whole_batches():
    """It depends on the size of the batches, and on nothing else of how they are computed."""
    objective, data = TOYS["compares"].tiny("float64")
    with Workers(1) as one, Workers(3) as three:
        whole = evaluate(objective, data, RECIPE, one, len(data))
        halves = evaluate(objective, data, RECIPE, three, len(data) // 2)
        assert evaluate(objective, data, RECIPE, three, len(data)) == pytest.approx(whole, rel=1e-12)
    assert halves["loss"] < whole["loss"] - 0.1
    assert whole["images"] == halves["images"] == len(data)


def test_what_is_drawn_for_an_evaluation_is_of_its_seed():
    objective, data = TOYS["compares"].tiny("float64")
    with Workers(1) as one:
        losses = [evaluate(objective, data, dataclasses.replace(RECIPE, seed=seed), one)["loss"] for seed in (2, 2, 3)]
    assert losses[0] == losses[1] != losses[2]


def test_scalars_that_are_summed_up_are_measured_and_arrays_are_not():
    objective, data = TOYS["weights"].tiny("float64")
    with Workers(1) as one:
        assert evaluate(objective, data, RECIPE, one).keys() == {"loss", "painted", "images"}
    assert images().COLUMNS == ("images", "labels")


def test_the_vote_is_of_one_rank():
    class Second(Ranks):
        def first(self, action):
            return 0.25

    objective, _ = TOYS["weights"].tiny("float64")
    with Workers(1) as pool:
        assert neighbours(objective, clusters(20, 0), clusters(10, 1), RECIPE, pool, Second()) == 0.25

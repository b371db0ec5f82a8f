"""What a trained model is worth on a data set: by its objective, and by the neighbours of its features."""

from typing import Any

import numpy as np

from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.workers import Workers
from minivit.data import Dataset, eval_batches
from minivit.errors import DataError
from minivit.models import inside
from minivit.nn import Module
from minivit.runs.numerics import evaluation_batch, loader_threads, numerics, pieces_per_worker
from minivit.runs.recipes import Recipe
from minivit.tensor import no_grad
from minivit.update.batch import Batch, cut, size
from minivit.update.comparing import together
from minivit.update.objective import Classification, Objective, Outputs

NEIGHBOURS, TEMPERATURE, MOST_KNOWN = 20, 0.07, 5000


@np.errstate(all="ignore")
def evaluate(
    objective: Module,
    dataset: Dataset,
    recipe: Recipe,
    workers: Workers,
    batch_size: int = 256,
    confusion: np.ndarray | None = None,
) -> dict[str, Any]:
    """Means over a data set, in evaluation mode: {"loss", what the objective sums up, "images": their number}.

    objective: or a classifier, with which classification is meant. The loss is the one of training without label
    smoothing; one that compares examples is taken of batches of `batch_size`. What the objective draws is the same at
    every evaluation. confusion: (K, K) integers, to whose [i, j] the number of images of class i is added that were
    taken for class j. Raises DataError if no image could be read.
    """
    if not isinstance(objective, Objective):
        training = objective.training
        objective = Classification(objective, recipe.loss)
        objective.training = training
    totals: dict[str, float] = {}
    count = 0
    batches = eval_batches(
        dataset, batch_size, recipe.augment.evaluation(), objective, seed=recipe.seed, threads=loader_threads(dataset)
    )
    keep = confusion is not None
    with objective.evaluating(), no_grad(), numerics(recipe):
        for batch in batches:
            count += size(batch)
            means, outputs = judge(objective, pieces_of(objective, batch, recipe, workers), batch, workers, keep)
            for name, mean in means.items():
                totals[name] = totals.get(name, 0.0) + mean
            if confusion is not None:
                answers = np.concatenate([to_numpy(logits.data).argmax(axis=-1) for logits, *_ in outputs])
                confusion += inside.confusion_counts(batch["labels"], answers, len(confusion))
    if count == 0:
        raise DataError(f"{dataset.name}: none of its {len(dataset)} images could be read")
    return {name: total / count for name, total in totals.items()} | {"images": count}


def judge(
    objective: Objective, pieces: list[Batch], batch: Batch, workers: Workers, keep: bool = False
) -> tuple[dict[str, float], list[Outputs]]:
    """The loss of a batch and what is summed up, as sums over its examples; and, to keep, the outputs of its pieces."""

    def values(outputs: Outputs, of: Batch) -> dict[str, float]:
        sums = {name: float(x) for name, x in objective.sums(outputs, of).items() if not x.ndim}
        return {"loss": objective.loss(outputs, of).item() * size(of), **sums}

    def alone(piece: Batch) -> tuple[dict[str, float], Outputs]:
        piece = like(objective, piece)
        outputs = objective(piece)
        found = {} if objective.compares else values(outputs, piece)
        return found, outputs if keep or objective.compares else ()

    found = workers.map(alone, pieces)
    outputs = [outputs for _, outputs in found]
    if objective.compares:
        return values(together(outputs, outputs[0][0]), like(objective, batch)), outputs
    return {name: sum(means[name] for means, _ in found) for name in found[0][0]}, outputs


def pieces_of(objective: Objective, batch: Batch, recipe: Recipe, workers: Workers) -> list[Batch]:
    """A batch in the pieces in which it is evaluated: on a GPU no larger than training has room for."""
    if recipe.backend == "numpy":
        count = workers.count * pieces_per_worker(size(batch), objective.tokens, workers.count)
    else:
        count = max(workers.count, -(-size(batch) // evaluation_batch(recipe)))
    return [piece.batch for piece in cut(batch, count, (0,))]


def like(objective: Objective, batch: Batch) -> Batch:
    """A batch on the device of the objective, which need not have a parameter that learns."""
    xp = xp_of(objective.named_tensors()[0][1].data)
    return {name: xp.asarray(x) for name, x in batch.items()}


def neighbours(objective: Objective, known: Dataset, asked: Dataset, recipe: Recipe, workers: Workers) -> float:
    """The accuracy with which the 20 nearest of the known images name the classes of those that are asked for.

    Nearest is by the cosine of features; the vote of a neighbour weighs exp(cosine / 0.07). At most 5,000 images are
    known, as many of each class. Source: Wu et al. 2018, section 3.4, as DINO has it.
    """
    features, labels = features_of(objective, known.limit(MOST_KNOWN, recipe.seed), recipe, workers)
    queries, truth = features_of(objective, asked, recipe, workers)
    right = 0
    for start in range(0, len(queries), 512):
        cosines = queries[start : start + 512] @ features.T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
        weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / TEMPERATURE)
        votes = np.zeros((len(cosines), len(known.classes)))
        np.add.at(votes, (np.arange(len(votes))[:, None], labels[nearest]), weights)
        right += int((votes.argmax(axis=1) == truth[start : start + 512]).sum())
    return right / len(queries)


def features_of(objective: Objective, data: Dataset, recipe: Recipe, workers: Workers) -> tuple[Array, Array]:
    """The features (N, D) of all images, of length 1, and their labels (N,)."""
    batches = eval_batches(data, 256, recipe.augment.evaluation(), threads=loader_threads(data))
    found, labels = [], []

    def of_piece(piece: Batch) -> np.ndarray:
        return to_numpy(objective.features(like(objective, piece)["images"]).data)

    with objective.evaluating(), no_grad(), numerics(recipe):
        for images, of_images in batches:
            found += workers.map(of_piece, pieces_of(objective, {"images": images}, recipe, workers))
            labels.append(of_images)
    features = np.concatenate(found)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12), np.concatenate(labels)

"""Measures a trained model on a data set: by its objective, and by the nearest neighbours of its features."""

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.workers import Workers
from minivit.data import Dataset, eval_batches
from minivit.errors import DataError
from minivit.models import inside
from minivit.nn import Module
from minivit.ranks import Ranks
from minivit.runs.numerics import evaluation_batch, loader_threads, numerics, pieces_per_worker
from minivit.runs.recipes import Recipe
from minivit.tensor import no_grad
from minivit.update.batch import Batch, cut, size
from minivit.update.comparing import together
from minivit.update.objective import Classification, Objective, Outputs

T = TypeVar("T")

NEIGHBOURS, TEMPERATURE, MOST_KNOWN = 20, 0.07, 5000
TOP = 5


@np.errstate(all="ignore")
def evaluate(
    objective: Module,
    dataset: Dataset,
    recipe: Recipe,
    workers: Workers,
    batch_size: int = 256,
    confusion: np.ndarray | None = None,
    best: list[np.ndarray] | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Means over a data set, in evaluation mode: {"loss", the sums of the objective, "images": their number}.

    objective: or a classifier, which stands for classification. The loss is that of training without label smoothing; a
    loss that compares examples is taken over batches of `batch_size`. Random draws of the objective are the same at
    every evaluation. confusion: (K, K) integers; [i, j] is increased by the number of images of class i classified as
    j. best: gets, in order, arrays (n, TOP) with the likeliest classes of n images, likeliest first. Both are of
    the images of this rank. ranks: the processes that share the batches. Raises DataError if no image could be read.
    """
    if not isinstance(objective, Objective):
        training = objective.training
        objective = Classification(objective, recipe.loss)
        objective.training = training
    ranks = ranks or Ranks()
    found: list[tuple[int, dict[str, float]]] = []  # size and sums of each batch
    transform, options = recipe.augment.evaluation(), {"seed": recipe.seed, "threads": loader_threads(dataset)}
    batches = eval_batches(dataset, batch_size, transform, objective, **options, share=(ranks.rank, ranks.count))
    keep = confusion is not None or best is not None

    def look() -> None:
        for batch in batches:
            means, outputs = judge(objective, pieces_of(objective, batch, recipe, workers), batch, workers, keep)
            found.append((size(batch), means))
            if confusion is not None:
                answers = np.concatenate([to_numpy(logits.data).argmax(axis=-1) for logits, *_ in outputs])
                confusion[...] += inside.confusion_counts(batch["labels"], answers, len(confusion))
            if best is not None:
                best.extend(likeliest(to_numpy(logits.data)) for logits, *_ in outputs)

    with objective.evaluating(), no_grad(), numerics(recipe):
        ranks.each(look)
    totals: dict[str, float] = {}
    count = 0
    for images, sums in in_turn(ranks.gathered(found)):
        count += images
        for name, total in sums.items():
            totals[name] = totals.get(name, 0.0) + total
    if count == 0:
        raise DataError(f"{dataset.name}: none of its {len(dataset)} images could be read")
    return objective.concluded({name: total / count for name, total in totals.items()}) | {"images": count}


def likeliest(logits: np.ndarray) -> np.ndarray:
    """The `TOP` classes with the largest logits, (B, TOP), largest first; of equal ones the first.   logits: (B, K)."""
    return np.argsort(-logits, axis=-1, kind="stable")[:, :TOP]


def in_turn(lists: Sequence[Sequence[T]]) -> list[T]:
    """The first item of each list, then the second of each, and so on: what ranks found, in the order of one."""
    return [item for row in itertools.zip_longest(*lists, fillvalue=None) for item in row if item is not None]


def judge(
    objective: Objective, pieces: list[Batch], batch: Batch, workers: Workers, keep: bool = False
) -> tuple[dict[str, float], list[Outputs]]:
    """The loss and sums of a batch, as sums over its examples, and the outputs of its pieces to keep."""

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
    """A batch in the pieces used for evaluation: on a GPU no larger than training has room for."""
    if recipe.backend == "numpy":
        count = workers.count * pieces_per_worker(size(batch), objective.tokens, workers.count)
    else:
        count = max(workers.count, -(-size(batch) // evaluation_batch(recipe)))
    return [piece.batch for piece in cut(batch, count, (0,))]


def like(objective: Objective, batch: Batch) -> Batch:
    """A batch on the device of the objective, which may have no trainable parameter."""
    xp = xp_of(objective.named_tensors()[0][1].data)
    return {name: xp.asarray(x) for name, x in batch.items()}


def neighbours(
    objective: Objective, known: Dataset, asked: Dataset, recipe: Recipe, workers: Workers, ranks: Ranks | None = None
) -> float:
    """The accuracy of a vote among the 20 nearest known images.

    Nearest is by cosine similarity of features; a neighbour's vote weighs exp(cosine / 0.07). At most 5,000 images are
    known, equally many per class. Source: Wu et al. 2018, section 3.4, in DINO's version.
    """
    features, labels = features_of(objective, known.limit(MOST_KNOWN, recipe.seed), recipe, workers, ranks)
    queries, truth = features_of(objective, asked, recipe, workers, ranks)

    def vote() -> float:
        right = 0
        for start in range(0, len(queries), 512):
            cosines = queries[start : start + 512] @ features.T
            nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
            weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / TEMPERATURE)
            votes = np.zeros((len(cosines), len(known.classes)))
            np.add.at(votes, (np.arange(len(votes))[:, None], labels[nearest]), weights)
            right += int((votes.argmax(axis=1) == truth[start : start + 512]).sum())
        return right / len(queries)

    return (ranks or Ranks()).first(vote)  # of one rank, since another kind of CPU may round otherwise


def features_of(
    objective: Objective, data: Dataset, recipe: Recipe, workers: Workers, ranks: Ranks | None = None
) -> tuple[Array, Array]:
    """The features (N, D) of all images, of length 1, and their labels (N,)."""
    ranks = ranks or Ranks()
    share = ranks.rank, ranks.count
    batches = eval_batches(data, 256, recipe.augment.evaluation(), threads=loader_threads(data), share=share)
    found: list[tuple[np.ndarray, np.ndarray]] = []  # of each batch

    def of_piece(piece: Batch) -> np.ndarray:
        return to_numpy(objective.features(like(objective, piece)["images"]).data)

    def look() -> None:
        for images, labels in batches:
            pieces = pieces_of(objective, {"images": images}, recipe, workers)
            found.append((np.concatenate(workers.map(of_piece, pieces)), labels))

    with objective.evaluating(), no_grad(), numerics(recipe):
        ranks.each(look)
    features, labels = map(np.concatenate, zip(*in_turn(ranks.gathered(found)), strict=True))
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12), labels

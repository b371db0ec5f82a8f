"""The best evaluation of a run and the number of evaluations since, from the lines of metrics.jsonl."""

from collections.abc import Sequence
from typing import Any

SHARES = ("test_accuracy", "test_retrieval", "test_knn")  # of right answers; the first that there is tells most


def best(metrics: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The line with the highest `accuracy`, or without any the lowest test loss. Ties go to the lower test loss, then
    to the earlier line. None without test data."""
    tested = [line for line in metrics if line["test_loss"] is not None]
    return max(tested, key=lambda line: (accuracy(line) or 0.0, -line["test_loss"]), default=None)


def accuracy(line: dict[str, Any]) -> float | None:
    """The share of right answers: in classification, in matching images to texts, or by nearest neighbours. None if the
    objective has no answers."""
    return next((line[name] for name in SHARES if line.get(name) is not None), None)


def evaluations_since(metrics: Sequence[dict[str, Any]]) -> int:
    """The number of evaluations after the best one."""
    top = best(metrics)
    return 0 if top is None else sum(line["step"] > top["step"] for line in metrics)

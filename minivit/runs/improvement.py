"""The best evaluation of a run, and how long ago it was: functions of the lines of metrics.jsonl alone."""

from collections.abc import Sequence
from typing import Any

SHARES = ("test_accuracy", "test_retrieval", "test_knn")  # of right answers; the first that there is tells most


def best(metrics: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The line with the highest share of right answers, see `accuracy`, and where nobody answers the lowest test loss.
    Among equal ones the lowest test loss decides, then the earlier line. None without test
    data."""
    tested = [line for line in metrics if line["test_loss"] is not None]
    return max(tested, key=lambda line: (accuracy(line) or 0.0, -line["test_loss"]), default=None)


def accuracy(line: dict[str, Any]) -> float | None:
    """The share of right answers: by classification, of images that find their text, by the nearest neighbours; None if
    nobody answered."""
    return next((line[name] for name in SHARES if line.get(name) is not None), None)


def evaluations_since(metrics: Sequence[dict[str, Any]]) -> int:
    """How many evaluations came after the best one."""
    top = best(metrics)
    return 0 if top is None else sum(line["step"] > top["step"] for line in metrics)

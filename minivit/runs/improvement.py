"""The best evaluation of a run, and how long ago it was: functions of the lines of metrics.jsonl alone."""

from collections.abc import Sequence
from typing import Any


def best(metrics: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The line with the highest test accuracy, where nothing is classified that of the nearest neighbours, and without
    either the lowest test loss. Among equal ones the lowest test loss decides, then the earlier line. None without test
    data."""
    tested = [line for line in metrics if line["test_loss"] is not None]
    return max(tested, key=lambda line: (accuracy(line) or 0.0, -line["test_loss"]), default=None)


def accuracy(line: dict[str, Any]) -> float | None:
    """The share of right answers, by classification or by the nearest neighbours; None if nobody answered."""
    return line.get("test_knn") if line["test_accuracy"] is None else line["test_accuracy"]


def evaluations_since(metrics: Sequence[dict[str, Any]]) -> int:
    """How many evaluations came after the best one."""
    top = best(metrics)
    return 0 if top is None else sum(line["step"] > top["step"] for line in metrics)

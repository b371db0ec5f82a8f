"""The best evaluation of a run, and how long ago it was: functions of the lines of metrics.jsonl alone."""

from collections.abc import Sequence
from typing import Any

SHARES = ("test_accuracy", "test_knn")  # of right answers: the model's own, or those of its features' neighbours


def judged_by(metrics: Sequence[dict[str, Any]]) -> str | None:
    """What evaluations are compared by: the test accuracy, where there is none that of the nearest neighbours, where
    there is neither the test loss. None without test data."""
    measures = (*SHARES, "test_loss")
    return next((name for name in measures if any(line.get(name) is not None for line in metrics)), None)


def best(metrics: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The line with the highest test accuracy, or what stands in its place (`judged_by`); among equal ones the lowest
    test loss decides, then the earlier line. None without test data."""
    name = judged_by(metrics)
    if name is None:
        return None
    tested = [line for line in metrics if line.get(name) is not None]
    share = name if name in SHARES else None
    return max(tested, key=lambda line: (line[share] if share else 0, -line["test_loss"]))


def evaluations_since(metrics: Sequence[dict[str, Any]]) -> int:
    """How many evaluations came after the best one."""
    top = best(metrics)
    return 0 if top is None else sum(line["step"] > top["step"] for line in metrics)

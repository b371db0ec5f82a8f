"""The best evaluation of a run, and how long ago it was: functions of the lines of metrics.jsonl alone."""

from collections.abc import Sequence
from typing import Any


def best(metrics: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The line with the highest test accuracy; among equal ones the lowest test loss decides, then the earlier line.
    None without test data."""
    tested = [line for line in metrics if line["test_accuracy"] is not None]
    return max(tested, key=lambda line: (line["test_accuracy"], -line["test_loss"]), default=None)


def evaluations_since(metrics: Sequence[dict[str, Any]]) -> int:
    """How many evaluations came after the best one."""
    top = best(metrics)
    return 0 if top is None else sum(line["step"] > top["step"] for line in metrics)

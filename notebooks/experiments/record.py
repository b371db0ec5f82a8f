"""The file of an experiment: what was run, on what, and what came out, in notebooks/results/NAME.json."""

import json
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import minivit

RESULTS = Path(__file__).resolve().parent.parent / "results"


def read(name: str) -> dict[str, Any]:
    """The record of an experiment; empty if there is none yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(name: str, record: dict[str, Any]) -> None:
    """Replace the file of an experiment; whoever stops the process finds the old one or the new one, whole."""
    partial = RESULTS / f"{name}.json.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(RESULTS / f"{name}.json")


def begin(name: str, header: dict[str, Any]) -> dict[str, Any]:
    """The record to go on with: the one on disk, or a new one of this header.

    Raises ValueError if the one on disk was made with another header: results of two experiments must not be mixed.
    """
    header = json.loads(json.dumps(header))  # as it reads in the file: tuples are lists there
    record = read(name)
    if any(record.get(key) != value for key, value in header.items() if record):
        raise ValueError(f"results/{name}.json is of another configuration: move it away to start anew")
    return record or {**header, "versions": versions(), "results": {}}


def complete(
    name: str, header: dict[str, Any], seeds: int, settings: Iterable[str], measure: Callable[[str, int], Any]
) -> None:
    """Measure every setting with every seed that the record lacks, and write after each run. Seeds are outermost, so
    that all settings have as many runs, whenever this is stopped."""
    results, settings = begin(name, header), list(settings)
    for seed in range(seeds):
        for setting in settings:
            runs = results["results"].setdefault(setting, [])
            if len(runs) <= seed:
                runs.append(rounded(measure(setting, seed)))
                write(name, results)


def rounded(value: Any) -> Any:
    """Floats to four digits after the point, also those in lists and dictionaries."""
    if isinstance(value, dict):
        return {name: rounded(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(x) for x in value]
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    return {"minivit": minivit.__version__, "numpy": np.__version__, "python": platform.python_version()}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of n >= 2 runs and its standard error: standard deviation (n - 1 in its divisor) over sqrt(n)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))

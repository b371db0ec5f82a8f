"""The family of the Vision Transformer, one file a system: what it came from, what it beat, what grew out of it.

`python -m minivit.lineage` lists the systems, `python -m minivit.lineage verify DIR...` holds them to recorded outputs
of published code. Each file begins with its source, its equation, what is new, its arrays, and where paper and code
differ.

Each file of an objective has `tiny(dtype="float32") -> tuple[Objective, Dataset]` for the tests that all objectives
share (tests/lineage/test_contract.py): the objective in small, in training mode, with parameters of that dtype and
dropout or drop path above 0, and a data set of at least 12 examples that has its `columns`. Everything in both comes
from fixed seeds, so two calls give equal ones; the objective is built for 6 steps in all.
"""

import dataclasses
import importlib
from types import ModuleType
from typing import Any

from minivit.errors import ConfigError, meant


@dataclasses.dataclass(frozen=True)
class System:
    """One line of the list.   year, paper: of its publication; new: against what was there before; notebook: its file
    in notebooks/, "" if it has none."""

    year: int
    paper: str
    new: str
    notebook: str = ""


SYSTEMS: dict[str, System] = {
    "deit": System(
        2020,
        "Touvron et al., Training data-efficient image transformers & distillation through attention, arXiv 2012.12877",
        "a second token whose head learns what a teacher says of the image",
        "24_deit",
    ),
}
OBJECTIVES: dict[str, str] = {  # name -> "module:class", of what a run can minimise beside classification
    "deit": "deit:DeiT",
}


def module_of(name: str) -> ModuleType:
    """The file of a system. Raises ConfigError for a name that there is not."""
    if name not in SYSTEMS:
        raise ConfigError(f'there is no system "{name}"{meant(name, SYSTEMS)}; known: {", ".join(SYSTEMS)}')
    return importlib.import_module(f"minivit.lineage.{name}")


def objective_class(name: str) -> Any:
    """The Objective called `name`. Raises ConfigError for a name that there is not."""
    if name not in OBJECTIVES:
        raise ConfigError(f'there is no objective "{name}"{meant(name, OBJECTIVES)}; known: {", ".join(OBJECTIVES)}')
    module, _, kind = OBJECTIVES[name].partition(":")
    return getattr(importlib.import_module(f"minivit.lineage.{module}"), kind)

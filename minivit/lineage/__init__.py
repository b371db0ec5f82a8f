"""The family of the Vision Transformer, one file a system: what it came from, what it beat, what grew out of it.

`python -m minivit.lineage` lists the systems, `python -m minivit.lineage verify DIR...` holds them to recorded outputs
of published code. Each file begins with its source, its equation, what is new, its arrays, and where paper and code
differ.
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
    "clip": System(
        2021,
        "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020",
        "images and sentences in one space, so that a sentence is a classifier",
    ),
}
OBJECTIVES: dict[str, str] = {  # name -> "module:class", of what a run can minimise beside classification
    "clip": "clip:CLIP",
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

"""Helpers for notebook cells: choose a size, compare two results, show the library's source."""

import inspect
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import minivit
from minivit.backend import to_numpy
from minivit.tensor import Tensor

T = TypeVar("T")


def full_or_fast(full: T, fast: T) -> T:
    """`full`, or `fast` if the environment variable MINIVIT_FAST is set: the same cells with smaller parameters."""
    return fast if os.environ.get("MINIVIT_FAST") else full


def result_file(name: str) -> Path:
    """The path of a file in the folder `results` beside the notebooks, whatever folder the kernel was started in.

    The search covers the notebook's folder (if the editor reports it), the working directory and those above it, a
    `notebooks` folder there, and the clone that minivit comes from. If nothing is found, it is results/NAME.
    """
    told = vars(sys.modules["__main__"]).get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    above = [*([Path(told).parent] if told else []), Path.cwd(), *Path.cwd().parents, Path(minivit.__file__).parents[1]]
    places = [folder / inside / "results" / name for folder in above for inside in ("", "notebooks")]
    return next((place for place in places if place.is_file()), Path("results", name))


class NotFilled(Exception):
    """A line of a student edition is still `...`."""


def filled(**values: Any) -> None:
    """Raise NotFilled with the names of values that are still `...`: lines that the reader has to fill in."""
    missing = [name for name, value in values.items() if value is ...]
    if missing:
        lines = " and ".join(f"`{name} = ...`" for name in missing)
        raise NotFilled(
            f"This is yours: put your own expression in place of the dots in {lines}, and run the cell again."
        )


def agree(name: str, mine: Any, reference: Any, rtol: float = 1e-9) -> None:
    """Print one line that says that `mine` equals `reference`, and how closely.

    mine, reference: arrays, Tensors or numbers of one shape. The largest difference may be rtol times the largest entry
    of the reference, or 1e-14: rtol 1e-9 suits float64, 1e-4 float32. Raises AssertionError, with the numbers, if they
    disagree.
    """
    if any(value is None or value is ... for value in (mine, reference)):
        raise AssertionError(f"{name}: there is nothing to compare with, one of the two is None or ...")
    a, b = (np.asarray(to_numpy(x.data if isinstance(x, Tensor) else x)) for x in (mine, reference))
    if a.shape != b.shape:
        raise AssertionError(f"{name}: its shape is {a.shape}, the reference has {b.shape}")
    if a.dtype == bool:
        a, b = a.astype(int), b.astype(int)
    difference = float(np.max(np.abs(a - b), initial=0))
    allowed = rtol * float(np.max(np.abs(b), initial=0)) + 1e-14
    if not difference <= allowed:
        raise AssertionError(f"{name} {a.shape}: largest difference {difference:.2g}, allowed {allowed:.2g}")
    print(f"{name:<12} {a.shape!s:<16} agrees, largest difference {difference:.1e}")


class Source:
    """Source code that shows itself highlighted in a notebook, as text elsewhere."""

    def __init__(self, place: str, code: str):
        self.place = place
        self.code = code

    def __repr__(self) -> str:
        return f"# {self.place}\n{self.code}"

    def _repr_markdown_(self) -> str:
        return f"`{self.place}`\n\n```python\n{self.code}\n```"


def show_source(thing: Callable) -> Source:
    """The source of a function or class of the library with its file; use it as a cell's last expression."""
    thing = inspect.unwrap(thing)
    code = inspect.getsource(thing)
    file = Path(inspect.getsourcefile(thing) or "")
    root = Path(minivit.__file__).parent.parent
    place = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
    return Source(place, textwrap.dedent(code).rstrip())

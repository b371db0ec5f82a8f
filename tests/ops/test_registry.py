"""Every op has a gradient check. A test claims an op with `gradient_check`; conftest.py holds it to its claim."""

import importlib.util
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from devices import numpy_only

from minivit import functional, ops


pytestmark = numpy_only  # nothing is computed here


def claims() -> Iterator[str]:
    """The names of the ops that tests of this folder are marked to check."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"claims_of_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, function in inspect.getmembers(module, callable):
            if name.startswith("test_"):
                for mark in getattr(function, "pytestmark", []):
                    rows = mark.args[1] if mark.name == "parametrize" else []
                    for inner in (mark, *(m for row in rows for m in getattr(row, "marks", ()))):
                        yield from inner.args if inner.name == "gradient_check" else ()


def unchecked(names: Iterable[str], claimed: Iterable[str]) -> set[str]:
    return set(names) - set(claimed)


def test_every_op_has_a_gradient_check():
    assert unchecked(ops.__all__, claims()) == set(), "write a test marked gradient_check for these ops"


def test_every_claim_names_an_op():
    assert unchecked(claims(), ops.__all__) == set()


def test_an_op_without_a_check_is_found():
    claimed = set(claims())
    assert unchecked({*claimed, "new_op"}, claimed) == {"new_op"}


@pytest.mark.parametrize("name", ops.__all__)
def test_every_op_is_a_function_of_tensors_too(name):
    assert getattr(functional, name).__wrapped__ is getattr(ops, name)


def test_all_lists_every_public_function_of_the_room():
    exported = {name for name, value in vars(ops).items() if inspect.isfunction(value)}
    assert exported == set(ops.__all__)

"""What a function has captured: of a pullback, the arrays that it keeps alive until it is called."""

import contextlib
import inspect
import types
from collections.abc import Callable
from typing import Any

from minivit.backend import Array, is_array


def captured_arrays(function: Callable) -> dict[str, Array]:
    """The arrays a function has captured, also through functions that it has captured."""
    found: dict[str, Array] = {}
    for name, value in (closure_values(function) if inspect.isfunction(function) else {}).items():
        if is_array(value):
            found[name] = value
        elif inspect.isfunction(value):
            found |= {f"{name}.{inner}": array for inner, array in captured_arrays(value).items()}
    return found


def closure_values(function: types.FunctionType) -> dict[str, Any]:
    """What a function has captured, by name. A variable of another branch, which was never assigned, is left out."""
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # the cell is empty
            values[name] = cell.cell_contents
    return values

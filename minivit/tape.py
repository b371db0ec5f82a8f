"""Read-only access to the tape: the ops that made a Tensor and the arrays they keep; for drawings, stepper and
lessons."""

import contextlib
import inspect
import types
from collections.abc import Callable
from typing import Any

from minivit.backend import Array, is_array
from minivit.backward import Node, reachable
from minivit.protocol import TensorProtocol


def tape(loss: TensorProtocol) -> list[Node]:
    """The nodes that made `loss`, oldest first: the forward pass."""
    return [node for node in reversed(reachable(loss)) if isinstance(node, Node)]


def saved(node: Node) -> dict[str, Array]:
    """The arrays captured by the vjp of a node, by their names in the op; empty once released."""
    return {} if node.vjp is None else captured_arrays(node.vjp)


def saved_bytes(node: Node) -> int:
    """Bytes of the saved arrays; a view counts as its own size, and an array saved twice counts twice."""
    return sum(array.nbytes for array in saved(node).values())


def captured_arrays(function: Callable) -> dict[str, Array]:
    """The arrays captured by a function, also through functions that it has captured."""
    found: dict[str, Array] = {}
    for name, value in (closure_values(function) if inspect.isfunction(function) else {}).items():
        if is_array(value):
            found[name] = value
        elif inspect.isfunction(value):
            found |= {f"{name}.{inner}": array for inner, array in captured_arrays(value).items()}
    return found


def closure_values(function: types.FunctionType) -> dict[str, Any]:
    """The values captured by a function, by name. A variable that was never assigned, in a branch not taken, is left
    out."""
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # the cell is empty
            values[name] = cell.cell_contents
    return values

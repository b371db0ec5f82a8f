"""Reads the signature of an op: which arguments are arrays, and how to name them in an error message."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from minivit.backend import Array


def array_parameters(op: Callable) -> tuple[tuple[str, ...], int | None]:
    """Names of the op's array parameters and their number, or None for the number if the last is of the form *xs.

    They are the leading parameters that are annotated `Array` or `Array | None`, or are bare names (`def op(x, y)`).
    """
    names: list[str] = []
    for parameter in inspect.signature(op).parameters.values():
        bare = parameter.annotation is parameter.empty and parameter.default is parameter.empty
        if not bare and parameter.annotation not in (Array, Array | None):
            break
        names.append(parameter.name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            return tuple(names), None
    return tuple(names), len(names)


def explain(op: str, error: Exception, names: tuple[str, ...], values: Sequence[Any]) -> str:
    """The message of an error inside an op, with the op, its arguments and their shapes."""
    message = str(error)
    if message.startswith(f"{op}: "):
        return message
    labels = names if len(names) == len(values) else tuple(map(str, range(len(values))))
    shapes = ", ".join(
        f"{label} {getattr(value, 'dtype', type(value).__name__)} {getattr(value, 'shape', '')}".rstrip()
        for label, value in zip(labels, values, strict=False)
    )
    return f"{op}: {message} ({shapes})"

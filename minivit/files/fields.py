"""Fields of records, such as a model's shape: values are checked against the annotations of their class."""

import contextlib
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from minivit.errors import ConfigError, meant, shown
from minivit.files.paths import parse_json


def settle(record: Any) -> None:
    """Convert every field of a frozen dataclass to its annotated type.

    NumPy scalars become Python's, which JSON can hold and which never widen float32; a list, generator or
    one-dimensional array becomes a tuple if one is expected. Raises ConfigError for a value of another type, such as
    the text "false", which Python counts as true.
    """
    for name, kind in hints(type(record)).items():  # type: ignore[arg-type]
        value = plain(getattr(record, name), _takes_tuple(kind))
        if not is_a(value, kind):
            raise ConfigError(f"{name} is {shown(repr(value))}, expected {in_words(kind)}")
        object.__setattr__(record, name, value)


def from_json(record_class: type, given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of a record in the types of its class; lists from JSON become tuples. Raises ConfigError, naming the
    source, for unknown fields and values of the wrong type."""
    kinds = hints(record_class)
    if unknown := [name for name in given if name not in kinds]:
        raise ConfigError(f'{source}: unknown field "{unknown[0]}"{meant(unknown[0], kinds)}')
    for name, value in given.items():
        if not is_a(value, kinds[name]):
            raise ConfigError(
                f"{source}: {name} is {json.dumps(value, default=repr)}, expected {in_words(kinds[name])}"
            )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def from_text(text: str, kind: Any) -> Any:
    """The value written in the text of an option: 0.5, true, none, 1,2 or a name. Raises ConfigError."""
    read: list[Any] = []
    for written in (text.lower(), f"[{text.lower()}]"):
        with contextlib.suppress(ValueError):
            read.append(parse_json(("null" if written == "none" else written).encode()))
    for value in (*read, text):
        if is_a(value, kind):
            return tuple(value) if isinstance(value, list) else value
    raise ConfigError(f'"{shown(text)}", expected {in_words(kind)}')


@functools.cache
def hints(record_class: type) -> dict[str, Any]:
    """The annotated type of each field of a dataclass; for a field with its own `__set__`, the type that it accepts."""
    known = typing.get_type_hints(record_class)
    kinds = {field.name: known[field.name] for field in dataclasses.fields(record_class)}
    return {name: _value_set(kind) if hasattr(kind, "__set__") else kind for name, kind in kinds.items()}


def _value_set(descriptor: Any) -> Any:
    return typing.get_type_hints(descriptor.__set__)["value"]


def plain(value: Any, to_tuple: bool = False) -> Any:
    """The value without NumPy types.   to_tuple: also turn lists and the like into tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if to_tuple and (isinstance(value, list | tuple | range | Iterator) or np.ndim(value) == 1):
        return tuple(map(plain, value))
    return value


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value has an annotated type. A whole number is also a float; a bool is not a number."""
    if isinstance(kind, types.UnionType):
        return any(is_a(value, option) for option in kind.__args__)
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        if not isinstance(value, list | tuple):
            return False
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return len(value) == len(kinds) and all(map(is_a, value, kinds))
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, typing.get_origin(kind) or kind)


def in_words(kind: Any) -> str:
    """An annotated type as text for a message."""
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        return f"a list of {in_words(inner[0])}" if inner[-1] is Ellipsis else f"{len(inner)} of {in_words(inner[0])}"
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _takes_tuple(kind: Any) -> bool:
    return any(typing.get_origin(option) is tuple for option in getattr(kind, "__args__", ())) or (
        typing.get_origin(kind) is tuple
    )

"""What Python and NumPy may ask of a Tensor, and what callers may pass as Tensors or arrays.

One rule for NumPy's functions: they read the data of a Tensor that requires no gradient. From a Tensor that requires
one they may compute only what has no gradient (comparisons, `argmax`, shapes). Anything that would lose the graph is
refused with a message that mentions `.data`.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minivit.backend import Array, is_array, xp_of

_PLAIN = frozenset({int, float, bool, str, slice, type(None)})
_OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "power": "pow", "matmul": "matmul",
    "negative": "neg", "absolute": "abs",
}  # fmt: skip


class _OnTheTypeOnly:
    """An attribute visible to NumPy, which asks the type, but None for CuPy, which asks the object. So an operator with
    a CuPy array on the left falls through to the Tensor."""

    def __init__(self, value: Callable):
        self.value = value

    def __get__(self, instance: object, owner: type) -> Callable | None:
        return self.value if instance is None else None


def _ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **params: Any) -> Any:
    """NumPy's arithmetic on Tensors is that of Tensors; other element-wise functions of NumPy read the data."""
    name = _OPERATORS.get(ufunc.__name__)
    if name is None or method != "__call__" or params:
        writes = method == "at" or params.get("out") is not None
        return _on_data(getattr(ufunc, method), f"numpy.{ufunc.__name__}", inputs, params, writes)
    left, *right = inputs
    if isinstance(left, TensorProtocol):
        return getattr(left, f"__{name}__")(*right)
    return getattr(right[0], f"__r{name}__")(left)


def _on_data(function: Callable, name: str, args: Any, params: dict[str, Any], writes: bool = False) -> Any:
    """Apply the function to the data of all Tensors among its arguments. Raises TypeError if a gradient would be lost;
    the data are passed read-only, so they are unchanged then."""
    found = [t for t in _tensors_in([args, params]) if t.requires_grad]
    if not found or not writes:
        try:
            result = function(*_data_in(args), **_data_in(params))
        except ValueError as error:
            if not (found and "read-only" in str(error)):
                raise
            result = None
        parts = result if isinstance(result, list | tuple) else [result]
        if not found or name.endswith("_like"):
            return result
        if result is not None and all(getattr(part, "dtype", np.dtype(int)).kind not in "fc" for part in parts):
            return result
    raise TypeError(f"{name} would lose the gradient of {_described(found[0])}: use minivit.functional, or its .data")


def _tensors_in(value: Any) -> Iterator[Any]:
    """All Tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, TensorProtocol):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(part)


def _data_in(value: Any) -> Any:
    """The same structure with each Tensor replaced by its data."""
    if isinstance(value, TensorProtocol):
        return _read_only(value.data) if value.requires_grad else value.data
    if isinstance(value, dict):
        return {key: _data_in(part) for key, part in value.items()}
    return type(value)(map(_data_in, value)) if type(value) in (list, tuple) else value


def _read_only(data: Array) -> Array:
    """A read-only view of the array; CuPy has none, so its array is returned as is."""
    if isinstance(data, np.ndarray):
        data = data.view()
        data.flags.writeable = False
    return data


def _described(tensor: Any) -> str:
    return f"Tensor {tensor.name}" if tensor.name else f"a Tensor of shape {tensor.data.shape}"


def _comparison(compare: Callable) -> Callable:
    def method(self: Any, other: Any) -> Any:
        if isinstance(other, TensorProtocol):
            other = other.data
        elif not (is_array(other) or isinstance(other, int | float | np.generic | list | tuple)):
            return NotImplemented
        return compare(self.data, other)

    method.__name__ = f"__{compare.__name__}__"
    return method


class TensorProtocol:
    """The part of Tensor that records nothing: conversion, comparison, iteration, copying."""

    __slots__ = ()
    data: Array
    requires_grad: bool
    node: Any

    # Element by element, as arrays without gradient. Tensors are keys of dictionaries by identity.
    __eq__ = _comparison(operator.eq)
    __ne__ = _comparison(operator.ne)
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __hash__ = object.__hash__

    __array_ufunc__ = _OnTheTypeOnly(_ufunc)

    def __array_function__(self, function: Callable, types: Any, args: Any, params: dict[str, Any]) -> Any:
        return _on_data(function, f"{function.__module__}.{function.__name__}", args, params)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError(f"an array would lose the gradient of {_described(self)}: use .data for its array")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if not self.data.shape:
            raise TypeError("a 0-d Tensor has no length, and no rows to iterate over; its number is .item()")
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))  # type: ignore[index]

    def __contains__(self, value: Any) -> bool:
        equal = self == value
        return bool(equal if isinstance(equal, bool) else equal.any())

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(
                f"a Tensor of {self.data.size} elements is neither true nor false: ask .data.any() or .data.all()"
            )
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __format__(self, spec: str) -> str:
        return format(self.data.item(), spec) if spec and self.data.size == 1 else object.__format__(self, spec)

    def __abs__(self) -> Any:
        return self * xp_of(self.data).sign(self.data)

    def __getstate__(self) -> Any:
        if self.node is not None:
            raise TypeError("the result of an operation cannot be copied or pickled with its graph; use .detach()")
        return object.__getstate__(self)


# What callers pass


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"an {name}" if name[0] in "aeiou" else f"a {name}"


def owned(parameter: Any) -> Any:
    """A parameter of an op (an index, a list of axes), copied so that its caller cannot change it before the backward
    pass; a Tensor becomes its array."""
    if type(parameter) in _PLAIN:
        return parameter
    if isinstance(parameter, list | tuple):
        return (list if isinstance(parameter, list) else tuple)(map(owned, parameter))
    if isinstance(parameter, np.generic):  # one of float64 would widen float32
        return parameter.item()
    array = parameter.data if isinstance(parameter, TensorProtocol) else parameter
    return array.copy() if is_array(array) else array


def unpacked(args: tuple[Any, ...], op: str) -> tuple[Any, ...]:
    """The arrays of an op that takes any number of them, passed one by one or as one list."""
    if len(args) == 1 and not isinstance(args[0], TensorProtocol) and not is_array(args[0]):
        args = tuple(listed(args[0], op, "arrays"))
    if not args:
        raise ValueError(f"{op}: expected at least one array")
    return args


def listed(values: Any, caller: str, members: str = "Tensors") -> list[Any]:
    """The members of a list, generator or other collection. Raises TypeError for anything else."""
    if isinstance(values, Mapping):
        raise TypeError(f"{caller}: got {_kind(values)}, expected a list of {members}; pass its .values()")
    if isinstance(values, TensorProtocol):
        raise TypeError(f"{caller}: got one Tensor, expected a list of {members}; for one, pass a list: [x]")
    if not isinstance(values, Iterable):
        hint = "; pass its parameters()" if hasattr(values, "parameters") else ""
        raise TypeError(f"{caller}: got {_kind(values)}, expected a list of {members}{hint}")
    return list(values)


def tensor_list(values: Any, caller: str) -> list[Any]:
    """The Tensors of a list, generator or other collection. Raises TypeError for anything else."""
    found = listed(values, caller)
    for i, value in enumerate(found):
        if not isinstance(value, TensorProtocol):
            pair = isinstance(value, tuple) and any(isinstance(part, TensorProtocol) for part in value)
            hint = "; pass model.parameters() rather than named_parameters()" if pair else ""
            raise TypeError(f"{caller}: entry {i} is {_kind(value)}, expected a Tensor{hint}")
    return found


def array_list(values: Any, caller: str) -> list[Array]:
    """The arrays of a list, generator or other collection; one array is the only one. Raises TypeError for anything
    else."""
    found = [values] if is_array(values) else listed(values, caller, "arrays")
    for i, value in enumerate(found):
        if isinstance(value, TensorProtocol) or not hasattr(value, "shape"):  # NumPy's scalars have one
            hint = "; pass its .grad or .data" if isinstance(value, TensorProtocol) else ""
            raise TypeError(f"{caller}: entry {i} is {_kind(value)}, expected an array{hint}")
    return found


def gradients_for(parameters: Sequence[Any], names: Sequence[str], values: Any) -> list[Array]:
    """The gradients as real arrays, one for each parameter. Raises ValueError, naming the parameter, for a missing
    gradient, another type or another shape."""
    grads = listed(values, "step", "arrays")
    if len(grads) != len(parameters):
        raise ValueError(f"step: {len(grads)} gradients for {len(parameters)} parameters")
    for i, (parameter, g) in enumerate(zip(parameters, grads, strict=True)):
        if g is None or isinstance(g, TensorProtocol) or not hasattr(g, "dtype"):
            found = "none" if g is None else _kind(g)
        elif g.shape != parameter.shape or g.dtype.kind not in "fiub":
            found = g.shape if g.shape != parameter.shape else f"of type {g.dtype}"
        else:
            continue
        raise ValueError(f"step: gradient of {names[i] or i} is {found}, expected {parameter.shape}")
    return grads


def state_keys(names: Iterable[str]) -> list[str]:
    """The key of each parameter's state: its name, or its number if it has none; both, if an earlier parameter has the
    same name."""
    keys: dict[str, None] = {}
    for i, name in enumerate(names):
        key = name or str(i)
        while key in keys:
            key += f"/{i}"
        keys[key] = None
    return list(keys)


def named_leaves(values: Any, caller: str) -> list[tuple[str, Any]]:
    """(name, Tensor) pairs from such pairs or Tensors, which may be named ""; one Tensor is the only one.

    Raises TypeError for anything else, ValueError for an empty list, a repeated Tensor or one that is not a leaf.
    """
    entries = [values] if isinstance(values, TensorProtocol) else listed(values, caller)
    pairs = [p if isinstance(p, tuple) and len(p) == 2 else (getattr(p, "name", None) or "", p) for p in entries]
    tensors = tensor_list([tensor for _, tensor in pairs], caller)
    if not tensors:
        raise ValueError(f"{caller}: there are no parameters: is everything frozen?")
    first = {id(tensor): i for i, tensor in reversed(list(enumerate(tensors)))}
    for i, tensor in enumerate(tensors):
        if first[id(tensor)] != i:
            raise ValueError(f"{caller}: parameter {pairs[i][0] or i} is listed twice, as {first[id(tensor)]} and {i}")
        if tensor.node is not None:
            raise ValueError(f"{caller}: parameter {pairs[i][0] or i} is the result of an operation, expected a leaf")
    return pairs

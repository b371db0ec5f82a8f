"""The record of an op, and how derivatives are pulled back through records: the parts of `grad`.

Links only point from later to earlier, so the graph is acyclic and plain reference counting frees it. Nodes are visited
newest first, so when a vjp runs, its node has its whole cotangent: the sum over all users.
"""

import contextlib
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minivit.backend import Array, is_array, xp_of
from minivit.protocol import TensorProtocol

_ORDER = operator.attrgetter("order")
_CLOCK = itertools.count()  # numbers the nodes of all threads in the order they were made


class Node:
    """One application of an op on the tape.

    op: its name; inputs: for each array argument the Node or leaf Tensor it came from, or None if no gradient is
    wanted; input_shapes, output_shape.
    """

    __slots__ = ("input_dtypes", "input_shapes", "inputs", "op", "order", "output_shape", "vjp")

    def __init__(self, op: str, vjp: Callable, inputs: Sequence[Any], values: Sequence[Any], output: Array):
        self.op = op
        self.vjp: Callable | None = vjp
        self.inputs = inputs
        self.input_shapes = tuple([getattr(value, "shape", ()) for value in values])  # faster than of a generator
        self.input_dtypes = [getattr(value, "dtype", None) for value in values]
        self.output_shape = output.shape
        self.order = next(_CLOCK)

    def __repr__(self) -> str:
        shapes = ", ".join(map(str, self.input_shapes))
        return f"{self.op}({shapes}) -> {self.output_shape}"


Link = Node | TensorProtocol  # the result of an op, which its Node stands for, or a leaf


def reachable(loss: TensorProtocol) -> list[Link]:
    """Everything `loss` was made from: nodes, newest first (each after all that used it), then leaves. Iterative."""
    nodes: dict[int, Node] = {}
    leaves: dict[int, TensorProtocol] = {}
    stack: list[Link] = [loss.node or loss]
    while stack:
        link = stack.pop()
        if not isinstance(link, Node):
            leaves[id(link)] = link
        elif id(link) not in nodes:
            nodes[id(link)] = link
            stack += [parent for parent in link.inputs if parent is not None]
    return [*sorted(nodes.values(), key=_ORDER, reverse=True), *leaves.values()]


class Cotangents:
    """Gradients on their way back, by node, each with whether it is ours: shared with nobody, free to be added into.

    An op may return its cotangent itself, or a view of it, an array its vjp captured, or one array for two arguments.
    For y = x + z, `add` returns `g, g`: x and z hold one array, which is not ours. If x has a second user, `g += more`
    would change the gradient of z as well. So the sum is made in a new array; that one is ours, and what a third user
    sends is added into it. z, if it is a leaf that nothing else reaches, is handed a copy of g.
    """

    def __init__(self) -> None:
        self._sums: dict[int, tuple[Array, bool]] = {}

    def __contains__(self, node: Link) -> bool:
        return id(node) in self._sums

    def add(self, node: Link, d: Array, ours: bool = False) -> None:
        if id(node) not in self._sums:
            self._sums[id(node)] = d, ours
            return
        total, total_is_ours = self._sums[id(node)]
        if total_is_ours:
            total += d
        elif ours:
            d += total
            self._sums[id(node)] = d, True
        else:
            self._sums[id(node)] = xp_of(total).asarray(total + d), True

    def get(self, node: Link, keep: bool) -> Array:
        return self._sums[id(node)][0] if keep else self._sums.pop(id(node))[0]

    def take(self, node: Link, like: Array) -> Array:
        """The finished gradient, shared with nobody."""
        if id(node) not in self._sums:
            return xp_of(like).zeros_like(like)
        total, ours = self._sums[id(node)]
        if not ours:
            total = total.copy()
        self._sums[id(node)] = total, False  # the same tensor asked for twice gets a second array
        return total


def pull_back(node: Node, cotangents: Cotangents, keep: bool) -> None:
    """Run one vjp and hand its gradients to the node's inputs. keep: the caller wants the node's own cotangent."""
    vjp = node.vjp
    if vjp is None:
        raise RuntimeError(f"{node}: its saved arrays were released by an earlier backward pass; run the forward again")
    g = cotangents.get(node, keep)
    first = node.inputs[0]
    # Some kernels add what has reached their first argument by another way, which spares an addition here.
    if first is not None and first in cotangents and getattr(vjp, "adds_residual", False):
        gradients = vjp(g, cotangents.get(first, keep=False))
    else:
        gradients = vjp(g)
    node.vjp = None
    fitted = fit_gradients(node, gradients)
    for link, d in zip(node.inputs, fitted, strict=True):
        if link is None:
            continue
        # Whether an array is shared matters only where it may be written to, or handed out.
        ours = (link in cotangents or not isinstance(link, Node)) and not _is_shared(d, g, vjp, gradients)
        cotangents.add(link, d, ours)


def _is_shared(d: Array, g: Array, vjp: Callable, gradients: Sequence[Array | None]) -> bool:
    """Whether a gradient is a view, the cotangent, an array that the vjp captured, or serves two arguments."""
    if d.base is not None or d is g or sum(x is d or getattr(x, "base", None) is d for x in gradients) > 1:
        return True
    for cell in getattr(vjp, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a variable that was never assigned
            if cell.cell_contents is d:
                return True
    return False


def fit_gradients(node: Node, gradients: Sequence[Any]) -> list[Any]:
    """The gradients from a vjp, each in the shape and dtype of its argument; None for arguments without gradient.

    Raises ValueError for a missing gradient, or one whose shape does not broadcast from its argument's.
    """
    if len(gradients) != len(node.inputs):
        extra = gradients[len(node.inputs) :]  # None for each optional argument that was left out
        if len(gradients) < len(node.inputs) or any(d is not None for d in extra):
            raise ValueError(f"{node}: its vjp returned {len(gradients)} gradients for {len(node.inputs)} arguments")
    fitted: list[Any] = [None] * len(node.inputs)
    for i, link in enumerate(node.inputs):
        if link is None:
            continue
        d = gradients[i]
        if d is None:
            raise ValueError(f"{node}: argument {i} has no gradient, but one was asked for")
        shape, dtype = node.input_shapes[i], node.input_dtypes[i]
        if type(d) is not np.ndarray or d.shape != shape:
            d = unbroadcast(d, shape)
            if d.shape != shape:
                raise ValueError(f"{node}: gradient {i} has shape {gradients[i].shape}, its argument {shape}")
        fitted[i] = d if d.dtype == dtype else d.astype(dtype)
    return fitted


def unbroadcast(d: Array, shape: tuple[int, ...]) -> Array:
    """Sum `d` over the axes along which an argument of `shape` was stretched: the adjoint of broadcasting."""
    if not is_array(d):
        d = np.asarray(d)
    if d.shape == shape:
        return d
    if d.ndim > len(shape):
        d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    stretched = tuple(a for a, (n, m) in enumerate(zip(d.shape, shape, strict=False)) if m == 1 and n != 1)
    return xp_of(d).asarray(d.sum(axis=stretched, keepdims=True) if stretched else d)


def first_cotangent(loss: TensorProtocol, g: Array | None, caller: str = "grad") -> Array:
    """The start of the backward pass: `g`, or 1 for a loss of one element. Raises ValueError for any other shape."""
    if g is None:
        if loss.data.size != 1:
            raise ValueError(f"{caller}: loss has shape {loss.data.shape}; pass g, a cotangent of that shape")
        g = xp_of(loss.data).ones(loss.data.shape, dtype=loss.data.dtype)
    g = xp_of(loss.data).asarray(g)
    if g.shape != loss.data.shape:
        raise ValueError(f"{caller}: the cotangent g has shape {g.shape}, the loss {loss.data.shape}")
    return g

"""One step of the backward pass: the input and output of one vjp, and every cotangent after it."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minivit import ops
from minivit.backend import Array, xp_of
from minivit.backward import Node, fit_gradients
from minivit.stepper.source import source_of
from minivit.tape import captured_arrays, closure_values
from minivit.tensor import Tensor

Link = Node | Tensor  # where cotangents arrive: at the result of an op, which its Node stands for, or at a leaf


@dataclasses.dataclass(frozen=True, eq=False)  # arrays do not compare as a whole
class Argument:
    """An argument of an op. parameter: its name in the op, else its number; link: the Node or leaf from which it came,
    None without a gradient; label: a name for it; value: the array, None if it is unknown."""

    parameter: str
    link: Link | None
    label: str
    shape: tuple[int, ...]
    value: Array | None


@dataclasses.dataclass(frozen=True, eq=False)  # arrays do not compare as a whole
class Frame:
    """The state after one step. Position 0 is the start: no vjp has run, only the loss has its cotangent.

    node, op: those of the vjp that ran (None and "" at the start); cotangent_in: its input, in the shape of the op's
    output; returned_shapes: the shapes that it returned; cotangents_out: its results after the engine's
    un-broadcasting, in the shapes of the arguments, None for arguments without gradient; inputs: the arguments of the
    op; saved: the vjp's captured arrays, by name; source, source_file, source_line, returned: its code and the
    expressions that it returns; accumulated: for each Node or leaf reached so far, the sum of the cotangents that have
    arrived; arrived: their number. Do not change any array here: the tape owns some of them.
    """

    position: int
    node: Node | None
    op: str
    cotangent_in: Array | None
    returned_shapes: tuple[tuple[int, ...] | None, ...]
    cotangents_out: tuple[Array | None, ...]
    inputs: tuple[Argument, ...]
    saved: Mapping[str, Any]
    source: str
    source_file: str
    source_line: int
    returned: tuple[str, ...]
    accumulated: Mapping[Link, Array]
    arrived: Mapping[Link, int]

    def cotangent_of(self, tensor: Tensor) -> Array | None:
        """The sum of the cotangents that have arrived at a Tensor, in its shape; None before the first."""
        return self.accumulated.get(tensor.node or tensor)


def start(loss: Tensor, g: Array) -> Frame:
    """Position 0: only the loss has its cotangent `g`."""
    link = loss.node or loss
    return Frame(
        position=0,
        node=None,
        op="",
        cotangent_in=None,
        returned_shapes=(),
        cotangents_out=(),
        inputs=(),
        saved={},
        source="",
        source_file="",
        source_line=0,
        returned=(),
        accumulated={link: g},
        arrived={link: 1},
    )


def after_one_more(before: Frame, node: Node, vjp: Callable, inputs: tuple[Argument, ...]) -> Frame:
    """The frame after `node`, whose `vjp` runs here, once, on the cotangent that has arrived at the node."""
    g = before.accumulated[node]
    with np.errstate(divide="ignore"):  # as in `grad`
        gradients = vjp(g)
    fitted = fit_gradients(node, gradients)
    accumulated, arrived = dict(before.accumulated), dict(before.arrived)
    for link, d in zip(node.inputs, fitted, strict=True):
        if link is not None:
            # a new array: earlier frames keep the sum that they had
            accumulated[link] = xp_of(d).asarray(accumulated[link] + d) if link in accumulated else d
            arrived[link] = arrived.get(link, 0) + 1
    shapes = tuple(getattr(d, "shape", None) for d in gradients[: len(node.inputs)])
    source = source_of(vjp)
    return Frame(
        position=before.position + 1,
        node=node,
        op=node.op,
        cotangent_in=g,
        returned_shapes=shapes,
        cotangents_out=tuple(fitted),
        inputs=inputs,
        saved=saved_by(vjp),
        source=source.code,
        source_file=source.file,
        source_line=source.line,
        returned=source.returned,
        accumulated=accumulated,
        arrived=arrived,
    )


def saved_by(vjp: Callable) -> dict[str, Any]:
    """The numbers and the arrays that a vjp captured, by name."""
    captured = closure_values(vjp) if inspect.isfunction(vjp) else {}
    numbers = {name: value for name, value in captured.items() if isinstance(value, int | float)}
    return {**numbers, **captured_arrays(vjp)}


def parameter_names(node: Node, vjp: Callable) -> list[str]:
    """The op's names for its arguments: from its signature, found by its name in `minivit.ops` or beside the vjp."""
    outer = getattr(vjp, "__qualname__", "").partition(".")[0]
    op = getattr(ops, node.op, None) or getattr(vjp, "__globals__", {}).get(outer)
    names: list[str] = []
    for parameter in inspect.signature(op).parameters.values() if inspect.isfunction(op) else ():
        several = len(node.inputs) if parameter.kind is parameter.VAR_POSITIONAL else 0
        names += [f"{parameter.name}[{i}]" for i in range(several)] or [parameter.name]
    unknown = [str(i) for i in range(len(names), len(node.inputs))]
    return [*names, *unknown][: len(node.inputs)]

"""Walk: the backward pass of a loss, one vjp at a time, as frames and in words, the basis of drawings and pages."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from minivit.backend import Array
from minivit.backward import Node, first_cotangent
from minivit.stepper import frame as frames
from minivit.stepper import words
from minivit.stepper.frame import Argument, Frame, Link
from minivit.tape import saved_bytes, tape
from minivit.tensor import Tensor


class Walk:
    """All steps of the backward pass of `loss`; arguments and errors are those of `BackwardStepper`."""

    def __init__(self, loss: Tensor, g: Array | None = None, values: Mapping[str, Tensor] | None = None):
        if not isinstance(values or {}, Mapping):
            raise TypeError(f'BackwardStepper: values is a {type(values).__name__}, expected names: {{"a": a}}')
        for name, value in {"loss": loss, **(values or {})}.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"BackwardStepper: {name} is a {type(value).__name__}, expected a Tensor")
        self.nodes: list[Node] = tape(loss)  # oldest first
        if not self.nodes:
            raise ValueError("BackwardStepper: nothing was recorded: no input requires a gradient, or no_grad was on")
        if any(node.vjp is None for node in self.nodes):
            raise ValueError("BackwardStepper: the tape was used up by a backward pass; run the forward pass again")
        self._vjps: dict[Node, Any] = {node: node.vjp for node in self.nodes}  # outlive a backward pass
        self.saved_bytes = {node: saved_bytes(node) for node in self.nodes}
        links = [link for node in self.nodes for link in node.inputs if link is not None]
        # How many cotangents will arrive at each Node or leaf; the loss is given one.
        self.portions: dict[Link, int] = dict(Counter([*links, self.nodes[-1]]))
        self._tensors: dict[Link, Tensor] = {link: link for link in links if isinstance(link, Tensor)}
        self._names: dict[Link, str] = {}
        self._name(loss, values or {})
        self.inputs: dict[Node, tuple[Argument, ...]] = {node: self._arguments(node) for node in self.nodes}
        self._frames = [frames.start(loss, first_cotangent(loss, g, "BackwardStepper"))]

    def _name(self, loss: Tensor, values: Mapping[str, Tensor]) -> None:
        """Give a name to every leaf and to all named results."""
        taken = {leaf.name for leaf in self._tensors.values()} | values.keys()
        free = (name for i in itertools.count(1) if (name := f"leaf {i}") not in taken)
        for link, leaf in self._tensors.items():
            self._names[link] = leaf.name or next(free)
        for name, tensor in [(loss.name or "loss", loss), *values.items()]:
            link = tensor.node or tensor
            if link not in self.portions:
                raise ValueError(f"BackwardStepper: {name} in values is not on the tape of this loss")
            self._tensors[link] = tensor
            self._names[link] = name

    def _arguments(self, node: Node) -> tuple[Argument, ...]:
        names = frames.parameter_names(node, self._vjps[node])
        return tuple(
            Argument(
                name, link, self.label(link) if link is not None else "no gradient wanted", shape, self.value(link)
            )
            for name, link, shape in zip(names, node.inputs, node.input_shapes, strict=True)
        )

    def is_named(self, link: Link) -> bool:
        """Whether a Node or leaf has a name of its own."""
        return link in self._names

    def label(self, link: Link) -> str:
        """The name of a leaf or result; "mul (op 3 of 7)" for a result that has none."""
        if link in self._names:
            return self._names[link]
        return f"{link.op} (op {self.nodes.index(link) + 1} of {len(self)})"  # type: ignore[union-attr, arg-type]

    def value(self, link: Link | None) -> Array | None:
        """The array of a leaf, of the loss or of a result in `values`; None where it is not known."""
        return self._tensors[link].data if link in self._tensors else None

    def __len__(self) -> int:
        """The number of vjps."""
        return len(self.nodes)

    def frame(self, position: int) -> Frame:
        """The state after `position` vjps, 0 to len(self). Raises IndexError outside."""
        if not 0 <= position <= len(self):
            raise IndexError(f"position {position}: the backward pass has positions 0 to {len(self)}")
        while len(self._frames) <= position:
            node = self.nodes[-len(self._frames)]  # newest first
            self._frames.append(frames.after_one_more(self._frames[-1], node, self._vjps[node], self.inputs[node]))
        return self._frames[position]

    def heading(self, position: int) -> str:
        """One line: which vjp runs."""
        node = self.frame(position).node or self.nodes[-1]
        return words.heading(self.frame(position), len(self), self.label(node), self.is_named(node))

    def details(self, position: int) -> str:
        """Cotangents in and out, saved arrays and source lines, as text of several lines."""
        return "\n".join(words.details(self.frame(position), self.portions, self.label))

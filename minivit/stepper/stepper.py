"""BackwardStepper: what `grad` does in one go, one vjp at a time."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from minivit.backend import Array
from minivit.backward import Node, first_cotangent
from minivit.stepper import frame as frames
from minivit.stepper import page, words
from minivit.stepper.drawing import Drawing, Strip
from minivit.stepper.frame import Argument, Frame, Link
from minivit.tape import saved_bytes, tape
from minivit.tensor import Tensor


class BackwardStepper:
    """Steps through the backward pass of `loss`. The tape stays as it is: `loss.backward()` still works.

    g: the cotangent of `loss`, 1 if left out; values: names for results and leaves, {"a": a, ...}; the arrays of these
    Tensors are shown, those of others, which the tape does not keep, are not. Position 0 is the start, position i the
    state after i vjps, `len(stepper)` the end, where the sums at the leaves equal `grad(loss, leaves)`.

    The vjps run when a position is first visited, each once. All cotangents and everything the vjps saved are kept as
    long as the stepper. Kernels of a GPU that add into their cotangent are asked not to: equal to rounding there.
    Raises ValueError if nothing was recorded, if the tape was used up, for a `g` of the wrong shape, and for a value
    that is not on the tape; TypeError for what is no Tensor.
    """

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
        self.position = 0
        self._drawing: Drawing | None = None

    def _name(self, loss: Tensor, values: Mapping[str, Tensor]) -> None:
        """Give a name to every leaf and to the results that have one."""
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

    def go_to(self, position: int) -> Frame:
        """Go to a position, 0 to len(self). Raises IndexError outside."""
        found = self.frame(position)
        self.position = position
        return found

    def forward(self) -> Frame:
        """Run the next vjp; at the end, stay."""
        return self.go_to(min(self.position + 1, len(self)))

    def back(self) -> Frame:
        """Undo the last vjp; at the start, stay."""
        return self.go_to(max(self.position - 1, 0))

    def heading(self, position: int) -> str:
        """One line: which vjp runs."""
        node = self.frame(position).node or self.nodes[-1]
        return words.heading(self.frame(position), len(self), self.label(node), self.is_named(node))

    def details(self, position: int) -> str:
        """Cotangents in and out, saved arrays and source lines, as text of several lines."""
        return "\n".join(words.details(self.frame(position), self.portions, self.label))

    def text(self, position: int | None = None) -> str:
        """The step at `position` (left out: the current one) as text."""
        position = self.position if position is None else position
        return f"{self.heading(position)}\n{self.details(position)}\n"

    @property
    def drawing(self) -> Drawing:
        """The graph with a place for every Node and leaf, made when first asked for."""
        if self._drawing is None:
            self._drawing = Drawing(self)
        return self._drawing

    def svg(self, position: int | None = None) -> str:
        """The step at `position` (left out: the current one): the graph, and the text below it."""
        return self.drawing.svg(self.position if position is None else position)

    def frames(self, positions: Iterable[int] | None = None) -> Strip:
        """Several steps side by side in one still picture; it shows where scripts and SVG are stripped.

        positions: left out, all of at most 8 steps, or 4 spread over a longer pass. Raises IndexError outside.
        """
        if positions is None:
            last = len(self)
            positions = range(last + 1) if last < 8 else [last * i // 3 for i in range(4)]
        chosen = list(positions)
        for position in chosen:
            self.frame(position)
        return Strip(self.drawing, chosen)

    def html(self) -> str:
        """All steps on one page with a slider, complete in itself. Where scripts do not run, pictures and texts."""
        return page.html(self)

    def show(self) -> Any:
        """A slider that moves this stepper, where ipywidgets is installed; else the stepper, which shows as `html`."""
        try:
            import ipywidgets
        except ImportError:
            return self
        slider = ipywidgets.IntSlider(self.position, 0, len(self), description="step")
        picture = ipywidgets.HTML(self.svg())

        def move(change: dict[str, Any]) -> None:
            self.go_to(change["new"])
            picture.value = self.svg()

        slider.observe(move, names="value")
        return ipywidgets.VBox([slider, picture])

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return self.text()

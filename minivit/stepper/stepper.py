"""BackwardStepper: `grad`, one vjp at a time."""

from collections.abc import Iterable, Mapping
from typing import Any

from minivit.backend import Array
from minivit.stepper import page
from minivit.stepper.drawing import Drawing, Strip
from minivit.stepper.frame import Frame
from minivit.stepper.walk import Walk
from minivit.tensor import Tensor


class BackwardStepper(Walk):
    """Steps through the backward pass of `loss`. The tape is unchanged: `loss.backward()` still works.

    g: the cotangent of `loss`, 1 if left out; values: names for results and leaves, {"a": a, ...}. The arrays of these
    Tensors are shown; the tape does not keep those of others. Position 0 is the start, position i the state after i
    vjps, `len(stepper)` the end, where the sums at the leaves equal `grad(loss, leaves)`.
    Each vjp runs once, when its position is first visited. All cotangents and everything the vjps saved are kept as
    long as the stepper. GPU kernels that add into their cotangent are switched off: equal up to rounding there.
    Raises ValueError if nothing was recorded, if the tape was used up, for a `g` of the wrong shape, and for a value
    that is not on the tape; TypeError for anything but a Tensor.
    """

    def __init__(self, loss: Tensor, g: Array | None = None, values: Mapping[str, Tensor] | None = None):
        super().__init__(loss, g, values)
        self.position = 0
        self._drawing: Drawing | None = None

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

    def text(self, position: int | None = None) -> str:
        """The step at `position` (left out: the current one) as text."""
        position = self.position if position is None else position
        return f"{self.heading(position)}\n{self.details(position)}\n"

    @property
    def drawing(self) -> Drawing:
        """The graph with a place for every Node and leaf, made on first use."""
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
        """All steps on one self-contained page with a slider. Where scripts do not run, pictures and texts."""
        return page.html(self.drawing, self.position)

    def show(self) -> Any:
        """A slider that moves this stepper, if ipywidgets is installed; else the stepper, which shows as `html`."""
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

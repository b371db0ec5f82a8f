"""Averages of the parameters over training, which often classify better than the last ones."""

import contextlib
from collections.abc import Iterator

from minivit.backend import Array
from minivit.optim.state import Parameters, ParameterState


class EMA(ParameterState):
    """Exponential moving average (Polyak averaging; 0.9999 in the paper's best ImageNet runs).

    average <- d average + (1 - d) p,  with d = min(decay, (1 + t) / (10 + t)) after t updates, so that the start of a
    short run is forgotten; `warm_up=False` gives the constant `decay`.
    """

    slots = ("average",)

    def __init__(self, parameters: Parameters, decay: float = 0.9999, warm_up: bool = True):
        super().__init__(parameters, lambda data: data.copy())
        self.decay = decay
        self.warm_up = warm_up

    @property
    def averages(self) -> list[Array]:
        """In the order of the parameters."""
        return self.state["average"]

    def update(self) -> None:
        """Move the averages towards the parameters as they are now."""
        d = self.next_decay()
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            average += (1 - d) * (parameter.data - average)

    def next_decay(self) -> float:
        """Count an update and return its d."""
        self.steps += 1
        return min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warm_up else self.decay

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """In this context the parameters hold the averages."""
        originals = [p.data for p in self.parameters]
        try:
            for parameter, average in zip(self.parameters, self.averages, strict=True):
                parameter.data = average
            yield
        finally:
            for parameter, data in zip(self.parameters, originals, strict=True):
                parameter.data = data

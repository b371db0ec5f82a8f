"""Averages of the parameters over training, which often classify better than the last ones."""

import contextlib
from collections.abc import Iterator

from minivit.backend import Array
from minivit.optim.optimizers import Parameters, copy_arrays
from minivit.protocol import named_leaves, state_keys


class EMA:
    """Exponential moving average (Polyak averaging; 0.9999 in the paper's best ImageNet runs).

    average <- d average + (1 - d) p,  with d = min(decay, (1 + t) / (10 + t)) after t updates, so that the start of a
    short run is forgotten; `warm_up=False` gives the constant `decay`.
    """

    def __init__(self, parameters: Parameters, decay: float = 0.9999, warm_up: bool = True):
        pairs = named_leaves(parameters, "EMA")
        self.names = [name for name, _ in pairs]
        self.parameters = [parameter for _, parameter in pairs]
        self.decay = decay
        self.warm_up = warm_up
        self.steps = 0
        self.averages = [p.data.copy() for p in self.parameters]

    def update(self) -> None:
        """Move the averages towards the parameters as they are now."""
        d = self.next_decay()
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            average += (1 - d) * (parameter.data - average)

    def next_decay(self) -> float:
        """Count an update, and return its d."""
        self.steps += 1
        return min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warm_up else self.decay

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Within this context the parameters hold the averages."""
        originals = [p.data for p in self.parameters]
        try:
            for parameter, average in zip(self.parameters, self.averages, strict=True):
                parameter.data = average
            yield
        finally:
            for parameter, data in zip(self.parameters, originals, strict=True):
                parameter.data = data

    def state_dict(self) -> dict[str, Array | int]:
        """The number of updates and the averages by parameter name or number."""
        keys = state_keys(self.names)
        return {"steps": self.steps, **{f"average/{k}": a for k, a in zip(keys, self.averages, strict=True)}}

    def load_state_dict(self, state: dict[str, Array | int]) -> None:
        """Restore what `state_dict` returned, bit for bit.

        Raises KeyError for a missing entry, ValueError for one of another shape; then nothing has been changed.
        """
        keys = [f"average/{key}" for key in state_keys(self.names)]
        steps = int(state["steps"])
        copy_arrays([state[key] for key in keys], self.averages, keys)
        self.steps = steps

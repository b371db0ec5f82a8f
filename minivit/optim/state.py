"""Shared by optimisers and averages: parameters by name, and arrays kept for each of them."""

from collections.abc import Callable, Iterable, Sequence

from minivit.backend import Array
from minivit.backend.arrays import asarray_like
from minivit.protocol import named_leaves, state_keys
from minivit.tensor import Tensor

Parameters = Iterable[Tensor | tuple[str, Tensor]]


class ParameterState:
    """Parameters by name, the number of updates, and for every slot an array beside each parameter.

    parameters: Tensors, or (name, Tensor) pairs such as `model.named_parameters()`; initial: makes the first array of a
    slot from a parameter's data. Raises the errors of `named_leaves` for other parameters.
    """

    slots: tuple[str, ...] = ()  # names of what is kept

    def __init__(self, parameters: Parameters, initial: Callable[[Array], Array]):
        pairs = named_leaves(parameters, type(self).__name__)
        self.names = [name for name, _ in pairs]
        self.parameters = [parameter for _, parameter in pairs]
        self.steps = 0
        self.state = {slot: [initial(p.data) for p in self.parameters] for slot in self.slots}

    def state_dict(self) -> dict[str, Array | int]:
        """The number of updates and every array (itself, not a copy), as "slot/parameter name or number"."""
        keys = state_keys(self.names)
        arrays = {f"{slot}/{key}": a for slot in self.slots for key, a in zip(keys, self.state[slot], strict=True)}
        return {"steps": self.steps, **arrays}

    def load_state_dict(self, state: dict[str, Array | int]) -> None:
        """Restore what `state_dict` returned, bit for bit.

        Raises KeyError for a missing entry, ValueError for one of another shape; then nothing has been changed.
        """
        keys = [f"{slot}/{key}" for slot in self.slots for key in state_keys(self.names)]
        targets = [target for slot in self.slots for target in self.state[slot]]
        steps = int(state["steps"])
        _copy([state[key] for key in keys], targets, keys)
        self.steps = steps


def _copy(sources: Sequence[Array], targets: Sequence[Array], names: Sequence[str]) -> None:
    """Copy each source into its target. Raises ValueError for another shape; then nothing has been copied."""
    for source, target, name in zip(sources, targets, names, strict=True):
        if source.shape != target.shape:
            raise ValueError(f"load_state_dict: {name} has shape {source.shape}, expected {target.shape}")
    for source, target in zip(sources, targets, strict=True):
        target[...] = asarray_like(source, target)

"""Factors on learning rate and weight decay for single parameters."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from minivit.errors import meant
from minivit.optim.schedules import Schedule
from minivit.tensor import Tensor

Rates = Mapping[str, float | Schedule] | Callable[[str], float | Schedule]


def factors(rates: Rates | None, names: Sequence[str]) -> list[float | Schedule]:
    """The factor of each parameter, a number or a schedule: 1 for a name missing from a mapping.

    While a factor is 0, the moments of a parameter are still updated. DINO's published code, which holds the last layer
    for an epoch, gives it no gradient then, so its moments begin later.
    Raises ValueError for a number that is negative or not finite, and for an unknown name.
    """
    if rates is not None and not callable(rates):
        for name in rates:
            if name not in names:
                raise ValueError(f'rates: no parameter that learns is called "{name}"{meant(name, names)}')
    of = rates if callable(rates) else lambda name: (rates or {}).get(name, 1.0)
    found = [of(name) for name in names]
    for name, factor in zip(names, found, strict=True):
        if not callable(factor) and not 0 <= factor < math.inf:
            raise ValueError(f"rates: {factor} for {name}, expected a number of 0 or more")
    return found


def layer_rates(names: Iterable[str], layer_of: Callable[[str], int], decay: float) -> dict[str, float]:
    """Layer-wise decay of the learning rate: `decay` ** (last layer - layer) for every name.

    layer_of: 0 for embeddings, l for block l, counted from 1, and depth + 1 for all that follows, whose factor is 1.
    BEiT and MAE fine-tune in this way. Since the rate also multiplies the weight decay, that shrinks with it.
    """
    layers = {name: layer_of(name) for name in names}
    last = max(layers.values(), default=0)
    return {name: decay ** (last - layer) for name, layer in layers.items()}


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether it has two axes or more: the parameters that decay in CLIP and DINO, including embedding tables."""
    return parameter.ndim >= 2

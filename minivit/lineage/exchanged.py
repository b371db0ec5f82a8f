"""A trained ViT with another attention, for comparisons of both on the same weights."""

import dataclasses
from typing import Any

from minivit.models import ViT
from minivit.models.families import Family


def from_vit(model: ViT, family: Family, seed: int = 0, **fields: Any) -> Any:
    """A network of `family` whose configuration is a ViT's with more `fields`, with the weights of a trained ViT. What
    the ViT does not have, such as random directions, is drawn from the seed."""
    dtype = str(model.first_array().dtype)
    made = family.network(family.config(**dataclasses.asdict(model.config), **fields), seed, dtype)
    made.load_state_dict(made.state_dict() | model.state_dict())
    return made

"""ViTs with another attention: what it cannot keep of a ViT's, and a trained ViT that gets it."""

import dataclasses
from typing import Any

from minivit.errors import ConfigError
from minivit.models import ViT, ViTConfig
from minivit.models.families import Family


def only_plain(config: ViTConfig, name: str) -> None:
    """Raise ConfigError for a ViT whose attention has a part that the attention called `name` does not have."""
    if config.attention_dropout:
        raise ConfigError(f"attention_dropout: the attention of {name} has no dropout of weights; set it to 0")
    if config.position in ("relative", "rope"):
        raise ConfigError(f"position {config.position} is a part of the usual attention, which {name} replaces")


def from_vit(model: ViT, family: Family, seed: int = 0, **fields: Any) -> Any:
    """A network of `family` whose configuration is a ViT's with more `fields`, with the weights of a trained ViT. What
    the ViT does not have, such as random directions, is drawn from the seed."""
    dtype = str(model.first_array().dtype)
    made = family.network(family.config(**dataclasses.asdict(model.config), **fields), seed, dtype)
    made.load_state_dict(made.state_dict() | model.state_dict())
    return made

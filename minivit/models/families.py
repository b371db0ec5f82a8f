"""The families of models by name, with one interface for recipes and commands. Higher packages add theirs to
`FAMILIES`."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from minivit.errors import ConfigError, meant, shown
from minivit.files.fields import from_json
from minivit.models.config import ViTConfig, variant_fields
from minivit.models.resnet import ResNet, ResNetConfig, resnet_fields
from minivit.models.vit import ViT


@runtime_checkable
class ModelConfig(Protocol):
    """The interface of every model's configuration, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def channels(self) -> int: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...  # with the width, what an image costs: batches are cut by it
    @property
    def description(self) -> str: ...


class Family(NamedTuple):
    """config: the class of its configurations. network(config, seed, dtype): builds a model, `Module`.

    names, fields: a pattern of the names of its variants, such as "R50x1", and a function from a name to its fields.
    """

    config: type[Any]
    network: Callable[[Any, int | None, str], Any]
    names: str | None = None
    fields: Callable[[str], dict[str, Any]] | None = None


FAMILIES = {"vit": Family(ViTConfig, ViT), "resnet": Family(ResNetConfig, ResNet, r"R[^/]*", resnet_fields)}


def family_of(fields: Mapping[str, Any]) -> str:
    """The name of the family of these fields, from a preset or a config.json. Without a `name` it is the ViT, or, as in
    older files with `units`, the ResNet. Raises ConfigError for an unknown name."""
    name = fields.get("name", "resnet" if "units" in fields else "vit")
    if isinstance(name, str) and name in FAMILIES:
        return name
    known = ", ".join(FAMILIES)
    likely = meant(name, FAMILIES) if isinstance(name, str) else ""
    raise ConfigError(f"unknown model {shown(json.dumps(name))}, expected one of {known}{likely}")


def config_class(fields: Mapping[str, Any]) -> type[Any]:
    """The configuration class of these fields, from a preset or a config.json."""
    return FAMILIES[family_of(fields)].config


def config_of(fields: Mapping[str, Any], source: str) -> ModelConfig:
    """The configuration with these fields, as written by `mapping`. Raises ConfigError, naming the source, for unknown
    or invalid fields."""
    try:
        known = config_class(fields)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return known(**from_json(known, {name: value for name, value in fields.items() if name != "name"}, source))


def mapping(config: ModelConfig) -> dict[str, Any]:
    """The fields of a configuration, and the name of its family."""
    return {"name": name_of(config), **dataclasses.asdict(config)}


def named_fields(name: str) -> dict[str, Any]:
    """The fields and family for the name of a model: "B/16" and "R50+B/16" are ViTs, "R50x1" a ResNet."""
    for key, (_, _, names, fields) in FAMILIES.items():
        if names and fields and re.fullmatch(names, name):
            return {"name": key, **fields(name)}
    return {"name": "vit", **variant_fields(name)}


def name_of(config: ModelConfig) -> str:
    """The name of the family of a configuration."""
    return next(name for name, family in FAMILIES.items() if family.config is type(config))


def build(config: ModelConfig, seed: int | None = 0, dtype: str = "float32") -> Any:
    """The model of a configuration."""
    return FAMILIES[name_of(config)].network(config, seed, dtype)

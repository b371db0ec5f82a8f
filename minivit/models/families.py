"""The two families of models behind one door, for recipes and commands: `ViT` (hybrids included) and `ResNet`."""

from collections.abc import Mapping
from typing import Any

from minivit.models.config import ViTConfig, variant_fields
from minivit.models.resnet import ResNet, ResNetConfig, resnet_fields
from minivit.models.vit import ViT

ModelConfig = ViTConfig | ResNetConfig


def config_class(fields: Mapping[str, Any]) -> type[ViTConfig] | type[ResNetConfig]:
    """The class that fields, from a preset or a config.json, belong to: `units` are a ResNet's."""
    return ResNetConfig if "units" in fields else ViTConfig


def named_fields(name: str) -> dict[str, Any]:
    """The fields that the name of a model stands for: "B/16" and "R50+B/16" are ViTs, "R50x1" a ResNet."""
    return resnet_fields(name) if "/" not in name and name.startswith("R") else variant_fields(name)


def build(config: ModelConfig, seed: int | None = 0, dtype: str = "float32") -> ViT | ResNet:
    """The model of a configuration."""
    return ResNet(config, seed, dtype) if isinstance(config, ResNetConfig) else ViT(config, seed, dtype)

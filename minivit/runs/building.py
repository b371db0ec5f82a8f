"""Builds the optimiser and the update of a run from its recipe."""

from typing import Any

from minivit import lineage
from minivit.backend.precision import require
from minivit.backend.workers import Workers
from minivit.data import Dataset
from minivit.errors import ConfigError, DataError
from minivit.models import ViT
from minivit.models.depths import layer_of
from minivit.nn import Module
from minivit.optim import EMA, SGD, AdamW, cosine, layer_rates, warmup_cosine, warmup_linear
from minivit.optim.schedules import Schedule
from minivit.ranks import Ranks
from minivit.runs.numerics import accumulation
from minivit.runs.recipes import Recipe
from minivit.update.device import DeviceStep
from minivit.update.host import HostStep
from minivit.update.objective import Objective


def make_optimizer(recipe: Recipe, objective: Objective, total_steps: int) -> AdamW | SGD:
    """The optimiser and schedules of a recipe, with the additions of its objective."""
    warmup = round(recipe.warmup * total_steps)
    lr: float | Schedule = recipe.lr
    if recipe.schedule == "cosine":
        lr = warmup_cosine(recipe.lr, total_steps, warmup)
    elif recipe.schedule == "linear":
        lr = warmup_linear(recipe.lr, total_steps, warmup, final_lr=0.0)
    parameters, options = objective.named_parameters(), dict(objective.optimizer_options(total_steps))
    if layers := layerwise(recipe, objective):
        options["rates"] = {**layers, **options.get("rates", {})}
    weight_decay: float | Schedule = recipe.weight_decay
    if recipe.final_weight_decay is not None:
        weight_decay = cosine(recipe.weight_decay, recipe.final_weight_decay, total_steps)
    if recipe.optimizer == "sgd":
        return SGD(parameters, lr, recipe.momentum, weight_decay, **options)
    return AdamW(parameters, lr, (0.9, recipe.beta2), weight_decay=weight_decay, **options)


def layerwise(recipe: Recipe, model: Module) -> dict[str, float] | None:
    """The factor on each parameter's learning rate by its layer in the encoder; 1 for everything after the encoder.
    Raises ConfigError for an encoder whose layers cannot be counted."""
    if recipe.layer_decay is None:
        return None
    encoder = getattr(model, "learner", model)
    if not isinstance(encoder, ViT):
        raise ConfigError(f"layer_decay is for Vision Transformers, but the encoder is a {type(encoder).__name__}")
    layers = {id(tensor): layer_of(name, encoder.config) for name, tensor in encoder.named_parameters()}
    last = encoder.config.depth + 1
    found = {name: layers.get(id(tensor), last) for name, tensor in model.named_parameters()}
    return layer_rates(found, found.__getitem__, recipe.layer_decay)


def make_update(
    recipe: Recipe,
    objective: Objective,
    optimizer: AdamW | SGD,
    ema: EMA | None,
    workers: Workers,
    ranks: Ranks | None = None,
) -> HostStep | DeviceStep:
    """The update: on a GPU a DeviceStep; on a CPU, in float64 or with the reference kernels, `step`."""
    accumulate = accumulation(recipe, objective.tokens, ranks.count if ranks else 1)
    if recipe.backend != "cupy" or recipe.kernels != "fused" or recipe.dtype != "float32":
        return HostStep(objective, optimizer, recipe.clip_norm, ema, accumulate, workers, ranks)
    require(recipe.precision)  # here, before anything is written
    return DeviceStep(objective, optimizer, recipe.clip_norm, ema, accumulate, recipe.graph, ranks)


def recompute(module: Any, on: bool) -> None:
    """Tell every model in a module whether its blocks recompute their forward pass."""
    if hasattr(module, "recompute_blocks"):
        module.recompute_blocks = on
    for _, child in module.named_children():
        recompute(child, on)


def check_fits(recipe: Recipe, data: Dataset) -> None:
    """Raise DataError unless the data fits the model: channels and, if the objective reads labels, number of
    classes."""
    model = recipe.model
    if "labels" not in lineage.columns(recipe.objective):
        if model.channels != data.channels:
            raise DataError(f"{data.name} has {data.channels} channels, the model {model.channels}")
    elif (model.channels, model.num_classes) != (data.channels, len(data.classes)):
        raise DataError(
            f"{data.name} has {len(data.classes)} classes and {data.channels} channels, "
            f"the model {model.num_classes} classes and {model.channels} channels"
        )

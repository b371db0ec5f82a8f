"""Updating parameters: optimisers, schedules, rates of single parameters, gradient clipping, averages."""

from minivit.optim.ema import EMA
from minivit.optim.gradients import clip_by_global_norm, global_norm
from minivit.optim.optimizers import SGD, AdamW
from minivit.optim.rates import layer_rates
from minivit.optim.schedules import cosine, warmup_cosine, warmup_linear

__all__ = [
    "EMA",
    "SGD",
    "AdamW",
    "clip_by_global_norm",
    "cosine",
    "global_norm",
    "layer_rates",
    "warmup_cosine",
    "warmup_linear",
]

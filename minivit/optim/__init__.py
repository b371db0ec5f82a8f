"""What changes parameters: optimisers, learning-rate schedules, gradient clipping, averages."""

from minivit.optim.ema import EMA
from minivit.optim.gradients import clip_by_global_norm, global_norm
from minivit.optim.optimizers import SGD, AdamW
from minivit.optim.schedules import warmup_cosine, warmup_linear

__all__ = ["EMA", "SGD", "AdamW", "clip_by_global_norm", "global_norm", "warmup_cosine", "warmup_linear"]

"""The learning rate as a function of the step (q5)."""

import math


def rate(step, kind, base_lr, total_steps, warmup_steps, final_lr):
    """The learning rate of update `step`, counted from 0.   kind: "cosine" or "linear"."""
    # BEGIN SOLUTION q5
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    progress = min(1.0, max(0.0, progress))
    left = (1 + math.cos(math.pi * progress)) / 2 if kind == "cosine" else 1 - progress
    lr = final_lr + (base_lr - final_lr) * left
    if warmup_steps > 0:
        lr *= min(1.0, step / warmup_steps)
    return lr
    # END SOLUTION

"""Learning rates, and other numbers, as functions of the step number, which counts updates from 0."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def warmup_cosine(base_lr: float, total_steps: int, warmup_steps: int = 0, final_lr: float = 0.0) -> Schedule:
    """Linear warm-up from 0 over `warmup_steps`, then half a cosine from `base_lr` to `final_lr` at `total_steps`.

    As published (google-research/vision_transformer, utils.create_learning_rate_schedule): the first update has rate
    0 when there is a warm-up, and the last, step total_steps - 1, is still above `final_lr`.
    """
    return _with_warmup(
        lambda progress: final_lr + (base_lr - final_lr) * 0.5 * (1 + math.cos(math.pi * progress)),
        total_steps,
        warmup_steps,
    )


def warmup_linear(base_lr: float, total_steps: int, warmup_steps: int = 0, final_lr: float = 1e-5) -> Schedule:
    """Linear warm-up from 0 over `warmup_steps`, then a straight line from `base_lr` to `final_lr` at `total_steps`.

    The published code ends at 1e-5, big_vision at 0.
    """
    return _with_warmup(lambda progress: final_lr + (base_lr - final_lr) * (1 - progress), total_steps, warmup_steps)


def cosine(start: float, end: float, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """Half a cosine from `start` to `end` at `total_steps`, after a line from 0 that reaches `start` in its last step:
    DINO's learning rate, weight decay and teacher momentum."""
    _check(total_steps, warmup_steps)

    def value(step: int) -> float:
        if step < warmup_steps:
            return start * (step / max(1, warmup_steps - 1))
        i, count = min(step, total_steps) - warmup_steps, max(1, total_steps - warmup_steps)
        return end + 0.5 * (start - end) * (1 + math.cos(math.pi * i / count))

    return value


def at(value: float | Schedule, step: int) -> float:
    """A schedule's value at a step, or a number as it is, as a Python float: NumPy's would widen float32."""
    return float(value(step) if callable(value) else value)


def _with_warmup(decay: Callable[[float], float], total_steps: int, warmup_steps: int) -> Schedule:
    _check(total_steps, warmup_steps)

    def lr(step: int) -> float:
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        rate = decay(min(max(progress, 0.0), 1.0))
        return rate * min(1.0, step / warmup_steps) if warmup_steps else rate

    return lr


def _check(total_steps: int, warmup_steps: int) -> None:
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"schedule: {warmup_steps} warm-up steps do not fit into {total_steps} steps")

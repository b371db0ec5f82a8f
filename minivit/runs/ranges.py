"""The allowed values of each field of a Recipe."""

import sys
import typing
from typing import Any

from minivit.backend.precision import PRECISIONS
from minivit.errors import ConfigError, shown

CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "linear", "constant"),
    "loss": ("softmax", "sigmoid"),
    "precision": PRECISIONS,
    "backend": ("numpy", "cupy", "auto"),
    "kernels": ("fused", "reference"),
    "bad_images": ("refuse", "skip"),
    "resize": ("squash", "crop"),
}

MOST = 10**12  # of anything counted
LARGEST_FLOAT = sys.float_info.max  # whole numbers may be larger

RANGES: tuple[tuple[tuple[str, ...], typing.Callable[[float], bool], str], ...] = (
    (
        ("batch_size", "accumulate", "workers", "eval_every", "checkpoint_every", "limit", "steps", "patience"),
        lambda x: 1 <= x <= MOST,
        "at least 1 (and less than 1e12)",
    ),
    (("epochs",), lambda x: 0 < x <= MOST, "a positive number (and less than 1e12)"),
    (("lr",), lambda x: 0 < x <= LARGEST_FLOAT, "a positive number"),
    (
        ("clip_norm", "weight_decay", "final_weight_decay", "mixup", "cutmix"),
        lambda x: 0 <= x <= LARGEST_FLOAT,
        "0 or more",
    ),
    (("crop_padding",), lambda x: 0 <= x <= MOST, "0 or more pixels"),
    (("seed", "val_seed"), lambda x: x >= 0, "0 or more"),
    (("layer_decay",), lambda x: 0 < x <= 1, "more than 0 and at most 1"),
    (("val_share",), lambda x: 0 < x < 1, "more than 0 and less than 1"),
    (("warmup", "label_smoothing", "momentum", "beta2", "ema"), lambda x: 0 <= x < 1, "0 or more and less than 1"),
)


def check_values(recipe: Any) -> None:
    """Raise ConfigError, naming the field, for a value out of range."""
    for field, choices in CHOICES.items():
        if getattr(recipe, field) not in choices:
            raise ConfigError(f'{field} is "{getattr(recipe, field)}", expected one of {", ".join(choices)}')
    for fields, fits, expected in RANGES:
        for field in fields:
            value = getattr(recipe, field)
            if value is not None and not fits(value):
                raise ConfigError(f"{field} is {shown(value)}, expected {expected}")

"""Checks that several configurations of models share. Each raises ConfigError, in one line."""

import math
from collections.abc import Iterable
from typing import Any

from minivit.errors import ConfigError, shown


def at_least(record: Any, least: int, *names: str) -> None:
    """Fields that are numbers of this size or larger; with `least` 0 None is fine, too."""
    for name in names:
        value = getattr(record, name)
        if (value or 0) < least:
            raise ConfigError(f"{name} is {value}, expected {f'at least {least}' if least else '0 (for none) or more'}")


def leaves_width(ratio: float, width: int) -> None:
    """An MLP that is `ratio` times as wide as its input."""
    if ratio * width < 1:
        raise ConfigError(f"mlp_ratio {ratio} leaves no width for an MLP on {width} features")


def one_of(record: Any, **choices: Iterable[str]) -> None:
    """Fields with one of a few values, such as gelu=("tanh", "erf")."""
    for name, known in choices.items():
        if getattr(record, name) not in known:
            raise ConfigError(f'{name} is "{shown(getattr(record, name))}", expected one of {", ".join(known)}')


def rates(record: Any, *names: str) -> None:
    """Fields that are shares below 1, as of dropout."""
    for name in names:
        if not 0 <= getattr(record, name) < 1:
            raise ConfigError(f"{name} is {getattr(record, name)}, expected 0 <= rate < 1")


def epsilon(record: Any, *names: str) -> None:
    """Fields that norms add to a variance; norm_eps if none is named."""
    for name in names or ("norm_eps",):
        if not 0 < getattr(record, name) < 1:
            raise ConfigError(f"{name} is {getattr(record, name)}, expected 0 < {name} < 1")


def positive(record: Any, *names: str, **otherwise: str) -> None:
    """Fields that are positive, or None where their type allows it.   otherwise: what None stands for, such as
    layer_scale="none"."""
    for name in (*names, *otherwise):
        value, also = getattr(record, name), f", or None for {otherwise[name]}" if name in otherwise else ""
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value}, expected a positive number{also}")


def heads_divide(width: int, heads: int) -> None:
    """Heads of equal width."""
    if width % heads:
        raise ConfigError(f"{heads} heads do not divide width {width}")


def patches_tile(
    image_size: tuple[int, int], patch_size: tuple[int, int], what: str = "image size", times: int = 1
) -> None:
    """Patches that tile an image, or a map that is `times` smaller than its image."""
    (height, width), (down, across) = image_size, patch_size
    if height % down or width % across:
        raise ConfigError(
            f"patch size {down}x{across} does not divide {what} {height}x{width}; the nearest image size that "
            f"fits is {times * _nearest(height, down)}x{times * _nearest(width, across)}"
        )


def frames_share(channels: int, frames: int) -> None:
    """Images whose channels are those of all frames of a clip."""
    if channels % frames:
        raise ConfigError(
            f"images of {channels} channels are not {frames} frames; in colour, set frames to {max(1, channels // 3)}"
        )


def _nearest(size: int, patch: int) -> int:
    return max(patch, round(size / patch) * patch)

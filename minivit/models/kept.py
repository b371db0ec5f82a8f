"""Constant tables, such as angles of positions, made once and kept on the device that uses them."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.backend import Array, xp_of


def kept(function: Callable[..., np.ndarray], *arguments: Any, like: Array) -> Array:
    """The table function(*arguments), in its own dtype, on the device of `like`. It stays there for good: a step that
    is recorded on a GPU can copy nothing from the host. The arguments must be hashable."""
    xp = xp_of(like)
    return _kept(function, arguments, xp, 0 if xp is np else xp.cuda.Device().id)


@functools.cache
def _kept(function: Callable[..., np.ndarray], arguments: tuple[Any, ...], xp: Any, device: int) -> Array:
    return xp.asarray(function(*arguments))

"""Arrays, devices and the table of kernels. Nothing here is differentiable."""

from minivit.backend import numpy_convolution, numpy_kernels  # noqa: F401  (registers the CPU kernels)
from minivit.backend.arrays import (
    Array,
    asarray,
    get_namespace,
    is_array,
    register_array_type,
    to_numpy,
    xp_of,
)
from minivit.backend.kernels import kernels

__all__ = [
    "Array",
    "asarray",
    "get_namespace",
    "is_array",
    "kernels",
    "register_array_type",
    "to_numpy",
    "xp_of",
]

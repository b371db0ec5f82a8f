"""Arrays, devices and the table of kernels. Nothing here is differentiable."""

import warnings

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

# On some Macs the matrix library leaves floating-point flags behind that mean nothing (numpy/numpy#28687), and NumPy
# warns of each. So flags of products made in here are not believed; minivit.finite finds true NaN and infinity.
FALSE_ALARM = r".*encountered in (matmul|matvec|vecmat|\w*dot|inner|einsum)$"
warnings.filterwarnings("ignore", FALSE_ALARM, RuntimeWarning, r"(minivit|numpy)\b")

__all__ = [
    "FALSE_ALARM",
    "Array",
    "asarray",
    "get_namespace",
    "is_array",
    "kernels",
    "register_array_type",
    "to_numpy",
    "xp_of",
]

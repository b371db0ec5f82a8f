"""Arrays, devices and the table of kernels. Nothing here is differentiable."""

import warnings

from minivit.backend import (  # noqa: F401  (each registers CPU kernels)
    numpy_attend,
    numpy_convolution,
    numpy_gather,
    numpy_kernels,
    numpy_rms_norm,
)
from minivit.backend.arrays import (
    Array,
    is_array,
    register_array_type,
    to_numpy,
    xp_of,
)
from minivit.backend.blas import FALSE_ALARM
from minivit.backend.devices import asarray, get_namespace
from minivit.backend.kernels import kernels

# Flags of products made in here are not believed; minivit.update.not_finite finds true NaN and infinity.
warnings.filterwarnings("ignore", FALSE_ALARM, RuntimeWarning, r"(minivit|numpy)\b")

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

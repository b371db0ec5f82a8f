"""Kernels for CuPy arrays: ops in CUDA C and through cuBLASLt, each with the contract and formulas of its op.

They work in float32 and bfloat16, and return NotImplemented for anything else (float64), where the op itself runs.
"""

from typing import Any

from minivit.backend.cupy_kernels import (  # noqa: F401  (each fills the table)
    attend,
    attention,
    convolution,
    gather,
    linear,
    resizing,
    rows,
)
from minivit.backend.cupy_kernels.table import KERNELS
from minivit.backend.kernels import register as register_kernel


def register(cupy: Any) -> None:
    """Enter the kernels into the table, for arrays of the module `cupy`."""
    for (op_name, vjp), kernel in KERNELS.items():
        register_kernel(op_name, cupy.ndarray, vjp)(kernel)

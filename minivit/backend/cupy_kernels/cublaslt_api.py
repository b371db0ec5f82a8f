"""The part of cuBLASLt's C interface that is used: numbers, structures and functions.

As in NVIDIA's headers cublasLt.h, cublas_api.h and library_types.h, with which a test compares them.
"""

import ctypes
from ctypes import c_char_p, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

SUCCESS, ALLOC_FAILED, NOT_SUPPORTED = 0, 3, 15  # cublasStatus_t
DATA_TYPE = {"float32": 0, "float64": 1, "bfloat16": 14}  # cudaDataType
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77  # cublasComputeType_t
OP_T = 1  # cublasOperation_t; not transposed is the default
DESC_TRANSA, DESC_TRANSB, DESC_EPILOGUE, DESC_BIAS_POINTER = 3, 4, 7, 8  # cublasLtMatmulDescAttributes_t
EPILOGUE_BIAS = 4  # cublasLtEpilogue_t
LAYOUT_BATCH_COUNT, LAYOUT_STRIDED_BATCH_OFFSET = 5, 6  # cublasLtMatrixLayoutAttribute_t
PREF_MAX_WORKSPACE_BYTES = 1  # cublasLtMatmulPreferenceAttributes_t
PREF_MIN_ALIGNMENT_BYTES = (5, 6, 7, 8)  # of A, B, C, D


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t."""

    _fields_ = (("data", c_uint64 * 8),)


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: one proposed algorithm."""

    _fields_ = (
        ("algo", Algorithm),
        ("workspaceSize", c_size_t),
        ("state", c_int),
        ("wavesCount", c_float),
        ("reserved", c_int * 4),
    )


SET_ATTRIBUTE = (c_void_p, c_int, c_void_p, c_size_t)  # object, attribute, address of the value, its size
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cublasLtCreate": (c_void_p,),
    "cublasLtMatmulDescCreate": (c_void_p, c_int, c_int),
    "cublasLtMatmulDescSetAttribute": SET_ATTRIBUTE,
    "cublasLtMatmulDescDestroy": (c_void_p,),
    "cublasLtMatrixLayoutCreate": (c_void_p, c_int, c_uint64, c_uint64, c_int64),
    "cublasLtMatrixLayoutSetAttribute": SET_ATTRIBUTE,
    "cublasLtMatrixLayoutDestroy": (c_void_p,),
    "cublasLtMatmulPreferenceCreate": (c_void_p,),
    "cublasLtMatmulPreferenceSetAttribute": SET_ATTRIBUTE,
    "cublasLtMatmulPreferenceDestroy": (c_void_p,),
    "cublasLtMatmulAlgoGetHeuristic": (*(c_void_p,) * 7, c_int, c_void_p, c_void_p),
    "cublasLtMatmul": (*(c_void_p,) * 14, c_size_t, c_void_p),
    "cublasLtGetStatusName": (c_int,),
    "cublasLtGetVersion": (),
}
# All other functions return a status, a c_int.
RESULTS: dict[str, Any] = {"cublasLtGetStatusName": c_char_p, "cublasLtGetVersion": c_size_t}

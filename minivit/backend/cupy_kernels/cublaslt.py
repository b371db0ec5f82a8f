"""cuBLASLt through ctypes: D = alpha op(A) op(B) + beta D (+ bias), all matrices column-major, on a given stream.

All its unsafe parts (addresses, C types, descriptors) are in this file; `product` decides what to compute. CuPy
wraps only the older cuBLAS, and refuses to call even that while a CUDA graph is being captured. These calls may be
captured: after the first call of a problem on a stream nothing is allocated.
"""

import contextlib
import ctypes
import functools
import importlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

from minivit.backend.arrays import Array
from minivit.backend.cupy_kernels import cublaslt_api as api
from minivit.errors import BackendError

WORKSPACE_BYTES = 32 << 20  # what NVIDIA recommends for Hopper
CANDIDATES = 8  # how many algorithms are asked for
SLOWER = "products go through CuPy, which is slower"


class Matrix(NamedTuple):
    """A batch of column-major matrices as they lie in memory; sizes in elements, `alignment` of addresses in bytes."""

    dtype: str
    rows: int
    columns: int
    leading: int
    batch_stride: int
    alignment: int


class Problem(NamedTuple):
    """`batch` products d = op(a) op(b): everything that the choice of an algorithm depends on."""

    a: Matrix
    b: Matrix
    d: Matrix
    transpose_a: bool
    transpose_b: bool
    batch: int
    tf32: bool
    bias_alignment: int | None  # of the address of a bias of d's dtype, one value per row of d; None: there is no bias

    def __str__(self) -> str:
        """In the order of rows and columns that the caller, being row-major, knows."""
        inner = self.a.rows if self.transpose_a else self.a.columns
        return (
            f"{self.batch} products ({self.d.columns}, {inner}) x ({inner}, {self.d.rows}), "
            f"{self.a.dtype} to {self.d.dtype}" + " in TF32" * self.tf32 + " + bias" * (self.bias_alignment is not None)
        )


class CublasLt:
    """The loaded library with what it needs on each device: one handle, one workspace per stream.

    functions: the ctypes library, or anything with the same functions. `plans` is filled by `product`; it refers to
    descriptors of this library and lives as long as it.
    """

    def __init__(self, functions: Any):
        for name, arguments in api.PROTOTYPES.items():
            function = getattr(functions, name)
            function.argtypes, function.restype = arguments, api.RESULTS.get(name, c_int)
        self.functions = functions
        self.plans: dict[Any, Any] = {}
        self._handles: dict[int, c_void_p | None] = {}
        self._workspaces: dict[tuple[int, int], Array] = {}

    def call(self, name: str, *arguments: Any, about: object) -> None:
        """Call a function of the library; BackendError, with the text of `about`, unless it returns success."""
        status = getattr(self.functions, name)(*arguments)
        if status != api.SUCCESS:
            raise BackendError(f"{name} failed with {self.status_name(status)}: {about}")

    def status_name(self, status: int) -> str:
        """Such as "CUBLAS_STATUS_INVALID_VALUE"."""
        return self.functions.cublasLtGetStatusName(status).decode()

    def handle(self, device: int) -> c_void_p | None:
        """The handle of a device, which must be the current one; None, after one warning, if it can have none."""
        if device not in self._handles:
            handle = c_void_p()
            status = self.functions.cublasLtCreate(byref(handle))
            if status == api.ALLOC_FAILED:  # may succeed when there is more memory
                raise BackendError(f"cublasLtCreate failed with {self.status_name(status)}")
            self._handles[device] = handle if status == api.SUCCESS else None
            if status != api.SUCCESS:
                warnings.warn(f"cuBLASLt does not start ({self.status_name(status)}): {SLOWER}", stacklevel=2)
        return self._handles[device]

    def workspace(self, xp: Any, device: int, stream: int) -> int:
        """The address of the scratch memory of a stream.

        Products on one stream run one after the other, so that they can share it; those of two streams cannot. It is
        kept until `release`, since captured graphs refer to it: replay a graph on the stream that it was captured on.
        """
        if (device, stream) not in self._workspaces:
            with xp.cuda.using_allocator(xp.get_default_memory_pool().malloc):  # whoever happens to be the first
                self._workspaces[device, stream] = xp.empty(WORKSPACE_BYTES, dtype="uint8")
        return self._workspaces[device, stream].data.ptr

    def release(self, device: int, stream: int) -> None:
        """Free the scratch memory of a stream that is no longer used."""
        self._workspaces.pop((device, stream), None)

    def prepare(self, problem: Problem, device: int) -> "Matmul | None":
        """The problem ready to run on a device that has a handle, or None if cuBLASLt has no algorithm for it."""
        handle = self.handle(device)
        assert handle is not None
        matmul = Matmul(self, handle, problem)
        if matmul.algorithms:
            return matmul
        matmul.close()
        return None


class Matmul:
    """One problem with its descriptors, kept for as long as it may be run again.

    algorithms: those that can compute it, the one expected to be fastest first; `algorithm` is the one used.
    """

    def __init__(self, library: CublasLt, handle: c_void_p, problem: Problem):
        self.problem = problem
        self._library, self._handle = library, handle
        self._lock = threading.Lock()
        double = problem.a.dtype == "float64"
        self._scalar = ctypes.c_double if double else c_float  # the type of alpha and beta
        compute = api.COMPUTE_64F if double else api.COMPUTE_32F_FAST_TF32 if problem.tf32 else api.COMPUTE_32F
        self._description = self._create("MatmulDesc", compute, api.DATA_TYPE["float64" if double else "float32"])
        if problem.transpose_a:
            self._set("MatmulDesc", self._description, api.DESC_TRANSA, c_int32(api.OP_T))
        if problem.transpose_b:
            self._set("MatmulDesc", self._description, api.DESC_TRANSB, c_int32(api.OP_T))
        if problem.bias_alignment is not None:
            self._set("MatmulDesc", self._description, api.DESC_EPILOGUE, c_uint32(api.EPILOGUE_BIAS))
            # The heuristics read the alignment off this address; that of the bias itself is set at each run.
            self._set("MatmulDesc", self._description, api.DESC_BIAS_POINTER, c_void_p(problem.bias_alignment))
        self._layouts = [self._layout(matrix) for matrix in (problem.a, problem.b, problem.d)]
        self.algorithms = self._heuristics()
        self.algorithm = self.algorithms[0] if self.algorithms else api.Algorithm()

    def _create(self, kind: str, *arguments: int) -> c_void_p:
        created = c_void_p()
        self._library.call(f"cublasLt{kind}Create", byref(created), *arguments, about=self.problem)
        return created

    def _set(self, kind: str, target: c_void_p, attribute: int, value: Any) -> None:
        arguments = (target, attribute, byref(value), ctypes.sizeof(value))
        self._library.call(f"cublasLt{kind}SetAttribute", *arguments, about=self.problem)

    def _layout(self, matrix: Matrix) -> c_void_p:
        layout = self._create("MatrixLayout", api.DATA_TYPE[matrix.dtype], matrix.rows, matrix.columns, matrix.leading)
        self._set("MatrixLayout", layout, api.LAYOUT_BATCH_COUNT, c_int32(self.problem.batch))
        self._set("MatrixLayout", layout, api.LAYOUT_STRIDED_BATCH_OFFSET, c_int64(matrix.batch_stride))
        return layout

    def _preference(self) -> c_void_p:
        preference = self._create("MatmulPreference")
        self._set("MatmulPreference", preference, api.PREF_MAX_WORKSPACE_BYTES, c_uint64(WORKSPACE_BYTES))
        a, b, d = self.problem.a, self.problem.b, self.problem.d
        for attribute, matrix in zip(api.PREF_MIN_ALIGNMENT_BYTES, (a, b, d, d), strict=True):
            self._set("MatmulPreference", preference, attribute, c_uint32(matrix.alignment))
        return preference

    def _heuristics(self) -> list[api.Algorithm]:
        preference = self._preference()
        results, count = (api.Heuristic * CANDIDATES)(), c_int()
        layouts = (*self._layouts, self._layouts[2])  # C is D
        status = self._library.functions.cublasLtMatmulAlgoGetHeuristic(
            self._handle, self._description, *layouts, preference, CANDIDATES, byref(results), byref(count)
        )
        self._library.functions.cublasLtMatmulPreferenceDestroy(preference)
        if status not in (api.SUCCESS, api.NOT_SUPPORTED):
            name = self._library.status_name(status)
            raise BackendError(f"cublasLtMatmulAlgoGetHeuristic failed with {name}: {self.problem}")
        return [result.algo for result in results[: count.value] if result.state == api.SUCCESS]

    def run(
        self, a: int, b: int, d: int, bias: int | None, alpha: float, beta: float, workspace: int, stream: int
    ) -> None:
        """Launch d = alpha op(a) op(b) + beta d + bias; addresses of device memory, aligned as the problem says."""
        layout_a, layout_b, layout_d = self._layouts
        with self._lock:  # no other thread may set its own bias between the two calls
            if bias is not None:
                self._set("MatmulDesc", self._description, api.DESC_BIAS_POINTER, c_void_p(bias))
            self._library.call(
                "cublasLtMatmul",
                *(self._handle, self._description),
                *(byref(self._scalar(alpha)), a, layout_a, b, layout_b),
                *(byref(self._scalar(beta)), d, layout_d, d, layout_d),
                *(byref(self.algorithm), workspace, WORKSPACE_BYTES, stream),
                about=self.problem,
            )

    def close(self) -> None:
        """Destroy the descriptors; it cannot be run afterwards."""
        for layout in self._layouts:
            self._library.functions.cublasLtMatrixLayoutDestroy(layout)
        self._library.functions.cublasLtMatmulDescDestroy(self._description)


@functools.cache
def library() -> CublasLt | None:
    """cuBLASLt, loaded once; None if it cannot be loaded (with a warning) or MINIVIT_CUBLASLT=0 is set."""
    if os.environ.get("MINIVIT_CUBLASLT") == "0":
        return None
    functions = _load()
    if functions is None:
        warnings.warn(f"the library cublasLt was not found: {SLOWER}", stacklevel=2)
        return None
    return CublasLt(functions)


def library_version() -> str | None:
    """Such as "13.1.0"; None where the library cannot be loaded. Needs no GPU."""
    functions = _load()
    if functions is None:
        return None
    version = CublasLt(functions).functions.cublasLtGetVersion()
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def _load() -> Any:
    """The ctypes library or None. It is one of the CUDA that CuPy is made for, as several may be installed: a newer one
    than the driver knows would not start."""
    major = _cuda_major()
    for name in _names(major):
        with contextlib.suppress(OSError, AttributeError):
            functions = ctypes.CDLL(name)
            version = functions.cublasLtGetVersion
            version.restype = api.RESULTS["cublasLtGetVersion"]
            if major in (None, version() // 10000):
                return functions
    return None


def _cuda_major() -> int | None:
    """Of the CUDA that CuPy is made for; None where there is no CuPy."""
    try:
        return importlib.import_module("cupy").cuda.runtime.runtimeGetVersion() // 1000
    except Exception:  # not installed, or an error of its own
        return None


def _names(major: int | None) -> Iterator[str]:
    """Where the library may be: under the names that Linux knows, in wheels of NVIDIA, where CuPy finds it."""
    for wanted in (major,) if major else (13, 12):
        file = f"libcublasLt.so.{wanted}"
        yield file
        yield from (str(path) for folder in sys.path for path in Path(folder).glob(f"nvidia/*/lib/{file}"))
    with contextlib.suppress(Exception):  # not installed, or one of its own errors: there is no such library
        yield importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublasLt").abs_path

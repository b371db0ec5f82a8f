"""A stand-in for the cuBLASLt library that computes in host memory, as strict as the documentation of the real one.

It offers C function pointers, so that what the binding passes goes through the same conversion and the same memory as
with the real library. Whatever the real one refuses is refused with the same status: sizes of attributes, combinations
of types, dimensions and leading dimensions, addresses less aligned than was promised, another problem's algorithm.
"""

import ctypes
import itertools
from collections.abc import Callable
from ctypes import c_double, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

import ml_dtypes
import numpy as np

SUCCESS, NOT_INITIALIZED, INVALID_VALUE, EXECUTION_FAILED, INTERNAL_ERROR, NOT_SUPPORTED = 0, 1, 7, 13, 14, 15
NAMES = {
    0: b"CUBLAS_STATUS_SUCCESS",
    1: b"CUBLAS_STATUS_NOT_INITIALIZED",
    3: b"CUBLAS_STATUS_ALLOC_FAILED",
    7: b"CUBLAS_STATUS_INVALID_VALUE",
    13: b"CUBLAS_STATUS_EXECUTION_FAILED",
    14: b"CUBLAS_STATUS_INTERNAL_ERROR",
    15: b"CUBLAS_STATUS_NOT_SUPPORTED",
}
DTYPES = {0: np.dtype("float32"), 1: np.dtype("float64"), 14: np.dtype(ml_dtypes.bfloat16)}

# (compute type, type of alpha and beta, type of A and B, type of C and D)
SUPPORTED = {(68, 0, 0, 0), (77, 0, 0, 0), (68, 0, 14, 14), (68, 0, 14, 0), (70, 1, 1, 1)}
TF32 = 77

# Attribute -> its name and size in bytes.
DESCRIPTION = {3: ("trans_a", 4), 4: ("trans_b", 4), 7: ("epilogue", 4), 8: ("bias", 8)}
LAYOUT = {5: ("batch", 4), 6: ("batch_stride", 8)}
PREFERENCE = {1: ("workspace", 8), 5: ("align_a", 4), 6: ("align_b", 4), 7: ("align_c", 4), 8: ("align_d", 4)}

P = c_void_p
SET = (P, c_int, P, c_size_t)
SIGNATURES: dict[str, tuple[Any, ...]] = {  # the result first
    "cublasLtCreate": (c_int, P),
    "cublasLtMatmulDescCreate": (c_int, P, c_int, c_int),
    "cublasLtMatmulDescSetAttribute": (c_int, *SET),
    "cublasLtMatmulDescDestroy": (c_int, P),
    "cublasLtMatrixLayoutCreate": (c_int, P, c_int, c_uint64, c_uint64, c_int64),
    "cublasLtMatrixLayoutSetAttribute": (c_int, *SET),
    "cublasLtMatrixLayoutDestroy": (c_int, P),
    "cublasLtMatmulPreferenceCreate": (c_int, P),
    "cublasLtMatmulPreferenceSetAttribute": (c_int, *SET),
    "cublasLtMatmulPreferenceDestroy": (c_int, P),
    "cublasLtMatmulAlgoGetHeuristic": (c_int, P, P, P, P, P, P, P, c_int, P, P),
    "cublasLtMatmul": (c_int, *(P,) * 14, c_size_t, P),
    "cublasLtGetStatusName": (P, c_int),
    "cublasLtGetVersion": (c_size_t,),
}


class Refused(Exception):
    """Ends a call with this status."""


class AlgorithmWords(ctypes.Structure):
    """The 64 bytes that describe an algorithm, of which two are used here."""

    _fields_ = (("magic", c_uint64), ("number", c_uint64), ("rest", c_uint64 * 6))


class Proposal(ctypes.Structure):
    """A result of the heuristics."""

    _fields_ = (("algorithm", AlgorithmWords), ("workspace", c_size_t), ("state", c_int), ("waves", c_float))
    _fields_ = (*_fields_, ("reserved", c_int * 4))


MAGIC = 0xA16071


class FakeCublasLt:
    """The library.

    launches: of every product that ran, (batch, rows of D, columns of D, k, epilogue, stream). algorithms_used: their
    numbers, which count up from 0 over all that were ever proposed.

    allowed(address, size): whether a kernel may touch this memory. enqueue(stream, task): runs the task on a stream;
    a stand-in for CUDA may record it instead. To be set: `declines`, asked with a description whether there is no
    algorithm for it; `starts`, whether a handle can be had; `refused`, numbers of algorithms that fail when run.
    """

    def __init__(
        self,
        allowed: Callable[[int, int], bool] = lambda address, size: True,
        enqueue: Callable[[int, Callable[[], None]], None] = lambda stream, task: task(),
    ):
        self.allowed, self.enqueue = allowed, enqueue
        self.declines: Callable[[dict[str, Any]], bool] = lambda description: False
        self.starts, self.start_status = True, SUCCESS
        self.refused: set[int] = set()
        self.errors: list[BaseException] = []
        self.launches: list[tuple[int, ...]] = []
        self.objects: dict[int, tuple[str, dict[str, Any]]] = {}
        self.algorithms_used: list[int] = []
        self.algorithms: dict[int, tuple[Any, tuple[int, ...], int]] = {}
        self.heuristic_calls = 0
        self._addresses = itertools.count(0x7000_0000_0000, 64)
        self._names = {status: ctypes.create_string_buffer(name) for status, name in NAMES.items()}
        for name, (result, *arguments) in SIGNATURES.items():
            method = getattr(self, "_" + name.removeprefix("cublasLt"))
            setattr(self, name, ctypes.CFUNCTYPE(result, *arguments)(self._guarded(method, result)))

    def _guarded(self, method: Callable[..., Any], result: Any) -> Callable[..., Any]:
        def call(*arguments: Any) -> int:
            try:
                return method(*arguments) or 0
            except Refused as refusal:
                return refusal.args[0]
            except BaseException as error:  # ctypes would print it and return 0, success
                self.errors.append(error)
                return INTERNAL_ERROR

        return call

    # objects

    def _new(self, where: int, kind: str, **state: Any) -> None:
        require(where, INVALID_VALUE)
        address = next(self._addresses)
        self.objects[address] = (kind, state)
        c_uint64.from_address(where).value = address

    def _object(self, address: int, kind: str) -> dict[str, Any]:
        found, state = self.objects.get(address, ("", {}))
        require(found == kind, NOT_INITIALIZED if kind == "handle" else INVALID_VALUE)
        return state

    def _set(self, state: dict[str, Any], attributes: dict[int, tuple[str, int]], attribute: int, *value: int) -> None:
        source, size = value
        require(attribute in attributes and source and size == attributes[attribute][1], INVALID_VALUE)
        state[attributes[attribute][0]] = int.from_bytes(ctypes.string_at(source, size), "little", signed=True)

    def _destroy(self, address: int, kind: str) -> None:
        self._object(address, kind)
        del self.objects[address]

    def _Create(self, where):
        require(self.starts, NOT_INITIALIZED)
        require(self.start_status == SUCCESS, self.start_status)
        self._new(where, "handle")

    def _MatmulDescCreate(self, where, compute, scale):
        self._new(where, "description", compute=compute, scale=scale, trans_a=0, trans_b=0, epilogue=1, bias=0)

    def _MatmulDescSetAttribute(self, address, attribute, *value):
        self._set(self._object(address, "description"), DESCRIPTION, attribute, *value)

    def _MatmulDescDestroy(self, address):
        self._destroy(address, "description")

    def _MatrixLayoutCreate(self, where, dtype, rows, columns, leading):
        self._new(where, "layout", dtype=dtype, rows=rows, columns=columns, leading=leading, batch=1, batch_stride=0)

    def _MatrixLayoutSetAttribute(self, address, attribute, *value):
        self._set(self._object(address, "layout"), LAYOUT, attribute, *value)

    def _MatrixLayoutDestroy(self, address):
        self._destroy(address, "layout")

    def _MatmulPreferenceCreate(self, where):
        self._new(where, "preference", workspace=0, align_a=256, align_b=256, align_c=256, align_d=256)

    def _MatmulPreferenceSetAttribute(self, address, attribute, *value):
        self._set(self._object(address, "preference"), PREFERENCE, attribute, *value)

    def _MatmulPreferenceDestroy(self, address):
        self._destroy(address, "preference")

    def _GetStatusName(self, status):
        return ctypes.addressof(self._names[status])

    def _GetVersion(self):
        return 130100

    # the product

    def _checked(self, description, layouts):
        """Raise Refused unless D = op(A) op(B) makes sense and is supported; what an algorithm is chosen for."""
        a, b, c, d = layouts
        shape_a, shape_b = shape(a, description["trans_a"]), shape(b, description["trans_b"])
        require(min(*shape_a, *shape_b) > 0, INVALID_VALUE)
        require(shape_a[1] == shape_b[0] and shape(d) == shape(c) == (shape_a[0], shape_b[1]), INVALID_VALUE)
        require(all(layout["leading"] >= layout["rows"] for layout in layouts), INVALID_VALUE)
        require(len({layout["batch"] for layout in layouts}) == 1 and a["batch"] >= 1, INVALID_VALUE)
        require(all(layout["batch_stride"] >= 0 for layout in layouts), INVALID_VALUE)
        types = (description["compute"], description["scale"], a["dtype"], d["dtype"])
        require(types in SUPPORTED and a["dtype"] == b["dtype"] and c["dtype"] == d["dtype"], NOT_SUPPORTED)
        require(description["epilogue"] in (1, 4) and not self.declines(description), NOT_SUPPORTED)
        return tuple(value for state in (description, *layouts) for key, value in state.items() if key != "bias")

    def _MatmulAlgoGetHeuristic(self, handle, description, a, b, c, d, preference, wanted, results, count):
        self.heuristic_calls += 1
        self._object(handle, "handle")
        state = self._object(description, "description")
        layouts = [self._object(layout, "layout") for layout in (a, b, c, d)]
        chosen = self._object(preference, "preference")
        require(wanted > 0, INVALID_VALUE)
        problem = self._checked(state, layouts)
        alignments = (*(chosen[f"align_{name}"] for name in "abcd"), low_bit(state["bias"]))
        # The first fits any address that keeps the promise, the second needs a workspace as well.
        proposals = (Proposal * wanted).from_address(results)
        needs = [need for need in (0, 1 << 20) if need <= chosen["workspace"]][:wanted]
        for proposal, need in zip(proposals, needs, strict=False):
            number = len(self.algorithms)
            self.algorithms[number] = (problem, alignments, need)
            proposal.algorithm = AlgorithmWords(MAGIC, number)
            proposal.workspace, proposal.state, proposal.waves = need, SUCCESS, 1.0
        c_int.from_address(count).value = len(needs)

    def _Matmul(self, handle, description, alpha, a, la, b, lb, beta, c, lc, d, ld, algorithm, workspace, size, stream):
        self._object(handle, "handle")
        state = dict(self._object(description, "description"))
        layouts = [dict(self._object(layout, "layout")) for layout in (la, lb, lc, ld)]
        words = AlgorithmWords.from_address(algorithm)
        require(words.magic == MAGIC and words.number in self.algorithms, INVALID_VALUE)
        problem, alignments, need = self.algorithms[words.number]
        require(problem == self._checked(state, layouts), INVALID_VALUE)
        require(words.number not in self.refused, NOT_SUPPORTED)
        self.algorithms_used.append(words.number)
        require(size >= need and (not need or workspace) and (workspace or 0) % 16 == 0, INVALID_VALUE)
        addresses = (a, b, c, d, state["bias"] if state["epilogue"] == 4 else 0)
        require(all(addresses[:4]) and (state["epilogue"] != 4 or addresses[4]), INVALID_VALUE)
        # On a GPU a wide load from an address that is less aligned than promised is an error of execution.
        for address, aligned in zip(addresses, alignments, strict=True):
            require(not address or address % aligned == 0, EXECUTION_FAILED)
        scalar = c_double if state["scale"] == 1 else c_float
        factors = scalar.from_address(alpha).value, scalar.from_address(beta).value
        arrays = [self._array(layout, where) for layout, where in zip(layouts, addresses[:4], strict=True)]
        bias = None
        if state["epilogue"] == 4:
            vector = {**layouts[3], "columns": 1, "batch": 1}
            bias = self._array(vector, addresses[4])[0]
        inner = shape(layouts[0], state["trans_a"])[1]
        self.launches.append((layouts[3]["batch"], *shape(layouts[3]), inner, state["epilogue"], stream or 0))
        self.enqueue(stream or 0, lambda: multiply(state, factors, arrays, bias))

    def _array(self, layout: dict[str, int], address: int) -> np.ndarray:
        """The memory as (batch, rows, columns), writable."""
        dtype = DTYPES[layout["dtype"]]
        sizes = (layout["batch"], layout["rows"], layout["columns"])
        strides = (layout["batch_stride"] * dtype.itemsize, dtype.itemsize, layout["leading"] * dtype.itemsize)
        extent = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + dtype.itemsize
        require(self.allowed(address, extent), EXECUTION_FAILED)
        return np.ndarray(sizes, dtype, (ctypes.c_char * extent).from_address(address), strides=strides)


def multiply(state: dict[str, int], factors: tuple[float, float], arrays: list[np.ndarray], bias: Any) -> None:
    """D = alpha op(A) op(B) + beta C + bias; C is not read where beta is 0."""
    a, b, c, d = arrays
    a = a.swapaxes(1, 2) if state["trans_a"] else a
    b = b.swapaxes(1, 2) if state["trans_b"] else b
    if state["compute"] == TF32:
        a, b = round_to_tf32(a), round_to_tf32(b)
    sums = DTYPES[state["scale"]]  # sums are kept in the type of alpha and beta
    alpha, beta = factors
    y = alpha * np.matmul(a.astype(sums), b.astype(sums))
    if beta:
        y += beta * c.astype(sums)
    if bias is not None:
        y += bias.astype(sums)
    d[...] = y.astype(d.dtype)


def round_to_tf32(x: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to 10 bits of mantissa, halfway cases away from zero."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)


def require(condition: Any, status: int) -> None:
    """End the call with the status unless the condition holds."""
    if not condition:
        raise Refused(status)


def shape(layout: dict[str, int], transposed: int = 0) -> tuple[int, int]:
    """(rows, columns) of op(matrix)."""
    rows, columns = layout["rows"], layout["columns"]
    return (columns, rows) if transposed else (rows, columns)


def low_bit(address: int) -> int:
    """The largest power of two that divides an address; 1 for none."""
    return address & -address or 1

"""The one matrix product of the CuPy backend: all layouts without copies, through cuBLASLt, or else through CuPy.

A library for column-major matrices reads row-major memory as the transpose. So it is asked for C^T = B^T A^T: its first
factor is our b, and whether a factor counts as transposed follows from its strides alone.
"""

import functools
import itertools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels import cublaslt, tuning
from minivit.backend.cupy_kernels.cublaslt import CublasLt, Matmul, Matrix, Problem
from minivit.backend.cupy_kernels.strides import alignment, batch_and_loops, layout, offsets
from minivit.backend.precision import products

_RESULTS = {"float64": ("float64",), "float32": ("float32",), "bfloat16": ("bfloat16", "float32")}  # by factors


def product(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
    alpha: float = 1.0,
    out: Array | None = None,
    dtype: Any = None,
    accumulate: bool = False,
) -> Array:
    """y = alpha a b + bias;  with `accumulate` that is added to what is in `out`.

    a: (..., n, k), or (..., k, n) with transpose_a;  b: (..., k, m), or (..., m, k) with transpose_b;  y: (..., n, m).
    The leading axes must be equal. bias: (m,), float32 or of y's dtype. out: receives y, and may be any view that does
    not overlap the other arrays; otherwise y is new and C-contiguous. CuPy arrays, on the current device and stream.

    a and b are both float64, float32 (rounded to TF32 within `precision("tf32")`) or bfloat16. y has the same dtype,
    or `dtype`: products of bfloat16 are summed in float32 and may be kept so. A float32 bias of a bfloat16 y costs
    another pass over y; a bfloat16 bias does not.

    Factors may be transposed or sliced views: a copy is made only where neither of the last two axes is contiguous.
    Leading axes that one stride can describe are one launch. Of those that need several, as (B, H) of the heads in a
    packed (B, N, 3, H, Dh), the longest is a launch's batch, and the others are looped over.

    Where cuBLASLt is missing or declines, which is warned of, and with MINIVIT_CUBLASLT=0, CuPy's products are used:
    not in TF32, nor while a graph is captured, with copies of most views, and in bfloat16 rounded before alpha, bias
    and `out` are applied.

    Raises ValueError for shapes, TypeError for dtypes that do not fit.
    """
    if min(a.ndim, b.ndim) < 2:
        raise ValueError(f"product: a {a.shape} and b {b.shape} must have two axes or more")
    a = a.swapaxes(-1, -2) if transpose_a else a
    b = b.swapaxes(-1, -2) if transpose_b else b
    out = _result(a, b, bias, out, dtype, accumulate)
    if out.size == 0:
        return out
    if a.size == 0:  # a sum of no terms, which cuBLASLt refuses
        out[...] = (out if accumulate else 0) + (0 if bias is None else bias)
        return out
    library = cublaslt.library()
    if library is None or not _by_cublaslt(library, a, b, bias, alpha, out, accumulate):
        _by_cupy(a, b, bias, alpha, out, accumulate)
    return out


def _result(a: Array, b: Array, bias: Array | None, out: Array | None, dtype: Any, accumulate: bool) -> Array:
    """`out` or a new array for the product, once all shapes and dtypes have been found to fit."""
    shape = (*a.shape[:-1], b.shape[-1])
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"product: a {a.shape} and b {b.shape}, after transposition, do not agree")
    if bias is not None and bias.shape != shape[-1:]:
        raise ValueError(f"product: bias has shape {bias.shape}, expected {shape[-1:]}")
    if out is None:
        if accumulate:
            raise ValueError("product: accumulate needs an out to add to")
        out = xp_of(a).empty(shape, dtype=a.dtype if dtype is None else dtype)
    elif out.shape != shape:
        raise ValueError(f"product: out has shape {out.shape}, expected {shape}")
    elif dtype is not None and out.dtype != dtype:
        raise TypeError(f"product: out is {out.dtype}, but dtype is {dtype}")
    if a.dtype != b.dtype or not _computable(a.dtype, out.dtype, None if bias is None else bias.dtype):
        added = "" if bias is None else f", plus a bias of {bias.dtype}"
        raise TypeError(f"product: no product of {a.dtype} and {b.dtype}{added} in {out.dtype}")
    return out


@functools.cache  # names of dtypes are slow to come by
def _computable(factors: Any, result: Any, bias: Any | None) -> bool:
    names = _RESULTS.get(factors.name, ())
    return result.name in names and (bias is None or bias == result or bias.name == "float32")


# through cuBLASLt


class _Plan(NamedTuple):
    """How products of arrays of certain shapes, strides, dtypes and alignments are launched.

    copies: which of a, b and out cuBLASLt cannot address as they lie; if any, the rest is not planned.
    matmul: None if cuBLASLt cannot do it. starts: for each launch, how many bytes into a, b and out it starts.
    """

    copies: tuple[bool, bool, bool] = (False, False, False)
    matmul: Matmul | None = None
    starts: Sequence[tuple[int, ...]] = ()
    bias_afterwards: bool = False


def _by_cublaslt(
    library: CublasLt, a: Array, b: Array, bias: Array | None, alpha: float, out: Array, accumulate: bool
) -> bool:
    """Compute the product into `out`; False if cuBLASLt cannot."""
    xp, device = xp_of(a), a.device.id
    if library.handle(device) is None:
        return False
    bias = None if bias is None else xp.ascontiguousarray(bias)
    plan, is_new = _planned(library, device, a, b, bias, out)
    if any(plan.copies):
        a, b, target = (
            xp.ascontiguousarray(x) if copy else x for x, copy in zip((a, b, out), plan.copies, strict=True)
        )
        done = _by_cublaslt(library, a, b, bias, alpha, target, accumulate)
        if done and target is not out:
            out[...] = target
        return done
    if plan.matmul is None:
        return False
    stream = xp.cuda.get_current_stream()
    workspace = library.workspace(xp, device, stream.ptr)
    first_a, first_b, first_out = a.data.ptr, b.data.ptr, out.data.ptr
    epilogue_bias = None if bias is None or plan.bias_afterwards else bias.data.ptr
    if is_new and tuning.wanted(stream):
        tuning.choose_fastest(plan.matmul, first_b, first_a, out, epilogue_bias, workspace, stream)
    for start_a, start_b, start_out in plan.starts:
        addresses = (first_b + start_b, first_a + start_a, first_out + start_out, epilogue_bias)
        plan.matmul.run(*addresses, alpha, float(accumulate), workspace, stream.ptr)
    if plan.bias_afterwards:
        xp.add(out, bias, out=out, casting="unsafe")
    return True


def _planned(library: CublasLt, device: int, a: Array, b: Array, bias: Array | None, out: Array) -> tuple[_Plan, bool]:
    """The plan for these arrays, and whether it has only now been made."""
    added = None if bias is None else _signature(bias)
    key = (device, products(), _signature(a), _signature(b), _signature(out), added)
    plan = library.plans.get(key)
    if plan is not None:
        return plan, False
    plan = library.plans[key] = _plan(library, device, a, b, bias, out)
    return plan, True


def _signature(x: Array) -> tuple[Any, ...]:
    """All of an array that the choice of an algorithm depends on."""
    return x.shape, x.strides, x.dtype, alignment(x.data.ptr)


def _plan(library: CublasLt, device: int, a: Array, b: Array, bias: Array | None, out: Array) -> _Plan:
    """The product as cuBLASLt will be asked for it: out^T = b^T a^T in column-major terms."""
    layout_a, layout_b, layout_out = layout(a), layout(b), layout(out)
    if layout_a is None or layout_b is None or layout_out is None or layout_out.transposed:
        return _Plan(copies=(layout_a is None, layout_b is None, layout_out is None or layout_out.transposed))
    arrays = (a, b, out)
    batch, loops = batch_and_loops(arrays)
    starts = offsets(loops, arrays)
    matrices = []
    for which, (x, stored) in enumerate(zip(arrays, (layout_a, layout_b, layout_out), strict=True)):
        rows, columns = x.shape[-2:] if stored.transposed else (x.shape[-1], x.shape[-2])
        aligned = alignment(x.data.ptr, *(start[which] for start in starts))
        matrices.append(Matrix(x.dtype.name, rows, columns, stored.leading, batch.strides[which], aligned))
    problem = Problem(
        a=matrices[1],
        b=matrices[0],
        d=matrices[2],
        transpose_a=layout_b.transposed,
        transpose_b=layout_a.transposed,
        batch=batch.size,
        tf32=products() == "tf32" and a.dtype.name == "float32",
        # cuBLASLt adds a bias of the result's dtype only
        bias_alignment=alignment(bias.data.ptr) if bias is not None and bias.dtype == out.dtype else None,
    )
    matmul = library.prepare(problem, device)
    if matmul is None and problem.bias_alignment is not None:
        problem = problem._replace(bias_alignment=None)
        matmul = library.prepare(problem, device)
    if matmul is None:
        warnings.warn(f"cuBLASLt cannot compute {problem}: {cublaslt.SLOWER}", stacklevel=4)
    return _Plan(matmul=matmul, starts=starts, bias_afterwards=bias is not None and problem.bias_alignment is None)


# through CuPy


def _by_cupy(a: Array, b: Array, bias: Array | None, alpha: float, out: Array, accumulate: bool) -> None:
    """The product into `out` by cupy.matmul, which keeps the dtype of its operands; in bfloat16 only with two axes."""
    xp = xp_of(a)
    if a.dtype != out.dtype:
        a, b = a.astype(out.dtype), b.astype(out.dtype)
    if a.dtype.name == "bfloat16" and a.ndim > 2:
        y = xp.empty(out.shape, dtype=out.dtype)
        for index in itertools.product(*map(range, out.shape[:-2])):
            y[index] = xp.matmul(a[index], b[index])
    else:
        y = xp.matmul(a, b)
    if y.dtype.name == "bfloat16" and (alpha != 1 or bias is not None or accumulate):
        y = y.astype("float32")
    if alpha != 1:
        y = alpha * y
    if bias is not None:
        y = y + bias
    out[...] = out + y if accumulate else y

"""The numbers and layouts of the binding against NVIDIA's headers and library, where there are any.

Headers are looked for below CUDA_PATH, CUDA_HOME, /usr/local/cuda and in installed wheels (nvidia-cublas), the library
as the backend looks for it. No GPU is needed.
"""

import ctypes
import os
import re
import sys
from ctypes import byref, c_int, c_size_t, c_void_p
from pathlib import Path

import pytest
from fake_cublaslt import SIGNATURES, AlgorithmWords, Proposal

from minivit.backend.cupy_kernels import cublaslt
from minivit.backend.cupy_kernels import cublaslt_api as api

ROOTS = [Path(os.environ[name]) for name in ("CUDA_PATH", "CUDA_HOME") if name in os.environ]
ROOTS += [Path("/usr/local/cuda"), *(root for path in sys.path for root in Path(path).glob("nvidia/*"))]


def header(name: str) -> str:
    """The text of a header without its comments; skips the test if it is not on this machine."""
    for root in ROOTS:
        if (root / "include" / name).is_file():
            text = (root / "include" / name).read_text(errors="replace", encoding="utf-8")
            return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    pytest.skip(f"{name} is not on this machine: cuBLASLt's constants were not compared with it")


CONSTANTS = {
    "cublas_api.h": {
        "CUBLAS_STATUS_SUCCESS": api.SUCCESS,
        "CUBLAS_STATUS_ALLOC_FAILED": api.ALLOC_FAILED,
        "CUBLAS_STATUS_NOT_SUPPORTED": api.NOT_SUPPORTED,
        "CUBLAS_COMPUTE_32F": api.COMPUTE_32F,
        "CUBLAS_COMPUTE_64F": api.COMPUTE_64F,
        "CUBLAS_COMPUTE_32F_FAST_TF32": api.COMPUTE_32F_FAST_TF32,
        "CUBLAS_OP_T": api.OP_T,
    },
    "library_types.h": {
        "CUDA_R_32F": api.DATA_TYPE["float32"],
        "CUDA_R_64F": api.DATA_TYPE["float64"],
        "CUDA_R_16BF": api.DATA_TYPE["bfloat16"],
    },
    "cublasLt.h": {
        "CUBLASLT_MATMUL_DESC_TRANSA": api.DESC_TRANSA,
        "CUBLASLT_MATMUL_DESC_TRANSB": api.DESC_TRANSB,
        "CUBLASLT_MATMUL_DESC_EPILOGUE": api.DESC_EPILOGUE,
        "CUBLASLT_MATMUL_DESC_BIAS_POINTER": api.DESC_BIAS_POINTER,
        "CUBLASLT_EPILOGUE_BIAS": api.EPILOGUE_BIAS,
        "CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT": api.LAYOUT_BATCH_COUNT,
        "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET": api.LAYOUT_STRIDED_BATCH_OFFSET,
        "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": api.PREF_MAX_WORKSPACE_BYTES,
        "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": api.PREF_MIN_ALIGNMENT_BYTES[0],
        "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": api.PREF_MIN_ALIGNMENT_BYTES[1],
        "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": api.PREF_MIN_ALIGNMENT_BYTES[2],
        "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": api.PREF_MIN_ALIGNMENT_BYTES[3],
    },
}


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in CONSTANTS for name in CONSTANTS[file]])
def test_constants_are_those_of_the_header(file, name):
    (number,) = re.findall(rf"\b{name}\s*=\s*(\d+)", header(file))
    assert CONSTANTS[file][name] == int(number)


C_TYPES = {  # what a parameter or a field of this type looks like to ctypes, other than pointers and handles
    "int": c_int,
    "float": ctypes.c_float,
    "size_t": c_size_t,
    "uint64_t": ctypes.c_uint64,
    "int64_t": ctypes.c_int64,
    "cublasStatus_t": c_int,
    "cublasComputeType_t": c_int,
    "cudaDataType": c_int,
    "cudaDataType_t": c_int,
    "cublasLtMatmulAlgo_t": api.Algorithm,
}
HANDLES = re.compile(r"cublasLtHandle_t|cudaStream_t|cublasLt\w+(Desc|Layout|Preference)_t")


def ctype(declaration: str):
    """The ctypes type of a declaration such as "const void* A" or "cublasLtMatmulAlgoConfigAttributes_t attr"."""
    words = declaration.replace("const ", "").split()
    if "*" in declaration or "[" in declaration or HANDLES.fullmatch(words[0]):
        return c_void_p
    return C_TYPES.get(
        words[0], c_int if words[0].endswith("Attributes_t") or words[0].endswith("Attribute_t") else None
    )


@pytest.mark.parametrize("name", api.PROTOTYPES)
def test_functions_are_those_of_the_header(name):
    declaration = re.search(rf"([\w* ]+?)\s*CUBLASWINAPI\s+{name}\((.*?)\);", header("cublasLt.h"), re.DOTALL)
    result, parameters = declaration.groups()
    expected = tuple(ctype(each.strip()) for each in parameters.split(",") if each.strip() != "void")
    assert api.PROTOTYPES[name] == expected
    assert SIGNATURES[name][1:] == expected
    result = ctypes.c_char_p if "char*" in result.replace(" ", "") else ctype(result.strip())
    assert api.RESULTS.get(name, c_int) == result


@pytest.mark.parametrize(
    ("name", "structure"), [("cublasLtMatmulAlgo_t", api.Algorithm), ("cublasLtMatmulHeuristicResult_t", api.Heuristic)]
)
def test_structures_are_those_of_the_header(name, structure):
    body = re.search(rf"typedef struct \{{([^{{}}]*)\}} {name};", header("cublasLt.h")).group(1)
    expected = []
    for kind, field, length in re.findall(r"(\w+)\s+(\w+)(?:\[(\d+)\])?;", body):
        expected.append((field, C_TYPES[kind] * int(length) if length else C_TYPES[kind]))
    assert [field for field, _ in expected] == [field for field, _ in structure._fields_]
    declared = type("Declared", (ctypes.Structure,), {"_fields_": expected})
    assert ctypes.sizeof(declared) == ctypes.sizeof(structure)
    for field, _ in expected:
        theirs, ours = getattr(declared, field), getattr(structure, field)
        assert (theirs.offset, theirs.size) == (ours.offset, ours.size)


def test_the_stand_in_has_the_same_structures():
    assert ctypes.sizeof(AlgorithmWords) == ctypes.sizeof(api.Algorithm) == 64
    assert ctypes.sizeof(Proposal) == ctypes.sizeof(api.Heuristic)
    assert (Proposal.workspace.offset, Proposal.state.offset) == (
        api.Heuristic.workspaceSize.offset,
        api.Heuristic.state.offset,
    )


# the real library: all but the handle, the heuristics and the product works without a GPU


@pytest.fixture(scope="module")
def real() -> cublaslt.CublasLt:
    functions = cublaslt._load()
    if functions is None:
        pytest.skip("the library cublasLt is not on this machine: its descriptors were not tried")
    return cublaslt.CublasLt(functions)


MATRIX = cublaslt.Matrix("bfloat16", 64, 64, 72, 64 * 72, 16)
PROBLEM = cublaslt.Problem(MATRIX, MATRIX, MATRIX, True, True, 3, False, 16)


@pytest.mark.parametrize(
    "problem",
    [
        PROBLEM,
        PROBLEM._replace(d=MATRIX._replace(dtype="float32")),
        PROBLEM._replace(**dict.fromkeys("abd", MATRIX._replace(dtype="float32")), tf32=True, bias_alignment=None),
        PROBLEM._replace(**dict.fromkeys("abd", MATRIX._replace(dtype="float64"))),
    ],
    ids=str,
)
def test_the_library_accepts_every_attribute(real, problem, monkeypatch):
    asked = []

    def heuristics(self):  # as without a handle they would not be answered; the preference is made all the same
        preference = self._preference()
        asked.append(preference)
        real.call("cublasLtMatmulPreferenceDestroy", preference, about=problem)
        return []

    monkeypatch.setattr(cublaslt.Matmul, "_heuristics", heuristics)
    matmul = cublaslt.Matmul(real, c_void_p(), problem)
    assert asked
    # What was set can be read back: the batch of each layout, the transposition, the epilogue.
    assert [get(real, "MatrixLayout", layout, api.LAYOUT_BATCH_COUNT) for layout in matmul._layouts] == [3, 3, 3]
    assert get(real, "MatmulDesc", matmul._description, api.DESC_TRANSA) == api.OP_T
    fused = problem.bias_alignment is not None
    assert get(real, "MatmulDesc", matmul._description, api.DESC_EPILOGUE) == (api.EPILOGUE_BIAS if fused else 1)
    matmul.close()


def get(real: cublaslt.CublasLt, kind: str, target: c_void_p, attribute: int) -> int:
    value, written = c_int(), c_size_t()
    read = getattr(real.functions, f"cublasLt{kind}GetAttribute")
    assert read(target, attribute, byref(value), c_size_t(4), byref(written)) == api.SUCCESS
    return value.value


def test_the_library_refuses_a_value_of_the_wrong_size(real):
    """So that the test above could fail."""
    layout = c_void_p()
    real.call("cublasLtMatrixLayoutCreate", byref(layout), 0, 4, 4, 4, about="a layout")
    wrong = ctypes.c_int32(1)
    status = real.functions.cublasLtMatrixLayoutSetAttribute(
        layout, api.LAYOUT_STRIDED_BATCH_OFFSET, byref(wrong), ctypes.sizeof(wrong)
    )
    assert real.status_name(status) == "CUBLAS_STATUS_INVALID_VALUE"


def test_the_library_says_its_version(real):
    assert re.fullmatch(r"1[2-9]\.\d+\.\d+", cublaslt.library_version())

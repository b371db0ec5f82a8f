"""The kernels compile for the GPUs that they are meant for, in every specialisation, and stay within its registers."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_on_cpu import SIGNATURE
from cuda_on_cpu.kernels import SOURCES

TYPES = ["float", "bf16"]
SPECIALISATIONS = [
    *[("softmax.cu", {"T": t}) for t in TYPES],
    *[("column_sums.cu", {"T": t}) for t in TYPES],
    *[("cross_entropy.cu", {"T": t, "LABEL": label}) for t in TYPES for label in ("long long", "float")],
    *[("gelu.cu", {"T": t, "ERF": erf}) for t in TYPES for erf in (0, 1)],
    ("optimizer.cu", {"MAX_TENSORS": 170}),
    *[("layer_norm.cu", {"X": x, "Y": y, "WIDTH": 192}) for x in TYPES for y in TYPES],
    *[("layer_norm.cu", {"X": "float", "Y": "bf16", "WIDTH": width}) for width in (50, 768, 1280)],
    *[("augment.cu", {"CHANNELS": channels}) for channels in (1, 3)],
    ("mix.cu", {}),
    *[("attention.cu", {"HEAD_DIM": head_dim}) for head_dim in (16, 64, 80, 128)],
]
WITHOUT_SPILLS = ("attention_forward", "attention_backward", "layer_norm_forward", "layer_norm_backward")
ARCHITECTURES = ["sm_80", "sm_90"]


def all_in_one() -> str:
    """Every specialisation in one source text, since each run of the compiler costs more than a kernel.

    The kernels of specialisation i get the ending _i, everything else of it a namespace.
    """
    parts = [(SOURCES / "device.cuh").read_text(encoding="utf-8")]
    for i, (file, defines) in enumerate(SPECIALISATIONS):
        text = (SOURCES / file).read_text(encoding="utf-8")
        for match in SIGNATURE.finditer(text):
            text = re.sub(rf"(void[^;{{]*?)\b{match['name']}\(", rf"\g<1>{match['name']}_{i}(", text)
        parts += [f"#define {name} {value}" for name, value in defines.items()]
        parts += [f"namespace specialisation_{i} {{", text, "}"]
        parts += [f"#undef {name}" for name in [*defines, *re.findall(r"#define (\w+)", text)]]
    return "\n".join(parts)


def compiled_by_nvcc(text: str, architecture: str, folder: Path) -> str:
    """The compiler's report, with what each kernel needs."""
    source = folder / "all.cu"
    source.write_text(text, encoding="utf-8")
    command = ["nvcc", "-cubin", f"-arch={architecture}", "-std=c++17", "-ftz=true", "-Xptxas", "-v", "-o"]
    result = subprocess.run(
        [*command, str(folder / "all.cubin"), str(source)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def compiled_by_nvrtc(text: str, architecture: str) -> bytes:
    """The machine code. CuPy's public functions ask for a device even to compile; this private one does not."""
    compiler = importlib.import_module("cupy.cuda.compiler")
    program = compiler._NVRTCProgram(text, "all.cu", method="cubin")
    code, _ = program.compile((f"-arch={architecture}", "-std=c++17", "-ftz=true"))
    return code


def spills(report: str) -> dict[str, int]:
    """Kernel -> bytes that did not fit into registers, from the report of ptxas."""
    pattern = r"entry function '(\w+)'.*?(\d+) bytes spill stores"
    return {name: int(stores) for name, stores in re.findall(pattern, report, re.DOTALL)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_specialisation_compiles(architecture, tmp_path):
    text = all_in_one()
    kernels = SIGNATURE.findall(text)
    assert len(kernels) == len({name for _, name, _ in kernels}) > len(SPECIALISATIONS)
    if shutil.which("nvcc"):
        found = spills(compiled_by_nvcc(text, architecture, tmp_path))
        assert set(found) == {name for _, name, _ in kernels}
        spilled = {name: count for name, count in found.items() if count and name.startswith(WITHOUT_SPILLS)}
        assert architecture != "sm_90" or not spilled
        return
    try:
        importlib.import_module("cupy_backends.cuda.libs.nvrtc").getVersion()
    except (ImportError, RuntimeError):
        pytest.skip("CUDA kernels not compiled for a GPU: neither nvcc nor CuPy with NVRTC is here")
    assert compiled_by_nvrtc(text, architecture)


def test_spills_are_read_from_the_report():
    report = """ptxas info    : Compiling entry function 'a_1' for 'sm_90'
    24 bytes stack frame, 20 bytes spill stores, 28 bytes spill loads
ptxas info    : Compiling entry function 'b' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"""
    assert spills(report) == {"a_1": 20, "b": 0}

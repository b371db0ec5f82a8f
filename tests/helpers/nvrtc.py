"""What the CUDA kernels need of each GPU, as NVIDIA's compilers report it; no GPU is needed.

NVRTC, which CuPy uses, is called by ctypes; a wheel of PyPI is enough: nvidia-cuda-nvrtc-cu12 (CUDA 12) or
nvidia-cuda-nvrtc (13). nvcc does as well.
"""

import ctypes
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from minivit.backend.cupy_kernels.rows import WIDEST

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
TYPES = ("float", "bf16")
WIDTHS = (192, 384, 768, 1024, 1280)  # of the models Ti, S, B, L, H
ATTENTION = ("attention.cu", "attention_backward.cu")
Specialisation = tuple[str, dict[str, object]]  # file, preprocessor symbols
SPECIALISATIONS: list[Specialisation] = [
    *[("softmax.cu", {"X": x, "Y": y}) for x in TYPES for y in TYPES],
    *[("column_sums.cu", {"T": t}) for t in TYPES],
    *[("cross_entropy.cu", {"T": t, "LABEL": label}) for t in TYPES for label in ("long long", "float")],
    *[("gelu.cu", {"T": t, "FORM": form}) for t in TYPES for form in (0, 1, 2)],
    ("optimizer.cu", {"MAX_TENSORS": 170}),
    *[("layer_norm.cu", {"X": "bf16", "Y": y, "WIDTH": 192}) for y in TYPES],
    *[("layer_norm.cu", {"X": "float", "Y": y, "WIDTH": width}) for y in TYPES for width in (50, WIDEST, *WIDTHS)],
    *[("augment.cu", {"CHANNELS": channels}) for channels in (1, 3)],
    ("mix.cu", {}),
    ("embedding.cu", {}),
    *[(file, {"HEAD_DIM": head_dim}) for file in ATTENTION for head_dim in range(16, 129, 16)],
]


class Needs(NamedTuple):
    """What a kernel takes of a multiprocessor: registers of a thread, bytes spilled to memory, of shared memory."""

    registers: int
    spilled: int
    shared: int


class Compiler:
    """NVRTC of one version.   folder: where to look for it, with all folders below.

    Raises FileNotFoundError if there is none.
    """

    def __init__(self, folder: Path):
        found = sorted(p for p in folder.rglob("libnvrtc.so.*") if re.fullmatch(r"libnvrtc\.so\.\d+", p.name))
        if not found:
            raise FileNotFoundError(f"no libnvrtc.so in {folder}")
        self.library = ctypes.CDLL(str(found[-1]))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    def compile(self, code: str, architecture: str) -> dict[str, Needs]:
        """Kernel -> what it needs on e.g. "sm_90". Raises RuntimeError with what the compiler says."""
        options = [f"-arch={architecture}", "-std=c++17", "-ftz=true", "--ptxas-options=-v"]
        program = ctypes.c_void_p()
        self.library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None)
        try:
            names = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
            failed = self.library.nvrtcCompileProgram(program, len(options), names)
            size = ctypes.c_size_t()
            self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            self.library.nvrtcGetProgramLog(program, log)
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))
        report = log.value.decode()
        if failed:
            raise RuntimeError(report)
        return needs(report)


class Nvcc:
    """The compiler of a CUDA toolkit, in place of NVRTC."""

    def compile(self, code: str, architecture: str) -> dict[str, Needs]:
        """As `Compiler.compile`."""
        with tempfile.TemporaryDirectory() as folder:
            source_file = Path(folder) / "kernel.cu"
            source_file.write_text(code, encoding="utf-8")
            command = ["nvcc", "-cubin", f"-arch={architecture}", "-std=c++17", "-ftz=true", "-Xptxas", "-v"]
            result = subprocess.run(
                [*command, "-o", f"{folder}/cubin", source_file], capture_output=True, text=True, check=False
            )
        if result.returncode:
            raise RuntimeError(result.stderr)
        return needs(result.stderr)


def needs(report: str) -> dict[str, Needs]:
    """Kernel -> what it needs, from the report of ptxas -v."""
    found = {}
    for part in report.split("Compiling entry function '")[1:]:
        numbers = (r"Used (\d+) registers", r"(\d+) bytes spill stores", r"(\d+) bytes smem")
        values = [int(match[1]) if (match := re.search(number, part)) else 0 for number in numbers]
        found[part.partition("'")[0]] = Needs(*values)
    return found


def specialisations(architecture: str) -> list[Specialisation]:
    """What is compiled for it: without bfloat16 before 8.0, whose hardware has none."""
    if int(architecture.removeprefix("sm_")) >= 80:
        return SPECIALISATIONS
    return [(file, d) for file, d in SPECIALISATIONS if "bf16" not in d.values() and file not in ATTENTION]


def must_not_spill(file: str, defines: dict[str, object]) -> bool:
    """Where what spills would be written and read again in the inner loop of a model's step."""
    return file in ATTENTION or (file == "layer_norm.cu" and defines["WIDTH"] in WIDTHS)

"""The kernels compile for the GPUs that they are meant for, in every specialisation, and stay within its registers.

Here with the compiler that is at hand, if there is one; .ci/compile-kernels does it with those of CUDA 12 and 13.
"""

import os
import shutil
import sys
from pathlib import Path

import nvrtc
import pytest
from cuda_on_cpu import SIGNATURE

from minivit.backend.cupy_kernels.launch import SOURCES, source


def compiler():
    """NVRTC of a CUDA toolkit, of CuPy's wheels or PyTorch's, or nvcc. Skips the test where there is none."""
    folders = [Path(os.environ.get("CUDA_PATH", "/usr/local/cuda")), *(Path(path) / "nvidia" for path in sys.path)]
    for folder in folders:
        try:
            return nvrtc.Compiler(folder)
        except (FileNotFoundError, OSError):
            continue
    if shutil.which("nvcc"):
        return nvrtc.Nvcc()
    pytest.skip("CUDA kernels not compiled for a GPU: neither NVRTC nor nvcc is here (pip install nvidia-cuda-nvrtc)")


@pytest.mark.parametrize("architecture", ["sm_75", "sm_86", "sm_90"])
def test_every_file_compiles_and_the_large_ones_do_not_spill(architecture):
    """One specialisation of each file: the widest of those that are not to spill."""
    here = compiler()
    some = {file: defines for file, defines in nvrtc.specialisations(architecture) if defines.get("WIDTH", 0) <= 768}
    assert len(some) == (9 if architecture == "sm_75" else 11)
    for file, defines in some.items():
        needs = here.compile(source(file, defines), architecture)
        assert set(needs) == {
            match["name"] for match in SIGNATURE.finditer((SOURCES / file).read_text(encoding="utf-8"))
        }
        assert all(need.registers > 0 for need in needs.values())
        assert not nvrtc.must_not_spill(file, defines) or all(need.spilled == 0 for need in needs.values())
        # Blocks of 1024 threads share 65,536 registers: with more for each, the launch is refused.
        assert all(
            need.registers <= 64 for name, need in needs.items() if name in ("column_sums", "tensor_squares", "clip")
        )


def test_a_fault_is_reported():
    here = compiler()
    with pytest.raises(RuntimeError, match="HEAD_DIM"):
        here.compile(source("attention.cu", {}), "sm_90")
    wide = source("layer_norm.cu", {"X": "float", "Y": "float", "WIDTH": 2048})
    assert here.compile(wide, "sm_90")["layer_norm_backward"].spilled > 0


def test_every_file_has_a_specialisation():
    files = {path.name for path in SOURCES.glob("*.cu")}
    assert {file for file, _ in nvrtc.SPECIALISATIONS} == files
    assert {file for file, _ in nvrtc.specialisations("sm_75")} == files - set(nvrtc.ATTENTION)
    assert not any("bf16" in defines.values() for _, defines in nvrtc.specialisations("sm_75"))


def test_what_a_kernel_needs_is_read_from_the_report():
    report = """ptxas info    : Compiling entry function 'a_1' for 'sm_90'
ptxas info    : Function properties for a_1
    24 bytes stack frame, 20 bytes spill stores, 28 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 18944 bytes smem, 360 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 22 registers, 372 bytes cmem[0]"""
    assert nvrtc.needs(report) == {"a_1": nvrtc.Needs(64, 20, 18944), "b": nvrtc.Needs(22, 0, 0)}

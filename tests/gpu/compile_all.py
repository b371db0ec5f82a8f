"""Compile every kernel for every capability, without a GPU, and say what each needs:

    python tests/gpu/compile_all.py FOLDER ...     each with a libnvrtc.so somewhere in it; .ci/compile-kernels gets two

Prints registers, bytes spilled and bytes of shared memory of every kernel. The exit code is 1 if one does not compile,
or spills where it must not.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/helpers"), str(ROOT)]
import nvrtc  # noqa: E402

from minivit.backend.cupy_kernels.launch import source  # noqa: E402


def report(compiler: nvrtc.Compiler, architecture: str) -> list[str]:
    """What is wrong, after a line is printed for each kernel."""
    faults = []
    for file, defines in nvrtc.specialisations(architecture):
        name = " ".join([file, *(f"{key}={value}" for key, value in defines.items())])
        try:
            needs = compiler.compile(source(file, defines), architecture)
        except RuntimeError as error:
            faults.append(f"{architecture} {name}: does not compile: {str(error).strip()[:2000]}")
            continue
        for kernel, (registers, spilled, shared) in needs.items():
            print(f"{architecture}  {kernel:27} {registers:4} {spilled:6} {shared:7}  {name}")
            if spilled and nvrtc.must_not_spill(file, defines):
                faults.append(f"{architecture} {name}: {kernel} spills {spilled} bytes")
    return faults


def main(folders: list[str]) -> int:
    """The exit code."""
    if not folders:
        sys.exit("name a folder with a libnvrtc.so in it, such as an unpacked wheel of nvidia-cuda-nvrtc")
    faults = []
    for folder in folders:
        compiler, begin = nvrtc.Compiler(Path(folder)), time.perf_counter()
        version = "CUDA {}.{}".format(*compiler.version)
        print(f"== {version}: registers, bytes spilled, bytes of shared memory")
        for architecture in nvrtc.ARCHITECTURES:
            faults += [f"{version} {fault}" for fault in report(compiler, architecture)]
        print(f"== {version}: {time.perf_counter() - begin:.0f} s")
    print("\n".join(faults) or "every kernel compiled, without spills in attention, nor in layer_norm up to 1280 wide")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

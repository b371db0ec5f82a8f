"""Run CUDA kernels on a CPU: compiled by g++ behind cuda_on_cpu.h, launched on NumPy arrays.

What the emulation finds, and what it cannot show, is said at the top of cuda_on_cpu.h.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

HEADER = (Path(__file__).parent / "cuda_on_cpu.h").read_text(encoding="utf-8")
# Without _FORTIFY_SOURCE, which takes a jump to the stack of another fiber for an attack.
COMPILE = ["g++", "-fPIC", "-shared", "-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-x", "c++", "-"]
NO_COMPILER = "CUDA kernels not tested: no g++ on Linux to run them on the CPU"
GUARD = 4096  # bytes of 0xFF (NaN) before and behind every array while a kernel runs

SIGNATURE = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\((?P<bounds>[^)]*)\)\s*)?'
    r"(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)"
)


def available() -> bool:
    """Whether the compiler is there, and a linker that names the ends of sections as Linux's does."""
    return sys.platform == "linux" and shutil.which("g++") is not None


class CompilationError(RuntimeError):
    """What g++ says about a source that does not compile."""


class Parameter(NamedTuple):
    """A kernel's parameter; for a pointer `type` is what it points to."""

    name: str
    type: str
    is_pointer: bool
    is_const: bool

    @classmethod
    def parse(cls, declaration: str) -> "Parameter":
        declaration = declaration.replace("__restrict__", " ").strip()
        type_, name = re.fullmatch(r"(.*?)(\w+)", declaration, re.DOTALL).groups()
        is_pointer = type_.rstrip().endswith("*")
        type_ = type_.strip().removesuffix("*").strip()
        return cls(name, type_.removeprefix("const "), is_pointer, type_.startswith("const "))


class Module:
    """The kernels of a source text.   options: "-std=..." and "-D..." as for the GPU's compiler.

    optimise: False for what is run once and briefly, which then is compiled in half the time.

    Raises CompilationError with the compiler's messages.
    """

    def __init__(self, code: str, options: Sequence[str] = (), optimise: bool = True):
        if unknown := [option for option in options if not option.startswith(("-D", "-std="))]:
            raise ValueError(f"options {unknown}: only -D and -std= mean the same to g++")
        self.kernels: dict[str, list[Parameter]] = {}
        entries = []
        for match in SIGNATURE.finditer(code):
            parameters = [Parameter.parse(text) for text in match["parameters"].split(",") if text.strip()]
            self.kernels[match["name"]] = parameters
            entries.append(_entry(match["name"], parameters, match["bounds"]))
        self.library = ctypes.CDLL(
            str(_compiled("\n".join([HEADER, code, *entries]), [*options, "-O1" if optimise else "-O0"]))
        )

    def launch(
        self,
        name: str,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        args: Sequence[Any],
        shared_mem: int = 0,
        reverse: bool = False,
    ) -> None:
        """Run a kernel, as a launch on a GPU would; `reverse` runs blocks, warps and lanes from the last to the first.

        args: arrays (a pointer to their data), None (a null pointer), NumPy scalars, 0-d structured arrays (a struct).
        Raises TypeError for an argument that does not fit its parameter, ValueError for sizes that no GPU takes,
        RuntimeError for what the emulation finds, such as a barrier that not all threads reach.
        """
        grid, block = _three(grid), _three(block)
        sizes = (ctypes.c_int * (1 + len(self.kernels[name]))).in_dll(self.library, f"sizes_{name}")
        _check_limits(name, grid, block, shared_mem, max_threads=sizes[0])
        memory = GuardedMemory()
        values = self._values(name, args, sizes[1:], memory)
        pointers = (ctypes.c_void_p * max(1, len(values)))(*[value.ctypes.data for value in values])
        reason = ctypes.create_string_buffer(400)
        failed = self.library.cuda_on_cpu_launch(
            ctypes.cast(self.library[f"entry_{name}"], ctypes.c_void_p),
            pointers,
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            ctypes.c_size_t(shared_mem),
            ctypes.c_int(reverse),
            reason,
            ctypes.c_size_t(len(reason)),
        )
        if failed:
            raise RuntimeError(f"{name}: {reason.value.decode()}")
        memory.copy_back(name)

    def _values(
        self, name: str, args: Sequence[Any], sizes: Sequence[int], memory: "GuardedMemory"
    ) -> list[np.ndarray]:
        """Each argument as an array that holds what is passed: the value itself, or an address."""
        parameters = self.kernels[name]
        if len(args) != len(parameters):
            raise TypeError(f"{name} takes {len(parameters)} arguments, got {len(args)}")
        values = []
        for argument, parameter, size in zip(args, parameters, sizes, strict=True):
            expected = f"{name}: {parameter.name} is {{}}, expected {'a pointer to' if parameter.is_pointer else ''} "
            expected += f"{parameter.type} of {size} bytes"
            if parameter.is_pointer and argument is None:
                values.append(np.array(0, np.uintp))
            elif isinstance(argument, np.ndarray) and argument.ndim and parameter.is_pointer:
                if argument.itemsize != size or not argument.flags.c_contiguous:
                    raise TypeError(expected.format(f"an array {argument.dtype} {argument.strides}"))
                values.append(np.array(memory.address(argument, parameter), np.uintp))
            elif isinstance(argument, np.generic | np.ndarray) and not argument.ndim and not parameter.is_pointer:
                if argument.itemsize != size:
                    raise TypeError(expected.format(f"a {argument.dtype}"))
                values.append(np.array(argument))
            else:  # a Python int or float too: a real launch would pass 8 bytes of it
                raise TypeError(expected.format(f"a {type(argument).__name__}"))
        return values


class GuardedMemory:
    """The device memory of one launch: a copy of each array with NaN around it."""

    def __init__(self) -> None:
        self.copies: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray, list[Parameter]]] = {}

    def address(self, array: np.ndarray, parameter: Parameter) -> int:
        """Where the copy of an array is, as well aligned as the array itself. An array given twice is copied once."""
        key = (array.ctypes.data, array.nbytes)
        if key not in self.copies:
            whole = np.full(array.nbytes + 2 * GUARD + 256, 0xFF, np.uint8)
            start = GUARD + (array.ctypes.data - whole.ctypes.data - GUARD) % 256
            copy = whole[start : start + array.nbytes]
            copy[:] = array.reshape(-1).view(np.uint8)
            self.copies[key] = (array, whole, copy, [])
        self.copies[key][3].append(parameter)
        return self.copies[key][2].ctypes.data

    def copy_back(self, name: str) -> None:
        """Bring the results back. Raises RuntimeError if a kernel wrote beside an array, or to one it calls const."""
        for array, whole, copy, parameters in self.copies.values():
            start = copy.ctypes.data - whole.ctypes.data
            if (whole[:start] != 0xFF).any() or (whole[start + copy.size :] != 0xFF).any():
                raise RuntimeError(f"{name}: wrote outside {parameters[0].name}")
            target = array.reshape(-1).view(np.uint8)
            if not all(parameter.is_const for parameter in parameters):
                target[:] = copy
            elif (target != copy).any():
                raise RuntimeError(f"{name}: changed {parameters[0].name}, which is const")


def _three(size: int | tuple[int, ...]) -> tuple[int, ...]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return (*sizes, 1, 1)[:3]


def _check_limits(name: str, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int, max_threads: int) -> None:
    """Raise ValueError for a launch that a GPU refuses."""
    if not all(1 <= n <= limit for n, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=True)):
        raise ValueError(f"{name}: grid {grid} is outside 1..(2147483647, 65535, 65535)")
    if min(block) < 1 or block[2] > 64 or np.prod(block) > max_threads:
        raise ValueError(f"{name}: block {block} has more than {max_threads} threads, or none")
    if not 0 <= shared_mem <= 227 * 1024:
        raise ValueError(f"{name}: {shared_mem} bytes of shared memory, a block can have {227 * 1024}")


def _entry(name: str, parameters: Sequence[Parameter], bounds: str | None) -> str:
    """C++: a function that takes the addresses of the arguments, and a table: most threads, size of each argument."""
    types = [f"{'const ' if p.is_const else ''}{p.type}" for p in parameters]
    arguments = ", ".join(
        f"*static_cast<{type_}{'*' if p.is_pointer else ''}*>(a[{i}])"
        for i, (type_, p) in enumerate(zip(types, parameters, strict=True))
    )
    max_threads = (bounds or "1024").partition(",")[0]
    sizes = ", ".join([f"int({max_threads})", *(f"int(sizeof({type_}))" for type_ in types)])
    visible = 'extern "C" __attribute__((visibility("default")))'
    return (
        f"{visible} void entry_{name}(void** a) {{ {name}({arguments}); }}\n"
        f"{visible} int sizes_{name}[{len(types) + 1}];\n"
        f"int sizes_{name}[] = {{{sizes}}};\n"
    )


def _compiled(text: str, options: Sequence[str]) -> Path:
    """The library of a source text: compiled once, kept under a name made from all that decides what it does.

    Without a compiler the test that needs it is skipped.
    """
    if not available():
        pytest.skip(NO_COMPILER)
    key = hashlib.sha256("\0".join([text, *COMPILE, *options]).encode()).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"minivit-cuda-on-cpu-{getattr(os, 'getuid', int)()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        handle, unfinished = tempfile.mkstemp(dir=folder)
        os.close(handle)
        result = subprocess.run(
            [*COMPILE, *options, "-o", unfinished], input=text, capture_output=True, text=True, check=False
        )
        if result.returncode:
            os.unlink(unfinished)
            raise CompilationError(result.stderr)
        os.replace(unfinished, library)  # at once, so that no other process sees half of it
    return library

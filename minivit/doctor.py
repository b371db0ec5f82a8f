"""Check this machine and say what is missing: `python -m minivit.doctor`."""

import contextlib
import ctypes
import importlib
import importlib.util
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import minivit
from minivit import cli
from minivit.backend import blas, get_namespace, to_numpy
from minivit.backend.arrays import cupy_command, first_line
from minivit.backend.cores import usable_cores
from minivit.backend.cupy_kernels import cublaslt
from minivit.backend.cupy_kernels.product import product
from minivit.backend.kernels import find
from minivit.backend.precision import PRECISIONS, bfloat16, precision, require
from minivit.backend.rates import matmul_rate
from minivit.data import data_root, load
from minivit.errors import BackendError, DataError
from minivit.plots.canvas import load_matplotlib

LOADERS: dict[str, Callable[[str], Any]] = {
    "matplotlib": lambda _: load_matplotlib(),
    "tqdm": lambda _: cli.load_tqdm(),
}


def main(argv: Sequence[str] | None = None) -> int:
    cli.Parser("doctor", description=__doc__).parse_args(argv)
    for topic, finding in [*versions(), *processor(), *gpu(), *data()]:
        print(f"{topic:<14} {finding}")
    return 0


def versions() -> Iterator[tuple[str, str]]:
    """The versions of Python, minivit and its libraries."""
    yield "minivit", minivit.__version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    for name in ("numpy", "safetensors", "matplotlib", "PIL", "tqdm", "threadpoolctl"):
        try:
            module = LOADERS.get(name, importlib.import_module)(name)
            yield name, getattr(module, "__version__", "installed")
        except ImportError as error:
            yield name, f"MISSING ({error}); install it with: pip install minivit"
        except Exception as error:  # of the library, in which anything may be wrong
            yield name, f"BROKEN ({type(error).__name__}: {error}); pip install --force-reinstall {name}"


def processor() -> Iterator[tuple[str, str]]:
    """Cores, the matrix library and its measured speed."""
    count, limit = usable_cores()
    yield "cores", f"{count} of {os.cpu_count() or count}{f': {limit}' if limit else ''}"
    for library in blas.libraries():
        threads = library["num_threads"]
        details = f"{library['internal_api']} {library['version']}, {threads} thread{'s' if threads != 1 else ''}"
        yield "blas", f"{details}, {library.get('architecture', 'unknown')} kernels"
    if not blas.libraries():
        yield "blas", blas.trouble() or f"{blas.built_with() or 'none'}, held to one thread in each worker"
    yield "matmul", f"{matmul_rate():.0f} GFLOP/s in float32 (1024 x 1024)"


def gpu() -> Iterator[tuple[str, str]]:
    """Driver, CuPy, libraries and memory of a GPU, or the missing part and the command that installs it."""
    cuda = driver_cuda_version()
    if cuda is None:
        yield "driver", "none found: minivit runs on NumPy; for a GPU install NVIDIA's driver first"
    else:
        yield "driver", f"for CUDA {cuda[0]}.{cuda[1]}"
    command = cupy_command(cuda[0] if cuda else 13)
    if not is_installed("cupy"):
        yield "cupy", f"not installed (needed for a GPU only): {command}"
        return
    try:
        cupy = get_namespace("cupy")
    except BackendError as error:
        yield "cupy", str(error)
        return
    runtime = cupy.cuda.runtime
    version = runtime.runtimeGetVersion()
    yield "cupy", f"{cupy.__version__}, CUDA runtime {version // 1000}.{version % 1000 // 10}"
    if cuda and version // 1000 > cuda[0]:
        yield "cupy", f"TOO NEW for the driver: pip uninstall cupy-cuda{version // 1000}x, then {command}"
    properties, (free, total) = runtime.getDeviceProperties(runtime.getDevice()), runtime.memGetInfo()
    yield "gpu", f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}"
    yield "gpu memory", f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    without = f"MISSING: products are slower, steps cannot be recorded; {cupy_command(version // 1000)}"
    yield "cublasLt", cublaslt.library_version() or without
    yield from gpu_work(cupy)


def gpu_work(cupy: Any) -> Iterator[tuple[str, str]]:
    """Whether a kernel of minivit compiles and computes correctly, and a product in each precision."""
    x = cupy.ones((16, 16), "float32")
    softmax = find("softmax", cupy.ndarray)
    assert softmax is not None
    works = {
        "kernel": (lambda: softmax(x)[0], 1 / 16, "softmax, compiled here, is right"),
        "float32": (lambda: product(x, x), 16, "a product is right"),
        "tf32": (lambda: product(x, x), 16, "a product is right"),
        "bf16": (lambda: product(*2 * [x.astype(bfloat16())], dtype="float32"), 16, "a product is right"),
    }
    for topic, (work, expected, right) in works.items():
        try:
            require(topic)
            mode = precision(topic) if topic in PRECISIONS else contextlib.nullcontext()
            with mode, warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                y = to_numpy(work())
            finding = right if abs(y - expected).max() < 1e-3 else f"WRONG: {y.flat[0]}, expected {expected}"
            yield topic, "; ".join([finding, *(str(one.message) for one in said)])
        except Exception as error:
            yield topic, f"DOES NOT WORK: {first_line(error)}"


def is_installed(name: str) -> bool:
    """Whether a package could be imported."""
    return sys.modules[name] is not None if name in sys.modules else importlib.util.find_spec(name) is not None


def driver_cuda_version() -> tuple[int, int] | None:
    """The newest CUDA (major, minor) that the installed driver supports; None without a driver."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        version = ctypes.c_int()
        with contextlib.suppress(OSError, AttributeError):
            if ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version)) == 0:
                return version.value // 1000, version.value % 1000 // 10
    return None


def data() -> Iterator[tuple[str, str]]:
    """The data folder and which data sets are in it."""
    try:
        root = data_root()
        yield "data folder", f"{root}{'' if root.is_dir() else ' (does not exist yet)'}; set MINIVIT_DATA to change it"
    except DataError as error:
        yield "data folder", str(error)
    except RuntimeError:
        yield "data folder", "there is no home folder: set MINIVIT_DATA to a folder"
    for name in ("digits", "cifar10", "cifar100"):
        try:
            yield name, f"{len(load(name))} training images"
        except (DataError, RuntimeError) as error:
            yield name, str(error)


if __name__ == "__main__":
    cli.run_command(main)

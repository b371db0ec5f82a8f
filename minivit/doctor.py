"""Tell what this machine has and what is missing: `python -m minivit.doctor`."""

import importlib
import os
import platform
import sys
from collections.abc import Iterator, Sequence

from threadpoolctl import threadpool_info

import minivit
from minivit import cli
from minivit.backend import get_namespace
from minivit.backend.rates import matmul_rate
from minivit.backend.workers import available_cores
from minivit.data import data_root, load
from minivit.errors import BackendError, DataError


def main(argv: Sequence[str] | None = None) -> int:
    cli.Parser("doctor", description=__doc__).parse_args(argv)
    for topic, finding in [*versions(), *processor(), *gpu(), *data()]:
        print(f"{topic:<14} {finding}")
    return 0


def versions() -> Iterator[tuple[str, str]]:
    """Python, minivit and the libraries it uses."""
    yield "minivit", minivit.__version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    for name in ("numpy", "safetensors", "matplotlib", "PIL", "tqdm", "threadpoolctl"):
        try:
            yield name, getattr(importlib.import_module(name), "__version__", "installed")
        except ImportError as error:
            yield name, f"MISSING ({error}); install it with: pip install minivit"


def processor() -> Iterator[tuple[str, str]]:
    """Cores, the matrix library and its measured speed."""
    yield "cores", f"{available_cores()} usable of {os.cpu_count()}"
    for library in threadpool_info():
        if library["user_api"] == "blas":
            details = f"{library['internal_api']} {library['version']}, {library['num_threads']} threads"
            yield "blas", f"{details}, {library.get('architecture', 'unknown')} kernels"
    yield "matmul", f"{matmul_rate():.0f} GFLOP/s in float32 (1024 x 1024)"


def gpu() -> Iterator[tuple[str, str]]:
    """CuPy and the device, or what to install."""
    try:
        cupy = get_namespace("cupy")
    except BackendError as error:
        yield "gpu", str(error)
        return
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    free, total = runtime.memGetInfo()
    yield "cupy", f"{cupy.__version__}, CUDA runtime {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}"
    yield "gpu", f"{properties['name'].decode()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def data() -> Iterator[tuple[str, str]]:
    """The data folder and which data sets are in it."""
    root = data_root()
    yield "data folder", f"{root}{'' if root.is_dir() else ' (does not exist yet)'}; set MINIVIT_DATA to change it"
    for name in ("digits", "cifar10", "cifar100"):
        try:
            yield name, f"{len(load(name))} training images"
        except DataError as error:
            yield name, str(error)


if __name__ == "__main__":
    cli.run_command(main)

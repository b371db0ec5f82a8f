"""What machine the stand-in stands on: its GPUs, the versions of its libraries, and what is not installed there."""

import dataclasses
from collections.abc import Collection

import numpy as np

SHARED_MEMORY = {(7, 0): 96, (7, 5): 64, (8, 0): 163, (8, 6): 99, (8, 9): 99, (9, 0): 227, (10, 0): 227, (12, 0): 99}


@dataclasses.dataclass
class Machine:
    """capabilities: of each GPU; none is a machine without one. memory: bytes, of all together. cuda: major version of
    CuPy's CUDA. missing: libraries of CUDA that are not there, "nvrtc" or "cublas"."""

    capabilities: tuple[tuple[int, int], ...] = ((9, 0),)
    memory: int = 16 << 30
    cuda: int = 13
    cupy: str = "14.2.0"
    numpy: str = np.__version__
    missing: Collection[str] = ()

    @property
    def has_bfloat16(self) -> bool:
        """Whether this CuPy, with this NumPy, has arrays of bfloat16."""
        return numbers(self.cupy) >= (14,) and numbers(self.numpy) >= (2, 1, 2)

    def shared_memory(self, device: int) -> int:
        """Bytes that a block of this GPU may ask for."""
        return SHARED_MEMORY[self.capabilities[device]] << 10


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


class DynamicLibNotFoundError(RuntimeError):
    """As cuda.pathfinder's."""

    __module__ = "cuda.pathfinder._dynamic_libs.load_dl_common"


machine = Machine()


def choose(**choices: object) -> None:
    """A machine of the defaults with these changes."""
    for name, value in vars(Machine(**choices)).items():  # type: ignore[arg-type]
        setattr(machine, name, value)


def need(library: str) -> None:
    """Raise what CuPy raises at the first use of a library of CUDA that is not there."""
    if library in machine.missing:
        name = f"lib{library}.so.{machine.cuda}"
        raise DynamicLibNotFoundError(f'Failure finding "{name}": No such file: {name}\n  listdir("/lib")\n  sys.path')

"""A strict stand-in for CuPy: its manners on the CPU's memory, so that what would fail on a GPU fails in every test.

`with standin_cupy.installed() as cupy:` puts it into the place of CuPy; `minivit.backend.get_namespace("cupy")` then
gives it, with the kernels that are registered for CuPy. What it models, and is strict about:

- nothing becomes a NumPy array by itself, and arrays of both libraries do not mix (CuPy: TypeError);
- reductions give arrays of no axes; results of element-wise functions are C-contiguous; integer arrays as indices wrap
  around; functions, methods and keywords that CuPy has not got are missing;
- whatever makes the host wait for the device is counted (`synchronisations()`) and can be forbidden
  (`forbid_synchronisation()`);
- memory is poisoned before it is written and after it is freed, and a pool can run out of it; a pool keeps what is
  freed for the stream it was allocated on, shares it with no other pool, and takes it along when it is dropped;
- while a stream is captured nothing runs, products through cuBLAS and copies from and to the host are refused (what
  CUDA refuses invalidates the capture), and a launched graph works on the memory it was captured with;
- the machine can be chosen: GPUs and their compute capability, versions, libraries that are missing (machine.py);
- bfloat16 as far as CuPy has it; CUDA kernels, by tests/helpers/cuda_on_cpu.

Not modelled: time, two streams at once; several devices have one memory.
"""

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
from fake_cublaslt import FakeCublasLt

from minivit.backend.arrays import _NAMESPACES
from minivit.backend.cupy_kernels import cublaslt
from minivit.backend.kernels import _TABLE
from standin_cupy import device, nccl
from standin_cupy.device import forbid_synchronisation
from standin_cupy.functions import cupy
from standin_cupy.machine import choose, machine

__all__ = ["cupy", "forbid_synchronisation", "installed", "machine", "synchronisations"]

cupyx = types.ModuleType("cupyx", "Pinned memory is memory like any other here.")
vars(cupyx).update(empty_pinned=np.empty, zeros_pinned=np.zeros)
MODULES = {
    "cupy": cupy,
    "cupy.cuda": cupy.cuda,
    "cupy.cuda.memory": cupy.cuda.memory,
    "cupy.cuda.nccl": nccl,
    "cupy.cuda.runtime": cupy.cuda.runtime,
    "cupyx": cupyx,
}


def synchronisations() -> int:
    """How often the host waited for the device since the stand-in was installed."""
    return device.synchronisations


@contextlib.contextmanager
def installed(**choices: Any) -> Iterator[types.ModuleType]:
    """Within this context `import cupy` gives the stand-in. Afterwards minivit knows nothing of it.

    choices: of what machine.Machine describes, such as `capabilities=((7, 5),)`.
    """
    modules = {name: sys.modules.get(name) for name in MODULES}
    # As in CuPy's place, host memory in that of the GPU's: the real library would be given its addresses.
    product_library, numpy_version = cublaslt.library, np.__version__
    library = cublaslt.CublasLt(FakeCublasLt(device.is_allocated, device.submit_by_address))
    tables = [(table, dict(table)) for table in (_NAMESPACES, _TABLE)]
    device.reset()
    choose(**choices)
    cupy.__version__, np.__version__ = machine.cupy, machine.numpy
    sys.modules.update(MODULES)
    cublaslt.library = lambda: library
    try:
        yield cupy
    finally:
        cublaslt.library, np.__version__ = product_library, numpy_version
        choose()
        for name, module in modules.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        for table, content in tables:
            table.clear()
            table.update(content)

"""The engine's own overhead: time around an op beyond the op's own, and time to import the package."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.backend import kernels
from minivit.backend.rates import best_time
from minivit.tensor import Tensor, grad

CHAIN = 500  # ops in a row


def op_overhead(repeats: int = 20) -> dict[str, tuple[float, float]]:
    """Microseconds per op on four numbers, forward and backward together: through the engine, and the op alone."""
    x, other = np.full(4, 0.5, np.float32), np.ones(4, np.float32)
    result = {}
    for name, rest in {"add": (other,), "mul": (other,), "neg": (), "tanh": (), "gelu": (), "softmax": ()}.items():
        lifted, op = getattr(F, name), getattr(ops, name)

        def engine(lifted: Callable = lifted, rest: tuple = rest) -> None:
            y = start = Tensor(x, requires_grad=True)
            for _ in range(CHAIN):
                y = lifted(y, *rest)
            grad(y, [start], other)

        def alone(op: Callable = op, rest: tuple = rest) -> None:
            y, vjps = x, []
            for _ in range(CHAIN):
                y, vjp = op(y, *rest)
                vjps.append(vjp)
            g = other
            for vjp in reversed(vjps):
                g = vjp(g)[0]

        with kernels("reference"):  # both run the op itself
            result[name] = 1e6 * best_time(engine, repeats) / CHAIN, 1e6 * best_time(alone, repeats) / CHAIN
    return result


def import_time(repeats: int = 7) -> dict[str, float]:
    """Seconds, of the fastest of several fresh processes, to import minivit, everything a model needs, and NumPy."""
    statements = {
        "import minivit": "import minivit",
        "from minivit.models import ViT": "from minivit.models import ViT",
        "import numpy": "import numpy",
    }
    program = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    return {
        name: min(
            float(subprocess.run([sys.executable, "-c", program.format(code)], capture_output=True, check=True).stdout)
            for _ in range(repeats)
        )
        for name, code in statements.items()
    }

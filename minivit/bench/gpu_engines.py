"""The engines on a GPU: steps that the host launches without waiting, timed by CUDA events.

Both sides get the same batch, already on the GPU, tanh GELU, no dropout and fused AdamW, and nothing is read back.
Precision "bf16" is mixed precision on both sides (PyTorch: autocast), "tf32" float32 with products in TF32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.backend import get_namespace
from minivit.backend.precision import precision as in_precision
from minivit.backend.precision import require
from minivit.bench.engines import torch_model
from minivit.bench.workload import Workload
from minivit.models import ViT
from minivit.optim import AdamW
from minivit.tensor import no_grad
from minivit.update.device import DeviceStep
from minivit.update.objective import Classification

WARM_UP = 4  # steps before anything is timed: compilation, choice of algorithms, recording


class Minivit:
    """This project, as `python -m minivit.train --backend cupy` runs it. Call it for a step; `seconds(n)` times n."""

    def __init__(
        self,
        load: Workload,
        training: bool,
        precision: str = "float32",
        graph: bool = True,
        recompute: bool = False,
        accumulate: int | None = None,
    ):
        self.cupy = get_namespace("cupy")
        require(precision)
        self.precision, self.training = precision, training
        self.images, self.labels = (self.cupy.asarray(x) for x in load.data())
        self.model = ViT(load.model).to("cupy").train(training)
        self.model.recompute_blocks = recompute
        optimizer = AdamW(self.model.named_parameters(), 1e-4, weight_decay=0.05)
        self.step = DeviceStep(Classification(self.model), optimizer, None, None, accumulate or 1, graph and training)
        for _ in range(WARM_UP):
            self()

    def __call__(self) -> Any:
        with in_precision(self.precision), self.step.active():
            return self._step()

    def _step(self) -> Any:
        if self.training:
            return self.step.update({"images": self.images, "labels": self.labels})
        with no_grad():
            return self.model(self.images).data

    def seconds(self, steps: int) -> float:
        """Seconds per step, on the GPU's clock."""
        begin, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        with in_precision(self.precision), self.step.active():
            begin.record()
            for _ in range(steps):
                self._step()
            end.record()
            end.synchronize()
        return self.cupy.cuda.get_elapsed_time(begin, end) / 1e3 / steps

    def peak_memory(self) -> float:
        """MB of GPU memory held."""
        return (self.cupy.get_default_memory_pool().total_bytes() + self.step.pool_bytes()) / 1e6

    def close(self) -> None:
        """Nothing to stop."""


class Torch:
    """PyTorch on the GPU. mode: None (eager), or that of torch.compile."""

    def __init__(self, load: Workload, training: bool, precision: str = "float32", mode: str | None = None):
        import torch

        self.torch, self.training = torch, training
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.autocast = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")
        x, y = load.data()
        self.images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).cuda()
        self.labels = torch.from_numpy(y).cuda()
        model = torch_model(load.model).cuda().train(training)
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05, fused=True)
        self.model = torch.compile(model, mode=mode) if mode else model
        for _ in range(WARM_UP):
            self()

    def __call__(self) -> Any:
        if not self.training:
            with self.torch.inference_mode(), self.autocast:
                return self.model(self.images)
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            loss = self.torch.nn.functional.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def seconds(self, steps: int) -> float:
        """Seconds per step, on the GPU's clock."""
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(steps):
            self()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / steps

    def peak_memory(self) -> float:
        """The peak of reserved GPU memory in MB."""
        return self.torch.cuda.max_memory_reserved() / 1e6


def torch_compile(load: Workload, training: bool, precision: str = "float32") -> Torch:
    """PyTorch with torch.compile."""
    return Torch(load, training, precision, "default")


def torch_graphs(load: Workload, training: bool, precision: str = "float32") -> Torch:
    """PyTorch with torch.compile and CUDA graphs."""
    return Torch(load, training, precision, "reduce-overhead")


GPU_ENGINES: dict[str, Callable[..., Any]] = {
    "minivit": Minivit,
    "torch": Torch,
    "torch-compile": torch_compile,
    "torch-graphs": torch_graphs,
}

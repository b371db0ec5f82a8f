"""A workload: a ViT, a batch size, and the work in one step."""

import dataclasses

import numpy as np

from minivit.errors import ConfigError
from minivit.models import ViTConfig
from minivit.models.cost import multiply_adds


@dataclasses.dataclass(frozen=True)
class Workload:
    """A model and the number of images in a step."""

    name: str
    model: ViTConfig
    batch: int

    def gflop(self, training: bool, class_row_only: bool = False) -> float:
        """Matrix-product work of one step in GFLOP: 2 per multiply-add, and training costs three forward passes.

        class_row_only: as for `multiply_adds`.
        """
        return 2 * multiply_adds(self.model, class_row_only) * self.batch * (3 if training else 1) / 1e9

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Random images (B, height, width, C) float32 and labels (B,)."""
        rng = np.random.default_rng(0)
        size = (self.batch, *self.model.image_size, self.model.channels)
        return rng.standard_normal(size, dtype=np.float32), rng.integers(0, self.model.num_classes, self.batch)


def _cifar(**changes: int) -> ViTConfig:
    return ViTConfig(image_size=32, patch_size=4, num_classes=10, **changes)  # type: ignore[arg-type]


WORKLOADS = {
    load.name: load
    for load in (
        Workload("cifar-ti", _cifar(width=192, depth=12, heads=3), 128),
        Workload("cifar-s6", _cifar(width=256, depth=6, heads=4, mlp_width=512), 128),
        Workload("ti16-224", ViTConfig.variant("Ti/16"), 16),
        Workload("b16-224", ViTConfig.variant("B/16"), 8),
    )
}


def find(name: str) -> Workload:
    """The workload called `name`. Raises ConfigError, listing the names."""
    if name not in WORKLOADS:
        raise ConfigError(f'unknown workload "{name}"; choose from {", ".join(WORKLOADS)}, or give --model and --batch')
    return WORKLOADS[name]

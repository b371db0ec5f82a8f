"""A small system that is no classifier, in the place of a file of `minivit/lineage`: it paints the mean of an image."""

import dataclasses
import sys

import numpy as np
import pytest

from minivit import lineage
from minivit import nn as layers
from minivit.errors import ConfigError
from minivit.update.objective import Objective


@dataclasses.dataclass(frozen=True)
class PaintConfig:
    share: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    teacher: str | None = None

    def __post_init__(self):
        if not 0 < self.share < 1:
            raise ConfigError(f"share is {self.share}, expected more than 0 and less than 1")


class Paint(Objective):
    Config = PaintConfig
    columns = ("images",)

    def __init__(self, config, given):
        self.config, self.network, self.given = config, given.encoder(), given
        if config.teacher and given.teacher is None:
            raise ConfigError("it learns from a teacher: --teacher RUN")
        self.teacher = given.teacher
        width = given.model.width
        self.paint = layers.Linear(width, given.model.channels, np.random.default_rng((given.seed, 1)), given.dtype)

    @classmethod
    def build(cls, config, given):
        return cls(config, given)

    def draw(self, batch, step, rng):
        count = next(len(x) for x in batch.values())
        return {"weight": 1 + 0.1 * rng.standard_normal(count).astype(np.float32)}

    def forward(self, batch, rng=None):
        return (self.paint(self.network(batch["images"], rng=rng)),)

    def loss(self, outputs, batch):
        error = outputs[0] - batch["images"].mean(axis=(1, 2))
        return (error * error * batch["weight"][:, None]).mean()

    def sums(self, outputs, batch):
        return {"brightness": outputs[0].data.mean(axis=-1).sum()}

    @property
    def encoder(self):
        return self.network


PRESETS = {
    "digits-paint": {
        "data": "digits",
        "objective": {"name": "paint", "share": 0.25},
        "model": {"patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16},
        "batch_size": 16,
        "steps": 4,
    }
}
HOW = {"brightness": lambda objective, data, recipe: [f"{len(data)} images seen by {type(objective).__name__}"]}
PARITY = "none"


@pytest.fixture
def painting(monkeypatch):
    """The system is known by the name "paint", and no other is."""
    for known in (lineage.OBJECTIVES, lineage.SYSTEMS):
        for name in list(known):
            monkeypatch.delitem(known, name)
    monkeypatch.setitem(lineage.OBJECTIVES, "paint", "paint:Paint")
    monkeypatch.setitem(lineage.SYSTEMS, "paint", lineage.systems.System(2026, "a test", "paints"))
    monkeypatch.setitem(sys.modules, "minivit.lineage.paint", sys.modules[__name__])

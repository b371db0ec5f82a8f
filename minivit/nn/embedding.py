"""Embedding: a learned vector for every word of a vocabulary."""

from minivit import functional as F
from minivit.backend import Array
from minivit.nn import initialisers as init
from minivit.nn.module import Module
from minivit.tensor import Tensor


class Embedding(Module):
    """ids (...), integers in 0..count-1 -> (..., D).   table: (count, D), normal at first, as in CLIP's code."""

    def __init__(self, count: int, width: int, rng: init.Rng, dtype: str = "float32", std: float = 0.02):
        self.table = init.parameter(init.normal(rng, (count, width), std), dtype)

    def forward(self, ids: Array) -> Tensor:
        return F.embedding(self.table, ids)

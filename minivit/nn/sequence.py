"""Modules one after the other."""

from typing import Any

from minivit.nn.module import Module
from minivit.tensor import Tensor


class Sequence(Module):
    """y = f_n(... f_2(f_1(x))).   Further arguments, such as `rng`, go to every module."""

    def __init__(self, *modules: Module):
        self.inside = list(modules)

    def forward(self, x: Tensor, *given: Any) -> Tensor:
        for module in self.inside:
            x = module(x, *given)
        return x

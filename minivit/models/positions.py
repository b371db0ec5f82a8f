"""The position parameters of a ViT: the learned table, and the ablations of the paper's appendix D.4."""

import functools
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.models.config import ViTConfig
from minivit.models.posemb import sincos_2d
from minivit.nn import initialisers as init
from minivit.tensor import Tensor


def position_tables(config: ViTConfig, rng: init.Rng, dtype: str) -> dict[str, Tensor]:
    """The learned tables of `config`, by name; none for position "sincos2d" and "none"."""
    (rows, columns), width = config.grid, config.width
    shapes: dict[str, tuple[int, ...]] = {}
    if config.position == "learned":
        shapes = {"position_embedding": (1, config.num_positions, width)}
    elif config.position == "learned2d":
        shapes = {"row_embedding": (rows, 1, width // 2), "column_embedding": (1, columns, width // 2)}
    return {name: init.parameter(init.normal(rng, shape, std=0.02), dtype) for name, shape in shapes.items()}


def resized(
    table: Tensor,
    old: tuple[int, int],
    new: tuple[int, int],
    method: str,
    prefix: int = 0,
    scale: tuple[float, float] | None = None,
) -> Tensor:
    """A position table (1, prefix + N, D) of a grid for another grid, differentiably; the first rows stay.   method,
    scale: as of `F.resize`."""
    if tuple(old) == tuple(new):
        return table
    patches = (table[:, prefix:] if prefix else table).reshape(1, *old, -1)
    patches = F.resize(patches, new, method, scale).reshape(1, new[0] * new[1], -1)
    return F.concat(table[:, :prefix], patches, axis=1) if prefix else patches


def patch_positions(model: Any) -> Tensor | None:
    """What is added to the patches before other tokens are prepended: (..., rows * columns, D), or None.

    A table of the grid alone gives the [class] token, which is itself learned, no position.   model: a ViT.
    """
    config: ViTConfig = model.config
    (rows, columns), width = config.grid, config.width
    if config.position == "learned":
        return model.position_embedding if config.no_embed_class else None
    if config.position == "sincos2d":
        like = model.first_array()
        return Tensor(_sincos_table((rows, columns), width, xp_of(like), like.dtype))
    if config.position == "learned2d":
        half = (rows, columns, width // 2)
        by_column = F.broadcast_to(model.column_embedding, half)
        by_row = F.broadcast_to(model.row_embedding, half)
        return F.concat(by_column, by_row, axis=2).reshape(rows * columns, width)
    return None


def _sincos_table(grid: tuple[int, int], width: int, xp: Any, dtype: Any) -> Array:
    """On the current device of `xp`, where it stays for good: a step that is recorded there can copy nothing from the
    host, and reads the table again and again."""
    return _kept_table(grid, width, xp, dtype, 0 if xp is np else xp.cuda.Device().id)


@functools.cache
def _kept_table(grid: tuple[int, int], width: int, xp: Any, dtype: Any, device: int) -> Array:
    return xp.asarray(sincos_2d(grid, width), dtype=dtype)

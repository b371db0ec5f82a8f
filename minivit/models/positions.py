"""The position parameters of a ViT: the learned table, and the ablations of the paper's appendix D.4."""

from typing import Any

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


def patch_positions(model: Any) -> Tensor | None:
    """What is added to the patches before other tokens are prepended: (..., rows * columns, D), or None.

    A table of the grid alone gives the [class] token, which is itself learned, no position.   model: a ViT.
    """
    config: ViTConfig = model.config
    (rows, columns), width = config.grid, config.width
    if config.position == "learned":
        return model.position_embedding if config.no_embed_class else None
    if config.position == "sincos2d":
        return Tensor(_sincos_table(model))
    if config.position == "learned2d":
        half = (rows, columns, width // 2)
        by_column = F.broadcast_to(model.column_embedding, half)
        by_row = F.broadcast_to(model.row_embedding, half)
        return F.concat(by_column, by_row, axis=2).reshape(rows * columns, width)
    return None


def _sincos_table(model: Any) -> Array:
    """Beside the parameters, and as they are. It stays there with the model: a step that is recorded on a GPU cannot
    copy anything from the host, and reads it again and again."""
    like = model.norm.scale.data
    kept = getattr(model, "_sincos", None)
    if kept is None or (type(kept), kept.dtype, kept.device) != (type(like), like.dtype, like.device):
        config: ViTConfig = model.config
        kept = model._sincos = xp_of(like).asarray(sincos_2d(config.grid, config.width), dtype=like.dtype)
    return kept

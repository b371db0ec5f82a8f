"""Position embeddings: fixed sine-cosine tables, and resizing a table to another grid.

Resizing along one axis is linear, so it is a matrix: new = A old. A two-dimensional grid is resized by one such
matrix per axis, new = A grid B^T for every feature, which also covers rectangular grids.
"""

import numpy as np

from minivit.backend import Array, xp_of
from minivit.backend.resizing import resize_matrix

METHODS = ("align_corners", "half_pixel", "bicubic", "bicubic_antialias")  # those of published ViTs


def sincos_2d(grid: tuple[int, int], width: int, temperature: float = 10_000.0) -> np.ndarray:
    """The fixed table (rows * columns, D) = [sin x w, cos x w, sin y w, cos y w], x the column and y the row of a
    patch, w_i = temperature^(-i / (D/4 - 1)), i = 0..D/4-1, as in big_vision; MoCo v3 and MAE have -i / (D/4) there.
    D is a multiple of 4."""
    y, x = np.mgrid[: grid[0], : grid[1]].reshape(2, -1, 1).astype(float)
    w = temperature ** -(np.arange(width // 4) / max(1, width // 4 - 1))
    return np.concatenate([np.sin(x * w), np.cos(x * w), np.sin(y * w), np.cos(y * w)], axis=1)


def resize_posemb(
    posemb: Array,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    prefix: int = 1,
    method: str = "align_corners",
) -> Array:
    """A position-embedding table for another grid.

    posemb: (1, prefix + N, D) or (prefix + N, D), N = rows * columns of `old_grid`, row by row; result likewise for
    `new_grid`, in the same dtype. The first `prefix` rows ([class] token) are copied.

    method: "align_corners", linear, the corner patches stay where they are (the published code, by scipy.ndimage.zoom);
    "half_pixel", linear with patch centres at half-integers (timm, for .npz files); "bicubic", cubic convolution with
    a = -0.75 and half-integer centres (torch; Hugging Face, DeiT, MAE); "bicubic_antialias", the same with a = -0.5 and
    a kernel that is widened when the grid shrinks (timm's models). No antialiasing in the other three.
    Raises ValueError for a table that does not fit the grid or an unknown method.
    """
    rows, columns = old_grid
    if posemb.shape[-2] != prefix + rows * columns:
        raise ValueError(f"resize_posemb: table {posemb.shape} has not {prefix} + {rows} x {columns} rows")
    xp = xp_of(posemb)
    table = posemb[..., prefix:, :].reshape(*posemb.shape[:-2], rows, columns, posemb.shape[-1])
    a = xp.asarray(resize_matrix(rows, new_grid[0], method), dtype=posemb.dtype)  # (new rows, rows)
    b = xp.asarray(resize_matrix(columns, new_grid[1], method), dtype=posemb.dtype)  # (new columns, columns)
    down = (a @ table.reshape(*table.shape[:-3], rows, -1)).reshape(*table.shape[:-3], new_grid[0], *table.shape[-2:])
    across = b @ down  # (..., new rows, new columns, D)
    resized = across.reshape(*posemb.shape[:-2], -1, posemb.shape[-1])
    return xp.concatenate([posemb[..., :prefix, :], resized], axis=-2)

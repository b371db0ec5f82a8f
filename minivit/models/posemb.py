"""Position embeddings: fixed sine-cosine tables, and resizing a table to another grid.

Resizing along one axis is linear, so it is a matrix: new = A old. A two-dimensional grid is resized by one such
matrix per axis, new = A grid B^T for every feature, which also covers rectangular grids.
"""

import numpy as np

from minivit.backend import Array, xp_of

METHODS = ("align_corners", "half_pixel", "bicubic", "bicubic_antialias")


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


def resize_matrix(old: int, new: int, method: str) -> np.ndarray:
    """The (new, old) matrix that resizes one axis; its rows sum to 1."""
    i = np.arange(new)
    if method == "align_corners":
        position = i * ((old - 1) / (new - 1)) if new > 1 else np.zeros(1)
        return _linear(position, old)
    if method == "half_pixel":
        return _linear(((i + 0.5) * (old / new) - 0.5).clip(0, None), old)
    if method == "bicubic":
        return _cubic((i + 0.5) * (old / new) - 0.5, old, a=-0.75)
    if method == "bicubic_antialias":
        return _cubic_antialias((i + 0.5) * (old / new) - 0.5, old, max(1.0, old / new))
    raise ValueError(f'resize_posemb: method is "{method}", expected one of {", ".join(METHODS)}')


def _linear(position: np.ndarray, old: int) -> np.ndarray:
    """Weights 1 - t and t on the neighbours below and above each position; the last neighbour is repeated."""
    low = np.minimum(np.floor(position).astype(int), old - 1)
    t = position - low
    rows = np.arange(len(position))
    matrix = np.zeros((len(position), old))
    matrix[rows, low] += 1 - t
    matrix[rows, np.minimum(low + 1, old - 1)] += t
    return matrix


def _cubic(position: np.ndarray, old: int, a: float) -> np.ndarray:
    """Weights of the four neighbours of each position; edge neighbours are repeated."""
    low = np.floor(position).astype(int)
    rows = np.arange(len(position))
    matrix = np.zeros((len(position), old))
    for offset in (-1, 0, 1, 2):
        weight = _keys(abs(position - (low + offset)), a)
        np.add.at(matrix, (rows, (low + offset).clip(0, old - 1)), weight)
    return matrix


def _cubic_antialias(position: np.ndarray, old: int, widening: float) -> np.ndarray:
    """Weights of all neighbours within two widened steps of each position; what lies beyond the edge is left out."""
    distance = abs(position[:, None] - np.arange(old)) / widening
    matrix = _keys(distance, a=-0.5)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _keys(distance: np.ndarray, a: float) -> np.ndarray:
    """The kernel of cubic convolution (Keys 1981) at distances >= 0."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))

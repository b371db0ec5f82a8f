"""The matrices that resize maps: along one axis resizing is linear, new = A old.

Every row of A holds the weights of the old pixels in one new pixel: a kernel around the new pixel's place on the old
axis. Published code bases differ in place, kernel and border; each convention has a name.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minivit.backend.arrays import Array, xp_of


class Rule(NamedTuple):
    """kernel: weights at distances in pixels; its reach. widened: when the map shrinks, so that every old pixel counts
    (antialiasing). edges: whether the pixel at the edge is repeated outside; else what lies outside is left out."""

    kernel: Callable[[np.ndarray], np.ndarray]
    reach: int
    widened: bool
    edges: bool


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - distance)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Cubic convolution (Keys 1981)."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _box(distance: np.ndarray) -> np.ndarray:
    return (distance < 0.5) + 0.5 * (distance == 0.5)


_KEYS, _TORCH = functools.partial(_cubic, a=-0.5), functools.partial(_cubic, a=-0.75)
RULES = {
    "align_corners": Rule(_triangle, 1, widened=False, edges=True),
    "half_pixel": Rule(_triangle, 1, widened=False, edges=True),
    "bicubic": Rule(_TORCH, 2, widened=False, edges=True),
    "bicubic_antialias": Rule(_KEYS, 2, widened=True, edges=False),
    "bicubic_keys": Rule(_KEYS, 2, widened=False, edges=False),
    "bilinear": Rule(_triangle, 1, widened=False, edges=True),
    "bilinear_antialias": Rule(_triangle, 1, widened=True, edges=False),
    "nearest_antialias": Rule(_box, 1, widened=True, edges=False),
}
METHODS = (*RULES, "nearest", "nearest_half_pixel")


def resize_matrix(old: int, new: int, method: str, scale: float | None = None) -> np.ndarray:
    """The (new, old) matrix that resizes one axis; its rows sum to 1.

    New pixel i lies at (i + 1/2) / scale - 1/2, scale = new / old: pixels are areas, whose centres are at half-integers
    (PyTorch's align_corners=False). DINO samples with another scale, (new + 0.1) / old.

    | method | kernel | used by |
    |---|---|---|
    | "align_corners" | linear; the corners stay where they are | scipy.ndimage.zoom, the published ViT |
    | "bilinear", also "half_pixel" | linear | PyTorch and TensorFlow; kernels in FlexiViT |
    | "bilinear_antialias" | linear, widened when shrinking | PIL, JAX; position tables in FlexiViT |
    | "bicubic" | cubic, a = -0.75 | PyTorch; DeiT, MAE, DINO, Hugging Face |
    | "bicubic_keys" | cubic, a = -0.5 | TensorFlow, JAX without antialiasing |
    | "bicubic_antialias" | cubic, a = -0.5, widened when shrinking | PIL, JAX, PyTorch with antialias, timm |
    | "nearest" | the old pixel at the upper left end, floor(i / scale) | PyTorch |
    | "nearest_half_pixel" | the old pixel at the centre | TensorFlow, JAX, PyTorch's "nearest-exact" |
    | "nearest_antialias" | the mean of the old pixels whose centres are covered | PIL's box |

    A method with "_pinv" behind it: the pseudo-inverse of its matrix transposed, (new, old) too. FlexiViT resizes
    kernels by it: a patch and a kernel that grow together keep their product. Its rows do not sum to 1.
    Raises ValueError for an unknown method, a length below 1, or a scale by which new pixels would lie outside.
    """
    if min(old, new) < 1 or (scale is not None and new > old * scale * (1 + 1e-9)):
        outside = "" if scale is None else f" at scale {scale}"
        raise ValueError(f"resize: a side of {old} cannot become {new}{outside}")
    if method.endswith("_pinv"):
        return np.linalg.pinv(resize_matrix(old, new, method.removesuffix("_pinv"), scale).T)
    step = old / new if scale is None else 1 / scale
    i = np.arange(new)
    if method in ("nearest", "nearest_half_pixel"):
        chosen = np.floor((i if method == "nearest" else i + 0.5) * step).astype(int)
        return np.eye(old)[chosen.clip(0, old - 1)]
    if method not in RULES:
        raise ValueError(f'resize: method is "{method}", expected one of {", ".join(METHODS)}')
    place = (i + 0.5) * step - 0.5
    if method == "align_corners":
        place = i * ((old - 1) / (new - 1)) if new > 1 else np.zeros(1)
    rule = RULES[method]
    widening = max(1.0, step) if rule.widened else 1.0
    beyond = rule.reach if rule.edges else 0
    distance = abs(place[:, None] - np.arange(-beyond, old + beyond))
    weights = rule.kernel(distance / widening)
    matrix = weights[:, beyond : beyond + old]
    if rule.edges:
        matrix[:, 0] += weights[:, :beyond].sum(axis=1)
        matrix[:, -1] += weights[:, beyond + old :].sum(axis=1)
        return matrix
    return matrix / matrix.sum(axis=1, keepdims=True)


def matrices(x: Array, size: tuple[int, int], method: str, scale: tuple[float, float] | None) -> tuple[Array, Array]:
    """The matrices that resize the rows and the columns of maps x (B, rows, columns, C), in its dtype on its device.

    They are cached there: a recorded step can copy nothing from the host, and reads them again and again.
    """
    xp = xp_of(x)
    device = 0 if xp is np else x.device.id
    rows, columns = scale or (None, None)
    return (
        _kept(x.shape[1], size[0], method, rows, xp, x.dtype, device),
        _kept(x.shape[2], size[1], method, columns, xp, x.dtype, device),
    )


@functools.cache
def _kept(old: int, new: int, method: str, scale: float | None, xp: Any, dtype: Any, device: int) -> Array:
    return xp.asarray(resize_matrix(old, new, method, scale), dtype=dtype)

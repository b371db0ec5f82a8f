"""Tables with which the GPU changes images exactly as the CPU does, made once by the CPU's own functions.

All operations of a run have one strength, so most of RandAugment is a choice among few fixed maps: of grey levels, of
blended pairs of grey levels, of places in the image. A map is found by applying the operation to an image that lists
all its arguments.
"""

import numpy as np
from PIL import Image

from minivit.backend.cupy_kernels.augment import Kind, Tables
from minivit.data.augment import normalize
from minivit.data.randaugment import GRAY, OPERATIONS, SIGNED, Operation, cutout_half, enhancement_factor, strength_of
from minivit.data.transform import Augment

_LEVELS = np.arange(256, dtype=np.uint8)
_LOOKED_UP = ("Invert", "Posterize", "Solarize", "Brightness", "SolarizeAdd")
_KINDS = {
    **dict.fromkeys(SIGNED, Kind.MOVE),
    **dict.fromkeys(_LOOKED_UP, Kind.LOOK_UP),
    "AutoContrast": Kind.AUTO_CONTRAST,
    "Equalize": Kind.EQUALIZE,
    "Color": Kind.COLOR,
    "Contrast": Kind.CONTRAST,
    "Sharpness": Kind.SHARPNESS,
    "Cutout": Kind.CUTOUT,
}
_ROWS = {**{name: 2 * i for i, name in enumerate(SIGNED)}, **{name: i for i, name in enumerate(_LOOKED_UP)}}


def make_tables(augment: Augment, channels: int) -> Tables:
    """The tables for images of `augment.image_size` with this number of channels, as NumPy arrays."""
    levels = np.repeat(_LEVELS[None, :, None, None], channels, axis=3)
    normalised = normalize(levels, augment.mean, augment.std)[0, :, 0]
    if augment.randaugment is None:
        return Tables(None, None, None, normalised)
    strength = strength_of(augment.randaugment[1])
    return Tables(
        maps=np.stack([_map_of(OPERATIONS[n], strength, sign, augment.image_size) for n in SIGNED for sign in (1, -1)]),
        values=np.stack([_values_of(OPERATIONS[name], strength) for name in _LOOKED_UP]),
        blends=_blends(enhancement_factor(strength)),
        normalised=normalised,
        cutout_half=cutout_half(*augment.image_size, strength),
    )


def _map_of(operation: Operation, strength: float, sign: int, size: tuple[int, int]) -> np.ndarray:
    """The source of each pixel, by number; -1 for pixels that become gray: (height * width,)."""
    count = size[0] * size[1]
    numbers = np.arange(count, dtype=np.int32) + GRAY + 1  # none of which is GRAY
    moved = np.asarray(operation(Image.fromarray(numbers.reshape(size)), strength, (sign, 0))).ravel()
    return np.where(moved == GRAY, -1, moved - GRAY - 1).astype(np.int32)


def _values_of(operation: Operation, strength: float) -> np.ndarray:
    """The new value of each grey level: (256,) uint8."""
    return np.asarray(operation(Image.fromarray(_LEVELS[None]), strength, (0, 0)))[0]


def _blends(factor: float) -> np.ndarray:
    """Every pair of grey levels blended: [v0, v1] is v0 + factor (v1 - v0), as uint8."""
    v0, v1 = np.broadcast_arrays(_LEVELS[:, None], _LEVELS[None])
    return np.asarray(Image.blend(Image.fromarray(v0.copy()), Image.fromarray(v1.copy()), factor))


def encode(operations: np.ndarray) -> np.ndarray:
    """Operations as `draw_operations` gives them, (B, n, 3), in the kernel's form: a Kind and two numbers."""
    kinds = np.array([_KINDS[name] for name in OPERATIONS], np.int32)[operations[..., 0]]
    rows = np.array([_ROWS.get(name, 0) for name in OPERATIONS], np.int32)[operations[..., 0]]
    x, y = operations[..., 1], operations[..., 2]
    # Of the two maps of an operation that goes either way, the second is the one for the sign -1.
    return np.stack([kinds, np.where(kinds == Kind.CUTOUT, x, rows + (x < 0)), y], axis=-1)

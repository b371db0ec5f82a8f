"""RandAugment: n random image operations, all at one strength. Operations work on Pillow images.

Source: Cubuk et al. 2020, "RandAugment"; the sixteen operations, the meaning of the magnitude (10 is the scale's unit,
larger values extrapolate) and the gray filling 128 follow big_vision (pp/archive/autoaugment.py), the code of "How to
train your ViT?" (Steiner et al. 2022). There, shifts and cut-outs count pixels of 224 x 224 images; here they are in
proportion to the image's size, which at 224 is the same. Magnitude 0 is not "no change": colour, contrast, brightness
and sharpness are then nearly removed, and posterize keeps one bit.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from minivit.errors import ConfigError

# What an operation may need drawn: a sign, or a column and a row. Most ignore it.
Drawn = tuple[int, int]
Operation = Callable[[Image.Image, float, Drawn], Image.Image]

SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")  # these go either way
GRAY = 128
_UNIT = 10.0


def randaugment(images: np.ndarray, n: int, magnitude: float, rng: np.random.Generator) -> np.ndarray:
    """`n` operations, drawn uniformly with repetition, for each image.

    images: (B, height, width, C) uint8, C = 1 or 3.   magnitude: 10 is strength 1 of every operation.
    """
    return apply_operations(images, strength_of(magnitude), draw_operations(images.shape, n, rng))


def strength_of(magnitude: float) -> float:
    """The common strength of all operations: 1 at the scale's unit magnitude."""
    return magnitude / _UNIT


def draw_operations(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` operations for each image of a batch of this shape (B, height, width, C): (B, n, 3) integers.

    Each operation is its number in OPERATIONS and its random draws, zeros if it has none.
    """
    batch, height, width, _ = shape
    names = list(OPERATIONS)
    operations = []
    for _ in range(batch):
        for number in rng.integers(0, len(names), n).tolist():
            first = second = 0
            if names[number] in SIGNED:
                first = 1 if rng.random() < 0.5 else -1
            elif names[number] == "Cutout":
                first, second = int(rng.integers(0, width)), int(rng.integers(0, height))
            operations.append((number, first, second))
    return np.array(operations, np.int32).reshape(batch, n, 3)


def apply_operations(images: np.ndarray, strength: float, operations: np.ndarray) -> np.ndarray:
    """The images (B, height, width, C) uint8 after their operations, (B, n, 3) as drawn, one after the other."""
    out = np.empty_like(images)
    functions = list(OPERATIONS.values())
    for i, pixels in enumerate(images):
        image = to_image(pixels)
        for number, first, second in operations[i].tolist():
            image = functions[number](image, strength, (first, second))
        out[i] = np.asarray(image).reshape(pixels.shape)
    return out


def to_image(pixels: np.ndarray) -> Image.Image:
    """Pixels (height, width, C) uint8, C = 1 or 3, as a Pillow image. Raises ConfigError for another C."""
    if pixels.shape[2] not in (1, 3):
        raise ConfigError(f"RandAugment is for images of 1 or 3 channels, not of {pixels.shape[2]}")
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _fill(image: Image.Image) -> tuple[int, ...]:
    return (GRAY,) * len(image.getbands())


def _map_values(image: Image.Image, table: np.ndarray) -> Image.Image:
    """Every value v of every channel replaced by table[v], clipped to 0..255."""
    return image.point(np.clip(table, 0, 255).astype(int).tolist() * len(image.getbands()))


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float]) -> Image.Image:
    """Output pixel (x, y) is the input pixel nearest to (a x + b y + c, d x + e y + f); gray outside."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=_fill(image))


def auto_contrast(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Each channel stretched linearly so that its darkest value becomes 0 and its lightest 255."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Each channel's values spread so that their histogram is flat."""
    return ImageOps.equalize(image)


def invert(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """v becomes 255 - v."""
    return ImageOps.invert(image)


def rotate(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Turned by 30 degrees times the strength, either way, about the centre."""
    angle = drawn[0] * 30 * strength
    return image.rotate(angle, Image.Resampling.NEAREST, fillcolor=_fill(image))


def posterize(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Only the highest 4 bits times the strength kept: at least one, at most eight (no change)."""
    bits = min(8, max(1, int(4 * strength)))
    return ImageOps.posterize(image, bits)


def solarize(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Values from 256 times the strength upwards inverted."""
    values = np.arange(256)
    return _map_values(image, np.where(values < int(256 * strength), values, 255 - values))


def solarize_add(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Values below 128 raised by 110 times the strength."""
    values = np.arange(256)
    return _map_values(image, np.where(values < 128, values + int(110 * strength), values))


def enhancement_factor(strength: float) -> float:
    """The factor of colour, contrast, brightness and sharpness: 1 is no change."""
    return 0.1 + 1.8 * strength


def _enhancement(enhance: Callable[[Image.Image], ImageEnhance._Enhance], text: str) -> Operation:
    def operation(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
        return enhance(image).enhance(enhancement_factor(strength))

    operation.__doc__ = text + " at factor 0.1 + 1.8 times the strength (1 is no change)."
    return operation


color = _enhancement(ImageEnhance.Color, "Blend with the image in grayscale")
contrast = _enhancement(ImageEnhance.Contrast, "Blend with the image's mean gray")
brightness = _enhancement(ImageEnhance.Brightness, "Blend with black")
sharpness = _enhancement(ImageEnhance.Sharpness, "Blend with the smoothed image")


def shear_x(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Rows shifted by 0.3 times the strength times their number, to the left or right."""
    return _affine(image, (1, drawn[0] * 0.3 * strength, 0, 0, 1, 0))


def shear_y(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Columns shifted by 0.3 times the strength times their number, up or down."""
    return _affine(image, (1, 0, 0, drawn[0] * 0.3 * strength, 1, 0))


def translate_x(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Moved left or right by 100/224 of the width times the strength."""
    return _affine(image, (1, 0, drawn[0] * image.width * 100 / 224 * strength, 0, 1, 0))


def translate_y(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """Moved up or down by 100/224 of the height times the strength."""
    return _affine(image, (1, 0, 0, 0, 1, drawn[0] * image.height * 100 / 224 * strength))


def cutout(image: Image.Image, strength: float, drawn: Drawn) -> Image.Image:
    """A gray square about a uniform centre, its half side 40/224 of the shorter side times the strength."""
    half = cutout_half(image.height, image.width, strength)
    x, y = drawn
    box = (max(0, x - half), max(0, y - half), min(image.width, x + half), min(image.height, y + half))
    out = image.copy()
    out.paste(_fill(image), box)
    return out


def cutout_half(height: int, width: int, strength: float) -> int:
    """Half the side of the square that `cutout` paints, in pixels."""
    return math.floor(min(height, width) * 40 / 224 * strength)


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Rotate": rotate,
    "Posterize": posterize,
    "Solarize": solarize,
    "Color": color,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Cutout": cutout,
    "SolarizeAdd": solarize_add,
}

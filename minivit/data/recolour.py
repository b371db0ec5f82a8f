"""Random changes of colour and sharpness that make two views of one image differ.

Source: facebookresearch/dino, main_dino.py and utils.py, whose probabilities and strengths are those of BYOL (Grill et
al. 2020, appendix B). The operations are Pillow's, as in torchvision.
"""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from minivit.data.randaugment import to_image

JITTER, GREY = 0.8, 0.2  # how many images
STRENGTHS = ((ImageEnhance.Brightness, 0.4), (ImageEnhance.Contrast, 0.4), (ImageEnhance.Color, 0.2))
HUE = 0.1  # of the colour circle, either way


def recolour(
    images: np.ndarray,
    rng: np.random.Generator,
    blur: float = 0.0,
    solarise: float = 0.0,
    radius: tuple[float, float] = (0.1, 2.0),
) -> np.ndarray:
    """Recolours each image: (B, height, width, C) uint8, C = 1 or 3, from the same.

    With probability 0.8, brightness and contrast are multiplied by 0.6 to 1.4, saturation by 0.8 to 1.2, and the hue is
    turned by up to a tenth of the circle, in random order. With probability 0.2 the colours are removed. With
    probability `blur` the image is blurred by a Gaussian of a `radius` drawn between these pixels. With probability
    `solarise` values from 128 up are inverted.
    """
    out = np.empty_like(images)
    for i, pixels in enumerate(images):
        image = to_image(pixels)
        chosen = rng.random(4) < (JITTER, GREY, blur, solarise)
        if chosen[0]:
            image = _jitter(image, rng)
        if chosen[1]:
            image = image.convert("L").convert(image.mode)
        if chosen[2]:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*radius)))
        if chosen[3]:
            image = ImageOps.solarize(image)
        out[i] = np.asarray(image).reshape(pixels.shape)
    return out


def _jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue changed, one after another in random order."""
    for change in rng.permutation(len(STRENGTHS) + 1).tolist():
        if change < len(STRENGTHS):
            enhancement, strength = STRENGTHS[change]
            image = enhancement(image).enhance(rng.uniform(1 - strength, 1 + strength))
        else:
            image = _turn_hue(image, round(255 * rng.uniform(-HUE, HUE)))
    return image


def _turn_hue(image: Image.Image, by: int) -> Image.Image:
    """The hue of every pixel moved by so many 256ths of the circle; grey images stay."""
    if image.mode != "RGB":
        return image
    hue, *others = image.convert("HSV").split()
    turned = hue.point([(value + by) % 256 for value in range(256)])
    return Image.merge("HSV", (turned, *others)).convert("RGB")

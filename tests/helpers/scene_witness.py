"""What can be read off a drawn picture and its masks, without the record that it was drawn from."""

import colorsys
from typing import NamedTuple

import numpy as np

KINDS = ("disc", "square", "triangle", "cross", "ring")
HUES = {"red": 0, "yellow": 52, "green": 130, "blue": 227}  # degrees


class Witnessed(NamedTuple):
    kind: str
    colour: str
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def name(self):
        return f"{self.colour} {self.kind}"

    @property
    def x(self):
        return (self.x0 + self.x1) / 2

    @property
    def y(self):
        return (self.y0 + self.y1) / 2


def witnessed(image, mask, instances):
    """The shapes of a scene: image (H, W, 3), mask (H, W), instances (n, H, W)."""
    return [_one(image, mask, pixels) for pixels in instances if pixels.any()]


def _one(image, mask, pixels):
    (number,) = np.unique(mask[pixels])
    y, x = np.nonzero(pixels)
    return Witnessed(KINDS[number - 1], colour_of(image[pixels]), x.min(), y.min(), x.max() + 1, y.max() + 1)


def colour_of(pixels):
    """The name of the colour of pixels (N, 3), by the hue of their mean."""
    hue = 360 * colorsys.rgb_to_hsv(*np.median(pixels, axis=0) / 255)[0]
    return min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))


def holds(where, a, b):
    """Whether shape a is where the words say, as seen from b."""
    if where == "in":
        return b.x0 <= a.x0 and b.y0 <= a.y0 and a.x1 <= b.x1 and a.y1 <= b.y1
    across, down = a.x - b.x, a.y - b.y
    if where in ("left of", "right of"):
        return (across < 0) == (where == "left of") and abs(across) >= abs(down)
    return (down < 0) == (where == "above") and abs(down) >= abs(across)

"""Clips as tokens: blocks of t x h x w pixels, "tubelets", are what patches are to an image.

B batch, T frames, C channels of a frame, D width; t, h, w: frames, rows and columns of a tubelet.
"""

import math

from minivit.nn import initialisers as init
from minivit.nn.layers import Linear
from minivit.nn.module import Module
from minivit.tensor import Tensor


def frames_of(images: Tensor, frames: int) -> Tensor:
    """Images whose channels are those of T frames, one frame after another -> clips.   (B, height, width, T C) -> (B,
    T, height, width, C). What is a clip already stays as it is. Raises ValueError if the channels do not fit."""
    if images.ndim == 5:
        return images
    batch, height, width, channels = images.shape
    if channels % frames:
        raise ValueError(f"frames_of: {channels} channels are not those of {frames} frames")
    return images.reshape(batch, height, width, frames, channels // frames).transpose(0, 3, 1, 2, 4)


def tubelets(clips: Tensor, size: tuple[int, int, int]) -> Tensor:
    """(B, T, height, width, C) -> (B, T / t, N, t h w C): for every slice of t frames its N tubelets row by row, the
    pixels of each in order (frame, row, column, channel). Raises ValueError if tubelets do not tile the clip."""
    (batch, *sides, channels), (t, h, w) = clips.shape, size
    slices, rows, columns = (side // part for side, part in zip(sides, size, strict=True))
    if [slices * t, rows * h, columns * w] != sides:
        raise ValueError(f"tubelets: {t}x{h}x{w} do not tile clips of {'x'.join(map(str, sides))}")
    tiles = clips.reshape(batch, slices, t, rows, h, columns, w, channels).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return tiles.reshape(batch, slices, rows * columns, t * h * w * channels)


class TubeletEmbed(Module):
    """Cut clips into tubelets and project each: a convolution in three dimensions whose stride is its kernel.

    (B, T, height, width, C) -> (B, T / t, N, D). The weight is (t h w C, D), as the kernel (t, h, w, C, D) in a row.
    """

    def __init__(self, size: tuple[int, int, int], channels: int, width: int, rng: init.Rng, dtype: str = "float32"):
        self.size = size
        self.projection = Linear(math.prod(size) * channels, width, rng, dtype, weight=init.lecun_normal)

    def forward(self, clips: Tensor) -> Tensor:
        return self.projection(tubelets(clips, self.size))

"""q1: images as patches, and back."""

import numpy as np  # noqa: F401 - students may need it


def cut(images, patch):
    """(B, h, w, C) -> (B, N, ph*pw*C)."""
    # BEGIN SOLUTION q1
    batch, height, width, channels = images.shape
    ph, pw = patch
    tiles = images.reshape(batch, height // ph, ph, width // pw, pw, channels)
    tiles = tiles.transpose(0, 1, 3, 2, 4, 5)  # B, grid row, grid column, row, column, channel
    return tiles.reshape(batch, (height // ph) * (width // pw), ph * pw * channels)
    # END SOLUTION


def join(patches, patch, image_size):
    """(B, N, ph*pw*C) -> (B, h, w, C)."""
    # BEGIN SOLUTION q1
    ph, pw = patch
    height, width = image_size
    tiles = patches.reshape(len(patches), height // ph, width // pw, ph, pw, -1)
    tiles = tiles.transpose(0, 1, 3, 2, 4, 5)
    return tiles.reshape(len(patches), height, width, -1)
    # END SOLUTION

"""Makes a drawn digit look like those that come with minivit: bright on black, filling a square."""

import numpy as np
from PIL import Image

from minivit.data.digits import SIDE

CLEAR = 0.8  # share of the variance between dark and bright; even noise has 0.75 of it
SURE = 0.6  # share of the pixels at the edges that must be background
FILLED = 7 / 8  # of the frame; more need no cropping
STRONG = 100  # difference of ink and background; more need no contrast


def as_the_digits(image: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The image cropped, inverted and stretched in contrast as needed, and the changes in words.

    image: uint8 (height, width, 1).   An image of the digits' own size stays unchanged, as does one whose ink cannot be
    told from the background: its grey values do not form two groups, or its edges are partly ink. If all pixels are
    equal, the words say so: it may be white on a transparent ground, which is read as white.
    """
    done: list[str] = []
    grey = image[..., 0]
    if max(grey.shape) > SIDE and grey.min() == grey.max():
        return image, ["nothing is drawn on it: it has a single colour"]
    threshold, clarity = two_groups(grey)
    if max(grey.shape) <= SIDE or clarity < CLEAR:
        return image, done
    bright = grey > threshold
    edges = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    if max(edges.mean(), 1 - edges.mean()) < SURE or (edges.mean() > 0.5) != (bright.mean() > 0.5):
        return image, done
    if edges.mean() > 0.5:
        grey, bright = 255 - grey, ~bright
        done.append("inverted, since it is dark on bright")
    paper, ink = np.median(grey[~bright]), np.median(grey[bright])
    if ink - paper < STRONG:
        grey = np.clip(np.rint((grey - paper) * (255 / (ink - paper))), 0, 255).astype(np.uint8)
        done.append("contrast raised")
    rows, columns = (np.flatnonzero(bright.any(axis)) for axis in (1, 0))
    box = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if grey.shape[0] != grey.shape[1] or max(box.shape) < FILLED * len(grey):
        grey = _in_square(box)
        done.append("cropped to the digit")
    return grey[..., None], done


def two_groups(grey: np.ndarray) -> tuple[int, float]:
    """The threshold that best divides grey values, uint8, into two groups, and the share of their variance that lies
    between the groups, 0 to 1 (Otsu 1979)."""
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    values = np.arange(256)
    below, mean = np.cumsum(share), np.cumsum(share * values)
    inside = (below > 0) & (below < 1 - 1e-12)
    if not inside.any():
        return 255, 0.0
    between = np.zeros(256)
    between[inside] = (mean[-1] * below - mean)[inside] ** 2 / (below * (1 - below))[inside]
    best = int(between.argmax())
    return best, float(between[best] / (share @ (values - mean[-1]) ** 2))


def _in_square(box: np.ndarray) -> np.ndarray:
    """The pixels centred in the smallest black square that holds them, resized to the digits' size by area averages,
    since the digits count black pixels in areas."""
    side = max(box.shape)
    square = np.zeros((side, side), np.uint8)
    top, left = ((side - length) // 2 for length in box.shape)
    square[top : top + box.shape[0], left : left + box.shape[1]] = box
    return np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BOX))

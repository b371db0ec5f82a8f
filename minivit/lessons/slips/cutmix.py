"""CutMix with a given box, and its typical slips: for the judge of exercise 14.4."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from minivit.data.mixing import Mixing, mix


def _interval(length: int, extent: int, middle: int) -> tuple[int, int]:
    start = middle - extent // 2
    return max(0, start), min(length, start + extent)


def _box(images, lam, centre, side=None):
    """Top, bottom, left, right, cut off at the edges.   side: of the box, relative; the right one by default."""
    height, width = images.shape[1:3]
    side = math.sqrt(1 - lam) if side is None else side
    rows = _interval(height, round(height * side), centre[0])
    return *rows, *_interval(width, round(width * side), centre[1])


def _kept(images, box) -> float:
    """Share of the pixels outside the box."""
    top, bottom, left, right = box
    return 1 - (bottom - top) * (right - left) / (images.shape[1] * images.shape[2])


def _pasted(images, labels, box, share=None):
    return mix(images, labels, Mixing(_kept(images, box) if share is None else share, box))


def cutmix(images, labels, lam, centre, side=None):
    """Mixed images (B, height, width, C) and labels (B, K).   side: of the box, relative; sqrt(1 - lam) by default."""
    return _pasted(images, labels, _box(images, lam, centre, side))


def _sized(images, labels, lam, centre, height, width):
    """A box of this height and width."""
    rows = _interval(images.shape[1], height, centre[0])
    return _pasted(images, labels, (*rows, *_interval(images.shape[2], width, centre[1])))


def _rounded_otherwise(images, labels, lam, centre, whole=int):
    height, width = (whole(n * math.sqrt(1 - lam)) for n in images.shape[1:3])
    return _sized(images, labels, lam, centre, height, width)


def _square(images, labels, lam, centre):
    """A square of the right area."""
    side = round(math.sqrt((1 - lam) * images.shape[1] * images.shape[2]))
    return _sized(images, labels, lam, centre, side, side)


def _pushed_inside(images, labels, lam, centre):
    """Whole boxes: those that would stick out are moved."""
    sides = [round(n * math.sqrt(1 - lam)) for n in images.shape[1:3]]
    starts = [min(max(0, c - side // 2), n - side) for c, side, n in zip(centre, sides, images.shape[1:3], strict=True)]
    return _pasted(images, labels, (starts[0], starts[0] + sides[0], starts[1], starts[1] + sides[1]))


def _halves(images, labels, lam, centre, more=0):
    """From `side // 2` before the centre to `side // 2 + more` behind it."""
    bounds = []
    for n, c in zip(images.shape[1:3], centre, strict=True):
        half = round(n * math.sqrt(1 - lam)) // 2
        bounds += [max(0, c - half), min(n, c + half + more)]
    return _pasted(images, labels, tuple(bounds))


def _complement(images, labels, lam, centre):
    """Image i keeps the box and loses the rest."""
    partners, partner_labels = np.roll(images, 1, axis=0), np.roll(labels, 1, axis=0)
    mixed, mixed_labels = cutmix(partners[::-1], partner_labels[::-1], lam, centre)
    return mixed[::-1], mixed_labels[::-1]


def _blanked(images, labels, lam, centre):
    top, bottom, left, right = _box(images, lam, centre)
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = 0
    return mixed, cutmix(images, labels, lam, centre)[1]


def _share_of_lam(images, labels, lam, centre):
    return _pasted(images, labels, _box(images, lam, centre), lam)


def _share_before_the_cut(images, labels, lam, centre):
    height, width = images.shape[1:3]
    side = math.sqrt(1 - lam)
    share = 1 - round(height * side) * round(width * side) / (height * width)
    return _pasted(images, labels, _box(images, lam, centre), share)


def _labels_exchanged(images, labels, lam, centre):
    box = _box(images, lam, centre)
    return _pasted(images, labels, box, 1 - _kept(images, box))


def _labels_untouched(images, labels, lam, centre):
    return cutmix(images, labels, lam, centre)[0], labels


def _next_partner(images, labels, lam, centre):
    """Image i + 1, by turning the batch round."""
    mixed, mixed_labels = cutmix(images[::-1], labels[::-1], lam, centre)
    return mixed[::-1], mixed_labels[::-1]


def _other_partner_for_labels(images, labels, lam, centre):
    return cutmix(images, labels, lam, centre)[0], _next_partner(images, labels, lam, centre)[1]


def _corner(images, labels, lam, centre):
    """The box begins at the centre."""
    height, width = images.shape[1:3]
    side = math.sqrt(1 - lam)
    top, left = centre
    box = (top, min(height, top + round(height * side)), left, min(width, left + round(width * side)))
    return _pasted(images, labels, box)


def _in_place(images, labels, lam, centre):
    """Images one after the other in the same array: the partner of the second is already mixed."""
    top, bottom, left, right = box = _box(images, lam, centre)
    mixed = images.copy()
    for i in range(len(mixed)):
        mixed[i, top:bottom, left:right] = mixed[i - 1, top:bottom, left:right]
    return mixed, _pasted(images, labels, box)[1]


def _blended(images, labels, lam, centre):
    return mix(images, labels, Mixing(lam, None))


def sticks_out(images, labels, lam, centre):
    """Whether a part of the box lies outside of the image."""
    box = _box(images, lam, centre)
    return (box[1] - box[0], box[3] - box[2]) != tuple(round(n * math.sqrt(1 - lam)) for n in images.shape[1:3])


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "1 - lam is the share of the area, so each side is its square root.": (
        lambda i, t, lam, centre: cutmix(i, t, lam, centre, side=1 - lam)
    ),
    "The box is what image i loses, the share 1 - lam of the area; this one has the share lam.": (
        lambda i, t, lam, centre: cutmix(i, t, lam, centre, side=math.sqrt(lam))
    ),
    "The images are right. Part of the box may lie outside, and pixels are whole: the share in the labels "
    "has to be counted from the box that was really replaced.": _share_of_lam,
    "The images are right. The share in the labels has to be counted after the box is cut off at the "
    "edges.": _share_before_the_cut,
    "The images are right. The shares of the labels are exchanged: image i keeps what is outside the "
    "box.": _labels_exchanged,
    "The images are right. The labels have to be mixed as well.": _labels_untouched,
    "The labels are right. The images have to be mixed as well.": (
        lambda i, t, lam, centre: (i, cutmix(i, t, lam, centre)[1])
    ),
    "The partner of image i is image i - 1; this takes image i + 1. np.roll(x, 1, axis=0) puts image i - 1 "
    "in place i.": _next_partner,
    "The images are right. Labels have the same partners as images.": _other_partner_for_labels,
    "The box is around the centre; here it begins there.": _corner,
    "The box of image i - 1 is copied after it was itself replaced. Read from the images as they were.": _in_place,
    "This blends whole images: that is mixup.": _blended,
    "centre is (row, column).": lambda i, t, lam, centre: cutmix(i, t, lam, centre[::-1]),
    "The sides are rounded, not cut: `round`, not `int`.": _rounded_otherwise,
    "The sides are rounded to the nearest whole number, not up.": (partial(_rounded_otherwise, whole=math.ceil)),
    "Halves are rounded as `round` does, 2.5 to 2; this rounds them up.": (
        partial(_rounded_otherwise, whole=lambda n: math.floor(n + 0.5))
    ),
    "The box has the proportions of the image; this is a square.": _square,
    "A box that sticks out is cut off at the edge, not moved inside.": _pushed_inside,
    "A box with an odd side ends one pixel later: it begins `side // 2` before the centre and has the "
    "whole side.": _halves,
    "The box ends one pixel too late if its side is even.": partial(_halves, more=1),
    "Image i keeps what is outside the box, and the box comes from its partner; here it is the other way "
    "round.": _complement,
    "The labels are right. The box is filled from image i - 1, not with zeros.": _blanked,
}

"""Exercises of notebook 14, augmentation and regularisation."""

import math

import numpy as np

from minivit.data.mixing import Mixing, mix
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import choice, function_like


def _skip(z, f, u, rate, dz_new, dropped=None, factor=None, factor_back=None, dz=None):
    """Stochastic depth; each of the last four replaces what is right."""
    dropped = u < rate if dropped is None else dropped
    factor = 1 / (1 - rate) if factor is None else factor
    factor_back = factor if factor_back is None else factor_back
    kept = ~dropped[:, None, None]
    return z + kept * factor * f, dz_new if dz is None else dz, kept * factor_back * dz_new


def _skipped_images_lost(z, f, u, rate, dz_new):
    """The residual connection dropped as well."""
    m = (u >= rate)[:, None, None] / (1 - rate)
    return m * (z + f), m * dz_new, m * dz_new


def _streams(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for shape, rate in (((6, 3, 2), 0.3), ((5, 2, 4), 0.45)):
        u = rng.permuted(np.linspace(0.05, 0.95, shape[0]))  # some below the rate, some above
        cases.append((rng.standard_normal(shape), rng.standard_normal(shape), u, rate, rng.standard_normal(shape)))
    return cases


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


def _cutmix(images, labels, lam, centre, side=None):
    box = _box(images, lam, centre, side)
    return mix(images, labels, Mixing(_kept(images, box), box))


def _area_as_side(images, labels, lam, centre):
    return _cutmix(images, labels, lam, centre, side=1 - lam)


def _kept_as_side(images, labels, lam, centre):
    return _cutmix(images, labels, lam, centre, side=math.sqrt(lam))


def _planned_share(images, labels, lam, centre):
    return mix(images, labels, Mixing(lam, _box(images, lam, centre)))


def _labels_exchanged(images, labels, lam, centre):
    box = _box(images, lam, centre)
    return mix(images, labels, Mixing(1 - _kept(images, box), box))


def _labels_untouched(images, labels, lam, centre):
    return _cutmix(images, labels, lam, centre)[0], labels


def _next_partner(images, labels, lam, centre):
    """Image i + 1, by turning the batch round."""
    mixed, mixed_labels = _cutmix(images[::-1], labels[::-1], lam, centre)
    return mixed[::-1], mixed_labels[::-1]


def _other_partner_for_labels(images, labels, lam, centre):
    return _cutmix(images, labels, lam, centre)[0], _next_partner(images, labels, lam, centre)[1]


def _corner(images, labels, lam, centre):
    """The box begins at the centre."""
    height, width = images.shape[1:3]
    side = math.sqrt(1 - lam)
    top, left = centre
    box = (top, min(height, top + round(height * side)), left, min(width, left + round(width * side)))
    return mix(images, labels, Mixing(_kept(images, box), box))


def _in_place(images, labels, lam, centre):
    """Images one after the other in the same array: the partner of the second is already mixed."""
    top, bottom, left, right = box = _box(images, lam, centre)
    mixed = images.copy()
    for i in range(len(mixed)):
        mixed[i, top:bottom, left:right] = mixed[i - 1, top:bottom, left:right]
    return mixed, mix(images, labels, Mixing(_kept(images, box), box))[1]


def _blended(images, labels, lam, centre):
    return mix(images, labels, Mixing(lam, None))


def _batches(rng: np.random.Generator) -> list[tuple]:
    shapes = (((3, 8, 6, 2), 4, 0.6, (4, 2)), ((4, 7, 10, 1), 5, 0.3, (6, 8)), ((5, 9, 7, 3), 2, 0.7, (1, 4)))
    return [
        (rng.standard_normal(shape), rng.dirichlet(np.ones(classes), shape[0]), lam, centre)
        for shape, classes, lam, centre in shapes
    ]


EXERCISES = [
    Exercise(
        "14.1",
        choice(
            "hue",
            {
                "shift": "The same lamp is lit, a little further to the side.",
                "flip": "Mirrored left to right, the lamps keep their order from top to bottom, and their colours.",
                "rotate": "Cameras are tilted by as much. Only far larger angles bring another lamp to the top.",
            },
        ),
        "It depends on the classes: turned colours keep makes of cars, and a flip spoils arrows to the left.",
    ),
    Exercise(
        "14.2",
        function_like(
            _skip,
            _streams,
            {
                "The branch is to be dropped where u < rate; this keeps it there.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, dropped=u >= rate)
                ),
                "The branches that are kept have to be divided by 1 - rate.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, factor=1)
                ),
                "This divides by the rate; the probability of being kept is 1 - rate.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, factor=1 / rate)
                ),
                "This multiplies by 1 - rate, as one does in evaluation if training was without a factor.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, factor=1 - rate)
                ),
                "The new z is right. df has to go through the same factors m, 1 / (1 - rate) included.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, factor_back=1)
                ),
                "Only the branch is dropped. The residual connection carries every image past it, and every "
                "gradient.": _skipped_images_lost,
                "z also passes by the branch unchanged: its gradient is that of the new z. (What f hands on to z is "
                "the business of the branch.)": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, dz=_skip(z, f, u, rate, dz)[2])
                ),
            },
        ),
        "One factor per image instead of one per number; the rest is dropout.",
    ),
    Exercise(
        "14.3",
        function_like(
            lambda L, p: L * (1 - p / 2),
            lambda rng: [(12, 0.1), (4, 0.3), (2, 0.5)],
            {
                "This would be so if all blocks had the rate p; it rises from 0.": lambda L, p: L * (1 - p),
                "This is how many are skipped; the others are passed.": lambda L, p: L * p / 2,
                "The last block has the rate p itself: the rates are p i / (L - 1) with i from 0 to L - 1.": (
                    lambda L, p: L - p * (L - 1) / 2
                ),
                "The rates go from 0 to p, not from p / L to p: the first block is never skipped.": (
                    lambda L, p: L - p * (L + 1) / 2
                ),
            },
        ),
        "The mean of rates that rise linearly from 0 to p is p / 2.",
    ),
    Exercise(
        "14.4",
        function_like(
            _cutmix,
            _batches,
            {
                "1 - lam is the share of the area, so each side is its square root.": _area_as_side,
                "The box is what image i loses, the share 1 - lam of the area; this one has the share lam.": (
                    _kept_as_side
                ),
                "The images are right. Part of the box may lie outside, and pixels are whole: the share in the labels "
                "has to be counted from the box that was really replaced.": _planned_share,
                "The images are right. The shares of the labels are exchanged: image i keeps what is outside the "
                "box.": _labels_exchanged,
                "The images are right. The labels have to be mixed as well.": _labels_untouched,
                "The partner of image i is image i - 1; this takes image i + 1. np.roll(x, 1, axis=0) puts image i - 1 "
                "in place i.": _next_partner,
                "The images are right. Labels have the same partners as images.": _other_partner_for_labels,
                "The box is around the centre; here it begins there.": _corner,
                "The box of image i - 1 is copied after it was itself replaced. Read from the images as they "
                "were.": _in_place,
                "This blends whole images: that is mixup.": _blended,
                "centre is (row, column).": lambda i, t, lam, centre: _cutmix(i, t, lam, centre[::-1]),
            },
        ),
        "The same as minivit.data.cutmix, but for the draws.",
    ),
]

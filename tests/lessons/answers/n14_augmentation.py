"""Answers to the exercises of notebook 14."""

import math

import numpy as np


def skip(z, f, u, rate, dz_new, scaled=True):
    z_new, df = z.copy(), np.zeros_like(f)
    for b in range(len(z)):
        if u[b] >= rate:
            m = 1 / (1 - rate) if scaled else 1
            z_new[b] += m * f[b]
            df[b] = m * dz_new[b]
    return z_new, dz_new.copy(), df


def depth(L, rate):
    return sum(1 - rate * i / (L - 1) for i in range(L))


def paste(images, labels, lam, centre, side=None, partner=-1, recount=True, clip=True):
    count, height, width, _ = images.shape
    side = np.sqrt(1 - lam) if side is None else side
    box_height, box_width = round(height * side), round(width * side)
    top, left = centre[0] - box_height // 2, centre[1] - box_width // 2
    mixed, mixed_labels = images.copy(), np.zeros_like(labels)
    for i in range(count):
        other = (i + partner) % count
        replaced = 0
        for r in range(top, top + box_height):
            for c in range(left, left + box_width):
                if not clip:
                    mixed[i, r % height, c % width] = images[other, r % height, c % width]
                    replaced += 1
                elif 0 <= r < height and 0 <= c < width:
                    mixed[i, r, c] = images[other, r, c]
                    replaced += 1
        share = 1 - replaced / (height * width) if recount else lam
        mixed_labels[i] = share * labels[i] + (1 - share) * labels[other]
    return mixed, mixed_labels


def empty_box(images, labels, lam, centre):
    """A negative start, which Python counts from the end."""
    height, width = images.shape[1:3]
    h, w = round(height * np.sqrt(1 - lam)), round(width * np.sqrt(1 - lam))
    top, left = centre[0] - h // 2, centre[1] - w // 2
    mixed, partner = images.copy(), np.roll(images, 1, axis=0)
    mixed[:, top : top + h, left : left + w] = partner[:, top : top + h, left : left + w]
    return mixed, lam * labels + (1 - lam) * np.roll(labels, 1, axis=0)


def skip_by_factors(z, f, u, rate, dz_new):
    m = np.where(u < rate, 0, 1 / (1 - rate)).reshape(-1, 1, 1)
    return [z + m * f, dz_new, m * dz_new]


def box_at(images, lam, centre, whole=round):
    sides = [whole(n * (1 - lam) ** 0.5) for n in images.shape[1:3]]
    return [c - side // 2 for c, side in zip(centre, sides, strict=True)], sides


def paste_by_mask(images, labels, lam, centre):
    (top, left), (h, w) = box_at(images, lam, centre)
    return paste_box(images, labels, top, left, h, w)


def paste_box(images, labels, top, left, h, w):
    """One mask of the image for all."""
    row, column = np.ogrid[: images.shape[1], : images.shape[2]]
    inside = (row >= top) & (row < top + h) & (column >= left) & (column < left + w)
    share = 1 - inside.mean()
    partner = [(i - 1) % len(images) for i in range(len(images))]
    mixed = np.where(inside[None, :, :, None], images[partner], images)
    return mixed, share * labels + (1 - share) * labels[partner]


def cut_to_whole(images, labels, lam, centre):
    (top, left), (h, w) = box_at(images, lam, centre, whole=int)
    return paste_box(images, labels, top, left, h, w)


def moved_inside(images, labels, lam, centre):
    (top, left), (h, w) = box_at(images, lam, centre)
    top, left = min(max(top, 0), images.shape[1] - h), min(max(left, 0), images.shape[2] - w)
    return paste_box(images, labels, top, left, h, w)


def cutmix_rounded_up(images, labels, lam, centre):
    sides = [int(n * math.sqrt(1 - lam) + 0.5) for n in images.shape[1:3]]
    starts = [c - side // 2 for c, side in zip(centre, sides, strict=True)]
    (top, bottom), (left, right) = (
        (max(0, i), min(n, i + side)) for i, side, n in zip(starts, sides, images.shape[1:3], strict=True)
    )
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = np.roll(images, 1, axis=0)[:, top:bottom, left:right]
    share = (bottom - top) * (right - left) / (images.shape[1] * images.shape[2])
    return mixed, (1 - share) * labels + share * np.roll(labels, 1, axis=0)


# number -> answers that must pass
RIGHT = {
    "14.1": ["hue", "Hue"],
    "14.2": [skip, skip_by_factors],
    "14.3": [
        depth,
        lambda L, rate: L - L * rate / 2,
        lambda L, rate: np.sum(1 - np.linspace(0, rate, L)),
        lambda L, rate: sum(2 * 0.5 * (1 - r) for r in np.linspace(0, rate, L)),
    ],
    "14.4": [paste, paste_by_mask],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "14.1": [("shift", "same lamp"), ("rotate", "tilted"), ("flip", "mirrored red lamp"), ("crop", "Choose one of")],
    "14.2": [
        (lambda *args: skip(*args, scaled=False), "divided by 1 - rate"),
        (lambda z, f, u, rate, dz: skip(z, f, u - 1e-9, rate, dz), "equals the rate"),
        (lambda z, f, u, rate, dz: skip(z, f, 1 - u, 1 - rate, dz), "dz is right"),
        (lambda z, f, u, rate, dz: skip(z, f, u, rate, dz)[:2], "tuple of 2 arrays"),
        (lambda z, f, u, rate, dz: (skip(z, f, u, rate, dz)[0], dz, dz / (1 - rate)), "df is zero"),
        (lambda z, f, u, rate, dz: (skip(z, f, u, rate, dz)[0], dz + skip(z, f, u, rate, dz)[2], dz), "df"),
        (lambda z, f, u, rate, dz: skip(0 * z, f, u, rate, dz), "adds z to it"),
        (lambda z, f, u, rate, dz: skip(z, f, u, rate, dz)[::-1], "another order"),
    ],
    "14.3": [
        (lambda L, rate: L * (1 - rate), "all blocks"),
        (lambda L, rate: L * rate / 2, "skipped"),
        (lambda L, rate: sum(1 - rate * i / L for i in range(L)), "L - 1"),
        (lambda L, rate: sum(1 - rate * i / L for i in range(1, L + 1)), "never skipped"),
        (lambda L, rate: math.prod(1 - rate * i / (L - 1) for i in range(L)), "no block is skipped"),
        (lambda L, rate: 1 - rate / 2, "share of the blocks"),
        (lambda L, rate: L, "none with certainty"),
        (lambda L, rate: L - rate * L / 3, "those with L rate are not"),
    ],
    "14.4": [
        (cutmix_rounded_up, "rounds them up"),
        (lambda i, t, lam, c: paste(i, t, lam, c, side=1 - lam), "square root"),
        (lambda i, t, lam, c: paste(i, t, lam, c, recount=False), "really replaced"),
        (lambda i, t, lam, c: paste(i, t, lam, c, partner=1), "i + 1"),
        (lambda i, t, lam, c: (paste(i, t, lam, c)[0], t), "mixed as well"),
        (lambda i, t, lam, c: paste(i, t, lam, c, clip=False), "sticks out"),
        (empty_box, "not in their places"),
        (cut_to_whole, "not `int`"),
        (moved_inside, "not moved inside"),
        (lambda i, t, lam, c: paste(i, t, lam, c[::-1]), "(row, column)"),
        (lambda i, t, lam, c: paste(i, t, lam, (c[0] + 1, c[1])), "images"),
        (lambda i, t, lam, c: paste(i, t, lam, c)[::-1], "another order"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "14.2": {
        "m = np.where(…).reshape(-2, 1, 1)": "a negative number stands for the length that is left",
        "m = np.where(u < rate, 0, 1 / (1 - rate)).reshape(-1, 1, 1)": "1 is 1",
    },
    "14.3": {
        "lambda L, rate: sum((1 - r for r in np.linspace(0, rate, L)))": "2 * 0.5 is 1",
        "lambda L, rate: np.sum(1 - np.linspace(rate, 0, L))": "a sum does not depend on the order",
        "lambda L, rate: sum((2 * 0.5 * (1 - r) … np.linspace(rate, 0, L)))": "a sum does not depend on the order",
    },
    "14.4": {
        "partner = [i - 1 for i in range(len(images))]": "Python counts -1 from the end",
        "return ([c - side // 2 for c, side in zip(centre, sides…)], sides)": "the two have the same length",
    },
}

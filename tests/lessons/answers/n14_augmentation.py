"""Answers to the exercises of notebook 14."""

import numpy as np


def skip(z, f, u, rate, dz_new, scaled=True):
    z_new, df = z.copy(), np.zeros_like(f)
    for b in range(len(z)):
        if u[b] >= rate:
            m = 1 / (1 - rate) if scaled else 1
            z_new[b] += m * f[b]
            df[b] = m * dz_new[b]
    return z_new, dz_new.copy(), df


def depth(L, p):
    return sum(1 - p * i / (L - 1) for i in range(L))


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


RIGHT = {
    "14.1": ["hue"],
    "14.2": [skip],
    "14.3": [depth],
    "14.4": [paste],
}

WRONG = {
    "14.1": [("shift", "same lamp"), ("rotate", "tilted"), ("flip", "top to bottom"), ("crop", "Choose one of")],
    "14.2": [
        (lambda *args: skip(*args, scaled=False), "divided by 1 - rate"),
        (lambda z, f, u, rate, dz: skip(z, f, 1 - u, 1 - rate, dz), "differs"),
        (lambda z, f, u, rate, dz: skip(z, f, u, rate, dz)[:2], "tuple of 2 arrays"),
        (lambda z, f, u, rate, dz: (skip(z, f, u, rate, dz)[0], dz, dz / (1 - rate)), "differs"),
    ],
    "14.3": [
        (lambda L, p: L * (1 - p), "all blocks"),
        (lambda L, p: L * p / 2, "skipped"),
        (lambda L, p: sum(1 - p * i / L for i in range(L)), "L - 1"),
        (lambda L, p: L, "differs"),
    ],
    "14.4": [
        (lambda i, t, lam, c: paste(i, t, lam, c, side=1 - lam), "square root"),
        (lambda i, t, lam, c: paste(i, t, lam, c, recount=False), "really replaced"),
        (lambda i, t, lam, c: paste(i, t, lam, c, partner=1), "i + 1"),
        (lambda i, t, lam, c: (paste(i, t, lam, c)[0], t), "mixed as well"),
        (lambda i, t, lam, c: paste(i, t, lam, c, clip=False), "differs"),
        (empty_box, "differs"),
    ],
}

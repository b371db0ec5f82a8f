"""Answers to the exercises of notebook 21."""

import math

import numpy as np


def colour_by_loop(patch, bits):
    number = 0
    for channel in range(3):
        mean = patch[:, :, channel].mean()
        number = number * 2**bits + int(mean / 2 ** (8 - bits))
    return number


def colour_at_once(patch, bits):
    levels = (patch.mean(axis=(0, 1)) * 2**bits / 256).astype(int)
    return levels @ [4**bits, 2**bits, 1]


def loss_by_loop(z, classes, kind):
    total, count, dz = 0.0, 0, np.zeros_like(z)
    for b in range(len(z)):
        for i in range(z.shape[1]):
            if kind[b, i] > 0:
                e = np.exp(z[b, i])
                dz[b, i] = e / e.sum()
                total -= np.log(dz[b, i, classes[b, i]])
                dz[b, i, classes[b, i]] -= 1
                count += 1
    return total / count, dz / count


def loss_by_index(z, classes, kind):
    b, i = np.nonzero(kind)
    rows, right = z[b, i], classes[b, i]
    lse = np.log(np.exp(rows).sum(axis=1))
    dz = np.zeros_like(z)
    dz[b, i] = (np.exp(rows - lse[:, None]) - np.eye(z.shape[2])[right]) / len(b)
    return np.mean(lse - rows[np.arange(len(b)), right]), dz


def block_by_loop(mask, top, left, height, width, missing):
    after, count = mask.copy(), 0
    for row in range(top, top + height):
        for column in range(left, left + width):
            count += not after[row, column]
            after[row, column] = True
    return (after, count) if 1 <= count <= missing else (mask, 0)


def block_by_difference(mask, top, left, height, width, missing):
    after = np.array(mask)
    after[top : top + height, left : left + width] = True
    count = after.sum() - mask.sum()
    if count > missing or count == 0:
        return mask, 0
    return after, count


def pixels_by_loop(y, image, hidden, P):
    C, columns = image.shape[2], image.shape[1] // P
    loss, dy, count = 0.0, np.zeros_like(y), hidden.sum() * y.shape[1]
    for i in range(len(y)):
        if hidden[i]:
            row, column = divmod(i, columns)
            patch = image[row * P : row * P + P, column * P : column * P + P]
            for j in range(P * P * C):
                error = y[i, j] - patch[j % (P * P) // P, j % P, j // (P * P)]
                loss += abs(error) / count
                dy[i, j] = np.sign(error) / count
    return loss, dy


def pixels_by_axes(y, image, hidden, P):
    rows, columns = image.shape[0] // P, image.shape[1] // P
    t = image.reshape(rows, P, columns, P, -1).transpose(0, 2, 4, 1, 3).reshape(y.shape)
    error, dy = y[hidden] - t[hidden], np.zeros_like(y)
    dy[hidden] = np.where(error > 0, 1, -1) / error.size
    return np.abs(error).mean(), dy


def in_rows(y, image, hidden, P):
    t = image.reshape(image.shape[0] // P, P, -1, P, image.shape[2]).transpose(0, 2, 1, 3, 4).reshape(y.shape)
    error = (y - t) * hidden[:, None]
    return np.abs(error).sum() / error[hidden].size, np.sign(error) / error[hidden].size


def normalised(y, image, hidden, P):
    out = image.copy()
    for row in range(0, image.shape[0], P):
        for column in range(0, image.shape[1], P):
            patch = image[row : row + P, column : column + P]
            out[row : row + P, column : column + P] = (patch - patch.mean()) / patch.std()
    return pixels_by_axes(y, out, hidden, P)


def tokens_by_formula(side, P, unit, share):
    squares = -int(-((side / unit) ** 2) * share // 1)
    patches = side * side // P**2
    return squares * unit**2 // P**2, patches + 1, math.floor(patches * (1 - share)) + 1


def tokens_by_list(side, P, unit, share):
    squares = [(r, c) for r in range(0, side, unit) for c in range(0, side, unit)]
    patches = [(r, c) for r in range(0, side, P) for c in range(0, side, P)]
    hidden = squares[: math.ceil(share * len(squares))]
    gone = [p for p in patches if (p[0] - p[0] % unit, p[1] - p[1] % unit) in hidden]
    return [len(gone), 1 + len(patches), 1 + int(len(patches) * (1 - share))]


# number -> answers that must pass
RIGHT = {
    "21.1": [colour_by_loop, colour_at_once],
    "21.2": [loss_by_loop, loss_by_index],
    "21.3": [block_by_loop, block_by_difference],
    "21.4": [pixels_by_loop, pixels_by_axes],
    "21.5": [tokens_by_formula, tokens_by_list],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "21.1": [
        (lambda patch, bits: colour_at_once(patch[:, :, ::-1], bits), "Blue comes first"),
        (lambda patch, bits: colour_at_once(patch // 2 ** (8 - bits) * 2 ** (8 - bits), bits), "The mean comes first"),
        (lambda patch, bits: colour_by_loop(patch + 2 ** (7 - bits), bits), "rounds down"),
        (lambda patch, bits: colour_at_once(patch, 3), "not 3 bits"),
        (lambda patch, bits: [int(x) >> 8 - bits for x in patch.mean(axis=(0, 1))], "One number is asked"),
        (lambda patch, bits: patch.mean(axis=(0, 1)) / 2 ** (8 - bits) @ [4**bits, 2**bits, 1], "whole number"),
        (lambda patch, bits: (patch.mean(axis=(0, 1)) / 255 * 2**bits).astype(int) @ [4**bits, 2**bits, 1], "256"),
        (lambda patch, bits: colour_by_loop(patch, bits) + 1, "is"),
    ],
    "21.2": [
        (lambda z, classes, kind: loss_by_loop(z, classes, kind + 1), "counts all patches"),
        (lambda z, classes, kind: loss_by_loop(z, classes, kind == 1), "Only [mask] tokens"),
        (lambda z, classes, kind: loss_by_loop(z, classes, kind % 3), "stay as they are"),
        (lambda z, classes, kind: loss_by_loop(z, classes, kind[[0] * len(z)]), "the first one"),
        (
            lambda z, classes, kind: (
                np.mean([loss_by_index(*(x[b : b + 1] for x in (z, classes, kind)))[0] for b in range(len(z))]),
                loss_by_index(z, classes, kind)[1],
            ),
            "dz is right",
        ),
        (
            lambda z, classes, kind: (
                loss_by_index(z, classes, kind)[0],
                loss_by_index(z, classes, np.ones_like(kind))[1],
            ),
            "not chosen",
        ),
        (lambda z, classes, kind: loss_by_index(z, classes, kind)[0], "tuple of 2"),
        (lambda z, classes, kind: loss_by_index(2 * z, classes, kind), "differs"),
    ],
    "21.3": [
        (
            lambda mask, top, left, height, width, missing: block_by_loop(mask, top, left, width, height, missing),
            "exchanged",
        ),
        (
            lambda mask, top, left, height, width, missing: block_by_loop(mask, top, left, height, width, missing - 1),
            "exactly as many",
        ),
        (
            lambda mask, top, left, height, width, missing: block_by_loop(mask, top, left, height, width, 1000),
            "too many",
        ),
        (
            lambda mask, top, left, height, width, missing: (
                block_by_loop(mask, top, left, height, width, missing)[0],
                height * width,
            ),
            "mask is right",
        ),
        (lambda mask, top, left, height, width, missing: mask, "tuple of 2"),
    ],
    "21.4": [
        (in_rows, "order of `patchify`"),
        (lambda y, image, hidden, P: pixels_by_axes(y, image, ~hidden, P), "exchanged"),
        (lambda y, image, hidden, P: pixels_by_axes(y, image, hidden | True, P), "all patches"),
        (normalised, "normalised by patch"),
        (lambda y, image, hidden, P: pixels_by_axes(y, image.swapaxes(0, 1), hidden, P), "sign"),
        (lambda y, image, hidden, P: pixels_by_axes(y, image / 2, hidden, P), "loss is not right either"),
        (lambda y, image, hidden, P: pixels_by_axes(y, image, hidden, P)[0], "tuple of 2"),
    ],
    "21.5": [
        (lambda side, P, unit, share: tokens_by_formula(side, P, P, share), "one by one"),
        (
            lambda side, P, unit, share: (
                tokens_by_list(side, P, unit, share)[0],
                1 + (side // P) ** 2 - tokens_by_list(side, P, unit, share)[0],
                tokens_by_list(side, P, unit, share)[2],
            ),
            "as [mask] tokens",
        ),
        (lambda side, P, unit, share: np.subtract(tokens_by_formula(side, P, unit, share), [0, 1, 1]), "[class]"),
        (
            lambda side, P, unit, share: (
                *tokens_by_formula(side, P, unit, share)[:2],
                round((side / P) ** 2 * (1 - share)) + 1,
            ),
            "does not round",
        ),
        (
            lambda side, P, unit, share: (
                *tokens_by_formula(side, P, unit, share)[:2],
                int(((side / P) ** 2 + 1) * (1 - share)),
            ),
            "never hides the [class] token",
        ),
        (lambda side, P, unit, share: tokens_by_formula(side, P, unit, share)[:2], "tuple of 3"),
        (lambda side, P, unit, share: (120, 197, 79), "is"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "21.1": {"return [4 ** bits, 2 ** bits, 1] @ levels": "an inner product has no order"},
    "21.3": {
        "return (after, count) if 0 <= count <= missing else (mask, 0)": "such a block hides nothing new",
        "if count > missing or count == -1:": "such a block hides nothing new",
    },
    "21.4": {
        "t = image.reshape(rows, P, columns, P, -2).transpose(0, 2, 4, 1, 3).reshape(y.shape)": (
            "NumPy takes any negative length as the unknown one"
        ),
        "dy[hidden] = np.where(error >= 0, 1, -1) / error.size": "no error is exactly 0",
    },
    "21.5": {
        "patches = [(r, c) for r in range(1, side, P) for c in range(0, side, P)]": (
            "a patch is in the square of any of its pixels"
        ),
        "patches = [(r, c) for r in range(0, side, P) for c in range(1, side, P)]": (
            "a patch is in the square of any of its pixels"
        ),
    },
}

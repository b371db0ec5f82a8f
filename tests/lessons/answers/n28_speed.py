"""Answers to the exercises of notebook 28."""

import math

import numpy as np


def chan(n1, m1, s1, n2, m2, s2):
    n = n1 + n2
    mean = m1 * (n1 / n) + m2 * (n2 / n)
    return n, mean, s1 + s2 + n1 * (m1 - mean) ** 2 + n2 * (m2 - mean) ** 2


def best(L, a, b):
    peaks = {s: L / s * b + s * a for s in range(1, L + 1) if L % s == 0}
    return next(s for s, peak in peaks.items() if peak == min(peaks.values()))


def nearest(L, a, b):
    divisors = [s for s in range(L, 0, -1) if L % s == 0]
    return divisors[min(range(len(divisors)), key=lambda i: abs(divisors[i] - (L * b / a) ** 0.5))]


def divisors_as_array(L, a, b):
    """An array of one entry."""
    s = np.array([d for d in range(1, L + 1) if not L % d])
    return s[[np.argmin(b * L / s + a * s)]]


def by_gap(n1, m1, s1, n2, m2, s2):
    gap = m1 - m2
    return [n1 + n2, m1 - gap * n2 / (n1 + n2), s1 + s2 + gap**2 / (1 / n1 + 1 / n2)]


def through_squares(n1, m1, s1, n2, m2, s2):
    n, mean = n1 + n2, (n1 * m1 + n2 * m2) / (n1 + n2)
    return n, mean, s1 + n1 * m1 * m1 + s2 + n2 * m2 * m2 - n * mean * mean


def fitting(memory, n, L, N, D, M, H):
    return int(max(0, (memory - 16 * n) // (4 * N * ((L + 8) * D + 2 * M + H * N))))


def by_bits(memory, n, L, N, D, M, H, numbers=4):
    """Sets the bits of the batch, from the highest down, as long as it fits."""
    images = 0
    for bit in range(30, -1, -1):
        more = images + 2**bit
        inputs, width = L * more * N * D, 8 * D + 2 * M + H * N
        if numbers * n + inputs + more * N * width <= memory / 4:
            images = more
    return images


# number -> answers that must pass
RIGHT = {
    "28.1": [lambda n: n / 6, lambda n: 2 * n**3 / (3 * n * n * np.dtype("f").itemsize), lambda n: np.float64(n) / 6],
    "28.2": [
        lambda work, traffic, peak, bandwidth: work / min(peak, work / traffic * bandwidth),
        lambda work, traffic, peak, bandwidth: np.maximum(work / peak, traffic / bandwidth),
        lambda work, traffic, peak, bandwidth: sorted([traffic / bandwidth, work / peak])[1],
    ],
    "28.3": [best, divisors_as_array],
    "28.4": [fitting, by_bits],
    "28.5": [chan, by_gap],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "28.1": [
        (lambda n: n / 4, "one is written"),
        (lambda n: n / 12, "two FLOP"),
        (lambda n: 2 * n / 3, "4 bytes"),
        (lambda n: (2 * n - 1) / 12, "side - 1 additions"),
        (lambda n: 6 / n, "bytes per FLOP"),
        (lambda n: 2 * n**3, "divide by the bytes"),
        (lambda n: 1 / 6, "as many additions"),
        (lambda n: n / 12 + 1, "differs"),
    ],
    "28.2": [
        (lambda work, traffic, peak, bandwidth: work / peak + traffic / bandwidth, "not their sum"),
        (lambda work, traffic, peak, bandwidth: min(peak, work / traffic * bandwidth), "a rate"),
        (lambda work, traffic, peak, bandwidth: traffic / bandwidth, "traffic alone"),
        (lambda work, traffic, peak, bandwidth: work / peak, "arithmetic alone"),
        (lambda work, traffic, peak, bandwidth: min(work / peak, traffic / bandwidth), "larger time"),
        (lambda work, traffic, peak, bandwidth: max(work * peak, traffic * bandwidth), "not times it"),
        (lambda work, traffic, peak, bandwidth: max(work / bandwidth, traffic / peak), "exchanged"),
        (lambda work, traffic, peak, bandwidth: 1e-9 * max(work / peak, traffic / bandwidth), "1e-09 times"),
    ],
    "28.3": [
        (lambda L, a, b: math.sqrt(L * b / a), "divides L"),
        (lambda L, a, b: best(L, 1, 1), "equally large"),
        (lambda L, a, b: best(L, b, a), "exchanged"),
        (nearest, "compare the peaks"),
        (lambda L, a, b: int(min(L, max(1, (L * b / a) ** 0.5))), "below"),
        (lambda L, a, b: L // best(L, a, b), "number of segments"),
        (lambda L, a, b: L / best(L, a, b) * b + best(L, a, b) * a, "This is the peak"),
        (lambda L, a, b: min(range(1, L + 1), key=lambda s: L / s * b + s * a), "best of all whole numbers"),
        (lambda L, a, b: best(L, a, b) + 1, "too large by 1"),
        (lambda L, a, b: 1, "One block"),
    ],
    "28.4": [
        (lambda *args: by_bits(*args, numbers=3), "gradients are held"),
        (lambda *args: by_bits(*args, numbers=2), "two moments"),
        (lambda *args: by_bits(*args, numbers=0), "before there is an image"),
        (lambda memory, *rest: fitting(2 * memory, *rest), "not 2"),
        (lambda memory, n, L, N, D, M, H: fitting(memory, n, 0, N, D, M, H), "inputs of the blocks"),
        (lambda memory, n, L, N, D, M, H: fitting(memory, n, L, N, D, 4 * D, H), "width M"),
        (lambda memory, n, L, N, D, M, H: fitting(memory, n, L, N, D, M, 1), "Each head"),
        (lambda *args: fitting(*args) + 1, "too large by 1"),
        (
            lambda memory, n, L, N, D, M, H: (memory - 16 * n) // (4 * N * ((L + 8) * D + 2 * M + H * N)),
            "and not negative",
        ),
    ],
    "28.5": [
        (lambda n1, m1, s1, n2, m2, s2: (n1 + n2, (m1 + m2) / 2, chan(n1, m1, s1, n2, m2, s2)[2]), "weighted"),
        (lambda n1, m1, s1, n2, m2, s2: (*chan(n1, m1, s1, n2, m2, s2)[:2], s1 + s2), "gap"),
        (lambda n1, m1, s1, n2, m2, s2: chan(n1, m1, s1, n1, m2, s2), "the counts are different"),
        (lambda n1, m1, s1, n2, m2, s2: (*chan(n1, m1, s1, n2, m2, s2)[:2], s1 + s2 + (m1 - m2) ** 2), "off"),
        (
            lambda n1, m1, s1, n2, m2, s2: (*chan(n2, m1, s1, n1, m2, s2)[:2], chan(n1, m1, s1, n2, m2, s2)[2]),
            "own part",
        ),
        (through_squares, "its digits"),
        (lambda *parts: (*chan(*parts)[:2], chan(*parts)[2] / (parts[0] + parts[3])), "variance"),
        (lambda *parts: chan(*parts)[::-1], "another order"),
        (lambda *parts: chan(*parts)[:2], "tuple of 3"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "28.2": {
        "lambda …: work / min(work / traffic * bandwidth, peak)": "the two stand on equal terms",
        "lambda …: np.maximum(traffic / bandwidth, work / peak)": "the two stand on equal terms",
    },
    "28.3": {
        "peaks = {s: L / s * b + s * a for s in range(1, L + 2) if L % s == 0}": "L + 1 does not divide L",
        "s = np.array([d for d in range(1, L + 2) if not L % d])": "L + 1 does not divide L",
    },
    "28.4": {
        "return int(max((memory …, 0))": "the two stand on equal terms",
        "for bit in range(…, -1, -1):": "no batch here has so many bits",
    },
}

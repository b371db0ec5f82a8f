"""Answers to the exercises of notebook 28."""

import math


def chan(n1, m1, s1, n2, m2, s2):
    n = n1 + n2
    mean = m1 * (n1 / n) + m2 * (n2 / n)
    return n, mean, s1 + s2 + n1 * (m1 - mean) ** 2 + n2 * (m2 - mean) ** 2


def best(L, a, x):
    peaks = {s: L / s * x + s * a for s in range(1, L + 1) if L % s == 0}
    return next(s for s, peak in peaks.items() if peak == min(peaks.values()))


def nearest(L, a, x):
    divisors = [s for s in range(L, 0, -1) if L % s == 0]
    return divisors[min(range(len(divisors)), key=lambda i: abs(divisors[i] - (L * x / a) ** 0.5))]


RIGHT = {
    "28.1": [lambda n: n / 6],
    "28.2": [lambda work, traffic, peak, bandwidth: work / min(peak, work / traffic * bandwidth)],
    "28.3": [best],
    "28.4": [chan],
}

WRONG = {
    "28.1": [
        (lambda n: n / 4, "one is written"),
        (lambda n: n / 12, "two FLOP"),
        (lambda n: 2 * n / 3, "4 bytes"),
        (lambda n: n / 12 + 1, "differs"),
    ],
    "28.2": [
        (lambda work, traffic, peak, bandwidth: work / peak + traffic / bandwidth, "not their sum"),
        (lambda work, traffic, peak, bandwidth: min(peak, work / traffic * bandwidth), "a rate"),
        (lambda work, traffic, peak, bandwidth: traffic / bandwidth, "differs"),
    ],
    "28.3": [
        (lambda L, a, x: math.sqrt(L * x / a), "divides L"),
        (lambda L, a, x: best(L, 1, 1), "equally large"),
        (lambda L, a, x: best(L, x, a), "exchanged"),
        (nearest, "compare the peaks"),
        (lambda L, a, x: int(min(L, max(1, (L * x / a) ** 0.5))), "below"),
        (lambda L, a, x: 1, "differs"),
    ],
    "28.4": [
        (lambda n1, m1, s1, n2, m2, s2: (n1 + n2, (m1 + m2) / 2, chan(n1, m1, s1, n2, m2, s2)[2]), "weighted"),
        (lambda n1, m1, s1, n2, m2, s2: (*chan(n1, m1, s1, n2, m2, s2)[:2], s1 + s2), "gap"),
        (lambda n1, m1, s1, n2, m2, s2: chan(n1, m1, s1, n1, m2, s2), "differs"),
        (lambda n1, m1, s1, n2, m2, s2: (*chan(n1, m1, s1, n2, m2, s2)[:2], s1 + s2 + (m1 - m2) ** 2), "off"),
        (
            lambda n1, m1, s1, n2, m2, s2: (*chan(n2, m1, s1, n1, m2, s2)[:2], chan(n1, m1, s1, n2, m2, s2)[2]),
            "own part",
        ),
        (lambda *parts: chan(*parts)[:2], "tuple of 3"),
    ],
}

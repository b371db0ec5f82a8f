"""Answers to the exercises of notebook 27."""

import math

import numpy as np


def noisy_at_once(images, noise, betas, t):
    share = np.cumprod(1 - betas)[t - 1].reshape(-1, 1, 1, 1)
    return np.sqrt(share) * (images / 127.5 - 1) + np.sqrt(1 - share) * noise


def noisy_by_picture(images, noise, betas, t):
    rows = []
    for image, e, steps in zip(images, noise, t, strict=True):
        share = math.prod(1 - betas[i] for i in range(steps))
        x0 = 2 * image.astype(float) / 255 - 1
        rows.append(share**0.5 * x0 + (1 - share) ** 0.5 * e)
    return rows


def noisy_of(pixels, images, noise, betas, t):
    share = np.cumprod(1 - betas)[t - 1].reshape(-1, 1, 1, 1)
    return np.sqrt(share) * pixels(images) + np.sqrt(1 - share) * noise


def noisy_off_by_one(images, noise, betas, t):
    share = np.cumprod(1 - betas)[t].reshape(-1, 1, 1, 1)
    return np.sqrt(share) * (images / 127.5 - 1) + np.sqrt(1 - share) * noise


def walk_by_index(predict, x, kept, abar):
    for i in range(len(kept) - 1, -1, -1):
        now = abar[kept[i]]
        later = abar[kept[i - 1]] if i > 0 else 1
        e = predict(x, kept[i])
        x0 = (x - np.sqrt(1 - now) * e) / np.sqrt(now)
        x = np.sqrt(later) * x0 + np.sqrt(1 - later) * e
    return x


def walk_by_pairs(predict, x, kept, abar):
    """With the index of every picture, as the library tells it."""
    shares = [1.0] + [abar[index] for index in kept]
    for index, now, later in zip(kept[::-1], shares[:0:-1], shares[-2::-1], strict=True):
        e = predict(x, np.full(len(x), index))
        x = math.sqrt(later / now) * (x - math.sqrt(1 - now) * e) + math.sqrt(1 - later) * e
    return x


def walk_told(told, predict, x, kept, abar):
    for i in range(len(kept) - 1, -1, -1):
        now, later = abar[kept[i]], abar[kept[i - 1]] if i > 0 else 1
        e = predict(x, told(kept, i))
        x = np.sqrt(later) * (x - np.sqrt(1 - now) * e) / np.sqrt(now) + np.sqrt(1 - later) * e
    return x


def walk_to_the_noise(predict, x, kept, abar):
    """At the first visited step kept[i - 1] is the last one."""
    for i in range(len(kept) - 1, -1, -1):
        now, later = abar[kept[i]], abar[kept[i - 1]]
        e = predict(x, kept[i])
        x = np.sqrt(later) * (x - np.sqrt(1 - now) * e) / np.sqrt(now) + np.sqrt(1 - later) * e
    return x


def walk_of_ddpm(predict, x, kept, abar):
    shares = [1.0, *abar[kept]]
    for i in range(len(kept), 0, -1):
        now, later = shares[i], shares[i - 1]
        x0 = (x - np.sqrt(1 - now) * predict(x, kept[i - 1])) / np.sqrt(now)
        beta = 1 - now / later
        x = (beta * np.sqrt(later) * x0 + (1 - later) * np.sqrt(1 - beta) * x) / (1 - now)
    return x


def walk_to_the_first(predict, x, kept, abar):
    for now, later in zip(kept[:0:-1], kept[-2::-1], strict=True):
        e = predict(x, now)
        x0 = (x - np.sqrt(1 - abar[now]) * e) / np.sqrt(abar[now])
        x = np.sqrt(abar[later]) * x0 + np.sqrt(1 - abar[later]) * e
    return x


def guided_by_precisions(m, s, r, g):
    of_class, of_all = g / s**2, (1 - g) / r**2
    return of_class * m / (of_class + of_all), math.sqrt(1 / (of_class + of_all))


def guided_by_fractions(m, s, r, g):
    below = g * r * r + (1 - g) * s * s
    return np.array([g * m * r * r / below, s * r / below**0.5])


def guided_variance(m, s, r, g):
    mean, deviation = guided_by_precisions(m, s, r, g)
    return mean, deviation**2


def velocity_by_noise(predict, x, t):
    r = np.sqrt((1 - t) ** 2 + t**2)
    e = predict(x / r, ((1 - t) / r) ** 2)
    return e - (x - t * e) / (1 - t)


def velocity_in_short(predict, x, t):
    squared = 1 - 2 * t + 2 * t * t
    return (predict(x / squared**0.5, (1 - t) ** 2 / squared) - x) / (1 - t)


def share_by_sum(abar, s):
    losses = abar * s * s / (abar * s * s + 1 - abar)
    return losses[: len(losses) // 10].sum() / losses.sum()


def share_by_loop(abar, s):
    losses = [1 / (1 + (1 - a) / (a * s**2)) for a in abar]
    return sum(losses[: round(0.1 * len(losses))]) / sum(losses)


# number -> answers that must pass
RIGHT = {
    "27.1": [noisy_at_once, noisy_by_picture],
    "27.2": [walk_by_index, walk_by_pairs],
    "27.3": [guided_by_precisions, guided_by_fractions],
    "27.4": [velocity_by_noise, velocity_in_short],
    "27.5": [share_by_sum, share_by_loop],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "27.1": [
        (lambda *args: noisy_of(lambda images: images / 255, *args), "from 0 to 1"),
        (lambda *args: noisy_of(lambda images: images, *args), "0 to 255"),
        (lambda *args: noisy_of(lambda images: images / 255 - 0.5, *args), "-0.5 to 0.5"),
        (lambda images, noise, betas, t: noisy_at_once(images, noise, 1 - betas, t), "not beta"),
        (lambda *args: noisy_of(lambda images: 2 * images / 255 - 1, *args), "8 bits"),
        (noisy_off_by_one, "begins at 0"),
        (lambda images, noise, betas, t: noisy_at_once(images, noise, betas, np.full_like(t, t[0])), "of its own"),
        (lambda images, noise, betas, t: noisy_at_once(images, -noise, betas, t), "differs"),
    ],
    "27.2": [
        (lambda *args: walk_told(lambda kept, i: i, *args), "within the walk"),
        (lambda *args: walk_told(lambda kept, i: kept[i] + 1, *args), "one more"),
        (walk_to_the_first, "last step is missing"),
        (walk_to_the_noise, "is the last entry"),
        (walk_of_ddpm, "DDPM"),
        (lambda predict, x, kept, abar: walk_by_index(predict, x, kept[::-1], abar), "differs"),
        (lambda predict, x, kept, abar: [*walk_by_index(predict, x, kept, abar)][:1], "shape"),
    ],
    "27.3": [
        (
            lambda m, s, r, g: (guided_by_precisions(m, s, r, g)[0], guided_by_precisions(m, s, r, g)[1] ** 2),
            "variance",
        ),
        (lambda m, s, r, g: (g * m, guided_by_precisions(m, s, r, g)[1]), "both densities"),
        (lambda m, s, r, g: (g * m, g * s + (1 - g) * r), "line"),
        (lambda m, s, r, g: (m, s / g**0.5), "left out"),
        (lambda m, s, r, g: guided_by_precisions(m, s, r, 1.0), "class itself"),
        (lambda m, s, r, g: (guided_by_precisions(m, s, r, g)[0], s), "mean is right"),
    ],
    "27.4": [
        (lambda predict, x, t: (predict(x, (1 - t) ** 2) - x) / (1 - t), "find its share"),
        (lambda predict, x, t: -velocity_by_noise(predict, x, t), "way"),
        (lambda predict, x, t: x - t * velocity_by_noise(predict, x, t), "x_0"),
        (lambda predict, x, t: velocity_in_short(lambda x, abar: predict(x, 1 - abar), x, t), "of the noise"),
        (lambda predict, x, t: velocity_in_short(lambda x, abar: predict(x, abar**0.5), x, t), "root"),
    ],
    "27.5": [
        (lambda abar, s: share_by_sum(abar[::-1], s), "last tenth"),
        (lambda abar, s: 10 * share_by_sum(abar, s), "ten times"),
        (lambda abar, s: share_by_sum(abar, s**0.5), "square"),
        (lambda abar, s: 0.1, "same"),
        (lambda abar, s: share_by_sum(abar**2, s), "is"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "27.1": {
        "share = np.cumprod(1 - betas)[t - 1].reshape(-1, 1, 1, 1)": "of four equal arguments two are exchanged",
        "share = np.cumprod(1 - betas)[t - 1].reshape(-2, 1, 1, 1)": "NumPy takes any negative length so",
        "for image, e, steps in zip(images, noise, t):": "the lengths are equal",
        "for image, e, steps in zip(images, noise, t, strict=False):": "equal lengths",
    },
    "27.2": {
        "for i in range(len(kept) - 1, -1, -1):": "two equal arguments are exchanged",
        "for index, now, later in zip(kept[::-1], shares[:0:-1], shares[-2::-1]):": "the lengths are equal",
        "for index, now, later in zip(kept[::-1], shares[:0:-1], shares[-2::-1], strict=False):": "equal lengths",
    },
    "27.5": {
        "losses = abar * s / (abar * s * s + 1 - abar)": "a common factor of all losses cancels in a share",
        "losses = abar * s / s / (abar * s * s + 1 - abar)": "a common factor of all losses cancels in a share",
        "losses = abar / s * s / (abar * s * s + 1 - abar)": "a common factor of all losses cancels in a share",
        "losses = [2 / (1 + (1 - a) / (a * s ** 2)) for a in abar]": "a common factor of all losses cancels in a share",
    },
}

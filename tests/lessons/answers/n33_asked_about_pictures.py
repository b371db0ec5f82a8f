"""Answers to the exercises of notebook 33."""

import numpy as np


def prefix_by_blocks(patches, words):
    return np.block(
        [
            [np.ones((patches, patches)), np.zeros((patches, words))],
            [np.ones((words, patches)), np.tri(words)],
        ]
    ).astype(bool)


def prefix_by_places(patches, words):
    n = patches + words
    return [[j <= i or (i < patches and j < patches) for j in range(n)] for i in range(n)]


def loss_by_loop(z, ids, spoken):
    total, count = 0.0, 0
    for b in range(len(ids)):
        for n in range(1, ids.shape[1]):
            if spoken[b, n]:
                e = np.exp(z[b, n - 1])
                total -= np.log(e[ids[b, n]] / e.sum())
                count += 1
    return total / count


def loss_at_once(z, ids, spoken):
    counted = spoken[:, 1:]
    z = z[:, :-1][counted]
    word = ids[:, 1:][counted]
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(word)), word].mean()


def loss_twice(z, ids, spoken):
    """Shifted by the reader, and by the library again."""
    return loss_at_once(z[:, :-1], ids[:, 1:], spoken[:, 1:])


def mean_of_means(z, ids, spoken):
    return np.mean([loss_by_loop(z[b : b + 1], ids[b : b + 1], spoken[b : b + 1]) for b in range(len(z))])


def probabilities(z, ids, spoken):
    e = np.exp(z)
    p = (e / e.sum(axis=-1, keepdims=True))[:, :-1]
    return -(p * np.eye(z.shape[-1])[ids[:, 1:]]).sum(axis=-1)[spoken[:, 1:]].mean()


def keys_by_formula(patches, words, new):
    n = patches + words
    cached = n * (n + 1) // 2 + (new - 1) * n + new * (new - 1) // 2
    return cached, sum((n + i) * (n + i + 1) // 2 for i in range(new))


def keys_by_loop(patches, words, new):
    cached, anew, cache = 0, 0, 0
    for written in range(new):
        text = patches + words + written
        while cache < text:
            cache += 1
            cached += cache
        for token in range(text):
            anew += token + 1
    return cached, anew


def earlier_by_loop(is_image, latents):
    rows = []
    for n in range(len(is_image)):
        row = []
        for image in range(sum(is_image)):
            row += [bool(sum(is_image[: n + 1]) > image)] * latents
        rows.append(row)
    return rows


def earlier_by_places(is_image, latents):
    places = np.repeat(np.flatnonzero(is_image), latents)
    return places[None, :] <= np.arange(len(is_image))[:, None]


# number -> answers that must pass
RIGHT = {
    "33.1": [prefix_by_blocks, prefix_by_places],
    "33.2": [loss_by_loop, loss_at_once],
    "33.3": ["c", "C"],
    "33.4": [keys_by_formula, keys_by_loop],
    "33.5": [earlier_by_loop, earlier_by_places],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "33.1": [
        (lambda patches, words: np.tri(patches + words) > 0, "causal mask of LLaVA"),
        (
            lambda patches, words: prefix_by_blocks(patches, words) | (np.arange(patches + words) >= patches),
            "Words see later",
        ),
        (
            lambda patches, words: prefix_by_blocks(patches, words) | (np.arange(patches + words) < patches)[:, None],
            "gives itself away",
        ),
        (lambda patches, words: prefix_by_blocks(words, patches), "differs"),
        (lambda patches, words: prefix_by_blocks(patches, words) & ~np.eye(patches + words, dtype=bool), "itself"),
        (lambda patches, words: np.tri(patches + words, k=-1) > 0, "later patches"),
        (
            lambda patches, words: prefix_by_blocks(patches, words) | (np.arange(patches + words) >= patches)[:, None],
            "not only earlier",
        ),
        (lambda patches, words: prefix_by_blocks(patches, words).T, "transposed"),
    ],
    "33.2": [
        (loss_twice, "twice"),
        (lambda z, ids, spoken: loss_by_loop(z, ids, spoken | True), "question is given"),
        (mean_of_means, "mean of the means"),
        (lambda z, ids, spoken: loss_at_once(np.roll(z, -1, axis=1), ids, spoken), "this very token"),
        (lambda z, ids, spoken: loss_at_once(z, ids, spoken) * spoken.sum(), "a sum"),
        (lambda z, ids, spoken: loss_at_once(2 * z, ids, spoken), "differs"),
        (probabilities, "logarithm"),
    ],
    "33.3": [("a", "dy in (3)"), ("b", "da for a = 0"), ("d", "same closed gate"), ("all", "Choose one")],
    "33.4": [
        (lambda patches, words, new: keys_by_loop(patches, words, new + 1), "not read"),
        (lambda patches, words, new: keys_by_loop(patches, words, new)[::-1], "exchanged"),
        (lambda patches, words, new: keys_by_loop(0, words, new), "patches are tokens"),
        (lambda patches, words, new: (patches + words + new, new), "differs"),
        (
            lambda patches, words, new: (
                keys_by_loop(patches, words, new)[0],
                sum(patches + words + i for i in range(new)),
            ),
            "last token of the text alone",
        ),
    ],
    "33.5": [
        (
            lambda is_image, latents: np.repeat(
                np.cumsum(is_image)[:, None] == np.arange(1, sum(is_image) + 1), latents, axis=1
            ),
            "named last",
        ),
        (lambda is_image, latents: np.ones((len(is_image), sum(is_image) * latents), bool), "same number"),
        (lambda is_image, latents: ~earlier_by_places(is_image, latents), "differs"),
        (
            lambda is_image, latents: np.repeat(
                np.cumsum(is_image)[:, None] >= np.arange(sum(is_image)), latents, axis=1
            ),
            "next image already",
        ),
        (lambda is_image, latents: earlier_by_places(is_image, 1).repeat(latents, axis=0), "shape"),
    ],
}


# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "33.1": {
        "return [[j <= i or (i <= patches and j < patches) for j in range(n)] for i in range(n)]": (
            "the first word sees all patches anyway"
        ),
    },
    "33.2": {"for n in range(0, ids.shape[1]):": "the first word is never to be predicted"},
    "33.4": {"cached, anew, cache = (0, 0, -1)": "one step more, which adds 0"},
}

"""Exercises of notebook 33, a model that is asked about pictures."""

from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import choice


def _prefix_mask(patches: int, words: int) -> np.ndarray:
    mask = np.tri(patches + words, dtype=bool)
    mask[:patches, :patches] = True
    return mask


def _prefix_sees_all(patches: int, words: int) -> np.ndarray:
    mask = _prefix_mask(patches, words)
    mask[:patches] = True
    return mask


def _strict(patches: int, words: int) -> np.ndarray:
    mask = np.tri(patches + words, k=-1, dtype=bool)
    mask[:patches, :patches] = True
    return mask


def _later_words(patches: int, words: int) -> np.ndarray:
    mask = _prefix_mask(patches, words)
    mask[patches:] = True
    return mask


def _not_itself(patches: int, words: int) -> np.ndarray:
    return _prefix_mask(patches, words) & ~np.eye(patches + words, dtype=bool)


def _words_apart(patches: int, words: int) -> np.ndarray:
    mask = _prefix_mask(patches, words)
    mask[patches:, :patches] = False
    return mask


def _counts(rng: np.random.Generator) -> list[tuple]:
    return [(3, 2), (1, 4), (4, 4), (5, 3), (2, 6)]


def _answer_loss(
    z: np.ndarray, ids: np.ndarray, spoken: np.ndarray, shift: int = 1, whole: bool = False, mean: str = "batch"
) -> float:
    """shift: of the words against the logits; whole: whether all words count; mean: over the batch, of texts, none."""
    peak = z.max(axis=-1, keepdims=True)
    log_p = z - peak - np.log(np.exp(z - peak).sum(axis=-1, keepdims=True))
    n = ids.shape[1]
    counted = (np.ones_like(spoken) if whole else spoken)[:, shift:]
    each = -np.take_along_axis(log_p[:, : n - shift], ids[:, shift:, None], axis=-1)[..., 0] * counted
    if mean == "texts":
        return float((each.sum(axis=1) / counted.sum(axis=1)).mean())
    return float(each.sum() / {"batch": counted.sum(), "none": 1, "texts in all": len(ids), "all": each.size}[mean])


def _row_of_the_word(z: np.ndarray, ids: np.ndarray, spoken: np.ndarray) -> float:
    """The mask is not shifted with the words."""
    return _answer_loss(z, ids, np.roll(spoken, 1, axis=1))


def _without_logarithm(z: np.ndarray, ids: np.ndarray, spoken: np.ndarray) -> float:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    chances = np.take_along_axis((e / e.sum(axis=-1, keepdims=True))[:, :-1], ids[:, 1:, None], axis=-1)[..., 0]
    return float(-chances[spoken[:, 1:]].mean())


def _texts(rng: np.random.Generator) -> list[tuple]:
    """Answers of different lengths, behind questions of different lengths."""
    cases = []
    for n, known, spans in (
        (7, 4, ((1, 3), (3, 5))), (8, 6, ((3, 6), (4, 5), (2, 4))), (9, 3, ((4, 7), (3, 4))), (10, 5, ((5, 8), (3, 4))),
    ):  # fmt: skip
        spoken = np.zeros((len(spans), n), bool)
        for row, (start, end) in zip(spoken, spans, strict=True):
            row[start:end] = True
        cases.append((rng.standard_normal((len(spans), n, known)), rng.integers(0, known, spoken.shape), spoken))
    return cases


def _pairs(prompt: int, new: int, cached: bool = True, first: int = 0, last: int = 0) -> int:
    """first: how much longer the text is at first; last: how many more words are read."""
    lengths = range(prompt + first, prompt + new + last)
    if not cached:
        return sum(n * (n + 1) // 2 for n in lengths)
    return prompt * (prompt + 1) // 2 + sum(n for n in lengths if n > prompt)


def _keys_read(patches: int, words: int, new: int) -> tuple:
    return _pairs(patches + words, new), _pairs(patches + words, new, cached=False)


def _last_read_too(patches: int, words: int, new: int) -> tuple:
    return _pairs(patches + words, new, last=1), _pairs(patches + words, new, cached=False, last=1)


def _without_own_key(patches: int, words: int, new: int) -> tuple:
    prompt = patches + words
    return (
        prompt * (prompt - 1) // 2 + sum(range(prompt, prompt + new - 1)),
        sum(n * (n - 1) // 2 for n in range(prompt, prompt + new)),
    )


def _all_pairs(patches: int, words: int, new: int) -> tuple:
    """Without a mask."""
    prompt = patches + words
    return prompt**2 + sum(range(prompt + 1, prompt + new)), sum(n**2 for n in range(prompt, prompt + new))


def _prompt_forgotten(patches: int, words: int, new: int) -> tuple:
    prompt = patches + words
    return sum(range(prompt + 1, prompt + new)), _keys_read(patches, words, new)[1]


def _last_token_alone(patches: int, words: int, new: int) -> tuple:
    return (sum(range(patches + words, patches + words + new)),) * 2


def _image_forgotten(patches: int, words: int, new: int) -> tuple:
    return _keys_read(0, words, new)


def _lengths(rng: np.random.Generator) -> list[tuple]:
    return [(4, 3, 2), (16, 8, 1), (2, 5, 4), (9, 6, 7), (576, 40, 20)]


def _number(is_image: np.ndarray) -> np.ndarray:
    return np.cumsum(is_image)


def _sight(is_image: np.ndarray, latents: int, all_before: bool = False, first: int = 1) -> np.ndarray:
    number = _number(is_image)[:, None]
    images = np.arange(first, number[-1, 0] + first)
    return np.repeat(number >= images if all_before else number == images, latents, axis=1)


def _earlier(is_image: np.ndarray, latents: int) -> np.ndarray:
    return _sight(is_image, latents, all_before=True)


def _uniform_before(is_image: np.ndarray, latents: int) -> np.ndarray:
    seen = _earlier(is_image, latents)
    return seen | ~seen.any(axis=1, keepdims=True)


def _later_too(is_image: np.ndarray, latents: int) -> np.ndarray:
    seen = np.ones((len(is_image), is_image.sum() * latents), bool)
    seen[_number(is_image) == 0] = False
    return seen


def _tiled(is_image: np.ndarray, latents: int) -> np.ndarray:
    return np.tile(_sight(is_image, 1, all_before=True), (1, latents))


def _named(rng: np.random.Generator) -> list[tuple]:
    return [
        (np.array(places, bool), latents)
        for places, latents in (
            ([0, 1, 0, 0, 1, 0], 2), ([0, 0, 1, 1, 0, 0, 1], 3), ([1, 0, 0, 1, 0], 2), ([0, 1, 0, 1, 0, 1, 0, 0], 4),
        )
    ]  # fmt: skip


EXERCISES = [
    Exercise(
        "33.1",
        diagnosed(
            _prefix_mask,
            _counts,
            {
                "This is the causal mask of LLaVA: a patch does not see later patches yet.": (
                    lambda patches, words: np.tri(patches + words, dtype=bool)
                ),
                "Patches see words here. Then a word reaches earlier words through a patch, and gives itself away.": (
                    _prefix_sees_all
                ),
                "A word sees itself, too: it is the next one that it must not see.": _strict,
                "A token sees itself, too.": _not_itself,
                "No token sees itself here, and patches do not see later patches.": (
                    lambda patches, words: np.tri(patches + words, k=-1, dtype=bool)
                ),
                "Words see later words here, not only earlier ones.": _later_words,
                "Words do not see the image here.": _words_apart,
                "Rows look and columns are looked at: this mask is transposed.": (
                    lambda patches, words: _prefix_mask(patches, words).T
                ),
                "Words see later words here: what they are to predict.": (
                    lambda patches, words: np.ones((patches + words, patches + words), bool)
                ),
                "True means allowed; here it means hidden.": lambda patches, words: ~_prefix_mask(patches, words),
            },
            allowed=(),
        ),
        "PaliGemma uses such a mask, with the question in the prefix as well.",
    ),
    Exercise(
        "33.2",
        diagnosed(
            _answer_loss,
            _texts,
            {
                "The logits behind a token are compared with this very token. They are to predict the next one.": (
                    partial(_answer_loss, shift=0)
                ),
                "The words are shifted twice.": partial(_answer_loss, shift=2),
                "The words are shifted, but not the mask of those that count.": _row_of_the_word,
                "All words count here. The question is given.": partial(_answer_loss, whole=True),
                "This is a mean of the means of the texts: a word of a short answer weighs more than one of a long "
                "answer.": partial(_answer_loss, mean="texts"),
                "This is a sum. Divide by the number of words that count.": partial(_answer_loss, mean="none"),
                "Divide by the number of words that count, not of texts.": partial(_answer_loss, mean="texts in all"),
                "Divide by the number of words that count, not of all words.": partial(_answer_loss, mean="all"),
                "The loss has the logarithm of the probabilities.": _without_logarithm,
                "The sign is wrong.": lambda z, ids, spoken: -_answer_loss(z, ids, spoken),
            },
            allowed=(),
        ),
        "If a batch is cut into pieces, each piece has to count by its number of such words.",
    ),
    Exercise(
        "33.3",
        choice(
            "c",
            {
                "a": "Is it? Look at dy in (3) for a = 0.",
                "b": "The gate multiplies the result of the branch, not its own gradient. What is da for a = 0?",
                "d": "The resampler lies behind the same closed gate as the weights of the branch. What reaches it?",
            },
        ),
        "After the first update the gates are open a little, and the rest begins to learn.",
    ),
    Exercise(
        "33.4",
        diagnosed(
            _keys_read,
            _lengths,
            {
                "The last word is written, but not read.": _last_read_too,
                "A token reads its own key, too.": _without_own_key,
                "The mask hides later tokens: a token of the text reads only the keys up to itself.": _all_pairs,
                "The text itself must be read once, before the first word is written.": _prompt_forgotten,
                "This is the last token of the text alone. Each token that is read asks for keys: with a cache the "
                "text at first, without one all of it every time.": _last_token_alone,
                "The patches are tokens as well.": _image_forgotten,
                "The two numbers are exchanged.": lambda patches, words, new: _keys_read(patches, words, new)[::-1],
            },
            allowed=(),
            results="cached anew",
        ),
        "With 576 patches the text is long from the beginning, so that the cache saves most of the work.",
    ),
    Exercise(
        "33.5",
        diagnosed(
            _earlier,
            _named,
            {
                "This is the mask of the derivation: only the image that was named last.": _sight,
                "Tokens before the first image see all images here, and so later ones. Open_flamingo does this; here "
                "they are to see nothing.": _uniform_before,
                "Tokens see images that the text names only later.": _later_too,
                "The latents of an image stand side by side: repeat each column, do not tile.": _tiled,
                "The `<image>` itself sees its image, too.": (
                    lambda is_image, latents: (
                        _earlier(np.roll(is_image, 1) & (np.arange(len(is_image)) > 0), latents)
                        if not is_image[-1]
                        else np.repeat(
                            (_number(is_image) - is_image)[:, None] >= np.arange(1, is_image.sum() + 1), latents, axis=1
                        )
                    )
                ),
                "Counting begins one too late: the first image is number 1.": partial(_sight, all_before=True, first=2),
                "Tokens see the next image already: the first image is number 1, not 0.": (
                    partial(_sight, all_before=True, first=0)
                ),
            },
            allowed=(),
        ),
        "With all earlier images in sight, a text can show examples before it asks.",
    ),
]

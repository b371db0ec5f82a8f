"""Texts about one image for a language model: what LLaVA and Flamingo read and predict, and what is right if the image
is exchanged.

B batch, T words, N tokens with those that stand for the image.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import to_numpy, xp_of
from minivit.data import Dataset
from minivit.data.scenes_words import END, NUMBER_OF, PAD, WORDS
from minivit.errors import ConfigError
from minivit.lineage.llama import IGNORED, shares
from minivit.tensor import no_grad

COLUMNS = ("images", "caption", "question", "answer")
CONTROLS = ("its own image", "another image", "the mean of its tokens", "its tokens in another order")
SORTS = ("count", "colour", "shape", "presence", "place")  # of questions
CHUNK = 250  # examples that are asked about at a time


def texts(batch: Mapping[str, Any], kind: str, vocabulary: int, image: int, count: int) -> dict[str, np.ndarray]:
    """ids (B, N): <start>, `count` times the id of an image, and the text; labels (B, N), IGNORED where nothing is to
    be predicted; seen (B, N), 0 for padding; weight (B, N - 1), from `shares`.   kind: "question", whose answer and
    <end> are predicted, or "caption", of which all words are. Raises ConfigError for too small a vocabulary."""
    if vocabulary < len(WORDS) or image < len(WORDS):
        raise ConfigError(
            f"vocabulary is {vocabulary} and image {image}, but the data have {len(WORDS)} words: give a vocabulary of "
            f"{len(WORDS) + 1} and {len(WORDS)} as image"
        )
    if kind == "caption":
        text, spoken = batch["caption"], batch["caption"] != PAD
        spoken[:, 0] = False
    else:
        text, spoken = answered(batch["question"], batch["answer"])
    ids = with_image(text, image, count)
    labels = np.where(with_image(spoken, 0, count), ids, IGNORED)
    return {"ids": ids, "labels": labels, "seen": (ids != PAD).astype(np.int64), "weight": shares(labels)}


def answered(question: np.ndarray, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """<start> question answer <end>, and whether a word is one of the last two.   (B, T), (B,) -> (B, T + 1) each."""
    text = np.concatenate([question, np.full((len(question), 1), PAD)], axis=1)
    rows, end = np.arange(len(question)), (question == END).argmax(axis=1)
    spoken = np.zeros(text.shape, bool)
    for shift, word in ((0, answer), (1, END)):
        text[rows, end + shift], spoken[rows, end + shift] = word, True
    return text, spoken


def with_image(text: np.ndarray, value: int, count: int) -> np.ndarray:
    """`value`, `count` times, after the first column.   (B, T) -> (B, T + count)."""
    between = np.full((len(text), count), value, text.dtype)
    return np.concatenate([text[:, :1], between, text[:, 1:]], axis=1)


def sort_of(question: np.ndarray) -> np.ndarray:
    """The sort of each question, its number in SORTS: "how many red shapes", "what colour is the disc", "what is red",
    "is there a red disc", and where something is.   (B, T) -> (B,)."""
    first, second, third = question[:, 1], question[:, 2], question[:, 3]
    colours = [NUMBER_OF[word] for word in ("red", "green", "blue", "yellow")]
    rules = (
        first == NUMBER_OF["how"],
        second == NUMBER_OF["colour"],
        (first == NUMBER_OF["what"]) & np.isin(third, colours),
        (first == NUMBER_OF["is"]) & (second == NUMBER_OF["there"]),
    )
    return np.select(rules, range(len(rules)), len(rules))


def right(objective: Any, batch: Mapping[str, Any], seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """For each of CONTROLS which words are the most probable ones, and which words count, <end> left out: (B, N - 1)
    truth values.   objective: `project` makes tokens (B, ..., P, C) of images, and `read` makes logits of them and of
    the text. "another image" is the next one of the batch."""
    counted = ((batch["labels"] != IGNORED) & (batch["labels"] != END))[:, 1:]
    on_device, rng = xp_of(objective.first_array()).asarray, np.random.default_rng(seed)
    found: dict[str, list] = {kind: [] for kind in CONTROLS}
    with objective.evaluating(), no_grad():
        for start in range(0, len(counted), CHUNK):
            at = np.arange(start, min(start + CHUNK, len(counted)))
            own, other = (objective.project(batch["images"][i]) for i in (at, (at + 1) % len(counted)))
            mean = F.broadcast_to(own.mean(axis=-2, keepdims=True), own.shape)
            mixed = own[..., on_device(rng.permutation(own.shape[-2])), :]
            ids, seen = on_device(batch["ids"][at]), on_device(batch["seen"][at])
            for kind, rows in zip(CONTROLS, (own, other, mean, mixed), strict=True):
                words = to_numpy(objective.read(rows, ids, seen).data.argmax(axis=-1))
                found[kind].append(words[:, :-1] == batch["labels"][at, 1:])
    return {kind: np.concatenate(hits) for kind, hits in found.items()}, counted


def controls(objective: Any, data: Dataset, recipe: Any) -> list[str]:
    """The share of right words, <end> left out: with the image, with the next one of the data set in its place, with
    the mean of its tokens in the place of each, and with its tokens in another order; of questions also by sort."""
    batch = objective.prepare(data.columns(range(len(data)), objective.columns), recipe.augment.evaluation(), None)
    batch |= objective.draw(batch, 0, np.random.default_rng(recipe.seed))
    found, counted = right(objective, batch, recipe.seed)
    sorts = sort_of(batch["question"]) if objective.config.text == "question" else np.full(len(counted), -1)
    lines = []
    for kind, hits in found.items():
        of_sorts = (
            f"{name} {(hits & counted)[sorts == i].sum() / counted[sorts == i].sum():.1%}"
            for i, name in enumerate(SORTS)
            if (sorts == i).any()
        )
        detail = ", ".join(of_sorts)
        share = (hits & counted).sum() / max(1, counted.sum())
        lines.append(f"words: {share:.1%} right with {kind}" + (f" ({detail})" if detail else ""))
    return lines

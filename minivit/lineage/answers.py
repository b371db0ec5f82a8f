"""Texts about one image for a language model: what LLaVA and Flamingo read and predict.

B batch, T words, N tokens with those that stand for the image.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.data.scenes_words import END, PAD, WORDS
from minivit.errors import ConfigError
from minivit.lineage.llama import IGNORED, shares

COLUMNS = ("images", "caption", "question", "answer")


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

"""A picture of masks: what a word may look at in LLaVA, in Flamingo, and in the three tasks of the Q-Former."""

from typing import Any

import numpy as np

from minivit.lessons.pictures.sketch import BLUE, GREEN, ORANGE, canvas, label, matrix

PATCHES, WORDS, LATENTS, QUERIES = 4, 4, 3, 3
CELL = 0.23


def allowed(kind: str) -> np.ndarray:
    """What looks (rows) at what (columns), as booleans.   kind: llava, flamingo, itc, itm or itg."""
    if kind == "llava":
        return np.tri(PATCHES + WORDS, dtype=bool)
    if kind == "flamingo":  # the first word stands before the image
        return np.arange(WORDS)[:, None] * np.ones(LATENTS) > 0
    asks = np.arange(QUERIES + WORDS) < QUERIES
    queries, same = asks[:, None] & asks, asks[:, None] == asks
    return {"itc": same, "itm": same | ~same, "itg": np.tri(len(asks), dtype=bool) | queries}[kind]


def masks() -> Any:
    """The five masks side by side."""
    figure, axes = canvas(10.9, 3.1)
    x = 0.75
    for kind, title, below, rows, columns in (
        ("llava", "LLaVA", "patches are words", _names(PATCHES, "patch"), _names(PATCHES, "patch")),
        ("flamingo", "Flamingo", "words read latents", _names(0, ""), [(LATENTS, "latents", BLUE)]),
        ("itc", "Q-Former: ITC", "apart", _names(QUERIES, "query"), _names(QUERIES, "query")),
        ("itm", "ITM", "all to all", _names(QUERIES, "query"), _names(QUERIES, "query")),
        ("itg", "ITG", "words in order", _names(QUERIES, "query"), _names(QUERIES, "query")),
    ):
        seen = allowed(kind)
        high, wide = len(seen) * CELL, seen.shape[1] * CELL
        top = 0.95
        label(axes, x + wide / 2, 0.25, title, 12)
        matrix(axes, x, top, np.where(seen, 0.75, 0.05), CELL, cmap="Blues", limits=(0, 1))
        at = 0.0
        for count, name, color in columns:
            label(axes, x + (at + count / 2) * CELL, top - 0.2, name, 8.5, color=color)
            at += count
        at = 0.0
        for count, name, color in rows:
            label(axes, x - 0.13, top + (at + count / 2) * CELL, name, 8.5, color=color, rotation=90)
            at += count
        label(axes, x + wide / 2, top + high + 0.2, below, 10)
        x += max(wide, 1.15) + 0.5
    return figure


def _names(count: int, name: str) -> list[tuple[int, str, str]]:
    """The parts of a sequence: how many tokens, their name, its colour."""
    first = [(count, {"patch": "patches", "query": "queries"}[name], GREEN)] if count else []
    return [*first, (WORDS, "words", ORANGE)]

"""From logits to probabilities to a loss, drawn for one image."""

import math

import numpy as np

from minivit.lessons.pictures import sketch

TOP, ROW = 0.55, 0.32  # inches above the first class, and from one class to the next


def logits_to_loss(image: np.ndarray, logits: np.ndarray, label: int) -> None:
    """An image, its logits, their softmax, and the loss of the right class on the curve of -log p.

    image: (height, width, 1).   logits: (K,).   label: the right class.
    """
    probabilities = softmax(logits)
    _, axes = sketch.canvas(11, TOP + 0.2 + ROW * len(logits))
    middle = TOP + ROW * len(logits) / 2
    cell = 1.8 / image.shape[0]
    sketch.matrix(axes, 0.2, middle - 0.9, image[..., 0], cell, title=f"image, label {label}")
    sketch.arrow(axes, (2.1, middle), (2.6, middle))
    _bars(axes, 2.9, logits, label, "logits $z$", ".2f", float(np.abs(logits).max()))
    sketch.arrow(axes, (5.15, middle), (5.85, middle), "softmax")
    _bars(axes, 6.05, probabilities, label, "probabilities $p$", "p", 1)
    sketch.arrow(axes, (8.15, middle), (8.75, middle), "$-\\log$")
    _curve(axes, 9.1, middle, float(probabilities[label]))


def temperatures(logits: np.ndarray, taus: list[float]) -> None:
    """The probabilities of one image at several temperatures, side by side.   logits: (K,)."""
    _, axes = sketch.canvas(2.5 * len(taus) + 0.2, TOP + 0.2 + ROW * len(logits))
    best = int(np.argmax(logits))
    for i, tau in enumerate(taus):
        _bars(axes, 0.35 + 2.5 * i, softmax(logits / tau), best, f"$\\tau$ = {tau:g}", "p", 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities of one row of logits, (K,) -> (K,)."""
    e = np.exp(logits - logits.max())
    return e / e.sum()


def written(value: float, form: str) -> str:
    """A number in a format; "p" is ".4f", but in powers of ten where that would keep less than two digits."""
    if form != "p":
        return f"{value:{form}}"
    return f"{value:.4f}" if value > 0.001 or value == 0 else f"{value:.0e}"


def _bars(axes: sketch.Axes, x: float, values: np.ndarray, label: int, title: str, form: str, longest: float) -> None:
    """A horizontal bar for each class with its number and value.

    form: a format of numbers, or "p" for probabilities.   longest: the value of a bar of 1.1 inches.
    """
    lengths = values * 1.1 / longest
    zero = x + 0.25 + max(0.0, -float(lengths.min()))
    sketch.label(axes, x + 0.9, 0.25, title, sketch.TEXT + 2)
    for k, (value, length) in enumerate(zip(values, lengths, strict=True)):
        y = TOP + ROW * (k + 0.5)
        color, weight = (sketch.ORANGE, "bold") if k == label else (sketch.BLUE, "normal")
        axes.barh(y, abs(length), 0.7 * ROW, left=zero + min(length, 0), color=color)
        sketch.label(axes, x, y, str(k), sketch.TEXT + 1, weight=weight)
        sketch.label(axes, zero + max(length, 0) + 0.06, y, written(value, form), ha="left", weight=weight)
    axes.plot([zero, zero], [TOP, TOP + ROW * len(values)], color=sketch.INK, linewidth=1)


def _curve(axes: sketch.Axes, x: float, middle: float, probability: float) -> None:
    """The curve of -log p in a field of 1.6 by 2 inches, with a dot at the probability of the right class."""
    width, height, top = 1.6, 2.0, 4.0
    low, left = middle + height / 2, x
    grid = np.linspace(math.exp(-top), 1, 100)
    axes.plot(left + width * grid, low + height / top * np.log(grid), color=sketch.INK, linewidth=1.5)
    axes.plot([left, left, left + width], [low - height, low, low], color=sketch.INK, linewidth=1)
    loss = -math.log(probability)
    axes.plot(left + width * probability, low - height / top * loss, "o", color=sketch.ORANGE, markersize=9, zorder=5)
    sketch.label(axes, left + width / 2, low - height - 0.2, "loss $-\\log p$", sketch.TEXT + 2)
    sketch.label(axes, left + width / 2 + 0.3, low - 0.6, f"loss {loss:.4f}", color=sketch.ORANGE, weight="bold")
    for share in (0, 1):
        sketch.label(axes, left + width * share, low + 0.15, str(share))
    sketch.label(axes, left + width / 2, low + 0.2, "$p$ of the label")
    for value in (2, 4):
        sketch.label(axes, left - 0.12, low - height / top * value, str(value))

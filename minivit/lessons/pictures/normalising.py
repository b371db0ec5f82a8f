"""Pictures for notebook 05: one token before and after LayerNorm, and the numbers that share a mean."""

import numpy as np

from minivit.lessons.pictures import sketch


def one_token(before: np.ndarray, after: np.ndarray) -> None:
    """Bars of the features of a token (D,) before and after LayerNorm: drawn from the mean, with one deviation."""
    _, panels = sketch.plt.subplots(1, 2, figsize=(11, 3.3), layout="constrained")
    for axes, values, name, color in zip(
        panels, (before, after), ("before", "normalised"), (sketch.ORANGE, sketch.BLUE), strict=True
    ):
        mean, deviation = float(values.mean()), float(values.std())
        axes.bar(np.arange(len(values)), values - mean, bottom=mean, color=color, width=0.8)
        axes.axhline(mean, color=sketch.INK, linewidth=1.5)
        axes.axhspan(mean - deviation, mean + deviation, color=sketch.INK, alpha=0.12, linewidth=0)
        axes.set_title(
            f"{name}: mean {abs(mean) if abs(mean) < 0.005 else mean:.2f}, deviation {deviation:.2f}", fontsize=13
        )
        axes.set_xlabel("feature", fontsize=12)


def what_is_averaged(B: int = 3, N: int = 5, D: int = 8) -> None:
    """B sheets of N tokens with D features, twice, with the entries marked that share one mean in LayerNorm and in
    BatchNorm."""
    _, axes = sketch.canvas(9.6, 3.2)
    for left, title, row, column, color in (
        (0.9, "LayerNorm: one token", 2, None, sketch.BLUE),
        (5.7, "BatchNorm: one feature, all tokens, all images", None, 3, sketch.ORANGE),
    ):
        sketch.label(axes, left + 1.75, 0.28, title, 12)
        for b in reversed(range(B)):
            marked = [(row, j) for j in range(D)] if row is not None and b == 0 else []
            marked += [(i, column) for i in range(N)] if column is not None else []
            _grid(axes, left + 0.45 * b, 1.35 - 0.38 * b, N, D, marked, color)
        sketch.label(axes, left - 0.12, 2.05, f"{N} tokens", 10, rotation=90)
        sketch.label(axes, left + 1.2, 2.95, f"{D} features", 10)
        sketch.label(axes, left + 3.0, 2.45, f"{B} images", 10, rotation=40)


def _grid(axes: sketch.Axes, x: float, y: float, rows: int, columns: int, marked: list, color: str) -> None:
    """A sheet of empty cells, the marked ones (row, column) coloured."""
    width, height = 0.3, 0.285
    for i in range(rows):
        for j in range(columns):
            face = color if (i, j) in marked else "white"
            place = (x + j * width, y + i * height)
            axes.add_patch(sketch.Rectangle(place, width, height, facecolor=face, edgecolor="#777777", linewidth=0.8))

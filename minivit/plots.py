"""Figures. matplotlib is imported here and nowhere else, and only when a figure is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Okabe and Ito's palette, distinguishable with any colour vision.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def learning_curves(metrics: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Loss and test accuracy over epochs, as a PNG file.   metrics: the lines of a run's metrics.jsonl."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in metrics]
    marker = "o" if len(epochs) < 25 else ""
    left.plot(
        epochs, [line["train_loss"] for line in metrics], color=BLUE, marker=marker, markersize=3, label="training"
    )
    tested = [line for line in metrics if line["test_loss"] is not None]
    at = [line["epoch"] for line in tested]
    left.plot(at, [line["test_loss"] for line in tested], color=ORANGE, marker=marker, markersize=3, label="test")
    left.set(xlabel="epoch", ylabel="cross-entropy", title="loss")
    left.set_ylim(bottom=0)
    left.legend(frameon=False)
    accuracy = [100 * line["test_accuracy"] for line in tested]
    right.plot(at, accuracy, color=GREEN, marker=marker, markersize=3)
    right.set(xlabel="epoch", ylabel="test accuracy (%)")
    right.set_title(f"test accuracy: {accuracy[-1]:.2f} % at the end" if accuracy else "test accuracy")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)

"""Curves of a run, and the roofline of a machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minivit.plots.canvas import BLUE, GREEN, ORANGE, new_figure, open_axes, plain, save

SHARES = {
    "test_accuracy": "test accuracy",
    "test_retrieval": "images that find their text",
    "test_knn": "accuracy of 20 nearest neighbours",
}
LOSSES = {"softmax": "cross-entropy", "sigmoid": "sigmoid cross-entropy"}


def learning_curves(metrics: Sequence[dict[str, Any]], title: str, path: Path, loss: str = "softmax") -> None:
    """Loss and test accuracy over epochs, as a PNG file; loss alone for runs without accuracy.

    metrics: the lines of a run's metrics.jsonl; loss: "softmax" or "sigmoid", or the name of another objective.
    """
    share = next((name for name in SHARES if any(line.get(name) is not None for line in metrics)), None)
    alone = share is None and loss not in LOSSES
    figure = new_figure(5 if alone else 9, 3.6)
    left = figure.subplots(1, 1 if alone else 2, squeeze=False)[0, 0]
    marker = "o" if len(metrics) < 25 else ""
    for name, label, colour in (("train_loss", "training", BLUE), ("test_loss", "test", ORANGE)):
        at, values = over_epochs(metrics, name)
        left.plot(at, values, color=colour, marker=marker, markersize=3, label=label)
    left.set(xlabel="epoch", ylabel=LOSSES.get(loss, f"loss of {loss}"), title="loss")
    left.set_ylim(bottom=0 if min([0, *left.dataLim.intervaly]) >= 0 else None)
    left.legend(frameon=False)
    if not alone:
        right, what = figure.axes[1], SHARES[share or "test_accuracy"]
        at, values = over_epochs(metrics, share or "test_accuracy")
        right.plot(at, [100 * value for value in values], color=GREEN, marker=marker, markersize=3)
        right.set(xlabel="epoch", ylabel=f"{what} (%)")
        right.set_title(f"{what}: {100 * values[-1]:.2f} % at the end" if values else what)
    for axes in figure.axes:
        open_axes(axes)
    figure.suptitle(plain(title))
    save(figure, path, dpi=120)


def over_epochs(metrics: Sequence[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """The epochs at which something was measured, and its values."""
    found = [line for line in metrics if line.get(name) is not None]
    return [line["epoch"] for line in found], [line[name] for line in found]


def accuracy_by_step(
    runs: Mapping[str, Sequence[dict[str, Any]]], title: str, path: Path, level: tuple[str, float] | None = None
) -> None:
    """Test accuracy over steps of up to three runs, as a PNG file: the course of fine-tuning.

    runs: by name, the lines of their metrics.jsonl.   level: a name and an accuracy, drawn as a horizontal line.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for (name, metrics), colour, marker in zip(runs.items(), (BLUE, ORANGE, GREEN), "os^", strict=False):
        tested = [line for line in metrics if line["test_accuracy"] is not None]
        steps, accuracy = [line["step"] for line in tested], [100 * line["test_accuracy"] for line in tested]
        axes.plot(steps, accuracy, color=colour, marker=marker, markersize=5, label=name)
        for x, y, side in ((steps[0], accuracy[0], -1), (steps[-1], accuracy[-1], 1)):
            place = {"xytext": (9 * side, 3), "ha": "left" if side > 0 else "right"}
            axes.annotate(f"{y:.1f} %", (x, y), textcoords="offset points", color=colour, fontsize=10, **place)
    if level:
        axes.axhline(100 * level[1], color="black", linewidth=1, linestyle="--", label=level[0])
    axes.margins(x=0.16)
    axes.set(xlabel="step", ylabel="test accuracy (%)", title=title)
    axes.legend(edgecolor="none", framealpha=0.9)  # where it hides least
    open_axes(axes)
    figure.savefig(path, dpi=120)


def roofline(
    points: Mapping[str, tuple[float, float, float]], peak: float, bandwidth: float, title: str, path: Path
) -> None:
    """The share of the machine's peak that each op reaches (Williams et al. 2009), as a PNG file.

    points: by op, arithmetic intensity in FLOP per byte, GFLOP/s, and seconds, which give the area of the dot.
    peak: GFLOP/s of matrix products; bandwidth: GB/s of copies.
    """
    figure = new_figure(7, 4.4)
    axes = figure.subplots()
    low = min([x for x, _, _ in points.values()] + [0.1]) / 3
    high = 3 * max([x for x, _, _ in points.values()] + [peak / bandwidth])
    corner = peak / bandwidth
    axes.plot([low, corner, high], [low * bandwidth, peak, peak], color="black")
    axes.annotate(f"matrix products {peak:.0f} GFLOP/s", (high, peak), ha="right", va="bottom", fontsize=9)
    axes.annotate(f"   copies {bandwidth:.0f} GB/s", (low, low * bandwidth), ha="left", va="center", fontsize=9)
    total = sum(seconds for _, _, seconds in points.values())
    for name, (intensity, rate, seconds) in points.items():
        share = seconds / total
        axes.scatter(intensity, rate, s=30 + 900 * share, color=BLUE, alpha=0.6, linewidths=0)
        label = f"{name} ({share:.0%})"
        crowded = any(rate / 2 < other < rate for _, other, _ in points.values())
        place = (0, 14 if crowded else -24)
        axes.annotate(label, (intensity, rate), place, textcoords="offset points", ha="center", fontsize=9)
    axes.set(xscale="log", yscale="log", title=plain(title))
    axes.set(xlabel="arithmetic per memory traffic (FLOP / byte)", ylabel="GFLOP/s")
    open_axes(axes)
    save(figure, path, dpi=120)

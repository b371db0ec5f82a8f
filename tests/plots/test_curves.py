"""Figures: that they are there, say what they show, and need no screen."""

import sys

import numpy as np
import pytest
from PIL import Image

from minivit import plots


def records(count, tested=True):
    return [
        {
            "epoch": i + 1.0,
            "train_loss": 2.0 / (i + 1),
            "test_loss": 2.5 / (i + 1) if tested else None,
            "test_accuracy": 1 - 0.5 / (i + 1) if tested else None,
        }
        for i in range(count)
    ]


def colours_of(path):
    """The picture's size, and how many pixels have about the colour of each curve."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        pixels = np.asarray(image.convert("RGB")).astype(int)
    curves = {name: getattr(plots, name) for name in ("BLUE", "ORANGE", "GREEN")}
    rgb = {name: [int(code[i : i + 2], 16) for i in (1, 3, 5)] for name, code in curves.items()}
    return pixels.shape[1::-1], {n: int((abs(pixels - c).sum(-1) < 30).sum()) for n, c in rgb.items()}


@pytest.mark.parametrize("count", [1, 2, 10, 300])
def test_learning_curves_are_a_picture_of_three_curves(count, tmp_path):
    plots.learning_curves(records(count), "digits, 880 steps", tmp_path / "curves.png")
    size, colours = colours_of(tmp_path / "curves.png")
    assert size == (1080, 432)
    assert all(pixels > 20 for pixels in colours.values())


def test_without_test_data_there_is_one_curve(tmp_path):
    plots.learning_curves(records(5, tested=False), "no test data", tmp_path / "curves.png")
    _, colours = colours_of(tmp_path / "curves.png")
    assert colours["BLUE"] > 100
    assert colours["GREEN"] == 0


def test_what_is_drawn(tmp_path, monkeypatch):
    """The numbers on the axes are those of the records."""
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: seen.append(self))
    lines = records(4)
    lines[2] |= {"test_loss": None, "test_accuracy": None}  # an evaluation without test data
    plots.learning_curves(lines, "digits, 880 steps", tmp_path / "curves.png")
    left, right = seen[0].axes
    training, test = left.lines
    assert training.get_xydata().tolist() == [[1, 2], [2, 1], [3, 2 / 3], [4, 0.5]]
    assert test.get_xydata().tolist() == [[1, 2.5], [2, 1.25], [4, 0.625]]
    assert right.lines[0].get_xydata().tolist() == [[1, 50], [2, 75], [4, 87.5]]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["training", "test"]
    assert seen[0].get_suptitle() == "digits, 880 steps"
    assert (left.get_xlabel(), left.get_ylabel(), right.get_ylabel()) == ("epoch", "cross-entropy", "test accuracy (%)")
    assert "87.50 %" in right.get_title()
    assert left.get_ylim()[0] == 0


def test_a_line_before_the_first_step_has_no_training_loss(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: seen.append(self))
    lines = [{"epoch": 0.0, "train_loss": None, "test_loss": 3.0, "test_accuracy": 0.25}, *records(2)]
    plots.learning_curves(lines, "digits", tmp_path / "curves.png")
    training, test = seen[0].axes[0].lines
    assert training.get_xydata().tolist() == [[1, 2], [2, 1]]
    assert test.get_xydata().tolist() == [[0, 3], [1, 2.5], [2, 1.25]]


@pytest.mark.parametrize("neighbours", [True, False])
def test_where_there_is_no_accuracy_none_is_drawn(neighbours, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: seen.append(self))
    lines = [{**line, "test_accuracy": None} for line in records(2)]
    if neighbours:
        lines = [{**line, "test_knn": 0.25} for line in lines]
    plots.learning_curves(lines, "digits", tmp_path / "curves.png", "mae")
    assert seen[0].axes[0].get_ylabel() == "loss of mae"
    assert [axes.get_ylabel() for axes in seen[0].axes[1:]] == ["accuracy of 20 nearest neighbours (%)"] * neighbours
    if neighbours:
        assert seen[0].axes[1].lines[0].get_xydata().tolist() == [[1, 25], [2, 25]]


def test_a_loss_below_zero_is_seen(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: seen.append(self))
    lines = [{"epoch": 1.0, "train_loss": -1.0, "test_loss": -0.5, "test_accuracy": None}]
    plots.learning_curves([*lines, {**lines[0], "epoch": 2.0}], "digits", tmp_path / "curves.png", "byol")
    assert seen[0].axes[0].get_ylim()[0] < -1


def test_accuracy_by_step_shows_every_run_where_it_was_measured(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    lines = {
        "resized": [{"step": 0, "test_accuracy": 0.5}, {"step": 9, "test_accuracy": None}],
        "fresh": [{"step": 0, "test_accuracy": 0.25}, {"step": 9, "test_accuracy": 0.75}],
    }
    plots.accuracy_by_step(lines, "fine-tuning", tmp_path / "a.png", level=("before", 0.6))
    size, colours = colours_of(tmp_path / "a.png")
    assert size == (840, 480)
    assert colours["BLUE"] > 20
    assert colours["ORANGE"] > 100
    assert colours["GREEN"] == 0
    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: seen.append(self))
    plots.accuracy_by_step(lines, "fine-tuning", tmp_path / "a.png", level=("before", 0.6))
    (axes,) = seen[0].axes
    resized, fresh, level = axes.lines
    assert (resized.get_xydata().tolist(), fresh.get_xydata().tolist()) == ([[0, 50]], [[0, 25], [9, 75]])
    assert set(level.get_ydata()) == {60}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["resized", "fresh", "before"]
    assert {text.get_text() for text in axes.texts} == {"50.0 %", "25.0 %", "75.0 %"}
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("step", "test accuracy (%)", "fine-tuning")


@pytest.mark.parametrize(("loss", "label"), [("softmax", "cross-entropy"), ("sigmoid", "sigmoid cross-entropy")])
def test_the_axis_names_the_loss(loss, label, drawn):
    figure = drawn(lambda *args: plots.learning_curves(*args, loss=loss), records(2), "title")
    assert figure.axes[0].get_ylabel() == label


def test_no_window_is_opened(tmp_path):
    plots.learning_curves(records(2), "x", tmp_path / "curves.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []

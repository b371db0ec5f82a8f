"""Figures as they are before they become a file."""

import itertools

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


@pytest.fixture
def drawn(monkeypatch):
    """drawn(plots.learning_curves, ...): the matplotlib Figure that the function would have saved.

    Its texts have been checked: at least 9 points, within the figure, none over another.
    """

    def draw(function, *args):
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda self, path, **options: seen.append(self))
            function(*args, "no file")
        (figure,) = seen
        check_texts(figure, monkeypatch)
        return figure

    return draw


def check_texts(figure, monkeypatch):
    """All texts can be read, at their size and place."""
    texts = []
    real = Text.draw
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", lambda self, *args, **options: (texts.append(self), real(self, *args, **options)))
        figure.canvas.draw()
    boxes = {}
    for text in texts:
        if not text.get_visible() or not text.get_text().strip():
            continue
        assert text.get_fontsize() >= 9, text
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= -1, f"{text} begins outside the figure"
        assert box.x1 <= figure.bbox.width + 1, f"{text} ends outside the figure"
        assert box.y1 <= figure.bbox.height + 1, f"{text} ends outside the figure"
        if text.get_rotation() in (0, 90):  # the box of slanted text says little
            boxes[text] = box.shrunk(0.9, 0.9)
    assert boxes
    for a, b in itertools.combinations(boxes, 2):
        assert not boxes[a].overlaps(boxes[b]), f"{a} lies over {b}"

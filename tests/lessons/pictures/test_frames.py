"""The picture of attention in space and time colours what a token sees."""

import pytest

plt = pytest.importorskip("matplotlib.pyplot")
frames = pytest.importorskip("minivit.lessons.pictures.frames")


def test_each_kind_of_attention_colours_what_a_token_sees():
    frames.who_sees_whom()
    axes = plt.gcf().axes[0]
    squares = [patch for patch in axes.patches if getattr(patch, "get_width", None)]
    colours = [plt.matplotlib.colors.to_hex(patch.get_facecolor()) for patch in squares]
    blue, orange = (plt.matplotlib.colors.to_hex(colour) for colour in (frames.BLUE, frames.ORANGE))
    panels = [[], [], [], []]
    for patch, colour in zip(squares, colours, strict=True):
        panels[int((patch.get_x() - frames.LEFT + 0.01) // frames.STEP)].append(colour)
    assert [panel.count(orange) for panel in panels] == [1, 1, 1, 1]
    assert [panel.count(blue) for panel in panels] == [26, 2, 8, 8 + 3]
    plt.close("all")

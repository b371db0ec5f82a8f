"""The picture of growing parameters draws both widths of each kind, and marks the sides that grow."""

import pytest

plt = pytest.importorskip("matplotlib.pyplot")
widths = pytest.importorskip("minivit.lessons.pictures.widths")


def test_only_matrices_of_the_blocks_grow_along_both_sides():
    widths.growing_sides()
    axes = plt.gcf().axes[0]
    shapes = [(patch.get_width(), patch.get_height()) for patch in axes.patches]
    grown = [(wide > narrow, tall > low) for (narrow, low), (wide, tall) in zip(shapes[::2], shapes[1::2], strict=True)]
    plt.close("all")
    assert grown == [(True, False), (True, True), (True, False), (True, False), (False, True)]
    assert len(axes.lines) == 2 * sum(map(sum, grown))

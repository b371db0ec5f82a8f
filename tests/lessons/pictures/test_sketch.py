"""The parts of schematic pictures say what they are given, where they are told to."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
sketch = pytest.importorskip("minivit.lessons.pictures.sketch")


@pytest.fixture
def axes():
    figure, axes = sketch.canvas(4, 2)
    yield axes
    plt.close(figure)


def test_a_canvas_is_laid_out_in_inches_from_its_upper_left_corner(axes):
    assert axes.get_xlim() == (0, 4)
    assert axes.get_ylim() == (2, 0)
    assert tuple(axes.figure.get_size_inches()) == (4, 2)


def test_a_matrix_has_one_cell_for_each_value_darkest_at_the_largest(axes):
    size = sketch.matrix(axes, 1, 0.5, np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]), 0.2, title="six", numbers=".0f")
    assert np.allclose(size, (0.6, 0.4))
    *cells, border = axes.patches
    assert [sum(cell.get_facecolor()[:3]) for cell in cells] == sorted(
        (sum(cell.get_facecolor()[:3]) for cell in cells), reverse=True
    )
    assert [cell.get_xy() for cell in cells][-1] == pytest.approx((1.4, 0.7))
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3", "4", "5", "six"]
    assert (border.get_width(), border.get_height()) == pytest.approx((0.6, 0.4))


def test_equal_values_have_a_colour_too(axes):
    sketch.matrix(axes, 0, 0, np.zeros((2, 2)))
    assert len({cell.get_facecolor() for cell in axes.patches[:4]}) == 1


def test_boxes_and_arrows_carry_their_text(axes):
    sketch.box(axes, 0, 0, 1, 0.5, "LN")
    sketch.arrow(axes, (1, 0.3), (2, 0.3), "next")
    assert [text.get_text() for text in axes.texts] == ["LN", "next"]
    assert len(axes.patches) == 2

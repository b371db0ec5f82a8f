"""The pictures of windows show the places that a layer of the library looks at."""

import numpy as np
import pytest

from minivit.nn.windows import regions_apart

plt = pytest.importorskip("matplotlib.pyplot")
pictures = pytest.importorskip("minivit.lessons.pictures.windows")


def texts(figure):
    """The labels of a picture."""
    found = [text.get_text() for text in figure.axes[0].texts]
    plt.close(figure)
    return found


def test_the_numbers_of_places_stand_below_their_maps():
    assert texts(pictures.reach())[1::2] == ["64 places", "16 places", "16 places", "9 places"]


@pytest.mark.parametrize("here", [(3, 2), (0, 7), (6, 1)])
def test_shifted_windows_are_those_of_the_library(here):
    """A place of the rolled map sees, rolled back, what the picture shades."""
    side, m, s = pictures.SIDE, pictures.WINDOW, pictures.SHIFT
    apart = regions_apart((side, side), (m, m), (s, s), np)
    row, column = ((at - s) % side for at in here)
    window = row // m * (side // m) + column // m
    together = np.zeros((side // m, side // m, m, m), bool)
    together[row // m, column // m] = ~apart[window, row % m * m + column % m].reshape(m, m)
    seen = np.roll(together.swapaxes(1, 2).reshape(side, side), (s, s), axis=(0, 1))
    assert (pictures.seen_from("shifted", here) == seen).all()


def test_windows_that_stay_hold_the_place_and_convolutions_are_cut_at_the_edge():
    assert pictures.seen_from("window", (5, 3))[4:, :4].all()
    assert pictures.seen_from("window", (5, 3)).sum() == 16
    assert pictures.seen_from("convolution", (0, 7)).sum() == 4


def test_regions_are_numbered_and_all_windows_drawn():
    parts = (np.arange(4) >= 2).astype(int) + (np.arange(4) >= 3)
    found = texts(pictures.rolled(3 * parts[:, None] + parts, 2))
    assert {str(i) for i in range(9)} <= set(found)
    assert [text for text in found if text.startswith("window ")] == [f"window {i}" for i in range(4)]


def test_the_convnext_block_has_one_sum_and_one_layernorm():
    found = texts(pictures.blocks())
    first = found[: found.index("ConvNeXt block")]
    rest = found[len(first) :]
    assert (first.count("LN"), first.count("+")) == (2, 2)
    assert (rest.count("LN"), rest.count("+")) == (1, 1)
    assert rest.index("depthwise") < rest.index("LN")

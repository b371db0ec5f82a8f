"""The picture of cheaper attention names what each way stores."""

import pytest

plt = pytest.importorskip("matplotlib.pyplot")
cheaper = pytest.importorskip("minivit.lessons.pictures.cheaper")


def test_only_exact_attention_has_all_weights_and_one_tile_is_there_at_a_time():
    cheaper.four_ways()
    axes = plt.gcf().axes[0]
    words = [text.get_text() for text in axes.texts]
    assert [words.count(text) for text in ("$A$", "tiles of $A$", "nothing of size $N^2$")] == [1, 1, 2]
    orange = [patch for patch in axes.patches if getattr(patch, "get_width", None) and patch.get_fill()]
    tiles = [patch for patch in orange if patch.get_width() == pytest.approx(cheaper.TILE)]
    colours = [patch.get_facecolor() for patch in tiles]
    assert len(tiles) == 10  # nine places and the tile that is there
    assert len(set(colours)) == 2
    squares = [p for p in orange if p.get_width() == p.get_height() == pytest.approx(cheaper.N)]
    assert len(squares) == 1
    plt.close("all")

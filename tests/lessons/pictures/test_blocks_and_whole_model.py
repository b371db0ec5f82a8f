"""Blocks have LayerNorm on the branch or on the stream; the picture of a whole model shows what it is given."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
blocks = pytest.importorskip("minivit.lessons.pictures.blocks")
whole_model = pytest.importorskip("minivit.lessons.pictures.whole_model")


def texts(figure):
    """(text, y from above) of every label."""
    found = [(text.get_text(), text.get_position()[1]) for text in figure.axes[0].texts]
    plt.close(figure)
    return found


def test_layernorm_stands_on_the_branch_in_pre_ln_and_on_the_stream_in_post_ln():
    found = texts(blocks.pre_and_post_ln())
    sums = sorted({y for text, y in found if text == "+"})
    norms = [y for text, y in found if text == "LN"]
    assert len(sums) == 2
    assert len(norms) == 4
    assert max(norms[:2]) < sums[0]  # above the stream
    assert norms[2:] == [sums[1]] * 2


def test_one_block_has_two_branches_and_two_sums():
    found = [text for text, _ in texts(blocks.pre_ln())]
    assert [found.count(text) for text in ("LN", "MSA", "MLP", "+")] == [2, 1, 1, 2]


def test_a_later_block_has_other_parts_in_the_same_places():
    found = texts(blocks.of_2020_and_later())
    before, after = ([text for text, y in found if low < y < low + 1.6] for low in (0.3, 2.5))
    assert [before.count(text) for text in ("LN", "MSA", "MLP", "+")] == [2, 1, 1, 2]
    assert [after.count(text) for text in ("RMS", "QK-norm, RoPE", "SwiGLU", "s", "+", "LN")] == [2, 1, 1, 2, 2, 0]


def test_the_whole_model_names_the_sizes_it_is_given():
    rng = np.random.default_rng(0)
    figure = whole_model.overview(
        rng.random((4, 4)), rng.random((4, 4)), rng.random((5, 3)), rng.random((5, 3)), np.array([0.1, 0.7, 0.2])
    )
    (best,) = [text for text in figure.axes[0].texts if text.get_weight() == "bold"]
    assert best.get_text() == "1"
    found = " ".join(text for text, _ in texts(figure))
    for part in ("4 patches\nof 4 pixels", "5 tokens\nof 3 features", "Eq. 1", "Eq. 2, 3", "Eq. 4"):
        assert part in found

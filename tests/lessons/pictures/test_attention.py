"""The pictures of attention show scores, weights and results of what they are given."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
attention = pytest.importorskip("minivit.lessons.pictures.attention")


@pytest.fixture
def words():
    """The texts of the picture that was drawn."""
    yield lambda: [text.get_text() for text in plt.gcf().axes[0].texts]
    plt.close("all")


def test_a_query_with_its_scores_weights_and_result(words):
    keys = np.array([[np.log(3), 0, 0, 0], [0, 1, 2, 3]])  # dot products log 3 and 0
    attention.one_query(np.array([1.0, 0, 0, 0]), keys, np.array([[4.0], [8.0]]), ["Ada", "Bob"])
    assert {"Ada", "Bob", "1.10", "0.00", "0.750", "0.250", "4", "8", "5.00"} <= set(words())


def test_results_of_words_are_the_letters_looked_at(words):
    attention.weights_of_words(np.array([[0.5, 0.5], [0.99, 0.01]]), "XY")
    assert words()[:2] == ["", "mean of all"]
    assert words()[2:4] == ["", "X"]
    assert len(plt.gcf().axes[0].lines) == 3  # the weight of 0.01 is not drawn


def test_each_head_and_block_has_a_map_without_the_class_token(words):
    weights = np.zeros((2, 3, 5))
    weights[..., 0], weights[1, 2, 4] = 0.9, 0.1
    attention.class_attention(np.zeros((4, 4, 1), np.uint8), weights)
    assert words().count("largest 0.00") == 5
    assert words().count("largest 0.10") == 1
    assert {"head 2", "block\n1"} <= set(words())

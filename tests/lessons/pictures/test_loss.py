"""The pictures of logits and losses show the numbers of the image that they are given."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
loss = pytest.importorskip("minivit.lessons.pictures.loss")
LOGITS = np.array([0.0, np.log(3), -1e3])  # probabilities 1/4, 3/4, 0


@pytest.fixture
def words():
    """The texts of the picture that was drawn."""
    yield lambda: [text.get_text() for text in plt.gcf().axes[0].texts]
    plt.close("all")


def test_the_steps_from_logits_to_a_loss_are_written_out(words):
    loss.logits_to_loss(np.zeros((8, 8, 1), np.uint8), LOGITS, 1)
    assert {"image, label 1", "1.10", "-1000.00", "0.2500", "0.7500", "0.0000", "loss 0.2877"} <= set(words())


def test_a_longer_bar_is_a_larger_probability(words):
    loss.temperatures(LOGITS, [1])
    assert [bar.get_width() for bar in plt.gcf().axes[0].patches] == pytest.approx([1.1 / 4, 3.3 / 4, 0])


def test_each_temperature_has_its_probabilities(words):
    loss.temperatures(LOGITS, [1, 0.5])
    assert {"0.2500", "0.7500", "0.1000", "0.9000"} <= set(words())


def test_a_small_probability_is_not_rounded_to_zero(words):
    loss.temperatures(np.array([0.0, -10.0]), [1])
    assert {"1.0000", "5e-05"} <= set(words())

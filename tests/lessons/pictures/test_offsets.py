"""The picture of heads that look at places shows the weights that the library computes."""

import numpy as np
import pytest

from minivit.lineage.cordonnier import as_convolution

plt = pytest.importorskip("matplotlib.pyplot")
to_hex = pytest.importorskip("matplotlib.colors").to_hex
offsets = pytest.importorskip("minivit.lessons.pictures.offsets")


def test_the_weights_are_those_of_the_head_that_looks_up_and_to_the_right(monkeypatch):
    shown, draw = [], offsets.matrix
    monkeypatch.setattr(
        offsets, "matrix", lambda axes, x, y, v, *r, **k: shown.append(v) or draw(axes, x, y, v, *r, **k)
    )
    image = np.arange(42.0).reshape(6, 7)
    figure = offsets.nine_heads(image, (3, 4), (0.5, 3.0))
    texts = {text.get_text() for text in figure.axes[0].texts}
    frames = [patch for patch in figure.axes[0].patches if to_hex(patch.get_edgecolor()) == offsets.ORANGE.lower()]
    plt.close(figure)
    assert np.array_equal(shown[0], image)
    assert len(frames) == 9  # the pixels that the heads look at
    for alpha, weights in zip((0.5, 3.0), shown[1:], strict=True):
        right = as_convolution(np.ones((3, 3, 1, 1)), np.zeros(1), alpha).weights(6, 7).data[2, 3 * 7 + 4]
        assert np.allclose(weights / weights.sum(), right.reshape(6, 7))
        assert f"largest: {right.max():.3f}" in texts

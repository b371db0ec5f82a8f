"""The pictures of heads and of the MLP show what the model computes."""

import numpy as np
import pytest

from minivit.data import normalize
from minivit.lessons import running_digit

plt = pytest.importorskip("matplotlib.pyplot")
heads = pytest.importorskip("minivit.lessons.pictures.heads")
mlp = pytest.importorskip("minivit.lessons.pictures.mlp")


@pytest.fixture
def digit():
    """The model, the image, and the tokens before block 1."""
    model, image, _ = running_digit()
    return model, image, model.embed(model.tensor(model.like(normalize(image[None]))))


def drawn(monkeypatch, module, function, *given):
    """The values of all matrices of a picture, and its texts."""
    values, draw = [], module.matrix
    monkeypatch.setattr(
        module, "matrix", lambda axes, x, y, v, *r, **k: values.append(v) or draw(axes, x, y, v, *r, **k)
    )
    figure = getattr(module, function)(*given)
    texts = [text.get_text() for text in figure.axes[0].texts]
    plt.close(figure)
    return values, texts


def test_the_picture_of_heads_ends_in_what_the_layer_returns(monkeypatch, digit):
    model, image, tokens = digit
    tap = {}
    result = model.blocks[0].attention(model.blocks[0].norm1(tokens), tap=tap).data[0]
    values, texts = drawn(monkeypatch, heads, "side_by_side", model, image)
    assert [v.shape for v in values[:3]] == [(17, 32)] * 3  # queries, keys, values
    for shown, weights in zip(values[3:11:2], tap["attention_weights"][0], strict=True):
        assert np.allclose(shown, weights)
    assert np.allclose(values[-1], result, atol=1e-5)
    assert {"17 tokens", "32 features", "A of head 3"} <= set(texts)


def test_the_picture_of_the_mlp_follows_three_tokens(monkeypatch, digit):
    model, image, tokens = digit
    block = model.blocks[0]
    before = block.norm2(tokens + block.attention(block.norm1(tokens)))
    inside = block.mlp.hidden(before).data[0]
    values, texts = drawn(monkeypatch, mlp, "token_by_token", model, image, (0, 2, 16))
    assert np.allclose(values[0], before.data[0], atol=1e-5)
    assert np.allclose(values[1], block.mlp(before).data[0], atol=1e-5)
    for shown, row in zip(values[2::2], (0, 2, 16), strict=True):
        assert np.allclose(shown, inside[row, : mlp.SHOWN], atol=1e-5)
    assert "9 of 64 hidden units" in texts

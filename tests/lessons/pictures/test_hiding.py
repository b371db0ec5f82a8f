"""The picture of hidden patches counts what is hidden and what enters the encoder."""

import pytest

plt = pytest.importorskip("matplotlib.pyplot")
hiding = pytest.importorskip("minivit.lessons.pictures.hiding")


def test_hidden_patches_have_a_mask_token_and_those_of_the_masked_autoencoder_are_gone():
    hiding.four_ways()
    axes = plt.gcf().axes[0]
    words = [text.get_text() for text in axes.texts]
    shares = [word for word in words if "of 36 patches" in word]
    assert shares == [f"{count} of 36 patches" for count in (18, 14, 24, 27)]
    assert [words.count(f"encoder: {count} tokens") for count in (36, 9)] == [3, 1]
    assert words.count("m") == 18 - len(hiding.KEPT) - len(hiding.OTHER) + 14 + 24
    plt.close("all")

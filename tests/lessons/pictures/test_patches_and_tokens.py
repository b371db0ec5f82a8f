"""The pictures of notebooks 03 to 05 show the arrays that they are given."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
cutting = pytest.importorskip("minivit.lessons.pictures.cutting")
embedding = pytest.importorskip("minivit.lessons.pictures.embedding")
normalising = pytest.importorskip("minivit.lessons.pictures.normalising")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def shown():
    """The arrays that the newest figure shows as images, from left to right."""
    images = [image for axes in plt.gcf().axes for image in axes.images]
    return [np.asarray(image.get_array()) for image in sorted(images, key=lambda image: image.get_extent()[0])]


def texts():
    return [text.get_text() for axes in plt.gcf().axes for text in axes.texts]


def test_the_tokens_stand_beside_their_patches(rng, monkeypatch):
    tokens = rng.standard_normal((6, 5))
    monkeypatch.setattr(cutting, "HERE", 3)
    cutting.to_tokens(rng.integers(0, 256, (4, 6)), 2, tokens)
    (drawn,) = shown()
    assert np.array_equal(drawn, tokens)
    assert texts().count("5") == 2  # the last patch, in the grid and at its row
    assert "6" not in texts()


def test_the_sum_of_equation_1(rng):
    class_token, tokens, positions = rng.standard_normal(8), rng.standard_normal((4, 8)), rng.standard_normal((5, 8))
    embedding.equation_1(class_token, tokens, positions)
    left, middle, right = shown()
    assert np.array_equal(left[0], class_token)
    assert np.array_equal(left[1:], tokens)
    assert np.array_equal(middle, positions)
    assert np.allclose(right, left + middle)


def test_the_labels_move_with_their_tokens(rng):
    z, order = rng.standard_normal((3, 4)), [2, 0, 1]
    embedding.reordered(z, -z, z[order], -z[order], order)
    names = [text for text in texts() if text.startswith("token")]
    assert names == [f"token {n}" for n in (0, 1, 2, 0, 1, 2, 2, 0, 1, 2, 0, 1)]


def test_mean_and_deviation_are_named(rng):
    before = 3 + 2 * rng.standard_normal(32)
    normalising.one_token(before, (before - before.mean()) / before.std())
    left, right = (axes.get_title() for axes in plt.gcf().axes)
    assert f"mean {before.mean():.2f}, deviation {before.std():.2f}" in left
    assert "mean 0.00, deviation 1.00" in right


def test_a_row_is_marked_and_a_column_of_every_image():
    normalising.what_is_averaged(B=3, N=5, D=8)
    (axes,) = plt.gcf().axes
    marked = [patch.get_facecolor() for patch in axes.patches if patch.get_facecolor()[:3] != (1, 1, 1)]
    assert [marked.count(color) for color in dict.fromkeys(marked)] == [8, 15]

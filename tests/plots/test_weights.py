"""Pictures of filters, positions and mistakes: that the numbers drawn are those given, where they belong, legible."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minivit import plots

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("count", "channels"), [(1, 3), (4, 1), (28, 3), (30, 3)])
def test_filters_are_stretched_about_grey(count, channels, drawn):
    components = RNG.normal(size=(count, 2, 4, channels))
    shares = np.linspace(0.5, 0.01, count)
    figure = drawn(plots.patch_filters, components, shares, "model: principal components\nof the patch filters")
    shown = [axes for axes in figure.axes if axes.get_images()]
    assert len(shown) == count
    for axes, component, share in zip(shown, components, shares, strict=True):
        assert axes.get_xlabel() == f"{share:.1%}"
        (image,) = axes.get_images()
        expected = 0.5 + component / abs(component).max() / 2
        assert_allclose(image.get_array(), expected if channels == 3 else expected[..., 0])
        assert channels == 3 or image.get_clim() == (0, 1)


def test_positions_stand_in_their_grid(drawn):
    similarity = RNG.uniform(-1, 1, (2, 3, 2, 3))
    figure = drawn(plots.position_similarity, similarity, "title")
    places = np.array(figure.axes[:-1]).reshape(2, 3)
    for i in range(2):
        for j in range(3):
            (image,) = places[i, j].get_images()
            assert_allclose(image.get_array(), similarity[i, j])
            assert image.get_clim() == (-1, 1)
    assert [axes.get_ylabel() for axes in places[:, 0]] == ["1", "2"]
    assert [axes.get_xlabel() for axes in places[-1]] == ["1", "2", "3"]


def test_of_a_large_grid_every_second_position_has_a_tile(drawn):
    similarity = RNG.uniform(-1, 1, (9, 4, 9, 4))
    figure = drawn(plots.position_similarity, similarity, "title")
    places = np.array(figure.axes[:-1]).reshape(5, 2)
    assert_allclose(places[2, 1].get_images()[0].get_array(), similarity[4, 2])
    assert [axes.get_ylabel() for axes in places[:, 0]] == ["1", "3", "5", "7", "9"]
    assert [axes.get_xlabel() for axes in places[-1]] == ["1", "3"]


@pytest.mark.parametrize("names", [[*"0123456789"], ["cat", "dog"], [f"some long class {i}" for i in range(20)]])
def test_confusions_are_counted_in_the_cells_and_coloured_by_row(names, drawn):
    counts = RNG.integers(0, 50, (len(names), len(names)))
    counts[0] = 0  # a class without images
    figure = drawn(plots.confusion_matrix, counts, names, "title")
    axes = figure.axes[0]
    (image,) = axes.get_images()
    for i in range(len(names)):
        for j in range(len(names)):
            share = 100 * counts[i, j] / sum(counts[i]) if sum(counts[i]) else 0
            assert image.get_array()[i, j] == pytest.approx(share)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(j, i): str(counts[i, j]) for i, j in np.ndindex(counts.shape) if counts[i, j]}
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    assert [text.get_text() for text in axes.get_xticklabels()] == names
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_a_hundred_classes_are_not_named(drawn):
    figure = drawn(plots.confusion_matrix, np.eye(100, dtype=int), [f"class {i}" for i in range(100)], "title")
    assert len(figure.axes[0].texts) == 0
    assert len(figure.axes[0].get_xticklabels()) < 20

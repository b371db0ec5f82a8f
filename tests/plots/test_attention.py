"""Pictures of attention: that the numbers drawn are those given, where they belong, legible."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from minivit import plots

RNG = np.random.default_rng(0)


def heat_maps(axes):
    """The arrays drawn in one place: background first."""
    return [np.asarray(image.get_array()) for image in axes.get_images()]


@pytest.mark.parametrize(("layers", "heads"), [(2, 3), (1, 1), (12, 12)])
def test_attention_maps_stand_by_layer_and_head(layers, heads, drawn):
    image, maps = RNG.random((8, 12, 3)), RNG.uniform(1 / 7, 7, (layers, heads, 2, 3))
    figure = drawn(
        plots.attention_maps,
        image,
        maps,
        "title\nsecond line",
    )
    picture = figure.axes[0]
    assert_allclose(heat_maps(picture)[0], image)
    places = np.array(figure.axes[1:-1]).reshape(layers, heads)
    if layers > 1:  # the image is large, however many maps stand beside it
        assert picture.get_window_extent().width >= 1.5 * figure.dpi
    for layer in range(layers):
        assert places[layer, 0].get_ylabel() == f"layer {layer + 1}"
        for head in range(heads):
            grey, heat = heat_maps(places[layer, head])
            assert_allclose(heat, maps[layer, head])
            assert_allclose(1 - grey, 0.25 * (1 - image.mean(axis=-1)))  # pale, so that colours are those of the bar
            background, over = places[layer, head].get_images()
            assert over.get_alpha() < 0.7  # the image shows through
            assert list(over.get_extent()) == list(background.get_extent())  # rows and columns fill the image
    assert figure.axes[-1].get_ylabel() == "attention /\nuniform attention (1/N)"


def test_all_maps_share_the_scale_that_is_shown(drawn):
    maps = np.array([[[[0.0, 1.0], [2.0, 100.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    figure = drawn(plots.attention_maps, RNG.random((4, 4, 1)), maps, "title")
    first, second = figure.axes[1].get_images()[1], figure.axes[2].get_images()[1]
    assert first.get_clim() == second.get_clim() == (1 / 8, 8)
    assert heat_maps(figure.axes[1])[1].tolist() == [[1 / 8, 1], [2, 8]]  # 0 has no place on a logarithmic scale
    labels = [text.get_text() for text in figure.axes[-1].get_yticklabels()]
    assert labels == ["≤ 1/8", "1/4", "1/2", "1", "2", "4", "≥ 8"]
    assert_allclose(figure.axes[-1].get_yticks(), [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_rollout_shows_image_map_and_both(count, drawn):
    images, maps = RNG.random((count, 4, 6, 3)), RNG.uniform(1 / 3, 3, (count, 2, 3))
    captions = [f"a very long name of a file {i}.png\npredicted: {'x' * i}" for i in range(count)]
    figure = drawn(plots.attention_rollout, images, maps, captions, "title")
    places = np.array(figure.axes[:-1]).reshape(3, count)
    for i in range(count):
        assert places[0, i].get_title() == f"a very long name of a …\npredicted: {'x' * i}"
        assert_allclose(heat_maps(places[0, i])[0], images[i])
        assert_allclose(heat_maps(places[1, i])[1], maps[i])
        lit = images[i].copy()
        for y in range(4):
            for x in range(6):
                lit[y, x] *= maps[i][y // 2, x // 2] / maps[i].max()
        assert_allclose(heat_maps(places[2, i])[0], lit)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (4, 3), (32, 16)])
def test_distance_has_a_dot_per_head(layers, heads, drawn):
    distances = RNG.uniform(0, 100, (layers, heads))
    figure = drawn(plots.attention_distance, distances, 80.0, "title")
    (axes,) = figure.axes
    dots = axes.collections[0].get_offsets()
    expected = [[layer + 1, distances[layer, head]] for layer in range(layers) for head in range(heads)]
    assert_allclose(dots, expected)
    mean, uniform = axes.lines
    assert_allclose(mean.get_xydata(), [[layer + 1, distances[layer].mean()] for layer in range(layers)])
    assert set(uniform.get_ydata()) == {80}
    assert "pixels" in axes.get_ylabel()
    assert axes.get_ylim()[0] == 0 < distances.max() < axes.get_ylim()[1]


@pytest.mark.parametrize("name", ["a$x_{$", "$", r"\$1 $2", "图片"])
def test_names_from_outside_are_drawn_as_they_are(name, tmp_path):
    """Not as formulas; a letter that the font does not have is no reason to complain."""
    image, maps, lines = RNG.random((4, 4, 3)), RNG.random((1, 1, 2, 2)), [{"epoch": 1, "train_loss": 1.0}]
    path = tmp_path / "a.png"
    plots.attention_maps(image, maps, name, path)
    plots.attention_rollout(image[None], maps[0], [name], name, path)
    plots.attention_distance(maps[0, 0], 1.0, name, path)
    plots.learning_curves([{**line, "test_loss": None, "test_accuracy": None} for line in lines], name, path)
    plots.patch_filters(RNG.random((1, 2, 2, 3)), np.ones(1), name, path)
    plots.position_similarity(maps, name, path)
    plots.confusion_matrix(np.eye(2, dtype=int), [name, "b"], name, path)


def test_the_files_are_pictures(tmp_path):
    maps = RNG.random((2, 2, 2, 2))
    plots.attention_maps(RNG.random((4, 4, 1)), maps, "title", tmp_path / "maps.png")
    plots.attention_rollout(RNG.random((2, 4, 4, 1)), maps[0], ["a", "b"], "title", tmp_path / "rollout.png")
    plots.attention_distance(maps[0, 0], 1.0, "title", tmp_path / "distance.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20

"""Rows of images: each where it belongs, in its true colours."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minivit import plots


@pytest.mark.parametrize(("count", "height", "channels"), [(1, 4, 3), (8, 4, 1), (3, 9, 3)])
def test_every_image_stands_in_its_row_and_column(count, height, channels, drawn):
    rng = np.random.default_rng(0)
    rows = {
        "image": rng.random((count, height, 5, channels)),
        "$_completed": rng.normal(size=(count, height, 5, channels)),
    }
    figure = drawn(plots.image_rows, rows, "a title")
    places = np.array(figure.axes).reshape(2, count)
    assert [axes.get_ylabel() for axes in places[:, 0]] == ["image", r"\$_completed"]
    for i, images in enumerate(rows.values()):
        for j, image in enumerate(images):
            (found,) = places[i, j].get_images()
            expected = np.clip(image, 0, 1)
            assert_allclose(found.get_array(), expected if channels == 3 else expected[..., 0])
    assert figure.get_suptitle() == "a title"


def test_maps_of_classes_and_masks_are_coloured(drawn):
    classes = np.array([[[0, 1, 2], [200, 255, 2]]], np.uint8)
    figure = drawn(plots.image_rows, {"map": classes, "mask": classes > 1}, "a title")
    colours, mask = (axes.get_images()[0].get_array() for axes in figure.axes)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 5
    assert colours[1, 1].tolist() == [1, 1, 1], "no class"
    assert_allclose(colours[0, 2], colours[1, 2])
    assert_allclose(mask[0, :2], colours[0, [0, 0]])
    assert_allclose(mask[1], colours[0, [1, 1, 1]])

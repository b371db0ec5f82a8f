"""Drawn digits become like those that come with minivit, and what is not clear stays as it is."""

import numpy as np
import pytest

from minivit.data import load
from minivit.data.drawn_digit import as_the_digits, two_groups

DRAWN = np.zeros((100, 120, 1), np.uint8)  # a seven of strokes 8 pixels wide, 64 high and 48 wide
DRAWN[20:28, 40:88] = DRAWN[20:84, 80:88] = 255
EXPECTED = np.zeros((8, 8), np.uint8)
EXPECTED[0, 1:7] = EXPECTED[:, 6] = 255


@pytest.mark.parametrize(
    ("drawn", "done"),
    [
        (DRAWN, ["cropped to the digit"]),
        (255 - DRAWN, ["inverted, since it is dark on bright", "cropped to the digit"]),
        (40 + DRAWN // 4, ["contrast raised", "cropped to the digit"]),
        (190 - DRAWN // 4, ["inverted, since it is dark on bright", "contrast raised", "cropped to the digit"]),
    ],
)
def test_a_digit_with_margins_dark_on_bright_or_pale(drawn, done):
    image, words = as_the_digits(drawn)
    assert words == done
    assert image.dtype == np.uint8
    assert np.array_equal(image[..., 0], EXPECTED)


def test_the_digits_themselves_stay_as_they_are():
    images = load("digits", split="test").images
    for image in images[:50]:
        assert as_the_digits(image)[0] is image
        assert as_the_digits(image.repeat(9, 0).repeat(9, 1))[1] == []
    inverted = [as_the_digits(255 - image.repeat(9, 0).repeat(9, 1)) for image in images[:50]]
    certain = [k for k, (_, words) in enumerate(inverted) if words == ["inverted, since it is dark on bright"]]
    assert len(certain) >= 45
    assert all(np.array_equal(inverted[k][0], images[k].repeat(9, 0).repeat(9, 1)) for k in certain)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 1), np.uint8),
        np.random.default_rng(0).integers(0, 256, (37, 21, 1), np.uint8),
        np.linspace(0, 255, 900).astype(np.uint8).reshape(30, 30, 1),
        np.repeat([0, 255], 450).astype(np.uint8).reshape(30, 30, 1),
    ],
    ids=["an empty one of the digits' size", "noise", "a gradient", "two halves"],
)
def test_what_is_not_clear_stays(image):
    found, words = as_the_digits(image)
    assert (found is image, words) == (True, [])


def test_an_empty_image_is_said_to_be_empty():
    image = np.full((30, 30, 1), 200, np.uint8)
    found, words = as_the_digits(image)
    assert (found is image, words) == (True, ["nothing is drawn on it: it has a single colour"])


def test_two_groups_are_found_between_them():
    grey = np.array([[10, 12, 11, 200, 202]], np.uint8)
    threshold, clarity = two_groups(grey)
    assert 12 <= threshold < 200
    within = np.array([10, 12, 11]).var() * 3 + np.array([200, 202]).var() * 2
    assert clarity == pytest.approx(1 - within / 5 / grey.var())
    assert two_groups(np.zeros((3, 3), np.uint8))[1] == 0.0

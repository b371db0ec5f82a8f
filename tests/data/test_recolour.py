"""Random changes of colour: how often, how much, and what they leave alone."""

import numpy as np
import pytest
from PIL import Image

from minivit.data import recolour as colours
from minivit.data.recolour import recolour


def noise(count=4, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 6, channels), np.uint8)


def only(monkeypatch, jitter=0.0, grey=0.0):
    monkeypatch.setattr(colours, "JITTER", jitter)
    monkeypatch.setattr(colours, "GREY", grey)


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_type_stay_and_the_input_is_not_changed(channels):
    images = noise(40, channels)
    out = recolour(images, np.random.default_rng(0), blur=0.5, solarise=0.5)
    assert (out.shape, out.dtype) == (images.shape, np.uint8)
    assert np.array_equal(images, noise(40, channels))
    assert not np.array_equal(out, images)


def test_the_same_generator_gives_the_same():
    one, two = (recolour(noise(), np.random.default_rng(3), 0.5, 0.5) for _ in range(2))
    assert np.array_equal(one, two)


def test_as_many_images_as_the_probabilities_say():
    images, rng = noise(4000), np.random.default_rng(0)
    changed = [not np.array_equal(x, y) for x, y in zip(images, recolour(images, rng), strict=True)]
    assert abs(np.mean(changed) - (1 - 0.2 * 0.8)) < 0.02


def test_each_change_alone(monkeypatch):
    images, rng = noise(400), np.random.default_rng(0)
    only(monkeypatch)
    assert np.array_equal(recolour(images, rng), images)
    solarised = recolour(images, rng, solarise=1.0)
    assert np.array_equal(solarised, np.where(images < 128, images, 255 - images))
    share = [not np.array_equal(x, y) for x, y in zip(images, recolour(images, rng, solarise=0.2), strict=True)]
    assert abs(np.mean(share) - 0.2) < 0.06
    blurred = recolour(images, rng, blur=1.0, radius=(2.0, 2.0))
    assert blurred.astype(float).std() < 0.5 * images.astype(float).std()
    only(monkeypatch, grey=1.0)
    grey = recolour(images, rng)
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert np.abs(grey[..., 0] - images @ [0.299, 0.587, 0.114]).max() <= 1


def test_brightness_contrast_and_saturation_stay_within_their_bounds(monkeypatch):
    only(monkeypatch, jitter=1.0)
    monkeypatch.setattr(colours, "HUE", 0.0)
    flat = np.full((2000, 2, 2, 3), (100, 100, 100), np.uint8)
    means = recolour(flat, np.random.default_rng(0)).mean(axis=(1, 2, 3))
    assert 58 <= means.min() < 64  # a flat grey has no contrast and no saturation: brightness is left
    assert 136 < means.max() <= 142


def test_the_hue_is_turned_by_up_to_a_tenth_of_the_circle(monkeypatch):
    only(monkeypatch, jitter=1.0)
    monkeypatch.setattr(colours, "STRENGTHS", ())
    red = np.full((2000, 2, 2, 3), (255, 0, 0), np.uint8)
    out = recolour(red, np.random.default_rng(0))
    hues = np.array([np.asarray(Image.fromarray(x).convert("HSV"))[0, 0, 0] for x in out]).astype(int)
    turned = (hues + 128) % 256 - 128
    assert 20 < turned.max() <= 27
    assert -27 <= turned.min() < -20
    assert abs(turned.mean()) < 1.5


def test_grey_images_have_no_hue(monkeypatch):
    only(monkeypatch, jitter=1.0)
    monkeypatch.setattr(colours, "STRENGTHS", ())
    images = noise(channels=1)
    assert np.array_equal(recolour(images, np.random.default_rng(0)), images)

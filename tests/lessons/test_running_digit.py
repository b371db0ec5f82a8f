"""The running example: a digit that the shipped model has not seen, and classifies correctly."""

import numpy as np

from minivit.lessons import accuracy, digits, running_digit


def test_the_model_is_right_about_the_digit():
    model, image, label = running_digit()
    assert (image.shape, image.dtype, label) == ((8, 8, 1), np.uint8, 7)
    assert model(image[None].astype(np.float32) / 127.5 - 1).data.argmax() == label
    assert not any((image == other).all() for other in digits()[0].images)


def test_its_size_is_that_of_the_notebooks_and_it_knows_the_other_digits_too():
    model, _, _ = running_digit()
    config = model.config
    assert (config.num_tokens, config.width, config.heads, config.depth, config.mlp_width) == (17, 32, 4, 3, 64)
    assert accuracy(model, digits()[1]) > 0.95

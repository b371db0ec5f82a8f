"""Augment: the transforms of training and evaluation."""

import time

import numpy as np
import pytest

from minivit.data import Augment, normalize, randaugment, random_crop, random_flip, random_resized_crop, resize
from minivit.errors import ConfigError


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def rng():
    return np.random.default_rng(5)


def test_evaluation_only_normalises_images_of_the_right_size():
    x = noise(4, 8, 12, 3)
    assert np.array_equal(Augment((8, 12))(x), normalize(x))
    assert np.array_equal(Augment((8, 12))(list(x)), normalize(x))
    assert np.array_equal(Augment((8, 12), mean=(0.1, 0.2, 0.3), std=0.7)(x), normalize(x, (0.1, 0.2, 0.3), 0.7))


def test_squash_resizes_height_and_width_alone():
    images = [noise(9, 30, 3), noise(8, 12, 3), noise(50, 20, 3)]
    y = Augment((8, 12))(images)
    assert (y.shape, y.dtype) == ((3, 8, 12, 3), np.float32)
    assert np.array_equal(y, normalize(np.stack([resize(image, (8, 12)) for image in images])))
    x = noise(2, 12, 8, 1)
    assert np.array_equal(Augment((8, 12))(x), normalize(np.stack([resize(image, (8, 12)) for image in x])))


def test_crop_keeps_the_central_seven_eighths_in_proportion():
    image = noise(100, 200, 3)
    y = Augment((32, 32), resize="crop")([image])
    expected = resize(image[6:94, 56:144], (32, 32))
    assert np.array_equal(y[0], normalize(expected[None])[0])
    same = noise(1, 32, 32, 3)
    assert np.array_equal(Augment((32, 32), resize="crop")(list(same)), normalize(same))


def test_each_option_is_its_function():
    x = noise(6, 8, 12, 3)
    assert np.array_equal(Augment((8, 12), flip=True)(x, rng()), normalize(random_flip(x, rng())))
    assert np.array_equal(Augment((8, 12), crop_padding=2)(x, rng()), normalize(random_crop(x, 2, rng())))
    assert np.array_equal(Augment((8, 12), randaugment=(2, 10))(x, rng()), normalize(randaugment(x, 2, 10, rng())))
    seeds = rng().integers(0, 2**63, 6).tolist()  # of each image's own generator
    cropped = [
        random_resized_crop(x[i : i + 1], (4, 6), np.random.default_rng(seed), (0.2, 0.9))
        for i, seed in enumerate(seeds)
    ]
    assert np.array_equal(Augment((4, 6), resized_crop=(0.2, 0.9))(x, rng()), normalize(np.concatenate(cropped)))

    erased = Augment((8, 12), erasing=1.0)(x, rng())
    assert np.abs(erased).max() > 1.5  # noise, after normalisation
    assert 0 < (erased != normalize(x)).mean() < 0.5


def test_the_changes_of_some_images_are_theirs_in_the_whole_batch():
    augment = Augment(
        (8, 12), flip=True, crop_padding=2, randaugment=(2, 10), erasing=0.8, resized_crop=(0.2, 0.9), mean=0.4
    )
    images = [noise(1, 9 + i, 20 - i, 3)[0] for i in range(6)]
    changes = augment.draw((6, 8, 12, 3), rng())
    for rows in (np.array([2, 3]), np.array([5, 0, 1])):
        some, part = [images[i] for i in rows], changes.of(rows)
        assert np.array_equal(augment.apply(augment.resized(some, part), part), augment(images, rng())[rows])


def test_options_combine_and_follow_the_generator():
    augment = Augment((16, 8), flip=True, resized_crop=(0.3, 1), randaugment=(1, 5), erasing=0.5, crop_padding=1)
    images = [noise(20, 30, 3), noise(40, 9, 3), noise(16, 8, 3)]
    y = augment(images, rng())
    assert (y.shape, y.dtype) == ((3, 16, 8, 3), np.float32)
    assert np.array_equal(y, augment(images, rng()))
    assert not np.array_equal(y, augment(images, np.random.default_rng(6)))


def test_evaluation_drops_what_is_random_and_keeps_the_rest():
    options = {"image_size": (8, 8), "mean": 0.4, "std": (0.1, 0.2, 0.3), "resize": "crop"}
    random = Augment(flip=True, crop_padding=1, resized_crop=(0.1, 1), randaugment=(1, 1), erasing=0.1, **options)
    assert random.is_random
    assert random.evaluation() == Augment(**options)
    assert not random.evaluation().is_random
    with pytest.raises(ConfigError, match="needs a generator"):
        random(noise(1, 8, 8, 3))


def test_jpegs_may_be_decoded_smaller_unless_they_are_cropped():
    assert Augment((224, 160)).decode_size == (448, 320)
    assert Augment((224, 160), resized_crop=(0.05, 1)).decode_size is None


@pytest.mark.parametrize(
    "options",
    [
        {"resize": "stretch"},
        {"crop_padding": -1},
        {"erasing": 1.5},
        {"resized_crop": (0, 1)},
        {"resized_crop": (0.9, 0.1)},
        {"randaugment": (-1, 10)},
        {"randaugment": (2.5, 10)},
        {"randaugment": (2, float("nan"))},
        {"crop_padding": 1.5},
        {"mean": float("nan")},
        {"std": (0.5, 0.0, 0.5)},
        {"image_size": (0, 8)},
        {"image_size": (8, 8, 3)},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Augment(**{"image_size": (8, 8), **options})


def test_an_image_size_may_be_a_list():
    images = noise(2, 4, 6, 3)
    assert Augment([4, 6]).image_size == images.shape[1:3]
    assert np.array_equal(Augment([4, 6])(images), normalize(images))


def test_the_cifar_path_is_vectorised():
    augment, x, times = Augment((32, 32), flip=True, crop_padding=4), noise(128, 32, 32, 3), []
    for _ in range(20):
        start = time.perf_counter()
        augment(x, rng())
        times.append(time.perf_counter() - start)
    assert min(times) < 0.01  # 0.9 ms on a quiet core; a Python loop over the images takes longer

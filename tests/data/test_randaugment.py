"""RandAugment: each operation against its definition, and the choice among them."""

import numpy as np
import pytest
from PIL import Image

from minivit.data import randaugment
from minivit.data.randaugment import OPERATIONS, draw_operations, to_image
from minivit.errors import ConfigError

V = np.arange(256)


def noise(height=12, width=16, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def apply(name, pixels, magnitude, seed=0):
    rng = np.random.default_rng(seed)
    height, width, _ = pixels.shape
    drawn = (int(rng.integers(width)), int(rng.integers(height))) if name == "Cutout" else (int(rng.choice([1, -1])), 0)
    return np.asarray(OPERATIONS[name](to_image(pixels), magnitude / 10, drawn)).reshape(pixels.shape)


def both_signs(name, pixels, magnitude):
    """The two results of an operation that draws a sign."""
    results = {}
    for seed in range(40):
        result = apply(name, pixels, magnitude, seed)
        results[result.tobytes()] = result
    assert len(results) == 2
    return list(results.values())


def test_the_sixteen_operations_are_those_of_big_vision():
    names = "AutoContrast Equalize Invert Rotate Posterize Solarize Color Contrast Brightness Sharpness "
    names += "ShearX ShearY TranslateX TranslateY Cutout SolarizeAdd"
    assert list(OPERATIONS) == names.split()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_keeps_shape_and_type_at_every_magnitude(name, channels):
    pixels = noise(channels=channels)
    for magnitude in (0, 5, 10, 15, 20):
        out = apply(name, pixels, magnitude)
        assert (out.shape, out.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, noise(channels=channels))


@pytest.mark.parametrize(
    ("name", "magnitude", "table"),
    [
        ("Invert", 10, 255 - V),
        ("Posterize", 10, V // 16 * 16),
        ("Posterize", 15, V // 4 * 4),
        ("Posterize", 0, V // 128 * 128),
        ("Posterize", 20, V),
        ("Solarize", 5, np.where(V < 128, V, 255 - V)),
        ("Solarize", 0, 255 - V),
        ("Solarize", 10, V),
        ("Solarize", 20, V),
        ("SolarizeAdd", 10, np.where(V < 128, V + 110, V)),
        ("SolarizeAdd", 20, np.where(V < 128, np.minimum(V + 220, 255), V)),
        ("Brightness", 0, np.floor(V * 0.1)),
    ],
)
def test_operations_on_single_values(name, magnitude, table):
    pixels = np.repeat(V.astype(np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert np.array_equal(apply(name, pixels, magnitude), table[pixels])


@pytest.mark.parametrize("name", ["Color", "Contrast", "Brightness", "Sharpness"])
def test_enhancements_do_nothing_at_magnitude_5_and_their_name_at_0(name):
    pixels = noise() // 4 + 96  # far enough from 0 and 255 not to be clipped
    assert np.array_equal(apply(name, pixels, 5), pixels)
    weak, same, strong = (apply(name, pixels, magnitude).astype(float) for magnitude in (0, 5, 10))
    measure = {
        "Color": lambda x: x.std(-1).mean(),
        "Contrast": lambda x: x.mean(-1).std(),
        "Brightness": lambda x: x.mean(),
        "Sharpness": lambda x: np.abs(np.diff(x, axis=0)).mean(),
    }[name]
    assert measure(weak) < 0.8 * measure(same) < measure(same) < measure(strong)
    assert name == "Brightness" or abs(weak.mean() - same.mean()) < 2


def test_auto_contrast_stretches_each_channel():
    pixels = noise() // 2 + 40
    out = apply("AutoContrast", pixels, 10)
    assert out.min((0, 1)).tolist() == [0, 0, 0]
    assert out.max((0, 1)).tolist() == [255, 255, 255]
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    assert np.abs(out - (pixels - low) * 255.0 / (high - low)).max() <= 1


def test_equalize_flattens_the_histogram():
    pixels = (noise(64, 64) ** 2.0 / 1024).astype(np.uint8)  # more dark than light, all below 64
    counts = np.histogram(apply("Equalize", pixels, 10), bins=8, range=(0, 256))[0]
    assert counts.min() > 0.5 * counts.max()


def test_translations_are_ten_224ths_of_the_size_a_unit_and_gray_outside():
    pixels = noise(224, 224)
    left, right = np.full_like(pixels, 128), np.full_like(pixels, 128)
    left[:, :-10], right[:, 10:] = pixels[:, 10:], pixels[:, :-10]
    results = both_signs("TranslateX", pixels, 1)
    assert {result.tobytes() for result in results} == {left.tobytes(), right.tobytes()}
    up, down = np.full_like(pixels, 128), np.full_like(pixels, 128)
    up[:-50], down[50:] = pixels[50:], pixels[:-50]
    results = both_signs("TranslateY", pixels, 5)
    assert {result.tobytes() for result in results} == {up.tobytes(), down.tobytes()}


def test_translations_are_in_proportion_to_the_image():
    pixels = np.zeros((224, 448, 3), np.uint8)
    for result in both_signs("TranslateX", pixels, 1):
        assert (result == 128).all(-1).sum() == 20 * 224
    for result in both_signs("TranslateY", pixels, 1):
        assert (result == 128).all(-1).sum() == 10 * 448


@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_shears_shift_lines_by_three_tenths_of_their_number(name):
    pixels = np.zeros((40, 40, 1), np.uint8)
    for result in both_signs(name, pixels, 10):
        gray = (result[..., 0] == 128) if name == "ShearX" else (result[..., 0] == 128).T
        shift = gray.sum(1)
        assert np.abs(shift - 0.3 * np.arange(40)).max() <= 1
        assert gray[30, 0] != gray[30, -1]  # on one side


def test_rotations_turn_by_three_degrees_a_unit():
    pixels = np.zeros((101, 101, 1), np.uint8)
    pixels[10, 50] = 255  # 40 above the centre
    results = both_signs("Rotate", np.asarray(Image.fromarray(pixels[..., 0]).convert("RGB")), 10)
    found = []
    for result in results:
        assert (result[0, 0] == 128).all()
        row, column = np.unravel_index(result[..., 0].argmax(), (101, 101))
        found.append(np.degrees(np.arctan2(column - 50, 50 - row)))
    assert np.allclose(sorted(found), [-30, 30], atol=1.5)


def test_cutout_is_a_gray_square_of_80_pixels_in_224():
    pixels = np.zeros((224, 448, 1), np.uint8)
    sizes = []
    for seed in range(40):
        gray = apply("Cutout", pixels, 10, seed)[..., 0] == 128
        rows, columns = gray.any(1).sum(), gray.any(0).sum()
        assert gray.sum() == rows * columns
        sizes.append((rows, columns))
    assert max(sizes) == (80, 80)
    assert min(sizes) < (80, 80)  # cut off at an edge


def test_the_same_generator_gives_the_same_images():
    x = np.stack([noise(seed=i) for i in range(6)])
    y = randaugment(x, 2, 10, np.random.default_rng(3))
    assert np.array_equal(y, randaugment(x, 2, 10, np.random.default_rng(3)))
    assert not np.array_equal(y, randaugment(x, 2, 10, np.random.default_rng(4)))
    assert np.array_equal(randaugment(x, 0, 10, np.random.default_rng(3)), x)
    assert np.array_equal(x[2], noise(seed=2))


def test_every_image_gets_n_operations_drawn_uniformly(monkeypatch):
    calls = []
    for name in OPERATIONS:
        monkeypatch.setitem(
            OPERATIONS, name, lambda image, strength, drawn, name=name: calls.append((name, strength)) or image
        )
    x = np.zeros((800, 2, 2, 1), np.uint8)
    randaugment(x, 2, 15, np.random.default_rng(0))
    counts = [sum(name == called for called, _ in calls) for name in OPERATIONS]
    assert sum(counts) == 1600
    assert min(counts) > 70
    assert max(counts) < 130
    assert {strength for _, strength in calls} == {1.5}


RECORDED = [
    [("Color", 0, 0), ("TranslateY", 1, 0)],
    [("Equalize", 0, 0), ("Sharpness", 0, 0)],
    [("ShearX", -1, 0), ("TranslateX", -1, 0)],
    [("Cutout", 6, 18), ("TranslateY", 1, 0)],
]


def test_what_is_drawn_for_a_seed_never_changes():
    names = list(OPERATIONS)
    drawn = draw_operations((4, 20, 9, 3), 2, np.random.default_rng(9))
    assert [[(names[number], *rest) for number, *rest in image] for image in drawn.tolist()] == RECORDED


def test_signs_and_places_cover_all_they_can():
    operations = draw_operations((6000, 20, 9, 3), 1, np.random.default_rng(0))[:, 0]
    drawn = {name: operations[operations[:, 0] == number, 1:] for number, name in enumerate(OPERATIONS)}
    for name, values in drawn.items():
        if name == "Cutout":
            assert (values.min(0).tolist(), values.max(0).tolist()) == ([0, 0], [8, 19])
        elif name.startswith(("Rotate", "Shear", "Translate")):
            assert set(values[:, 0]) == {-1, 1}
            assert abs(values[:, 0].mean()) < 0.2
        else:
            assert not values.any()


def test_frames_of_a_clip_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^RandAugment is for images of 1 or 3 channels, not of 24$"):
        to_image(np.zeros((4, 4, 24), np.uint8))

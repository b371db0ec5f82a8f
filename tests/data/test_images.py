"""Reading image files of every kind and condition, and resizing."""

import contextlib
import io
import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from png_files import png

from minivit.data.images import MAX_PIXELS, read_image, resize
from minivit.errors import DataError


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def save(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def smooth(height, width):
    """An image that JPEG hardly changes."""
    rows, columns = np.mgrid[:height, :width]
    stack = [rows * 200 / height, columns * 200 / width, (rows + columns) * 100 / (height + width)]
    return Image.fromarray(np.stack(stack, 2).astype(np.uint8))


def test_rgb_is_read_exactly(tmp_path, pixels):
    image = read_image(save(tmp_path, Image.fromarray(pixels)))
    assert np.array_equal(image, pixels)
    assert (image.dtype, image.flags.writeable) == (np.uint8, True)


def test_gray_becomes_three_equal_channels(tmp_path, pixels):
    gray = pixels[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(read_image(save(tmp_path, Image.fromarray(gray))), expected)
    bits = Image.fromarray(gray).point(lambda v: 255 * (v > 127)).convert("1")
    assert np.array_equal(read_image(save(tmp_path, bits)), (expected > 127) * 255)


def test_16_bit_gray_is_scaled_not_clipped(tmp_path, pixels):
    gray = pixels[..., 0].astype(np.uint16) * 256 + 17
    image = read_image(save(tmp_path, Image.fromarray(gray)))
    assert np.array_equal(image[..., 1], pixels[..., 0])


def test_palette_images_get_their_colours(tmp_path, pixels):
    palette = Image.fromarray(pixels).quantize(16)
    assert np.array_equal(read_image(save(tmp_path, palette)), np.asarray(palette.convert("RGB")))


def test_transparency_is_laid_over_white(tmp_path):
    colour = (200, 100, 0)
    rgba = Image.new("RGBA", (3, 2), (*colour, 255))
    rgba.putpixel((1, 0), (*colour, 0))
    rgba.putpixel((2, 0), (*colour, 51))  # a fifth
    image = read_image(save(tmp_path, rgba))
    assert image[0, :, :].tolist() == [[200, 100, 0], [255, 255, 255], [244, 224, 204]]
    grey = Image.new("LA", (2, 2), (90, 255))
    grey.putpixel((1, 1), (90, 0))
    assert read_image(save(tmp_path, grey))[1].tolist() == [[90] * 3, [255] * 3]
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((0, 1), 1)
    assert read_image(save(tmp_path, palette, transparency=bytes([255, 0])))[1].tolist() == [[255] * 3, [10, 20, 30]]


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    image = read_image(save(tmp_path, cmyk, "image.jpg", quality=95)).astype(int)
    assert np.abs(image - [255, 0, 0]).max() < 8


TURNED = {  # what the stored pixels must go through to be upright, for each EXIF orientation
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_applied(tmp_path, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(pixels), exif=exif)
    assert np.array_equal(read_image(path), TURNED[orientation](pixels))
    photo = smooth(40, 24)
    upright = TURNED[orientation](np.asarray(photo)).astype(int)
    path = save(tmp_path, photo, "photo.jpg", exif=exif, quality=95)
    assert np.abs(read_image(path) - upright).max() < 16


def test_the_format_is_that_of_the_content_not_of_the_name(tmp_path, pixels):
    path = save(tmp_path, Image.fromarray(pixels))
    path.rename(tmp_path / "image.jpeg")
    assert np.array_equal(read_image(tmp_path / "image.jpeg"), pixels)


@pytest.mark.parametrize("extension", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_truncated_files_are_refused(tmp_path, refused, extension, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(noise), f"cut.{extension}")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with refused(f"{path}: "):
        read_image(path)


def test_corrupt_files_are_refused(tmp_path, refused):
    buffer = io.BytesIO()
    smooth(32, 32).save(buffer, "png")
    content = bytearray(buffer.getvalue())
    content[content.index(b"IDAT") + 10] ^= 255
    (tmp_path / "flipped.png").write_bytes(content)
    with refused("flipped.png"):
        read_image(tmp_path / "flipped.png")
    buffer = io.BytesIO()
    smooth(32, 32).save(buffer, "eps")  # for which Pillow would start Ghostscript
    for name, content in {"empty.jpg": b"", "text.png": b"hello\nworld", "eps.jpg": buffer.getvalue()}.items():
        (tmp_path / name).write_bytes(content)
        with refused(name, "not an image"):
            read_image(tmp_path / name)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["png", "jpeg", "gif", "webp", "bmp"]))
def test_a_damaged_byte_gives_an_image_or_a_data_error(tmp_path_factory, position, value, kind):
    buffer = io.BytesIO()
    smooth(9, 8).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    content[position % len(content)] = value
    path = tmp_path_factory.mktemp("damaged") / "image"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        image = read_image(path)
        assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path, refused):
    with refused(f"{tmp_path / 'none.jpg'}: there is no such file"):
        read_image(tmp_path / "none.jpg")
    with refused(str(tmp_path), "cannot be read"):
        read_image(str(tmp_path))


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, refused):
    (tmp_path / "folder.jpg").mkdir()
    with refused(str(tmp_path / "folder.jpg"), "cannot be read", "not a file"):
        read_image(tmp_path / "folder.jpg")
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe.jpg")
    with refused(str(tmp_path / "pipe.jpg"), "cannot be read", "not a file"):
        read_image(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("size", [(1, 8), (8, 1), (1, 1)])
def test_images_below_two_pixels_are_refused(tmp_path, refused, size):
    path = save(tmp_path, Image.new("RGB", size))
    with refused(str(path), f"{size[0]} x {size[1]} pixels", "at least 2"):
        read_image(path)


def test_two_pixels_are_enough(tmp_path):
    assert read_image(save(tmp_path, Image.new("RGB", (2, 2)))).shape == (2, 2, 3)


@pytest.mark.parametrize("warning", ["ignore", "error"])  # Pillow warns at its limit and raises at twice that
@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (10_000, 10_000), (2, MAX_PIXELS // 2 + 1)])
def test_huge_images_are_refused_before_their_pixels_are_decoded(tmp_path, refused, width, height, warning):
    path = tmp_path / "huge.png"
    path.write_bytes(png(width, height, 8, 2))
    with warnings.catch_warnings(), refused(str(path), f"more than {MAX_PIXELS:,} pixels"):
        warnings.simplefilter(warning, Image.DecompressionBombWarning)
        read_image(path)


def test_the_limit_itself_is_not_too_large(tmp_path, refused):
    (tmp_path / "large.png").write_bytes(png(5, MAX_PIXELS // 5, 8, 2))
    with refused("truncated"):  # so it came to decoding
        read_image(tmp_path / "large.png")


def test_large_jpegs_are_decoded_smaller_but_not_too_small(tmp_path):
    path = save(tmp_path, smooth(800, 600), "photo.jpg", quality=95)
    full = read_image(path)
    assert full.shape == (800, 600, 3)
    for size, expected in {(150, 100): (200, 150), (151, 100): (400, 300), (100, 301): (800, 600)}.items():
        small = read_image(path, min_size=size)
        assert small.shape == (*expected, 3)
        assert np.abs(resize(full, expected).astype(int) - small).max() < 8
    png = save(tmp_path, smooth(80, 60), "image.png")
    assert read_image(png, min_size=(8, 8)).shape == (80, 60, 3)


def test_resize_leaves_an_image_of_the_right_size_alone(pixels):
    assert resize(pixels, (7, 5)) is pixels


def test_resize_is_bilinear_between_pixel_centres():
    image = np.array([0, 100], np.uint8).reshape(1, 2, 1)
    assert resize(image, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]
    assert resize(image.reshape(2, 1, 1), (4, 1))[:, 0, 0].tolist() == [0, 25, 75, 100]
    assert resize(np.array([0, 40, 80, 120], np.uint8).reshape(1, 4, 1), (1, 2)).shape == (1, 2, 1)


def test_resize_averages_when_it_shrinks():
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    assert np.abs(resize(checkerboard, (8, 8)).astype(int) - 127).max() <= 2


@pytest.mark.parametrize("channels", [1, 3, 2, 24])
def test_resize_takes_rectangles_and_parts_of_images(channels):
    image = np.zeros((20, 30, channels), np.uint8)
    image[4:10, 6:18] = np.arange(1, channels + 1) * 10
    part = resize(image[4:10, 6:18], (3, 7))
    assert part.shape == (3, 7, channels)
    assert (part == np.arange(1, channels + 1) * 10).all()  # nothing from outside the part

"""Reading images of every mode: bits, palettes, transparency, animations; each next to what it must look like."""

import struct

import numpy as np
import pytest
from PIL import Image
from png_files import png

from minivit.data.images import Cut, read_cut, read_image

WHITE = [255, 255, 255]
PALETTE = bytes([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])


def rows(depth, kind, row, key=None, palette=None):
    """A PNG of two equal rows."""
    width = len(row) * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind])
    return png(width, 2, depth, kind, [row, row], key, palette)


def big_endian(*values):
    return struct.pack(f">{len(values)}H", *values)


# name: file, and what each of its rows must look like: greys or colours
CASES = {
    "1-bit grey": (rows(1, 0, b"\x7f", big_endian(0)), [255] * 8),
    "1-bit white": (rows(1, 0, b"\x7f", big_endian(1)), [0] + [255] * 7),
    "2-bit grey": (rows(2, 0, b"\x4b", big_endian(1)), [255, 0, 170, 255]),
    "4-bit grey": (rows(4, 0, b"\x34", big_endian(3)), [255, 68]),
    "8-bit grey": (rows(8, 0, b"\x03\x04", big_endian(3)), [255, 4]),
    "16-bit grey": (rows(16, 0, big_endian(0x1234, 0x1235), big_endian(0x1234)), [255, 0x12]),
    "16-bit black": (rows(16, 0, big_endian(0, 0x8000), big_endian(0)), [255, 128]),
    "16-bit grey, none": (rows(16, 0, big_endian(0, 0xFFFF)), [0, 255]),
    "grey and alpha": (rows(8, 4, bytes([9, 0, 9, 255])), [255, 9]),
    "grey and alpha of 16": (rows(16, 4, big_endian(9, 0, 0x900, 0xFFFF)), [255, 9]),
    "colour": (rows(8, 2, bytes([1, 2, 3, 1, 2, 4]), big_endian(1, 2, 3)), [WHITE, [1, 2, 4]]),
    "colour of 16": (
        rows(16, 2, big_endian(0x1FF, 0x2FF, 0x3FF, 0xFFFF, 0, 0x8000), big_endian(0x1FF, 0x2FF, 0x3FF)),
        [WHITE, [255, 0, 128]],
    ),
    "colour of 16, none": (rows(16, 2, big_endian(0xFFFF, 0xFF, 0x8000) * 2), [[255, 0, 128]] * 2),
    "colour and alpha": (rows(8, 6, bytes([1, 2, 3, 0, 4, 5, 6, 255])), [WHITE, [4, 5, 6]]),
    "colour and alpha of 16": (
        rows(16, 6, big_endian(0x1FF, 0x2FF, 0x3FF, 0, 0xFFFF, 0, 0x8000, 0xFFFF)),
        [WHITE, [255, 0, 128]],
    ),
    "palette, one place": (rows(8, 3, b"\0\1", b"\0", PALETTE), [WHITE, [40, 50, 60]]),
    "palette, some": (
        rows(2, 3, b"\x1b", b"\xff\0\x33", PALETTE),
        [[10, 20, 30], WHITE, [218, 220, 222], [1, 2, 3]],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_pngs_of_every_depth_and_transparency(tmp_path, case):
    content, expected = CASES[case]
    (tmp_path / "image").write_bytes(content)
    colours = [value if isinstance(value, list) else [value] * 3 for value in expected]
    assert read_image(tmp_path / "image").tolist() == [colours] * 2
    for i, colour in enumerate(colours):
        alone = Cut(lambda height, width, i=i: (i, 1, i + 1, 2), (1, 1))
        assert read_cut(tmp_path / "image", alone).tolist() == [[colour]]


def test_rotation_and_transparency_of_16_bit_grey_together(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    gray = [big_endian(0, 0x1000, 0x2000), big_endian(0x3000, 0x4000, 0x5000)]
    content = png(3, 2, 16, 0, gray, big_endian(0x3000), exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "image.png").write_bytes(content)
    assert read_image(tmp_path / "image.png")[..., 1].tolist() == [[255, 0], [0x40, 0x10], [0x50, 0x20]]


@pytest.mark.parametrize("kind", ["png", "webp", "gif"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path, kind):
    frames = [Image.new("RGBA", (4, 3), (200, 0, 0, 255)), Image.new("RGBA", (4, 3), (0, 200, 0, 255))]
    frames[0].putpixel((1, 0), (0, 0, 0, 0))
    lossless = {"lossless": True} if kind == "webp" else {}
    path = tmp_path / f"moving.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    image = read_image(path)
    assert image[0, :2].tolist() == [[200, 0, 0], WHITE]
    assert (image[1:] == [200, 0, 0]).all()


def test_a_webp_is_turned_upright(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "image.webp", exif=exif, lossless=True)
    assert np.array_equal(read_image(tmp_path / "image.webp"), np.rot90(pixels, -1))

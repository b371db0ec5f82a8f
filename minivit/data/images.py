"""Reads image files and resizes images: the only place that turns files into pixels."""

import contextlib
import io
import math
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, JpegImagePlugin, UnidentifiedImageError

from minivit.errors import DataError

MAX_PIXELS = 89_478_485  # Pillow's own limit: about 9,459 x 9,459 pixels, 0.27 GB as RGB
MIN_SIDE = 2  # pixels
ROOM = 2  # an image decoded at a fraction of its size still has this many times the pixels needed, on each side

# The formats that are read, by the names Pillow gives them, and how such files are called, in upper or lower case.
# Not all that Pillow can open: for EPS it would start another program.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

# A PNG of grey in so few bits: by what its pixels are multiplied to be of 8 bits.
_FEW_BITS = {"1": 255, "L;2": 85, "L;4": 17}


def read_image(
    source: str | os.PathLike[str] | bytes, min_size: tuple[int, int] | None = None, name: str | None = None
) -> np.ndarray:
    """The image file as uint8 (height, width, 3), RGB, turned upright by its EXIF orientation.

    source: its path, or its content, which decides the format. Of several pictures, as in an animation, the first is
    taken. Grayscale, palette and CMYK are converted to RGB, 16-bit values keep their upper 8 bits, transparency is laid
    over white. name: for messages, by default the path. min_size: (height, width); a much larger JPEG is decoded at
    1/2, 1/4 or 1/8 of its size, which is faster, as long as neither side falls below these numbers.
    Raises DataError, naming the file, if it is missing, not a regular file, damaged, truncated, not an image, less than
    2 pixels on a side, or has more than MAX_PIXELS pixels (checked before any is decoded).
    """
    with _opened(source, name) as image:
        key = _transparent_value(image)
        if min_size is not None:
            image.draft(None, (max(min_size), max(min_size)))  # square, because EXIF may turn the image
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(_to_rgb(image, key))


Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


class Cut(NamedTuple):
    """A part of an image, and the (height, width) to which it is resized.

    box_of: from the image's height and width, the part, which lies inside the image.
    """

    box_of: Callable[[int, int], Box]
    size: tuple[int, int]

    def of(self, image: np.ndarray) -> np.ndarray:
        """uint8 (*size, C), from uint8 (height, width, C), C = 1 or 3."""
        left, top, right, bottom = self.box_of(*image.shape[:2])
        return resize(image[top:bottom, left:right], self.size)


def read_cut(source: str | os.PathLike[str] | bytes, cut: Cut, name: str | None = None) -> np.ndarray:
    """`cut.of(read_image(source, name=name))`, uint8 (*cut.size, 3), but faster: only the part becomes an array.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if the part still has ROOM times the height and width of the
    result. Pixels then differ by about 1 of 255 on average; otherwise they are equal bit for bit. Raises as
    `read_image`. A file is decoded to its end, so whether it is damaged does not depend on the cut.
    """
    with _opened(source, name) as image:
        key = _transparent_value(image)
        box, reduction = _drafted(image, cut)
        ImageOps.exif_transpose(image, in_place=True)
        box = box or cut.box_of(image.height, image.width)
        left, top, right, bottom = (edge / reduction for edge in box)
        # Cropped first, because resize(box=...) would take pixels from outside the box.
        x, y = math.floor(left), math.floor(top)
        part = _to_rgb(image.crop((x, y, math.ceil(right), math.ceil(bottom))), key)
        height, width = cut.size
        resized = part.resize((width, height), Image.Resampling.BILINEAR, (left - x, top - y, right - x, bottom - y))
        return np.array(resized)


def _drafted(image: ImageFile.ImageFile, cut: Cut) -> tuple[Box | None, int]:
    """Prepare a JPEG to be decoded at the smallest sufficient size: the box in the upright image, and how many times
    smaller the image will be. Other formats always have their size, which may be known only at their end."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None, 1
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    height, width = (image.width, image.height) if orientation in (5, 6, 7, 8) else (image.height, image.width)
    left, top, right, bottom = box = cut.box_of(height, width)
    reduction = _reduction(box, cut.size)
    if reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
    # The last row and column of the smaller image may be incomplete. In a mirrored image they are the first.
    dx = -width % reduction if orientation in (2, 3, 6, 7) else 0
    dy = -height % reduction if orientation in (3, 4, 7, 8) else 0
    return (left + dx, top + dy, right + dx, bottom + dy), reduction


def _reduction(box: Box, size: tuple[int, int]) -> int:
    """The largest of 1, 2, 4, 8 by which the box can shrink and still have ROOM times this (height, width)."""
    room = min((box[3] - box[1]) / size[0], (box[2] - box[0]) / size[1]) / ROOM
    return max([n for n in (2, 4, 8) if n <= room], default=1)


def check_header(source: str | os.PathLike[str] | bytes, name: str | None = None) -> None:
    """Raise the DataError of `read_image` if the start of a file shows a wrong format or size."""
    with _opened(source, name):
        pass


@contextlib.contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str | None) -> Iterator[ImageFile.ImageFile]:
    """The file with its header read. Any failure in this context becomes a DataError that names the file."""
    named = name or ("an image" if isinstance(source, bytes) else os.fspath(source))
    try:
        if isinstance(source, bytes):
            file: Any = io.BytesIO(source)
        elif stat.S_ISREG(os.stat(source).st_mode):
            file = source
        else:  # opening a pipe would wait for somebody to write into it
            raise DataError("cannot be read (it is a folder, a pipe or a device, not a file)")
        with Image.open(file, formats=tuple(FORMATS)) as image:
            _check_size(image.width, image.height)
            yield image
    except Exception as error:  # on damaged files decoders raise OSError, SyntaxError, struct.error...
        raise DataError(f"{named}: {_reason(error)}") from error


def of_pillow(image: Image.Image) -> np.ndarray:
    """A Pillow picture in the form of `read_image`: uint8 (height, width, 3), upright, RGB, on white."""
    upright = ImageOps.exif_transpose(image)  # a copy
    return np.array(_to_rgb(upright, upright.info.get("transparency")))


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise DataError(f"the image is {width} x {height} pixels, each side needs at least {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError


def _transparent_value(image: ImageFile.ImageFile) -> Any:
    """The value that stands for "transparent" in the file, in the range of the decoded pixels; None without one.

    The value is a grey, a colour, or entries of the palette. Pillow scales the pixels of a PNG to 8 bits, but not this
    value; of 16-bit colours it compares the upper 8 bits.
    """
    key = image.info.get("transparency")
    if key is None or image.format != "PNG":
        return key
    bits = image.tile[0][3]
    if bits in _FEW_BITS:
        return min(key * _FEW_BITS[bits], 255)
    return tuple(value >> 8 for value in key) if bits == "RGB;16B" else key


def _to_rgb(image: Image.Image, key: Any) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray: convert() would clip at 255 instead of scaling
        gray = np.asarray(image).astype(np.int64)
        image = Image.fromarray((gray >> 8).astype(np.uint8))
        if key is not None:
            image.putalpha(Image.fromarray(np.where(gray == key, 0, 255).astype(np.uint8)))
    elif key is not None:
        image.info["transparency"] = key
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case UnidentifiedImageError():
            return "not an image in JPEG, PNG, WebP, BMP or GIF format, or a damaged one"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"the image has more than {MAX_PIXELS:,} pixels; make it smaller"
        case OSError() if error.strerror:
            return f"cannot be read ({error.strerror})"
    return (str(error).splitlines() or [type(error).__name__])[0]


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image resampled bilinearly to `size` = (height, width).   image: uint8 (h, w, C), such as C = 3.

    The filter is Pillow's. It equals tf.image.resize of the published code when enlarging; when shrinking it averages
    over all pixels (antialias), while the published code samples. An image of the right size is returned as is.
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    if image.shape[2] not in (1, 3):  # such as the frames of a clip: Pillow has no such image
        return np.concatenate([resize(channel, size) for channel in np.split(image, image.shape[2], axis=2)], axis=2)
    source = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = np.asarray(source.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[2])


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """An RGB image (height, width, 3) uint8 for a model of 3 channels, or as grey (ITU-R 601 luma) for 1."""
    if channels == image.shape[-1]:
        return image
    return np.rint(image @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None]

"""Parts of image files, decoded and resized in one go: equal to parts of the whole image, or close to them."""

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from minivit.data import ArrayDataset, Augment, Loader, load
from minivit.data.images import Cut, read_cut, read_image
from minivit.errors import DataError
from minivit.nn import Module
from minivit.update.objective import Classification


def cut(box, size):
    return Cut(lambda height, width: box, size)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def noise(height, width, mode="RGB"):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels[..., : len(mode)].squeeze(), mode if mode == "CMYK" else None)


def waves(height, width):
    """Slow enough that a JPEG at an eighth of the size still shows them, and different in every direction."""
    y, x = np.mgrid[:height, :width]
    stack = [120 + 100 * np.sin(x / 90), 120 + 100 * np.sin(y / 70), 120 + 100 * np.sin((x + 2 * y) / 110)]
    return Image.fromarray(np.stack(stack, 2).astype(np.uint8))


@pytest.fixture
def reductions(monkeypatch):
    """How many times smaller each JPEG was decoded."""
    found = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def spied(self, mode, size):
        before = self.width
        result = draft(self, mode, size)
        found.append(round(before / self.width))
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", spied)
    return found


KINDS = [(suffix, mode) for suffix in ("png", "jpg", "webp", "gif", "bmp") for mode in ("RGB", "L")] + [("jpg", "CMYK")]


@pytest.mark.parametrize(("suffix", "mode"), KINDS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_part_equals_that_of_the_whole_image(tmp_path, suffix, mode, orientation):
    path = tmp_path / f"image.{suffix}"
    exif = {} if suffix in ("gif", "bmp") else {"exif": turned(orientation)}
    noise(41, 30, mode).save(path, **exif)
    whole = read_image(path)
    height, width = whole.shape[:2]
    for box, size in {(3, 5, 20, 27): (8, 6), (0, 0, width, height): (50, 40), (7, 2, 8, 3): (4, 4)}.items():
        part = read_cut(path, cut(box, size))
        assert np.array_equal(part, cut(box, size).of(whole)), (box, size)
        assert np.array_equal(part, read_cut(path.read_bytes(), cut(box, size)))


def test_the_box_is_chosen_for_the_upright_image(tmp_path):
    seen = []
    for orientation in range(1, 9):
        for name in ("image.jpg", "image.png"):
            noise(41, 30).save(tmp_path / name, exif=turned(orientation))
            read_cut(tmp_path / name, Cut(lambda *sides: seen.append(sides) or (0, 0, 2, 2), (2, 2)))
    assert seen == [(41, 30)] * 8 + [(30, 41)] * 8


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(("side", "reduction"), [(160, 2), (319, 2), (320, 4), (640, 8)])
def test_a_large_part_of_a_jpeg_is_decoded_smaller(tmp_path, reductions, orientation, side, reduction):
    path = tmp_path / "photo.jpg"
    waves(803, 901).save(path, exif=turned(orientation), quality=95)
    given = cut((67, 101, 67 + side, 101 + side + 9), (36, 40))
    part = read_cut(path, given)
    assert reductions == [reduction]
    assert np.abs(part.astype(int) - given.of(read_image(path))).max() <= 6  # a step of one pixel makes 9 and more


def test_a_small_part_is_decoded_in_full(tmp_path, reductions):
    noise(400, 400).save(tmp_path / "photo.jpg")
    given = cut((9, 9, 168, 390), (36, 40))  # 159 pixels are less than twice 40 at half the size
    assert np.array_equal(read_cut(tmp_path / "photo.jpg", given), given.of(read_image(tmp_path / "photo.jpg")))
    assert reductions == []


@pytest.mark.parametrize("size", [(4, 4), (64, 64)])  # at an eighth, in full
def test_damage_outside_the_part_is_found(tmp_path, size):
    path = tmp_path / "photo.jpg"
    noise(256, 256).save(path)
    path.write_bytes(path.read_bytes()[:-3000])
    for source in (path, path.read_bytes()):
        with pytest.raises(DataError, match=r"^the photo: image file is truncated"):
            read_cut(source, cut((0, 0, 64, 64), size), "the photo")


def test_images_in_memory_are_cut_too():
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)
    cuts = [cut((0, 0, 4, 4), (4, 4)), cut((1, 2, 9, 9), (4, 4))]
    parts, labels = ArrayDataset(images, [0, 1, 2], list("abc"), "noise").cut([2, 0], cuts)
    assert labels.tolist() == [2, 0]
    assert np.array_equal(parts, [images[2, :4, :4], cuts[1].of(images[0])])


@pytest.fixture
def folder(tmp_path):
    """17 images of several sizes, two of them unreadable."""
    for i in range(17):
        path = tmp_path / "train" / "abc"[i % 3] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(14 + i, 30 - i).save(path)
        if i in (3, 9):
            path.write_bytes(path.read_bytes()[:200])
    return load(f"folder:{tmp_path}", split="train", bad_images="skip")


class Own(Augment):
    """A transform of which the loader knows nothing, so that it gets whole images."""


@pytest.mark.parametrize("objective", [None, Classification(Module(), classes=3, mixup=0.5)])
def test_batches_are_those_of_whole_images(folder, objective, monkeypatch):
    options = {"resized_crop": (0.05, 1), "flip": True, "erasing": 0.5}
    whole = [*Loader(folder, 5, Own((8, 6), **options), objective, total_steps=6, seed=3)]
    folder.skipped.clear()
    monkeypatch.setattr("minivit.data.encoded.read_image", None)
    made = [*Loader(folder, 5, Augment((8, 6), **options), objective, total_steps=6, seed=3)]
    assert len(folder.skipped) == 2
    for one, two in zip(whole, made, strict=True):
        pairs = zip(one, two, strict=True) if objective is None else [(one[name], two[name]) for name in one]
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_refuse_names_the_bad_image(folder):
    folder.bad_images = "refuse"
    with pytest.raises(DataError, match=r"[39]\.jpg.*(?i:truncated).*--bad-images skip"):
        list(Loader(folder, 5, Augment((8, 6), resized_crop=(0.5, 1)), total_steps=6, seed=3))

"""The bundled digits."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

import minivit
import minivit.data.digits
from minivit import data

FILE = Path(minivit.data.digits.__file__).with_name("digits.npz")


def stored():
    with np.load(FILE, allow_pickle=False) as file:
        return file["images"], file["labels"]


def test_the_file_holds_the_published_numbers():
    counts, labels = stored()
    assert FILE.stat().st_size < 50_000
    assert counts.shape == (1797, 8, 8)
    assert (counts.min(), counts.max()) == (0, 16)
    assert counts[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]  # the first line of the UCI file
    assert counts[0, 7].tolist() == [0, 0, 6, 13, 10, 0, 0, 0]
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's own table


def test_every_fifth_image_is_a_test_image():
    counts, labels = stored()
    train, test = data.load("digits"), data.load("digits", split="test")
    assert (len(train), len(test)) == (1438, 359)
    assert np.array_equal(test.labels, labels[4::5])
    assert np.array_equal(test.images[..., 0], np.rint(counts[4::5] * (255 / 16)))
    assert np.array_equal(np.sort(np.concatenate([train.labels, test.labels])), np.sort(labels))
    assert np.array_equal(train.images[4:8, ..., 0], np.rint(counts[5:9] * (255 / 16)))  # 4 is missing: it is test's


def test_images_use_the_whole_range_of_uint8():
    train = data.load("digits")
    assert (train.images.dtype, train.image_size, train.channels) == (np.uint8, (8, 8), 1)
    assert np.unique(train.images).tolist() == [round(count * 255 / 16) for count in range(17)]
    assert train.classes == list("0123456789")
    assert train.labels.dtype == np.int64


def test_each_load_is_a_copy_of_its_own():
    data.load("digits").images[:] = 7
    assert data.load("digits").images.max() == 255


def test_the_package_may_lie_in_a_zip_file(tmp_path):
    package = Path(minivit.__file__).parent
    with zipfile.ZipFile(tmp_path / "library.zip", "w") as archive:
        for path in [
            package / "__init__.py",
            *package.glob("[!_]*.py"),
            *package.glob("data/*"),
            *package.glob("backend/*.py"),
            *package.glob("files/*.py"),
        ]:
            archive.write(path, path.relative_to(package.parent))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from minivit import data; from minivit.data import imagenet\n"
        "print(data.__file__, len(data.load('digits')), len(imagenet.imagenet_classes()))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "library.zip")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(str(tmp_path))
    assert said.endswith(" 1438 1000\n")

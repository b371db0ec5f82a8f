"""CIFAR-10 and CIFAR-100 from their official binary archives, packed or unpacked.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009),
https://www.cs.toronto.edu/~kriz/cifar.html. A .bin file is a row of records: one label byte (CIFAR-100: two, coarse
then fine), then 3,072 pixel bytes, (channel, row, column). There is no pickle in the "binary version", so nothing in a
file can run code.
"""

import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivit.data.dataset import ArrayDataset, check_labels
from minivit.data.download import Progress, check_md5, download
from minivit.errors import DataError, MissingDataError

URL = "https://www.cs.toronto.edu/~kriz/"

_PIXELS = 3 * 32 * 32
_MAX_BYTES = 1 << 28  # the largest official member has 154 MB; a larger one is not a CIFAR file


@dataclass(frozen=True)
class Format:
    """The storage format of one data set; the class label is the last of the `label_bytes`."""

    archive: str
    md5: str
    folder: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    label_bytes: int
    names_file: str
    names: tuple[str, ...]
    megabytes: int  # of the archive


_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

FORMATS = {
    "cifar10": Format(
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        train_files=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test_files=("test_batch.bin",),
        label_bytes=1,
        names_file="batches.meta.txt",
        names=tuple(_CIFAR10_NAMES.split()),
        megabytes=170,
    ),
    "cifar100": Format(
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        train_files=("train.bin",),
        test_files=("test.bin",),
        label_bytes=2,
        names_file="fine_label_names.txt",
        names=tuple(_CIFAR100_NAMES.split()),
        megabytes=169,
    ),
}


def load_cifar(
    name: str, root: Path, split: str, fetch: bool = False, progress: Progress | None = None
) -> ArrayDataset:
    """CIFAR-10 or CIFAR-100 (100 fine classes): (N, 32, 32, 3) uint8, N = 50,000 "train" or 10,000 "test" images.

    Uses the unpacked folder in `root` if there is one; its files may hold any whole number of records, so part of the
    data will do. Otherwise uses the archive, whose checksum is verified, or downloads it if `fetch` is True. Raises
    DataError if no data is found or any of it is incomplete.
    """
    layout = FORMATS[name]
    folder, archive = root / layout.folder, root / layout.archive
    files = layout.test_files if split == "test" else layout.train_files
    if folder.is_dir():
        source, contents = folder, _read_folder(folder, [*files, layout.names_file])
    else:
        source = archive
        _provide_archive(layout, root, fetch, progress)
        contents = _read_archive(archive, layout.folder, [*files, layout.names_file])
    images, labels = [], []
    for file in files:
        if file not in contents:
            raise DataError(f"{source}: {file} is missing; unpack or download {URL}{layout.archive} again")
        parsed = _parse(contents.pop(file), layout, f"{source}/{file}")
        images.append(parsed[0])
        labels.append(parsed[1])
    classes = _class_names(contents.get(layout.names_file), layout, f"{source}/{layout.names_file}")
    return ArrayDataset(np.concatenate(images), np.concatenate(labels), classes, name)


def _provide_archive(layout: Format, root: Path, fetch: bool, progress: Progress | None) -> None:
    """Make sure that `root` holds the whole archive, or raise DataError."""
    archive, url = root / layout.archive, URL + layout.archive
    if archive.is_file():
        check_md5(archive, layout.md5)
    elif fetch:
        download(url, archive, layout.md5, progress)
    else:
        raise MissingDataError(
            f"there is no {layout.archive} (nor a folder {layout.folder}) in {root}: "
            f"put {url} there, or load with download=True"
        )


def _read_folder(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of those of the named files that are there."""
    contents = {}
    for path in (folder / name for name in names):
        if path.is_file():
            _check_length(path.stat().st_size, str(path))
            contents[path.name] = path.read_bytes()
    return contents


def _read_archive(archive: Path, folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """The same from the archive's members `folder`/name. Links and all other names are ignored."""
    wanted = {f"{folder}/{name}": name for name in names}
    contents = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.name in wanted and member.isfile():
                    _check_length(member.size, f"{archive}/{member.name}")
                    file = tar.extractfile(member)
                    assert file is not None  # true of every regular member
                    contents[wanted[member.name]] = file.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{archive}: not a readable .tar.gz archive ({error}); download it again") from error
    return contents


def _check_length(length: int, source: str) -> None:
    if length > _MAX_BYTES:
        raise DataError(f"{source}: {length:,} bytes is too long for a CIFAR file; get it again")


def _parse(content: bytes, layout: Format, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) uint8 and labels (n,) of a .bin file's n records."""
    record = layout.label_bytes + _PIXELS
    if len(content) == 0 or len(content) % record:
        raise DataError(
            f"{source}: {len(content):,} bytes is not a whole number of {record:,}-byte records; "
            f"the file is truncated, unpack or download {URL}{layout.archive} again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = records[:, layout.label_bytes - 1]
    check_labels(labels, len(layout.names), source)
    pixels = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), labels


def _class_names(content: bytes | None, layout: Format, source: str) -> Sequence[str]:
    """The class names of the file, or the official ones where it is missing."""
    if content is None:
        return layout.names
    names = content.decode("utf-8", "replace").split()
    if len(names) != len(layout.names):
        raise DataError(
            f"{source}: {len(names)} class names, expected {len(layout.names)}; delete it to use the official ones"
        )
    return names

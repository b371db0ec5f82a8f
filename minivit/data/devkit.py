"""The development kit of ILSVRC2012, which says what the validation images show.

`GROUND_TRUTH` has a number for each image, in the order of the images' own numbers. It counts the classes by their
ILSVRC2012_ID, which is not the order of the sorted WordNet ids. meta.mat says which class each ID is.
"""

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from minivit.data.matlab import read_matlab
from minivit.errors import DataError, shown

GROUND_TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
KIT = "ILSVRC2012_devkit_t12"
LARGEST = 2**26  # bytes of a file of the kit


def validation_ids(path: Path) -> list[str]:
    """The WordNet ids of the validation images ILSVRC2012_val_00000001, 00000002, ...: "n01751748", ...

    path: the folder that holds the kit: its archive, its folder, or the two files themselves. Raises DataError.
    """
    truth, meta = _file(path, GROUND_TRUTH), _file(path, META)
    try:
        ids = {int(entry["ILSVRC2012_ID"].item()): entry["WNID"] for entry in read_matlab(meta)["synsets"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else "it has no synsets with ILSVRC2012_ID and WNID"
        raise DataError(f"{META} in {path}: {reason}; get {KIT}.tar.gz again") from error
    found = []
    for number, line in enumerate(truth.decode("utf-8-sig", "replace").split(), 1):
        if not (line.isdecimal() and int(line) in ids):
            raise DataError(f'{GROUND_TRUTH} in {path}: line {number} is "{shown(line)}", no class of {META}')
        found.append(ids[int(line)])
    return found


def has_kit(path: Path) -> bool:
    """Whether the folder holds the ground truth in one of its forms."""
    return any(folder.joinpath(GROUND_TRUTH).is_file() for folder in _folders(path)) or _archive(path) is not None


def _file(path: Path, name: str) -> bytes:
    for folder in _folders(path):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    if archive := _archive(path):
        return _of_archive(archive, name)
    raise DataError(
        f"{path}: there is no {name} in it, which the labels of the validation images need; put {KIT}.tar.gz there, "
        "from https://image-net.org/download-images"
    )


def _folders(path: Path) -> Iterator[Path]:
    for folder in (path, path / KIT, path / KIT / KIT, path / "devkit"):
        yield from (folder, folder / "data")


def _archive(path: Path) -> Path | None:
    return next((file for end in (".tar.gz", ".tgz", ".tar") if (file := path / f"{KIT}{end}").is_file()), None)


def _of_archive(archive: Path, name: str) -> bytes:
    try:
        with tarfile.open(archive) as kit:
            for member in kit:
                if member.isfile() and member.name.rpartition("/")[2] == name and member.size <= LARGEST:
                    file = kit.extractfile(member)
                    return file.read() if file else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive}: it is damaged or no tar archive; get it again") from error
    raise DataError(f"{archive}: there is no {name} in it; get it again")

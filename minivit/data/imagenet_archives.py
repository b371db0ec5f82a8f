"""The archives of ILSVRC2012 as image-net.org gives them, read without unpacking them."""

from collections.abc import Sequence
from pathlib import Path

from minivit.data.dataset import Dataset
from minivit.data.download import Progress
from minivit.errors import DataError

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def has_archives(path: Path) -> bool:
    """Whether the folder has one of the archives."""
    return (path / TRAIN).is_file() or (path / VAL).is_file()


def load_archives(
    path: Path,
    split: str,
    bad_images: str,
    wanted: Sequence[str] | None,
    progress: Progress | None,
    cache: Path | None = None,
) -> Dataset:
    """The "train" or "test" images of ILSVRC2012."""
    raise DataError(f"{path}: unpack {TRAIN if split == 'train' else VAL} first")

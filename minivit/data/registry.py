"""`load`: from a data set's name to the data set."""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from minivit.data.asked import Asked
from minivit.data.choice import kept, relabelled
from minivit.data.cifar import load_cifar
from minivit.data.dataset import Dataset
from minivit.data.digits import load_digits
from minivit.data.download import Progress
from minivit.data.encoded import check_bad_images
from minivit.data.imagenet import in_words, some
from minivit.data.imagenet_numbers import numbers_of
from minivit.data.instead import kind_at
from minivit.data.kinds import KINDS, one_of, parted
from minivit.data.scenes import load_captions, load_nested, load_scenes
from minivit.data.scenes_clips import load_clips
from minivit.data.shapes import load_shapes
from minivit.errors import DataError, meant
from minivit.files import expanded

DRAWN: dict[str, Callable[[str], Dataset]] = {
    "shapes": load_shapes,
    "scenes": load_scenes,
    "nested": load_nested,
    "captions": load_captions,
    "clips": load_clips,
}
NAMES = ("digits", *DRAWN, "cifar10", "cifar100")
PATHS = [f"{kind}:PATH" for kind in KINDS]
ELSEWHERE = {  # to be read as imagenet:PATH
    "imagenette": "https://github.com/fastai/imagenette",
    "imagewoof": "https://github.com/fastai/imagenette",
    "imagenet": "https://image-net.org",
}
ALSO = {  # other names of kinds
    "imagenette": "imagenet",
    "imagewoof": "imagenet",
    "imagefolder": "folder",
    "tar": "shards",
    "wds": "shards",
    "webdataset": "shards",
    "hf": "parquet",
    "huggingface": "parquet",
}


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    bad_images: str = "refuse",
    val_share: float | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """The "train" or "test" split of the data set called `name`.

    name: "digits" (comes with minivit), "shapes", "scenes", "nested", "captions", "clips" (drawn by code), "cifar10",
    "cifar100" (looked for in `root`), "folder:PATH", a folder with PATH/train/<class>/ and PATH/val/<class>/ or
    PATH/test/<class>/ of images (see `load_folder` and `read_image`), "imagenet:PATH", ImageNet or a part of it (see
    `load_imagenet`), "shards:PATH", WebDataset shards (see `load_shards`), or "parquet:PATH", Parquet files (see
    `load_parquet`).
    root: the data folder; None: that of `data_root`.
    bad_images: how a folder treats an unreadable image: "refuse" raises, "skip" leaves it out (`dataset.skipped`).
    val_share, seed: hold out a share of each class as the test split of a folder without one (see `load_folder`). Other
    files in a folder are counted in `dataset.left_out`.
    classes: keep these classes only, of data with a path (see `chosen`).
    download: fetch a missing CIFAR archive; progress(done_bytes, total_bytes or None) is called as it arrives.
    Raises DataError, in one line, for an unknown name or split and for missing or damaged files.
    """
    if split not in ("train", "test"):
        raise DataError(f'split is "{split}", expected "train" or "test"')
    check_bad_images(bad_images)
    kind, path = parted(name)
    if val_share is not None and name in NAMES:
        raise DataError(f"val_share is for {one_of(PATHS)}; {name} has its own test images")
    if classes is not None and name in NAMES:
        raise DataError(f"classes can be chosen for {one_of(PATHS)}; {name} always has all of its own")
    try:
        if name == "digits":
            return load_digits(split)
        if name in DRAWN:
            return DRAWN[name](split)
        if name in NAMES:
            return load_cifar(name, data_root(root), split, download, progress)
        if path:
            wanted = classes if KINDS[kind].chooses else None
            asked = Asked(split, bad_images, val_share, seed, wanted, _cache(root), progress)
            data = KINDS[kind].load(expanded(path), asked)
            return data if classes is wanted else kept(data, classes or ())
    except OSError as error:  # a file or folder without permission to read it, a disk that fails
        raise DataError(f"{error.filename or name}: cannot be read ({error.strerror or error})") from error
    raise DataError(_unknown(name))


def load_known(
    name: str,
    numbers: Mapping[str, int],
    classes: Sequence[str],
    root: str | os.PathLike[str] | None = None,
    split: str = "test",
    *,
    bad_images: str = "refuse",
    progress: Progress | None = None,
) -> Dataset:
    """The images of data with a path for a model whose classes are known; the data may lack some of them.

    numbers: the labels by every name that a class may have in the data.   classes: the names of the labels. The rest is
    as for `load`. Raises DataError, also for a class that the model does not know.
    """
    kind, path = parted(name)
    if opened := KINDS[kind].load_known:
        asked = Asked(split, bad_images, cache=_cache(root), progress=progress)
        try:
            return opened(expanded(path), asked, numbers, classes)
        except OSError as error:
            raise DataError(f"{error.filename or name}: cannot be read ({error.strerror or error})") from error
    data = load(name, root, split, bad_images=bad_images, progress=progress)
    if len(data.classes) == len(classes) and not set(data.classes) <= numbers.keys():
        own = {label: number for number, label in enumerate(data.classes)}
        if len(classes) == 1000 or list(own) == [str(number) for number in range(len(classes))]:
            return relabelled(data, own, classes)  # in the standard order of ImageNet, or the data has only numbers
    known = {number: label for label, number in enumerate(numbers_of(classes)) if number is not None}
    of_imagenet = zip(data.classes, numbers_of(data.classes), strict=True)
    numbers = {name: known[number] for name, number in of_imagenet if number in known} | dict(numbers)
    if strange := [label for label in data.classes if label not in numbers]:
        raise DataError(f"{name}: the model has no class {in_words(strange[0])}; it has {some(classes)}")
    return relabelled(data, numbers, classes)


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The data folder, which may not exist yet: `root`, else $MINIVIT_DATA, else ~/.cache/minivit, or minivit in
    $XDG_CACHE_HOME if that is set, unless only the former exists. Raises DataError if there is no home folder."""
    if chosen := root or os.environ.get("MINIVIT_DATA"):
        return expanded(chosen)
    caches = os.environ.get("XDG_CACHE_HOME", "")
    named = Path(caches) / "minivit" if os.path.isabs(caches) else None  # relative ones do not count, says the standard
    if named and named.is_dir():
        return named
    try:
        usual = expanded("~/.cache/minivit")
    except DataError:
        if named:
            return named
        raise DataError("there is no home folder to keep data in: set MINIVIT_DATA to a writable folder") from None
    return usual if usual.is_dir() else named or usual


def _cache(root: str | os.PathLike[str] | None) -> Path | None:
    """The folder for index files of large data sets, or None without a data folder."""
    try:
        return data_root(root) / "index"
    except DataError:
        return None


def _unknown(name: str) -> str:
    if name.removesuffix(":") in KINDS:
        return f'"{name}" lacks a path: write {name.removesuffix(":")}:PATH'
    kind, _, path = name.partition(":")
    if path and (near := difflib.get_close_matches(kind.lower(), [*KINDS, *ALSO], 1)):
        return f'there is no data set called "{name}"; did you mean "{ALSO.get(near[0], near[0])}:{path}"?'
    other = kind_at(expanded(name))
    if other or os.path.isdir(name):
        what = "folder" if os.path.isdir(name) else "path"
        return f'"{name}" is a {what}: to use its images write "{other or "folder"}:{name}"'
    for elsewhere, page in ELSEWHERE.items():
        if name.lower().startswith(elsewhere):
            return f'"{name}" cannot be downloaded by name: get it from {page}, unpack it, and use "imagenet:PATH"'
    known = [*NAMES, *PATHS]
    return f'there is no data set called "{name}"{meant(name.lower(), known, 0.4) or "; choose " + one_of(known)}'

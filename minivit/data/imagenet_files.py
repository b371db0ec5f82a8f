"""ImageNet, or a part of it: opens what `imagenet_layouts` finds at a path."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from minivit.data.asked import Asked
from minivit.data.choice import WNID, chosen, kept, relabelled
from minivit.data.dataset import Dataset
from minivit.data.encoded import LEAVE_OUT
from minivit.data.folder import Files, FolderDataset, Keeping, side_of
from minivit.data.held_out import check_share
from minivit.data.imagenet import imagenet_ids, in_words, some
from minivit.data.imagenet_archives import TRAIN, VAL, load_archives
from minivit.data.imagenet_layouts import ODD, Layout, find_layout, is_split, layout_at
from minivit.data.imagenet_lists import SOLUTION, Labels, find_labels
from minivit.data.paths import Paths
from minivit.data.trees import ClassFolder, class_folders, read_class, read_classes
from minivit.errors import DataError

VAL_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})", re.IGNORECASE)

Refusal = Callable[[str], str | None]


def load_imagenet(path: Path, asked: Asked) -> Dataset:
    """The images of one split at a path (see `imagenet_layouts`).

    Classes are the sorted WordNet ids of the training folders (without any, of the validation images), or those of them
    that are wanted. Raises DataError for a layout that is not known or not complete.
    """
    name, path = f"imagenet:{path}", path.absolute()  # which stays valid when the program changes its working folder
    layout = find_layout(path)
    _check(path, layout, asked)
    known = {wnid for folder in layout.train for wnid in _class_folders(folder)}
    if layout.packed_train:
        shared = asked.val_share is not None
        archived = _archived(layout, asked if shared else dataclasses.replace(asked, split="train"))
        if asked.split == "train" or shared:
            return archived if asked.wanted is None else kept(archived, asked.wanted)
        known = set(archived.classes)
    ids = sorted(known or _val_ids(layout, path, asked.cache))
    if asked.wanted is not None:
        ids = [ids[k] for k in chosen(asked.wanted, ids, name)]
    numbers = {wnid: number for number, wnid in enumerate(ids)}

    def refusal(wnid: str) -> str | None:
        if asked.wanted is None and known and wnid not in known:
            return f"{in_words(wnid)} is not in {_trained(layout)}; to use only some classes: --classes FILE"
        return None

    if asked.split == "train" or asked.val_share is not None:
        files = _of_folders(layout.train, numbers, refusal, (asked.cache, asked.progress))
        if asked.val_share is not None:
            files = side_of(files, asked.split, asked.val_share, asked.seed)
    elif layout.packed_val:
        archived = _archived(layout, asked)
        _refuse(path / VAL, archived.classes, refusal)
        return relabelled(archived, numbers, ids)
    else:
        files = _of_val(layout, path, numbers, refusal, asked)
    side = "train" if asked.split == "train" else "val"
    return FolderDataset(files.paths, files.labels, ids, name, asked.bad_images, files.left_out, side)


def load_known(path: Path, asked: Asked, numbers: Mapping[str, int], classes: Sequence[str]) -> Dataset:
    """The images of one split for a model whose classes are known. Only this split must exist, and it may lack classes.

    numbers: WordNet id -> label.   classes: the names of the labels. Raises DataError for an id that is not known.
    """
    name, path = f"imagenet:{path}", path.absolute()
    layout = find_layout(path)
    if layout.packed_train if asked.split == "train" else layout.packed_val:
        return relabelled(_archived(layout, asked), numbers, classes)

    def refusal(wnid: str) -> str | None:
        return None if wnid in numbers else f"the model has no class {in_words(wnid)}; it has {some(classes)}"

    if asked.split == "train" or layout.is_bare:
        if not layout.train:
            raise DataError(f"{path}: there is no train/ in it; put it there, or {TRAIN}")
        files = _of_folders(layout.train, numbers, refusal, (asked.cache, asked.progress))
        side = None if layout.is_bare else "train"
    else:
        files, side = _of_val(layout, path, numbers, refusal, asked), "val"
    return FolderDataset(files.paths, files.labels, classes, name, asked.bad_images, files.left_out, side)


def is_divided(path: Path) -> bool:
    """Whether the data set at a path has its own validation images. Raises DataError if there is none."""
    return find_layout(path).has_val


def _archived(layout: Layout, asked: Asked) -> Dataset:
    """All images of a split in archives."""
    share = asked.val_share, asked.seed
    return load_archives(layout.root, asked.split, asked.bad_images, asked.progress, asked.cache, *share)


def _trained(layout: Layout) -> str:
    """Where the training images are, for messages."""
    return " or ".join(f"{folder.name}/" for folder in layout.train) or "the training archive"


def _val_ids(layout: Layout, path: Path, cache: Path | None) -> Iterable[str]:
    """The classes of the validation images."""
    if layout.val is None:
        return imagenet_ids()
    return set(find_labels(layout, path, cache).ids.values()) if layout.flat else _class_folders(layout.val)


def _check(path: Path, layout: Layout, asked: Asked) -> None:
    """Raise DataError unless the layout has what is asked for."""
    share = asked.val_share
    if share is not None:
        check_share(share)
        if layout.has_val:
            raise DataError(f"{path} has its own validation images, so nothing is held out: leave out val_share")
    if not layout.has_train and (asked.split == "train" or share is not None):
        raise DataError(f"{path}: there is no train/ in it; put it there, or {TRAIN}")
    if layout.has_val or share is not None or (asked.split == "train" and not layout.is_bare):
        return
    whole = layout_at(layout.root.absolute().parent) if is_split(layout.root) else None
    if whole and whole.root == layout.root.absolute().parent:
        raise DataError(f"{path}: this is a part of a data set; give the whole: imagenet:{whole.root}")
    why = " with labels, and the images in test/ have none" if (layout.root / "test").is_dir() else " in it"
    raise DataError(
        f"{path}: there is no val/{why}; add val/ or {VAL}, or have a share of each class held out: "
        "--val-share 0.05, or val_share=0.05 in Python"
    )


def _refuse(place: str | Path, ids: Iterable[str], refusal: Refusal) -> None:
    """Raise DataError if one of the classes at a place is refused."""
    for wnid in ids:
        if reason := refusal(wnid):
            raise DataError(f"{place}: {reason}")


def _class_folders(folder: Path, left_out: Counter[str] | None = None) -> dict[str, str]:
    """WordNet id -> path of each class folder, sorted. Raises DataError if there are none, or others beside them."""
    places = class_folders(folder, Counter() if left_out is None else left_out)
    found = {name: place for name, place in places.items() if name not in ODD}
    if odd := [name for name in found if not WNID.fullmatch(name)]:
        raise DataError(
            f"{folder / odd[0]}: the name is not a WordNet id, such as n01440764; remove the folder, or use "
            "folder:PATH for classes with other names"
        )
    return found


def _of_folders(folders: Sequence[Path], numbers: Mapping[str, int], refusal: Refusal, keeping: Keeping) -> Files:
    """The images of the classes in `numbers` in folders of class folders.   refusal: why a class is an error, or
    None."""
    left_out: Counter[str] = Counter()
    parts, labels = [], []
    for folder in folders:
        places = _class_folders(folder, left_out)
        for wnid, place in places.items():
            _refuse(place, [wnid], refusal)
        places = {wnid: place for wnid, place in places.items() if wnid in numbers}
        paths, counts = read_classes(folder, list(places.values()), left_out, *keeping)
        parts.append(paths)
        labels.append(np.repeat(np.array([numbers[wnid] for wnid in places], np.int64), counts))
    merged, all_labels = Paths.joined(parts), np.concatenate(labels)
    if not len(merged):
        raise DataError(f"{folders[0]} has no images of {some(numbers)}")
    order = np.argsort(all_labels, kind="stable")
    return Files(merged.take(order) if len(parts) > 1 else merged, all_labels[order], left_out)


def _of_val(layout: Layout, path: Path, numbers: Mapping[str, int], refusal: Refusal, asked: Asked) -> Files:
    """The validation images of the classes in `numbers`."""
    if layout.val is None:
        raise DataError(f"{path}: there is no val/ in it")
    if layout.flat:
        found = read_class(str(layout.val))  # an empty folder lacks more than labels
        labels = find_labels(layout, path, asked.cache)
        return _of_list(layout.val, found, labels, numbers, refusal, asked.bad_images)
    if loose := sum(bool(VAL_IMAGE.match(name)) for name in os.listdir(layout.val)):
        raise DataError(
            f"{layout.val}: {loose:,} images stand beside the class folders; move them into theirs, or all images out "
            f"of them again, with {SOLUTION} beside them"
        )
    return _of_folders([layout.val], numbers, refusal, (asked.cache, asked.progress))


def _of_list(
    val: Path, found: ClassFolder, labels: Labels, numbers: Mapping[str, int], refusal: Refusal, bad_images: str
) -> Files:
    """The images of a folder whose labels are in a list.   found: what is in the folder."""
    _refuse(labels.source, sorted(set(labels.ids.values())), refusal)
    left_out = Counter(found.left_out)
    rows, given, here = [], [], set()
    for row, name in enumerate(found.names):
        stem = os.path.splitext(os.path.basename(name))[0]
        here.add(stem)
        if stem not in labels.ids:
            left_out["without a label"] += 1
        elif labels.ids[stem] in numbers:
            rows.append(row)
            given.append(numbers[labels.ids[stem]])
    if not rows:
        raise DataError(
            f"{labels.source} has no label of {some(numbers)} for any of the {len(found.names):,} images in {val}"
        )
    expected = [stem for stem, wnid in labels.ids.items() if wnid in numbers]
    if missing := sorted(set(expected) - here):
        if bad_images == "refuse":
            raise DataError(
                f"{val}: {len(missing):,} of the {len(expected):,} images named in {labels.source.name} are missing, "
                f"such as {missing[0]}; fetch them {LEAVE_OUT}"
            )
        left_out["missing"] += len(missing)
    whole = Paths([os.path.join(val, "")], np.zeros(len(found.names), np.int32), found.names)
    return Files(whole.take(np.array(rows)), np.array(given, np.int64), left_out)

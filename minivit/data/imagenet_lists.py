"""Labels of validation images that are not in class folders, from the lists that come with them."""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minivit.data.choice import WNID
from minivit.data.devkit import KIT, has_kit, validation_ids
from minivit.data.imagenet_layouts import INNER, Layout
from minivit.data.index import indexed, stamp_of
from minivit.errors import DataError, shown

SOLUTION = "LOC_val_solution.csv"  # of the Kaggle download
ANNOTATIONS = "val_annotations.txt"  # of Tiny ImageNet
BOXES = Path("Annotations/CLS-LOC/val")  # in ILSVRC/, a file for each image


class Labels(NamedTuple):
    """The WordNet id of each validation image.   ids: by the name of the image without its suffix.   source: the file
    or folder that says so."""

    ids: Mapping[str, str]
    source: Path


def find_labels(layout: Layout, path: Path, cache: Path | None = None) -> Labels:
    """The labels of validation images without class folders.   cache: the folder of index files; None: none.

    Raises DataError if there are none.
    """
    assert layout.val is not None
    around = layout.root.parents[:3] if layout.root.name == INNER[-1].name else ()  # the CSV is beside ILSVRC/
    for folder in dict.fromkeys((layout.val, layout.val.parent, layout.root, *around, path)):
        if (folder / SOLUTION).is_file():
            return Labels(_of_solution(folder / SOLUTION), folder / SOLUTION)
        if (folder / ANNOTATIONS).is_file():
            return Labels(_of_annotations(folder / ANNOTATIONS), folder / ANNOTATIONS)
        if has_kit(folder):
            ids = enumerate(validation_ids(folder), 1)
            return Labels({f"ILSVRC2012_val_{number:08}": wnid for number, wnid in ids}, folder)
    if around and (boxes := around[1] / BOXES).is_dir():
        return Labels(_of_boxes(boxes, cache), boxes)
    raise DataError(
        f"{layout.val}: its images are not in class folders, and their labels are missing: put {SOLUTION} of the "
        f"Kaggle download, or the development kit {KIT}.tar.gz, into {layout.root}"
    )


def _of_solution(path: Path) -> dict[str, str]:
    """Image -> WordNet id, from lines "ILSVRC2012_val_00048981,n03995372 85 1 499 272 "."""
    with open(path, encoding="utf-8-sig", newline="", errors="replace") as file:
        lines = csv.reader(file)
        header = [name.strip() for name in next(lines, [])]
        if not {"ImageId", "PredictionString"} <= set(header):
            raise DataError(f"{path}: its first line is {','.join(header)}, expected ImageId,PredictionString")
        image, answer = header.index("ImageId"), header.index("PredictionString")
        pairs = [(row[image], row[answer]) if len(row) > max(image, answer) else ("", "") for row in lines if any(row)]
    return _checked(path, pairs)


def _of_annotations(path: Path) -> dict[str, str]:
    """Image -> WordNet id, from lines "val_0.JPEG, n03444034, 0, 32, 44, 62", with tabs in place of commas."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        rows = [line.split() for line in file if line.strip()]
    return _checked(path, [(row[0], row[1] if len(row) > 1 else "") for row in rows])


def _of_boxes(folder: Path, cache: Path | None) -> dict[str, str]:
    """Image -> WordNet id, from files ILSVRC2012_val_00000001.xml, in which <name> is the id of each object; for an
    image all are the same."""

    def build() -> dict[str, np.ndarray]:
        pairs = []
        for file in sorted(folder.glob("[!.]*.xml")):
            text = file.read_text(encoding="utf-8", errors="replace")
            found = re.search(rf"<name>\s*({WNID.pattern})\s*</name>", text)
            pairs.append((file.stem, found[1] if found else ""))
        if not pairs:
            raise DataError(f"{folder}: there are no .xml files in it, which name the classes of the validation images")
        names, ids = (np.array(column, np.str_) for column in zip(*_checked(folder, pairs).items(), strict=True))
        return {"names": names, "ids": ids}

    arrays = indexed(cache, f"boxes of {folder}", stamp_of(folder), build)
    return dict(zip(arrays["names"].tolist(), arrays["ids"].tolist(), strict=True))


def _checked(path: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name without suffix -> first word, which must be a WordNet id."""
    found = {}
    for image, answer in pairs:
        wnid = (answer.split() or [""])[0]
        if not image or not WNID.fullmatch(wnid):
            raise DataError(
                f'{path}: "{shown(image)},{shown(answer)}" is not an image with its WordNet id; fetch it again'
            )
        found[re.sub(r"\.jpe?g$", "", image.strip(), flags=re.IGNORECASE)] = wnid
    return found

"""The data sets known by name, and where they are."""

from collections.abc import Iterator
from pathlib import Path

from minivit.data.cifar import FORMATS, URL, Format
from minivit.data.digits import load_digits
from minivit.data.kinds import KINDS
from minivit.data.scenes import SPLITS as SCENES
from minivit.data.scenes import Scenes, load_captions, load_nested
from minivit.data.scenes_clips import Clips
from minivit.data.shapes import SHAPES, SIZE, SPLITS


def about(root: Path | None) -> Iterator[tuple[str, str, str]]:
    """For each data set its name for `load`, its contents, and its place, such as the data folder `root`.

    root: None if there is no such folder. Nothing is downloaded, and archives are not opened.
    """
    train, test = load_digits("train"), load_digits("test")
    height, width = train.images.shape[1:3]
    yield "digits", _content(len(train), len(test), height, width, "grey", len(train.classes)), "comes with minivit"
    yield (
        "shapes",
        _content(SPLITS["train"][1], SPLITS["test"][1], SIZE, SIZE, "in colour", len(SHAPES)),
        "drawn by code",
    )
    (_, in_train), (_, in_test) = SCENES.values()
    clips = Clips(0)
    for some, kind in (
        (Scenes(0), "in colour"),
        (load_nested("train", 0), "in colour"),
        (load_captions("train", 0), "in colour"),
        (clips, f"in colour, {clips.frames} frames"),
    ):
        content = _content(in_train, in_test, some.size, some.size, kind, len(some.classes))
        yield some.name, content, "drawn by code"
    for name, layout in FORMATS.items():
        yield name, _content(50_000, 10_000, 32, 32, "in colour", len(layout.names)), _place(layout, root)
    for kind, what in KINDS.items():
        yield f"{kind}:PATH", what.content, "where you say"


def _content(train: int, test: int, height: int, width: int, kind: str, classes: int) -> str:
    return f"{train:,} training and {test:,} test images, {height}x{width} {kind}, {classes} classes"


def _place(layout: Format, root: Path | None) -> str:
    """The place of a CIFAR archive, packed or unpacked, or its download address."""
    elsewhere = f"not here: downloaded when first used, {layout.megabytes} MB from {URL}{layout.archive}"
    if root is None:
        return elsewhere
    folder, archive = root / layout.folder, root / layout.archive
    try:
        if folder.is_dir():
            lacking = [name for name in (*layout.train_files, *layout.test_files) if not (folder / name).is_file()]
            return f"{folder}{f', which lacks {lacking[0]}' if lacking else ''}"
        return str(archive) if archive.is_file() else elsewhere
    except OSError as error:
        return f"{error.filename or root} cannot be read: {error.strerror or error}"

"""Tar archives for tests."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(grey: int = 128, size: int = 8) -> bytes:
    """A JPEG of one grey, which survives the compression."""
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), grey, np.uint8)).save(file, "jpeg", quality=100)
    return file.getvalue()


def tar_of(members: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of these files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write an archive of these files to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_of(members, form))
    return path


def examples(labels: Iterable[int], first: int = 0) -> list[tuple[str, bytes]]:
    """Members of a shard: images of the greys first, first + 1, ... (modulo 256) with these labels."""
    found = []
    for number, label in enumerate(labels, first):
        found += [(f"{number:06}.jpg", jpeg(number % 256)), (f"{number:06}.cls", str(label).encode())]
    return found

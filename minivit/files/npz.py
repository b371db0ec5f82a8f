"""Writes named arrays into a .npz file."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def fill(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays to `path`. Raises OSError, ValueError for an array of Python objects.

    It is not numpy.savez, which leaves a ZipFile to the garbage collector when the disk is full.
    """
    with open(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

"""Named arrays in .npz files: written whole or not at all, read without ever unpickling."""

import contextlib
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minivit.errors import CheckpointError


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path`, replacing what is there only once the new file is complete and on disk.

    Raises CheckpointError if that fails (a full disk, a read-only folder); then an older file is still there, whole.
    Raises TypeError for an array of Python objects, which would be pickled.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"write_npz: {name} is an array of Python objects, which only pickle could store")
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        kept = "; the file that was there before is unharmed" if path.exists() else ""
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}{kept}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file by name. Raises CheckpointError for one that is missing, truncated or foreign."""
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, not named arrays")
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is truncated or not a checkpoint: {reason}") from error
    foreign = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if foreign:
        raise CheckpointError(f"{path} is not a checkpoint: {foreign[0]} in it is not an array")
    return arrays

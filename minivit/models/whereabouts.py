"""Where a file of weights is: a folder named in its place and ~ are understood, an address is explained."""

import re
from pathlib import Path

from minivit.errors import CheckpointError
from minivit.files import expanded

WEIGHTS = (".safetensors", ".npz")
_PICKLES = (".bin", ".pth", ".pt", ".ckpt")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|hf[_-]hub:")


def weights_file(named: str | Path) -> Path:
    """The file of weights at `named`: that path, ~ being the home folder, or the only such file in that folder.

    A folder is returned as it is if it is a run's, or if nothing in it is known. Raises CheckpointError for an address
    of the internet, and for a folder with several files of weights.
    """
    path = expanded(named, CheckpointError)
    if _ADDRESS.match(str(named)) and not path.exists():
        address = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+:)/(?!/)", r"\1//", str(named))  # a Path has made one slash of two
        raise CheckpointError(f"{address} is an address: download the file first, and name it here")
    if not path.is_dir() or (path / "checkpoint.npz").exists():
        return path
    inside = sorted(entry for entry in path.iterdir() if entry.is_file())
    found = [entry for entry in inside if entry.suffix in WEIGHTS]
    index = [entry for entry in inside if entry.name.endswith(".index.json")]
    if len(found) == 1 and not index:
        return found[0]
    if index:
        return index[0]  # whose refusal says what can be done
    if found:
        names = ", ".join(entry.name for entry in found[:5])
        raise CheckpointError(f"{path} holds {len(found)} files of weights: name one of them ({names})")
    return next((entry for entry in inside if entry.suffix in _PICKLES), path)  # whose refusal tells, likewise

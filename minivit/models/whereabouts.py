"""Finds a file of weights, given its path, its folder or the name of published weights."""

import re
from collections.abc import Callable
from pathlib import Path

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.models import addresses

WEIGHTS = (".safetensors", ".npz")
_PICKLES = (".bin", ".pth", ".pt", ".ckpt")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|hf[_-]hub:")


def weights_file(
    named: str | Path,
    progress: Callable[[int, int | None], None] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """The file of weights at `named`: a path, a folder with one such file, or a name of published weights.

    A path may begin with ~. Published weights (`addresses.find`) are looked for if there is no such path, and
    downloaded once. The folder of a run is returned as it is, as is a folder without known files.   progress, say: as
    for `fetching.fetch`. Raises CheckpointError for an unknown internet address, a folder with several files of weights
    and a misspelt name of published ones; DataError for weights that cannot be downloaded.
    """
    path = expanded(named, CheckpointError)
    try:
        there = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise CheckpointError(f"{path}: {error.strerror}") from error
    if not there:
        if weights := addresses.find(str(named)):
            from minivit.models import fetching  # here, since it takes half as long to import as all models

            return fetching.fetch(weights, progress, say)
        if _ADDRESS.match(str(named)):
            address = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+:)/(?!/)", r"\1//", str(named))  # a Path keeps one slash of two
            raise CheckpointError(f"{address} is an internet address: download the file first and give its path")
        if hint := addresses.suggestion(str(named)):
            raise CheckpointError(f"{path}: there is no such run folder or file{hint}")
    if not path.is_dir() or any((path / name).exists() for name in ("checkpoint.npz", "metrics.jsonl")):
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

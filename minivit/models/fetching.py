"""Published weights by name: downloaded once, checked against the publisher's server, and kept."""

import contextlib
import urllib.error
from collections.abc import Callable
from pathlib import Path

from minivit.data.download import Progress, UnreachableError, digest, download
from minivit.data.registry import data_root
from minivit.errors import CheckpointError, DataError
from minivit.files import locks
from minivit.models.addresses import Weights
from minivit.models.archive import read_arrays
from minivit.models.beside_weights import read_json


def fetch(weights: Weights, progress: Progress | None = None, say: Callable[[str], object] = lambda line: None) -> Path:
    """The file of published weights below `data_root`()/weights; missing files are downloaded.

    minivit knows no checksums of these files. A download is compared with the checksum that the server states, if any,
    and its size with the server's figure and the file's headers. The SHA-256 of the download is kept in FILE.sha256,
    and a changed file is refused. A file placed by hand is accepted at its first use.
    progress: called as the weights arrive. say: called with a line when a download begins and after its check. Raises
    DataError with instructions if the server cannot be reached; CheckpointError for a changed file.
    """
    root = data_root() / "weights"
    missing = {file: url for file, url in weights.files.items() if not (root / file).is_file()}
    begun = False

    def arriving(done: int, total: int | None) -> None:
        nonlocal begun
        if not begun:
            say(f"downloading {weights}; from {weights.page} into {root}")
        begun = True
        if progress is not None:
            progress(done, total)

    told = []
    for file, url in missing.items():
        bar, check = (None, read_json) if file.endswith(".json") else (arriving, read_arrays)
        try:
            kind = download(url, root / file, None, bar, check)
        except UnreachableError as error:
            raise DataError(_by_hand(weights, root, error)) from error
        name = file.rpartition("/")[2]
        told.append(f"{name} has the {kind} that the server states" if kind else f"{name}: no checksum is stated")
    if told:
        say("; ".join(told))
    for file in weights.files:
        _compare_with_record(root / file)
    return root / next(iter(weights.files))


def _by_hand(weights: Weights, root: Path, error: UnreachableError) -> str:
    """Instructions for when the server does not send the files."""
    moved = isinstance(error.__cause__, urllib.error.HTTPError)
    why = f"{error.reason}; it may have moved, see {weights.page}" if moved else error.reason
    missing = {file: url for file, url in weights.files.items() if not (root / file).is_file()}
    names = " and ".join(file.rpartition("/")[2] for file in missing)
    return (
        f"cannot download {weights.name} ({why}): get {' and '.join(missing.values())} on another machine, and put "
        f"{'it' if len(missing) == 1 else 'them'} as {names} into {(root / next(iter(missing))).parent}"
    )


def _compare_with_record(path: Path) -> None:
    """Raise CheckpointError unless the file is the same as at its first use, which is recorded if it is now."""
    record, found = path.with_name(f"{path.name}.sha256"), digest(path, "sha256")
    if record.is_file():
        expected = record.read_text(encoding="utf-8", errors="replace").split()[:1]
        if expected != [found]:
            raise CheckpointError(
                f"{path} has changed since its first use, its SHA-256 differs from {record.name}: delete it to "
                "download it again; delete both, if the new one is right"
            )
        return
    with contextlib.suppress(OSError), locks.replacing(record) as partial:  # a folder may be for reading only
        partial.write_text(f"{found}  {path.name}\n", encoding="utf-8")

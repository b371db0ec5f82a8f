"""Checks all image files of a run before its first step and lists every file that cannot be read."""

import os
from pathlib import Path

from minivit import terminal
from minivit.backend.cores import available_cores
from minivit.cli.progress import progress_bar
from minivit.data import Dataset
from minivit.data.encoded import LEAVE_OUT, EncodedDataset
from minivit.data.kinds import folder_of, parted
from minivit.data.scan import unreadable
from minivit.errors import DataError

NAMED = 10  # files, of more the number is said


def at_files(*datasets: Dataset) -> None:
    """Check the images of the data sets, as many as there is time for. Files that may be skipped are listed and never
    opened again. Raises DataError for other unreadable files, and if no image is left."""
    folders = [data for data in datasets if isinstance(data, EncodedDataset)]
    if not folders:
        return
    found: dict[str, str] = {}
    notes = []
    with progress_bar(total=sum(map(len, folders)), unit="image", desc="looking at images", leave=False) as bar:
        for data in folders:
            looked = unreadable(data, available_cores(), seen=bar.update)
            data.skipped.update(looked.faults)
            found |= data.skipped
            if looked.left:
                notes.append(_unchecked(data, looked.left))
    for note in notes:
        terminal.say(note)
    if not found:
        return
    if refusing := next((data for data in folders if data.bad_images == "refuse"), None):
        raise DataError(_refusal(found, refusing.name))
    for path, reason in list(found.items())[:NAMED]:
        terminal.say(f"skipped {path}: {reason}")
    if len(found) > NAMED:
        terminal.say(f"skipped {len(found) - NAMED} more images that cannot be read")
    for data in folders:
        if len(data.skipped) == len(data):
            raise DataError(f"{data.name}: none of its {len(data)} images could be read")


def _unchecked(data: EncodedDataset, left: int) -> str:
    """The line about images that were not reached in time."""
    met = "ends the run, which then saves its state" if data.bad_images == "refuse" else "is left out"
    return f"{data.name}: checked {len(data) - left:,} of {len(data):,} images; a damaged one among the others {met}"


def _refusal(found: dict[str, str], name: str) -> str:
    """One line that names the unreadable files: the first in full, the others as seen from the data set's folder."""
    folder = folder_of(Path(parted(name)[1]))
    (first, reason), *others = found.items()
    line = f"{first}: {reason} {LEAVE_OUT}"
    if not others:
        return line
    named = [os.path.relpath(path, folder) for path, _ in others[: NAMED - 1]]
    more = f" and {len(others) - len(named)} more" if len(others) > len(named) else ""
    return f"{line}; {len(found)} images cannot be read, also {', '.join(named)}{more}"

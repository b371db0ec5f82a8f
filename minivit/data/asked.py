"""How data shall be opened."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from minivit.data.download import Progress


@dataclasses.dataclass(frozen=True)
class Asked:
    """How data shall be opened; see `registry.load`.

    wanted: the classes to keep, or None for all.   cache: a folder for index files, which may not exist; None: keep
    none.   progress: called while an index is built.
    """

    split: str
    bad_images: str = "refuse"
    val_share: float | None = None
    seed: int = 0
    wanted: Sequence[str] | None = None
    cache: Path | None = None
    progress: Progress | None = None

"""Progress bars on standard error, if it is a terminal."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from minivit.data.download import Progress
from minivit.errors import shown


def progress_bar(**options: Any) -> Any:
    """A tqdm bar on standard error, if it is a terminal."""
    return load_tqdm().tqdm(**options, disable=None)


def load_tqdm() -> Any:
    """Import tqdm, whatever the environment asks of it."""
    try:
        import tqdm
    except ValueError:  # a variable TQDM_... with a value that it cannot use
        for name in [name for name in os.environ if name.startswith("TQDM_")]:
            del os.environ[name]
        import tqdm
    return tqdm


@contextlib.contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    """A callback for the bytes received so far; its progress bar appears with the first bytes."""
    with _late_bar(desc=f"downloading {name}", unit="B") as progress:
        yield progress


@contextlib.contextmanager
def index_bar(name: str) -> Iterator[Progress]:
    """A callback for the part of a large data set that has been listed; its progress bar appears at the first call."""
    with _late_bar(desc=f"listing {shown(name)}", unit="", leave=False) as progress:
        yield progress


@contextlib.contextmanager
def _late_bar(**options: Any) -> Iterator[Progress]:
    bar: Any = None

    def progress(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = progress_bar(total=total, unit_scale=True, **options)
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()

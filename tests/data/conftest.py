"""Fixtures of the data tests: one-line refusals, threads."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from minivit.errors import DataError


@pytest.fixture
def refused() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """`with refused("a", "b"):` passes if the block raises a DataError of one line that contains each of the texts."""

    @contextlib.contextmanager
    def check(*texts: str) -> Iterator[None]:
        with pytest.raises(DataError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        for text in texts:
            assert text in message

    return check


@pytest.fixture
def data_threads() -> Callable[[], list[threading.Thread]]:
    """The background threads of the data room that are alive now."""
    return lambda: [thread for thread in threading.enumerate() if thread.name.startswith("minivit-data")]

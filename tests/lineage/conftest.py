"""Shared by tests of systems."""

from collections.abc import Iterator

import pytest

from minivit.models import kept


@pytest.fixture
def no_tables_kept() -> Iterator[None]:
    """Constant tables are made anew, in the test and after it."""
    kept._kept.cache_clear()
    yield
    kept._kept.cache_clear()

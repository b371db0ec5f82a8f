"""These tests run the readable ops, never the faster kernels, which tests/backend/test_conformance.py holds to the ops.

A test marked `gradient_check("softmax")` fails if it never checked `minivit.ops.softmax`.
"""

import pytest
from strategies import CHECKED

from minivit.backend import kernels


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> object:
    CHECKED.clear()
    with kernels("reference"):
        result = yield
    marker = item.get_closest_marker("gradient_check")
    unchecked = set(marker.args) - CHECKED if marker else set()
    assert not unchecked, f"{item.name} is marked as the gradient check of {unchecked}, but never checked it"
    return result


@pytest.fixture(autouse=True)
def on_every_device(device: object) -> None:
    """All tests of this folder run on NumPy, the stand-in and CuPy."""

"""Hypothesis profiles and shared fixtures of the whole test set.

The default profile draws the same examples at every run. `pytest --hypothesis-profile explore` draws many new ones.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import devices
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from web_server import server  # noqa: F401, a fixture

from minivit.backend import blas, kernels
from minivit.backend.cores import available_cores

settings.register_profile(
    "default",
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # the machine may be busy
)
settings.register_profile("explore", settings.get_profile("default"), max_examples=500, derandomize=False)
settings.load_profile("default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`pytest -m gpu` runs what needs a GPU: every test that is parametrised with "cupy"."""
    for item in items:
        values = getattr(getattr(item, "callspec", None), "params", {}).values()
        if any(isinstance(value, str) and value == "cupy" for value in values):
            item.add_marker("gpu")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(signal, "SIGHUP"):  # which nohup lets be ignored, here and in the processes that tests start
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if blas.cries_wolf():
        config.addinivalue_line("filterwarnings", f"ignore:{blas.FALSE_ALARM}:RuntimeWarning")
    config.addinivalue_line("markers", "gpu: this test needs a GPU that CuPy can use")
    config.addinivalue_line("markers", "planted: errors are planted in a kernel or a right answer and must be found")
    config.addinivalue_line(
        "markers", "gradient_check(*ops): this test checks the gradients of these ops of minivit.ops with check_vjp"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """`-n auto`: as many processes as there are cores for us, which in a container may be far fewer than it seems."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else available_cores()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped and why, one line for each reason."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], dict[str, np.ndarray]]:
    """`recorded("ops")` is the content of tests/data/vectors/ops.npz: recorded outputs of published code."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(Path(__file__).parent / "data" / "vectors" / f"{name}.npz") as archive:
            return dict(archive)

    return read


@pytest.fixture(params=devices.DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The array library that the test's arrays are sent to (devices.py): NumPy, the stand-in for CuPy, CuPy.

    A module whose tests all run on every device says `pytestmark = pytest.mark.usefixtures("device")`; a test there
    that is about NumPy itself is marked `@numpy_only` (devices.py).
    """
    with devices.on(request.param) as library:
        yield library


@pytest.fixture
def readable_ops() -> Iterator[None]:
    """The engine is tested on the ops, whose saved arrays are known, not on kernels."""
    with kernels("reference"):
        yield

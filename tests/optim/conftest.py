import functools
from pathlib import Path

import numpy as np
import pytest

VECTORS = Path(__file__).parents[1] / "data" / "vectors"


@pytest.fixture(scope="session")
def vectors():
    """vectors("optim"): the recorded arrays of tests/data/vectors/optim.npz, by name."""

    @functools.cache
    def load(name):
        with np.load(VECTORS / f"{name}.npz") as archive:
            return dict(archive)

    return load

"""What training has said since the last evaluation."""

import numpy as np
import pytest

from minivit.runs.tally import Tally
from minivit.update.step import StepResult


def test_means_are_over_steps():
    """Of three steps whose means were read together, and of one more; arrays are left out."""
    tally = Tally()
    assert tally.means() == {}
    tally.add(StepResult(2.0, 1.0, {"accuracy": np.float64(0.5), "taught": np.ones(3)}), 3)
    tally.add(StepResult(6.0, 1.0, {"accuracy": np.asarray(0.9, np.float32), "taught": np.ones(3)}), 1)
    assert tally.means() == pytest.approx({"loss": 3.0, "accuracy": 0.6})
    assert tally.sums == pytest.approx({"steps": 4, "loss": 12.0, "accuracy": 2.4})
    assert all(type(total) in (int, float) for total in tally.sums.values())  # a checkpoint writes them as JSON


def test_what_the_first_steps_did_not_have_is_no_mean():
    """A run of the first checkpoint format goes on with a loss alone."""
    tally = Tally({"loss": 4.0, "steps": 2})
    tally.add(StepResult(1.0, 1.0, {"accuracy": np.float64(1.0)}), 2)
    assert tally.means() == {"loss": 1.5}

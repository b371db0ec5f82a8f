"""Learning-rate schedules against rates recorded from the published code, and at their corners."""

import re

import numpy as np
import pytest

from minivit.optim import warmup_cosine, warmup_linear

KINDS = {"cosine": warmup_cosine, "linear": warmup_linear}
CASES = [
    "cosine_tot10000_base0.03_warm500",
    "cosine_tot20000_base0.03_warm500",
    "cosine_tot500_base0.01_warm100",
    "cosine_tot100_base0.003_warm0",
    "cosine_tot7_base1.0_warm3",
    "linear_tot100_base0.001_warm10",
    "linear_tot100_base0.001_warm0",
]


@pytest.mark.parametrize("case", CASES)
def test_rates_equal_the_recorded_ones(vectors, case):
    kind, total, base, warm = re.fullmatch(r"(\w+)_tot(\d+)_base([\d.]+)_warm(\d+)", case).groups()
    recorded = vectors("schedules")
    schedule = KINDS[kind](float(base), int(total), int(warm))
    rates = [schedule(int(step)) for step in recorded[f"{case}/steps"]]
    assert len(rates) >= 9
    np.testing.assert_allclose(rates, recorded[f"{case}/lr_f64"], rtol=1e-12, atol=1e-18)


def test_the_recorded_cases_are_all_used(vectors):
    assert {key.partition("/")[0] for key in vectors("schedules")} == set(CASES)


@pytest.mark.parametrize("kind", KINDS.values())
def test_first_update_has_rate_zero_under_a_warm_up(kind):
    schedule = kind(0.5, 100, 10)
    assert schedule(0) == 0
    assert schedule(5) == pytest.approx(0.25, rel=1e-12)
    assert schedule(10) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS.values())
def test_without_a_warm_up_it_starts_at_the_base_rate(kind):
    assert kind(0.5, 100)(0) == 0.5


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_last_update_is_still_above_the_final_rate_and_later_steps_stay_there(kind):
    schedule = kind(0.5, 100, 10, final_lr=0.1)
    assert schedule(99) > 0.1
    assert schedule(100) == pytest.approx(0.1, rel=1e-12)
    assert schedule(1000) == pytest.approx(0.1, rel=1e-12)


def test_halfway_values():
    assert warmup_cosine(1.0, 110, 10, final_lr=0.2)(60) == pytest.approx(0.6, rel=1e-12)
    assert warmup_cosine(1.0, 110, 10)(35) == pytest.approx(0.5 + 0.5**1.5, rel=1e-12)  # cos(pi / 4) = sqrt(1/2)
    assert warmup_linear(1.0, 110, 10, final_lr=0.2)(35) == pytest.approx(0.8, rel=1e-12)


def test_default_final_rates_are_the_published_ones():
    assert warmup_cosine(0.1, 10)(10) == pytest.approx(0, abs=1e-17)
    assert warmup_linear(0.1, 10)(10) == pytest.approx(1e-5, rel=1e-12)


def test_a_run_that_is_all_warm_up():
    assert [warmup_cosine(1.0, 4, 4)(step) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("warmup", [-1, 11])
@pytest.mark.parametrize("kind", KINDS.values())
def test_a_warm_up_that_does_not_fit_is_refused(kind, warmup):
    with pytest.raises(ValueError, match=f"{warmup} warm-up steps do not fit into 10 steps"):
        kind(0.1, 10, warmup)

"""Learning-rate schedules against rates recorded from the published code, and at their corners."""

import re

import numpy as np
import pytest

from minivit.optim import cosine, warmup_cosine, warmup_linear
from minivit.optim.schedules import at

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
@pytest.mark.parametrize("kind", [*KINDS.values(), lambda base, total, warmup: cosine(base, 0, total, warmup)])
def test_a_warm_up_that_does_not_fit_is_refused(kind, warmup):
    with pytest.raises(ValueError, match=f"{warmup} warm-up steps do not fit into 10 steps"):
        kind(0.1, 10, warmup)


# As utils.cosine_scheduler of facebookresearch/dino gives them, 5 epochs of 3 updates: (start, end, warm-up) -> values.
# fmt: off
DINO = {
    (0.001, 1e-06, 3): [
        0.0, 0.0005, 0.001, 0.001, 0.0009829799502313896, 0.0009330796891903273, 0.0008536998372026805,
        0.0007502500000000002, 0.0006297801130287093, 0.0005005000000000001, 0.000371219886971291,
        0.00025075000000000016, 0.00014730016279731955, 6.792031080967287e-05, 1.8020049768610437e-05,
    ],
    (0.04, 0.4, 0): [
        0.03999999999999998, 0.04393343186791493, 0.05556181762433182, 0.07437694101250947, 0.09955649085540552, 0.13,
        0.16437694101250946, 0.20118487661182236, 0.2388151233881776, 0.2756230589874905, 0.30999999999999994,
        0.3404435091445944, 0.36562305898749053, 0.3844381823756682, 0.3960665681320851,
    ],
    (0.996, 1.0, 0): [
        0.996, 0.9960437047985324, 0.9961729090847148, 0.9963819660112501, 0.9966617387872823, 0.997,
        0.9973819660112501, 0.9977909430734647, 0.9982090569265353, 0.9986180339887499, 0.999, 0.9993382612127177,
        0.9996180339887499, 0.9998270909152852, 0.9999562952014676,
    ],
}
# fmt: on


@pytest.mark.parametrize(("start", "end", "warmup"), DINO)
def test_cosines_of_dino_equal_the_recorded_ones(start, end, warmup):
    schedule = cosine(start, end, 15, warmup)
    np.testing.assert_allclose([schedule(step) for step in range(15)], DINO[start, end, warmup], rtol=1e-15, atol=0)


def test_a_cosine_stays_at_its_end():
    assert cosine(0.04, 0.4, 100)(100) == pytest.approx(0.4, rel=1e-15)
    assert cosine(0.04, 0.4, 100)(1000) == pytest.approx(0.4, rel=1e-15)


@pytest.mark.parametrize("warmup", [2, 3, 7, 50])
def test_the_last_step_of_the_warm_up_has_the_start_already_and_so_has_the_next(warmup):
    schedule = cosine(0.3, 0.1, 100, warmup)
    assert (schedule(0), schedule(warmup - 1)) == (0, 0.3)
    assert schedule(warmup) == pytest.approx(0.3, rel=1e-15)
    assert schedule(warmup + 1) < 0.3


def test_a_warm_up_of_one_step_is_0():
    assert [cosine(0.3, 0.1, 2, 1)(step) for step in range(2)] == [0, 0.3]


def test_a_number_is_a_schedule_that_stays_and_values_are_python_floats():
    assert at(0.5, 7) == 0.5
    assert at(lambda step: np.float64(step), 7) == 7
    assert type(at(lambda step: np.float64(step), 7)) is float

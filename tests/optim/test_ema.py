"""Averages of the parameters, computed by hand."""

import numpy as np
import pytest
from devices import tensor, to_device, to_host

from minivit.optim import EMA

pytestmark = pytest.mark.usefixtures("device")


def leaf(*values, dtype="float64", name=None):
    return tensor(np.array(values, dtype), requires_grad=True, name=name)


def test_constant_decay():
    p = leaf(1.0, 10.0)
    ema = EMA([p], decay=0.75, warm_up=False)
    p.data += to_device(np.array([4.0, -8.0]))  # 5, 2
    ema.update()
    assert ema.averages[0].tolist() == [2.0, 8.0]
    p.data[...] = 0
    ema.update()
    assert ema.averages[0].tolist() == [1.5, 6.0]
    assert p.data.tolist() == [0, 0]


def test_warm_up_forgets_the_start():
    p = leaf(11.0)
    ema = EMA([p], decay=0.25)
    p.data[...] = 0
    ema.update()  # d = min(1/4, 2/11) = 2/11
    assert to_host(ema.averages[0]) == pytest.approx(2.0)
    ema.update()  # d = min(1/4, 3/12) = 1/4
    assert to_host(ema.averages[0]) == pytest.approx(0.5)
    ema.update()  # d = min(1/4, 4/13) = 1/4
    assert to_host(ema.averages[0]) == pytest.approx(0.125)


def test_the_default_is_the_papers_decay():
    p = leaf(1.0)
    ema = EMA([p])
    ema.steps = 10**7
    p.data[...] = 0
    ema.update()
    assert to_host(ema.averages[0]) == pytest.approx(0.9999, rel=1e-12)


def test_averages_start_as_copies_and_keep_their_dtype():
    p = leaf(1.0, dtype="float32")
    ema = EMA([p])
    p.data[...] = 3
    assert ema.averages[0].tolist() == [1.0]
    ema.update()
    assert ema.averages[0].dtype == "float32"


def test_swapped_lends_the_averages_and_puts_the_parameters_back():
    p = leaf(1.0)
    ema = EMA([("weight", p)], decay=0.5, warm_up=False)
    p.data += 2
    ema.update()
    own = p.data
    with ema.swapped():
        assert p.data.tolist() == [2.0]
    assert p.data is own
    with pytest.raises(KeyboardInterrupt), ema.swapped():
        raise KeyboardInterrupt
    assert p.data is own
    assert own.tolist() == [3.0]


def test_state_round_trip_is_exact():
    rng = np.random.default_rng(0)
    p, q = leaf(*rng.standard_normal(5)), leaf(*rng.standard_normal(3), name="q")
    ema = EMA([("weight", p), q, leaf(1.0)])
    for _ in range(3):
        p.data += to_device(rng.standard_normal(5))
        ema.update()
    state = ema.state_dict()
    assert set(state) == {"steps", "average/weight", "average/q", "average/2"}
    copy = EMA([("weight", leaf(*[0.0] * 5)), leaf(0.0, 0.0, 0.0, name="q"), leaf(0.0)])
    copy.load_state_dict(state)
    assert copy.steps == 3
    for mine, theirs in zip(ema.averages, copy.averages, strict=True):
        assert mine.tobytes() == theirs.tobytes()
        assert mine is not theirs


def test_a_state_that_does_not_fit_changes_nothing():
    ema = EMA([("weight", leaf(1.0, 2.0)), ("bias", leaf(3.0))])
    good = {"steps": 4, "average/weight": np.zeros(2), "average/bias": np.zeros(1)}
    with pytest.raises(ValueError, match=r"average/bias has shape \(2,\), expected \(1,\)"):
        ema.load_state_dict({**good, "average/bias": np.zeros(2)})
    with pytest.raises(ValueError, match=r"average/weight has shape \(1,\), expected \(2,\)"):  # it would broadcast
        ema.load_state_dict({**good, "average/weight": np.zeros(1)})
    del good["average/bias"]
    with pytest.raises(KeyError, match="average/bias"):
        ema.load_state_dict(good)
    assert ema.steps == 0
    assert ema.averages[0].tolist() == [1.0, 2.0]

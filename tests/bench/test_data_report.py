"""The benchmark of the data: what is measured, and how many cores a GPU needs by its own rate or by a model's work."""

import argparse
import time

import pytest

from minivit.bench import __main__ as bench
from minivit.bench import data_report, loading
from minivit.bench.data_report import Feeds, feeds
from minivit.bench.loading import Rate
from minivit.bench.workload import Workload
from minivit.data import loader
from minivit.errors import ConfigError
from minivit.models import ViTConfig

RATES = {("decode in full", 1): Rate(900, 1000), ("a", 1): Rate(500, 500), ("a", 4): Rate(1600, 400)}
B16 = Workload("B/16", ViTConfig.variant("B/16"), 16)


def test_rates_are_per_second_and_per_second_of_a_core():
    resting = loading._rate(lambda: time.sleep(0.05), 10)
    assert resting.images <= 200 < resting.per_core


def test_every_pipeline_is_measured_on_every_number_of_threads(monkeypatch):
    monkeypatch.setattr(loading, "available_cores", lambda: 3)
    started = []
    ahead = loader.ahead
    monkeypatch.setattr(loader, "ahead", lambda *args: started.append(args[2]) or ahead(*args))
    rates = loading.file_rates((12, 8), rounds=1, batch=4, steps=2, photo=(50, 40))
    assert all(rate.images > 0 and rate.per_core > 0 for rate in rates.values())
    assert [threads for _, threads in rates] == [1, 1, 1, *started] == [1, 1, 1, 1, 3, 1, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    {"2500": (2500, None), "2,500": (2500, None), " 1e4 ": (1e4, None), "300tflops": (None, 3e14)}.items(),
)
def test_rates_are_images_or_work(text, expected):
    assert feeds(text) == expected
    assert feeds("0.5TFLOP/s") == (None, 5e11)


@pytest.mark.parametrize("text", ["0", "-3", "3x", "", "tflops", "1.2.3", "1e999", "nan"])
def test_other_rates_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected images a second, as 2500"):
        feeds(text)


def test_a_model_turns_work_into_images():
    assert Feeds(700, None).rate(None) == 700
    # 17.56 G multiply-adds forward, as published for DeiT-B; 2 operations each; the backward pass takes twice as many.
    assert Feeds(None, 300e12).rate(B16) == pytest.approx(300e12 / (3 * 2 * 17.56e9), rel=0.01)


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(loading, "file_rates", lambda size: RATES if size == (224, 224) else None)
    monkeypatch.setattr(loading, "array_rate", lambda preset: 1234.0)
    monkeypatch.setattr(loading, "loop_cost", lambda preset: (1.0, 0.9, 1.1))


@pytest.mark.usefixtures("measured")
def test_cores_are_counted_from_the_rate_with_all_threads(capsys):
    lines = list(data_report.lines(Feeds(2001, None), None))
    assert "4     1,600     400" in lines[4]
    assert lines[5:7] == [
        "modelled, not measured: a GPU that trains on 2,001 images/s (given) needs",
        "  6 cores like these for: a",
    ]
    assert not any("modelled" in line for line in data_report.lines(None, None))
    assert bench.main(["--data", "--model", "B/16", "--batch", "3", "--feeds", "300tflops"]) == 0
    assert "a GPU that trains on 2,847 images/s (B/16 at 300 TFLOP/s) needs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--feeds", "9"], "give both"), (["--data", "--feeds", "9tflops"], "such as --model B/16")],
)
def test_requests_without_what_they_need_are_refused(argv, message):
    with pytest.raises(ConfigError, match=message):
        bench.main(argv)

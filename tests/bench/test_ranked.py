"""The engine on several ranks: its step is the project's, each rank has its part, and two real processes answer."""

import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from minivit.bench import ranked
from minivit.bench.engines import Minivit
from minivit.bench.launching import launch
from minivit.bench.process import EngineProcess
from minivit.bench.ranked import Ranked, stopwatch
from minivit.bench.workload import Workload
from minivit.errors import BackendError, MinivitError
from minivit.models import ViTConfig
from minivit.ranks import Ranks
from minivit.ranks.sums import GradientSum

TINY = Workload("tiny", ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, num_classes=3), 4)


@pytest.fixture(autouse=True)
def finish(monkeypatch):
    """The engine watches this method."""
    monkeypatch.setattr(GradientSum, "finish", GradientSum.finish)


@pytest.fixture
def made():
    engines = []
    yield lambda *args, **options: engines.append(Ranked(TINY, True, *args, workers=1, **options)) or engines[-1]
    for engine in engines:
        engine.close()


def test_alone_it_makes_the_step_of_the_other_engine(made):
    engine, other = made(Ranks()), Minivit(TINY, True, workers=1)
    for step in (engine, engine, other, other):
        step()
    other.close()
    for p, q in zip(engine.model.parameters(), other.model.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    assert engine.waited() == 0
    assert list(engine.requests(io.StringIO("2\nmemory\n"))) == ["2\n", "memory\n"]


def test_each_rank_has_its_part(made):
    class Second(Ranks):
        rank, count = 1, 2

    images, labels = TINY.data()
    engine = made(Second(), accumulate=1)
    np.testing.assert_array_equal(engine.batch["images"], images[2:])
    np.testing.assert_array_equal(engine.batch["labels"], labels[2:])
    assert not engine.first
    assert isinstance(engine.host.ranks, Second)
    assert not isinstance(made(Second(), sums=False).host.ranks, Second)


def test_the_wait_is_the_time_of_the_method(monkeypatch):
    class Sum:
        def finish(self, seconds):
            time.sleep(seconds)
            return 7

    seconds = stopwatch(Sum, "finish")
    assert [Sum().finish(x) for x in (0.03, 0.0)] == [7, 7]
    assert seconds[0] >= 0.03 > seconds[1]


@pytest.fixture
def mpi():
    try:
        launch(2)
    except BackendError as error:
        pytest.skip(str(error))
    if subprocess.run([sys.executable, "-c", "import mpi4py.MPI"], capture_output=True).returncode:
        pytest.skip("mpi4py finds no MPI library")


def test_two_processes_answer_together(mpi):
    with EngineProcess("ranks", TINY, True, {"workers": 1}, ranks=2) as child:
        assert child.run(2) > child.ask("waited") > 0
        assert child.ask("sum 65536") > 0
        assert child.peak_memory() > 10
        assert os.getpgid(child._process.pid) == child._process.pid
    assert child._process.returncode == 0


def test_a_rank_that_fails_says_why_and_nobody_waits(mpi):
    with (
        EngineProcess("ranks", TINY, True, {"workers": 1, "kernels": "none"}, ranks=2) as child,
        pytest.raises(MinivitError, match=r"ranks ended: .*none"),
    ):
        child.run()


def test_the_sums_are_those_of_the_step(made, monkeypatch):
    class Two(Ranks):
        rank, count = 0, 2
        added = ()

        def _add(self, array):
            self.added += ((array.dtype, array.size),)

    monkeypatch.setattr(ranked, "REPEATS", 3)
    engine = made(Two())
    assert engine.sum_seconds(4096) >= 0
    assert engine.ranks.added == ((np.float32, 1024),) * 5

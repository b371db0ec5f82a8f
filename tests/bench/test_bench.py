"""The benchmark: right work counted, peers really run, ratios of neighbours, errors in one line."""

import contextlib
import dataclasses
import errno
import importlib.util
import math
import time

import numpy as np
import pytest
import standin_cupy

from minivit.bench import __main__ as bench
from minivit.bench import compare, gpu_engines, loading, overhead, scaling
from minivit.bench.compare import Contestant, Timing, interleave, ratio
from minivit.bench.engines import ENGINES, Minivit
from minivit.bench.process import EngineProcess, peak_memory
from minivit.bench.profile import Profile, profile
from minivit.bench.workload import WORKLOADS, Workload
from minivit.errors import BackendError, ConfigError, MinivitError
from minivit.models import ViTConfig

TINY = Workload("tiny", ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, num_classes=3), 4)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(compare, "BLOCK", 0.01)
    monkeypatch.setattr(compare, "PAUSE", 0)


def test_the_work_of_the_four_workloads_is_that_of_the_published_configurations():
    work = {name: round(load.gflop(training=True)) for name, load in WORKLOADS.items()}
    assert work == {"cifar-ti": 280, "cifar-s6": 168, "ti16-224": 120, "b16-224": 843}
    assert WORKLOADS["b16-224"].gflop(training=False) * 3 == pytest.approx(843, abs=1)


def test_the_work_is_that_of_the_products_that_are_done():
    for classifier in ("gap", "token"):
        load = Workload(classifier, dataclasses.replace(TINY.model, classifier=classifier), 4)
        ops, _ = profile(load, steps=1, workers=1, accumulate=1)
        products = sum(op.flop for name, op in ops.items() if name in ("linear", "linear_gelu", "attention")) / 1e9
        assert products == pytest.approx(load.gflop(training=True, class_row_only=True))
        assert (products == pytest.approx(load.gflop(training=True))) == (classifier == "gap")


def test_profile_counts_every_call_and_no_more_time_than_passed():
    ops, seconds = profile(TINY, steps=2, workers=2, accumulate=1)
    assert ops["linear"].calls == 2 * (1 + 3 * TINY.model.depth + 1)
    assert ops["linear_gelu"].calls == ops["attention"].calls == 2 * TINY.model.depth
    assert all(op.forward > 0 and op.backward > 0 for op in (ops["linear"], ops["linear_gelu"], ops["layer_norm"]))
    assert sum(op.forward + op.backward for op in ops.values()) < 3 * seconds  # by other steps, slowed by stop-watches


def test_a_profiled_step_gives_the_same_parameters():
    engines = [Minivit(TINY, training=True, workers=1) for _ in range(2)]
    for engine, context in zip(engines, (contextlib.nullcontext(), Profile()), strict=True):
        with context:
            engine()
            engine()
        engine.close()
    for p, q in zip(*(engine.model.parameters() for engine in engines), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_engines_take_turns(quick):
    contestants = {
        "training": Contestant("minivit", TINY, True, {"workers": 1}),
        "recompute": Contestant("minivit", TINY, True, {"workers": 1, "recompute": True}),
        "inference": Contestant("minivit", TINY, False, {"kernels": "reference"}),
    }
    timings = interleave(contestants, rounds=3)
    assert list(timings) == list(contestants)
    assert all(len(t.seconds) == 3 and min(t.seconds) > 0 and t.peak_memory > 10 for t in timings.values())


def test_the_ratio_is_of_neighbours():
    machine = np.array([3, 1, 4, 1.5, 5, 9, 2.5])  # its slowness changes from round to round
    ours, theirs = Timing(list(0.5 * machine), 0), Timing(list(machine), 0)
    assert ratio(ours, theirs) == (0.5, 0.5, 0.5)
    assert ratio(Timing([1.0], 0), Timing([2.0], 0)) == (0.5, 0.5, 0.5)


def test_a_talkative_engine_does_not_block(monkeypatch):
    monkeypatch.setenv("PYTHONVERBOSE", "1")  # hundreds of kB on standard error
    with EngineProcess("minivit", TINY, True, {"workers": 1}) as child:
        assert child.run() > 0


def test_an_engine_that_fails_says_why():
    load = dataclasses.replace(TINY, batch=0)
    with pytest.raises(MinivitError, match=r"minivit ended: .*empty|minivit ended: .*0 images"):
        interleave({"minivit": Contestant("minivit", load, True)}, rounds=1)
    with EngineProcess("minivit", TINY, True, {"workers": -1}) as child, pytest.raises(MinivitError, match="ended: "):
        child.run()


def test_a_broken_pipe_by_another_name(monkeypatch):
    """On Windows it is OSError(EINVAL)."""

    class Pipe:
        def write(self, text):
            raise OSError(errno.EINVAL, "Invalid argument")

        close = flush = lambda self: None

    with EngineProcess("minivit", TINY, True, {"workers": -1}) as child:
        child._process.stdin.close()
        child._process.stdin = Pipe()
        with pytest.raises(MinivitError, match=r"minivit ended: (?!.*Invalid argument)"):
            child.run()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_the_engine_of_a_gpu_runs_in_every_precision(precision, training):
    with standin_cupy.installed():
        assert gpu_engines.Minivit(TINY, training, precision).seconds(1) > 0


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_gpu_without_a_precision_is_not_measured_in_another(precision):
    with (
        standin_cupy.installed(capabilities=((7, 5),)),
        pytest.raises(BackendError, match=rf"precision {precision} .* 8.0, but this one has 7.5"),
    ):
        gpu_engines.Minivit(TINY, True, precision)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ("minivit", "torch-compile")])
def test_peers_run(engine, training):
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed; it is a peer in benchmarks only")
    step = ENGINES[engine](TINY, training)
    first, second = step(), step()
    if training:
        assert second < first == pytest.approx(math.log(3), abs=0.5)
    else:
        assert np.shape(first) == (4, 3)


class InThisProcess:
    """An EngineProcess without a process, which takes its time to start."""

    def __init__(self, engine, load, training, options, backend="numpy"):
        self.step = ENGINES[engine](load, training, **options)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def run(self, steps=1):
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return (time.perf_counter() - start) / steps

    def peak_memory(self):
        return 1.0


def test_every_command_prints_what_it_measured(quick, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(compare, "EngineProcess", InThisProcess)
    monkeypatch.setattr(bench, "matmul_rate", lambda: 100.0)
    monkeypatch.setitem(WORKLOADS, "tiny", TINY)
    monkeypatch.setattr(scaling, "BATCHES", (2, 4))
    monkeypatch.setattr(scaling, "DEPTHS", (1, 2))
    monkeypatch.setattr(scaling, "HEADS", (1, 3))
    monkeypatch.setattr(scaling, "PATCHES", (1, 2))
    assert bench.main(["tiny", "--against", "reference,recompute", "--rounds", "2", "--batch", "3"]) == 0
    text = capsys.readouterr().out
    assert text.count("tiny training step: batch 3") == text.count("tiny inference: batch 3") == 1
    assert text.count("(half of 2 rounds in ") == 4
    picture = tmp_path / "roofline.png"
    assert bench.main(["tiny", "--profile", "--roofline", str(picture)]) == 0
    assert picture.stat().st_size > 5000
    assert "layer_norm" in capsys.readouterr().out
    assert bench.main(["tiny", "--scaling", "--rounds", "2"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("batch", "depth", "width", "tokens", "workers"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["cifar-xl"], "cifar-ti, cifar-s6"),
        (["--against", "tensorflow"], 'unknown engine "tensorflow"; expected one of torch'),
        (["cifar-ti", "--model", "Ti/4"], "not both"),
        (["--image-size", "32"], "needs --model"),
        (["--model", "X/3"], "X/3"),
        (["--model", "R50+B/16"], "hybrids cannot be measured"),
        (["--against", "minivit"], 'unknown engine "minivit"'),
        (["--profile", "--recompute"], "ordinary step"),
        (["--roofline", "x.xyz"], ".png"),
        (["--roofline", "nowhere/x.png"], "folder that exists"),
    ],
)
def test_wrong_requests_are_answered(argv, message):
    with pytest.raises(ConfigError, match=message):
        bench.main(argv)


def test_growth_is_that_of_work_and_time():
    loads = {n: dataclasses.replace(TINY, batch=n) for n in (2, 4, 12)}
    results = {n: Timing([t], 0.0) for n, t in ((2, 1.0), (4, 1.5), (12, 6.0))}
    rows = list(scaling.Sweep("batch", loads, results).rows())
    assert [row[0] for row in rows] == [2, 4, 12]
    np.testing.assert_allclose([row[2] for row in rows], [1, 2, 3])
    np.testing.assert_allclose([row[3] for row in rows], [1, 1.5, 4])


def test_the_rest_is_measured(monkeypatch, tmp_path):
    assert peak_memory() > 10
    assert set(overhead.import_time(repeats=1)) == {"import minivit", "from minivit.models import ViT", "import numpy"}
    monkeypatch.setattr(overhead, "CHAIN", 3)
    assert all(engine > alone > 0 for engine, alone in overhead.op_overhead(repeats=3).values())
    small = {"patch_size": 8, "width": 8, "depth": 1, "heads": 1, "mlp_width": 8}
    assert all(x > 0 for x in loading.loop_cost("cifar10", rounds=3, steps=6, batch_size=4, limit=16, model=small))
    loading.photographs(tmp_path, count=4, size=(50, 40))
    assert len(list(tmp_path.rglob("*.jpg"))) == 4
    assert loading.array_rate("cifar10", batches=1) > 0

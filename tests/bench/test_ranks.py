"""Steps on several ranks: what is compared with what, the figures printed, the model beside the measurement."""

import dataclasses

import pytest
import standin_cupy

from minivit.bench import __main__ as bench
from minivit.bench import compare, ranks
from minivit.bench.compare import Timing
from minivit.bench.ranks import Measured, predicted
from minivit.bench.scale_model import Link, halving, layers, simulate
from minivit.bench.workload import WORKLOADS, Workload
from minivit.errors import ConfigError
from minivit.models import ViTConfig

SMALL = ViTConfig(image_size=8, patch_size=4, width=128, depth=4, heads=2, num_classes=3)
TINY = Workload("tiny", SMALL, 12)
LINK = Link(1e-3, 1e8)
BYTES = sum(layer.size for layer in layers(TINY.model))


class Planned:
    """An EngineProcess whose steps take planned times: 0.1 s an image and worker, sums, and 10 % for the neighbours."""

    begun = ()

    def __init__(self, engine, load, training, options, backend="numpy", ranks=0):
        assert training
        self.ranks, count = ranks, max(1, ranks)
        workers = options["workers"]
        self.seconds = 0.1 * load.batch / (count * workers)
        self.waiting = 0.0
        if engine == "ranks":
            if count > 1:
                self.seconds *= 1.1
            if count > 1 and options.get("sums", True):
                self.waiting = 0.05
        else:
            assert (engine, ranks) == ("minivit", 0)
        Planned.begun += ((engine, ranks, load.batch, workers, options.get("sums", True)),)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def run(self, steps=1):
        return self.seconds + self.waiting

    def peak_memory(self):
        return 77.0

    def ask(self, request):
        name, *numbers = request.split()
        return self.waiting if name == "waited" else halving(self.ranks, int(numbers[0]), LINK)


@pytest.fixture
def planned(monkeypatch):
    monkeypatch.setattr(compare, "EngineProcess", Planned)
    monkeypatch.setattr(compare, "PAUSE", 0)
    monkeypatch.setattr(ranks, "available_cores", lambda: 2)
    monkeypatch.setattr(Planned, "begun", ())
    monkeypatch.setitem(WORKLOADS, "tiny", TINY)


def printed(capsys, *argv):
    assert bench.main(["tiny", "--rounds", "3", *argv]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_takes_turns(planned, capsys):
    printed(capsys, "--ranks", "4,1,2")
    sums, steps = Planned.begun[:2], set(Planned.begun[2:])
    assert [one[:2] for one in sums] == [("ranks", 2), ("ranks", 4)]
    assert steps == {
        ("ranks", 1, 12, 1, True),
        ("ranks", 1, 6, 1, True),
        ("ranks", 1, 3, 1, True),
        ("ranks", 2, 12, 1, True),
        ("ranks", 2, 12, 1, False),
        ("ranks", 4, 12, 1, True),
        ("ranks", 4, 12, 1, False),
        ("minivit", 0, 12, 2, True),
    }


def test_the_figures_of_each_number_of_ranks(planned, capsys):
    lines = printed(capsys, "--ranks", "2,4")  # one rank always, to compare with
    table = {line.split()[0]: line.split()[1:] for line in lines[2:5]}
    assert table["1"] == ["1200.0", "10.0", "100%", "0.0%", "0.0", "77"]
    assert table["2"] == ["710.0", "16.9", "85%", "7.0%", f"{BYTES / 1e6:.1f}", "77"]
    assert table["4*"][:4] == ["380.0", "31.6", "79%", "13.2%"]
    assert f"{1.5 * BYTES / 1e6:.1f}" == table["4*"][4]
    assert any(line.startswith("* more ranks than the 2 cores") for line in lines)


def test_two_ranks_against_two_threads(planned, capsys):
    (line,) = [line for line in printed(capsys, "--ranks", "1,2,4") if "one process" in line]
    assert line == (
        "2 ranks with one worker each / one process with 2 workers: 1.183 (half of 3 rounds in 1.183 .. 1.183); "
        "at most 1.1 is the aim"
    )


def summed(count):
    """Seconds to sum all gradients, of which no bucket has less than a MiB."""
    full, rest = divmod(BYTES, 2**20)
    return full * halving(count, 2**20, LINK) + halving(count, rest, LINK)


def test_the_model_stands_beside_the_measurement(planned, capsys):
    text = "\n".join(printed(capsys, "--ranks", "2,4"))
    summing = summed(2)
    assert f"model, 2 ranks: sums of 1000.0 us latency, 0.1 GB/s take {1e3 * summing:.1f} ms" in text
    alone = 0.6 + summing
    assert f"600.0 ms: predicted {1e3 * alone:.1f}, measured 710.0 ms ({0.71 / alone - 1:+.1%})" in text
    apart = 0.66 + summing
    assert f"660.0 ms: predicted {1e3 * apart:.1f} ms ({0.71 / apart - 1:+.1%})" in text
    crowded = 0.6 + summed(4)  # four ranks share two cores
    assert f"300.0 ms x 2: predicted {1e3 * crowded:.1f}, measured 380.0 ms" in text


def test_after_the_measurement_comes_the_model_of_more_ranks(planned, capsys):
    lines = printed(capsys, "--ranks", "1,2", "--modelled-ranks", "8", "--network", "hdr", "--batch", "6")
    assert [line for line in lines if "ranks: | 8 |" in line] == [
        f"| {model}: {images}; ranks: | 8 |"
        for model in ("B/16", "L/16")
        for images in ("4,096 images in a step", "256 images for each rank")
    ]
    assert "batch 6 shared by all ranks" in lines[0]


def test_sums_are_hidden_if_a_core_is_free(monkeypatch):
    row = Measured(2, Timing([1.0], 0), Timing([1.0], 0), Timing([1.0], 0), None, LINK)
    load = dataclasses.replace(TINY, batch=4)
    for cores, overlap in ((2, 0.0), (3, 1.0)):
        monkeypatch.setattr(ranks, "available_cores", lambda cores=cores: cores)
        wanted = simulate(layers(load.model), 0.5, lambda size: halving(2, size, LINK), ranks.bucket(BYTES), 3, overlap)
        assert predicted(load, row, 0.5, 3) == wanted
    assert predicted(load, row, 0.5, 3).waiting < wanted.summing


def test_what_cannot_be_measured_is_refused(planned):
    with pytest.raises(ConfigError, match="--ranks 8: a batch of 12 has no equal parts"):
        bench.main(["tiny", "--ranks", "2,8"])
    with pytest.raises(ConfigError, match="this machine has 2 cores, and more than 4 ranks on each"):
        bench.main(["tiny", "--ranks", "12"])
    with pytest.raises(ConfigError, match="--ranks gives each rank one worker"):
        bench.main(["tiny", "--ranks", "2", "--workers", "2"])
    with standin_cupy.installed(), pytest.raises(ConfigError, match="--ranks measures NumPy"):
        bench.main(["tiny", "--ranks", "2", "--backend", "cupy"])
    assert not Planned.begun

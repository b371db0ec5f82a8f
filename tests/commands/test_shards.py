"""Commands on WebDataset shards: a run, its resumption, its evaluation; half shards and damaged images."""

import contextlib
import json
from pathlib import Path

import pytest
from archives import examples, jpeg, write_tar

from minivit.cli import progress as cli_progress
from minivit.cli import sources

SMALL = ("--image-size", 16, "--patch-size", 8, "--width", 8, "--depth", 1, "--heads", 2, "--batch-size", 4)


@pytest.fixture
def shards():
    folder = Path("shards").absolute()
    for number in range(2):
        write_tar(folder / f"train-{number:03}.tar", examples([0, 1, 2, 0, 1, 2], 6 * number))
    write_tar(folder / "val-0.tar", examples([0, 1, 2], 50))
    return folder


def test_a_run_on_shards(command, shards):
    pattern = "shards:shards/train-{000..001}.tar"
    result = command("train", "--data", pattern, *SMALL, "--steps", 2, "--out", "run")
    assert (result.status, result.err) == (0, "")
    assert "12 training and 3 val images, 3 classes" in result.out
    stored = json.loads(Path("run/config.json").read_text(encoding="utf-8"))
    assert stored["data"] == f"shards:{shards}/train-{{000..001}}.tar"
    assert " val: 3 images" in command("evaluate", "run").out
    assert " val: 3 images" in command("evaluate", "run", "--data", f"shards:{shards}").out
    shards.rename("moved")
    text = command("train", "--resume", "run").complaint
    assert f"{shards}: there is no such folder, but run was trained on it" in text
    assert "--data shards:PATH" in text
    moved = command("train", "--resume", "run", "--data", "shards:moved", "--steps", 3)
    assert (moved.status, moved.err) == (0, "")


def test_the_index_makes_no_difference(command, shards):
    for out in ("first", "second"):
        assert command("train", "--data", f"shards:{shards}", *SMALL, "--steps", 4, "--out", out).status == 0
    logs = [Path(out, "metrics.jsonl").read_text(encoding="utf-8") for out in ("first", "second")]
    losses = [[json.loads(line).get("train_loss") for line in log.splitlines()] for log in logs]
    assert losses[0] == losses[1]


def test_a_half_shard_and_damaged_images(command, shards):
    members = examples([0, 1, 2, 0], 6)
    members[0] = ("000006.jpg", jpeg()[:200])
    members[4] = ("000008.jpg", b"no image")
    write_tar(shards / "train-001.tar", members)
    train = ("train", "--data", f"shards:{shards}", *SMALL, "--steps", 1, "--out", "run")
    text = command(*train).complaint
    assert f"{shards}/train-001.tar/000006.jpg: " in text
    assert "2 images cannot be read, also train-001.tar/000008.jpg" in text.replace("\\", "/")
    (shards / "train-000.tar").write_bytes((shards / "train-000.tar").read_bytes()[:9500])
    assert f"{shards}/train-000.tar: the archive ends " in command(*train).complaint.replace("\\", "/")
    result = command(*train, "--bad-images", "skip")
    assert result.status == 0
    assert f"shards:{shards}: left out 1 damaged train-000.tar" in result.err
    assert "skipped " in result.err


def test_listing_shows_its_progress_once_there_is_some(monkeypatch):
    bars = []

    class Bar:
        def __init__(self, **options):
            self.options, self.n, self.closed = options, 0, False
            bars.append(self)

        def update(self, more):
            self.n += more

        def close(self):
            self.closed = True

    monkeypatch.setattr(cli_progress, "progress_bar", Bar)
    with cli_progress.index_bar("shards:PATH"):
        pass
    assert not bars
    with cli_progress.index_bar("shards:PATH") as progress:
        progress(10, 100)
        progress(60, 100)
        assert not bars[0].closed
    (bar,) = bars
    assert (bar.options["desc"], bar.options["total"], bar.n, bar.closed) == ("listing shards:PATH", 100, 60, True)


def test_a_command_shows_it_for_data_with_a_path(monkeypatch, shards):
    seen = []

    @contextlib.contextmanager
    def bar(name):
        seen.append(name)
        yield None

    monkeypatch.setattr(sources, "index_bar", bar)
    sources.load_data(f"shards:{shards}", None, "train")
    sources.load_data("digits", None, "train")
    assert seen == [f"shards:{shards}"]

"""Reading ahead: each run once an epoch, nothing that is far away, and no more than is wanted."""

import os

import numpy as np
import pytest
from archives import jpeg, write_tar

from minivit.data import load, readahead, window
from minivit.data.readahead import ReadAhead

COUNT, RUN = 1000, 10


def evenly(stride=100, size=80):
    """Runs of ten images, which are `stride` bytes apart."""
    return ReadAhead(np.arange(COUNT) // RUN, stride * np.arange(COUNT), np.full(COUNT, size))


def asked(ahead, indices):
    return [found for index in indices if (found := ahead(int(index)))]


@pytest.mark.parametrize("order", [np.arange(COUNT), np.random.default_rng(0).permutation(COUNT)])
def test_every_run_is_asked_for_once_an_epoch(order):
    ahead = evenly()
    for _ in range(2):
        found = asked(ahead, order)
        assert sorted(found) == [(1000 * run, 980) for run in range(COUNT // RUN)]
    assert asked(evenly(), [57]) == [(5000, 980)]  # with the first of its images
    assert asked(evenly(), [57, 50, 59]) == [(5000, 980)]


def test_images_far_from_each_other_are_not_worth_it():
    assert asked(evenly(stride=1000), np.arange(COUNT)) == []
    backwards = ReadAhead(np.arange(COUNT) // RUN, 100 * np.arange(COUNT)[::-1], np.full(COUNT, 80))
    assert asked(backwards, np.arange(COUNT)) == []
    alone = ReadAhead(np.arange(COUNT), 100 * np.arange(COUNT), np.full(COUNT, 80))
    assert asked(alone, np.arange(COUNT)) == []


def test_one_process_of_many_does_not_read_everything(monkeypatch):
    monkeypatch.setattr(readahead, "BEFORE", 100)
    ahead = evenly()
    images = RUN * sum(len(asked(ahead, np.arange(part, COUNT, 8))) for part in (0, 3, 5))
    assert images <= 100 + RUN + 1.25 * 3 * COUNT / 8


def test_nothing_at_all():
    ReadAhead(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system cannot be asked")
def test_the_system_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(window, "RUN_OF_A_CLASS", 4)
    image = jpeg() + bytes(5000)
    members = [each for k in range(8) for each in ((f"{k}.jpg", image), (f"{k}.cls", b"0"))]
    path = write_tar(tmp_path / "0.tar", members)
    data, calls = load(f"shards:{path}", tmp_path), []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, start, size, advice: calls.append((start, size, advice)))
    data.fetch(range(8))
    step = 512 + 512 * -(-len(image) // 512) + 1024
    assert calls == [(512 + 4 * k * step, 3 * step + len(image), os.POSIX_FADV_WILLNEED) for k in (0, 1)]


@pytest.mark.parametrize("broken", [True, False])
def test_images_are_read_without_it(tmp_path, monkeypatch, broken):
    def refuse(*args):
        raise OSError("not on this file system")

    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    if not broken:
        monkeypatch.delattr(os, "posix_fadvise")
    image = jpeg() + bytes(5000)
    path = write_tar(tmp_path / "0.tar", [("0.jpg", image), ("0.cls", b"0"), ("1.jpg", image), ("1.cls", b"0")])
    assert len(load(f"shards:{path}", tmp_path).fetch(range(2))[0]) == 2

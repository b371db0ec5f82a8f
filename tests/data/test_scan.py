"""Unreadable files are found before they are needed."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minivit.data import FolderDataset, scan
from minivit.data.scan import unreadable


@pytest.fixture
def paths(tmp_path):
    """Six images, of which 1 is nonsense, 3 is cut in half and 4 is missing."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    found = [tmp_path / f"{i}.{'jpg' if i % 2 else 'png'}" for i in range(6)]
    for path in found:
        Image.fromarray(pixels).save(path)
    found[1].write_bytes(b"nonsense")
    found[3].write_bytes(found[3].read_bytes()[:-800])
    found[4].unlink()
    return [str(path) for path in found]


def folder(paths):
    return FolderDataset(paths, [0] * 6, ["a"], "six", "skip")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("many", [3, 100])
def test_all_of_them_are_found_in_order_and_every_file_is_counted(paths, threads, many, monkeypatch):
    monkeypatch.setattr(scan, "MANY", many)
    monkeypatch.setattr(scan, "RUN", 2)
    seen = []
    found, left = unreadable(folder(paths), threads, seen=lambda: seen.append(1))
    assert list(found) == [paths[1], paths[3], paths[4]]
    assert found[paths[1]].startswith("not an image")
    assert found[paths[4]] == "there is no such file"
    assert (len(seen), left) == (6, 0)


def test_without_time_only_headers_are_read(paths):
    found, left = unreadable(folder(paths), 2, seconds=0.0)
    assert (list(found), left) == ([paths[1], paths[4]], 0)


def test_the_time_for_headers_ends_too(paths, monkeypatch):
    """On a clock that every look moves by a second."""
    dataset, clock = FolderDataset([paths[4]] * 60, [0] * 60, ["a"], "sixty", "skip"), []
    monkeypatch.setattr(scan, "time", SimpleNamespace(monotonic=lambda: len(clock)))
    monkeypatch.setattr(dataset, "fault", lambda index, size: clock.append(size))
    left = unreadable(dataset, 1, seconds=5.0, headers=10.0).left
    assert clock[:5] == [(scan.SIDE, scan.SIDE)] * 5
    assert clock[5:] == [None] * (len(clock) - 5)
    assert 15 <= 60 - left == len(clock) < 30


def test_many_images_are_visited_in_runs_from_all_over(monkeypatch):
    monkeypatch.setattr(scan, "MANY", 1000)
    order = np.array(list(scan._visits(6500)))
    assert sorted(order) == list(range(6500))
    assert (np.diff(order) == 1).mean() > 0.95
    assert len(set(order[:640] // 650)) > 5
    assert list(scan._visits(1000)) == list(range(1000))


def test_known_ones_are_not_opened_again(paths):
    dataset = folder(paths)
    dataset.skipped.update(dict.fromkeys(paths[:2], "said before"))  # the first of them could be read
    images, _ = dataset.fetch(range(6))
    assert len(images) == 2
    assert dataset.skipped[paths[0]] == dataset.skipped[paths[1]] == "said before"

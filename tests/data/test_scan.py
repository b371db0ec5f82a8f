"""Unreadable files are found before they are needed."""

import numpy as np
import pytest
from PIL import Image

from minivit.data import FolderDataset
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
def test_all_of_them_are_found_in_order_and_every_file_is_counted(paths, threads):
    seen = []
    found = unreadable(folder(paths), threads, seen=lambda: seen.append(1))
    assert list(found) == [paths[1], paths[3], paths[4]]
    assert found[paths[1]].startswith("not an image")
    assert found[paths[4]] == "there is no such file"
    assert len(seen) == 6


def test_without_time_only_headers_are_read(paths):
    assert list(unreadable(folder(paths), 2, seconds=0.0)) == [paths[1], paths[4]]


def test_known_ones_are_not_opened_again(paths):
    dataset = folder(paths)
    dataset.skipped.update(dict.fromkeys(paths[:2], "said before"))  # the first of them could be read
    images, _ = dataset.fetch(range(6))
    assert len(images) == 2
    assert dataset.skipped[paths[0]] == dataset.skipped[paths[1]] == "said before"

"""Images in archives: read at their places by any thread or process, in little memory; archives that change or end
early are named."""

import os
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from archives import jpeg, write_tar

from minivit.data import archived, listing
from minivit.data.archived import ArchivedDataset, Files, Places, check_faults
from minivit.data.listing import Listing, listings
from minivit.data.packed import Names
from minivit.data.tars import members


def fill(window, end, draft, meter):
    """Every member is an image of class 0."""
    for name, start, size in members(window, 0, end):
        meter.at(start)
        draft.add(name, start, size, 0)


@pytest.fixture
def archives(tmp_path):
    """Three archives of five images, whose greys are 0, 10, 20, ..."""
    return [
        write_tar(tmp_path / f"{k}.tar", [(f"d/{i}.jpg", jpeg(10 * i)) for i in range(5 * k, 5 * k + 5)])
        for k in range(3)
    ]


def dataset(archives, cache=None, bad_images="refuse"):
    listed = listings(archives, cache, "test", fill)
    left_out = check_faults(archives, listed, bad_images)
    places = Places.of(archives, listed)
    return ArchivedDataset(
        places, np.arange(len(places.start)) % 3, ["a", "b", "c"], "mine", bad_images, left_out, "val"
    )


def greys(data):
    images, _ = data.fetch(range(len(data)))
    return [int(image[0, 0, 0]) for image in images]


def test_images_are_read_at_their_places(archives, tmp_path):
    for _ in range(2):  # from nothing, and from the index
        data = dataset(archives, tmp_path / "index")
        assert greys(data) == list(range(0, 150, 10))
        assert data.place(7) == f"{archives[1]}/d/7.jpg"
        assert data.fault(7, None) == data.fault(7, (8, 8)) == ""


def test_a_subset_keeps_everything_else(archives):
    part = dataset(archives).subset([14, 3, 3])
    assert greys(part) == [140, 30, 30]
    assert part.labels.tolist() == [2, 0, 0]
    assert (part.classes, part.name, part.split, part.bad_images) == (["a", "b", "c"], "mine", "val", "refuse")
    assert greys(dataset(archives).limit(15)) == list(range(0, 150, 10))


def test_threads_and_other_processes_read_the_right_bytes(archives, monkeypatch):
    monkeypatch.setattr(archived, "MOST_OPEN", 1)
    data = dataset(archives)
    chosen = np.random.default_rng(0).integers(0, 15, 400)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: int(data[i][0][0, 0, 0]), chosen.tolist()))
    assert found == (10 * chosen).tolist()
    assert len(data._files._idle) <= 1
    assert greys(pickle.loads(pickle.dumps(data))) == list(range(0, 150, 10))


def test_without_pread(archives, monkeypatch):
    monkeypatch.delattr(os, "pread", raising=False)  # as on Windows
    assert greys(dataset(archives)) == list(range(0, 150, 10))


def test_an_open_file_is_used_again(archives, monkeypatch):
    data, opened = dataset(archives), []

    def counting(path, *args, **options):
        opened.append(str(path))
        return open(path, *args, **options)

    monkeypatch.setattr(archived, "open", counting, raising=False)
    assert greys(data) == list(range(0, 150, 10))
    assert opened == [str(path) for path in archives]


def test_an_archive_that_became_shorter_or_went_away_is_named(archives, refused):
    data = dataset(archives)
    archives[1].write_bytes(archives[1].read_bytes()[:600])
    with refused(f"{archives[1]}/d/5.jpg: the archive is shorter than it was"):
        data.fetch([5])
    archives[2].unlink()
    with refused(f"{archives[2]}: cannot be read (No such file"):
        data.fetch([10])
    skipping = dataset(archives[:1], bad_images="skip")
    archives[0].write_bytes(archives[0].read_bytes()[:1000])
    images, _ = skipping.fetch(range(5))
    assert (len(images), len(skipping.skipped)) == (0, 5)


def test_an_index_follows_its_archive(archives, tmp_path):
    cache = tmp_path / "index"
    dataset(archives, cache)
    write_tar(archives[1], [("new.jpg", jpeg(200))])
    assert greys(dataset(archives, cache)) == [*range(0, 50, 10), 200, *range(100, 150, 10)]
    stamp = archives[1].stat()
    content = archives[1].read_bytes()
    archives[1].write_bytes(content.replace(b"new.jpg", b"wen.jpg"))  # as long as before, with the same sums
    os.utime(archives[1], ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1000))
    assert dataset(archives, cache).place(5).endswith("wen.jpg")


def test_only_changed_archives_are_read_again_with_progress(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "OFTEN", 0)
    seen, sizes = [], [path.stat().st_size for path in archives]
    listings(archives, tmp_path / "index", "test", fill, lambda done, total: seen.append((done, total)))
    assert len(seen) == 15
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {sum(sizes)}
    assert seen[5][0] == sizes[0] + 512
    seen.clear()
    os.utime(archives[2], ns=(1, 1))
    listings(archives, tmp_path / "index", "test", fill, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == [sum(sizes[:2]) + 512 + 1536 * i for i in range(5)]


def test_a_cut_archive_is_refused_or_used_as_far_as_it_goes(archives, tmp_path, refused):
    content = archives[1].read_bytes()
    archives[1].write_bytes(content[:4000])
    for _ in range(2):  # also from the index
        with refused(
            f"{archives[1]}: the archive ends within d/7.jpg; get it again, or use the 2 images before that",
            "--bad-images skip",
        ):
            dataset(archives, tmp_path / "index")
        data = dataset(archives, tmp_path / "index", "skip")
        assert greys(data) == [*range(0, 70, 10), *range(100, 150, 10)]
        assert data.left_out == {"damaged 1.tar": 1}


def test_what_is_no_archive_is_named(tmp_path, refused):
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "packed.tar").write_bytes(b"\x1f\x8b\x08" + bytes(100))
    for name, text in (("folder.tar", "is a folder"), ("packed.tar", "gunzip"), ("none.tar", "no such file")):
        with refused(f"{tmp_path / name}: ", text):
            listings([tmp_path / name], None, "test", fill)


def test_a_listing_survives_its_index_file():
    one = Listing(Names.of(["\udcff"]), *np.arange(4).reshape(4, 1), ["ä", "b\udc80"], {"hidden": 2}, "ends")
    again = Listing.from_arrays(one.to_arrays())
    assert list(again.names) == ["\udcff"]
    assert [int(array[0]) for array in (again.starts, again.sizes, again.labels, again.word)] == [0, 1, 2, 3]
    assert (again.words, again.left_out, again.fault) == (one.words, one.left_out, one.fault)


def test_a_million_images_take_little_memory():
    count = 200_000
    names = Names(np.zeros(25 * count, np.uint8), np.arange(0, 25 * count + 1, 25))
    numbers = [np.zeros(count, np.int64) for _ in range(4)]
    listed = Listing(names, *numbers, [], {}, "")
    tracemalloc.start()
    data = ArchivedDataset(Places.of([Path("a.tar")], [listed]), np.zeros(count, np.int64), ["a"], "large")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used * 1_300_000 / count < 100e6
    assert len(data) == count
    assert data.places.take(np.arange(count)) is data.places  # all of them are not copied


def test_files_read_in_pieces(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(bytes(range(200)))
    if hasattr(os, "pread"):
        real = os.pread
        monkeypatch.setattr(os, "pread", lambda file, size, at: real(file, min(size, 7), at))
    assert Files().read(str(tmp_path / "x"), 5, 100) == bytes(range(5, 105))
    assert Files().read(str(tmp_path / "x"), 190, 100) == bytes(range(190, 200))

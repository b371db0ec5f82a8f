"""Index files: used when they belong to the data as it is, made anew in every other case, never in the way."""

import os
import stat
import threading

import numpy as np
import pytest

from minivit.data import index


class Work:
    """Builds arrays and counts how often."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return {"numbers": np.arange(self.times, dtype=np.int64), "text": np.frombuffer(b"abc", np.uint8)}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "not yet" / "index"


def only(cache):
    (file,) = cache.iterdir()
    return file


def test_work_is_done_once(cache):
    work = Work()
    first, second = (index.indexed(cache, "tar /a", (1, 2), work) for _ in range(2))
    assert work.times == 1
    assert first.keys() == second.keys() == {"numbers", "text"}
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)
        assert second[name].dtype == array.dtype


def test_other_data_or_another_key_is_other_work(cache):
    work = Work()
    for number, (key, stamp) in enumerate(
        [("a", (1, 2)), ("a", (1, 3)), ("a", (1, 2, 3)), ("b", (1, 2)), ("a", ())], 1
    ):
        assert len(index.indexed(cache, key, stamp, work)["numbers"]) == number
    assert work.times == 5
    assert len(list(cache.iterdir())) == 2  # the newest of each key


@pytest.mark.parametrize("spoil", [lambda b: b[:100], lambda b: b"", lambda b: b[:70] + b"?" + b[71:], lambda b: b * 2])
def test_a_damaged_file_is_replaced(cache, spoil):
    work = Work()
    index.indexed(cache, "a", (1,), work)
    whole = only(cache).read_bytes()
    only(cache).write_bytes(spoil(whole))
    index.indexed(cache, "a", (1,), work)
    before = work.times
    index.indexed(cache, "a", (1,), work)
    assert work.times == before
    assert index.read(cache, "a") is not None


def test_a_file_of_another_key_or_format_is_not_used(cache, monkeypatch):
    work = Work()
    index.indexed(cache, "a", (1,), work)
    index.indexed(cache, "b", (1,), work)
    first, second = cache.iterdir()
    first.write_bytes(second.read_bytes())  # the same hash by chance, or a file copied by hand
    assert [index.read(cache, key) for key in "ab"].count(None) == 1
    monkeypatch.setattr(index, "FORMAT", index.FORMAT + 1)
    index.indexed(cache, "a", (1,), work)
    assert work.times == 3


def test_a_file_with_pickles_is_not_read(cache):
    index.write(cache, "a", {"x": np.zeros(1)})
    np.savez(only(cache), key=np.array([{}], object))
    assert index.read(cache, "a") is None
    with open(only(cache), "wb") as file:
        np.save(file, np.zeros(3))  # not even named arrays
    assert index.read(cache, "a") is None


def test_without_a_folder_that_can_be_written_the_work_is_done_again(tmp_path):
    work = Work()
    (tmp_path / "file").touch()
    for cache in (None, tmp_path / "file" / "index"):
        for _ in range(2):
            assert index.indexed(cache, "a", (1,), work)["text"].tobytes() == b"abc"
    assert work.times == 4
    assert not index.write(tmp_path / "file" / "index", "a", {})


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to this user")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert not index.write(tmp_path, "a", {})
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_writers_at_the_same_time_leave_one_whole_file(cache):
    arrays = [{"x": np.full(20_000, number)} for number in range(8)]
    threads = [threading.Thread(target=index.write, args=(cache, "a", each)) for each in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(np.unique(index.read(cache, "a")["x"])) == 1
    assert only(cache).suffix == ".npz"

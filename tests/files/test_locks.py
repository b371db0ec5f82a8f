"""One writer at a time, also when writers die, and files that are whole or not there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minivit.files import locks
from minivit.files import paths as files

HOLD = """
import sys, time
from pathlib import Path
from minivit.files import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def holder():
    """holder("lock", path): another process that is in this context."""
    processes = []

    def start(what, path):
        argv = [sys.executable, "-c", HOLD, what, str(path)]
        processes.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path):
    path = tmp_path / "lock"
    with locks.lock(path) as locked:
        assert locked
        with pytest.raises(locks.HeldError, match=f"^process {os.getpid()} on .* since 20"), locks.lock(path):
            raise AssertionError("two have it")
    assert not path.exists()
    with locks.lock(path):
        pass


def test_a_process_that_is_killed_leaves_no_lock(tmp_path, holder):
    path = tmp_path / "lock"
    other = holder("lock", path)
    with pytest.raises(locks.HeldError, match=f"process {other.pid} on "), locks.lock(path):
        raise AssertionError("two have it")
    other.kill()
    other.wait()
    assert path.exists()
    with locks.lock(path) as locked:
        assert locked
        assert f"process {os.getpid()} " in path.read_text(encoding="utf-8")
    assert not path.exists()


@pytest.mark.skipif(os.name == "nt", reason="flock")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(code, tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    left = tmp_path / "a.npz.123-0123abcd.partial"
    left.touch()
    with locks.lock(tmp_path / "lock") as locked:
        assert not locked
    with locks.replacing(tmp_path / "a.npz") as partial:
        partial.write_text("new", encoding="utf-8")
    assert (tmp_path / "a.npz").read_text(encoding="utf-8") == "new"
    assert left.exists()  # who knows whose it is


@pytest.mark.parametrize("folder", [False, True])
def test_what_dead_processes_left_is_removed_and_what_the_living_write_is_not(folder, tmp_path, holder):
    target = tmp_path / "a.npz"
    for name in ("a.npz.partial", "a.npz.999-0123abcd.partial", "b.npz.999-0123abcd.partial", "a.npz.old.partial"):
        (tmp_path / name).mkdir() if folder else (tmp_path / name).touch()
    living = holder("replacing", target)
    (at_work,) = tmp_path.glob(f"a.npz.{living.pid}-*.partial")
    with locks.replacing(target, folder) as partial:
        (partial / "x" if folder else partial).write_text("new", encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.npz",
        at_work.name,
        "a.npz.old.partial",
        "b.npz.999-0123abcd.partial",
    }
    assert (target / "x" if folder else target).read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("refusals", [3, 10**6])
def test_a_file_that_another_program_has_open_is_waited_for(refusals, tmp_path, monkeypatch):
    """As on Windows, where a virus scanner or another window may have it open."""
    real, times = os.replace, [0]

    def replace(source, target):
        times[0] += 1
        if times[0] <= refusals:
            raise PermissionError(13, "Access is denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files, "PATIENCE", 0.3)
    target = tmp_path / "a"
    target.write_text("old", encoding="utf-8")

    def write():
        with locks.replacing(target) as partial:
            partial.write_text("new", encoding="utf-8")

    if refusals == 3:
        monkeypatch.setattr(files, "PATIENCE", 60)
        write()
    else:
        with pytest.raises(PermissionError):
            write()
    assert target.read_text(encoding="utf-8") == ("new" if refusals == 3 else "old")
    assert list(tmp_path.iterdir()) == [target]


def test_a_mode_for_others_to_read(tmp_path):
    """Not that of temporary files, which nobody else may read."""
    before = os.umask(0o022)
    try:
        with locks.replacing(tmp_path / "a"):
            pass
        with locks.replacing(tmp_path / "b", folder=True):
            pass
    finally:
        os.umask(before)
    if os.name != "nt":
        assert [Path(tmp_path, name).stat().st_mode & 0o777 for name in "ab"] == [0o644, 0o755]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    try:
        link.symlink_to(tmp_path / "elsewhere" / "file")
    except OSError:
        pytest.skip("links are not to be made here")
    for text in ("new", "newer"):  # first it leads nowhere
        with locks.replacing(link) as partial:
            partial.write_text(text, encoding="utf-8")
        assert link.is_symlink()
        assert (tmp_path / "elsewhere" / "file").read_text(encoding="utf-8") == text
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a pipe or a device"), locks.replacing(tmp_path / "pipe"):
        pass
    assert files.is_special(tmp_path / "pipe")

"""How many cores this process may use, told by files like Linux's in a folder, by variables and by a made-up macOS."""

import ctypes
import os

import pytest

from minivit.backend import cores
from minivit.backend.cores import available_cores, usable_cores

V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """64 cores, all of which this process may be scheduled on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(cores, "_scheduled_cores", lambda: 64)


def v1(folder, quota, period):
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


def count(root, files=(), **environ):
    """What `usable_cores` finds where these files are."""
    for name, text in dict(files).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    return usable_cores(root, environ)


GROUP = {"proc/self/cgroup": "0::/pods/a\n"}
OLD_GROUP = {"proc/self/cgroup": "9:name=systemd:/x\n7:memory:/m\n4:cpu,cpuacct:/docker/a\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # version 2
        ({f"{V2}/cpu.max": "150000 100000\n"}, (2, "container quota 1.5")),
        ({f"{V2}/cpu.max": "200000 100000\n"}, (2, "container quota 2")),
        ({f"{V2}/cpu.max": "5000 100000\n"}, (1, "container quota 0.05")),
        ({f"{V2}/cpu.max": "6400000 100000\n"}, (64, "")),
        ({f"{V2}/cpu.max": "99900000 100000\n"}, (64, "")),
        ({**GROUP, f"{V2}/pods/a/cpu.max": "400000 100000\n"}, (4, "container quota 4")),
        ({**GROUP, f"{V2}/pods/cpu.max": "400000 100000\n"}, (4, "container quota 4")),
        ({**GROUP, f"{V2}/cpu.max": "400000 100000\n"}, (4, "container quota 4")),
        (
            {**GROUP, f"{V2}/pods/a/cpu.max": "900000 100000", f"{V2}/pods/cpu.max": "300000 100000"},
            (3, "container quota 3"),
        ),
        ({**GROUP, f"{V2}/pods/b/cpu.max": "100000 100000"}, (64, "")),  # somebody else's
        ({**GROUP, f"{V2}/unified/pods/a/cpu.max": "100000 50000"}, (2, "container quota 2")),
        ({"proc/self/cgroup": "0::/../b\n", f"{V2}/b/cpu.max": "100000 100000"}, (64, "")),  # b is outside of view
        # version 1
        (v1(V1, "250000\n", "100000\n"), (3, "container quota 2.5")),
        (v1("sys/fs/cgroup/cpu,cpuacct", "250000\n", "100000\n"), (3, "container quota 2.5")),
        ({**OLD_GROUP, **v1(f"{V1}/docker/a", "100000", "50000")}, (2, "container quota 2")),
        ({**OLD_GROUP, **v1("sys/fs/cgroup/cpu,cpuacct/docker", "100000", "50000")}, (2, "container quota 2")),
        ({**OLD_GROUP, **v1(f"{V1}/m", "100000", "50000")}, (64, "")),  # the group for memory is another one
        ({**v1(V1, "400000", "100000"), f"{V2}/cpu.max": "700000 100000"}, (4, "container quota 4")),
        # no quota, or none that can be read
        (v1(V1, "-1\n", "100000\n"), (64, "")),
        (v1(V1, "0", "100000"), (64, "")),
        (v1(V1, "100000", "0"), (64, "")),
        (v1(V1, "100000", ""), (64, "")),
        ({f"{V1}/cpu.cfs_quota_us": "100000"}, (64, "")),
        *[
            ({f"{V2}/cpu.max": text}, (64, ""))
            for text in (
                "max 100000\n", "", "\n", "100000", "0 100000", "100000 0", "-1 100000", "1.5 100000", "a b",
                "100000 100000 7", "\xff\xfe", "9" * 400 + " 1", "nan 1", "inf 1", "1_0 1_0",
            )
        ],
        ({"proc/self/cgroup": "\n:\n::\nx\n0\n0:::::\n5:cpu\n"}, (64, "")),
        ({}, (64, "")),
    ],
)  # fmt: skip
def test_quota_of_a_container(tmp_path, files, expected):
    assert count(tmp_path, files) == expected


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / V2 / "cpu.max").mkdir(parents=True)
    assert count(tmp_path) == (64, "")


@pytest.mark.parametrize("name", cores.VARIABLES)
@pytest.mark.parametrize(
    ("text", "expected"),
    [("4", 4), (" 4 ", 4), ("4,2", 4), ("4 ,2", 4), ("1", 1), ("100", 64), ("999999999", 64)]
    + [(text, 64) for text in ("", "0", "-1", "four", "4.5", "4x", ",4", "٤", "1e1", "default", "9" * 5000)],
)
def test_variables_for_numbers_of_threads(tmp_path, name, text, expected):
    assert count(tmp_path, **{name: text}) == (expected, f"{name}={text}" if expected < 64 else "")


def test_the_least_counts(tmp_path, monkeypatch):
    files = {f"{V2}/cpu.max": "600000 100000"}
    assert count(tmp_path, files, OMP_NUM_THREADS="8") == (6, "container quota 6")
    assert count(tmp_path, files, OMP_NUM_THREADS="8", MKL_NUM_THREADS="3") == (3, "MKL_NUM_THREADS=3")
    monkeypatch.setattr(cores, "_scheduled_cores", lambda: 2)
    assert count(tmp_path, files, OMP_NUM_THREADS="8") == (2, "affinity of the process")


def test_a_machine_that_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(cores, "_scheduled_cores", lambda: 0)
    assert count(tmp_path) == (1, "")


def test_affinity(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)  # Python 3.13
    assert cores._scheduled_cores() == 3
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5}, raising=False)
    assert cores._scheduled_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS, Windows
    assert cores._scheduled_cores() == 0


def test_this_process(monkeypatch):
    for name in cores.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert 1 <= available_cores() <= 64
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert available_cores() == 1


def test_the_fast_cores_of_an_apple_processor(tmp_path, monkeypatch):
    class System:
        @staticmethod
        def sysctlbyname(name, value, size, new, new_size):
            if name == b"hw.perflevel0.physicalcpu":
                value._obj.value = 6
            return 0 if name == b"hw.perflevel0.physicalcpu" else -1

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: System)
    assert count(tmp_path) == (6, "performance cores")
    monkeypatch.setattr(System, "sysctlbyname", lambda *args: -1)  # an Intel Mac
    assert count(tmp_path) == (64, "")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert count(tmp_path) == (64, "")

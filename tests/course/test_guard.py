"""The rule of a student's process by itself: where the kernel keeps nothing, it is all there is."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import minivit
from minivit.course.sandbox.guard import BANNED, permission

pytestmark = pytest.mark.skipif(os.name == "nt", reason="grading needs a system with fork")
READ, WRITE = os.O_RDONLY, os.O_WRONLY | os.O_CREAT


@pytest.fixture
def own(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def rule(own):
    return permission(str(own), frozenset({"autograd"}), tuple(BANNED))


def test_the_own_folder_is_read_and_written(own, rule):
    for path in ("notes.txt", str(own / "deep" / "notes.txt"), b"notes.npy"):
        assert rule("open", (path, "r", READ)) is None
        assert rule("open", (path, "w", WRITE)) is None
    assert rule("os.remove", ("notes.txt", -1)) is None


def test_libraries_are_read_and_not_written(rule):
    for path in (json.__file__, str(Path(np.__file__).with_name("version.py"))):
        assert rule("open", (path, "r", READ)) is None
        assert rule("open", (path, "a", WRITE | os.O_APPEND)) is not None


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "../key", "a/../../key", minivit.__file__, pytest.__file__, b"/etc/passwd"],
)
def test_nothing_else_is_opened(rule, path):
    assert rule("open", (path, "r", READ)) is not None
    assert rule("open", (path, "w", WRITE)) is not None


@pytest.mark.parametrize("event", ["os.listdir", "os.scandir"])
def test_no_other_folder_is_listed(own, rule, event):
    assert rule(event, (str(own),)) is None
    assert rule(event, (str(own.parent),)) is not None


def test_a_folder_of_others_is_not_opened(own, rule):
    assert rule("open", (str(Path(json.__file__).parent), None, READ)) is not None
    assert rule("open", (str(own), None, READ)) is None


def test_banned_modules_are_refused_and_ones_own_are_not(rule):
    assert "minivit" in rule("import", ("minivit.ops", None, None, None, None))
    assert "torch" in rule("import", ("torch", None, None, None, None))
    assert rule("import", ("autograd", None, None, None, None)) is None
    assert rule("import", ("json", None, None, None, None)) is None


def test_machine_code_of_ones_own_is_refused(own, rule):
    assert rule("import", ("fast", str(own / "fast.so"), None, None, None)) is not None


@pytest.mark.parametrize("event", ["subprocess.Popen", "os.fork", "os.system", "socket.connect", "ctypes.dlopen"])
def test_processes_sockets_and_libraries_are_refused(rule, event):
    assert rule(event, ()) is not None


def test_this_interpreter_is_no_secret(rule):
    assert rule("sys._getframe", (sys._getframe(),)) is None

"""Every kind of leak is planted in a clean release, and seen."""

import base64
import getpass
import io
import json
import struct
import zlib

import numpy as np
import pytest
from toy_assignment import T1, toy_assignments

from minivit.course.assignment import assignments
from minivit.course.release import leaks as module
from minivit.course.release.build import student_files
from minivit.course.release.leaks import leaks

KEY = bytes(range(7, 39))
LINE = "exponentials = np.exp(shifted)"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The assignment, and what students get of it."""
    assignment = assignments(toy_assignments(tmp_path_factory.mktemp("assignments")))["t1_weights"]
    return assignment, student_files(assignment)


def found(clean, **planted: bytes) -> list[str]:
    """What is said of the release with files planted; keys have __ for / and _dot_ for a dot."""
    assignment, files = clean
    named = {name.replace("__", "/").replace("_dot_", "."): content for name, content in planted.items()}
    return leaks({**files, **named}, assignment, KEY, allowed(assignment, files))


def allowed(assignment, files) -> list[str]:
    return [files[f"_course/{name}.py"].decode() for name in ("trial", "replay", "check", "packing")]


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def notebook(cell: dict | None = None, **metadata) -> bytes:
    code = {"cell_type": "code", "metadata": {}, "source": ["1 + 1"], "outputs": [], "execution_count": None}
    cells = [{**code, **(cell or {})}]
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def png(*chunks: bytes) -> bytes:
    parts = (struct.pack(">I", 4) + kind + b"text" + struct.pack(">I", zlib.crc32(kind + b"text")) for kind in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_release_is_clean(clean):
    assert found(clean) == []
    assert found(clean, a_dot_ipynb=notebook(kernelspec={"name": "python3"}), b_dot_png=png(b"IHDR", b"IDAT")) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("handout.md", f"Use `{LINE}` here.".encode()),
        ("handout.md", b"exponentials\t=\n  np . exp( shifted )"),
        ("handout.md", b"exponentials = np.exp(shifted)  # so"),
        ("notes.html", b"<span>exponentials</span> <b>=</b> np.<i>exp</i>(shifted)"),
        ("notes.html", b"shifted = x &#45; np.max(x, axis=-1, keepdims=True)"),
        ("a.ipynb", notebook({"source": ["x = 1\n", f"{LINE}\n"]})),
        ("a.ipynb", notebook({"source": ["exponentials = \\\n", "  np.exp(shifted)"]})),
        ("_course/more.npz", npz(text=np.array(["a", LINE]))),
        ("_course/more.npz", npz(text=np.frombuffer(json.dumps({"a": [LINE]}).encode(), np.uint8))),
        ("weights.py", f"def f(x):\n    {LINE}\n".encode()),
        ("figures/bars.svg", f"<svg><text>{LINE}</text></svg>".encode()),
        ("given/x.py", b'"""Taking off the largest keeps the exponential finite."""'),
    ],
)
def test_a_line_of_an_answer_is_found_wherever_it_hides(clean, name, content):
    said = leaks({**clean[1], name: content}, clean[0], KEY, allowed(*clean))
    assert any(one.startswith(f"{name} holds a ") for one in said), said


def test_three_short_lines_in_a_row_are_found_and_one_of_them_is_not(tmp_path):
    folder = toy_assignments(tmp_path) / "t1_weights"
    text = T1["master/weights.py"].replace("    return weights_of_rows @ v\n", "    y = v\n    z = y\n    return z\n")
    (folder / "master" / "weights.py").write_text(text.replace("weights_of_rows @ v", "z"), encoding="utf-8")
    wrong = T1["wrong.toml"].replace("return weights_of_rows @ v", "return z")
    (folder / "wrong.toml").write_text(
        wrong.replace("    weights_of_rows = soft", "    weights_of_rows = soft"), encoding="utf-8"
    )
    assignment = assignments(tmp_path)["t1_weights"]
    assert leaks({"handout.md": b"y = v, and then z = y"}, assignment) == []
    said = leaks({"handout.md": b"y = v\n\nz = y\n\nreturn z"}, assignment)
    assert said == ["handout.md holds a line of the region q2 of master/weights.py: y = v / z = y / return z"]


def test_lines_that_are_open_anyway_are_no_leak(clean, tmp_path):
    folder = toy_assignments(tmp_path) / "t1_weights"
    open_too = T1["master/weights.py"] + f"\n\ndef other(shifted):\n    {LINE}\n    return exponentials\n"
    (folder / "master" / "weights.py").write_text(open_too, encoding="utf-8")
    assert leaks({"handout.md": LINE.encode()}, assignments(tmp_path)["t1_weights"]) == []
    assert leaks({"handout.md": LINE.encode()}, clean[0], b"", [f"def earlier(shifted):\n    {LINE}\n"]) == []
    assert leaks({"handout.md": LINE.encode()}, clean[0]) != []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("hidden.py", b"", "must not go out"),
        ("_course/oracle.py", b"", "must not go out"),
        ("wrong.toml", b"", "must not go out"),
        ("rubric.md", b"", "must not go out"),
        ("Rubric-2.md", b"", "must not go out"),
        ("master/a.py", b"", "must not go out"),
        ("right/a.py", b"", "must not go out"),
        (".git/config", b"", "must not go out"),
        ("a.pyc", b"", "must not go out"),
        ("__pycache__/a.cpython-311.pyc", b"", "must not go out"),
        ("a.npy", b"", "of a kind that is not handed out"),
        ("a.bin", b"\xa7\r\r\n\0\0\0\0", "is bytecode"),
        ("a.py", b"\xa7\r\r\n\0\0\0\0", "is bytecode"),
        ("a.md", T1["hidden.py"].encode(), "a part of hidden.py"),
        ("a.py", b"def q1_h_large(t): pass", "names the hidden check q1_h_large"),
        ("a.md", T1["oracle.py"].encode(), "a part of oracle.py"),
        ("a.md", T1["wrong.toml"].encode(), "a part of wrong.toml"),
        ("a.ipynb", notebook({"outputs": [{"output_type": "stream", "text": "2"}]}), "has an output"),
        ("a.ipynb", notebook({"execution_count": 3}), "has an output"),
        ("a.ipynb", notebook({"metadata": {"executionInfo": {"user": {"userId": "7"}}}}), "the metadata executionInfo"),
        ("a.ipynb", notebook(colab={"provenance": []}), "the metadata colab"),
        ("a.ipynb", notebook({"attachments": {"a.png": {}}}), "an attachment"),
        ("a.png", png(b"IHDR", b"tEXt", b"IEND"), "has metadata (tEXt)"),
        ("a.png", png(b"eXIf"), "has metadata (eXIf)"),
        ("a.svg", b"<svg><metadata>Inkscape</metadata></svg>", "has metadata"),
        ("a.html", b'<meta name="author" content="A. Person">', "has metadata"),
        ("a.md", b"see /home/teacher/course/a3", "the path /home/teacher"),
        ("a.py", b"path = 'C:\\\\Users\\\\teacher'", "the path C:"),
        ("a.npz", npz(text=np.array(["/Users/teacher/x"])), "the path /Users/teacher"),
        ("a.md", b"x" + KEY + b"y", "the key of the course"),
        ("a.md", KEY.hex().encode(), "the key of the course"),
        ("a.md", KEY.hex().upper().encode(), "the key of the course"),
        ("a.json", json.dumps(base64.b64encode(KEY).decode()).encode(), "the key of the course"),
        ("a.md", base64.urlsafe_b64encode(KEY), "the key of the course"),
        ("a.npz", npz(a=np.frombuffer(KEY, np.uint8)), "the key of the course"),
        ("a.npz", npz(a=np.array([None], object)), "an array that cannot be read"),
    ],
)
def test_each_kind_of_leak_is_found(clean, name, content, told):
    said = leaks({**clean[1], name: content}, clean[0], KEY, allowed(*clean))
    assert any(told in one and name in one for one in said), said


def test_the_name_of_whoever_makes_the_release_is_found(clean, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "gwendolyn")
    monkeypatch.setattr(module.socket, "gethostname", lambda: "lab-pc-17")
    assert any("gwendolyn" in one for one in found(clean, a_dot_md=b"made by gwendolyn"))
    assert any("lab-pc-17" in one for one in found(clean, a_dot_md=b"on lab-pc-17."))
    assert found(clean, a_dot_md=b"gwendolyne") == []
    monkeypatch.setattr(getpass, "getuser", lambda: "student")
    assert found(clean, a_dot_md=b"every student") == []

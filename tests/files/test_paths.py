"""Paths with ~, JSON as people write it, files that replace others."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivit.errors import CheckpointError, DataError
from minivit.files import paths as files


def test_a_path_is_expanded_or_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/a/~b") == tmp_path / "a" / "~b"
    assert files.expanded(tmp_path / "c") == tmp_path / "c"
    with pytest.raises(DataError, match=r"^~nosuch-user/x: the home folder ~nosuch-user is not known"):
        files.expanded("~nosuch-user/x")
    with pytest.raises(CheckpointError):
        files.expanded("~nosuch-user", CheckpointError)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    )
)
def test_what_json_writes_is_read(value):
    for text in (json.dumps(value, indent=2), json.dumps(value)):
        assert files.parse_json(text.encode()) == value
        assert files.parse_json(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()) == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', '"c" occurs twice'),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "1e999 is too large"),
        (b"{} {}", "Extra data"),
        (b"{'a': 1}", "double quotes"),
        (b"", "Expecting value"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16; save it as UTF-8"),
        ('{"a": "\u00e9"}'.encode("latin-1"), "not UTF-8: byte 7 is 0xe9"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "4300"),
    ],
    ids=lambda value: value[:12],
)
def test_what_readers_of_json_disagree_on_is_refused(content, reason):
    with pytest.raises(ValueError, match=reason):
        files.parse_json(content)


def test_a_file_takes_the_place_of_another_once_nobody_holds_it(tmp_path, monkeypatch):
    source, target, tries, replace = tmp_path / "new", tmp_path / "old", [], os.replace
    source.write_text("new", encoding="utf-8")
    target.write_text("old", encoding="utf-8")

    def held(*args):
        tries.append(args)
        if len(tries) < 3:
            raise PermissionError(13, "Permission denied")
        replace(*args)

    monkeypatch.setattr("os.replace", held)
    files.replace(source, target)
    assert (target.read_text(encoding="utf-8"), source.exists(), len(tries)) == ("new", False, 3)
    monkeypatch.setattr(files, "PATIENCE", 0.0)
    tries.clear()
    with pytest.raises(PermissionError):
        files.replace(target, source)

"""Messages quote files and options, so what these hold must not reach a terminal as it is."""

import os
import pickle
import shlex
import subprocess
from pathlib import Path

import pytest

from minivit.data.download import UnreachableError
from minivit.errors import MAX_MESSAGE, CheckpointError, ConfigError, quoted, shown, with_article
from minivit.nn.module import check_match


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        (3, "3"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "right\\u202eleft"),
        ("名前", "名前"),
        ("x" * 81, "x" * 80 + "..."),
        ("\x00" * 80, "\\x00" * 20 + "..."),
    ],
)
def test_text_is_made_fit_for_a_terminal(text, expected):
    assert shown(text) == expected
    assert shown(expected, 83) == expected


def test_every_message_is_one_line_of_bounded_length():
    assert str(CheckpointError("a\n b \x1b[2J\r\n")) == "a b \\x1b[2J"
    assert str(CheckpointError("cannot read two  spaces/a")) == "cannot read two  spaces/a"  # it is its name
    assert str(ConfigError("x" * 10**6)) == "x" * MAX_MESSAGE + "..."


def test_one_long_name_leaves_room_for_the_others():
    found = {"x" * 10**5: None, "last": None}
    with pytest.raises(CheckpointError, match=r"unexpected: x{200}\.\.\., last$"):
        check_match({}, found, "model")


@pytest.mark.parametrize("path", ["runs/digits", "a  b", "it's", "$HOME", 'a"b', "-x", "猫", ""])
def test_a_path_in_a_command_can_be_pasted(path, monkeypatch):
    expected = [os.path.join(".", path) if path.startswith("-") else path]
    if os.name != "nt":
        assert shlex.split(quoted(path)) == expected
    monkeypatch.setattr(os, "name", "nt")
    assert quoted(path) == subprocess.list2cmdline(expected)


def test_every_error_can_be_sent_to_another_process():
    """An error whose class takes other arguments than a message."""
    error = UnreachableError("http://a/b.gz", Path("cache/b.gz"), "no network")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.reason) == (UnreachableError, str(error), "no network")


@pytest.mark.parametrize(
    ("name", "said"), [("ResNet", "a ResNet"), ("int", "an int"), ("Axial", "an Axial"), ("ufunc", "a ufunc")]
)
def test_the_article_fits_the_name(name, said):
    assert with_article(name) == said

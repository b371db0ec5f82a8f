"""Packed paths behave like a list of strings."""

import numpy as np
import pytest

from minivit.data import packed
from minivit.data.packed import Names
from minivit.data.paths import Paths

NAMES = ["tench.jpg", "", "f\u00eate/1.png", "z", "\udcff.jpg"]  # the last is no valid UTF-8


def test_paths_are_a_sequence():
    paths = Paths.of(iter(NAMES))
    assert paths == NAMES
    assert list(paths) == NAMES == paths[:]
    assert [paths[i] for i in (-1, 0, np.int64(2))] == [NAMES[i] for i in (-1, 0, 2)]
    assert paths[1:3] == NAMES[1:3]
    assert paths != NAMES[:-1]
    assert paths != ["other", *NAMES[1:]]
    assert "z" in paths
    for index in (5, -6):
        with pytest.raises(IndexError):
            paths[index]
    assert len(Paths.of([])) == 0
    assert repr(Paths.of("abcd")) == "Paths, 4 of them: a, b, c, ..."


def test_paths_are_folders_and_names():
    paths = Paths(["a/", "b/"], np.array([0, 1, 0]), Names.of(["1.jpg", "2/3.jpg", "4.jpg"]))
    assert paths == ["a/1.jpg", "b/2/3.jpg", "a/4.jpg"]
    assert paths.take(np.array([2, 1])) == ["a/4.jpg", "b/2/3.jpg"]
    chosen = paths.take(np.array([2, 1])).take(np.array([1]))
    assert (chosen, list(chosen.pairs()), len(chosen)) == (["b/2/3.jpg"], [(1, "2/3.jpg")], 1)
    assert list(paths.pairs()) == [(0, "1.jpg"), (1, "2/3.jpg"), (0, "4.jpg")]
    assert chosen[-1] == chosen[0]
    assert Paths.joined([paths, Paths.of(["c/d.jpg"])]) == [*paths, "c/d.jpg"]


def test_a_selection_shares_the_memory():
    names = Names.of(NAMES)
    assert np.shares_memory(names.part(1, 4).text, names.text)
    assert Paths.of(names.part(1, 4)) == NAMES[1:4]
    paths = Paths.of(NAMES)
    assert paths.take(np.array([3])).names is paths.names


def test_names_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr(packed, "PIECE", 2)
    assert list(Names.of(NAMES)) == NAMES
    assert list(Names.of(NAMES).part(1, 4)) == NAMES[1:4]


def test_parts_of_names_are_joined():
    names = Names.of(NAMES)
    assert Paths.of(Names.joined([names.part(3, 5), names.part(0, 2)])) == [*NAMES[3:], *NAMES[:2]]

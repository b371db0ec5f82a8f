"""Packed paths behave like a list of strings."""

import numpy as np
import pytest

from minivit.data.paths import Paths, Texts

NAMES = ["tench.jpg", "", "f\u00eate/1.png", "z", "\udcff.jpg"]  # the last is no valid UTF-8


def test_texts_are_a_sequence():
    texts = Texts.of(NAMES)
    assert texts == NAMES
    assert list(texts) == NAMES == texts[:]
    assert [texts[i] for i in (-1, 0, 2)] == [NAMES[i] for i in (-1, 0, 2)]
    assert texts[1:3] == NAMES[1:3]
    assert texts != NAMES[:-1]
    assert texts != ["other", *NAMES[1:]]
    assert "z" in texts
    for index in (5, -6):
        with pytest.raises(IndexError):
            texts[index]
    assert len(Texts.of([])) == 0
    assert repr(Texts.of("abcd")) == "Texts of 4: a, b, c, ..."


def test_texts_are_joined_and_cut():
    texts = Texts.joined([Texts.of(NAMES[:2]), Texts.of([]), Texts.of(NAMES[2:])])
    assert texts == NAMES
    assert texts.part(1, 4) == NAMES[1:4]
    assert Texts.joined([texts.part(3, 5), texts.part(0, 2)]) == [*NAMES[3:], *NAMES[:2]]
    assert Texts.joined([]) == []


def test_paths_are_folders_and_names():
    paths = Paths(["a/", "b/"], np.array([0, 1, 0]), Texts.of(["1.jpg", "2/3.jpg", "4.jpg"]))
    assert paths == ["a/1.jpg", "b/2/3.jpg", "a/4.jpg"]
    assert paths.take(np.array([2, 1])) == ["a/4.jpg", "b/2/3.jpg"]
    chosen = paths.take(np.array([2, 1])).take(np.array([1]))
    assert (chosen, chosen.name(0), len(chosen)) == (["b/2/3.jpg"], "2/3.jpg", 1)
    assert Paths.joined([paths, Paths.of(["c/d.jpg"])]) == [*paths, "c/d.jpg"]
    assert Paths.of(iter(NAMES)) == NAMES


def test_the_names_of_a_class_are_not_copied():
    texts = Texts.of(NAMES)
    assert np.shares_memory(texts.part(1, 4).data, texts.data)

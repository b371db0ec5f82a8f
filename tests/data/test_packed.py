"""Packed names are a list of strings that takes little memory."""

import numpy as np
import pytest

from minivit.data import packed
from minivit.data.packed import Names

TEXTS = ["a.jpg", "", "folder/ä.jpg", "\udcff.jpg", "b" * 300]


def test_packed_names_are_the_names():
    names = Names.of(TEXTS)
    assert [names[i] for i in range(len(names))] == TEXTS
    assert names[-1] == TEXTS[-1]
    for wrong in (len(TEXTS), -len(TEXTS) - 1):
        with pytest.raises(IndexError):
            names[wrong]
    assert names.text.dtype == np.uint8


@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_some_of_them_in_any_order(piece, monkeypatch):
    monkeypatch.setattr(packed, "PIECE", piece)
    chosen = [4, 0, 0, 3, 1]
    assert list(Names.of(TEXTS).take(chosen)) == [TEXTS[i] for i in chosen]
    assert len(Names.of(TEXTS).take([])) == 0


def test_several_lists_become_one():
    parts = [Names.of(TEXTS[:2]), Names.of([]), Names.of(TEXTS[2:])]
    assert list(Names.joined(parts)) == TEXTS
    assert len(Names.joined([])) == 0

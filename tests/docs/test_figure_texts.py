"""Every figure of a notebook has a sentence for those who cannot see it, and every sentence has a figure."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the extra docs is not installed")

import notebook_copies
from notebook_copies import figure_cells, figure_texts, with_texts

ROOT = Path(__file__).parents[2]
STORED = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_figures_and_sentences_belong_together(file):
    notebook = json.loads(file.read_text(encoding="utf-8"))
    drawn = [cell["id"] for cell in figure_cells(notebook)]
    told = figure_texts().get(file.stem, {})
    assert list(told) == drawn, "look at the changed figures and say in docs/figure_texts.yml what they show"
    for text in told.values():
        assert re.fullmatch(r"[A-Z].{40,350}\.", text), text


def test_no_sentence_is_about_a_notebook_that_is_gone():
    assert set(figure_texts()) <= {file.stem for file in STORED}


def test_no_two_figures_have_the_same_sentence():
    texts = [text for told in figure_texts().values() for text in told.values()]
    assert len(set(texts)) == len(texts) > 40


def notebook(*outputs):
    return {"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "source": "x", "outputs": list(outputs)}]}


@pytest.mark.parametrize("kind", ["image/png", "image/svg+xml"])
def test_a_figure_gets_its_sentence(kind, monkeypatch):
    monkeypatch.setattr(notebook_copies, "figure_texts", lambda: {"00_new": {"a": "A line."}})
    written = json.loads(with_texts(json.dumps(notebook({"data": {kind: ""}})).encode(), "00_new"))
    assert written["cells"][0]["metadata"] == {"mystnb": {"image": {"alt": "A line."}}}


def test_a_figure_without_a_sentence_is_a_warning(monkeypatch):
    warnings = []
    monkeypatch.setattr("notebook_copies.logger.warning", lambda message, *given: warnings.append(message % given))
    with_texts(json.dumps(notebook({"data": {"image/png": ""}})).encode(), "00_new")
    with_texts(json.dumps(notebook({"data": {"text/plain": "1"}}, {"name": "stdout"})).encode(), "00_new")
    assert warnings == ["00_new: no text for the figure of cell a in figure_texts.yml"]

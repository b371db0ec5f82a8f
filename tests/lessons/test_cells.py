"""What cells call: sizes, comparisons, source."""

import sys
from pathlib import Path

import numpy as np
import pytest

from minivit import functional as F
from minivit import ops
from minivit.lessons import agree, full_or_fast, result_file, show_source
from minivit.tensor import Tensor


def test_full_or_fast(monkeypatch):
    monkeypatch.delenv("MINIVIT_FAST", raising=False)
    assert full_or_fast(10, 1) == 10
    monkeypatch.setenv("MINIVIT_FAST", "1")
    assert full_or_fast(10, 1) == 1


def test_agree_says_how_closely(capsys):
    agree("x", np.array([1.0, 2.0]), Tensor(np.array([1.0, 2.0 + 1e-12])))
    assert capsys.readouterr().out == "x            (2,)             agrees, largest difference 1.0e-12\n"
    agree("loss", 1.0, 1.0)


@pytest.mark.parametrize(
    ("mine", "reference", "said"),
    [
        ([1.0, 2.0], [1.0, 2.1], "largest difference 0.1, allowed 2.1e-09"),
        ([1.0, 2.0], [[1.0, 2.0]], r"its shape is \(2,\), the reference has \(1, 2\)"),
        ([np.nan], [1.0], "largest difference nan"),
        ([1e-20], [2e-6], "largest difference 2e-06"),
    ],
)
def test_agree_raises(mine, reference, said):
    with pytest.raises(AssertionError, match=said):
        agree("x", np.array(mine), np.array(reference))


def test_show_source_is_the_source_with_its_place():
    shown = show_source(ops.softmax)
    assert shown.place == "minivit/ops/normalisation.py"
    assert shown.code.startswith("def softmax")
    assert "return (y * (g - (g * y)" in repr(shown)
    assert "```python\ndef softmax" in shown._repr_markdown_()


def test_show_source_of_a_lifted_op_is_that_of_the_op():
    assert repr(show_source(F.softmax)) == repr(show_source(ops.softmax))


def test_a_result_file_is_found_from_any_working_directory(tmp_path, monkeypatch):
    notebooks = tmp_path / "clone" / "notebooks"
    (notebooks / "results").mkdir(parents=True)
    wanted = notebooks / "results" / "of this test.json"
    wanted.write_text("{}", encoding="utf-8")
    for folder in (notebooks, notebooks / "results", tmp_path / "clone"):
        monkeypatch.chdir(folder)
        assert result_file(wanted.name).samefile(wanted)
    monkeypatch.chdir(tmp_path)
    assert result_file(wanted.name) == Path("results", wanted.name)
    monkeypatch.setitem(vars(sys.modules["__main__"]), "__vsc_ipynb_file__", str(notebooks / "18.ipynb"))
    assert result_file(wanted.name) == wanted

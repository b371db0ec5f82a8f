"""Tables of parameters in the reference: from signatures, docstrings and comments."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("sphinx", reason="the extra docs is not installed")

from docstrings import process, to_restructured_text
from markup import prose
from parameter_tables import has_table, linked, parameters_of, table, take_meanings
from parameter_words import words

from minivit.data import Dataset
from minivit.models import ViTConfig
from minivit.runs.recipes import Recipe
from minivit.tensor import Tensor


def rows(documented):
    return {row.name: (row.type, row.default, row.meaning) for row in parameters_of(documented)}


class Layer:
    """y = f(x).   x: (B, N); weight: (N,).   rate: how often."""

    def __init__(self, width: "int", *sizes: int, weight: Callable[[], np.ndarray] = np.zeros, rate=0.5, **more):
        pass

    @functools.cache  # noqa: B019
    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclasses.dataclass
class Record:
    a: int  # of something
    b: list[int] = dataclasses.field(default_factory=list)
    c: float = 1e-3  # type: ignore[arg-type]
    d: int = dataclasses.field(default=0, init=False)


def test_parameters_are_as_the_source_has_them():
    assert rows(Layer) == {
        "width": ("'int'", "", ""),
        "*sizes": ("int", "", ""),
        "weight": ("Callable[[], np.ndarray]", "np.zeros", ""),
        "rate": ("", "0.5", ""),
        "**more": ("", "", ""),
    }
    assert rows(Layer.forward) == {"x": ("Tensor", "", "")}


def test_fields_of_a_dataclass_have_their_comments():
    assert rows(Record) == {"a": ("int", "", "of something"), "b": ("list[int]", "[]", ""), "c": ("float", "0.001", "")}


@pytest.mark.parametrize("thing", [len, 3, property(len), type("Made", (), {})])
def test_what_has_no_signature_in_python_has_no_table(thing):
    assert parameters_of(thing) == []


def test_a_statement_about_a_parameter_moves_into_its_row():
    given = parameters_of(Layer)
    others = take_meanings(["y = f(x).", "rate: how often,", "and when.", "weight: (N,).", "Raises nothing."], given)
    assert others == ["y = f(x).", "weight: (N,).", "Raises nothing."]
    assert {row.name: row.meaning for row in given if row.meaning} == {"rate": "how often, and when."}


def test_several_parameters_may_share_a_statement():
    given = parameters_of(Record)
    assert take_meanings(["a, c: seconds."], given) == []
    assert [row.meaning for row in given] == ["seconds.", "", "seconds."]


def test_an_array_may_be_explained_by_its_shape():
    given = parameters_of(Layer.forward)
    assert take_meanings(["x: (B, N)."], given) == []
    assert given[0].meaning == "(B, N)."


def documented(thing, what, name):
    lines = (thing.__doc__ or "").splitlines()
    process(None, what, name, thing, None, lines)
    return "\n".join(lines)


def test_a_docstring_is_followed_by_its_table():
    text = documented(Dataset.limit, "method", "minivit.data.dataset.Dataset.limit")
    assert ".. list-table::" in text
    assert "   * - ``count``\n     - \\ ``int``\\" in text
    assert "     - ``0``\n     - of the random numbers" in text


def test_a_line_that_announces_what_the_table_took_goes_too():
    lines = to_restructured_text(
        ["Does it.", "", "What matters:", "a: one.", "c: two."], 4, "ac", parameters_of(Record)
    )
    assert [line for line in lines if line] == ["Does it."]
    assert "What matters:" in to_restructured_text(["What matters:"], 4, "ac", parameters_of(Record))


@pytest.mark.parametrize("name", ["minivit.ops.softmax", "minivit.functional.gelu"])
def test_ops_have_formulas_instead(name):
    assert not has_table(name)
    assert has_table("minivit.nn.Linear")
    assert has_table("minivit.opsis")


def test_every_choice_of_a_run_is_explained():
    for record, name in ((Recipe, "minivit.runs.recipes.Recipe"), (ViTConfig, "minivit.models.config.ViTConfig")):
        text = documented(record, "class", name)
        for field in dataclasses.fields(record):
            assert f"   * - ``{field.name}``\n" in text
            assert record is ViTConfig or words(field.name, name)
    assert words("lr", "minivit.runs.recipes.Recipe") == "highest learning rate"
    assert words("lr", "minivit.optim.AdamW") == "learning rate"
    assert words("dtype", "minivit.nn.layers.Linear") == '"float32" or "float64"'
    assert words("dtype", "minivit.nnx.Linear") == ""


def test_types_lead_to_their_classes():
    scope = {"Tensor": Tensor, "Record": Record}
    assert linked("Tensor | None", scope) == r"\ :py:class:`~minivit.tensor.Tensor`\  \ ``| None``\ "
    assert linked("Record | int", scope) == r"\ ``Record | int``\ "
    assert linked("", scope) == ""


def test_a_table_without_meanings_has_no_column_for_them():
    assert "meaning" not in "\n".join(table(parameters_of(Layer), "elsewhere", {}, prose))
    assert "     - meaning" in table(parameters_of(Record), "elsewhere", {}, prose)

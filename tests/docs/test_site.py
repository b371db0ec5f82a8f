"""What the site makes of docstrings, formulas and links; the build itself runs Sphinx with warnings as errors."""

import re
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the extra docs is not installed")

from docstrings import process, to_restructured_text
from docutils.utils.math import latex2mathml
from equation_map import markdown_cells
from equation_tables import EQUATIONS
from mathml import TAG, mathml
from repository_links import in_repository, linkcode_resolve, page_of, shown_file, shown_files

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("notebooks/source/*.py"))


# docstrings


def test_a_docstring_with_sections_is_rendered_by_numpydoc():
    lines = ["Twice x.", "", "Parameters", "----------", "x : array", "    the input"]
    process(None, "function", "f", None, None, lines)
    assert ":Parameters:" in "\n".join(lines)
    assert "----------" not in "\n".join(lines)


def rendered(text, **options):
    return [line for line in to_restructured_text(text.splitlines(), **options) if line]


def test_statements_on_one_line_become_lines():
    assert rendered("y = x + b.   x: (..., D).   dx = g.") == [
        "| ``y = x + b.``",
        "| ``x: (..., D).``",
        "| ``dx = g.``",
    ]


def test_a_full_line_flows_and_a_short_one_stays():
    full = "word " * 21 + "end"  # 112 columns with the indentation: an author may leave a short word to the next line
    assert rendered(f"{full}\nof it") == [f"{full} of it"]
    assert rendered("a short line\nanother") == ["| a short line", "| another"]


def test_a_sentence_about_a_parameter_begins_a_line():
    text = "Does it. rate: how often. Note: nothing."
    assert rendered(text, parameters=["rate"]) == ["| Does it.", "| rate: how often. Note: nothing."]
    assert rendered(text) == [text]


def test_nothing_but_code_is_markup():
    assert rendered("See `f(*xs)`, x_ and *y|.") == [r"See \ ``f(*xs)``\ , x\_ and \*y\|."]


# formulas


def formulas(text: str) -> list[str]:
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", text, flags=re.M | re.S)
    displayed = re.findall(r"\$\$(.+?)\$\$", text, flags=re.S)
    return displayed + re.findall(r"\$([^$]+?)\$", re.sub(r"\$\$.+?\$\$", "", text, flags=re.S))


@pytest.fixture
def strict(monkeypatch):
    """A formula that docutils does not know is an error, not a warning of the build."""
    monkeypatch.setattr("mathml.logger.warning", lambda message, *given, **_: pytest.fail(message % given))


def test_every_formula_of_the_map_can_be_drawn(strict):
    for equation in EQUATIONS:
        for latex in [equation.latex, *(symbol for symbol, _, _ in equation.symbols)]:
            assert "<math" in mathml(latex, None, as_block=True)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_formula_of_a_notebook_can_be_drawn(notebook, strict):
    for latex in formulas("\n".join(markdown_cells(notebook))):
        mathml(TAG.sub("", latex), None, as_block=False)


def test_an_unknown_command_is_a_warning_and_stays_readable(monkeypatch):
    warnings = []
    monkeypatch.setattr("mathml.logger.warning", lambda message, *given, **_: warnings.append(message % given))
    assert mathml(r"\unknown < 1", None, as_block=False) == r"<code>\unknown &lt; 1</code>"
    assert len(warnings) == 1


def test_what_mathjax_reads_is_put_into_words_of_docutils(strict):
    assert mathml(r"\frac12", None, as_block=False) == latex2mathml.tex2mathml(r"\frac{1}{2}")
    assert mathml(r"1, \dots, n", None, as_block=False) == latex2mathml.tex2mathml(r"1, \ldots, n")


@pytest.mark.parametrize("latex", [r"\log N", r"\log\frac{a}{b}", r"\cos \pi p"])
def test_a_function_is_set_off_from_its_argument(latex, strict):
    assert "<mspace" in mathml(latex, None, as_block=False)


@pytest.mark.parametrize("latex", [r"\log(N)", r"\log \left(N\right)", r"\log_2 N", r"\exp"])
def test_a_function_is_not_set_off_from_brackets(latex, strict):
    assert "<mspace" not in mathml(latex, None, as_block=False)


# links


def test_links_mean_the_same_from_pages_and_from_copies_of_notebooks():
    assert in_repository("equations", "../minivit/update/step.py") == "minivit/update/step.py"
    assert in_repository("notebooks/07_attention", "../minivit/update/step.py") == "minivit/update/step.py"
    assert in_repository("notebooks/07_attention", "08_multi_head.ipynb") == "notebooks/08_multi_head.ipynb"
    assert in_repository("api/ops", "../design.md") == "docs/design.md"


def test_a_file_with_a_page_leads_to_it_and_another_to_its_source():
    documents = {"design", "notebooks/07_attention"}
    assert page_of("docs/design.md", documents) == "design"
    assert page_of("notebooks/07_attention.ipynb", documents) == "notebooks/07_attention"
    assert page_of("notebooks/07_attention.py", documents) == "notebooks/07_attention"
    assert page_of("design.md", documents) is None
    assert page_of("minivit/update/step.py", documents) is None
    assert shown_file("minivit/update/step.py") == "minivit/update/step.py"
    assert shown_file("minivit/ops") == "minivit/ops/__init__.py"
    assert shown_file("minivit/none.py") is None


def test_a_script_of_a_notebook_leads_to_its_page_wherever_it_lies():
    documents = {"notebooks/07_attention"}
    assert page_of("notebooks/source/07_attention.py", documents) == "notebooks/07_attention"
    assert page_of("notebooks/experiments/data_scale.py", documents) is None
    assert not [file for file in shown_files() if re.match(r"notebooks/(source/)?\d\d[a-z]?_", file)]


def test_tests_have_no_pages():
    assert shown_file("tests/runs/test_trainer.py") is None


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("minivit.ops.functions:tanh", "def tanh("),
        ("minivit.tensor:Tensor", "class Tensor"),
        ("minivit.tensor:Tensor.backward", "    def backward("),
        ("minivit.runs.recipes:Recipe.augment", "    @property"),
    ],
)
def test_source_leads_to_the_line_of_the_definition(name, first):
    module, _, fullname = name.partition(":")
    link = linkcode_resolve("py", {"module": module, "fullname": fullname})
    file, line = re.fullmatch(r"\.\./source/(.+)\.html#L-(\d+)", link).groups()
    assert file in shown_files()
    assert (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1].startswith(first)


def test_what_is_no_code_has_no_source():
    assert linkcode_resolve("py", {"module": "minivit.models", "fullname": "ViTConfig.width"}) is None

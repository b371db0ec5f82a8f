"""The equation map is complete, and everything that it names exists."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import pytest
from equation_map import PAGE, has_tag, heading_of, markdown_cells, page, slug
from equation_tables import EQUATIONS

ROOT = Path(__file__).parents[2]
OF_THE_PAPER = [f"eq-{number}" for number in range(1, 9)] + ["adamw"]


def test_the_page_is_what_the_generator_makes():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python docs/equation_map.py"


def test_every_equation_of_the_paper_is_there_once():
    ids = [equation.id for equation in EQUATIONS]
    assert len(ids) == len(set(ids))
    assert set(OF_THE_PAPER) <= set(ids)


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.id)
class TestEquation:
    def test_no_cell_is_empty(self, equation):
        assert all(dataclasses.asdict(equation).values())
        assert all(all(symbol) for symbol in equation.symbols)

    def test_every_op_can_be_imported(self, equation):
        for op in equation.ops:
            imported(op)

    def test_every_test_exists(self, equation):
        for test in equation.tests:
            file, _, function = test.partition("::")
            assert function in functions(ROOT / file), test

    def test_the_notebook_treats_it(self, equation):
        cells = markdown_cells(ROOT / f"notebooks/source/{equation.notebook}.py")
        assert any(has_tag(cell, equation.tag) for cell in cells[1:]), f"no {equation.tag} after the title"

    def test_the_notebook_has_its_outputs_beside_it(self, equation):
        assert (ROOT / f"notebooks/{equation.notebook}.ipynb").exists()


def imported(path: str) -> object:
    """What stands at an import path: attributes of the longest part of it that is a module."""
    parts = path.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(path)


def functions(file: Path) -> set[str]:
    """The names of the functions that a file defines."""
    return {
        node.name for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    }


# the generator


def test_what_does_not_exist_is_not_imported():
    for path in ["minivit.ops.attention.inattention", "nowhere.at.all"]:
        with pytest.raises((AttributeError, ModuleNotFoundError)):
            imported(path)


def test_a_tag_is_not_the_beginning_of_another():
    assert has_tag("by (Eq. 1).", "Eq. 1")
    assert not has_tag("by (Eq. 12).", "Eq. 1")
    assert not has_tag("AdamW decays", "Adam")


def test_a_heading_about_the_equation_is_preferred_to_the_first_mention():
    cells = ["# Title, Eq. 6\n", "## Before\nEq. 6 comes later\n", "## Not Eq. 6\n## Weights (Eq. 6)\n### Eq. 6\n"]
    assert heading_of(cells, "Eq. 6") == "Weights (Eq. 6)"
    assert heading_of(cells, "weights") == "Weights (Eq. 6)"
    assert heading_of([*cells[:2], "## Later\nEq. 6\n"], "Eq. 6") == "Before"
    assert heading_of(cells[:1], "Eq. 6") is None


def test_markdown_cells_of_a_notebook(tmp_path):
    file = tmp_path / "nb.py"
    file.write_text(
        "# %% [markdown]\n# # One\n#\n# text\n\n# %%\nx = 1  # two\n\n# %% [markdown]\n# three\n", encoding="utf-8"
    )
    assert [cell.strip() for cell in markdown_cells(file)] == ["# One\n\ntext", "three"]


def test_anchors_are_those_of_a_code_host():
    assert slug("Eq. 6: Attention weights") == "eq-6-attention-weights"
    assert re.fullmatch(r"[\w-]+", slug("Where is $x_i$? (here)"))

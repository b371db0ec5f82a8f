"""Writes docs/equations.md from the tables in equation_tables/: `python docs/equation_map.py`.

A notebook is linked to where it treats the equation: the heading that begins with the equation's tag or has it in
brackets, or else the heading above the first place after the title where the tag stands.
"""

import re
from pathlib import Path

from equation_tables import EQUATIONS, Equation

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/equations.md"


HEAD = """\
<!-- Made by `python docs/equation_map.py` from the tables in docs/equation_tables. Change these, not this page. -->

# Equations

Where each equation of [the paper](https://arxiv.org/abs/2010.11929v2) is computed, derived and tested. The letters
are those of our [notation](notation.md); it says where the paper has others. Shapes are those of the arrays in the
code. Most tests compare with recorded results of the published code, with a plain loop over the definition, with a
numerical derivative or with torch. The others state a property of the equation: for example, the weights of a query
sum to one.
"""


def page(equations: tuple[Equation, ...] = EQUATIONS) -> str:
    """The whole page: an overview, then a section for every equation."""
    overview = ["| equation | in the paper | notebook |", "|---|---|---|"]
    overview += [
        f"| [{name(e)}](#{slug(name(e))}) | {e.place} | {notebook_link(e, e.notebook.partition('_')[0])} |"
        for e in equations
    ]
    return "\n".join([HEAD, *overview, "", *(section(e) for e in equations)])


def section(equation: Equation) -> str:
    """One equation: formula, symbols, and links to what computes, derives and tests it."""
    ops = [f"[`{op.removeprefix('minivit.')}`](../{file_of(op)})" for op in equation.ops]
    tests = []
    for test in equation.tests:
        file, _, function = test.partition("::")
        tests.append(f"  - [`{function}`](../{file})")
    lines = [
        f"## {name(equation)}\n",
        f"$$\n{equation.latex}\n$$\n",
        "| symbol | meaning | shape |",
        "|---|---|---|",
        *(f"| ${symbol}$ | {meaning} | {shape} |" for symbol, meaning, shape in equation.symbols),
        "",
        f"- In the paper: {equation.place}",
        f"- Computed by {', '.join(ops)}",
        f"- Derived in notebook {notebook_link(equation, equation.notebook)}",
        "- Tested by",
        *tests,
    ]
    return "\n".join(lines) + "\n"


def name(equation: Equation) -> str:
    """The heading of its section: "Eq. 6: attention weights", or the title where the paper gives no number."""
    number = equation.id.removeprefix("eq-")
    return f"Eq. {number}: {equation.title}" if number.isdecimal() else equation.title


def file_of(op: str) -> str:
    """The file that defines what has this import path."""
    parts = op.split(".")
    paths = (f"{'/'.join(parts[:n])}.py" for n in range(len(parts), 0, -1))
    return next(path for path in paths if (ROOT / path).is_file())


def notebook_link(equation: Equation, text: str) -> str:
    """A link to the heading of the notebook, or the bare text as long as there is no such notebook."""
    source = ROOT / f"notebooks/source/{equation.notebook}.py"
    if not source.exists():
        return text
    heading = heading_of(markdown_cells(source), equation.tag)
    return f"[{text}](../notebooks/{equation.notebook}.ipynb{f'#{slug(heading)}' if heading else ''})"


def markdown_cells(notebook: Path) -> list[str]:
    """The text of every Markdown cell of a notebook in jupytext's percent format."""
    cells = re.split(r"^# %%", notebook.read_text(encoding="utf-8"), flags=re.M)
    texts = (cell.partition("\n")[2] for cell in cells if cell.startswith(" [markdown]"))
    return [re.sub(r"^# ?", "", text, flags=re.M) for text in texts]


def heading_of(cells: list[str], tag: str) -> str | None:
    """The heading under which the tag is treated, None if there is none but the title."""
    first_mention = heading = None
    for line in "\n".join(cells[1:]).splitlines():
        is_heading = re.match(r"#+ (.*)", line)
        heading = is_heading[1] if is_heading else heading
        if is_heading and is_about(is_heading[1], tag):
            return heading
        if first_mention is None and has_tag(line, tag):
            first_mention = heading
    return first_mention


def is_about(heading: str, tag: str) -> bool:
    """Whether the heading begins with the tag, or has it in brackets."""
    return re.match(rf"{re.escape(tag)}(?!\w)", heading, flags=re.I) is not None or f"({tag})" in heading


def has_tag(text: str, tag: str) -> bool:
    """Whether the tag stands in the text, in any case and not as the beginning of a longer number or word."""
    return re.search(rf"(?<!\w){re.escape(tag)}(?!\w)", text, flags=re.I) is not None


def slug(heading: str) -> str:
    """The anchor that a code host and the site give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""Docstrings of minivit as reStructuredText.

They are short prose with lines of formulas and shapes, written for someone who reads the source:

    y = x W + b.   x: (..., D), weight: (D, E), bias: (E,), y: (..., E).

    dx = g W^T,  dW = x^T g,  db = sum of g over rows.

Three spaces separate statements on one line. A line that ends although the next word would have fitted ends on purpose.
Both become line breaks, as does the place where a sentence begins with a parameter and a colon; all other lines flow.
A statement that is a formula or a list of shapes is set as code. Nothing in a docstring is markup but `code` and
**strong**. A docstring with numpydoc's sections ("Parameters", underlined) is rendered by numpydoc. Its extension of
Sphinx is not used: it would take formulas such as "y = f(x)" for signatures.
"""

import inspect
import itertools
import re
import sys
from collections.abc import Sequence

from markup import prose
from numpydoc.docscrape_sphinx import SphinxDocString
from parameter_tables import Parameter, has_table, parameters_of, table, take_meanings
from sphinx.application import Sphinx

WIDTH = 120  # of the source
SLACK = 10  # columns that an author may leave empty at the end of a full line
LONGEST_FORMULA = 120  # what is longer reads better as prose

# How a formula or a list of shapes begins: "dx =", "m <-", "x, y: (", "(B, N, D) ->"
SYMBOL = r"[A-Za-z_]['\w]*(?:\[[^\]]*\])?(?:\([\w, ]*\))?"
FORMULA = re.compile(rf"(?:{SYMBOL}(?:, {SYMBOL})* (?:=|<-) |\([^()]*\) -> |{SYMBOL}(?:, {SYMBOL})*: \()\S")
SECTION = re.compile(r"^[A-Z][A-Za-z ]+\n-{3,}$", re.MULTILINE)  # of numpydoc


def to_restructured_text(
    lines: list[str], indent: int = 4, parameters: Sequence[str] = (), rows: Sequence[Parameter] = ()
) -> list[str]:
    """A whole docstring, given as autodoc gives it, without its indentation in the source, which was `indent`.

    parameters: names at which a statement begins.   rows: of a table, which take over what is said of them.
    """
    result: list[str] = []
    for paragraph in paragraphs(lines):
        if all(line.startswith("    ") for line in paragraph):  # code, commands, a table
            result += ["::", "", *paragraph, ""]
            continue
        said = take_meanings(statements(paragraph, indent, parameters), list(rows))
        if said and said[-1].endswith(":") and not paragraph[-1].endswith(":"):
            said.pop()  # it announced what is in the table now
        parts = [marked_up(statement) for statement in said]
        if not parts:
            continue
        stay_lines = len(parts) > 1 or FORMULA.match(paragraph[0])
        result += [f"| {part}" for part in parts] if stay_lines else parts
        result.append("")
    return result


def paragraphs(lines: list[str]) -> list[list[str]]:
    """The lines between empty lines."""
    groups: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    return [group for group in groups if group]


def statements(paragraph: list[str], indent: int, parameters: Sequence[str]) -> list[str]:
    """The paragraph cut into lines that shall stay lines."""
    joined = [paragraph[0].strip()]
    for before, line in itertools.pairwise(paragraph):
        first_word = line.split()[0]
        on_purpose = indent + len(before.rstrip()) + 1 + len(first_word) <= WIDTH - SLACK
        new_formula = FORMULA.match(line) and before.rstrip().endswith((".", ",", ";"))
        if on_purpose or new_formula:
            joined.append(line.strip())
        else:
            joined[-1] += " " + line.strip()
    cut = r"(?<=\S) {3,}(?=\S)"
    if parameters:
        name = "(?:" + "|".join(map(re.escape, parameters)) + ")"
        cut += rf"|(?<=[.;)]) +(?={name}(?:, {name})*: )"
    return [part for line in joined for part in re.split(cut, line)]


def marked_up(statement: str) -> str:
    """One statement as reStructuredText: a formula that it begins with as code, the rest as prose."""
    first, end, rest = re.fullmatch(r"(.+?)(\.(?= [A-Z])|$)(.*)", statement).groups()
    if FORMULA.match(first) and len(first) <= LONGEST_FORMULA:
        formula = (first + end).replace("`", "")  # all of it is code now
        return f"``{formula}``{prose(rest)}"
    return prose(statement)


def parameter_names(documented: object) -> list[str]:
    """The parameters of a function or class; none of anything else."""
    attributes = list(vars(documented)) if isinstance(documented, type) else []  # they end what is said of a parameter
    try:
        return [*inspect.signature(documented).parameters, *attributes] if callable(documented) else []
    except ValueError:  # a built-in
        return []


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Replace the lines that autodoc has read."""
    if SECTION.search("\n".join(lines)):
        lines[:] = str(SphinxDocString("\n".join(lines))).split("\n")
        return
    indent = {"module": 0, "method": 8, "property": 8}.get(what, 4)
    rows = parameters_of(obj) if has_table(name) else []
    lines[:] = to_restructured_text(lines, indent, parameter_names(obj), rows)
    if rows:
        lines += table(rows, name, vars(sys.modules[obj.__module__]), prose)


def setup(app: Sphinx) -> dict[str, bool]:
    """Have autodoc call `process`."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

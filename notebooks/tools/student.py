"""The student edition: the same notebooks, with the lines of the derivations left for the reader to write.

Cells tagged "yours" lose what they compute. `name = expression` becomes `name = ...  # yours`, a function keeps its
signature and docstring. Everything else stays: comments, comparisons, plots. A statement whose last line ends in
`# given` stays too. The notebook itself is the key with the answers.
"""

import ast
import dataclasses
import re
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from tools import index, pairs

TAG = "yours"
GIVEN = "# given"
NOTE = (
    "**Student edition.** Replace every `...` that is marked `# yours`, and write the functions that raise "
    "`NotImplementedError`. The comparisons that follow say whether you are right. "
    "The complete notebook has the answers."
)
IMPORT = "from minivit.lessons import filled  # raises an error while a line is still ..."
ASKED = "**What came out?** Say it in one to three sentences, with the numbers that the cells have printed."
TOLD = re.compile(r"^\*\*In the stored run\*\*(?:.+\n?)+", flags=re.M)  # a paragraph that tells what came out
CHECK = re.compile(r'^check\("([\w.]+)", .*\)$', flags=re.M)
BESIDE = ("experiments", "results", "matplotlibrc")  # what cells look for in their folder


def write(paths: list[Path], out: Path) -> None:
    """Write the student edition of notebooks to a folder, with what their cells need beside them.

    Raises FileExistsError, before anything is written, if one of them is there: somebody may have worked in it.
    """
    there = [path.stem for path in paths if (out / f"{path.stem}.ipynb").exists()]
    if there:
        raise FileExistsError(f"{out} has {', '.join(there)} already, perhaps with your work: name another folder")
    out.mkdir(parents=True, exist_ok=True)
    for path in paths:
        pairs.write(edition(path), out / f"{path.stem}.ipynb")
    folder = paths[0].parents[1]
    for name in BESIDE:
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, out / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, out / name)
    if (folder / "README.md").exists():
        pairs.write(index.made(folder), out / index.NAME)


def edition(path: Path, *, answers: bool = False) -> NotebookNode:
    """The student edition of a .py file, without outputs; with `answers`, its blanks filled in again."""
    notebook = pairs.read_source(path)
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{NOTE}\n{rest}"
    code = pairs.code_cells(notebook)
    if any(is_blank(cell) for cell in code):
        code[0].source = f"{IMPORT}\n{code[0].source}"
    for cell in notebook.cells:
        if is_blank(cell):
            cell.source = blanked(cell.source, answers=answers)
        elif cell.cell_type == "markdown" and not answers:
            cell.source = TOLD.sub(ASKED + "\n", cell.source).rstrip("\n")
    return notebook


def is_blank(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and TAG in cell.metadata.get("tags", [])


def blanked(source: str, *, answers: bool = False) -> str:
    """A cell with its blanks, each run of them followed by a line that raises an error until all are filled in.

    With `answers` the statements stay, and only those lines are added. Raises PairError if nothing is to be filled in.
    """
    lines, blanks, waiting = source.splitlines(), [], []
    for node in ast.parse(source).body:
        found = [] if is_given(node, lines) else blanks_of(node, lines)
        names = [] if is_given(node, lines) else names_of(node)
        if not names and waiting:
            blanks[-1].guard(waiting)
            waiting = []
        blanks += found
        waiting += names
    if waiting:
        blanks[-1].guard(waiting)
    if not blanks:
        raise pairs.PairError(f'a cell with the tag "{TAG}" has nothing to fill in: {source.strip().splitlines()[0]}')
    for blank in reversed(blanks):
        lines[blank.first - 1 : blank.last] = blank.answer if answers else blank.instead
    return "\n".join(lines)


@dataclasses.dataclass
class Blank:
    """Lines `first` to `last` of a cell, counted from 1: the reader's, as they were and as they are to be filled in."""

    first: int
    last: int
    answer: list[str]
    instead: list[str]

    def guard(self, names: list[str]) -> None:
        """Add the line that raises an error as long as one of the names is `...`."""
        line = f"filled({', '.join(f'{name}={name}' for name in names)})"
        self.answer, self.instead = [*self.answer, line], [*self.instead, line]


def is_given(node: ast.stmt, lines: list[str]) -> bool:
    """Is a statement marked to stay? A function is by its first line, all else by its last."""
    compound = isinstance(node, ast.FunctionDef | ast.ClassDef)
    return lines[(node.lineno if compound else end_of(node)) - 1].rstrip().endswith(GIVEN)


def blanks_of(node: ast.stmt, lines: list[str]) -> list[Blank]:
    """The blank that an assignment or a function is, those of a class's methods; none for other statements."""
    if isinstance(node, ast.ClassDef):
        return [blank for inner in node.body if not is_given(inner, lines) for blank in blanks_of(inner, lines)]
    if names := names_of(node):
        first, instead = node.lineno, f"{' = '.join(names)} = ...  # yours"
    elif isinstance(node, ast.FunctionDef):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if not body:
            return []
        first = body[0].lineno
        instead = f'raise NotImplementedError("{node.name} is yours to write")  # yours'
    else:
        return []
    indent = " " * (len(lines[first - 1]) - len(lines[first - 1].lstrip()))
    return [Blank(first, end_of(node), lines[first - 1 : end_of(node)], [indent + instead])]


def end_of(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def names_of(node: ast.stmt) -> list[str]:
    """The names to which an assignment gives values; empty for other statements, and if it changes parts of objects."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return []
    target = node.targets[0]
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


def is_stop(error: str, text: str) -> bool:
    """Is an error, by its class and text, the one that a blank raises?"""
    return error == "NotFilled" or (error == "NotImplementedError" and text.endswith("is yours to write"))


def with_right_answers(notebook: NotebookNode, answers: Path) -> None:
    """Let the exercises of a notebook check the first right answer of a file of the tests, and insist on it."""
    exercises = [cell for cell in pairs.code_cells(notebook) if CHECK.search(cell.source)]
    for cell in exercises:
        cell.source = CHECK.sub(r'assert check("\1", RIGHT["\1"][0]).right', cell.source)
    if exercises:
        tests, module = answers.parents[2], f"{answers.parents[1].name}.{answers.parent.name}.{answers.stem}"
        start = f"import sys\n\nsys.path.insert(0, {str(tests)!r})\nfrom {module} import RIGHT"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(start))

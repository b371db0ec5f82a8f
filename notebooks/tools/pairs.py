"""A notebook is a pair of files: source/NN_name.py, which people write, and NN_name.ipynb, the same cells with outputs.

The .py is the truth. Everything here reads and compares files; nothing is executed.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

HEADER = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,source//py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
"""
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
METADATA = {"jupytext": {"formats": "ipynb,source//py:percent"}, **KERNEL}
BUDGET = re.compile(r"\*\*Budget:\*\* (\d+) s of CPU time \(fast mode (\d+) s\)\.")
SOURCE = "source"  # the folder, beside the .ipynb, of the .py: out of the way of readers
NAME = re.compile(r"(\d\d[a-z]?)_")  # how the name of a notebook begins: a number, perhaps with a letter
MAX_BYTES = 1_500_000
FILE_OF_CELL = re.compile(r"\S*ipykernel_\d+[/\\]\d+\.py")
MEANT_STDERR = "shows-stderr"  # the tag of a cell whose text on stderr is meant to be seen

WIDGET = "application/vnd.jupyter.widget-view+json"
# What must not be in the text of an output, because it is true on one machine or in one run only.
UNWANTED = {
    "a traceback": re.compile(r"Traceback \(most recent call last\)"),
    "an absolute path": re.compile(
        r"(?<![\w./:-])/(?:home|Users|root|tmp|var|usr|opt|mnt|srv|private)/\S+|\b[A-Z]:\\\S+"
    ),
    "a memory address": re.compile(r"\bat 0x[0-9a-fA-F]{6,}"),
}


class PairError(Exception):
    """A notebook breaks a rule of this folder; the message is for its author."""


def find(folder: Path, wanted: list[str]) -> list[Path]:
    """The .py files of all notebooks in the folder, or of those whose number or name is wanted, sorted.

    Raises PairError for a wanted number or name that no notebook has.
    """
    everything = sorted(path for path in (folder / SOURCE).glob("[0-9]*.py") if NAME.match(path.stem))
    if not wanted:
        return everything
    names = [Path(word).stem for word in wanted]
    unknown = [name for name in names if not any(name in (path.stem, number(path)) for path in everything)]
    if unknown:
        there = ", ".join(map(number, everything)) or "none"
        raise PairError(f"there is no notebook {', '.join(unknown)} in {folder.name}/; there are {there}")
    return [path for path in everything if path.stem in names or number(path) in names]


def number(path: Path) -> str:
    """The number of a notebook, with its letter if it has one: "07", "06b"."""
    found = NAME.match(path.stem)
    if not found:
        raise PairError(f"{path.name}: a notebook's name begins with a number, such as 07_ or 06b_")
    return found[1]


def stored_at(path: Path) -> Path:
    """The .ipynb that is made from a .py."""
    return path.parents[1] / f"{path.stem}.ipynb"


def source_at(stored: Path) -> Path:
    """The .py from which an .ipynb is made."""
    return stored.parent / SOURCE / f"{stored.stem}.py"


def read_source(path: Path) -> NotebookNode:
    """The notebook that the .py file describes, without outputs and without empty cells.

    A cell's id is a hash of its text, so that a cell which did not change keeps its id wherever it moves, and outputs
    that are stored under an id are those of the text that it was made from.
    """
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    notebook.metadata = nbformat.from_dict(METADATA)
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] += 1
        cell.id = hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:12]
    return notebook


def read_stored(path: Path) -> NotebookNode | None:
    """The .ipynb of the .py file, or None if there is none. Raises PairError if it is no notebook."""
    stored = stored_at(path)
    if not stored.exists():
        return None
    try:
        return nbformat.read(stored, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise PairError(f"{stored.name} cannot be read ({reason}): delete it and {how_to_run(path)}") from error


def how_to_run(path: Path) -> str:
    return f"run `python notebooks/run.py {number(path)}`"


def write(notebook: NotebookNode, path: Path) -> None:
    nbformat.write(notebook, path)


def budget(path: Path, fast: bool) -> int:
    """CPU seconds that the first cell of a notebook declares. Raises PairError if it declares none."""
    cells = read_source(path).cells
    declared = BUDGET.search(cells[0].source) if cells else None
    if declared is None:
        line = "**Budget:** 30 s of CPU time (fast mode 5 s)."
        raise PairError(f"{path.stem}: its first cell must declare a budget, in a line like this:\n    {line}")
    return int(declared[2 if fast else 1])


def forget_this_machine(notebook: NotebookNode) -> None:
    """Remove what an execution leaves in a notebook that the next one would change: versions, names of widgets, the
    file that a warning names for a cell.

    Without a kernel a widget is dead; what it shows instead stays.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in code_cells(notebook):
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET, None)
            if output.output_type == "stream":
                output.text = FILE_OF_CELL.sub("<cell>", output.text)


def keep_outputs(notebook: NotebookNode, stored: NotebookNode | None) -> None:
    """Copy to the code cells of a notebook the outputs of the stored cells of the same text and id.

    A cell whose text was changed in Jupyter has its old id, and perhaps its old outputs: it counts as not executed.
    """
    known = {(cell.get("id"), cell.source): cell for cell in code_cells(stored)} if stored else {}
    for cell in code_cells(notebook):
        if old := known.get((cell.id, cell.source)):
            cell.outputs, cell.execution_count = old.outputs, old.execution_count


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a pair, one line each, beginning with the notebook's name."""
    if not path.exists():
        yield f"{path.stem}: there is no {SOURCE}/{path.name}, from which the .ipynb is made"
        return
    if not path.read_text(encoding="utf-8").startswith(HEADER):
        yield f"{path.stem}: the .py must begin with exactly the header that notebooks/README.md shows"
    try:
        budget(path, fast=False)
    except PairError as error:
        yield str(error)
    source, stored = read_source(path), read_stored(path)
    if stored is None:
        yield f"{path.stem}: there is no {path.stem}.ipynb; {how_to_run(path)}"
        return
    found = [
        *cell_differences(source, stored),
        *metadata_differences(stored),
        *output_problems(stored),
        *size_problems(path),
    ]
    yield from (f"{path.stem} {problem}" for problem in found)


def cell_differences(source: NotebookNode, stored: NotebookNode) -> Iterator[str]:
    """The first cell in which the two files differ: after an insertion all that follow would."""
    for number, (ours, theirs) in enumerate(zip_longest(source.cells, stored.cells), start=1):
        if ours is None:
            yield f"cell {number}: in the .ipynb only: {first_line(theirs)}"
        elif theirs is None:
            yield f"cell {number}: in the .py only: {first_line(ours)}"
        elif ours.cell_type != theirs.cell_type:
            yield f"cell {number}: {ours.cell_type} in the .py, {theirs.cell_type} in the .ipynb: {first_line(ours)}"
        elif ours.source != theirs.source:
            yield f"cell {number}: the text differs: {first_line(ours)}"
        elif ours.metadata.get("tags", []) != theirs.metadata.get("tags", []):
            yield f"cell {number}: the tags differ: {first_line(ours)}"
        elif ours.cell_type == "code" and ours.id != theirs.get("id"):
            yield f"cell {number}: its outputs were stored for another text; execute the notebook: {first_line(ours)}"
        else:
            continue
        return


def metadata_differences(stored: NotebookNode) -> Iterator[str]:
    """What Jupyter adds to the metadata does no harm; `--sync` removes it."""
    for key, entry in (("jupytext", "formats"), ("kernelspec", "name")):
        found = stored.metadata.get(key, {}).get(entry)
        if found != METADATA[key][entry]:
            wanted = METADATA[key][entry]
            yield f"metadata: {key}.{entry} is {found} in the .ipynb, should be {wanted}: `--sync` mends it"


def output_problems(notebook: NotebookNode) -> Iterator[str]:
    """What is wrong with the outputs: missing, out of order, and what `problems_of_outputs` finds."""
    code = [(place, cell) for place, cell in enumerate(notebook.cells, start=1) if cell.cell_type == "code"]
    for count, (place, cell) in enumerate(code, start=1):
        where = f"cell {place}: "
        if cell.execution_count is None:
            yield f"{where}not executed since it was last changed: {first_line(cell)}"
        elif cell.execution_count != count:
            yield f"{where}executed as number {cell.execution_count}, should be {count}: run it from its start"
    yield from problems_of_outputs(notebook)


def problems_of_outputs(notebook: NotebookNode) -> Iterator[str]:
    """What is wrong with the outputs that are there."""
    for place, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            yield from (f"cell {place}: {problem}: {first_line(cell)}" for problem in problems_of_output(output, cell))


def problems_of_output(output: NotebookNode, cell: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"it fails with {output.ename}: {output.evalue}"
        return
    if output.output_type == "stream" and output.name == "stderr" and MEANT_STDERR not in cell.metadata.get("tags", []):
        yield f"it writes to stderr: {output.text.strip()[:400]}\n   (tag the cell {MEANT_STDERR} if this is meant) in"
    data = output.get("data", {"text/plain": output.get("text", "")})
    if not any(data.values()):
        yield "an output is empty"
    if set(data) <= {WIDGET, "text/plain"} and WIDGET in data:
        yield "a widget shows nothing without a kernel: give it a static form in HTML or as a picture"
    if data.get("text/plain", "").startswith("<Figure") and not any(kind.startswith("image/") for kind in data):
        yield "a figure has no picture"
    text = "\n".join(str(value) for kind, value in data.items() if kind.startswith("text/") or kind == "image/svg+xml")
    for name, pattern in UNWANTED.items():
        if found := pattern.search(text):
            yield f"an output contains {name}, {found[0]!r}"


def size_problems(path: Path) -> Iterator[str]:
    size = stored_at(path).stat().st_size
    if size > MAX_BYTES:
        stored = read_stored(path)
        sizes = {n: len(str(cell.get("outputs", ""))) for n, cell in enumerate(stored.cells, start=1)}
        largest = max(sizes, key=sizes.__getitem__)
        yield (
            f"cell {largest}: the .ipynb has {size / 1e6:.1f} MB, the limit is {MAX_BYTES / 1e6:.1f} MB; "
            f"most of it is this cell's output: {first_line(stored.cells[largest - 1])}"
        )


def first_line(cell: NotebookNode) -> str:
    return cell.source.strip().partition("\n")[0]

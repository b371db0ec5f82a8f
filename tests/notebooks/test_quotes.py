"""What stored outputs quote of the library still stands there: the file, the text, and the line if it is named."""

import html
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivit import functional as F
from minivit.lessons import show_source
from minivit.stepper import BackwardStepper
from minivit.tensor import Tensor

run = pytest.importorskip("run")
ROOT = Path(__file__).parents[2]
STORED = sorted(run.HERE.glob("[0-9]*.ipynb"))
PLACE = r"(minivit/[\w/]+\.py)(?:, line (\d+))?"
FORMS = (
    re.compile(rf"`{PLACE}`\n\n```python\n(.*?)\n```", flags=re.S),  # show_source in a notebook
    re.compile(rf"\A# {PLACE}\n(.*)\Z", flags=re.S),  # show_source as text
    re.compile(rf"^source     {PLACE}\n((?:           \| .*\n)+)", flags=re.M),  # a step of the stepper
)


SHOWN = rf"^(?:`|# |source     ){PLACE}"  # how a quotation begins


def texts(notebook: dict) -> Iterator[str]:
    """All texts of the outputs."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            for kind, text in {"text/plain": output.get("text", ""), **output.get("data", {})}.items():
                if kind.startswith("text/"):
                    yield html.unescape("".join(text)) if kind == "text/html" else "".join(text)


def quotes(text: str) -> Iterator[tuple[str, str, str]]:
    """The file, the line (empty if it is not named) and the code of each quotation."""
    for form in FORMS:
        for file, line, code in form.findall(text):
            yield file, line, re.sub(r"^           \| ", "", code.rstrip("\n"), flags=re.M)


def is_right(file: str, line: str, code: str) -> bool:
    lines, length = (ROOT / file).read_text(encoding="utf-8").splitlines(), len(code.splitlines())
    starts = [int(line) - 1] if line else range(len(lines) - length + 1)
    return any(textwrap.dedent("\n".join(lines[start : start + length])) == code for start in starts)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_the_source_shown_is_the_source(path):
    number = path.stem.partition("_")[0]
    for text in texts(json.loads(path.read_text(encoding="utf-8"))):
        found = list(quotes(text))
        assert len(found) == len(re.findall(SHOWN, text, flags=re.M)), f"a quotation in another form: {text[:200]}"
        for quote in found:
            assert is_right(*quote), f"{quote[0]}, line {quote[1]}: run `python notebooks/run.py {number}`"


def test_every_form_of_a_quotation_is_read_and_a_moved_line_is_found():
    stepper = BackwardStepper(F.tanh(Tensor(0.5, requires_grad=True)) * 2.0)
    stepper.forward()
    source = show_source(Tensor.backward)
    for text in (repr(source), source._repr_markdown_(), repr(stepper), html.unescape(stepper.html())):
        found = list(quotes(text))
        assert found
        assert len(found) == len(re.findall(SHOWN, text, flags=re.M))
        for file, line, code in found:
            assert is_right(file, line, code)
            assert not line or not is_right(file, str(int(line) + 1), code)
            assert not is_right(file, line, code.replace("g", "h"))

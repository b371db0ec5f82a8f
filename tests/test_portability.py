"""What runs here and would not elsewhere, found in the sources: texts read in whatever encoding a system has, and
commands in the documents that only one shell understands."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for folder in ("minivit", "tests", "notebooks", "docs", ".ci") for path in (ROOT / folder).rglob("*.py")
]


# Encodings: without one, Windows before Python 3.15 takes that of its language


def without_encoding(source: str) -> list[int]:
    """Lines where a text is read or written in the encoding of the system."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and _guesses(node)]


def _guesses(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    given = {keyword.arg for keyword in call.keywords}
    if "encoding" in given or None in given:
        return False
    if name.endswith((".read_text", ".write_text")):
        return len(call.args) < (1 if name.endswith(".read_text") else 2)
    if name not in ("open", "os.fdopen", "io.open") and not name.endswith(("path.open", "Path.open")):
        return False
    mode = next((k.value for k in call.keywords if k.arg == "mode"), None)
    place = 0 if name.endswith(("path.open", "Path.open")) else 1
    mode = call.args[place] if mode is None and len(call.args) > place else mode
    return mode is None or (isinstance(mode, ast.Constant) and "b" not in mode.value)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_texts_have_an_encoding(path):
    assert without_encoding(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("p.read_text()", True),
        ("p.read_text(encoding='utf-8')", False),
        ("p.read_text('utf-8')", False),
        ("(a / 'b').write_text(x)", True),
        ("(a / 'b').write_text(x, encoding='utf-8')", False),
        ("p.write_text(x, newline='')", True),
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("open(p, mode='a')", True),
        ("open(p, 'rb')", False),
        ("open(p, mode='xb')", False),
        ("open(p, 'w', encoding='utf-8')", False),
        ("open(p, **options)", False),
        ("path.open('w')", True),
        ("path.open('wb')", False),
        ("Image.open(p), archive.open(info)", False),
    ],
)
def test_a_text_without_an_encoding_is_found(source, found):
    assert bool(without_encoding(source)) == found

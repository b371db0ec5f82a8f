"""What runs here and would not elsewhere, found in the sources: texts read in whatever encoding a system has, and
commands in the documents that only one shell understands."""

import ast
import re
import warnings
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


# Warnings: what libraries deprecate in each other is not our fault, what we call is


def test_a_deprecation_of_what_we_call_is_an_error():
    with pytest.raises(DeprecationWarning, match="by a test"):
        warnings.warn("by a test", DeprecationWarning, stacklevel=1)
    with pytest.raises(DeprecationWarning, match="by the package"):
        warnings.warn_explicit("by the package", DeprecationWarning, "file.py", 1, module="minivit.plots.canvas")


def test_a_deprecation_of_what_a_library_calls_is_none():
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn_explicit("by a library", DeprecationWarning, "file.py", 1, module="matplotlib._mathtext")
    assert len(caught) == 1


# Commands: those of a block without a language, or of ```shell, are pasted into cmd, PowerShell, bash or zsh, those of
# ```sh into a Unix shell only


PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "notebooks/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def command_blocks(page: str) -> list[str]:
    """Blocks of commands for any shell: they begin like one, and do not say which shell they are for."""
    blocks = re.findall(r"^```(?:shell)?\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [
        block
        for block in blocks
        if re.match(r"(\w+=\S+ )?(\$ )?(python|py|pip|minivit|pytest|jupyter|cd|git|\.) ?", block)
    ]


def shell_dependent(block: str) -> list[str]:
    """What in a block only some shells understand: quoted parts are taken out first."""
    plain = re.sub(r'"[^"\n]*"', "", block)
    return re.findall(r"&&|\|\||[';#,$`<>|&\\]|\bsource\b|^\. |^\w+=\S+ |^export |^\s+", plain, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_can_be_pasted_into_any_shell(page):
    blocks = command_blocks(page.read_text(encoding="utf-8"))
    assert [found for block in blocks for found in shell_dependent(block)] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "index.md"])
def test_the_commands_of_the_set_up_are_found(page):
    assert any("python -m pip install" in block for block in command_blocks(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "line",
    [
        "python -m pip install -e '.[dev]'",
        "python -m pip install . && python -m minivit.train",
        "python -m pip install .; python -m minivit.train",
        "python -m minivit.train \\",
        "python -m minivit.train  # every option",
        "python -m minivit.bench --against torch,jax",
        "source .venv/bin/activate",
        ". .venv/bin/activate",
        "OMP_NUM_THREADS=1 python -m minivit.train",
        "python -m minivit.doctor | more",
        "cd $HOME",
    ],
)
def test_a_command_for_one_shell_is_found(line):
    assert shell_dependent(f"python -m minivit.doctor\n{line}\n")
    assert command_blocks(f"text\n\n```\npython -m pip install .\n{line}\n```\n") != []


def test_a_command_for_every_shell_passes():
    assert not shell_dependent('python -m pip install -e ".[dev]"\npython -m pytest -n auto --crop "0.25,1"\n')
    assert command_blocks("```sh\npython x.py && ls\n```\n```python\nprint(1)\n```\n```\nlinear  200  3\n```\n") == []

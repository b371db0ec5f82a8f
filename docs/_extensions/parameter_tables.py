"""A table of parameters: name, type and default from the source, meaning from the docstring.

The docstrings of minivit say "rate: how often." in their prose. Such a statement moves into the table; all else stays.
A field of a dataclass that its docstring does not explain has the comment behind it for its meaning. Ops have no
table: there the line of formula and shapes says it all.
"""

import ast
import dataclasses
import functools
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from parameter_words import words

DOCS = Path(__file__).resolve().parents[1]
WITHOUT = ("minivit.ops", "minivit.functional")
ALIASES = {
    "Rng": "np.random.Generator | None",
    "init.Rng": "np.random.Generator | None",
    "Tap": "dict[str, Tensor | Array] | None",
    "Size": "int | tuple[int, int]",
}
ARRAYS = re.compile(r"Array|ndarray|Tensor|Sequence|Indices|Images|Any|^$")
CLASS_NAME = re.compile(r"\b[A-Z]\w+")


@dataclasses.dataclass
class Parameter:
    """A row of the table; strings as they are in the source, "" for what is not there."""

    name: str
    type: str
    default: str
    meaning: str = ""


def has_table(name: str) -> bool:
    """Whether what has this full name is documented with a table."""
    return not any(name == room or name.startswith(f"{room}.") for room in WITHOUT)


def parameters_of(documented: object) -> list[Parameter]:
    """The parameters of a function, or of a class: its fields if it is a dataclass, else those of its __init__."""
    if isinstance(documented, type):
        if dataclasses.is_dataclass(documented):
            return fields_of(documented)
        documented = vars(documented).get("__init__")
    function = inspect.unwrap(documented) if inspect.isroutine(documented) else None
    if not inspect.isfunction(function):
        return []
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError):  # made by a program
        return []
    return from_arguments(node.args) if isinstance(node, ast.FunctionDef) else []


def from_arguments(given: ast.arguments) -> list[Parameter]:
    """The rows of a definition's arguments, without `self` and `cls`."""
    plain = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(plain) - len(given.defaults)), *given.defaults]
    rows = [(argument, "", default) for argument, default in zip(plain, defaults, strict=True)]
    rows += [(given.vararg, "*", None)] if given.vararg else []
    rows += [(argument, "", default) for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    rows += [(given.kwarg, "**", None)] if given.kwarg else []
    return [
        Parameter(stars + argument.arg, text_of(argument.annotation), text_of(default))
        for argument, stars, default in rows
        if argument.arg not in ("self", "cls")
    ]


def fields_of(record: type) -> list[Parameter]:
    """The fields of a dataclass that its constructor takes, with the comments behind them."""
    rows: dict[str, Parameter] = {}
    for owner in reversed(record.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        source = textwrap.dedent(inspect.getsource(owner))
        comments = comments_of(source)
        for node in ast.parse(source).body[0].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                comment = comments.get(node.end_lineno, "")
                rows[node.target.id] = Parameter(
                    node.target.id, text_of(node.annotation), made(text_of(node.value)), comment
                )
    taken = [field.name for field in dataclasses.fields(record) if field.init]
    return [rows[name] for name in taken if name in rows]


def comments_of(source: str) -> dict[int, str]:
    """Line -> the comment at its end, as a sentence."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").removeprefix("type: ignore[arg-type]")
        for token in tokens
        if token.type == tokenize.COMMENT and token.line.strip() != token.string
    }


def text_of(node: ast.expr | None) -> str:
    """An annotation or default as it was written, without quotation marks around a whole annotation."""
    if node is None:
        return ""
    text = ast.unparse(node)
    return ALIASES.get(text, text)


def made(default: str) -> str:
    """The default of a field, which a factory may make."""
    found = re.fullmatch(r"(?:dataclasses\.)?field\(default_factory=(.+)\)", default)
    if not found:
        return default
    return {"list": "[]", "dict": "{}"}.get(found[1], f"{found[1]}()" if found[1].isidentifier() else "made anew")


def take_meanings(statements: Iterable[str], rows: list[Parameter]) -> list[str]:
    """Move the statements that are about a parameter into its row; returns the others."""
    by_name = {row.name.lstrip("*"): row for row in rows}
    names = "|".join(map(re.escape, by_name)) or "(?!)"
    about = re.compile(rf"((?:{names})(?:, (?:{names}))*): (.+)", re.DOTALL)
    others: list[str] = []
    named: list[Parameter] = []
    for statement in statements:
        if named and not is_complete(named[0].meaning):  # a sentence that a short line has cut
            for row in named:
                row.meaning += f" {statement}"
            continue
        found = about.fullmatch(statement)
        named = [by_name[name] for name in found[1].split(", ")] if found else []
        if not named or (found[2].startswith("(") and not all(map(may_have_shape, named))):
            others.append(statement)
            named = []
            continue
        for row in named:
            row.meaning = found[2]
    return others


def is_complete(text: str) -> bool:
    """Whether it ends as a sentence does."""
    return text.endswith((".", ";", ":", ")"))


def may_have_shape(row: Parameter) -> bool:
    """Whether a parameter can be an array: a layer's docstring gives the shapes of what it owns by the same names."""
    return "Callable" not in row.type and bool(ARRAYS.search(row.type))


def table(rows: list[Parameter], owner: str, scope: Mapping[str, Any], prose: Callable[[str], str]) -> list[str]:
    """The rows as reStructuredText. owner: whose they are.   scope: what names in types mean.   prose: sets text.

    The meaning has no column where no parameter has one.
    """
    for row in rows:
        row.meaning = row.meaning or words(row.name, owner)
    explained = any(row.meaning for row in rows)
    lines = [".. list-table::", "   :header-rows: 1", "   :class: parameters", "", "   * - parameter"]
    lines += ["     - type", "     - default", *["     - meaning"] * explained]
    for row in rows:
        lines += [
            f"   * - ``{row.name}``",
            f"     - {linked(row.type, scope)}".rstrip(),
            f"     - ``{row.default}``" if row.default else "     - ",
            *[f"     - {prose(row.meaning)}".rstrip()] * explained,
        ]
    return [*lines, ""]


def linked(text: str, scope: Mapping[str, Any]) -> str:
    """A type as code, with links where it names a class of the reference."""
    result, end = "", 0
    for found in CLASS_NAME.finditer(text):
        target = scope.get(found[0])
        if is_documented(target):
            result += as_code(text[end : found.start()])
            result += rf"\ :py:class:`~{target.__module__}.{target.__qualname__}`\ "
            end = found.end()
    return result + as_code(text[end:])


def as_code(text: str) -> str:
    """Text as code that may stand beside other text; "" and spaces as they are."""
    return (
        rf"{' ' * (text != text.lstrip())}\ ``{text.strip()}``\ {' ' * (text != text.rstrip())}"
        if text.strip()
        else text
    )


def is_documented(target: object) -> bool:
    """Whether the reference describes a class, so that a link to it leads somewhere."""
    return isinstance(target, type) and target.__module__ in documented_modules() and bool(target.__doc__)


@functools.cache
def documented_modules() -> frozenset[str]:
    """The modules of which the reference shows all members."""
    pages = (path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.rst"))
    return frozenset(re.findall(r"^\.\. automodule:: ([\w.]+)\n   :members:", "\n".join(pages), flags=re.MULTILINE))

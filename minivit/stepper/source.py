"""The source of a function: its lines, their place, and what they return."""

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
from collections.abc import Callable
from pathlib import Path

import minivit

PACKAGE = Path(minivit.__file__).parent


@dataclasses.dataclass(frozen=True)
class Source:
    """code: the lines of a function, not indented, "" if unavailable; file: "minivit/ops/shape.py", a name without
    folder, or "notebook cell"; line: of the file, from 1; returned: the expressions that it returns."""

    code: str
    file: str
    line: int
    returned: tuple[str, ...]


UNKNOWN = Source("", "", 0, ())


def source_of(function: Callable) -> Source:
    """The source of a vjp. Functions made by exec or a compiled module have none."""
    compiled = getattr(inspect.unwrap(function), "__code__", None)
    return _source(compiled, compiled.co_filename) if compiled else UNKNOWN


@functools.cache  # a model has many vjps of one text, and finding it takes milliseconds
def _source(compiled: types.CodeType, _file: str) -> Source:  # equal code may stand in two files
    try:
        lines, line = inspect.getsourcelines(compiled)
        file = inspect.getsourcefile(compiled) or ""
    except (OSError, TypeError):
        return UNKNOWN
    code = textwrap.dedent("".join(lines)).rstrip()
    return Source(code, _in_short(Path(file)), line, _returned(code))


def _in_short(file: Path) -> str:
    """A name that is the same on every machine."""
    if file.is_relative_to(PACKAGE):
        return file.relative_to(PACKAGE.parent).as_posix()
    return file.name if file.exists() else "notebook cell"  # whose text is in memory only


def _returned(code: str) -> tuple[str, ...]:
    """The expressions behind `return`, those of inner functions apart; () if the lines are no whole statement."""
    try:
        todo: list[ast.AST] = list(ast.parse(code).body[0].body)  # type: ignore[attr-defined]
    except (SyntaxError, AttributeError):  # a lambda among other things on its line
        return ()
    found = []
    while todo:
        statement = todo.pop(0)
        if isinstance(statement, ast.Return) and statement.value is not None:
            found.append(ast.get_source_segment(code, statement.value) or "")
        elif not isinstance(statement, ast.FunctionDef):
            todo = [*ast.iter_child_nodes(statement), *todo]
    return tuple(" ".join(expression.split()) for expression in found)

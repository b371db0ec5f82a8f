"""What students are given of earlier assignments: `from given import attention`.

On the base "reference" these are the master solutions, as a package given/ in which every module has a name of its
own, so that none hides a student's file. On the base "own" it is a module given.py that loads the student's earlier
submissions from earlier/a1/, earlier/a2/, each apart from the others, since all of them have an adapters.py.
"""

import ast
import re
from collections.abc import Iterator

from minivit.course.assignment import Assignment, CourseError

__all__ = ["BASES", "exported", "given_files", "masters"]

BASES = ("reference", "own")
MARKER = re.compile(r"^[ \t]*# (BEGIN|END) SOLUTION.*\n", re.M)
NOT_GIVEN = "find_bugs"  # it is about its own assignment

OWN = '''\
"""The adapters of your own earlier assignments: earlier/a1/ holds the files that you handed in for a1, and so on."""

import builtins
import pathlib
import sys
import types

ADAPTERS = {adapters}  # adapter -> its assignment
FOLDER = pathlib.Path(__file__).resolve().parent / "earlier"
_loaded = {{}}


def _load(assignment, name):
    """A module of an earlier submission. It imports its other modules, and given, by their plain names."""
    key = "earlier_" + assignment.replace("-", "_") + "." + name
    if key in _loaded:
        return _loaded[key]
    path = FOLDER / assignment / (name + ".py")
    if not path.is_file():
        place = "earlier/" + assignment + "/" + name + ".py"
        raise ImportError(place + " is missing: put there what you handed in for " + assignment)

    def importing(wanted, *rest, **named):
        if (FOLDER / assignment / (wanted + ".py")).is_file():
            return _load(assignment, wanted)
        if wanted == "given":
            return sys.modules[__name__]
        return builtins.__import__(wanted, *rest, **named)

    module = _loaded[key] = sys.modules[key] = types.ModuleType(key)
    module.__file__ = str(path)
    module.__dict__["__builtins__"] = {{**vars(builtins), "__import__": importing}}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except BaseException:
        del _loaded[key]
        raise
    return module


def __getattr__(name):
    if name not in ADAPTERS:
        raise AttributeError(name)
    return getattr(_load(ADAPTERS[name], "adapters"), name)
'''


def exported(assignment: Assignment) -> dict[str, str]:
    """adapter -> its earlier assignment. If two have one name, the latest counts."""
    return {
        name: earlier.id
        for earlier in assignment.earlier()
        for question in earlier.questions.values()
        for name in question.adapters
        if name != NOT_GIVEN
    }


def _module(name: str, assignment: Assignment) -> str:
    return f"{name}_{assignment.id.replace('-', '_')}"


def _rewritten(text: str, assignment: Assignment, where: str) -> str:
    """The text of a master's file with its imports of siblings and of what it was given made relative."""
    lines = text.splitlines(keepends=True)
    siblings = {name.removesuffix(".py") for name in assignment.master}
    by_id = {earlier.id: earlier for earlier in assignment.earlier()}
    for node in sorted(_imports(text), key=lambda node: -node.lineno):
        parts, given = [], isinstance(node, ast.ImportFrom) and node.module == "given"
        for alias in node.names:
            name = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
            if isinstance(node, ast.Import) and alias.name in siblings:
                parts.append(f"from . import {_module(alias.name, assignment)} as {alias.asname or alias.name}")
            elif isinstance(node, ast.ImportFrom) and node.module in siblings:
                parts.append(f"from .{_module(str(node.module), assignment)} import {name}")
            elif given and alias.name in exported(assignment):
                parts.append(f"from .{_module('adapters', by_id[exported(assignment)[alias.name]])} import {name}")
            elif given or alias.name == "given":
                raise CourseError(f"{where} line {node.lineno}: write `from given import x`, with an x that is given")
            elif parts:
                raise CourseError(f"{where} line {node.lineno}: import files beside it in a line of their own")
        if parts:
            indent = " " * node.col_offset
            made = "".join(f"{indent}{part}\n" for part in parts)
            lines[node.lineno - 1 : node.end_lineno] = [made]
    return MARKER.sub("", "".join(lines))


def _imports(text: str) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            yield node


def masters(assignment: Assignment) -> dict[str, Assignment]:
    """The assignments whose files are needed, including those given to them."""
    found: dict[str, Assignment] = {}
    for earlier in assignment.earlier():
        found.update({**masters(earlier), earlier.id: earlier})
    return found


def given_files(assignment: Assignment, base: str = "reference") -> dict[str, str]:
    """The files that `from given import ...` needs beside the student's: path -> text. None if nothing is given."""
    if base not in BASES:
        raise CourseError(f'there is no base "{base}"; there are {", ".join(BASES)}')
    names = exported(assignment)
    if not names:
        return {}
    if base == "own":
        also = {name: of for earlier in masters(assignment).values() for name, of in exported(earlier).items()}
        return {"given.py": OWN.format(adapters={**also, **names})}
    files = {}
    for earlier in masters(assignment).values():
        for name, text in earlier.master.items():
            made = _module(name.removesuffix(".py"), earlier)
            files[f"given/{made}.py"] = _rewritten(text, earlier, f"{earlier.folder.name}/master/{name}")
    by_id = {earlier.id: earlier for earlier in assignment.earlier()}
    lines = [f"from .{_module('adapters', by_id[of])} import {name}\n" for name, of in sorted(names.items())]
    about = '"""The adapters of earlier assignments, by the staff\'s solutions."""\n\n'
    files["given/__init__.py"] = about + "".join(lines) + f"\n__all__ = {sorted(names)!r}\n"
    return dict(sorted(files.items()))

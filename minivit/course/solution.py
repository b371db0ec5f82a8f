"""Solutions as texts of Python files, each loaded beside others under names of its own."""

import builtins
import functools
import itertools
import sys
import types
from collections.abc import Mapping
from typing import Any

__all__ = ["load"]

_numbers = itertools.count()
_compiled = functools.lru_cache(maxsize=512)(compile)


def load(files: Mapping[str, str], entry: str = "adapters", given: Mapping[str, Any] | None = None) -> types.ModuleType:
    """The module `entry` of a solution.   files: file name -> text.   given: what `from given import ...` finds.

    Its modules import each other by plain names, as in the student's folder, and are kept apart from those of other
    solutions. For code of the course only: nothing here restrains it.
    """
    package = f"_course_solution_{next(_numbers)}"
    loaded: dict[str, types.ModuleType] = {}

    def module(name: str) -> types.ModuleType:
        if name not in loaded:
            made = loaded[name] = sys.modules[f"{package}.{name}"] = types.ModuleType(f"{package}.{name}")
            made.__dict__["__builtins__"] = {**vars(builtins), "__import__": importing}
            exec(_compiled(files[f"{name}.py"], f"{name}.py", "exec"), made.__dict__)
        return loaded[name]

    def importing(name: str, *rest: Any, **named: Any) -> Any:
        if f"{name}.py" in files:
            return module(name)
        if name == "given" and given is not None:
            return types.SimpleNamespace(**given)
        return builtins.__import__(name, *rest, **named)

    return module(entry)

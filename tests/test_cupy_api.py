"""What minivit asks of CuPy exists there, held against a record of CuPy 14's names and parameters (cupy-14.json).

`python tests/test_cupy_api.py` writes the record anew from the CuPy that is installed; no GPU is needed for it.
"""

import inspect
import json
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).parent / "data" / "cupy-14.json"
SUBMODULES = ("cuda", "cuda.runtime", "cuda.memory")


def parameters(function: Callable) -> str:
    """Names of the parameters, with stars; of compiled functions as the first line of their docstring has them."""
    try:
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        names = [stars.get(p.kind, "") + p.name for p in inspect.signature(function).parameters.values()]
    except ValueError:
        listed = re.search(r"\(([^()]*(\(\))?[^()]*)\)", (function.__doc__ or "()").replace("\\*", "*"))
        texts = [text.strip() for text in listed[1].split(",")] if listed else []
        names = [re.split("[=:]", text)[0].split()[-1] for text in texts if text not in ("", "*", "/")]
    return " ".join(name for name in names if name != "self")


def record(cupy: Any) -> dict[str, Any]:
    """All public names of the module and of its arrays: functions and methods with their parameters."""
    public = {name: getattr(cupy, name) for name in dir(cupy) if not name.startswith("_")}
    functions = {n: f for n, f in public.items() if callable(f) and not isinstance(f, type | types.ModuleType)}
    ufuncs = {n for n, f in functions.items() if isinstance(f, cupy.ufunc)}
    methods = {name: getattr(cupy.ndarray, name) for name in dir(cupy.ndarray) if not name.startswith("_")}
    modules = {name: inspect.getattr_static(cupy, name.split(".")[0]) for name in SUBMODULES}
    for name in SUBMODULES:
        for part in name.split(".")[1:]:
            modules[name] = getattr(modules[name], part)
    return {
        "version": cupy.__version__,
        "functions": {name: parameters(f) for name, f in functions.items() if name not in ufuncs},
        "ufuncs": " ".join(sorted(ufuncs)),
        "constants": " ".join(n for n, v in public.items() if n not in functions and not inspect.ismodule(v)),
        "methods": {name: parameters(m) for name, m in methods.items() if callable(m)},
        "attributes": " ".join(name for name, m in methods.items() if not callable(m)),
        "modules": {name: " ".join(n for n in dir(m) if not n.startswith("_")) for name, m in modules.items()},
    }


if __name__ == "__main__":
    import cupy

    SNAPSHOT.write_text(json.dumps(record(cupy), indent=1) + "\n")

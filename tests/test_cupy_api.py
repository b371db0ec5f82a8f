"""What minivit asks of CuPy exists there, held against a record of CuPy 14's names and parameters (cupy-14.json).

`python tests/test_cupy_api.py` writes the record anew from the CuPy that is installed; no GPU is needed for it.
"""

import ast
import inspect
import json
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minivit

PACKAGE = Path(minivit.__file__).parent
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))
}
# Where arrays may be CuPy's; arrays of nn/initialisers.py, and those of files of weights, are NumPy's.
ON_EVERY_DEVICE = re.compile(
    r"(ops|optim|models/(?!archive|beside|convert|layouts|pretrained)|nn/(?!init)|backend/(cupy_kernels|windows)"
    r"|tensor\.|backward\.|update/)"
)
SNAPSHOT = Path(__file__).parent / "data" / "cupy-14.json"
SUBMODULES = ("cuda", "cuda.runtime", "cuda.memory")


# the record


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


# what is used


def chain(node: ast.AST) -> tuple[ast.AST, list[str]]:
    """What an attribute is taken from, and the names on the way: (np, ["add", "at"]) of np.add.at."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return node, names


def gives_library(node: ast.AST | None) -> bool:
    """Whether the expression is an array library that may be CuPy."""
    if not isinstance(node, ast.Call):
        return False
    named = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value
    is_import = ast.unparse(node.func).endswith("import_module") and named == "cupy"
    return is_import or ast.unparse(node.func).split(".")[-1] in ("xp_of", "get_namespace")


def aliases(tree: ast.AST) -> set[str]:
    """Local names of array libraries: what is assigned from `xp_of(x)` and the like, and parameters called so."""
    found = {"cupy"}

    def assign(target: ast.AST, value: ast.AST) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                assign(one, other)
        elif isinstance(target, ast.Name) and gives_library(value):
            found.add(target.id)

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                assign(target, node.value)
        elif isinstance(node, ast.NamedExpr):
            assign(node.target, node.value)
        elif isinstance(node, ast.arg) and node.arg in ("xp", "cupy"):
            found.add(node.arg)
    return found


def violations(source: str, recorded: dict[str, Any], arrays: bool = True) -> Iterator[str]:
    """What the source asks of an array library that CuPy has not: functions, their keywords; and of arrays, if
    `arrays`: every attribute that NumPy's arrays have counts as one of an array."""
    tree = ast.parse(source)
    libraries = aliases(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    keywords_of = {id(call.func): [k.arg for k in call.keywords if k.arg] for call in calls}
    for node in ast.walk(tree):
        start, names = chain(node)
        if not names or names[-1].startswith("__"):
            continue
        head = start.id if isinstance(start, ast.Name) else ""
        keywords = keywords_of.get(id(node), [])
        if head in libraries or gives_library(start):
            yield from missing_from_module(names, keywords, recorded)
        elif arrays and hasattr(np.ndarray, names[-1]) and head not in ("F", "np", "math", "os", "itertools"):
            yield from missing_from_arrays(names[-1], keywords, recorded)
        elif arrays and len(names) > 1 and names[-2] == "flags" and names[-1] not in ("c_contiguous", "f_contiguous"):
            yield f"array.flags.{names[-1]}"


def missing_from_module(names: list[str], keywords: list[str], recorded: dict[str, Any]) -> Iterator[str]:
    name, *rest = names
    functions, ufuncs = recorded["functions"], recorded["ufuncs"].split()
    if name in recorded["modules"]:
        while rest and f"{name}.{rest[0]}" in recorded["modules"]:
            name = f"{name}.{rest.pop(0)}"
        if rest and rest[0] not in recorded["modules"][name].split():
            yield f"{name}.{rest[0]}"
    elif name in ufuncs:
        reduces = name in ("add", "multiply")
        if rest and not (rest[0] in ("at", "outer") or (rest[0] == "reduce" and reduces)):
            yield ".".join(names)
        yield from (f"{name}({k}=)" for k in keywords if not rest and k not in ("out", "dtype", "casting"))
    elif name in functions:
        yield from unknown_keywords(name, functions[name], keywords)
    elif name not in recorded["constants"].split():
        yield name


def missing_from_arrays(name: str, keywords: list[str], recorded: dict[str, Any]) -> Iterator[str]:
    if name in recorded["methods"]:
        yield from unknown_keywords(f"array.{name}", recorded["methods"][name], keywords)
    elif name not in recorded["attributes"].split():
        yield f"array.{name}"


def unknown_keywords(name: str, known: str, keywords: list[str]) -> Iterator[str]:
    if "**" not in known:
        yield from (f"{name}({keyword}=)" for keyword in keywords if keyword not in known.split())


@pytest.mark.parametrize("file", SOURCES)
def test_what_is_asked_of_cupy_exists(file):
    recorded = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert not set(violations(SOURCES[file], recorded, arrays=ON_EVERY_DEVICE.match(file) is not None))


def test_the_rooms_that_run_on_every_device_are_looked_at():
    looked_at = {file for file in SOURCES if ON_EVERY_DEVICE.match(file)}
    assert {"ops/losses.py", "tensor.py", "backward.py", "nn/layers.py", "optim/ema.py", "models/vit.py"} <= looked_at
    assert {"update/step.py", "update/device.py"} <= looked_at
    assert {"ops/convolution.py", "backend/windows.py", "models/hybrid.py", "models/resnet.py"} <= looked_at
    assert "nn/initialisers.py" not in looked_at


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("y = xp_of(x).vecdot(x, x)", {"vecdot"}),
        ("xp = xp_of(x)\ny = xp.exp(x, where=x > 0) + xp.unstack(x)", {"exp(where=)", "unstack"}),
        ("def f(xp, x):\n    return xp.maximum.reduce(x) + xp.add.reduce(x)", {"maximum.reduce"}),
        ("lib = get_namespace('cupy')\nlib.linspace(0, 1, axis=0)\nlib.no_such_thing", {"no_such_thing"}),
        ("xp, n = xp_of(x), 3\ny = xp.insert(x, n, 0)", {"insert"}),
        ("cupy = importlib.import_module('cupy')\ncupy.cuda.runtime.getDeviceCuont()", {"cuda.runtime.getDeviceCuont"}),
        ("cupy.cuda.Streem()\ncupy.cuda.Stream()\ncupy.cuda.runtime.memGetInfo()", {"cuda.Streem"}),
        ("xp_of(x).add.at(x, 0, x)\nxp_of(x).float32\nxp_of(x).pad(x, 1, constant_values=2)", set()),
        ("x.sum(axis=0, initial=1)\nx.max(where=m)", {"array.sum(initial=)", "array.max(where=)"}),
        ("x.setflags(write=False)\nx.flags.writeable = False", {"array.setflags", "array.flags.writeable"}),
        ("f(x).sum(axis=0, keepdims=True).item()\nx.flags.c_contiguous\nx.astype('f', copy=False)", set()),
        ("np.vecdot(x, x)\nnames.append(x)\nd.get(x)\nmath.prod(x.shape)", set()),
    ],
)
def test_what_cupy_has_not_is_found(source, found):
    assert set(violations(source, json.loads(SNAPSHOT.read_text(encoding="utf-8")))) == found


def test_the_record_is_that_of_the_installed_cupy():
    cupy = pytest.importorskip("cupy")
    here, recorded = record(cupy), json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    if here["version"] == recorded["version"]:
        assert here == recorded
    for file, source in SOURCES.items():  # another version has all that is used, too
        assert not set(violations(source, here, arrays=ON_EVERY_DEVICE.match(file) is not None)), file


if __name__ == "__main__":
    import cupy

    SNAPSHOT.write_text(json.dumps(record(cupy), indent=1) + "\n", encoding="utf-8")

"""The plan of the house, held by tests: who may import whom, who prints, where NumPy is named, what is documented.

Every check is a function of source text, so that it is itself tested on planted violations.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import minivit
from minivit import ops

PACKAGE = Path(minivit.__file__).parent
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))
}

# A room may import from itself and from rooms in lines above its own, nothing else.
ROOMS = """
    errors
    backend files
    ops data protocol
    backward
    tape
    tensor
    functional gradcheck optim
    ranks nn
    models
    update plots
    lineage
    runs
    lessons stepper
    terminal
    cli
    train evaluate predict listing bench doctor visualize course
"""
LEVEL = {room: level for level, line in enumerate(ROOMS.strip().splitlines()) for room in line.split()}
COMMANDS = ROOMS.strip().splitlines()[-1].split()


def room_of(file: str) -> str:
    """ "ops/attention.py" and "ops" are in the room "ops", "tensor.py" is a room of its own. How a room is called as a
    command belongs to the commands."""
    if file == "lineage/__main__.py":
        return "__main__"
    return file.partition("/")[0].removesuffix(".py")


# imports


def imported_modules(source: str, file: str) -> Iterator[str]:
    """The full name of everything the source imports: at its top, in functions, for type checking, by name in a call
    of import_module. `from a import b` counts as a and a.b, since b may be a module."""
    package = ["minivit", *file.split("/")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant))


def imported_rooms(source: str, file: str) -> set[str]:
    """The rooms of minivit that the source imports from, other than its own."""
    parts = [name.split(".") for name in imported_modules(source, file)]
    return {part[1] for part in parts if part[0] == "minivit" and len(part) > 1 and part[1] in LEVEL} - {room_of(file)}


def upward_imports(source: str, file: str) -> set[str]:
    return {room for room in imported_rooms(source, file) if LEVEL[room] >= LEVEL[room_of(file)]}


def test_the_page_on_design_shows_the_same_plan():
    page = (Path(__file__).parents[1] / "docs/design.md").read_text(encoding="utf-8").partition("## Rooms")[2]
    rows = re.findall(r"^\| (`.+?`) \|", page.partition("\n## ")[0], flags=re.M)
    assert [re.findall(r"`(\w+)/?`", row) for row in rows] == [line.split() for line in ROOMS.strip().splitlines()]


def imported_files(source: str, file: str) -> set[str]:
    """The files of minivit that the source takes something from. A package of which it takes modules only does not
    count: these do."""
    names = {name.removeprefix("minivit.") for name in imported_modules(source, file) if name.startswith("minivit.")}
    found = set()
    for path in (name.replace(".", "/") for name in names):
        if f"{path}.py" in SOURCES:
            found.add(f"{path}.py")
        elif f"{path}/__init__.py" not in SOURCES:  # something in a module or package
            parent = path.rpartition("/")[0]
            found |= {f"{parent}.py", f"{parent}/__init__.py"} & SOURCES.keys()
        elif not any(name.startswith(f"{path.replace('/', '.')}.") for name in names):
            found.add(f"{path}/__init__.py")
    return found


def circle(imports: dict[str, set[str]]) -> list[str]:
    """The files of a circle of imports, each of which imports the next and the last the first; [] if there is none."""
    left = dict(imports)
    while ends := [file for file, needed in left.items() if not needed & left.keys()]:
        for file in ends:
            del left[file]
    way = [min(left)] if left else []  # of what is left, each needs another one: going on and on we meet one again
    while way:
        following = min(left[way[-1]] & left.keys())
        if following in way:
            return way[way.index(following) :]
        way.append(following)
    return way


def test_every_module_has_a_place_in_the_plan():
    unknown = {room_of(file) for file in SOURCES} - set(LEVEL) - {"__init__", "__main__"}
    assert not unknown, "say in ROOMS who may import these"


@pytest.mark.parametrize("file", [file for file in SOURCES if room_of(file) in LEVEL])
def test_imports_go_down(file):
    assert not upward_imports(SOURCES[file], file)


def test_no_imports_go_in_a_circle():
    files = SOURCES.keys() - {"__init__.py"}  # which names for type checkers what is far above it
    assert not circle({file: imported_files(SOURCES[file], file) for file in files})


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b", "d"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b", "c"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"]
    assert circle({"a": {"a"}}) == ["a"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from minivit.backend import Array", {"backend/__init__.py"}),
        ("from minivit.backend import arrays, blas", {"backend/arrays.py", "backend/blas.py"}),
        ("from minivit.backend.arrays import Array", {"backend/arrays.py"}),
        ("import minivit.backend.arrays\nfrom minivit import errors", {"backend/arrays.py", "errors.py"}),
        ("importlib.import_module('minivit.backend.cupy_kernels')", {"backend/cupy_kernels/__init__.py"}),
        ("def f():\n    from . import erf_series", {"ops/erf_series.py"}),
        ("if TYPE_CHECKING:\n    from minivit.tensor import Tensor", {"tensor.py"}),
        ("import numpy\nimport minivit", set()),
    ],
)
def test_the_files_that_a_source_imports(source, found):
    assert imported_files(source, "ops/new.py") == found


def test_the_package_itself_imports_nothing():
    tree = ast.parse(SOURCES["__init__.py"])  # whoever imports any module runs it
    tree.body = [node for node in tree.body if ast.unparse(node).partition("\n")[0] != "if TYPE_CHECKING:"]
    assert not imported_rooms(ast.unparse(tree), "__init__.py")
    assert not minivit.TYPE_CHECKING


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("ops/new.py", "import minivit.tensor", {"tensor"}),
        ("ops/new.py", "from minivit.nn.layers import Linear", {"nn"}),
        ("ops/new.py", "from minivit import models, backend", {"models"}),
        ("ops/new.py", "from .. import functional as F", {"functional"}),
        ("ops/new.py", "from ..nn import Linear", {"nn"}),
        ("ops/new.py", "from . import shape\nfrom .shape import pad\nfrom minivit.ops import shape", set()),
        ("ops/new.py", "def f():\n    from minivit.tensor import Tensor", {"tensor"}),
        ("ops/new.py", "if TYPE_CHECKING:\n    from minivit.tensor import Tensor", {"tensor"}),
        ("ops/new.py", "importlib.import_module('minivit.runs.trainer')", {"runs"}),
        ("ops/new.py", "__import__('minivit.runs.trainer')", {"runs"}),
        ("ops/new.py", "from minivit.data import load", {"data"}),  # beside it
        ("ops/new.py", "import numpy\nimport minivit\nfrom minivit.backend import xp_of, nn", set()),
        ("data/new.py", "from minivit.ops import softmax\nfrom minivit.errors import DataError", {"ops"}),
        ("tensor.py", "from minivit.functional import exp", {"functional"}),
        ("tensor.py", "from . import ops, gradcheck", {"gradcheck"}),
        ("backend/new.py", "from minivit import ops", {"ops"}),
        ("errors.py", "from minivit.backend import xp_of", {"backend"}),
        ("optim/new.py", "from minivit.nn import Module\nfrom minivit.tensor import Tensor", {"nn"}),
        ("train.py", "from minivit import evaluate, runs, cli", {"evaluate"}),
    ],
)
def test_an_upward_import_is_found(file, source, found):
    assert upward_imports(source, file) == found


def test_only_plots_draws():
    drawing = set()
    for file, source in SOURCES.items():
        if any(name.split(".")[0] == "matplotlib" for name in imported_modules(source, file)):
            drawing.add(file)
    pictures = {file for file in drawing if file.startswith("lessons/pictures/")}  # schematic ones, of the notebooks
    assert drawing - pictures == {"plots/canvas.py"}


def test_there_is_no_room_for_everything_else():
    names = {part for file in SOURCES for part in file.removesuffix(".py").split("/")}
    assert not names & {"util", "utils", "helper", "helpers", "misc", "common"}


# length

LONGEST = 300
STILL_LONGER = {"runs/trainer.py": 560, "train.py": 301}  # lines; to be made shorter, never longer


def too_long(files: dict[str, int]) -> dict[str, int]:
    return {file: lines for file, lines in files.items() if lines > STILL_LONGER.get(file, LONGEST)}


def test_no_file_is_too_long_to_read_in_one_sitting():
    assert not too_long({file: source.count("\n") for file, source in SOURCES.items()})


def test_a_file_that_is_too_long_is_found():
    assert too_long({"a.py": 300, "b.py": 301}) == {"b.py": 301}


# printing


def prints(source: str) -> bool:
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "pprint", "sys.stdout.write", "breakpoint")
        for node in ast.walk(ast.parse(source))
    )


def test_only_commands_print():
    talking = {file for file, source in SOURCES.items() if prints(source)}
    cells = {"lessons/cells.py"}  # of notebooks
    assert {room_of(file) for file in talking - cells} <= {
        *COMMANDS,
        "__main__",
        "cli",
        "terminal",
    }


def test_a_print_is_found():
    assert prints("def f(x):\n    return [print(y) for y in x]")
    assert not prints("'print(x)'  # print(x)\nfingerprint(x)\nself.print(x)")


# NumPy in rooms that run on every device

TYPES = {"numpy.ndarray", "numpy.random.Generator"}
NUMPY_BY_NAME = {
    # Initial values are drawn and arranged in NumPy on every device, so that a seed means the same everywhere.
    "nn/initialisers.py": {
        "numpy.broadcast_to",
        "numpy.float64",
        "numpy.zeros",
        "numpy.ascontiguousarray",
        "numpy.concatenate",
    },
}


def numpy_names(source: str) -> set[str]:
    """Full names of everything of NumPy that the source mentions in code: {"numpy.exp", ...}."""
    tree = ast.parse(source)
    local: dict[str, str] = {}  # name in this file -> full name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [a for a in node.names if a.name.split(".")[0] == "numpy"]
            local.update({a.asname or "numpy": a.name if a.asname else "numpy" for a in names})
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numpy":
            local.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    chains = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)}
    longest = {chain for chain in chains if not any(other.startswith(f"{chain}.") for other in chains)}
    heads = [(chain.partition(".")[0], chain.partition(".")[2]) for chain in longest]
    return {".".join(filter(None, (local[head], rest))) for head, rest in heads if head in local}


@pytest.mark.parametrize("file", [file for file in SOURCES if room_of(file) in ("ops", "nn", "optim")])
def test_rooms_that_run_on_every_device_do_not_call_numpy_by_name(file):
    assert numpy_names(SOURCES[file]) <= TYPES | NUMPY_BY_NAME.get(file, set()), "use xp_of(x) or an array method"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import numpy as np\ny = np.exp(x)", {"numpy.exp"}),
        ("import numpy\ny = numpy.linalg.norm(x) + x.sum()", {"numpy.linalg.norm"}),
        ("import numpy.random as r\nr.default_rng(0)", {"numpy.random.default_rng"}),
        ("from numpy import exp as e\ny = e(x)", {"numpy.exp"}),
        ("from numpy.random import Generator\ndef f(rng: Generator): pass", {"numpy.random.Generator"}),
        ("def f(x):\n    import numpy as np\n    return map(np.exp, x)", {"numpy.exp"}),
        ("y = xp_of(x).exp(x)  # np.exp\n'np.exp'", set()),
    ],
)
def test_numpy_by_name_is_found(source, names):
    assert numpy_names(source) == names


# documentation


def undocumented(source: str) -> list[str]:
    """Public functions and classes at the top of a module without a docstring, and the module itself.

    Not those that are explained elsewhere: `main` of a command (by its module) and kernels (by the op they replace).
    """
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) or not tree.body else ["the module"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            elsewhere = node.name == "main" or any("register" in ast.unparse(d) for d in node.decorator_list)
            if not elsewhere and not ast.get_docstring(node):
                missing.append(node.name)
    return missing


@pytest.mark.parametrize("file", SOURCES)
def test_everything_public_is_documented(file):
    assert not undocumented(SOURCES[file])


def test_a_missing_docstring_is_found():
    source = """
def f():
    'Words.'
def g(): pass
class C:
    x = 1
def _h(): pass
@register("k", Array)
def k(): pass
"""
    assert undocumented(source) == ["the module", "g", "C"]


def states_a_derivative(docstring: str) -> bool:
    """Whether it says what dx (dy, dv, dlogits, ...) is, or what is the gradient of its one argument."""
    return re.search(r"\bd(x|y|v|w|p|logits|table|gate)(_[a-z])?\s+(=|is)\s", docstring) is not None


@pytest.mark.parametrize("name", ops.__all__)
def test_every_op_states_its_derivative(name):
    assert states_a_derivative(inspect.getdoc(getattr(ops, name)))


def test_a_missing_derivative_is_found():
    assert not states_a_derivative("y = e^x, with index = 3 and dxs")
    assert states_a_derivative("y = e^x.   dx = g y.")

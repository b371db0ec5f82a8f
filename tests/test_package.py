"""The package itself: names that come when they are asked for, at no cost before."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import minivit

ROOT = Path(minivit.__file__).parents[1]


def python(program, *options):
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_it_imports_nothing():
    """Neither NumPy nor anything else but what Python itself needs."""
    program = "import sys; before = set(sys.modules); import minivit; print(sorted(set(sys.modules) - before))"
    assert python(program) == "['minivit']\n"


@pytest.mark.parametrize("name", minivit.__all__)
def test_a_name_is_imported_when_it_is_asked_for(name):
    assert python(f"from minivit import {name}; import minivit; print(minivit.{name} is {name})") == "True\n"


def test_modules_are_there_after_importing_the_package():
    program = "import minivit\nwith minivit.backend.kernels('reference'): print(minivit.nn.layers.Linear.__name__)"
    assert python(program) == "Linear\n"


def test_they_are_the_things_of_their_modules():
    from minivit import functional, models, tensor

    assert minivit.F is minivit.functional is functional
    assert (minivit.ViT, minivit.grad) == (models.ViT, tensor.grad)


def test_dir_lists_names_and_modules():
    assert {*minivit.__all__, "backend", "models", "update", "__version__"} <= set(dir(minivit))
    assert all(hasattr(minivit, name) for name in minivit.__all__)


@pytest.mark.parametrize("name", ["nothing", "Vit", "_private", "__wrapped__", "a.b"])
def test_what_there_is_not_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match="has no attribute"):
        getattr(minivit, name)
    assert not hasattr(minivit, name)


def test_type_checkers_see_the_same_names_from_the_same_modules():
    tree = ast.parse(Path(minivit.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        seen |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    assert sorted(seen) == sorted(minivit.__all__)
    for name, (module, original) in seen.items():
        assert getattr(minivit, name) is getattr(importlib.import_module(module), original)
    assert (Path(minivit.__file__).parent / "py.typed").exists()


def test_the_console_script_is_the_front_door():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["minivit"].partition(":")
    assert getattr(importlib.import_module(module), function) is importlib.import_module("minivit.__main__").main


@pytest.mark.parametrize(
    "name", ["step", "trainer", "recipes", "presets", "transfer", "answers", "improvement", "recompute", "locks"]
)
def test_a_module_that_has_moved_is_found_by_its_first_name(name):
    script = f"import minivit.{name} as old, minivit; assert getattr(minivit, '{name}') is old; print(old.__name__)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert found in {"minivit.update.supervised", *(f"minivit.{room}.{name}" for room in ("runs", "files", "nn"))}

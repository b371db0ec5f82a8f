"""Which library an array belongs to, and choosing one by name. CuPy is played by the stand-in."""

import importlib
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import standin_cupy

from minivit.backend import asarray, get_namespace, is_array, register_array_type, to_numpy, xp_of
from minivit.backend.arrays import asarray_like, cupy_command
from minivit.backend.kernels import find
from minivit.errors import BackendError


@pytest.fixture
def cupy():
    """A module called cupy with one device, which minivit does not know yet."""
    with standin_cupy.installed() as module:
        yield module


@pytest.mark.parametrize("x", [np.ones(3), np.ones(()), np.float32(1), 2.0, 3, True])
def test_numpy_answers_for_its_arrays_and_for_numbers(x):
    assert xp_of(x) is np


@pytest.mark.parametrize(
    ("x", "answer"),
    [(np.ones(3), True), (np.ones(()), True), (np.ma.ones(2), True)]
    + [(x, False) for x in (np.float32(1), 1.0, 2, True, [1.0], (1.0,), None, "x")],
)
def test_what_counts_as_an_array(x, answer):
    assert is_array(x) is answer


def test_a_registered_library_answers_for_its_arrays(cupy):
    class Array:
        """Of a library that nobody knows."""

    assert not is_array(Array())
    library = ModuleType("library")
    register_array_type(Array, library)
    assert is_array(Array())
    assert xp_of(Array()) is library


def test_arrays_of_cupy_are_known_before_it_was_chosen(cupy):
    assert is_array(cupy.ones(1))
    assert xp_of(cupy.ones(1)) is cupy


def test_numpy_by_name():
    assert get_namespace("numpy") is np


@pytest.mark.parametrize("backend", ["cupy", "auto"])
def test_cupy_by_name(backend, cupy):
    assert get_namespace(backend) is cupy
    assert is_array(cupy.ones(1))
    assert xp_of(cupy.ones(1)) is cupy
    assert find("gelu", cupy.ndarray) is not None


def one_line_refusal(*words):
    with pytest.raises(BackendError) as caught:
        get_namespace("cupy")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("backend cupy: ")
    assert message.endswith("use --backend numpy")
    for word in words:
        assert word in message


def test_cupy_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    one_line_refusal("not installed", 'pip install "cupy-cuda13x[ctk]', "cuda12")
    assert get_namespace("auto") is np


def test_cupy_without_a_device(cupy, monkeypatch):
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 0)
    one_line_refusal("no GPU can be used (no CUDA device is visible)")
    assert get_namespace("auto") is np


def test_cupy_without_a_driver(cupy, monkeypatch):
    def fail():
        raise OSError("libcuda.so.1: cannot open\nsecond line")

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", fail)
    one_line_refusal("(libcuda.so.1: cannot open)")
    assert get_namespace("auto") is np


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"missing": ("nvrtc",)}, ("libnvrtc.so.13", '`pip install "cupy-cuda13x[ctk]>=14"')),
        ({"missing": ("nvrtc",), "cuda": 12}, ("libnvrtc.so.12", '`pip install "cupy-cuda12x[ctk]>=14"')),
        ({"cupy": "13.6.0"}, ("CuPy 13.6.0 is too old", '`pip install "cupy-cuda13x[ctk]>=14"')),
        ({"cupy": "9.0.0b1", "cuda": 12}, ("CuPy 9.0.0b1 is too old", "cupy-cuda12x[ctk]")),
        ({"memory": 0}, ("Out of memory",)),
    ],
    ids=str,
)
def test_cupy_that_cannot_run_a_kernel(machine, words):
    with standin_cupy.installed(**machine):
        one_line_refusal(*words)
        assert get_namespace("auto") is np


@pytest.mark.parametrize("cuda", [12, 13])
def test_the_extra_and_the_command_install_the_same(cuda):
    """CuPy alone has no compiler and no cuBLAS, and with an older NumPy no bfloat16."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = {line.partition(">=")[0]: line for line in project["optional-dependencies"][f"cuda{cuda}"]}
    _, cupy, _, numpy, _ = cupy_command(cuda).split('"')
    assert (cupy, numpy) == (extra[f"cupy-cuda{cuda}x[ctk]"], extra["numpy"])
    assert "ml_dtypes" in extra


@pytest.mark.parametrize("version", ["14.0.0", "14.0.0rc1", "14.10", "15.0.0.dev0", "100.2"])
def test_versions_of_cupy_that_are_new_enough(version):
    with standin_cupy.installed(cupy=version) as module:
        assert get_namespace("cupy") is module


@pytest.mark.parametrize("error", [ValueError("numpy.dtype size changed\n..."), AttributeError(), RuntimeError("")])
def test_cupy_that_cannot_be_imported(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    one_line_refusal("CuPy is broken", (str(error).splitlines() or [type(error).__name__])[0])


@pytest.mark.parametrize("name", ["torch", "", "NumPy"])
def test_an_unknown_backend(name):
    with pytest.raises(BackendError, match=f'^unknown backend "{name}": choose numpy, cupy or auto$'):
        get_namespace(name)


def test_data_goes_to_a_device_and_back(cupy):
    x = np.arange(3.0)
    there = asarray(x, "cupy", "float32")
    assert isinstance(there, cupy.ndarray)
    back = to_numpy(there)
    np.testing.assert_array_equal(back, x)
    assert back.dtype == "float32"
    assert isinstance(asarray(there, "numpy"), np.ndarray)


def test_asarray_copies_only_if_it_must():
    x = np.ones(3, "float32")
    assert asarray(x) is x
    assert to_numpy(x) is x
    assert asarray(x, dtype="float32") is x
    assert asarray(x, dtype="float64").dtype == "float64"
    assert asarray([1, 2], dtype="float32").tolist() == [1, 2]


def test_to_numpy_of_what_has_a_get_method_and_is_no_array():
    np.testing.assert_array_equal(to_numpy([1, 2]), [1, 2])
    assert to_numpy({"a": 1}).dtype == object  # a dict's `get` is not called


def test_asarray_like_takes_library_and_dtype(cupy):
    there = asarray_like([1, 2], cupy.ones(1, "float32"))
    assert isinstance(there, cupy.ndarray)
    assert there.dtype == "float32"
    assert asarray_like([1, 2], np.ones(1, "float32")).dtype == "float32"

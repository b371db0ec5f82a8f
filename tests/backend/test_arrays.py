"""Which library an array belongs to, and choosing one by name. CuPy is played by a stand-in."""

import sys
import types

import numpy as np
import pytest

from minivit.backend import arrays, asarray, get_namespace, is_array, register_array_type, to_numpy, xp_of
from minivit.backend.arrays import asarray_like
from minivit.errors import BackendError


class DeviceArray:
    """An array of another library: data behind `get`, as CuPy's."""

    def __init__(self, data):
        self.data = np.asarray(data)

    def get(self):
        return self.data


@pytest.fixture
def fake_cupy(monkeypatch):
    """A module called cupy with one device; every test starts from the untouched table of array types."""
    monkeypatch.setattr(arrays, "_NAMESPACES", dict(arrays._NAMESPACES))
    cupy = types.ModuleType("cupy")
    cupy.ndarray = DeviceArray
    cupy.devices = 1
    cupy.asarray = lambda x, dtype=None: DeviceArray(np.asarray(getattr(x, "data", x), dtype))
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=lambda: cupy.devices))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


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


def test_a_registered_library_answers_for_its_arrays(fake_cupy):
    x = DeviceArray([1, 2])
    assert not is_array(x)
    register_array_type(DeviceArray, fake_cupy)
    assert is_array(x)
    assert xp_of(x) is fake_cupy


def test_arrays_of_cupy_are_known_before_it_was_chosen(fake_cupy, monkeypatch):
    monkeypatch.setattr(DeviceArray, "__module__", "cupy._core.core")
    assert is_array(DeviceArray([1]))
    assert xp_of(DeviceArray([1])) is fake_cupy


def test_numpy_by_name():
    assert get_namespace("numpy") is np


@pytest.mark.parametrize("backend", ["cupy", "auto"])
def test_cupy_by_name(backend, fake_cupy):
    assert get_namespace(backend) is fake_cupy
    assert is_array(DeviceArray([1]))
    assert xp_of(DeviceArray([1])) is fake_cupy


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
    one_line_refusal("not installed", "pip install cupy-cuda13x", "cuda12")
    assert get_namespace("auto") is np


def test_cupy_without_a_device(fake_cupy):
    fake_cupy.devices = 0
    one_line_refusal("no GPU can be used (no CUDA device is visible)")
    assert get_namespace("auto") is np


def test_cupy_without_a_driver(fake_cupy):
    def fail():
        raise OSError("libcuda.so.1: cannot open\nsecond line")

    fake_cupy.cuda.runtime.getDeviceCount = fail
    one_line_refusal("(libcuda.so.1: cannot open)")
    assert get_namespace("auto") is np


@pytest.mark.parametrize("name", ["torch", "", "NumPy"])
def test_an_unknown_backend(name):
    with pytest.raises(BackendError, match=f'^unknown backend "{name}": choose numpy, cupy or auto$'):
        get_namespace(name)


def test_data_goes_to_a_device_and_back(fake_cupy):
    x = np.arange(3.0)
    there = asarray(x, "cupy", "float32")
    assert isinstance(there, DeviceArray)
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


def test_asarray_like_takes_library_and_dtype():
    assert asarray_like([1, 2], np.ones(1, "float32")).dtype == "float32"

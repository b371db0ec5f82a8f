"""What the doctor says of a GPU, on machines that the stand-in for CuPy plays."""

import sys

import pytest
import standin_cupy

from minivit import doctor
from minivit.backend.cupy_kernels import cublaslt

pytest.importorskip("cuda_on_cpu")


def findings():
    """What is said of each topic, each in one line."""
    found = {}
    for topic, finding in doctor.gpu():
        assert "\n" not in finding
        found.setdefault(topic, finding)
    return found


@pytest.mark.parametrize("capability", [(9, 0), (8, 6), (8, 0), (7, 5)])
def test_each_kind_of_work_is_tried_and_said_in_a_line(capability):
    with standin_cupy.installed(capabilities=(capability,)):
        found = findings()
    assert found["gpu"].endswith(f"compute capability {capability[0]}.{capability[1]}")
    assert "is right" in found["kernel"]
    assert found["float32"] == "a product is right"
    for precision in ("tf32", "bf16"):
        if capability >= (8, 0):
            assert found[precision] == "a product is right"
        else:
            needs = f"precision {precision} on a GPU needs compute capability 8.0"
            assert found[precision].startswith(f"DOES NOT WORK: {needs}, but this one has 7.5")
            assert "--precision float32" in found[precision]


def test_what_is_wrong_is_said(monkeypatch):
    with standin_cupy.installed(), monkeypatch.context() as patch:
        patch.setattr(doctor, "product", lambda x, y, **options: 0 * x)
        assert findings()["float32"] == "WRONG: 0.0, expected 16"


def test_what_replaces_a_missing_library_is_said(monkeypatch):
    monkeypatch.setattr(cublaslt, "_load", lambda: None)
    with standin_cupy.installed(), monkeypatch.context() as patch:
        patch.setattr(cublaslt, "library", lambda: None)
        found = findings()
        assert "MISSING" in found["cublasLt"]
        assert "cupy-cuda13x[ctk]" in found["cublasLt"]
        assert found["float32"] == "a product is right"
    with standin_cupy.installed(missing=("cublas",)), monkeypatch.context() as patch:
        patch.setattr(cublaslt, "library", lambda: None)
        assert findings()["float32"].startswith("DOES NOT WORK: Failure finding")


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"missing": ("nvrtc",)}, ["libnvrtc.so.13", 'pip install "cupy-cuda13x[ctk]>=14"']),
        ({"missing": ("nvrtc",), "cuda": 12}, ["libnvrtc.so.12", 'pip install "cupy-cuda12x[ctk]>=14"']),
        ({"cupy": "13.6.0"}, ["CuPy 13.6.0 is too old", 'pip install "cupy-cuda13x[ctk]>=14"']),
        ({"capabilities": ()}, ["no GPU can be used", "cudaErrorNoDevice"]),
    ],
    ids=str,
)
def test_a_machine_that_cannot_use_cupy_is_told_what_to_install(machine, words):
    with standin_cupy.installed(**machine):
        found = findings()
    assert list(found)[-1] == "cupy"
    for word in words:
        assert word in found["cupy"]


def test_bfloat16_without_its_numpy_or_its_package(monkeypatch):
    with standin_cupy.installed(numpy="2.0.2"):
        assert "NumPy 2.1.2" in findings()["bf16"]
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with standin_cupy.installed():
        assert "pip install ml_dtypes" in findings()["bf16"]

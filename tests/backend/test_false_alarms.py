"""NumPy warns of finite products where the matrix library leaves floating-point flags behind: those of the package are
not passed on, whatever a user's program does with warnings."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("message", "module", "passed_on"),
    [
        ("divide by zero encountered in matmul", "minivit.ops.products", False),
        ("overflow encountered in matmul", "minivit.backend.numpy_kernels", False),
        ("invalid value encountered in dot", "minivit.models.inside", False),
        ("invalid value encountered in matmul", "numpy.linalg._linalg", False),
        ("overflow encountered in exp", "minivit.ops.functions", True),
        ("divide by zero encountered in divide", "minivit.ops.functions", True),
        ("overflow encountered in matmul", "__main__", True),  # of a user's own product
        ("overflow encountered in matmul", "minivitamin", True),
    ],
)
@pytest.mark.parametrize("options", [[], ["-W", "error"], ["-W", "always"]], ids=" ".join)
def test_warnings_of_products(message, module, passed_on, options):
    program = (
        "import warnings, minivit.backend\n"
        f"warnings.warn_explicit({message!r}, RuntimeWarning, 'file.py', 1, module={module!r})"
    )
    done = subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True)
    assert (message in done.stderr) == passed_on


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_on_a_mac_products_in_cells_of_a_notebook_are_not_believed_either(platform):
    program = (
        "import sys, warnings, minivit.trainer\n"
        f"sys.platform = {platform!r}\n"
        "import minivit.lessons\n"
        "wrong = minivit.backend.blas.cries_wolf()\n"
        "warnings.warn_explicit('overflow encountered in matmul', RuntimeWarning, 'file.py', 1, module='__main__')\n"
        "warnings.warn_explicit('overflow encountered in exp', RuntimeWarning, 'file.py', 2, module='__main__')\n"
        "print(wrong)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ("matmul" not in done.stderr) == (done.stdout == "True\n")
    assert "in exp" in done.stderr
    assert done.stdout == "True\n" or platform == "linux"

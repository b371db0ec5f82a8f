"""How many launches the kernels for CuPy take, and of how many blocks: counted on the stand-in."""

import numpy as np
import pytest
import standin_cupy

from minivit import functional as F
from minivit.backend import get_namespace
from minivit.backend.cupy_kernels import flat, linear, rows
from minivit.backend.cupy_kernels.launch import Launcher, kernel
from minivit.tensor import Tensor, grad

MULTIPROCESSORS = standin_cupy.cuda.MULTIPROCESSORS


@pytest.fixture
def cupy():
    with standin_cupy.installed():
        yield get_namespace("cupy")


def launches(cupy, function):
    """How many operations the device carries out for it, once it is warm: those of a recorded graph, without the memory
    that is only taken."""
    function()
    stream, taken = cupy.cuda.Stream(non_blocking=True), []

    def noted(take):
        return lambda *args, **options: taken.append(take) or take(*args, **options)

    with stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cupy, "empty", noted(cupy.empty))
        patch.setattr(cupy, "empty_like", noted(cupy.empty_like))
        stream.begin_capture()
        function()
        return len(stream.end_capture().operations) - len(taken)


def random(cupy, *shape):
    return cupy.asarray(np.random.default_rng(0).standard_normal(shape), "float32")


def test_the_backward_pass_of_layer_norm_is_two_launches(cupy):
    x, scale, bias = random(cupy, 40, 24), random(cupy, 24), random(cupy, 24)
    _, vjp = rows.layer_norm(x, scale, bias)
    assert launches(cupy, lambda: vjp(x)) == 2


def test_the_gradients_of_layer_norm_are_not_copied(cupy):
    """The engine copies what shares its memory."""
    tensors = [Tensor(random(cupy, *shape), requires_grad=True) for shape in ((40, 24), (24,), (24,))]
    alone = launches(cupy, lambda: F.layer_norm(*tensors))

    def both():
        y = F.layer_norm(*tensors)
        grad(y, tensors, y.data)

    assert launches(cupy, both) == alone + 2


def test_a_grid_is_no_larger_than_what_runs_at_a_time(cupy):
    launcher = kernel("softmax.cu", "softmax_forward", X="float", Y="float")
    assert launcher.blocks(10**6, 128) == MULTIPROCESSORS * 8  # the stand-in's holds 1024 threads
    assert launcher.blocks(10**6, 256) == MULTIPROCESSORS * 4
    assert launcher.blocks(3, 128) == 3
    assert launcher.blocks(0, 128) == 1


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("layer_norm_backward", lambda x, w, cupy: rows.layer_norm(x, w, w)[1](x)),
        ("bias_gelu_forward", lambda x, w, cupy: linear.gelu(x)),
        ("bias_gelu_backward", lambda x, w, cupy: linear.gelu(x)[1](x)),
        ("adamw", lambda x, w, cupy: flat.FlatParameters([x]).adamw(x, x)),
    ],
)
def test_kernels_that_take_any_grid_get_one_wave(cupy, name, run, monkeypatch):
    grids = {}
    call = Launcher.__call__

    def noted(self, grid, block, *arguments, **options):
        grids[self.name] = grid, block
        if self.name != "adamw":
            call(self, grid, block, *arguments, **options)

    monkeypatch.setattr(Launcher, "__call__", noted)
    run(random(cupy, 2048, 24), random(cupy, 24), cupy)
    grid, block = grids[name]
    assert grid * block == MULTIPROCESSORS * 1024


def test_rows_that_do_not_fit_into_registers_are_left_to_the_op(cupy):
    widest = random(cupy, 1, rows.WIDEST + 1)
    assert rows.layer_norm(widest, widest[0], widest[0]) is NotImplemented

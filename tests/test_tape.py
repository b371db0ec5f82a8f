"""The tape to look at."""

import numpy as np
import pytest
from devices import leaf, tensor, to_device
from strategies import assert_close

from minivit import functional as F
from minivit.backend import kernels
from minivit.backward import Node
from minivit.tape import saved, saved_bytes, tape
from minivit.tensor import grad, no_grad

on_every_device = pytest.mark.usefixtures("device")
pytestmark = pytest.mark.usefixtures("readable_ops")


@on_every_device
class TestTape:
    def test_it_reads_like_the_forward_pass(self):
        x, weight, bias = leaf(2, 3), leaf(3, 4), leaf(4)
        loss = F.sum(F.softmax(F.linear(x, weight, bias)) * 2)
        nodes = tape(loss)
        assert [node.op for node in nodes] == ["linear", "softmax", "mul", "sum"]
        linear, softmax, mul, _ = nodes
        assert linear.input_shapes == ((2, 3), (3, 4), (4,))
        assert linear.output_shape == (2, 4)
        assert linear.inputs == (x, weight, bias)
        assert softmax.inputs == (linear,)
        assert mul.inputs == (softmax, None)
        assert mul.input_shapes == ((2, 4), ())
        assert repr(linear) == "linear((2, 3), (3, 4), (4,)) -> (2, 4)"

    def test_saved_arrays_have_the_names_of_the_op(self):
        x = leaf(2, 4)
        (softmax,) = tape(F.softmax(x))
        assert list(saved(softmax)) == ["y"]
        assert_close(saved(softmax)["y"].sum(axis=-1), np.ones(2))
        assert saved_bytes(softmax) == x.data.nbytes
        (layer_norm,) = tape(F.layer_norm(x, leaf(4), leaf(4)))
        assert {"x_hat", "inverse_std", "scale"} <= set(saved(layer_norm))
        (linear,) = tape(F.linear(x, leaf(4, 2)))
        assert {"x", "weight"} <= set(saved(linear))

    @pytest.mark.parametrize("op", [F.sum, F.mean, F.reshape, F.transpose, F.getitem, F.concat, F.neg])
    def test_an_op_that_needs_no_array_saves_none(self, op):
        x = leaf(2, 3)
        y = {F.reshape: lambda: op(x, (6,)), F.getitem: lambda: op(x, 0)}.get(op, lambda: op(x))()
        assert saved(tape(y)[0]) == {}

    def test_saved_bytes_follow_the_dtype(self):
        for dtype, bytes_ in (("float32", 24), ("float64", 48)):
            assert saved_bytes(*tape(F.exp(tensor(np.ones((2, 3), dtype), requires_grad=True)))) == bytes_

    def test_a_backward_pass_can_be_stepped_through(self):
        """What the notebooks do: run every vjp by hand and arrive at what `grad` says."""
        x = leaf(2, 3)
        loss = F.sum(F.exp(x) * 3.0)
        g = to_device(np.array(1.0))
        for node in reversed(tape(loss)):
            assert isinstance(node, Node)
            g = node.vjp(g)[0]
        assert_close([g], grad(loss, [x]))

    def test_nothing_is_recorded_under_no_grad(self):
        with no_grad():
            assert tape(F.exp(leaf(3))) == []


def test_the_kernel_of_layer_norm_keeps_one_array_of_the_size_of_x():
    x = tensor(np.ones((2, 4)), requires_grad=True)
    with kernels("fused"):
        (layer_norm,) = tape(F.layer_norm(x, leaf(4), leaf(4)))
    assert [name for name, array in saved(layer_norm).items() if array.size == x.data.size] == ["x_hat"]

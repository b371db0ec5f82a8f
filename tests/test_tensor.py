"""Tensors: operators, grad and backward, threads, lift, errors."""

import contextlib
import contextvars
import functools
import re
import threading

import numpy as np
import pytest
from devices import assert_allclose, assert_equal, check_gradients, leaf, library, tensor, to_device
from hypothesis import given
from strategies import arrays, assert_close, positive, shapes

from minivit import functional as F
from minivit import tensor as engine
from minivit.backend.kernels import find, registered
from minivit.tape import tape
from minivit.tensor import Tensor, grad, lift, no_grad, watch

on_every_device = pytest.mark.usefixtures("device")
pytestmark = pytest.mark.usefixtures("readable_ops")


class TestTensor:
    def test_python_data_becomes_float32(self):
        for data in (1, 2.5, [1, 2], [[1.0, 2.0]], True):
            assert Tensor(data).dtype == "float32"

    @pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "bool"])
    def test_arrays_keep_their_dtype_and_are_not_copied(self, dtype):
        data = np.ones(3, dtype)
        assert Tensor(data).data is data
        assert Tensor(data[0]).dtype == dtype

    def test_a_tensor_of_a_tensor_shares_its_data_and_not_its_history(self):
        x = leaf(3)
        y = Tensor(x * 2.0)
        assert y.node is None
        assert not y.requires_grad

    @pytest.mark.parametrize("data", [np.arange(3), np.array([True]), np.array([1j])])
    def test_only_floating_point_data_has_gradients(self, data):
        with pytest.raises(TypeError, match=f"Tensor index: only floating-point data has gradients, .* {data.dtype}"):
            Tensor(data, requires_grad=True, name="index")

    def test_what_it_says_about_itself(self):
        x = Tensor(np.ones((2, 3), "float32"), requires_grad=True, name="weight")
        assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, "float32", 2)
        assert "requires_grad=True, name='weight'" in repr(x)
        assert "op=mul" in repr(x * 2.0)
        assert x.T.shape == (3, 2)
        assert (x[:1, 0] + 1.0).item() == 2.0
        assert x.detach().data is x.data
        assert not x.detach().requires_grad

    def test_iterating_gives_the_rows(self):
        x = leaf(3, 2)
        rows = list(x)
        assert len(rows) == 3
        assert_equal(grad(F.sum(rows[1]), [x])[0], [[0, 0], [1, 1], [0, 0]])


OPERATORS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "**": lambda x, y: x**y,
    "@": lambda x, y: x @ y,
}


@on_every_device
class TestOperators:
    @pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
    def test_between_tensors_and_numpy_arrays_in_either_order(self, operator):
        x, y = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 3))
        for left, right in ((tensor(x), tensor(y)), (tensor(x), to_device(y)), (to_device(x), tensor(y))):
            z = operator(left, right)
            assert isinstance(z, Tensor)
            assert_close(z.data, operator(x, y))
        check_gradients(operator, x, y)
        check_gradients(lambda x: operator(x, to_device(y)), x)
        check_gradients(lambda y: operator(to_device(x), y), y)

    @pytest.mark.parametrize("number", [3, 0.5, np.float64(0.5), np.float32(0.5)], ids=repr)
    @pytest.mark.parametrize("operator", [f for name, f in OPERATORS.items() if name != "@"])
    def test_with_numbers_keep_float32(self, operator, number):
        x = np.array([1, 2, 4], "float32")
        for f in (lambda t: operator(t, number), lambda t: operator(number, t)):
            z = f(tensor(x))
            assert z.dtype == "float32"
            assert_allclose(z.data, f(x.astype("float64")), rtol=1e-6)
            check_gradients(f, x)

    def test_negation_indexing_and_methods(self):
        x = np.random.default_rng(0).standard_normal((2, 3, 4))
        for f in (
            lambda x: -x,
            lambda x: x[1, ::-1],
            lambda x: x[:, [0, 0, 2]],
            lambda x: x.T,
            lambda x: x.reshape(6, 4),
            lambda x: x.reshape((4, -1)),
            lambda x: x.transpose(2, 0, 1),
            lambda x: x.transpose((0, 2, 1)),
            lambda x: x.transpose(),
            lambda x: x.sum(),
            lambda x: x.sum(axis=(0, 2), keepdims=True),
            lambda x: x.mean(axis=1),
        ):
            assert_close(f(tensor(x)).data, f(x))
            check_gradients(f, x)

    def test_a_tensor_is_not_changed_in_place(self):
        x = y = leaf(3)
        before = x.data.copy()
        y += 1.0
        assert y is not x
        assert_equal(x.data, before)


@on_every_device
class TestGrad:
    def test_it_mutates_nothing(self):
        x, constant = leaf(3), tensor(np.ones(3))
        data = x.data.copy()
        grad(F.sum(F.exp(x) * constant), [x])
        assert x.grad is None
        assert constant.grad is None
        assert_equal(x.data, data)

    def test_intermediate_results_and_the_loss_itself(self):
        x = leaf(3)
        y = x * 2.0
        z = F.exp(y)
        loss = F.sum(z * z)
        dloss, dz, dy, dx = grad(loss, [loss, z, y, x])
        assert_close((dloss, dz, dy, dx), (np.array(1.0), 2 * z.data, 2 * z.data**2, 4 * z.data**2))

    def test_what_the_loss_does_not_depend_on_gets_zeros(self):
        x, y = leaf(2), leaf(3)
        other, unused = tensor(np.ones((2, 2), "float32"), requires_grad=True), F.exp(y)
        later = leaf(2) * 1.0
        gradients = grad(F.sum(x), [y, other, unused, later, x])
        expected = (np.zeros(3), np.zeros((2, 2)), np.zeros(3), np.zeros(2), np.ones(2))
        assert_close(gradients, list(expected))
        assert gradients[1].dtype == "float32"

    def test_a_loss_of_which_nothing_was_recorded(self):
        x = leaf(2)
        with no_grad():
            unrecorded = F.sum(x)
        for loss in (unrecorded, tensor(np.array(3.0))):
            with pytest.raises(RuntimeError, match="grad: nothing was recorded"):
                grad(loss, [x])
        assert_close(grad(x, [x], to_device(np.ones(2))), [np.ones(2)])

    def test_a_tensor_that_requires_no_gradient_is_named(self):
        x, images = leaf(2), tensor(np.ones(2), name="images")
        with pytest.raises(ValueError, match=r"grad: tensor images \(2,\) was made without requires_grad=True"):
            grad(F.sum(x * images), [x, images])

    def test_a_vjp_that_hands_out_what_it_captured_spoils_nothing(self):
        def dot(x, w):
            def vjp(g):
                return w, x

            return (x * w).sum(), vjp

        x, w = leaf(3), leaf(3)
        before = x.data.copy(), w.data.copy()
        dx, dw = grad(lift(dot)(x, w) + lift(dot)(x, w) + lift(dot)(x, w), [x, w])
        assert_close([x.data, w.data, dx, dw], [*before, 3 * before[1], 3 * before[0]])
        (once,) = grad(lift(dot)(x, w), [x])
        assert once is not w.data

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
    def test_the_cotangent_of_one_element_is_one(self, shape):
        x = leaf(*shape)
        assert_close(grad(x * 3.0, [x]), [np.full(shape, 3.0)])

    def test_cotangents_of_a_wrong_shape(self):
        x = leaf(2, 3)
        y = x * 1.0
        with pytest.raises(ValueError, match=r"grad: loss has shape \(2, 3\); pass g, a cotangent of that shape"):
            grad(y, [x])
        with pytest.raises(ValueError, match=r"grad: the cotangent g has shape \(3,\), the loss \(2, 3\)"):
            grad(y, [x], to_device(np.ones(3)))
        assert_close(grad(y, [x], to_device(np.ones((2, 3)))), [np.ones((2, 3))])  # nothing was used up by the refusals

    def test_gradients_have_the_dtype_of_their_tensor(self):
        x, y = tensor(np.ones(3, "float32"), requires_grad=True), leaf(3)
        dx, dy = grad(F.sum(x * y), [x, y])
        assert (dx.dtype, dy.dtype) == ("float32", "float64")

    def test_gradients_reach_only_those_who_asked(self):
        x, frozen = leaf(3), tensor(np.ones(3))
        y = x * frozen
        assert tape(y)[0].inputs == (x, None)

    def test_float32_stays_float32_to_the_leaf(self):
        x = tensor(np.ones((2, 3), "float32"), requires_grad=True)
        seen = []
        with watch(lambda name, inputs, out: seen.append(out.dtype)):
            y = F.mean(F.gelu(F.softmax(x * 2 + 1.0) / 3.0, "erf") ** 2)
        assert set(map(str, seen)) == {"float32"}
        assert grad(y, [x])[0].dtype == "float32"


@on_every_device
class TestBackward:
    def test_it_adds_into_the_leaves_alone(self):
        x, y = leaf(3), leaf(3)
        hidden = x * y
        F.sum(hidden).backward()
        F.sum(x).backward()
        assert_close((x.grad, y.grad), (y.data + 1, x.data))
        assert hidden.grad is None

    def test_it_agrees_with_grad(self):
        x, y = leaf(2, 3), leaf(3, 2)
        g = to_device(np.random.default_rng(5).standard_normal((2, 2)))
        (x @ y).backward(g)
        assert_close((x.grad, y.grad), tuple(grad(x @ y, [x, y], g)))

    def test_it_refuses_a_tensor_that_nothing_was_recorded_for(self):
        x = leaf(3)
        with no_grad():
            loss = F.sum(x)
        for unrecorded in (loss, tensor(1.0), F.sum(tensor([1.0, 2.0]))):
            with pytest.raises(RuntimeError, match="backward: nothing was recorded"):
                unrecorded.backward()
            assert unrecorded.grad is None


def in_thread(function):
    """What the function returns in a thread of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


class TestThreads:
    def test_threads_share_parameters(self):
        weight, bias = leaf(20, 20), leaf(20, seed=1)
        batches = [np.random.default_rng(i).standard_normal((8, 20)) for i in range(4)]

        def gradients(batch):
            x = tensor(batch)
            for _ in range(10):
                x = F.tanh(F.linear(x, weight, bias))
            return grad(F.sum(x * x), [weight, bias])

        expected = [gradients(batch) for batch in batches]
        found = [None] * len(batches)
        barrier = threading.Barrier(len(batches))

        def work(i):
            barrier.wait()
            for _ in range(10):
                found[i] = gradients(batches[i])

        context = contextvars.copy_context  # a thread starts in an empty one, here: with kernels
        threads = [threading.Thread(target=context().run, args=(work, i)) for i in range(len(batches))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one, other in zip(found, expected, strict=True):
            assert_equal(one[0], other[0])
            assert_equal(one[1], other[1])
        assert weight.grad is None

    def test_no_grad_is_of_its_thread(self):
        x = leaf(3)
        with no_grad():
            assert (x * 2.0).node is None
            assert in_thread(lambda: (x * 2.0).node is not None)
            with no_grad():
                pass
            assert (x * 2.0).node is None  # leaving the inner context does not end the outer one
        assert (x * 2.0).node is not None

    def test_no_grad_ends_with_an_error(self):
        with contextlib.suppress(ZeroDivisionError), no_grad():
            raise ZeroDivisionError
        assert (leaf(3) * 2.0).requires_grad

    def test_watch_is_of_its_thread(self):
        seen = []
        with watch(lambda name, inputs, out: seen.append((name, len(inputs), out.shape))):
            F.concat(leaf(2), leaf(3), leaf(4))
            in_thread(lambda: F.exp(leaf(2)))
            with no_grad():
                F.linear(leaf(2, 3), leaf(3, 4), leaf(4))
        F.exp(leaf(2))
        assert seen == [("concat", 3, (9,)), ("linear", 3, (2, 4))]

    def test_the_choice_of_kernels_is_of_its_thread(self):
        table = registered()
        assert table
        for key in table:
            assert find(*key) is None
            assert in_thread(functools.partial(find, *key)) is table[key]


@on_every_device
class TestLift:
    def test_a_bare_op(self):
        def square(x):
            return x * x, lambda g: (2 * g * x,)

        assert lift(square).__name__ == "square"
        check_gradients(lift(square), np.array([1.0, -2.0]))

    def test_a_bare_op_with_parameters(self):
        def scaled_sum(x, y, weight: float, power=1):
            return weight * x**power + y, lambda g: (g * weight * power * x ** (power - 1), g)

        check_gradients(lambda x, y: lift(scaled_sum)(x, y, 3.0, power=2), np.array([1.0, 2.0]), np.array([0.5, 0.5]))

    def test_arrays_passed_by_keyword(self):
        x, weight, bias = leaf(2, 3), leaf(3, 4), leaf(4)
        expected = grad(F.sum(F.linear(x, weight, bias)), [x, weight, bias])
        assert_close(grad(F.sum(F.linear(x, bias=bias, weight=weight)), [x, weight, bias]), expected)
        assert_close(grad(F.sum(F.linear(bias=bias, weight=weight, x=x)), [x, weight, bias]), expected)
        assert_close(F.sum(x=x, axis=0, keepdims=True).data, x.data.sum(0, keepdims=True))

    def test_an_optional_array_may_be_left_out(self):
        x, weight = leaf(2, 3), leaf(3, 4)
        for y in (F.linear(x, weight), F.linear(x, weight, None), F.linear(x, weight=weight)):
            assert_close(grad(F.sum(y), [weight])[0], np.repeat(x.data.sum(0)[:, None], 4, axis=1))

    def test_values_of_ops_are_arrays(self):
        for y in (F.sum(leaf(3)), leaf(3)[0], leaf(3) @ leaf(3), leaf() + leaf()):
            assert isinstance(y.data, library().ndarray)
            assert y.shape == ()

    def test_it_keeps_the_documentation(self):
        assert F.softmax.__doc__.startswith("y_i = exp(x_i)")
        assert F.softmax.__name__ == "softmax"


class TestErrors:
    def test_the_example_of_the_design(self):
        x, weight = tensor(np.ones((32, 65, 192), "float32")), tensor(np.ones((384, 768), "float32"))
        message = "linear: x has 192 features in its last axis (32, 65, 192), weight expects 384 (384, 768)"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            F.linear(x, weight)

    @pytest.mark.parametrize(
        ("call", "kind", "message"),
        [
            (lambda x: x + np.ones(4), ValueError, r"add: .*broadcast.* \(x float64 \(2, 3\), y float64 \(4,\)\)"),
            (lambda x: x @ x, ValueError, r"matmul: x \(2, 3\) and y \(2, 3\) do not agree in the summed axis"),
            (lambda x: x.reshape(7), ValueError, r"reshape: .* \(x float64 \(2, 3\)\)"),
            (lambda x: x[5], IndexError, r"getitem: index 5 is out of bounds .* \(x float64 \(2, 3\)\)"),
            (lambda x: x.sum(axis=2), ValueError, r"sum: axis 2 is out of bounds .* \(x float64 \(2, 3\)\)"),
            (
                lambda x: F.concat(x, np.ones((2, 4))),
                ValueError,
                r"concat: .* \(0 float64 \(2, 3\), 1 float64 \(2, 4\)\)",
            ),
            (lambda x: F.layer_norm(x, np.ones(4), np.ones(3)), ValueError, r"layer_norm: x \(2, 3\), scale \(4,\)"),
            (lambda x: F.exp(x, 1), TypeError, r"exp: .*positional argument.* \(x float64 \(2, 3\)\)"),
            (lambda x: F.exp(), TypeError, "exp: .*missing 1 required positional argument: 'x'"),
            (lambda x: x + "text", TypeError, r"add: .* \(x float64 \(2, 3\), y str\)"),
            (lambda x: F.softmax(np.ones((2, 0))), ValueError, r"softmax: zero-size array .* \(x float64 \(2, 0\)\)"),
        ],
    )
    def test_errors_name_the_op_its_arguments_and_their_shapes(self, call, kind, message):
        with pytest.raises(kind, match=f"^{message}"):
            call(leaf(2, 3))

    def test_a_vjp_with_too_few_or_too_many_gradients(self):
        for gradients in ((), (1, 1, 1)):

            @lift
            def careless(x, y, gradients=gradients):
                return x * y, lambda g: tuple(g for _ in gradients)

            x = leaf(3)
            expected = (
                rf"careless\(\(3,\), \(3,\)\) -> \(3,\): its vjp returned {len(gradients)} gradients for 2 arguments"
            )
            with pytest.raises(ValueError, match=expected):
                grad(careless(x, x), [x], to_device(np.ones(3)))

    def test_a_vjp_with_a_gradient_of_a_wrong_shape(self):
        @lift
        def careless(x):
            return x * 1, lambda g: (g[:2],)

        x = leaf(3)
        with pytest.raises(ValueError, match=r"careless.*: gradient 0 has shape \(2,\), its argument \(3,\)"):
            grad(careless(x), [x], to_device(np.ones(3)))

    def test_a_gradient_that_was_asked_for_and_does_not_exist(self):
        labels = tensor(np.full((2, 3), 1 / 3), requires_grad=True)
        loss = F.cross_entropy(leaf(2, 3), labels)
        with pytest.raises(ValueError, match=r"cross_entropy.*: argument 1 has no gradient, but one was asked for"):
            grad(loss, [labels])


@on_every_device
@given(x=arrays(shapes(), positive))
def test_the_engine_takes_every_memory_layout(x):
    check_gradients(lambda x: F.log(x) * x + F.sum(x), x)


def test_no_global_state_is_left_behind():
    assert engine._GRAD_ENABLED.get()
    assert engine._WATCHER.get() is None

"""The way back: un-broadcasting, order, release, ownership of gradients."""

import contextlib
import functools
import gc
import tracemalloc
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import assert_equal, check_gradients, leaf, library, tensor, to_device, to_host
from hypothesis import given
from strategies import arrays, assert_close, nonzero, shape_pairs

from minivit import functional as F
from minivit.backward import unbroadcast
from minivit.tape import saved, saved_bytes, tape
from minivit.tensor import grad, lift

on_every_device = pytest.mark.usefixtures("device")
pytestmark = pytest.mark.usefixtures("readable_ops")


@contextlib.contextmanager
def without_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@on_every_device
class TestUnbroadcast:
    @given(pair=shape_pairs())
    def test_it_is_the_adjoint_of_broadcasting(self, pair):
        """<broadcast(x), g> = <x, unbroadcast(g)> for all x and g."""
        rng = np.random.default_rng(0)
        shape, result = pair[0], np.broadcast_shapes(*pair)
        x, g = np.asarray(rng.standard_normal(shape)), np.asarray(rng.standard_normal(result))
        back = to_host(unbroadcast(to_device(g), shape))
        assert back.shape == shape
        assert_close((np.broadcast_to(x, result) * g).sum(), (x * back).sum())

    def test_it_returns_an_array_that_fits_as_it_is(self):
        g = to_device(np.ones((2, 3)))
        assert unbroadcast(g, (2, 3)) is g

    @given(data=st.data(), pair=shape_pairs())
    def test_gradients_have_the_shape_of_their_argument(self, data, pair):
        x, y = (tensor(data.draw(arrays(shape)), requires_grad=True) for shape in pair)
        z = x * y + x
        dx, dy = grad(z, [x, y], to_device(np.ones(z.shape)))
        assert (dx.shape, dy.shape) == pair
        check_gradients(lambda x, y: x * y + x, x.data, y.data)


@on_every_device
class TestOrder:
    def test_a_node_runs_after_everything_that_used_it(self):
        a = leaf()
        b = a + a
        c = b + b
        assert grad(c, [a])[0] == 4

    def test_diamonds(self):
        def diamonds(x):
            for _ in range(30):  # 2^30 paths: only possible if each node runs once
                x = x * 0.5 + F.tanh(x) * 0.5
            return x

        check_gradients(diamonds, np.array([0.5, -1.0]))

    def test_each_vjp_runs_once(self):
        runs = []

        @lift
        def counted(x):
            return x * 1, lambda g: (runs.append(1) or g * 1,)

        x = leaf(2)
        y = counted(x)
        grad(F.sum(y * y + y), [x])
        assert len(runs) == 1

    def test_long_and_short_paths_to_one_tensor(self):
        def f(x):
            y = x
            for _ in range(5):
                y = F.exp(y * 0.1)
            return y * x + F.sum(x) * y

        check_gradients(f, np.array([0.3, 1.2]))

    def test_a_chain_of_50_000_ops(self):
        x = leaf()
        with without_garbage_collector():
            y = x
            for _ in range(50_000):
                y = y + 1.0
            first = weakref.ref(y)
            assert len(tape(y)) == 50_000
            assert grad(y, [x])[0] == 1
            del y
            assert first() is None

    def test_a_chain_of_50_000_ops_is_dropped_without_a_backward_pass(self):
        y = leaf()
        for _ in range(50_000):
            y = y * 1.0
        del y

    @given(data=st.data())
    def test_random_expressions(self, data):
        """Graphs of random ops over two leaves, in which every result may be used any number of times."""
        unary = [F.tanh, F.exp, F.sigmoid, lambda x: -x, lambda x: x.T, F.softmax, lambda x: F.sum(x, 0, keepdims=True)]
        binary = [F.add, F.mul, F.sub, lambda x, y: x @ F.tanh(x).T @ x + y, lambda x, y: x / (y * y + 1.0)]
        steps = data.draw(
            st.lists(st.tuples(st.sampled_from(unary + binary), st.integers(0, 99), st.integers(0, 99)), max_size=8)
        )

        def expression(*leaves):
            results = list(leaves)
            for op, i, j in steps:
                x, y = results[i % len(results)], results[j % len(results)]
                results.append(F.tanh(op(x) if op in unary else op(x, y)))
            return functools.reduce(lambda total, x: total + F.sum(x), results, tensor(np.zeros(())))

        inputs = [data.draw(arrays((3, 3), nonzero)) for _ in range(2)]
        check_gradients(expression, *inputs, rtol=1e-5)


class TestRelease:
    def test_saved_arrays_are_freed_during_the_backward_pass(self):
        freed = []

        def remember(name):
            @lift
            def op(x):
                big = np.ones(1000)
                weakref.finalize(big, freed.append, name)

                def vjp(g):
                    freed.append(f"vjp of {name}")
                    return (g * big[0],)

                return x * 1, vjp

            return op

        x = leaf()
        y = remember("third")(remember("second")(remember("first")(x)))
        nodes = tape(y)
        with without_garbage_collector():
            grad(y, [x])
        assert freed == ["vjp of third", "third", "vjp of second", "second", "vjp of first", "first"]
        assert all(saved(node) == {} and saved_bytes(node) == 0 for node in nodes)

    def test_memory_falls_as_the_pass_goes_back(self):
        x = tensor(np.ones(100_000), requires_grad=True)  # 0.8 MB an array
        tracemalloc.start()
        try:
            y = x
            for _ in range(20):
                y = F.exp(y * 0.1)
            y = F.sum(y)
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            grad(y, [x])
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert before > 15e6
        assert peak < before + 5e6  # a few cotangents at a time, not one for each op
        assert after < 2e6

    def test_a_second_backward_pass_is_refused(self):
        x = leaf(2, 3)
        y = F.sum(F.exp(x))
        grad(y, [x])
        with pytest.raises(RuntimeError, match=r"sum.*released by an earlier backward pass; run the forward again"):
            grad(y, [x])

    def test_a_graph_that_shares_a_used_part_is_refused(self):
        x = leaf(2)
        shared = F.exp(x)
        grad(F.sum(shared), [x])
        with pytest.raises(RuntimeError, match=r"exp\(\(2,\)\) -> \(2,\): its saved arrays were released"):
            grad(F.sum(shared * 2.0), [x])

    def test_the_graph_has_no_cycles(self):
        x = leaf(3, 3)
        with without_garbage_collector():
            hidden = F.layer_norm(F.gelu(x @ x.T), tensor(np.ones(3), True), tensor(np.zeros(3), True))
            loss = F.cross_entropy(hidden[:, ::-1] + x, np.array([0, 1, 2]))
            watched = [weakref.ref(hidden), weakref.ref(loss), weakref.ref(hidden.data), weakref.ref(loss.data)]
            watched += [weakref.ref(node.vjp) for node in tape(loss)]
            del hidden, loss
            assert [ref() for ref in watched] == [None] * len(watched)

    def test_neither_gradients_nor_errors_keep_the_graph(self):
        x = leaf(3)
        with without_garbage_collector():
            y = F.exp(x)
            data = weakref.ref(y.data)
            gradients = grad(F.sum(y), [x])
            with contextlib.suppress(ValueError):
                y @ np.ones(4)
            del y
            assert data() is None
            assert gradients[0].shape == (3,)

    def test_nothing_is_recorded_where_no_gradient_is_wanted(self):
        y = F.exp(tensor(np.ones(3)))
        assert y.node is None
        assert not y.requires_grad


def add_both(x, y):
    """Hands one array to both of its arguments."""
    return x + y, lambda g: (g, g)


def double_both(x, y):
    """Hands an array of its own to one argument and a view of it to the other."""

    def vjp(g):
        d = 2 * g
        return d, d.T

    return 2 * x + 2 * y.T, vjp


def overlap(gradients):
    pairs = [(i, j) for i in range(len(gradients)) for j in range(i)]
    return [(i, j) for i, j in pairs if library().shares_memory(gradients[i], gradients[j])]


@on_every_device
class TestOwnership:
    """A gradient belongs to the one who asked for it."""

    @pytest.mark.parametrize("op", [add_both, double_both])
    def test_two_leaves_never_share_a_gradient(self, op):
        x, y, g = leaf(3, 3), leaf(3, 3, seed=1), to_device(np.random.default_rng(2).standard_normal((3, 3)))
        gradients = grad(lift(op)(x, y), [x, y], g)
        assert not overlap([*gradients, g])

    @pytest.mark.parametrize("op", [add_both, double_both])
    @pytest.mark.parametrize("again_first", [True, False])
    def test_adding_up_does_not_write_to_what_another_tensor_holds(self, op, again_first):
        def f(x, y):
            again = x * 5.0 if again_first else None
            z = lift(op)(x, y) * to_device(np.arange(9.0).reshape(3, 3))
            return z + (x * 5.0 if again is None else again)

        check_gradients(f, np.ones((3, 3)), np.ones((3, 3)))
        check_gradients(lambda y, x: f(x, y), np.ones((3, 3)), np.ones((3, 3)))

    @pytest.mark.parametrize(
        "f",
        [
            lambda x: x + x,
            lambda x: x + x + x,
            lambda x: (x + x) * 1.0 + x.reshape(9).reshape(3, 3),
            lambda x: x.T + x,
            lambda x: F.concat(x, x),
            lambda x: F.broadcast_to(x, (2, 3, 3)),
        ],
    )
    def test_a_tensor_used_twice(self, f):
        check_gradients(f, np.random.default_rng(0).standard_normal((3, 3)))

    @pytest.mark.parametrize(
        "f",
        [
            lambda x: x.reshape(9),
            lambda x: x.T,
            lambda x: x[::-1],
            lambda x: F.sum(x),
            lambda x: F.broadcast_to(x, (3, 3)),
            lambda x: x,
        ],
    )
    def test_views_of_the_cotangent_are_copied(self, f):
        x = leaf(3, 3)
        y = f(x)
        g = to_device(np.ones(y.shape))
        (dx,) = grad(y, [x], g)
        dx += 1
        assert_equal(dx, np.full((3, 3), 2.0))
        assert_equal(g, np.ones(y.shape))

    def test_asking_twice_for_one_gradient_gives_two_arrays(self):
        x = leaf(3, 3)
        y = F.exp(x)
        z = F.sum(y)
        gradients = grad(z, [x, x, y, y, z, z])
        assert not overlap(gradients)
        for first, second in zip(gradients[::2], gradients[1::2], strict=True):
            assert_equal(first, second)

    def test_backward_keeps_no_reference_to_the_cotangent(self):
        x = leaf(3)
        g = np.ones(3)
        (x + 0.0).backward(g)
        g[:] = 7
        assert_equal(x.grad, np.ones(3))

    def test_leaves_of_two_backward_passes_share_nothing(self):
        x, y = leaf(3), leaf(3)
        (x + y).backward(to_device(np.ones(3)))
        first = x.grad
        (x + y).backward(to_device(np.ones(3)))
        assert_equal(first, np.ones(3))  # what was handed out does not change later
        assert_equal(x.grad, np.full(3, 2.0))
        assert not overlap([x.grad, y.grad, first])

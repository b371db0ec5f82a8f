"""reshape, transpose, getitem, concat, pad, broadcast_to: they move elements and change none."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from devices import assert_equal, ops, tensor, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, shape_pairs, shapes

from minivit import functional as F
from minivit.tensor import grad


@pytest.mark.gradient_check("reshape")
@given(data=st.data(), x=arrays(shapes()))
def test_reshape(data, x):
    lengths = data.draw(st.permutations(x.shape))
    for shape in (tuple(lengths), (x.size,), (1, *x.shape), (*x.shape, 1, 1), *([(-1,), (-1, 1)] if x.size else [])):
        assert_close(ops.reshape(x, shape)[0], np.reshape(x, shape), 0)
        check(ops.reshape, x, shape=shape)


@pytest.mark.gradient_check("transpose")
@given(data=st.data(), x=arrays(shapes(max_dims=4)))
def test_transpose(data, x):
    order = tuple(data.draw(st.permutations(range(x.ndim))))
    from_the_end = tuple(a - x.ndim if data.draw(st.booleans()) else a for a in order)
    for axes in (None, order, from_the_end):
        assert_close(ops.transpose(x, axes)[0], np.transpose(x, axes), 0)
        check(ops.transpose, x, axes=axes)


@pytest.mark.gradient_check("broadcast_to")
@given(data=st.data(), pair=shape_pairs())
def test_broadcast_to(data, pair):
    x = data.draw(arrays(pair[0]))
    shape = np.broadcast_shapes(*pair)
    assert_close(ops.broadcast_to(x, shape)[0], np.broadcast_to(x, shape), 0)
    check(ops.broadcast_to, x, shape=shape)
    assert_same(lambda x: F.broadcast_to(x, shape), lambda x: x + to_device(np.zeros(shape)), x)


# getitem


def getitem_by_position(x, index):
    """The gradient of x[index], by asking every chosen element for its place in x."""
    places = np.arange(x.size).reshape(x.shape)[index]
    g = np.random.default_rng(0).standard_normal(np.shape(places))
    dx = np.zeros(x.size)
    for place, share in zip(np.ravel(places), np.ravel(g), strict=True):
        dx[place] += share
    return g, dx.reshape(x.shape)


def assert_indexed(x, index):
    y, vjp = ops.getitem(x, index)
    g, dx = getitem_by_position(x, index)
    assert_close((y, vjp(g)[0]), (x[index], dx), 1e-12)
    check(ops.getitem, x, index=index)


@pytest.mark.gradient_check("getitem")
@given(data=st.data(), x=arrays(shapes()))
def test_basic_indices(data, x):
    assert_indexed(x, data.draw(hnp.basic_indices(x.shape, allow_newaxis=True, allow_ellipsis=True)))


@given(data=st.data(), x=arrays(shapes(min_dims=1, min_side=1)))
def test_integer_arrays_sum_what_they_repeat(data, x):
    assert_indexed(x, data.draw(hnp.integer_array_indices(x.shape, result_shape=hnp.array_shapes(max_dims=2))))


@given(data=st.data(), x=arrays(shapes()))
def test_boolean_indices(data, x):
    assert_indexed(x, data.draw(hnp.arrays(bool, x.shape)))


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(index, id=str(index))
        for index in [
            2,
            np.int64(-1),
            slice(None, None, -2),
            (slice(3, 0, -1), slice(None, None, -1)),
            (..., 0),
            (None, slice(1), None, 1),
            [0, 0, 2],
            ([1, 1], [2, 2]),
            (slice(None), [0, 0]),
            ((0, 0), slice(None)),
            (range(2), 0),
            (np.array([[0, 0], [3, 3]]), slice(1, None)),
            np.array([True, False, True, False]),
            (np.array([True, False, True, False]), 1),
            [True, False, False, True],
            (np.array(1), np.array(1)),
            np.zeros(0, int),
            slice(2, 2),
            (),
            True,
        ]
    ],
)
def test_every_kind_of_index(index):
    assert_indexed(np.arange(12.0).reshape(4, 3), index)


# concat and pad


@st.composite
def arrays_that_join(draw):
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    place = axis % len(shape)
    return [draw(arrays((*shape[:place], n, *shape[place + 1 :]))) for n in lengths], axis


@pytest.mark.gradient_check("concat")
@given(drawn=arrays_that_join())
def test_concat(drawn):
    xs, axis = drawn
    assert_close(ops.concat(*xs, axis=axis)[0], np.concatenate(xs, axis), 0)
    check(ops.concat, *xs, axis=axis)


@given(drawn=arrays_that_join())
def test_concat_equals_a_sum_of_padded_arrays(drawn):
    xs, axis = drawn
    place = axis % xs[0].ndim
    total = sum(x.shape[place] for x in xs)

    def composition(*xs):
        y, start = 0.0, 0
        for x in xs:
            width = [(0, 0)] * x.ndim
            width[place] = (start, total - start - x.shape[place])
            y, start = y + F.pad(x, tuple(width)), start + x.shape[place]
        return y

    assert_same(lambda *xs: F.concat(*xs, axis=axis), composition, *xs)


@pytest.mark.gradient_check("pad")
@given(data=st.data(), x=arrays(shapes(min_dims=1)), value=st.sampled_from([0.0, -3.5]))
def test_pad(data, x, value):
    side = st.integers(0, 2)
    width = tuple(data.draw(st.tuples(side, side)) for _ in x.shape)
    assert_close(ops.pad(x, width, value)[0], np.pad(x, width, constant_values=value), 0)
    check(ops.pad, x, pad_width=width, value=value)


@given(x=arrays(shapes(min_dims=1)))
def test_taking_the_padding_away_gives_x_back(x):
    inside = tuple(slice(1, 1 + n) for n in x.shape)
    assert_same(lambda x: F.pad(x, ((1, 2),) * len(x.shape))[inside], lambda x: x * 1.0, x)


def test_a_read_only_view_never_becomes_a_gradient():
    x = tensor(np.zeros((2, 3)), requires_grad=True)
    (dx,) = grad(F.sum(x), [x])
    dx += 1  # `sum` hands back a broadcast view, in which all elements are one
    assert_equal(dx, np.full((2, 3), 2.0))

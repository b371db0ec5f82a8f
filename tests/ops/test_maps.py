"""resize and roll."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import arrays, assert_close, check

from minivit.backend.resizing import METHODS, resize_matrix

sides = st.integers(1, 5)
METHOD = st.sampled_from([*METHODS, "bilinear_pinv"])


@pytest.mark.gradient_check("resize")
@given(
    x=arrays(st.tuples(st.integers(1, 2), sides, sides, st.integers(1, 3))), size=st.tuples(sides, sides), method=METHOD
)
def test_resize(x, size, method):
    a, b = (resize_matrix(old, new, method) for old, new in zip(x.shape[1:3], size, strict=True))
    assert_close(ops.resize(x, size, method)[0], np.einsum("im,jn,bmnc->bijc", a, b, x))
    check(ops.resize, x, size=size, method=method)


def test_rows_and_columns_have_scales_of_their_own():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
    scales = 5.1 / 3, 6.1 / 4
    a, b = resize_matrix(3, 5, "bicubic", scales[0]), resize_matrix(4, 6, "bicubic", scales[1])
    assert_close(ops.resize(x, (5, 6), "bicubic", scales)[0], np.einsum("im,jn,bmnc->bijc", a, b, x))
    check(ops.resize, x, size=(5, 6), method="bicubic", scale=scales)


def test_resize_says_what_does_not_fit():
    x = np.ones((2, 3, 4, 1))
    for bad, size in ((x[0], (3, 3)), (x, (3, 3, 3)), (x, (3,))):
        with pytest.raises(ValueError, match=r"resize: x \(.*\) is not \(B, height, width, C\), or size"):
            ops.resize(bad, size)
    with pytest.raises(ValueError, match="resize: a side of 4 cannot become 0"):
        ops.resize(x, (3, 0))
    with pytest.raises(ValueError, match='resize: method is "linear"'):
        ops.resize(x, (3, 3), "linear")


@st.composite
def rolls(draw):
    """x, shifts, axes: some axes, each by a shift of any length and sign."""
    x = draw(arrays(st.one_of(st.tuples(*[sides] * n) for n in (1, 2, 4))))
    axes = draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    return (
        x,
        tuple(draw(st.integers(-7, 7)) for _ in axes),
        tuple(axis - draw(st.sampled_from([0, x.ndim])) for axis in axes),
    )


@pytest.mark.gradient_check("roll")
@given(inputs=rolls())
def test_roll(inputs):
    x, shifts, axes = inputs
    expected = np.empty_like(x)
    for index in np.ndindex(x.shape):
        there = list(index)
        for shift, axis in zip(shifts, axes, strict=True):
            there[axis] = (index[axis] + shift) % x.shape[axis]
        expected[tuple(there)] = x[index]
    y, vjp = ops.roll(x, shifts, axes)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(vjp(y)[0], x)
    check(ops.roll, x, shifts=shifts, axes=axes)


def test_one_axis_may_be_a_number():
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(ops.roll(x, 1, 1)[0], ops.roll(x, (1,), (1,))[0])
    check(ops.roll, x, shifts=-1, axes=-2)


def test_roll_says_what_does_not_fit():
    x = np.ones((2, 3))
    for shifts, axes in ((1, (0, 1)), ((1, 2), 0), (1, 2), (1, -3), ((), (0,))):
        with pytest.raises(ValueError, match=r"roll: shifts .* and axes .* do not fit each other, or x \(2, 3\)"):
            ops.roll(x, shifts, axes)

"""select and embedding: rows by number."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops, tensor, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, shapes

from minivit import functional as F
from minivit.tensor import grad

# select


@st.composite
def sequences(draw):
    """x (B, N, ...), and of every sequence some places in any order, counted from either end."""
    batch, tokens, rest = draw(st.integers(0, 3)), draw(st.integers(1, 5)), draw(shapes(max_dims=2))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    chosen = draw(st.integers(0, tokens))
    index = np.array([rng.permutation(tokens)[:chosen] for _ in range(batch)], int).reshape(batch, chosen)
    return draw(arrays((batch, tokens, *rest))), index - tokens * rng.integers(0, 2, index.shape)


@pytest.mark.gradient_check("select")
@given(drawn=sequences())
def test_select(drawn):
    x, index = drawn
    expected = np.array([row[places] for row, places in zip(x, index, strict=True)])
    for dtype in ("int64", "int32"):
        assert_close(ops.select(x, index.astype(dtype))[0], expected.reshape(*index.shape, *x.shape[2:]), 0)
    check(ops.select, x, index)


@given(drawn=sequences())
def test_select_is_getitem_of_every_sequence(drawn):
    x, index = drawn
    rows, places = to_device(np.arange(len(x))[:, None]), to_device(index)
    assert_same(lambda x: F.select(x, places), lambda x: x[rows, places], x)


def test_what_was_not_chosen_gets_nothing_and_the_index_is_kept():
    x, index = tensor(np.arange(12.0).reshape(2, 3, 2), requires_grad=True), to_device(np.array([[2, 0], [1, 2]]))
    y = F.select(x, index)
    index[...] = 0  # the caller's own from here on
    assert_close(y, [[[4, 5], [0, 1]], [[8, 9], [10, 11]]], 0)
    (dx,) = grad(y, [x], to_device(np.arange(1.0, 9).reshape(2, 2, 2)))
    assert_close(dx, [[[3, 4], [0, 0], [1, 2]], [[0, 0], [5, 6], [7, 8]]], 0)


@pytest.mark.parametrize("index", [[[0, 1], [2, 2]], [[0, -3], [1, 2]]])
def test_a_place_named_twice_is_refused(index):
    with pytest.raises(ValueError, match="select: a row of index names a place twice, which only getitem allows"):
        ops.select(np.ones((2, 3, 4)), np.array(index))


@pytest.mark.parametrize(
    ("x", "index"),
    [((2, 3), (2,)), ((2, 3), (3, 1)), ((2, 3), (1, 2)), ((2,), (2, 1)), ((2, 3, 4), (2, 1, 1)), ((), (1, 1))],
)
def test_select_says_what_does_not_fit(x, index):
    with pytest.raises(ValueError, match=r"select: x \(.*\) and index \(.*\) int64 are not"):
        ops.select(np.ones(x), np.zeros(index, "int64"))


@pytest.mark.parametrize("kind", ["float64", "bool"])
def test_places_are_integers(kind):
    with pytest.raises(ValueError, match=f"select: .* index .* {kind} are not"):
        ops.select(np.ones((2, 3, 4)), np.zeros((2, 1), kind))

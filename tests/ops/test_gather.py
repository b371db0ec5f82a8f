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


# embedding


@st.composite
def tables(draw):
    """table (V, D) and ids of any shape, some of them often."""
    rows, width = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return draw(arrays((rows, width))), rng.integers(0, rows, draw(shapes()))


@pytest.mark.gradient_check("embedding")
@given(drawn=tables())
def test_embedding(drawn):
    table, ids = drawn
    expected = np.array([table[i] for i in ids.ravel()]).reshape(*ids.shape, table.shape[1])
    for dtype in ("int64", "int32", "uint8"):
        assert_close(ops.embedding(table, ids.astype(dtype))[0], expected, 0)
    check(ops.embedding, table, ids)


@given(drawn=tables())
def test_embedding_is_a_product_with_one_hot_rows(drawn):
    table, ids = drawn
    rows = to_device((ids.reshape(-1, 1) == np.arange(len(table))).astype("float64"))
    numbers = to_device(ids)
    assert_same(
        lambda table: F.embedding(table, numbers).reshape(-1, table.shape[1]), lambda table: rows @ table, table
    )


def test_the_ids_are_kept():
    table, ids = tensor(np.zeros((3, 2)), requires_grad=True), to_device(np.array([2, 0, 2]))
    y = F.embedding(table, ids)
    ids[...] = 1  # the caller's own from here on
    (dtable,) = grad(y, [table], to_device(np.array([[1.0, 2], [3, 4], [5, 6]])))
    assert_close(dtable, [[3, 4], [0, 0], [6, 8]], 0)


@pytest.mark.parametrize("ids", [[0, 3], [-1, 2]])
def test_ids_outside_the_table_are_refused(ids):
    with pytest.raises(ValueError, match=rf"embedding: ids span {min(ids)}\.\.{max(ids)}, the table has rows 0\.\.2"):
        ops.embedding(np.ones((3, 4)), np.array(ids))


@pytest.mark.parametrize(("table", "ids"), [((3,), np.zeros(2, int)), ((3, 4), np.zeros(2)), ((1, 3, 4), np.array(0))])
def test_embedding_says_what_does_not_fit(table, ids):
    with pytest.raises(ValueError, match=r"embedding: table \(.*\) and ids \(.*\) \w+ are not \(V, D\) and integers"):
        ops.embedding(np.ones(table), ids)

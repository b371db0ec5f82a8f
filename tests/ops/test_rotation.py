"""Rotary positions."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, shapes

from minivit import functional as F

HALVES = pytest.mark.parametrize("halves", [False, True])


@st.composite
def pairs_and_angles(draw):
    """x (..., 2 P), angles of a shape that broadcasts to (..., P)."""
    shape = *draw(shapes(max_dims=3)), draw(st.integers(1, 3))
    stretched = tuple(1 if draw(st.booleans()) else n for n in shape)[draw(st.integers(0, len(shape) - 1)) :]
    angles = np.random.default_rng(draw(st.integers(0, 1000))).uniform(-9, 9, stretched)
    return draw(arrays((*shape[:-1], 2 * shape[-1]))), angles


def rotated_by_pair(x, angles, halves):
    """Every pair as one complex number."""
    pairs = x.shape[-1] // 2
    y = np.empty_like(x)
    for *place, pair in np.ndindex(*x.shape[:-1], pairs):
        first, second = (pair, pairs + pair) if halves else (2 * pair, 2 * pair + 1)
        a, b = x[(*place, first)], x[(*place, second)]
        t = np.broadcast_to(angles, (*x.shape[:-1], pairs))[(*place, pair)]
        z = complex(a, b) * complex(math.cos(t), math.sin(t))
        y[(*place, first)], y[(*place, second)] = z.real, z.imag
    return y


@HALVES
@pytest.mark.gradient_check("rotate")
@given(drawn=pairs_and_angles())
def test_rotate(halves, drawn):
    x, angles = drawn
    assert_close(ops.rotate(x, angles, halves)[0], rotated_by_pair(x, angles, halves), 1e-14)
    check(ops.rotate, x, angles, constant=[1], halves=halves)


@HALVES
@given(drawn=pairs_and_angles())
def test_lengths_stay_and_the_way_back_is_by_minus_the_angles(halves, drawn):
    x, angles = drawn
    y, _ = ops.rotate(x, angles, halves)
    assert_close((y * y).sum(axis=-1), (x * x).sum(axis=-1))
    assert_close(ops.rotate(y, -angles, halves)[0], x)


def test_products_of_queries_and_keys_depend_on_their_distance_alone():
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 6))
    positions = np.arange(5)[:, None] * np.array([1.0, 0.3, 0.1])
    for halves in (False, True):
        queries, keys = (ops.rotate(np.tile(x, (5, 1)), positions, halves)[0] for x in (q, k))
        scores = queries @ keys.T
        assert max(np.ptp(np.diagonal(scores, distance)) for distance in range(-4, 5)) < 1e-12
        assert abs(scores[0, 1] - scores[1, 0]) > 0.05  # and on its sign


def test_the_heads_of_a_sequence_turn_alike():
    rng = np.random.default_rng(0)
    x, angles = rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((5, 2))
    y, _ = ops.rotate(x, angles[:, None])
    for head in range(3):
        np.testing.assert_array_equal(y[:, :, head], ops.rotate(x[:, :, head], angles)[0])


@given(drawn=pairs_and_angles())
def test_the_conventions_are_one_but_for_the_order_of_features(drawn):
    x, angles = drawn
    pairs, there = x.shape[-1] // 2, to_device(angles)
    order = to_device(np.arange(2 * pairs).reshape(2, pairs).T.ravel())  # 0, P, 1, P + 1, ...
    back = to_device(np.arange(2 * pairs).reshape(pairs, 2).T.ravel())
    assert_same(
        lambda x: F.rotate(x, there, halves=True),
        lambda x: F.rotate(x[..., order], there)[..., back],
        x,
        tolerance=1e-14,
    )


@pytest.mark.parametrize(
    ("x", "angles"), [((2, 5), (2, 2)), ((2, 4), (2, 4)), ((2, 4), (3, 2)), ((2, 4), (1, 2, 2)), ((), (1,))]
)
def test_rotate_says_what_does_not_fit(x, angles):
    with pytest.raises(ValueError, match=r"rotate: x \(.*\) and angles \(.*\) are not \(..., 2 P\) and \(..., P\)"):
        ops.rotate(np.ones(x), np.ones(angles))

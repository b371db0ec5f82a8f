"""A3, attention: the master solution and what the handout says, against differences and numbers made by hand."""

import math

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load
from minivit.course.student.trial import Direct, Trial, Wrong

A3 = assignments()["a3_attention"]
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def master():
    return load(A3.master)


def arrays(batch, heads, queries, keys, width, value_width):
    shapes = (queries, width), (keys, width), (keys, value_width), (queries, value_width)
    return [RNG.standard_normal((batch, heads, *shape)) for shape in shapes]


def slopes(function, x, g, step=1e-6):
    """Central differences of sum(g * function(x)), place by place."""
    found = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        found[place] = np.sum(g * (function(up) - function(down))) / (2 * step)
    return found


def by_hand():
    q = np.array([[[[2.0, 0, 0, 0]]]])
    k = np.array([[[[0.0, 0, 0, 0], [math.log(3), 0, 0, 0]]]])
    v = np.array([[[[8.0, 0], [0, 4]]]])
    return q, k, v


def test_the_numbers_of_the_handout(master):
    q, k, v = by_hand()
    np.testing.assert_allclose(master.attention(q, k, v, None), [[[[2, 3]]]], rtol=1e-14)
    np.testing.assert_allclose(master.attention(q, k, v, np.array([True, False])), [[[[8, 0]]]], rtol=1e-14)
    dq, dk, dv = master.attention_backward(q, k, v, None, np.array([[[[1.0, 0]]]]))
    np.testing.assert_allclose(dq, [[[[-0.75 * math.log(3), 0, 0, 0]]]], rtol=1e-14)
    np.testing.assert_allclose(dk, [[[[1.5, 0, 0, 0], [-1.5, 0, 0, 0]]]], rtol=1e-14)
    np.testing.assert_allclose(dv, [[[[0.25, 0], [0.75, 0]]]], rtol=1e-14)


def test_the_columns_of_the_handout(master):
    q, _, v = master.split_heads(np.arange(18.0).reshape(1, 1, 18), 2)
    assert q[0, 1, 0].tolist() == [3, 4, 5]
    assert v[0, 0, 0].tolist() == [12, 13, 14]
    assert master.merge_heads(np.arange(12.0).reshape(1, 2, 2, 3))[0].tolist() == [
        [0, 1, 2, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
    ]


def test_the_stream_of_the_handout(master):
    state = master.stream_begin(np.ones((1, 1, 1, 1)), 1)
    for key, value in ((0.0, 8.0), (math.log(3), 0.0)):
        state = master.stream_update(state, np.full((1, 1, 1, 1), key), np.full((1, 1, 1, 1), value))
    np.testing.assert_allclose(master.stream_end(state), [[[[2.0]]]], rtol=1e-14)


def test_a_query_without_keys_gets_zero_and_passes_nothing_on(master):
    q, k, v, g = arrays(1, 2, 3, 4, 2, 5)
    mask = np.ones((3, 4), bool)
    mask[1] = False
    assert not master.attention(q, k, v, mask)[:, :, 1].any()
    dq, *before = master.attention_backward(q, k, v, mask, g)
    assert not dq[:, :, 1].any()
    g[:, :, 1] = 7
    for a, b in zip(before, master.attention_backward(q, k, v, mask, g)[1:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("lengths", [(2, 2, 3, 3, 3, 3), (1, 2, 3, 4, 2, 5)])
def test_gradients_are_those_of_central_differences(master, lengths):
    q, k, v, g = arrays(*lengths)
    mask = RNG.random(lengths[:4]) < 0.6
    grads = master.attention_backward(q, k, v, mask, g)
    forwards = (
        lambda x: master.attention(x, k, v, mask),
        lambda x: master.attention(q, x, v, mask),
        lambda x: master.attention(q, k, x, mask),
    )
    for x, forward, dx in zip((q, k, v), forwards, grads, strict=True):
        np.testing.assert_allclose(dx, slopes(forward, x, g), atol=1e-7)


def test_gradients_of_a_layer_are_those_of_central_differences(master):
    x, g = RNG.standard_normal((2, 2, 3, 4))
    shapes = {"qkv.weight": (4, 12), "qkv.bias": (12,), "out.weight": (4, 4), "out.bias": (4,)}
    params = {name: RNG.standard_normal(shape) for name, shape in shapes.items()}
    dx, grads = master.multi_head_attention_backward(x, params, 2, g)
    np.testing.assert_allclose(dx, slopes(lambda x: master.multi_head_attention(x, params, 2), x, g), atol=1e-7)
    for name, value in params.items():
        forward = lambda value, name=name: master.multi_head_attention(x, {**params, name: value}, 2)
        np.testing.assert_allclose(grads[name], slopes(forward, value, g), atol=1e-7)
    assert abs(grads["qkv.bias"][4:8]).max() < 1e-12  # the bias of the keys moves no weight


def test_each_engine_is_found_and_no_right_one(master):
    wrong = [name for name, wrong in A3.wrongs.items() if wrong.engine]
    assert len(wrong) == 12
    for name in wrong:
        other = load(A3.wrong_files(name))
        with np.errstate(all="ignore"):
            assert master.find_bugs(other.attention, other.attention_backward) is True, name
    for name, files in A3.rights.items():
        other = load(files)
        assert master.find_bugs(other.attention, other.attention_backward) is False, name


def test_a_state_may_change_and_other_arguments_may_not():
    def grow(state, k):
        state["sum"] = state["sum"] + k.sum()
        return state

    trial = Trial(Direct({"grow": grow}), Direct({}), np.random.default_rng(0))
    assert trial.call("grow", trial.scratch({"sum": 1.0}), np.ones(3)) == {"sum": 4.0}
    with pytest.raises(Wrong, match=r"grow changes state\["):
        trial.call("grow", {"sum": 1.0}, np.ones(3))


def one_allowed_key(n):
    return np.arange(n) == n // 2


@pytest.mark.parametrize("name", ["master", *A3.rights])
def test_right_gradients_that_are_zero_on_paper_differ_by_no_more_than_the_handout_allows(name):
    right = load(A3.master if name == "master" else A3.rights[name])
    for keys, mask, size in ((1, None, 1), (1, None, 30), (5, one_allowed_key(5), 1), (5, None, 30)):
        q, k, v, g = arrays(2, 2, 4, keys, 3, 5)
        q, k = size * q, size * k
        exact, small = (1e-9, 1e-12) if size == 1 else (1e-7, 1e-9)
        wanted = A3.oracle.attention_backward(q, k, v, mask, g)
        for dx, want in zip(right.attention_backward(q, k, v, mask, g), wanted, strict=True):
            assert abs(dx - want).max() <= max(exact * abs(want).max(), small)

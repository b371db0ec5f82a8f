"""attention.cu against ops.attention."""

import math

import numpy as np
import pytest
from cuda_on_cpu.kernels import both_orders, module, must_fail, needs_compiler, normal, numbers, stored, unwritten

from minivit import ops
from minivit.ops.attention import attention_weights

pytestmark = needs_compiler
CASES = [  # tokens, queries, heads, HEAD_DIM: around one tile of 16 and one step of 64 keys
    (1, 1, 2, 16),
    (15, 15, 1, 32),
    (16, 16, 2, 64),
    (17, 1, 3, 80),
    (50, 50, 1, 128),
    (65, 65, 2, 16),
    (65, 20, 1, 64),
]
BATCH = 2


def inputs(tokens, queries, heads, head_dim):
    rng = np.random.default_rng(tokens)
    qkv = normal(rng, (BATCH, tokens, 3, heads, head_dim), "bf16")
    return qkv, normal(rng, (BATCH, queries, heads, head_dim), "bf16")


def same_sign(qkv, sign):
    """Queries and keys with large scores that all have one sign: sums of exponentials far from 1."""
    values = numbers(qkv)
    values[:, :, 0] = 6 + 0.1 * values[:, :, 0]
    values[:, :, 1] = sign * 6 + 0.1 * values[:, :, 1]
    return stored(values, "bf16")


class Definition:
    """What the kernels should compute, from the op in float64, and how far bfloat16 lets them be off.

    Weights and dS are rounded to bfloat16 before they are multiplied with rows; so the bounds are the same products of
    absolute values, times some roundings.
    """

    def __init__(self, qkv, g):
        batch, tokens, _, heads, head_dim = qkv.shape
        queries = g.shape[1]
        values, scale = numbers(qkv), 1 / math.sqrt(head_dim)
        y, vjp = ops.attention(values.reshape(batch, tokens, -1), heads, queries=queries)
        self.y = y.reshape(batch, queries, heads, head_dim)
        self.dqkv = vjp(numbers(g).reshape(batch, queries, -1))[0].reshape(qkv.shape)
        q, k, v = values.transpose(2, 0, 3, 1, 4)
        q, g = q[:, :, :queries], numbers(g).transpose(0, 2, 1, 3)
        weights = attention_weights(q, k)
        self.log_sum = np.logaddexp.reduce(q @ k.swapaxes(-1, -2) * scale, axis=-1).reshape(-1, queries)
        self.y_bound = (weights @ abs(v)).transpose(0, 2, 1, 3)
        delta = (abs(g) * abs(self.y).transpose(0, 2, 1, 3)).sum(axis=-1, keepdims=True)
        ds = weights * (abs(g @ v.swapaxes(-1, -2)) + delta) * scale
        dq = np.zeros_like(k)
        dq[:, :, :queries] = ds @ abs(k)
        bounds = [dq, ds.swapaxes(-1, -2) @ abs(q), weights.swapaxes(-1, -2) @ abs(g)]
        self.dqkv_bound = np.stack(bounds).transpose(1, 3, 0, 2, 4)


def blocks(rows):
    """That one head needs."""
    return -(-rows // 64)


def sizes(qkv, queries):
    _, tokens, _, heads, head_dim = qkv.shape
    return [np.int32(tokens), np.int32(heads), np.int32(queries), np.float32(1 / math.sqrt(head_dim))]


def assert_within(actual, expected, bound):
    excess = np.abs(numbers(actual) - expected) - 2.0**-7 * bound
    assert (excess <= 1e-30).all(), f"{(~(excess <= 1e-30)).sum()} of {excess.size} elements are off"


def check_forward(case, reverse, bug=None, sign=0, with_log_sum=True):
    _, queries, heads, head_dim = case
    qkv, g = inputs(*case)
    qkv = same_sign(qkv, sign) if sign else qkv
    y = unwritten((BATCH, queries, heads, head_dim), "bf16")
    log_sum = unwritten((BATCH * heads, queries), "float") if with_log_sum else None
    module("attention.cu", bug, HEAD_DIM=head_dim).launch(
        "attention_forward",
        BATCH * heads * blocks(queries),
        128,
        [qkv, y, log_sum, *sizes(qkv, queries)],
        reverse=reverse,
    )
    expected = Definition(qkv, g)
    assert_within(y, expected.y, expected.y_bound)
    if with_log_sum:
        np.testing.assert_allclose(log_sum, expected.log_sum, rtol=1e-6, atol=1e-5)


def check_backward(case, reverse, bug=None, sign=0):
    tokens, queries, heads, head_dim = case
    qkv, g = inputs(*case)
    qkv = same_sign(qkv, sign) if sign else qkv
    expected = Definition(qkv, g)
    dqkv = unwritten(qkv.shape, "bf16")
    y, log_sum, delta = (
        stored(expected.y, "bf16"),
        stored(expected.log_sum, "float"),
        unwritten(expected.log_sum.shape, "float"),
    )
    kernels, grid = module("attention_backward.cu", bug, HEAD_DIM=head_dim), BATCH * heads * blocks(tokens)
    args = [qkv, y, g, log_sum, delta, dqkv, *sizes(qkv, queries)]
    kernels.launch("attention_backward_queries", grid, 128, args, reverse=reverse)
    del args[1]
    kernels.launch("attention_backward_keys", grid, 128, args, reverse=reverse)
    assert_within(dqkv, expected.dqkv, expected.dqkv_bound)


@both_orders
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case, reverse):
    check_forward(case, reverse)


@both_orders
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(case, reverse):
    check_backward(case, reverse)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_large_scores_of_one_sign(check, sign):
    check((50, 50, 1, 64), reverse=False, sign=sign)


@both_orders
def test_several_blocks_and_several_rounds_of_rows(reverse):
    check_forward((197, 197, 1, 16), reverse)
    check_backward((197, 197, 1, 16), reverse)


def test_more_tokens_than_ever_fit_into_shared_memory():
    check_forward((577, 70, 1, 32), reverse=False)
    check_backward((577, 70, 1, 32), reverse=False)


def test_log_sum_may_be_null():
    check_forward(CASES[1], reverse=False, with_log_sum=False)


MANY = (81, 81, 2, 16)
REPLACED = "        __syncthreads();  // before the rows are replaced that other warps still read\n"
COPIED = "        __syncthreads();\n        if (first_{} >= {}) continue;"


def without_barrier(row, rows):
    return COPIED.format(row, rows), COPIED.format(row, rows).replace("        __syncthreads();\n", "")


@pytest.mark.parametrize(
    ("check", "bug", "options"),
    [
        (check_forward, (REPLACED, ""), {}),
        (check_forward, without_barrier("query", "queries"), {}),
        (check_forward, ("key < keys ? score * scale_log2 : -INFINITY", "score * scale_log2"), {}),
        (check_forward, ("int keys = tokens - first_key;", "int keys = tokens;"), {}),
        (check_forward, ("* parts * heads + head % heads)", "* parts * heads)"), {}),
        (check_forward, ("% blocks * ROWS", "% blocks * TILE"), {}),
        (check_forward, ("y[i / 4][i / 2 % 2][2 * half + i % 2] *= rescale", ""), {}),
        (check_forward, ("sum[half] *= rescale;", ""), {}),
        (check_forward, ("new_largest = row_max(new_largest);", ""), {}),
        (check_forward, ("float total = row_sum(sum[half]);", "float total = sum[half];"), {}),
        (check_forward, ("score = exp2f(score - new_largest);", "score = exp2f(score);"), {"sign": 1}),
        (check_forward, ("largest[half] * LN_2", "largest[half]"), {}),
        (check_forward, ("Vector<bf16, VECTOR> values = {};",
                         "if (row >= rows) continue; Vector<bf16, VECTOR> values;"), {"sign": 1}),
        (check_forward, ("if (row >= rows) continue;", ""), {}),
        (check_forward, ("load_tile<true>", "load_tile<false>"), {}),
        (check_backward, (REPLACED, ""), {}),
        (check_backward, without_barrier("query", "queries"), {}),
        (check_backward, without_barrier("key", "tokens"), {}),
        (check_backward, ("key < keys ? weight * (ds[i / 4][i % 4] - delta[half]) : 0",
                          "weight * (ds[i / 4][i % 4] - delta[half])"), {"sign": -1}),
        (check_backward, ("keys - t, log2_sum", "keys, log2_sum"), {"sign": -1}),
        (check_backward, ("add_weighted_rows(dv, weights, g);", "add_weighted_rows(dv, weights, q);"), {}),
        (check_backward, ("add_weighted_rows(dk, ds, q);", "add_weighted_rows(dk, weights, q);"), {}),
        (check_backward, ("dot_rows(ds, v, g);", "dot_rows(ds, k, g);"), {}),
        (check_backward, (" - delta[query]", ""), {}),
        (check_backward, (" - delta[half]", ""), {}),
        (check_backward, ("delta[half] = row_sum(dot);", "delta[half] = dot;"), {}),
        (check_backward, ("[i % 2 * 2 + half], y_pair", "[i % 2 + 2 * half], y_pair"), {}),
        (check_backward, ("+ i] * LOG2_E : 0", "+ i] * LOG2_E : -INFINITY"), {}),
        (check_backward, ("log2_sum[2] = {0, 0}", "log2_sum[2] = {-INFINITY, -INFINITY}"), {}),
        (check_backward, ("shared_delta + t, scale", "shared_delta, scale"), {}),
        (check_backward, ("dk, first_key, tokens, scales)", "dk, first_key, tokens, ones)"), {}),
        (check_backward, ("dq, first_query, tokens, scales)", "dq, first_query, queries, scales)"), {}),
        (check_backward, ("place.first_row < queries ? tokens", "place.first_row + ROWS < queries ? tokens"), {}),
    ],
    ids=lambda value: value[0].strip() if isinstance(value, tuple) else None,
)  # fmt: skip
@pytest.mark.planted
def test_a_planted_error_is_found(check, bug, options):
    case = MANY if check is check_forward else (81, 68, 2, 16)
    must_fail(check, case if options.get("sign") is None else (50, 50, 1, 64), bug=bug, **options)

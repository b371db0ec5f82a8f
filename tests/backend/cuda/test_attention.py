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


def up(rows):
    return -(-rows // 16) * 16


def sizes(qkv, queries):
    _, tokens, _, heads, head_dim = qkv.shape
    return [np.int32(tokens), np.int32(heads), np.int32(queries), np.float32(1 / math.sqrt(head_dim))]


def assert_within(actual, expected, bound):
    excess = np.abs(numbers(actual) - expected) - 2.0**-7 * bound
    assert (excess <= 1e-30).all(), f"{(~(excess <= 1e-30)).sum()} of {excess.size} elements are off"


def check_forward(case, reverse, bug=None, sign=0, with_log_sum=True):
    tokens, queries, heads, head_dim = case
    qkv, g = inputs(*case)
    qkv = same_sign(qkv, sign) if sign else qkv
    y = unwritten((BATCH, queries, heads, head_dim), "bf16")
    log_sum = unwritten((BATCH * heads, queries), "float") if with_log_sum else None
    module("attention.cu", bug, HEAD_DIM=head_dim).launch(
        "attention_forward",
        (-(-queries // 64), BATCH * heads),
        128,
        [qkv, y, log_sum, *sizes(qkv, queries)],
        shared_mem=4 * up(tokens) * (head_dim + 8),
        reverse=reverse,
    )
    expected = Definition(qkv, g)
    assert_within(y, expected.y, expected.y_bound)
    if with_log_sum:
        np.testing.assert_allclose(log_sum, expected.log_sum, rtol=1e-6, atol=1e-5)


def check_backward(case, reverse, bug=None, sign=0, threads=96):
    tokens, queries, heads, head_dim = case
    qkv, g = inputs(*case)
    qkv = same_sign(qkv, sign) if sign else qkv
    expected = Definition(qkv, g)
    dqkv = unwritten(qkv.shape, "bf16")
    module("attention.cu", bug, HEAD_DIM=head_dim).launch(
        "attention_backward",
        BATCH * heads,
        threads,
        [qkv, stored(expected.y, "bf16"), g, stored(expected.log_sum, "float"), dqkv, *sizes(qkv, queries)],
        shared_mem=4 * (up(tokens) + up(queries)) * (head_dim + 8) + 8 * up(queries),
        reverse=reverse,
    )
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
def test_several_blocks_of_queries_and_several_rounds_of_warps(reverse):
    check_forward((197, 197, 1, 16), reverse)
    check_backward((197, 197, 1, 16), reverse, threads=256)


def test_log_sum_may_be_null():
    check_forward(CASES[1], reverse=False, with_log_sum=False)


MANY = (65, 65, 2, 16)


@pytest.mark.parametrize(
    ("check", "bug", "options"),
    [
        (check_forward, ("    __syncthreads();\n", ""), {}),
        (check_forward, ("column < tokens ? score * scale_log2 : -INFINITY", "score * scale_log2"), {}),
        (check_forward, ("* 3 * row + head * HEAD_DIM", "* 3 * row"), {}),
        (check_forward, ("y[i / 4][i / 2 % 2][2 * half + i % 2] *= rescale", ""), {}),
        (check_forward, ("sum[half] *= rescale;", ""), {}),
        (check_forward, ("new_largest = row_max(new_largest);", ""), {}),
        (check_forward, ("float total = row_sum(sum[half]);", "float total = sum[half];"), {}),
        (check_forward, ("score = exp2f(score - new_largest);", "score = exp2f(score);"), {"sign": 1}),
        (check_forward, ("largest[half] * LN_2", "largest[half]"), {}),
        (check_forward, ("Vector<bf16, VECTOR> values = {};",
                         "if (row >= rows) return; Vector<bf16, VECTOR> values;"), {}),
        (check_forward, ("if (row >= rows) continue;", ""), {}),
        (check_forward, ("load_tile<true>", "load_tile<false>"), {}),
        (check_backward, ("    __syncthreads();\n\n    int step", "    int step"), {}),
        (check_backward, ("key < tokens ? weight * (ds[i / 4][i % 4] - head.delta[query]) : 0",
                          "weight * (ds[i / 4][i % 4] - head.delta[query])"), {"sign": -1}),
        (check_backward, ("add_weighted_rows(dv, weights, g);", "add_weighted_rows(dv, weights, q);"), {}),
        (check_backward, ("add_weighted_rows(dk, ds, q);", "add_weighted_rows(dk, weights, q);"), {}),
        (check_backward, ("dot_rows(ds, v, g);", "dot_rows(ds, k, g);"), {}),
        (check_backward, (" - head.delta[query]", ""), {}),
        (check_backward, ("log_sum[query] * LOG2_E : 0", "log_sum[query] * LOG2_E : -INFINITY"), {}),
        (check_backward, ("store_rows(dq + row, 3 * row, dk, first_key, tokens, scales)",
                          "store_rows(dq + row, 3 * row, dk, first_key, tokens, ones)"), {}),
        (check_backward, ("first_query < tokens; first_query += step",
                          "first_query < queries; first_query += step"), {}),
        (check_backward, ("head.delta = head.log2_sum + padded_queries", "head.delta = head.log2_sum + queries"), {}),
    ],
    ids=lambda value: value[0].strip() if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_planted_error_is_found(check, bug, options):
    case = MANY if check is check_forward else (65, 20, 2, 16)
    must_fail(check, case if options.get("sign") is None else (50, 50, 1, 64), bug=bug, **options)


def test_memory_behind_what_was_asked_for_is_not_used():
    """The formulas of shared memory at the top of the source are not too small, and 16 bytes less would be."""
    tokens, heads, head_dim = 17, 1, 16
    qkv, _ = inputs(tokens, tokens, heads, head_dim)
    y = unwritten((BATCH, tokens, heads, head_dim), "bf16")
    args = [qkv, y, None, *sizes(qkv, tokens)]
    with pytest.raises(RuntimeError, match="shared memory"):
        module("attention.cu", HEAD_DIM=16).launch(
            "attention_forward", (1, BATCH), 128, args, shared_mem=4 * up(tokens) * (head_dim + 8) - 32
        )

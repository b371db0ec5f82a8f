"""optimizer.cu against AdamW, SGD, EMA and clip_by_global_norm."""

import numpy as np
import pytest
from cuda_on_cpu.kernels import assert_near, both_orders, module, must_fail, needs_compiler, unwritten

from minivit.optim.ema import EMA
from minivit.optim.gradients import clip_scale
from minivit.optim.optimizers import SGD, AdamW
from minivit.tensor import Tensor

pytestmark = needs_compiler
MAX_TENSORS = 6
TABLE = np.dtype(
    [
        ("source", np.uintp, MAX_TENSORS),
        ("start", np.int64, MAX_TENSORS + 1),
        ("size", np.int32, MAX_TENSORS),
        ("count", np.int32),
    ],
    align=True,
)
LR, DECAY, EPS, STEP, EMA_RATE = 0.01, 0.3, 1e-4, 3, 0.125
BETAS = (float(np.float32(0.9)), float(np.float32(0.99)))  # what is left of them in float
N, DECAYED = 1003, 601  # neither a whole number of vectors
NORM, CLIP = 9, 8
SCALARS = 10


def launch(name, args, reverse=False, bug=None, grid=2, block=64):
    module("optimizer.cu", bug, MAX_TENSORS=MAX_TENSORS).launch(name, grid, block, args, reverse=reverse)


def table_of(arrays):
    table = np.zeros((), TABLE)
    table["count"] = len(arrays)
    table["source"][: len(arrays)] = [array.ctypes.data for array in arrays]
    table["size"][: len(arrays)] = [array.size for array in arrays]
    starts = np.cumsum([0, *(-(-array.size // 4) * 4 for array in arrays)])
    table["start"][: len(starts)] = starts
    return table, starts


def check_gather(sizes, reverse, bug=None):
    rng = np.random.default_rng(0)
    whole = [np.concatenate([rng.standard_normal(size), np.full(4, np.nan)]).astype(np.float32) for size in sizes]
    gradients = [array[:-4] for array in whole]  # NaN behind each
    table, starts = table_of(gradients)
    flat, partial = unwritten((starts[-1],), "float"), unwritten((2,), "float")
    launch("gather_gradients", [table, flat, partial], reverse, bug)
    expected = np.zeros(starts[-1], np.float32)
    for start, gradient in zip(starts, gradients, strict=False):
        expected[start : start + gradient.size] = gradient
    np.testing.assert_array_equal(flat, expected)
    assert_near(partial.sum(), (expected.astype(np.float64) ** 2).sum())


def check_clip(sum_of_squares, max_norm, reverse=False, bug=None, count=100):
    shares = np.random.default_rng(0).random(count)
    partial = (sum_of_squares * shares / shares.sum()).astype(np.float32)
    scalars = np.arange(SCALARS, dtype=np.float32)
    launch("clip", [partial, np.int32(count), scalars, np.float32(max_norm)], reverse, bug, grid=1, block=64)
    norm = np.sqrt(sum_of_squares)
    np.testing.assert_array_equal(scalars[:CLIP], np.arange(CLIP))
    np.testing.assert_allclose(scalars[[NORM, CLIP]], [norm, clip_scale(norm, max_norm)], rtol=1e-6)


def state(count):
    rng = np.random.default_rng(1)
    return [abs(rng.standard_normal(N)).astype(np.float32) for _ in range(count)]


def updated(optimizer, arrays, clip_factor):
    """p and the state after `optimizer.update`, in float64; the first DECAYED elements decay."""
    p, g, *slots = [array.astype(np.float64) for array in arrays]
    optimizer.steps = STEP
    for part, decay in ((slice(DECAYED), DECAY), (slice(DECAYED, None), 0.0)):
        optimizer.update(p[part], g[part] * clip_factor, *(slot[part] for slot in slots), lr=LR, decay=decay)
    return [p, *slots]


def scalars_of(b1, b2, norm=1.0):
    corrections = [1 / (1 - b1**STEP), 1 / np.sqrt(1 - b2**STEP)]
    return np.array([LR, b1, b2, EPS, DECAY, *corrections, EMA_RATE, 0.5, norm], np.float32)


def check_adamw(reverse, bug=None):
    p, g, m, v = state(4)
    g[:10] = 0
    v[:5] = 0  # sqrt(v) + eps is eps
    m[:5] = 0
    expected = updated(AdamW([Tensor(p)], betas=BETAS, eps=EPS), [p, g, m, v], 0.5)
    launch("adamw", [p, m, v, g, scalars_of(*BETAS), np.int64(N), np.int64(DECAYED)], reverse, bug)
    for array, value in zip([p, m, v], expected, strict=True):
        assert_near(array, value)


def check_sgd(reverse, bug=None):
    p, g, v = state(3)
    expected = updated(SGD([Tensor(p)], momentum=BETAS[0]), [p, g, v], 0.5)
    launch("sgd", [p, v, g, scalars_of(*BETAS), np.int64(N), np.int64(DECAYED)], reverse, bug)
    for array, value in zip([p, v], expected, strict=True):
        assert_near(array, value)


def check_ema(reverse, bug=None):
    average, p = state(2)
    tensor = Tensor(average.astype(np.float64))
    reference = EMA([tensor], decay=0.875, warm_up=False)
    tensor.data = p.astype(np.float64)
    reference.update()
    launch("ema", [average, p, scalars_of(*BETAS), np.int64(N)], reverse, bug)
    assert_near(average, reference.averages[0])


@both_orders
@pytest.mark.parametrize("sizes", [[1], [4, 4], [5, 1, 130, 700, 3, 8]], ids=str)
def test_gather(sizes, reverse):
    check_gather(sizes, reverse)


@pytest.mark.parametrize(("squares", "max_norm"), [(4.0, 1.0), (4.0, 2.0), (4.0, 3.0), (0.0, 1.0), (0.0, 0.0)])
def test_clip(squares, max_norm):
    check_clip(squares, max_norm)


def test_clip_when_gradients_are_not_finite():
    for value in (np.inf, np.nan):
        scalars = np.zeros(SCALARS, np.float32)
        launch("clip", [np.full(3, value, np.float32), np.int32(3), scalars, np.float32(1)], grid=1)
        assert not np.isfinite(scalars[NORM])
        assert not scalars[CLIP] > 0


@both_orders
@pytest.mark.parametrize("check", [check_adamw, check_sgd, check_ema])
def test_update(check, reverse):
    check(reverse)


@pytest.mark.parametrize("norm", [np.inf, np.nan])
def test_an_update_whose_norm_is_not_finite_changes_nothing(norm):
    p, g, m, v = state(4)
    before = [array.copy() for array in (p, m, v)]
    g[:] = np.nan
    scalars = scalars_of(*BETAS, norm=norm)
    launch("adamw", [p, m, v, g, scalars, np.int64(N), np.int64(DECAYED)])
    launch("sgd", [p, v, g, scalars, np.int64(N), np.int64(DECAYED)])
    launch("ema", [p, g, scalars, np.int64(N)])
    for array, value in zip([p, m, v], before, strict=True):
        np.testing.assert_array_equal(array, value)


MANY = [5, 1, 130, 700, 3, 8]


@pytest.mark.parametrize(
    ("check", "args", "bug"),
    [
        (check_gather, (MANY,), ("    __syncthreads();\n", "")),
        (check_gather, (MANY,), ("j < available ? source[j] : 0.0f", "source[j]")),
        (check_gather, (MANY,), ("table.start[middle] <= position", "table.start[middle] < position")),
        (check_gather, (MANY,), ("position += index_step()", "position += 4 * index_step()")),
        (check_clip, (4.0, 1.0), ("    __syncthreads();\n", "")),
        (check_clip, (4.0, 1.0), ("i += blockDim.x", "i += count")),
        (check_clip, (0.0, 0.0), ("|| norm == 0", "")),
        (check_adamw, (), (" * scalars[CLIP]", "")),
        (check_adamw, (), ("* scalars[CORRECTION_2] + scalars[EPS]", "* scalars[CORRECTION_2]")),
        (check_adamw, (), ("scalars[LR] * scalars[CORRECTION_1]", "scalars[LR]")),
        (check_adamw, (), ("if (i + j < decayed) ps[j] *= keep;  //", "if (i < decayed) ps[j] *= keep;  //")),
        (check_adamw, (), ("if (j < available) target[j]", "target[j]")),
        (check_sgd, (), ("scalars[MOMENTUM] * vs[j]", "vs[j]")),
        (check_sgd, (), ("if (i + j < decayed) ps[j] *= keep;\n", "")),
        (check_ema, (), ("(ps[j] - averages[j])", "ps[j]")),
    ],
    ids=lambda value: value[0].strip() if isinstance(value, tuple) and value and isinstance(value[0], str) else None,
)
@pytest.mark.planted
def test_a_planted_error_is_found(check, args, bug):
    must_fail(check, *args, bug=bug)

"""optimizer.cu against AdamW, SGD, EMA and clip_by_global_norm."""

import itertools
import re

import numpy as np
import pytest
from cuda_on_cpu.kernels import SOURCES, assert_near, both_orders, module, must_fail, needs_compiler, unwritten

from minivit.backend.cupy_kernels import flat
from minivit.backend.cupy_kernels.flat import CHUNK, NORM, OWN
from minivit.optim.ema import EMA
from minivit.optim.gradients import clip_scale, each_scale
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
STEP = 3
BETAS = (float(np.float32(0.9)), float(np.float32(0.99)))  # what is left of them in float
CHUNKS = (3, 1, 4)  # of three tensors
N = sum(CHUNKS) * CHUNK
OWNER = np.repeat(np.arange(len(CHUNKS), dtype=np.int32), CHUNKS)
CURRENT = ((0.01, 0.3), (0.0, 0.3), (0.02, 0.0))  # their learning rates and weight decays
CLIPS = (0.5, 1.0, 0.25)
SCALARS = len(flat.SCALARS)
CLIP = slice(SCALARS + OWN.index("clip"), None, len(OWN))


def launch(name, args, reverse=False, bug=None, grid=2, block=64):
    module("optimizer.cu", bug, MAX_TENSORS=MAX_TENSORS).launch(name, grid, block, args, reverse=reverse)


def table_of(arrays):
    """The table, and the chunks where the tensors begin."""
    table = np.zeros((), TABLE)
    table["count"] = len(arrays)
    table["source"][: len(arrays)] = [array.ctypes.data for array in arrays]
    table["size"][: len(arrays)] = [array.size for array in arrays]
    chunks = np.cumsum([0, *(-(-array.size // CHUNK) for array in arrays)]).astype(np.int32)
    table["start"][: len(chunks)] = chunks * CHUNK
    return table, chunks


def check_gather(sizes, reverse, bug=None, first=4):
    rng = np.random.default_rng(0)
    whole = [np.concatenate([rng.standard_normal(size), np.full(4, np.nan)]).astype(np.float32) for size in sizes]
    gradients = [array[:-4] for array in whole]  # NaN behind each
    table, chunks = table_of(gradients)
    gathered, squares = unwritten((chunks[-1] * CHUNK,), "float"), unwritten((chunks[-1],), "float")
    owner = np.repeat(np.arange(len(sizes), dtype=np.int32), np.diff(chunks)) + np.int32(first)
    launch("gather_gradients", [table, gathered, owner, np.int32(first), squares], reverse, bug)
    expected = np.zeros(gathered.size, np.float32)
    for chunk, gradient in zip(chunks, gradients, strict=False):
        expected[chunk * CHUNK : chunk * CHUNK + gradient.size] = gradient
    np.testing.assert_array_equal(gathered, expected)
    assert_near(squares, (expected.astype(np.float64).reshape(-1, CHUNK) ** 2).sum(axis=1))


def check_tensor_squares(reverse=False, bug=None):
    squares = np.random.default_rng(0).random(300).astype(np.float32)
    start = np.array([0, 1, 1, 200, 300], np.int32)  # of an empty tensor, too
    sums = unwritten((4,), "float")
    launch("tensor_squares", [squares, start, sums], reverse, bug, grid=4)
    assert_near(sums, np.array([squares[a:b].astype(np.float64).sum() for a, b in itertools.pairwise(start)]))


def check_clip(sum_of_squares, max_norm, reverse=False, bug=None, count=100, each=False):
    shares = np.random.default_rng(0).random(count)
    sums = (sum_of_squares * shares / shares.sum()).astype(np.float32)
    scalars = np.arange(SCALARS + len(OWN) * count, dtype=np.float32)
    before = scalars.copy()
    launch("clip", [sums, np.int32(count), scalars, np.float32(max_norm), np.int32(each)], reverse, bug, 1)
    norm = np.sqrt(sum_of_squares)
    np.testing.assert_allclose(scalars[NORM], norm, rtol=1e-6)
    norms = [np.array([np.sqrt(x)]) for x in sums.astype(np.float64)]
    expected = each_scale(norms, max_norm) if each else np.full(count, clip_scale(norm, max_norm))
    np.testing.assert_allclose(scalars[CLIP], expected, rtol=1e-6)
    before[CLIP], before[NORM] = scalars[CLIP], scalars[NORM]
    np.testing.assert_array_equal(scalars, before)  # nothing else was written


def state(count):
    rng = np.random.default_rng(1)
    return [abs(rng.standard_normal(N)).astype(np.float32) for _ in range(count)]


def updated(optimizer, arrays):
    """p and the state after `optimizer.update`, in float64: of each tensor by its own rate, decay and factor."""
    p, g, *slots = [array.astype(np.float64) for array in arrays]
    optimizer.steps = STEP
    ends = np.cumsum([0, *CHUNKS]) * CHUNK
    for i, (lr, decay) in enumerate(CURRENT):
        part = slice(ends[i], ends[i + 1])
        optimizer.update(p[part], g[part] * CLIPS[i], *(slot[part] for slot in slots), lr=lr, decay=decay)
    return [p, *slots]


def scalars_of(optimizer, norm=1.0, ema_rate=0.125):
    """What the kernels read, filled by name."""
    optimizer.steps = STEP
    scalars = flat.packed({**optimizer.scalars(), "ema_rate": ema_rate, "norm": norm}, CURRENT)
    scalars[CLIP] = CLIPS
    return scalars


def adamw():
    return AdamW([Tensor(np.zeros(1))], betas=BETAS, eps=1e-4)


def check_adamw(reverse, bug=None):
    p, g, m, v = state(4)
    g[:10] = 0
    v[:5] = 0  # sqrt(v) + eps is eps
    m[:5] = 0
    expected = updated(adamw(), [p, g, m, v])
    launch("adamw", [p, m, v, g, scalars_of(adamw()), OWNER, np.int64(N)], reverse, bug)
    for array, value in zip([p, m, v], expected, strict=True):
        assert_near(array, value)


def check_sgd(reverse, bug=None):
    p, g, v = state(3)
    optimizer = SGD([Tensor(np.zeros(1))], momentum=BETAS[0])
    expected = updated(optimizer, [p, g, v])
    launch("sgd", [p, v, g, scalars_of(optimizer), OWNER, np.int64(N)], reverse, bug)
    for array, value in zip([p, v], expected, strict=True):
        assert_near(array, value)


def check_ema(reverse, bug=None):
    average, p = state(2)
    tensor = Tensor(average.astype(np.float64))
    reference = EMA([tensor], decay=0.875, warm_up=False)
    tensor.data = p.astype(np.float64)
    reference.update()
    launch("ema", [average, p, scalars_of(adamw()), np.int64(N)], reverse, bug)
    assert_near(average, reference.averages[0])


def test_both_sides_have_the_same_names_in_the_same_order():
    text = (SOURCES / "optimizer.cu").read_text(encoding="utf-8")
    enumerated = {name: body.lower().split(", ") for name, body in re.findall(r"enum (\w+) { ([\w, ]+) };", text)}
    assert enumerated == {"Scalar": [*flat.SCALARS, "scalars"], "Own": [*OWN, "own"]}


@both_orders
@pytest.mark.parametrize("sizes", [[1], [4, 4], [128, 256], [5, 1, 130, 700, 3, 8]], ids=str)
def test_gather(sizes, reverse):
    check_gather(sizes, reverse)


@pytest.mark.parametrize(("squares", "max_norm"), [(4.0, 1.0), (4.0, 2.0), (4.0, 3.0), (0.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("each", [False, True])
def test_clip(squares, max_norm, each):
    check_clip(squares, max_norm, each=each)
    check_clip(squares, max_norm / 10, each=each)


@both_orders
def test_squares_of_each_tensor(reverse):
    check_tensor_squares(reverse)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_clip_when_gradients_are_not_finite(value, each):
    scalars = np.zeros(SCALARS + 3 * len(OWN), np.float32)
    launch("clip", [np.full(3, value, np.float32), np.int32(3), scalars, np.float32(1), np.int32(each)], grid=1)
    assert not np.isfinite(scalars[NORM])
    assert each or not (scalars[CLIP] > 0).any()


@both_orders
@pytest.mark.parametrize("check", [check_adamw, check_sgd, check_ema])
def test_update(check, reverse):
    check(reverse)


@pytest.mark.parametrize("norm", [np.inf, np.nan])
def test_an_update_whose_norm_is_not_finite_changes_nothing(norm):
    p, g, m, v = state(4)
    before = [array.copy() for array in (p, m, v)]
    g[:] = np.nan
    scalars = scalars_of(adamw(), norm=norm)
    launch("adamw", [p, m, v, g, scalars, OWNER, np.int64(N)])
    launch("sgd", [p, v, g, scalars, OWNER, np.int64(N)])
    launch("ema", [p, g, scalars, np.int64(N)])
    for array, value in zip([p, m, v], before, strict=True):
        np.testing.assert_array_equal(array, value)


MANY = [5, 1, 130, 700, 3, 8]


@pytest.mark.parametrize(
    ("check", "args", "bug"),
    [
        (check_gather, (MANY,), ("j < available ? source[j] : 0.0f", "source[j]")),
        (check_gather, (MANY,), ("owner[position / CHUNK] - first", "owner[position / CHUNK]")),
        (check_gather, (MANY,), ("position += index_step()", "position += 4 * index_step()")),
        (check_gather, (MANY,), ("sum = warp_sum(sum);", "")),
        (check_tensor_squares, (), ("    __syncthreads();\n", "")),
        (check_tensor_squares, (), ("i < start[blockIdx.x + 1]", "i <= start[blockIdx.x + 1]")),
        (check_clip, (4.0, 1.0), ("    __syncthreads();\n", "")),
        (check_clip, (4.0, 1.0), ("i += blockDim.x) sum += sums[i]", "i += count) sum += sums[i]")),
        (check_clip, (0.0, 0.0), ("|| norm == 0", "")),
        (check_adamw, (), ("gs[j] * factor", "gs[j]")),
        (check_adamw, (), ("* scalars[CORRECTION_2] + scalars[EPS]", "* scalars[CORRECTION_2]")),
        (check_adamw, (), ("tensor[RATE] * scalars[CORRECTION_1]", "tensor[RATE]")),
        (check_adamw, (), ("owner[position / CHUNK];", "owner[0];")),
        (check_adamw, (), ("ps[j] *= keep;  //", "//")),
        (check_sgd, (), ("scalars[MOMENTUM] * vs[j]", "vs[j]")),
        (check_sgd, (), ("ps[j] *= keep;\n", "\n")),
        (check_ema, (), ("(ps[j] - averages[j])", "ps[j]")),
    ],
    ids=lambda value: value[0].strip() if isinstance(value, tuple) and value and isinstance(value[0], str) else None,
)
@pytest.mark.planted
def test_a_planted_error_is_found(check, args, bug):
    must_fail(check, *args, bug=bug)


@pytest.mark.parametrize(
    "bug", [("each ? fminf(1,", "each ? fmaxf(1,"), ("+ 1e-6f", "+ 1e-2f"), ("sqrtf(sums[i])", "sums[i]")]
)
def test_a_planted_error_in_the_factors_of_each_is_found(bug):
    must_fail(check_clip, 4.0, 0.1, bug=bug, each=True)

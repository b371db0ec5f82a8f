"""The emulation itself: what it computes, and that it finds what it promises to find."""

import numpy as np
import pytest
from cuda_on_cpu import CompilationError, Module
from cuda_on_cpu.kernels import SOURCES, both_orders, needs_compiler, normal, numbers

pytestmark = needs_compiler
THREADS = 64

KERNELS = r"""
struct Pair { int first; double second; };

extern "C" __global__ void indices(int* target) {
    int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    target[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
}

extern "C" __global__ void rotate(const float* x, float* y) {
    DYNAMIC_SHARED(float, shared);
    shared[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = shared[(threadIdx.x + 40) % blockDim.x];
}

extern "C" __global__ void rotate_without_barrier(const float* x, float* y) {
    __shared__ float shared[64];
    shared[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = shared[(threadIdx.x + 40) % blockDim.x];
}

extern "C" __global__ void shuffles(const float* x, float* y) {
    float value = x[threadIdx.x];
    y[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, value, 5) + 100 * __shfl_sync(0xFFFFFFFFu, value, 3);
}

extern "C" __global__ void multiply(const bf16* a, const bf16* b, const bf16* b_rows, float* sums) {
    DYNAMIC_SHARED(bf16, shared);
    for (int i = threadIdx.x; i < 256; i += 32) {
        shared[i] = a[i];
        shared[256 + i] = b[i];
        shared[512 + i] = b_rows[i];
    }
    __syncthreads();
    unsigned a_tile[4], b_tile[4], rows_tile[4];
    int offset = threadIdx.x % 16 * 16 + threadIdx.x / 16 * 8;
    ldmatrix_x4<false>(a_tile, shared + offset);
    ldmatrix_x4<true>(b_tile, shared + 256 + offset);
    ldmatrix_x4<false>(rows_tile, shared + 512 + offset);
    float results[4][4] = {};
    mma_16x8x16(results[0], a_tile, b_tile[0], b_tile[1]);
    mma_16x8x16(results[1], a_tile, b_tile[2], b_tile[3]);
    mma_16x8x16(results[2], a_tile, rows_tile[0], rows_tile[2]);
    mma_16x8x16(results[3], a_tile, rows_tile[1], rows_tile[3]);
    for (int i = 0; i < 16; i++) {
        int row = threadIdx.x / 4 + 8 * (i % 4 / 2), column = 8 * (i / 4) + threadIdx.x % 4 * 2 + i % 2;
        sums[row * 32 + column] = results[i / 4][i % 4];
    }
}

extern "C" __global__ void some_return(int* target) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    target[threadIdx.x] = 1;
}

extern "C" __global__ void half_a_warp_shuffles(float* target) {
    if (threadIdx.x < 16) target[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

extern "C" __global__ void one_warp_synchronises(float* target) {
    if (threadIdx.x < 32) __syncthreads();
    target[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

extern "C" __global__ void writes_behind_shared_memory() {
    DYNAMIC_SHARED(float, shared);
    shared[threadIdx.x] = 0;
}

extern "C" __global__ void reads_a_vector(const float* x, float* y) {
    float values[4];
    load(values, x);
    store(y, values);
}

extern "C" __global__ void writes(const float* x, float* y, int place) { y[place] = 1; }

extern "C" __global__ void writes_to_const(const float* x) { const_cast<float*>(x)[0] = 1; }

extern "C" __global__ void __launch_bounds__(2 * 32) takes(Pair pair, int number, float* y) {
    y[0] = y ? pair.first + pair.second + number : 0;
}

extern "C" __global__ void is_null(const float* x, int* target) { target[0] = x == nullptr; }
"""


@pytest.fixture(scope="module")
def kernels():
    return Module((SOURCES / "device.cuh").read_text(encoding="utf-8") + KERNELS, ["-std=c++17"])


def floats(count=THREADS):
    return np.arange(count, dtype=np.float32)


@both_orders
def test_indices(kernels, reverse):
    target = np.full(2 * 3 * 2 * 12, -1, np.int32)
    kernels.launch("indices", (2, 3, 2), (2, 3, 2), [target], reverse=reverse)
    np.testing.assert_array_equal(target, (1000 * np.arange(12)[:, None] + np.arange(12)).reshape(-1))


@both_orders
def test_barriers_and_shuffles(kernels, reverse):
    x, y = floats(), np.full(THREADS, np.nan, np.float32)
    kernels.launch("rotate", 1, THREADS, [x, y], shared_mem=4 * THREADS, reverse=reverse)
    np.testing.assert_array_equal(y, np.roll(x, -40))
    kernels.launch("shuffles", 1, THREADS, [x, y], reverse=reverse)
    lanes = np.arange(THREADS)
    np.testing.assert_array_equal(y, (lanes ^ 5) + 100 * (lanes // 32 * 32 + 3))


@both_orders
def test_a_missing_barrier_shows(kernels, reverse):
    y = np.zeros(THREADS, np.float32)
    kernels.launch("rotate_without_barrier", 1, THREADS, [floats(), y], reverse=reverse)
    assert np.isnan(y).any()


@both_orders
def test_matrix_instructions(kernels, reverse):
    rng = np.random.default_rng(0)
    a, b, b_rows = (normal(rng, (16, 16), "bf16") for _ in range(3))
    sums = np.full((16, 32), np.nan, np.float32)
    kernels.launch("multiply", 1, 32, [a, b, b_rows, sums], shared_mem=3 * 512, reverse=reverse)
    expected = np.hstack([numbers(a) @ numbers(b), numbers(a) @ numbers(b_rows).T])
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("some_return", [np.zeros(THREADS, np.int32)], "__syncthreads reached by 40 of 64 threads"),
        ("half_a_warp_shuffles", [floats()], "not all 32 lanes"),
        ("one_warp_synchronises", [floats()], "__syncthreads reached"),
        ("writes_behind_shared_memory", [], "byte 128 of 128 of shared memory"),
        ("reads_a_vector", [floats()[1:], floats()], "misaligned access of 16 bytes"),
        ("writes", [floats(), floats(), np.int32(-1)], "wrote outside y"),
        ("writes", [floats(), floats(), np.int32(THREADS)], "wrote outside y"),
        ("writes_to_const", [floats()], "changed x, which is const"),
    ],
)
def test_an_error_ends_the_launch(kernels, name, args, message):
    with pytest.raises(RuntimeError, match=message):
        kernels.launch(name, 1, THREADS, args, shared_mem=128)
    test_barriers_and_shuffles(kernels, reverse=False)  # and the next launch is none the worse


def test_a_shared_matrix_must_be_in_shared_memory(kernels):
    a = normal(np.random.default_rng(0), (16, 16), "bf16")
    with pytest.raises(RuntimeError, match="ldmatrix outside shared memory"):
        kernels.launch("multiply", 1, 32, [a, a, a, np.zeros((16, 32), np.float32)], shared_mem=2 * 512)


PAIR = np.array((1, 2.5), np.dtype([("first", np.int32), ("second", np.float64)], align=True))


def test_structs_scalars_and_null(kernels):
    y = floats(1)
    kernels.launch("takes", 1, 1, [PAIR, np.int32(4), y])
    assert y[0] == 7.5
    null = np.zeros(1, np.int32)
    kernels.launch("is_null", 1, 1, [None, null])
    assert null[0] == 1


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ([PAIR, 4, floats()], "number"),
        ([PAIR, np.int64(4), floats()], "number"),
        ([PAIR, floats(), floats()], "number"),
        ([PAIR, None, floats()], "number"),
        ([PAIR["first"], np.int32(4), floats()], "pair"),
        ([PAIR, np.int32(4), np.zeros(3)], "y is an array float64"),
        ([PAIR, np.int32(4), floats()[::2]], "y is an array float32"),
        ([PAIR, np.int32(4), np.float32(1)], "y is a float32"),
        ([PAIR, np.int32(4), 0], "y is a int"),
        ([PAIR, np.int32(4)], "takes 3 arguments, got 2"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(kernels, args, named):
    with pytest.raises(TypeError, match=named):
        kernels.launch("takes", 1, 1, args)


@pytest.mark.parametrize(
    ("name", "grid", "block", "shared"),
    [
        ("takes", 1, 65, 0),  # __launch_bounds__
        ("is_null", 1, 1025, 0),
        ("is_null", 1, (32, 33), 0),
        ("is_null", 0, 32, 0),
        ("is_null", (1, 65536), 32, 0),
        ("is_null", 1, 32, 227 * 1024 + 1),
    ],
)
def test_a_launch_that_a_gpu_refuses(kernels, name, grid, block, shared):
    args = [PAIR, np.int32(1), floats()] if name == "takes" else [None, np.zeros(1, np.int32)]
    with pytest.raises(ValueError, match=f"{name}: .*{'shared' if shared else 'grid|block'}"):
        kernels.launch(name, grid, block, args, shared_mem=shared)


def test_the_compilers_message_is_shown():
    with pytest.raises(CompilationError, match="undeclared_name"):
        Module('extern "C" __global__ void f(int* x) { x[0] = undeclared_name; }')


def test_options_that_mean_nothing_here_are_refused():
    with pytest.raises(ValueError, match="use_fast_math"):
        Module("", ["--use_fast_math"])

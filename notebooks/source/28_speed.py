# ---
# jupyter:
#   jupytext:
#     formats: ipynb,source//py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 28 Speed
#
# Two programs that compute the same can differ in speed by a factor of ten, although their arithmetic is nearly the same. What decides is how often the
# numbers travel between memory and processor. At the end you will be able to
#
# - count the arithmetic and the memory traffic of an operation, and predict from both how fast it can be (the roofline),
# - make an operation faster by doing it in tiles that stay in the cache,
# - compute attention without ever holding the $N \times N$ matrix, and a deep model without holding its activations.
#
# This notebook is about the code, not about an equation of the paper; it uses notebooks [05](05_layer_norm.ipynb), [07](07_attention.ipynb),
# [09](09_mlp_and_gelu.ipynb) and [11](11_vit.ipynb). All times below were measured when the cells ran, on the machine and at the moment
# they ran; yours will differ. The part for a GPU runs only where there is one, and says so.
#
# **Budget:** 20 s of CPU time (fast mode 6 s).

# %%
import os

# One thread, so that like is compared with like. NumPy looks when it is first imported: in a fresh kernel, here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import math
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.backend import kernels, numpy_kernels
from minivit.backend.rates import best_time, copy_rate, matmul_rate
from minivit.backend.tiles import flat_tiles
from minivit.backend.workers import Workers
from minivit.lessons import agree, check, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.tensor import grad

rng = np.random.default_rng(28)
repeats = full_or_fast(7, 2)

# %% [markdown]
# ## The roofline
#
# An operation does $W$ floating-point operations (FLOP) and moves $Q$ bytes between memory and processor. The processor does at most $P$ FLOP
# per second and moves at most $\beta$ bytes per second. Both take their time, at best at the same time, so
#
# $$t \;\ge\; \max\!\left(\frac{W}{P}, \frac{Q}{\beta}\right), \qquad \frac{W}{t} \;\le\; \min\,(P,\; I\beta), \qquad I = \frac{W}{Q}.$$
#
# $I$ is the **arithmetic intensity**. Below $I = P/\beta$ memory sets the limit, above it arithmetic does. Drawn with logarithmic axes the bound looks
# like a roof (Williams, Waterman and Patterson, 2009).
#
# | symbol | meaning | unit | in the code |
# |---|---|---|---|
# | $W$ | arithmetic of an operation | FLOP | `work` |
# | $Q$ | its memory traffic: what it reads and writes | byte | `traffic` |
# | $I$ | arithmetic intensity, $W/Q$ | FLOP/byte | `work / traffic` |
# | $P$ | the machine's peak rate | FLOP/s | `peak`, in GFLOP/s |
# | $\beta$ | the machine's memory bandwidth | byte/s | `bandwidth`, in GB/s |
# | $t$ | time of an operation | s | `seconds` |
# | $B, N, D$ | batch, tokens, width | numbers | `B`, `N`, `D` |
# | $F$ | width of the MLP | number | `M` |
# | $k$, $D_h$ | heads, width of a head | numbers | `H`, `K` |
# | $L$ | depth: number of blocks | number | `config.depth` |
#
# Both limits can be measured, here with one thread: $P$ by a large matrix product, $\beta$ by a copy. "Memory" is several memories: the processor has *caches*, the faster the smaller
# (`lscpu` lists them on Linux). Arrays that fit into one are not fetched from main memory again. So the copy must be of arrays about as large as those that we shall look at.

# %%
peak = matmul_rate(full_or_fast(1024, 256), 5 * repeats)  # GFLOP/s
with Workers(1) as workers:
    sizes = (4, full_or_fast(256, 16))  # MiB
    bandwidth, bandwidth_large = (copy_rate(workers, size, 5 * repeats) for size in sizes)
print(
    f"peak {peak:.0f} GFLOP/s, bandwidth {bandwidth:.1f} GB/s: memory is the limit below {peak / bandwidth:.1f} FLOP/byte"
)
print(f"arrays of {sizes[1]} MiB are copied at {bandwidth_large:.1f} GB/s")

# %% [markdown]
# ## Where the operations of a ViT stand
#
# Shapes of a small ViT, float32, forward passes only. We count $W$ by formula: a product of $(a, b)$ and $(b, c)$ is $2abc$ FLOP; of the others we count
# each addition, multiplication, division, square root, exponential and tanh as one. $Q$ is the least possible: every input read once, every output
# written once. An operation that goes over its arrays several times moves more, and so stays below the roof.

# %%
B, N, D, M, H = full_or_fast((64, 65, 192, 768, 3), (8, 17, 32, 64, 2))
x = rng.standard_normal((B, N, D), dtype=np.float32)
hidden = rng.standard_normal((B, N, M), dtype=np.float32)
w, b = rng.standard_normal((D, M), dtype=np.float32), np.zeros(M, np.float32)
scale, bias = np.ones(D, np.float32), np.zeros(D, np.float32)
qkv = rng.standard_normal((B, N, 3 * D), dtype=np.float32)
y = rng.standard_normal((B, N, D), dtype=np.float32)

float32 = 4  # bytes
operations = {  # name: (work in FLOP, least traffic in bytes, the call)
    "add": (x.size, 3 * x.size * float32, lambda f: f.add(x, y)),
    # sum for the mean; subtract, square, sum for the variance; times 1/std, times scale, plus bias
    "layer_norm": (7 * x.size, 2 * x.size * float32, lambda f: f.layer_norm(x, scale, bias)),
    # the nine lines of gelu_in_passes below
    "gelu": (9 * hidden.size, 2 * hidden.size * float32, lambda f: f.gelu(hidden)),
    "linear": (2 * B * N * D * M, (x.size + w.size + B * N * M) * float32, lambda f: f.linear(x, w, b)),
    # two products for all heads together; of each weight: subtract the maximum, exponential, sum, divide
    "attention": (4 * B * N * N * D + 4 * B * H * N * N, (qkv.size + x.size) * float32, lambda f: f.attention(qkv, H)),
}

seconds = {}
for name, (_, _, call) in operations.items():
    for mode in ("reference", "fused"):
        with kernels(mode):
            seconds[name, mode] = best_time(lambda call=call: call(F), repeats)

figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
intensity = np.geomspace(0.03, 300, 100)
axes.loglog(intensity, np.minimum(peak, intensity * bandwidth), color="black", label="the roof, $\\min(P, I\\beta)$")
for mode, marker in (("reference", "o"), ("fused", "s")):
    at = [work / traffic for work, traffic, _ in operations.values()]
    rate = [work / seconds[name, mode] / 1e9 for name, (work, _, _) in operations.items()]
    axes.loglog(at, rate, marker, label={"reference": "the op as you read it", "fused": "the library's kernel"}[mode])
for name, (work, traffic, _) in operations.items():
    axes.annotate(name, (work / traffic, work / seconds[name, "fused"] / 1e9), (7, -12), textcoords="offset points")
axes.set(
    xlabel="arithmetic intensity $I$ (FLOP/byte)", ylabel="GFLOP/s", title="Forward passes of a small ViT, one thread"
)
axes.legend()
plt.show()

# %%
print(f"{'op':<11} {'FLOP/byte':>9} {'limit set by':>13} {'least time':>11} {'op':>9} {'kernel':>9}")
for name, (work, traffic, _) in operations.items():
    least = max(work / peak, traffic / bandwidth) / 1e9
    limit = "arithmetic" if work / peak > traffic / bandwidth else "memory"
    times = [seconds[name, mode] * 1e3 for mode in ("reference", "fused")]
    print(f"{name:<11} {work / traffic:9.1f} {limit:>13} {least * 1e3:8.2f} ms {times[0]:6.2f} ms {times[1]:6.2f} ms")

# %% [markdown]
# The "op" is the code that the earlier notebooks read, the "kernel" a second definition of the same, *fused*: several steps in one pass over the arrays. The products stand on the right,
# where arithmetic sets the bound; all the rest of a transformer on the left, where memory does. That is why a GPU with twice the arithmetic seldom trains twice as fast.
# A bound need not be reached: `tanh` and `exp` cost many FLOP each and were counted as one, so a kernel of `gelu` can be limited by its arithmetic after all, far below the roof. A point above the
# roof says that its arrays lay in a faster cache than the copied ones, or that something else was running while the limits were measured.
#
# ## Tiles: do all steps while the numbers are near
#
# NumPy evaluates `0.5 * x * (1 + tanh(a * (x + 0.044715 * x**3)))`, with $a = \sqrt{2/\pi}$, one operation at a time. Each reads whole arrays from memory and writes a whole new one, and an
# array of this size does not fit into the small, fast caches. The remedy is to take a piece small enough to stay in the cache, do *all* steps on it, and go on to the next piece.


# %%
def gelu_in_passes(x):
    """Every line goes over the whole array."""
    z = x * x
    z = z * x
    z = z * 0.044715
    z = z + x
    z = z * math.sqrt(2 / math.pi)
    z = np.tanh(z)
    z = z + 1
    z = z * x
    return z * 0.5


def gelu_in_tiles(x, tile):
    """The same lines, on `tile` numbers at a time."""
    y = np.empty_like(x)
    for start in range(0, x.size, tile):
        piece = slice(start, start + tile)
        y.reshape(-1)[piece] = gelu_in_passes(x.reshape(-1)[piece])
    return y


agree("gelu", gelu_in_tiles(hidden, 1000), ops.gelu(hidden)[0], rtol=1e-5)

sizes = full_or_fast([2**k for k in range(8, 23)], [2**10, 2**14])
times = [best_time(lambda size=size: gelu_in_tiles(hidden, size), repeats) for size in sizes]
whole = best_time(lambda: gelu_in_passes(hidden), repeats)

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.loglog([4 * size / 1024 for size in sizes], [1e3 * t for t in times], "o-", label="in tiles")
axes.axhline(1e3 * whole, color="C1", linestyle="--", label="in passes over the whole array")
axes.set(xlabel="size of a tile (KiB)", ylabel="time (ms)", title=f"GELU of {hidden.size:,} numbers")
axes.legend()
plt.show()
best = sizes[int(np.argmin(times))]
print(f"best tile here: {4 * best / 1024:.0f} KiB, {whole / min(times):.1f} times as fast as whole passes")

# %% [markdown]
# Small tiles lose their time in the Python loop and in NumPy's calls, large ones lose theirs in memory. The best size is a property of the machine: a few
# intermediate arrays of that size must fit into the level-2 cache together. The library's kernel writes into buffers that it uses again and again, and computes the slope for
# the backward pass while `tanh` is at hand:

# %%
show_source(numpy_kernels.gelu)

# %%
show_source(flat_tiles)

# %% [markdown]
# A faster kernel is a second definition, and second definitions go wrong. So each is registered under the name of its op and held to it
# by one test, value and pullback; `with kernels("reference"):` switches them off.

# %%
g = rng.standard_normal(hidden.shape, dtype=np.float32)
(slow, slow_vjp), (fast, fast_vjp) = ops.gelu(hidden), numpy_kernels.gelu(hidden)
agree("gelu", fast, slow, rtol=1e-5)
agree("its gradient", fast_vjp(g)[0], slow_vjp(g)[0], rtol=1e-5)

# %% [markdown]
# ## Attention without the matrix
#
# $A = \mathrm{softmax}(\mathbf{q}\mathbf{k}^\top/\sqrt{D_h})$ has $N^2$ entries per head. At 65 tokens that is nothing; at high resolution it is most of the memory.
# The softmax seems to need a whole row, because of its maximum and its sum. But both can be *corrected*: when a later block of keys brings a larger maximum $m'$ instead of
# $m$, everything summed so far is multiplied by $e^{m - m'}$. This is the **online softmax** (Milakov and Gimelshein, 2018), the core of FlashAttention (Dao et al. 2022).


# %%
def online_attention(q, k, v, block):
    """softmax(q k^T / sqrt(K)) v with blocks of keys.   q, k, v, result: (N, K); nothing is larger than (N, block)."""
    largest = np.full((len(q), 1), -np.inf, q.dtype)  # of the scores so far
    total = np.zeros((len(q), 1), q.dtype)  # of exp(score - largest)
    y = np.zeros_like(v)  # sum of exp(score - largest) * value
    q = q / math.sqrt(q.shape[1])
    for start in range(0, len(k), block):
        scores = q @ k[start : start + block].T
        new = np.maximum(largest, scores.max(axis=1, keepdims=True))
        weights = np.exp(scores - new)
        correction = np.exp(largest - new)
        total = total * correction + weights.sum(axis=1, keepdims=True)
        y = y * correction + weights @ v[start : start + block]
        largest = new
    return y / total


def peak_bytes(function):
    """The most memory that NumPy held at one time during the call, above what it held before."""
    tracemalloc.start()
    function()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


K = 64
tokens = full_or_fast([65, 197, 577, 1025, 2305], [17, 65])
memory, least = {"whole": [], "online": []}, {"whole": [], "online": []}  # bytes, seconds
for n in tokens:
    q, k, v = rng.standard_normal((3, n, K), dtype=np.float32)
    packed = np.concatenate([q, k, v], axis=1)[None]
    agree(f"N = {n}", online_attention(q, k, v, 64), ops.attention(packed, 1)[0][0], rtol=1e-4)
    calls = {
        "whole": lambda packed=packed: ops.attention(packed, 1),
        "online": lambda q=q, k=k, v=v: online_attention(q, k, v, 64),
    }
    for name, function in calls.items():
        memory[name].append(peak_bytes(function))
        least[name].append(best_time(function, repeats))

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (name, most), marker in zip(memory.items(), "os", strict=True):
    axes.loglog(
        tokens,
        np.array(most) / 2**20,
        f"{marker}-",
        label={"whole": "whole matrix", "online": "blocks of 64 keys"}[name],
    )
axes.set(xlabel="tokens $N$", ylabel="peak memory (MiB)", title="One head of width 64, forward")
axes.legend()
plt.show()
for n, whole, online in zip(tokens, *least.values(), strict=True):
    print(f"N = {n:<5} whole matrix {1e3 * whole:7.2f} ms, blocks {1e3 * online:7.2f} ms")
slopes = {name: np.polyfit(np.log(tokens[-3:]), np.log(most[-3:]), 1)[0] for name, most in memory.items()}
print(
    "memory grows with the number of tokens to the power", ", ".join(f"{s:.1f} ({name})" for name, s in slopes.items())
)

# %% [markdown]
# Compare the times, too. For few tokens the Python loop costs more than it saves; the more tokens, the more it helps that the blocks of scores stay in the cache, as the tiles did (try blocks of 256 keys). On a GPU, where the blocks live in registers
# and shared memory, it saves much time as well.
#
# This was the forward pass. For the backward pass the whole matrix would be kept; FlashAttention keeps $m$ and the sum of each row instead, with which it computes the weights a second time, block by block.
#
# ## Computing twice instead of keeping
#
# The backward pass needs the activations of the forward pass, so a model of depth $L$ keeps those of $L$ blocks. **Activation checkpointing** (Chen et al. 2016) keeps only the input of
# each block and computes the block a second time when its gradient is needed: one more forward pass in exchange for most of the memory. In minivit it is one flag.

# %%
config = ViTConfig(image_size=32, patch_size=4, width=D, depth=full_or_fast(8, 4), heads=H, mlp_width=M, num_classes=10)
model = ViT(config)
model.head.weight.data += rng.standard_normal(
    model.head.weight.shape, dtype=np.float32
)  # so that all gradients differ from 0
images, labels = (
    rng.standard_normal((full_or_fast(16, 4), 32, 32, 3), dtype=np.float32),
    np.arange(full_or_fast(16, 4)) % 10,
)


def gradients():
    return grad(F.cross_entropy(model(images), labels), model.parameters())


results = {}
for again in (False, True):
    model.recompute_blocks = again
    results[again] = gradients(), peak_bytes(gradients) / 2**20
times = {False: [], True: []}
for _ in range(full_or_fast(5, 1)):
    for again in times:  # in turns, so that a disturbance from outside hits both
        model.recompute_blocks = again
        times[again].append(best_time(gradients, 1))

for i in (0, len(results[True][0]) // 2):
    agree(f"gradient {i}", results[True][0][i], results[False][0][i], rtol=1e-4)
for again, (_, most) in results.items():
    name = "blocks computed twice" if again else "all activations kept"
    print(f"{name:<22} peak {most:6.1f} MiB   {1e3 * min(times[again]):6.0f} ms")
print(f"memory × {results[True][1] / results[False][1]:.2f}, time × {min(times[True]) / min(times[False]):.2f}")

# %% [markdown]
# A forward pass is about a third of a step (the backward pass has two products for each of the forward's one), so the time should become about 4/3 of what it was.
# Compare. Memory costs time as well (pages that the system hands out anew, caches that overflow), which can move the factor either way; so can another program that was running.
#
# ## NumPy against CuPy
#
# The same ops run on a GPU when their arrays live there.

# %%
try:
    import cupy

    cupy.cuda.runtime.getDeviceCount()
except Exception as error:  # not installed, or no driver
    print(f"No GPU here ({type(error).__name__}): this part is skipped.")
else:
    a = {"NumPy": x, "CuPy": cupy.asarray(x)}
    weights = {"NumPy": (w, b), "CuPy": (cupy.asarray(w), cupy.asarray(b))}

    def product(name):
        F.linear(a[name], *weights[name])
        if name == "CuPy":
            cupy.cuda.Device().synchronize()  # a GPU works on after the call has returned

    print({name: f"{1e3 * best_time(lambda name=name: product(name), 20):.3f} ms" for name in a})

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **Timing a GPU without waiting for it.** The call returns at once; without `synchronize()` you measure the launch.
# - **Timing once.** The first call pays for caches, pages and threads, and other programs disturb any single one. Take the best of several, or interleave the two
#   programs and compare in pairs.
# - **float64 by accident.** `x * np.float64(0.5)` makes a float32 array a float64 one (since NumPy 2): twice the traffic. The library uses Python numbers.
# - **More threads than cores**, or threads for tiny arrays: they wait for each other. A ViT for digits may be fastest on one.
# - **Optimising what is not slow.** Measure first: `python -m minivit.bench cifar-ti --profile` prints what each op takes of a training step.
#
# ## Exercises
#
# **28.1 (two lines).** What is the arithmetic intensity of the product of two $(n, n)$ matrices in float32, each matrix being moved once? Return it in FLOP/byte.


# %%
def intensity_of_product(n):
    """n: rows and columns -> FLOP per byte"""
    ...  # your answer here


check("28.1", intensity_of_product)

# %% [markdown]
# **28.2 (five minutes).** The roof: the least time in seconds that an operation can take.


# %%
def least_time(work, traffic, peak, bandwidth):
    """work: FLOP, traffic: bytes, peak: FLOP/s, bandwidth: bytes/s (not GFLOP/s and GB/s) -> seconds"""
    ...  # your answer here


check("28.2", least_time)

# %% [markdown]
# **28.3 (fifteen minutes).** Checkpointing in segments: a model has $L$ blocks; each keeps $a$ bytes of activations, and its input takes $x$ bytes. Keep the inputs of every $s$-th block only; during the
# backward pass one segment of $s$ blocks at a time is computed again and holds its activations. The peak is $\frac{L}{s} x + s\,a$. Which $s$ (a divisor of $L$) is best?


# %%
def best_segment(L, a, x):
    """L: blocks, a: bytes of activations of a block, x: bytes of its input -> s, a divisor of L"""
    ...  # your answer here


check("28.3", best_segment)

# %% [markdown]
# **28.4 (an hour).** LayerNorm needs the mean and the variance of a row. Tiles that cut a row in two need a way to *merge*: from the count, the mean and the sum of squared deviations
# $\sum_i (x_i - \bar x)^2$ of two parts, those of the whole, without seeing the numbers again, and without $\sum x_i^2$, which loses every digit when the mean is large.
# (Derive it: write $x_i - \bar x = (x_i - \bar x_1) + (\bar x_1 - \bar x)$ for the first part.)


# %%
def merged(n1, mean1, ss1, n2, mean2, ss2):
    """count, mean and sum of squared deviations of two parts -> those of the whole: a tuple of three"""
    ...  # your answer here


check("28.4", merged)

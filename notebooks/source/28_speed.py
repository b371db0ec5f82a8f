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
# # 28 Speed and memory
#
# Two programs that compute the same can differ in speed by a factor of ten, although they do nearly the same
# arithmetic. Much of the difference is how often the numbers travel between memory and processor. And a training step
# needs far more memory than the model itself. At the end you will be able to
#
# - count the arithmetic and the memory traffic of an operation, and predict from both how fast it can be (the
#   roofline),
# - make an operation faster by doing it in tiles that stay in the cache,
# - compute attention without ever holding the $N \times N$ matrix,
# - count the bytes that a training step holds, and trade them for time.
#
# This notebook is about the code, not about an equation of the paper. It uses notebooks [05](05_layer_norm.ipynb),
# [07](07_attention.ipynb), [09](09_mlp_and_gelu.ipynb), [11](11_vit.ipynb) and [12](12_optimisers.ipynb). All times
# were measured when the cells ran, on the machine that ran them; yours will differ. The part for a GPU runs only where
# there is one.
#
# **Budget:** 20 s of CPU time (fast mode 6 s).

# %%
import os

# One thread, so that like is compared with like. NumPy looks when it is first imported: in a fresh kernel, here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import math
import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.backend import kernels, numpy_kernels
from minivit.backend.tiles import flat_tiles
from minivit.lessons import agree, check, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW
from minivit.tape import saved, tape
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(28)
repeats = full_or_fast(7, 2)

# CPU time, which other programs disturb less than the time on the wall; where it is too coarse (Windows), the wall's
precise = time.get_clock_info("process_time").resolution < 1e-5
clock = time.process_time if precise else time.perf_counter


def best_time(function, repeats=repeats):
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(repeats):
        begin = clock()
        function()
        times.append(clock() - begin)
    return max(min(times), 1e-9)


# %% [markdown]
# ## The roofline
#
# An operation does $W$ floating-point operations (FLOP) and moves $Q$ bytes between memory and processor. The processor
# does at most $R$ FLOP per second and moves at most $\beta$ bytes per second. At best it does both at the same time, so
#
# $$t \;\ge\; \max\!\left(\frac{W}{R}, \frac{Q}{\beta}\right), \qquad \frac{W}{t} \;\le\; \min\,(R,\; I\beta), \qquad I = \frac{W}{Q}.$$
#
# $I$ is the **arithmetic intensity**. Below $I = R/\beta$ memory sets the limit, above it arithmetic does. Drawn with
# logarithmic axes the bound looks like a roof (Williams, Waterman and Patterson, 2009).
#
# | symbol | meaning | unit | in the code |
# |---|---|---|---|
# | $W$ | arithmetic of an operation | FLOP | `work` |
# | $Q$ | its memory traffic: what it reads and writes | byte | `traffic` |
# | $I$ | arithmetic intensity, $W/Q$ | FLOP/byte | `work / traffic` |
# | $R$ | the machine's peak rate | FLOP/s | `peak`, in GFLOP/s |
# | $\beta$ | the machine's memory bandwidth | byte/s | `bandwidth`, in GB/s |
# | $t$ | time of an operation | s | `seconds` |
# | $B$ | images in a batch | number | `B` |
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $F$ | width of the MLP | number | `M` |
# | $H$ | heads | number | `H` |
# | $D_h$ | width of a head, $D/H$ | number | `Dh` |
# | $L$ | blocks | number | `config.depth` |
# | $n$ | parameters of a model | number | `n` |
#
# We measure both limits with one thread: $R$ by a large matrix product, $\beta$ by a copy. There are two kinds of
# memory. Main memory is large. *Caches* are small and fast, and keep what was used last (`lscpu` lists them on Linux).
# So we copy twice: arrays that fit into a cache, and arrays that do not.


# %%
def copy_rate(mebibytes):
    """Bytes read plus bytes written per second, in GB/s, by a copy of an array of this size."""
    source = np.ones(mebibytes << 18, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / best_time(lambda: np.copyto(target, source), 3 * repeats) / 1e9


side = full_or_fast(1024, 256)
square = rng.standard_normal((side, side), dtype=np.float32)
peak = 2 * side**3 / best_time(lambda: square @ square, 3 * repeats) / 1e9
large = full_or_fast(256, 16)
in_cache, bandwidth = copy_rate(1), copy_rate(large)
print(f"peak {peak:.0f} GFLOP/s")
print(f"copies of 1 MiB at {in_cache:.0f} GB/s, of {large} MiB at {bandwidth:.0f} GB/s")
print(f"memory sets the limit below {peak / bandwidth:.1f} FLOP/byte, a cache below {peak / in_cache:.1f} FLOP/byte")

# %% [markdown]
# ## Where the operations of a ViT stand
#
# We take the shapes of a small ViT, float32, forward passes only. $W$ is counted by formula: a product of $(a, b)$ and
# $(b, c)$ is $2abc$ FLOP. In the other operations each addition, multiplication, division, square root, exponential and
# tanh counts as one. $Q$ is the least possible: every input is read once, every output written once. An operation that
# goes over its arrays several times moves more.
#
# Each operation is timed twice: as the *op* that the earlier notebooks read, and as the library's *kernel*, a second
# definition that does several steps in one pass over the arrays.
#
# **Predict first.** Which of add, layer_norm, gelu, linear and attention are limited by memory, which by arithmetic?
# Which gain most from their kernel?

# %%
B, N, D, M, H = full_or_fast((64, 65, 192, 768, 3), (8, 17, 32, 64, 2))
x = rng.standard_normal((B, N, D), dtype=np.float32)
hidden = rng.standard_normal((B, N, M), dtype=np.float32)
weight, bias = rng.standard_normal((D, M), dtype=np.float32), np.zeros(M, np.float32)
scale, shift = np.ones(D, np.float32), np.zeros(D, np.float32)
qkv = rng.standard_normal((B, N, 3 * D), dtype=np.float32)
y = rng.standard_normal((B, N, D), dtype=np.float32)

float32 = 4  # bytes
operations = {  # name: (work in FLOP, least traffic in bytes, the call)
    "add": (x.size, 3 * x.size * float32, lambda f: f.add(x, y)),
    # sum for the mean; subtract, square, sum for the variance; times 1/std, times scale, plus shift
    "layer_norm": (7 * x.size, 2 * x.size * float32, lambda f: f.layer_norm(x, scale, shift)),
    # the nine lines of gelu_in_passes below
    "gelu": (9 * hidden.size, 2 * hidden.size * float32, lambda f: f.gelu(hidden)),
    "linear": (
        2 * B * N * D * M,
        (x.size + weight.size + B * N * M) * float32,
        lambda f: f.linear(x, weight, bias),
    ),
    # two products for all heads together; of each weight: subtract the maximum, exponential, sum, divide
    "attention": (4 * B * N * N * D + 4 * B * H * N * N, (qkv.size + x.size) * float32, lambda f: f.attention(qkv, H)),
}

seconds = {}
for name, (_, _, call) in operations.items():
    for mode in ("reference", "fused"):
        with kernels(mode):
            seconds[name, mode] = best_time(lambda call=call: call(F))

figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
intensity = np.geomspace(0.03, 300, 100)
axes.loglog(intensity, np.minimum(peak, intensity * bandwidth), color="black", label="roof, from main memory")
axes.loglog(intensity, np.minimum(peak, intensity * in_cache), color="black", linestyle=":", label="roof, from a cache")
for mode, marker in (("reference", "o"), ("fused", "s")):
    at = [work / traffic for work, traffic, _ in operations.values()]
    rate = [work / seconds[name, mode] / 1e9 for name, (work, _, _) in operations.items()]
    axes.loglog(at, rate, marker, label={"reference": "the op as you read it", "fused": "the library's kernel"}[mode])
for name, (work, traffic, _) in operations.items():
    lower = work / max(seconds[name, mode] for mode in ("reference", "fused")) / 1e9
    axes.annotate(name, (work / traffic, lower), (0, -17), textcoords="offset points", ha="center")
axes.set(xlabel="arithmetic intensity $I$ (FLOP/byte)", ylabel="GFLOP/s", ylim=(0.1, 2 * peak))
axes.set(title="Forward passes of a small ViT, one thread")
axes.legend(loc="lower right")
plt.show()

# %%
print(f"{'':<11} {'FLOP/byte':>9} {'limit set by':>13} {'least time':>11} {'op':>9} {'kernel':>9} {'op/kernel':>10}")
for name, (work, traffic, _) in operations.items():
    least = max(work / peak, traffic / bandwidth) / 1e9
    limit = "arithmetic" if work / peak > traffic / bandwidth else "memory"
    op, kernel = (seconds[name, mode] * 1e3 for mode in ("reference", "fused"))
    print(
        f"{name:<11} {work / traffic:9.1f} {limit:>13} {least * 1e3:8.2f} ms {op:6.2f} ms {kernel:6.2f} ms {op / kernel:10.1f}"
    )

# %% [markdown]
# **In the stored run** memory sets the limit for add, layer_norm and gelu. The kernels make layer_norm 10.5 times and
# gelu 4.9 times as fast as the ops, because the ops go over their arrays many times. They change nothing for add and
# linear. Linear comes close to its least time: 11.40 ms against 10.23 ms.
#
# A bound need not be reached. `tanh` and `exp` cost many FLOP each and were counted as one, so a kernel of `gelu` can
# be limited by its arithmetic far below the roof. A point above the solid roof had its arrays in a cache, at least in
# part. Only the products lie where a processor with a higher peak rate would help.
#
# ## Tiles: do all steps while the numbers are near
#
# NumPy evaluates `0.5 * x * (1 + tanh(c * (x + 0.044715 * x**3)))`, with $c = \sqrt{2/\pi}$, one operation at a time.
# Each operation reads whole arrays from memory and writes a whole new one. An array of this size does not fit into the
# small, fast caches. The remedy: take a piece (a *tile*) small enough to stay in the cache, do *all* steps on it, and
# go on to the next piece.


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


# %% tags=["yours"]
def gelu_in_tiles(x, tile):
    """gelu_in_passes of `tile` numbers at a time.   x: any shape, contiguous -> the same shape."""
    y = np.empty_like(x)
    for start in range(0, x.size, tile):
        piece = slice(start, start + tile)
        y.reshape(-1)[piece] = gelu_in_passes(x.reshape(-1)[piece])
    return y


agree("gelu", gelu_in_tiles(hidden, 1000), ops.gelu(hidden)[0], rtol=1e-5)

# %% [markdown]
# **Predict first.** The level-2 cache of a core is often about 1 MiB. Which size of a tile is fastest: 1 KiB, 128 KiB
# or 16 MiB? By how much does it beat whole passes?

# %%
sizes = full_or_fast([2**k for k in range(8, 23)], [2**10, 2**14])
times = [best_time(lambda size=size: gelu_in_tiles(hidden, size)) for size in sizes]
whole = best_time(lambda: gelu_in_passes(hidden))

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.loglog([4 * size / 1024 for size in sizes], [1e3 * t for t in times], "o-", label="in tiles")
axes.axhline(1e3 * whole, color="C1", linestyle="--", label="in passes over the whole array")
axes.set_xscale("log", base=2)
axes.xaxis.set_major_formatter("{x:g}")
axes.set_yticks([2, 5, 10, 20, 50, 100, 200], ["2", "5", "10", "20", "50", "100", "200"])
axes.minorticks_off()
axes.set(xlabel="size of a tile (KiB)", ylabel="time (ms)", title=f"GELU of {hidden.size:,} numbers")
axes.set_ylim(700 * min(times), 1400 * max(times))
axes.legend()
plt.show()
best = sizes[int(np.argmin(times))]
print(f"best tile: {4 * best / 1024:.0f} KiB, {1e3 * min(times):.0f} ms; whole passes {1e3 * whole:.0f} ms")
print(f"the best tile is {whole / min(times):.1f} times as fast as whole passes")

# %% [markdown]
# **In the stored run** tiles of 256 KiB are best. They are 3.2 times as fast as whole passes.
#
# Small tiles lose time in the Python loop and in NumPy's calls, large tiles lose it in memory. The best size depends on
# the machine: a few intermediate arrays of that size must fit into the level-2 cache together. The library's kernel
# writes into buffers that it uses again and again. It also computes the slope for the backward pass while `tanh` is at
# hand:

# %%
show_source(numpy_kernels.gelu)

# %%
show_source(flat_tiles)

# %% [markdown]
# A faster kernel is a second definition, and second definitions can be wrong. So each is registered under the name of
# its op, and one test compares value and pullback of the two. `with kernels("reference"):` switches the kernels off.

# %%
g = rng.standard_normal(hidden.shape, dtype=np.float32)
(slow, slow_vjp), (fast, fast_vjp) = ops.gelu(hidden), numpy_kernels.gelu(hidden)
agree("gelu", fast, slow, rtol=1e-5)
agree("its gradient", fast_vjp(g)[0], slow_vjp(g)[0], rtol=1e-5)

# %% [markdown]
# ## Attention without the matrix
#
# The attention weights $A = \mathrm{softmax}(\mathbf{q}\mathbf{k}^\top/\sqrt{D_h})$ have $N^2$ entries per head. At 65
# tokens that is little; at high resolution it is most of the memory. The softmax seems to need a whole row, because of
# its maximum and its sum. But both can be *corrected* later. We go through the keys in blocks and keep, for each query,
# the largest score $m$ so far, the sum $r$ of $e^{S - m}$ and the sum $y$ of $e^{S - m}\,\mathbf{v}$. A new block has
# the scores $S = \mathbf{q}\mathbf{k}^\top/\sqrt{D_h}$. Its largest score may exceed $m$, so
#
# $$m' = \max(m, \max_j S_j), \qquad r' = r\,e^{m - m'} + \sum_j e^{S_j - m'}, \qquad y' = y\,e^{m - m'} + \sum_j e^{S_j - m'}\,\mathbf{v}_j.$$
#
# At the end $y / r$ is the result. This is the **online softmax** (Milakov and Gimelshein, 2018), the core of
# FlashAttention (Dao et al. 2022).


# %% tags=["yours"]
def online_attention(q, k, v, block):
    """softmax(q k^T / sqrt(Dh)) v with blocks of keys.   q, k, v, result: (N, Dh); nothing is larger than (N, block)."""
    m = np.full((len(q), 1), -np.inf, q.dtype)  # the largest score so far
    r = np.zeros((len(q), 1), q.dtype)  # sum of exp(score - m)
    y = np.zeros_like(v)  # sum of exp(score - m) * value
    q = q / math.sqrt(q.shape[1])
    for start in range(0, len(k), block):
        scores = q @ k[start : start + block].T
        new = np.maximum(m, scores.max(axis=1, keepdims=True))
        scores -= new
        np.exp(scores, out=scores)
        correction = np.exp(m - new)
        r = r * correction + scores.sum(axis=1, keepdims=True)
        y = y * correction + scores @ v[start : start + block]
        m = new
    return y / r


# %% [markdown]
# **Predict first.** How does the peak memory grow with $N$, with the whole matrix and with blocks of 256 keys? From how
# many tokens on do you expect the blocks to be faster, too?


# %%
def peak_bytes(function):
    """The most memory that NumPy held at one time during the call, above what it held before."""
    tracemalloc.start()
    function()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


Dh = 64
tokens = full_or_fast([65, 197, 577, 1025, 2305, 4609], [17, 65])
memory, least = {"whole": [], "blocks": []}, {"whole": [], "blocks": []}  # bytes, seconds
with kernels("reference"):
    for tokens_now in tokens:
        q, k, v = rng.standard_normal((3, tokens_now, Dh), dtype=np.float32)
        packed = np.concatenate([q, k, v], axis=1)[None]
        mine, right = online_attention(q, k, v, 256), ops.attention(packed, 1)[0][0]
        assert np.abs(mine - right).max() <= 1e-4 * np.abs(right).max()
        calls = {
            "whole": lambda packed=packed: ops.attention(packed, 1),
            "blocks": lambda q=q, k=k, v=v: online_attention(q, k, v, 256),
        }
        for name, function in calls.items():
            memory[name].append(peak_bytes(function))
            least[name].append(best_time(function, repeats if tokens_now < 2000 else 3))

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
labels = {"whole": "whole matrix", "blocks": "blocks of 256 keys"}
for (name, most), marker in zip(memory.items(), "os", strict=True):
    axes.loglog(tokens, np.array(most) / 2**20, f"{marker}-", label=labels[name])
axes.set_xticks(tokens, [f"{n:,}" for n in tokens])
axes.minorticks_off()
axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
axes.set(xlabel="tokens $N$", ylabel="peak memory (MiB)", title="One head of width 64, forward")
axes.legend()
plt.show()
print("   N   whole matrix             blocks of 256 keys       time whole / blocks")
for i, n in enumerate(tokens):
    row = "".join(f"{1e3 * least[name][i]:9.2f} ms {memory[name][i] / 2**20:7.1f} MiB   " for name in memory)
    print(f"{n:5d}{row} {least['whole'][i] / least['blocks'][i]:8.1f}")
slopes = {name: np.polyfit(np.log(tokens[-3:]), np.log(most[-3:]), 1)[0] for name, most in memory.items()}
print("memory grows with N to the power", ", ".join(f"{slope:.1f} ({labels[name]})" for name, slope in slopes.items()))

# %% [markdown]
# **In the stored run** the memory of the whole matrix grows with $N$ to the power 2.0, that of the blocks to the power
# 1.0. At 4609 tokens the blocks need 11.3 MiB instead of 243.1 MiB. They take about as long up to 1025 tokens. From
# 2305 tokens on the whole matrix takes 1.3 times as long.
#
# This was the forward pass. A plain backward pass needs the whole matrix again. FlashAttention keeps $m$ and $r$ of
# each row instead, and computes the weights a second time, block by block. On a GPU the blocks live in registers and
# shared memory, which are much faster than its main memory.
#
# ## What a training step holds in memory
#
# A model with $n$ parameters takes $4n$ bytes in float32. Training with AdamW (notebook 12) holds three more arrays of
# this size: the gradients and the two moments. That is 16 bytes per parameter, for any batch:

# %%
published = {
    "ViT-B/16": ViTConfig(image_size=224, patch_size=16, width=768, depth=12, heads=12, mlp_width=3072),
    "ViT-L/16": ViTConfig(image_size=224, patch_size=16, width=1024, depth=24, heads=16, mlp_width=4096),
}
for name, config in published.items():
    n = sum(parameter.size for parameter in ViT(config, seed=None).parameters())
    print(
        f"{name}: {n / 1e6:.1f} million parameters (1,000 classes), {16 * n / 2**30:.1f} GiB with gradients and moments"
    )

# %% [markdown]
# The rest are **activations**: the arrays of the forward pass that pullbacks need. They are kept until the backward
# pass has used them. A block keeps
#
# | operation | keeps for its pullback | numbers |
# |---|---|---|
# | LayerNorm | the normalised tokens, and $1/\sigma$ of each token | $BND + BN$ |
# | projection to queries, keys, values | its input | $BND$ |
# | attention | queries, keys, values and the weights $A$ | $3BND + BHN^2$ |
# | projection of the joined heads | its input | $BND$ |
# | LayerNorm | the same as the first | $BND + BN$ |
# | first layer of the MLP | its input | $BND$ |
# | GELU | its slope | $BNF$ |
# | second layer of the MLP | its input | $BNF$ |
# | the two additions | nothing | 0 |
#
# The sum is
#
# $$8BND + 2BNF + BHN^2 + 2BN.$$
#
# The last term is tiny. With $F = 4D$, as in the paper's models, a block keeps $16\,BND + BHN^2$ numbers.


# %% tags=["yours"]
def block_numbers(B, N, D, M, H):
    """How many numbers a block keeps for its backward pass."""
    return 8 * B * N * D + 2 * B * N * M + B * H * N * N + 2 * B * N


# %% [markdown]
# Is this what the engine keeps? Its tape can be asked: `tape(y)` lists the operations that made `y`, and `saved` the
# arrays that a pullback has captured. A view is counted by the array whose memory it shows. Each array counts once, and
# parameters do not count.


# %%
def owner(array):
    """The array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def kept_bytes(y, parameters):
    """Bytes that the pullbacks behind y keep."""
    known = {id(owner(parameter.data)) for parameter in parameters}
    arrays = {id(owner(array)): owner(array) for node in tape(y) for array in saved(node).values()}
    return sum(array.nbytes for place, array in arrays.items() if place not in known)


def small_vit(image_size, depth):
    """A ViT with patches of 4 x 4 whose head is not 0, so that all gradients differ from 0."""
    model = ViT(
        ViTConfig(image_size=image_size, patch_size=4, width=D, depth=depth, heads=H, mlp_width=M, num_classes=10)
    )
    model.head.weight.data += rng.standard_normal(model.head.weight.shape, dtype=np.float32)
    return model


model = small_vit(32, 1)
for images, n_tokens in ((1, 65), (4, 65), (4, 130)):
    z = Tensor(rng.standard_normal((images, n_tokens, D), dtype=np.float32), requires_grad=True)
    formula = 4 * block_numbers(images, n_tokens, D, M, H)
    agree(f"B={images}, N={n_tokens}", kept_bytes(model.blocks[0](z), model.parameters()) / formula, 1, rtol=2e-3)

# %% [markdown]
# Now the whole step. Parameters and moments are there all the time, $12n$ bytes. The activations grow during the
# forward pass of all $L$ blocks. The backward pass frees them one by one, while the gradients appear. So the peak is
# near the end of the forward pass, and about
#
# $$12\,n + 4\,\left((L - 1)\,(8BND + 2BNF + BHN^2) + 5BND\right) \text{ bytes},$$
#
# unless the $4n$ bytes of gradients are more than the activations. The last block counts less: the head reads only the
# [class] token, so the library computes queries and MLP of the last block for this token alone.
#
# **Predict first.** Which part grows fastest with the batch, and which with the number of tokens? Here $D_h = 64$ and
# $F = 4D$. From which $N$ on do the attention weights take more than all other activations of a block?


# %%
def step_peak(model, images):
    """Bytes at the peak of an AdamW step, parameters and moments included."""
    x = rng.standard_normal((images, *model.config.image_size, 3), dtype=np.float32)
    labels = np.arange(images) % 10
    optimizer = AdamW(model.parameters(), lr=1e-4)

    def step():
        optimizer.step(grad(F.cross_entropy(model(x), labels), model.parameters()))

    return 12 * sum(parameter.size for parameter in model.parameters()) + peak_bytes(step)


def predicted_parts(n, depth, B, N):
    """Bytes of parameters with moments; of the activations without attention weights; of the attention weights."""
    linear = (depth - 1) * (8 * B * N * D + 2 * B * N * M) + 5 * B * N * D
    return 12 * n, 4 * linear, 4 * (depth - 1) * B * H * N * N


depth = full_or_fast(4, 2)
series = {
    "images in a batch $B$ (65 tokens)": [(images, 32) for images in full_or_fast((1, 4, 8, 16, 24), (1, 2))],
    "tokens $N$ (2 images)": [(2, size) for size in full_or_fast((16, 32, 64, 96, 128), (16, 32))],
}
figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
print("   B     N   predicted    measured")
for panel, (what, steps) in zip(panels, series.items(), strict=True):
    places, measured = [], []
    for images, size in steps:
        model = small_vit(size, depth)
        n = sum(parameter.size for parameter in model.parameters())
        n_tokens = 1 + (size // 4) ** 2
        places.append(images if "batch" in what else n_tokens)
        measured.append(step_peak(model, images) / 2**20)
        predicted = sum(predicted_parts(n, depth, images, n_tokens)) / 2**20
        print(f"{images:4d} {n_tokens:5d} {predicted:7.0f} MiB {measured[-1]:7.0f} MiB")
    grid = np.linspace(0, places[-1], 50)
    pairs = [(x, 65) if "batch" in what else (2, x) for x in grid]
    panel.stackplot(
        grid,
        np.transpose([predicted_parts(n, depth, *pair) for pair in pairs]) / 2**20,
        colors=("0.75", "C0", "C1"),
        labels=("parameters and moments, $12n$", "activations without $A$", "attention weights $A$"),
    )
    panel.plot(places, measured, "ko", label="measured peak")
    panel.set(xlabel=what, ylabel="MiB", xlim=(0, None), ylim=(0, None))
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# **In the stored run** ViT-B/16 needs 1.3 GiB before the first image. In the small ViT the measured peak is a few MiB
# above the predicted one: 92 MiB against 85 MiB for 24 images, and 182 MiB against 174 MiB for 1025 tokens. The formula
# leaves out what a single pullback needs while it runs. For one image the gradients are more than the activations, so
# 29 MiB stand against 23 MiB.
#
# Of the activations, all but the attention weights grow with $BN$, the number of tokens in the batch. The attention
# weights grow with $BN^2$. They overtake the rest where $HN^2 = 16ND$, at $N = 16 D_h$ tokens: 1,024 for heads of width
# 64. Attention in blocks, as above, removes this term, if the backward pass computes the weights again.
#
# ## Computing twice instead of keeping
#
# **Activation checkpointing** (Chen et al. 2016) keeps only the input of each block and computes the block a second
# time when its gradient is needed. The activations of the $L$ blocks become $L$ inputs of $BND$ numbers and the
# activations of one block: one more forward pass, and much less memory. In minivit it is one flag.
#
# **Predict first.** How much of the memory is left with 8 blocks? How much longer does a step take, if a backward pass
# has two matrix products for each one of the forward pass?

# %%
images = full_or_fast(16, 4)
depth = full_or_fast(8, 4)
model = small_vit(32, depth)
x = rng.standard_normal((images, 32, 32, 3), dtype=np.float32)
labels = np.arange(images) % 10


def gradients():
    return grad(F.cross_entropy(model(x), labels), model.parameters())


results = {}
for again in (False, True):
    model.recompute_blocks = again
    results[again] = gradients(), peak_bytes(gradients) / 2**20
times = {False: [], True: []}
for _ in range(full_or_fast(9, 1)):
    for again in times:  # in turns, so that a disturbance from outside hits both
        model.recompute_blocks = again
        times[again].append(best_time(gradients, 1))

first, second = (np.concatenate([d.ravel() for d in results[again][0]]) for again in (False, True))
agree("all gradients", second, first, rtol=1e-4)
n = sum(parameter.size for parameter in model.parameters())
block, inputs = 4 * block_numbers(images, N, D, M, H) / 2**20, 4 * depth * images * N * D / 2**20
parts = block, inputs, 4 * n / 2**20
print("one block {:.1f}, inputs of all blocks {:.1f}, gradients {:.1f}: together {:.1f} MiB".format(*parts, sum(parts)))
for again, (_, most) in results.items():
    name = "blocks computed twice" if again else "all activations kept"
    print(f"{name:<22} peak {most:6.1f} MiB   {1e3 * min(times[again]):6.0f} ms")
print(f"memory x {results[True][1] / results[False][1]:.2f}, time x {min(times[True]) / min(times[False]):.2f}")

# %% [markdown]
# **In the stored run** computing the blocks twice takes 33.2 MiB instead of 100.0 MiB, and the time is 1.21 times as
# long. One block, the inputs of all blocks and the gradients make 32.7 MiB together.
#
# A forward pass is about a third of a step, so one more should make the time 4/3. Memory costs time as well: the system
# hands out new pages, and caches overflow. That may be why the factor is lower here. With checkpointing the gradients
# are no longer small beside the rest: at the end of the backward pass they are all there, with one block's activations.
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
    clock = time.perf_counter  # waiting for a GPU takes no CPU time
    a = {"NumPy": hidden, "CuPy": cupy.asarray(hidden)}
    weights = {"NumPy": (weight.T, shift), "CuPy": (cupy.asarray(weight.T), cupy.asarray(shift))}

    def product(name):
        F.linear(a[name], *weights[name])
        if name == "CuPy":
            cupy.cuda.Device().synchronize()  # a GPU works on after the call has returned

    print({name: f"{1e3 * best_time(lambda name=name: product(name), 20):.3f} ms" for name in a})

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **Timing a GPU without waiting for it.** The call returns at once; without `synchronize()` you measure the launch.
# - **Timing once.** The first call pays for caches, pages and threads, and other programs disturb any single call. Take
#   the best of several, or interleave the two programs and compare in pairs.
# - **float64 by accident.** `x * np.float64(0.5)` makes a float32 array a float64 one (since NumPy 2): twice the
#   traffic. The library uses Python numbers.
# - **More threads than cores**, or threads for tiny arrays: they wait for each other. A ViT for digits may be fastest
#   on one.
# - **Keeping Tensors.** `losses.append(loss)` keeps the record of that step alive, and before the backward pass all its
#   activations. Append a number.
# - **Optimising what is not slow.** Measure first: `python -m minivit.bench cifar-ti --profile` prints what each op
#   takes of a training step.
#
# ## Exercises
#
# `hint("28.1")` gives up to three hints, one per call.
#
# **28.1 (two lines).** What is the arithmetic intensity of the product of two $(n, n)$ matrices in float32, if each
# matrix is moved once? Return it in FLOP/byte.


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
# **28.3 (fifteen minutes).** Checkpointing in segments. A model has $L$ blocks; each keeps $a$ bytes of activations,
# and its input takes $x$ bytes. Keep the input of every $s$-th block only. The backward pass computes one segment of
# $s$ blocks at a time again and holds its activations. The peak is $\frac{L}{s} x + s\,a$. Which $s$ (a divisor of $L$)
# is best?


# %%
def best_segment(L, a, x):
    """L: blocks, a: bytes of activations of a block, x: bytes of its input -> s, a divisor of L"""
    ...  # your answer here


check("28.3", best_segment)

# %% [markdown]
# **28.4 (an hour).** LayerNorm needs the mean and the variance of a row. Suppose a row is cut into two tiles, and of
# each tile we know the count, the mean and the sum of squared deviations $\sum_i (x_i - \bar x)^2$. Compute these three
# for the whole row without seeing the numbers again. Do not use $\sum x_i^2$, which can lose every digit when the mean
# is large. (Derive it: write $x_i - \bar x = (x_i - \bar x_1) + (\bar x_1 - \bar x)$ for the first part.)


# %%
def merged(n1, mean1, ss1, n2, mean2, ss2):
    """count, mean and sum of squared deviations of two parts -> those of the whole: a tuple of three"""
    ...  # your answer here


check("28.4", merged)

# %% [markdown]
# **28.5 (fifteen minutes).** How many images fit? A GPU has `memory` bytes. A ViT with $n$ parameters trains on it with
# AdamW, everything in float32, and every block is computed twice. Count as held at the same time: parameters, gradients
# and both moments, the inputs of all $L$ blocks, and the activations of one block, $8BND + 2BNF + BHN^2$ numbers.
# Return the largest batch, and 0 if not even one image fits.


# %%
def largest_batch(memory, n, L, N, D, M, H):
    """memory: bytes, n: parameters, L: blocks, N: tokens, D: width, M: width of the MLP, H: heads -> images, an int"""
    ...  # your answer here


check("28.5", largest_batch)

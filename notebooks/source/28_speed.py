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
# arithmetic. Much of the difference comes from how often numbers travel between memory and processor. A training step
# also needs far more memory than the model itself. At the end you will be able to
#
# - count the arithmetic and the memory traffic of an operation, and predict from both how fast it can be (the
#   roofline),
# - make an operation faster in tiles that stay in the cache,
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

# One thread for every call. NumPy reads this variable only at its first import, so restart the kernel before this cell.
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

# CPU time: other programs disturb it less than the time of a clock. Where it is too coarse (Windows), a clock's time.
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
# does at most $R$ FLOP per second and moves at most $\beta$ bytes per second. At best it does both at the same time:
#
# $$t \;\ge\; \max\!\left(\frac{W}{R}, \frac{Q}{\beta}\right), \qquad \frac{W}{t} \;\le\; \min\,(R,\; I\beta), \qquad I = \frac{W}{Q}.$$
#
# $I$ is the **arithmetic intensity**. Below $I = R/\beta$ memory sets this limit, above it arithmetic does. Drawn with
# logarithmic axes the limit looks like a roof (Williams, Waterman and Patterson, 2009).
#
# | symbol | meaning | unit | in the code |
# |---|---|---|---|
# | $W$ | work of an operation (in other notebooks $W$ is a matrix) | FLOP | `work` |
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
# | $L$ | blocks | number | `depth` |
# | $n$ | parameters of a model | number | `n` |
#
# We measure both limits with one thread: $R$ by a large matrix product, $\beta$ by a copy. There are two kinds of
# memory. Main memory is large. *Caches* are small and fast, and keep what was used last (`lscpu` lists them on Linux).
# So there are two bandwidths and two roofs. We copy arrays that fit into a cache, and arrays that do not. (A processor
# may read the target of a copy before it overwrites it. Then it moves three bytes where we count two, and the measured
# $\beta$ may be up to 1.5 times too small.)


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
# $(b, c)$ is $2abc$ FLOP. In the other operations each addition, multiplication, division, comparison, square root,
# exponential and tanh counts as one. $Q$ is the least possible: every input is read once, every output written once. An
# operation that goes over its arrays several times moves more.
#
# Each operation but add has two definitions, and we time both. The *op* is the readable one of the earlier notebooks. The
# *kernel* does several steps in one pass over the arrays.
#
# **Predict first.** For which of add, layer_norm, gelu, linear and attention does memory set the limit, for which
# arithmetic? Which gain most from their kernel?

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
    # two products for all heads together, queries times 1/sqrt(Dh); of each score: maximum, subtract, exp, sum, divide
    "attention": (
        4 * B * N * N * D + B * N * D + 5 * B * H * N * N,
        (qkv.size + x.size) * float32,
        lambda f: f.attention(qkv, H),
    ),
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
axes.fill_between(
    intensity,
    np.minimum(peak, intensity * bandwidth),
    np.minimum(peak, intensity * in_cache),
    color="0.9",
    label="possible only from a cache",
)
at = {name: work / traffic for name, (work, traffic, _) in operations.items()}
rate = {(name, mode): operations[name][0] / seconds[name, mode] / 1e9 for name, mode in seconds}
for name in operations:
    pair = [rate[name, mode] for mode in ("reference", "fused")]
    axes.plot([at[name]] * 2, pair, color="0.6", zorder=1)
    side = {"layer_norm": ((-8, 0), "right"), "gelu": ((8, 0), "left")}.get(name, ((0, -20), "center"))
    axes.annotate(name, (at[name], min(pair)), side[0], textcoords="offset points", ha=side[1], va="center")
for mode, style, name in (("reference", "o", "the op as you read it"), ("fused", "s", "the library's kernel")):
    rates = [rate[operation, mode] for operation in operations]
    size = {"o": 11, "s": 5}[style]  # where the two coincide, one is drawn around the other
    axes.plot(at.values(), rates, style, markersize=size, markerfacecolor="none" if style == "o" else None, label=name)
axes.set(xlabel="arithmetic intensity $I$ (FLOP/byte)", ylabel="GFLOP/s", ylim=(0.1, 2 * peak))
axes.set(title="Forward passes of a small ViT, one thread")
axes.legend(loc="lower right")
plt.show()

# %%
columns = ("FLOP/byte", "limit set by", "roof, memory", "roof, cache", "op", "kernel", "op/kernel")
print(f"{'':<11}" + "".join(f"{column:>14}" for column in columns))
for name, (work, traffic, _) in operations.items():
    limit = "arithmetic" if work / peak > traffic / bandwidth else "memory"
    roofs = [max(work / peak, traffic / rate) / 1e6 for rate in (bandwidth, in_cache)]  # ms
    op, kernel = (seconds[name, mode] * 1e3 for mode in ("reference", "fused"))
    times = "".join(f"{ms:11.2f} ms" for ms in (*roofs, op, kernel))
    print(f"{name:<11}{work / traffic:14.1f}{limit:>14}{times}{op / kernel:14.1f}")

# %% [markdown]
# **In the stored run** the kernels make layer_norm 12.4 times and gelu 4.6 times as fast as the ops, mostly because the ops
# go over their arrays many times. They change little for linear. Add has no kernel: both columns time the same code. Linear is close to the roof, 11.90
# ms against 10.60 ms. Add takes 0.11 ms. From main memory it would take at least 0.28 ms, so its arrays came from a
# cache.
#
# The column *limit set by* is what the formula says for arrays in main memory. It measures nothing. A point above the
# solid roof had its arrays in a cache, at least in part. Far below the roof something else may set the limit: `tanh`
# and `exp` cost many FLOP each and were counted as one.
#
# ## Tiles: do all steps while the numbers are near
#
# NumPy evaluates `0.5 * x * (1 + tanh(c * (x + 0.044715 * x**3)))`, with $c = \sqrt{2/\pi}$, one operation at a time.
# Each operation reads whole arrays and writes a whole new one. Arrays of this size do not fit into the fastest caches.
# The remedy: take a piece (a *tile*) small enough to stay in such a cache, do *all* steps on it, and go on to the next
# piece.


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
# **Predict first.** The array has 12 MiB. The level-2 cache of a core is often about 1 MiB. Which size of a tile is
# fastest: 1 KiB, 128 KiB or 4 MiB? By how much does it beat whole passes?

# %%
sizes = full_or_fast([2**k for k in range(8, 21)], [2**10, 2**14])
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
print("KiB: ms   " + ", ".join(f"{4 * size / 1024:g}: {1e3 * t:.1f}" for size, t in zip(sizes, times, strict=True)))
print(f"best tile: {4 * best / 1024:.0f} KiB, {1e3 * min(times):.1f} ms; whole passes {1e3 * whole:.1f} ms")
print(f"the best tile is {whole / min(times):.1f} times as fast as whole passes")

# %% [markdown]
# **In the stored run** tiles of 128 KiB are best. They are 3.0 times as fast as whole passes. Tiles of 1 KiB take 67.3
# ms, tiles of 4096 KiB 4.7 ms.
#
# Small tiles lose time in the Python loop and in NumPy's calls. Large tiles do not stay in the fast caches. The best
# size depends on the machine. Within a piece the library's kernel writes its steps into the same few arrays. There
# `_x_sigmoid` computes $s = (1 + \tanh)/2$, and from it the kernel gets the slope for the backward pass:

# %%
show_source(numpy_kernels.gelu)

# %%
show_source(flat_tiles)

# %% [markdown]
# A kernel is a second definition, so it may be wrong. Each is registered under the name of its op, and one test
# compares value and pullback of the two. `with kernels("reference"):` switches the kernels off.

# %%
g = rng.standard_normal(hidden.shape, dtype=np.float32)
(slow, slow_vjp), (fast, fast_vjp) = ops.gelu(hidden), numpy_kernels.gelu(hidden)
agree("gelu", fast, slow, rtol=1e-5)
agree("its gradient", fast_vjp(g)[0], slow_vjp(g)[0], rtol=1e-5)

# %% [markdown]
# ## Attention without the matrix
#
# The attention weights $A = \mathrm{softmax}(S)$, $S = \mathbf{q}\mathbf{k}^\top/\sqrt{D_h}$, have $N^2$ entries per
# head. At 65 tokens that is little; at high resolution it is most of the memory. The softmax seems to need a whole row,
# because of its maximum and its sum. But both can be *corrected* later. We go through the keys in blocks. For each
# query we keep three things:
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values of one head | $(N, D_h)$ each | `q`, `k`, `v` |
# | $S$ | attention scores of one block of keys | $(N, \text{block})$ | `S` |
# | $m$ | the largest score so far | $(N, 1)$ | `m` |
# | $\ell$ | the sum of $e^{S - m}$ so far | $(N, 1)$ | `ell` |
# | $\mathbf{y}$ | the sum of $e^{S - m}\,\mathbf{v}$ so far | $(N, D_h)$ | `y` |
#
# The keys $j$ of a new block may have scores $S_j$ above $m$. So the new values are
#
# $$m' = \max(m, \max_j S_j), \qquad \ell' = \ell\,e^{m - m'} + \sum_j e^{S_j - m'}, \qquad \mathbf{y}' = \mathbf{y}\,e^{m - m'} + \sum_j e^{S_j - m'}\,\mathbf{v}_j.$$
#
# At the end $\mathbf{y} / \ell$ is the result. This is the **online softmax** (Milakov and Gimelshein, 2018), the core
# of FlashAttention (Dao et al. 2022).


# %% tags=["yours"]
def online_attention(q, k, v, block):
    """softmax(q k^T / sqrt(Dh)) v with blocks of keys.   q, k, v, result: (N, Dh); no array is (N, N)."""
    m = np.full((len(q), 1), -np.inf, q.dtype)
    ell = np.zeros((len(q), 1), q.dtype)
    y = np.zeros_like(v)
    q = q / math.sqrt(q.shape[1])
    for start in range(0, len(k), block):
        S = q @ k[start : start + block].T
        new = np.maximum(m, S.max(axis=1, keepdims=True))
        S -= new
        weights = np.exp(S, out=S)
        correction = np.exp(m - new)
        ell = ell * correction + weights.sum(axis=1, keepdims=True)
        y = y * correction + weights @ v[start : start + block]
        m = new
    return y / ell


# %% [markdown]
# **Predict first.** How does the peak memory grow with $N$, with the whole matrix and with blocks of 256 keys? From how
# many tokens on are the blocks faster, too?


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
axes.set_xticks(tokens, [f"{number:,}" for number in tokens])
axes.minorticks_off()
axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
axes.set(xlabel="tokens $N$", ylabel="peak memory (MiB)", title="One head of width 64, forward")
axes.legend()
plt.show()
print("   N   one N x N array   whole matrix              blocks of 256 keys        time whole / blocks")
for i, n_tokens in enumerate(tokens):
    row = "".join(f"{1e3 * least[name][i]:9.2f} ms {memory[name][i] / 2**20:8.2f} MiB   " for name in memory)
    print(f"{n_tokens:5d} {4 * n_tokens**2 / 2**20:8.2f} MiB  {row} {least['whole'][i] / least['blocks'][i]:8.1f}")
slopes = {name: np.polyfit(np.log(tokens[-3:]), np.log(most[-3:]), 1)[0] for name, most in memory.items()}
print("memory grows with N to the power", ", ".join(f"{slope:.1f} ({labels[name]})" for name, slope in slopes.items()))

# %% [markdown]
# **In the stored run** the memory of the whole matrix grows with $N$ to the power 2.0, that of the blocks to the power
# 1.0. At 4609 tokens the blocks need 11.36 MiB and the whole matrix 243.13 MiB, which is three arrays of 81.04 MiB. At
# 65 tokens the blocks need more: 0.10 MiB against 0.07 MiB. Up to 1025 tokens the times differ by about a tenth at
# most. From 2305 tokens on the blocks are faster, by a factor of 1.3 and 1.1.
#
# The three arrays of the whole matrix are the scores, their exponentials and the weights.
#
# This was the forward pass. A plain backward pass needs the whole matrix again. FlashAttention keeps $m$ and $\ell$ of
# each row instead, and computes the weights a second time, block by block. On a GPU the blocks live in registers and
# shared memory, which are much faster than its main memory.
#
# ## What a training step holds in memory
#
# A model with $n$ parameters takes $4n$ bytes in float32. AdamW (notebook 12) keeps two moments of the same size, so
# $12n$ bytes are there all the time. The backward pass makes the gradients, $4n$ bytes more, which are held until the
# update.

# %%
published = {
    "ViT-B/16": ViTConfig(image_size=224, patch_size=16, width=768, depth=12, heads=12, mlp_width=3072),
    "ViT-L/16": ViTConfig(image_size=224, patch_size=16, width=1024, depth=24, heads=16, mlp_width=4096),
}
for name, config in published.items():
    n = sum(parameter.size for parameter in ViT(config, seed=None).parameters())
    print(f"{name}: {n / 1e6:.1f} million parameters (1,000 classes), with moments {12 * n / 2**30:.2f} GiB,", end=" ")
    print(f"with moments and gradients {16 * n / 2**30:.2f} GiB")

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
# The inputs of the first projection and of the MLP are arrays of their own: the normalised tokens times the scale of
# LayerNorm, plus its shift. The sum is
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
# arrays that a pullback has captured. A view counts as its base array. Each array counts once, and parameters do not
# count. The library's kernel of LayerNorm also keeps an array of $D$ entries, all of them $1/D$. A block has two
# LayerNorms, so we add $2D$ numbers to the formula.


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
    formula = 4 * (block_numbers(images, n_tokens, D, M, H) + 2 * D)
    agree(f"B={images}, N={n_tokens}", kept_bytes(model.blocks[0](z), model.parameters()) / formula, 1)

# %% [markdown]
# Now the whole step. The activations grow during the forward pass of all $L$ blocks. The backward pass frees them one
# by one, while the gradients appear. So the peak is near the end of the forward pass, or near the end of the backward
# pass if the gradients are more than the activations:
#
# $$12\,n + 4 \max\left((L - 1)\,(8BND + 2BNF + BHN^2) + 5BND,\; n\right) \text{ bytes}.$$
#
# The last block keeps $5BND$ numbers: the normalised tokens, the input of the first projection, and queries, keys and
# values. The head reads the [class] token alone, so the library computes the rest of this block for that token alone.
#
# **Predict first.** Which part of the peak does not grow with the batch? Which part grows fastest with the number of
# tokens? Here $D_h = 64$ and $F = 4D$. From which $N$ on do the attention weights take more than all other activations
# of a block?


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


def predicted_peak(n, depth, B, N):
    """Bytes at the peak, by the formula above."""
    fixed, *activations = predicted_parts(n, depth, B, N)
    return fixed + max(sum(activations), 4 * n)


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
        predicted = predicted_peak(n, depth, images, n_tokens) / 2**20
        print(f"{images:4d} {n_tokens:5d} {predicted:7.0f} MiB {measured[-1]:7.0f} MiB")
    grid = np.linspace(0, places[-1], 50)
    pairs = [(number, 65) if "batch" in what else (2, number) for number in grid]
    cases = [(n + D * (number - n_tokens), depth, images, number) for images, number in pairs]  # one position per token
    panel.stackplot(
        grid,
        np.transpose([predicted_parts(*case) for case in cases]) / 2**20,
        colors=("0.75", "C0", "C1"),
        labels=("parameters and moments, $12n$", "activations without $A$", "attention weights $A$"),
    )
    line = [predicted_peak(*case) / 2**20 for case in cases]
    panel.plot(grid, line, "k--", label="predicted peak (flat: gradients are more than activations)")
    panel.plot(places, measured, "ko", label="measured peak")
    panel.set(xlabel=what, ylabel="MiB", xlim=(0, None), ylim=(0, None))
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# **In the stored run** ViT-B/16 needs 0.97 GiB before the first image and 1.29 GiB with the gradients. In the small ViT
# the measured peak is 1 to 8 MiB above the predicted one: 92 MiB against 85 MiB for 24 images, and 182 MiB against 174
# MiB for 1025 tokens. The formula leaves out temporary arrays; we have not traced the difference.
#
# Parameters and moments do not grow with the batch; all activations grow in proportion to it. With the number of tokens
# the attention weights grow fastest, as $N^2$. They overtake the rest where $HN^2 = 16ND$, at $N = 16 D_h$ tokens:
# 1,024 for heads of width 64. Attention in blocks, as above, removes this term, if the backward pass computes the
# weights again.
#
# ## Computing twice instead of keeping
#
# **Activation checkpointing** (Chen et al. 2016) keeps only the input of each block and computes the block a second
# time when its gradient is needed. Then $L$ inputs of $BND$ numbers and the activations of one block are held. The
# price is one more forward pass. In minivit it is one flag.
#
# **Predict first.** Which share of the memory is needed with 8 blocks? How much longer does a step take, if a backward
# pass has two matrix products for each one of the forward pass?

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
# **In the stored run** computing the blocks twice needs 33.2 MiB instead of 100.0 MiB, a share of 0.33, and takes 1.37
# times as long. One block, the inputs of all blocks and the gradients make 32.7 MiB together. The gradients, 13.7 MiB,
# are now a large part of the peak.
#
# If a forward pass is a third of a step, one more multiplies the time by 4/3. The measured factor is near that.
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
# - **Timing once.** The first call is slower: caches are empty, and the system must hand out memory and start threads.
#   Other programs disturb any single call. Take the best of several, or run the two programs in turns and compare in
#   pairs.
# - **float64 by accident.** `x * np.float64(0.5)` makes a float32 array a float64 one (since NumPy 2): twice the
#   traffic. The library uses Python numbers.
# - **More threads than cores**, or threads for tiny arrays: they wait for each other. A ViT for digits may be fastest
#   on one.
# - **Keeping Tensors.** `losses.append(loss)` keeps the record of that step alive. If no backward pass has run yet, all
#   activations of the step stay in memory, too. Append a number.
# - **Optimising what is not slow.** Measure first: `python -m minivit.bench cifar-ti --profile` prints what each op
#   takes of a training step.
#
# ## Exercises
#
# `hint("28.1")` gives up to three hints, one per call.
#
# **28.1 (two lines).** What is the arithmetic intensity of the product of two square matrices in float32, if each
# matrix is moved once? Return it in FLOP/byte.


# %%
def intensity_of_product(side):
    """side: rows, and columns, of each matrix -> FLOP per byte"""
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
# and its input takes $b$ bytes. Keep the input of every $s$-th block only. The backward pass goes through the segments.
# It computes the $s$ blocks of a segment a second time and holds their activations. The peak is
# $\frac{L}{s} b + s\,a$. Which $s$ (a divisor of $L$) is best?


# %%
def best_segment(L, a, b):
    """L: blocks, a: bytes of activations of a block, b: bytes of its input -> s, a divisor of L"""
    ...  # your answer here


check("28.3", best_segment)

# %% [markdown]
# **28.4 (fifteen minutes).** How many images fit? A GPU has `memory` bytes. A ViT with $n$ parameters trains on it with
# AdamW, everything in float32, and every block is computed twice. Count as held at the same time: parameters, gradients
# and both moments, the inputs of all $L$ blocks, and the activations of one block, $8BND + 2BNF + BHN^2$ numbers.
# Return the largest batch, and 0 if not even one image fits.


# %%
def largest_batch(memory, n, L, N, D, M, H):
    """memory: bytes, n: parameters, L: blocks, N: tokens, D: width, M: width of the MLP, H: heads -> images, an int"""
    ...  # your answer here


check("28.4", largest_batch)

# %% [markdown]
# **28.5 (an hour).** LayerNorm needs the mean and the variance of a row. Suppose a row is cut into two tiles, and of
# each tile we know the count, the mean and the sum of squared deviations $\sum_i (x_i - \bar x)^2$. Compute these three
# for the whole row without seeing the numbers again. Do not use $\sum x_i^2$, which can lose every digit when the mean
# is large. (Derive it: write $x_i - \bar x = (x_i - \bar x_1) + (\bar x_1 - \bar x)$ for the first part.)


# %%
def merged(n1, mean1, ss1, n2, mean2, ss2):
    """count, mean and sum of squared deviations of two parts -> those of the whole: a tuple of three"""
    ...  # your answer here


check("28.5", merged)

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
# # 31 Attention, cheaper
#
# Attention compares every token with every other one. With $N$ tokens there are $N^2$ weights. Twice the side of an
# image means four times the tokens and sixteen times the weights. This notebook derives three answers.
# **FlashAttention** computes the same result without storing the weights. The **Performer** and the **Linformer**
# compute something else, in time proportional to $N$. At the end you will be able to
#
# - compute attention in tiles, forwards and backwards, and prove that the order of the tiles does not matter,
# - derive random features for $e^{\mathbf{q} \cdot \mathbf{k}}$, and their variance,
# - say what a matrix of low rank must miss,
# - judge on the heads of a trained model what the two approximations are worth.
#
# You need notebooks [07](07_attention.ipynb) and [08](08_multi_head.ipynb). Notebook [28](28_speed.ipynb) has the
# forward pass in blocks of keys.
#
# **Budget:** 12 s of CPU time (fast mode 6 s).

# %%
import math
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
from experiments import attention_cheaper as stored
from experiments import record

from minivit import functional as F
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, photographs
from minivit.lessons.pictures import cheaper as pictures
from minivit.lineage import flash, linformer, performer
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(31)

# %% [markdown]
# ## Four ways
#
# The picture shows one head. Grey arrays are stored as a whole, and the orange tile moves over the weights.

# %%
_ = pictures.four_ways()

# %% [markdown]
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$ | tokens, [class] included | number | `N` |
# | $D_h$ | width of a head, $D/H$ | number | `Dh` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values, here of one head | $(N, D_h)$ each | `q`, `k`, `v` |
# | $S$, $A$ | attention scores, $\mathbf{q}\mathbf{k}^\top/\sqrt{D_h}$; attention weights, the softmax of its rows | $(N, N)$ | `S`, `A` |
# | $\mathbf{y}$ | result, $A\mathbf{v}$ | $(N, D_h)$ | `y` |
# | $m$ | largest score so far, of each query | $(N,)$ | `m` |
# | $\ell$, $\mathbf{o}$ | sums of $e^{S-m}$ and of $e^{S-m}\mathbf{v}$ so far | $(N,)$, $(N, D_h)$ | `ell`, `o` |
# | $\mathrm{lse}$ | logarithm of the sum of $e^S$, of each query | $(N,)$ | `lse` |
# | $\delta$ | inner product of $\mathrm{d}\mathbf{y}$ and $\mathbf{y}$, of each query | $(N,)$ | `delta` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dq`, ... |
# | $\mathbf{a}, \mathbf{b}$ | a query and a key, divided by $D_h^{1/4}$ each, so that $\mathbf{a} \cdot \mathbf{b} = S$ | $(D_h,)$ | `a`, `b` |
# | $\omega$ | random directions with independent normal entries | $(R, D_h)$ | `omega` |
# | $\phi$ | features of a query or a key | $(N, R)$ | `phi` |
# | $R$ | features, or mixed keys | number | `R` |
# | $G_k$, $G_v$ | mixtures of keys and of values | $(R, N)$ each | `Gk`, `Gv` |
#
# ## Exact, in tiles: forwards
#
# **Step 1: two tiles become one.** A query has seen some of the keys. It keeps the triple $(m, \ell, \mathbf{o})$.
# Another triple is about other keys. Both sums are relative to the own maximum, so they are first brought to the common
# one:
#
# $$m' = \max(m_1, m_2), \qquad \ell' = e^{m_1 - m'}\ell_1 + e^{m_2 - m'}\ell_2, \qquad \mathbf{o}' = e^{m_1 - m'}\mathbf{o}_1 + e^{m_2 - m'}\mathbf{o}_2. \tag{1}$$
#
# **The order of the tiles does not matter.** Multiply (1) by $e^{m'}$. The triple stands for $e^m\ell = \sum_j e^{S_j}$
# and $e^m\mathbf{o} = \sum_j e^{S_j}\mathbf{v}_j$, summed over the keys seen. Merging adds these sums and takes the
# larger maximum. Sums and maxima depend neither on order nor on brackets. So any order and any tree of merges gives the
# same triple, and $\mathbf{o}/\ell$ at the end is $\sum_j e^{S_j}\mathbf{v}_j / \sum_j e^{S_j}$, the row of
# $A\mathbf{v}$. (Floating-point sums differ in the last digits.)
#
# **Nothing seen.** A query that has seen no key has $m = -\infty$, $\ell = 0$, $\mathbf{o} = 0$. If that holds for both
# triples, (1) computes $-\infty - (-\infty)$, which is NaN. The remedy is to subtract 0 in place of $m' = -\infty$.
# Then $e^{-\infty - 0} = 0$, as it should be.


# %% tags=["yours"]
def merge(one, other):
    """Equation 1.   Triples m (N,), ell (N,), o (N, Dh) -> the triple of all keys of both."""
    (m1, ell1, o1), (m2, ell2, o2) = one, other
    m = np.maximum(m1, m2)
    common = np.where(m == -np.inf, 0, m)
    c1, c2 = np.exp(m1 - common), np.exp(m2 - common)
    return m, c1 * ell1 + c2 * ell2, c1[:, None] * o1 + c2[:, None] * o2


# %% [markdown]
# **Step 2: one tile.** The triple of one tile is a merge with no other: its maximum, the sum of $e^{S - m}$, and that
# sum with the values. A hidden score is $-\infty$. Then all tiles of keys are merged. The result is $\mathbf{o}/\ell$,
# and each query keeps
#
# $$\mathrm{lse} = m + \log \ell = \log \sum_j e^{S_j}.$$
#
# A query that may see nothing gets $\mathbf{y} = 0$ and $\mathrm{lse} = -\infty$.


# %% tags=["yours"]
def triple(S, v):
    """Of one tile.   S: (N, keys), v: (keys, Dh) -> m, ell, o."""
    m = S.max(axis=1)
    e = np.exp(S - np.where(m == -np.inf, 0, m)[:, None])
    return m, e.sum(axis=1), e @ v


def finish(m, ell, o):
    """-> y (N, Dh) and lse (N,), with 0 and -inf for queries that have seen nothing."""
    some = np.where(ell == 0, 1, ell)
    return o / some[:, None], m + np.log(some)


# %%
N, Dh, columns = 13, 4, 5
q, k, v, dy = rng.standard_normal((4, N, Dh))
S = 3 * q @ k.T / math.sqrt(Dh)  # three times as large, so that the maxima of the tiles differ
parts = [triple(S[:, c], v[c]) for c in flash.tiles(N, columns)]
y, lse = finish(*merge(merge(parts[0], parts[1]), parts[2]))

exact = flash.weights(q[None, None], k[None, None], 3 / math.sqrt(Dh))[0, 0] @ v
agree("y", y, exact)
for name, (a, b, c) in {"backwards": (2, 1, 0), "last first": (2, 0, 1)}.items():
    agree(name, finish(*merge(merge(parts[a], parts[b]), parts[c]))[0], exact)
agree("other tree", finish(*merge(parts[0], merge(parts[1], parts[2])))[0], exact)

# a query sees only keys that are not behind it, and there are fewer keys than queries: the first queries see nothing
hidden = np.where(np.arange(6) <= np.arange(N)[:, None] + 6 - N, S[:, :6], -np.inf)
y, lse = finish(*merge(triple(hidden[:, :3], v[:3]), triple(hidden[:, 3:], v[3:6])))
theirs = flash.forward(*(x[None, None] for x in (3 * q, k[:6], v[:6])), rows=4, columns=3, scale=0.5, causal=True)
agree("with a mask", y, theirs[0][0, 0])
agree("exp of lse", np.exp(lse), np.exp(theirs[1][0, 0]))
print("queries that see nothing:", np.flatnonzero(lse == -np.inf))

# %% [markdown]
# ## Exact, in tiles: backwards
#
# **Step 3: one number for each query is enough.** Notebook 07 found for $\mathbf{y} = A\mathbf{v}$
#
# $$\mathrm{d}\mathbf{v} = A^\top\mathrm{d}\mathbf{y}, \qquad \mathrm{d}A = \mathrm{d}\mathbf{y}\,\mathbf{v}^\top, \qquad \mathrm{d}S_{ij} = A_{ij}\Bigl(\mathrm{d}A_{ij} - \sum_{j'} A_{ij'}\,\mathrm{d}A_{ij'}\Bigr).$$
#
# Two things seem to need a whole row of weights: the softmax in $A$, and the sum over $j'$. But
#
# $$A_{ij} = \frac{e^{S_{ij}}}{\sum_{j'} e^{S_{ij'}}} = e^{S_{ij} - \mathrm{lse}_i}, \qquad
# \sum_{j'} A_{ij'}\,\mathrm{d}A_{ij'} = \sum_{j'} A_{ij'}\,\mathrm{d}\mathbf{y}_i \cdot \mathbf{v}_{j'} = \mathrm{d}\mathbf{y}_i \cdot \mathbf{y}_i = \delta_i.$$
#
# So each tile of $A$ and of $\mathrm{d}S$ can be made again, from $\mathbf{q}, \mathbf{k}, \mathbf{v}, \mathrm{lse}$
# and $\delta$ alone:
#
# $$\mathrm{d}S = A \circ (\mathrm{d}\mathbf{y}\,\mathbf{v}^\top - \delta), \qquad \mathrm{d}\mathbf{q} = \mathrm{d}S\,\mathbf{k}/\sqrt{D_h}, \qquad \mathrm{d}\mathbf{k} = \mathrm{d}S^\top\mathbf{q}/\sqrt{D_h}. \tag{2}$$
#
# The sums over keys in $\mathrm{d}\mathbf{q}$ are collected tile by tile.


# %% tags=["yours"]
def tiled_attention(q, k, v, columns):
    """softmax(q k^T / sqrt(Dh)) v and its pullback, in tiles of keys.   q, k, v: (N, Dh)."""
    scale = 1 / math.sqrt(q.shape[1])
    state = np.full(len(q), -np.inf, q.dtype), np.zeros(len(q), q.dtype), np.zeros_like(v)
    for c in flash.tiles(len(k), columns):
        state = merge(state, triple(scale * (q @ k[c].T), v[c]))
    y, lse = finish(*state)

    def vjp(dy):
        dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        delta = (dy * y).sum(axis=1)
        for c in flash.tiles(len(k), columns):
            A = np.exp(scale * (q @ k[c].T) - lse[:, None])
            dS = A * (dy @ v[c].T - delta[:, None])
            dq += scale * (dS @ k[c])
            dk[c] = scale * (dS.T @ q)
            dv[c] = A.T @ dy
        return dq, dk, dv

    return y, vjp


# %%
y, vjp = tiled_attention(q, k, v, columns)
theirs, their_vjp = flash.flash_attention(*(x[None, None] for x in (q, k, v)), rows=4, columns=3)
tensors = [Tensor(x, requires_grad=True) for x in (q, k, v)]
plain = F.softmax(tensors[0] @ tensors[1].transpose(1, 0) * Dh**-0.5) @ tensors[2]
agree("y", y, theirs[0, 0])
for name, mine, tile, engine in zip(
    ("dq", "dk", "dv"), vjp(dy), their_vjp(dy[None, None]), grad(plain, tensors, dy), strict=True
):
    agree(name, mine, tile[0, 0])
    agree(f"{name}, engine", mine, engine)
worst = check_vjp(tiled_attention, q, k, v, columns=columns)
print(f"against differences, largest relative error: {worst:.1e}")

# %% [markdown]
# **Step 4: memory.** Without tiles the forward pass stores $N^2$ weights, and the pullback needs them again. With tiles
# of $n_r$ queries and $n_c$ keys there are $n_r n_c$ weights at a time. From the forward to the backward pass only
# $\mathbf{y}$ and $\mathrm{lse}$ are kept, besides the inputs: $N D_h + N$ numbers. We count, and measure what NumPy
# holds at most during the forward pass. `whole` works in place: it has one array of $N^2$ numbers.
#
# **Predict first.** One head has 2,048 tokens of width 64, in float32. How many MiB are the weights? How many is one
# tile of 256 × 256?


# %%
def held(function):
    """The most bytes that NumPy held during the call."""
    tracemalloc.start()
    function()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


print("    N   counted: weights      tile   measured: whole     tiles")
for N in full_or_fast([256, 512, 1024, 2048], [64, 128]):
    arrays = rng.standard_normal((3, 1, 1, N, 64), dtype=np.float32)
    numbers = (
        4 * N**2,
        4 * min(N, 256) ** 2,
        held(lambda arrays=arrays: stored.whole(*arrays)),
        held(lambda arrays=arrays: flash.flash_attention(*arrays, rows=256, columns=256)),
    )
    weights, tile, whole, tiles = (number / 2**20 for number in numbers)
    print(f"{N:5d}{weights:15.2f} MiB {tile:5.2f} MiB {whole:13.2f} MiB {tiles:5.2f} MiB")

# %% [markdown]
# **In the stored run** the weights of 2048 tokens take 16.00 MiB and one tile 0.25 MiB. Measured are 17.04 MiB and 1.58
# MiB: a tile comes with its exponentials, and the result is stored, too. At 256 tokens the tiles hold more than the
# whole matrix, 0.88 MiB against 0.41 MiB.
#
# In NumPy the tiles save memory. Experiment 3 shows that they hardly save time. A GPU gains time as well. There a tile
# stays in the fast memory beside the arithmetic units, and the weights are never written to the large, slow memory.
#
# ## Random features
#
# **Step 1: an exponential is a mean of products.** Let $\omega$ have $D_h$ independent normal entries of variance 1.
# For every vector $\mathbf{u}$
#
# $$\mathbb{E}\,e^{\omega \cdot \mathbf{u}} = \int \frac{e^{-|\omega|^2/2}}{(2\pi)^{D_h/2}}\, e^{\omega \cdot \mathbf{u}}\,\mathrm{d}\omega
# = e^{|\mathbf{u}|^2/2} \int \frac{e^{-|\omega - \mathbf{u}|^2/2}}{(2\pi)^{D_h/2}}\,\mathrm{d}\omega = e^{|\mathbf{u}|^2/2}. \tag{3}$$
#
# The square was completed: $|\omega|^2 - 2\,\omega \cdot \mathbf{u} = |\omega - \mathbf{u}|^2 - |\mathbf{u}|^2$. Set
# $\mathbf{u} = \mathbf{a} + \mathbf{b}$ and divide by $e^{(|\mathbf{a}|^2 + |\mathbf{b}|^2)/2}$. The right side becomes
# $e^{\mathbf{a} \cdot \mathbf{b}}$, and the left side is a product of a number that depends on the query and one that
# depends on the key. With $R$ directions take the mean:
#
# $$e^{\mathbf{a} \cdot \mathbf{b}} = \mathbb{E}\,\phi(\mathbf{a}) \cdot \phi(\mathbf{b}), \qquad
# \phi_r(\mathbf{x}) = \frac{1}{\sqrt{R}}\, e^{\omega_r \cdot \mathbf{x} - |\mathbf{x}|^2/2} \qquad \text{(positive features)}.$$
#
# (3) holds for imaginary $\mathbf{u}$, too: $\mathbb{E}\cos(\omega \cdot \mathbf{u}) = e^{-|\mathbf{u}|^2/2}$. With
# $\mathbf{u} = \mathbf{a} - \mathbf{b}$ and $\cos(\alpha - \beta) = \cos\alpha\cos\beta + \sin\alpha\sin\beta$ there
# are $2R$ other features:
#
# $$\frac{e^{|\mathbf{x}|^2/2}}{\sqrt{R}} \bigl(\sin \omega_r \cdot \mathbf{x},\; \cos \omega_r \cdot \mathbf{x}\bigr) \qquad \text{(trigonometric features)}.$$


# %% tags=["yours"]
def positive(x, omega):
    """x: (N, Dh), omega: (R, Dh) -> (N, R)."""
    return np.exp(x @ omega.T - (x * x).sum(axis=1, keepdims=True) / 2) / math.sqrt(len(omega))


def trigonometric(x, omega):
    """x: (N, Dh), omega: (R, Dh) -> (N, 2 R), the sines first."""
    angles = x @ omega.T
    size = np.exp((x * x).sum(axis=1, keepdims=True) / 2) / math.sqrt(len(omega))
    return size * np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


# %%
N, R = 13, 6
omega = rng.standard_normal((R, Dh))
for function in (positive, trigonometric):
    name = function.__name__
    agree(name, function(q, omega), performer.features(Tensor(q[None, None]), omega, name)[0, 0])

draws = full_or_fast(100_000, 5_000)
pair = 0.3 * rng.standard_normal((2, 8))  # a query and a key, scaled already
each = rng.standard_normal((draws, 8))
for function in (positive, trigonometric):
    products = function(pair[:1], each) * function(pair[1:], each) * draws  # each direction is an estimate
    products = products.reshape(-1, draws).sum(axis=0)  # sine and cosine of a direction belong together
    mean, error = record.mean_and_error(products)
    print(f"{function.__name__:<14} mean {mean:.4f} +- {error:.4f}, exp(a . b) = {np.exp(pair[0] @ pair[1]):.4f}")

# %% [markdown]
# **Step 2: the brackets.** Put the features in the place of $e^S$, in the numerator and in the denominator:
#
# $$\mathbf{y}_i \approx \frac{\sum_j \phi(\mathbf{a}_i) \cdot \phi(\mathbf{b}_j)\,\mathbf{v}_j}{\sum_j \phi(\mathbf{a}_i) \cdot \phi(\mathbf{b}_j)}
# = \frac{\phi(\mathbf{a}_i)^\top \bigl[\sum_j \phi(\mathbf{b}_j)\,\mathbf{v}_j^\top\bigr]}{\phi(\mathbf{a}_i) \cdot \bigl[\sum_j \phi(\mathbf{b}_j)\bigr]}. \tag{4}$$
#
# The square brackets are the same for all queries: an $(R, D_h)$ matrix and a vector. The $N^2$ weights never exist.


# %% tags=["yours"]
def performer_attention(q, k, v, omega):
    """Equation 4 with positive features.   q, k, v: (N, Dh), omega: (R, Dh) -> (N, Dh)."""
    shrink = q.shape[1] ** -0.25
    phi_q, phi_k = positive(q * shrink, omega), positive(k * shrink, omega)
    return (phi_q @ (phi_k.T @ v)) / (phi_q @ phi_k.sum(axis=0)[:, None])


# %%
four = [Tensor(x[None, None]) for x in (q, k, v)]
theirs = performer.linear_attention(*performer.both_features(*four[:2], omega), four[2])
agree("y", performer_attention(q, k, v, omega), theirs[0, 0])

# %% [markdown]
# ## How large the error is
#
# **Step 3: variances.** Let $s = e^{\mathbf{a} \cdot \mathbf{b}}$. One direction gives the estimate
# $X = e^{\omega \cdot (\mathbf{a} + \mathbf{b}) - (|\mathbf{a}|^2 + |\mathbf{b}|^2)/2}$. By (3) with
# $\mathbf{u} = 2(\mathbf{a} + \mathbf{b})$ its square has the mean
# $e^{2|\mathbf{a} + \mathbf{b}|^2 - |\mathbf{a}|^2 - |\mathbf{b}|^2} = e^{|\mathbf{a} + \mathbf{b}|^2} s^2$. Subtract
# the square of the mean, $s^2$. A mean of $R$ independent estimates has
#
# $$\text{positive:} \qquad \mathrm{Var} = \frac{s^2}{R}\bigl(e^{|\mathbf{a} + \mathbf{b}|^2} - 1\bigr). \tag{5}$$
#
# A cosine has
# $\mathbb{E}\cos^2(\omega \cdot \mathbf{u}) = \frac12\bigl(1 + \mathbb{E}\cos(2\,\omega \cdot \mathbf{u})\bigr) = \frac12(1 + e^{-2|\mathbf{u}|^2})$.
# Subtract $e^{-|\mathbf{u}|^2}$, and multiply by
# $e^{|\mathbf{a}|^2 + |\mathbf{b}|^2} = e^{|\mathbf{a} + \mathbf{b}|^2}/s^2$:
#
# $$\text{trigonometric:} \qquad \mathrm{Var} = \frac{e^{|\mathbf{a} + \mathbf{b}|^2}}{2 R\,s^2}\bigl(1 - e^{-|\mathbf{a} - \mathbf{b}|^2}\bigr)^2. \tag{6}$$
#
# Relative to $s^2$ both are short, because
# $|\mathbf{a} + \mathbf{b}|^2 - 4\,\mathbf{a} \cdot \mathbf{b} = |\mathbf{a} - \mathbf{b}|^2$:
#
# $$\frac{\mathrm{Var}}{s^2} = \frac{e^{|\mathbf{a} + \mathbf{b}|^2} - 1}{R} \;\text{ (positive)}, \qquad
# \frac{\mathrm{Var}}{s^2} = \frac{\cosh|\mathbf{a} - \mathbf{b}|^2 - 1}{R} \;\text{ (trigonometric)}.$$
#
# Positive features are exact for $\mathbf{b} = -\mathbf{a}$, where the weight is smallest, and trigonometric ones for
# $\mathbf{b} = \mathbf{a}$. Both errors grow exponentially with the squared lengths.
#
# **Step 4: orthogonal directions are better.** Let the directions keep their lengths, which are independent, and become
# orthogonal in groups of $D_h$, with all rotations equally likely. Each direction is distributed as before, so the mean
# stays right. Two estimates in one group are
# $X_1, X_2 = c\,e^{\omega_1 \cdot \mathbf{u}}, c\,e^{\omega_2 \cdot \mathbf{u}}$ with $c > 0$ and
# $\mathbf{u} = \mathbf{a} + \mathbf{b}$. Expand both exponentials. A sign of $\omega_1$ or of $\omega_2$ may be changed
# alone, so only even powers survive: $\mathbb{E}X_1X_2$ is a sum of positive multiples of
# $\mathbb{E}(\omega_1 \cdot \mathbf{u})^{2i}(\omega_2 \cdot \mathbf{u})^{2j}$. Compare this with independent
# directions. Only the directions matter, since the lengths are independent in both cases. Let $g$ be a Gaussian vector,
# $r$ its length and $e = g/r$ its direction, which is independent of $r$. Turned so that the orthogonal directions
# become axes, $\mathbf{u}/|\mathbf{u}|$ is as random as $e$. Then
#
# $$\mathbb{E}\,e_1^{2i}e_2^{2j} = \frac{\mathbb{E}\,g_1^{2i}\;\mathbb{E}\,g_2^{2j}}{\mathbb{E}\,r^{2i+2j}} = \mathbb{E}\,e_1^{2i}\;\mathbb{E}\,e_2^{2j}\;\frac{\mathbb{E}\,r^{2i}\;\mathbb{E}\,r^{2j}}{\mathbb{E}\,r^{2i+2j}}.$$
#
# The last factor is at most 1, because $r^{2i}$ and $r^{2j}$ grow together and so have a covariance of at least 0.
# Hence $\mathbb{E}X_1X_2 \le s^2$: the estimates are negatively correlated, or not at all, and their mean has at most
# the variance (5).


# %% tags=["yours"]
def variance_positive(a, b, R):
    """Equation 5.   a, b: (Dh,)."""
    return np.exp(2 * a @ b) * np.expm1(np.square(a + b).sum()) / R


def variance_trigonometric(a, b, R):
    """Equation 6.   a, b: (Dh,)."""
    return np.exp(np.square(a + b).sum() - 2 * a @ b) * np.expm1(-np.square(a - b).sum()) ** 2 / (2 * R)


# %%
for function in (variance_positive, variance_trigonometric):
    name = function.__name__.removeprefix("variance_")
    agree(name, function(*pair, R), performer.mean_squared_error(*pair, R, name))

# %% [markdown]
# **Predict first.** Query and key have the squared length 0.5 each. Their scores go from −0.5, opposite directions, to
# 0.5, the same direction. Where is each kind of feature best?

# %%
R, groups = 8, full_or_fast(20_000, 500)  # eight directions of width 8, often
length = math.sqrt(0.5)
independent = rng.standard_normal((groups * R, 8))
orthogonal = performer.directions(rng, groups * R, 8)
kinds = {
    "positive": (positive, independent, variance_positive),
    "positive, orthogonal": (positive, orthogonal, None),
    "trigonometric": (trigonometric, independent, variance_trigonometric),
}
angles = np.linspace(0, np.pi, 7)
measured = {name: [] for name in kinds}
for angle in angles:
    a, b = np.zeros((2, 8))
    a[0], b[:2] = length, (length * np.cos(angle), length * np.sin(angle))
    for name, (function, directions, _) in kinds.items():
        product = function(a[None], directions) * function(b[None], directions) * groups  # 1/R of each direction
        estimate = product.reshape(-1, groups, R).sum(axis=(0, 2))
        measured[name].append(record.mean_and_error(np.square(estimate / np.exp(a @ b) - 1)))

figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
scores, fine = 0.5 * np.cos(angles), np.linspace(0, np.pi, 100)
for i, (name, (_, _, law)) in enumerate(kinds.items()):
    mean, error = np.transpose(measured[name])
    axis.errorbar(scores, mean, error, fmt="os^"[i], color=f"C{i}", capsize=3, label=name)
    if law:
        pairs = [(length * np.eye(8)[0], length * (np.cos(t) * np.eye(8)[0] + np.sin(t) * np.eye(8)[1])) for t in fine]
        curve = [law(a, b, R) / np.exp(2 * a @ b) for a, b in pairs]
        axis.plot(0.5 * np.cos(fine), curve, color=f"C{i}", linewidth=1, label=f"{name}, law")
axis.set(xlabel=r"score $\mathbf{a} \cdot \mathbf{b}$", ylabel="squared error / $s^2$", ylim=(-0.02, None))
axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.28), ncols=3, fontsize=9)
plt.show()
for name, (_, _, law) in kinds.items():
    for place in (0, 3, 6):
        mean, error = measured[name][place]
        t = angles[place]
        b = length * (np.cos(t) * np.eye(8)[0] + np.sin(t) * np.eye(8)[1])
        theory = f", law {law(length * np.eye(8)[0], b, R) / np.exp(2 * scores[place]):.4f}" if law else ""
        print(f"{name:<20} score {scores[place]:+.1f}: {mean:.4f} +- {error:.4f}{theory}")

# %% [markdown]
# **In the stored run** positive features have the error 0.8254 ± 0.0850 at the score 0.5, where the law says 0.7986,
# and 0 at −0.5. Trigonometric ones have 0 at 0.5 and 0.3453 ± 0.0034 at −0.5; the law says 0.3453. At the score 0
# orthogonal directions lower the error from 0.2125 ± 0.0050 to 0.1796 ± 0.0043.
#
# A row of weights has many small ones. (6) is
# $e^{|\mathbf{a}|^2 + |\mathbf{b}|^2}(1 - e^{-|\mathbf{a} - \mathbf{b}|^2})^2/2R$, too. For keys far from the query
# this is nearly $e^{|\mathbf{a}|^2 + |\mathbf{b}|^2}/2R$, however small their weight is. If the lengths are large, the
# small weights drown in this error. A sum of weights may even become negative.
#
# **Step 5: a quotient has a bias.** Numerator and denominator of (4) are right on average. Their quotient is not:
# $\mathbb{E}(X/Y)$ differs from $\mathbb{E}X/\mathbb{E}Y$, by an amount of the order $1/R$. We draw directions many
# times and take the mean of all results.

# %%
few, draws = rng.standard_normal((3, 5, 4)), full_or_fast(100_000, 500)
few[0], few[1] = 0.7 * few[0], 0.7 * few[1]
query, keys, values = few[0][:1] * 4**-0.25, few[1] * 4**-0.25, few[2][:, 0]
weights = np.exp(query @ keys.T)[0]
sums = weights @ values, weights.sum(), weights @ values / weights.sum()
deviations = []
for R in (2, 8, 32, 128):
    found = []
    for _ in range(draws // 100):
        omega = rng.standard_normal((100 * R, 4))
        products = (positive(query, omega) * positive(keys, omega)).reshape(5, 100, R).sum(axis=2) * 100
        found.append([values @ products, products.sum(axis=0), values @ products / products.sum(axis=0)])
    found = np.concatenate(found, axis=1)
    row = [record.mean_and_error(each - right) for each, right in zip(found, sums, strict=True)]
    text = "   ".join(
        f"{name} {m:+.4f} +- {e:.4f}"
        for name, (m, e) in zip(("numerator", "denominator", "quotient"), row, strict=True)
    )
    print(f"R = {R:3d}, mean error: {text}")
    deviations += [abs(mean / error) for mean, error in row[:2]]
print(f"numerators and denominators: at most {max(deviations):.1f} standard errors from 0")

# %% [markdown]
# **In the stored run** the quotient is too large by 0.0204 ± 0.0003 with 2 directions, and by 0.0054 ± 0.0002 with 8.
# It is too large by 0.0013 ± 0.0001 with 32, a quarter of that. The mean errors of numerators and denominators are at
# most 1.7 standard errors from 0.
#
# ## Mixed keys
#
# The Linformer mixes the $N$ keys to $R$ keys, and the $N$ values to $R$ values, by two learned matrices:
#
# $$\mathbf{y} \approx \mathrm{softmax}\Bigl(\frac{\mathbf{q}\,(G_k\mathbf{k})^\top}{\sqrt{D_h}}\Bigr)\, G_v\mathbf{v}. \tag{7}$$
#
# The paper calls them $E$ and $F$. With $R = N$ and $G_k = G_v = I$ this is exact. Keys are mixed *before* the softmax.
# To mix the weights after it, one would need all $N^2$ of them. The matrices belong to one number of tokens.


# %% tags=["yours"]
def linformer_attention(q, k, v, Gk, Gv):
    """Equation 7.   q, k, v: (N, Dh), Gk, Gv: (R, N) -> (N, Dh)."""
    S = q @ (Gk @ k).T / math.sqrt(q.shape[1])
    e = np.exp(S - S.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True) @ (Gv @ v)


# %%
Gk, Gv = rng.standard_normal((2, 6, N)) * N**-0.5
agree("y", linformer_attention(q, k, v, Gk, Gv), linformer.attend(*four, Tensor(Gk), Tensor(Gv))[0, 0])
exact = tiled_attention(q, k, v, columns)[0]
agree("R = N", linformer_attention(q, k, v, np.eye(N), np.eye(N)), exact)

# %% [markdown]
# **What rank $R$ must miss.** The result (7) is a matrix of weights, $\mathrm{softmax}(\ldots)\,G_v$, times
# $\mathbf{v}$. This matrix has at most rank $R$. How near can a matrix $W$ of rank $R$ be to $A$? Its rows lie in a
# space with an orthonormal basis $\mathbf{t}_1 \ldots \mathbf{t}_R$. The nearest rows in that space are the
# projections, so
#
# $$\lVert A - W \rVert^2 \ge \lVert A \rVert^2 - \sum_r \lVert A\,\mathbf{t}_r \rVert^2 = \sum_i \rho_i^2\,(1 - c_i), \qquad c_i = \sum_r (\mathbf{g}_i \cdot \mathbf{t}_r)^2,$$
#
# with the singular values $\rho_1 \ge \rho_2 \ge \ldots$ of $A$ and its right singular vectors $\mathbf{g}_i$. Each
# $c_i$ is between 0 and 1, and together they are $R$. So the best is $c_i = 1$ for the $R$ largest singular values
# (Eckart and Young 1936):
#
# $$\lVert A - W \rVert \ge \sqrt{\rho_{R+1}^2 + \rho_{R+2}^2 + \ldots}. \tag{8}$$
#
# The first $R$ terms of the singular value decomposition reach this. The same holds for every matrix, such as
# $\mathbf{y}$, whose rank is at most $D_h$.


# %% tags=["yours"]
def nearest(A, R):
    """The nearest matrix of rank R.   (N, N) -> (N, N)."""
    left, values, right = np.linalg.svd(A)
    return left[:, :R] * values[:R] @ right[:R]


# %%
A = flash.weights(q[None, None], k[None, None], Dh**-0.5)[0, 0]
for R in (1, 3, 6):
    agree(f"rank {R}", np.linalg.norm(A - nearest(A, R)), linformer.tail(A)[R])

# %% [markdown]
# ## Counting
#
# A product of an $(n, i)$ and an $(i, j)$ matrix has $n\,i\,j$ multiply-adds. Exact attention has two products with
# $N^2 D_h$ each. The Performer has four products with $N R D_h$: the two projections on $\omega$, the bracket, and the
# product with it. The denominators add only $N R$. The Linformer has four as well: two mixtures, the scores and the
# result.
#
# $$\text{exact: } 2N^2D_h, \qquad \text{Performer, Linformer: } 4NRD_h, \qquad \text{equal at } N = 2R. \tag{9}$$
#
# Exponentials differ: $N^2$, $2NR$ and $NR$. We let our own functions count: an array that notes the size of each
# product.


# %%
class Counted(np.ndarray):
    """An array that counts the multiply-adds of its products."""

    total = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        inputs = [np.asarray(x) for x in inputs]
        if ufunc is np.matmul:
            Counted.total += inputs[0].shape[0] * inputs[0].shape[1] * inputs[1].shape[1]
        result = getattr(ufunc, method)(*inputs, **options)
        return result.view(Counted) if isinstance(result, np.ndarray) else result


# %% tags=["yours"]
def law(method, N, R, Dh):
    """Multiply-adds of "exact", "Performer" (its denominators too) or "Linformer"."""
    return {"exact": 2 * N * N * Dh, "Performer": 4 * N * R * Dh + N * R, "Linformer": 4 * N * R * Dh}[method]


# %%
for N, R in ((13, 6), (40, 7), (100, 50)):
    arrays = [x.view(Counted) for x in rng.standard_normal((3, N, Dh))]
    calls = {
        "exact": lambda arrays=arrays, N=N: tiled_attention(*arrays, N)[0],
        "Performer": lambda arrays=arrays, R=R: performer_attention(
            *arrays, rng.standard_normal((R, Dh)).view(Counted)
        ),
        "Linformer": lambda arrays=arrays, R=R, N=N: linformer_attention(*arrays, *rng.standard_normal((2, R, N))),
    }
    for name, call in calls.items():
        Counted.total = 0
        call()
        assert Counted.total == law(name, N, R, Dh), name
    print(f"N = {N}, R = {R}: counted as the laws say;", {name: law(name, N, R, Dh) for name in calls})

# %% [markdown]
# ## Experiment 1: random features in a trained model
#
# The model is that of notebook [18](18_looking_inside.ipynb): 65 tokens, heads of width 32. We take queries, keys and
# values of its fourth block on test images and replace exact attention by a Performer's. The error of a head is
# $\lVert \mathbf{y}' - \mathbf{y} \rVert/\lVert \mathbf{y} \rVert$ for its approximate result $\mathbf{y}'$. We report
# the median over all heads and images.
#
# Queries and keys are multiplied by a factor. With 1 they are those of the model. With 0 all scores are 0 and attention
# is **uniform**: the control, in which nothing has to be approximated. A second control does without any scores: it
# gives every query the mean of the values. An approximation with a larger error is worthless.
#
# First, a few numbers live.

# %%
_, test = photographs(1, 16)
q, k, v = stored.heads_of(test.images[: full_or_fast(16, 2)])
print(f"{test.name}: queries, keys and values {q.shape}")
for factor in (0.0, 0.25, 1.0):
    scaled = factor * q, factor * k
    exact = flash.weights(*scaled, q.shape[-1] ** -0.5) @ v
    for R in (64, 256):
        error = stored.error(stored.by_features(*scaled, v, R, "positive", rng), exact)
        print(f"factor {factor:4.2f}: error with {R} features {error:.1e}")

sums = np.square(q[..., :, None, :] + k[..., None, :, :]).sum(axis=-1) / math.sqrt(q.shape[-1])  # |a + b|^2
print(f"|a + b|^2: median {np.median(sums):.1f}, largest {sums.max():.1f}")

# %% [markdown]
# The longer run has 16 other images and other directions for each of its seeds. Its command and its numbers of runs are
# printed below.
#
# **Predict first.** By (5) the error falls like $1/\sqrt{R}$. Does it do so for every factor? How many features does it
# take to get below 10 %?

# %%
shipped = record.read("attention_cheaper")
found, config = shipped["results"], shipped["config"]
print(shipped["command"], f"\n{shipped['data']}, {stored.SEEDS} seeds")
features = config["performer"]["features"]
uniform = record.mean_and_error(found["linformer"]["1.0"]["means"]["1"])

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
shown = {
    "factors, positive features": {f: found["performer"][f]["positive"] for f in ("1.0", "0.5", "0.25")},
    "kinds, factor 0.5": found["performer"]["0.5"],
}
for axis, (title, curves) in zip(axes, shown.items(), strict=True):
    for i, (name, by_count) in enumerate(curves.items()):
        mean, error = np.transpose([record.mean_and_error(by_count[str(R)]) for R in features])
        axis.errorbar(features, mean, error, fmt="os^"[i] + "-", capsize=3, label=name)
    axis.plot(features, 0.6 * np.array(features) ** -0.5, "k:", linewidth=1, label=r"slope of $1/\sqrt{R}$")
    axis.set(title=title, xlabel="features $R$", xscale="log", yscale="log")
    axis.set_xticks(features, [str(R) for R in features])
    axis.minorticks_off()
    axis.legend(fontsize=9)
axes[0].axhline(uniform[0], color="grey", linewidth=1)
axes[0].annotate("mean of the values", (250, uniform[0]), xytext=(0, 4), textcoords="offset points", fontsize=9)
axes[0].set_ylabel("error of the result")
plt.show()


def slope(by_count, begin):
    """The exponent of R in the error from `begin` features on, fitted for each seed: mean and standard error."""
    used = [R for R in features if begin <= R]
    errors = np.log([by_count[str(R)] for R in used])
    return record.mean_and_error(np.polyfit(np.log(used), errors, 1)[0])


for factor, kinds_found in found["performer"].items():
    for kind, by_count in kinds_found.items():
        few, many = (record.mean_and_error(by_count[str(R)]) for R in (64, 2048))
        fitted = "" if factor == "0.0" else "slope from 128 on {:+.2f} +- {:.2f}".format(*slope(by_count, 128))
        print(
            f"factor {factor:<4} {kind:<13} error with 64 {few[0]:.1e} +- {few[1]:.0e}, "
            f"with 2048 {many[0]:.1e} +- {many[1]:.0e}   {fitted}"
        )
for factor in ("0.25", "0.5", "1.0"):
    enough = [R for R in features if np.mean(found["performer"][factor]["positive"][str(R)]) < 0.1]
    print(
        f"factor {factor}: positive features have an error below 10 % from R =", min(enough, default="more than 2048")
    )
print("mean of the values: {:.3f} +- {:.3f}".format(*uniform))

# %% [markdown]
# **In the stored run** uniform attention is exact to rounding, with an error of 2.3e-16. With the factor 0.25 the error
# falls as (5) says: the slope is −0.48 ± 0.01. It is below 10 % from 16 features on, and with the factor 0.5 from 512
# on. With the model's own queries and keys it is −0.14 ± 0.01: 2048 features, for 65 tokens, leave an error of 3.8e-01
# ± 2e-02, and the mean of the values has 0.735 ± 0.019. Trigonometric features have an error of 6.6e+00 ± 3e-01 there,
# larger than with no attention at all.
#
# The live cell suggests why. $|\mathbf{a} + \mathbf{b}|^2$ has a median of 12.7. By (5) a weight of such a pair has a
# relative error of 1 with $e^{12.7}$, or 300 thousand, features. The largest value is 54.4. With so few features the
# mean is ruled by the few largest terms, and the error falls more slowly than $1/\sqrt{R}$. A network that is trained
# with random features may keep its queries and keys short. Ours was not.
#
# ## Experiment 2: mixed keys in a trained model
#
# The same heads, now with $R$ mixed keys and values, for three kinds of mixtures. *Random* matrices have independent
# normal entries of variance $1/N$: the library's Linformer starts with these. *Means* average runs of neighbouring
# tokens, the same for keys and values. *Learned* matrices, two for each head, start near the means. They are trained in
# 1,000 updates on the heads of 256 training images to make the squared error small. Their learning rate was chosen by a few
# trials on the images of the first seed. The *floor* is (8) for each result $\mathbf{y}$. The
# control sets all scores to 0.
#
# **Predict first.** Which mixtures are better than the mean of the values? How far is the best from the floor?

# %%
mixed, ways = config["linformer"]["mixed"], config["linformer"]["ways"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
for axis, (factor, title) in zip(axes, {"1.0": "the model's scores", "0.0": "scores of 0"}.items(), strict=True):
    for i, way in enumerate(ways):
        mean, error = np.transpose([record.mean_and_error(found["linformer"][factor][way][str(R)]) for R in mixed])
        axis.errorbar(range(len(mixed)), mean, error, fmt="os^d"[i] + "-", capsize=3, label=way)
    axis.axhline(uniform[0], color="grey", linewidth=1) if factor == "1.0" else None
    axis.set(title=title, xlabel="mixed keys $R$")
    axis.set_xticks(range(len(mixed)), mixed)
axes[0].annotate("mean of the values", (4.1, uniform[0]), xytext=(0, 4), textcoords="offset points", fontsize=9)
axes[0].set_ylabel("error of the result")
axes[1].legend()
plt.show()
for factor in ("1.0", "0.0"):
    for way in ways:
        row = [record.mean_and_error(found["linformer"][factor][way][str(R)]) for R in mixed]
        print(
            f"factor {factor} {way:<8}",
            "  ".join(f"{R}: {m:.3f} +- {e:.3f}" for R, (m, e) in zip(mixed, row, strict=True)),
        )


def gap(one, other, R):
    """Difference of the errors of two kinds of mixtures, seed by seed: mean, standard error, and whether it is decided."""
    pair = (np.array(found["linformer"]["1.0"][way][str(R)]) for way in (one, other))
    mean, error = record.mean_and_error(next(pair) - next(pair))
    return f"{R}: {mean:+.3f} +- {error:.3f}" + ("" if abs(mean) > 2.8 * error else " (not decided)")


print("learned less means  ", "  ".join(gap("learned", "means", R) for R in mixed))

# %% [markdown]
# All kinds have the same images, so differences are taken seed by seed. With five seeds a 95 % interval is ± 2.8
# standard errors. There are seven comparisons, so one alone proves little.
#
# **In the stored run** random mixtures are worse than the mean of the values, 0.735 ± 0.019, for every $R$: with 65
# they have 1.125 ± 0.018. The control says that this is not the fault of attention: with all scores 0 their error is
# 1.005 ± 0.048, too. The means are nearly exact there, and the learned mixtures are exact to all digits shown. With the
# model's scores the learned ones are better than the means for $R$ = 1 and 8, by 0.045 ± 0.010 and 0.062 ± 0.012; for
# 2, 4, 16 and 32 nothing is decided, and at 65 they have not reached the identity. The floor at 8 is 0.017 ± 0.001, far
# below all of them, 0.472 ± 0.020 at best.
#
# A low rank is not enough. The floor takes the best matrix for each head of each image. $G_k$ and $G_v$ are the same
# for all images, and keys are mixed before the softmax.
#
# The experiment puts mixtures into a model that was trained without them. A Linformer is trained with its mixtures, and
# its queries and keys can adapt. So this says nothing about the accuracy of a Linformer.
#
# ## Experiment 3: time
#
# One head of width 64 with random numbers, in float32, one thread. The Performer has 64 features, the Linformer 64
# mixed keys. The count (9) says that they are even with exact attention at $N = 128$. Times are CPU times of one
# machine: each is the median of five calls, and there are five such medians.
#
# **Predict first.** Is the crossing by time at more or at fewer tokens than 128? Are tiles faster than the whole
# matrix?

# %%
tokens, names = config["time"]["tokens"], config["time"]["methods"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
medians = {}
for i, name in enumerate(names):
    runs = np.array([found["time"][name][str(N)] for N in tokens])
    medians[name] = np.median(runs, axis=1)
    spread = np.abs(np.transpose([runs.min(axis=1), runs.max(axis=1)]).T - medians[name])
    axes[1].errorbar(tokens, 1e3 * medians[name], 1e3 * spread, fmt="os^d"[i] + "-", capsize=3, label=name)
    if name != "tiles":
        counts = [law(name, N, config["time"]["cheap"], config["time"]["width"]) / 1e6 for N in tokens]
        axes[0].plot(tokens, counts, "os^d"[i] + "-", color=f"C{i}", label=name, alpha=0.7)
for axis, label in zip(axes, ("multiply-adds in millions", "CPU time in ms"), strict=True):
    axis.set(xscale="log", yscale="log", xlabel="tokens $N$", ylabel=label)
    axis.set_xticks(tokens, [str(N) for N in tokens])
    axis.minorticks_off()
    axis.legend()
plt.show()
print("    N " + "".join(f"{name:>14}" for name in names))
for i, N in enumerate(tokens):
    print(f"{N:5d} " + "".join(f"{1e3 * medians[name][i]:11.3f} ms" for name in names))
for name in names[2:]:
    gap = np.log(medians["exact"] / medians[name])
    i = int(np.argmax(gap > 0))
    crossing = np.exp(np.interp(0, gap[i - 1 : i + 1], np.log(tokens[i - 1 : i + 1]))) if i else tokens[0]
    print(f"{name}: as fast as exact at about {crossing:.0f} tokens, {np.exp(gap[-1]):.0f} times as fast at 4096")
last = {name: np.polyfit(np.log(tokens[-3:]), np.log(medians[name][-3:]), 1)[0] for name in names}
print("time grows with N to the power", {name: round(float(power), 1) for name, power in last.items()})

# %% [markdown]
# Bars go from the fastest to the slowest of the five medians.
#
# **In the stored run** the Performer is as fast as exact attention at about 255 tokens and the Linformer at about 150,
# both later than the count says, 128. At 4096 tokens exact attention takes 66.810 ms, tiles 62.960 ms, the Performer
# 2.526 ms and the Linformer 1.950 ms. At 2048 tokens and below the tiles are slower than the whole matrix.
#
# Multiply-adds are not all: features need exponentials, and every call of NumPy has a fixed cost. In experiment 1 the
# Performer would need far more than 64 features.
#
# ## Where this goes wrong in practice
#
# - **A softmax of features.** The features replace $e^S$. Their products are summed and divided; no exponential is taken of them again.
# - **The factor $e^{-|\mathbf{x}|^2/2}$ forgotten.** For a query it cancels. For a key it does not: long keys get too much weight.
# - **Queries and keys both divided by $\sqrt{D_h}$.** Then the scores are too small by $\sqrt{D_h}$. Each is divided by $D_h^{1/4}$.
# - **The largest exponent subtracted for each key.** One number for all keys cancels. A number for each key changes their ratio.
# - **Mixtures applied to the weights.** Then all weights have to be computed first.
# - **A Linformer on images of another size.** Its matrices have one column for each token.
#
# ## Exercises
#
# `hint("31.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **31.1 (ten minutes).** How many positive features does a score need? Return the smallest whole number $R$ for which
# the root of (5) is at most `error` times $s$. `q` and `k` (Dh,) are a query and a key as attention has them, not yet
# divided.


# %%
def features_needed(q, k, error):
    """q, k: (Dh,), error: such as 0.1 -> a whole number"""
    ...  # your answer here


check("31.1", features_needed)

# %% [markdown]
# **31.2 (fifteen minutes).** The keys are on two machines. Each has computed exact attention over its own keys: `y1`,
# `y2` (N, Dh) and `lse1`, `lse2` (N,). Combine them. Scores may be in the thousands. A query that has seen nothing has
# the result 0 and $\mathrm{lse} = -\infty$.


# %%
def combine(y1, lse1, y2, lse2):
    """-> y (N, Dh), lse (N,)"""
    ...  # your answer here


check("31.2", combine)

# %% [markdown]
# **31.3 (twenty minutes).** If two machines are combined as in 31.2, the loss depends on $\mathrm{lse}$ as well as on
# $\mathbf{y}$. So a gradient $\mathrm{d}\,\mathrm{lse}$ arrives, too. Extend (2). Whole matrices are allowed.


# %%
def backward_with_lse(q, k, v, dy, dlse):
    """q, k, v, dy: (N, Dh), dlse: (N,) -> dq, dk, dv"""
    ...  # your answer here


check("31.3", backward_with_lse)

# %% [markdown]
# **31.4 (half an hour).** A causal Performer: query $i$ uses the keys $j \le i$ alone. Use positive features, and no
# array of size $N^2$.


# %%
def causal_performer(q, k, v, omega):
    """q, k, v: (N, Dh), omega: (R, Dh) -> (N, Dh)"""
    ...  # your answer here


check("31.4", causal_performer)

# %% [markdown]
# **31.5 (ten minutes).** A Linformer has weights of tokens after all: a matrix $W$ (N, N) with
# $\mathbf{y} = W\mathbf{v}$. Return it. Do its rows sum to 1?


# %%
def weights_of_tokens(q, k, Gk, Gv):
    """q, k: (N, Dh), Gk, Gv: (R, N) -> (N, N)"""
    ...  # your answer here


check("31.5", weights_of_tokens)

# %% [markdown]
# Next: [32, widths and learning rates](32_widths_and_learning_rates.ipynb).

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
# # 07 Scaled dot-product attention
#
# Attention lets every token look at every other token and take from each as much as it finds fitting. It is the only place in a
# Vision Transformer where information moves between patches. This notebook takes **Eq. 5, Eq. 6 and Eq. 7** of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), appendix A), for one head. At the end you will be able to
#
# - compute attention as loops, and as three matrix products,
# - derive its backward pass by hand, $\mathrm{d}S = A \circ (\mathrm{d}A - \langle \mathrm{d}A, A \rangle)$ included,
# - say what the factor $1/\sqrt{D_h}$ is for, and show it in a figure.
#
# You need the vector-Jacobian product of a matrix product (notebook [02](02_shapes.ipynb)) and of the softmax
# (notebook [06](06_softmax_and_loss.ipynb)). Several heads follow in notebook [08](08_multi_head.ipynb).
#
# **Budget:** 5 s of CPU time (fast mode 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, show_source
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(7)

# %% [markdown]
# ## The equations
#
# From the tokens $\mathbf{z} \in \mathbb{R}^{N \times D}$ a learned matrix makes three vectors per token (Eq. 5): a **query**, what this
# token is looking for; a **key**, what it can be found by; a **value**, what it hands over.
#
# $$[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\,\mathbf{U}_{qkv}, \qquad \mathbf{U}_{qkv} \in \mathbb{R}^{D \times 3 D_h} \tag{Eq. 5}$$
#
# Each query is compared with every key by a dot product. A softmax over the keys turns the scores of one query into weights that
# are positive and sum to 1, as a classifier does with its logits (Eq. 6):
#
# $$A = \mathrm{softmax}\!\left(\mathbf{q}\mathbf{k}^\top / \sqrt{D_h}\right), \qquad A \in \mathbb{R}^{N \times N} \tag{Eq. 6}$$
#
# The result for a token is the mean of all values, weighted by its row of $A$ (Eq. 7):
#
# $$\mathrm{SA}(\mathbf{z}) = A\mathbf{v} \tag{Eq. 7}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$, $D$, $D_h$ | tokens, width, width of a head | numbers | `N`, `D`, `K` |
# | $\mathbf{z}$ | tokens | $(N, D)$ | `z` |
# | $\mathbf{U}_{qkv}$ | the learned projection | $(D, 3D_h)$ | `U` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values | $(N, D_h)$ each | `q`, `k`, `v` |
# | $S$ | scores $\mathbf{q}\mathbf{k}^\top/\sqrt{D_h}$ | $(N, N)$ | `S` |
# | $A$ | attention weights, rows sum to 1 | $(N, N)$ | `A` |
# | $Y$ | the result, $\mathrm{SA}(\mathbf{z})$ | $(N, D_h)$ | `Y` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# $N$, $D$ and $D_h$ are all different below, so that two axes that are mixed up make an error instead of a wrong number.

# %%
N, D, K = 5, 6, 4
z = rng.standard_normal((N, D))
U = rng.standard_normal((D, 3 * K))
q, k, v = np.split(z @ U, 3, axis=1)
q.shape, k.shape, v.shape

# %% [markdown]
# ## Forward, as loops
#
# One query `i` at a time: its scores, their softmax, the weighted mean of the values. Nothing here is fast, and nothing is hidden.


# %%
def attention_loops(q, k, v):
    """Eq. 6 and 7, one number at a time.   q, k, v: (N, K) -> A (N, N), Y (N, K)."""
    N, K = q.shape
    A, Y = np.zeros((N, N)), np.zeros((N, K))
    for i in range(N):
        scores = [sum(q[i, c] * k[j, c] for c in range(K)) / K**0.5 for j in range(N)]
        largest = max(scores)  # subtracted from all: the weights stay the same, and exp cannot overflow
        e = [np.exp(s - largest) for s in scores]
        for j in range(N):
            A[i, j] = e[j] / sum(e)
            for c in range(K):
                Y[i, c] += A[i, j] * v[j, c]
    return A, Y


A_loops, Y_loops = attention_loops(q, k, v)
print("rows of A sum to", A_loops.sum(axis=1))

# %% [markdown]
# ## Forward, as matrix products
#
# The same in three lines. Each is one step of the chain that the backward pass will walk in reverse.

# %%
S = q @ k.T / np.sqrt(K)
e = np.exp(S - S.max(axis=1, keepdims=True))
A = e / e.sum(axis=1, keepdims=True)
Y = A @ v

agree("A", A, A_loops)
agree("Y", Y, Y_loops)

# %% [markdown]
# ## Backward, step by step
#
# Somebody after us has computed $\mathrm{d}Y$, the gradient of the loss with respect to our result. We want $\mathrm{d}\mathbf{q}$,
# $\mathrm{d}\mathbf{k}$ and $\mathrm{d}\mathbf{v}$. For the comparison we let the engine differentiate the same chain: its Tensors
# remember how they were made, so `grad` can be asked for every intermediate result. $\mathrm{d}Y$ is drawn at random: a
# cotangent of ones hides errors, as notebook [02](02_shapes.ipynb) has shown.

# %%
dY = rng.standard_normal(Y.shape)

tq, tk, tv = (Tensor(x, requires_grad=True) for x in (q, k, v))
tS = tq @ tk.T * (1 / np.sqrt(K))
tA = F.softmax(tS)
tY = tA @ tv
engine = dict(zip(["A", "S", "q", "k", "v"], grad(tY, [tA, tS, tq, tk, tv], dY), strict=True))

# %% [markdown]
# **Step 1: $Y = A\mathbf{v}$.** A matrix product hands its gradient to both factors (notebook 02):
#
# $$\mathrm{d}A = \mathrm{d}Y\,\mathbf{v}^\top, \qquad \mathrm{d}\mathbf{v} = A^\top\,\mathrm{d}Y.$$
#
# The shapes leave no choice: $(N, N) = (N, D_h)(D_h, N)$ and $(N, D_h) = (N, N)(N, D_h)$. Read the second one: token $j$'s value gets
# the gradient of every result $i$ that used it, weighted by how much it was used, $A_{ij}$.

# %%
dA = dY @ v.T
dv = A.T @ dY

agree("dA", dA, engine["A"])
agree("dv", dv, engine["v"])

# %% [markdown]
# **Step 2: $A = \mathrm{softmax}(S)$, row by row.** Row $i$ has the Jacobian $\mathrm{diag}(a) - a a^\top$, where $a$ is the row (notebook
# 06). It is symmetric, so pulling back the row $\mathrm{d}a$ gives $\mathrm{d}s = a \circ \mathrm{d}a - a\,\langle a, \mathrm{d}a\rangle$. For all
# rows together:
#
# $$\mathrm{d}S = A \circ \bigl(\mathrm{d}A - r\bigr), \qquad r_i = \sum_j \mathrm{d}A_{ij} A_{ij}.$$

# %%
r = (dA * A).sum(axis=1, keepdims=True)
dS = A * (dA - r)

agree("dS", dS, engine["S"])
print("rows of dS sum to zero:", np.abs(dS.sum(axis=1)).max())

# %% [markdown]
# The rows of $\mathrm{d}S$ sum to zero. They must: adding one number to all scores of a query changes no weight, so the loss cannot change
# in that direction.
#
# **Step 3: $S = \mathbf{q}\mathbf{k}^\top / \sqrt{D_h}$.** Again a matrix product, with a constant factor that both gradients carry:
#
# $$\mathrm{d}\mathbf{q} = \mathrm{d}S\,\mathbf{k} / \sqrt{D_h}, \qquad \mathrm{d}\mathbf{k} = \mathrm{d}S^\top \mathbf{q} / \sqrt{D_h}.$$

# %%
dq = dS @ k / np.sqrt(K)
dk = dS.T @ q / np.sqrt(K)

agree("dq", dq, engine["q"])
agree("dk", dk, engine["k"])

# %% [markdown]
# ## Check it numerically
#
# The engine could be wrong in the same way as we are. Central differences cannot: `check_vjp` draws a random cotangent and compares
# what the pullback predicts with how much the value really changes. We write the chain above as an *op*: a function that returns its
# value and its pullback, the form in which the whole library is written.


# %%
def my_attention(q, k, v):
    """Y = softmax(q k^T / sqrt(K)) v, and its pullback.   q, k, v, Y: (N, K)."""
    scale = 1 / q.shape[-1] ** 0.5
    S = q @ k.T * scale
    e = np.exp(S - S.max(axis=-1, keepdims=True))
    A = e / e.sum(axis=-1, keepdims=True)

    def vjp(dY):
        dA = dY @ v.T
        dS = A * (dA - (dA * A).sum(axis=-1, keepdims=True)) * scale
        return dS @ k, dS.T @ q, A.T @ dY

    return A @ v, vjp


print(f"largest relative error of the gradients: {check_vjp(my_attention, q, k, v):.1e}")

# %% [markdown]
# ## The library
#
# This is `minivit.ops.attention`. It takes the packed result of Eq. 5 for all heads at once, which notebook
# [08](08_multi_head.ipynb) explains; find in its `vjp` the five lines that you have just derived.
# `keep` (dropout, notebook 14) and `queries` are extras: with their default `None`, skip them, and `dq` is simply `ds @ k`. `xp` is NumPy, or a library for GPUs with
# the same functions. The *tape* is the engine's record of the operations and of what they keep (notebook [01](01_autodiff.ipynb)).

# %%
show_source(ops.attention)

# %%
y, pullback = ops.attention(np.concatenate([q, k, v], axis=1)[None], heads=1)
dqkv = pullback(dY[None])[0]

agree("Y", Y, y[0])
agree("dq, dk, dv", np.concatenate([dq, dk, dv], axis=1), dqkv[0])

# %% [markdown]
# ## Experiment: what is $1/\sqrt{D_h}$ for?
#
# If the entries of a query and a key are independent with mean 0 and variance 1, their dot product is a sum of $D_h$ terms of variance 1:
# its variance is $D_h$, its standard deviation $\sqrt{D_h}$, and dividing by it gives variance 1 at every width. Without the factor, wider heads have larger scores. Large scores make the softmax put nearly all weight on
# one key. For all others $A_{ij}$ is nearly zero, and with it $\mathrm{d}S_{ij} = A_{ij}(\mathrm{d}A_{ij} - r_i)$: their scores cannot be corrected, however useful they would be. The **entropy** of a row, $-\sum_j A_{ij}\log A_{ij}$, measures this: it is
# $\log N$ when all keys get the same weight and 0 when one gets everything.

# %%
widths = full_or_fast([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], [1, 8, 64])
tokens, draws = 64, full_or_fast(200, 10)


def statistics(width, scale):
    """Variance of the scores, mean entropy of a row, median size of dS for a random dA: three numbers."""
    q, k = rng.standard_normal((2, draws, tokens, width))
    S = q @ k.swapaxes(1, 2) * scale
    A, vjp = ops.softmax(S)
    entropy = -(A * np.log(A + 1e-300)).sum(axis=-1).mean()
    (dS,) = vjp(rng.standard_normal(A.shape))
    return S.var(), entropy, np.median(np.abs(dS))


unscaled = np.array([statistics(width, 1) for width in widths])
scaled = np.array([statistics(width, width**-0.5) for width in widths])

figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for i, title in enumerate(
    ["variance of the scores", "entropy of a row of $A$", "median $|\\mathrm{d}S|$ for a random $\\mathrm{d}A$"]
):
    axes[i].plot(widths, unscaled[:, i], "o-", label="$q k^T$")
    axes[i].plot(widths, scaled[:, i], "s-", label="$q k^T/\\sqrt{D_h}$")
    axes[i].set(title=title, xlabel="width of a head, $D_h$", xscale="log")
axes[0].set_yscale("log")
axes[2].set(yscale="log", ylim=(1e-12, 1e-1))
axes[1].axhline(np.log(tokens), color="grey", linestyle=":", label="$\\log N$")
axes[1].legend()
plt.show()

# %%
at_64 = widths.index(64)
print(f"At D_h = 64, the paper's width of a head in ViT-B (Table 1: width 768, 12 heads), with {tokens} tokens:")
for name, numbers in (("without the factor", unscaled[at_64]), ("with it", scaled[at_64])):
    print(
        f"  {name:<19} variance {numbers[0]:6.2f}   entropy {numbers[1]:.2f} of {np.log(tokens):.2f}   median |dS| {numbers[2]:.1e}"
    )

# %% [markdown]
# With the factor the three curves are nearly level: the softmax starts about equally soft at every width. (At $D_h = 1$ the factor is 1, and the curves meet.) Without it the entropy
# falls towards 0, and the typical score of a wide head receives no gradient. (In the third panel the curve leaves the picture. Not all of $\mathrm{d}S$ shrinks: in a row where two keys
# happen to share the weight, these two still get large entries. But where one key has it all, $r_i$ is its own $\mathrm{d}A_{ij}$, and the winner gets nothing either. What the random start has decided, stays.)
#
# ## Where this goes wrong in practice
#
# - **Softmax over the wrong axis.** With `axis=0` the *columns* sum to 1: each key is shared out among the queries. The shapes are right, and a model may well train;
#   only the row sums tell.
# - **$1/\sqrt{D}$ instead of $1/\sqrt{D_h}$.** In a model $D_h$ is $D$ divided by the number of heads (notebook 08). With one head they are then equal, and a test with one head cannot see it. (Here they differ.)
# - **The row sum $r$ forgotten.** $\mathrm{d}S = A \circ \mathrm{d}A$ looks right and often has the right sign. Checked on the softmax alone, a cotangent of ones
#   notices this one, but accepts $\mathrm{d}S = 0$; a random cotangent rejects both.
# - **exp without subtracting the maximum.** In float32, `exp(89)` is infinite, infinite divided by infinite is NaN, and with it the whole row of the result.
#
# ## Exercises
#
# Each cell has a place for your answer, and tells you at once whether it is right. Answers are judged by what they
# return, on inputs of several shapes.
#
# **7.1 (two lines).** A query of zeros is as close to every key as to any other. Write what its result is, as a function of the values `v` of shape
# $(N, D_h)$ alone.


# %%
def result_of_zero_query(v):
    """v: (N, K) -> (K,)"""
    ...  # your answer here


check("7.1", result_of_zero_query)

# %% [markdown]
# **7.2 (ten minutes).** In a language model that predicts the next token, no token may look at later ones: a **causal mask** sets the scores $S_{ij}$ with $j > i$ to $-\infty$
# before the softmax. Write the forward pass: `q, k, v -> Y`.


# %%
def causal_attention(q, k, v):
    """q, k, v: (N, K) -> Y (N, K), where row i depends on the rows 0..i of k and v alone."""
    ...  # your answer here


check("7.2", causal_attention)

# %% [markdown]
# **7.3 (twenty minutes).** Its backward pass: given `q, k, v` and `dY`, return `dq, dk, dv`. Does the mask need a line of its own in it? Compare
# with step 2 before you write one.


# %%
def causal_attention_backward(q, k, v, dY):
    """q, k, v, dY: (N, K) -> dq, dk, dv, each (N, K)."""
    ...  # your answer here


check("7.3", causal_attention_backward)

# %% [markdown]
# **7.4 (an hour).** $A$ has $N^2$ entries: at 384 × 384 pixels and patch size 16 that is $577^2$ per head and layer. It can be avoided: go over
# the keys in blocks and keep, for each query, the largest score $m$ so far, the sum $\ell$ of $e^{S - m}$ so far, and the weighted sum of values so far.
# When a new block raises $m$, the two sums must be corrected. Write it, so that it needs no array of scores or weights with more than $N \cdot$ `block` entries; the checker
# measures the memory. It must also work where all scores of a query are far below zero.


# %%
def attention_in_blocks(q, k, v, block):
    """Eq. 6 and 7 without the matrix A.   q, k, v: (N, K), block: how many keys at a time -> Y (N, K)."""
    ...  # your answer here


check("7.4", attention_in_blocks)

# %% [markdown]
# Next: [08, multi-head attention](08_multi_head.ipynb).

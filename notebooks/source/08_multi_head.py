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
# # 08 Multi-head attention
#
# With one softmax, a token gathers one weighted mean of the values. Multi-head attention gathers several. Small
# attentions run side by side, each with its own weights, and a matrix mixes their results. The mathematics is that of
# notebook [07](07_attention.ipynb). The new part is bookkeeping: which of the $D$ features belongs to which head? This
# notebook covers **Eq. 8** of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), appendix A). At
# the end you will be able to
#
# - write multi-head attention with loops, and then with a reshape and a transpose,
# - derive its backward pass, in which splitting and merging heads undo each other,
# - name the mistakes that no test with a single head can notice, and write a test that notices them.
#
# You need attention for one head with its backward pass (notebook [07](07_attention.ipynb)) and the gradients of
# reshape and transpose (notebook [02](02_shapes.ipynb)).
#
# **Budget:** 8 s of CPU time (fast mode 6 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import GradientError, check_gradients, check_vjp
from minivit.lessons import accuracy, agree, check, digits, full_or_fast, running_digit, show_source
from minivit.lessons.pictures import heads as pictures
from minivit.models import ViT
from minivit.models.inside import attention_weights
from minivit.nn import MultiHeadAttention
from minivit.ops.attention import merge_heads, split_heads
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(8)

# %% [markdown]
# ## The idea in a picture
#
# The picture shows the digit of the last notebooks in block 1 of its trained model. There are 17 tokens of width 32,
# and four heads of width 8. Each head owns 8 columns of the queries, keys and values. It computes its own attention
# weights $A$ and its own weighted means of the values. The four results are put side by side, and the matrix
# $\mathbf{U}_{msa}$ mixes them. Red is positive, blue is negative. In $A$, dark cells are large weights. Each head has
# its own frame colour.

# %%
model, image, label = running_digit()
_ = pictures.side_by_side(model, image)

# %% [markdown]
# ## The equation
#
# Let $\mathrm{SA}_1, \dots, \mathrm{SA}_H$ be $H$ attentions (Eq. 5 to 7), each with its own projection and with
# results of width $D_h$. Their results are put side by side in one row per token, and a last matrix mixes them:
#
# $$\mathrm{MSA}(\mathbf{z}) = [\mathrm{SA}_1(\mathbf{z});\; \mathrm{SA}_2(\mathbf{z});\; \cdots;\; \mathrm{SA}_H(\mathbf{z})]\;\mathbf{U}_{msa},
# \qquad \mathbf{U}_{msa} \in \mathbb{R}^{H \cdot D_h \times D} \tag{Eq. 8}$$
#
# Here the semicolons put columns side by side. (In Eq. 1 they put rows below one another.) The paper writes $k$ for the
# number of heads. We write $H$, since $\mathbf{k}$ is a key here. The paper typically sets $D_h = D/H$, so that
# parameters and computation do not grow with $H$ (appendix A; exercise 8.2). Then $H \cdot D_h = D$. The paper counts
# the heads from 1. We count them from 0, as the code does.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $H$ | heads | number | `H`, `heads` |
# | $D_h$ | width of a head, $D/H$ | number | `Dh` |
# | $\mathbf{z}$ | tokens | $(B, N, D)$ | `z` |
# | $\mathbf{U}_{qkv}$ | projection to queries, keys and values of all heads, packed | $(D, 3D)$ | `U_qkv` |
# | $\mathbf{q}$, $\mathbf{k}$, $\mathbf{v}$ | queries, keys, values, per head | $(B, H, N, D_h)$ each | `q`, `k`, `v` |
# | $S$ | attention scores | $(B, H, N, N)$ | `S` |
# | $A$ | attention weights | $(B, H, N, N)$ | `A` |
# | $Y$ | results of the heads, $A\mathbf{v}$ | $(B, H, N, D_h)$ | `Y` |
# | $J$ | the same, joined: heads side by side | $(B, N, D)$ | `J` |
# | $\mathbf{U}_{msa}$ | projection of the joined heads | $(D, D)$ | `U_msa` |
# | $R$ | the result, $\mathrm{MSA}(\mathbf{z})$ | $(B, N, D)$ | `R` |
# | $a$ | a head, from 0 | number | `a` |
# | $\mathbf{U}^{(a)}$ | the rows of $\mathbf{U}_{msa}$ that belong to head $a$ | $(D_h, D)$ | |
# | $i$, $j$ | query and key, from 0 | numbers | `i`, `j` |
# | $r$ | sum of $\mathrm{d}A \circ A$ over the keys | $(B, H, N, 1)$ | |
# | $c$ | feature of a token, from 0 | number | |
# | $\Pi$ | permutation matrix | $(BND, BND)$ | |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# **The packing.** The $3H$ projections are blocks of columns of one matrix. So one product computes them all. First
# come the queries of head 0, of head 1, and so on, then the keys of all heads, then the values. Within each third, head
# $a$ owns the columns $aD_h$ to $(a+1)D_h - 1$. So heads are **contiguous**. The order is a convention.

# %%
B, N, H, Dh = 2, 5, 3, 4
D = H * Dh
z = rng.standard_normal((B, N, D))
U_qkv = rng.standard_normal((D, 3 * D)) / D**0.5
U_msa = rng.standard_normal((D, D)) / D**0.5

# %% [markdown]
# $B$, $N$, $H$ and $D_h$ all differ, so most mixed-up axes raise an error instead of giving wrong numbers. $H$ is not
# 1; experiment 1 shows why. The factor $1/\sqrt{D}$ keeps the results of the products near size 1.
#
# ## Forward, as loops
#
# One image, one head, one query at a time. Only one line is new: it says which columns belong to the head. (The scores
# are small here, so it is safe to take the exponential without subtracting the largest score.)


# %% tags=["yours"]
def attention_loops(qkv, H):
    """J of Eq. 8.   qkv: (B, N, 3D) -> (B, N, D)."""
    B, N, D = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    Dh = D // H
    J = np.zeros((B, N, D))
    for b in range(B):
        for a in range(H):
            mine = slice(a * Dh, (a + 1) * Dh)  # the columns of head a
            q, k, v = (part[:, mine] for part in np.split(qkv[b], 3, axis=1))
            for i in range(N):
                e = [np.exp(q[i] @ k[j] / Dh**0.5) for j in range(N)]
                J[b, i, mine] = sum(e[j] / sum(e) * v[j] for j in range(N))
    return J


# %%
R_loops = attention_loops(z @ U_qkv, H) @ U_msa  # Eq. 5 to 8
R_loops.shape

# %% [markdown]
# ## Splitting and merging
#
# Matrix products in NumPy work on the last two axes and repeat over all axes before them. So we want the head as an
# axis of its own, *before* the tokens: $(B, N, D) \to (B, H, N, D_h)$. This takes two moves:
#
# 1. `reshape(B, N, H, Dh)`: the $D$ features of a token, read in order, become $H$ groups of $D_h$. Nothing moves in
#    memory.
# 2. `transpose(0, 2, 1, 3)`: the axes of tokens and heads change places.
#
# Write `split` and `merge` with the methods `x.reshape` and `x.transpose` only. Then they also work for Tensors.


# %% tags=["yours"]
def split(x, H):
    """(B, N, D) -> (B, H, N, Dh)"""
    B, N, D = x.shape
    return x.reshape(B, N, H, D // H).transpose(0, 2, 1, 3)


def merge(x):
    """(B, H, N, Dh) -> (B, N, D): the inverse."""
    B, H, N, Dh = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, N, H * Dh)


# %%
x = np.arange(B * N * D).reshape(B, N, D)
print("merge(split(x)) is x:", np.array_equal(merge(split(x, H)), x))

# %% [markdown]
# Why not `reshape(B, H, N, Dh)` at once? It gives the right shape. To see the difference, let every entry hold the
# number of its token, and look at head 0 of the first image.
#
# **Predict first.** With a reshape alone, which tokens does head 0 get?

# %%
token = np.broadcast_to(np.arange(N)[None, :, None], (B, N, D))
print("reshape and transpose: row i of head 0 comes from token i")
print(split(token, H)[0, 0])
print("reshape alone: the rows of head 0 come from the first tokens only, each cut into pieces")
print(token.reshape(B, H, N, Dh)[0, 0])

# %% [markdown]
# A reshape keeps the numbers in reading order and only cuts this sequence in other places. In the sequence, the
# features of one token are neighbours. The features of one head, over all tokens, are not. So a reshape alone cannot
# collect them. (In `merge` the reshape comes after a transpose. There NumPy has to copy the numbers.)
#
# ## Forward, vectorised
#
# The three lines of notebook 07, now with two axes, $B$ and $H$, in front:
#
# $$S = \mathbf{q}\mathbf{k}^\top/\sqrt{D_h}, \qquad A = \mathrm{softmax}(S), \qquad Y = A\mathbf{v}, \qquad J = \mathrm{merge}(Y),
# \qquad R = J\,\mathbf{U}_{msa}.$$

# %% tags=["yours"]
qkv = z @ U_qkv
q, k, v = (split(part, H) for part in np.split(qkv, 3, axis=2))
S = q @ k.swapaxes(2, 3) / Dh**0.5
# e: the numerators of the softmax over the keys; A: the softmax
e = np.exp(S - S.max(axis=3, keepdims=True))
A = e / e.sum(axis=3, keepdims=True)
Y = A @ v
J = merge(Y)
R = J @ U_msa

agree("R", R, R_loops)

# %% [markdown]
# **Another reading of Eq. 8.** An entry of $J\,\mathbf{U}_{msa}$ is a sum over the $D$ columns of $J$. Sum over those
# of head 0 first, then over those of head 1, and so on. Let $\mathbf{U}^{(a)}$ be the rows $aD_h$ to $(a+1)D_h - 1$ of
# $\mathbf{U}_{msa}$. With heads counted from 0,
#
# $$\mathrm{MSA}(\mathbf{z}) = \sum_{a=0}^{H-1} \mathrm{SA}_{a+1}(\mathbf{z})\,\mathbf{U}^{(a)}.$$
#
# Every head adds its own contribution to all $D$ features. Before this sum, heads do not influence each other.
# `contributions` is a list with one array $(B, N, D)$ per head.

# %% tags=["yours"]
contributions = [Y[:, a] @ U_msa[a * Dh : (a + 1) * Dh] for a in range(H)]

agree("sum", sum(contributions), R)

# %% [markdown]
# ## Backward, step by step
#
# $\mathrm{d}R$ is given, drawn at random. The engine differentiates the same steps, so we can compare each gradient.

# %%
dR = rng.standard_normal((B, N, D))

tz, tU_qkv, tU_msa = (Tensor(x, requires_grad=True) for x in (z, U_qkv, U_msa))
tqkv = tz @ tU_qkv
tq, tk, tv = (split(tqkv[:, :, i * D : (i + 1) * D], H) for i in range(3))  # Tensors can reshape and transpose too
tS = tq @ tk.transpose(0, 1, 3, 2) * (1 / Dh**0.5)
tA = F.softmax(tS)
tY = tA @ tv
tJ = merge(tY)
tR = tJ @ tU_msa
names = ["J", "U_msa", "Y", "A", "S", "q", "k", "v", "qkv", "z", "U_qkv"]
engine = dict(zip(names, grad(tR, [tJ, tU_msa, tY, tA, tS, tq, tk, tv, tqkv, tz, tU_qkv], dR), strict=True))

# %% [markdown]
# **Step 1: $R = J\,\mathbf{U}_{msa}$.** A matrix product. All images share $\mathbf{U}_{msa}$, so its gradient is the
# sum over the batch:
#
# $$\mathrm{d}J = \mathrm{d}R\,\mathbf{U}_{msa}^\top, \qquad \mathrm{d}\mathbf{U}_{msa} = \sum_b J_b^\top\,\mathrm{d}R_b.$$
#
# The sum over $b$ and the sum over tokens inside the product are one sum over all $BN$ rows.

# %% tags=["yours"]
dJ = dR @ U_msa.T
dU_msa = J.reshape(B * N, D).T @ dR.reshape(B * N, D)

agree("dJ", dJ, engine["J"])
agree("dU_msa", dU_msa, engine["U_msa"])

# %% [markdown]
# **Step 2: $J = \mathrm{merge}(Y)$.** Merging only moves numbers. Written as a matrix, it is a permutation $\Pi$. Its
# pullback is $\Pi^\top = \Pi^{-1}$, the inverse of merging. So each gradient returns to the place its number came from:
# $\mathrm{d}Y$ is $\mathrm{d}J$, *split* into heads.

# %% tags=["yours"]
dY = split(dJ, H)

agree("dY", dY, engine["Y"])

# %% [markdown]
# **Step 3: attention, for every image and head.** The formulas are those of notebook 07, for each image and head:
#
# $$\mathrm{d}A = \mathrm{d}Y\,\mathbf{v}^\top, \quad \mathrm{d}\mathbf{v} = A^\top \mathrm{d}Y, \quad
# \mathrm{d}S = A \circ (\mathrm{d}A - r), \quad r_i = \sum_j \mathrm{d}A_{ij}A_{ij}, \quad
# \mathrm{d}\mathbf{q} = \frac{\mathrm{d}S\,\mathbf{k}}{\sqrt{D_h}}, \quad \mathrm{d}\mathbf{k} = \frac{\mathrm{d}S^\top\mathbf{q}}{\sqrt{D_h}}.$$

# %% tags=["yours"]
dA = dY @ v.swapaxes(2, 3)
dv = A.swapaxes(2, 3) @ dY
dS = A * (dA - (dA * A).sum(axis=3, keepdims=True))
dq = dS @ k / Dh**0.5
dk = dS.swapaxes(2, 3) @ q / Dh**0.5

# %%
for name, mine in {"A": dA, "S": dS, "q": dq, "k": dk, "v": dv}.items():
    agree(f"d{name}", mine, engine[name])

# %% [markdown]
# **Step 4: the split.** The pullback of splitting is merging. `np.split` cut the columns into three parts, so the three
# gradients are put side by side again.

# %% tags=["yours"]
dqkv = np.concatenate([merge(dq), merge(dk), merge(dv)], axis=2)

agree("dqkv", dqkv, engine["qkv"])

# %% [markdown]
# **Step 5: $[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\,\mathbf{U}_{qkv}$.** A matrix product, as in step 1.

# %% tags=["yours"]
dz = dqkv @ U_qkv.T
dU_qkv = z.reshape(B * N, D).T @ dqkv.reshape(B * N, 3 * D)

agree("dz", dz, engine["z"])
agree("dU_qkv", dU_qkv, engine["U_qkv"])

# %% [markdown]
# ## Check it numerically
#
# We write steps 2 to 4 as an op, a function that returns its value and its pullback, and check it with central
# differences.


# %%
def my_attention(qkv, heads):
    """J of Eq. 8, before U_msa, and its pullback.   qkv: (B, N, 3D), J: (B, N, D)."""
    q, k, v = (split(part, heads) for part in np.split(qkv, 3, axis=2))
    scale = 1 / q.shape[3] ** 0.5
    S = q @ k.swapaxes(2, 3) * scale
    e = np.exp(S - S.max(axis=3, keepdims=True))
    A = e / e.sum(axis=3, keepdims=True)

    def vjp(dJ):
        dY = split(dJ, heads)
        dA = dY @ v.swapaxes(2, 3)
        dS = A * (dA - (dA * A).sum(axis=3, keepdims=True)) * scale
        parts = dS @ k, dS.swapaxes(2, 3) @ q, A.swapaxes(2, 3) @ dY
        return (np.concatenate([merge(part) for part in parts], axis=2),)

    return merge(A @ v), vjp


print(f"largest relative error of the gradients: {check_vjp(my_attention, qkv, heads=H):.1e}")

# %% [markdown]
# ## The library
#
# `minivit.ops.attention`, already shown in notebook 07, is this op. Ignore two of its arguments: `keep` is for dropout
# (notebook 14), and `queries` limits the number of queries. The next cells show its two helpers and the layer that owns
# the weights. The layer's `tap` is a dict that collects values for pictures.

# %%
show_source(ops.attention)

# %%
show_source(split_heads)

# %%
show_source(merge_heads)

# %%
show_source(MultiHeadAttention)

# %%
J_library, pullback = ops.attention(qkv, heads=H)
agree("J", J, J_library)
agree("dqkv", dqkv, pullback(dJ)[0])

layer = MultiHeadAttention(D, H, np.random.default_rng(0), dtype="float64")  # its biases start at zero
agree("layer", layer(Tensor(z)), attention_loops(z @ layer.qkv.weight.data, H) @ layer.out.weight.data)

# %% [markdown]
# ## Experiment 1: seven mistakes, six tests
#
# Multi-head attention is easy to get slightly wrong, and most mistakes keep every shape. Which tests notice them? We
# make seven mistakes, one at a time, and run six tests on each, with one head and with three. The version below has a
# switch for each mistake. It uses Tensors, so that we can check its gradients too.


# %%
def attend(qkv, heads, split=split, merge=merge, scale_width="head", axis=-1, swapped=False):
    """qkv: Tensor (B, N, 3D) -> J (B, N, D) and A (B, H, N, N); the defaults are right."""
    D = qkv.shape[2] // 3
    q, k, v = (split(qkv[:, :, i * D : (i + 1) * D], heads) for i in range(3))
    if swapped:
        q, k = k, q
    width = D // heads if scale_width == "head" else D
    A = F.softmax(q @ k.transpose(0, 1, 3, 2) * (1 / width**0.5), axis)
    return merge(A @ v), A


def split_by_reshape(x, H):
    return x.reshape(x.shape[0], H, x.shape[1], x.shape[2] // H)


def split_interleaved(x, H):
    return x.reshape(x.shape[0], x.shape[1], x.shape[2] // H, H).transpose(0, 3, 1, 2)


def merge_by_reshape(x):
    return x.reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


# %% [markdown]
# "Interleaved" means that feature $c$ belongs to head $c \bmod H$ instead of $\lfloor c/D_h \rfloor$. The seven
# mistakes:

# %%
mutants = {
    "none": {},
    "split by reshape alone": {"split": split_by_reshape},
    "merge by reshape alone": {"merge": merge_by_reshape},
    "heads interleaved": {"split": split_interleaved},
    "softmax over the queries": {"axis": 2},
    "softmax over the heads": {"axis": 1},
    "1/sqrt(D) for 1/sqrt(D_h)": {"scale_width": "all"},
    "queries and keys swapped": {"swapped": True},
}

# %% [markdown]
# Each test takes an implementation `f(qkv, heads)` and says whether it passes:
#
# - **shape**: $J$ is $(B, N, D)$.
# - **row sums**: every row of $A$ sums to 1.
# - **gradient**: `check_gradients` passes. It tests whether the backward pass fits the forward pass.
# - **permutation**: if the tokens come in another order, the results come in the same new order, otherwise unchanged.
# - **isolation**: if only the values of head 0 change, only the first $D_h$ columns of $J$ change. (With one head there
#   are no other columns, so nothing is compared.)
# - **reference**: $J$ equals the $J$ of the loops.


# %%
def arrays(f, x, heads):
    """J and A as arrays."""
    J, A = f(Tensor(x), heads)
    return J.data, A.data


def has_shape(f, x, heads):
    return arrays(f, x, heads)[0].shape == (*x.shape[:2], x.shape[2] // 3)


def rows_sum_to_one(f, x, heads):
    return np.allclose(arrays(f, x, heads)[1].sum(axis=-1), 1)


def gradient_fits(f, x, heads):
    try:
        check_gradients(lambda qkv: f(qkv, heads)[0], x)
    except GradientError:
        return False
    return True


# %%
def follows_permutation(f, x, heads):
    order = np.array([3, 0, 4, 2, 1])
    return np.allclose(arrays(f, x[:, order], heads)[0], arrays(f, x, heads)[0][:, order])


def heads_are_isolated(f, x, heads):
    D = x.shape[2] // 3
    other = x.copy()
    other[:, :, 2 * D : 2 * D + D // heads] += 1  # the values of head 0
    change = arrays(f, other, heads)[0] - arrays(f, x, heads)[0]
    return np.allclose(change[:, :, D // heads :], 0)


def equals_loops(f, x, heads):
    return np.allclose(arrays(f, x, heads)[0], attention_loops(x, heads))


tests = {
    "shape": has_shape,
    "row sums": rows_sum_to_one,
    "gradient": gradient_fits,
    "permutation": follows_permutation,
    "isolation": heads_are_isolated,
    "reference": equals_loops,
}

# %% [markdown]
# Now we run every test on every version, with one head of width 12 and with three heads of width 4.
#
# **Predict first.** Which test catches the most mistakes, and which tests catch none? With one head, which mistakes
# pass every test?


# %%
def passed(switches, heads):
    """For each test whether it passes."""
    return [bool(test(lambda x, heads: attend(x, heads, **switches), qkv, heads)) for test in tests.values()]


tables = {heads: np.array([passed(switches, heads) for switches in mutants.values()]) for heads in (1, H)}

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
for axis, (heads, table) in zip(axes, tables.items(), strict=True):
    axis.imshow(table, cmap="cividis", vmin=-0.6, vmax=1.2, aspect="auto")
    for (row, column), passes in np.ndenumerate(table):
        text, colour = ("passes", "black") if passes else ("caught", "white")
        axis.text(column, row, text, color=colour, ha="center", va="center", fontsize=9)
    axis.set_xticks(range(len(tests)), tests, rotation=25, ha="right")
    axis.set_yticks(range(len(mutants)), mutants)
    axis.set_title(f"H = {heads}")
axes[0].set_ylabel("mistake")
plt.show()

# %%
planted = [name for name, switches in mutants.items() if switches]
for heads, table in tables.items():
    caught = ~table[1:]  # the first row is the correct version
    alone = [name for name, row in zip(planted, caught, strict=True) if row[-1] and not row[:-1].any()]
    unseen = [name for name, row in zip(planted, caught, strict=True) if not row.any()]
    print(f"H = {heads}: " + ", ".join(f"{name} {n}" for name, n in zip(tests, caught.sum(axis=0), strict=True)))
    print("   caught by the reference alone:", "; ".join(alone) or "none")
    print("   caught by no test:            ", "; ".join(unseen) or "none")

# %% [markdown]
# **In the stored run** the reference catches all seven mistakes with three heads, but only three with one head. Shape
# and gradient catch none in either case. With one head, permutation and isolation catch none either, and four mistakes
# pass every test. With three heads, only the reference catches the wrong scale and the swap of queries and keys.
# - With one head, four of the seven are not mistakes: `reshape(B, 1, N, D)` is a correct split, and $D = D_h$. No test
#   can fail there. This is **$H = 1$ blindness**.
# - The gradient check passes every version. It tests whether the backward pass fits the forward pass. The engine
#   derives one from the other, so it always does.
# - Permutation notices mixed tokens, row sums notice the wrong axis, isolation notices features in the wrong head.
# - The swapped version equals ours with the columns of queries and keys exchanged in $\mathbf{U}_{qkv}$. The
#   interleaved version equals ours with other columns and rows exchanged. Both would train equally well. With published
#   weights they compute something else.
#
# Two rules for your own tests: compare with loops, with at least two heads, and make all lengths different.
#
# ## Experiment 2: do the heads of a trained model differ?
#
# The model of the running digit has three blocks with four heads each. Two heads may look at the same places or at
# different places. We measure this by the **total variation distance** of their rows $A_i$ and $A'_i$ for the same
# query $i$, $\frac12\sum_j |A_{ij} - A'_{ij}|$. It is 0 if both give the same weights, and 1 if they share no token. We
# take the mean over all pairs of heads, all queries and all test images. As a control we take ten untrained models of
# the same shape. Their heads differ only by their random projections.
#
# A second control concerns sharpness. A row with a few large weights is far from any other such row, only because it is
# sharp. So we also measure the distance after putting the weights of each row of $A'$ in a random order. The rows are
# then equally sharp, but unrelated.
#
# **Predict first.** Does training make the heads more alike, or more different? Are two heads of the trained model
# closer to each other than unrelated rows, or further apart?

# %%
_, test = digits()
images = normalize(test.images)  # pixels 0..255 to -1..1
trained = attention_weights(model, images)
print("attention weights (block, image, head, query, key):", trained.shape)
print(f"accuracy on {len(test)} test images: {accuracy(model, test):.1%}")


# %% tags=["yours"]
def difference_of_heads(weights, others):
    """Mean total variation distance of each head of `weights` to the other heads of `others`.

    Both have the shape (blocks, B, H, N, N); the result (blocks,). Each pair of heads is taken once.
    """
    heads = weights.shape[2]
    pairs = [(a, b) for a in range(heads) for b in range(a)]
    return np.mean([0.5 * np.abs(weights[:, :, a] - others[:, :, b]).sum(-1).mean((1, 2)) for a, b in pairs], axis=0)


# %%
seeds = range(full_or_fast(10, 2))


def distances(weights):
    """The distance between heads, and that to unrelated rows of the same weights: (2, blocks)."""
    unrelated = np.random.default_rng(0).permuted(weights, axis=-1)
    return np.array([difference_of_heads(weights, weights), difference_of_heads(weights, unrelated)])


untrained = np.array([distances(attention_weights(ViT(model.config, seed), images)) for seed in seeds])
for block, (distance, unrelated) in enumerate(distances(trained).T):
    controls, unrelated_controls = untrained[:, :, block].T
    print(f"block {block + 1}, trained:   distance between heads {distance:.2f}, of unrelated rows {unrelated:.2f}")
    print(f"         untrained: {controls.mean():.2f} (largest of {len(seeds)}: {controls.max():.2f})", end="")
    print(f", of unrelated rows {unrelated_controls.mean():.2f}")

# %% [markdown]
# **In the stored run** the heads of the trained model differ by 0.65, 0.54 and 0.53 in the three blocks, more than in
# any of the 10 untrained models. But unrelated rows of the same sharpness are about as far apart: 0.65, 0.55 and 0.57.
# So the larger distances come from sharper rows. The heads of this one model are about as far apart as unrelated rows,
# no further.
#
# Where do they look? The next picture shows block 1 and the attention of its [class] token to the 16 patches, one map
# for each head. (The weight of the token for itself is left out.) The first row is for the running digit, the other two
# are means over all test images of a 7 and of a 0. Each map has its own scale. The largest weight is above the map.

# %%
of_class = trained[0, :, :, 0, 1:].reshape(
    len(test), 4, 4, 4
)  # block 1, query [class], keys the patches as a 4 x 4 grid
here = int(np.flatnonzero((test.images == image).all(axis=(1, 2, 3)))[0])
rows = {"the digit": [here], "all 7s": np.flatnonzero(test.labels == 7), "all 0s": np.flatnonzero(test.labels == 0)}
figure, axes = plt.subplots(3, 5, figsize=(9, 5.8), layout="constrained")
for (name, chosen), row in zip(rows.items(), axes, strict=True):
    row[0].imshow(test.images[chosen].mean(axis=0).squeeze(), cmap="gray_r")
    row[0].set_ylabel(name)
    for h, axis in enumerate(row[1:]):
        weights = of_class[chosen, h].mean(axis=0)
        axis.imshow(weights, cmap="viridis", vmin=0)
        axis.set_title(f"head {h}: {weights.max():.2f}")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
plt.show()

# %%
for h in range(4):
    places = {name: of_class[chosen, h].mean(axis=0) for name, chosen in rows.items()}
    favourites = ", ".join(f"{name} ({w.argmax() // 4}, {w.argmax() % 4})" for name, w in places.items())
    print(f"head {h}: patch (row, column) with the largest weight: {favourites}")

# %% [markdown]
# **In the stored run** heads 0 and 1 prefer the same patch in all three rows, (1, 2) and (2, 0). Heads 2 and 3 prefer
# other patches for a 0 than for a 7.
#
# ## Experiment 3: does each head matter?
#
# The contributions of the heads add. So we can silence a head: set its rows $\mathbf{U}^{(a)}$ of $\mathbf{U}_{msa}$ to
# zero. We silence one head of the trained model at a time and measure the accuracy. For comparison we silence all four
# heads of a block.
#
# **Predict first.** How many points of accuracy does one head of four cost? In which block does it cost the most?


# %%
def accuracy_without(block, heads):
    """Accuracy in percent of the trained model with these heads of a block silenced."""
    U_msa = model.blocks[block].attention.out.weight.data  # an array, changed in place and restored
    kept = U_msa.copy()
    for h in heads:
        U_msa[8 * h : 8 * h + 8] = 0
    result = 100 * accuracy(model, test)
    U_msa[:] = kept
    return result


print(f"all heads: {100 * accuracy(model, test):.1f} %")
for block in range(3):
    single = ", ".join(f"{accuracy_without(block, [h]):.1f}" for h in range(4))
    print(f"block {block + 1}: without one head {single} %, without all four {accuracy_without(block, range(4)):.1f} %")

# %% [markdown]
# **In the stored run** the model is right for 96.7 % of the images. With one head of block 1 silenced, 88.3 to 93.0 %
# are left, in block 2 94.7 to 96.1 %, and in block 3 95.8 to 96.7 %. A single head never costs as much as the whole
# block.
#
# (One of 359 images is 0.3 points. So a difference below one point is a matter of three images or fewer.)
#
# ## Where this goes wrong in practice
#
# - **A test with one head.** See experiment 1. Also avoid $N = H$ and $N = D_h$: axes can then change places without an
#   error.
# - **Merging without the transpose.** `Y.reshape(B, N, D)` right after $A\mathbf{v}$ mixes tokens, and the shape is
#   right.
# - **Weights with another packing.** Some files store the three projections separately. Others pack all queries, then
#   all keys, then all values, as we do. Still others pack head by head. All have the same number of entries, so shapes
#   do not reveal a mistake. Compare values.
# - **One initialisation for the packed matrix.** Glorot's formula gives weights for one $(D, 3D)$ matrix that are
#   smaller by the factor $\sqrt 2$ than for three $(D, D)$ matrices. Notebook [09b](09b_initialisation.ipynb) explains
#   why.
# - **$D$ not divisible by $H$.** The library raises an error that says so.
#
# ## Exercises
#
# Each cell has a place for your answer; the cell tells you at once whether it is right. `hint("8.3")` gives up to three
# hints, one per call.
#
# **8.1 (two lines).** Another library puts the axis of the heads first: $Y$ has the shape $(H, B, N, D_h)$. Write the
# merge for this $Y$.


# %%
def my_merge(x):
    """(H, B, N, Dh) -> (B, N, H * Dh), heads side by side"""
    ...  # your answer here


check("8.1", my_merge)

# %% [markdown]
# **8.2 (ten minutes).** How many parameters does multi-head attention of width `D` have, with `H` heads of width `D/H`?
# Count $\mathbf{U}_{qkv}$ and $\mathbf{U}_{msa}$, and a bias for each of their columns, as the published code has them.


# %%
def parameters(D, H):
    """-> a whole number"""
    ...  # your answer here


check("8.2", parameters)

# %% [markdown]
# **8.3 (half an hour).** Write a test that is not blind. You get an implementation `attend(qkv, heads)`, which returns
# an array $(B, N, D)$ and may be right or wrong. Decide which. Your test has to accept two right versions and to reject
# eight wrong ones: the seven above, and one that ignores `heads`.


# %%
def is_multi_head_attention(attend):
    """attend: a function of qkv (B, N, 3D) and heads -> True if it computes J of Eq. 8, else False"""
    ...  # your answer here


check("8.3", is_multi_head_attention)

# %% [markdown]
# **8.4 (an hour).** In **multi-query attention** ([Shazeer 2019](https://arxiv.org/abs/1911.02150)) all heads share one
# set of keys and values. This saves memory where keys and values must be kept. Write it with its backward pass. Each
# head has its own queries as before, but `k` and `v` have only the width of one head. What does the chain rule say
# about an array that is used $H$ times?


# %%
def multi_query(q, k, v, heads, dJ):
    """q, dJ: (B, N, D), k, v: (B, N, Dh), Dh = D / heads -> J (B, N, D), dq (B, N, D), dk (B, N, Dh), dv (B, N, Dh)"""
    ...  # your answer here


check("8.4", multi_query)

# %% [markdown]
# Next: [09, the MLP and GELU](09_mlp_and_gelu.ipynb).

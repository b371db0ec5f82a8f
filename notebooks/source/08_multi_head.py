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
# With one softmax, a token gathers one weighted mean of the values. Multi-head attention gathers several: small attentions run
# side by side, each with weights of its own, and their results are mixed. Its mathematics is that of notebook
# [07](07_attention.ipynb); what is new is bookkeeping: which of the $D$ features belongs to which head. This notebook takes **Eq.
# 8** of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), appendix A). At the end you will be able to
#
# - write multi-head attention as loops, and with one reshape and one transpose instead,
# - derive its backward pass, in which splitting and merging heads undo each other,
# - name the mistakes that no test with a single head can see, and write a test that sees them.
#
# You need attention for one head with its backward pass (notebook [07](07_attention.ipynb)) and the gradients of reshape and
# transpose (notebook [02](02_shapes.ipynb)).
#
# **Budget:** 20 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import GradientError, check_gradients, check_vjp
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.models.inside import attention_weights
from minivit.nn import MultiHeadAttention
from minivit.ops.attention import merge_heads, split_heads
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(8)

# %% [markdown]
# ## The equation
#
# Let $\mathrm{SA}_1, \dots, \mathrm{SA}_H$ be $H$ attentions (Eq. 5 to 7), each with a projection of its own and with results of
# width $D_h$. Their results stand side by side in one row per token, and a last matrix mixes them:
#
# $$\mathrm{MSA}(\mathbf{z}) = [\mathrm{SA}_1(\mathbf{z});\; \mathrm{SA}_2(\mathbf{z});\; \cdots;\; \mathrm{SA}_H(\mathbf{z})]\;\mathbf{U}_{msa},
# \qquad \mathbf{U}_{msa} \in \mathbb{R}^{H \cdot D_h \times D} \tag{Eq. 8}$$
#
# (The paper writes $k$ for the number of heads; we write $H$, since $k$ is a key here.) The paper typically sets $D_h = D/H$, so
# that parameters and computation do not grow with $H$ (appendix A; exercise 8.2). Then $H \cdot D_h = D$.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $N$, $D$ | images, tokens, width | numbers | `B`, `N`, `D` |
# | $H$, $D_h$ | heads, width of a head, $D/H$ | numbers | `H`, `K` |
# | $\mathbf{z}$ | tokens | $(B, N, D)$ | `z` |
# | $\mathbf{U}_{qkv}$ | projections of all heads, packed | $(D, 3D)$ | `U_qkv` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values, per head | $(B, H, N, D_h)$ each | `q`, `k`, `v` |
# | $A$ | attention weights | $(B, H, N, N)$ | `A` |
# | $Y$ | results of the heads, $A\mathbf{v}$ | $(B, H, N, D_h)$ | `Y` |
# | $C$ | the same, heads side by side | $(B, N, D)$ | `C` |
# | $\mathbf{U}_{msa}$ | mixes the heads | $(D, D)$ | `U_msa` |
# | $M$ | the result, $\mathrm{MSA}(\mathbf{z})$ | $(B, N, D)$ | `M` |
#
# **The packing.** All $3H$ projections are columns of one matrix, so that one product makes everything. Its $3D$ columns are: the
# queries of head 0, of head 1, ..., then the keys of all heads, then the values. Within each third, head $h$ owns the columns
# $hD_h$ to $(h+1)D_h - 1$. Heads are **contiguous**. This order of the heads is a convention, but a binding one: published
# weights follow it.

# %%
B, N, H, K = 2, 5, 3, 4
D = H * K
z = rng.standard_normal((B, N, D))
U_qkv = rng.standard_normal((D, 3 * D)) / D**0.5
U_msa = rng.standard_normal((D, D)) / D**0.5

# %% [markdown]
# $B$, $N$, $H$ and $D_h$ all differ, so that many a mixed-up axis is an error instead of a wrong number. And $H$ is not 1: why
# that matters, the experiment will show. The factor $1/\sqrt{D}$ keeps the products of moderate size.
#
# ## Forward, as loops
#
# One image, one head, one query at a time. The only new lines are those that say which columns are whose. (The scores here are
# small, so for once the largest is not subtracted before the exponential.)


# %%
def attention_loops(qkv, H):
    """C of Eq. 8.   qkv: (B, N, 3D) -> (B, N, D)."""
    B, N, D = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    K = D // H
    C = np.zeros((B, N, D))
    for b in range(B):
        for h in range(H):
            mine = slice(h * K, (h + 1) * K)  # the columns of head h
            q, k, v = (part[:, mine] for part in np.split(qkv[b], 3, axis=1))
            for i in range(N):
                e = [np.exp(q[i] @ k[j] / K**0.5) for j in range(N)]
                C[b, i, mine] = sum(e[j] / sum(e) * v[j] for j in range(N))
    return C


def multi_head_loops(z, U_qkv, U_msa, H):
    """Eq. 5 to 8.   z: (B, N, D), U_qkv: (D, 3D), U_msa: (D, D) -> M (B, N, D)."""
    return attention_loops(z @ U_qkv, H) @ U_msa


M_loops = multi_head_loops(z, U_qkv, U_msa, H)
M_loops.shape

# %% [markdown]
# ## Splitting and merging
#
# Matrix products in NumPy work on the last two axes and repeat over all axes before them. So we want the head as an axis of its
# own, *before* the tokens: $(B, N, D) \to (B, H, N, D_h)$. This takes two moves:
#
# 1. `reshape(B, N, H, K)`: the $D$ features of a token, read in order, become $H$ groups of $D_h$. Nothing moves in memory.
# 2. `transpose(0, 2, 1, 3)`: the axes of tokens and heads change places.


# %%
def split(x, H):
    """(B, N, D) -> (B, H, N, K)"""
    B, N, D = x.shape
    return x.reshape(B, N, H, D // H).transpose(0, 2, 1, 3)


def merge(x):
    """(B, H, N, K) -> (B, N, D): the inverse."""
    B, H, N, K = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, N, H * K)


x = np.arange(B * N * D).reshape(B, N, D)
print("merge(split(x)) is x:", np.array_equal(merge(split(x, H)), x))

# %% [markdown]
# Why not `reshape(B, H, N, K)` at once? It has the right shape. Let us write into each entry which token it came from, and look
# at what head 0 of the first image gets:

# %%
token = np.broadcast_to(np.arange(N)[None, :, None], (B, N, D))
print("reshape and transpose: row i of head 0 comes from token i")
print(split(token, H)[0, 0])
print("reshape alone: the rows of head 0 come from the first tokens only, each cut into pieces")
print(token.reshape(B, H, N, K)[0, 0])

# %% [markdown]
# A reshape keeps the order in which the numbers are read, row by row; it only cuts the same sequence differently. (After a transpose, as in `merge`, NumPy must copy to make this so.) The sequence has the features of a token next to
# each other, so "all tokens of head 0" are not next to each other, and no reshape alone can collect them.
#
# ## Forward, vectorised
#
# The three lines of notebook 07, now with two axes, $B$ and $H$, in front.

# %%
qkv = z @ U_qkv
q, k, v = (split(part, H) for part in np.split(qkv, 3, axis=2))
S = q @ k.swapaxes(2, 3) / K**0.5
e = np.exp(S - S.max(axis=3, keepdims=True))
A = e / e.sum(axis=3, keepdims=True)
Y = A @ v
C = merge(Y)
M = C @ U_msa

agree("M", M, M_loops)

# %% [markdown]
# **Another reading of Eq. 8.** An entry of $C\,\mathbf{U}_{msa}$ is a sum over the $D$ columns of $C$. Sum over those of head 0
# first, then over those of head 1, and so on. With the rows $hD_h$ to $(h+1)D_h - 1$ of $\mathbf{U}_{msa}$ called $\mathbf{U}^{(h)}$,
#
# $$\mathrm{MSA}(\mathbf{z}) = \sum_h \mathrm{SA}_h(\mathbf{z})\,\mathbf{U}^{(h)}.$$
#
# Every head writes its own contribution into all $D$ features, and the contributions add. Heads do not see each other before this
# sum.

# %%
contributions = [Y[:, h] @ U_msa[h * K : (h + 1) * K] for h in range(H)]

agree("sum", sum(contributions), M)

# %% [markdown]
# ## Backward, step by step
#
# The engine walks the same chain for comparison. $\mathrm{d}M$ is drawn at random.

# %%
dM = rng.standard_normal(M.shape)

tz, tU_qkv, tU_msa = (Tensor(x, requires_grad=True) for x in (z, U_qkv, U_msa))
tqkv = tz @ tU_qkv
tq, tk, tv = (split(tqkv[:, :, i * D : (i + 1) * D], H) for i in range(3))  # Tensors can reshape and transpose too
tS = tq @ tk.transpose(0, 1, 3, 2) * (1 / K**0.5)
tA = F.softmax(tS)
tY = tA @ tv
tC = merge(tY)
tM = tC @ tU_msa
names = ["C", "U_msa", "Y", "A", "S", "q", "k", "v", "qkv", "z", "U_qkv"]
engine = dict(zip(names, grad(tM, [tC, tU_msa, tY, tA, tS, tq, tk, tv, tqkv, tz, tU_qkv], dM), strict=True))

# %% [markdown]
# **Step 1: $M = C\,\mathbf{U}_{msa}$.** A matrix product. The same $\mathbf{U}_{msa}$ serves all images, so its gradient is the
# sum over the batch:
#
# $$\mathrm{d}C = \mathrm{d}M\,\mathbf{U}_{msa}^\top, \qquad \mathrm{d}\mathbf{U}_{msa} = \sum_b C_b^\top\,\mathrm{d}M_b.$$
#
# The sum over $b$ and the sum over tokens inside the product are one sum over all $BN$ rows.

# %%
dC = dM @ U_msa.T
dU_msa = C.reshape(B * N, D).T @ dM.reshape(B * N, D)

agree("dC", dC, engine["C"])
agree("dU_msa", dU_msa, engine["U_msa"])

# %% [markdown]
# **Step 2: $C = \mathrm{merge}(Y)$.** Merging only moves numbers: as a matrix it would be a permutation $P$. Its pullback is
# $P^\top$, and for a permutation $P^\top = P^{-1}$. So the gradient goes back to where the number came from: it is *split*.

# %%
dY = split(dC, H)

agree("dY", dY, engine["Y"])

# %% [markdown]
# **Step 3: attention, for every image and head.** Notebook 07 word for word; the axes $B$ and $H$ come along.
#
# $$\mathrm{d}A = \mathrm{d}Y\,\mathbf{v}^\top, \quad \mathrm{d}\mathbf{v} = A^\top \mathrm{d}Y, \quad
# \mathrm{d}S = A \circ (\mathrm{d}A - r), \quad r_i = \sum_j \mathrm{d}A_{ij}A_{ij}, \quad
# \mathrm{d}\mathbf{q} = \frac{\mathrm{d}S\,\mathbf{k}}{\sqrt{D_h}}, \quad \mathrm{d}\mathbf{k} = \frac{\mathrm{d}S^\top\mathbf{q}}{\sqrt{D_h}}.$$

# %%
dA = dY @ v.swapaxes(2, 3)
dv = A.swapaxes(2, 3) @ dY
dS = A * (dA - (dA * A).sum(axis=3, keepdims=True))
dq = dS @ k / K**0.5
dk = dS.swapaxes(2, 3) @ q / K**0.5

for name, mine in {"A": dA, "S": dS, "q": dq, "k": dk, "v": dv}.items():
    agree(f"d{name}", mine, engine[name])

# %% [markdown]
# **Step 4: the split.** The pullback of splitting is merging, and that of cutting into three is joining the three.

# %%
dqkv = np.concatenate([merge(dq), merge(dk), merge(dv)], axis=2)

agree("dqkv", dqkv, engine["qkv"])

# %% [markdown]
# **Step 5: $[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\,\mathbf{U}_{qkv}$.** As step 1.

# %%
dz = dqkv @ U_qkv.T
dU_qkv = z.reshape(B * N, D).T @ dqkv.reshape(B * N, 3 * D)

agree("dz", dz, engine["z"])
agree("dU_qkv", dU_qkv, engine["U_qkv"])

# %% [markdown]
# ## Check it numerically
#
# Steps 2 to 4 as an op: a function that returns its value and its pullback. Central differences with a random cotangent judge it.


# %%
def my_attention(qkv, heads):
    """C of Eq. 8, before U_msa, and its pullback.   qkv: (B, N, 3D), C: (B, N, D)."""
    q, k, v = (split(part, heads) for part in np.split(qkv, 3, axis=2))
    scale = 1 / q.shape[3] ** 0.5
    S = q @ k.swapaxes(2, 3) * scale
    e = np.exp(S - S.max(axis=3, keepdims=True))
    A = e / e.sum(axis=3, keepdims=True)

    def vjp(dC):
        dY = split(dC, heads)
        dA = dY @ v.swapaxes(2, 3)
        dS = A * (dA - (dA * A).sum(axis=3, keepdims=True)) * scale
        parts = dS @ k, dS.swapaxes(2, 3) @ q, A.swapaxes(2, 3) @ dY
        return (np.concatenate([merge(part) for part in parts], axis=2),)

    return merge(A @ v), vjp


print(f"largest relative error of the gradients: {check_vjp(my_attention, qkv, heads=H):.1e}")

# %% [markdown]
# ## The library
#
# `minivit.ops.attention`, already shown in notebook 07, is this op. Its `attention_weights(q, k)` are the three lines from `S` to `A`
# above (what we import under that name is another function, for experiment 2). `keep` (dropout, which sets random weights to 0 while
# training, notebook 14) and `queries` are again extras to skip. Then the two helpers and the layer that owns the weights; its `tap` is
# a dict that collects values for pictures.

# %%
show_source(ops.attention)

# %%
show_source(split_heads)

# %%
show_source(merge_heads)

# %%
show_source(MultiHeadAttention)

# %%
C_library, pullback = ops.attention(qkv, heads=H)
agree("C", C, C_library)
agree("dqkv", dqkv, pullback(dC)[0])

layer = MultiHeadAttention(D, H, np.random.default_rng(0), dtype="float64")  # its biases start at zero
agree("layer", layer(Tensor(z)), multi_head_loops(z, layer.qkv.weight.data, layer.out.weight.data, H))

# %% [markdown]
# ## Experiment 1: seven mistakes, six tests
#
# Multi-head attention is easy to get slightly wrong: most mistakes keep every shape. Which tests notice? We plant seven, one at a
# time, and run six tests on each, once with one head and once with three. The version below has a switch for each mistake. It is
# written with Tensors, so that its gradients can be checked too.


# %%
def attend(qkv, heads, split=split, merge=merge, scale_width="head", axis=-1, swapped=False):
    """qkv: Tensor (B, N, 3D) -> C (B, N, D) and A (B, H, N, N); the defaults are right."""
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
# "Interleaved" means that feature $c$ belongs to head $c \bmod H$ instead of $\lfloor c/D_h \rfloor$. The table of mistakes:

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
# - **shape**: $C$ is $(B, N, D)$.
# - **row sums**: every row of $A$ sums to 1.
# - **gradient**: `check_gradients`, which tests whether the backward fits the forward.
# - **permutation**: attention has no idea of order. If the tokens come in another order, so do the results, otherwise unchanged.
# - **isolation**: if only the values of head 0 change, only the first $D_h$ columns of $C$ change (with one head there are no
#   others, so nothing is compared).
# - **reference**: $C$ is that of the loops.


# %%
def arrays(f, x, heads):
    """C and A as arrays."""
    C, A = f(Tensor(x), heads)
    return C.data, A.data


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
# Every test on every version, with one head of width 12 and with three of width 4.


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
# What to read off:
#
# - **With one head, some of the mistakes are no mistakes.** `reshape(B, 1, N, D)` is a correct split, and $D = D_h$. A test with
#   $H = 1$ cannot fail there, whatever it checks. This is **$H = 1$ blindness**.
# - **The gradient check passes everything.** It asks whether the backward belongs to the forward, and the engine sees to that.
#   The forward itself may be anything.
# - **Invariants see structure.** The permutation test notices that tokens were mixed, the row sums notice the wrong axis,
#   isolation notices features in the wrong head.
# - **The scale and the swap respect every invariant here.** The swapped model is even equivalent to the right one, with
#   $\mathbf{U}_q$ and $\mathbf{U}_k$ exchanged: it would train as well. So would the interleaved one. But with published weights
#   they compute something else. Of these six tests, only the comparison with an independent version finds both.
#
# The rule that follows: compare with loops, with $H \ge 2$. (All lengths different is a second rule: it turns some mistakes into
# errors.)
#
# ## Experiment 2: what the heads of a trained model look at
#
# A small ViT on the 8 × 8 digits: patches of 2 × 2 pixels, so 16 patches and a [class] token, with four heads in each of two
# layers. Three seeds, so that we do not read one model's luck as a rule. The picture is of the first.

# %%
train, test = digits()
images = normalize(test.images)  # pixels 0..255 to -1..1
config = ViTConfig(image_size=8, patch_size=2, channels=1, width=32, depth=2, heads=4, num_classes=10)
before, after = [], []  # one entry per seed
for seed in range(full_or_fast(3, 1)):
    model = ViT(config, seed)
    before.append(attention_weights(model, images))
    fit(model, train, steps=full_or_fast(400, 30), seed=seed)
    after.append(attention_weights(model, images))
    print(f"seed {seed}: accuracy on {len(test)} test images {accuracy(model, test):.1%}")
print("attention weights (layer, image, head, query, key):", after[0].shape)

# %%
last = after[0][-1, :3, :, 0, 1:].reshape(3, 4, 4, 4)  # last layer, query [class], keys the patches, as a 4 x 4 grid
figure, axes = plt.subplots(3, 5, figsize=(8, 4.6), layout="constrained")
for i in range(3):
    axes[i, 0].imshow(images[i].squeeze(), cmap="gray")
    axes[i, 0].set_ylabel(f"image {i}")
    for h in range(4):
        shown = axes[i, 1 + h].imshow(last[i, h], cmap="viridis", vmin=0, vmax=last.max())
        axes[0, 1 + h].set_title(f"head {h}")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[:, 1:], label="attention weight of the patch")
plt.show()

# %% [markdown]
# Each small picture is one row of one $A$: how the [class] token of the last layer spreads its attention over the 16 patches (its
# weight for itself is left out). Do the columns differ? A number for it: the **total variation distance** of the rows of the same
# query $i$ in two heads, $\frac12\sum_j |A_{ij} - A'_{ij}|$. It is 0 if the two heads agree and 1 if they look at nothing in common.
# Below is its mean over all pairs of heads, all queries and all test images, for each layer.


# %%
def difference_of_heads(weights):
    """Mean total variation distance between two heads.   weights: (L, B, H, N, N) -> (L,)."""
    heads = weights.shape[2]
    pairs = [(g, h) for g in range(heads) for h in range(g)]
    return np.mean([0.5 * np.abs(weights[:, :, g] - weights[:, :, h]).sum(-1).mean((1, 2)) for g, h in pairs], axis=0)


for seed, (first, trained) in enumerate(zip(before, after, strict=True)):
    change = [
        f"{a:.2f} -> {b:.2f}" for a, b in zip(difference_of_heads(first), difference_of_heads(trained), strict=True)
    ]
    print(f"seed {seed}: distance between heads, before -> after training: " + ", ".join(change))

# %% [markdown]
# The distances before training are not zero: every head begins with random projections of its own. Nothing in the loss asks the
# heads to differ or to agree, and training may bring heads closer. A change that has another sign with another seed says little
# about training.
#
# ## Where this goes wrong in practice
#
# - **A test with one head.** See above. Also beware of $N = H$ or $N = D_h$: axes can then change places without an error.
# - **Merging without the transpose.** `Y.reshape(B, N, D)` right after $A\mathbf{v}$ mixes tokens; no shape and no error tells.
# - **Foreign weights in another packing.** Published files store the three projections apart, or packed as all queries, keys,
#   values; some other models pack head by head. All have the same number of entries. Only the logits tell.
# - **One initialisation for the packed matrix.** Initial weights are drawn evenly between $\pm\sqrt{6/(\text{inputs} + \text{outputs})}$
#   (named after Xavier Glorot). For one $(D, 3D)$ matrix this limit is smaller by $\sqrt 2$ than for three $(D, D)$ matrices. The library
#   draws three (`three_xavier`).
# - **$D$ not divisible by $H$.** The library refuses it in words.
#
# ## Exercises
#
# Each cell has a place for your answer; the cell tells you at once whether it is right.
#
# **8.1 (two lines).** Write the merge from memory.


# %%
def my_merge(x):
    """(B, H, N, K) -> (B, N, H * K), heads side by side"""
    ...  # your answer here


check("8.1", my_merge)

# %% [markdown]
# **8.2 (ten minutes).** How many parameters has multi-head attention of width `D` with `H` heads of width `D/H`? Count
# $\mathbf{U}_{qkv}$ and $\mathbf{U}_{msa}$, and a bias for each of their columns, as the published code has them.


# %%
def parameters(D, H):
    """-> a whole number"""
    ...  # your answer here


check("8.2", parameters)

# %% [markdown]
# **8.3 (half an hour).** Write a test that is not blind. You get an implementation `attend(qkv, heads)`, which returns an array
# $(B, N, D)$ and may be right or wrong. Say which. The checker hands it two right ones and eight wrong ones: the seven above, and
# one that ignores `heads`.


# %%
def is_multi_head_attention(attend):
    """attend: a function of qkv (B, N, 3D) and heads -> True if it computes C of Eq. 8, else False"""
    ...  # your answer here


check("8.3", is_multi_head_attention)

# %% [markdown]
# **8.4 (an hour).** In **multi-query attention** ([Shazeer 2019](https://arxiv.org/abs/1911.02150)) all heads share one set of
# keys and values, which saves memory where these must be kept. Write it with its backward pass: queries per head as before, but
# `k` and `v` have only the width of one head. What does the chain rule say of an array that is used $H$ times?


# %%
def multi_query(q, k, v, heads, dC):
    """q, dC: (B, N, D), k, v: (B, N, K), K = D / heads -> C (B, N, D), dq (B, N, D), dk (B, N, K), dv (B, N, K)"""
    ...  # your answer here


check("8.4", multi_query)

# %% [markdown]
# Next: [09, the MLP and GELU](09_mlp_and_gelu.ipynb).

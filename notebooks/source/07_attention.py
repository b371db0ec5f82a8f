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
# In attention every token looks at all tokens and takes something from each, more from some than from others. It is the
# only place in a Vision Transformer where information moves between patches. This notebook covers **Eq. 5, Eq. 6 and
# Eq. 7** of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), appendix A), for one head. At the
# end you will be able to
#
# - choose queries, keys and values by hand so that attention retrieves what you want,
# - compute attention as loops, and as three matrix products,
# - derive its backward pass, including $\mathrm{d}S = A \circ (\mathrm{d}A - \langle \mathrm{d}A, A \rangle)$,
# - say what the factor $1/\sqrt{D_h}$ is for,
# - count what attention costs, and say why the tokens are patches and not pixels.
#
# You need the vector-Jacobian product of a matrix product (notebook [02](02_shapes.ipynb)) and of the softmax (notebook
# [06](06_softmax_and_loss.ipynb)). Several heads follow in notebook [08](08_multi_head.ipynb).
#
# **Budget:** 8 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, running_digit, show_source
from minivit.lessons.pictures import attention as pictures
from minivit.models.inside import attention_weights
from minivit.stepper import BackwardStepper
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(7)

# %% [markdown]
# ## Attention by hand
#
# Every token has three vectors: a **query**, which says what the token is looking for; a **key**, which says what the
# token can be found by; and a **value**, which the token hands over. A query is compared with all keys by dot products.
# A softmax turns the dot products into weights that sum to 1. The result is the weighted mean of the values.
#
# In a trained model all three vectors come from learned matrices. Here we choose them by hand, to see what attention can
# do.
#
# **By place: each token copies the token to its left.** Five tokens carry the letters P, A, T, C, H. The key of a token
# is its own place, as a one-hot row. Its query is the one-hot row of the place to its left, times a number, the
# *strength*. The first token has no left neighbour and looks for the last place instead. The value of a token is its
# letter, again as a one-hot row.
#
# **Predict first.** With the strength 1 the dot product with the left neighbour's key is 1, and all others are 0. How
# much weight does the left neighbour get? Which strength would you choose?

# %%
word = "PATCH"
places, letters = np.eye(len(word)), np.eye(len(word))  # row i: place i, and letter i of the word
left = np.roll(places, -1, axis=1)  # row i points to place i - 1
for strength in (1, 3, 8):
    weights, _ = ops.softmax(strength * left @ places.T)
    result = weights @ letters
    shares = "  ".join(f"{share:.3f} {name}" for share, name in zip(result[1], word, strict=True))
    print(f"strength {strength}: token 1 ({word[1]}) gets {shares}")
pictures.weights_of_words(weights, word)

# %% [markdown]
# **In the stored run** the left neighbour has the weight 0.405 at strength 1, 0.834 at 3 and 0.999 at 8. The picture
# shows strength 8. Attention is a soft choice; large dot products make it a hard one.
#
# **By content: a telephone book.** A Python dictionary finds a value only if the key is exactly right. Attention also
# finds it by a key that is nearly right. Four names get random vectors as keys. Their values are numbers. The query is the
# vector of Cleo, with noise.
#
# **Predict first.** Will Cleo get more than half of the weight? How near to her number, 3, will the result be?

# %%
names, numbers = ["Ada", "Bob", "Cleo", "Dan"], np.array([[1.0], [2.0], [3.0], [4.0]])
keys = 0.5 * rng.standard_normal((4, 16))
query = keys[2] + 0.25 * rng.standard_normal(16)
pictures.one_query(query, keys, numbers, names)

# %%
products = keys @ query
weights_of_query, _ = ops.softmax(products)
for name, product, weight in zip(names, products, weights_of_query, strict=True):
    print(f"{name:<5} dot product {product:5.2f}   weight {weight:.3f}")
print(f"result {(weights_of_query @ numbers)[0]:.2f}")

# %% [markdown]
# **In the stored run** Cleo's key has the dot product 2.57 and the weight 0.822, and the result is 2.85. Her number is
# 3.
#
# A random vector with many entries usually has a much larger dot product with itself than with another such vector. The
# order of the names played no part. Attention finds by content. It can find by place only if the keys encode the place.
#
# ## The equations
#
# From the tokens $\mathbf{z} \in \mathbb{R}^{N \times D}$ a learned matrix makes the queries, keys and values (Eq. 5):
#
# $$[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\,\mathbf{U}_{qkv}, \qquad \mathbf{U}_{qkv} \in \mathbb{R}^{D \times 3 D_h} \tag{Eq. 5}$$
#
# This is one head. With $H$ heads, $\mathbf{U}_{qkv}$ holds the columns of all heads and is $(D, 3D)$ (notebook 08).
#
# The **scores** are the dot products of queries and keys divided by $\sqrt{D_h}$. A section below shows what the
# division is for. A softmax over the keys turns the scores into weights (Eq. 6):
#
# $$A = \mathrm{softmax}\!\left(\mathbf{q}\mathbf{k}^\top / \sqrt{D_h}\right), \qquad A \in \mathbb{R}^{N \times N} \tag{Eq. 6}$$
#
# The result of a token is the mean of all values, weighted by its row of $A$ (Eq. 7):
#
# $$\mathrm{SA}(\mathbf{z}) = A\mathbf{v} \tag{Eq. 7}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $D_h$ | width of a head, $D/H$ with $H$ heads (notebook 08) | number | `Dh` |
# | $\mathbf{z}$ | tokens | $(N, D)$ | `z` |
# | $\mathbf{U}_{qkv}$ | projection to queries, keys and values, of one head | $(D, 3D_h)$ | `U` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values | $(N, D_h)$ each | `q`, `k`, `v` |
# | $S$ | attention scores, $\mathbf{q}\mathbf{k}^\top/\sqrt{D_h}$ | $(N, N)$ | `S` |
# | $A$ | attention weights, rows sum to 1 | $(N, N)$ | `A`; by hand: `weights` |
# | $s$, $a$ | one row of $S$ and of $A$ | $(N,)$ | |
# | $Y$ | the result, $\mathrm{SA}(\mathbf{z})$ | $(N, D_h)$ | `Y` |
# | $r$ | sum of $\mathrm{d}A \circ A$ over each row | $(N, 1)$ | `r` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# $N$, $D$ and $D_h$ are all different below. So if you mix up two axes, you get an error and not a wrong number.

# %%
N, D, Dh = 5, 6, 4
z = rng.standard_normal((N, D))
U = rng.standard_normal((D, 3 * Dh))
q, k, v = np.split(z @ U, 3, axis=1)
q.shape, k.shape, v.shape

# %% [markdown]
# ## Forward, as loops
#
# One query `i` at a time: its scores, their softmax, the weighted mean of the values.


# %%
def attention_loops(q, k, v):
    """Eq. 6 and 7, one number at a time.   q, k, v: (N, Dh) -> A (N, N), Y (N, Dh)."""
    N, Dh = q.shape
    A, Y = np.zeros((N, N)), np.zeros((N, Dh))
    for i in range(N):
        scores = [sum(q[i, c] * k[j, c] for c in range(Dh)) / Dh**0.5 for j in range(N)]
        largest = max(scores)  # subtracted from all: the weights stay the same, and exp cannot overflow
        e = [np.exp(score - largest) for score in scores]
        for j in range(N):
            A[i, j] = e[j] / sum(e)
            for c in range(Dh):
                Y[i, c] += A[i, j] * v[j, c]
    return A, Y


A_loops, Y_loops = attention_loops(q, k, v)
print("rows of A sum to", A_loops.sum(axis=1))

# %% [markdown]
# ## Forward, as matrix products
#
# The same in three steps: the scores $S$, their softmax $A$ row by row, the result $Y$. The backward pass will walk these
# steps in reverse.

# %% tags=["yours"]
# the scores, their exponentials (the largest of each row subtracted), the weights and the result
S = q @ k.T / np.sqrt(Dh)
e = np.exp(S - S.max(axis=1, keepdims=True))
A = e / e.sum(axis=1, keepdims=True)
Y = A @ v

agree("A", A, A_loops)
agree("Y", Y, Y_loops)

# %% [markdown]
# ## One digit: where does [class] look?
#
# A small trained Vision Transformer reads the digit of the last notebooks: 16 patches of $2 \times 2$ pixels and the
# [class] token. In the end the classifier reads the [class] token alone, so this token must gather what it needs from the
# patches. The model has three blocks with four heads each. Every head is an attention of its own.
#
# First we compute the weights of one head with our formula, from the model's own tokens and its own $\mathbf{U}_{qkv}$.

# %%
model, image, label = running_digit()
pixels = normalize(image[None])
block = model.blocks[0]
tokens = block.norm1(model.embed(Tensor(pixels))).data[0]  # what the first block's attention is given
qkv = tokens @ block.attention.qkv.weight.data + block.attention.qkv.bias.data  # (17, 96): q, k, v of four heads
q_head, k_head = qkv[:, :8], qkv[:, 32:40]  # head 0 has the first 8 of the 32 columns of q and of k
all_weights = attention_weights(model, pixels)  # the library's, (blocks, images, heads, N, N)

# %% tags=["yours"]
# the scores of this head and their softmax, as above; Dh is 8
S_head = q_head @ k_head.T / np.sqrt(8)
e_head = np.exp(S_head - S_head.max(axis=1, keepdims=True))
A_head = e_head / e_head.sum(axis=1, keepdims=True)

agree("A of head 0", A_head, all_weights[0, 0, 0], rtol=1e-4)

# %% [markdown]
# Now the row of the [class] token, for all heads. The colours show how much weight each patch gets. Each map has its
# own scale: white is 0, and the darkest patch has the largest weight, which stands below the map.
#
# **Predict first.** Which patches will the [class] token look at: those with ink, the empty ones, or all alike? Will the
# four heads of a block agree?

# %%
pictures.class_attention(image, all_weights[:, 0, :, 0])

# %%
ink = image[..., 0].reshape(4, 2, 4, 2).mean(axis=(1, 3)).reshape(16)  # mean of each patch: 0 is empty, 255 full
class_rows = all_weights[:, 0, :, 0]  # (blocks, heads, N)
for depth, rows in enumerate(class_rows[..., 1:]):
    seen = rows @ ink / rows.sum(axis=1)
    print(f"block {depth}: mean ink with the weights of each head:", " ".join(f"{mean:4.0f}" for mean in seen))
print(f"mean ink of all patches: {ink.mean():.0f}")
print(f"largest weight of [class] on itself, which is left out above: {class_rows[..., 0].max():.2f}")

# %% [markdown]
# **In the stored run** the heads of block 0 disagree. The mean ink is 75. With the weights of head 0 it is 169. Head 2
# looks at the gap under the bar of the digit and sees 34. In block 2 all four heads prefer patches with little ink:
# they see 17 to 36. Maps and means leave out the weight of [class] on itself, which is 0.09 at most.
#
# This is one image. And attention weights do not show which patches decide the answer.
#
# ## Backward, step by step
#
# Somebody after us has computed $\mathrm{d}Y$, the gradient of the loss with respect to our result. We want
# $\mathrm{d}\mathbf{q}$, $\mathrm{d}\mathbf{k}$ and $\mathrm{d}\mathbf{v}$.
#
# First the walk in pictures, for a small head: two of the tokens, and two columns of each array. The stepper runs one
# vector-Jacobian product at a time: move the slider. The product $A\mathbf{v}$ came last in the forward pass, so its
# vector-Jacobian product runs first. It sends a gradient to both factors.

# %%
pair = {name: Tensor(x[[0, 2], 1:3], requires_grad=True) for name, x in (("q", q), ("k", k), ("v", v))}
pair["kT"] = pair["k"].T
pair["qkT"] = pair["q"] @ pair["kT"]
pair["S"] = pair["qkT"] * (1 / np.sqrt(2))
pair["A"] = F.softmax(pair["S"])
pair["Y"] = pair["A"] @ pair["v"]
BackwardStepper(pair["Y"], rng.standard_normal((2, 2)), pair)

# %% [markdown]
# Now by hand, for all tokens. For comparison the engine differentiates the same chain; `grad` gives the gradient of every
# intermediate result. We draw $\mathrm{d}Y$ at random, because a cotangent of ones hides errors (notebook
# [02](02_shapes.ipynb)).

# %%
dY = rng.standard_normal(Y.shape)

tz, tU = Tensor(z, requires_grad=True), Tensor(U, requires_grad=True)
tqkv = tz @ tU
tq, tk, tv = (tqkv[:, i * Dh : (i + 1) * Dh] for i in range(3))
tS = tq @ tk.T * (1 / np.sqrt(Dh))
tA = F.softmax(tS)
tY = tA @ tv
engine = dict(zip(["A", "S", "q", "k", "v", "z", "U"], grad(tY, [tA, tS, tq, tk, tv, tz, tU], dY), strict=True))

# %% [markdown]
# **Step 1: $Y = A\mathbf{v}$.** A matrix product hands a gradient to both factors (notebook 02):
#
# $$\mathrm{d}A = \mathrm{d}Y\,\mathbf{v}^\top, \qquad \mathrm{d}\mathbf{v} = A^\top\,\mathrm{d}Y.$$
#
# The shapes leave no choice: $(N, N) = (N, D_h)(D_h, N)$ and $(N, D_h) = (N, N)(N, D_h)$. The second equation says: the
# value of token $j$ gets the gradients of all results $i$, each weighted by $A_{ij}$, the share of this value in result
# $i$.

# %% tags=["yours"]
# step 1
dA = dY @ v.T
dv = A.T @ dY

agree("dA", dA, engine["A"])
agree("dv", dv, engine["v"])

# %% [markdown]
# **Step 2: $A = \mathrm{softmax}(S)$, row by row.** Let $s$ be a row of $S$ and $a$ its softmax, a row of $A$. The
# Jacobian is $\mathrm{diag}(a) - a a^\top$ (notebook 06), which is symmetric. So the gradient of the scores of this row
# is $\mathrm{d}s = a \circ \mathrm{d}a - a\,\langle a, \mathrm{d}a\rangle$. For all rows together:
#
# $$\mathrm{d}S = A \circ \bigl(\mathrm{d}A - r\bigr), \qquad r_i = \sum_j \mathrm{d}A_{ij} A_{ij}.$$

# %% tags=["yours"]
# step 2: r as a column, then dS
r = (dA * A).sum(axis=1, keepdims=True)
dS = A * (dA - r)

agree("dS", dS, engine["S"])
print(f"largest row sum of dS: {np.abs(dS.sum(axis=1)).max():.0e}")

# %% [markdown]
# The rows of $\mathrm{d}S$ sum to zero, up to rounding. They must: adding one number to all scores of a query changes no
# weight, so the loss cannot change in that direction.
#
# **Step 3: $S = \mathbf{q}\mathbf{k}^\top / \sqrt{D_h}$.** This is a matrix product again. Both gradients carry the
# constant factor:
#
# $$\mathrm{d}\mathbf{q} = \mathrm{d}S\,\mathbf{k} / \sqrt{D_h}, \qquad \mathrm{d}\mathbf{k} = \mathrm{d}S^\top \mathbf{q} / \sqrt{D_h}.$$

# %% tags=["yours"]
# step 3
dq = dS @ k / np.sqrt(Dh)
dk = dS.T @ q / np.sqrt(Dh)

agree("dq", dq, engine["q"])
agree("dk", dk, engine["k"])

# %% [markdown]
# **Step 4: $[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\,\mathbf{U}_{qkv}$** (Eq. 5). Put the three gradients side by
# side, as one array of shape $(N, 3D_h)$. Then it is a matrix product like the others:
#
# $$\mathrm{d}\mathbf{z} = [\mathrm{d}\mathbf{q}, \mathrm{d}\mathbf{k}, \mathrm{d}\mathbf{v}]\,\mathbf{U}_{qkv}^\top, \qquad
# \mathrm{d}\mathbf{U}_{qkv} = \mathbf{z}^\top\,[\mathrm{d}\mathbf{q}, \mathrm{d}\mathbf{k}, \mathrm{d}\mathbf{v}].$$

# %% tags=["yours"]
# step 4: the three gradients side by side, then dz and dU
dqkv = np.concatenate([dq, dk, dv], axis=1)
dz = dqkv @ U.T
dU = z.T @ dqkv

agree("dz", dz, engine["z"])
agree("dU", dU, engine["U"])

# %% [markdown]
# ## Check it numerically
#
# The engine could make the same mistake as we do; central differences cannot. We write the chain as an *op*, a function
# that returns its value and its pullback, like every op of the library. `check_vjp` draws a random cotangent and compares
# what the pullback predicts with how much the value really changes.


# %% tags=["yours"]
def my_attention(q, k, v):
    """Y = softmax(q k^T / sqrt(Dh)) v, and its pullback: dY -> dq, dk, dv.   q, k, v, Y: (N, Dh)."""
    scale = 1 / q.shape[-1] ** 0.5
    S = q @ k.T * scale
    e = np.exp(S - S.max(axis=-1, keepdims=True))
    A = e / e.sum(axis=-1, keepdims=True)

    def vjp(dY):
        dA = dY @ v.T
        dS = A * (dA - (dA * A).sum(axis=-1, keepdims=True)) * scale
        return dS @ k, dS.T @ q, A.T @ dY

    return A @ v, vjp


# %%
print(f"largest relative error of the gradients: {check_vjp(my_attention, q, k, v):.1e}")

# %% [markdown]
# ## The library
#
# This is `minivit.ops.attention`. It takes the packed result of Eq. 5 for all heads at once, which notebook
# [08](08_multi_head.ipynb) explains. Find in its `vjp` the five lines that you have just derived. `xp`
# is NumPy, or a library for GPUs with the same functions. Skip `keep` (dropout, notebook 14) and `queries`: with their
# default `None`, `dq` is simply `ds @ k`. The *tape* is the engine's record of the operations (notebook
# [01](01_autodiff.ipynb)).

# %%
show_source(ops.attention)

# %%
y, pullback = ops.attention(np.concatenate([q, k, v], axis=1)[None], heads=1)

agree("Y", Y, y[0])
agree("dq, dk, dv", dqkv, pullback(dY[None])[0][0])

# %% [markdown]
# ## Experiment: what is $1/\sqrt{D_h}$ for?
#
# Suppose the entries of a query and a key are independent, with mean 0 and variance 1. Their dot product is a sum of
# $D_h$ terms of variance 1, so its variance is $D_h$ and its standard deviation $\sqrt{D_h}$. Dividing by $\sqrt{D_h}$
# gives variance 1 at every width.
#
# Without the division, wider heads have larger scores, and large scores make the softmax put nearly all weight on one
# key. For all other keys $A_{ij}$ is nearly zero, and so is $\mathrm{d}S_{ij} = A_{ij}(\mathrm{d}A_{ij} - r_i)$. Their
# scores get hardly any gradient, even if these keys would be useful.
#
# The **entropy** of a row, $-\sum_j A_{ij}\log A_{ij}$, measures this. It is $\log N$ if all keys have the same weight,
# and 0 if one key has all the weight.
#
# **Predict first.** Take 64 tokens and heads of width 64, as in ViT-B (Table 1: width 768, 12 heads). By what factor
# does the division shrink the variance of the scores? By what power of ten does it change the median of
# $|\mathrm{d}S|$?

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

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
titles = ["variance of the scores", "entropy of a row of $A$", r"median $|\mathrm{d}S|$ for a random $\mathrm{d}A$"]
for i, title in enumerate(titles):
    axes[i].plot(widths, unscaled[:, i], "o-", label="without the division")
    axes[i].plot(widths, scaled[:, i], "s-", label=r"with the division by $\sqrt{D_h}$")
    axes[i].set(title=title, xlabel="width of a head, $D_h$", xscale="log")
    axes[i].axvline(64, color="grey", linewidth=1, linestyle="--", label="width of ViT-B")
axes[0].set_yscale("log")
axes[1].axhline(np.log(tokens), color="grey", linestyle=":")
axes[1].annotate(r"$\log N$", (500, np.log(tokens) - 0.05), ha="right", va="top", color="grey")
axes[2].set(yscale="log", ylim=(1e-12, 1e-1))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()

at_64 = widths.index(64)
for name, row in (("without the division", unscaled[at_64]), ("with it", scaled[at_64])):
    print(
        f"{name:<21} variance {row[0]:6.2f}   entropy {row[1]:.2f} of {np.log(tokens):.2f}   median |dS| {row[2]:.1e}"
    )

# %% [markdown]
# **In the stored run** at this width the division brings the variance from 63.92 to 1.00 and the entropy from 0.59 to
# 3.68. The median of $|\mathrm{d}S|$ grows from 5.1e-09 to 5.8e-03, by six powers of ten.
#
# With the division the three curves are nearly level: for such inputs the softmax is about equally soft at every width.
# Without it, at least half of the scores of a wide head get almost no gradient. (In the right panel this curve falls
# below the axis.) If one key has all the weight, $r_i$ is the $\mathrm{d}A_{ij}$ of this key, so even its score gets no
# gradient.
#
# ## What attention costs
#
# Each entry of a matrix product is a sum of as many products as the inner axis is long. So the product of an $(N, D)$
# and a $(D, D_h)$ matrix takes $N D D_h$ multiplications, each followed by an addition. The widths of all heads add up
# to $D$ (notebook 08). So for all heads together
#
# - Eq. 5 takes $3ND^2$ multiply-adds: three products of $(N, D)$ and $(D, D)$,
# - Eq. 6 and Eq. 7 take $N^2 D$ each, so $2N^2 D$.
#
# The first grows with $N$, the second with $N^2$. They are equal at $N = \frac32 D$. And every head has a matrix $A$ of
# $N^2$ entries. We leave out the projection of the joined heads, $\mathbf{U}_{msa}$ (Eq. 8, notebook 08).
#
# **Predict first.** An image of $224 \times 224$ pixels has 196 patches of $16 \times 16$ pixels. Suppose that every pixel
# were a token instead. By what factor would Eq. 6 and 7 cost more? How much memory would the matrix $A$ of one head need
# in float32?


# %% tags=["yours"]
def multiply_adds(N, D):
    """Multiply-adds of all heads of one block: those of Eq. 5, and those of Eq. 6 and 7 together."""
    return 3 * N * D**2, 2 * N**2 * D


# %%
D_base = 768  # ViT-B
reference = multiply_adds(197, D_base)[1]
print(" patch   tokens   Eq. 5 (GMAC)   Eq. 6 and 7 (GMAC)   times 16 x 16     one A (MB)")
for side in (16, 8, 4, 1):
    count = (224 // side) ** 2 + 1  # patches and [class]
    projections, weighing = multiply_adds(count, D_base)
    print(
        f"{side:>2} x {side:<2} {count:>8} {projections / 1e9:>12.2f} {weighing / 1e9:>20.2f}"
        f" {weighing / reference:>16.0f} {4 * count**2 / 1e6:>14.1f}"
    )
print(f"equal at {1.5 * D_base:.0f} tokens")

# %%
counts = np.geomspace(50, 1e5, 200)
figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
projections, weighing = multiply_adds(counts, D_base)
axis.loglog(counts, projections, linewidth=2, label="Eq. 5, $3ND^2$")
axis.loglog(counts, weighing, "--", linewidth=2, label="Eq. 6 and 7, $2N^2D$")
for side in (16, 8, 4, 1):
    count = (224 // side) ** 2 + 1
    axis.axvline(count, color="grey", linewidth=0.8, linestyle=":")
    name = f"{side} × {side}\npatches" if side > 1 else "pixels"
    axis.annotate(name, (count, 2e15), ha="center", va="top", fontsize=10, backgroundcolor="white")
axis.plot(1.5 * D_base, multiply_adds(1.5 * D_base, D_base)[0], "k.", markersize=11)
axis.annotate("equal at 1152", (1.5 * D_base * 1.2, 7e8), ha="left")
axis.set(
    title="ViT-B, image of 224 × 224 pixels",
    xlabel="tokens, $N$",
    ylabel="multiply-adds of all heads of a block",
    ylim=(1e6, 4e15),
)
axis.legend(loc="lower right")
plt.show()

# %% [markdown]
# **In the stored run** patches of 16 x 16 make 197 tokens, and Eq. 6 and 7 are the smaller part: 0.06 against 0.35 GMAC
# (thousand million multiply-adds). With a token for each pixel they would cost 64875 times as much, 3867.24 GMAC, and one
# $A$ would need 10070.9 MB.
#
# ViT-B has twelve such matrices in each of twelve blocks (Table 1). That is why its tokens are patches. Section 2 of the
# paper gives the same reason: the cost is quadratic in the number of pixels.
#
# ## Where this goes wrong in practice
#
# - **Softmax over the wrong axis.** With `axis=0` the *columns* of $A$ sum to 1, not the rows. The shapes are right,
#   and the model may still train. The row sums show the mistake, and so does a comparison with a reference.
# - **$1/\sqrt{D}$ instead of $1/\sqrt{D_h}$.** In a model with one head $D_h = D$, so a test with one head cannot see
#   the difference. (In this notebook $D_h$ differs from $D$.)
# - **The row sum $r$ forgotten.** $\mathrm{d}S = A \circ \mathrm{d}A$ looks right. If the cotangent of the softmax is
#   all ones, a check notices this mistake. But it accepts a backward pass that returns $\mathrm{d}S = 0$. A random
#   cotangent rejects both.
# - **exp without subtracting the maximum.** In float32 `exp(89)` is infinite. Infinity divided by infinity is NaN, and
#   this makes the whole row of the result NaN.
#
# ## Exercises
#
# Write your answer in the cell; `check` says at once whether it is right, on inputs of several shapes. `hint("7.1")`, from
# `minivit.lessons`, gives up to three hints, one per call.
#
# **7.1 (two lines).** A query of zeros has the same score with every key. Write its result as a function of the values
# `v` alone.


# %%
def result_of_zero_query(v):
    """v: (N, Dh) -> (Dh,)"""
    ...  # your answer here


check("7.1", result_of_zero_query)

# %% [markdown]
# **7.2 (ten minutes).** A language model predicts the next token, so no token may look at later ones. A **causal mask**
# sets the scores $S_{ij}$ with $j > i$ to $-\infty$ before the softmax. Write the forward pass: `q, k, v -> Y`.


# %%
def causal_attention(q, k, v):
    """q, k, v: (N, Dh) -> Y (N, Dh), where row i depends on the rows 0..i of k and v alone."""
    ...  # your answer here


check("7.2", causal_attention)

# %% [markdown]
# **7.3 (twenty minutes).** Write the backward pass of 7.2: given `q, k, v` and `dY`, return `dq, dk, dv`. Does the mask
# need a line of its own? Compare with step 2 before you write one.


# %%
def causal_attention_backward(q, k, v, dY):
    """q, k, v, dY: (N, Dh) -> dq, dk, dv, each (N, Dh)."""
    ...  # your answer here


check("7.3", causal_attention_backward)

# %% [markdown]
# **7.4 (an hour).** $A$ has $N^2$ entries: at $384 \times 384$ pixels and patches of $16 \times 16$ that is $577^2$ for
# each head and block. Compute the result without $A$: go over the keys in blocks, and keep three things for each query
# $i$, over the keys $j$ so far:
#
# $$m_i = \max_j S_{ij}, \qquad \sum_j e^{S_{ij} - m_i}, \qquad \sum_j e^{S_{ij} - m_i}\,\mathbf{v}_j.$$
#
# When a new block raises $m_i$, both sums must be corrected. No array of scores or weights may have more than $N \cdot$
# `block` entries; the checker measures the memory. Your function must also work if all scores of a query are far below
# zero.


# %%
def attention_in_blocks(q, k, v, block):
    """Eq. 6 and 7 without the matrix A.   q, k, v: (N, Dh), block: how many keys at a time -> Y (N, Dh)."""
    ...  # your answer here


check("7.4", attention_in_blocks)

# %% [markdown]
# **7.5 (ten minutes).** ViT-B/16 has $D = 768$ and patches of $16 \times 16$ pixels. The images are square, and their side
# is a multiple of 16 pixels. From which side on do Eq. 6 and 7 take more multiply-adds than Eq. 5? Do not forget the
# [class] token.

# %%
side_in_pixels = None  # your answer here

check("7.5", side_in_pixels)

# %% [markdown]
# Next: [08, multi-head attention](08_multi_head.ipynb).

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
# # 02 Shapes: broadcasting, products, reductions
#
# Much of a Vision Transformer's code adds, multiplies, reshapes, transposes or sums arrays. The equations of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) take these operations for granted. A program needs the
# gradient of each. All follow from **one rule**. At the end you will be able to
#
# - derive the pullback of such an operation from its indices,
# - undo broadcasting: sum a gradient back to the shape of an argument that was stretched,
# - say which wrong gradients a check by `.sum()` accepts, and why a random cotangent rejects them.
#
# You need notebook [00](00_numbers.ipynb) (op, cotangent, `check_vjp`) and notebook [01](01_autodiff.ipynb) (the chain
# rule backwards).
#
# **Budget:** 5 s of CPU time (fast mode 3 s).

# %%
import itertools

import matplotlib.pyplot as plt
import numpy as np

from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, show_source
from minivit.tensor import Tensor, grad, unbroadcast

rng = np.random.default_rng(2)

# %% [markdown]
# ## One rule
#
# An operation makes an array $Y$ from an array $X$. We know the cotangent $G$, the gradient of the loss with respect to
# $Y$. We want $\mathrm{d}X$, the gradient with respect to $X$. An entry $X_i$ may be used in several entries $Y_j$, and
# each use counts (notebook 01, chain rule):
#
# $$\mathrm{d}X_i = \sum_j G_j \, \frac{\partial Y_j}{\partial X_i}.$$
#
# In words: **an entry of $X$ collects the gradient of every place where it was used.** Here $i$ and $j$ stand for whole
# lists of indices.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model: the numbers in a token | number | `D` |
# | $F$ | width of the MLP; here just a second width | number | `M` |
# | $X$ | an argument | as stated | `X` |
# | $b$ | a bias, added to every token | $(D)$ | `b` |
# | $W$ | a matrix | $(D, F)$ | `W` |
# | $Y$ | the result | as stated | `Y` |
# | $G$ | cotangent: gradient of the loss with respect to $Y$ | that of $Y$ | `G` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# A *token* is one row of $X$: $D$ numbers that stand for one piece of an image (notebook [03](03_patches.ipynb)). A
# *batch* is several images at once. In the code $F$ is called `M`, because `F` is a module in later notebooks. These
# four lengths differ, so that most mix-ups of two axes raise an error instead of giving a wrong number.

# %%
B, N, D, M = 2, 3, 4, 5
X = rng.standard_normal((N, D))
b = rng.standard_normal(D)
W = rng.standard_normal((D, M))

# %% [markdown]
# ## Broadcasting
#
# `X + b` adds the bias to every token. NumPy compares the shapes from the right. If an array lacks an axis, or has
# length 1 along it, NumPy repeats its entries along that axis:
#
# $$Y_{nd} = X_{nd} + b_d.$$
#
# **Step 1.** $X_{nd}$ is used once, in $Y_{nd}$, with derivative 1. So $\mathrm{d}X = G$.
#
# **Step 2.** $b_d$ is used in $Y_{nd}$ for *every* $n$, each time with derivative 1. So it collects $N$ gradients:
#
# $$\mathrm{d}b_d = \sum_n G_{nd}.$$
#
# First as loops, with the forward pass and the backward pass side by side:


# %% tags=["yours"]
def bias_loops(X, b, G):
    """Y = X + b and its gradients, entry by entry.   X: (N, D), b: (D,), G: (N, D) -> Y (N, D), dX (N, D), db (D,)."""
    Y, dX, db = np.zeros(X.shape), np.zeros(X.shape), np.zeros(b.shape)
    for n in range(len(X)):
        for d in range(len(b)):
            Y[n, d] = X[n, d] + b[d]
            dX[n, d] += G[n, d]
            db[d] += G[n, d]  # += : the same b[d] comes again for the next n
    return Y, dX, db


# %% [markdown]
# Then without loops:

# %%
G = rng.standard_normal((N, D))
Y_loops, dX_loops, db_loops = bias_loops(X, b, G)

# %% tags=["yours"]
Y = X + b
dX = G
db = G.sum(axis=0)
agree("Y", Y, Y_loops)
agree("dX", dX, dX_loops)
agree("db", db, db_loops)

# %% [markdown]
# ## Unbroadcasting
#
# **Copying forwards is summing backwards.** This holds for every shape that can be stretched to another one. Each entry
# of the large array was copied from an entry of the small one. To find the indices of the small entry, take those of
# the large one, drop those of the axes added in front, and put 0 wherever the small array has length 1. The function
# `unbroadcast_loops` adds up by this rule.


# %%
def unbroadcast_loops(G, shape):
    """Sum G back to `shape`, the shape of an array that was stretched to G's."""
    d = np.zeros(shape)
    for place in np.ndindex(G.shape):
        same_axes = place[G.ndim - len(shape) :]
        source = tuple(0 if length == 1 else i for i, length in zip(same_axes, shape, strict=True))
        d[source] += G[place]
    return d


# %% [markdown]
# Two sums do the same: one over the axes added in front, one over the axes of length 1, which stay as axes of length 1.


# %% tags=["yours"]
def my_unbroadcast(G, shape):
    """As unbroadcast_loops, with two sums."""
    d = G.sum(axis=tuple(range(G.ndim - len(shape))))
    stretched = tuple(axis for axis, length in enumerate(shape) if length == 1)  # a sum of one entry does no harm
    return d.sum(axis=stretched, keepdims=True)


# %%
G3 = rng.standard_normal((B, N, D))
shapes = [(D,), (N, D), (N, 1), (1, D), (B, 1, D), (1,), ()]
mine, loops = ([f(G3, shape) for shape in shapes] for f in (my_unbroadcast, unbroadcast_loops))
assert [d.shape for d in mine] == shapes
agree("seven shapes", np.concatenate([d.ravel() for d in mine]), np.concatenate([d.ravel() for d in loops]))

# %% [markdown]
# In the library an op may return gradients of the stretched shape. The engine then calls this function. (In the
# library's sources *adjoint* means pullback, and the *tape* is the record of notebook 01. `xp_of(x)` is NumPy, or CuPy
# for an array on a GPU.)

# %%
show_source(unbroadcast)

# %% [markdown]
# For a product, $Y_{nd} = X_{nd} b_d$, the derivative with respect to $X_{nd}$ is $b_d$, and the one with respect to
# $b_d$ is $X_{nd}$:

# %%
tX, tb = Tensor(X, requires_grad=True), Tensor(b, requires_grad=True)
dX, db = grad(tX * tb, [tX, tb], G)

agree("dX", dX, unbroadcast(G * b, X.shape))
agree("db", db, unbroadcast(G * X, b.shape))

# %% [markdown]
# ## Matrix product
#
# $$Y_{nf} = \sum_d X_{nd} W_{df}$$
#
# Each term $X_{nd} W_{df}$ is used once, in $Y_{nf}$. Its derivative with respect to $X_{nd}$ is $W_{df}$, and with
# respect to $W_{df}$ it is $X_{nd}$. So in the loops, every line of the forward pass is followed by two lines of the
# backward pass:


# %% tags=["yours"]
def product_loops(X, W, G):
    """Y = X W and its gradients, term by term.   X: (N, D), W: (D, M), G: (N, M) -> Y (N, M), dX (N, D), dW (D, M)."""
    Y, dX, dW = np.zeros(G.shape), np.zeros(X.shape), np.zeros(W.shape)
    for n in range(X.shape[0]):
        for d in range(X.shape[1]):
            for f in range(W.shape[1]):
                Y[n, f] += X[n, d] * W[d, f]
                dX[n, d] += G[n, f] * W[d, f]
                dW[d, f] += G[n, f] * X[n, d]
    return Y, dX, dW


# %% [markdown]
# Now we read the two sums as matrix products again. In a matrix product the summed index stands last in the left factor
# and first in the right one. If it does not, transpose that factor:
#
# $$\mathrm{d}X_{nd} = \sum_f G_{nf} W_{df} = \sum_f G_{nf} (W^\top)_{fd} \;\Rightarrow\; \mathrm{d}X = G\,W^\top,$$
#
# $$\mathrm{d}W_{df} = \sum_n X_{nd} G_{nf} = \sum_n (X^\top)_{dn} G_{nf} \;\Rightarrow\; \mathrm{d}W = X^\top G.$$
#
# You need not remember this: with three different lengths only these products have the right shapes,
# $(N, D) = (N, F)(F, D)$ and $(D, F) = (D, N)(N, F)$.

# %%
G = rng.standard_normal((N, M))
Y_loops, dX_loops, dW_loops = product_loops(X, W, G)

# %% tags=["yours"]
Y = X @ W
dX = G @ W.T
dW = X.T @ G
agree("Y", Y, Y_loops)
agree("dX", dX, dX_loops)
agree("dW", dW, dW_loops)

# %% [markdown]
# With a batch in front, $(B, N, D)(D, F)$, every image uses the same matrix $W$. Then $\mathrm{d}W$ is the sum over the
# batch: unbroadcasting again. Find the two products in the library's op. Its other lines are for vectors, which NumPy's
# `@` also takes.

# %%
show_source(ops.matmul)

# %%
XB, GB = rng.standard_normal((B, N, D)), rng.standard_normal((B, N, M))
Y, pullback = ops.matmul(XB, W)
dXB, dW = pullback(GB)

print("dW as the op returns it:", dW.shape, "  the engine sums it to:", unbroadcast(dW, W.shape).shape)
agree("dW", unbroadcast(dW, W.shape), sum(XB[i].T @ GB[i] for i in range(B)))

# %% [markdown]
# ## Moving entries: reshape and transpose
#
# Both change no number, they only move the numbers. Each entry of $X$ is used once, so its gradient is the entry of $G$
# at its new place: **move the gradient back.** A reshape keeps the order in which the entries are read, row by row. A
# transpose changes it.

# %%
small = np.arange(6).reshape(2, 3)
print("X\n", small, "\nX transposed\n", small.T, "\nX reshaped to the same shape\n", small.reshape(3, 2))

# %% [markdown]
# The pullback of a reshape is a reshape to the old shape. The pullback of a transpose with the order `axes` is a
# transpose with the *inverse* order: if axis 2 of $X$ has become axis 0 of $Y$, then axis 0 of $G$ must become axis 2.
# For two axes the inverse is the order itself. For three or more it may differ. `np.argsort(axes)` finds it: its entry
# $i$ is the position of $i$ in `axes`. As loops:


# %% tags=["yours"]
def transpose_loops(X, G):
    """Y = X.transpose(2, 0, 1) and its gradient.   X: (B, N, D), G: (D, B, N) -> Y (D, B, N), dX (B, N, D)."""
    Y, dX = np.zeros(G.shape), np.zeros(X.shape)
    for i in range(X.shape[0]):
        for n in range(X.shape[1]):
            for d in range(X.shape[2]):
                Y[d, i, n] = X[i, n, d]
                dX[i, n, d] = G[d, i, n]
    return Y, dX


# %%
axes = (2, 0, 1)  # axis 0 of Y is axis 2 of X, axis 1 is axis 0, axis 2 is axis 1
G = rng.standard_normal((D, B, N))
Y_loops, dX_loops = transpose_loops(XB, G)

# %% tags=["yours"]
inverse = tuple(np.argsort(axes).tolist())
dX = G.transpose(inverse)
print("order", axes, "  inverse order", inverse)
agree("Y", XB.transpose(axes), Y_loops)
agree("dX", dX, dX_loops)

# %%
show_source(ops.transpose)

# %% [markdown]
# Indexing moves entries as well. A slice, `X[1:3]`, leaves some out: they get gradient 0. A list, `X[[0, 0, 1]]`, may
# take an entry twice: it collects both gradients (`np.add.at`).
#
# ## Reductions
#
# A sum over the tokens, $Y_d = \sum_n X_{nd}$, uses every $X_{nd}$ once, with derivative 1. So each gets the gradient
# of its sum:
#
# $$\mathrm{d}X_{nd} = G_d.$$
#
# **Summing forwards is copying backwards.** A mean over $N$ tokens hands out $G_d / N$. A maximum hands all of $G_d$ to
# the largest entry. (If several entries are largest, there is no derivative. This library shares $G_d$ among them.)
#
# The cotangent lacks the summed axis. Put it back with length 1; then NumPy can stretch it. (If
# the summed axis was the first one, NumPy puts it back by itself.) An example is the sum over the features, $Y_n = \sum_d X_{nd}$, with the gradient
# $\mathrm{d}X_{nd} = G_n$:

# %%
G = rng.standard_normal(N)
Y_loops, dX_loops = np.zeros(N), np.zeros((N, D))
for n in range(N):
    for d in range(D):
        Y_loops[n] += X[n, d]
        dX_loops[n, d] = G[n]

# %% tags=["yours"]
Y = X.sum(axis=1)
dX = np.broadcast_to(G[:, None], X.shape)
agree("Y", Y, Y_loops)
agree("dX", dX, dX_loops)

# %%
show_source(ops.sum)

# %% [markdown]
# ## Check them all
#
# `check_vjp` compares each pullback with central differences, for a random cotangent (notebook 00).

# %%
for op, arrays, parameters in [
    (ops.add, (X, b), {}),
    (ops.mul, (X, b), {}),
    (ops.matmul, (XB, W), {}),
    (ops.reshape, (XB,), {"shape": (N, B * D)}),
    (ops.transpose, (XB,), {"axes": (2, 0, 1)}),
    (ops.sum, (XB,), {"axis": (0, 2)}),
    (ops.mean, (XB,), {"axis": 1}),
    (ops.max, (XB,), {"axis": -1}),
]:
    print(f"{op.__name__:<10} largest relative error {check_vjp(op, *arrays, **parameters):.1e}")

# %% [markdown]
# ## Experiment: which check catches which bug?
#
# Many tests of gradients compute `op(X).sum().backward()` and compare with differences. This is a check with a
# cotangent of **ones**. How good is it? We write ops with mistakes that people make, and show each to four checks. The
# checks differ only in the cotangent:
#
# | check | cotangent $G$ |
# |---|---|
# | `Y.sum()` | all ones |
# | `(Y * Y).sum() / 2` | $Y$ itself |
# | one entry of `Y` | 1 at one place, 0 elsewhere; each new draw uses the next place |
# | random | normally distributed |
#
# Each op is a value and a formula for its pullback, with $G$ the cotangent, $X$ the argument and $Y$ the value. In the
# names of the bugs $W$ is a matrix of shape $(4, 4)$ (`SQUARE`), and $\sigma$ is the standard deviation of a row
# (`spread`).


# %%
def make_op(value, pullback):
    """An op X -> (Y, vjp) from two formulas: value(X) and pullback(G, X, Y)."""

    def of(X):
        Y = value(X)
        return Y, lambda G: pullback(G, X, Y)

    return of


def mean(X):
    return X.mean(axis=-1, keepdims=True)


def spread(X):
    """The standard deviation of each row."""
    return np.sqrt(mean((X - mean(X)) ** 2))


def softmax(X):
    return np.exp(X) / np.exp(X).sum(axis=-1, keepdims=True)


def normalise(X):
    """Layer normalisation without scale and bias (notebook 05): each row with mean 0 and standard deviation 1."""
    return (X - mean(X)) / spread(X)


def row_sum(X):
    return X.sum(axis=-1, keepdims=True)


# %% [markdown]
# First the right ops: a good check accepts them. (Softmax and normalisation are functions of a row. Notebooks
# [05](05_layer_norm.ipynb) and [06](06_softmax_and_loss.ipynb) derive their pullbacks.)

# %%
SQUARE = np.random.default_rng(0).standard_normal((4, 4))
right = {
    "exp": make_op(np.exp, lambda G, X, Y: G * Y),
    "row sums": make_op(row_sum, lambda G, X, Y: G + 0 * X),  # + 0 * X stretches G to the shape of X
    "transpose": make_op(lambda X: X.T, lambda G, X, Y: G.T),
    "product with W": make_op(lambda X: X @ SQUARE, lambda G, X, Y: G @ SQUARE.T),
    "softmax": make_op(softmax, lambda G, X, Y: Y * (G - row_sum(G * Y))),
    "normalise": make_op(normalise, lambda G, X, Y: (G - mean(G) - Y * mean(G * Y)) / spread(X)),
}

# %%
wrong = {
    "exp: $G$ forgotten": make_op(np.exp, lambda G, X, Y: Y),
    "exp: first row gets nothing": make_op(np.exp, lambda G, X, Y: G * Y * (np.arange(len(X)) > 0)[:, None]),
    "row sums: $G$ spread as for a mean": make_op(row_sum, lambda G, X, Y: G / X.shape[1] + 0 * X),
    "row sums: $G$ stretched along the wrong axis": make_op(row_sum, lambda G, X, Y: G.T + 0 * X),
    "transpose: $G$ reshaped": make_op(lambda X: X.T, lambda G, X, Y: G.reshape(X.shape)),
    "product: $W$ not transposed": make_op(lambda X: X @ SQUARE, lambda G, X, Y: G @ SQUARE),
    "softmax: zeros": make_op(softmax, lambda G, X, Y: 0 * G),
    "softmax: 7 times too large": make_op(softmax, lambda G, X, Y: 7 * Y * (G - row_sum(G * Y))),
    "softmax: $Y(G - 1)$": make_op(softmax, lambda G, X, Y: Y * (G - 1)),
    "softmax: row sum forgotten": make_op(softmax, lambda G, X, Y: Y * G),
    "normalise: zeros": make_op(normalise, lambda G, X, Y: 0 * G),
    "normalise: $1/\\sigma$ forgotten": make_op(normalise, lambda G, X, Y: G - mean(G) - Y * mean(G * Y)),
    "normalise: $\\sigma$ taken as a constant": make_op(normalise, lambda G, X, Y: (G - mean(G)) / spread(X)),
    "normalise: mean of $G$ forgotten": make_op(normalise, lambda G, X, Y: (G - Y * mean(G * Y)) / spread(X)),
}

# %% [markdown]
# A check compares every entry of the pulled-back gradient with a central difference (notebook 00). Its tolerance has an
# absolute part, because the right gradient may be zero. All numbers here are of size about 1, so this part hides
# nothing.
#
# **Predict first.** Which of these fourteen wrong ops does `Y.sum()` accept? Which does `(Y * Y).sum() / 2` accept? In
# what share of the draws does the check by one entry notice that the first of the four rows gets no gradient?


# %%
def rejects(op, X, cotangent_for):
    """Whether the check with this cotangent finds the op wrong.   cotangent_for: Y -> G of Y's shape."""
    Y, vjp = op(X)
    G, step = cotangent_for(Y), 1e-5
    numerical = np.zeros_like(X)
    for place in np.ndindex(X.shape):
        moved = np.zeros_like(X)
        moved[place] = step
        numerical[place] = (G * (op(X + moved)[0] - op(X - moved)[0])).sum() / (2 * step)
    return np.abs(vjp(G) - numerical).max() > 1e-8 + 1e-6 * np.abs(numerical).max()


draws = [rng.standard_normal((4, 4)) for _ in range(full_or_fast(96, 16))]  # a multiple of 16: each place equally often
places = itertools.cycle(range(16))


def one_hot(Y):
    """1 at the next place, 0 elsewhere.   Y: 16 or 4 entries."""
    return np.eye(Y.size)[next(places) % Y.size].reshape(Y.shape)


checks = {
    "Y.sum()": np.ones_like,
    "(Y * Y).sum() / 2": lambda Y: Y,
    "one entry": one_hot,
    "random": lambda Y: rng.standard_normal(Y.shape),
}


def shares(ops):
    """For every op (row) and check (column) the share of draws in which the check rejects the op."""
    return np.array(
        [[np.mean([rejects(f, X, cotangent) for X in draws]) for cotangent in checks.values()] for f in ops.values()]
    )


print("right ops rejected (share of draws, at most):", shares(right).max())
caught = shares(wrong)

# %%
figure, axis = plt.subplots(figsize=(10, 5.5), layout="constrained")
image = axis.imshow(caught, cmap="cividis", vmin=0, vmax=1, aspect="auto")
for row, column in np.ndindex(caught.shape):
    share = caught[row, column]
    text = "caught" if share == 1 else "PASSES" if share == 0 else f"{share:.0%}"
    axis.text(column, row, text, ha="center", va="center", color="black" if share > 0.5 else "white", fontsize=9)
axis.set_xticks(range(len(checks)), checks, fontsize=9)
axis.set_yticks(range(len(wrong)), wrong)
axis.set(xlabel="the check, by what it differentiates", ylabel="the wrong pullback")
axis.spines[:].set_visible(False)
figure.colorbar(image, label="share of draws in which the bug is caught")
plt.show()

# %%
for name, column in zip(checks, caught.T, strict=True):
    print(
        f"{name:<18} caught in every draw: {sum(column == 1):2d} of {len(wrong)}   never caught: {sum(column == 0):2d}"
    )
for row, column in np.argwhere((caught > 0) & (caught < 1)):
    print(f"{list(checks)[column]} catches in {caught[row, column]:.0%} of the draws: {list(wrong)[row]}")

# %% [markdown]
# **In the stored run** `Y.sum()` never catches 9 of the 14 bugs, and `(Y * Y).sum() / 2` never catches 3. One entry
# catches 12 bugs in every draw, another bug in 25% of the draws and the last in 75%. The random cotangent catches 14 of 14.
#
# **Ones** let these pass:
#
# - exp, $G$ forgotten: the missing factor is 1.
# - Row sums, $G$ stretched along the wrong axis: a column of ones, stretched, is equal to a row of ones, stretched.
# - Transpose, $G$ reshaped: all entries are equal, so a wrong order changes nothing.
# - Softmax: each row of $Y$ sums to 1, so the sum does not depend on $X$ and the right gradient is 0. A pullback that
#   returns zeros agrees with it. The right formula gives 0, and 7 times 0 is 0. In $Y(G - 1)$ the bracket is 0.
# - Normalise: each row of $Y$ sums to 0, so again the right gradient is 0, and zeros agree with it. Without $1/\sigma$
#   the right formula is still 0. With $\sigma$ as a constant it is 0 too, since $G$ minus its mean is 0.
#
# **$Y$ itself** lets three bugs of normalise pass. The squares of each row sum to a constant, so the right gradient is
# zero:
#
# - Zeros agree with it.
# - Without $1/\sigma$ the right formula is still 0.
# - The forgotten mean of $G$ is here the mean of $Y$, which is 0.
#
# **One entry** tests only the part of the pullback that this entry needs. In exp only the 4 of 16 places in the first
# row show the bug. A transpose does not move the 4 entries on the diagonal, so there the reshaped gradient is right.
#
# **Random**: the probability that random numbers hide an error exactly is zero, and a large error almost never falls
# below the tolerance.
#
# This is why `check_vjp` draws its cotangent at random. The arrays above are $4 \times 4$ on purpose. With two
# different lengths NumPy would refuse two of the bugs: row sums with $G$ stretched along the wrong axis, and $W$ not
# transposed.
#
# ## Where this goes wrong in practice
#
# - **Silent stretching.** Arrays of shapes $(N)$ and $(N, 1)$ do not add up entry by entry: the result is $(N, N)$. The
#   mean of such a "difference" is a plausible loss. Check shapes, and use `keepdims=True`.
# - **Square test cases.** $N = D$ hides a missing transpose and a wrong axis. Test with lengths that all differ.
# - **Sum or mean over the batch.** The gradient of a bias is the *sum* over all places that used it. If the loss is a
#   mean, its factor is already in $G$.
# - **Writing into the cotangent.** The pullback of `X + Z`, both of one shape, returns the same array $G$ for both
#   arguments. If somebody then writes `dX *= 2`, `dZ` changes with it. (The engine guards against this.)
# - **reshape instead of transpose.** `x.reshape(B, H, N, Dh)` on an array of shape `(B, N, H, Dh)` runs, and mixes the
#   tokens with the *heads* (`H` groups of `Dh` features). Notebook [08](08_multi_head.ipynb) looks for this bug.
#
# ## Exercises
#
# `hint("2.1")` gives up to three hints, one per call.
#
# **2.1 (two lines).** A bias $b$ of shape $(D)$ is added to tokens of shape $(B, N, D)$. Write its gradient.


# %%
def bias_gradient(dY):
    """dY: (B, N, D) -> db (D,)"""
    ...  # your answer here


check("2.1", bias_gradient)

# %% [markdown]
# **2.2 (ten minutes).** Some libraries keep the matrix of a linear layer as $(F, D)$ and compute $Y = X W^\top$. Write
# both gradients.


# %%
def transposed_product_backward(X, W, dY):
    """X: (N, D), W: (M, D), dY: (N, M) -> dX (N, D), dW (M, D)"""
    ...  # your answer here


check("2.2", transposed_product_backward)

# %% [markdown]
# **2.3 (fifteen minutes).** A running sum: $Y_i = X_1 + X_2 + \dots + X_i$ (`np.cumsum`). In which entries of $Y$ is
# $X_i$ used? Write its gradient.


# %%
def running_sum_backward(dY):
    """dY: (n,) -> dX (n,)"""
    ...  # your answer here


check("2.3", running_sum_backward)

# %% [markdown]
# **2.4 (twenty minutes).** Break an op so that `.sum()` does not notice. Write $Y = X \circ X$, entry by entry, with a
# pullback that is *wrong* and still passes the check with a cotangent of ones. The checker uses both cotangents, ones
# and random.


# %%
def broken_square(X):
    """X: any shape -> X * X, vjp; vjp(G) returns a tuple of one array"""
    ...  # your answer here


check("2.4", broken_square)

# %% [markdown]
# **2.5 (an hour).** `np.einsum("bnd,df->bnf", X, W)` writes a product by its indices: an index that is missing in the
# result is summed over. Write the pullback of *every* einsum of two arrays, by einsum. Begin with the matrix product
# above, `"nd,df->nf"`, and watch where the letters go. Then think of an index that occurs in one argument only and not
# in the result, such as `f` in `"nd,df->n"`. No index occurs twice in one array.


# %%
def einsum_backward(subscripts, X, Y, G):
    """Gradients of np.einsum(subscripts, X, Y).   subscripts: "ij,jk->ik" or the like; G: cotangent -> dX, dY"""
    ...  # your answer here


check("2.5", einsum_backward)

# %% [markdown]
# Next: [03, patches](03_patches.ipynb).

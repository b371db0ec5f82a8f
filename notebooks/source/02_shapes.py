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
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) take these operations for granted; a program needs the gradient of each. All follow
# from **one rule**. At the end you will be able to
#
# - derive the pullback of such an operation from its indices,
# - undo broadcasting: sum a gradient back to the shape of an argument that was stretched,
# - say which wrong gradients a check by `.sum()` accepts, and why a random cotangent rejects them.
#
# You need notebook [00](00_numbers.ipynb) (op, cotangent, `check_vjp`) and notebook [01](01_autodiff.ipynb) (the chain rule backwards).
#
# **Budget:** 5 s of CPU time (fast mode 3 s).

# %%
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
# An operation makes an array $Y$ from an array $X$. We are given the cotangent $G$, the gradient of the loss with respect to $Y$. What is
# $\mathrm{d}X$, the gradient with respect to $X$? Every entry $X_i$ may be used in several entries $Y_j$, and each use counts (notebook 01, chain rule):
#
# $$\mathrm{d}X_i = \sum_j G_j \, \frac{\partial Y_j}{\partial X_i}.$$
#
# Read it as: **an entry of $X$ collects the gradient of every place where it was used.** Here $i$ and $j$ stand for whole lists of indices.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B, N, D, E$ | lengths of axes: batch, tokens, width, another width | numbers | `B`, `N`, `D`, `E` |
# | $X$ | an argument | as stated | `X` |
# | $b$ | a bias, added to every token | $(D)$ | `b` |
# | $W$ | a matrix | $(D, E)$ | `W` |
# | $Y$ | the result | as stated | `Y` |
# | $G$ | cotangent: gradient of the loss with respect to $Y$ | that of $Y$ | `G` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# A *token* is one row of $X$: $D$ numbers that stand for one piece of an image (notebook [03](03_patches.ipynb)). A *batch* is several images at once. All
# lengths differ, so that two axes that are mixed up make an error instead of a wrong number.

# %%
B, N, D, E = 2, 3, 4, 5
X = rng.standard_normal((N, D))
b = rng.standard_normal(D)
W = rng.standard_normal((D, E))

# %% [markdown]
# ## Broadcasting
#
# `X + b` adds the bias to every token. NumPy compares the shapes from the right. Where one array has no axis, or an axis of length 1, it is
# used again and again, as if it were copied:
#
# $$Y_{nd} = X_{nd} + b_d.$$
#
# **Step 1.** $X_{nd}$ is used once, in $Y_{nd}$, with derivative 1. So $\mathrm{d}X = G$.
#
# **Step 2.** $b_d$ is used in $Y_{nd}$ for *every* $n$, each time with derivative 1. So it collects $N$ gradients:
#
# $$\mathrm{d}b_d = \sum_n G_{nd}.$$
#
# As loops, the forward pass and the backward pass side by side:

# %%
G = rng.standard_normal((N, D))
Y_loops, dX_loops, db_loops = np.zeros((N, D)), np.zeros((N, D)), np.zeros(D)
for n in range(N):
    for d in range(D):
        Y_loops[n, d] = X[n, d] + b[d]
        dX_loops[n, d] += G[n, d]
        db_loops[d] += G[n, d]  # += : the same b[d] comes again for the next n

agree("Y", X + b, Y_loops)
agree("dX", G, dX_loops)
agree("db", G.sum(axis=0), db_loops)

# %% [markdown]
# ## Unbroadcasting
#
# **Copying forwards is summing backwards.** This holds for every shape that can be stretched to another one. An entry of the stretched array
# came from the entry of the small array at the same place, without the axes added in front, and with index 0 along each axis of length 1.


# %%
def unbroadcast_loops(G, shape):
    """Sum G back to `shape`, the shape of an array that was stretched to G's."""
    d = np.zeros(shape)
    for place in np.ndindex(G.shape):
        same_axes = place[G.ndim - len(shape) :]
        source = tuple(0 if length == 1 else i for i, length in zip(same_axes, shape, strict=True))
        d[source] += G[place]
    return d


def my_unbroadcast(G, shape):
    """The same with two sums: over the axes added in front, then over the axes of length 1 that were stretched."""
    d = G.sum(axis=tuple(range(G.ndim - len(shape))))
    stretched = tuple(axis for axis, length in enumerate(shape) if length == 1)  # or was not: then the sum has one term
    return d.sum(axis=stretched, keepdims=True)


G3 = rng.standard_normal((B, N, D))
for shape in [(D,), (N, D), (N, 1), (1, D), (B, 1, D), (1,), ()]:
    agree("unbroadcast", my_unbroadcast(G3, shape), unbroadcast_loops(G3, shape))

# %% [markdown]
# The library does it in one place. An op may stretch its arguments as it likes and return gradients of the stretched shape; where the shape differs
# from the argument's, the engine calls this function. So no op has to think of it. (In the library's sources, *adjoint* is another word for pullback, and
# `xp_of(x)` is NumPy, or CuPy for an array on a GPU. The *tape* is the record of notebook 01.)

# %%
show_source(unbroadcast)

# %%
tX, tb = Tensor(X, requires_grad=True), Tensor(b, requires_grad=True)
dX, db = grad(tX * tb, [tX, tb], G)  # a product this time: the derivative of X b with respect to b is X

agree("dX", dX, unbroadcast(G * b, X.shape))
agree("db", db, unbroadcast(G * X, b.shape))

# %% [markdown]
# ## Matrix product
#
# $$Y_{ne} = \sum_d X_{nd} W_{de}$$
#
# Each term $X_{nd} W_{de}$ is used once, in $Y_{ne}$. Its derivative with respect to $X_{nd}$ is $W_{de}$, and with respect to $W_{de}$ it is $X_{nd}$.
# So the innermost line of the forward pass has exactly two lines behind it:

# %%
G = rng.standard_normal((N, E))
Y_loops, dX_loops, dW_loops = np.zeros((N, E)), np.zeros((N, D)), np.zeros((D, E))
for n in range(N):
    for d in range(D):
        for e in range(E):
            Y_loops[n, e] += X[n, d] * W[d, e]
            dX_loops[n, d] += G[n, e] * W[d, e]
            dW_loops[d, e] += G[n, e] * X[n, d]

# %% [markdown]
# Now read the two sums as matrix products again. A product sums over neighbouring indices, so a factor whose indices stand the wrong way round
# is transposed:
#
# $$\mathrm{d}X_{nd} = \sum_e G_{ne} W_{de} = \sum_e G_{ne} (W^\top)_{ed} \;\Rightarrow\; \mathrm{d}X = G\,W^\top,$$
#
# $$\mathrm{d}W_{de} = \sum_n X_{nd} G_{ne} = \sum_n (X^\top)_{dn} G_{ne} \;\Rightarrow\; \mathrm{d}W = X^\top G.$$
#
# You need not remember this: with three different lengths the shapes allow nothing else, $(N, D) = (N, E)(E, D)$ and $(D, E) = (D, N)(N, E)$.

# %%
agree("Y", X @ W, Y_loops)
agree("dX", G @ W.T, dX_loops)
agree("dW", X.T @ G, dW_loops)

# %% [markdown]
# With a batch in front, $(B, N, D)(D, E)$, the same matrix $W$ is used for every image. Then $\mathrm{d}W$ is the sum over the batch: unbroadcasting
# again. In the library's op find the two products; the other lines are for vectors, which NumPy's `@` also takes.

# %%
show_source(ops.matmul)

# %%
XB, GB = rng.standard_normal((B, N, D)), rng.standard_normal((B, N, E))
Y, pullback = ops.matmul(XB, W)
dXB, dW = pullback(GB)

print("dW as the op returns it:", dW.shape, "  the engine sums it to:", unbroadcast(dW, W.shape).shape)
agree("dW", unbroadcast(dW, W.shape), sum(XB[i].T @ GB[i] for i in range(B)))

# %% [markdown]
# ## Moving entries: reshape and transpose
#
# Both change no number, they only move them. Each entry of $X$ is used once, so its gradient is the entry of $G$ at the place where it went:
# **move the gradient back.** But the two do not move in the same way. A reshape keeps the order in which the entries are read, row by row; a
# transpose changes it.

# %%
small = np.arange(6).reshape(2, 3)
print("X\n", small, "\nX transposed\n", small.T, "\nX reshaped to the same shape\n", small.reshape(3, 2))

# %% [markdown]
# The pullback of a reshape is a reshape to the old shape. The pullback of a transpose with the order of axes `axes` is the transpose with the *inverse*
# order: if axis 2 of $X$ has become axis 0 of $Y$, then axis 0 of $G$ must become axis 2. For two axes the inverse is the order itself; from three on
# it need not be. `argsort` finds it: it says at which place of `axes` each of the numbers 0, 1, 2 stands. As loops:

# %%
axes = (2, 0, 1)  # axis 0 of Y is axis 2 of X, axis 1 is axis 0, axis 2 is axis 1
inverse = tuple(np.argsort(axes))
G = rng.standard_normal((D, B, N))
Y_loops, dX_loops = np.zeros((D, B, N)), np.zeros((B, N, D))
for i in range(B):
    for n in range(N):
        for d in range(D):
            Y_loops[d, i, n] = XB[i, n, d]
            dX_loops[i, n, d] = G[d, i, n]

print("order", axes, "  inverse order", tuple(int(axis) for axis in inverse))
agree("Y", XB.transpose(axes), Y_loops)
agree("dX", G.transpose(inverse), dX_loops)

# %%
show_source(ops.transpose)

# %% [markdown]
# Indexing moves entries as well. A slice, `X[1:3]`, leaves some out: they get gradient 0. A list, `X[[0, 0, 1]]`, may take an entry twice: it collects both
# gradients (`np.add.at`).
#
# ## Reductions
#
# A sum over the tokens, $Y_d = \sum_n X_{nd}$, uses every $X_{nd}$ once, with derivative 1. So each gets the gradient of its sum:
#
# $$\mathrm{d}X_{nd} = G_d.$$
#
# **Summing forwards is copying backwards.** A mean over $N$ tokens hands out $G_d / N$. A maximum hands all of $G_d$ to the largest entry. (If
# several are the largest, there is no derivative; this library shares $G_d$ among them.)
#
# The cotangent lacks the summed axis. If this is not the first axis, it must be put back with length 1 before NumPy can stretch it. So it is for the sum
# over the features, $Y_n = \sum_d X_{nd}$, where $\mathrm{d}X_{nd} = G_n$:

# %%
G = rng.standard_normal(N)
Y_loops, dX_loops = np.zeros(N), np.zeros((N, D))
for n in range(N):
    for d in range(D):
        Y_loops[n] += X[n, d]
        dX_loops[n, d] = G[n]

agree("Y", X.sum(axis=1), Y_loops)
agree("dX", np.broadcast_to(G[:, None], X.shape), dX_loops)

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
# Many tests of gradients compute `op(x).sum().backward()` and compare with differences. This is a check with a cotangent of **ones**. How good is
# it? We write ops with mistakes that people make, and show each to four checks, which differ in nothing but the cotangent:
#
# | check | cotangent $G$ |
# |---|---|
# | `y.sum()` | all ones |
# | `(y * y).sum() / 2` | $Y$ itself |
# | one entry of `y` | 1 at one random place, 0 elsewhere |
# | random | normally distributed |
#
# To keep the ops short, each is a value and a formula for its pullback, with $g$ the cotangent, $x$ the argument and $y$ the value.


# %%
def make_op(value, pullback):
    """An op x -> (y, vjp) from two formulas: value(x) and pullback(g, x, y)."""

    def of(x):
        y = value(x)
        return y, lambda g: pullback(g, x, y)

    return of


def mean(x):
    return x.mean(axis=-1, keepdims=True)


def spread(x):
    """The standard deviation (sigma) of each row."""
    return np.sqrt(mean((x - mean(x)) ** 2))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def normalise(x):
    """Layer normalisation without scale and bias (notebook 05): each row with mean 0 and standard deviation 1."""
    return (x - mean(x)) / spread(x)


def row_sum(x):
    return x.sum(axis=-1, keepdims=True)


# %% [markdown]
# First the right ops: a good check accepts them. (Softmax and normalisation are two functions of a row, taken here as they stand. Notebooks
# [05](05_layer_norm.ipynb) and [06](06_softmax_and_loss.ipynb) derive their pullbacks.)

# %%
SQUARE = np.random.default_rng(0).standard_normal((4, 4))
right = {
    "exp": make_op(np.exp, lambda g, x, y: g * y),
    "row sums": make_op(row_sum, lambda g, x, y: g + 0 * x),  # + 0 * x stretches g to the shape of x
    "transpose": make_op(lambda x: x.T, lambda g, x, y: g.T),
    "product with W": make_op(lambda x: x @ SQUARE, lambda g, x, y: g @ SQUARE.T),
    "softmax": make_op(softmax, lambda g, x, y: y * (g - row_sum(g * y))),
    "normalise": make_op(normalise, lambda g, x, y: (g - mean(g) - y * mean(g * y)) / spread(x)),
}

# %%
wrong = {
    "exp: $g$ forgotten": make_op(np.exp, lambda g, x, y: y),
    "exp: first row gets nothing": make_op(np.exp, lambda g, x, y: g * y * (np.arange(len(x)) > 0)[:, None]),
    "row sums: $g$ spread as for a mean": make_op(row_sum, lambda g, x, y: g / x.shape[1] + 0 * x),
    "row sums: $g$ stretched along the wrong axis": make_op(row_sum, lambda g, x, y: g.T + 0 * x),
    "transpose: $g$ reshaped": make_op(lambda x: x.T, lambda g, x, y: g.reshape(x.shape)),
    "product: $W$ not transposed": make_op(lambda x: x @ SQUARE, lambda g, x, y: g @ SQUARE),
    "softmax: zeros": make_op(softmax, lambda g, x, y: 0 * g),
    "softmax: 7 times too large": make_op(softmax, lambda g, x, y: 7 * y * (g - row_sum(g * y))),
    "softmax: $y(g - 1)$": make_op(softmax, lambda g, x, y: y * (g - 1)),
    "softmax: row sum forgotten": make_op(softmax, lambda g, x, y: y * g),
    "normalise: zeros": make_op(normalise, lambda g, x, y: 0 * g),
    "normalise: $1/\\sigma$ forgotten": make_op(normalise, lambda g, x, y: g - mean(g) - y * mean(g * y)),
    "normalise: $\\sigma$ taken as a constant": make_op(normalise, lambda g, x, y: (g - mean(g)) / spread(x)),
    "normalise: mean of $g$ forgotten": make_op(normalise, lambda g, x, y: (g - y * mean(g * y)) / spread(x)),
}

# %% [markdown]
# The check compares every entry of the pulled-back gradient with a central difference (notebook 00). The tolerance has an absolute part, because the right
# gradient may be zero; all numbers here are of size about 1, so it hides nothing.


# %%
def rejects(op, x, cotangent_for):
    """Whether the check with this cotangent finds the op wrong.   cotangent_for: y -> g of y's shape."""
    y, vjp = op(x)
    g, h = cotangent_for(y), 1e-5
    numerical = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = h
        numerical[place] = (g * (op(x + step)[0] - op(x - step)[0])).sum() / (2 * h)
    return np.abs(vjp(g) - numerical).max() > 1e-8 + 1e-6 * np.abs(numerical).max()


def one_hot(y):
    return np.eye(y.size)[rng.integers(y.size)].reshape(y.shape)


checks = {
    "y.sum()": np.ones_like,
    "(y * y).sum() / 2": lambda y: y,
    "one entry": one_hot,
    "random": lambda y: rng.standard_normal(y.shape),
}
draws = [rng.standard_normal((4, 4)) for _ in range(full_or_fast(100, 10))]


def shares(ops):
    """For every op (row) and check (column) the share of draws in which the check rejects the op."""
    return np.array([[np.mean([rejects(f, x, g) for x in draws]) for g in checks.values()] for f in ops.values()])


print("right ops rejected (share of draws, at most):", shares(right).max())
caught = shares(wrong)

# %%
figure, axis = plt.subplots(figsize=(8, 5.5), layout="constrained")
image = axis.imshow(caught, cmap="cividis", vmin=0, vmax=1, aspect="auto")
for row, column in np.ndindex(caught.shape):
    share = caught[row, column]
    text = "caught" if share == 1 else "PASSES" if share == 0 else f"{share:.0%}"
    axis.text(column, row, text, ha="center", va="center", color="black" if share > 0.5 else "white", fontsize=9)
axis.set_xticks(range(len(checks)), [name.replace(").", ")\n.") for name in checks])
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

# %% [markdown]
# Each column can be explained, and none of it is bad luck:
#
# - **Ones.** The entries of a softmax row sum to 1, those of a normalised row to 0. Their sum is a constant, its gradient is *zero*, and a pullback that
#   returns zeros agrees with it. So does every one that first subtracts from $g$ a mean of $g$ over the row (plain, or weighted with $y$ as the softmax does), or just 1: for ones this
#   leaves 0, and 7 times 0, or 0 without its $1/\sigma$, is 0 as well. Ones look the same wherever they are moved: a gradient that is reshaped
#   instead of transposed goes unseen. And a factor of 1 can be forgotten: so can $g$.
# - **$Y$ itself.** It contains what the op has put into it. The squares of a normalised row sum to a constant as well, so the true gradient is zero
#   again: zeros pass, and so does the right formula without its $1/\sigma$. And the mean of $Y$ is 0, so nobody misses the term with the mean of $g$.
# - **One entry.** It sees the part of the pullback that this entry needs, and nothing of the rest. The exact shares are $\tfrac14$, since 4 of the 16
#   entries lie in the first row, and $\tfrac34$, since 4 of them lie on the diagonal, where a transpose moves nothing. The figure shows what the draws gave.
# - **Random.** An error stays unseen only if the random numbers happen to hide it. To hide it exactly has probability zero, and a large
#   error is hardly ever made small enough for the tolerance.
#
# This is why `check_vjp` draws its cotangent at random. The arrays above are $4 \times 4$, which is itself a trap: with two different lengths the
# shapes alone would have refused two of these bugs.
#
# ## Where this goes wrong in practice
#
# - **Silent stretching.** Shapes $(N)$ and $(N, 1)$ do not add up entry by entry: the result is $(N, N)$. The mean of such a "difference" is a
#   plausible loss. Check shapes, and use `keepdims=True`.
# - **Square test cases.** $N = D$ hides a missing transpose and a wrong axis. Test with lengths that all differ.
# - **Sum or mean over the batch.** The gradient of a bias is the *sum* over all places that used it. If the loss is a mean, its factor is already in
#   $G$.
# - **Writing into the cotangent.** The pullback of `X + Z`, both of one shape, returns $G$ itself, twice. If somebody then writes `dX *= 2`, `dZ`
#   changes with it. (The engine guards against this.)
# - **reshape instead of transpose.** `x.reshape(B, H, N, K)` on an array of shape `(B, N, H, K)` runs, and mixes the tokens with the *heads* (`H` groups of
#   `K` features). Notebook [08](08_multi_head.ipynb) looks for this bug.
#
# ## Exercises
#
# **2.1 (two lines).** A bias $b$ of shape $(D)$ is added to tokens of shape $(B, N, D)$. Write its gradient.


# %%
def bias_gradient(dY):
    """dY: (B, N, D) -> db (D,)"""
    ...  # your answer here


check("2.1", bias_gradient)

# %% [markdown]
# **2.2 (ten minutes).** Some libraries keep the matrix of a linear layer as $(E, D)$ and compute $Y = X W^\top$. Write both gradients.


# %%
def transposed_product_backward(X, W, dY):
    """X: (N, D), W: (E, D), dY: (N, E) -> dX (N, D), dW (E, D)"""
    ...  # your answer here


check("2.2", transposed_product_backward)

# %% [markdown]
# **2.3 (fifteen minutes).** A running sum: $Y_i = X_1 + X_2 + \dots + X_i$ (`np.cumsum`). In which entries of $Y$ is $X_i$ used? Write its gradient.


# %%
def running_sum_backward(dY):
    """dY: (n,) -> dX (n,)"""
    ...  # your answer here


check("2.3", running_sum_backward)

# %% [markdown]
# **2.4 (twenty minutes).** Break an op so that `.sum()` does not notice. Write $Y = X \circ X$, entry by entry, with a pullback that is *wrong* and
# still passes the check with a cotangent of ones. The checker uses both cotangents, ones and random.


# %%
def broken_square(X):
    """X: any shape -> X * X, vjp; vjp(G) returns a tuple of one array"""
    ...  # your answer here


check("2.4", broken_square)

# %% [markdown]
# **2.5 (an hour).** `np.einsum("bnd,de->bne", X, W)` writes a product by its indices; an index that is missing in the result is summed over. Write the
# pullback of *every* einsum of two arrays, by einsum. Begin with the matrix product above, `"nd,de->ne"`, and watch where the letters go.
# Then think of an index that occurs in one argument only, and not in the result. No index occurs twice in one array.


# %%
def einsum_backward(subscripts, X, Y, G):
    """Gradients of np.einsum(subscripts, X, Y).   subscripts: "ij,jk->ik" or the like; G: cotangent -> dX, dY"""
    ...  # your answer here


check("2.5", einsum_backward)

# %% [markdown]
# Next: [03, patches](03_patches.ipynb).

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
# # 05 LayerNorm
#
# LayerNorm brings every token to mean 0 and variance 1. Then it scales and shifts each feature by learned numbers. A
# Transformer block has one LayerNorm before attention and one before the MLP, so both get inputs of a known size. One
# more stands at the end of the model. The paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) uses LN
# in **Eq. 2, Eq. 3 and Eq. 4** and does not define it. The definition is that of
# [Ba et al. 2016](https://arxiv.org/abs/1607.06450). At the end you will be able to
#
# - compute **LayerNorm** with loops, and in eight small steps,
# - walk back through the eight steps, and collect them in one line, $\mathrm{d}\mathbf{x} = \rho\,(\mathbf{g} -
#   \overline{\mathbf{g}} - \hat{\mathbf{x}}\,\overline{\mathbf{g}\hat{\mathbf{x}}})$,
# - say which of the usual checks do not notice that one of these terms is missing.
#
# You need the vector-Jacobian products of sums, products and broadcasting (notebook [02](02_shapes.ipynb)). Notebook
# [10](10_residual_stream.ipynb) shows where in the network the LayerNorms stand, and why.
#
# **Budget:** 4 s of CPU time (fast mode 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, running_digit, show_source
from minivit.lessons.pictures import normalising
from minivit.stepper import BackwardStepper
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(5)

# %% [markdown]
# ## The idea in a picture
#
# LayerNorm takes mean and variance over the features of **one token**. Other tokens and other images have no influence.
# BatchNorm, common in convolutional networks, takes mean and variance over **one feature**, at all places of all
# images.

# %%
normalising.what_is_averaged()

# %% [markdown]
# Here is one token of the digit of notebooks 03 and 04, before and after the first LayerNorm of the trained model. The
# learned scale and bias are left out. The bars start at the mean of the token, the black line. The grey band reaches
# one standard deviation up and down. The distances of the bars from the mean line keep their proportions. The line
# moves to 0, and all distances are multiplied by the same number.

# %%
digit_model, digit, label = running_digit()
inside = {}
digit_model(normalize(digit[None]), tap=inside)
digit_z0 = inside["embedded"].data[0]  # (17, 32), Eq. 1
digit_normalised = (digit_z0 - digit_z0.mean(axis=1, keepdims=True)) / np.sqrt(
    digit_z0.var(axis=1, keepdims=True) + 1e-6
)
normalising.one_token(digit_z0[12], digit_normalised[12])

# %% [markdown]
# **Predict first.** That was one of 17 tokens. Does the [class] token have a larger or a smaller standard deviation
# than the patches, before LayerNorm? And do the standard deviations shrink or grow on the way through the three blocks?

# %%
stages = {"z_0": digit_z0, "normalised": digit_normalised, "after block 3": inside["block2/output"].data[0]}
for name, tokens in stages.items():
    deviations = tokens.std(axis=1)
    patches = f"{deviations[1:].min():.2f} to {deviations[1:].max():.2f}"
    print(f"standard deviation, {name:<14} [class] {deviations[0]:.2f}, patches {patches}")

# %% [markdown]
# **In the stored run** the [class] token starts with a standard deviation of 0.09, far below the patches with 0.48 to
# 0.70. After three blocks it has 2.44, and the patches have 1.39 to 2.54. Without LayerNorm, attention and MLP would
# get inputs of all these sizes. With it, each token has 1.00.
#
# ## The equation
#
# A token is a row of $D$ numbers. Subtract the mean of the row, divide by its standard deviation, then scale and shift
# each feature by learned numbers. For one row $\mathbf{x} = (x_1, \ldots, x_D)$:
#
# $$\mathrm{LN}(\mathbf{x}) = \boldsymbol{\gamma} \circ \frac{\mathbf{x} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \boldsymbol{\beta}, \qquad
# \mu = \frac{1}{D}\sum_{j=1}^{D} x_j, \qquad \sigma^2 = \frac{1}{D}\sum_{j=1}^{D} (x_j - \mu)^2 \tag{LayerNorm}$$
#
# $\circ$ multiplies feature by feature. The small constant $\epsilon$ prevents a division by zero if all numbers of a
# row are equal. From now on $\mathbf{x}$ is the array of all tokens, one per row, and each row is treated like this.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $\mathbf{x}$ | the tokens, one per row | $(N, D)$ | `x` |
# | $\mu$ | mean of each row | $(N, 1)$ | `mu` |
# | $\mathbf{c}$ | centred rows, $\mathbf{x} - \mu$ | $(N, D)$ | `c` |
# | $\mathbf{c}^2$ | their squares, $\mathbf{c} \circ \mathbf{c}$ | $(N, D)$ | `square` |
# | $\sigma$ | standard deviation of each row; $\sigma^2$ is the variance, `var` | $(N, 1)$ | `var` |
# | $\epsilon$ | small constant against a division by zero, $10^{-6}$ in the published code | number | `eps` |
# | $s$ | $\sqrt{\sigma^2 + \epsilon}$ | $(N, 1)$ | `s` |
# | $\rho$ | $1/s$, the factor of each row | $(N, 1)$ | `rho` |
# | $\hat{\mathbf{x}}$ | normalised rows, $\mathbf{c}\rho$ | $(N, D)$ | `x_hat` |
# | $\boldsymbol{\gamma}$, $\boldsymbol{\beta}$ | learned scale and bias, 1 and 0 at first | $(D)$ each | `gamma`, `beta` |
# | $\mathbf{y}$ | the result | $(N, D)$ | `y` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
# | $\mathbf{g}$ | $\mathrm{d}\hat{\mathbf{x}}$, that is $\mathrm{d}\mathbf{y} \circ \boldsymbol{\gamma}$ | $(N, D)$ | `g` |
# | $\overline{\mathbf{a}}$ | mean of each row of $\mathbf{a}$ | $(N, 1)$ | `mean(a)` |
#
# The rows below have different sizes, and $\boldsymbol{\gamma}$ is not 1. Special numbers can hide errors, as the
# experiment will show.

# %%
N, D, eps = 5, 7, 1e-6
x = 3 + rng.standard_normal((N, D)) * rng.uniform(0.5, 4, (N, 1))
gamma = rng.uniform(0.5, 2, D)
beta = rng.standard_normal(D)

# %% [markdown]
# ## Forward, as loops
#
# The formula, one number at a time.


# %% tags=["yours"]
def layer_norm_loops(x, gamma, beta, eps):
    """x: (N, D), gamma, beta: (D,) -> (N, D), one number at a time."""
    N, D = x.shape
    y = np.zeros((N, D))
    for i in range(N):
        mu = sum(x[i, j] for j in range(D)) / D
        variance = sum((x[i, j] - mu) ** 2 for j in range(D)) / D
        for j in range(D):
            y[i, j] = gamma[j] * (x[i, j] - mu) / (variance + eps) ** 0.5 + beta[j]
    return y


y_loops = layer_norm_loops(x, gamma, beta, eps)  # given

# %% [markdown]
# ## Forward, in eight steps
#
# Now all rows at once. We cut the formula into eight steps, each with a simple derivative:
#
# $$\mu = \overline{\mathbf{x}}, \quad \mathbf{c} = \mathbf{x} - \mu, \quad \mathbf{c}^2 = \mathbf{c} \circ \mathbf{c}, \quad
# \sigma^2 = \overline{\mathbf{c}^2}, \quad s = \sqrt{\sigma^2 + \epsilon}, \quad \rho = 1/s, \quad \hat{\mathbf{x}} =
# \mathbf{c}\rho, \quad
# \mathbf{y} = \hat{\mathbf{x}} \circ \boldsymbol{\gamma} + \boldsymbol{\beta}.$$
#
# With `keepdims` the means form a column $(N, 1)$, which NumPy stretches over the features.


# %%
def mean(a):
    return a.mean(axis=-1, keepdims=True)


# %% tags=["yours"]
# step 1
mu = mean(x)
# step 2
c = x - mu
# step 3
square = c * c
# step 4
var = mean(square)
# step 5
s = np.sqrt(var + eps)
# step 6
rho = 1 / s
# step 7
x_hat = c * rho
# step 8
y = x_hat * gamma + beta

agree("y", y, y_loops)
agree("variances", mean(x_hat * x_hat), var / (var + eps))

# %%
print(f"means of the rows of x_hat: {np.abs(mean(x_hat)).max():.1e} at most")
print("1 - their variances:", 1 - x_hat.var(axis=1))

# %% [markdown]
# The variances are $\sigma^2/(\sigma^2 + \epsilon)$, a little below 1 because of $\epsilon$.
#
# ## Backward, step by step
#
# We are given $\mathrm{d}\mathbf{y}$, drawn at random here. The engine differentiates the same eight steps, and can be
# asked for the gradient of every intermediate result.


# %%
def eight_steps(x, gamma, beta):
    """The results of the steps as Tensors, by name; arguments as above."""
    x, gamma, beta = (Tensor(a, requires_grad=True) for a in (x, gamma, beta))
    mu = x.mean(axis=-1, keepdims=True)
    c = x - mu
    square = c * c
    var = square.mean(axis=-1, keepdims=True)
    s = F.sqrt(var + eps)
    rho = 1 / s
    x_hat = c * rho
    y = x_hat * gamma + beta
    names = ["x", "gamma", "beta", "mu", "c", "square", "var", "s", "rho", "x_hat", "y"]
    return dict(zip(names, [x, gamma, beta, mu, c, square, var, s, rho, x_hat, y], strict=True))


# %%
dy = rng.standard_normal(y.shape)
values = eight_steps(x, gamma, beta)
engine = dict(zip(values, grad(values["y"], list(values.values()), dy), strict=True))

# %% [markdown]
# First the same walk in pictures, for a single token of three features. The stepper runs one vector-Jacobian product at
# a time. Move the slider. It has ten steps, because our steps 5 and 8 are two operations each. Some boxes have several
# outgoing arrows. On the way back, the gradients along these arrows are added. $\mathbf{c}$ has three of them: one to
# step 7, and two to step 3, because $\mathbf{c} \circ \mathbf{c}$ uses $\mathbf{c}$ twice.

# %%
one_token = eight_steps(x[0, :3], gamma[:3], beta[:3])
BackwardStepper(one_token["y"], dy[0, :3], one_token)

# %% [markdown]
# Now the same by hand, for all tokens.
#
# **Step 8: $\mathbf{y} = \hat{\mathbf{x}} \circ \boldsymbol{\gamma} + \boldsymbol{\beta}$.** Each factor of a product
# gets the gradient times the other factor. All rows share $\boldsymbol{\gamma}$ and $\boldsymbol{\beta}$, so their
# gradients are sums over the rows:
#
# $$\mathrm{d}\hat{\mathbf{x}} = \mathrm{d}\mathbf{y} \circ \boldsymbol{\gamma}, \qquad
# \mathrm{d}\boldsymbol{\gamma} = \sum_{i} \mathrm{d}\mathbf{y}_i \circ \hat{\mathbf{x}}_i, \qquad
# \mathrm{d}\boldsymbol{\beta} = \sum_{i} \mathrm{d}\mathbf{y}_i.$$

# %% tags=["yours"]
dx_hat = dy * gamma
dgamma = (dy * x_hat).sum(axis=0)
dbeta = dy.sum(axis=0)

agree("dx_hat", dx_hat, engine["x_hat"])
agree("dgamma", dgamma, engine["gamma"])
agree("dbeta", dbeta, engine["beta"])

# %% [markdown]
# **Step 7: $\hat{\mathbf{x}} = \mathbf{c}\,\rho$.** A product again. The $\rho$ of a row was stretched over $D$
# features, so its gradient is a sum over the features. $\mathbf{c}$ is used in two steps, here and in step 3. We give
# the contribution of step 7 its own name:
#
# $$\mathrm{d}\mathbf{c}_{(7)} = \mathrm{d}\hat{\mathbf{x}}\,\rho, \qquad \mathrm{d}\rho = \sum_j \mathrm{d}\hat{x}_j\,c_j.$$

# %% tags=["yours"]
dc_from_7 = dx_hat * rho
drho = (dx_hat * c).sum(axis=-1, keepdims=True)

agree("drho", drho, engine["rho"])

# %% [markdown]
# **Step 6: $\rho = 1/s$.** The derivative of $1/s$ is $-1/s^2$, that is $-\rho^2$.
#
# **Step 5: $s = \sqrt{\sigma^2 + \epsilon}$.** The derivative of the root is $1/(2s)$, that is $\rho/2$.

# %% tags=["yours"]
ds = -drho * rho**2
dvar = ds * rho / 2

agree("ds", ds, engine["s"])
agree("dvar", dvar, engine["var"])

# %% [markdown]
# **Step 4: $\sigma^2 = \overline{\mathbf{c}^2}$.** Each of the $D$ terms of a mean has the share $1/D$, so each gets
# $\mathrm{d}\sigma^2/D$. The result has the shape $(N, D)$: stretch the column with `np.broadcast_to`.
#
# **Step 3: $\mathbf{c}^2 = \mathbf{c} \circ \mathbf{c}$.** The derivative of a square is $2\mathbf{c}$: the two arrows
# of the stepper. Add the contributions of step 3 and step 7 to get $\mathrm{d}\mathbf{c}$.

# %% tags=["yours"]
dsquare = np.broadcast_to(dvar / D, square.shape)
dc = dc_from_7 + 2 * c * dsquare

agree("dsquare", dsquare, engine["square"])
agree("dc", dc, engine["c"])

# %% [markdown]
# **Step 2: $\mathbf{c} = \mathbf{x} - \mu$.** $\mathbf{x}$ gets $\mathrm{d}\mathbf{c}$ unchanged. $\mu$ was stretched
# over the features, so it gets minus the sum of $\mathrm{d}\mathbf{c}$ over the features.
#
# **Step 1: $\mu = \overline{\mathbf{x}}$.** A mean again: each $x_j$ gets $\mathrm{d}\mu / D$. Add this to the
# contribution of step 2.

# %% tags=["yours"]
dmu = -dc.sum(axis=-1, keepdims=True)
dx = dc + dmu / D

agree("dmu", dmu, engine["mu"])
agree("dx", dx, engine["x"])

# %% [markdown]
# ## All in one line
#
# Put together, the steps simplify to one line. Write $\mathbf{g}$ for $\mathrm{d}\hat{\mathbf{x}}$.
#
# **The path through the variance** (steps 7, 6, 5, 4, 3) adds this term to $\mathrm{d}\mathbf{c}$:
#
# $$2\mathbf{c} \cdot \frac{1}{D} \cdot \frac{\rho}{2} \cdot (-\rho^2) \cdot \sum_j g_j c_j
# = -\rho\,(\mathbf{c}\rho)\,\frac{1}{D} \sum_j g_j (c_j \rho)
# = -\rho\,\hat{\mathbf{x}}\;\overline{\mathbf{g}\hat{\mathbf{x}}}.$$
#
# There are three factors $\rho$. Two of them turn a $\mathbf{c}$ into an $\hat{\mathbf{x}}$, and one is left. With the
# contribution $\rho\,\mathbf{g}$ of step 7,
# $\mathrm{d}\mathbf{c} = \rho\,(\mathbf{g} - \hat{\mathbf{x}}\,\overline{\mathbf{g}\hat{\mathbf{x}}})$.

# %%
g = dx_hat

agree("dc", rho * (g - x_hat * mean(g * x_hat)), dc)

# %% [markdown]
# **The path through the mean** (steps 2 and 1) subtracts the mean:
# $\mathrm{d}\mathbf{x} = \mathrm{d}\mathbf{c} - \overline{\mathrm{d}\mathbf{c}}$. The rows of $\hat{\mathbf{x}}$ have
# mean 0, so only the first term of $\mathrm{d}\mathbf{c}$ has a mean, $\rho\,\overline{\mathbf{g}}$:
#
# $$\mathrm{d}\mathbf{x} = \rho\,\bigl(\mathbf{g} - \overline{\mathbf{g}} - \hat{\mathbf{x}}\;\overline{\mathbf{g}\hat{\mathbf{x}}}\bigr),
# \qquad \mathbf{g} = \mathrm{d}\mathbf{y} \circ \boldsymbol{\gamma}.$$

# %% tags=["yours"]
dx_closed = rho * (g - mean(g) - x_hat * mean(g * x_hat))

agree("dx", dx_closed, dx)

# %% [markdown]
# **What it means.** Add a constant to a row of $\mathbf{x}$: $\mathbf{y}$ does not change. Stretch a row about its
# mean: $\mathbf{y}$ hardly changes, and only because of $\epsilon$. So the loss has no slope in these two directions,
# and the gradient has no part along them:
#
# - The term $\overline{\mathbf{g}}$ removes the part along $(1, \ldots, 1)$.
# - The last term removes the part along $\hat{\mathbf{x}}$. That part is
#   $\hat{\mathbf{x}}\,\langle \mathbf{g}, \hat{\mathbf{x}} \rangle / \|\hat{\mathbf{x}}\|^2$, and
#   $\|\hat{\mathbf{x}}\|^2 = D\,\overline{\hat{\mathbf{x}}^2}$ is $D$, apart from $\epsilon$.
#
# So the first dot product below is 0 up to rounding, and the second is of the size of $\epsilon$.

# %%
print(f"part of dx along (1, ..., 1): {np.abs(dx.sum(axis=1)).max():.1e}")
print(f"part of dx along x_hat:       {np.abs((dx * x_hat).sum(axis=1)).max():.1e}")
agree("stretched", layer_norm_loops(10 * x + 3, gamma, beta, eps), y, rtol=1e-5)

# %% [markdown]
# Here are the three terms in the bracket for one row, and their sum.

# %%
terms = {
    "$g$": g[0],
    "$-\\overline{g}$": np.repeat(-mean(g)[0], D),
    "$-\\hat{x}\\,\\overline{g\\hat{x}}$": -(x_hat * mean(g * x_hat))[0],
    "sum, $dx/\\rho$": (dx_closed / rho)[0],
}
figure, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
for i, ((name, values_of_term), hatch) in enumerate(zip(terms.items(), ("", "//", "..", "xx"), strict=True)):
    ax.bar(np.arange(D) + 0.2 * (i - 1.5), values_of_term, width=0.2, label=name, hatch=hatch, edgecolor="white")
ax.axhline(0, color="black", linewidth=0.8)
ax.set(xlabel="feature", ylabel="terms of $dx/\\rho$, one row", xticks=range(D))
ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plt.show()

# %% [markdown]
# The second term is the same for every feature, and the third is a multiple of $\hat{\mathbf{x}}$. The sum has mean 0.
#
# ## Check it numerically
#
# We write LayerNorm as an *op*, a function that returns its value and its pullback. For the way back it keeps
# $\hat{\mathbf{x}}$ and $\rho$, and no other intermediate result.


# %% tags=["yours"]
def my_layer_norm(x, gamma, beta, eps=1e-6):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, and its pullback.   x, y: (N, D), gamma, beta: (D,)."""
    c = x - mean(x)
    rho = 1 / np.sqrt(mean(c * c) + eps)
    x_hat = c * rho

    def vjp(dy):
        g = dy * gamma
        dx = rho * (g - mean(g) - x_hat * mean(g * x_hat))
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return x_hat * gamma + beta, vjp


print(f"largest relative error of the gradients: {check_vjp(my_layer_norm, x, gamma, beta):.1e}")

# %% [markdown]
# ## The library
#
# This is `minivit.ops.layer_norm`. Its `g` is our $\mathrm{d}\mathbf{y}$, its `h` our $\mathbf{g}$.

# %%
show_source(ops.layer_norm)

# %%
y_library, pullback = ops.layer_norm(x, gamma, beta, eps)

agree("y", y, y_library)
for name, mine, theirs in zip(("dx", "dgamma", "dbeta"), (dx, dgamma, dbeta), pullback(dy), strict=True):
    agree(name, mine, theirs)

# %% [markdown]
# ## Experiment: which check notices which error?
#
# Suppose you forget one term of the gradient. Would a check notice it? A check chooses a cotangent
# $\mathrm{d}\mathbf{y}$ and a direction $\mathbf{u}$, and compares two numbers:
#
# - the prediction $\langle \mathrm{d}\mathbf{x}, \mathbf{u} \rangle$,
# - the measured change of $\langle \mathrm{d}\mathbf{y}, \mathrm{LN}(\mathbf{x}) \rangle$ along $\mathbf{u}$.
#
# Three cotangents are common. The gradient of `y.sum()` has $\mathrm{d}\mathbf{y} = 1$. The gradient of
# `(y * y).sum() / 2` has $\mathrm{d}\mathbf{y} = \mathbf{y}$. The third cotangent is random. Most tests use a fresh
# LayerNorm, with $\boldsymbol{\gamma} = 1$ and $\boldsymbol{\beta} = 0$. We do the same. As a fourth check we add
# `y.sum()` with random $\boldsymbol{\gamma}$ and $\boldsymbol{\beta}$.

# %%
backward_passes = {
    "complete": lambda g, x_hat, rho: rho * (g - mean(g) - x_hat * mean(g * x_hat)),
    "without mean(g)": lambda g, x_hat, rho: rho * (g - x_hat * mean(g * x_hat)),
    "without the x_hat term": lambda g, x_hat, rho: rho * (g - mean(g)),
    "without both": lambda g, x_hat, rho: rho * g,
    "without rho": lambda g, x_hat, rho: g - mean(g) - x_hat * mean(g * x_hat),
    "returns zeros": lambda g, x_hat, rho: 0 * g,
}
cotangents = {
    "y.sum()": lambda y: np.ones_like(y),
    "(y * y).sum() / 2": lambda y: y,
    "random cotangent": lambda y: np.random.default_rng(0).standard_normal(y.shape),
}

# %% [markdown]
# To make the checks comparable, we divide the difference of the two numbers by the sizes of $\mathrm{d}\mathbf{y}$ and
# $\mathbf{u}$. (Notebook 00 divides by the gradient. Here the true gradient of two checks is zero, or nearly.)
#
# **Predict first.** Five of the six backward passes are wrong. Which of the five does `y.sum()` notice? Which does the
# random cotangent notice?


# %%
def disagreement(backward, cotangent, gamma, beta, step=1e-5):
    """|predicted - measured| slope along a random direction u, over |dy| |u|: about 1e-10 if the gradient is right."""
    u = np.random.default_rng(1).standard_normal(x.shape)
    dy = cotangent(layer_norm_loops(x, gamma, beta, eps))
    up, down = (np.sum(dy * layer_norm_loops(x + t * u, gamma, beta, eps)) for t in (step, -step))
    predicted = np.sum(backward(dy * gamma, x_hat, rho) * u)
    return abs(predicted - (up - down) / (2 * step)) / (np.linalg.norm(dy) * np.linalg.norm(u))


# %%
one, zero = np.ones(D), np.zeros(D)
settings = [(f"{name}\nγ = 1, β = 0", cotangent, one, zero) for name, cotangent in cotangents.items()]
settings += [("y.sum()\nrandom γ, β", cotangents["y.sum()"], gamma, beta)]
errors = np.array([[disagreement(b, *setting[1:]) for setting in settings] for b in backward_passes.values()])
caught = errors > 1e-5

# %%
figure, ax = plt.subplots(figsize=(9.5, 3.8), layout="constrained")
ax.imshow(np.where(caught, 0.75, 0.15), cmap="Blues", vmin=0, vmax=1, aspect="auto")
for (row, column), error in np.ndenumerate(errors):
    word = "noticed" if caught[row, column] else "passes"
    colour = "white" if caught[row, column] else "black"
    ax.text(column, row, f"{word}  ({error:.0e})", ha="center", va="center", color=colour)
ax.set_xticks(range(len(settings)), [setting[0] for setting in settings])
ax.set_yticks(range(len(backward_passes)), list(backward_passes))
ax.set(xlabel="the check", ylabel="the backward pass")
ax.tick_params(length=0)
plt.show()

# %%
names = np.array(list(backward_passes))
for column, setting in enumerate(settings):
    missed = names[1:][~caught[1:, column]]
    print(f"{setting[0].replace(chr(10), ', '):<34} misses: {'; '.join(missed) or 'nothing'}")
assert not caught[0].any()  # the complete one passes every check
assert caught[1:, 2].all()  # a random cotangent misses no error

# %% [markdown]
# **In the stored run** `y.sum()` and the sum of squares each miss three of the five errors. Both accept a pass without
# $\rho$, and both accept zeros. The random cotangent misses nothing. `y.sum()` with random $\boldsymbol{\gamma}$ misses
# nothing either. The one-line formula explains it:
# - `y.sum()` with $\boldsymbol{\gamma} = 1$ has $\mathbf{g} = 1$. Then $\mathbf{g} - \overline{\mathbf{g}} = 0$, and
#   $\overline{\mathbf{g}\hat{\mathbf{x}}}$ is the mean of a row of $\hat{\mathbf{x}}$, so it is 0 too. The true
#   gradient is zero. Zeros pass, and a missing $\rho$ or a missing last term changes nothing. Only the missing
#   $\overline{\mathbf{g}}$ is noticed.
# - The sum of squares has $\mathbf{g} = \hat{\mathbf{x}}$. Then $\overline{\mathbf{g}} = 0$, so forgetting this term
#   changes nothing. $\overline{\mathbf{g}\hat{\mathbf{x}}}$ is $\sigma^2/(\sigma^2 + \epsilon)$, nearly 1, so the last
#   term nearly cancels $\mathbf{g}$. The true gradient is nearly zero, with or without $\rho$. It is too small for our
#   tolerance. (A much smaller tolerance would notice it, and so would rows with a small $\sigma$.)
# - A random cotangent has no such symmetry, so `check_vjp` draws one. A random $\boldsymbol{\gamma}$ breaks the
#   symmetry of `y.sum()`, too. (We drew the cotangent once; notebook [02](02_shapes.ipynb) draws many.)
#
# ## Where this goes wrong in practice
#
# - **The wrong axis.** Statistics over the tokens (`axis=0` here) give an array of the same shape, but then each token
#   depends on all others. To test it, change one row of $\mathbf{x}$: no other row of $\mathbf{y}$ may move.
# - **$D - 1$ instead of $D$.** LayerNorm divides by $D$. So do NumPy's `var` and PyTorch's `LayerNorm`. But PyTorch's
#   `var` divides by $D - 1$ by default. Exercise 5.2.
# - **Another $\epsilon$.** PyTorch's layer has $10^{-5}$ by default, the published code $10^{-6}$. For rows of ordinary
#   size the difference is small, and a test in float32 may not notice it. It matters for nearly constant rows. There
#   $\rho$, which multiplies the gradient, comes close to $1/\sqrt{\epsilon}$.
# - **$\boldsymbol{\gamma}$ forgotten in $\mathbf{g}$.** At the start of training $\boldsymbol{\gamma} = 1$, so the
#   error does not show.
# - **The variance in one pass.** $\overline{\mathbf{x}^2} - \mu^2$ equals $\sigma^2$ on paper. In float32 with $\mu$
#   much larger than $\sigma$, it is the difference of two large, nearly equal numbers. It may come out negative:

# %%
large = (10_000 + np.random.default_rng(0).standard_normal((4, 64))).astype(np.float32)
one_pass = (large * large).mean(axis=1) - large.mean(axis=1) ** 2
two_passes = ((large - large.mean(axis=1, keepdims=True)) ** 2).mean(axis=1)
print("one pass:  ", one_pass)
print("two passes:", two_passes)
print("in float64:", large.astype(np.float64).var(axis=1))

# %% [markdown]
# ## Exercises
#
# Each cell has a place for your answer, and its verdict appears below it. Answers are judged by what they return, on
# inputs of several shapes. `hint("5.4")` gives up to three hints, one per call.
#
# **5.1 (two lines).** All features of a token are equal: $\mathbf{x} = (a, a, \ldots, a)$. Write the result of
# LayerNorm.


# %%
def layer_norm_of_constant_row(a, gamma, beta):
    """a: a number, gamma, beta: (D,) -> (D,)"""
    ...  # your answer here


check("5.1", layer_norm_of_constant_row)

# %% [markdown]
# **5.2 (ten minutes).** Someone computes the variance in LayerNorm with $D - 1$ instead of $D$. Their
# $\hat{\mathbf{x}}$ is ours times a factor. What is the factor? Take $D = 768$, the width of ViT-B (Table 1), and
# $\epsilon = 0$. Give six digits.

# %%
factor = None  # your answer here

check("5.2", factor)

# %% [markdown]
# **5.3 (twenty minutes).** RMSNorm ([Zhang & Sennrich 2019](https://arxiv.org/abs/1910.07467)) does not subtract the
# mean. We leave out the bias, too: $\mathbf{y} = \boldsymbol{\gamma} \circ \mathbf{x}\,\rho$ with
# $\rho = 1/\sqrt{\overline{\mathbf{x}^2} + \epsilon}$. Write the Jacobian for one row, the matrix with
# $\partial y_i / \partial x_j$ in row $i$ and column $j$. (The backward pass of the row is then $\mathrm{d}\mathbf{y}$
# times this matrix.)


# %%
def rms_norm_jacobian(x, gamma, eps):
    """x, gamma: (D,) -> (D, D), in row i and column j the derivative of y[i] with respect to x[j]"""
    ...  # your answer here


check("5.3", rms_norm_jacobian)

# %% [markdown]
# **5.4 (an hour).** GroupNorm ([Wu & He 2018](https://arxiv.org/abs/1803.08494)) normalises the feature maps of the
# paper's ResNets (BiT; notebook [20](20_hybrid.ipynb)). The $D$ channels of a feature map are cut into groups of
# consecutive channels. Each image and group has one mean and one variance, taken over all pixels and all channels of
# the group. $\boldsymbol{\gamma}$ and $\boldsymbol{\beta}$ have one number per channel. Write the backward pass. First
# reshape to (B, height, width, groups, D / groups). Then the line derived above holds again, with means over three of
# these axes.


# %%
def group_norm_backward(x, gamma, dy, groups, eps):
    """x, dy: (B, height, width, D), gamma: (D,) -> dx (B, height, width, D), dgamma (D,), dbeta (D,)"""
    ...  # your answer here


check("5.4", group_norm_backward)

# %% [markdown]
# Next: [06, softmax and the loss](06_softmax_and_loss.ipynb).

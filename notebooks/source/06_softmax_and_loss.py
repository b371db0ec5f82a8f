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
# # 06 Softmax and loss
#
# A classifier ends in one number per class, the **logits**. The softmax turns the logits into probabilities. The
# cross-entropy measures how badly the probabilities fit the label. Both take one line of code. The simplest such line
# fails for large logits. The softmax is also a part of attention (Eq. 6 of the paper, [Dosovitskiy et al.
# 2020](https://arxiv.org/abs/2010.11929v2), appendix A), so this course needs its derivative twice.
#
# The paper writes no formula for its loss. Its published JAX code, which does the fine-tuning, uses the loss of this
# notebook. Notebook [06b](06b_smoothing_sigmoid_temperature.ipynb) treats three variants of it. At the end you will be
# able to
#
# - derive the Jacobian of the softmax, $\mathrm{diag}(p) - p\,p^\top$, and apply it without building it,
# - compute the cross-entropy for logits of any size,
# - derive its gradient, $(p - t)/B$.
#
# You need the chain rule for arrays and the gradients of sums and broadcasting (notebook [02](02_shapes.ipynb)).
#
# **Budget:** 5 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, running_digit, show_source
from minivit.lessons.pictures import loss as pictures
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(6)

# %% [markdown]
# ## One digit, from logits to a loss
#
# A small trained Vision Transformer looks at a digit. Notebooks 07 to 11 build this model; here we only read its ten
# logits. The **softmax** takes $e$ to the power of every logit and divides by the sum of the results. The loss is minus
# the logarithm of the probability of the right class. (The picture draws large pixel values dark.)

# %%
model, image, label = running_digit()
logits = model(normalize(image[None])).data[0].astype(float)
pictures.logits_to_loss(image, logits, label)

# %%
probabilities = np.exp(logits) / np.exp(logits).sum()
print("logits        ", " ".join(f"{value:6.2f}" for value in logits))
print("probabilities ", " ".join(f"{value:6.4f}" if value > 0.001 else f"{value:6.0e}" for value in probabilities))
second = np.argsort(logits)[-2]
for name in (label, second):
    print(f"loss if the label is {name}: {-np.log(probabilities[name]):.4f}")

# %% [markdown]
# **In the stored run** the right class, 7, has the logit 9.39 and the probability 0.9996, so the loss is 0.0004. If the
# label were 9, the class with the second largest logit, the loss would be 9.2676.
#
# ## The equations
#
# For one image with logits $z \in \mathbb{R}^K$, the softmax makes $K$ positive numbers that sum to 1:
#
# $$p_k = \frac{e^{z_k}}{\sum_j e^{z_j}} \tag{softmax}$$
#
# The label is a row of probabilities too. In the simplest case $t$ is 1 for the right class and 0 for the others; such a
# row is called "one-hot". The **cross-entropy** of a batch is the mean over its $B$ images:
#
# $$\mathcal{L} = -\frac{1}{B} \sum_b \sum_k t_{bk} \log p_{bk} \tag{cross-entropy}$$
#
# With a one-hot label only one term of the inner sum is left: minus the logarithm of the probability of the right class.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $K$ | classes | number | `K` |
# | $z$ | logits | $(B, K)$ | `z` |
# | $p$ | probabilities, the softmax of the logits | $(B, K)$ | `p` |
# | $t$ | targets, rows sum to 1 | $(B, K)$ | `t` |
# | $e_k$; $\Sigma$ | $e^{z_k}$; the sum of these over a row | numbers | `e`, shifted by $m$ |
# | $\mathrm{lse}(z)$ | $\log \sum_j e^{z_j}$, one number per row | $(B, 1)$ | `lse` |
# | $m$ | largest logit of each row | $(B, 1)$ | `m` |
# | $\mathcal{L}$ | the loss | number | `loss` |
# | $J$ | Jacobian of the softmax of one row, $J_{ij} = \partial p_i/\partial z_j$ | $(K, K)$ for each row | `J` |
# | $g$ | a cotangent of $p$ | $(B, K)$ | `g` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |

# %%
B, K = 4, 5
z = rng.standard_normal((B, K))
labels = rng.integers(0, K, B)
labels

# %% [markdown]
# ## Forward, as loops
#
# One image at a time. We subtract the largest logit of the row from all its logits. This changes no probability, because
# $e^{z_k - m} = e^{z_k} e^{-m}$ and the factor $e^{-m}$ cancels in the fraction. The experiment below shows why it is
# needed.


# %%
def softmax_loops(z):
    """z: (B, K) -> p (B, K), one number at a time."""
    p = np.zeros_like(z)
    for b in range(z.shape[0]):
        largest = max(z[b])
        e = [np.exp(z[b, k] - largest) for k in range(z.shape[1])]
        for k in range(z.shape[1]):
            p[b, k] = e[k] / sum(e)
    return p


def cross_entropy_loops(z, labels):
    """z: (B, K), labels: (B,) class numbers -> the mean of -log p of the right class."""
    p = softmax_loops(z)
    return sum(-np.log(p[b, labels[b]]) for b in range(len(z))) / len(z)


p_loops = softmax_loops(z)
print("rows of p sum to", p_loops.sum(axis=1))

# %% [markdown]
# ## Forward, vectorised
#
# Now all rows at once. `keepdims=True` keeps the reduced axis with length 1, so that one number per row
# broadcasts against the row.

# %% tags=["yours"]
# the exponentials, shifted by the largest logit of each row, and the probabilities
e = np.exp(z - z.max(axis=1, keepdims=True))
p = e / e.sum(axis=1, keepdims=True)

agree("p", p, p_loops)

# %% [markdown]
# The loss needs $\log p$, not $p$. The logarithm of the fraction is
#
# $$\log p_k = z_k - \mathrm{lse}(z), \qquad \mathrm{lse}(z) = \log \sum_j e^{z_j} = m + \log \sum_j e^{z_j - m}$$
#
# for every number $m$. We choose $m = \max_j z_j$. Then the largest exponent is 0, so nothing overflows. The sum is at
# least 1, so its logarithm is finite. This is the **log-sum-exp trick**.

# %% tags=["yours"]
t = np.eye(K)[labels]  # given
# the largest logit of each row, the log-sum-exp, log p and the loss
m = z.max(axis=1, keepdims=True)
lse = m + np.log(np.exp(z - m).sum(axis=1, keepdims=True))
log_p = z - lse
loss = -(t * log_p).sum() / B

agree("log p", log_p, np.log(p_loops))
agree("loss", loss, cross_entropy_loops(z, labels))

# %% [markdown]
# ## The Jacobian of the softmax
#
# Take one row. Write $e_i = e^{z_i}$ and $\Sigma = \sum_j e_j$, so $p_i = e_i/\Sigma$. We need two derivatives. First,
# $e_i$ depends on $z_i$ alone: $\partial e_i/\partial z_j$ is $e_i$ if $i = j$ and 0 otherwise. Second, $\Sigma$ depends
# on every logit: $\partial \Sigma/\partial z_j = e_j$. The quotient rule then has two cases:
#
# $$i = j: \quad \frac{\partial p_i}{\partial z_i} = \frac{e_i \Sigma - e_i e_i}{\Sigma^2} = p_i - p_i p_i,
# \qquad\qquad i \ne j: \quad \frac{\partial p_i}{\partial z_j} = \frac{0 \cdot \Sigma - e_i e_j}{\Sigma^2} = - p_i p_j.$$
#
# Both cases fit in one line. $\mathrm{diag}(p)$ is the matrix with $p$ on its diagonal:
#
# $$J = \mathrm{diag}(p) - p\,p^\top$$

# %%
row = p[0]
J_loops = np.zeros((K, K))
for i in range(K):
    for j in range(K):
        J_loops[i, j] = (row[i] if i == j else 0) - row[i] * row[j]

# %% tags=["yours"]
# the same without loops, from `row`
J = np.diag(row) - np.outer(row, row)

agree("J", J, J_loops)

# %% [markdown]
# The engine computes pullbacks only. With a one-hot cotangent a pullback returns one row of $J$: if the cotangent is 1
# for output $i$ and 0 elsewhere, the result is the gradient of $p_i$ alone.

# %%
rows_of_J = []
for one_hot in np.eye(K):
    row_of_z = Tensor(z[0], requires_grad=True)
    rows_of_J += grad(F.softmax(row_of_z), [row_of_z], one_hot)

agree("J", J, np.stack(rows_of_J))
print(f"largest row sum of J: {np.abs(J.sum(axis=1)).max():.0e}")
print("eigenvalues:", np.linalg.eigvalsh(J).round(4) + 0.0)

# %% [markdown]
# We can read off three facts:
#
# - $J$ is symmetric.
# - Its rows sum to 0, up to rounding: adding one number to all logits changes nothing. So one eigenvalue is 0.
# - No eigenvalue is negative. For every vector $g$,
#   $g^\top J g = \sum_k p_k g_k^2 - \bigl(\sum_k p_k g_k\bigr)^2$. This is the variance of a number that is $g_k$ with
#   probability $p_k$, and no variance is negative.
#
# **The pullback without the matrix.** For a cotangent $g$ the gradient is $J^\top g = J g$. Multiply out:
#
# $$\mathrm{d}z = \mathrm{diag}(p)\,g - p\,(p^\top g) = p \circ \bigl(g - \langle g, p \rangle\bigr).$$
#
# This takes $2K$ multiplications. Building $p\,p^\top$ takes $K^2$, and its product with $g$ another $K^2$. Write the
# short form for all rows at once.

# %%
g = rng.standard_normal((B, K))
dz_by_matrix = np.stack([(np.diag(p[b]) - np.outer(p[b], p[b])).T @ g[b] for b in range(B)])

# %% tags=["yours"]
# the pullback of g through the softmax, row by row
dz_softmax = p * (g - (g * p).sum(axis=1, keepdims=True))

agree("dz", dz_softmax, dz_by_matrix)

# %% [markdown]
# ### A picture of the Jacobian
#
# **Predict first.** Multiply one row of logits by 0.3, 1 and 3: the softmax becomes surer of its choice. Does the sum
# of the sizes $|J_{ij}|$ grow or fall? Does the largest entry do the same?

# %%
factors = [0.3, 1, 3]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
for axis, factor in zip(axes, factors, strict=True):
    p_row, _ = ops.softmax(factor * z[0])
    jacobian = np.diag(p_row) - np.outer(p_row, p_row)
    drawn = axis.imshow(jacobian, cmap="RdBu_r", vmin=-0.25, vmax=0.25)
    for (i, j), entry in np.ndenumerate(jacobian):
        axis.text(
            j,
            i,
            f"{round(entry, 2) + 0.0:.2f}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if entry > 0.18 else "black",
        )
    axis.set(title=f"logits × {factor}, largest $p$ = {p_row.max():.2f}", xlabel="logit $j$", ylabel="probability $i$")
    print(f"logits x {factor:<4} largest p {p_row.max():.2f}", end=", ")
    print(f"sum of all |entries| {np.abs(jacobian).sum():.2f}, largest entry {jacobian.max():.2f}")
figure.colorbar(drawn, ax=axes, label="$J_{ij}$")
plt.show()

# %% [markdown]
# **In the stored run** the largest probability rises from 0.29 through 0.47 to 0.82, and the sum of all sizes falls
# from 1.55 through 1.34 to 0.62. The largest entry does not follow: it first grows from 0.21 to 0.25, then falls to
# 0.15.
#
# No entry can exceed $1/4$ in size: on the diagonal $p_i(1 - p_i) \le 1/4$, and off it $p_i p_j \le p_i(1 - p_i)$. If
# one probability comes close to 1, all entries come close to 0: a **saturated** softmax passes hardly any gradient on.
# This is a danger in attention, and notebook [07](07_attention.ipynb) shows the remedy. In the loss it is no danger, as
# we see now.
#
# ## Backward through the cross-entropy, step by step
#
# We write the forward pass as three steps: $\mathrm{lse}(z)$, then $\log p = z - \mathrm{lse}$, then $\mathcal{L}$. Then
# we walk them in reverse. The engine differentiates the same chain for comparison. The cotangent of a loss is usually 1.
# We draw $\mathrm{d}\mathcal{L}$ at random, because a forgotten factor $\mathrm{d}\mathcal{L}$ would not show with 1.

# %%
dloss = rng.standard_normal()

tz = Tensor(z, requires_grad=True)
tlse = F.log(F.exp(tz - m).sum(axis=1, keepdims=True)) + m
tlog_p = tz - tlse
tloss = (tlog_p * t).sum() * (-1 / B)
engine = dict(zip(["log_p", "lse", "z"], grad(tloss, [tlog_p, tlse, tz], np.array(dloss)), strict=True))

# %% [markdown]
# We treat $m$ as a constant, although it depends on $z$. That is allowed. The formula of $\mathrm{lse}$ gives the same
# value for every $m$, so its derivative with respect to $m$ is 0. The path through $m$ adds nothing.
#
# **Step 1: $\mathcal{L} = -\frac1B \sum t \log p$.** A weighted sum gives each entry its weight:
#
# $$\mathrm{d}\log p = -\frac{t}{B}\,\mathrm{d}\mathcal{L}.$$

# %% tags=["yours"]
# step 1
dlog_p = -t / B * dloss

agree("dlog_p", dlog_p, engine["log_p"])

# %% [markdown]
# **Step 2: $\log p = z - \mathrm{lse}$.** Each row has one number $\mathrm{lse}$, and it is subtracted from all $K$
# entries. So it collects the sum of their gradients, with a minus sign:
#
# $$\mathrm{d}\,\mathrm{lse}_b = -\sum_k \mathrm{d}\log p_{bk}.$$

# %% tags=["yours"]
# step 2
dlse = -dlog_p.sum(axis=1, keepdims=True)

agree("dlse", dlse, engine["lse"])

# %% [markdown]
# **Step 3: $z$ is used twice**, once in step 2 and once inside $\mathrm{lse}$. The two gradients add. For the second we
# need
#
# $$\frac{\partial\,\mathrm{lse}}{\partial z_k} = \frac{1}{\sum_j e^{z_j}} \cdot e^{z_k} = p_k.$$
#
# So the derivative of log-sum-exp is the softmax. Together:
#
# $$\mathrm{d}z = \mathrm{d}\log p + p\,\mathrm{d}\,\mathrm{lse} = \frac{1}{B}\Bigl(p \sum_j t_j - t\Bigr)\,\mathrm{d}\mathcal{L} = \frac{p - t}{B}\,\mathrm{d}\mathcal{L}.$$
#
# The last step uses that targets sum to 1.

# %% tags=["yours"]
# step 3 as the sum of two paths, and in closed form
dz_two_paths = dlog_p + p * dlse
dz = (p - t) / B * dloss

agree("dz, 2 paths", dz_two_paths, engine["z"])
agree("dz, closed", dz, engine["z"])

# %% [markdown]
# For $\mathrm{d}\mathcal{L} = 1$ the gradient of an image is the error of its prediction, $p - t$, divided by $B$. It
# is small only if the prediction is close to the target.
#
# Suppose the model is sure of a wrong class, so the probability $p_k$ of the right class is tiny. The slope of $-\log
# p_k$ is then huge, $-1/p_k$, and the slope of the softmax is tiny, $p_k(1 - p_k)$. Their product $-(1 - p_k)$ is close
# to $-1$. In float32, $1/p_k$ can overflow and $p_k(1 - p_k)$ can become 0. That is why the library has one op for
# both.
#
# ## Check it numerically
#
# We write our cross-entropy as an *op*, a function that returns its value and its pullback. `check_vjp` compares its
# gradients with central differences, for a random cotangent. It asks for the gradient of every argument. The loss is
# linear in $t$, so $\mathrm{d}t = -\log p \cdot \mathrm{d}\mathcal{L}/B$. (The library's op gives labels no gradient.)


# %% tags=["yours"]
def my_cross_entropy(z, t):
    """-mean over rows of sum_k t_k log p_k, and its pullback: dloss -> dz, dt.   z, t: (B, K)."""
    shifted = z - z.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = len(z)

    def vjp(dloss):
        dz = (np.exp(log_p) * t.sum(axis=-1, keepdims=True) - t) * (dloss / rows)
        dt = -log_p * (dloss / rows)
        return dz, dt

    return -(t * log_p).sum() / rows, vjp


# %%
soft_targets = rng.dirichlet(np.ones(K), B)  # random rows that sum to 1
print(f"largest relative error of the gradients: {check_vjp(my_cross_entropy, z, soft_targets):.1e}")

# %% [markdown]
# Keep the factor $\sum_j t_j$ in `dz`: an op must be right for every argument, and a caller may give rows that do not sum
# to 1. The check above would accept an op without that factor, because its targets sum to 1. The next one would not:

# %%
print(f"targets that sum to 2: {check_vjp(my_cross_entropy, z, 2 * soft_targets):.1e}")

# %% [markdown]
# ## The library
#
# `minivit.ops.softmax` and `minivit.ops.cross_entropy`. Find the two pullbacks that you have just derived. (Notebook
# [06b](06b_smoothing_sigmoid_temperature.ipynb) explains `label_smoothing`.)

# %%
show_source(ops.softmax)

# %%
show_source(ops.cross_entropy)

# %%
value, pullback = ops.cross_entropy(z, labels)
agree("loss", loss, value)
agree("dz", dz, pullback(dloss)[0])

# %% [markdown]
# ## Experiment: how large may logits be?
#
# Here are three ways to compute the same loss in float32:
#
# 1. **naive**: $-\log(e^{z_k}/\sum_j e^{z_j})$ as it stands,
# 2. **shifted**: subtract the largest logit, then compute $p$, then $-\log p$,
# 3. **log-sum-exp**: $\mathrm{lse}(z) - z_k$, as in the library.


# %%
def naive(z):
    e = np.exp(z)
    return -np.log(e / e.sum(axis=-1, keepdims=True))


def shifted(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return -np.log(e / e.sum(axis=-1, keepdims=True))


def with_lse(z):
    return -ops.log_softmax(z)[0]


methods = {"naive": naive, "shifted": shifted, "log-sum-exp": with_lse}

# %% [markdown]
# **Predict first.** Take the logits 1000, 0 and −1000. Which of the three gives a finite loss for each of the three
# classes?

# %%
thousand = np.array([1e3, 0, -1e3], np.float32)
with np.errstate(all="ignore"):  # NumPy warns of every overflow here
    for name, method in methods.items():
        losses = ", ".join(f"{value + 0.0:g}" for value in method(thousand))
        print(f"{name:<12} loss if the class is 0, 1, 2: {losses}")
print(f"float32 overflows in exp(z) for z above {np.log(np.finfo(np.float32).max):.1f}")

# %% [markdown]
# **In the stored run** only log-sum-exp is finite for all three: 0, 1000 and 2000. For class 0 the naive form divides
# infinity by infinity, which gives NaN. For classes 1 and 2 it divides by infinity and gets $p = 0$. The shifted form
# rounds these two probabilities to 0 as well, and $-\log 0$ is infinite.
#
# **Predict first.** Now many rows with ten logits each, from small to large. The label of each row is drawn at random.
# Up to which standard deviation of the logits are all losses finite? At the largest scale, which share of the shifted
# losses is finite?

# %%
scales = np.logspace(-1, 4, full_or_fast(41, 11))
images = full_or_fast(4000, 200)
unit = rng.standard_normal((images, 10)).astype(np.float32)
chosen = rng.integers(0, 10, images)
finite = {name: [] for name in methods}
error = {name: [] for name in methods}
with np.errstate(all="ignore"):
    for scale in scales:
        row_logits = unit * np.float32(scale)
        truth = with_lse(row_logits.astype(np.float64))[np.arange(images), chosen]
        for name, method in methods.items():
            losses = method(row_logits)[np.arange(images), chosen]
            good = np.isfinite(losses)
            finite[name].append(good.mean())
            worst = np.max(np.abs(losses - truth)[good], initial=0) / truth.mean()
            error[name].append(worst if good.mean() > 0.5 else np.nan)  # only where most losses are finite

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
styles = [
    {"color": "#9ecae1", "linewidth": 6},  # broad, because the next curve lies on it
    {"color": "tab:orange", "linestyle": "--", "marker": "s", "markersize": 4},
    {"color": "tab:green", "linestyle": ":", "marker": "^", "markersize": 4},
]
for name, style in zip(methods, styles, strict=True):
    axes[0].semilogx(scales, finite[name], label=name, **style)
    axes[1].loglog(scales, error[name], label=name, **style)
axes[1].text(100, 4e-3, "not drawn where half\nor more are not finite", fontsize=10)
axes[0].set(title="share of losses that are finite", xlabel="standard deviation of the logits", ylim=(-0.05, 1.08))
axes[1].set(title="largest error / mean loss", xlabel="standard deviation of the logits", ylim=(3e-8, 0.1))
axes[0].legend(loc="center left", bbox_to_anchor=(0, 0.3))
plt.show()

for name in methods:
    all_finite = scales[np.array(finite[name]) == 1]
    print(f"{name:<12} all losses finite up to a standard deviation of {all_finite[-1]:.1f}", end="; ")
    print(f"at {scales[-1]:.0f}: {finite[name][-1]:.0%} finite")

# %% [markdown]
# **In the stored run** all losses of the first two methods are finite up to a standard deviation of 17.8. At 10000 the
# naive form has 0% finite losses, the shifted form 10%, log-sum-exp 100%.
#
# Why 10%? At this scale the shifted loss is finite almost only in rows whose label has the largest logit. Labels are
# drawn among ten classes, so this is one row in ten. The right panel shows that the first two methods lose digits
# before they fail. Below about $10^{-38}$ a float32 number is "subnormal": it has fewer digits, the smaller it is.
#
# ## Where this goes wrong in practice
#
# - **Softmax twice.** `cross_entropy(softmax(z), labels)` runs without an error. But probabilities lie between 0 and 1,
#   so as "logits" they are never far apart. The loss then cannot fall below a certain value (exercise 6.2).
# - **`log(softmax(z))` instead of `log_softmax(z)`.** It works until the first confident mistake, perhaps hours later.
#   Then the loss is infinite. A small constant inside the logarithm only hides this. It bounds the loss, but the
#   gradient vanishes where the model is most wrong.
# - **Sum instead of mean.** With a sum over the images the gradient grows with the batch. The mean keeps its size
#   comparable.
# - **A check with a cotangent of ones.** $\langle 1, p\rangle = 1$ for every $z$, so the gradient through the softmax
#   is 0. A wrong backward pass that returns zeros passes this check.
# - **Subtracting the maximum of the whole batch**, not of the row. It is right in exact arithmetic, but in rows with
#   much smaller logits all exponentials become 0.
#
# ## Exercises
#
# Write your answer in the cell; `check` says at once whether it is right. `hint("6.1")`, from `minivit.lessons`, gives
# up to three hints, one per call.
#
# **6.1 (two lines).** Write log-sum-exp for rows of any size. Entries may be as large as ±1000.


# %%
def log_sum_exp(z):
    """z: (B, K) -> (B,)"""
    ...  # your answer here


check("6.1", log_sum_exp)

# %% [markdown]
# **6.2 (ten minutes).** Somebody writes `cross_entropy(softmax(z), labels)`, a softmax too many. There are $K = 10$
# classes. How low can this loss get at best? Give a formula, or a number to a relative accuracy of $10^{-4}$.

# %%
lowest_loss = None  # your answer here

check("6.2", lowest_loss)

# %% [markdown]
# **6.3 (twenty minutes).** `log_softmax` is an op of its own in the library: $y = z - \mathrm{lse}(z)$, row by row. Given
# $z$ and a cotangent $\mathrm{d}y$, derive $\mathrm{d}z$. Steps 2 and 3 above contain all you need, but here
# $\mathrm{d}y$ is any array.


# %%
def log_softmax_backward(z, dy):
    """z, dy: (B, K) -> dz (B, K)"""
    ...  # your answer here


check("6.3", log_softmax_backward)

# %% [markdown]
# **6.4 (an hour).** With features $x$ of shape $(B, D)$ and a head $W$ of shape $(D, K)$, the logits $xW$ have $BK$
# entries. With the paper's batch of $B = 4096$ and $K = 21843$ classes these are more numbers than the 86 million
# parameters of ViT-Base (Table 1). Compute the loss and both gradients from **blocks of classes**: no array may have
# more than $B \cdot$ `block` entries, except those of the size of $x$ or $W$. Logits may be of any size, as in 6.1. The
# checker measures the memory.


# %%
def loss_in_blocks(x, W, labels, block):
    """x: (B, D), W: (D, K), labels: (B,), block: how many classes at a time -> loss, dx (B, D), dW (D, K)."""
    ...  # your answer here


check("6.4", loss_in_blocks)

# %% [markdown]
# Next: [06b, label smoothing, the sigmoid loss and temperature](06b_smoothing_sigmoid_temperature.ipynb).

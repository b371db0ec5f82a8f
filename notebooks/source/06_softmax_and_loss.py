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
# A classifier ends in one number per class, the **logits**. The softmax turns them into probabilities, and the cross-entropy says
# how badly these fit the label. Both are a line of code, and both fail for large logits when that line is written naively. The
# softmax also stands inside attention (Eq. 6 of the paper, [Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2),
# appendix A), so its derivative is needed twice. The paper does not write its loss as a formula. Its published JAX code, which
# fine-tunes, has the softmax cross-entropy, as the later notebooks have. That the pre-training used a sigmoid cross-entropy is
# said in [an answer](https://github.com/google-research/vision_transformer/issues/34) of that code's maintainers. At the end you
# will be able to
#
# - derive the Jacobian of the softmax, $\mathrm{diag}(p) - p\,p^\top$, and apply it without building it,
# - compute the cross-entropy for logits of any size, and derive its gradient $(p - t)/B$,
# - say what label smoothing changes, and what the sigmoid cross-entropy of the pre-training asks instead.
#
# You need the chain rule for arrays and the gradients of sums and broadcasting (notebook [02](02_shapes.ipynb)).
#
# **Budget:** 5 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, show_source
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(6)

# %% [markdown]
# ## The equations
#
# For one image with logits $z \in \mathbb{R}^K$, the **softmax** makes $K$ positive numbers that sum to 1:
#
# $$p_k = \frac{e^{z_k}}{\sum_j e^{z_j}} \tag{softmax}$$
#
# The label is a row of probabilities too: $t$ is 1 for the right class and 0 for the others ("one-hot"), or something softer. The
# **cross-entropy** of a batch is the mean over its $B$ images:
#
# $$L = -\frac{1}{B} \sum_b \sum_k t_{bk} \log p_{bk} \tag{cross-entropy}$$
#
# With a one-hot label a single term of the inner sum is left: minus the logarithm of the probability given to the right class.
# The sum over the images is then minus the logarithm of the probability that all labels come out, if each is drawn from its $p$.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $K$ | images in the batch, classes | numbers | `B`, `K` |
# | $z$ | logits | $(B, K)$ | `z` |
# | $p$ | probabilities, rows sum to 1 | $(B, K)$ | `p` |
# | $t$ | targets, rows sum to 1 | $(B, K)$ | `t` |
# | $\mathrm{lse}(z)$ | $\log \sum_j e^{z_j}$, one number per row | $(B, 1)$ | `lse` |
# | $L$ | the loss | a number | `L` |
# | $J$ | Jacobian of the softmax of one row, $J_{ij} = \partial p_i/\partial z_j$ | $(K, K)$ | `J` |
# | $\varepsilon$ | label smoothing (neither the rounding of notebook 00 nor the $\epsilon$ of 05) | a number in $[0, 1)$ | `smoothing` |
# | $\sigma(z)$ | the sigmoid $1/(1 + e^{-z})$ (not the standard deviation) | that of $z$ | |
# | $\mathrm{d}X$ | gradient of the final loss with respect to $X$ | that of $X$ | `dX` |

# %%
B, K = 4, 5
z = rng.standard_normal((B, K))
labels = rng.integers(0, K, B)
labels

# %% [markdown]
# ## Forward, as loops
#
# One image at a time. The largest logit is subtracted from all logits of the row. This changes no probability, because
# $e^{z_k - m} = e^{z_k} e^{-m}$ and the factor $e^{-m}$ cancels in the fraction. Why it is needed comes further down.


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
# `keepdims=True` keeps the reduced axis with length 1, so that a number per row broadcasts against the rows.

# %%
e = np.exp(z - z.max(axis=1, keepdims=True))
p = e / e.sum(axis=1, keepdims=True)

agree("p", p, p_loops)

# %% [markdown]
# For the loss we need $\log p$, not $p$. Taking the logarithm of the fraction by hand gives
#
# $$\log p_k = z_k - \mathrm{lse}(z), \qquad \mathrm{lse}(z) = \log \sum_j e^{z_j} = m + \log \sum_j e^{z_j - m}$$
#
# for every number $m$. With $m = \max_j z_j$ the largest exponent is 0: nothing overflows, and the sum is at least 1, so its
# logarithm is finite. This is the **log-sum-exp trick**.

# %%
m = z.max(axis=1, keepdims=True)
lse = m + np.log(np.exp(z - m).sum(axis=1, keepdims=True))
log_p = z - lse
t = np.eye(K)[labels]  # one-hot: row b of t is row labels[b] of the identity matrix
L = -(t * log_p).sum() / B

agree("log p", log_p, np.log(p_loops))
agree("L", L, cross_entropy_loops(z, labels))

# %% [markdown]
# ## The Jacobian of the softmax
#
# Take one row. Write $e_i = e^{z_i}$ and $\Sigma = \sum_j e_j$, so $p_i = e_i/\Sigma$. Two derivatives are needed. $e_i$ depends
# on $z_i$ alone: $\partial e_i/\partial z_j = e_i$ if $i = j$, else 0. And $\Sigma$ depends on every logit:
# $\partial \Sigma/\partial z_j = e_j$. The quotient rule then has two cases:
#
# $$i = j: \quad \frac{\partial p_i}{\partial z_i} = \frac{e_i \Sigma - e_i e_i}{\Sigma^2} = p_i - p_i p_i,
# \qquad\qquad i \ne j: \quad \frac{\partial p_i}{\partial z_j} = \frac{0 \cdot \Sigma - e_i e_j}{\Sigma^2} = - p_i p_j.$$
#
# Both cases in one line, with the matrix $\mathrm{diag}(p)$ that has $p$ on its diagonal:
#
# $$J = \mathrm{diag}(p) - p\,p^\top$$

# %%
row = p[0]
J_loops = np.zeros((K, K))
for i in range(K):
    for j in range(K):
        J_loops[i, j] = (row[i] if i == j else 0) - row[i] * row[j]
J = np.diag(row) - np.outer(row, row)

agree("J", J, J_loops)

# %% [markdown]
# The engine has no Jacobians, only pullbacks. But pulling back the cotangent that is 1 for output $i$ and 0 elsewhere gives row
# $i$ of $J$: the gradient of $p_i$ alone.

# %%
rows_of_J = []
for one_hot in np.eye(K):
    logits = Tensor(z[0], requires_grad=True)
    rows_of_J += grad(F.softmax(logits), [logits], one_hot)

agree("J", J, np.stack(rows_of_J))
print("largest row sum of J:", np.abs(J.sum(axis=1)).max())
print("eigenvalues:", np.linalg.eigvalsh(J))

# %% [markdown]
# Three things to read off:
#
# - $J$ is symmetric.
# - Its rows sum to 0 (up to rounding): adding one number to all logits changes nothing. So one eigenvalue is 0.
# - No eigenvalue is negative (up to rounding). For every vector $g$, $g^\top J g = \sum_k p_k g_k^2 - (\sum_k p_k g_k)^2$, and this is
#   the variance of a number that is $g_k$ with probability $p_k$.
#
# **The pullback without the matrix.** For a cotangent $g$ the gradient is $J^\top g = J g$. Multiply out:
#
# $$\mathrm{d}z = \mathrm{diag}(p)\,g - p\,(p^\top g) = p \circ \bigl(g - \langle g, p \rangle\bigr).$$
#
# This takes about $K$ multiplications for each of its two products, where the matrix takes $K^2$. All rows at once:

# %%
g = rng.standard_normal((B, K))
dz = p * (g - (g * p).sum(axis=1, keepdims=True))

explicit = np.stack([(np.diag(p[b]) - np.outer(p[b], p[b])).T @ g[b] for b in range(B)])
agree("dz", dz, explicit)

# %% [markdown]
# ### A picture of it
#
# The same logits, multiplied by three factors. Blue entries are negative, red ones positive; the colours of the three panels have
# one scale.

# %%
factors = [0.1, 1, 10]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
for axis, factor in zip(axes, factors, strict=True):
    q, _ = ops.softmax(factor * z[0])
    picture = axis.imshow(np.diag(q) - np.outer(q, q), cmap="RdBu_r", vmin=-0.25, vmax=0.25)
    axis.set(title=f"logits × {factor}, largest $p$ = {q.max():.3f}", xlabel="logit $j$", ylabel="probability $i$")
figure.colorbar(picture, ax=axes, label="$J_{ij}$")
plt.show()

for factor in factors:
    q, _ = ops.softmax(factor * z[0])
    print(f"logits x {factor:<4} largest entry of J {np.abs(np.diag(q) - np.outer(q, q)).max():.1e}")

# %% [markdown]
# No entry can exceed $1/4$ in size: on the diagonal $p_i(1 - p_i) \le 1/4$, and off it $p_i p_j \le p_i(1 - p_i)$. When the
# logits are nearly equal, every logit acts on every probability. When one probability comes close to 1, all entries become small
# (the third panel is not empty, only pale): a **saturated** softmax passes hardly any gradient on. In attention that is a danger,
# and notebook [07](07_attention.ipynb) shows the remedy. In the loss it is none, as we see now.
#
# ## Backward through the cross-entropy, step by step
#
# We write the forward pass as three steps and walk them in reverse: $\mathrm{lse}(z)$, then $\log p = z - \mathrm{lse}$, then
# $L$. The engine differentiates the same chain for comparison. A loss usually has the cotangent 1, but we draw $\mathrm{d}L$ at
# random: a forgotten factor $\mathrm{d}L$ would not show with 1.

# %%
dL = rng.standard_normal()

tz = Tensor(z, requires_grad=True)
tlse = F.log(F.exp(tz - m).sum(axis=1, keepdims=True)) + m
tlog_p = tz - tlse
tL = (tlog_p * t).sum() * (-1 / B)
engine = dict(zip(["log_p", "lse", "z"], grad(tL, [tlog_p, tlse, tz], np.array(dL)), strict=True))

# %% [markdown]
# (We treat $m$ as a constant, although it is one of the logits. That is allowed: $\mathrm{lse}$ has the same value for every $m$,
# so its derivative with respect to $m$ is 0.)
#
# **Step 1: $L = -\frac1B \sum t \log p$.** A weighted sum hands each entry its weight:
#
# $$\mathrm{d}\log p = -\frac{t}{B}\,\mathrm{d}L.$$

# %%
dlog_p = -t / B * dL

agree("dlog_p", dlog_p, engine["log_p"])

# %% [markdown]
# **Step 2: $\log p = z - \mathrm{lse}$.** The one number $\mathrm{lse}$ of a row is subtracted from all its $K$ entries. So it
# collects the sum of their gradients, with a minus sign:
#
# $$\mathrm{d}\,\mathrm{lse}_b = -\sum_k \mathrm{d}\log p_{bk}.$$

# %%
dlse = -dlog_p.sum(axis=1, keepdims=True)

agree("dlse", dlse, engine["lse"])

# %% [markdown]
# **Step 3: $z$ is used twice**, directly in step 2 and inside $\mathrm{lse}$. The two gradients add. For the second we need
#
# $$\frac{\partial\,\mathrm{lse}}{\partial z_k} = \frac{1}{\sum_j e^{z_j}} \cdot e^{z_k} = p_k,$$
#
# the derivative of log-sum-exp is the softmax. Together:
#
# $$\mathrm{d}z = \mathrm{d}\log p + p\,\mathrm{d}\,\mathrm{lse} = \frac{1}{B}\Bigl(p \sum_j t_j - t\Bigr)\,\mathrm{d}L = \frac{p - t}{B}\,\mathrm{d}L,$$
#
# the last equality because targets sum to 1.

# %%
dz_two_paths = dlog_p + p * dlse
dz = (p - t) / B * dL

agree("dz, 2 paths", dz_two_paths, engine["z"])
agree("dz, closed", dz, engine["z"])

# %% [markdown]
# The gradient is the error of the prediction, $p - t$. It is small only if the prediction is close to the target. A model that is
# sure of the wrong class has $p - t$ near $-1$ at the right class $k$: $-\log p_k$ has the derivative $-1/p_k$, which is huge there,
# the softmax $p_k(1 - p_k)$, which is tiny, and their product $-(1 - p_k)$ is neither. That is why the two are one op.
#
# ## Check it numerically
#
# Central differences, by a random cotangent, of our own op in the form of the library: value and pullback. `check_vjp` asks for the gradient of every
# argument; the loss is linear in $t$, so $\mathrm{d}t = -\log p \cdot \mathrm{d}L/B$. (The library's op gives labels none.)


# %%
def my_cross_entropy(z, t):
    """L = -mean over rows of sum_k t_k log p_k, and its pullback.   z, t: (B, K), L: a number."""
    shifted = z - z.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = len(z)

    def vjp(dL):
        dz = (np.exp(log_p) * t.sum(axis=-1, keepdims=True) - t) * (dL / rows)
        dt = -log_p * (dL / rows)
        return dz, dt

    return -(t * log_p).sum() / rows, vjp


soft_targets = rng.dirichlet(np.ones(K), B)  # random rows that sum to 1
print(f"largest relative error of the gradients: {check_vjp(my_cross_entropy, z, soft_targets):.1e}")

# %% [markdown]
# Why is $\sum_j t_j$ still in `dz`? An op must be right for every argument, and nothing stops a caller from giving rows that do
# not sum to 1. The check above would not notice if it were missing, since its targets do sum to 1. This one would:

# %%
print(f"targets that sum to 2: {check_vjp(my_cross_entropy, z, 2 * soft_targets):.1e}")

# %% [markdown]
# ## The library
#
# `minivit.ops.softmax` and `minivit.ops.cross_entropy`. Find the two pullbacks that you have just derived.

# %%
show_source(ops.softmax)

# %%
show_source(ops.cross_entropy)

# %%
value, pullback = ops.cross_entropy(z, labels)
agree("L", L, value)
agree("dz", dz, pullback(dL)[0])

# %% [markdown]
# ## Label smoothing
#
# With a one-hot target the loss falls as long as the logit of the right class grows: it approaches its lowest value, 0, without
# ever reaching it. **Label smoothing** ([Szegedy et al. 2016](https://arxiv.org/abs/1512.00567)) takes a share $\varepsilon$ from
# the right class and spreads it over *all* $K$ classes, the right one included:
#
# $$t = (1 - \varepsilon)\,\mathrm{onehot} + \frac{\varepsilon}{K}.$$
#
# The loss and its gradient $(p - t)/B$ stay as they are. Now the gradient is zero at $p = t$, which finite logits reach. The
# published configurations of ViT do not use it; that of DeiT, a later recipe, does.

# %%
smoothing = 0.1
t_smooth = (1 - smoothing) * np.eye(K)[labels] + smoothing / K

value, pullback = ops.cross_entropy(z, labels, label_smoothing=smoothing)
agree("L", -(t_smooth * log_p).sum() / B, value)
agree("dz", (p - t_smooth) / B, pullback(1.0)[0])
print("targets of the first image:", t_smooth[0], "sum", t_smooth[0].sum())

# %% [markdown]
# ## Sigmoid cross-entropy
#
# The softmax makes classes compete: one label per image. On ImageNet-21k and JFT, the pre-training data, an image may deserve
# several labels. The pre-training asks $K$ **yes-or-no questions** instead, each answered by a sigmoid
# $\sigma(z) = 1/(1 + e^{-z})$, and *sums* their losses:
#
# $$L = -\frac{1}{B}\sum_b\sum_k \Bigl[t_{bk} \log \sigma(z_{bk}) + (1 - t_{bk}) \log \sigma(-z_{bk})\Bigr] \tag{sigmoid cross-entropy}$$
#
# Here $\sigma(-z) = 1 - \sigma(z)$ is the probability of "no". Each $t_{bk}$ is between 0 and 1, and rows need not sum to 1.
#
# **Forward without overflow.** Define $\mathrm{softplus}(z) = \log(1 + e^z)$. Then $\log\sigma(-z) = -\mathrm{softplus}(z)$ and
# $\log\sigma(z) = z - \mathrm{softplus}(z)$, so one term is
#
# $$-\bigl[t\,(z - \mathrm{softplus}(z)) - (1 - t)\,\mathrm{softplus}(z)\bigr] = \mathrm{softplus}(z) - t z,
# \qquad \mathrm{softplus}(z) = \max(z, 0) + \log\bigl(1 + e^{-|z|}\bigr).$$
#
# In the last form no exponent is positive. **Backward**: the derivative of the softplus is $e^z/(1 + e^z) = \sigma(z)$, so
#
# $$\mathrm{d}z = \frac{\sigma(z) - t}{B}\,\mathrm{d}L,$$
#
# again prediction minus target.

# %%
t_multi = (rng.uniform(size=(B, K)) < 0.4).astype(float)  # several labels per image, or none
softplus = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
L_sigmoid = (softplus - t_multi * z).sum() / B
dz_sigmoid = (1 / (1 + np.exp(-z)) - t_multi) / B * dL

value, pullback = ops.sigmoid_cross_entropy(z, t_multi)
agree("L", L_sigmoid, value)
agree("dz", dz_sigmoid, pullback(dL)[0])

L_loops = 0.0
for b in range(B):
    for k in range(K):
        yes = 1 / (1 + np.exp(-z[b, k]))
        L_loops -= (t_multi[b, k] * np.log(yes) + (1 - t_multi[b, k]) * np.log(1 - yes)) / B
agree("L, loops", L_sigmoid, L_loops)
print(f"check_vjp: {check_vjp(ops.sigmoid_cross_entropy, z, t_multi):.1e}")

# %% [markdown]
# In the library, $\sigma(z) = \frac12(1 + \tanh\frac z2)$, which cannot overflow; the $e^{-z}$ of our cell can.

# %%
show_source(ops.sigmoid_cross_entropy)

# %% [markdown]
# The *head*, the last linear layer, makes the logits. In a new ViT it is zero, so all logits of the first step are equal. What the
# loss should say then is worth knowing: another number means a bug, before any training.

# %%
for classes in (10, 1000):
    zeros, one_label = np.zeros((1, classes)), np.zeros(1, int)
    softmax_loss, sigmoid_loss = ops.cross_entropy(zeros, one_label)[0], ops.sigmoid_cross_entropy(zeros, one_label)[0]
    print(f"K = {classes:>4}: softmax {softmax_loss:.4f} (log K = {np.log(classes):.4f})", end="   ")
    print(f"sigmoid {sigmoid_loss:.2f} (K log 2 = {classes * np.log(2):.2f})")

# %% [markdown]
# At the start of the sigmoid loss of one image, the $K - 1$ questions whose answer is no each have the gradient $\frac12$, and the
# one whose answer is yes has $-\frac12$: nearly all of the gradient says "answer no", whatever the image. The pre-training starts
# the bias of the head at $-10$ ([said in such an answer](https://github.com/google-research/vision_transformer/issues/2)), where "no"
# is already the answer (exercise 6.2).
#
# ## Experiment: how large may logits be?
#
# Three ways to compute the same loss in float32:
#
# 1. **naive**: $-\log(e^{z_k}/\sum e^{z_j})$ as it stands,
# 2. **shifted**: the largest logit subtracted, then $p$, then $-\log p$,
# 3. **log-sum-exp**: $\mathrm{lse}(z) - z_k$, as in the library.
#
# First a single row with logits of a thousand. `errstate` silences NumPy's warnings, which are deserved.


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
thousand = np.array([1e3, 0, -1e3], np.float32)
with np.errstate(all="ignore"):
    for name, method in methods.items():
        print(f"{name:<12} loss if the class is 0, 1, 2: {method(thousand)}")
print(f"float32 overflows in exp(z) for z above {np.log(np.finfo(np.float32).max):.2f}")

# %% [markdown]
# The naive form gives NaN where infinity is divided by infinity, and infinity where the quotient is 0. The shifted form has
# correct probabilities, but those too small for float32 are rounded to 0, and $-\log 0$ is infinite. Log-sum-exp never forms
# them. Now many rows, with logits of growing standard deviation. The loss is that of a class drawn at random.

# %%
scales = np.logspace(-1, 4, full_or_fast(41, 11))
images = full_or_fast(4000, 200)
unit = rng.standard_normal((images, 10)).astype(np.float32)
chosen = rng.integers(0, 10, images)
finite = {name: [] for name in methods}
error = {name: [] for name in methods}
with np.errstate(all="ignore"):
    for scale in scales:
        logits = unit * np.float32(scale)
        truth = with_lse(logits.astype(np.float64))[np.arange(images), chosen]
        for name, method in methods.items():
            loss = method(logits)[np.arange(images), chosen]
            good = np.isfinite(loss)
            finite[name].append(good.mean())
            worst = np.max(np.abs(loss - truth)[good], initial=0) / truth.mean()
            error[name].append(worst if good.mean() > 0.5 else np.nan)  # a few rows say nothing about the method

# %% [markdown]
# And one figure more, for label smoothing: the loss of a single image whose right class has the logit $a$ and whose $K - 1$ wrong
# ones have 0. By the gradient the lowest point is at $p = t$: there $e^a$, the ratio of the probabilities of the right class and of a wrong one, is the
# ratio of their targets, $a = \log\frac{1 - \varepsilon + \varepsilon/K}{\varepsilon/K}$.

# %%
gaps = np.linspace(-2, 14, 161)
one_image = np.zeros((len(gaps), 10))
one_image[:, 0] = gaps
log_p_image, _ = ops.log_softmax(one_image)
curves = {eps: -log_p_image @ ((1 - eps) * np.eye(10)[0] + eps / 10) for eps in (0, 0.1, 0.3)}

figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
for name, style in zip(methods, ["o-", "s--", "^:"], strict=True):
    axes[0].semilogx(scales, finite[name], style, markersize=4, label=name)
    axes[1].loglog(scales, error[name], style, markersize=4, label=name)
axes[0].set(title="share of losses that are finite", xlabel="standard deviation of the logits", ylim=(-0.05, 1.05))
axes[1].set(title="largest error / mean loss", xlabel="standard deviation of the logits")
axes[0].legend()
for (eps, curve), style in zip(curves.items(), ["-", "--", ":"], strict=True):
    axes[2].plot(gaps, curve, style, label=f"$\\varepsilon$ = {eps}")
    if eps:
        axes[2].plot(gaps[curve.argmin()], curve.min(), "k.", markersize=8)
axes[2].set(title="label smoothing, 10 classes", xlabel="logit $a$ of the right class", ylabel="loss")
axes[2].legend()
plt.show()

# %%
for name in methods:
    failing = scales[np.array(finite[name]) < 1]
    first = f"not all finite from a standard deviation of {failing[0]:.3g} on" if len(failing) else "always finite"
    print(f"{name:<12} {first}; at {scales[-1]:.0e}: {finite[name][-1]:.0%} finite")
for eps in (0.1, 0.3):
    best = np.log((1 - eps + eps / 10) / (eps / 10))
    print(f"eps = {eps}: lowest loss at a = {gaps[curves[eps].argmin()]:.1f}, where p = t: a = {best:.2f}")

# %% [markdown]
# Left: the share of rows for which each way gives a number at all. The curve that stays at 1 is that of the library. Of the
# shifted form those rows are left in the end whose class has the largest logit, one in ten: their loss is 0. (Where the first row
# fails depends on how many there are.) Middle: the largest error of those that are finite, relative to the mean loss, as long as
# more than half are. Two of the methods lose digits before they fail: numbers below about $10^{-38}$ are kept in float32 with
# fewer digits the smaller they are ("subnormal"). Right: dots mark the lowest points. Without smoothing there is none: the curve
# keeps falling. With it, the loss rises again for a model that is too sure.
#
# ## Where this goes wrong in practice
#
# - **Softmax twice.** `cross_entropy(softmax(z), labels)` runs and even trains, slowly: probabilities lie between 0 and 1, so as
#   "logits" they can never be far apart. A loss that cannot fall below some value is the sign.
# - **`log(softmax(z))` instead of `log_softmax(z)`.** It works until the first confident mistake, which may come after hours, and
#   then the loss is infinite. Adding a small constant inside the logarithm hides this: it bounds the loss and removes the
#   gradient exactly where the model is most wrong.
# - **Sum or mean.** The mean over the batch keeps the size of the gradient comparable when the batch grows. The sigmoid loss here
#   is summed over classes; other libraries take the mean over these too, a factor $K$ that changes how large the gradient is, and
#   with it where *clipping*, which shortens gradients that are too long (notebook 12), sets in.
# - **Checked with a cotangent of ones.** $\langle 1, p\rangle = 1$ for every $z$, so its gradient through the softmax is 0, and a
#   backward that returns zeros passes.
# - **Subtracting the maximum of the whole batch** instead of the row's: right in exact arithmetic, but rows with small logits
#   underflow.
#
# ## Exercises
#
# Each cell has a place for your answer; the cell tells you at once whether it is right.
#
# **6.1 (two lines).** Write log-sum-exp for rows of any size: entries of ±1000 too.


# %%
def log_sum_exp(z):
    """z: (B, K) -> (B,)"""
    ...  # your answer here


check("6.1", log_sum_exp)

# %% [markdown]
# **6.2 (ten minutes).** A model for ImageNet-21k has $K = 21843$ classes. Its head starts with zero weights and the bias $-10$
# for every class. An image has one label. What is the sigmoid cross-entropy of the first step? A formula is welcome as an answer,
# to a relative accuracy of $10^{-4}$.

# %%
first_loss = None  # your answer here

check("6.2", first_loss)

# %% [markdown]
# **6.3 (twenty minutes).** Derive $\partial L/\partial z$ of the cross-entropy with label smoothing, from the class numbers,
# without calling the library.


# %%
def smoothed_gradient(z, labels, smoothing):
    """z: (B, K), labels: (B,) class numbers, smoothing: a number -> dz (B, K), of the mean loss."""
    ...  # your answer here


check("6.3", smoothed_gradient)

# %% [markdown]
# **6.4 (half an hour).** Some training methods divide the logits by a **temperature** $\tau$ before the softmax,
# $p = \mathrm{softmax}(z/\tau)$, and some learn it. Derive both gradients of the mean cross-entropy, for $z$ and for $\tau$.


# %%
def temperature_gradients(z, t, tau):
    """z, t: (B, K), rows of t sum to 1, tau: a number -> dz (B, K) and dtau, a number."""
    ...  # your answer here


check("6.4", temperature_gradients)

# %% [markdown]
# **6.5 (an hour).** With features $x$ of shape $(B, D)$ and a head $W$ of shape $(D, K)$, the logits $xW$ have $BK$ entries: with
# the paper's batch of $B = 4096$ and $K = 21843$ these are more numbers than the 86 million parameters of ViT-Base (Table 1).
# Compute the loss and both gradients from **blocks of classes**, so that no array has more than $B \cdot$ `block` entries apart
# from those with the size of $x$ or $W$, for logits of any size, as in 6.1. The checker measures the memory. Hint: go over the blocks twice. What must be known
# after the first time?


# %%
def loss_in_blocks(x, W, labels, block):
    """x: (B, D), W: (D, K), labels: (B,), block: how many classes at a time -> L, dx (B, D), dW (D, K)."""
    ...  # your answer here


check("6.5", loss_in_blocks)

# %% [markdown]
# Next: [07, scaled dot-product attention](07_attention.ipynb).

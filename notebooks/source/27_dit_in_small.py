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
# # 27 DiT in small: from noise to digits
#
# A diffusion model learns to see the noise in a picture. Then it can begin with noise alone and remove it, step by
# step, until a new picture is there. A diffusion Transformer, DiT, does this with the blocks of a ViT. At the end you
# will be able to
#
# - derive how a picture becomes noise, and the best estimate of the noise in it,
# - write the steps back: DDPM, DDIM, and Euler's steps of a rectified flow,
# - steer a Transformer by time and class, forwards and backwards,
# - say what guidance gains and what it costs, by an experiment with a control.
#
# You need notebooks [05](05_layer_norm.ipynb), [07](07_attention.ipynb) and [11](11_vit.ipynb).
#
# **Budget:** 15 s of CPU time (fast mode 8 s).

# %%
import dataclasses
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
from experiments import dit as stored
from experiments import record

from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, digits, full_or_fast, running_digit
from minivit.lessons.pictures import noise as drawing
from minivit.lineage import diffusion
from minivit.lineage import modulated as library
from minivit.lineage.dit import DiT
from minivit.models import ViTConfig
from minivit.ops import layer_norm
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(27)
train, test = digits()
pictures, labels = stored.pixels(train)  # (1438, 64) in -1..1

# %% [markdown]
# ## There and back

# %%
digit = running_digit()[1][:, :, 0] / 127.5 - 1
schedule = diffusion.Schedule.linear(1000)
noise = rng.standard_normal(digit.shape)
stages = [("$\\mathbf{x}_0$", digit)]
for t in (100, 250, 500, 1000):
    share = schedule.abar[t - 1]
    stages.append((f"$\\mathbf{{x}}_{{{t}}}$", math.sqrt(share) * digit + math.sqrt(1 - share) * noise))
_ = drawing.there_and_back(stages)

# %% [markdown]
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $\mathbf{x}_0$ | a picture, pixels from −1 to 1, as one row of $n$ numbers | $(n,)$ | `x0` |
# | $\mathbf{x}_t$ | the same picture in noise | $(n,)$ | `x` |
# | $\mathbf{e}$, $\hat{\mathbf{e}}$ | the noise, independent normal numbers of variance 1; the network's estimate of it | $(n,)$ | `e` |
# | $t$ | time: a step from 1 to $J$; in a flow a number from 0 to 1 | number | `t` |
# | $J$ | steps of the diffusion, 1000 | number | |
# | $\beta_t$ | share of the new noise in the variance after step $t$ | $(J,)$ | `betas` |
# | $\bar\alpha_t$ | share of the picture in the variance after step $t$ | $(J,)$ | `abar` |
# | $q$ | a probability density | | |
# | $\mathbf{a}_i$, $m$ | a training picture; their number | $(n,)$, number | `pictures` |
# | $y$ | the class | number | `labels` |
# | $\mathbf{c}$ | what steers the network: time and class as one vector | $(D,)$ | `c` |
# | $g$ | scale of guidance | number | `scale` |
# | $\dot{\mathbf{x}}$ | velocity along a line from picture to noise | $(n,)$ | `velocity` |
#
# Papers write $\epsilon$ for the noise and $T$ for the number of steps. Here $\epsilon$ and $T$ mean something else.
#
# ## From picture to noise
#
# **Step 1: one step.** A step shrinks the picture a little and adds a little noise. A pixel of variance 1 keeps its
# variance, since $1-\beta_t$ and $\beta_t$ add up to 1.
#
# $$\mathbf{x}_t = \sqrt{1-\beta_t}\,\mathbf{x}_{t-1} + \sqrt{\beta_t}\,\mathbf{e}', \qquad \mathbf{e}' \text{ new in each step}. \tag{1}$$
#
# **Step 2: all steps at once.** Suppose that
# $\mathbf{x}_{t-1} = \sqrt{\bar\alpha_{t-1}}\,\mathbf{x}_0 + \sqrt{1-\bar\alpha_{t-1}}\,\mathbf{e}$. Put this into (1).
# The factor of $\mathbf{x}_0$ becomes $\sqrt{(1-\beta_t)\bar\alpha_{t-1}}$. The two noises are independent, so their
# sum is normal again. Its variance is $(1-\beta_t)(1-\bar\alpha_{t-1}) + \beta_t = 1 - (1-\beta_t)\bar\alpha_{t-1}$.
# Hence, from the first step on,
#
# $$\mathbf{x}_t = \sqrt{\bar\alpha_t}\,\mathbf{x}_0 + \sqrt{1-\bar\alpha_t}\,\mathbf{e}, \qquad \bar\alpha_t = (1-\beta_1)(1-\beta_2)\cdots(1-\beta_t). \tag{2}$$
#
# Training can jump to any $t$ without the steps before it. Arrays begin at 0: `abar[t - 1]` is $\bar\alpha_t$. The
# network is told $t - 1$, a number from 0 to 999.


# %% tags=["yours"]
def shares(betas):
    """The shares of the picture after each step.   (J,) -> (J,)."""
    return np.cumprod(1 - betas)


def noised(x0, e, abar):
    """Equation 2.   x0, e: (..., n), abar: a number."""
    return np.sqrt(abar) * x0 + np.sqrt(1 - abar) * e


# %%
betas = np.linspace(1e-4, 0.02, 1000)
abar = shares(betas)
agree("abar", abar, schedule.abar)
print("abar after 1, 100, 250, 500, 1000 steps:", *(f"{abar[t - 1]:.5f}" for t in (1, 100, 250, 500, 1000)))

pixel = np.full(full_or_fast(20_000, 2_000), 0.7)  # one pixel, many times, step by step
for t in range(1, 501):
    pixel = np.sqrt(1 - betas[t - 1]) * pixel + np.sqrt(betas[t - 1]) * rng.standard_normal(len(pixel))
    if t in (100, 500):
        mean, error = record.mean_and_error(pixel)
        jump = f"jump {noised(0.7, 0, abar[t - 1]):.3f} and {np.sqrt(1 - abar[t - 1]):.3f}"
        print(f"{t} steps: mean {mean:.3f} +- {error:.3f}, deviation {pixel.std():.3f}; {jump}")

# %% [markdown]
# ## What the loss asks for
#
# A step $t$ is drawn, then noise. The network $\hat{\mathbf{e}}$ sees $\mathbf{x}_t$, $t$ and the class, and must
# name the noise:
#
# $$\mathcal{L} = \tfrac{1}{n}\,\lVert \mathbf{e} - \hat{\mathbf{e}}(\mathbf{x}_t, t, y) \rVert^2 \quad \text{on average over pictures, } t \text{ and } \mathbf{e}. \tag{3}$$
#
# Many pictures and noises lead to the same $\mathbf{x}_t$, so the network cannot be right each time. The best single
# answer to a squared error is the mean: $\hat{\mathbf{e}} = \mathbb{E}(\mathbf{e} \mid \mathbf{x}_t)$. Equation (2) turns
# noise into picture and back. It is linear, so it holds for the means too:
#
# $$\hat{\mathbf{x}}_0 = \mathbb{E}(\mathbf{x}_0 \mid \mathbf{x}_t) = \frac{\mathbf{x}_t - \sqrt{1-\bar\alpha_t}\,\hat{\mathbf{e}}}{\sqrt{\bar\alpha_t}}. \tag{4}$$
#
# **For a finite set of pictures the best answer is known.** Let the $m$ training pictures be equally likely. Given
# the picture $\mathbf{a}_i$, the density of $\mathbf{x}_t$ is that of a normal vector around
# $\sqrt{\bar\alpha_t}\,\mathbf{a}_i$. By the rule of Bayes
#
# $$\hat{\mathbf{x}}_0 = \sum_i A_i\,\mathbf{a}_i, \qquad A = \mathrm{softmax}\Bigl(-\frac{\lVert \mathbf{x}_t - \sqrt{\bar\alpha_t}\,\mathbf{a}_i \rVert^2}{2(1-\bar\alpha_t)}\Bigr). \tag{5}$$
#
# $A_i$ is the probability that $\mathbf{x}_t$ came from picture $i$. If the class is told, only its pictures are in
# the sum. Expand the square: $\lVert\mathbf{x}_t\rVert^2$ is the same for all $i$ and cancels. So this is attention with
# a bias for each key. The noisy picture is the query, and the training pictures are keys and values.
#
# **The noise points away from the data.** The density of $\mathbf{x}_t$ is
# $q(\mathbf{x}) = \frac1m \sum_i q(\mathbf{x} \mid \mathbf{a}_i)$. Differentiate its logarithm. Each term brings
# $-(\mathbf{x} - \sqrt{\bar\alpha_t}\,\mathbf{a}_i)/(1-\bar\alpha_t)$ with the weight $A_i$. So
#
# $$\nabla \log q(\mathbf{x}_t) = -\frac{\mathbf{x}_t - \sqrt{\bar\alpha_t}\,\hat{\mathbf{x}}_0}{1-\bar\alpha_t} = -\frac{\hat{\mathbf{e}}}{\sqrt{1-\bar\alpha_t}}. \tag{6}$$
#
# The left side is called the **score** of the density. It points uphill, to likelier $\mathbf{x}_t$. The noise points
# the other way.


# %% tags=["yours"]
def ideal(x, pictures, abar):
    """Equations 5 and 4.   x: (B, n), pictures: (m, n) -> the best x0 and the best noise, (B, n) each."""
    keys = np.sqrt(abar) * pictures
    distances = (x * x).sum(axis=1)[:, None] - 2 * x @ keys.T + (keys * keys).sum(axis=1)
    S = -distances / (2 * (1 - abar))
    A = np.exp(S - S.max(axis=1, keepdims=True))
    A /= A.sum(axis=1, keepdims=True)  # given
    x0 = A @ pictures
    return x0, (x - np.sqrt(abar) * x0) / np.sqrt(1 - abar)


# %%
def log_density(x, abar):
    """log q(x) of the training pictures in noise, up to a constant.   x: (B, n)."""
    S = [-np.square(row - np.sqrt(abar) * pictures).sum(axis=1) / (2 * (1 - abar)) for row in x]
    return np.array([row.max() + np.log(np.exp(row - row.max()).sum()) for row in S])


for t in (300, 600):
    x = noised(pictures[:3], rng.standard_normal((3, 64)), abar[t - 1])
    best, e = ideal(x, pictures, abar[t - 1])
    way, small = rng.standard_normal(x.shape), 1e-4  # along a random direction
    rise = (log_density(x + small * way, abar[t - 1]) - log_density(x - small * way, abar[t - 1])) / (2 * small)
    agree(f"score, {t}", -(e * way).sum(axis=1) / np.sqrt(1 - abar[t - 1]), rise, rtol=1e-6)
    agree("noise again", noised(best, e, abar[t - 1]), x)

# %% [markdown]
# **Predict first.** Put a training picture in (5) with little noise, with more, and with nothing but noise. How does
# $\hat{\mathbf{x}}_0$ look each time?

# %%
times = (100, 250, 400, 550, 700, 1000)
figure, axes = plt.subplots(2, len(times), figsize=(9.5, 3.5), layout="constrained")
e = rng.standard_normal(64)
for axis, t in zip(axes.T, times, strict=True):
    x = noised(pictures[0], e, abar[t - 1])
    best = ideal(x[None], pictures, abar[t - 1])[0]
    for place, picture in zip(axis, (x, best), strict=True):
        place.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    axis[0].set_title(f"t = {t}")
    apart = [np.linalg.norm(best - other) for other in (pictures[0], pictures.mean(axis=0))]
    print(f"t = {t:4d}: distance to the picture {apart[0]:.3f}, to the mean of all pictures {apart[1]:.3f}")
for place, name in zip(axes[:, 0], ("$\\mathbf{x}_t$", "$\\hat{\\mathbf{x}}_0$"), strict=True):
    place.set_ylabel(name, rotation=0, labelpad=14, va="center")
plt.show()

# %% [markdown]
# **In the stored run** it is nearly the training picture at $t = 100$, at a distance of 0.003. At $t = 1000$ it is
# nearly the mean of all pictures, 0.021 away. In between, the likelier pictures have the larger weights.
#
# ## Time and class steer the network
#
# The network is a ViT without [class] token and head. Its last Linear turns each token into the noise of its patch.
# Time and class become one vector,
#
# $$\mathbf{c} = \mathrm{MLP}(\text{sines and cosines of } t) + \text{row } y \text{ of a table}.$$
#
# LayerNorm has no parameters here. Instead, a Linear of $\mathrm{silu}(\mathbf{c})$ gives each block six vectors:
# shift, scale and gate for attention, and the same for the MLP (**adaLN**). For one of the two branches
#
# $$\mathbf{y} = \mathbf{x} + \mathrm{gate} \circ f\bigl(\mathrm{LN}(\mathbf{x}) \circ (1 + \mathrm{scale}) + \mathrm{shift}\bigr). \tag{7}$$
#
# Backwards: all $N$ tokens use these vectors, so the gradient of each vector is a sum over the tokens. Let
# $\mathbf{m}$ be the argument of $f$ and $\mathbf{f}$ its value. To keep the cell short, $f$ multiplies by a matrix $W$.
#
# $$\mathrm{d}\,\mathrm{gate} = \sum_\text{tokens} \mathrm{d}\mathbf{y} \circ \mathbf{f}, \quad \mathrm{d}\mathbf{f} = \mathrm{gate} \circ \mathrm{d}\mathbf{y}, \quad
# \mathrm{d}\,\mathrm{scale} = \sum_\text{tokens} \mathrm{d}\mathbf{m} \circ \mathrm{LN}(\mathbf{x}), \quad
# \mathrm{d}\,\mathrm{shift} = \sum_\text{tokens} \mathrm{d}\mathbf{m}.$$


# %% tags=["yours"]
def steered(x, shift, scale, gate, W):
    """Equation 7 with f(m) = m W, and its pullback.   x: (N, D), three vectors (D,), W: (D, D)."""
    ones, zeros = np.ones_like(scale), np.zeros_like(scale)
    normed, ln_vjp = layer_norm(x, ones, zeros, 1e-6)
    m = normed * (1 + scale) + shift
    f = m @ W

    def vjp(dy):
        df = gate * dy
        dm = df @ W.T
        dx = dy + ln_vjp(dm * (1 + scale))[0]
        return dx, dm.sum(axis=0), (dm * normed).sum(axis=0), (dy * f).sum(axis=0), m.T @ df

    return x + gate * f, vjp


# %%
N, D = 5, 8
x, dy = rng.standard_normal((2, N, D))
shift, scale, gate = rng.standard_normal((3, D))
W = rng.standard_normal((D, D))
y, vjp = steered(x, shift, scale, gate, W)
tensors = [Tensor(a, requires_grad=True) for a in (x[None], shift[None, None], scale[None, None], gate[None, None], W)]
theirs = tensors[0] + tensors[3] * (library.modulated(*tensors[:3]) @ tensors[4])
agree("y", y, theirs[0])
engine = grad(theirs, tensors, dy[None])
for name, mine, other in zip(("dx", "dshift", "dscale", "dgate", "dW"), vjp(dy), engine, strict=True):
    agree(name, mine, other.reshape(mine.shape))
print(f"against differences, largest relative error: {check_vjp(steered, x, shift, scale, gate, W):.1e}")

# %% [markdown]
# **Zero.** Each Linear that makes these vectors begins at zero, weights and biases (**adaLN-Zero**). So does the
# last Linear, which makes the pixels. Then shift, scale and gate are 0. Every block passes its tokens on unchanged,
# and the network predicts no noise at all. By the formulas above $\mathrm{d}W$ is 0 where the gate is 0, but
# $\mathrm{d}\,\mathrm{gate}$ need not be.
#
# **Predict first.** Which parts of a whole DiT have a gradient other than 0 in the first update, the second, the
# third? What is the first loss?

# %%
shape = ViTConfig(image_size=8, patch_size=2, channels=1, width=64, depth=3, heads=4, mlp_width=256, num_classes=10,
                  classifier="gap", position="sincos2d")  # fmt: skip
network = DiT(shape, dtype="float64")
named = dict(network.named_parameters())
places = rng.integers(0, len(pictures), 64)
x0, e, t = pictures[places].reshape(64, 8, 8, 1), rng.standard_normal((64, 8, 8, 1)), rng.integers(0, 1000, 64)
x = noised(x0, e, abar[t][:, None, None, None])
parts = {
    "last Linear": ("pixels.",), "its modulation": ("modulation.",), "gates and the like": ("blocks.0.modulation.",),
    "attention and MLP": ("blocks.0.attention.", "blocks.0.mlp."), "time and class": ("conditions.",),
    "patch embedding": ("embed.",),
}  # fmt: skip
for update in range(1, 4):
    loss = ((network(x, t, labels[places]) - e) ** 2).mean()
    gradients = dict(zip(named, grad(loss, list(named.values())), strict=True))
    moving = [part for part, begin in parts.items() if any(np.any(gradients[n]) for n in named if n.startswith(begin))]
    print(f"update {update}: loss {loss.data:.4f}; gradient in: {', '.join(moving)}")
    for name, parameter in named.items():
        parameter.data -= 0.1 * gradients[name]

# %% [markdown]
# **In the stored run** the first loss is 1.0125: the network predicts 0, and the noise has variance 1. In the first
# update only the last Linear has a gradient. In the second, all modulations and the patch embedding have one too. Then
# the gates are no longer 0, and in the third update attention, MLP, time and class follow.
#
# Whether the zeros matter at this size was not measured here.
#
# ## Steps back: DDPM
#
# **Step 3: where the picture was before.** From $\mathbf{x}_t$ we want an earlier $\mathbf{x}_s$, $s < t$. Suppose
# that $\mathbf{x}_0$ is known. The noise after step $s$ does not depend on it. So the rule of Bayes gives a product of
# two densities. As functions of $\mathbf{x}_s$, both have the form of a normal density:
#
# $$q(\mathbf{x}_s \mid \mathbf{x}_t, \mathbf{x}_0) \propto q(\mathbf{x}_t \mid \mathbf{x}_s)\; q(\mathbf{x}_s \mid \mathbf{x}_0).$$
#
# Let $\beta = 1 - \bar\alpha_t/\bar\alpha_s$, the share of noise that was added between $s$ and $t$. The first
# density says $\mathbf{x}_s \approx \mathbf{x}_t/\sqrt{1-\beta}$ with the precision $(1-\beta)/\beta$. The second
# says $\mathbf{x}_s \approx \sqrt{\bar\alpha_s}\,\mathbf{x}_0$ with the precision $1/(1-\bar\alpha_s)$. A precision is one
# over a variance. In a product precisions add, and the mean is the mean of both, weighted by their precisions. The
# sum of the precisions is $(1-\bar\alpha_t)/(\beta(1-\bar\alpha_s))$, and so
#
# $$\text{mean} = \frac{\beta\sqrt{\bar\alpha_s}}{1-\bar\alpha_t}\,\mathbf{x}_0 + \frac{(1-\bar\alpha_s)\sqrt{1-\beta}}{1-\bar\alpha_t}\,\mathbf{x}_t, \qquad
# \text{variance} = \beta\,\frac{1-\bar\alpha_s}{1-\bar\alpha_t}. \tag{8}$$
#
# **Step 4: a step of DDPM.** $\mathbf{x}_0$ is not known. Put $\hat{\mathbf{x}}_0$ of (4) in its place, take the
# mean, and add fresh noise. Since $\hat{\mathbf{x}}_0$ is uncertain, the variance is larger than (8); $\beta$ is a
# usual choice. The last step has $\bar\alpha_s = 1$. It returns $\hat{\mathbf{x}}_0$, without noise.


# %% tags=["yours"]
def start(x, e, abar):
    """Equation 4: the picture, from x_t and its noise."""
    return (x - np.sqrt(1 - abar) * e) / np.sqrt(abar)


def posterior(x, x0, before, abar):
    """Equation 8: mean and variance of x_s.   before, abar: the shares at s and at t."""
    beta = 1 - abar / before
    mean = (beta * np.sqrt(before) * x0 + (1 - before) * np.sqrt(1 - beta) * x) / (1 - abar)
    return mean, beta * (1 - before) / (1 - abar)


def ddpm_step(x, e, before, abar, fresh):
    """From t to s, with fresh noise of variance 1 - abar / before. The last step, before = 1, adds none."""
    mean = posterior(x, start(x, e, abar), before, abar)[0]
    return mean + (before < 1) * np.sqrt(1 - abar / before) * fresh


# %%
line = np.linspace(-12, 12, 20_001)  # the product of the two densities, for one pixel, on a fine grid
late, early, seen, clean = abar[599], abar[399], 0.3, -0.8
log_product = -np.square(seen - np.sqrt(late / early) * line) / (2 * (1 - late / early))
log_product -= np.square(line - np.sqrt(early) * clean) / (2 * (1 - early))
weight = np.exp(log_product - log_product.max())
weight /= weight.sum()
mean = weight @ line
agree("mean", posterior(seen, clean, early, late)[0], mean, rtol=1e-6)
agree("variance", posterior(seen, clean, early, late)[1], weight @ np.square(line - mean), rtol=1e-6)

kept = schedule.respaced(diffusion.spaced(1000, [10]))  # a walk that visits ten of the steps
shares_kept = np.append(1.0, kept.abar)
x, e, fresh = rng.standard_normal((3, 4, 8, 8, 1))
for i in (0, 1, 9):
    mine = ddpm_step(x, e, shares_kept[i], shares_kept[i + 1], fresh)
    agree(f"step {i}", mine, diffusion.ddpm_step(kept, e, x, i, fresh))
print("steps that are visited, as the network is told:", *kept.told)

# %% [markdown]
# ## Steps back: DDIM
#
# DDIM adds no fresh noise. It puts back a part of the noise that the network sees:
#
# $$\mathbf{x}_s = \sqrt{\bar\alpha_s}\,\hat{\mathbf{x}}_0 + \sqrt{1-\bar\alpha_s}\,\hat{\mathbf{e}}. \tag{9}$$
#
# If picture and noise were known exactly, this would be equation (2) at $s$. The walk is determined by its first
# noise.
#
# ## Guidance
#
# In training the class of a picture is replaced by "none" with probability 0.1. So one network makes two estimates,
# with the class and without: $\hat{\mathbf{e}}(y)$ and $\hat{\mathbf{e}}(\text{none})$. By the rule of Bayes
# $\log q(\mathbf{x} \mid y) = \log p(y \mid \mathbf{x}) + \log q(\mathbf{x}) + \text{const}$. With (6), the class adds
# the gradient of $\log p(y \mid \mathbf{x})$ to the score: the way to pictures that look more like their class. Count
# this part $g$ times:
#
# $$\hat{\mathbf{e}} = \hat{\mathbf{e}}(\text{none}) + g\,\bigl(\hat{\mathbf{e}}(y) - \hat{\mathbf{e}}(\text{none})\bigr). \tag{10}$$
#
# With $g = 0$ the class has no effect. With $g = 1$ this is the estimate with the class. The score at each time is
# that of $q(\mathbf{x}_t \mid y)^g\, q(\mathbf{x}_t)^{1-g}$. With $g > 1$ clear members of a class are preferred.
# Each step then needs two estimates. The densities at different times no longer belong to one noisy process, so
# samples do not follow $q(\mathbf{x}_0 \mid y)^g q(\mathbf{x}_0)^{1-g}$ exactly.


# %% tags=["yours"]
def ddim_step(x, e, before, abar):
    """Equation 9, from t to s."""
    return np.sqrt(before) * start(x, e, abar) + np.sqrt(1 - before) * e


def guided(e_class, e_none, scale):
    """Equation 10."""
    return e_none + scale * (e_class - e_none)


# %%
for i in (0, 1, 9):
    agree(f"step {i}", ddim_step(x, e, shares_kept[i], shares_kept[i + 1]), diffusion.ddim_step(kept, e, x, i))
both = diffusion.guided(np.concatenate([e, fresh]), 4.0, 1)
agree("guided", guided(e, fresh, 4.0), both[:4])

# %% [markdown]
# ## Rectified flow
#
# Another way from picture to noise is a straight line, with $t$ from 0 to 1:
#
# $$\mathbf{x}_t = (1-t)\,\mathbf{x}_0 + t\,\mathbf{e}, \qquad \dot{\mathbf{x}} = \frac{\mathrm{d}\mathbf{x}_t}{\mathrm{d}t} = \mathbf{e} - \mathbf{x}_0. \tag{11}$$
#
# The network is trained on the velocity, by a squared error. Its best answer is the mean of
# $\mathbf{e} - \mathbf{x}_0$, given $\mathbf{x}_t$. Many lines pass through one place in different directions. The best
# answer is the mean of their velocities. From (11) $\mathbf{e} = (\mathbf{x}_t - (1-t)\mathbf{x}_0)/t$, so
#
# $$\mathbb{E}(\dot{\mathbf{x}} \mid \mathbf{x}_t) = \frac{\mathbf{x}_t - \hat{\mathbf{x}}_0}{t}, \qquad \hat{\mathbf{x}}_0 = \mathbf{x}_t - t\,\mathbb{E}(\dot{\mathbf{x}} \mid \mathbf{x}_t). \tag{12}$$
#
# A sample begins with noise at $t = 1$ and follows the velocity to $t = 0$, in steps of Euler:
# $\mathbf{x}_s = \mathbf{x}_t + (s - t)\,\dot{\mathbf{x}}$.
#
# **Both ways show the same pictures.** Let $r = \sqrt{(1-t)^2 + t^2}$. Divide (11) by $r$. This is (2) with
# $\bar\alpha = (1-t)^2/r^2$. A flow differs from a diffusion in size and clock, in the target of the network, and in
# how often each time is trained. So (5) gives the best velocity as well.


# %% tags=["yours"]
def ideal_velocity(x, pictures, t):
    """The best velocity for a finite set of pictures, 0 < t <= 1.   x: (B, n), pictures: (m, n) -> (B, n)."""
    r = np.sqrt((1 - t) ** 2 + t**2)
    x0 = ideal(x / r, pictures, (1 - t) ** 2 / r**2)[0]
    return (x - x0) / t


def euler(velocity, x, times):
    """From times[0] to times[-1].   velocity: a function of x and t."""
    for t, later in itertools.pairwise(times):
        x = x + (later - t) * velocity(x, t)
    return x


# %%
x0, e = pictures[:4], rng.standard_normal((4, 64))
early, middle, late = ((1 - t) * x0[:1] + t * e[:1] for t in (0.3 - 1e-6, 0.3, 0.3 + 1e-6))
agree("one picture", ideal_velocity(middle, x0[:1], 0.3), (late - early) / 2e-6, rtol=1e-6)


def log_flow(x, t):
    """Logarithm of the density of (11), up to a constant.   x: (B, n)."""
    S = -np.square(x[:, None] - (1 - t) * pictures).sum(axis=-1) / (2 * t**2)
    return S.max(axis=1) + np.log(np.exp(S - S.max(axis=1, keepdims=True)).sum(axis=1))


x, way, t, small = 0.6 * pictures[:4] + 0.4 * e, rng.standard_normal((4, 64)), 0.4, 1e-4
rise = (log_flow(x + small * way, t) - log_flow(x - small * way, t)) / (2 * small)
noise = x + (1 - t) * ideal_velocity(x, pictures, t)  # as (11) says
agree("score", -(noise * way).sum(axis=1) / t, rise, rtol=1e-6)
times = diffusion.times(20)
mine = euler(lambda x, t: ideal_velocity(x, pictures, t), e, times)
*_, theirs = diffusion.euler(lambda x, t: ideal_velocity(x, pictures, t[0]), e, times)
agree("walk", mine, theirs)

# %% [markdown]
# The first line says: with a single picture the best velocity is that of the line itself. The second compares with
# the score again, which is $-\hat{\mathbf{e}}/t$ here.
#
# ## The ideal network copies
#
# No network is needed to try the walks. The best answers for the training pictures are (5) and (12). **Predict
# first.** What do the walks draw with these answers in one step? What in many?


# %%
def nearest(made):
    """Mean distance to the nearest training picture."""
    return np.linalg.norm(made[:, None] - pictures, axis=-1).min(axis=1).mean()


count = full_or_fast(20, 4)
first = rng.standard_normal((count, 64))
held_out = stored.pixels(test)[0][:: full_or_fast(4, 40)]
print(f"pictures that nobody has trained on: nearest training picture at {nearest(held_out):.3f}")
for steps in (1, 5, 20, 50):
    flow = euler(lambda x, t: ideal_velocity(x, pictures, t), first, diffusion.times(steps))
    visited = np.append(1.0, abar[diffusion.spaced(1000, [steps])]) if steps > 1 else np.array([1.0, abar[-1]])
    x = first
    for i in reversed(range(steps)):
        x = ddim_step(x, ideal(x, pictures, visited[i + 1])[1], visited[i], visited[i + 1])
    to_mean = np.linalg.norm(flow - pictures.mean(axis=0), axis=1).mean()
    print(f"{steps:2d} steps: Euler {nearest(flow):.3f} (to the mean picture {to_mean:.3f}), DDIM {nearest(x):.3f}")

# %% [markdown]
# **In the stored run** one step of Euler ends at the mean picture, 0.000 from it. With 20 steps both walks end at
# training pictures: the distance is 0.000. Real digits that nobody has trained on, a quarter of the test digits, are
# at 2.134.
#
# So the least loss on the training pictures is no goal. A network with that loss only copies. A sample is new because
# the network has *not* learned everything by heart.
#
# ## A short training
#
# The preset `digits-dit` is a DiT of width 64 with three blocks and patches of 2 × 2, so $N = 16$ tokens. Here it
# gets a small part of its 2,400 updates. Then our own steps walk with it, with guidance, and the library does the
# same.

# %%
updates = full_or_fast(120, 8)
recipe = complete({**preset("digits-dit"), "steps": updates, "eval_every": updates, "workers": 1}, train)
trainer = Trainer(recipe, train, test, None)
curve = [progress.loss for progress in trainer.run()]
print(f"loss of update 1: {curve[0]:.3f}, mean of the last eight: {np.mean(curve[-8:]):.3f}")

objective = trainer.objective
objective.config = dataclasses.replace(objective.config, walk=10, clip=False)
asked, none = np.arange(10), np.full(10, 10)
theirs = objective.sample(asked, np.random.default_rng(1), 4.0)
draws = np.random.default_rng(1)
x = draws.standard_normal((10, 8, 8, 1))
for i in reversed(range(10)):
    e_class, e_none = (objective.predictor(y)(x, np.full(10, kept.told[i])) for y in (asked, none))
    fresh = draws.standard_normal((20, 8, 8, 1))[:10]  # the library draws for both halves of its batch
    x = ddpm_step(x, guided(e_class, e_none, 4.0), shares_kept[i], shares_kept[i + 1], fresh)
agree("samples", x, theirs, rtol=1e-4)

# %% [markdown]
# ## Experiment 1: what guidance gains and costs
#
# For each of three seeds three networks are trained for 2,400 updates on the 1,438 training digits: the presets
# `digits-dit` and `digits-flow`, and a **control** that is `digits-dit` with every label hidden. Each draws 100
# digits, ten of each class, in 50 steps, with the averaged weights. DDPM and DDIM keep $\hat{\mathbf{x}}_0$ within −1 and 1.
# Three numbers judge the samples:
#
# - **right**: how often the nearest training picture is of the asked class. Chance is 0.1.
# - **spread**: the mean distance between two samples that were asked for the same class. Noise counts as spread too.
# - **nearest**: the mean distance to the nearest training picture. It is large for a grainy sample, and 0 for a copy.
#
# Errors are standard errors over three seeds. Three seeds are few. A difference below two standard errors is not
# decided.
#
# **Predict first.** Which of the three grow with the scale $g$, which fall? What does the control do?

# %%
shipped = record.read("dit")
found, config, real = shipped["results"], shipped["config"], shipped["real"]
print(shipped["command"], f"\n{shipped['data']}, {stored.SEEDS} seeds")
names = {"labels": "DiT", "flow": "flow", "no labels": "control, no labels"}


def sheet(digits, rows):
    """Digits (10 rows, 8, 8) in rows of ten with gaps, as one picture."""
    framed = np.pad(digits.reshape(rows, 10, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    return framed.transpose(0, 2, 1, 3).reshape(10 * rows, 100)


scales = [f"{scale:g}" for scale in config["scales"]]
panels = {
    name: stored.undrawn([text for scale in scales for text in found[run][0]["pictures"][scale]])
    for run, name in names.items()
}
panels["real, training"] = np.concatenate([pictures[labels == digit][:5] for digit in range(10)])
panels["real, training"] = panels["real, training"].reshape(10, 5, 64).transpose(1, 0, 2).reshape(50, 8, 8)
figure, axes = plt.subplots(2, 2, figsize=(10.5, 6), layout="constrained")
for axis, (name, shown) in zip(axes.flat, panels.items(), strict=True):
    axis.imshow(sheet(shown, 5), cmap="gray_r", vmin=-1, vmax=1)
    axis.set_title(name)
    axis.set_xticks(10 * np.arange(10) + 4.5, range(10))
    axis.set_yticks(10 * np.arange(5) + 4.5, [""] * 5 if "real" in name else [f"$g$ = {scale}" for scale in scales])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
for axis in axes[1]:
    axis.set_xlabel("class")
plt.show()


# %%
def told(runs, *keys):
    """Mean and standard error over the seeds of what is stored under these keys."""
    values = list(runs)
    for key in keys:
        values = [value[key] for value in values]
    return record.mean_and_error(values)


figure, axes = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
for i, (run, name) in enumerate(names.items()):
    right, spread, near = (
        np.transpose([told(found[run], "scales", scale, quality) for scale in scales])
        for quality in ("right", "spread", "nearest")
    )
    style = {"fmt": "os^"[i] + "-", "capsize": 3, "label": name}
    axes[0].errorbar(spread[0], right[0], right[1], spread[1], **style)
    axes[1].errorbar(range(len(scales)), near[0], near[1], **style)
    for j, scale in enumerate(scales):
        if run != "no labels":
            above = ({3: -8, 4: 3}.get(j, -3), 7) if run == "flow" else (-13, -13)
            axes[0].annotate(scale, (spread[0][j], right[0][j]), above, textcoords="offset points", color=f"C{i}")
        row = "  ".join(f"{m:.2f} +- {e:.2f}" for m, e in (right[:, j], spread[:, j], near[:, j]))
        print(f"{name:<19} g = {scale}: right, spread, nearest  {row}")
axes[0].plot(real["spread"], real["right"], "k*", markersize=12, label="real test digits")
axes[1].axhline(real["nearest"], color="k", linewidth=1, linestyle=":", label="real test digits")
axes[0].set(xlabel="spread within a class", ylabel="right", ylim=(-0.05, 1.1), title="the numbers are $g$")
axes[1].set(xlabel="scale of guidance $g$", ylabel="distance to nearest training picture", ylim=(0, None))
axes[1].set_xticks(range(len(scales)), scales)
axes[0].legend(loc="center left", fontsize=9)
axes[1].legend(loc="lower left", fontsize=9)
plt.show()
print("real test digits: right {right:.2f}, spread {spread:.2f}, nearest {nearest:.2f}".format(**real))

# %% [markdown]
# **In the stored run** DiT draws the asked class more often with a larger scale: 0.08 ± 0.00 with $g = 0$, 0.69 ± 0.03
# with 1, 0.94 ± 0.02 with 2 and 1.00 ± 0.00 with 8. The control stays between 0.07 ± 0.01 and 0.09 ± 0.01. With $g = 0$
# the samples of one column are any digits. From $g = 1$ to $g = 4$ the spread of DiT falls from 4.67 ± 0.01 to 3.45 ±
# 0.06, that of the flow from 4.29 ± 0.05 to 3.28 ± 0.05. It is 4.54 for real digits.
#
# **In the stored run** the flow is right more often than DiT with $g = 1$, 0.95 ± 0.02. With $g = 2$ its samples are
# nearly as near to the training pictures as real digits are, 2.15 ± 0.01 and 2.12. With $g = 8$ they are farther again,
# 3.12 ± 0.01.
#
# So guidance gives up variety for the class. Too much of it leads away from real pictures: with $g = 8$ strokes are
# too dark. The two presets have the same network and the same number of updates. They differ in the path, in the target
# and in how often each time is trained. The experiment does not say which of these makes the flow better here.
#
# ## Experiment 2: how many steps
#
# The same networks walk with $g = 2$ and fewer steps. DDPM and DDIM visit steps evenly from the first to the last.
# Euler has equal steps in $t$. One more walk, DDPM in 50 steps, has a planted mistake: the network is told the number
# of the step in the walk, 0 to 49, instead of its index in the schedule, 0 to 999.
#
# **Predict first.** Which sampler needs the fewest steps? What does the mistake do?

# %%
ways = {**found["labels"][0]["ways"], **found["flow"][0]["ways"]}
figure, axes = plt.subplots(6, len(config["stages"]), figsize=(9, 7.2), layout="constrained")
for i, (name, walked) in enumerate(ways.items()):
    for j, kind in enumerate(("x", "meant")):
        for k, picture in enumerate(stored.undrawn(walked[f"{config['shown'][1]}, {kind}"])):
            axis = axes[2 * i + j, k]
            axis.imshow(picture, cmap="gray_r", vmin=-1, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        label = f"{name}\n$\\mathbf{{x}}$" if kind == "x" else "$\\hat{\\mathbf{x}}_0$"
        axes[2 * i + j, 0].set_ylabel(label, rotation=0, labelpad=24, va="center")
for axis, stage in zip(axes[0], config["stages"], strict=True):
    axis.set_title(f"{stage} steps", fontsize=10)
plt.show()

# %%
samplers = {"DDPM": "labels", "DDIM": "labels", "Euler": "flow"}
counts = [*config["steps"], config["walk"]]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
for i, (sampler, run) in enumerate(samplers.items()):
    for axis, quality in zip(axes, ("right", "spread", "nearest"), strict=True):
        mean, error = np.transpose([told(found[run], "walks", sampler, str(count), quality) for count in counts])
        axis.errorbar(range(len(counts)), mean, error, fmt="os^"[i] + "-", capsize=3, label=sampler)
        print(
            f"{sampler} {quality:<8}",
            "  ".join(f"{c}: {m:.2f} +- {e:.2f}" for c, m, e in zip(counts, mean, error, strict=True)),
        )
for axis, quality in zip(axes, ("right", "spread", "nearest"), strict=True):
    axis.axhline(real[quality], color="k", linewidth=1, linestyle=":", label="real test digits")
    axis.set(xlabel="steps of the walk", ylabel=quality, ylim=(0, None))
    axis.set_xticks(range(len(counts)), counts)
axes[2].legend(fontsize=9)
plt.show()
wrong = [
    told(found["labels"], "walks", "told the index", str(config["walk"]), quality) for quality in ("right", "nearest")
]
print(
    "told the number of the step in the walk: right {:.2f} +- {:.2f}, nearest {:.2f} +- {:.2f}".format(
        *wrong[0], *wrong[1]
    )
)

# %% [markdown]
# **In the stored run** Euler is right with 2 steps already, 1.00 ± 0.00. But these samples are too much alike: their
# spread is 2.41 ± 0.07, against 3.64 ± 0.06 with 50 steps. With 5 steps DDIM has 0.97 ± 0.02 right and is at 2.43 ± 0.05
# from training pictures, DDPM only at 4.51 ± 0.02. DDIM's samples are then too much alike as well: their spread is 2.84
# ± 0.13, against 4.14 ± 0.13 with 50 steps.
#
# **In the stored run** DDIM and DDPM do not differ clearly with 50 steps: they are at 2.84 ± 0.07 and 2.79 ± 0.01 from
# training pictures. The mistake leaves 0.19 ± 0.01 of the samples right, at a distance of 5.54 ± 0.07.
#
# Why is DDPM so far away with few steps? Probably because it adds much fresh noise in each of them, and has few left to
# remove it. Euler follows a curve by straight pieces. If the curve were straight, one step would do.
#
# ## Experiment 3: which times have the loss
#
# The loss of the trained networks is measured in each tenth of the times: on the test digits with labels, on the test
# digits without, and on as many training digits. The right panel follows both presets through training. It compares
# the mean test loss over all times with the share of right samples, $g = 2$, after 150 to 2,400 updates.
#
# **Predict first.** Noise that is hardly there is harder to name than strong noise. Which share of the mean loss
# comes from the first tenth of the times? Where does the label help most?


# %%
def curve_of(run, part):
    """Loss in each tenth of the times: means and standard errors."""
    values = [[float(value) for value in one["losses"][part].split()] for one in found[run]]
    return np.transpose([record.mean_and_error(tenth) for tenth in np.transpose(values)])


figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.9), layout="constrained")
tenths = np.arange(config["buckets"]) / config["buckets"] + 0.05
for axis, run in zip(axes, ("labels", "flow"), strict=False):
    for i, part in enumerate(("test", "test, no label", "training")):
        mean, error = curve_of(run, part)
        axis.errorbar(tenths, mean, error, fmt="os^"[i] + "-", capsize=3, label=part, markersize=4)
        print(f"{names[run]:<5}{part:<15}", " ".join(f"{value:.4f}" for value in mean))
    axis.set(title=names[run], xlabel="time, from picture to noise", ylim=(0, None))
    axis.legend(fontsize=9)
axes[0].set_ylabel("loss, of noise")
axes[1].set_ylabel("loss, of velocity")
for i, run in enumerate(("labels", "flow")):
    moments = [str(moment) for moment in config["moments"]]
    points = [[told(found[run], "updates", m, kind) for m in moments] for kind in ("loss", "right")]
    last = [np.mean([float(value) for value in one["losses"]["test"].split()]) for one in found[run]]
    points[0].append(record.mean_and_error(last))
    points[1].append(told(found[run], "scales", "2", "right"))
    loss, right = (np.transpose(kind) for kind in points)
    axes[2].errorbar(loss[0] / loss[0][0], right[0], right[1], fmt="os"[i] + "-", capsize=3, label=names[run])
    for moment, a, b in zip([*moments, "2400"], loss.T, right.T, strict=True):
        print(f"{names[run]:<5}{moment:>5} updates: loss {a[0]:.3f} +- {a[1]:.3f}, right {b[0]:.2f} +- {b[1]:.2f}")
axes[2].set(xlabel="mean loss, relative to that after 150 updates", ylabel="right", title="in training", ylim=(0, 1.05))
axes[2].invert_xaxis()
axes[2].legend(fontsize=9)
plt.show()
shares_of = [
    one / sum(one) for one in (np.array([float(v) for v in run["losses"]["test"].split()]) for run in found["labels"])
]
print("share of the first tenth: {:.2f} +- {:.2f}".format(*record.mean_and_error([share[0] for share in shares_of])))

# %% [markdown]
# **In the stored run** the first tenth of the times has a share of 0.49 ± 0.00 in DiT's loss. The label lowers DiT's
# loss most in the third tenth, from 0.1552 to 0.1160, and that of the flow in the seventh, from 0.5128 to 0.3096.
#
# **In the stored run** DiT's loss falls from 0.144 ± 0.001 after 150 updates to 0.122 ± 0.001 after 600, and samples
# stay at chance, 0.10 ± 0.02. From 1200 to 2400 updates the loss falls from 0.109 ± 0.000 to 0.085 ± 0.000, and the
# share of right samples grows from 0.28 ± 0.04 to 0.94 ± 0.02.
#
# At little noise the network can name the noise only if it knows each pixel exactly. It cannot, so the loss is large
# there. Yet the picture is already visible at these times. The label says what is drawn, and it helps most at later
# times. So a small difference of mean losses says little about samples. Losses of noise and of velocity have
# different targets and cannot be compared at all.
#
# ## Where this goes wrong in practice
#
# - **Pixels from 0 to 1.** They have half the contrast, so noise hides more of the picture than the schedule says.
# - **The number of the step in the walk.** A walk of 50 steps visits 50 of 1,000. The network must be told which.
# - **A walk without its last step.** The noise of the first visited step stays in the picture.
# - **A mean loss as a measure of quality.** In experiment 3 it falls for a long time before samples improve.
# - **Guidance without training for it.** A network that never saw "none" has no estimate without a class.
#
# ## Exercises
#
# `hint("27.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **27.1 (ten minutes).** Make the inputs of a training batch. `images` (B, h, w, C) are whole numbers of 8 bits, 0 to
# 255. `betas` has $\beta_1$ to $\beta_J$. Each picture has a step `t` of its own, from 1 to $J$.


# %%
def noisy(images, noise, betas, t):
    """images, noise: (B, h, w, C), betas: (J,), t: (B,) -> x_t (B, h, w, C)"""
    ...  # your answer here


check("27.1", noisy)

# %% [markdown]
# **27.2 (twenty minutes).** Walk with DDIM through some of the steps. `abar[index]` is the share of the picture at
# the step that the network knows as `index`, from 0 on. `kept` holds the indices that are visited, in growing order.
# `x` is the noisy picture at the last of them. `predict(x, index)` returns the noise that the network sees. Return
# the picture after the last step, at $\bar\alpha = 1$.


# %%
def walk(predict, x, kept, abar):
    """predict: a function, x: an array, kept: (k,), abar: (J,) -> like x"""
    ...  # your answer here


check("27.2", walk)

# %% [markdown]
# **27.3 (fifteen minutes).** A picture with a single pixel. Those of class $y$ are normal with mean `m` and standard
# deviation `s`. All pictures together are normal with mean 0 and deviation `r`, larger than `s`. The density
# $q(\mathbf{x} \mid y)^g\,q(\mathbf{x})^{1-g}$, divided by its integral, is normal too. Return its mean and deviation.
# First predict both for $g = 0$ and $g = 1$. What do they do when $g$ grows?


# %%
def guided_normal(m, s, r, g):
    """-> mean, deviation"""
    ...  # your answer here


check("27.3", guided_normal)

# %% [markdown]
# **27.4 (fifteen minutes).** A network was trained as a diffusion: `predict(x, abar)` returns the noise in a picture
# of (2) whose share is `abar`. Use it for a flow: `x` is a picture of (11) at the time `t`, $0 < t < 1$. Return the
# velocity there.


# %%
def velocity_of(predict, x, t):
    """predict: a function, x: (B, n), t: a number -> (B, n)"""
    ...  # your answer here


check("27.4", velocity_of)

# %% [markdown]
# **27.5 (fifteen minutes).** The pixels are independent and normal with mean 0 and standard deviation `s`. Find the
# least possible loss (3) at each step. Add up the losses of all steps. Return the share of the first tenth of the steps.


# %%
def first_tenth(abar, s):
    """abar: (J,), s: a number -> a number between 0 and 1"""
    ...  # your answer here


check("27.5", first_tenth)

# %% [markdown]
# Next: [28, speed and memory](28_speed.ipynb).

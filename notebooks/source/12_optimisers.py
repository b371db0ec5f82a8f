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
# # 12 Optimisers: from a gradient to an update
#
# Backpropagation says in which direction the loss falls. How far to go, and what else to do to the weights, is the optimiser's business. The paper
# trains with Adam, weight decay, warm-up, a decaying learning rate and, on ImageNet, clipped gradients
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 4.1 and Table 3). At the end you will be able to
#
# - write Adam and AdamW, number by number and for whole arrays, as the library computes them,
# - say why weight decay in Adam must be *decoupled*, and show it on a trained model,
# - clip gradients by their global norm, and draw the learning rates of Table 3.
#
# You need the gradient of a model with many parameters (notebook [11](11_vit.ipynb)). Long training follows in notebook
# [13](13_training.ipynb).
#
# **Budget:** 11 s of CPU time (fast mode 5 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
from minivit.step import step

from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, digits, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW, clip_by_global_norm, warmup_cosine, warmup_linear
from minivit.optim.gradients import clip_scale
from minivit.optim.optimizers import is_kernel
from minivit.tensor import Tensor

rng = np.random.default_rng(12)

# %% [markdown]
# ## The equations
#
# **Adam** ([Kingma & Ba 2015](https://arxiv.org/abs/1412.6980)) keeps two running averages for every single parameter: of its gradient, and
# of the square of its gradient. All operations are element by element.
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \qquad m_0 = v_0 = 0$$
#
# Both are corrected for having started at zero, and the parameter moves by their ratio:
#
# $$\hat m_t = \frac{m_t}{1 - \beta_1^t}, \qquad \hat v_t = \frac{v_t}{1 - \beta_2^t}, \qquad
# \theta_t = \theta_{t-1} - \eta_t\, \frac{\hat m_t}{\sqrt{\hat v_t} + \varepsilon} \tag{Adam}$$
#
# **AdamW** ([Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101)) also shrinks the parameter a little, in proportion to itself. We write it
# as the libraries do (PyTorch, optax, flax). In its own paper the decay is multiplied by the schedule alone, not by the peak learning rate
# (exercise 12.4).
#
# $$\theta_t = \theta_{t-1} - \eta_t \left( \frac{\hat m_t}{\sqrt{\hat v_t} + \varepsilon} + \lambda\, \theta_{t-1} \right) \tag{AdamW}$$
#
# The paper on ViT says "Adam" and "weight decay". The Adam of flax, the library that the published code was written with, decoupled its weight
# decay: it was AdamW. Fine-tuning uses gradient descent with momentum (section 4.1 and Table 4): it steps along a running sum of the gradients, the
# older ones weighing less, without a division by $\sqrt{\hat v}$. The library has it as `minivit.optim.SGD`.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $\theta_t$ | a parameter array after $t$ updates | any | `theta` |
# | $g_t$ | gradient of the loss at $\theta_{t-1}$, $t = 1, 2, \ldots$ | that of $\theta$ | `g` |
# | $m_t$, $v_t$ | running averages of $g$ and $g^2$ | that of $\theta$ | `m`, `v` |
# | $\eta_t$ | learning rate of update $t$ | number | `lr` |
# | $\beta_1$, $\beta_2$ | 0.9 and 0.999 in the paper (section 4.1) | numbers | `b1`, `b2` |
# | $\varepsilon$ | $10^{-8}$, against a division by zero | number | `eps` |
# | $\lambda$ | weight decay | number | `wd` |
# | $c$ | largest global norm of the gradients | number | `max_norm` |
#
# ## As loops
#
# One parameter, one step, one number at a time. The decay uses $\theta_{t-1}$, the value before the step.

# %%
lr, b1, b2, eps, wd = 0.01, 0.9, 0.999, 1e-8, 0.1
steps, n = 20, 5
theta0 = rng.standard_normal(n)
gradients = rng.standard_normal((steps, n)) * np.array([1e-3, 0.1, 1, 10, 100])  # very different sizes


def adamw_loops(theta, gradients, lr, wd):
    """theta: (n,), gradients: (steps, n) -> theta after all steps."""
    result = []
    for i, x in enumerate(theta):
        m = v = 0.0
        for t, g in enumerate(gradients[:, i], start=1):
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g * g
            m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
            x = x - lr * (m_hat / (math.sqrt(v_hat) + eps) + wd * x)
        result.append(x)
    return np.array(result)


print("moved by", (adamw_loops(theta0, gradients, lr, wd=0) - theta0).round(3))

# %% [markdown]
# The gradients of the five parameters differ by a factor of 100,000 in size. Their movements do not: the root of $\hat v$ measures the size of a
# gradient and takes it out.
#
# ## For whole arrays


# %%
def adamw(theta, gradients, lr, wd):
    """The same for theta of any shape, gradients: (steps, *theta.shape)."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        update = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        theta = theta - lr * (update + wd * theta)
    return theta


agree("theta", adamw(theta0, gradients, lr, wd), adamw_loops(theta0, gradients, lr, wd))

# %% [markdown]
# ## Where the corrections come from
#
# An optimiser has no backward pass. What can be derived is what its averages hold. **Step 1:** insert the recursion for $m_t$ into itself, until
# $m_0 = 0$ is reached. Each older gradient has one more factor $\beta_1$:
#
# $$m_t = (1 - \beta_1) \sum_{i=1}^{t} \beta_1^{t-i} g_i.$$

# %%
m = np.zeros(n)
for g in gradients:
    m = b1 * m + (1 - b1) * g

weights = (1 - b1) * b1 ** np.arange(steps - 1, -1, -1)  # of g_1 ... g_t
agree("m_t", weights @ gradients, m)

# %% [markdown]
# **Step 2:** the weights form a geometric series. It sums to $(1 - \beta_1)\,\frac{1 - \beta_1^t}{1 - \beta_1} = 1 - \beta_1^t$, less than 1: the
# missing part is the weight of $m_0 = 0$.

# %%
agree("sum", weights.sum(), 1 - b1**steps)

# %% [markdown]
# **Step 3:** so $\hat m_t = m_t / (1 - \beta_1^t)$ is a true weighted mean, with weights that sum to 1. The same holds for $\hat v_t$. At the first
# step it matters most: $m_1 = 0.1\, g_1$ and $v_1 = 0.001\, g_1^2$, but $\hat m_1 = g_1$ and $\hat v_1 = g_1^2$.

# %%
print(" step   weight of all gradients in m     in v")
for t in (1, 10, 100, 1000, 10000):
    print(f"{t:5d} {1 - b1**t:24.3f} {1 - b2**t:14.3f}")

# %% [markdown]
# $v$ needs thousands of steps to fill. Until then it rests on few gradients, and the step size with it: one reason to begin with a small learning
# rate.
#
# ## Weight decay, coupled or not
#
# The older way to keep weights small is a term in the loss, $\frac{\lambda}{2} \lVert\theta\rVert^2$ (called **L2**). Its gradient is
# $\lambda\theta$. With a random cotangent:


# %%
def penalty(theta, wd=0.1):
    """y = wd / 2 * sum of squares, 0-d, and its pullback."""
    y = np.asarray(wd / 2 * (theta * theta).sum())

    def vjp(g):
        return (g * wd * theta,)

    return y, vjp


print(f"largest relative error: {check_vjp(penalty, theta0):.1e}")

# %% [markdown]
# In plain gradient descent both ways are one: $\theta - \eta(g + \lambda\theta)$. In Adam they are not. With L2, $\lambda\theta$ is a part of
# $g_t$. It goes into $m$ **and** into $v$, and is divided by $\sqrt{\hat v}$. Suppose the gradient of the loss is noise of size $s$, much larger
# than $\lambda|\theta|$. Then $\sqrt{\hat v} \approx s$, and the shrinking per step is about
#
# $$\eta\,\frac{\lambda\theta}{s} \quad\text{(L2 in Adam)} \qquad\text{instead of}\qquad \eta\lambda\theta \quad\text{(AdamW).}$$
#
# So with L2 a parameter with large gradients hardly decays. If $s$ is much smaller than $\lambda|\theta|$, the ratio $\hat m / \sqrt{\hat v}$ is at
# first near 1 whatever $\lambda$ is, and the parameter walks towards zero by about $\eta$ per step; later more slowly, since $\hat v$ still
# remembers the larger $\theta$ of the past. The library can be turned into Adam with L2 by one method:


# %%
class AdamL2(AdamW):
    """Adam with the gradient of the penalty added to g. For comparison only."""

    def update(self, p, g, m, v, *, lr, decay):
        super().update(p, g + decay * p, m, v, lr=lr, decay=0.0)


# %% [markdown]
# A test without any model: parameters that all begin at 1, whose gradients are pure noise, 200 for each of eleven sizes of noise from $10^{-4}$ to
# $10$. Nothing but the decay has a direction.

# %%
sizes = np.geomspace(1e-4, 10, 11)
noise_steps, noise_lr, noise_wd = full_or_fast(1000, 200), 1e-3, 1.0


def shrink(optimiser):
    """Mean value of the parameters for each size of noise after all steps: (11,); they begin at 1."""
    noise = np.random.default_rng(0)
    theta = Tensor(np.ones((len(sizes), 200)), requires_grad=True, name="weight")
    optimiser = optimiser([theta], noise_lr, weight_decay=noise_wd)
    for _ in range(noise_steps):
        optimiser.step([sizes[:, None] * noise.standard_normal(theta.shape)])
    return theta.data.mean(axis=1)


shrunk = {"AdamW": shrink(AdamW), "Adam with L2": shrink(AdamL2)}
for name, remains in shrunk.items():
    print(f"{name:<13} of 1 remain between {remains.min():.2f} and {remains.max():.2f}")
print(f"(1 - lr wd)^steps = {(1 - noise_lr * noise_wd) ** noise_steps:.2f}")

# %% [markdown]
# ## The library
#
# The update of one array, in place. The decay comes first, so that it uses the old value, and the two corrections are moved into factors.
# (`xp_of(v)` is the library that `v` belongs to, here NumPy.)

# %%
show_source(AdamW.update)

# %%
theta = Tensor(theta0.copy(), requires_grad=True, name="weight")
optimiser = AdamW([theta], lr, weight_decay=wd)
for g in gradients:
    optimiser.step([g])

agree("AdamW", theta, adamw(theta0, gradients, lr, wd))

# %% [markdown]
# Not every parameter should decay. A LayerNorm whose scale is pulled to zero does not become simpler, it becomes smaller. The library lets only the
# **kernels** decay: so the published code calls the matrices that multiply something. (The position embedding is added. AugReg is the work of
# [Steiner et al. 2021](https://arxiv.org/abs/2106.10270), `big_vision` its code.)

# %%
show_source(is_kernel)

# %%
config = ViTConfig(image_size=8, patch_size=2, width=32, depth=2, heads=2, mlp_width=64, num_classes=10, channels=1)
for name, tensor in ViT(config).named_parameters():
    if "blocks.1" not in name:  # it is like block 0
        print(f"{name:<32} {'decays' if is_kernel(name, tensor) else '-'}")

# %% [markdown]
# ## Clipping
#
# In some runs a batch now and then has a gradient far larger than the others. On ImageNet the paper clips at global norm 1 (Table 3, caption): all
# gradients of the model together are one long vector. If it is longer than $c$, it is shortened to $c$; its direction stays.
#
# $$\lVert g \rVert = \sqrt{\sum_{\text{arrays}} \sum_i g_i^2}, \qquad g \leftarrow g \cdot \min\!\left(1, \frac{c}{\lVert g \rVert}\right) \tag{clipping}$$


# %%
def clip_loops(grads, max_norm):
    """grads: a list of arrays -> the list of clipped arrays."""
    total = 0.0
    for g in grads:
        for x in g.ravel():
            total += x * x
    norm = math.sqrt(total)
    return [np.array([x * min(1, max_norm / norm) for x in g.ravel()]).reshape(g.shape) for g in grads]


def clip(grads, max_norm):
    """The same for whole arrays."""
    norm = math.sqrt(sum((g * g).sum() for g in grads))
    return [g * min(1, max_norm / norm) for g in grads]


grads = [rng.standard_normal((3, 4)), rng.standard_normal(4)]
library, norm_before = clip_by_global_norm(grads, 1.0)
for mine, looped, theirs in zip(clip(grads, 1.0), clip_loops(grads, 1.0), library, strict=True):
    agree("clipped", mine, looped)
    agree("library", mine, theirs)
print(f"norm before: {norm_before:.3f}, after: {math.sqrt(sum((g * g).sum() for g in clip(grads, 1.0))):.3f}")

# %%
show_source(clip_scale)

# %% [markdown]
# What is there to clip, if Adam takes the size of a gradient out anyway? Indeed it makes no difference if *all* gradients, from the first step on,
# are scaled alike (but for $\varepsilon$). Clipping changes the weight of *one batch* against the others. We give Adam gradients of 1, and once, at
# step 50, a gradient of 100.

# %%
spikes = np.ones(full_or_fast(3000, 300))
spikes[50] = 100


def update_sizes(gradients):
    """Length of each update of one parameter, in units of the learning rate."""
    theta = Tensor(np.zeros(1), requires_grad=True)
    optimiser, places = AdamW([theta], lr=1.0), [0.0]
    for g in gradients:
        optimiser.step([np.array([g])])
        places.append(theta.data.item())
    return np.abs(np.diff(places))


plain, limited = update_sizes(spikes), update_sizes(np.minimum(spikes, 1))

figure, axis = plt.subplots(figsize=(7, 3))
axis.plot(plain, "-", label="not clipped")
axis.plot(limited, "--", label="clipped at 1")
axis.set(xlabel="step", ylabel="length of the update\n/ learning rate", ylim=(0, None))
axis.legend()
plt.show()
print(f"without clipping: shortest update {plain.min():.2f}, last one {plain[-1]:.2f} of the learning rate")
print(f"with clipping:    shortest update {limited.min():.2f}")

# %% [markdown]
# At the outlier itself the update is no longer than the others, since $v$ takes the outlier in as well. After it the updates are a small part of
# what they were, although all other gradients are as before, and they recover slowly: $m$ forgets the outlier within tens of steps, $v$ only within
# thousands.
#
# ## The learning rate over time
#
# All models of the paper are pre-trained with a **warm-up** over 10,000 steps: the rate rises from 0 in a straight line. Then it falls, along half
# a **cosine** on ImageNet and in a straight line (**linear**) on the larger sets (Table 3). Here $T$ is the number of all updates (not of tokens),
# $w > 0$ of them warm-up, $\eta_{\max}$ the highest rate (the *peak*) and $\eta_{\text{end}}$ the last. Update $t$ comes after $s = t - 1$ others
# ($s$ is no longer the size of the noise) and has the rate
#
# $$\eta_t = \min\!\left(1, \frac{s}{w}\right) \cdot \begin{cases} \eta_{\max} \cdot \frac{1}{2}\,(1 + \cos \pi p) & \text{cosine} \\
# \eta_{\text{end}} + (\eta_{\max} - \eta_{\text{end}})(1 - p) & \text{linear} \end{cases} \tag{warm-up}$$
#
# where $p = \frac{s - w}{T - w}$, limited to $0 \ldots 1$, is the progress since the warm-up.


# %%
def my_cosine(s, peak, T, w):
    """Learning rate after s of T updates, w of them warm-up."""
    p = min(max((s - w) / (T - w), 0), 1)
    return min(1, s / w) * peak * 0.5 * (1 + math.cos(math.pi * p))


schedule = warmup_cosine(3e-3, 100, 10)
agree("rates", [my_cosine(s, 3e-3, 100, 10) for s in range(100)], [schedule(s) for s in range(100)])

# %%
show_source(warmup_cosine)

# %% [markdown]
# Table 3 gives epochs, peak rate, shape and weight decay; all with batches of 4,096 images. The sizes of the data sets are in section 4.1.
# This is all we need to draw the learning rates of ViT-B as they were. (The linear one ends at $10^{-5}$, as in the published code; the paper
# does not say.)

# %%
# name: images, epochs, peak learning rate, weight decay, shape
TABLE_3 = {
    "ImageNet": (1.3e6, 300, 3e-3, 0.3, warmup_cosine),
    "ImageNet-21k": (14e6, 90, 1e-3, 0.03, warmup_linear),
    "JFT-300M": (303e6, 7, 8e-4, 0.1, warmup_linear),
}
figure, axis = plt.subplots(figsize=(7, 3))
for (name, (images, epochs, peak, decay, shape)), style in zip(TABLE_3.items(), ("-", "--", "-."), strict=True):
    updates = round(images * epochs / 4096)
    rate = shape(peak, updates, 10_000)
    done = np.linspace(0, updates, 400).astype(int)
    axis.plot(done, [rate(int(s)) for s in done], style, label=name)
    print(f"{name:<13} {updates:7,d} updates, {10_000 / updates:5.1%} of them warm-up, rate x decay {peak * decay:.1e}")
axis.set(xlabel="update", ylabel="learning rate", title="ViT-B in Table 3")
axis.legend()
plt.show()

# %% [markdown]
# ## Experiment: the same model with AdamW and with L2
#
# A small ViT learns the digits, with warm-up, cosine and clipping at 1. (`step` is one update: forward, backward, clipping, optimiser. Notebook
# [13](13_training.ipynb) opens it.) We record the learning rate, the norm of the gradient before
# clipping, and the norm of all kernels. $\lambda$ means different things to AdamW and to Adam with L2, so each gets one of its own, chosen so
# that the overall norm ends up in the same region.

# %%
train, test = digits()
images, labels = normalize(train.images), train.labels
updates = full_or_fast(300, 60)
peak = 3e-3


def train_with(optimiser, wd, clip_norm=1.0):
    """-> the model, its optimiser, and (updates, 3): loss, norm of the gradient, norm of all kernels."""
    model, batches, trace = ViT(config, seed=0), np.random.default_rng(0), []
    optimiser = optimiser(model.named_parameters(), warmup_cosine(peak, updates, updates // 10), weight_decay=wd)
    kernels = [tensor.data for name, tensor in model.named_parameters() if is_kernel(name, tensor)]
    for _ in range(updates):
        batch = batches.choice(len(images), 64, replace=False)
        result = step(model, optimiser, images[batch], labels[batch], clip_norm=clip_norm)
        trace.append((result.loss, result.grad_norm, math.sqrt(sum((k * k).sum() for k in kernels))))
    return model, optimiser, np.array(trace)


# %%
runs = {
    "no decay": train_with(AdamW, 0.0),
    "AdamW, λ = 1": train_with(AdamW, 1.0),
    "Adam with L2, λ = 0.001": train_with(AdamL2, 1e-3),
}
unclipped = train_with(AdamW, 0.0, clip_norm=None)

for name, (model, _, trace) in (runs | {"no decay, not clipped": unclipped}).items():
    loss, norm = trace[-20:, 0].mean(), trace[-1, 2]
    print(f"{name:<24} loss {loss:.3f}   kernels {norm:5.2f}   test accuracy {accuracy(model, test):.1%}")
print(f"clipped: {(runs['no decay'][2][:, 1] > 1).mean():.0%} of the updates")

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.3))
rates = [warmup_cosine(peak, updates, updates // 10)(s) for s in range(updates)]
axes[0].plot(rates)
axes[0].set(title="learning rate", xlabel="update")

axes[1].semilogy(unclipped[2][:, 1], "-", label="not clipped", linewidth=1)
axes[1].semilogy(runs["no decay"][2][:, 1], "--", label="clipped", linewidth=1)
axes[1].axhline(1, color="black", linestyle=":", label="$c = 1$")
axes[1].set(title="norm of the gradient, before clipping", xlabel="update")
axes[1].legend(fontsize=9)

for (name, (_, _, trace)), style in zip(runs.items(), ("-", "--", "-."), strict=True):
    axes[2].plot(trace[:, 2], style, label=name)
axes[2].set(title="norm of all kernels", xlabel="update", ylim=(0, None))
axes[2].legend(fontsize=9)
plt.show()

# %% [markdown]
# The printed share of clipped updates tells what clipping does here: catch outliers, if it is small; give all gradients one length, if it is near
# 100 %. What that changed, the two printed runs without decay tell. Both decays bring the norm down in the right panel. Kernel by kernel they
# differ. For each kernel but the head, which began at zero, we take the norm at the end, divided by the one without decay, and draw it against the
# typical size of what the optimiser was given for that kernel, the root of the mean of $\hat v$. (That is the clipped gradient, for L2 with
# $\lambda\theta$ in it.)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
for (name, remains), style in zip(shrunk.items(), ("s--", "^-."), strict=True):
    left.semilogx(sizes, remains, style, label=name)
left.set(title="noise: what remains of 1", xlabel="size $s$ of the noise", ylim=(-0.05, 1.1))
left.legend()

without = {k: np.linalg.norm(t.data) for k, t in runs["no decay"][0].named_parameters() if is_kernel(k, t)}
del without["head.weight"]  # it began at zero
spread = {}
for (name, (model, optimiser, _)), style in zip(list(runs.items())[1:], ("s", "^"), strict=True):
    kernels = [(i, k, t.data) for i, (k, t) in enumerate(model.named_parameters()) if k in without]
    typical = [math.sqrt(optimiser.state["v"][i].mean() / (1 - b2**updates)) for i, _, _ in kernels]
    ratio = np.array([np.linalg.norm(data) / without[k] for _, k, data in kernels])
    right.semilogx(typical, ratio, style, label=name)
    spread[name] = ratio
right.axhline(
    np.prod(1 - np.array(rates) * 1.0),
    color="black",
    linestyle=":",
    label="$\\prod_t (1 - \\eta_t\\lambda)$, $\\lambda = 1$",
)
right.set(
    title="ViT: norm of each kernel, relative to no decay", xlabel="typical size of its gradient", ylim=(-0.05, 1.5)
)
right.set_xticks([0.001, 0.003, 0.01, 0.03], ["0.001", "0.003", "0.01", "0.03"])
right.xaxis.set_minor_formatter("")
right.legend(fontsize=9)
plt.show()

for name, ratio in spread.items():
    print(f"{name:<24} the {len(ratio)} kernels keep between {ratio.min():.2f} and {ratio.max():.2f} of their norm")

# %% [markdown]
# Look at the slopes. With AdamW what remains depends little on the size of the gradient, in noise and in the model. With L2 it depends on it: what
# has small gradients shrinks most. The printed ranges say how strong the effect is in this run. Which of them classifies better is another
# question, for which one seed on 1,438 images is no evidence.
#
# ## Where this goes wrong in practice
#
# - **The same $\lambda$ for L2 and AdamW.** They are different quantities: above they differ by a factor of 1,000. Some libraries call L2 in
#   Adam `weight_decay`.
# - **Decay not multiplied by the learning rate.** Some code bases do it on purpose (exercise 12.4). The same number in two recipes can differ by
#   the factor of the learning rate.
# - **$t$ counted from 0.** Then $1 - \beta^t = 0$ and the first update is NaN.
# - **$\varepsilon$ inside the root**, $\sqrt{\hat v + \varepsilon}$. It then acts like $\sqrt\varepsilon = 10^{-4}$, which is as large as many
#   gradients.
# - **Clipping pieces of a batch**, or single arrays. The direction changes. Add up all gradients first, then clip once.
# - **The first update with warm-up** has learning rate 0 in the published schedule: nothing moves. That is no bug.
# - **Gradients that are zero up to rounding**, such as those of the keys' bias (notebook [11](11_vit.ipynb)). Adam divides these rounding errors by
#   their own size plus $\varepsilon$. In float32 they are not always small beside $\varepsilon$, and two correct programs drift apart in such
#   parameters.
#
# ## Exercises
#
# **12.1 (two lines).** The very first update of Adam, $\theta_1 - \theta_0$, without weight decay, as a function of $g_1$ and $\eta$ alone
# ($\varepsilon$ is small enough to be left out). What do the $\beta$ do?


# %%
def first_update(g, lr, eps=1e-8):
    """g: (n,), lr: a number -> theta_1 - theta_0, (n,)"""
    ...  # your answer here


check("12.1", first_update)

# %% [markdown]
# **12.2 (ten minutes).** Write clipping by global norm for the gradients of two arrays, in NumPy.


# %%
def clip_two(a, b, max_norm):
    """a, b: arrays of any shapes, even zeros -> the two clipped arrays, as a tuple"""
    ...  # your answer here


check("12.2", clip_two)

# %% [markdown]
# **12.3 (ten minutes).** AdamW at a constant learning rate $\eta$, decay $\lambda$, and a kernel without gradient. After how many updates (not
# rounded) has it shrunk to half? Then compare: what does your function say for the peak rates and decays of Table 3, and how long were these runs?


# %%
def half_life(lr, wd):
    """lr, wd: numbers -> number of updates"""
    ...  # your answer here


check("12.3", half_life)

# %% [markdown]
# **12.4 (ten minutes).** The code base `big_vision`, which trained the models of Steiner et al. 2021, decays as the paper on AdamW does, by
# $\theta_t = \theta_{t-1} - \eta_t\,\hat m_t/(\sqrt{\hat v_t} + \varepsilon) - \frac{\eta_t}{\eta_{\max}}\,\lambda'\,\theta_{t-1}$. A recipe
# of theirs has the peak rate $\eta_{\max} = 0.001$ and $\lambda' = 0.0001$. Which `weight_decay` makes our AdamW do the same?

# %%
answer = None  # your answer here: a number

check("12.4", answer)

# %% [markdown]
# **12.5 (an hour).** Adam needs two further arrays as large as the model. For a matrix, $v$ can be replaced by two vectors: the running means of
# $g^2$ over each row, $r$, and over each column, $c$ (a vector here):
#
# $$r_t = \beta_2 r_{t-1} + (1 - \beta_2)\,\underset{j}{\mathrm{mean}}\, g_{ij}^2, \qquad
# c_t = \beta_2 c_{t-1} + (1 - \beta_2)\,\underset{i}{\mathrm{mean}}\, g_{ij}^2, \qquad
# \hat v_{ij} = \frac{\hat r_i\,\hat c_j}{\mathrm{mean}(\hat r)}.$$
#
# $\hat r$ and $\hat c$ are corrected as $\hat v$ in Adam. The rest is as in Adam. Write it in NumPy. When is $\hat v$ exactly that of Adam?


# %%
def factored_adam(theta, gradients, lr, b1, b2, eps):
    """theta: (n, k), gradients: (steps, n, k) -> theta after all steps, (n, k). No weight decay."""
    ...  # your answer here


check("12.5", factored_adam)

# %% [markdown]
# Next: [13, training](13_training.ipynb).

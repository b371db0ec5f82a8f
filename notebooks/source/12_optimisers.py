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
# Backpropagation gives the gradient. The loss falls fastest in the opposite direction. The optimiser decides how far to
# go, and what else happens to the weights. The paper ([Dosovitskiy et al.
# 2020](https://arxiv.org/abs/2010.11929v2)) pre-trains with Adam, weight decay, warm-up and a falling learning rate
# (section 4.1 and Table 3). It fine-tunes with momentum (Table 4). At the end you will be able to
#
# - write gradient descent with momentum, Adam and AdamW as the library computes them,
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

from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, digits, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.optim import SGD, AdamW, clip_by_global_norm, warmup_cosine, warmup_linear
from minivit.optim.gradients import clip_scale
from minivit.optim.optimizers import is_kernel
from minivit.tensor import Tensor
from minivit.update.supervised import step

rng = np.random.default_rng(12)

# %% [markdown]
# ## The equations
#
# All operations are element by element, and every parameter has its own state.
#
# **Gradient descent with momentum** (*SGD*, stochastic because each gradient comes from a random batch) keeps a running
# sum of gradients, the *velocity* $u$. Older gradients count less. The paper fine-tunes with it, with $\beta = 0.9$
# (appendix B.1.1 and Table 4).
#
# $$u_t = \beta\, u_{t-1} + g_t, \qquad \theta_t = \theta_{t-1} - \eta_t\, u_t, \qquad u_0 = 0 \tag{SGD}$$
#
# **Adam** ([Kingma & Ba 2015](https://arxiv.org/abs/1412.6980)) keeps two running averages: of the gradient, and of its
# square.
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \qquad m_0 = v_0 = 0$$
#
# Both are corrected for having started at zero. The update divides the first by the root of the second:
#
# $$\hat m_t = \frac{m_t}{1 - \beta_1^t}, \qquad \hat v_t = \frac{v_t}{1 - \beta_2^t}, \qquad
# \theta_t = \theta_{t-1} - \eta_t\, \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} \tag{Adam}$$
#
# **AdamW** ([Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101)) also multiplies the parameter by
# $1 - \eta_t\lambda$. We write it as PyTorch, optax and flax do. The paper on AdamW multiplies the decay by the
# schedule alone, without the peak learning rate (exercise 12.4).
#
# $$\theta_t = \theta_{t-1} - \eta_t \left( \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} + \lambda\, \theta_{t-1} \right) \tag{AdamW}$$
#
# The paper on ViT says "Adam" with weight decay. The published code uses flax, whose Adam decays the weights as AdamW
# does. So the models were probably trained with AdamW. This is not certain, because the pre-training used other code
# ([issue 89](https://github.com/google-research/vision_transformer/issues/89) of the published code).
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $\theta$ | parameters; $\theta_t$ is one array of them after $t$ updates | any | `theta` |
# | $g_t$ | gradient of the loss at $\theta_{t-1}$, $t = 1, 2, \ldots$ | that of $\theta$ | `g` |
# | $u_t$ | velocity | that of $\theta$ | `u` |
# | $m_t$, $v_t$ | running averages of $g$ and $g^2$ | that of $\theta$ | `m`, `v` |
# | $\eta_t$ | learning rate of update $t$ | number | `lr` |
# | $\beta$ | momentum, 0.9 in the paper | number | `b` |
# | $\beta_1$, $\beta_2$ | 0.9 and 0.999 in the paper (section 4.1) | numbers | `b1`, `b2` |
# | $\epsilon$ | small constant against a division by zero, $10^{-8}$ | number | `eps` |
# | $\lambda$ | weight decay | number | `wd` |
# | $\eta_{\max}$, $\eta_{\text{end}}$ | learning rate at its peak; learning rate at the end | numbers | `peak`, `end` |
# | $G$ | largest global norm that gradients may have | number | `max_norm` |
# | $T$, $T_\mathrm{w}$ | updates of a training run; updates of its warm-up | numbers | `T`, `Tw` |
# | $\rho$ | progress since the warm-up, $0 \ldots 1$ | number | `rho` |
# | $\theta_a$, $\theta_b$ | parameters along and across a valley | numbers | `theta[0]`, `theta[1]` |
# | $s$ | size of the noise in a gradient | number | `sizes[i]` |
# | $r$, $c$ | running averages of $g^2$ over rows and over columns (exercise 12.5) | (rows,); (columns,) | |
#
# In the code `n` is the number of parameters in `theta`.
#
# ## Momentum
#
# The first equation as code:


# %% tags=["yours"]
def sgd(theta, gradients, lr, b):
    """theta: any shape, gradients: (steps, *theta.shape) -> theta after all steps."""
    u = np.zeros_like(theta)
    for g in gradients:
        u = b * u + g
        theta = theta - lr * u
    return theta


# %%
steps, n = 20, 5
theta0 = rng.standard_normal(n)
gradients = rng.standard_normal((steps, n)) * np.array([1e-3, 0.1, 1, 10, 100])  # very different sizes
lr, b = 0.01, 0.9

theta = Tensor(theta0.copy(), requires_grad=True)
optimiser = SGD([theta], lr, momentum=b)
for g in gradients:
    optimiser.step([g])

agree("SGD", sgd(theta0, gradients, lr, b), theta)

# %% [markdown]
# **What the velocity holds.** Insert the equation for $u_{t-1}$ into that for $u_t$, then $u_{t-2}$, and so on down to
# $u_0 = 0$. Each older gradient gets one more factor $\beta$:
#
# $$u_t = \sum_{i=1}^{t} \beta^{t-i} g_i.$$
#
# As $t$ grows, the sum of the weights $1, \beta, \beta^2, \ldots$ approaches $\frac{1}{1 - \beta} = 10$. So if the
# gradient stays the same, the steps become ten times as long. If it changes sign at every step, the sum approaches
# $\frac{g}{1 + \beta}$: the steps become about half as long.

# %%
weights = b ** np.arange(steps - 1, -1, -1)  # of g_1 ... g_t
u = np.zeros(n)
for g in gradients:
    u = b * u + g
agree("u_t", weights @ gradients, u)
signs = (-1.0) ** np.arange(steps - 1, -1, -1)
print(
    f"after {steps} steps: gradients of 1 give u = {weights.sum():.2f}, gradients of 1 and -1 in turn {weights @ signs:.2f}"
)

# %% [markdown]
# This helps in a narrow valley, where the gradient points mostly across. We take the loss
# $\frac12(\theta_a^2 + 50\,\theta_b^2)$ and start at $(1, 1)$. Plain descent multiplies $\theta_a$ by $1 - \eta$ and
# $\theta_b$ by $1 - 50\eta$ in each update. The rate must stay below $2/50$, or $\theta_b$ grows. So $\theta_a$ shrinks
# by less than 4 % per update.
#
# With momentum and a rate that is not too small, both coordinates swing around zero, and the swings shrink by
# $\sqrt\beta$ per update, whatever the slope.
#
# **Predict first.** Each $\beta$ has its own best learning rate. How many updates does $\theta$ need to come within
# 0.001 of the minimum, with $\beta = 0$, 0.6 and 0.9? Which of the three is fastest?


# %%
def updates_needed(b, lr):
    """Updates until both coordinates stay below 0.001 for the rest of 1,000 updates."""
    theta, u, far = np.ones(2), np.zeros(2), 0
    for t in range(1, 1001):
        u = b * u + np.array([1, 50]) * theta
        theta = theta - lr * u
        far = t if abs(theta).max() > 1e-3 else far
    return far + 1


for momentum in (0.0, 0.6, 0.9):
    below = np.arange(0.001, 2 * (1 + momentum) / 50, 0.001)  # from there on theta_b grows
    count, rate = min((updates_needed(momentum, x), x) for x in below)
    print(f"momentum {momentum}: {count:3d} updates at its best rate, {rate:.3f}")

# %% [markdown]
# **In the stored run** plain descent needs 174 updates, momentum 0.9 needs 128, and momentum 0.6 needs 29.
#
# The factor $\sqrt\beta$ explains the last two: $\ln 1000 / {-\ln\sqrt{0.9}} = 131$ and
# $\ln 1000 / {-\ln\sqrt{0.6}} = 27$. The best $\beta$ depends on the valley. In a narrower one it is larger.
#
# ## Adam as loops
#
# One parameter, one step, one number at a time. The decay of AdamW is included: `wd = 0` gives Adam. It uses
# $\theta_{t-1}$, the value before the step.

# %%
b1, b2, eps, wd = 0.9, 0.999, 1e-8, 0.1


# %% tags=["yours"]
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


# %% [markdown]
# **Predict first.** We multiply one sequence of gradients by 0.001, 0.1, 1, 10 and 100, and give each product to one
# parameter. How far does each of the five parameters move, with Adam and with momentum?

# %%
scaled = gradients[:, [2]] * np.array([1e-3, 0.1, 1, 10, 100])
moved = {"Adam": adamw_loops(np.zeros(n), scaled, lr, wd=0), "momentum": sgd(np.zeros(n), scaled, lr, b)}
for name, by in moved.items():
    print(f"{name:<9} moved by", *(f"{x:.2g}" for x in by), f"  last / first: {by[-1] / by[0]:.0f}")

# %% [markdown]
# **In the stored run** Adam moves all five by 0.059, and momentum moves the last 100000 times as far as the first.
#
# $\sqrt{\hat v}$ measures the size of the gradients. Adam divides by it, so the size cancels.
#
# ## Adam for whole arrays


# %% tags=["yours"]
def adamw(theta, gradients, lr, wd):
    """The same for theta of any shape, gradients: (steps, *theta.shape)."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        update = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        theta = theta - lr * (update + wd * theta)
    return theta


# %%
agree("theta", adamw(theta0, gradients, lr, wd), adamw_loops(theta0, gradients, lr, wd))

# %% [markdown]
# ## Where the corrections come from
#
# We now derive what $m_t$ contains. **Step 1:** insert the equation for $m_{t-1}$ into that for $m_t$ and so on, as for
# the velocity:
#
# $$m_t = (1 - \beta_1) \sum_{i=1}^{t} \beta_1^{t-i} g_i.$$

# %%
m = np.zeros(n)
for g in gradients:
    m = b1 * m + (1 - b1) * g

# %% tags=["yours"]
# the weights of g_1 ... g_t
weights = (1 - b1) * b1 ** np.arange(steps - 1, -1, -1)
agree("m_t", weights @ gradients, m)

# %% [markdown]
# **Step 2:** the weights are a geometric series. Their sum is
# $(1 - \beta_1)\,\frac{1 - \beta_1^t}{1 - \beta_1} = 1 - \beta_1^t$. The missing $\beta_1^t$ is the weight of
# $m_0 = 0$.

# %% tags=["yours"]
total = 1 - b1**steps
agree("sum", weights.sum(), total)

# %% [markdown]
# **Step 3:** so $\hat m_t = m_t / (1 - \beta_1^t)$ is a weighted mean: its weights sum to 1. The same holds for
# $\hat v_t$. This matters most at the first step: $m_1 = 0.1\, g_1$ and $v_1 = 0.001\, g_1^2$, but $\hat m_1 = g_1$
# and $\hat v_1 = g_1^2$.

# %%
print(" step   weight of all gradients in m     in v")
for t in (1, 10, 100, 1000, 10000):
    print(f"{t:5d} {1 - b1**t:24.3f} {1 - b2**t:14.3f}")

# %% [markdown]
# The weights in $v$ need thousands of steps to approach a sum of 1. In the first steps $\hat v$ is a mean of few
# gradients, and so the step size depends on few gradients. This is one reason to begin with a small learning rate.
#
# ## Weight decay, coupled or not
#
# The older way to keep weights small is to add $\frac{\lambda}{2} \lVert\theta\rVert^2$ to the loss (called **L2**).
# The gradient of this term is $\lambda\theta$. `check_vjp` tests it with a random cotangent. As for every op, the
# pullback returns a tuple, here of one array.


# %% tags=["yours"]
def penalty(theta, wd=0.1):
    """y = wd / 2 * sum of squares, 0-d, and its pullback."""
    y = np.asarray(wd / 2 * (theta * theta).sum())

    def vjp(dy):
        return (dy * wd * theta,)

    return y, vjp


# %%
print(f"largest relative error: {check_vjp(penalty, theta0):.1e}")

# %% [markdown]
# In plain gradient descent the two ways are the same: $\theta - \eta(g + \lambda\theta)$. In Adam they differ. With L2,
# $\lambda\theta$ is a part of $g_t$. It enters $m$ **and** $v$, so it is divided by $\sqrt{\hat v}$. Suppose the
# gradient of the loss is noise of size $s$, much larger than $\lambda|\theta|$. Then $\sqrt{\hat v} \approx s$, and one
# step shrinks $\theta$ by about
#
# $$\eta\,\frac{\lambda\theta}{s} \quad\text{(L2 in Adam)} \qquad\text{instead of}\qquad \eta\lambda\theta \quad\text{(AdamW).}$$
#
# So with L2 a parameter with large gradients hardly decays. If $s$ is much smaller than $\lambda|\theta|$, the ratio
# $\hat m / \sqrt{\hat v}$ is near 1 in size at first, whatever $\lambda$ is. The parameter then moves towards zero by
# about $\eta$ per step. Later it moves more slowly, because $\hat v$ still contains the larger $\theta$ of the past.
# One method turns the library's optimiser into Adam with L2:


# %%
class AdamL2(AdamW):
    """Adam with the gradient of the penalty added to g. For comparison only."""

    def update(self, p, g, m, v, *, lr, decay):
        super().update(p, g + decay * p, m, v, lr=lr, decay=0.0)


# %% [markdown]
# We test both without a model. All parameters begin at 1, and their gradients are pure noise. There are eleven sizes of
# noise from $10^{-4}$ to $10$, with 200 parameters each. Only the decay has a direction. Both have $\lambda = 1$.
#
# **Predict first.** Which parameters end larger, those with little noise or those with much? Answer for AdamW and for
# L2.

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
    print(f"{name:<13} mean at the end {remains[0]:.2f} with the least noise, {remains[-1]:.2f} with the most")
formula = (1 - noise_lr * noise_wd) ** noise_steps
print(f"(1 - lr wd)^steps = {formula:.2f}")

figure, axis = plt.subplots(figsize=(6, 3.2))
for (name, remains), style in zip(shrunk.items(), ("s--", "^-."), strict=True):
    axis.semilogx(sizes, remains, style, label=name)
axis.axhline(formula, color="black", linestyle=":", label="$(1 - \\eta\\lambda)^{\\mathrm{steps}}$")
axis.set(title="parameters that began at 1", xlabel="size $s$ of the noise", ylabel="mean at the end", ylim=(0, 1.1))
axis.legend(loc="upper left")
plt.show()

# %% [markdown]
# **In the stored run** the parameters end at 0.37 with AdamW, with the least noise and with the most, as the formula
# says. With L2 they end at 0.26 with the least noise and at 0.90 with the most.
#
# ## The library
#
# The library updates an array in place. The decay comes first, so that it uses the old value. The two corrections
# become factors. (`xp_of(v)` is the library that `v` belongs to, here NumPy.)

# %%
show_source(AdamW.update)

# %%
theta = Tensor(theta0.copy(), requires_grad=True, name="weight")
optimiser = AdamW([theta], lr, weight_decay=wd)
for g in gradients:
    optimiser.step([g])

agree("AdamW", theta, adamw(theta0, gradients, lr, wd))

# %% [markdown]
# Some parameters should not decay. If the scale of a LayerNorm goes to zero, the model does not become simpler: the
# output of the LayerNorm only becomes smaller. In our library only the **kernels** decay, the matrices called `weight`.
# This follows AugReg ([Steiner et al. 2021](https://arxiv.org/abs/2106.10270)) and its code `big_vision`. The Adam of
# flax decays every array that it is given. The paper on ViT does not say whether it left some out.

# %%
show_source(is_kernel)

# %%
config = ViTConfig(image_size=8, patch_size=2, width=32, depth=2, heads=2, mlp_width=64, num_classes=10, channels=1)
named = [pair for pair in ViT(config).named_parameters() if "blocks.1" not in pair[0]]  # block 1 is like block 0
for what, decays in (("decay", True), ("do not decay", False)):
    print(f"{what}:\n ", "\n  ".join(name for name, tensor in named if is_kernel(name, tensor) == decays))

# %% [markdown]
# ## Clipping
#
# In some runs a single batch has a gradient far larger than the others. The paper clips at global norm 1 when it
# pre-trains on ImageNet (Table 3, caption), and in every fine-tuning run (appendix B.1.1). All gradients of the model
# together are one long vector. If it is longer than $G$, it is shortened to $G$. Its direction stays.
#
# $$\lVert g \rVert = \sqrt{\sum_{\text{arrays}} \sum_i g_i^2}, \qquad g \leftarrow g \cdot \min\!\left(1, \frac{G}{\lVert g \rVert}\right) \tag{clipping}$$


# %%
def clip_loops(grads, max_norm):
    """grads: a list of arrays -> the list of clipped arrays."""
    total = 0.0
    for g in grads:
        for x in g.ravel():
            total += x * x
    norm = math.sqrt(total)
    return [np.array([x * min(1, max_norm / norm) for x in g.ravel()]).reshape(g.shape) for g in grads]


# %% tags=["yours"]
def clip(grads, max_norm):
    """The same for whole arrays."""
    norm = math.sqrt(sum((g * g).sum() for g in grads))
    return [g * min(1, max_norm / norm) for g in grads]


# %%
def joined(arrays):
    return np.concatenate([array.ravel() for array in arrays])


grads = [rng.standard_normal((3, 4)), rng.standard_normal(4)]
library, norm_before = clip_by_global_norm(grads, 1.0)
agree("loops", joined(clip(grads, 1.0)), joined(clip_loops(grads, 1.0)))
agree("library", joined(clip(grads, 1.0)), joined(library))
print(f"norm before: {norm_before:.3f}, after: {np.linalg.norm(joined(library)):.3f}")

# %%
show_source(clip_scale)

# %% [markdown]
# In Adam the size of the gradients cancels. So why clip? If *all* gradients are multiplied by one number from the first
# update on, nothing changes, except through $\epsilon$. Clipping changes the weight of *one batch* among the others. We
# give Adam gradients of 1, and in update 50 a gradient of 100.
#
# **Predict first.** Is the update at the outlier longer or shorter than the others? And the updates after it?

# %%
spikes = np.ones(full_or_fast(3000, 300))
outlier = 50
spikes[outlier - 1] = 100  # updates count from 1


def update_sizes(gradients):
    """Length of each update of one parameter, in units of the learning rate."""
    theta = Tensor(np.zeros(1), requires_grad=True)
    optimiser, places = AdamW([theta], lr=1.0), [0.0]
    for g in gradients:
        optimiser.step([np.array([g])])
        places.append(theta.data.item())
    return np.abs(np.diff(places))


plain, limited = update_sizes(spikes), update_sizes(np.minimum(spikes, 1))

t = np.arange(1, len(spikes) + 1)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), sharey=True)
for axis in (left, right):
    axis.plot(t, plain, "-", label="not clipped")
    axis.plot(t, limited, "--", label="clipped at 1")
    axis.set(xlabel="update", ylim=(0, 1.1))
left.set(title="all updates", ylabel="length / learning rate")
right.set(title="updates 40 to 200", xlim=(40, 200))
right.plot(outlier, plain[outlier - 1], "o", color="black")
right.annotate("outlier", (outlier, plain[outlier - 1]), xytext=(12, 0), textcoords="offset points", va="center")
left.legend()
plt.show()
print(f"without clipping: {plain[outlier - 1]:.2f} of the learning rate in update {outlier}, the outlier,", end=" ")
print(f"{plain.min():.2f} in update {plain.argmin() + 1}, {plain[-1]:.2f} in update {len(plain)}")
print(f"with clipping:    shortest update {limited.min():.2f}")

# %% [markdown]
# **In the stored run** the update at the outlier is 0.76 learning rates long. The shortest update is number 100: 0.10
# learning rates. Update 3000 is 0.80 long. With clipping every update is 1.00 long.
#
# The outlier enters $v$ too, so its own update is not long. $m$ forgets the outlier within tens of updates, $v$ only
# within thousands. Meanwhile all updates are too short.
#
# ## The learning rate over time
#
# The paper pre-trains all models with a **warm-up** of 10,000 updates, in which the rate rises from 0 in a straight
# line. Then it falls: along half a **cosine** on ImageNet, in a straight line (**linear**) on the larger sets (Table
# 3). Update $t$ comes after $t - 1$ others and has the rate
#
# $$\eta_t = \min\!\left(1, \frac{t - 1}{T_\mathrm{w}}\right) \cdot \begin{cases}
# \eta_{\text{end}} + (\eta_{\max} - \eta_{\text{end}}) \cdot \frac{1}{2}\,(1 + \cos \pi \rho) & \text{cosine} \\
# \eta_{\text{end}} + (\eta_{\max} - \eta_{\text{end}})(1 - \rho) & \text{linear} \end{cases} \tag{warm-up}$$
#
# where $\rho = \frac{t - 1 - T_\mathrm{w}}{T - T_\mathrm{w}}$, limited to $0 \ldots 1$. With $T_\mathrm{w} = 0$ there
# is no warm-up, and the first factor is 1. The code calls $t - 1$, the number of updates before, `done`.


# %% tags=["yours"]
def my_cosine(done, peak, T, Tw, end=0.0):
    """Learning rate of the update that comes after `done` of T updates, Tw of them warm-up."""
    rho = min(max((done - Tw) / (T - Tw), 0), 1)
    rising = min(1, done / Tw) if Tw else 1
    return rising * (end + (peak - end) * 0.5 * (1 + math.cos(math.pi * rho)))


# %%
for Tw, end in ((10, 0.0), (10, 1e-4), (0, 0.0)):
    schedule = warmup_cosine(3e-3, 100, Tw, end)
    agree(
        "rates", [my_cosine(done, 3e-3, 100, Tw, end) for done in range(100)], [schedule(done) for done in range(100)]
    )

# %%
show_source(warmup_cosine)

# %% [markdown]
# We draw the learning rates of ViT-B. Table 3 gives epochs, peak rate, shape and weight decay, all with batches of
# 4,096 images. Section 4.1 gives the sizes of the data sets. The paper does not say where the linear rate ends. We take
# $10^{-5}$, which an author gives for ImageNet-21k in [issue
# 2](https://github.com/google-research/vision_transformer/issues/2) of the published code.
#
# We also print $\eta_{\max}\lambda$. This is the share of a kernel that the decay takes off in one update at the peak.
#
# **Predict first.** ImageNet has the fewest images and 300 epochs. JFT-300M has the most images and 7 epochs. On which
# of the two does the paper train for more updates?

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
    axis.plot(done / 1000, [rate(int(s)) for s in done], style, label=name)
    print(f"{name:<13} {updates:7,d} updates, {10_000 / updates:5.1%} of them warm-up, rate x decay {peak * decay:.1e}")
axis.set(xlabel="update, in thousands", ylabel="learning rate", title="ViT-B in Table 3")
axis.legend()
plt.show()

# %% [markdown]
# **In the stored run** JFT-300M takes 517,822 updates, of which 1.9% are warm-up. ImageNet takes 95,215, of which 10.5%
# are warm-up.
#
# ## Experiment: the same model with AdamW and with L2
#
# A small ViT learns the digits, with warm-up, cosine and clipping at 1. (`step` makes one update: forward, backward,
# clipping, optimiser. Notebook [13](13_training.ipynb) shows its source.) We record the norm of the gradient before
# clipping and the norm of all kernels. $\lambda$ means different things in AdamW and in Adam with L2. We choose a
# $\lambda$ for each, so that the kernels end with about the same norm.
#
# **Predict first.** Clipping at 1 shortens the gradients longer than 1. Are these a few outliers, or most of them?

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
    print(f"{name:<24} loss {loss:.3f}   kernels {norm:4.1f}   test accuracy {accuracy(model, test):.1%}")
norm_at_start = runs["no decay"][2][0, 2]
print(f"clipped: {(runs['no decay'][2][:, 1] > 1).mean():.0%} of the updates; kernels at the start {norm_at_start:.1f}")


# %%
def mean_of_20(values):
    """Mean of each value and the 19 before it (of fewer at the beginning)."""
    total = np.cumsum(np.insert(values, 0, 0))
    first = np.maximum(np.arange(len(values)) - 19, 0)
    return (total[1:] - total[first]) / (np.arange(len(values)) + 1 - first)


figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
rates = [warmup_cosine(peak, updates, updates // 10)(s) for s in range(updates)]
axes[0].plot(rates)
axes[0].set(title="learning rate", xlabel="update", ylabel="$\\eta_t$")

axes[1].plot(runs["no decay"][2][:, 1], ".", color="C1", alpha=0.3, label="clipped, each update")
for name, trace, style in (("not clipped", unclipped[2], "-"), ("clipped", runs["no decay"][2], "--")):
    axes[1].plot(mean_of_20(trace[:, 1]), style, label=f"{name}, mean of 20")
axes[1].axhline(1, color="black", linestyle=":", label="limit $G = 1$")
axes[1].set(title="gradient before clipping", xlabel="update", ylabel="norm", yscale="log", ylim=(0.3, 80))
axes[1].set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
axes[1].legend(fontsize=9, loc="upper right")

for (name, (_, _, trace)), style in zip(runs.items(), ("-", "--", "-."), strict=True):
    axes[2].plot(trace[:, 2], style, label=name)
axes[2].set(title="all kernels", xlabel="update", ylabel="norm", ylim=(0, None))
axes[2].legend(fontsize=9)
plt.show()

# %% [markdown]
# **In the stored run** clipping shortens 97% of the gradients. Without decay the norm of the kernels grows from 21.4 to
# 22.3. AdamW brings it down to 14.6 and L2 to 15.8. The test accuracies lie between 86.4% and 90.5%.
#
# So clipping does not catch outliers here. It gives nearly all gradients the same length. And one seed for each run
# does not decide which of the four is best.
#
# Now kernel by kernel. We divide the norm of each kernel at the end by its norm in the run without decay. (The head is
# left out, because it began at zero.) We draw this ratio against the root of the mean of $\hat v$. This root is the
# typical size of what the optimiser was given for that kernel: the clipped gradient, and for L2 $\lambda\theta$ in
# addition.
#
# **Predict first.** Which kernels keep more of their norm, those with small or those with large gradients? Answer for
# AdamW and for L2.

# %%
without = {k: np.linalg.norm(t.data) for k, t in runs["no decay"][0].named_parameters() if is_kernel(k, t)}
del without["head.weight"]  # it began at zero
figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
spread = {}
for (name, (model, optimiser, _)), style in zip(list(runs.items())[1:], ("s", "^"), strict=True):
    kernels = [(i, k, t.data) for i, (k, t) in enumerate(model.named_parameters()) if k in without]
    typical = np.array([math.sqrt(optimiser.state["v"][i].mean() / (1 - b2**updates)) for i, _, _ in kernels])
    ratio = np.array([np.linalg.norm(data) / without[k] for _, k, data in kernels])
    axis.semilogx(typical, ratio, style, label=name)
    spread[name] = typical, ratio
axis.axhline(np.prod(1 - np.array(rates)), color="black", linestyle=":", label="formula of AdamW, λ = 1")
axis.set(
    title="the kernels of the ViT",
    xlabel="root of the mean of $\\hat v$ at the end",
    ylabel="norm / norm without decay",
    ylim=(0, 1.1),
)
axis.set_xticks([0.001, 0.003, 0.01, 0.03], ["0.001", "0.003", "0.01", "0.03"])
axis.xaxis.set_minor_formatter("")
axis.legend(fontsize=9, loc="lower right")
plt.show()

for name, (_, ratio) in spread.items():
    print(f"{name:<24} the {len(ratio)} kernels keep between {ratio.min():.2f} and {ratio.max():.2f} of their norm")
typical = spread["Adam with L2, λ = 0.001"][0]
predicted = [np.prod(1 - np.array(rates) * 1e-3 / size) for size in typical]
print(f"formula of L2 with these sizes: between {min(predicted):.2f} and {max(predicted):.2f}")

# %% [markdown]
# **In the stored run** AdamW leaves between 0.63 and 0.68 of the norm of every kernel, almost independent of the
# gradient and near its formula. L2 leaves between 0.48 and 0.91, and the two kernels with the smallest gradients keep
# least. The formula of L2 gives 0.74 to 0.98.
#
# So the order is that of the noise experiment, but the formula of L2 predicts too little decay. It holds for pure noise
# much larger than $\lambda|\theta|$.
#
# ## Where this goes wrong in practice
#
# - **The same $\lambda$ for L2 and AdamW.** They are different quantities. For the ViT above we chose $\lambda$ 1,000
#   times smaller for L2, and the kernels ended with about the same norm. Some libraries call L2 in Adam `weight_decay`.
# - **Decay not multiplied by the peak learning rate.** Some code bases do this on purpose (exercise 12.4). The same
#   number in two recipes then means two different decays.
# - **$t$ counted from 0.** Then $1 - \beta^t = 0$. The first update is NaN in arrays; with Python's numbers it raises
#   `ZeroDivisionError`.
# - **$\epsilon$ inside the root**, $\sqrt{\hat v + \epsilon}$. It then acts like $\sqrt\epsilon = 10^{-4}$, which is as
#   large as many gradients.
# - **Pieces of a batch or single arrays clipped.** This changes the direction of the whole gradient. Add up the pieces
#   first, then clip all arrays together.
# - **A first update that moves nothing.** With warm-up the published schedule begins at the learning rate 0. That is no
#   bug.
# - **Gradients that are zero up to rounding**, such as those of the keys' bias (notebook [11](11_vit.ipynb)). Adam
#   divides these rounding errors by their own size plus $\epsilon$. In float32 the errors can be as large as
#   $\epsilon$. Then two correct programs drift apart in such parameters.
#
# ## Exercises
#
# `hint("12.1")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **12.1 (two lines).** Write the very first update of Adam, $\theta_1 - \theta_0$, without weight decay, as a function
# of $g_1$ and $\eta$ alone. ($\epsilon$ is so small that you may leave it out.) Do $\beta_1$ and $\beta_2$ matter?


# %%
def first_update(g, lr, eps=1e-8):
    """g: (n,), lr: a number -> theta_1 - theta_0, (n,)"""
    ...  # your answer here


check("12.1", first_update)

# %% [markdown]
# **12.2 (five minutes).** `clip` above divides by zero if all gradients are zero. Write it for the gradients of two
# arrays, so that gradients of zero stay as they are.


# %%
def clip_two(a, b, max_norm):
    """a, b: arrays of any shapes, even zeros -> the two clipped arrays, as a tuple"""
    ...  # your answer here


check("12.2", clip_two)

# %% [markdown]
# **12.3 (ten minutes).** AdamW at a constant learning rate $\eta$, decay $\lambda$, and a kernel whose gradient is
# zero. After how many updates (not rounded) has it shrunk to half? Then put in the peak rates and decays of Table 3,
# and compare with the lengths of the runs. (This part is not checked. The reply to a right answer says what comes out.)


# %%
def half_life(lr, wd):
    """lr, wd: numbers -> number of updates"""
    ...  # your answer here


check("12.3", half_life)

# %% [markdown]
# **12.4 (ten minutes).** The code base `big_vision`, which trained the models of Steiner et al. 2021, decays as the
# paper on AdamW does:
# $\theta_t = \theta_{t-1} - \eta_t\,\hat m_t/(\sqrt{\hat v_t} + \epsilon) - \frac{\eta_t}{\eta_{\max}}\,\lambda'\,\theta_{t-1}$.
# One of its recipes has the peak rate $\eta_{\max} = 0.001$ and $\lambda' = 0.0001$. Which `weight_decay` makes our
# AdamW do the same?

# %%
answer = None  # your answer here: a number

check("12.4", answer)

# %% [markdown]
# **12.5 (an hour).** Adam needs two further arrays as large as the model. For a matrix, $v$ can be replaced by two
# vectors, the running means of $g^2$ over each row, $r$, and over each column, $c$:
#
# $$r_t = \beta_2 r_{t-1} + (1 - \beta_2)\,\underset{j}{\mathrm{mean}}\, g_{ij}^2, \qquad
# c_t = \beta_2 c_{t-1} + (1 - \beta_2)\,\underset{i}{\mathrm{mean}}\, g_{ij}^2, \qquad
# \hat v_{ij} = \frac{\hat r_i\,\hat c_j}{\mathrm{mean}(\hat r)}.$$
#
# $\hat r$ and $\hat c$ are corrected as $\hat v$ in Adam. The rest is as in Adam. Write it in NumPy. For which
# gradients is $\hat v$ exactly that of Adam? (The reply to a right answer tells.)


# %%
def factored_adam(theta, gradients, lr, b1, b2, eps):
    """theta: (rows, columns), gradients: (steps, rows, columns) -> theta after all steps. No weight decay."""
    ...  # your answer here


check("12.5", factored_adam)

# %% [markdown]
# Next: [13, training](13_training.ipynb).

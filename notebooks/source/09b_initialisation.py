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
# # 09b Initialisation
#
# Training starts from random weights. If they are too small, signals and gradients fade on their way through the
# layers. If they are too large, both explode. The right size follows from one fact: the variance of a sum. At the end
# you will be able to
#
# - derive the size of the initial weights from the number of inputs and outputs of a layer (Glorot, He),
# - predict how activations and gradients grow with depth, in a plain network and in one with a residual stream,
# - say how the ViT starts, and why its first loss is $\log K$,
# - diagnose a bad start.
#
# You need the gradients of a dense layer (notebook [02](02_shapes.ipynb)), attention ([08](08_multi_head.ipynb)) and
# the MLP ([09](09_mlp_and_gelu.ipynb)).
#
# **Budget:** 20 s of CPU time (fast mode 6 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.tensor import grad

rng = np.random.default_rng(9)

# %% [markdown]
# ## The variance of a sum
#
# One output of a dense layer is a sum over its inputs:
#
# $$y_j = \sum_{i=1}^{n_\mathrm{in}} x_i W_{ij}.$$
#
# The weights are drawn independently, with mean 0 and standard deviation $s$. The inputs are fixed numbers.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $n_\mathrm{in}$, $n_\mathrm{out}$ | inputs, outputs of a layer | numbers | `fan_in`, `fan_out` |
# | $s$ | standard deviation of the weights | number | `s` |
# | $x$, $y$ | inputs and outputs of a layer; in a network one example per row | $(n_\mathrm{in})$, $(n_\mathrm{out})$ | `x`, `y` |
# | $W$ | weights | $(n_\mathrm{in}, n_\mathrm{out})$ | `W` |
# | $\kappa$ | limit of a uniform distribution, on $[-\kappa, \kappa]$ | number | `limit` |
# | $m$ | layers of a plain network | number | `layers` |
# | $\ell$ | a layer, from 1 to $m$ | number | |
# | $y_\ell$, $h_\ell$ | results of layer $\ell$ before and after the ReLU; $h_0$ is $x$ | one row per example | `y`, `h` |
# | $c$ | the weights' standard deviation divided by He's | number | `factor` |
# | $\mathrm{rms}(x)$ | root mean square, $\sqrt{\mathrm{mean}(x^2)}$ | number | `rms` |
# | $\mathbf{z}$ | tokens | | `z` |
# | $f$ | a branch of a block, attention or MLP | | |
# | $z$ | logits | one row per example | |
# | $p$ | probabilities, the softmax of the logits | one row per example | |
# | $K$ | classes | number | `K` |
# | $\mathcal{L}$ | the loss | number | `loss` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# **Step 1: forwards.** Variances of independent numbers add, and $x_i W_{ij}$ has the variance $x_i^2 s^2$. So
#
# $$\mathrm{Var}(y_j) = s^2 \sum_i x_i^2 = n_\mathrm{in}\, s^2\, \mathrm{mean}(x^2).$$
#
# The mean of $y_j$ is 0, so its variance is its mean square. So a layer multiplies the root mean square by
# $\sqrt{n_\mathrm{in}}\,s$. The root mean square stays the same if
#
# $$s = 1/\sqrt{n_\mathrm{in}}. \tag{forwards}$$
#
# The formula has the mean *square* of the inputs, not their variance. Pixels from 0 to 255 are large even if they
# hardly vary.
#
# **Step 2: backwards.** The gradient of an input is a sum over the outputs,
# $\mathrm{d}x_i = \sum_j \mathrm{d}y_j W_{ij}$. By the same argument its root mean square stays the same if
#
# $$s = 1/\sqrt{n_\mathrm{out}}. \tag{backwards}$$
#
# (Here we treat $\mathrm{d}y$ as independent of $W$. This is not exact, but close enough.)
#
# **Step 3: a compromise.** The two conditions agree only if $n_\mathrm{in} = n_\mathrm{out}$. [Glorot & Bengio
# 2010](https://proceedings.mlr.press/v9/glorot10a.html) replace the number under the root by the mean of
# $n_\mathrm{in}$ and $n_\mathrm{out}$:
#
# $$s = \sqrt{\frac{2}{n_\mathrm{in} + n_\mathrm{out}}}. \tag{Glorot}$$
#
# **Step 4: from a normal to a uniform distribution.** Numbers drawn uniformly from $[-\kappa, \kappa]$ have the
# variance $\kappa^2/3$. So Glorot's $s$ belongs to the limit
#
# $$\kappa = \sqrt3\, s = \sqrt{\frac{6}{n_\mathrm{in} + n_\mathrm{out}}}.$$
#
# **Step 5: the nonlinearity.** ReLU sets negative numbers to 0. If the distribution is symmetric around 0, this removes
# half of the mean square. [He et al. 2015](https://arxiv.org/abs/1502.01852) compensate with a factor of 2:
#
# $$s = \sqrt{2/n_\mathrm{in}}. \tag{He}$$
#
# **Step 6: many layers.** Suppose every layer of a ReLU network has $c$ times He's $s$. Then each layer multiplies the
# root mean square by $c$, and $m$ layers multiply it by $c^m$. Backwards, the ReLU sets about half of the entries of
# the gradient to 0. With $n_\mathrm{in} = n_\mathrm{out}$, each layer multiplies the gradient by $c$ too.


# %% tags=["yours"]
def rms(x):
    """Root mean square.   x: any shape -> a number"""
    return np.sqrt(np.mean(x * x))


def glorot_limit(fan_in, fan_out):
    """The limit of Glorot's uniform distribution."""
    return math.sqrt(6 / (fan_in + fan_out))


def he_std(fan_in):
    """He's standard deviation of the weights."""
    return math.sqrt(2 / fan_in)


# %% [markdown]
# ## Check it numerically
#
# We take a wide layer, so that averages are exact to a few percent. The inputs have mean 2: their mean square is 5,
# their variance 1. Predict two numbers from `s`, `fan_in`, `fan_out`, `rms(x)` and `rms(dy)`: with step 1 the root mean
# square of the outputs `x @ W`, with step 2 that of the gradient of the inputs, `dy @ W.T`.

# %%
fan_in, fan_out, s = 500, 2000, 0.03
x = 2 + rng.standard_normal((400, fan_in))
dy = rng.standard_normal((400, fan_out))
W = s * rng.standard_normal((fan_in, fan_out))

# %% tags=["yours"]
# root mean square of the outputs, step 1
expected_y = s * math.sqrt(fan_in) * rms(x)
# root mean square of the gradient of the inputs, step 2
expected_dx = s * math.sqrt(fan_out) * rms(dy)

agree("rms of y", rms(x @ W), expected_y, rtol=0.05)
agree("rms of dx", rms(dy @ W.T), expected_dx, rtol=0.05)

# %%
limit = glorot_limit(fan_in, fan_out)
agree("uniform", rng.uniform(-limit, limit, W.shape).std(), math.sqrt(2 / (fan_in + fan_out)), rtol=0.05)
normal = rng.standard_normal(1_000_000)
agree("ReLU", np.mean(np.maximum(normal, 0) ** 2), 0.5, rtol=0.05)
print(f"GELU keeps {np.mean(ops.gelu(normal)[0] ** 2):.2f} of the mean square of normal numbers, ReLU 0.50")

# %% [markdown]
# GELU keeps a little less than ReLU. The MLP of the ViT has Glorot's weights, which do not compensate for this.
# Experiment 2 shows why a block does not need it.
#
# ## Forward and backward through a plain network
#
# A plain network is a chain of layers without biases: $y_\ell = h_{\ell-1}W_\ell$ and $h_\ell = \mathrm{ReLU}(y_\ell)$
# for $\ell = 1 \ldots m$. Backwards, with $\mathrm{d}h_m$ given, each layer computes three gradients:
#
# $$\mathrm{d}y_\ell = \mathrm{d}h_\ell \circ [h_\ell > 0], \qquad \mathrm{d}W_\ell = h_{\ell-1}^\top\,\mathrm{d}y_\ell, \qquad
# \mathrm{d}h_{\ell-1} = \mathrm{d}y_\ell\,W_\ell^\top.$$
#
# The bracket is 1 where the ReLU lets the number pass, and 0 elsewhere.


# %% tags=["yours"]
def plain_forward(x, weights):
    """h_0 = x to h_m: a list of m + 1 arrays.   x: (examples, width), weights: m matrices (width, width)"""
    h = [x]
    for W in weights:
        h.append(np.maximum(h[-1] @ W, 0))
    return h


def plain_backward(h, weights, dh):
    """Gradients of h_0 ... h_m and of W_1 ... W_m: two lists.   dh: that of h_m"""
    dhs, dWs = [dh], []
    for W, before, after in zip(weights[::-1], h[-2::-1], h[:0:-1], strict=True):
        dy = dhs[0] * (after > 0)
        dWs.insert(0, before.T @ dy)
        dhs.insert(0, dy @ W.T)
    return dhs, dWs


# %%
def my_network(x, W1, W2, W3):
    """The last h of three layers, and its pullback."""
    h = plain_forward(x, [W1, W2, W3])

    def vjp(dh):
        dhs, dWs = plain_backward(h, [W1, W2, W3], dh)
        return dhs[0], *dWs

    return h[-1], vjp


error = check_vjp(my_network, rng.standard_normal((4, 6)), *rng.standard_normal((3, 6, 6)))
print(f"largest relative error of the gradients: {error:.1e}")

# %% [markdown]
# ## Experiment 1: a plain network, 30 layers deep
#
# We compare three starts: half of He's $s$, He's $s$ (the control), and twice He's $s$. Each has five seeds. We measure
# the root mean square of the *activations* $h_\ell$ after each layer, of their gradients, and of the gradients of the
# weights.
#
# **Predict first.** With half of He's $s$, how large are the activations after 30 layers? On its way to the *first*
# matrix, the gradient passes 29 layers, on its way to the *last* matrix none. Which matrix has the larger gradient?

# %%
layers, width, examples = 30, full_or_fast(256, 64), 64
factors = {"half of He's": 0.5, "He's": 1.0, "twice He's": 2.0}
seeds = range(5)


def measure(factor, seed):
    """Root mean squares of h_0 ... h_m, of their gradients, and of the gradients of W_1 ... W_m."""
    rng = np.random.default_rng(seed)
    weights = factor * he_std(width) * rng.standard_normal((layers, width, width))
    x, dh = rng.standard_normal((2, examples, width))
    h = plain_forward(x, weights)
    return [[rms(array) for array in arrays] for arrays in (h, *plain_backward(h, weights, dh))]


measured = {}  # factor -> three arrays, (seeds, m + 1) or (seeds, m)
for name, factor in factors.items():
    measured[name] = [np.array(values) for values in zip(*(measure(factor, seed) for seed in seeds), strict=True)]


# %%
def show_depth(measured, titles, first=0):
    """One panel per quantity, one line per start: the geometric mean over the seeds, and the range.   first: layer of column 0."""
    figure, axes = plt.subplots(1, len(titles), figsize=(11, 3.8), layout="constrained", sharex=True)
    for (name, arrays), colour in zip(measured.items(), ("C0", "C2", "C3"), strict=True):
        for axis, values, title in zip(axes, arrays, titles, strict=True):
            depth = np.arange(values.shape[1]) + first + (values.shape[1] < arrays[0].shape[1])
            axis.fill_between(depth, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.3)
            axis.semilogy(depth, np.exp(np.log(values).mean(axis=0)), color=colour, label=name)
            axis.set(title=title, xlabel="layer")
    axes[0].set_ylabel("root mean square")
    return figure, axes


figure, axes = show_depth(measured, ("activations", "gradients of the activations", "gradients of the weights"))
for factor in factors.values():
    (expected,) = axes[0].semilogy(factor ** np.arange(layers + 1), "k:", linewidth=1.5)
expected.set_label("expected, $c^\\ell$")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %%
for name, factor in factors.items():
    h, dh, dW = (np.exp(np.log(values).mean(axis=0)) for values in measured[name])  # means over the seeds
    size = f"{h[-1]:.1f}" if factor == 1 else f"{h[-1]:.1e}"
    print(f"{name:<13} activations after {layers} layers: {size} (expected {factor**layers:.1e})")
    print(f"{'':<13} gradient of the input, relative to that of the output: {dh[0] / dh[-1]:.1e}")
    print(f"{'':<13} gradient of the first matrix {dW[0]:.1e}, of the last {dW[-1]:.1e}")

# %% [markdown]
# **In the stored run** the activations after 30 layers have size 1.2 with He's $s$. With half of He's $s$ they shrink
# by the factor 1.1e-09; with twice He's $s$ they grow by 1.3e+09. The first matrix has nearly the same gradient as the
# last, for half of He's 1.1e-08 and 1.2e-08.
#
# The gradient of $W_\ell$ is a product. Forwards, $h_{\ell-1}$ has grown by $c^{\ell-1}$. Backwards, $\mathrm{d}y_\ell$
# has grown by $c^{m-\ell}$. Together that is $c^{m-1}$ for *every* layer.
#
# ## Experiment 2: blocks with a residual stream
#
# Now the ViT. A block *adds* to its tokens: $\mathbf{z} + f(\mathrm{LN}(\mathbf{z}))$. Every branch $f$ reads
# normalised tokens (Eq. 2 and 3). The tokens on their way through all blocks are called the *residual stream*; notebook
# [10](10_residual_stream.ipynb) is about it. Two things follow. However large the stream is, LN gives the branch inputs
# of root mean square 1. And a branch that adds almost nothing leaves the stream and its gradient unchanged.
#
# We multiply all weight matrices of 12 blocks by $\frac13$, by 1 (the published start, the control) and by 3. Then we
# measure the stream and its gradient after each block. The head is random here, because a zero head sends no gradient
# back.
#
# **Predict first.** A branch has two matrices in a row: the projection to the values and $\mathbf{U}_{msa}$, or the two
# matrices of the MLP. In a plain chain of 12 blocks, three times larger matrices would make the signal $3^{48} \approx
# 8 \cdot 10^{22}$ times larger. How much larger do they make the stream? And which start has the largest gradient after
# the last block?

# %%
train, test = digits()
K = len(train.classes)


def small_vit(factor, depth, seed):
    """A ViT for the digits, with the weight matrices of its blocks multiplied by a factor."""
    config = ViTConfig(
        image_size=8, patch_size=2, width=32, depth=depth, heads=4, mlp_width=64, num_classes=K, channels=1
    )
    model = ViT(config, seed)
    for block in model.blocks:
        for layer in (block.attention.qkv, block.attention.out, block.mlp.hidden, block.mlp.out):
            layer.weight.data *= factor
    return model


def random_head(model, seed):
    """Give the head random weights: with zeros there is no gradient behind it."""
    shape = model.head.weight.shape
    model.head.weight.data += np.random.default_rng(seed).standard_normal(shape) / math.sqrt(shape[0])
    return model


# %%
images, labels = normalize(train.images[:64]), train.labels[:64]


def stream(factor, seed, depth=12):
    """Root mean square of the stream after each block, of its gradient, and of the [class] token alone: three lists."""
    model, tap = random_head(small_vit(factor, depth, seed), seed), {}
    loss = F.cross_entropy(model(images, tap=tap), labels)
    places = [tap[f"block{i}/output"] for i in range(depth)]
    return [rms(z.data) for z in places], [rms(dz) for dz in grad(loss, places)], [rms(z.data[:, 0]) for z in places]


of_blocks, of_class_token = {}, {}
for name, factor in {"a third": 1 / 3, "published": 1.0, "three times": 3.0}.items():
    *of_blocks[name], of_class_token[name] = (
        np.array(values) for values in zip(*(stream(factor, seed) for seed in seeds), strict=True)
    )

figure, axes = show_depth(of_blocks, ("the stream", "gradient of the stream"), first=1)
axes[0].set_yticks((1, 2, 5, 10, 20, 50), ("1", "2", "5", "10", "20", "50"))
axes[0].minorticks_off()
for axis in axes:
    axis.set_xlabel("after block")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %%
for name, values in of_blocks.items():
    z, dz, of_class = (np.exp(np.log(array).mean(axis=0)) for array in (*values, of_class_token[name]))
    print(f"{name:<12} stream after block 12: {z[-1]:5.2f}, its [class] token alone {of_class[-1]:5.2f}")
    print(f"{'':<12} gradient after block 1: {dz[0]:.1e}, after block 12: {dz[-1]:.1e}, ratio {dz[0] / dz[-1]:4.1f}")

# %% [markdown]
# **In the stored run** matrices three times as large give a stream of 35.45 after 12 blocks, against 3.34 with the
# published start: only about ten times as much. A third gives 0.81. On its way back from block 12 to block 1 the
# gradient grows by the factor 54.2 with large matrices, 3.3 with the published start and 2.1 with small matrices.
#
# Look at the gradient after block 12, too. It is largest for the *smallest* matrices. The last LN divides the [class]
# token by its standard deviation, and it divides the gradient by the same number. With small matrices the [class] token
# has hardly grown, so its gradient is large.
#
# (We begin after block 1. Before it the [class] token holds only its position, of size 0.02. LN enlarges the token and
# its gradient about fifty times. And after the last block only the [class] token has a gradient, whatever the start.)
#
# ## Experiment 3: does it matter for training?
#
# AdamW divides every gradient by its recent size plus $\epsilon = 10^{-8}$ (notebook [12](12_optimisers.ipynb)). So
# small gradients do no harm by themselves, unless they are as small as $\epsilon$. To find out, we train on the digits:
# the plain network, with 20 layers of width 64, and a ViT of three blocks. The plain network has a random head, the ViT
# its zero head. Each run has 50 updates with 32 images and no weight decay. A start may look bad only because the
# learning rate does not suit it. So every start gets four rates and three seeds, and we compare the starts at their
# best rates.
#
# **Predict first.** A network that guesses has the loss $\log 10 \approx 2.30$. Which of the six starts end within 0.2
# of it, or above it?


# %%
class Plain(Module):
    """Layers of width 64 with ReLU between, and a head.   images: (B, 8, 8, 1) -> logits (B, 10)"""

    def __init__(self, factor, seed, layers=20):
        rng = np.random.default_rng(seed)

        def scaled(rng, fan_in, fan_out):
            return factor * he_std(fan_in) * rng.standard_normal((fan_in, fan_out))

        self.layers = [Linear(64, 64, rng, weight=scaled) for _ in range(layers)]
        self.head = Linear(64, K, rng)

    def forward(self, images, rng=None):
        h = self.tensor(images).reshape(len(images), 64)
        for layer in self.layers:
            h = F.relu(layer(h))
        return self.head(h)


starts = {
    "plain, half of He's": lambda seed: Plain(0.5, seed),
    "plain, He's": lambda seed: Plain(1.0, seed),
    "plain, twice He's": lambda seed: Plain(2.0, seed),
    "ViT, a third": lambda seed: small_vit(1 / 3, 3, seed),
    "ViT, published": lambda seed: small_vit(1.0, 3, seed),
    "ViT, three times": lambda seed: small_vit(3.0, 3, seed),
}
rates = full_or_fast((1e-3, 3e-3, 1e-2, 3e-2), (3e-3, 1e-2))
updates = full_or_fast(50, 10)


# %%
def final_loss(make, rate, seed):
    """Mean training loss over the last 10 updates."""
    history = fit(make(seed), train, updates, batch_size=32, lr=rate, weight_decay=0.0, seed=seed)
    return np.mean([result.loss for result in history[-10:]])


trained_seeds = range(full_or_fast(3, 2))
losses = {
    name: np.array([[final_loss(make, rate, seed) for seed in trained_seeds] for rate in rates])
    for name, make in starts.items()
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
for (name, values), style in zip(losses.items(), ("C0o-", "C2s-", "C3^-") * 2, strict=True):
    axis = axes[int(name.startswith("ViT"))]
    above = [rate for rate, value in zip(rates, values.mean(axis=1), strict=True) if value > 4.5]
    label = name.partition(", ")[2] + (f" (above this frame up to {max(above):g})" if above else "")
    axis.semilogx(rates, values.mean(axis=1), style, label=label)
    axis.fill_between(rates, values.min(axis=1), values.max(axis=1), color=style[:2], alpha=0.2)
for axis, title in zip(axes, ("plain network, 20 layers", "ViT, 3 blocks"), strict=True):
    axis.axhline(math.log(K), color="black", linestyle=":", linewidth=1.5)
    axis.text(rates[0], math.log(K) + 0.08, "log 10: guessing", fontsize=10)
    axis.set(title=title, xlabel="learning rate", ylim=(0, 4.5))
    axis.set_xticks(rates, [f"{rate:g}" for rate in rates], minor=False)
    axis.minorticks_off()
    axis.legend(loc="upper left")
axes[0].set_ylabel("training loss at the end")
plt.show()

# %%
for name, values in losses.items():
    best = values.mean(axis=1).argmin()
    error = values[best].std(ddof=1) / math.sqrt(len(trained_seeds))
    print(f"{name:<20} best rate {rates[best]:<6g} loss {values[best].mean():.2f} +- {error:.2f}")
print(f"(+-: standard error over {len(trained_seeds)} seeds; guessing has {math.log(K):.2f})")
plain = Plain(0.5, seed=0)
first_gradient = rms(grad(F.cross_entropy(plain(images), labels), [plain.layers[0].weight])[0])
print(f"half of He's: the first matrix has a gradient of {first_gradient:.1e} at the start; AdamW's epsilon is 1e-08")

# %% [markdown]
# **In the stored run** the right start is best in both networks. The plain network ends at 1.31 +- 0.19 with He's $s$,
# at 2.20 +- 0.06 with half and at 2.75 +- 0.46 with twice He's. Neither of the last two is clearly below guessing,
# 2.30, although we took the best of their rates. With half of He's, the gradients are as small as AdamW's $\epsilon$:
# 1.3e-08. The ViT ends at 1.61 +- 0.10 with the published start, at 2.14 +- 0.01 with a third and at 1.85 +- 0.02 with
# three times as large matrices.
#
# Both starts with large weights do best at the largest rate, so a larger one might help them.
#
# ## How the ViT starts
#
# The published code chooses a distribution for every kind of parameter, and the library follows it. `lecun_normal` is
# step 1 with a normal distribution that is cut off at two standard deviations. Cutting makes it narrower by the factor
# 0.8796, so the library first widens it.

# %%
show_source(init.lecun_normal)

# %%
show_source(init.xavier_uniform)

# %%
show_source(init.three_xavier)

# %% [markdown]
# We draw one block of the size of ViT-B/16 and measure. The expected standard deviations are $1/\sqrt{n_\mathrm{in}}$
# for the patch embedding $\mathbf{E}$, and Glorot's for the other matrices.

# %%
config = ViTConfig(width=768, depth=1, heads=12)
model = ViT(config, seed=0)
block = model.blocks[0]
D, M = config.width, config.mlp_width
rows = {
    "patch embedding": (model.patch_embed.projection.weight, 1 / math.sqrt(16 * 16 * 3)),
    "queries, keys, values": (block.attention.qkv.weight, math.sqrt(2 / (D + D))),
    "U_msa": (block.attention.out.weight, math.sqrt(2 / (D + D))),
    "MLP, first": (block.mlp.hidden.weight, math.sqrt(2 / (D + M))),
    "MLP, second": (block.mlp.out.weight, math.sqrt(2 / (M + D))),
    "position embedding": (model.position_embedding, 0.02),
    "[class] token": (model.class_token, 0.0),
    "head": (model.head.weight, 0.0),
}
print("parameter              shape              measured  expected")
for name, (tensor, expected) in rows.items():
    print(f"{name:<22} {tensor.shape!s:<18} {tensor.data.std():.4f}    {expected:.4f}")

# %% [markdown]
# (Biases start at 0, those of the MLP at random numbers of size $10^{-6}$. LN starts with scale 1 and bias 0.)
#
# **Truncated normal, 0.02.** BERT and many later Transformers, some ViTs among them, draw every matrix with the same
# $s = 0.02$, from a normal distribution that is cut off. Step 1 would choose this $s$ for 2500 inputs, because
# $0.02 = 1/\sqrt{2500}$. In the table, Glorot's $s$ for the MLP of ViT-B is close to it. For the MLP of our small ViT,
# with widths 32 and 64, Glorot's $s$ is 0.14, seven times as large.
#
# **The zero head.** The last layer starts at zero. The paper says so for fine-tuning (section 3.2), and the published
# code always does it. Then all logits $z$ are equal, every class has $p = 1/K$, and the first loss is
#
# $$\mathcal{L} = -\log \tfrac1K = \log K,$$
#
# for any images and any blocks. So look at the first loss: it is the cheapest test of a training program. A head with
# random weights prefers some classes before it has learned anything, which makes the first loss larger. The zeros have
# a price: in the first update only the head has a gradient, because the gradient of the features is
# $\mathrm{d}z\,W_\mathrm{head}^\top = 0$.

# %%
for name, model in {"zero head": small_vit(1, 3, 0), "random head": random_head(small_vit(1, 3, 0), 0)}.items():
    loss = F.cross_entropy(model(images), labels)
    gradients = dict(zip(dict(model.named_parameters()), grad(loss, model.parameters()), strict=True))
    moving = [parameter for parameter, gradient in gradients.items() if np.any(gradient != 0)]
    print(
        f"{name:<12} loss {loss.data:.3f} (log {K} = {math.log(K):.3f}), {len(moving)} of {len(gradients)} parameters have a gradient"
    )

# %% [markdown]
# ## A broken start, diagnosed
#
# Five models for the digits, with three blocks each. One starts as it should; four were broken on purpose:
#
# - **equal units**: the 64 hidden units of an MLP are all alike. The first matrix has equal columns, the second has
#   equal rows.
# - **forgotten root**: the weights of queries, keys and values are drawn from a standard normal distribution, without
#   the factor $1/\sqrt{D}$.
# - **dead branch**: both matrices of every MLP start at zero, and its biases too.
# - **loud head**: the head is drawn from a standard normal distribution.
#
# We measure five numbers: the first loss, the size of the stream after the last block, the largest attention weight of
# a query (mean over the first block; equal weights would be 1/17), the gradient of the first MLP matrix, and the number
# of distinct columns of that matrix. For the gradient we make the head random. The letters A to E are in random order.
#
# **Predict first.** Which of the five numbers change with each fault? Which fault can you recognise by one number
# alone?


# %%
def equal_units(model):
    for block in model.blocks:
        block.mlp.hidden.weight.data[:] = block.mlp.hidden.weight.data[:, :1]
        block.mlp.out.weight.data[:] = block.mlp.out.weight.data[:1]
        block.mlp.hidden.bias.data[:] = 0


def forgotten_root(model):
    for block in model.blocks:
        block.attention.qkv.weight.data[:] = np.random.default_rng(0).standard_normal((32, 96))


def dead_branch(model):
    for block in model.blocks:
        for layer in (block.mlp.hidden, block.mlp.out):
            layer.weight.data[:] = layer.bias.data[:] = 0


def loud_head(model):
    model.head.weight.data[:] = np.random.default_rng(0).standard_normal((32, K))


# %%
def report(model):
    """First loss, stream after the last block, largest attention weight, gradient of the first MLP matrix, distinct columns."""
    first_loss = F.cross_entropy(model(images), labels).data
    model.head.weight.data[:] = 0
    tap, hidden = {}, model.blocks[0].mlp.hidden.weight
    loss = F.cross_entropy(random_head(model, 0)(images, tap=tap), labels)
    sure = tap["block0/attention_weights"].max(axis=-1).mean()
    units = len(np.unique(hidden.data, axis=1).T)
    return first_loss, rms(tap["block2/output"].data), sure, rms(grad(loss, [hidden])[0]), units


print("model  first loss  stream  largest attention weight  gradient of the MLP  distinct columns")
faults = [None, equal_units, forgotten_root, dead_branch, loud_head]
for letter, i in zip("ABCDE", np.random.default_rng(1).permutation(len(faults)), strict=True):
    fault = faults[i]
    model = small_vit(1.0, 3, seed=0)
    if fault:
        fault(model)
    first_loss, size, sure, gradient, units = report(model)
    print(f"  {letter}  {first_loss:10.2f} {size:9.2f} {sure:18.2f} {gradient:24.4f} {units:16d}")

# %% [markdown]
# Decide which is which before you read on.
#
# **In the stored run** B is the healthy model. A starts at a loss of 10.65 instead of 2.30: the loud head. In D the
# largest attention weight is 0.88 instead of 0.28: the forgotten root. C and E have one distinct column instead of 64,
# so this number alone cannot separate them. In E the gradient is 0.0000: the dead branch. In C it is not zero: the
# equal units. They also get equal gradients, so training keeps them equal.
#
# ## Where this goes wrong in practice
#
# - **One draw for packed matrices.** Glorot's formula for a $(D, 3D)$ matrix gives $\sqrt{2/(4D)}$, smaller by the
#   factor $\sqrt2$ than for three $(D, D)$ matrices. The library draws three (`three_xavier`).
# - **Inputs and outputs exchanged.** PyTorch stores the weights of a dense layer as (out, in), NumPy code mostly as
#   (in, out). So `shape[0]` is the number of outputs in PyTorch.
# - **A "truncated" normal that is not truncated.** PyTorch's `trunc_normal_` by default cuts at the numbers $-2$ and
#   $2$, not at two standard deviations. With $s = 0.02$ these numbers are 100 standard deviations away.
# - **Inputs that are not normalised.** Pixels from 0 to 255 make the first layer's outputs a hundred times too large.
# - **Everything zero.** One zero matrix in a chain can learn. Two in a row without biases get no gradient and stay at
#   zero. (With the library's biases of size $10^{-6}$ they would get a tiny one. `dead_branch` sets the biases to zero,
#   too.)
# - **A falling loss taken as proof.** In experiment 3 both wrong starts of the ViT learn. Look at the first loss and at
#   the sizes by depth.
#
# ## Exercises
#
# Each cell has a place for your answer; the cell tells you at once whether it is right. `hint("9b.1")` gives up to
# three hints, one per call.
#
# **9b.1 (two lines).** A plain ReLU network has 50 layers of equal width, with Glorot's weights instead of He's. By
# what factor does the root mean square change from the input of the first layer to the output of the last? Give the
# number that the derivation predicts.

# %%
answer = None  # your answer here: a number

check("9b.1", answer)

# %% [markdown]
# **9b.2 (five minutes).** A head for 1000 classes starts with weights 0 and the bias $-10$ for every class. The loss is
# softmax cross-entropy with label smoothing $\alpha_\mathrm{smooth} = 0.1$ (notebook
# [06b](06b_smoothing_sigmoid_temperature.ipynb)). What is the first loss, to four decimals?

# %%
answer = None  # your answer here: a number

check("9b.2", answer)

# %% [markdown]
# **9b.3 (ten minutes).** *Leaky ReLU* is $x$ for $x > 0$ and $ax$ otherwise. Which $s$ keeps the mean square of the
# activations the same, layer after layer? The function gets several slopes $a$ at once.


# %%
def leaky_std(fan_in, a):
    """fan_in: number of inputs, a: array of slopes for negative numbers -> s for each of them, of the shape of a"""
    ...  # your answer here


check("9b.3", leaky_std)

# %% [markdown]
# **9b.4 (ten minutes).** Now the weights are fixed and the inputs are random. The features of `x` are independent, with
# means `mean` and standard deviation 1. For each output of $y = xW$, what is its standard deviation, and what is its
# root mean square?


# %%
def size_of_outputs(W, mean):
    """W: (fan_in, fan_out), mean: (fan_in,) -> standard deviation and root mean square of each output, (fan_out,) each"""
    ...  # your answer here


check("9b.4", size_of_outputs)

# %% [markdown]
# **9b.5 (half an hour).** Measure instead of using a formula. Go through the layers of a plain ReLU network from the
# first to the last. Multiply each matrix by one number, so that its outputs, before the ReLU, have root mean square 1
# on the given examples. The ReLU of these outputs is the input of the next layer. ([Mishkin & Matas
# 2015](https://arxiv.org/abs/1511.06422) start very deep networks like this, from orthogonal matrices.) Return the
# scaled matrices.


# %%
def scaled_by_data(x, W):
    """x: (examples, width), W: (m, width, width), one matrix per layer -> the scaled matrices (m, width, width)"""
    ...  # your answer here


check("9b.5", scaled_by_data)

# %% [markdown]
# Next: [10, the residual stream](10_residual_stream.ipynb).

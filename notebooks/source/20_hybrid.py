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
# # 20 The hybrid
#
# A ViT knows little about images: the pixels of one patch belong together, and all patches are treated alike; which patches are neighbours it has to learn. A
# convolution knows its neighbours by construction. The **hybrid** of the paper's section 3.1 ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2))
# lets a convolutional network, the **stem**, look first, and makes tokens of its *feature map* instead of the pixels. At the end you will be able to
#
# - compute a convolution as loops, and as one matrix product (**im2col**), and derive both of its gradients,
# - say why a patch of 1 × 1 of a feature map is as good a token as a patch of 16 × 16 of an image,
# - compare a hybrid and a plain ViT at about equal arithmetic.
#
# You need notebooks [02](02_shapes.ipynb), [03](03_patches.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 170 s of CPU time (fast mode 6 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, fit, full_or_fast, photographs, show_source
from minivit.models import ViT, ViTConfig
from minivit.models.hybrid import ResNetStem
from minivit.tensor import Tensor, grad, tape

rng = np.random.default_rng(20)

# %% [markdown]
# ## The equations
#
# A convolution looks at the image through a window of $k \times k$ pixels, moved by $s$ pixels from one place to the next (the **stride**). At every place it
# takes the same linear function of what it sees:
#
# $$y_{ije} = \sum_{u=0}^{k-1}\sum_{v=0}^{k-1}\sum_{c} x_{si+u,\;sj+v,\;c}\; W_{uvce}.$$
#
# The hybrid puts its output in the place of the image in Eq. 1 of the paper, where $\mathbf{x}_p^i\mathbf{E}$ projects patch $i$ to a token. With patches of
# $1 \times 1$ there is one token per place of the feature map:
#
# $$\mathbf{z}_0 = [\mathbf{x}_\text{class};\; \mathbf{x}_p^1\mathbf{E};\; \ldots;\; \mathbf{x}_p^N\mathbf{E}] + \mathbf{E}_{pos}, \qquad \mathbf{x}_p^i = \text{place } i \text{ of } \mathrm{stem}(\mathbf{x}). \tag{Eq. 1}$$
#
# Everything else is as in notebook [04](04_tokens_and_positions.ipynb), the position embeddings too.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $x$ | an image or feature map, $C$ channels | (rows, columns, $C$) | `x` |
# | $y$ | result, $E$ channels | (rows', columns', $E$) | `y` |
# | $W$ | the window's weights | $(k, k, C, E)$ | `W` |
# | $k$, $s$ | side of the window, stride | numbers | `k`, `s` |
# | $i, j$ and $u, v$ | row and column of $y$, and in the window | numbers | `i`, `j`, `u`, `v` |
# | $c$, $e$ | channel of $x$, of $y$ | numbers | `c`, `e` |
# | $N$, $D$, $P$ | patches, width, side of a patch of the feature map | numbers | `config` |
# | $\mathbf{E}$ (bold) | projection of a patch to a token; here $C$ counts the feature map's channels | $(P^2 C, D)$ | `patch_embed` |
# | $\mathrm{d}x, \mathrm{d}W, \mathrm{d}y$ | gradients of the loss | as $x$, $W$, $y$ | `dx`, `dW`, `dy` |
#
# ## Forward, as loops

# %%
rows, columns, C, E, k, s = 7, 9, 2, 3, 3, 2
x = rng.standard_normal((rows, columns, C))
W = rng.standard_normal((k, k, C, E))


def convolution_loops(x, W, s):
    """Windows that lie inside the image.   x: (rows, columns, C), W: (k, k, C, E) -> y (rows', columns', E)."""
    k, _, C, E = W.shape
    y = np.zeros(((x.shape[0] - k) // s + 1, (x.shape[1] - k) // s + 1, E))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            for e in range(E):
                for u in range(k):
                    for v in range(k):
                        for c in range(C):
                            y[i, j, e] += x[s * i + u, s * j + v, c] * W[u, v, c, e]
    return y


y_loops = convolution_loops(x, W, s)
y_loops.shape

# %% [markdown]
# ## Forward, as one product
#
# Write what each window sees as a row of a matrix, $k^2C$ numbers long. This is called **im2col**. Then the convolution is a matrix product with $W$, whose
# first three axes are flattened in the same order: the same thing that notebook [03](03_patches.ipynb) did with patches, only that windows may overlap. If
# $s = k$ they do not, and the convolution *is* the patch embedding.


# %%
def im2col(x, k, s):
    """What every window sees: (places, k * k * C)."""
    places = [(i, j) for i in range(0, x.shape[0] - k + 1, s) for j in range(0, x.shape[1] - k + 1, s)]
    return np.stack([x[i : i + k, j : j + k].reshape(-1) for i, j in places])


seen = im2col(x, k, s)
y = (seen @ W.reshape(-1, E)).reshape(y_loops.shape)
agree("y", y, y_loops)

# %% [markdown]
# ## Backward, step by step
#
# **Step 1: the product** $y = \mathrm{seen} \cdot W$. As for every product (notebook 02):
#
# $$\mathrm{d}W = \mathrm{seen}^\top\, \mathrm{d}y, \qquad \mathrm{d}\,\mathrm{seen} = \mathrm{d}y\; W^\top.$$

# %%
dy = rng.standard_normal(y.shape)
dW = (seen.T @ dy.reshape(-1, E)).reshape(W.shape)
dseen = dy.reshape(-1, E) @ W.reshape(-1, E).T

tseen, tW = Tensor(seen, requires_grad=True), Tensor(W, requires_grad=True)
ty = tseen @ tW.reshape(-1, E)
engine = grad(ty, [tseen, tW], dy.reshape(-1, E))
agree("dseen", dseen, engine[0])
agree("dW", dW, engine[1])

# %% [markdown]
# **Step 2: im2col.** It copies each pixel into every window that sees it. What is copied several times collects the gradients of all its copies: we *add* each
# row of $\mathrm{d}\,\mathrm{seen}$ to the place that it came from.


# %%
def col2im(dseen, shape, k, s):
    """The pullback of im2col: every window's gradient is added to where its pixels came from."""
    dx = np.zeros(shape)
    places = [(i, j) for i in range(0, shape[0] - k + 1, s) for j in range(0, shape[1] - k + 1, s)]
    for (i, j), row in zip(places, dseen, strict=True):
        dx[i : i + k, j : j + k] += row.reshape(k, k, shape[2])
    return dx


dx = col2im(dseen, x.shape, k, s)

tx = Tensor(x[None], requires_grad=True)
tW = Tensor(W, requires_grad=True)
ty = F.conv2d(tx, tW, s, "valid")  # images have a batch axis in the library
agree("y", y, ty.data[0])
for name, mine, engine in zip(("dx", "dW"), (dx, dW), grad(ty, [tx, tW], dy[None]), strict=True):
    agree(name, mine, engine.reshape(mine.shape))

# %% [markdown]
# How often is a pixel seen? The pullback of ones answers: it counts the windows over each pixel. With a stride the counts are uneven.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for axis, (window, stride) in zip(axes, ((3, 1), (3, 2), (4, 4)), strict=True):
    columns_of_ones = np.ones_like(im2col(np.zeros((12, 12, 1)), window, stride))
    counts = col2im(columns_of_ones, (12, 12, 1), window, stride)[..., 0]
    drawn = axis.imshow(counts, vmin=0, vmax=9, cmap="viridis")
    axis.set(title=f"window {window}, stride {stride}", xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes, label="windows that see the pixel")
plt.show()


# %% [markdown]
# The right picture is the patch embedding: every pixel is seen once. In the middle picture some pixels count four times as much as others; such a checkerboard
# can appear in gradients of real networks. Its last row and column are seen by no window, for with stride 2 the windows do not come out even. This is one
# reason for padding.
#
# ## Check it numerically


# %%
def my_convolution(x, W):
    """Convolution with windows inside the image, stride 2.   x: (rows, columns, C), W: (k, k, C, E)."""
    k, E = W.shape[0], W.shape[3]
    seen = im2col(x, k, 2)
    count = [(n - k) // 2 + 1 for n in x.shape[:2]]

    def vjp(dy):
        rows = dy.reshape(-1, E)
        return col2im(rows @ W.reshape(-1, E).T, x.shape, k, 2), (seen.T @ rows).reshape(W.shape)

    return (seen @ W.reshape(-1, E)).reshape(*count, E), vjp


error = check_vjp(my_convolution, x, W, dtypes=("float64",))  # float64 only: col2im makes nothing else
print(f"largest relative error of the gradients: {error:.1e}")

# %% [markdown]
# ## The library
#
# `ops.conv2d` needs less memory: instead of one large matrix it makes $k^2$ products, one for each place $(u, v)$ in the window, of all pixels that lie there.
# The sums are the same. The formula above is `padding="valid"`. The stem uses `"same"`: zeros around the image, so that stride 2 halves its side (rounded up).

# %%
show_source(ops.conv2d)

# %% [markdown]
# Five words for the next piece of source. A **max-pool** takes the largest value in each window, channel by channel. **ReLU** is $\max(x, 0)$. **GroupNorm**
# is LayerNorm over a group of channels and all places of an image (notebook [05](05_layer_norm.ipynb)). **StdConv** is a convolution that first subtracts from
# the weights of each output channel their mean and divides by their standard deviation. A **bottleneck unit** is three convolutions, $1 \times 1$,
# $3 \times 3$ and $1 \times 1$, with a residual connection.

# %%
show_source(ResNetStem)

# %% [markdown]
# The stem of the published hybrids is made from a ResNet: the **root**, a $7 \times 7$ convolution and a max-pool, each with stride 2; then stages of units.
# In minivit it is a field of the configuration: `stem` counts the units of each stage. (A ResNet-50 has stages of 3, 4, 6 and 3 units. For a map of
# $14 \times 14$ the last stage is left out and its units go into the third, which then has 9: section 4.1.)

# %%
for name in ("B/16", "R50+B/16"):
    config = ViTConfig.variant(name)
    model = ViT(config, seed=None)  # seed=None: parameters that take no memory
    print(
        f"{name:<9} {config.description}, patches of {config.patch_size} on {config.map_size}, {model.num_parameters() / 1e6:.1f} M parameters"
    )

# %% [markdown]
# This stem halves the image four times. Its $14 \times 14$ places lie 16 pixels apart, as the patches of B/16 do, and each depends on far more than
# $16 \times 16$ pixels (its *receptive field*, exercise 20.2). So one place of the map has seen what one patch shows, and its neighbourhood: with a patch size
# of $1 \times 1$ the hybrid has as many tokens as B/16.
#
# ## Experiment: hybrid against ViT at about equal arithmetic
#
# We count the arithmetic of a forward pass from the tape (the engine's record of the operations, notebook [11](11_vit.ipynb)): $2nkm$ FLOP for a product of
# $(n, k)$ and $(k, m)$; of a convolution, such a product for each place in the window. Only products are counted, not normalisation, ReLU and max-pool.
#
# With `stem=()` there are no stages: the hybrid's stem is the root alone. Our "hybrid" has one convolution, and is far from the paper's.


# %%
def flop_per_image(config):
    """Arithmetic of the products in a forward pass of one image, from the shapes on the tape."""
    model = ViT(config)
    logits = model(np.zeros((1, *config.image_size, 3), np.float32), tap={})
    flop = 0
    for node in tape(logits):
        first, out = node.input_shapes[0], node.output_shape
        if node.op in ("linear", "linear_gelu"):
            flop += 2 * np.prod(out) * first[-1]
        elif node.op == "attention":
            flop += 4 * np.prod(out) * first[1]
        elif node.op == "conv2d":
            window = node.input_shapes[1]
            flop += 2 * np.prod(out) * window[0] * window[1] * window[2]
    return int(flop)


common = {"image_size": 32, "width": 64, "heads": 4, "num_classes": 10}
configs = {
    "ViT, 8 x 8 pixels": ViTConfig(patch_size=8, depth=6, **common),
    "hybrid, 2 x 2 places": ViTConfig(patch_size=2, depth=4, stem=(), stem_width=32, **common),
}
costs = {name: flop_per_image(config) for name, config in configs.items()}
for name, config in configs.items():
    parameters = ViT(config).num_parameters()
    print(f"{name:<21} {costs[name] / 1e6:5.2f} MFLOP, {parameters:7,} parameters, {config.num_tokens} tokens")
plain, hybrid = costs.values()
print(f"the hybrid has {hybrid / plain:.2f} of the ViT's arithmetic")

# %% [markdown]
# The hybrid has fewer blocks, to pay for its stem; the feature map has $8 \times 8$ places, and patches of $2 \times 2$ of them make as many tokens as patches
# of $8 \times 8$ pixels.

# %%
photos, test_photos = photographs(full_or_fast(5000, 300), full_or_fast(2000, 200))
seeds, rates = full_or_fast((range(2), (1e-3, 3e-3)), (range(2), (3e-3,)))
steps, every = full_or_fast((400, 80), (4, 2))


def curve(config, lr, seed):
    """Test accuracies on the way, one after every `every` steps."""
    model, accuracies = ViT(config, seed), []

    def measure(done):
        if done % every == 0:
            accuracies.append(accuracy(model, test_photos))

    fit(model, photos, steps, batch_size=64, lr=lr, seed=seed, watch=measure)
    return accuracies


curves = {}
for name, config in configs.items():
    by_rate = {lr: np.array([curve(config, lr, seed) for seed in seeds]) for lr in rates}
    best = max(rates, key=lambda lr: by_rate[lr][:, -1].mean())
    curves[name] = by_rate[best]
    ends = ", ".join(f"{values[:, -1].mean():.1%} at {lr:g}" for lr, values in by_rate.items())
    print(f"{name:<21} by learning rate: {ends}")

# %% [markdown]
# Each model is shown at the better of the two rates: at a single one we would compare how well that rate suits each (notebook
# [19](19_class_token_or_pooling.ipynb)). The better of two is always at the edge of what was tried, so neither model may have its best; and the choice was
# made on the test images, so the accuracies are a little too high.

# %%
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for (name, values), style in zip(curves.items(), ("o-", "s--"), strict=True):
    arithmetic = 3 * costs[name] * 64 * every * np.arange(1, values.shape[1] + 1) / 1e9
    error = values.std(axis=0, ddof=1) / np.sqrt(len(seeds))
    axes.errorbar(arithmetic, values.mean(axis=0), error, fmt=style, capsize=3, label=name)
axes.axhline(0.1, color="grey", linestyle=":", label="guessing")
axes.set(
    xlabel="arithmetic of training (GFLOP)",
    ylabel="test accuracy",
    title=f"{photos.name}, {len(photos)} images, mean and standard error of {len(seeds)} seeds",
)
axes.legend()
plt.show()
for name, values in curves.items():
    error = values[:, -1].std(ddof=1) / np.sqrt(len(seeds))
    p = values[:, -1].mean()
    of_images = np.sqrt(p * (1 - p) / len(test_photos))
    print(f"{name:<21} {p:.1%} after {steps} steps; ± {error:.1%} (seeds), ± {of_images:.1%} (test images)")

# %% [markdown]
# (A step costs about three forward passes: the backward pass has two products for each one of the forward pass.)
#
# The paper's finding (section 4.4, Figure 5): hybrids are slightly better at small computational budgets, and the difference vanishes for larger models. Look
# at the two last lines to see whether ours shows it: after equal steps, hence at the unequal arithmetic printed above; the figure compares at equal
# arithmetic. The curves may cross: look where. An error from two seeds can be several times too small (see how the bars jump along a curve), and another set
# of test images would move each accuracy as well, the difference by less, since both models see the same images.
#
# If the hybrid is better, this experiment does not say by what: the convolution's overlapping windows, its normalisation, or the max-pool.
#
# ## Where this goes wrong in practice
#
# - **Assigning instead of adding** in `col2im`. Where windows overlap the last one wins. With stride = window nothing is wrong, so a test without overlap does not see it.
# - **Padding.** "same" in TensorFlow puts the odd pixel behind; PyTorch code pads evenly. Weights trained with the one give other results with the other.
# - **Equal depth is not equal cost.** Compare at equal arithmetic or equal time, and say which.
# - **BatchNorm in the stem.** The published hybrids use GroupNorm and standardised weights: statistics of a batch differ between training and use, and between batch sizes.
#
# ## Exercises
#
# **20.1 (two lines).** How many windows of side $k$ fit, with stride $s$, along an axis of $n$ pixels, if they must lie inside?


# %%
def windows(n, k, s):
    """pixels, side of the window, stride -> how many"""
    ...  # your answer here


check("20.1", windows)

# %% [markdown]
# **20.2 (ten minutes).** The **receptive field** of a stack of convolutions is how many pixels of the input (along one axis) one value of the output depends
# on. Compute it from the list of windows and strides, first layer first.


# %%
def receptive_field(layers):
    """layers: [(k, s), ...] -> pixels"""
    ...  # your answer here


check("20.2", receptive_field)

# %% [markdown]
# **20.3 (twenty minutes).** A **depthwise** convolution treats each channel by itself: $y_{ijc} = \sum_{uv} x_{i+u,\,j+v,\,c}\,W_{uvc}$ (stride 1, windows
# inside). Write the forward pass in NumPy.


# %%
def depthwise(x, W):
    """x: (rows, columns, C), W: (k, k, C) -> y (rows - k + 1, columns - k + 1, C)"""
    ...  # your answer here


check("20.3", depthwise)

# %% [markdown]
# **20.4 (an hour).** Its backward pass in NumPy, without im2col: think in $k^2$ shifted images, as `ops.conv2d` does.


# %%
def depthwise_backward(x, W, dy):
    """dy: (rows - k + 1, columns - k + 1, C) -> dx (rows, columns, C), dW (k, k, C)"""
    ...  # your answer here


check("20.4", depthwise_backward)

# %% [markdown]
# Next: [28, speed](28_speed.ipynb).

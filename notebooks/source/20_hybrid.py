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
# A ViT knows little about images. The pixels of one patch belong together, and all patches are treated alike; which
# patches are neighbours it has to learn. A convolution knows its neighbours by construction. The **hybrid** of the
# paper's section 3.1 ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) lets a convolutional network, the
# **stem**, look first. The tokens are then made from the result of the stem, a *feature map*, instead of the pixels. At
# the end you will be able to
#
# - compute a convolution with loops, and as one matrix product (**im2col**), and derive both of its gradients,
# - say why a patch of 1 × 1 of a feature map is as good a token as a patch of 16 × 16 of an image,
# - compare a hybrid and a plain ViT at equal arithmetic.
#
# You need notebooks [02](02_shapes.ipynb), [03](03_patches.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 10 s of CPU time (fast mode 6 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored
from experiments.answers import unpacked

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, show_source
from minivit.models import ViT, ViTConfig
from minivit.models.hybrid import ResNetStem
from minivit.tensor import Tensor, grad, tape

rng = np.random.default_rng(20)

# %% [markdown]
# ## The equations
#
# A convolution looks at the image through a window of $k \times k$ pixels. The window moves by $s$ pixels from one
# place to the next (the **stride**). At every place the convolution takes the same linear function of what it sees:
#
# $$y_{ijo} = \sum_{u=0}^{k-1}\sum_{v=0}^{k-1}\sum_{c} x_{si+u,\;sj+v,\;c}\; W_{uvco}.$$
#
# In the hybrid the feature map takes the place of the image in Eq. 1 of the paper, where $\mathbf{x}_p^i\mathbf{E}$
# projects patch $i$ to a token. With patches of $1 \times 1$ there is one token per place of the feature map:
#
# $$\mathbf{z}_0 = [\mathbf{x}_\mathrm{class};\; \mathbf{x}_p^1\mathbf{E};\; \ldots;\; \mathbf{x}_p^{N_p}\mathbf{E}] + \mathbf{E}_{pos}, \qquad \mathbf{x}_p^i = \text{place } i \text{ of } \mathrm{stem}(\mathbf{x}). \tag{Eq. 1}$$
#
# Everything else is as in notebook [04](04_tokens_and_positions.ipynb), the position embeddings too.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $x$ | an image or a feature map | (rows, columns, channels) | `x` |
# | $y$ | result of the convolution | (rows', columns', channels') | `y` |
# | $W$ | weights of the window | $(k, k, \text{channels}, \text{channels}')$ | `W` |
# | $k$, $s$ | side of the window, stride | numbers | `k`, `s` |
# | $i, j$ and $u, v$ | row and column of $y$, and in the window | numbers | `i`, `j`, `u`, `v` |
# | $c$, $o$ | channel of $x$ (in), of $y$ (out) | numbers | `c`, `o` |
# | $\mathbf{x}_p$ | patches, here of the feature map | $(N_p, \cdot)$ | |
# | $\mathbf{E}$ | patch embedding, here of the feature map | $(\cdot, D)$ | `patch_embed` |
# | $N_p$, $D$ | patches, width of the model | numbers | `config` |
# | $\mathrm{d}x, \mathrm{d}W, \mathrm{d}y$ | gradients of the loss | as $x$, $W$, $y$ | `dx`, `dW`, `dy` |
#
# ## Forward, as loops

# %%
k, s = 3, 2
x = rng.standard_normal((7, 9, 2))
W = rng.standard_normal((k, k, 2, 3))


# %% tags=["yours"]
def convolution_loops(x, W, s):
    """Windows that lie inside the image.   x: (rows, columns, c), W: (k, k, c, o) -> y (rows', columns', o)."""
    k, _, channels, out = W.shape
    y = np.zeros(((x.shape[0] - k) // s + 1, (x.shape[1] - k) // s + 1, out))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            for o in range(out):
                for u in range(k):
                    for v in range(k):
                        for c in range(channels):
                            y[i, j, o] += x[s * i + u, s * j + v, c] * W[u, v, c, o]
    return y


# %%
y_loops = convolution_loops(x, W, s)
y_loops.shape

# %% [markdown]
# ## Forward, as one product
#
# Write what each window sees as a row of a matrix: $k^2$ pixels with all their channels. This is called **im2col**.
# Then the convolution is a product with $W$, whose first three axes are flattened in the same order. Notebook
# [03](03_patches.ipynb) did the same with patches, only that windows may overlap. If $s = k$ they do not, and the
# convolution *is* the patch embedding.


# %% tags=["yours"]
def im2col(x, k, s):
    """What every window sees, a row per place (i, j), row by row: (places, k * k * channels)."""
    places = [(i, j) for i in range(0, x.shape[0] - k + 1, s) for j in range(0, x.shape[1] - k + 1, s)]
    return np.stack([x[i : i + k, j : j + k].reshape(-1) for i, j in places])


# the windows: (places, k * k * c)
seen = im2col(x, k, s)
# the weights as a matrix: (k * k * c, o)
W_flat = W.reshape(-1, W.shape[3])
# the convolution: (rows', columns', o)
y = (seen @ W_flat).reshape(y_loops.shape)

agree("y", y, y_loops)

# %% [markdown]
# ## Backward, step by step
#
# **Step 1: the product** $y = \mathrm{seen} \cdot W$. As for every product (notebook 02):
#
# $$\mathrm{d}W = \mathrm{seen}^\top\, \mathrm{d}y, \qquad \mathrm{d}\,\mathrm{seen} = \mathrm{d}y\; W^\top.$$

# %%
dy = rng.standard_normal(y.shape)
dy_flat = dy.reshape(-1, dy.shape[2])  # a row per place

# %% tags=["yours"]
# gradient of the weights: (k, k, c, o)
dW = (seen.T @ dy_flat).reshape(W.shape)
# gradient of what the windows saw: (places, k * k * c)
dseen = dy_flat @ W_flat.T

# %%
tseen, tW = Tensor(seen, requires_grad=True), Tensor(W, requires_grad=True)
ty = tseen @ tW.reshape(-1, W.shape[3])
engine = grad(ty, [tseen, tW], dy_flat)
agree("dseen", dseen, engine[0])
agree("dW", dW, engine[1])

# %% [markdown]
# **Step 2: im2col.** It copies each pixel into every window that sees it. A value that is copied several times collects
# the gradients of all its copies. So we *add* each row of $\mathrm{d}\,\mathrm{seen}$ to the place that it came from.


# %% tags=["yours"]
def col2im(dseen, shape, k, s):
    """The pullback of im2col: (places, k * k * channels) -> dx of this shape, (rows, columns, channels)."""
    dx = np.zeros(shape)
    places = [(i, j) for i in range(0, shape[0] - k + 1, s) for j in range(0, shape[1] - k + 1, s)]
    for (i, j), row in zip(places, dseen, strict=True):
        dx[i : i + k, j : j + k] += row.reshape(k, k, shape[2])
    return dx


# %%
dx = col2im(dseen, x.shape, k, s)

tx = Tensor(x[None], requires_grad=True)
tW = Tensor(W, requires_grad=True)
ty = F.conv2d(tx, tW, s, "valid")  # images have a batch axis in the library
agree("y", y, ty.data[0])
for name, mine, engine in zip(("dx", "dW"), (dx, dW), grad(ty, [tx, tW], dy[None]), strict=True):
    agree(name, mine, engine.reshape(mine.shape))

# %% [markdown]
# How often is a pixel seen? The pullback of ones answers: it counts the windows over each pixel.
#
# **Predict first.** Take 12 × 12 pixels and a window of 3 with stride 1, of 3 with stride 2, and of 4 with stride 4.
# Which of the three sees every pixel equally often? Which one never sees some pixels?

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
for axis, (window, stride) in zip(axes, ((3, 1), (3, 2), (4, 4)), strict=True):
    columns_of_ones = np.ones_like(im2col(np.zeros((12, 12, 1)), window, stride))
    counts = col2im(columns_of_ones, (12, 12, 1), window, stride)[..., 0]
    drawn = axis.imshow(counts, vmin=0, vmax=9, cmap="viridis")
    axis.set(title=f"window {window}, stride {stride}", xticks=[], yticks=[])
    print(f"window {window}, stride {stride}: pixels are seen {counts.min():.0f} to {counts.max():.0f} times")
figure.colorbar(drawn, ax=axes, label="windows that see the pixel", ticks=[0, 3, 6, 9])
plt.show()


# %% [markdown]
# **In the stored run** the window of 4 with stride 4, the patch embedding, sees every pixel 1 time. With stride 2
# pixels are seen 0 to 4 times.
#
# In the middle picture some pixels count four times as much as others; such a checkerboard can appear in gradients of
# real networks. Its last row and column are seen by no window: with stride 2 the last whole window ends one pixel
# before the edge. Padding avoids this.
#
# ## Check it numerically


# %% tags=["yours"]
def my_convolution(x, W):
    """Convolution with windows inside the image, stride 2, and its pullback.

    x: (rows, columns, c), W: (k, k, c, o) -> y (rows', columns', o), and dy -> (dx, dW).
    """
    k, out = W.shape[0], W.shape[3]
    seen = im2col(x, k, 2)
    count = [(n - k) // 2 + 1 for n in x.shape[:2]]

    def vjp(dy):
        rows = dy.reshape(-1, out)
        return col2im(rows @ W.reshape(-1, out).T, x.shape, k, 2), (seen.T @ rows).reshape(W.shape)

    return (seen @ W.reshape(-1, out)).reshape(*count, out), vjp


# %%
error = check_vjp(my_convolution, x, W, dtypes=("float64",))  # float64 only: col2im makes nothing else
print(f"largest relative error of the gradients: {error:.1e}")

# %% [markdown]
# ## The library
#
# `ops.conv2d` needs less memory. Instead of one large matrix it makes $k^2$ products, one for each place $(u, v)$ in
# the window, with all pixels that lie there. The sums are the same. The formula above is `padding="valid"`. The stem
# uses `"same"`: zeros around the image, so that stride 2 halves its side (rounded up).

# %%
show_source(ops.conv2d)

# %% [markdown]
# The next piece of source needs five words:
#
# | word | meaning |
# |---|---|
# | max-pool | the largest value in each window, channel by channel |
# | ReLU | $\max(x, 0)$ |
# | GroupNorm | LayerNorm over a group of channels and all places of an image (notebook [05](05_layer_norm.ipynb)) |
# | StdConv | a convolution that first subtracts from the weights of each output channel their mean and divides by their standard deviation |
# | bottleneck unit | three convolutions, $1 \times 1$, $3 \times 3$ and $1 \times 1$, with a residual connection |

# %%
show_source(ResNetStem)

# %% [markdown]
# The stem of the published hybrids is made from a ResNet. First comes the **root**, a $7 \times 7$ convolution and a
# max-pool, each with stride 2; then stages of units. In minivit `stem` in the configuration counts the units of each
# stage. (A ResNet-50 has stages of 3, 4, 6 and 3 units. For a map of $14 \times 14$ the last stage is left out and its
# units go into the third, which then has 9: section 4.1.)

# %%
for name in ("B/16", "R50+B/16"):
    config = ViTConfig.variant(name)
    model = ViT(config, seed=None)  # seed=None: parameters that take no memory
    patches = " x ".join(map(str, config.patch_size))
    places = " x ".join(map(str, config.map_size))
    print(f"{name:<9} patches of {patches} on {places} places, {config.num_tokens} tokens", end=", ")
    print(f"{model.num_parameters() / 1e6:.1f} M parameters")

# %% [markdown]
# This stem halves the image four times. The $14 \times 14$ places of its map lie 16 pixels apart, as the patches of
# B/16 do. Each place depends on far more than $16 \times 16$ pixels (its *receptive field*, exercise 20.2). So one
# place has seen what one patch shows, and its neighbourhood. With a patch size of $1 \times 1$ the hybrid has as many
# tokens as B/16.
#
# ## Experiment: hybrid against ViT at equal arithmetic
#
# The tape, the engine's record of the operations (notebook [11](11_vit.ipynb)), counts the arithmetic of a forward
# pass: $2abc$ FLOP for a product of $(a, b)$ and $(b, c)$. A convolution is one such product for each place in the
# window. Normalisation, ReLU and max-pool are not counted.
#
# With `stem=()` there are no stages: the stem is the root alone. So our "hybrid" has a single convolution and is far
# from the paper's. Its feature map has $8 \times 8$ places. Patches of $2 \times 2$ places make as many tokens as
# patches of $8 \times 8$ pixels. It has fewer blocks than the ViT, with a wider MLP, to pay for the stem.


# %% tags=["yours"]
def flop_per_image(config):
    """Arithmetic of the products in a forward pass of one image, from the shapes on the tape."""
    logits = ViT(config)(np.zeros((1, *config.image_size, 3), np.float32), tap={})
    flop = 0
    for node in tape(logits):
        first, out = node.input_shapes[0], node.output_shape
        if node.op in ("linear", "linear_gelu"):
            flop += 2 * np.prod(out) * first[-1]
        elif node.op == "attention":  # scores, and weights times values
            flop += 4 * np.prod(out) * first[1]
        elif node.op == "conv2d":
            window = node.input_shapes[1]
            flop += 2 * np.prod(out) * window[0] * window[1] * window[2]
    return int(flop)


# %%
stored = record.read("hybrid")
settings, runs = stored["config"], stored["results"]
names = {"ViT": "ViT, 8 x 8 pixels", "hybrid": "hybrid, 2 x 2 places"}
configs = {name: ViTConfig(**settings["common"] | settings["models"][name]) for name in names}
costs = {name: flop_per_image(config) for name, config in configs.items()}
for name, config in configs.items():
    parameters = ViT(config).num_parameters()
    print(f"{names[name]:<21} {costs[name] / 1e6:5.2f} MFLOP, {parameters:7,} parameters, {config.num_tokens} tokens")
print(f"the hybrid has {costs['hybrid'] / costs['ViT']:.2f} of the ViT's arithmetic")

# %% [markdown]
# The training is stored (`notebooks/experiments/hybrid.py` has the details; it takes a quarter of an hour). Both models
# learn from 45,000 images of CIFAR-10, in batches of 64. The learning rate was chosen for each model on 5,000 other
# training images. Then each model was trained from five seeds.
#
# **Predict first.** In the paper (section 4.4, Figure 5) hybrids are slightly better at small computational budgets,
# and the difference vanishes for larger models. Which model will be ahead here, and by how many points?

# %%
for name, tried in stored["rates_tried"].items():
    listed = ", ".join(f"{accuracy:.1%} at {rate}" for rate, accuracy in tried.items())
    print(f"{names[name]:<21} on the held-out images: {listed}")

figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for (name, label), style in zip(names.items(), ("o-", "s--"), strict=True):
    curve = np.array([run["curve"] for run in runs[name]])  # (seeds, points)
    updates = settings["every"] * np.arange(1, curve.shape[1] + 1)
    arithmetic = 3 * costs[name] * settings["batch_size"] * updates / 1e9
    error = curve.std(axis=0, ddof=1) / np.sqrt(len(curve))
    axes.errorbar(arithmetic, curve.mean(axis=0), error, fmt=style, capsize=3, label=label)
axes.set(
    xlabel="arithmetic of training (GFLOP)",
    ylabel="test accuracy",
    title=f"mean and standard error of {len(curve)} seeds, {settings['curve_images']:,} test images",
)
axes.legend()
plt.show()


# %%
def right(run):
    """(n,): 1 for each test image that the run gets right, else 0."""
    return unpacked(run["right"]).astype(float)


of = {name: np.stack([right(run) for run in runs[name]]) for name in names}  # (seeds, n)
for name, label in names.items():
    print(f"{label:<21} {of[name].mean():.1%} after {settings['steps']:,} updates")
gaps = 100 * (of["hybrid"] - of["ViT"])  # seed by seed, image by image
of_seeds = gaps.mean(axis=1).std(ddof=1) / np.sqrt(gaps.shape[0])
of_images = gaps.mean(axis=0).std(ddof=1) / np.sqrt(gaps.shape[1])
print(f"hybrid minus ViT: {gaps.mean():+.1f} ± {of_seeds:.1f} (seeds) ± {of_images:.1f} (images) percentage points")

# %% [markdown]
# (A training step costs about three forward passes: for each product of the forward pass the backward pass has two. The
# two errors are those of notebook [17](17_higher_resolution.ipynb).)
#
# **In the stored run** the hybrid is ahead by 9.1 points, ± 0.5 by the seeds and ± 0.4 by the images: 50.4 % against
# 41.3 %, with 0.99 of the arithmetic. Each model chose a rate inside the range that was tried, 0.003 and 0.001.
#
# The direction is that of the paper at small budgets, and the lead is larger than its "slightly". Our budget is far
# below the paper's smallest. In the first updates the ViT is ahead; each model has its own rate, so compare the ends of
# the curves.
#
# What made the difference? The experiment does not say: it may be the overlapping windows of the convolution, its
# normalisation, or the max-pool.
#
# ## Where this goes wrong in practice
#
# - **Assigning instead of adding** in `col2im`. Where windows overlap, the last one wins. If the stride is the window
#   nothing is wrong, so a test without overlap does not see it.
# - **Padding.** "same" in TensorFlow puts the odd pixel behind; PyTorch code pads evenly. Weights trained with one give
#   other results with the other.
# - **Equal depth is not equal cost.** Compare at equal arithmetic or equal time, and say which.
# - **BatchNorm in the stem.** The published hybrids use GroupNorm and standardised weights: statistics of a batch
#   differ between training and use, and between batch sizes.
#
# ## Exercises
#
# `hint("20.2")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **20.1 (two lines).** An axis has $n$ pixels. How many windows of side $k$ fit along it with stride $s$, if they must
# lie inside?


# %%
def windows(n, k, s):
    """pixels, side of the window, stride -> how many"""
    ...  # your answer here


check("20.1", windows)

# %% [markdown]
# **20.2 (ten minutes).** One value of the output of a stack of convolutions depends on a number of pixels of the input
# (along one axis): the **receptive field**. Compute it from the list of windows and strides, first layer first.


# %%
def receptive_field(layers):
    """layers: [(k, s), ...] -> pixels"""
    ...  # your answer here


check("20.2", receptive_field)

# %% [markdown]
# **20.3 (twenty minutes).** A **depthwise** convolution treats each channel by itself:
# $y_{ijc} = \sum_{uv} x_{i+u,\,j+v,\,c}\,W_{uvc}$ (stride 1, windows inside). Write the forward pass in NumPy.


# %%
def depthwise(x, W):
    """x: (rows, columns, C), W: (k, k, C) -> y (rows - k + 1, columns - k + 1, C)"""
    ...  # your answer here


check("20.3", depthwise)

# %% [markdown]
# **20.4 (an hour).** Write its backward pass in NumPy, without im2col. Think of $k^2$ shifted images, as `ops.conv2d`
# does.


# %%
def depthwise_backward(x, W, dy):
    """dy: (rows - k + 1, columns - k + 1, C) -> dx (rows, columns, C), dW (k, k, C)"""
    ...  # your answer here


check("20.4", depthwise_backward)

# %% [markdown]
# Next: [22, masked autoencoders](22_masked_autoencoders.ipynb).

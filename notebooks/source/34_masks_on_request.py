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
# # 34 Masks on request
#
# A classifier has one answer for an image. **Dense prediction** has one for every pixel, such as the class of the thing
# that the pixel shows. The Segment Anything Model ([Kirillov et al. 2023](https://arxiv.org/abs/2304.02643), SAM) goes
# one step further: it is asked. A person clicks on something, and the network returns its mask, the set of its pixels.
# A click on a button may mean the button or the coat. So the network gives three masks and a score for each. At the
# end you will be able to
#
# - turn a click into a token, and say what the products of two such tokens measure,
# - write the decoder in which tokens read a map and the map reads the tokens,
# - derive the gradients of the focal and the dice error, and say which of three masks learns,
# - prove that one mask cannot hedge between two shapes, and measure what three answers are worth.
#
# You need notebooks [07](07_attention.ipynb) and [09](09_mlp_and_gelu.ipynb). The windows of the encoder are those of
# notebook [30](30_windows_hierarchies_convolutions.ipynb).
#
# **Budget:** 8 s of CPU time (fast mode 6 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
from experiments import masks_on_request as stored
from experiments import record

from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast
from minivit.lessons.pictures import requests as pictures
from minivit.lineage import sam, segmenter
from minivit.lineage.sam_decoder import PromptEncoder, SAMConfig, TwoWayBlock
from minivit.lineage.windowed import Enlarge
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(34)

# %% [markdown]
# ## From one answer to a map of answers
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $D$ | width of the model, here of the decoder | number | `D` |
# | $N_p$ | patches, the places of the map, $N_p = hw$ | number | `Np` |
# | $h$, $w$ | rows and columns of the map | numbers | `h`, `w` |
# | $K$ | classes | number | `K` |
# | $(x, y)$ | a click, column and row of a pixel | $(2,)$ | `points` |
# | $G$ | matrix of normal numbers, drawn once | $(2, D/2)$ | `G` |
# | $\mathbf{u}_j$ | token $j$: of the score, of a mask or of a click | $(D,)$ | `tokens` |
# | $\mathbf{r}_i$ | place $i$ of the map | $(D,)$ | `image` |
# | $\kappa_m$ | kernel of mask $m$ | $(D/8,)$ | `kernels` |
# | $z$ | logits of a mask, one for each pixel | $(4h, 4w)$ | `z` |
# | $t$ | target: 1 where the pixel belongs to the shape, 0 elsewhere | as $z$ | `t` |
# | $p$ | probabilities, the softmax of the logits $z_i$ and 0: $p_i = 1/(1 + e^{-z_i})$ | as $z$ | `p` |
# | $\mathcal{L}$ | the loss | number | `loss` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dz`, ... |
#
# An encoder turns an image into a map of $h \times w$ vectors. Where does a map of answers come from? The simplest way
# is a product with $K$ fixed vectors, one for each class. **Segmenter** makes the vectors tokens. $K$ learned class
# tokens go through a few blocks together with the patches, so a token can adapt to the image. At the end a patch and a
# class agree by the cosine of their vectors:
#
# $$z_{ik} = \frac{\mathbf{r}_i \cdot \mathbf{c}_k}{|\mathbf{r}_i|\,|\mathbf{c}_k|}. \tag{1}$$
#
# One token thus becomes one map. Keep this in mind: SAM does the same, but its tokens know what was clicked.

# %%
h, w, D, K = 5, 6, 16, 3
Np = h * w
image, classes = rng.standard_normal((Np, D)), rng.standard_normal((K, D))

# %% tags=["yours"]
lengths = np.linalg.norm(image, axis=1)[:, None] * np.linalg.norm(classes, axis=1)
maps = (image @ classes.T / lengths).T.reshape(K, h, w)

# %%
theirs = segmenter.cosines(Tensor(image[None]), Tensor(classes[None])).data[0]
agree("maps", maps, theirs.T.reshape(K, h, w))

# %% [markdown]
# **Larger images.** Masks need small patches or large images, so the map is large. SAM's encoder is that of **ViTDet**
# ([Li et al. 2022](https://arxiv.org/abs/2203.16527)). Most of its blocks attend inside windows that do not move. Four
# blocks, one at the end of each quarter, attend to the whole map and carry information from window to window. Zeros
# fill the map up to whole windows. We count the attention weights of one head.

# %%
side, window, depth, whole = 64, 14, 12, 4  # SAM's smallest encoder: 1024 pixels, patches of 16

# %% tags=["yours"]
padded = math.ceil(side / window) * window
in_windows = (padded // window) ** 2 * window**4
everywhere = side**4

# %%
mixed_blocks = (whole * everywhere + (depth - whole) * in_windows) / 1e6
print(f"one block: {everywhere:,} weights over the whole map, {in_windows:,} in windows")
print(f"{depth} blocks: {depth * everywhere / 1e6:.0f} million over the whole map, {mixed_blocks:.0f} million as mixed")

# %% [markdown]
# A detector wants maps of several sizes. ViTDet makes all of them from the last map, by transposed convolutions and by
# a maximum over 2 × 2 places. SAM needs only one map.
#
# ## Experiment 1: windows alone
#
# Are blocks that see the whole map necessary? An image has two squares in two of its quarters. Each has one of four
# colours. Do the colours agree? Half of the images say yes. A window is a quarter. A backbone of two blocks is trained
# to answer by a linear classifier on the mean of its last map.
#
# **A bound.** With windows alone a place knows its own quarter and nothing else. Fix the places of the squares and the
# noise. The mean adds up the quarters, so the logit of "agree" less the other is $f(a) + g(b)$, where $a$ and $b$ are the
# colours. The network says "agree" if this is above a threshold. Suppose it does for $(a, a)$ and for $(b, b)$. Then
# $f(a) + g(a) + f(b) + g(b)$ is above twice the threshold. This is also the sum for $(a, b)$ and $(b, a)$, so the network
# says "agree" for one of them, and is wrong.
#
# There are four pairs of equal colours and twelve of different ones. If $j$ of the four are answered rightly, at
# least $j(j-1)/2$ of the twelve are answered wrongly. The share of right answers is at most
# $\frac{1}{2} \cdot \frac{j}{4} + \frac{1}{2}\bigl(1 - \frac{j(j-1)}{24}\bigr)$. This is 75 % for $j$ = 3 and $j$ = 4, and less
# for fewer.
#
# **Predict first.** Does the network with windows alone come near 75 %? Is one block that sees the whole map enough?

# %%
far = record.read("far_question")
print(far["command"], f"\n{far['data']}; {far['config']['steps']} updates")
for name, by_seed in far["results"].items():
    mean, error = record.mean_and_error(100 * np.array(by_seed))
    print(f"{name:<26} {mean:5.1f} +- {error:.1f} % right, {len(by_seed)} seeds")

# %% [markdown]
# **In the stored run** windows alone have 52.1 ± 0.5 % right answers, hardly more than guessing and far below the bound.
# One block that sees the whole map is enough: 99.6 ± 0.4 %, as good as two, 99.4 ± 0.5 %.
#
# ## SAM in a picture
#
# The encoder is large and sees the image once. The rest is small and runs for every click.

# %%
_ = pictures.masks_from_a_click()

# %% [markdown]
# ## A click is a token
#
# A click is two numbers, a token has $D$. SAM takes the middle of the pixel as a share of the image, from −1 to 1,
# multiplies it by a random matrix, and takes sines and cosines:
#
# $$\mathbf{a} = 2\pi \Bigl(2\,\frac{x + 1/2}{W_I} - 1,\; 2\,\frac{y + 1/2}{H_I} - 1\Bigr)\, G, \qquad
# \mathrm{code}(x, y) = [\sin \mathbf{a},\, \cos \mathbf{a}]. \tag{2}$$
#
# $G$ is drawn once and never trained. A learned vector is added, one for each **kind** of point: foreground,
# background, and two corners of a box. If there is no box, one more learned vector follows as a token that is no point.
# Every place of the map gets the same code as its position. So tokens and places
# speak of positions in the same language.

# %%
height, width = 24, 40  # an oblong image shows whether x and y are exchanged
G = rng.standard_normal((2, D // 2))
points = np.array([[3, 20], [39, 0], [17, 11]])  # (x, y)


# %% tags=["yours"]
def code(points, G, height, width):
    """Equation 2.   points: (n, 2) as (x, y) in pixels -> (n, D)"""
    shares = (points + 0.5) / [width, height]
    angles = 2 * math.pi * (2 * shares - 1) @ G
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


# %%
encoder = PromptEncoder(SAMConfig(heads=2), D, rng, "float64")
encoder.gaussian.data[...] = G
kinds = np.array([1, 0, 1])  # foreground, background, foreground
theirs = encoder.places(points[None, None], kinds[None, None], (height, width)).data[0, 0]
agree("codes and kinds", code(points, G, height, width) + encoder.kinds.data[kinds], theirs)

# %% [markdown]
# **What does the product of two codes measure?** By $\sin a \sin b + \cos a \cos b = \cos(a - b)$ it is a sum of
# $D/2$ cosines. Let $\delta$ be the difference of the two places in sides of the image. Column $G_j$ has the cosine
# $\cos(4\pi\,\delta \cdot G_j)$. The number $4\pi\,\delta \cdot G_j$ is normal with the variance
# $(4\pi|\delta|)^2$, and the mean of the cosine of a normal number is $e^{-\text{variance}/2}$. So
#
# $$\frac{2}{D}\,\mathrm{code}(x, y) \cdot \mathrm{code}(x', y') \approx e^{-8\pi^2 |\delta|^2}. \tag{3}$$
#
# It depends on the distance alone. It falls to $e^{-1/2}$ at $|\delta| = 1/(4\pi)$, 8 % of a side. With few columns the
# mean is a rough one. SAM's map has 64 places a side, so 8 % are five places. Our experiment has a map of 4 × 4. There
# 8 % are a third of a place, and neighbours have nothing in common. So we multiply $G$ by 1/4, and 8 % become 32 %.

# %%
rows, columns = np.mgrid[:32, :32]
grid = np.stack([columns.ravel(), rows.ravel()], axis=1)
click = np.array([[20, 10]])
distance2 = np.square((grid - click) / 32).sum(axis=1)
law = np.exp(-8 * math.pi**2 * distance2)
figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.9), layout="constrained")
for axis, features in zip(axes, (48, 1024, None), strict=True):
    found = law
    if features:
        drawn = rng.standard_normal((2, features // 2))
        found = (code(grid, drawn, 32, 32) @ code(click, drawn, 32, 32).T)[:, 0] * 2 / features
        print(f"D = {features}: largest distance to the law {abs(found - law).max():.2f}")
    shown = axis.imshow(found.reshape(32, 32), cmap="viridis", vmin=-0.6, vmax=1)
    axis.set(title=f"$D$ = {features}" if features else "law (3)", xlabel="x", ylabel="y")
figure.colorbar(shown, ax=axes, label="product, equation 3")
plt.show()

# %% [markdown]
# ## Tokens read the map, and the map reads the tokens
#
# The decoder has one token for the score, four for masks, and those of the prompt. A **two-way block** has four steps,
# and LayerNorm follows each:
#
# 1. tokens attend to tokens,
# 2. tokens attend to the map: $\mathbf{u} \leftarrow \mathbf{u} + \mathrm{attend}(\mathbf{u} + \mathbf{e},\; \mathbf{r} + \mathbf{g},\; \mathbf{r})$,
# 3. an MLP with ReLU on every token,
# 4. the map attends to tokens: $\mathbf{r} \leftarrow \mathbf{r} + \mathrm{attend}(\mathbf{r} + \mathbf{g},\; \mathbf{u} + \mathbf{e},\; \mathbf{u})$.
#
# The arguments are queries, keys and values. $\mathbf{g}$ is the code of each place. $\mathbf{e}$ are the tokens as they
# were before the first block: they are the tokens' own positions. Queries and keys get positions, values never do. The
# first block differs in step 1: there are no positions and no shortcut.
#
# By step 4 the map itself changes with the click. We write the first block with one head.

# %%
block = TwoWayBlock(SAMConfig(heads=1, mlp_width=12), D, True, rng, "float64")
tokens, (image, grid_code) = rng.standard_normal((4, D)), rng.standard_normal((2, Np, D))


def linear(x, layer):
    return x @ layer.weight.data + layer.bias.data


def normed(x, norm):
    """LayerNorm, notebook 05."""
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + norm.eps)
    return x * norm.scale.data + norm.bias.data


# %% tags=["yours"]
def attend(layer, queries, keys, values):
    """Attention of one head with the weights of `layer`.   (n, D), (m, D), (m, D) -> (n, D)"""
    q, k, v = linear(queries, layer.query), linear(keys, layer.key), linear(values, layer.value)
    S = q @ k.T / math.sqrt(q.shape[1])
    A = np.exp(S - S.max(axis=1, keepdims=True))
    return linear(A / A.sum(axis=1, keepdims=True) @ v, layer.out)


def first_block(block, tokens, image, grid_code):
    """-> tokens (n, D), image (Np, D)"""
    e = tokens
    tokens = normed(attend(block.own, tokens, tokens, tokens), block.norm1)
    tokens = normed(tokens + attend(block.to_image, tokens + e, image + grid_code, image), block.norm2)
    tokens = normed(tokens + linear(np.maximum(linear(tokens, block.hidden), 0), block.shown), block.norm3)
    image = normed(image + attend(block.to_tokens, image + grid_code, tokens + e, tokens), block.norm4)
    return tokens, image


# %%
theirs = block(*(Tensor(x[None]) for x in (tokens, image, tokens, grid_code)))
for name, mine, library in zip(("tokens", "map"), first_block(block, tokens, image, grid_code), theirs, strict=True):
    agree(name, mine, library.data[0])

# %% [markdown]
# ## Tokens become masks
#
# **A map with four times the side.** Two transposed convolutions of 2 × 2 places enlarge the map, each to twice the side.
# Their squares do not overlap: each place is multiplied by four matrices, one for each of its four new places.
#
# $$\mathrm{new}_{2i + a,\, 2j + b} = \mathbf{r}_{ij} V_{ab} + \text{bias}, \qquad a, b \in \{0, 1\}.$$
#
# **Kernels.** Each mask token $m$ has a small network that turns it into a kernel $\kappa_m$. The kernel is as long as the
# vector $\mathbf{y}_i$ of place $i$ of the enlarged map. Every logit is a product of the two:
#
# $$z_{m,i} = \kappa_m \cdot \mathbf{y}_i, \qquad \mathrm{d}\kappa_m = \sum_i \mathrm{d}z_{m,i}\,\mathbf{y}_i, \qquad
# \mathrm{d}\mathbf{y}_i = \sum_m \mathrm{d}z_{m,i}\,\kappa_m. \tag{4}$$
#
# One matrix product gives all masks. It is (1) without the lengths. Three masks cost three kernels, not three decoders.

# %%
small = rng.standard_normal((h, w, D))
layer = Enlarge(D, D // 4, rng, "float64")
layer.bias.data[...] = rng.standard_normal(D // 4)
y, kernels, dz = rng.standard_normal((4, 6, 8)), rng.standard_normal((3, 8)), rng.standard_normal((3, 4, 6))


# %% tags=["yours"]
def enlarge(x, V, bias):
    """x: (h, w, D), V: (D, 2, 2, E) -> (2h, 2w, E)"""
    four = np.einsum("ijd,dabe->iajbe", x, V)  # row, row inside, column, column inside
    return four.reshape(2 * x.shape[0], 2 * x.shape[1], -1) + bias


def masks_of(kernels, y):
    """Equation 4.   kernels: (masks, E), y: (rows, columns, E) -> (masks, rows, columns) and its pullback"""
    flat = y.reshape(-1, y.shape[2])
    z = (kernels @ flat.T).reshape(len(kernels), *y.shape[:2])

    def vjp(dz):
        dz = dz.reshape(len(kernels), -1)
        return dz @ flat, (dz.T @ kernels).reshape(y.shape)

    return z, vjp


# %%
agree("enlarged", enlarge(small, layer.weight.data, layer.bias.data), layer(Tensor(small[None])).data[0])
z, vjp = masks_of(kernels, y)
tensors = [Tensor(x, requires_grad=True) for x in (kernels, y)]
product = (tensors[0] @ tensors[1].reshape(24, 8).transpose(1, 0)).reshape(3, 4, 6)
agree("masks", z, product.data)
for name, mine, engine in zip(("dkernels", "dy"), vjp(dz), grad(product, tensors, dz), strict=True):
    agree(name, mine, engine)
print(f"against differences, largest relative error: {check_vjp(masks_of, kernels, y):.1e}")

# %% [markdown]
# ## Two errors of a mask
#
# Most pixels are background, and most of them are easy. Their many small errors would outweigh the few large ones. SAM's
# loss has two parts that prevent this.
#
# **Focal error.** Let $s_i$ be $z_i$ if $t_i = 1$, else $-z_i$. The probability of the right answer is
# $1/(1 + e^{-s_i})$, that of the wrong one is $v_i = 1/(1 + e^{s_i})$. The cross-entropy of a pixel is
# $-\log(1 - v_i)$. The focal error gives it the weight $v_i^2$, and $\alpha_i = 1/4$ on the shape, $3/4$ elsewhere:
#
# $$\mathrm{focal} = \frac{1}{n} \sum_i \alpha_i\, v_i^2 \bigl(-\log(1 - v_i)\bigr).$$
#
# With $\mathrm{d}v/\mathrm{d}s = -v(1 - v)$ the product rule gives
#
# $$\frac{\partial\,\mathrm{focal}}{\partial s_i} = \frac{\alpha_i}{n}\Bigl(2 v_i^2 (1 - v_i) \log(1 - v_i) - v_i^3\Bigr). \tag{5}$$
#
# The cross-entropy would have $-v_i$ in the bracket. If $v$ is small, (5) is of order $v^3$.
#
# **Dice error.** It compares areas, so a small shape counts as much as a large one:
#
# $$\mathrm{dice} = 1 - \frac{2\sum_i p_i t_i + 1}{\sum_i p_i + \sum_i t_i + 1} = 1 - \frac{a}{b}, \qquad
# \frac{\partial\,\mathrm{dice}}{\partial p_i} = \frac{a - 2 t_i b}{b^2}. \tag{6}$$
#
# Then $\partial p_i / \partial z_i = p_i(1 - p_i)$.

# %%
z, t = 2 * rng.standard_normal(30), rng.random(30) < 0.3


# %% tags=["yours"]
def focal(z, t):
    """z: (n,) logits, t: (n,) booleans -> the error and its pullback"""
    sign, alpha = 2 * t - 1, np.where(t, 0.25, 0.75)
    v = 1 / (1 + np.exp(sign * z))
    value = np.mean(-alpha * v**2 * np.log(1 - v))

    def vjp(d):
        return (d * sign * alpha * (2 * v**2 * (1 - v) * np.log(1 - v) - v**3) / len(z),)

    return value, vjp


def dice(z, t):
    """z: (n,) logits, t: (n,) booleans -> the error and its pullback"""
    p = 1 / (1 + np.exp(-z))
    a, b = 2 * (p * t).sum() + 1, p.sum() + t.sum() + 1

    def vjp(d):
        return (d * (a - 2 * t * b) / b**2 * p * (1 - p),)

    return 1 - a / b, vjp


# %%
tensor = Tensor(z.reshape(1, 1, 1, 5, 6), requires_grad=True)
theirs = sam.errors(tensor, t.reshape(1, 1, 5, 6))
for name, function, their in zip(("focal", "dice"), (focal, dice), theirs, strict=True):
    (value, vjp), d = function(z, t), rng.standard_normal()
    agree(name, value, their.data[0, 0, 0])
    agree(f"gradient of {name}", vjp(d)[0], grad(their, [tensor], np.full((1, 1, 1), d))[0].ravel())
    worst = check_vjp(lambda z, function=function: function(z, t), z, dtypes="float64")
    print(f"{name} against differences: {worst:.1e}")

# %% [markdown]
# ## Three answers, of which the best learns
#
# A click lies in a small shape inside a large one. Each is meant half of the time. What should one mask be? Let $a$ and
# $b$ be the areas of the inner and the outer shape. The **IoU**, intersection over union, of two masks is the area of
# their intersection divided by that of their union. Pixels outside the outer shape lower the IoU with both shapes, and
# so does a missing pixel of the inner one. So the mask lies between the two. With the area $s$ it has the expected IoU
#
# $$f(s) = \frac{1}{2}\Bigl(\frac{a}{s} + \frac{s}{b}\Bigr), \qquad f''(s) = \frac{a}{s^3} > 0, \qquad f(a) = f(b) = \frac{1}{2}\Bigl(1 + \frac{a}{b}\Bigr). \tag{7}$$
#
# $f$ is convex, so it is largest at the ends. **One mask cannot hedge.** It should be one of the two shapes, and then it
# is wrong half of the time. In between, at $s = \sqrt{ab}$, $f$ has its smallest value, $\sqrt{a/b}$.
#
# SAM gives $M = 3$ masks. Each has the error $20\,\mathrm{focal} + \mathrm{dice}$. The loss of a click is the smallest:
#
# $$\mathcal{L} = \min_m \bigl(20\,\mathrm{focal}_m + \mathrm{dice}_m\bigr) + \bigl(\mathrm{score}_{m^*} - \mathrm{IoU}_{m^*}\bigr)^2. \tag{8}$$
#
# $m^*$ is the best mask. A minimum has the gradient of its smallest entry, so the other masks do not learn from this
# click. If one mask is the inner shape and another the outer one, each click trains the one that is right already.
# The network need not know which is meant. If all masks learned from every click, all would learn the same. A fourth
# mask, first in the library's order, is for prompts that leave no doubt. The runs with three masks do not train it.
#
# **The score** of the best mask learns its true IoU, which counts as a constant. In (8) the other scores do not learn. Our
# preset trains all three. Experiment 4 compares the two rules.

# %%
masks, target, d_loss = rng.standard_normal((3, 30)), rng.random(30) < 0.4, rng.standard_normal()

# %% tags=["yours"]
totals = np.array([20 * focal(m, target)[0] + dice(m, target)[0] for m in masks])
best = totals.argmin()
dmasks = np.zeros_like(masks)
of_focal, of_dice = (error(masks[best], target)[1](d_loss)[0] for error in (focal, dice))
dmasks[best] = 20 * of_focal + of_dice

# %%
objective = sam.tiny("float64")[0]
tensor = Tensor(masks.reshape(1, 1, 3, 5, 6), requires_grad=True)
known = sam.overlaps(tensor.data, target.reshape(1, 1, 5, 6))  # as scores: then the last term of (8) is 0
loss = objective.loss((tensor, Tensor(known)), {"target": target.reshape(1, 1, 5, 6)})
agree("loss", totals.min(), loss.data)
agree("dmasks", dmasks, grad(loss, [tensor], np.array(d_loss))[0].reshape(3, 30))
print("largest gradient of each mask:", abs(dmasks).max(axis=1).round(3))

# %% [markdown]
# ## Experiment 2: three answers against one
#
# Scenes have 32 × 32 pixels. Each has a shape inside another one, and one or two more beside them. A click in the inner
# shape is **ambiguous**: it means the inner or the outer shape. The others are **clear**. The network is the preset
# `scenes-sam`, with patches of 8 pixels, an encoder of four blocks and a decoder of two. The map has 4 × 4 places, and
# an answer has 16 × 16. In training every image gets two prompts of one to three clicks. The first click lies in the
# target. The further ones lie in it, too (foreground), or in another shape (background).
#
# There are two controls. **One mask** is trained alone, with the same decoder. A **hidden** click tells the network
# nothing; only the image is left.
#
# First, a few steps live. Twenty are too few for a mask.

# %%
live, _ = stored.trained("three", 0, full_or_fast(20, 2))
asked = stored.examples(stored.tests(0).subset(np.arange(full_or_fast(50, 8))), 0)
found = stored.tested(live, asked)["clicks"]["1"]
for kind, numbers in found.items():
    print(f"{kind:>6}: IoU {numbers['iou']:.2f}, best of three {numbers['oracle']:.2f}")
share = asked["target"][:, 2].sum(axis=(1, 2)) / asked["target"][:, 1].sum(axis=(1, 2))
print(f"inner area over outer area: {share.mean():.2f}; by (7) one mask on ambiguous clicks has at most", end=" ")
print(f"{(1 + share.mean()) / 2:.2f}, and if it lies between the two shapes at least {np.sqrt(share).mean():.2f}")

# %% [markdown]
# **Predict first.** The *answer* is the mask with the best score. The *oracle* is the best of all masks, chosen with the
# target at hand. Ambiguous clicks are asked twice, once for each shape. Where does the answer of three masks stand
# against one mask? And the oracle? Which of them comes near the bound of (7)?

# %%
shipped = record.read("masks_on_request")
runs, config = shipped["results"], shipped["config"]
seeds = min(len(by_seed) for by_seed in runs.values())
NAMES = {"three": "three masks", "single": "one mask", "blind": "click hidden", "best scored": "best scored"}
print(shipped["command"], f"\n{shipped['data']}; {config['steps']} updates, {seeds} seeds")


def of(run, sort, what, clicks=1):
    """By seed.   sort: "clear", or "ambiguous", the mean of both shapes; what: "iou" or "oracle" """
    kinds = ["outer", "inner"] if sort == "ambiguous" else [sort]
    found = [[seed["clicks"][str(clicks)][kind][what] for kind in kinds] for seed in runs[run][:seeds]]
    return np.mean(found, axis=1)


def gap(name, one, other):
    """Print a difference, seed by seed, and whether the 95 % interval of three seeds leaves out 0."""
    mean, error = record.mean_and_error(one - other)
    print(f"{name}: {mean:+.3f} +- {error:.3f}" + ("" if abs(mean) > 4.3 * error else " (not decided)"))


figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), sharey=True, layout="constrained")
for axis, sort in zip(axes, ("clear", "ambiguous"), strict=True):
    for place, run in enumerate(list(NAMES)[:3]):
        for what, marker, shift in (("iou", "o", -0.1), ("oracle", "^", 0.1)):
            mean, error = record.mean_and_error(of(run, sort, what))
            label = {"iou": "answer", "oracle": "oracle"}[what] if place == 0 else None
            axis.errorbar(
                place + shift, mean, error, fmt=marker, color="C0" if what == "iou" else "C1", capsize=4, label=label
            )
            print(f"{sort:<9} {NAMES[run]:<26} {what:<6} {mean:.3f} +- {error:.3f}")
    axis.set(title=f"{sort} clicks", ylim=(0, 1))
    axis.set_xticks(range(3), ["three", "one", "hidden"])
axes[0].set_ylabel("IoU")
axes[0].legend()
plt.show()
for meant in ("outer", "inner"):
    values = (record.mean_and_error(of("three", meant, what)) for what in ("iou", "oracle"))
    print(
        f"three masks, {meant} shape meant: answer, oracle " + ", ".join("{:.3f} +- {:.3f}".format(*v) for v in values)
    )
for sort in ("clear", "ambiguous"):
    gap(f"{sort}: oracle of three less one mask", of("three", sort, "oracle"), of("single", sort, "iou"))
    gap(f"{sort}: answer of three less one mask", of("three", sort, "iou"), of("single", sort, "iou"))
    gap(f"{sort}: answer less hidden click", of("three", sort, "iou"), of("blind", sort, "iou"))
    print(f"{sort}: hidden click by seed:", *(f"{x:.3f}" for x in of("blind", sort, "iou")))

# %% [markdown]
# **In the stored run** the best of three masks has an IoU of 0.752 ± 0.024 on ambiguous clicks, one mask alone 0.416 ± 0.008.
# The answer by score has 0.530 ± 0.001. It is nearly always the outer shape: 0.860 ± 0.005 if that is meant, 0.201 ± 0.005
# if the inner one is. On clear clicks, too, it is ahead of one mask, by 0.059 ± 0.011. With a hidden click the answer to clear
# clicks falls by 0.432 ± 0.095, to 0.282 ± 0.081. One of these three runs hardly learned: it has 0.121. On ambiguous clicks
# the hidden click decides nothing. The other two runs have 0.539 and 0.536 there, as much as with a click, because the outer
# shape is seen without it.
#
# One mask is near the least that (7) allows between the two shapes. It hedges all the same: its loss is not the IoU. The
# answer of three masks stays below the bound, and the oracle passes it. Nobody knows the best mask without the target,
# but a person who sees three masks can pick one.
#
# Here are the first scenes of the test, each with an ambiguous click. The masks are those of the first seed.

# %%
drawn = stored.examples(stored.tests(0).subset(np.arange(4)), 0)
figure, axes = plt.subplots(4, 5, figsize=(8.2, 6.8), layout="constrained")
for i, row in enumerate(axes):
    row[0].imshow(np.clip(drawn["images"][i] / 2 + 0.5, 0, 1))
    row[0].plot(*drawn["clicks"][i, 2], "w+", markersize=9, markeredgewidth=2)
    shown = [(runs["single"][0]["pictures"], 0), *((runs["three"][0]["pictures"], m) for m in range(3))]
    for axis, (found, m) in zip(row[1:], shown, strict=True):
        axis.imshow(stored.unpacked(found["masks"][i][m]), cmap="gray", vmin=0, vmax=1)
        axis.set_xlabel(f"score {found['scores'][i][m]:.2f}", fontsize=8)
    for axis in row:
        axis.set(xticks=[], yticks=[])
for axis, title in zip(axes[0], ("image, click", "one mask", *(f"mask {m} of three" for m in (1, 2, 3))), strict=True):
    axis.set_title(title, fontsize=10)
plt.show()

# %% [markdown]
# The single mask is larger than the inner shape and smaller than the outer one. Of three masks the second is close to the outer
# shape, and the first is about as large as the inner one. The third is smaller still.
#
# ## Experiment 3: a second and a third click
#
# Someone who sees a wrong mask clicks again, on a pixel that is missing (foreground) or on one that is too much
# (background). Here the next click is in the middle of the largest error of the answer: the wrong pixel with the most
# wrong pixels close to it.
#
# **Predict first.** After two clicks, does one mask catch up with three on ambiguous clicks? What does the oracle of
# three gain?

# %%
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
curves = {"three": ("iou", "oracle"), "single": ("iou",)}
clicks = range(1, stored.CLICKS + 1)
for i, (run, kinds) in enumerate(curves.items()):
    for what in kinds:
        mean, error = np.transpose([record.mean_and_error(of(run, "ambiguous", what, n)) for n in clicks])
        name = NAMES[run] + (", oracle" if what == "oracle" else "")
        axis.errorbar(
            clicks, mean, error, fmt="os"[i] + ("--" if what == "oracle" else "-"), color=f"C{i}", capsize=4, label=name
        )
        print(f"{name:<20}", "  ".join(f"{n}: {m:.3f} +- {e:.3f}" for n, m, e in zip(clicks, mean, error, strict=True)))
axis.set(xlabel="clicks", ylabel="IoU, ambiguous first click", xticks=clicks)
axis.legend()
plt.show()
for run in curves:
    gap(f"{NAMES[run]}: second click", of(run, "ambiguous", "iou", 2), of(run, "ambiguous", "iou", 1))
    gap(f"{NAMES[run]}: third click", of(run, "ambiguous", "iou", 3), of(run, "ambiguous", "iou", 2))
for n in (2, 3):
    gap(
        f"answer of three less one mask, {n} clicks",
        of("three", "ambiguous", "iou", n),
        of("single", "ambiguous", "iou", n),
    )
    gap(
        f"oracle of three less one mask, {n} clicks",
        of("three", "ambiguous", "oracle", n),
        of("single", "ambiguous", "iou", n),
    )

# %% [markdown]
# **In the stored run** a second click lifts one mask by 0.152 ± 0.005 and a third by 0.054 ± 0.008, to 0.622 ± 0.006. The
# answer of three masks gains nothing that is decided. After 3 clicks one mask is ahead of it by 0.076 ± 0.015. The
# oracle of three, at 0.752 ± 0.019, is still ahead of one mask by 0.130 ± 0.013.
#
# More answers and more clicks are two ways to resolve the same doubt. Three masks have both shapes after one click, so a
# second click would have to change the scores. After 600 updates the scores hardly heed it. SAM's fourth mask is meant
# for prompts of several clicks.
#
# ## Experiment 4: is the score right?
#
# A score is a prediction of the IoU. It is **calibrated** if all answers with the score 0.8 have a mean IoU of 0.8. We
# collect the answers of one click by their score.
#
# Two rules are compared. In the preset all three scores learn the IoU of their masks. In (8) the score of the best mask
# alone learns.
#
# **Predict first.** Under (8) a score learns only from clicks on which its mask is the best one. Is the score of an
# ambiguous click then too high, too low, or right?

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
rules = {"three": "all scores learn", "best scored": "the best mask's score learns"}
for axis, (run, rule) in zip(axes, rules.items(), strict=True):
    for i, sort in enumerate(("clear", "ambiguous")):
        table = np.array([seed["calibration"][sort] for seed in runs[run][:seeds]])  # (seeds, bins, 3)
        number = table[..., 0].sum(axis=0)
        score, iou = ((table[..., 0] * table[..., j]).sum(axis=0)[number > 30] / number[number > 30] for j in (1, 2))
        axis.plot(score, iou, "os"[i] + "-", label=sort)
        said, true = (of(run, sort, what) for what in ("score", "iou"))
        means = ["{:.3f} +- {:.3f}".format(*record.mean_and_error(x)) for x in (said, true)]
        print(f"{rule}, {sort}: mean score {means[0]}, mean IoU {means[1]}")
        gap("   score less IoU", said, true)
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axis.set(title=rule, xlabel="score of the answer", xlim=(0, 1), ylim=(0, 1))
axes[0].set_ylabel("mean IoU of these answers")
axes[0].legend()
plt.show()
gap(
    "clear: IoU of the answer, all scores less best scored",
    of("three", "clear", "iou"),
    of("best scored", "clear", "iou"),
)

# %% [markdown]
# **In the stored run** the scores are too high if only the best mask's score learns: by 0.346 ± 0.005 for ambiguous
# clicks and by 0.123 ± 0.007 for clear ones. If all scores learn, those of ambiguous clicks are still too high, by
# 0.128 ± 0.011. Those of clear clicks are too low, by 0.062 ± 0.006. On clear clicks they choose better masks: the answer's
# IoU is 0.065 ± 0.007 higher.
#
# Under (8) a score answers another question: how good is this mask, if it is the best one? That is no prediction of the
# IoU. If all scores learn, their mean is nearly the same for clear and for ambiguous clicks. So the network hardly tells
# apart which clicks are ambiguous, after 600 updates.
#
# ## Where this goes wrong in practice
#
# - **x and y exchanged.** Clicks are (x, y), arrays are indexed by (row, column). On square images nothing complains.
# - **All masks learn.** The mean of three losses trains three masks to the same answer. The minimum has to be taken for
#   each prompt, before the mean over a batch.
# - **IoU of probabilities.** The threshold comes first: a logit above 0. An empty union needs a convention.
# - **A score that is read as a probability.** It is a predicted IoU at best, and under (8) not even that.
# - **Clicks of a kind that was never trained.** Without background clicks in training, their vector stays random.
#
# ## Exercises
#
# `hint("34.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **34.1 (ten minutes).** The code of a click, (2), for any image. Write it without looking at the cell above.


# %%
def code_of_clicks(points, G, height, width):
    """points: (n, 2) as (x, y) in pixels, G: (2, D/2) -> (n, D), all sines first"""
    ...  # your answer here


check("34.1", code_of_clicks)

# %% [markdown]
# **34.2 (ten minutes).** A pixel is nearly right: its right answer has the probability 0.9. Divide the gradient of the
# focal error with respect to its logit, without $\alpha$, by that of the cross-entropy. Give three digits of the ratio.

# %%
ratio = None  # your answer here
check("34.2", ratio)

# %% [markdown]
# **34.3 (fifteen minutes).** The loss is the smallest dice error of several masks, with the 1 above and below as in (6).
# Return it and its gradient with respect to all logits.


# %%
def best_of_masks(z, t):
    """z: (masks, n) logits, t: (n,) booleans -> loss, dz (masks, n)"""
    ...  # your answer here


check("34.3", best_of_masks)

# %% [markdown]
# **34.4 (fifteen minutes).** Now the inner shape is meant with the probability `chance`. Which single mask between the two
# shapes has the largest expected IoU? Return its area and this IoU. `inner` and `outer` are areas.


# %%
def best_single_mask(inner, outer, chance):
    """-> size, iou"""
    ...  # your answer here


check("34.4", best_single_mask)

# %% [markdown]
# **34.5 (five minutes).** The IoU of a mask, given as logits, with a target. If the union is empty, return 0.


# %%
def overlap(z, t):
    """z: (h, w) logits, t: (h, w) booleans -> a number"""
    ...  # your answer here


check("34.5", overlap)

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
# # 17 Fine-tuning at higher resolution
#
# A Vision Transformer is pre-trained on small images, because that is cheap. It is then **fine-tuned** (trained
# further, on the task that matters) on larger images, because more pixels help (section 3.2 of the paper,
# [Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)). The patch size stays the same, so there are more
# patches. The weights of the blocks fit any number of tokens. Only one table does not fit: the position embeddings, one
# row per patch. At the end you will be able to
#
# - resize that table to a new grid, with loops and with two matrix products, and derive the backward pass,
# - tell the two common conventions apart,
# - measure what interpolation is worth, against two ways of doing without it.
#
# You need notebooks [02](02_shapes.ipynb), [04](04_tokens_and_positions.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 60 s of CPU time (fast mode 10 s).

# %%
import dataclasses

import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored
from experiments.answers import unpacked

from minivit.data import ArrayDataset, resize
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, fit, full_or_fast, photographs, show_source
from minivit.models import ViT, ViTConfig, resize_posemb
from minivit.models.posemb import resize_matrix
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(17)

# %% [markdown]
# ## The equation
#
# The paper says it in words: "2D interpolation of the pre-trained position embeddings, according to their location in
# the original image" (section 3.2). The rows of the table that belong to patches form a grid $G$ of vectors:
# $G_{uv} \in \mathbb{R}^D$ is the position of the patch in row $u$, column $v$. Each vector of the new grid is a
# weighted sum of old ones. A weight is a product of two factors, one for the rows and one for the columns:
#
# $$G'_{u'v'} = \sum_{u}\sum_{v} W^\mathrm{rows}_{u'u}\, W^\mathrm{cols}_{v'v}\, G_{uv}, \qquad\text{for each feature: } G' = W^\mathrm{rows}\,G\,(W^\mathrm{cols})^\top .$$
#
# The [class] token has no place in the image, so its row is copied.
#
# Can a *learned* table be interpolated? Only if neighbouring rows are alike. Training tends to make them so;
# notebook [18](18_looking_inside.ipynb) measures it. A fixed table of sines and cosines is not interpolated: it is
# computed again for the new grid.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $h$, $w$ | rows and columns of the grid of patches | numbers | `h, w` |
# | $h'$, $w'$ | rows and columns of the new grid | numbers | `h2, w2` |
# | $D$ | width of the model | number | `D` |
# | $\mathbf{E}_{pos}$ | position embedding; its rows after the first are $G$ | $(1 + hw, D)$ | `table` |
# | $G$, $G'$ | old and new grid of position embeddings | $(h, w, D)$, $(h', w', D)$ | `G`, `new` |
# | $u, v$ and $u', v'$ | row and column of a patch in the old and in the new grid | numbers | `u, v` and `i, j` |
# | $W^\mathrm{rows}$, $W^\mathrm{cols}$ | weights for rows, for columns; each row of them sums to 1 | $(h', h)$, $(w', w)$ | `W_rows`, `W_cols` |
# | $\mathrm{d}G$ | gradient of the loss with respect to $G$ | that of $G$ | `dG` |
#
# ## Weights along one axis
#
# Put the old places at $0, 1, \ldots, \text{old}-1$ (at least two). Spread the new ones (at least two) evenly between
# the same ends: new place $i$ lies at $i\,\frac{\text{old}-1}{\text{new}-1}$. **Linear interpolation** takes the two
# old places around it. If the new place lies a share $a$ of the way from the lower to the upper one, the lower gets the
# weight $1 - a$ and the upper the weight $a$. So each row of the weights has at most two entries that are not zero.


# %% tags=["yours"]
def linear_weights(old, new):
    """(new, old) weights; the first and the last place stay where they are."""
    weights = np.zeros((new, old))
    for i in range(new):
        place = i * (old - 1) / (new - 1)
        below = min(int(place), old - 2)  # the last place lies at the end of the last interval
        weights[i, below] = 1 - (place - below)
        weights[i, below + 1] = place - below
    return weights


# %%
h, w, D = 3, 4, 2
h2, w2 = 5, 6
W_rows, W_cols = linear_weights(h, h2), linear_weights(w, w2)
print(W_rows)
agree("row sums", W_rows.sum(axis=1), np.ones(h2))

# %% [markdown]
# ## Forward: loops, then two products
#
# First the formula as it stands: for each new place the sum over all old ones.

# %%
G = rng.standard_normal((h, w, D))


# %% tags=["yours"]
def resized_with_loops(G, W_rows, W_cols):
    """(h, w, D), (h', h), (w', w) -> (h', w', D)."""
    new = np.zeros((len(W_rows), len(W_cols), G.shape[2]))
    for i in range(len(W_rows)):
        for j in range(len(W_cols)):
            for u in range(G.shape[0]):
                for v in range(G.shape[1]):
                    new[i, j] += W_rows[i, u] * W_cols[j, v] * G[u, v]
    return new


# %% [markdown]
# Rows and columns can be done one after the other. `einsum` names the axes: the first product sums over the old rows
# `u`, the second over the old columns `v`.

# %% tags=["yours"]
# over the old rows: (h', w, D)
rows_done = np.einsum("iu,uvd->ivd", W_rows, G)
# over the old columns: (h', w', D)
new = np.einsum("jv,ivd->ijd", W_cols, rows_done)

agree("new grid", new, resized_with_loops(G, W_rows, W_cols))

# %% [markdown]
# ## Backward
#
# In fine-tuning the *resized* table is trained, so no gradient passes through the resizing. But the operation is
# linear, and its backward pass is short. Suppose $\mathrm{d}G'$ is given. On its way to $G'_{u'v'}$ the entry $G_{uv}$
# is multiplied by $W^\mathrm{rows}_{u'u}\,W^\mathrm{cols}_{v'v}$, so it collects
#
# $$\mathrm{d}G_{uv} = \sum_{u'}\sum_{v'} W^\mathrm{rows}_{u'u}\,W^\mathrm{cols}_{v'v}\,\mathrm{d}G'_{u'v'}, \qquad \mathrm{d}G = (W^\mathrm{rows})^\top\,\mathrm{d}G'\,W^\mathrm{cols} .$$
#
# In two steps, in the reverse order of the forward pass:

# %%
d_new = rng.standard_normal(new.shape)

# %% tags=["yours"]
# back through the columns: (h', w, D)
d_rows_done = np.einsum("jv,ijd->ivd", W_cols, d_new)
# back through the rows: (h, w, D)
dG = np.einsum("iu,ivd->uvd", W_rows, d_rows_done)

# %%
tG = Tensor(G, requires_grad=True)
by_rows = Tensor(W_rows) @ tG.reshape(h, w * D)  # the same with the engine's matrix products
across = Tensor(W_cols) @ by_rows.reshape(h2, w, D)
engine = dict(zip(["G", "rows_done"], grad(across, [tG, by_rows], d_new), strict=True))
agree("d_rows_done", d_rows_done.reshape(h2, w * D), engine["rows_done"])
agree("dG", dG, engine["G"])

# %% [markdown]
# This is **not** interpolating back. The rows of the transposed weights do not sum to 1: an old vector that contributes
# to many new ones collects from all of them.

# %%
print("columns of W_rows sum to", W_rows.sum(axis=0))


def resize_op(G):
    """G' = W_rows G W_cols^T for each feature, and its pullback."""

    def vjp(d_new):
        return (np.einsum("iu,jv,ijd->uvd", W_rows, W_cols, d_new),)

    return np.einsum("iu,jv,uvd->ijd", W_rows, W_cols, G), vjp


# W_rows and W_cols are float64, so float32 input would not stay float32
print(f"largest relative error of the gradient: {check_vjp(resize_op, G, dtypes=('float64',)):.1e}")

# %% [markdown]
# ## The library
#
# `resize_posemb` resizes the whole table, [class] row included. Find the two matrices and the copied row.

# %%
show_source(resize_posemb)

# %%
table = np.concatenate([rng.standard_normal((1, D)), G.reshape(h * w, D)])
resized = resize_posemb(table, (h, w), (h2, w2))
agree("grid", new.reshape(h2 * w2, D), resized[1:])
agree("[class] row", table[0], resized[0])

# %% [markdown]
# ## Two conventions
#
# Where do the new places lie? The published code puts the first and the last *patch centres* of both grids on top of
# each other, as above (`align_corners`). Most image libraries put the *edges of the image* on top of each other. Then
# the centre of new patch $i$ lies at $(i + \frac12)\frac{\text{old}}{\text{new}} - \frac12$ in old coordinates
# (`half_pixel`). If weights were made for one convention and are resized by the other, the result is slightly shifted,
# and nothing complains.

# %%
old, new_size = 4, 7
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
for edge in (-0.5, old - 0.5):
    axes.axvline(edge, color="black", linewidth=1.5)
for place in range(old):
    axes.axvline(place, color="lightgray", zorder=0)
axes.plot(range(old), np.full(old, 2), "ko", markersize=10)
for row, (method, color) in enumerate((("align_corners", "tab:blue"), ("half_pixel", "tab:orange"))):
    places = resize_matrix(old, new_size, method) @ np.arange(old)
    axes.plot(places, np.full(new_size, 1 - row), "o", color=color, markersize=10)
axes.set(
    xlabel="place in the old grid, in patches; black lines: edges of the image",
    xticks=range(old),
    yticks=[2, 1, 0],
    yticklabels=["4 old places", "7 new, align_corners", "7 new, half_pixel"],
    ylim=(-0.6, 2.6),
    title="Where the new places lie",
)
plt.show()
print("align_corners", np.round(resize_matrix(old, new_size, "align_corners") @ np.arange(old), 2))
print("half_pixel   ", np.round(resize_matrix(old, new_size, "half_pixel") @ np.arange(old), 2))
agree("align_corners", resize_matrix(h, h2, "align_corners"), W_rows)

# %% [markdown]
# With `half_pixel` the first and the last new place would lie outside the old ones, at $-0.21$ and $3.21$. The values
# there repeat those of the outermost old places.
#
# ## A quick look: before fine-tuning
#
# We pre-train a small ViT on images of 32 × 32 pixels and then enlarge the images to 48 × 48. The patches stay at
# 8 × 8 pixels, so there are $6 \times 6$ of them instead of $4 \times 4$. Three ways to get the position embeddings:
#
# | way | the new table |
# |---|---|
# | 2-D interpolation | as above |
# | 1-D interpolation | the table is stretched as if it were a list, without regard to rows and columns |
# | fresh | new random numbers with standard deviation 0.02, as at the start of training |
#
# The [class] row is copied in all three. A table of zeros is a fourth way, to compare with.

# %%
large_size = (48, 48)
small, small_test = photographs(full_or_fast(10000, 400), full_or_fast(2000, 200))
large_test = ArrayDataset(
    np.stack([resize(image, large_size) for image in small_test.images]),
    small_test.labels,
    small_test.classes,
    small_test.name,
)
config = ViTConfig(image_size=32, patch_size=8, width=64, depth=4, heads=4, num_classes=10)
model = ViT(config)
_ = fit(model, small, full_or_fast(800, 10), lr=1e-3)

# %%
large_config = dataclasses.replace(config, image_size=large_size)
old_table = model.position_embedding.data  # (1, 1 + 16, D)


def new_table(way):
    """(1, 1 + 36, D): position embeddings for the large images."""
    if way == "2-D interpolation":
        return resize_posemb(old_table, config.grid, large_config.grid)
    places = large_config.num_positions - 1
    if way == "1-D interpolation":
        patches = resize_matrix(old_table.shape[1] - 1, places, "align_corners") @ old_table[0, 1:]
    else:
        std = {"fresh": 0.02, "zeros": 0.0}[way]
        patches = std * np.random.default_rng(0).standard_normal((places, config.width))
    return np.concatenate([old_table[:, :1], patches[None]], axis=1).astype(np.float32)


def transferred(way):
    """The pre-trained model for large images."""
    large_model = ViT(large_config)
    large_model.load_state_dict(dict(model.state_dict()) | {"position_embedding": new_table(way)})
    return large_model


# %% [markdown]
# **Predict first.** Without any fine-tuning, on the enlarged images: which of the four tables does best, and does a
# random table do better or worse than zeros?

# %%
print(f"{small.name}, accuracy on {len(small_test)} test images, before fine-tuning")
print(f"{'32 x 32 pixels, old table':<26} {accuracy(model, small_test):.1%}")
for way in ("2-D interpolation", "1-D interpolation", "fresh", "zeros"):
    print(f"{way:<26} {accuracy(transferred(way), large_test):.1%}")
print(f"standard deviation of the trained position embeddings: {old_table[0, 1:].std():.3f}")

# %% [markdown]
# **In the stored run** 2-D interpolation does best with 38.8 %. The fresh table has 36.1 % and zeros 36.0 %: before
# fine-tuning, random positions are no better than none. This is one model; the next experiment has three.
#
# The accuracy drops against the first line for two reasons. A patch of the enlarged image shows a smaller part of it,
# and the positions are new. Only the differences *between* the four tables are due to the positions alone.
#
# ## Experiment: what is it worth after fine-tuning?
#
# A longer run is stored (`notebooks/experiments/higher_resolution.py` has the details; it takes a quarter of an hour).
# Three models were pre-trained, each from its own seed, on 35,000 images of CIFAR-10 for 1,500 updates. Then each was
# fine-tuned at 48 × 48 pixels on 10,000 *other* images, with each of the three tables. A **control** had the same
# images and updates but stayed at 32 × 32.
#
# Fine-tuning is as in the paper (Table 4): SGD with momentum 0.9, cosine schedule, no weight decay, gradients clipped
# to norm 1. The learning rate was chosen for each way alone, on 5,000 images that no model was trained on. The test
# images played no part in that choice. These differences from the paper matter:
#
# | | paper, for CIFAR-10 | here |
# |---|---|---|
# | pre-training | other and far more images, at 224 × 224 | other images of CIFAR-10, at 32 × 32 |
# | fine-tuning | 10,000 updates of 512 images, at 384 × 384 | 150 updates of 128 images, at 48 × 48 |
# | learning rates tried | 0.001, 0.003, 0.01, 0.03 | 0.001, 0.003, 0.01, 0.03, 0.1 |
# | head | removed; a new one of zeros, since the classes are others | kept, since the classes are the same |
#
# Enlarged images have no more detail than before. (This holds for CIFAR-10 in the paper as well.)
#
# **Predict first.** After fine-tuning, is the gap between 2-D interpolation and fresh random positions larger or
# smaller than before? And which of the four ends highest?

# %%
stored = record.read("higher_resolution")
ways, runs = list(stored["results"]), stored["results"]
settings = stored["config"]
for way, tried in stored["rates_tried"].items():
    listed = ", ".join(f"{accuracy:.1%} at {rate}" for rate, accuracy in tried.items())
    print(f"{way:<18} on the held-out images: {listed}")

figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for way, style in zip(ways, ("o-", "s--", "d:", "x-."), strict=True):
    curve = np.array([run["curve"] for run in runs[way]])  # (models, points)
    updates = settings["every"] * np.arange(curve.shape[1])
    error = curve.std(axis=0, ddof=1) / np.sqrt(len(curve))
    label = "control, at 32 x 32" if way == "control" else way
    axes.errorbar(updates, curve.mean(axis=0), error, fmt=style, capsize=3, label=label)
axes.set(
    xlabel="updates of fine-tuning",
    ylabel="test accuracy",
    title=f"mean and standard error of {len(curve)} pre-trained models, {settings['curve_images']:,} test images",
)
axes.legend()
plt.show()

# %% [markdown]
# All ways are measured on the same test images. So the error of a difference is smaller than the bars suggest; it is
# computed image by image. Let $g$ be 1 for an image that only the first way gets right, $-1$ for an image that only the
# second gets right, and 0 otherwise. The difference of the accuracies is the mean of $g$, and its standard error is the
# standard deviation of $g$ over $\sqrt n$ for $n$ images. We take $g$ as the mean over the three models. The second
# error is that of the three models: the standard deviation of their three differences over $\sqrt 3$.


# %%
def right(run):
    """(n,): 1 for each test image that the run gets right, else 0."""
    return unpacked(run["right"]).astype(float)


right_by_way = {way: np.stack([right(run) for run in runs[way]]) for way in ways}  # (models, n)


# %% tags=["yours"]
def paired(first, second):
    """(models, n) each -> the mean difference, its error over the images and its error over the models."""
    gaps = first - second
    of_images = gaps.mean(axis=0).std(ddof=1) / np.sqrt(gaps.shape[1])
    of_models = gaps.mean(axis=1).std(ddof=1) / np.sqrt(gaps.shape[0])
    return gaps.mean(), of_images, of_models


# %%
print(f"accuracy on {len(right_by_way['control'][0]):,} test images, mean of {len(curve)} models")
for way in ways:
    before = np.mean([run["before"] for run in runs[way]])
    print(f"{way:<18} {before:.1%} before fine-tuning, {right_by_way[way].mean():.1%} after")
print("differences after fine-tuning, in percentage points")
for first, second in (
    ("2-D interpolation", "1-D interpolation"),
    ("2-D interpolation", "fresh"),
    ("1-D interpolation", "fresh"),
    ("2-D interpolation", "control"),
    ("fresh", "control"),
):
    gap, of_images, of_models = 100 * np.array(paired(right_by_way[first], right_by_way[second]))
    print(f"{first:<18} - {second:<18} {gap:+.1f} ± {of_images:.1f} (images) ± {of_models:.1f} (models)")

# %% [markdown]
# **In the stored run** 2-D interpolation ends 4.1 points above fresh positions, ± 0.3 by the images and ± 0.2 by the
# models. Before fine-tuning it was 46.4 % against 38.4 %, so fine-tuning halved the gap and did not close it. 2-D also
# ends 3.4 points above 1-D and 1.9 above the control. Fresh positions end 2.2 points *below* the control: with them the
# larger images do harm.
#
# The two errors leave out a third one, that of the chosen rate: on the held-out images several rates of a way are
# nearly equal, and 1-D chose the smallest that was tried. Each way has its own rate, so compare the ends of the curves
# and not their middles.
#
# Why does 2-D beat the control, although enlarged images hold nothing new? There are more tokens, each patch shows a
# smaller part of the image, and the model does more arithmetic for it ([16](16_shape_scaling.ipynb)). A learned table
# can be learned again, so with enough data and updates the gaps between the three tables should close. Interpolation
# then saves time.
#
# ## Where this goes wrong in practice
#
# - **The [class] row is interpolated as well.** The table has $1 + hw$ rows; reshape only the last $hw$ of them.
# - **Rows and columns are exchanged** in the reshape. For square grids the shapes agree and the positions are
#   transposed. Test with a grid that is not square.
# - **The other convention** (`half_pixel` instead of `align_corners`, or a bicubic filter). Weights from one library,
#   resized by another, give slightly other logits. `load_pretrained` chooses by the file's format; its documentation
#   says how.
# - **Attention gets softer.** A softmax over more keys spreads its weight. The scale $1/\sqrt{D_h}$ does not know the
#   number of tokens.
#
# ## Exercises
#
# `hint("17.2")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **17.1 (one line).** ViT-B/16 is pre-trained at 224 × 224 pixels and fine-tuned at 384 × 384 (the setting of the
# paper's Table 5). How many rows does the resized table of position embeddings have, the [class] row included?

# %%
answer = None  # your answer here: a number

check("17.1", answer)

# %% [markdown]
# **17.2 (ten minutes).** Write, in NumPy, the weights along one axis for the other convention, `half_pixel`. New place
# $i$ lies at $(i + \frac12)\frac{\text{old}}{\text{new}} - \frac12$; a place before the first old one is moved to the
# first, and a place behind the last to the last.


# %%
def half_pixel_weights(old, new):
    """-> (new, old); each row sums to 1"""
    ...  # your answer here


check("17.2", half_pixel_weights)

# %% [markdown]
# **17.3 (fifteen minutes).** Resize a whole table in NumPy, from a grid `old = (h, w)` to `new = (h2, w2)`. The
# function `weights(old, new)` for one axis is given to you. The [class] row must not change.


# %%
def resize_table(table, old, new, weights):
    """table: (1 + h*w, D); old: (h, w); new: (h2, w2); weights: a function (old, new) -> (new, old) -> (1 + h2*w2, D)"""
    ...  # your answer here


check("17.3", resize_table)

# %% [markdown]
# **17.4 (an hour).** The backward pass of 17.3, in NumPy as well: from the gradient of the new table to the gradient of
# the old one.


# %%
def resize_table_backward(d_new, old, new, weights):
    """d_new: (1 + h2*w2, D), gradient of the new table -> (1 + h*w, D)"""
    ...  # your answer here


check("17.4", resize_table_backward)

# %% [markdown]
# Next: [18, looking inside](18_looking_inside.ipynb).

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
# A Vision Transformer is pre-trained on small images, because that is cheap, and **fine-tuned** on larger ones, because more pixels help (section 3.2 of the paper,
# [Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)). The patch size stays, so there are more patches, and the blocks do not mind: no weight of theirs depends on the number of tokens.
# One table does: the position embeddings, one row per patch. At the end you will be able to
#
# - resize that table to a new grid, as loops and as two matrix products, and derive the backward pass,
# - tell the two common conventions apart, where the corners lie and where the patch centres lie,
# - measure what interpolation is worth, against two ways of doing without.
#
# You need notebooks [02](02_shapes.ipynb), [04](04_tokens_and_positions.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 175 s of CPU time (fast mode 10 s).

# %%
import dataclasses

import matplotlib.pyplot as plt
import numpy as np

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
# The paper says it in words: "2D interpolation of the pre-trained position embeddings, according to their location in the original image" (section 3.2). In symbols: the rows of the table that belong to patches form a grid $G$ of
# vectors, $G_{uv} \in \mathbb{R}^D$ for the patch in row $u$, column $v$. Each vector of the new grid is a weighted sum of old ones, and the weights are products of one for the rows and one for the columns:
#
# $$G'_{u'v'} = \sum_{u}\sum_{v} A_{u'u}\, B_{v'v}\, G_{uv}, \qquad\text{for each feature: } G' = A\,G\,B^\top .$$
#
# The row of the [class] token has no place in the image. It is copied. (Can a *learned* table be interpolated? Training tends to make the rows of neighbouring patches alike; [18](18_looking_inside.ipynb) measures it.
# A fixed table of sines and cosines need not be interpolated: it is computed for the new grid.)
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $h, w$ and $h', w'$ | rows and columns of the old and the new grid | numbers | `h, w`, `H, W` |
# | $u, v$ and $u', v'$ | row and column of a patch in the old and in the new grid | numbers | `u, v` and `i, j` |
# | $D$ | width | number | `D` |
# | $G$, $G'$ | old and new grid of position embeddings | $(h, w, D)$, $(h', w', D)$ | `G`, `new` |
# | $A$, $B$ | weights for rows, for columns; each row of them sums to 1 | $(h', h)$, $(w', w)$ | `A`, `B` |
# | $\mathrm{d}G$ | gradient of the loss with respect to $G$ | that of $G$ | `dG` |
#
# ## Weights along one axis
#
# Put the $h$ old places at $0, 1, \ldots, h-1$ and the $h'$ new ones evenly between the same ends (for at least two old and two new places). New place $i$ then has the coordinate $i\,\frac{h-1}{h'-1}$. **Linear interpolation** takes the old places below and above it, in proportion to
# their nearness. Each new place is a row of $A$ with at most two entries that are not zero.


# %%
def linear_weights(old, new):
    """(new, old) weights; first and last place stay where they are."""
    weights = np.zeros((new, old))
    for i in range(new):
        place = i * (old - 1) / (new - 1)
        below = min(int(place), old - 2)
        t = place - below  # how far from the place below to the place above, 0..1
        weights[i, below] = 1 - t
        weights[i, below + 1] = t
    return weights


h, w, D = 3, 4, 2
H, W = 5, 6
A, B = linear_weights(h, H), linear_weights(w, W)
print(A)

# %% [markdown]
# ## Forward: loops, then two products
#
# First the formula as it stands, one new place at a time.

# %%
G = rng.standard_normal((h, w, D))

new_loops = np.zeros((H, W, D))
for i in range(H):
    for j in range(W):
        for u in range(h):
            for v in range(w):
                new_loops[i, j] += A[i, u] * B[j, v] * G[u, v]

# %% [markdown]
# Rows and columns can be done one after the other. `einsum` names the axes: the first product sums over the old rows `u`, the second over the old columns `v`.

# %%
rows_done = np.einsum("iu,uvd->ivd", A, G)  # (H, w, D)
new = np.einsum("jv,ivd->ijd", B, rows_done)  # (H, W, D)

agree("new grid", new, new_loops)

# %% [markdown]
# ## Backward
#
# During fine-tuning the *resized* table is what is trained, so the training itself needs no gradient through the resizing. But the operation is linear, and its backward pass is the shortest of all. Somebody hands us $\mathrm{d}G'$.
# In $G' = A\,G\,B^\top$ the entry $G_{uv}$ is multiplied by $A_{u'u}B_{v'v}$ on its way to $G'_{u'v'}$, so it collects
#
# $$\mathrm{d}G_{uv} = \sum_{u'}\sum_{v'} A_{u'u}\,B_{v'v}\,\mathrm{d}G'_{u'v'}, \qquad \mathrm{d}G = A^\top\,\mathrm{d}G'\,B .$$
#
# In two steps, in the reverse order of the forward pass:

# %%
d_new = rng.standard_normal(new.shape)
d_rows_done = np.einsum("jv,ijd->ivd", B, d_new)
dG = np.einsum("iu,ivd->uvd", A, d_rows_done)

tG = Tensor(G, requires_grad=True)
by_rows = Tensor(A) @ tG.reshape(h, w * D)  # the same with the engine's matrix products
across = Tensor(B) @ by_rows.reshape(H, w, D)
engine = dict(zip(["G", "rows_done"], grad(across, [tG, by_rows], d_new), strict=True))
agree("d_rows_done", d_rows_done.reshape(H, w * D), engine["rows_done"])
agree("dG", dG, engine["G"])

# %% [markdown]
# This is **not** interpolating back. The transposed weights do not sum to 1 along their rows: an old vector that contributes to many new ones collects from all of them.

# %%
print("columns of A sum to", A.sum(axis=0))


def resize_op(G):
    """G' = A G B^T for each feature, and its pullback."""

    def vjp(d_new):
        return (np.einsum("iu,jv,ijd->uvd", A, B, d_new),)

    return np.einsum("iu,jv,uvd->ijd", A, B, G), vjp


# A and B are float64, so float32 input would not stay float32
print(f"largest relative error of the gradient: {check_vjp(resize_op, G, dtypes=('float64',)):.1e}")

# %% [markdown]
# ## The library
#
# `resize_posemb` does it on the whole table, [class] row included. Find $A$, $B$ and the copied row.

# %%
show_source(resize_posemb)

# %%
table = np.concatenate([rng.standard_normal((1, D)), G.reshape(h * w, D)])
resized = resize_posemb(table, (h, w), (H, W))
agree("grid", new.reshape(H * W, D), resized[1:])
agree("[class] row", table[0], resized[0])

# %% [markdown]
# ## Two conventions
#
# Where do the new places lie? The published code puts the *corners* on top of each other, as above (`align_corners`). Most image libraries put the *edges of the image* on top of each other, so that the centre of patch $i$ lies at
# $(i + \frac12)\frac{h}{h'} - \frac12$ in old coordinates (`half_pixel`). Weights of one kind read by the other kind of code come out slightly shifted, and nothing complains.

# %%
old, new_size = 4, 7
wave = np.array([0.0, 1.0, 0.2, 0.8])
figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
axes.plot(np.arange(old), wave, "k.-", markersize=12, label="old values")
for method, marker in (("align_corners", "o"), ("half_pixel", "s")):
    weights = resize_matrix(old, new_size, method)
    axes.plot(
        weights @ np.arange(old),
        weights @ wave,
        marker,
        fillstyle="none",
        markersize=9,
        label=f"{new_size} new, {method}",
    )
axes.set(xlabel="place in the old grid (patches)", ylabel="one feature", title="One axis, from 4 places to 7")
axes.legend(loc="lower center")
plt.show()
agree("align_corners", resize_matrix(h, H, "align_corners"), A)

# %% [markdown]
# (When the grid grows, `half_pixel` would have to look beyond the edge at both ends. The last value is repeated there: the first and the last square lie on old points.)
#
# ## Experiment: what is it worth?
#
# We pre-train a small ViT on images of 32 × 32 pixels and then enlarge the images to 48 × 48. The patch size stays 8, so there are $6 \times 6$ patches instead of $4 \times 4$. Three ways to get the missing position embeddings:
#
# - **2-D interpolation**, as above,
# - **1-D interpolation**: the table is stretched as if it were a list; it takes no notice of rows and columns,
# - **fresh**: new random numbers, as at the start of training.
#
# Then we fine-tune: on half of the same training images, enlarged, with about a third of the learning rate and, as in the paper (Table 4), without weight decay. The **control** has the same images and steps, but remains at 32 × 32.

# %%
small, small_test = photographs(full_or_fast(10000, 400), full_or_fast(2000, 200))
large_size = (48, 48)


def enlarged(dataset):
    """The same images with 48 x 48 pixels."""
    images = np.stack([resize(image, large_size) for image in dataset.images])
    return ArrayDataset(images, dataset.labels, dataset.classes, dataset.name)


half = small.subset(np.arange(len(small) // 2))
large, large_test = enlarged(half), enlarged(small_test)
config = ViTConfig(image_size=32, patch_size=8, width=64, depth=4, heads=4, num_classes=10)
model = ViT(config)
fit(model, small, full_or_fast(500, 10), lr=1e-3)
print(f"{small.name}: after pre-training, accuracy {accuracy(model, small_test):.1%} at 32 x 32 pixels")

# %%
large_config = dataclasses.replace(config, image_size=large_size)
old_table = model.position_embedding.data


def transferred(way, seed, std=0.02):
    """The pre-trained model for large images, with position embeddings made in one of three ways.   std: of fresh ones"""
    if way == "2-D interpolation":
        table = resize_posemb(old_table, config.grid, large_config.grid)
    elif way == "1-D interpolation":
        patches, places = old_table[0, 1:], large_config.grid[0] * large_config.grid[1]
        table = np.concatenate(
            [old_table[:, :1], (resize_matrix(len(patches), places, "align_corners") @ patches)[None]], axis=1
        )
    else:
        fresh = std * np.random.default_rng(seed).standard_normal((1, large_config.num_positions, config.width))
        table = np.concatenate([old_table[:, :1], fresh[:, 1:]], axis=1)
    large_model = ViT(large_config)
    large_model.load_state_dict(dict(model.state_dict()) | {"position_embedding": table.astype(np.float32)})
    return large_model


def unchanged():
    """A copy of the pre-trained model."""
    copy = ViT(config)
    copy.load_state_dict(dict(model.state_dict()))
    return copy


print(f"the trained position embeddings have a standard deviation of {old_table[0, 1:].std():.3f}, fresh ones 0.020")
print(f"with zeros instead: accuracy {accuracy(transferred('fresh', 0, std=0.0), large_test):.1%} before fine-tuning")

# %%
ways = ["2-D interpolation", "1-D interpolation", "fresh", "control"]
seeds, steps, every = full_or_fast((range(3), 60, 15), (range(2), 4, 2))
curves = {way: np.zeros((len(seeds), 1 + steps // every)) for way in ways}
for way in ways:
    train_set, test_set = (half, small_test) if way == "control" else (large, large_test)
    for row, seed in enumerate(seeds):
        tuned = unchanged() if way == "control" else transferred(way, seed)
        curves[way][row, 0] = accuracy(tuned, test_set)

        # defaults: the values of this round of the loop
        def measure(done, curve=curves[way][row], tuned=tuned, test_set=test_set):
            if done % every == 0:
                curve[done // every] = accuracy(tuned, test_set)

        fit(tuned, train_set, steps, lr=3e-4, weight_decay=0.0, seed=seed, watch=measure)

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for (way, values), style in zip(curves.items(), ("o-", "s--", "d:", "x-."), strict=True):
    error = values.std(axis=0, ddof=1) / np.sqrt(len(seeds))
    label = "control, at 32 x 32" if way == "control" else way
    axes.errorbar(every * np.arange(values.shape[1]), values.mean(axis=0), error, fmt=style, capsize=3, label=label)
axes.set(
    xlabel="steps of fine-tuning at 48 x 48",
    ylabel="test accuracy",
    title=f"{small.name}: mean and standard error of {len(seeds)} seeds of fine-tuning",
)
axes.legend()
plt.show()

# %%
for way, values in curves.items():
    before, after = values[:, 0].mean(), values[:, -1].mean()
    error = values[:, -1].std(ddof=1) / np.sqrt(len(seeds))
    print(f"{way:<18} {before:.1%} before fine-tuning, {after:.1%} ± {error:.1%} after {steps} steps")

# %% [markdown]
# At the left end nothing has been trained. What the three lose there against the control has two causes: a patch of the enlarged image shows a smaller part of it, and the positions are new. Only the differences *between* the three
# are due to the positions alone. If a table of zeros, printed above, does as well as the fresh one, fresh numbers are not wrong positions but none.
#
# Does fine-tuning close these gaps? Compare the two columns. With enough data and time it should close them all, since the table is learned; then what interpolation buys is time.
#
# The bars show only what the seed of fine-tuning changes (the left ends draw nothing at random, except for the fresh table). All runs start from one pre-trained model and are measured on the same $n$ test images. Another draw
# of these would move an accuracy $p$ by about $\sqrt{p(1-p)/n}$, and the difference of two curves usually by less, because they share the images. A difference of a fraction of a percentage point is not established by this figure.
#
# Two differences from the paper matter here. It throws the pre-training head away and attaches one of zeros, because the new data has other classes (ours are the same, so we keep the head and can measure before any fine-tuning). And its
# larger images have more detail; ours were only enlarged. If a curve ends above the control nevertheless, it is not for the additional steps, which the control had too: there are more tokens, each patch shows a smaller part of the
# image, and the model does more arithmetic for it ([16](16_shape_scaling.ipynb)).
#
# ## Where this goes wrong in practice
#
# - **The [class] row is interpolated as well.** The table has $1 + hw$ rows; reshape the last $hw$ of them.
# - **Rows and columns exchanged** in the reshape. For square grids the shapes agree and the positions are transposed. Test with a grid that is not square.
# - **The other convention** (`half_pixel` instead of `align_corners`, or a bicubic filter): weights from one library, resized by another, give slightly other logits. `load_pretrained` chooses by the file's format and says so in its documentation.
# - **Attention gets softer.** A softmax over more keys spreads its weight; the scale $1/\sqrt{D_h}$ knows nothing of the number of tokens.
#
# ## Exercises
#
# **17.1 (one line).** ViT-B/16 is pre-trained at 224 × 224 pixels and fine-tuned at 384 × 384 (Table 5's setting). How many rows has the resized table of position embeddings, that of the [class] token included?

# %%
answer = None  # your answer here: a number

check("17.1", answer)

# %% [markdown]
# **17.2 (ten minutes).** Write, in NumPy, the weights along one axis for the other convention, `half_pixel`: new place $i$ lies at $(i + \frac12)\frac{\text{old}}{\text{new}} - \frac12$, but not before the first and not behind the last old place.


# %%
def half_pixel_weights(old, new):
    """-> (new, old); each row sums to 1"""
    ...  # your answer here


check("17.2", half_pixel_weights)

# %% [markdown]
# **17.3 (fifteen minutes).** Resize a whole table in NumPy, from a grid `old = (h, w)` to `new = (h2, w2)`, with `weights(old, new)` for one axis given to you. The [class] row must not move.


# %%
def resize_table(table, old, new, weights):
    """table: (1 + h*w, D); old: (h, w); new: (h2, w2); weights: a function (old, new) -> (new, old) -> (1 + h2*w2, D)"""
    ...  # your answer here


check("17.3", resize_table)

# %% [markdown]
# **17.4 (an hour).** The backward pass of 17.3, in NumPy as well: from the gradient of the new table to that of the old one.


# %%
def resize_table_backward(d_new, old, new, weights):
    """d_new: (1 + h2*w2, D), gradient of the new table -> (1 + h*w, D)"""
    ...  # your answer here


check("17.4", resize_table_backward)

# %% [markdown]
# Next: [18, looking inside](18_looking_inside.ipynb).

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
# # 04 The [class] token and the positions
#
# Notebook [03](03_patches.ipynb) has made a token of every patch. Two things are missing before the Transformer can start: a token that will hold the
# answer, and a way to tell where in the image a patch was. This notebook completes **Eq. 1** of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1). At the end you will be able to
#
# - prepend the [class] token and add the position embedding, as loops and vectorised, and derive the backward pass,
# - show that without positions the model cannot know the order of its patches, and that it does with them,
# - repeat the paper's comparison of position embeddings (appendix D.4) on handwritten digits, and judge whether its result shows.
#
# You need broadcasting (notebook [02](02_shapes.ipynb)); the pullback of a concatenation is derived here. Attention follows in notebook
# [07](07_attention.ipynb); here it is enough to know its formula.
#
# **Budget:** 55 s of CPU time (fast mode 6 s).

# %%
import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit.data import ArrayDataset
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, result_file, show_source
from minivit.models import ViT, ViTConfig
from minivit.models.posemb import sincos_2d
from minivit.models.positions import patch_positions
from minivit.nn import MLP, EncoderBlock, MultiHeadAttention
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(4)

# %% [markdown]
# ## The equation
#
# $$\mathbf{z}_0 = [\mathbf{x}_{\mathrm{class}};\; \mathbf{x}_p^1\mathbf{E};\; \mathbf{x}_p^2\mathbf{E};\; \ldots;\; \mathbf{x}_p^N\mathbf{E}]
# + \mathbf{E}_{pos}, \qquad \mathbf{E}_{pos} \in \mathbb{R}^{(N+1) \times D} \tag{Eq. 1}$$
#
# The semicolons put rows below one another. $\mathbf{x}_{\mathrm{class}}$ is one learned vector, the same for every image. It comes first, as row 0.
# What the last layer makes of row 0 is what the classifier reads (Eq. 4); notebook [19](19_class_token_or_pooling.ipynb) compares this with the mean of
# all tokens. $\mathbf{E}_{pos}$ has one learned vector for every position, position 0 being that of the [class] token; it is the same for every image,
# too. It is added, not appended, so the tokens keep their width. The paper calls this kind 1-D: the positions are numbered in raster order, and nothing
# says which are neighbours.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $N$, $D$ | images in the batch, patches, width | numbers | `B`, `N`, `D` |
# | $\mathbf{x}_p^i\mathbf{E}$ | the patches' tokens (notebook 03) | $(B, N, D)$ for all images and $i$ | `patches` |
# | $\mathbf{x}_{\mathrm{class}}$ | the [class] token, 0 at first | $(D)$ | `token` |
# | $\mathbf{E}_{pos}$ | the position embedding, small random numbers at first | $(N+1, D)$ | `positions` |
# | $\mathbf{z}_0$ | the tokens that enter the first layer | $(B, N+1, D)$ | `z` |
# | $\mathrm{d}A$ | gradient of the loss with respect to $A$ | that of $A$ | `dA` |
#
# All lengths below differ, so that two axes that are mixed up make an error instead of a wrong number.

# %%
B, N, D = 3, 5, 8
patches = rng.standard_normal((B, N, D))
token = rng.standard_normal(D)
positions = rng.standard_normal((N + 1, D))

# %% [markdown]
# ## Forward, as loops


# %%
def embed_loops(token, patches, positions):
    """token: (D,), patches: (B, N, D), positions: (N + 1, D) -> (B, N + 1, D), one number at a time."""
    B, N, D = patches.shape
    z = np.zeros((B, N + 1, D))
    for b in range(B):
        for n in range(N + 1):
            for d in range(D):
                z[b, n, d] = (token[d] if n == 0 else patches[b, n - 1, d]) + positions[n, d]
    return z


z_loops = embed_loops(token, patches, positions)
z_loops.shape

# %% [markdown]
# ## Forward, vectorised
#
# Three steps: the token is repeated for every image, the rows are put together, the positions are added. NumPy repeats `positions` over the batch by
# itself.

# %%
repeated = np.broadcast_to(token, (B, 1, D))
sequence = np.concatenate([repeated, patches], axis=1)
z = sequence + positions

agree("z", z, z_loops)

# %% [markdown]
# ## Backward, step by step
#
# We are given $\mathrm{d}\mathbf{z}_0$, drawn at random here, and walk back through the three steps. The engine differentiates the same three.

# %%
dz = rng.standard_normal(z.shape)

ttoken, tpatches, tpositions = (Tensor(a, requires_grad=True) for a in (token, patches, positions))
trepeated = F.broadcast_to(ttoken, (B, 1, D))
tsequence = F.concat(trepeated, tpatches, axis=1)
tz = tsequence + tpositions
names = ["sequence", "positions", "repeated", "patches", "token"]
engine = dict(zip(names, grad(tz, [tsequence, tpositions, trepeated, tpatches, ttoken], dz), strict=True))

# %% [markdown]
# **Step 1: the sum.** Both terms get the gradient as it is. But one $\mathbf{E}_{pos}$ serves all images of the batch, so what it gets is summed over them:
#
# $$\mathrm{d}(\mathrm{sequence}) = \mathrm{d}\mathbf{z}_0, \qquad \mathrm{d}\mathbf{E}_{pos} = \sum_{b=1}^{B} \mathrm{d}\mathbf{z}_0[b].$$

# %%
dsequence = dz
dpositions = dz.sum(axis=0)

agree("dsequence", dsequence, engine["sequence"])
agree("dpositions", dpositions, engine["positions"])

# %% [markdown]
# **Step 2: the concatenation.** It moved rows and computed nothing. Each part gets back the rows that came from it.

# %%
drepeated = dsequence[:, :1]
dpatches = dsequence[:, 1:]

agree("drepeated", drepeated, engine["repeated"])
agree("dpatches", dpatches, engine["patches"])

# %% [markdown]
# **Step 3: the repetition.** One vector was used for $B$ images, so its gradient is the sum over them.

# %%
dtoken = drepeated.sum(axis=(0, 1))

agree("dtoken", dtoken, engine["token"])

# %% [markdown]
# Look at the two results again: row 0 of $\mathrm{d}\mathbf{E}_{pos}$ is $\mathrm{d}\mathbf{x}_{\mathrm{class}}$.

# %%
agree("row 0", dpositions[0], dtoken)

# %% [markdown]
# That is no accident. The two are added, and nothing else ever sees them; only their sum counts. A model whose [class] token has no position of its own
# can represent exactly as much.
#
# ## Check it numerically
#
# As an *op*, a function that returns its value and its pullback. `check_vjp` compares the pullback with central differences, for a random cotangent.


# %%
def my_embed(token, patches, positions):
    """z_0 = [token; patches] + positions, and its pullback.   (D,), (B, N, D), (N + 1, D) -> (B, N + 1, D)."""
    B, _, D = patches.shape
    z = np.concatenate([np.broadcast_to(token, (B, 1, D)), patches], axis=1) + positions

    def vjp(dz):
        return dz[:, 0].sum(axis=0), dz[:, 1:], dz.sum(axis=0)

    return z, vjp


print(f"largest relative error of the gradients: {check_vjp(my_embed, token, patches, positions):.1e}")

# %% [markdown]
# ## The library
#
# `ViT.embed` is Eq. 1. Its lines in the middle serve models with other positions, or with more tokens before the patches; the line with `concat` and the last
# one are ours. In the model the token has the shape $(1, 1, D)$ and the table $(1, N+1, D)$.

# %%
show_source(ViT.embed)

# %%
config = ViTConfig(image_size=(4, 10), patch_size=2, width=8, depth=1, heads=2, num_classes=0)
model = ViT(config, dtype="float64")
model.class_token.data = rng.standard_normal(model.class_token.shape)
images = rng.standard_normal((7, 4, 10, 3))

patch_tokens = model.patch_embed(Tensor(images)).data
mine, _ = my_embed(model.class_token.data[0, 0], patch_tokens, model.position_embedding.data[0])
agree("z", mine, model.embed(Tensor(images)))

# %% [markdown]
# ## Why positions are needed
#
# Let $\Pi$ be a permutation matrix: $\Pi\mathbf{z}$ has the rows of $\mathbf{z}$ in another order. Send $\Pi\mathbf{z}$ through a layer of the Transformer.
#
# - **LayerNorm** (notebook 05) and the **MLP**, a small network (notebook 09), treat each row alone. Their results are the old ones in the new order.
# - **Attention** makes three rows of each row, a query, a key and a value: $\mathbf{q}$, $\mathbf{k}$ and $\mathbf{v}$ are $\mathbf{z}$ times a learned
#   matrix each, and have $D_h$ columns. Then it computes $A\mathbf{v}$ with $A = \mathrm{softmax}(\mathbf{q}\mathbf{k}^\top / \sqrt{D_h})$, where the
#   softmax (notebook 06) turns each row into positive numbers that sum to 1. In the new order there are $\Pi\mathbf{q}$, $\Pi\mathbf{k}$,
#   $\Pi\mathbf{v}$. Leaving the constant $1/\sqrt{D_h}$ aside, the argument of the softmax becomes
#   $\Pi\mathbf{q}\,(\Pi\mathbf{k})^\top = \Pi\,\mathbf{q}\mathbf{k}^\top\,\Pi^\top$: rows and columns are reordered alike. The softmax works on
#   each row, whatever the order of its entries, so $A$ becomes $\Pi A \Pi^\top$. And the result is
#   $\Pi A \Pi^\top \Pi \mathbf{v} = \Pi A \mathbf{v}$, because $\Pi^\top \Pi$ is the identity. If there are several heads, each does this for
#   itself. A last matrix product works row by row again.
# - **The additions** around both (notebook 10) add two arrays in the same new order.
#
# So the whole layer $f$, and any number of layers, has the property $f(\Pi\mathbf{z}) = \Pi f(\mathbf{z})$. It is called **permutation equivariance**.
# We try it on a layer of the library with random weights:

# %%
block = EncoderBlock(MultiHeadAttention(8, 2, rng, "float64"), MLP(8, 12, rng, "float64"), 8, "float64")
order = rng.permutation(N)

agree("f(Pz) = P f(z)", block(Tensor(patches[:, order])), block(Tensor(patches)).data[:, order])

# %% [markdown]
# Now leave out $\mathbf{E}_{pos}$ and shuffle the patches of an image. The [class] token stays in row 0, the others change places, and row 0 of the result,
# the **features** of the image, is what it was: for the classifier it is the same image. The model sees a **bag of patches**. With $\mathbf{E}_{pos}$ this
# is no longer so: the positions stay where they are while the patches move.


# %%
def shuffle_patches(images, P, order):
    """The images (B, height, width, C) with patch order[n] in the place of patch n."""
    B, height, width, C = images.shape
    split = (B, height // P, P, width // P, P, C)
    cut = images.reshape(split).transpose(0, 1, 3, 2, 4, 5)  # (B, row, column of the patch, row, column in it, C)
    moved = cut.reshape(B, -1, P, P, C)[:, order].reshape(cut.shape)
    return moved.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


order = rng.permutation(10)
for position in ("none", "learned"):
    model = ViT(dataclasses.replace(config, position=position), dtype="float64")
    change = np.abs(model(shuffle_patches(images, 2, order)).data - model(images).data).max()
    print(f"position {position:<8} largest change of the features when patches are shuffled: {change:.1e}")

# %% [markdown]
# The features are compared, not what the last linear layer, the *head*, makes of them, one number per class, the *logits*: the head of a new ViT is zero,
# so its logits are all equal, and the test would pass for a model with positions too.
#
# ## Kinds of positions
#
# Appendix D.4 of the paper compares: no positions; **1-D**, Eq. 1; **2-D**, two learned tables with $D/2$ numbers each, one for the row and one for
# the column of a patch, whose entries are put side by side; and relative positions. The library has the first three, and a fixed table:
#
# $$[\sin x\omega,\; \cos x\omega,\; \sin y\omega,\; \cos y\omega], \qquad \omega_i = 10000^{-i/(D/4 - 1)}, \quad i = 0, \ldots, D/4 - 1,$$
#
# with $x$ the column and $y$ the row of the patch, and $D$ a multiple of 4, at least 8. It learns nothing. big_vision, a later code base of some of the
# paper's authors, uses this table. Relative positions are not in the library; exercise 4.4 is about them.

# %%
show_source(patch_positions)

# %% [markdown]
# The fixed table as a picture: how similar is the position of one patch to all others? For the learned kinds this must be learned; the paper shows
# what comes out in Figure 7 (centre), and notebook [18](18_looking_inside.ipynb) draws it.

# %%
side, here = 9, (3, 5)
table = sincos_2d((side, side), 64)
table = table / np.linalg.norm(table, axis=1, keepdims=True)
similarity = (table @ table[here[0] * side + here[1]]).reshape(side, side)
figure, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
picture = ax.imshow(similarity, cmap="viridis", vmax=1)
ax.plot(here[1], here[0], "rx")
ax.set(xlabel="column of the patch", ylabel="row of the patch", title="similarity to the patch at ×")
figure.colorbar(picture, label="cosine")
plt.show()
print(f"smallest similarity: {similarity.min():.2f}")

# %% [markdown]
# It is higher along the row and the column of the patch, where half of the numbers are the same. And it is high everywhere: most $\omega_i$ are so low that
# their sine and cosine hardly change over so small a grid.

# %% [markdown]
# ## Experiment: does it matter?
#
# The paper trained ViT-B/16 with each kind, and measured 5-shot accuracy on ImageNet, that is, of a linear classifier fitted to the features of five images
# per class (Table 8): 61.4 % without positions, 64.2 % with 1-D, 64.0 % with 2-D, 64.0 % with relative ones, one number for each. So positions matter, and
# the kind hardly does. Does this show on digits of 8 × 8 pixels, with patches of 2 × 2, in a model of two layers? Each kind is trained several times,
# from different random numbers: without that we could not tell a difference from luck.

# %%
train, test = digits()
steps, seeds = full_or_fast((300, 4), (40, 2))
kinds = ("none", "learned", "learned2d", "sincos2d")
order = rng.permutation(16)
shuffled = ArrayDataset(shuffle_patches(test.images, 2, order), test.labels, test.classes, "digits, shuffled")

# %%
one_of_each = np.unique(test.labels, return_index=True)[1][:6]
figure, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for column, index in enumerate(one_of_each):
    axes[0, column].imshow(test.images[index, ..., 0], cmap="gray_r")
    axes[1, column].imshow(shuffled.images[index, ..., 0], cmap="gray_r")
    axes[0, column].set_title(test.classes[test.labels[index]])
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("image")
axes[1, 0].set_ylabel("shuffled")
plt.show()

# %% [markdown]
# To a model without positions the two images of a column are the same. So after training we test each model twice: on the test images, and on those
# with shuffled patches (the same shuffle for all).
#
# `fit` trains: in each of `steps` steps it takes some of the images, computes the gradient of the loss and moves every parameter a little against it; `lr`
# says how far (notebooks 12 and 13). `seed` fixes the first parameters and the order of the images. All kinds have the same `lr`; another one might
# change their order.


# %%
def trained(position, seed):
    """A model with this kind of position, trained on the digits: its accuracy on test images, and on shuffled ones."""
    shape = {"image_size": 8, "channels": 1, "patch_size": 2, "width": 32, "depth": 2, "heads": 2, "mlp_width": 64}
    model = ViT(ViTConfig(**shape, num_classes=10, position=position), seed)
    fit(model, train, steps, lr=3e-3, seed=seed)
    return accuracy(model, test), accuracy(model, shuffled)


both = {kind: np.array([trained(kind, seed) for seed in range(seeds)]) for kind in kinds}
for kind, result in both.items():
    print(f"{kind:<10} test images {result[:, 0].mean():6.1%}   shuffled {result[:, 1].mean():6.1%}")

# %% [markdown]
# The two numbers of `none` must agree, but for rounding that may tip a close decision. How far they are above the 10 % of guessing tells how much can be
# read off a bag of strokes. The other models can use the strokes as well, so a shuffled image need not be a mere guess for them.
#
# This run is short. A longer one, with more steps and more seeds, is stored with the notebooks. It was **not** computed here; the cell
# prints how it can be.

# %%
path = result_file("positions.json")
stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
live = {kind: result[:, 0] for kind, result in both.items()}
panels = {f"computed here: {steps} steps": live}
if stored:
    panels[f"stored: {stored['config']['steps']} steps"] = {k: np.array(v) for k, v in stored["results"].items()}
    print(stored["command"], stored["data"], stored["config"], sep="\n")

# %%
figure, axes = plt.subplots(1, len(panels), figsize=(10, 3.6), layout="constrained", sharey=True, squeeze=False)
for ax, (title, results) in zip(axes[0], panels.items(), strict=True):
    for i, kind in enumerate(kinds):
        percent = 100 * results[kind]
        ax.plot(i + np.linspace(-0.2, 0.2, len(percent)), percent, "o", color="tab:blue", alpha=0.5)
        ax.errorbar(i, percent.mean(), percent.std(ddof=1), fmt="_", markersize=24, color="black", capsize=5)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set(title=f"{title}, {len(percent)} seeds", xlabel="kind of positions")
axes[0, 0].set_ylabel("accuracy on test images (%)")
plt.show()

# %% [markdown]
# Each dot is one training (the same seed means the same order of the images for all kinds; we treat the trainings as independent all the same); the line is their mean, the bar one standard deviation up and down. Is a difference of two means more than luck? Its
# **standard error** tells how far the difference would typically move if the trainings were repeated with other seeds. From a few seeds it is itself
# only roughly known.


# %%
def report(results):
    """Print the means, the gain by positions, and how far apart the three kinds are, in units of the standard error."""
    mean = {kind: 100 * accuracies.mean() for kind, accuracies in results.items()}
    error = {kind: 100 * accuracies.std(ddof=1) / len(accuracies) ** 0.5 for kind, accuracies in results.items()}
    shown = ",  ".join(f"{kind} {mean[kind]:.1f} ± {error[kind]:.1f}" for kind in kinds)
    print(f"  {shown}  (mean ± standard error, %)")
    worst, *_, best = sorted(kinds[1:], key=mean.get)
    for better, worse in ((worst, "none"), (best, worst)):
        difference, of_difference = mean[better] - mean[worse], np.hypot(error[better], error[worse])
        print(f"  {better} - {worse}: {difference:.1f} points, {difference / of_difference:.1f} standard errors")


for title, results in panels.items():
    print(title)
    report(results)

# %% [markdown]
# How to read it. The first difference is between the *worst* kind with positions and none: if it is many standard errors, positions matter. The
# second is between the best and the worst of the three kinds. Of three equal things one always looks best, so this difference was chosen because it is
# large. How large is it by chance, if the three are in truth equal? We draw such experiments.

# %%
experiment = np.arange(20_000)
for count in sorted({len(results["none"]) for results in panels.values()}):
    drawn = np.random.default_rng(0).standard_normal((len(experiment), 3, count))  # three kinds, `count` seeds
    mean, error = drawn.mean(axis=2), drawn.std(axis=2, ddof=1) / count**0.5
    top, bottom = (experiment, mean.argmax(axis=1)), (experiment, mean.argmin(axis=1))
    apart = (mean[top] - mean[bottom]) / np.hypot(error[top], error[bottom])
    print(f"{count} seeds: more than 2 standard errors in {np.mean(apart > 2):.0%} of the experiments", end=", ")
    print(f"more than 3 in {np.mean(apart > 3):.0%}")

# %% [markdown]
# Compare the two panels too: a kind that is behind after few steps may only learn more slowly. That is a statement about speed, not about what the kind
# can do; the fixed table need not be learned at all.
#
# All models are tested on the same few hundred images. With others the accuracies would move: for a single model by the standard error that the next
# cell prints. More seeds help only in part, because an image that is hard is hard for most of them. A *difference* of two kinds moves less, since both
# meet the same easy and hard images; to know by how much, one would compare them image by image.

# %%
one = live["learned"][0]
error = (one * (1 - one) / len(test)) ** 0.5  # of the share of successes in so many independent trials
print(f"{len(test)} test images: an accuracy of {one:.1%} has a standard error of {error:.1%}")

# %% [markdown]
# The paper's guess why the kind matters little: the encoder sees patches, not pixels, and on a grid of 14 × 14 patches, where 224 × 224 pixels would
# have been, spatial relations are about as easy to learn with one kind as with another (appendix D.4). Our grid has 4 × 4.
#
# ## Where this goes wrong in practice
#
# - **The positions forgotten.** Nothing fails, and the model learns: see the accuracy of `none`. The shuffle test finds it.
# - **The shuffle test on logits.** With a head of zeros it always passes. Test the features, or a trained model.
# - **The [class] token at the end.** The head reads row 0. If the token is appended instead of prepended, the head reads the first patch, and the
#   model may still train.
# - **Tables of $N$ and of $N + 1$ rows.** Some code adds positions to the patches first and prepends the token afterwards; its table has no row for
#   the token. A file with $N + 1$ rows can be converted for such code: row 0 is added to the [class] token. (The other way round, put a row of zeros before the $N$.) Why that changes
#   nothing, you have seen above.
# - **Two fixed tables of the same name.** The codes of two other papers, MoCo v3 and MAE, have $\omega_i = 10000^{-i/(D/4)}$, without the $-1$. The numbers
#   differ, so weights that were trained with one table do not quite fit the other.
# - **A table for another grid.** $\mathbf{E}_{pos}$ belongs to one $N$. For another resolution it must be interpolated (notebook
#   [17](17_higher_resolution.ipynb)).
#
# ## Exercises
#
# Each cell has a place for your answer; its verdict appears below it. Answers are judged by what they return, on inputs of several shapes.
#
# **4.1 (two lines).** How many numbers has $\mathbf{E}_{pos}$ of ViT-B/16 ($D = 768$, $P = 16$, Table 1) for images of 224 × 224 pixels?

# %%
numbers_in_positions = None  # your answer here

check("4.1", numbers_in_positions)

# %% [markdown]
# **4.2 (fifteen minutes).** Prove on paper that without positions the [class] row of a layer's result does not change when patches are shuffled. The
# key is the attention matrix: write $A$ of the tokens `z[order]`, given $A$ of the tokens `z`, without computing anything. Then set `order[0] = 0`
# and look at row 0.


# %%
def attention_of_permuted_tokens(A, order):
    """A: (N, N), of the tokens z; order: (N,), a permutation of 0..N-1 -> (N, N), of the tokens z[order]"""
    ...  # your answer here


check("4.2", attention_of_permuted_tokens)

# %% [markdown]
# **4.3 (twenty minutes).** Learned 2-D positions: the patch in row $i$ and column $j$ of the grid gets `concatenate([by_column[j], by_row[i]])`,
# with `by_row` of shape (rows, D/2) and `by_column` of shape (columns, D/2). Write the backward pass, from the gradient of the $N$ positions to those
# of the two tables.


# %%
def learned_2d_backward(dpositions, rows, columns):
    """dpositions: (rows * columns, D), row by row -> dby_row (rows, D / 2), dby_column (columns, D / 2)"""
    ...  # your answer here


check("4.3", learned_2d_backward)

# %% [markdown]
# **4.4 (an hour).** Relative positions (appendix D.4): every offset $i - j$ between a query $i$ and a key $j$ has a learned vector
# $\mathbf{r}_{i-j}$, and a second attention with these as keys is added to the scores,
# $S_{ij} = (\mathbf{q}_i \cdot \mathbf{k}_j + \mathbf{q}_i \cdot \mathbf{r}_{i-j}) / \sqrt{D_h}$. The table `r` has $2N - 1$ rows: offset
# $o$ is in row $o + N - 1$. The [class] token, which has no offset, is left aside. Write the backward pass of the scores. To begin with, write the
# forward pass as loops.


# %%
def relative_scores_backward(q, k, r, dS):
    """q, k: (N, K), r: (2 N - 1, K), dS: (N, N) -> dq (N, K), dk (N, K), dr (2 N - 1, K); K is D_h"""
    ...  # your answer here


check("4.4", relative_scores_backward)

# %% [markdown]
# Next: [05, LayerNorm](05_layer_norm.ipynb).

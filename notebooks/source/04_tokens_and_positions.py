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
# Notebook [03](03_patches.ipynb) turned every patch into a token. Two things are missing before the Transformer can
# start: a token that will hold the answer, and a way to say where in the image a patch was. This notebook completes
# **Eq. 1** of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1). At the end you
# will be able to
#
# - prepend the [class] token and add the position embedding, with loops and vectorised, and derive the backward pass,
# - show that a model without positions cannot know the order of its patches, and that positions change this,
# - repeat the paper's comparison of position embeddings (appendix D.4) on handwritten digits, and judge its result.
#
# You need broadcasting (notebook [02](02_shapes.ipynb)). The pullback of a concatenation is derived here. Attention
# follows in notebook [07](07_attention.ipynb); here its formula is enough.
#
# **Budget:** 55 s of CPU time (fast mode 7 s).

# %%
import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit.data import ArrayDataset, normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, result_file, running_digit, show_source
from minivit.lessons.pictures import embedding
from minivit.models import ViT, ViTConfig
from minivit.models.posemb import sincos_2d
from minivit.models.positions import patch_positions
from minivit.nn import MLP, EncoderBlock, MultiHeadAttention
from minivit.nn.layers import patchify
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(4)

# %% [markdown]
# ## The idea in a picture
#
# This is the digit of notebook 03, in the small model that was trained on such digits. Its 16 patches have become 16
# tokens, one row each. The [class] token goes on top. Then we add a position to every row: position 0 belongs to the
# [class] token, position 1 to patch 0, and so on. Red is positive, blue is negative, and all three parts have the same
# scale. Row 0 is nearly white because its numbers are small.

# %%
digit_model, digit, label = running_digit()
digit_tokens = digit_model.patch_embed(digit_model.tensor(normalize(digit[None]))).data[0]
embedding.equation_1(digit_model.class_token.data[0, 0], digit_tokens, digit_model.position_embedding.data[0])

# %% [markdown]
# Blank patches, such as 4 and 8, have equal tokens on the left. On the right they differ, by their positions.
#
# ## The equation
#
# $$\mathbf{z}_0 = [\mathbf{x}_{\mathrm{class}};\; \mathbf{x}_p^1\mathbf{E};\; \mathbf{x}_p^2\mathbf{E};\; \ldots;\; \mathbf{x}_p^{N_p}\mathbf{E}]
# + \mathbf{E}_{pos}, \qquad \mathbf{E}_{pos} \in \mathbb{R}^{(N_p+1) \times D} \tag{Eq. 1}$$
#
# The semicolons put rows below one another. (The paper writes $N$ for our $N_p$, the number of patches.)
#
# - $\mathbf{x}_{\mathrm{class}}$, the **[class] token**, is one learned vector, the same for every image. It comes
#   first, as row 0. The classifier reads row 0 of the last block's output (Eq. 4). Notebook
#   [19](19_class_token_or_pooling.ipynb) compares this with the mean of all tokens.
# - $\mathbf{E}_{pos}$, the **position embedding**, has one learned vector for every position, the same for every image.
#   The position is added, not appended. So the tokens keep their width. The paper calls this kind 1-D: the positions
#   are numbered in raster order, and nothing says which positions are neighbours.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $N_p$ | patches | number | `Np` |
# | $N$ | tokens, [class] included, so $N_p + 1$ | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $\mathbf{t}$ | the tokens of the patches (notebook 03) | $(B, N_p, D)$ | `t` |
# | $\mathbf{x}_{\mathrm{class}}$ | the [class] token, zeros at first | $(D)$ | `class_token` |
# | $\mathbf{E}_{pos}$ | position embedding, small random numbers at first | $(N, D)$ | `positions` |
# | $\mathbf{z}_0$ | the tokens that enter the first block | $(B, N, D)$ | `z` |
# | $\Pi$ | a permutation matrix: it reorders rows; $\Pi\mathbf{z}$ is `z[order]` | $(N, N)$ | `order`, of shape $(N)$ |
# | $f$ | a block of the Transformer | | `block` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values, of one head here | $(N, D_h)$ each | `q`, `k`, `v` |
# | $H$; $D_h$ | heads; width of a head, $D/H$ | numbers | `heads`, `Dh` |
# | $S$ | attention scores | $(N, N)$ | `S` |
# | $A$ | attention weights, the softmax of the rows of $S$ | $(N, N)$ | `A` |
# | $i$, $j$ | row and column of a patch in the grid, from 0 | numbers | `i`, `j` |
# | $n$, $m$ | two tokens, from 0 | numbers | `n`, `m` |
# | $\omega$ | frequencies of the fixed positions | $(D/4)$ | `w` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# All lengths below differ, so most mixed-up axes raise an error.

# %%
B, Np, D = 3, 5, 8
N = Np + 1
t = rng.standard_normal((B, Np, D))
class_token = rng.standard_normal(D)
positions = rng.standard_normal((N, D))

# %% [markdown]
# ## Forward, as loops
#
# Entry by entry: row 0 is the [class] token, row $n$ is patch $n - 1$, and position $n$ is added to row $n$.


# %% tags=["yours"]
def embed_loops(class_token, t, positions):
    """class_token: (D,), t: (B, Np, D), positions: (N, D) -> (B, N, D), one number at a time."""
    B, Np, D = t.shape
    z = np.zeros((B, Np + 1, D))
    for b in range(B):
        for n in range(Np + 1):
            for d in range(D):
                z[b, n, d] = (class_token[d] if n == 0 else t[b, n - 1, d]) + positions[n, d]
    return z


z_loops = embed_loops(class_token, t, positions)  # given
print(z_loops.shape)

# %% [markdown]
# ## Forward, vectorised
#
# Three steps: repeat the token for every image (`np.broadcast_to`), put the rows together, add the positions. NumPy
# repeats `positions` over the batch by itself.

# %% tags=["yours"]
# (B, 1, D)
repeated = np.broadcast_to(class_token, (B, 1, D))
# (B, N, D)
sequence = np.concatenate([repeated, t], axis=1)
z = sequence + positions

agree("z", z, z_loops)

# %% [markdown]
# ## Backward, step by step
#
# We are given $\mathrm{d}\mathbf{z}_0$, drawn at random here, and walk back through the three steps. The engine
# differentiates the same three.

# %%
dz = rng.standard_normal(z.shape)

tclass_token, tt, tpositions = (Tensor(a, requires_grad=True) for a in (class_token, t, positions))
trepeated = F.broadcast_to(tclass_token, (B, 1, D))
tsequence = F.concat(trepeated, tt, axis=1)
tz = tsequence + tpositions
names = ["sequence", "positions", "repeated", "t", "class_token"]
engine = dict(zip(names, grad(tz, [tsequence, tpositions, trepeated, tt, tclass_token], dz), strict=True))

# %% [markdown]
# **Step 1: the sum.** Both terms get the gradient as it is. But all images of the batch share one $\mathbf{E}_{pos}$,
# so its gradient is summed over them:
#
# $$\mathrm{d}(\mathrm{sequence}) = \mathrm{d}\mathbf{z}_0, \qquad \mathrm{d}\mathbf{E}_{pos} = \sum_{b=1}^{B} \mathrm{d}\mathbf{z}_0[b].$$

# %% tags=["yours"]
dsequence = dz
dpositions = dz.sum(axis=0)

agree("dsequence", dsequence, engine["sequence"])
agree("dpositions", dpositions, engine["positions"])

# %% [markdown]
# **Step 2: the concatenation.** It moved rows and computed nothing. Each part gets back its own rows.

# %% tags=["yours"]
drepeated = dsequence[:, :1]
dt = dsequence[:, 1:]

agree("drepeated", drepeated, engine["repeated"])
agree("dt", dt, engine["t"])

# %% [markdown]
# **Step 3: the repetition.** One vector was used for $B$ images, so its gradient is the sum over them.

# %% tags=["yours"]
dclass_token = drepeated.sum(axis=(0, 1))

agree("dclass_token", dclass_token, engine["class_token"])

# %% [markdown]
# Compare two of the results: row 0 of $\mathrm{d}\mathbf{E}_{pos}$ is $\mathrm{d}\mathbf{x}_{\mathrm{class}}$.

# %%
agree("row 0", dpositions[0], dclass_token)

# %% [markdown]
# The reason: the model uses $\mathbf{x}_{\mathrm{class}}$ and row 0 of $\mathbf{E}_{pos}$ only in their sum. So a model
# whose [class] token has no position of its own can represent the same functions.
#
# ## Check it numerically
#
# We write the steps as an *op*, a function that returns its value and its pullback. `check_vjp` compares the pullback
# with central differences, for a random cotangent.


# %% tags=["yours"]
def my_embed(class_token, t, positions):
    """z_0 = [class_token; t] + positions, and its pullback.   (D,), (B, Np, D), (N, D) -> (B, N, D)."""
    B, _, D = t.shape
    z = np.concatenate([np.broadcast_to(class_token, (B, 1, D)), t], axis=1) + positions

    def vjp(dz):
        return dz[:, 0].sum(axis=0), dz[:, 1:], dz.sum(axis=0)

    return z, vjp


print(f"largest relative error of the gradients: {check_vjp(my_embed, class_token, t, positions):.1e}")

# %% [markdown]
# ## The library
#
# `ViT.embed` is Eq. 1. You know four of its lines: `patch_embed` computes $\mathbf{x}_p\mathbf{E} + \mathbf{b}$,
# `broadcast_to` repeats the [class] token, `concat` puts it on top, and the last line adds the positions. The other
# lines are for models with other positions, or with more tokens before the patches. In the model the token has the shape
# $(1, 1, D)$ and the table $(1, N, D)$.

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
# Let $\Pi$ be a permutation matrix: $\Pi\mathbf{z}$ has the rows of $\mathbf{z}$ in another order. For
# $\Pi\mathbf{z}$ a block $f$ of the Transformer returns the rows of $f(\mathbf{z})$, in the new order.

# %%
few = digit_model.embed(digit_model.tensor(normalize(digit[None]))).data[0, :5]  # the first five tokens of the digit
new_order = [0, 3, 1, 4, 2]
block_of_digit = digit_model.blocks[0]
through, through_moved = (block_of_digit(Tensor(tokens[None])).data[0] for tokens in (few, few[new_order]))
embedding.reordered(few, through, few[new_order], through_moved, new_order)

# %% [markdown]
# The proof takes the parts of a block one by one.
#
# - **LayerNorm** (notebook 05) and the **MLP** (notebook 09) treat each row alone. If the rows come in a new order, the
#   results come in the new order.
# - **Attention** computes three rows from each row: a query, a key and a value. A learned matrix maps the rows to the
#   queries $\mathbf{q}$, a second one to the keys $\mathbf{k}$, a third one to the values $\mathbf{v}$. (The block
#   applies LayerNorm first, and it adds biases. Both treat each row alone, so we leave them out.) From reordered rows
#   come $\Pi\mathbf{q}$, $\Pi\mathbf{k}$ and $\Pi\mathbf{v}$. The attention weights are $A = \mathrm{softmax}(S)$ with
#   $S = \mathbf{q}\mathbf{k}^\top / \sqrt{D_h}$. The softmax (notebook 06) turns each row into positive numbers that
#   sum to 1.
#   - $\mathbf{q}\mathbf{k}^\top$ becomes $\Pi\mathbf{q}\,(\Pi\mathbf{k})^\top =
#     \Pi\,\mathbf{q}\mathbf{k}^\top\,\Pi^\top$ (we leave out the constant $1/\sqrt{D_h}$). Rows and columns are
#     reordered in the same way.
#   - The softmax of a reordered row is the reordered softmax. So $A$ becomes $\Pi A \Pi^\top$.
#   - The result $A\mathbf{v}$ becomes $\Pi A \Pi^\top \Pi \mathbf{v} = \Pi A \mathbf{v}$, because $\Pi^\top \Pi$ is the
#     identity.
#   - Several heads each do this separately. The last matrix product treats each row alone.
# - **The additions** in the block (notebook 10) add two arrays whose rows are in the same new order.
#
# So $f(\Pi\mathbf{z}) = \Pi f(\mathbf{z})$. This is called **permutation equivariance**. We try it on a block of the
# library with random weights:

# %%
block = EncoderBlock(MultiHeadAttention(8, 2, rng, "float64"), MLP(8, 12, rng, "float64"), 8, "float64")
order = rng.permutation(Np)

agree("f(Πz) = Πf(z)", block(Tensor(t[:, order])), block(Tensor(t)).data[:, order])

# %% [markdown]
# Now leave out $\mathbf{E}_{pos}$ and shuffle the patches of an image. The [class] token stays in row 0, and the other
# rows change places. Row 0 of the result holds the **features** of the image. It does not change, so the classifier
# cannot tell the two images apart. Such a model sees a **bag of patches**. With $\mathbf{E}_{pos}$ the result changes,
# because the patches move and the positions do not.
#
# We compare features, not *logits*, the outputs of the last linear layer. A new ViT has zeros in that layer, so its
# logits are all equal, and even a model with positions would pass.
#
# To shuffle the patches, cut the images as in notebook 03, put the patches in the new order, and undo the cut.
#
# **Predict first.** By how much do the features of a new model change without positions? And with them?


# %% tags=["yours"]
def shuffle_patches(images, P, order):
    """The images (B, height, width, C) with patch order[n] in the place of patch n."""
    B, height, width, C = images.shape
    split = (B, height // P, P, width // P, P, C)
    cut = images.reshape(split).transpose(0, 1, 3, 2, 4, 5)  # (B, row, column of the patch, row, column in it, C)
    moved = cut.reshape(B, -1, P, P, C)[:, order].reshape(cut.shape)
    return moved.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


# %%
order = rng.permutation(10)
moved = shuffle_patches(images, 2, order)
agree("moved", patchify(Tensor(moved), (2, 2)), patchify(Tensor(images), (2, 2)).data[:, order])
for position in ("none", "learned"):
    model = ViT(dataclasses.replace(config, position=position), dtype="float64")
    features = model(images).data
    change = np.abs(model(moved).data - features).max()
    print(f"position {position:<8} largest change of the features when patches are shuffled: {change:.1e}")
print(f"standard deviation of the features: {features.std():.2f}")

# %% [markdown]
# **In the stored run** the features without positions change by 2.3e-15, which is rounding. With positions they change
# by up to 6.2e-02. That is small beside their standard deviation of 1.00, because the positions of a new model are
# small, but it is far above rounding.
#
# ## Kinds of positions
#
# Appendix D.4 of the paper compares four kinds:
#
# - no positions,
# - **1-D**, as in Eq. 1,
# - **2-D**: one learned table for the rows of the grid and one for its columns, with vectors of width $D/2$. A patch
#   gets the vector of its column and the vector of its row, side by side,
# - **relative**: nothing is added to the tokens. In every block, each score gets a term that depends on the offset
#   between the two patches, see exercise 4.4.
#
# The library has all four, and two kinds more. **Rotary positions** (RoPE,
# [Su et al. 2021](https://arxiv.org/abs/2104.09864)) are relative, too: queries and keys are turned by angles that grow
# with the row and the column of their patch, so a score depends on the offset. The last kind is a fixed table, which is
# not learned. The position of the patch in row $i$ and column $j$ is
#
# $$[\sin j\omega,\; \cos j\omega,\; \sin i\omega,\; \cos i\omega],$$
#
# where $\omega$ stands for $D/4$ frequencies, from 1 down to $1/10000$ in equal ratios. $D$ is a
# multiple of 4 and at least 8. This is the table of big_vision, a later code base of some of the paper's authors. In
# the code `x` is the column and `y` the row.

# %%
show_source(sincos_2d)

# %% [markdown]
# And this is the choice between the kinds that are added to the tokens, with the 2-D tables in full:

# %%
show_source(patch_positions)

# %% [markdown]
# How similar is the fixed position of one patch to the positions of all other patches? The next figure shows it.
# (Learned positions start without this similarity. Figure 7, centre, of the paper shows what a trained model has
# learned; notebook [18](18_looking_inside.ipynb) draws the same for our models.)
#
# **Predict first.** Is the similarity the same in all directions, or higher along the row and the column of the patch?
# Does it fall to 0?

# %%
side, here = 9, (3, 5)
table = sincos_2d((side, side), 64)
table = table / np.linalg.norm(table, axis=1, keepdims=True)
similarity = (table @ table[here[0] * side + here[1]]).reshape(side, side)
figure, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
picture = ax.imshow(similarity, cmap="viridis", vmin=0, vmax=1)
ax.plot(here[1], here[0], "rx")
ax.set(xlabel="column of the patch", ylabel="row of the patch", title="similarity to the patch at ×")
figure.colorbar(picture, label="cosine")
plt.show()
along, across = similarity[here[0], here[1] + 3], similarity[here[0] + 2, here[1] + 2]
print(f"3 columns away: {along:.2f};  2 rows and 2 columns away: {across:.2f}")
print(f"smallest similarity: {similarity.min():.2f}")

# %% [markdown]
# **In the stored run** the similarity is higher along row and column, where half of the numbers are equal. It is 0.89
# for a patch 3 columns away and 0.86 for a patch 2 rows and 2 columns away, although that patch is nearer. It never
# falls below 0.74: most frequencies are so low that sine and cosine hardly change over this grid.
#
# ## Experiment: does it matter?
#
# The paper trained ViT-B/16 with each kind and measured 5-shot accuracy on ImageNet: a linear classifier is fitted to
# the features of five images per class. Table 8 has one number per setting and no error bars: 61.4 % without positions,
# 64.2 % with 1-D and 64.0 % with 2-D positions at the input, and 64.0 % with relative positions. So positions matter
# there, and the kind makes little difference.
#
# We repeat the comparison on digits of 8 × 8 pixels, with patches of 2 × 2 pixels and a model of two blocks. We train
# each kind with several seeds, that is, from different random numbers. With one seed we could not tell a difference
# from luck. Here we train the kinds that are added to the tokens. A stored run has all six.

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
# To a model without positions the two images of a column are the same image. So after training we test each model
# twice: on the test images, and on the test images with shuffled patches. All images have the same shuffle.
#
# `fit` trains a model. In each of `steps` updates it takes some of the images, computes the gradient of the loss, and
# moves every parameter a little against its gradient. `lr` says how far (notebooks 12 and 13). `seed` fixes the initial
# parameters and the order of the images. All kinds have the same `lr`. With another `lr` they might rank differently.
#
# **Predict first.** Guessing gives 10 %. How much better is a model that sees only a bag of patches? And how well do
# the models with positions do on shuffled images?


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
# **In the stored run** `none` reaches 68.0 % on both kinds of images: a bag of strokes reveals most digits. The models
# with positions reach 87.7 % to 91.1 % on the test images, but only 17.5 % to 32.7 % on the shuffled images.
#
# This run is short. A longer run, with more updates, more seeds and all six kinds, is stored with the notebooks. It was
# **not** computed here. The next cell prints the command that computes it.

# %%
path = result_file("positions.json")
stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
panels = {f"computed here: {steps} updates": {kind: result[:, 0] for kind, result in both.items()}}
if stored:
    results = {kind: np.array(accuracies) for kind, accuracies in stored["results"].items()}
    panels[f"stored: {stored['config']['steps']} updates"] = results
    print(stored["command"], stored["data"], stored["config"], sep="\n")

# %%
widths = [len(results) for results in panels.values()]
figure, axes = plt.subplots(
    1, len(panels), figsize=(11, 3.6), layout="constrained", sharey=True, squeeze=False, width_ratios=widths
)
for ax, (title, results) in zip(axes[0], panels.items(), strict=True):
    print(f"{title}, {len(results['none'])} seeds, mean ± standard deviation of the seeds in %:")
    for i, kind in enumerate(results):
        percent = 100 * results[kind]
        ax.plot(i + np.linspace(-0.2, 0.2, len(percent)), percent, "o", color="tab:blue", alpha=0.5)
        ax.errorbar(i, percent.mean(), percent.std(ddof=1), fmt="_", markersize=24, color="black", capsize=5)
        print(f"  {kind:<10} {percent.mean():.1f} ± {percent.std(ddof=1):.1f}")
    ax.set_xticks(range(len(results)), results)
    ax.set(title=f"{title}, {len(percent)} seeds", xlabel="kind of positions")
axes[0, 0].set_ylabel("accuracy on test images (%)")
plt.show()

# %% [markdown]
# Each dot is one training. The line is their mean, the bar one standard deviation up and down.
#
# **In the stored run** the models without positions are far behind in both panels. After 300 updates `learned2d` has
# 87.7 %, and the other two kinds with positions have 90.7 % and 91.1 %. After 600 updates, with 10 seeds, four of the
# five kinds with positions lie between 92.9 % and 93.8 %, and the standard deviation of each over the seeds is 1.0 to
# 1.3 points. `rope` has 91.0 %, with a standard deviation of 2.5 points. The appendix asks whether the differences are
# more than luck.
#
# Why does the kind make little difference? The paper guesses: the encoder sees patches, not pixels, and on a grid of
# 14 × 14 patches all kinds make spatial relations about equally easy to learn (appendix D.4). Our grid is 4 × 4.
#
# ## Where this goes wrong in practice
#
# - **The positions forgotten.** Nothing fails and the model learns, as `none` did. The shuffle test finds it.
# - **The shuffle test on logits.** With a head of zeros it always passes. Test the features, or a trained model.
# - **The [class] token at the end.** The head reads row 0. If the token is appended instead of prepended, the head
#   reads the first patch. The model may still train.
# - **Tables of $N_p$ and of $N_p + 1$ rows.** Some code adds positions to the patches first and prepends the token
#   afterwards. Its table has no row for the token. To use a table of $N_p + 1$ rows there, add row 0 to the [class]
#   token and remove it from the table. To go the other way, put a row of zeros on top of the table. $\mathbf{z}_0$
#   stays the same.
# - **Two fixed tables of the same name.** The code of two other papers, MoCo v3 and MAE, has the frequencies
#   $10000^{-k/(D/4)}$ instead of $10000^{-k/(D/4 - 1)}$, for $k = 0, 1, \ldots$ Weights trained with one table do not quite fit the other.
# - **A table for another grid.** $\mathbf{E}_{pos}$ belongs to one $N$. For another resolution it must be interpolated
#   (notebook [17](17_higher_resolution.ipynb)).
#
# ## Exercises
#
# Each cell has a place for your answer, and its verdict appears below it. Answers are judged by what they return, on
# inputs of several shapes. `hint("4.4")` gives up to three hints, one per call.
#
# **4.1 (two lines).** How many numbers does $\mathbf{E}_{pos}$ of ViT-B/16 hold for images of 224 × 224 pixels? ViT-B
# has $D = 768$ (Table 1), and the 16 is $P$.

# %%
numbers_in_positions = None  # your answer here

check("4.1", numbers_in_positions)

# %% [markdown]
# **4.2 (fifteen minutes).** Prove on paper: without positions, row 0 of a block's result does not change when patches
# are shuffled. Only the key step is checked, the attention weights: you have $A$ of the tokens `z`. Find $A$ of the
# tokens `z[order]` by indexing alone. Then set `order[0] = 0` and look at row 0.


# %%
def attention_of_permuted_tokens(A, order):
    """A: (N, N), of the tokens z; order: (N,), a permutation of 0..N-1 -> (N, N), of the tokens z[order]"""
    ...  # your answer here


check("4.2", attention_of_permuted_tokens)

# %% [markdown]
# **4.3 (twenty minutes).** Learned 2-D positions: the patch in row $i$ and column $j$ of the grid gets
# `concatenate([by_column[j], by_row[i]])`, with `by_row` of shape (rows, D/2) and `by_column` of shape (columns, D/2).
# Write the backward pass, from the gradient of the positions of all patches to those of the two tables.


# %%
def learned_2d_backward(dpositions, rows, columns):
    """dpositions: (rows * columns, D), row by row -> dby_row (rows, D / 2), dby_column (columns, D / 2)"""
    ...  # your answer here


check("4.3", learned_2d_backward)

# %% [markdown]
# **4.4 (an hour).** Relative positions (appendix D.4): every offset $n - m$ between a query $n$ and a key $m$ has a
# learned vector $\mathbf{r}_{n-m}$ of width $D_h$. The query meets this vector as if it were a second key:
#
# $$S_{nm} = (\mathbf{q}_n \cdot \mathbf{k}_m + \mathbf{q}_n \cdot \mathbf{r}_{n-m}) / \sqrt{D_h}.$$
#
# The table `r` has $2N_p - 1$ rows. The vector $\mathbf{r}_{n-m}$ is in row $n - m + N_p - 1$. The [class] token has no
# offset, so we leave it out. Write the backward pass of the scores. Begin with the forward pass as loops.


# %%
def relative_scores_backward(q, k, r, dS):
    """q, k: (Np, Dh), r: (2 Np - 1, Dh), dS: (Np, Np) -> dq (Np, Dh), dk (Np, Dh), dr (2 Np - 1, Dh)"""
    ...  # your answer here


check("4.4", relative_scores_backward)

# %% [markdown]
# ## Appendix: is a difference more than luck?
#
# The **standard error** of a mean tells how far the mean would typically move if we trained again with other seeds. It
# is the standard deviation over the seeds, divided by the root of their number. Two kinds with the same seed see the
# images in the same order. So we compare them *in pairs*: we take the difference for each seed, then the mean and the
# standard error of these differences. We compare the worst kind with positions to `none`, and the best kind to the
# worst kind with positions.


# %%
def in_standard_errors(differences):
    """The mean of paired differences, in standard errors.   differences: (..., seeds) -> (...)"""
    return differences.mean(axis=-1) / (differences.std(axis=-1, ddof=1) / differences.shape[-1] ** 0.5)


def compare(results, better, worse):
    """Print the difference of two kinds in points and in standard errors; return the latter."""
    differences = 100 * (results[better] - results[worse])  # one for each seed
    print(
        f"  {better} - {worse}: {differences.mean():.1f} points, {in_standard_errors(differences):.1f} standard errors"
    )
    return in_standard_errors(differences)


apart = {}  # title of a panel -> kinds, seeds, and standard errors between the best and the worst kind
for title, results in panels.items():
    print(title)
    placed = [kind for kind in results if kind != "none"]
    lowest, *_, highest = sorted(placed, key=lambda kind: results[kind].mean())
    compare(results, lowest, "none")
    apart[title] = len(placed), len(results["none"]), compare(results, highest, lowest)

# %% [markdown]
# One of several equal kinds always comes out on top. We chose the best and the worst after seeing the results, so a
# large difference was to be expected, and the larger, the more kinds there are. How large would it be by chance alone?
# We simulate many such experiments with equal kinds, as many as we compared.

# %%
experiment = np.arange(20_000)
for title, (many, count, observed) in apart.items():
    drawn = np.random.default_rng(0).standard_normal((len(experiment), many, count))  # many kinds, `count` seeds
    mean = drawn.mean(axis=2)
    by_chance = in_standard_errors(drawn[experiment, mean.argmax(axis=1)] - drawn[experiment, mean.argmin(axis=1)])
    share = np.mean(by_chance >= observed)
    print(
        f"{title}, {many} kinds, {count} seeds: at least {observed:.1f} standard errors by chance "
        f"in {share:.0%} of the experiments"
    )

# %% [markdown]
# **In the stored run** positions gain at least 19.6 points after 600 updates, 21.6 standard errors, so they matter. The
# best and the worst of the 5 kinds are 2.8 points apart, 2.9 standard errors. With 5 equal kinds, chance alone gives at
# least that in 10 % of the experiments. After 300 updates, with 3 kinds and 4 seeds only, the difference is 3.4 points.
# Chance alone gives at least its number of standard errors in 16 %. Neither run shows that the kind matters.
#
# Two cautions. A kind that is behind after few updates may only learn more slowly. And all models are tested on the
# same 359 images, so these standard errors say nothing about other images.
#
# Next: [05, LayerNorm](05_layer_norm.ipynb).

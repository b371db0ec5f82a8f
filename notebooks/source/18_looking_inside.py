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
# # 18 Looking inside
#
# What has a trained Vision Transformer learned? Section 4.5 of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) looks in four places: at the filters of the patch
# embedding $\mathbf{E}$ (Eq. 1), at the position embeddings $\mathbf{E}_{pos}$, at how far attention reaches (D.7), and
# at what the [class] token reads from the image (D.8). Each takes a few lines of array code, and each is easy to
# over-read. So every measurement here has a **control**: the same measurement of a model that has learned nothing, or
# of attention made by hand. At the end you will be able to
#
# - compute the principal components of the filters, the similarity of positions, the attention distance and the
#   attention rollout,
# - say what each would show for a model that learned nothing,
# - test a picture of "where the model looks" by taking away what it points at.
#
# You need notebooks [03](03_patches.ipynb), [04](04_tokens_and_positions.ipynb), [08](08_multi_head.ipynb) and
# [10](10_residual_stream.ipynb).
#
# **Budget:** 45 s of CPU time (fast mode 7 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit.data import normalize
from minivit.lessons import agree, check, full_or_fast, photographs, result_file, show_source
from minivit.models import ViT, inside, load_pretrained
from minivit.models.archive import read_arrays
from minivit.tensor import no_grad

rng = np.random.default_rng(18)

# %% [markdown]
# ## The model and its control
#
# A small model comes with the notebook: six blocks of three heads, width 96, patches of 4 × 4 pixels, a [class] token
# and learned positions. It saw the 50,000 training images of CIFAR-10 four times, in some minutes on two cores
# (`notebooks/experiments/small_checkpoint.py` has the commands). Its training began from seed 0. So
# `ViT(config, seed=0)` is the same model *before* training: the control. The model is far from the best, and a better
# one may have learned other things.

# %%
checkpoint = result_file("vit_cifar10.safetensors")
trained = load_pretrained(checkpoint)
config = trained.config
untrained = ViT(config, seed=0)
models = {"trained": trained, "untrained": untrained}
_, metadata = read_arrays(checkpoint)
print(config.description)
print(f"stored with the weights: accuracy {float(metadata['test_accuracy']):.1%} on the 10,000 test images")

# %% [markdown]
# We use 1,000 test images, which the model has not seen in training. (If CIFAR-10 is not on your machine, they are
# drawn shapes. Everything below still runs, but the model was never trained for them, so the results mean less.)
#
# The images are normalised with the mean and the standard deviation of the training run. A model that gets other inputs
# still answers, only worse. So check the accuracy before you look inside.
#
# **Predict first.** The stored accuracy is 58.5 %. How far from it may the accuracy on 1,000 of the test images be? And
# what does another normalisation cost, to the range −1 to 1 that notebook 13 uses?

# %%
_, test = photographs(1, full_or_fast(1000, 16))
images = normalize(test.images, mean=(0.49, 0.48, 0.45), std=0.25)
few = images[:128]  # for what needs no more


def answers(images):
    """(B, 32, 32, 3) -> (B,): the class with the largest logit; in pieces, which saves memory."""
    with no_grad():
        pieces = [trained(images[i : i + 200]).data.argmax(axis=1) for i in range(0, len(images), 200)]
    return np.concatenate(pieces)


predicted = answers(images)
print(f"{len(images)} images of {test.name}")
if test.name == "cifar10":
    acc = (predicted == test.labels).mean()
    print(f"classified correctly: {acc:.1%} ± {np.sqrt(acc * (1 - acc) / len(images)):.1%}")
    others = answers(normalize(test.images, mean=(0.5, 0.5, 0.5), std=0.5))
    print(f"with the other normalisation: {(others == test.labels).mean():.1%}")

# %% [markdown]
# **In the stored run** the accuracy is 58.3 % ± 1.6 %, so it agrees with the stored 58.5 %. The other normalisation
# would have given 37.7 %, without any error message.
#
# ## Symbols
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $P$ | side of a patch in pixels | number | `P` |
# | $C$ | channels of the image | number | 3 |
# | $D$, $L$, $H$ | width of the model, blocks, heads | numbers | `config` |
# | $N$, $N_p$ | tokens, [class] included; patches, $N - 1$ | numbers | `N`, `Np` |
# | $\mathbf{E}$ | patch embedding; its column $\mathbf{e}_d$ is the filter of feature $d$ | $(P^2C, D)$ | `patch_embed.projection` |
# | $\Sigma$ | covariance of the filters | $(P^2C, P^2C)$ | `covariance` |
# | $\mathbf{u}_m$, $\nu_m$ | eigenvectors and eigenvalues of $\Sigma$ | $(P^2C,)$, number | `vectors`, `values` |
# | $\mathbf{E}_{pos}^i$ | position embedding of patch $i$ | $(D,)$ | `table[i]` |
# | $A_\ell^{(a)}$ | attention weights of head $a$ in block $\ell$ | $(N, N)$ | `attention[l, b, a]` of image `b` |
# | $\mathbf{c}_i$ | centre of patch $i$, in pixels | $(2,)$ | |
# | $r$ | attention distance, in pixels | number | `r` |
# | $\mathbf{z}_\ell$ | tokens after block $\ell$ | $(N, D)$ | |
# | $\bar A_\ell$ | mean of $A_\ell^{(a)}$ over the heads | $(N, N)$ | |
# | $\hat A_\ell$ | the same, with the residual connection | $(N, N)$ | |
# | $R$ | rollout | $(N, N)$ | `R` |
#
# ## Filters
#
# Feature $d$ of a patch is its inner product with $\mathbf{e}_d$, column $d$ of $\mathbf{E}$. So a column can be drawn
# as a small picture: among all patches of the same norm, it excites this feature most. There are $D$ such pictures. The
# paper draws their **principal components** instead (Figure 7, left). Subtract the mean filter $\bar{\mathbf{e}}$ and
# diagonalise the covariance matrix:
#
# $$\Sigma = \frac1D \sum_{d=1}^{D} (\mathbf{e}_d - \bar{\mathbf{e}})(\mathbf{e}_d - \bar{\mathbf{e}})^\top, \qquad \Sigma\, \mathbf{u}_m = \nu_m \mathbf{u}_m, \qquad \nu_1 \ge \nu_2 \ge \ldots$$
#
# The $m$-th component is $\mathbf{u}_m$, and $\nu_m/\sum_{m'} \nu_{m'}$ is its share of the variance. First as the
# formula says:

# %%
filters = inside.patch_filters(trained).astype(np.float64)  # (D, P, P, C)
flat = filters.reshape(len(filters), -1)  # a filter per row


# %% tags=["yours"]
def covariance_of(flat):
    """(D, n), one filter per row -> (n, n)."""
    mean = flat.mean(axis=0)
    covariance = np.zeros((flat.shape[1], flat.shape[1]))
    for e in flat:
        covariance += np.outer(e - mean, e - mean) / len(flat)
    return covariance


# %%
covariance = covariance_of(flat)
values, vectors = np.linalg.eigh(covariance)  # in ascending order
components, share = inside.principal_components(filters, count=8)
agree("shares", values[::-1][:8] / values.sum(), share)
agree("first one", abs(vectors[:, -1]), abs(components[0].ravel()))  # its sign means nothing

# %% [markdown]
# The library uses a singular value decomposition of the centred filters, which does not square the numbers:

# %%
show_source(inside.principal_components)

# %% [markdown]
# Three sets of components side by side: those of the *patches of the images themselves*, of the trained filters and of
# the untrained ones. Grey is zero.
#
# **Predict first.** Will the components of the trained filters look more like those of image patches or more like those
# of the untrained filters?

# %%
P = config.patch_size[0]
rows, columns = config.grid
patches = few.reshape(-1, rows, P, columns, P, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, P, P, 3)
samples = {"image patches": patches} | {name: inside.patch_filters(model) for name, model in models.items()}

figure, axes = plt.subplots(3, 10, figsize=(10, 3.6), layout="constrained")
for row, (name, sample) in zip(axes, samples.items(), strict=True):
    components, share = inside.principal_components(sample, 10)
    for axis, component, part in zip(row, components, share, strict=True):
        axis.imshow(0.5 + 0.5 * component / abs(component).max())
        axis.set_title(f"{part:.1%}", fontsize=10)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, fontsize=10)
_ = figure.suptitle("First ten principal components and their share of the variance", fontsize=11)

# %%
for name, sample in samples.items():
    _, share = inside.principal_components(sample, 48)
    needed = int((np.cumsum(share) < 0.9).sum()) + 1
    print(f"{name:<14} the first component has {share[0]:.1%}; {needed} of {len(share)} make up 90 %")
now, then = (inside.patch_filters(model).ravel() for model in models.values())
print(f"correlation of the trained filters with their initial values: {np.corrcoef(now, then)[0, 1]:.3f}")
print(
    f"size of the change over the size of the initial values: {np.linalg.norm(now - then) / np.linalg.norm(then):.2f}"
)

# %% [markdown]
# **In the stored run** the trained filters have a correlation of 0.990 with their initial values, and they changed by
# 0.14 of their size. So the second row shows mostly the random initialisation: its first component has 5.3 % of the
# variance, that of the untrained filters 5.2 %, and that of image patches 74.3 %.
#
# The first row shows what structure looks like: brightness first, then colours, gradients and edges, and a few
# components with most of the variance. The paper's components "resemble plausible basis functions for a low-dimensional
# representation of the fine structure within each patch" (section 4.5). That model, ViT-L/32, is hundreds of times
# larger and had seen far more images. A small model can do without: $\mathbf{E}$ takes $P^2C = 48$ numbers to $D = 96$.
# The 48 rows of a random $\mathbf{E}$ are linearly independent (with probability 1), so the pixels can be computed back
# and nothing is lost.
#
# Do not compare the second and the third row picture by picture. Where several components have nearly the same
# share, a small change of the filters mixes them, and a change of sign turns every colour into its opposite.
#
# ## Position embeddings
#
# The cosine of two position embeddings measures how alike the two positions are to the model:
#
# $$\cos(i, j) = \frac{\mathbf{E}_{pos}^i \cdot \mathbf{E}_{pos}^j}{\lVert \mathbf{E}_{pos}^i \rVert\, \lVert \mathbf{E}_{pos}^j \rVert}.$$

# %%
table = inside.position_table(trained).astype(np.float64)  # (Np, D)
Np = len(table)
N = Np + 1


# %% tags=["yours"]
def cosines_with_loops(table):
    """(Np, D) -> (Np, Np)."""
    cosines = np.zeros((len(table), len(table)))
    for i in range(len(table)):
        for j in range(len(table)):
            lengths = np.sqrt(table[i] @ table[i]) * np.sqrt(table[j] @ table[j])
            cosines[i, j] = table[i] @ table[j] / lengths
    return cosines


# %%
similarity = inside.cosine_similarity(table, config.grid)  # (rows, columns, rows, columns)
agree("cosine", similarity.reshape(Np, Np), cosines_with_loops(table))
show_source(inside.cosine_similarity)

# %% [markdown]
# The paper's Figure 7 (centre) has a tile for every patch; the tile shows its cosine with all others. To the right we
# draw the mean over all pairs that are exactly 1, 2, ..., 7 patches apart.
#
# **Predict first.** Does the curve of the trained model fall with the distance? What does the curve of the untrained
# model look like?

# %%
distance = inside.patch_distances(config.grid, (1, 1))  # in patches
tiles = np.full((rows, rows + 1, columns, columns + 1), np.nan)  # with a line between tiles
tiles[:, :rows, :, :columns] = similarity.transpose(0, 2, 1, 3)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
picture = left.imshow(tiles.reshape(rows * (rows + 1), -1), vmin=-1, vmax=1, cmap="RdBu_r")
left.set(xticks=[], yticks=[], xlabel="column of the patch", ylabel="row of the patch", title="trained")
figure.colorbar(picture, ax=left, label="cosine similarity", ticks=[-1, -0.5, 0, 0.5, 1])
apart = np.arange(1, 8)
for (name, model), marker in zip(models.items(), "ox", strict=True):
    cosines = inside.cosine_similarity(inside.position_table(model), config.grid).reshape(Np, Np)
    by_distance = [cosines[np.isclose(distance, d)].mean() for d in apart]
    right.plot(apart, by_distance, marker=marker, label=name)
    near, further, far = (by_distance[d - 1] for d in (1, 2, 5))
    print(f"{name:<10} mean cosine 1, 2 and 5 patches apart: {near:+.2f}, {further:+.2f}, {far:+.2f}")
right.axhline(0, color="gray", linewidth=0.8)
right.set(xlabel="distance in patches", ylabel="mean cosine similarity", ylim=(-1, 1))
_ = right.legend()

# %% [markdown]
# **In the stored run** the mean cosine of the trained model falls from +0.63 for neighbours to +0.32 at 2 patches and
# -0.17 at 5. That of the control stays within 0.01 of zero there. So the first finding of the paper holds here as well:
# "closer patches tend to have more similar position embeddings".
#
# Beyond 5 patches the curve rises again. These pairs lie near opposite edges of the image, and edges have something in
# common.
#
# The paper also finds that patches in the same row or column have similar embeddings. This needs a comparison of its
# own, between pairs at about the same distance: some share a row, some a column, and others neither.
#
# **Predict first.** Photographs differ more between top and bottom than between left and right. Which pairs should then
# be more alike: those in the same row or those in the same column?

# %%
place_row, place_column = np.divmod(np.arange(Np), columns)
same_row, same_column = place_row[:, None] == place_row, place_column[:, None] == place_column
groups = {"same row": same_row, "same column": same_column, "others": ~(same_row | same_column)}
for name, model in models.items():
    cosines = inside.cosine_similarity(inside.position_table(model), config.grid).reshape(Np, Np)
    for d in (3, 4, 5):
        ring = np.rint(distance) == d
        means = (f"{group} {cosines[ring & pairs].mean():+.2f}" for group, pairs in groups.items())
        print(f"{name:<10} about {d} patches apart:", *means, sep="   ")

# %% [markdown]
# **In the stored run** pairs in the same row are alike (+0.34 at about 3 patches, against -0.02 for pairs that share
# neither), and pairs in the same column are not (-0.10). All means of the control lie between -0.02 and +0.02. So this
# table has learned rows, but no columns.
#
# ## Attention distance
#
# How far does a head look? The paper (section 4.5, D.7) takes the mean distance between a query and what it attends to,
# weighted by attention. It plays the part of the receptive field of a convolution.
#
# $$r = \frac{1}{N_p} \sum_{i=1}^{N_p} \frac{\sum_{j=1}^{N_p} A_{ij}\, \lVert \mathbf{c}_i - \mathbf{c}_j \rVert_2}{\sum_{j=1}^{N_p} A_{ij}}$$
#
# The sums run over the patches. The [class] token has no place, so its row and column are left out. The division makes
# the rest of each row sum to 1 again. One head and one image in loops; patch $i$ lies in row `i // columns` and column
# `i % columns`:

# %%
attention = inside.attention_weights(trained, few)  # (L, B, H, N, N)
first_head = attention[0, 0, 0].astype(np.float64)  # first block, image and head


# %% tags=["yours"]
def distance_with_loops(A):
    """A: (Np, Np), the weights of the patches -> pixels."""
    r = 0.0
    for i in range(len(A)):
        total = reach = 0.0
        for j in range(len(A)):
            down, across = P * (i // columns - j // columns), P * (i % columns - j % columns)  # pixels
            total += A[i, j]
            reach += A[i, j] * np.sqrt(down**2 + across**2)
        r += reach / total / len(A)
    return r


# %%
agree("distance", inside.attention_distance(first_head, config), distance_with_loops(first_head[1:, 1:]))

# %%
show_source(inside.attention_distance)

# %% [markdown]
# Would this number tell a local head from a global one? Two heads made by hand answer: one attends to all patches
# alike, and the weights of the other fall off like a bell curve with a standard deviation of one patch.

# %%
uniform_head = np.full((N, N), 1 / N)
local_head = np.pad(np.exp(-(distance**2) / 2), ((1, 0), (1, 0)))
uniform, local = (float(inside.attention_distance(head, config)) for head in (uniform_head, local_head))
print(
    f"uniform head {uniform:.1f} pixels, local head {local:.1f} pixels; the image is {config.image_size[0]} pixels wide"
)

# %% [markdown]
# Now the model, as in Figure 11: one dot for each head, its mean over 128 images.
#
# **Predict first.** In the paper's large model the lowest blocks have heads that look near by *and* heads that look
# far, and in the highest blocks most heads look far (Figure 7, right). Where will the dots of our small model lie: near
# the local head, near the uniform head, or between?

# %%
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
blocks = np.arange(1, config.depth + 1)
for (name, model), marker, shift in zip(models.items(), "ox", (-0.1, 0.1), strict=True):
    weights = inside.attention_weights(model, few)
    reach = inside.attention_distance(weights, config).mean(axis=1)  # (L, H): the mean over images
    places = np.repeat(blocks + shift, config.heads)
    axes.plot(places, reach.ravel(), marker, label=f"heads of the {name} model")
    print(
        f"{name:<10} all heads between {reach.min() / uniform:.0%} and {reach.max() / uniform:.0%} of uniform attention"
    )
axes.axhline(uniform, color="gray", linestyle="--", label="uniform head")
axes.axhline(local, color="gray", linestyle=":", label="local head")
axes.set(xlabel="block", ylabel="mean attention distance in pixels", ylim=(0, 1.2 * uniform))
_ = axes.legend(ncols=2, loc="center")

# %% [markdown]
# **In the stored run** all heads of the trained model lie between 94 % and 102 % of uniform attention, and those of the
# untrained model between 95 % and 104 %. By this measure the model has not learned to look near by.
#
# (A head lies above the line if it prefers far patches.) This need not surprise: a local head has to be learned, and
# Raghu et al. (2021) report that their models did not learn it from too little data.
#
# A dot at the height of the uniform head does *not* say that the head attends uniformly. A head that looks at a few
# patches anywhere has on average about the same distance. The **entropy** of a query's weights tells the two apart:
#
# $$-\sum_j A_{ij} \ln A_{ij}$$
#
# Uniform attention to $n$ tokens has the entropy $\ln n$. So the exponential of the entropy says over how many tokens a
# head spreads its weight. We average the entropy over images and queries first; here the [class] token counts as a
# token.


# %% tags=["yours"]
def entropy_of(weights):
    """(L, B, H, N, N) -> (L, H): entropy of each query's weights, its mean over images and queries."""
    entropy = -(weights * np.log(np.maximum(weights, 1e-30))).sum(axis=-1)
    return entropy.mean(axis=(1, 3))


# %% [markdown]
# **Predict first.** Over how many of the 65 tokens does a head of the untrained model spread its weight? And a trained
# head: over more or fewer?

# %%
for name, model in models.items():
    counts = np.exp(entropy_of(inside.attention_weights(model, few)))
    print(
        f"{name:<10} heads spread over {counts.min():.0f} to {counts.max():.0f} of {N} tokens, {counts.mean():.0f} in the mean"
    )

# %% [markdown]
# **In the stored run** a trained head spreads its weight over 28 of 65 tokens in the mean, an untrained head over 53.
# At about the same distance the trained heads have fewer tokens: they have learned to choose, but not to choose what is
# near.
#
# ## Rollout
#
# The attention weights of a block connect its input tokens with its output tokens. The [class] token of the last block
# reads tokens that have themselves read others. **Attention rollout** (Abnar and Zuidema 2020) follows the weights back
# to the image. It simplifies three things:
#
# 1. All heads count alike: $\bar A_\ell = \frac1H \sum_{a=1}^{H} A_\ell^{(a)}$.
# 2. The values are the tokens themselves, and the MLP is left out.
# 3. The residual connection (Eq. 2) adds the token to the result of attention. Both count one half:
#    $\mathbf{z}_\ell \approx \frac12 \mathbf{z}_{\ell-1} + \frac12 \bar A_\ell \mathbf{z}_{\ell-1}$.
#
# Insert this from the last block to the first, and $\mathbf{z}_L \approx R\, \mathbf{z}_0$ with
#
# $$R = \hat A_L \hat A_{L-1} \cdots \hat A_1, \qquad \hat A_\ell = \tfrac12 \left(\mathbf{I} + \bar A_\ell\right).$$
#
# The rows of each $\hat A_\ell$ sum to 1, and so do those of $R$. So $R_{ij}$ is a share: how much of input token $j$
# is in output token $i$. (The paper's D.8 mentions the mean over heads and the product; the identity is from Abnar and
# Zuidema.) One image in loops:


# %% tags=["yours"]
def rollout_with_loops(attention):
    """(L, H, N, N), first block first -> (N, N)."""
    N = attention.shape[-1]
    R = np.eye(N)
    for layer in attention:
        mixed = np.zeros((N, N))
        for i in range(N):
            # what token i had, through the residual connection
            mixed[i] = 0.5 * R[i]
            for j in range(N):
                # what it reads from token j
                mixed[i] += 0.5 * layer[:, i, j].mean() * R[j]
        R = mixed
    return R


# %%
R = inside.rollout(attention)  # (B, N, N)
agree("rollout", R[0], rollout_with_loops(attention[:, 0].astype(np.float64)), rtol=1e-4)
agree("row sums", R.sum(axis=-1), np.ones(R.shape[:2]), rtol=1e-4)

# %%
show_source(inside.rollout)

# %% [markdown]
# We draw the [class] token's row as a picture: `read_by_head` picks the row and drops the [class] column. It is drawn
# as a multiple of the uniform share $1/N$. Below it stands the attention of the last block alone, the mean over its
# heads. The titles are the model's answers, with the true class in brackets where it is another one.
#
# **Predict first.** Each factor of the rollout is half identity, and each is a mean over heads. Is the rollout flatter
# or sharper than the attention of the last block?

# %%
maps = {"rollout": [], "last block": []}
for i in range(0, len(images), 100):  # in pieces: the matrices of all images take hundreds of megabytes
    attention = inside.attention_weights(trained, images[i : i + 100])
    maps["rollout"].append(inside.read_by_head(inside.rollout(attention), config) * N)
    maps["last block"].append(inside.read_by_head(attention[-1].mean(axis=1), config) * N)
maps = {name: np.concatenate(pieces) for name, pieces in maps.items()}  # (B, rows, columns) each

shown = 7
figure, axes = plt.subplots(3, shown, figsize=(10, 4.8), layout="constrained")
for i in range(shown):
    axes[0, i].imshow(test.images[i])
    if test.name == "cifar10":
        answer, truth = test.classes[predicted[i]], test.classes[test.labels[i]]
        axes[0, i].set_title(answer if answer == truth else f"{answer}\n({truth})", fontsize=10)
    for axis, values in zip(axes[1:, i], maps.values(), strict=True):
        picture = axis.imshow(values[i], norm="log", vmin=1 / 5, vmax=5)
axes[0, 0].set_ylabel("image", fontsize=10)
for axis, name in zip(axes[1:, 0], maps, strict=True):
    axis.set_ylabel(name, fontsize=10)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
bar = figure.colorbar(picture, ax=axes[1:], label="times uniform share", ticks=[0.2, 0.5, 1, 2, 5], format="%g")
bar.minorticks_off()

# %%
for name, values in maps.items():
    flat = values.reshape(len(values), -1)
    ratio = np.median(flat.max(axis=1) / flat.min(axis=1))
    print(f"{name:<10} largest share over smallest, median over the images: {ratio:.1f}")

# %% [markdown]
# **In the stored run** the largest share of the rollout is 3.7 times the smallest, in the median over the images. In
# the last block alone it is 39.4 times. So the rollout is much flatter.
#
# ## Experiment: does the rollout point at what matters?
#
# It is tempting to find the object in such a picture. The picture can be tested: blank out the patches that it ranks
# highest, and count how often the prediction changes. Three controls:
#
# - as many patches **at random**: if the map knows something, the highest must hurt more,
# - the patches ranked **lowest**: they must hurt less than random ones,
# - the ranking of **another image**: objects tend to be in the middle, and a map that always says "the middle" knows
#   nothing of this image.
#
# No labels are needed, only the model's own answer before. A blank patch has the value 0, the mean colour.


# %% tags=["yours"]
def blanked(images, patches):
    """A copy with some patches set to 0.   images: (B, height, width, C); patches: (B, n), numbers of the patches."""
    out = images.copy()
    for image, chosen in zip(out, patches, strict=True):
        for patch in chosen:
            row, column = divmod(patch, columns)
            image[row * P : (row + 1) * P, column * P : (column + 1) * P] = 0
    return out


# %%
def changed(patches):
    """(B,): 1 for an image whose predicted class is another one without these patches, else 0."""
    return (answers(blanked(images, patches)) != predicted).astype(float)


# %% [markdown]
# **Predict first.** Rank these from most to fewest changed predictions: highest by rollout, highest by the last block,
# another image's rollout, random, lowest by rollout.

# %%
ranks = {name: (-values.reshape(len(images), -1)).argsort(axis=1) for name, values in maps.items()}
orders = {
    "highest by rollout": ranks["rollout"],
    "highest by the last block": ranks["last block"],
    "by another image's rollout": np.roll(ranks["rollout"], 1, axis=0),
    "at random": rng.permuted(np.tile(np.arange(Np), (len(images), 1)), axis=1),
    "lowest by rollout": ranks["rollout"][:, ::-1],
}
counts = full_or_fast((4, 8, 16, 32), (4, 16))
changes = {name: np.array([changed(order[:, :n]) for n in counts]) for name, order in orders.items()}  # (counts, B)


# %% tags=["yours"]
def mean_and_error(values):
    """(..., B) -> the mean over the images and its standard error."""
    return values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


# %%
figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
for (name, values), marker in zip(changes.items(), "os^xD", strict=True):
    axes.errorbar(counts, *mean_and_error(values), marker=marker, capsize=3, label=name)
axes.set(xlabel=f"blanked patches of {Np}", ylabel="share of predictions that change", ylim=(0, 1), xticks=counts)
_ = axes.legend()

# %% [markdown]
# All curves are measured on the same images. So we take differences image by image and give *them* an error, in
# percentage points ([15](15_data_scale.ipynb)).

# %%
print(f"blanked: {', '.join(map(str, counts))} of {Np} patches")
for name, values in changes.items():
    print(f"{name:<26}", *(f"{share:6.0%}" for share in values.mean(axis=1)), sep="   ")
print('"highest by rollout", minus')
for name in list(changes)[1:]:
    gaps = zip(*mean_and_error(changes["highest by rollout"] - changes[name]), strict=True)
    print(f"{name:<26}", *(f"{100 * gap:+5.1f} ± {100 * error:.1f}" for gap, error in gaps), sep="   ")

# %% [markdown]
# **In the stored run** blanking the 8 patches highest by rollout changes 61 % of the predictions, 8 random ones 45 %
# and the 8 lowest 34 %. So the rollout does find patches that matter, and it beats the last block alone at every count.
# But most of this is not about the image: another image's rollout already changes 55 %, and only 5.7 ± 1.6 of the 15.6
# points over random patches are due to this image. (With 4 patches, 2.4 ± 1.8 points decide nothing.)
#
# The pictures alone could not have told you any of this. Two cautions. A changed answer need not be a worse one; the
# first may have been wrong. And the model has never seen an image with blank patches and may err for that reason. This
# is why random patches are the reference, and not zero.
#
# ## Where this goes wrong in practice
#
# - **No control.** Structure in a picture counts only if an untrained model does not have it.
# - **Wrong normalisation.** Weights that were trained with another mean and standard deviation answer anyway. Before
#   you look inside, compare the accuracy with the published one.
# - **Attention taken for importance.** A weight says how much of a value is read. It does not say how large the value
#   is, nor what the next block does with it (exercise 18.4).
# - **The product in the wrong order.** The rows of $\hat A_1 \hat A_2 \cdots \hat A_L$ sum to 1 as well, and it gives a
#   plausible picture.
# - **A kernel that never holds the attention weights.** Fast kernels do not store $A$. To look at it, compute it again,
#   as `attention_weights` does.
# - **[class] tokens and registers counted as patches** when the map is reshaped to a grid. Then every patch is drawn in
#   its neighbour's place.
#
# ## Exercises
#
# `hint("18.2")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **18.1 (two minutes).** An "image" is a row of three patches, each 4 pixels wide. A head attends uniformly. What is
# its mean attention distance, in pixels? Give a fraction, such as `7 / 3`.

# %%
answer = None  # your answer here: a number

check("18.1", answer)

# %% [markdown]
# **18.2 (fifteen minutes).** The rollout assumes that the residual connection makes up one half. Suppose somebody has
# measured its share in every block. Write the rollout with these shares in NumPy. With $\frac12$ everywhere it is the
# library's.


# %%
def rollout(attention, kept):
    """attention: (L, H, N, N), first block first; kept: (L,), share of the residual connection -> (N, N)"""
    ...  # your answer here


check("18.2", rollout)

# %% [markdown]
# **18.3 (twenty minutes).** Appendix D.7 speaks of the distance to all *other* pixels. Write, in NumPy, the attention
# distance with the query itself left out as well: its own weight does not count, and the weights of the other patches
# sum to 1. Token 0 is [class]. Patches need not be square.


# %%
def distance_to_others(attention, grid, pitch):
    """attention: (H, N, N); grid: (rows, columns), rows * columns = N - 1; pitch: pixels between neighbours,
    (down, across) -> (H,) pixels"""
    ...  # your answer here


check("18.3", distance_to_others)

# %% [markdown]
# **18.4 (an hour).** In one block, token $i$ gets a vector from token $j$: the values of $j$, weighted by attention, of
# all heads side by side, projected by $\mathbf{U}_{msa}$ (Eq. 8),
#
# $$\mathbf{f}_{ij} = \left[A^{(1)}_{ij}\mathbf{v}^{(1)}_j;\ \cdots;\ A^{(H)}_{ij}\mathbf{v}^{(H)}_j\right] \mathbf{U}_{msa}.$$
#
# Kobayashi et al. (2020) look at its length instead of the weight. Write, in NumPy, the share of each token $j$ in the
# lengths that $i$ gets, $\lVert\mathbf{f}_{ij}\rVert / \sum_{m} \lVert\mathbf{f}_{im}\rVert$.


# %%
def shares_by_length(A, v, U):
    """A: (H, N, N) attention; v: (H, N, Dh) values; U: (H * Dh, D), head 0 first -> (N, N), rows sum to 1"""
    ...  # your answer here


check("18.4", shares_by_length)

# %% [markdown]
# Next: [19, [class] token or pooling](19_class_token_or_pooling.ipynb).

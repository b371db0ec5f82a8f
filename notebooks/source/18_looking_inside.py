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
# What has a trained Vision Transformer learned? Section 4.5 of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) looks in four places: at the filters of the patch projection
# $\mathbf{E}$ of Eq. 1, at the position embeddings $\mathbf{E}_{pos}$, at how far attention reaches (D.7), and at what the [class] token reads from the image (D.8). Each is a few lines of array code. Each is also
# easy to over-read, so every measurement here stands beside a **control**: the same measurement of a model that has learned nothing, or of attention made by hand. At the end you will be able to
#
# - compute the principal components of the filters, the similarity of positions, the attention distance and the attention rollout,
# - say of each what it would show for a model that learned nothing,
# - test a picture of "where the model looks" by taking away what it points at.
#
# You need notebooks [03](03_patches.ipynb), [04](04_tokens_and_positions.ipynb), [08](08_multi_head.ipynb) and [10](10_residual_stream.ipynb).
#
# **Budget:** 14 s of CPU time (fast mode 7 s).

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
# A small model comes with the notebook: six blocks of three heads, width 96, patches of 4 × 4 pixels, a [class] token and learned positions. It saw the 50,000 training images of CIFAR-10 four times, in some minutes on two cores
# (`notebooks/experiments/small_checkpoint.py` has the commands). Its training began from seed 0, so `ViT(config, seed=0)` is the same model *before* training: the control.
# It is far from the best: what it shows is what *it* has learned, and a better model may have learned other things.

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
# The images are test images that it has not seen in training. If CIFAR-10 is not on your machine, they are drawn shapes, which it was never trained for: everything below still runs, but what it does with them means less.
# They are normalised with the mean and standard deviation of the training run. This matters: a model given other inputs than it was trained with still answers, only worse.
# So before looking inside, compare its accuracy on these images with the stored one, given the standard error.

# %%
_, test = photographs(1, full_or_fast(128, 16))
images = normalize(test.images, mean=(0.49, 0.48, 0.45), std=0.25)
with no_grad():
    predicted = trained(images).data.argmax(axis=1)
print(f"{len(images)} images of {test.name}")
if test.name == "cifar10":
    right = (predicted == test.labels).mean()
    print(f"classified correctly: {right:.1%} ± {np.sqrt(right * (1 - right) / len(images)):.1%}")

# %% [markdown]
# ## Symbols
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $P$, $C$, $D$ | side of a patch in pixels, channels, width | numbers | |
# | $L$, $k$, $N$ | blocks, heads, patches; with the [class] token $N+1$ tokens | numbers | `N` |
# | $\mathbf{E}$ | patch projection, Eq. 1; column $d$ is the filter of feature $d$ | $(P^2C, D)$ | `patch_embed.projection` |
# | $\Sigma$; $\mathbf{u}_m$, $\lambda_m$ | covariance of the filters; its eigenvectors and eigenvalues | $(P^2C, P^2C)$; $(P^2C,)$, number | `covariance`; `vectors`, `values` |
# | $\mathbf{p}_i$ | position embedding of patch $i$, a row of $\mathbf{E}_{pos}$ | $(D,)$ | `table[i]` |
# | $A_\ell^{(h)}$ | attention weights of head $h$ in block $\ell$ | $(N+1, N+1)$ | `attention[l, b, h]` of image `b` |
# | $\mathbf{c}_i$ | centre of patch $i$, in pixels | $(2,)$ | |
# | $r$ | attention distance, in pixels | number | `r` |
# | $\mathbf{z}_\ell$ | the tokens after block $\ell$ | $(N+1, D)$ | |
# | $\bar A_\ell$, $M_\ell$ | mean over the heads; the same with the residual connection | $(N+1, N+1)$ | |
# | $R$ | rollout | $(N+1, N+1)$ | `R` |
#
# ## Filters
#
# Feature $d$ of a patch is its inner product with column $d$ of $\mathbf{E}$. So a column can be drawn as a small picture: the patch that excites this feature most, among all with the same norm. There are $D$ such pictures. The paper draws their
# **principal components** instead (Figure 7 left): take the mean filter off and diagonalise the covariance matrix,
#
# $$\Sigma = \frac1D \sum_{d=1}^{D} (\mathbf{e}_d - \bar{\mathbf{e}})(\mathbf{e}_d - \bar{\mathbf{e}})^\top, \qquad \Sigma\, \mathbf{u}_m = \lambda_m \mathbf{u}_m, \qquad \lambda_1 \ge \lambda_2 \ge \ldots$$
#
# $\mathbf{e}_d$ is column $d$, $\bar{\mathbf{e}}$ the mean of all columns, $\mathbf{u}_m$ the $m$-th component, and $\lambda_m/\sum_{m'} \lambda_{m'}$ is its share of the variance. First literally:

# %%
filters = inside.patch_filters(trained).astype(np.float64)  # (D, P, P, C)
flat = filters.reshape(len(filters), -1)
mean = flat.mean(axis=0)
covariance = np.zeros((flat.shape[1], flat.shape[1]))
for e in flat:
    covariance += np.outer(e - mean, e - mean) / len(flat)

values, vectors = np.linalg.eigh(covariance)  # in ascending order
components, share = inside.principal_components(filters, count=8)
agree("shares", values[::-1][:8] / values.sum(), share)
agree("first one", abs(vectors[:, -1]), abs(components[0].ravel()))  # its sign means nothing

# %% [markdown]
# The library does it by a singular value decomposition of the centred filters, which does not square the numbers:

# %%
show_source(inside.principal_components)

# %% [markdown]
# Three sets of components side by side: those of the *patches of the images themselves*, those of the trained filters, those of the untrained ones. Gray is zero.

# %%
P = config.patch_size[0]
rows, columns = config.grid
patches = images.reshape(-1, rows, P, columns, P, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, P, P, 3)
samples = {"image patches": patches} | {name: inside.patch_filters(model) for name, model in models.items()}

figure, axes = plt.subplots(3, 10, figsize=(10, 3.4), layout="constrained")
for row, (name, sample) in zip(axes, samples.items(), strict=True):
    components, share = inside.principal_components(sample, 10)
    for axis, component, part in zip(row, components, share, strict=True):
        axis.imshow(0.5 + 0.5 * component / abs(component).max())
        axis.set_title(f"{part:.1%}", fontsize=9)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, fontsize=9)
_ = figure.suptitle("First ten principal components and their share of the variance", fontsize=11)

# %%
for name, sample in samples.items():
    _, share = inside.principal_components(sample, 48)
    needed = int((np.cumsum(share) < 0.9).sum()) + 1
    print(f"{name:<14} the first component has {share[0]:.1%}, {needed} of {len(share)} are needed for 90 %")
now, then = (inside.patch_filters(model).ravel() for model in models.values())
print(f"correlation of the trained filters with their initial values: {np.corrcoef(now, then)[0, 1]:.3f}")
print(
    f"length of the change, relative to that of the initial values: {np.linalg.norm(now - then) / np.linalg.norm(then):.2f}"
)

# %% [markdown]
# The first row shows what structure looks like: brightness first, then colours, gradients and edges, and a few components with most of the variance. The paper says of its filters that their components "resemble plausible basis functions for a
# low-dimensional representation of the fine structure within each patch" (section 4.5); that model, ViT-L/32, is hundreds of times larger and had seen far more images. Compare with it the trained filters, and see the last two lines.
# A correlation close to 1 and a small relative change mean that training moved the filters little. Then what the second row shows is mostly the random initialisation, and to praise its structure would be a mistake. A small model can do
# without: $\mathbf{E}$ takes $P^2C = 48$ numbers to $D = 96$, and a random projection to more dimensions loses nothing: its 48 rows are linearly independent (with probability 1), so the pixels can be computed back.
#
# (Do not compare the second and the third row picture by picture. Where several components have nearly the same share, a small change of the filters rotates them among each other, and a change of sign turns every colour into its opposite.)
#
# ## Position embeddings
#
# How alike two positions are to the model is measured by the cosine of their embeddings,
#
# $$\cos(i, j) = \frac{\mathbf{p}_i \cdot \mathbf{p}_j}{\lVert \mathbf{p}_i \rVert\, \lVert \mathbf{p}_j \rVert}.$$

# %%
table = inside.position_table(trained).astype(np.float64)  # (N, D)
N = len(table)
similarity_loops = np.zeros((N, N))
for i in range(N):
    for j in range(N):
        lengths = np.sqrt(table[i] @ table[i]) * np.sqrt(table[j] @ table[j])
        similarity_loops[i, j] = table[i] @ table[j] / lengths

similarity = inside.cosine_similarity(table, config.grid)  # (rows, columns, rows, columns)
agree("cosine", similarity.reshape(N, N), similarity_loops)
show_source(inside.cosine_similarity)

# %% [markdown]
# The paper's Figure 7 (centre) is a tile for every patch, and in the tile its cosine with all others. To the right, the mean over all pairs at about the same distance, with the untrained table as control.

# %%
distance = inside.patch_distances(config.grid, (1, 1))  # in patches
tiles = np.full((rows, rows + 1, columns, columns + 1), np.nan)  # with a line between tiles
tiles[:, :rows, :, :columns] = similarity.transpose(0, 2, 1, 3)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
picture = left.imshow(tiles.reshape(rows * (rows + 1), -1), vmin=-1, vmax=1, cmap="RdBu_r")
left.set(xticks=[], yticks=[], xlabel="column of the patch", ylabel="row of the patch", title="trained")
figure.colorbar(picture, ax=left, label="cosine similarity")
steps = np.arange(1, 8)
for (name, model), marker in zip(models.items(), "ox", strict=True):
    cosines = inside.cosine_similarity(inside.position_table(model), config.grid).reshape(N, N)
    by_distance = [cosines[np.rint(distance) == step].mean() for step in steps]
    right.plot(steps, by_distance, marker=marker, label=name)
    near, further, far = (by_distance[step - 1] for step in (1, 2, 5))
    print(f"{name:<10} mean cosine at about 1, 2 and 5 patches: {near:+.2f}, {further:+.2f}, {far:+.2f}")
right.axhline(0, color="gray", linewidth=0.8)
right.set(xlabel="distance in patches, rounded", ylabel="mean cosine similarity", ylim=(-1, 1))
_ = right.legend()

# %% [markdown]
# The paper finds, among others, two things: "closer patches tend to have more similar position embeddings", and patches in the same row or column have similar ones. The first you can read off the right curve: does it fall with the distance, and does the control?
# (The last points are pairs at opposite edges of the image; edges may have something in common.) The second needs its own comparison, between pairs at about the same distance, of which some share a row and some a column:

# %%
place_row, place_column = np.divmod(np.arange(N), columns)
same_row, same_column = place_row[:, None] == place_row, place_column[:, None] == place_column
groups = {"same row": same_row, "same column": same_column, "others": ~(same_row | same_column)}
for name, model in models.items():
    cosines = inside.cosine_similarity(inside.position_table(model), config.grid).reshape(N, N)
    for step in (3, 4, 5):
        ring = np.rint(distance) == step
        means = (f"{group} {cosines[ring & pairs].mean():+.2f}" for group, pairs in groups.items())
        print(f"{name:<10} about {step} patches apart:", *means, sep="   ")

# %% [markdown]
# If the first two numbers are both clearly larger than the third, and those of the control are not, the table has rows and columns as the paper's has. It may have only one of them: pictures of the world differ more between top and bottom
# than between left and right.
#
# ## Attention distance
#
# How far does a head look? The paper (section 4.5, D.7) takes the mean distance between a query and what it attends to, weighted by attention: an analogue of the receptive field of a convolution.
#
# $$r = \frac1N \sum_{i=1}^{N} \frac{\sum_{j=1}^{N} A_{ij}\, \lVert \mathbf{c}_i - \mathbf{c}_j \rVert_2}{\sum_{j=1}^{N} A_{ij}}$$
#
# The sums run over the patches. The [class] token has no place, so its row and column are left out, and the division brings what is left of each row back to a sum of 1. One head and one image in loops:

# %%
attention = inside.attention_weights(trained, images)  # (L, B, H, N + 1, N + 1)
A = attention[0, 0, 0, 1:, 1:].astype(np.float64)  # first block, image and head, without [class]
r = 0.0
for i in range(N):
    total = reach = 0.0
    for j in range(N):
        down, across = P * (i // columns - j // columns), P * (i % columns - j % columns)  # pixels
        total += A[i, j]
        reach += A[i, j] * np.sqrt(down**2 + across**2)
    r += reach / total / N
agree("distance", inside.attention_distance(attention[0, 0, 0].astype(np.float64), config), r)

# %%
show_source(inside.attention_distance)

# %% [markdown]
# Would this number tell a local head from a global one? Two heads made by hand say what to expect: one that attends to all patches alike, and one whose weights fall off like a bell curve with a standard deviation of one patch.

# %%
uniform_head = np.full((N + 1, N + 1), 1 / (N + 1))
local_head = np.pad(np.exp(-(distance**2) / 2), ((1, 0), (1, 0)))
uniform, local = (float(inside.attention_distance(head, config)) for head in (uniform_head, local_head))
print(
    f"uniform head {uniform:.1f} pixels, local head {local:.1f} pixels, of an image {config.image_size[0]} pixels wide"
)

# %% [markdown]
# Now the model, as in Figure 11: a dot for every head, its mean over the images.

# %%
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
layers = np.arange(1, config.depth + 1)
for (name, model), marker, shift in zip(models.items(), "ox", (-0.1, 0.1), strict=True):
    weights = inside.attention_weights(model, images)
    reach = inside.attention_distance(weights, config).mean(axis=1)  # (L, H): the mean over images
    places = np.repeat(layers + shift, config.heads)
    axes.plot(places, reach.ravel(), marker, label=f"heads of the {name} model")
    print(
        f"{name:<10} all heads between {reach.min() / uniform:.0%} and {reach.max() / uniform:.0%} of uniform attention"
    )
axes.axhline(uniform, color="gray", linestyle="--", label="uniform head")
axes.axhline(local, color="gray", linestyle=":", label="local head")
axes.set(xlabel="block", ylabel="mean attention distance in pixels", ylim=(0, 1.2 * uniform))
_ = axes.legend(ncols=2, loc="center")

# %% [markdown]
# The paper's Figure 7 (right) has, in the lowest blocks, heads near the bottom of such a plot *and* heads near the top, and only the latter in the highest. Where are the dots here, and how far is the trained model from the control?
# (A head can lie a little above the line of the uniform head: it prefers far patches.)
# If both models lie near that line, this model has not learned to look near by. That need not surprise: a local head has to be learned, and Raghu et al. (2021) report that their models did not learn it when they had too little data.
#
# A dot at the height of the uniform head does *not* say that the head attends uniformly. A head that looks at a few patches anywhere has on average about the same distance. The entropy of a query's weights, $-\sum_j A_{ij} \ln A_{ij}$, tells them
# apart. Uniform attention to $n$ tokens has the entropy $\ln n$, so its exponential says over how many tokens a head spreads its weight. (We average the entropy first, over images and queries. The [class] token counts as a token here.)

# %%
for name, model in models.items():
    weights = inside.attention_weights(model, images)
    entropy = -(weights * np.log(np.maximum(weights, 1e-30))).sum(axis=-1).mean(axis=(1, 3))  # (L, H)
    counts = np.exp(entropy)
    print(
        f"{name:<10} from {counts.min():.0f} to {counts.max():.0f} of {N + 1} tokens, {counts.mean():.0f} in the mean"
    )

# %% [markdown]
# If the trained heads have fewer tokens than the control's, at about the same distance, they have learned to choose, but not to choose what is near.
#
# ## Rollout
#
# Attention weights connect the tokens of one block with those of the next. The [class] token of the last block reads tokens that have themselves read others. **Attention rollout** (Abnar and Zuidema 2020) follows the weights back to the
# image. It rests on three simplifications:
#
# 1. The heads count alike: $\bar A_\ell = \frac1k \sum_h A_\ell^{(h)}$.
# 2. The values are the tokens themselves, and the MLP changes nothing that matters.
# 3. The residual connection (Eq. 2) adds the token to what attention gives, and both are equally large: $\mathbf{z}_\ell \approx \frac12 \mathbf{z}_{\ell-1} + \frac12 \bar A_\ell \mathbf{z}_{\ell-1}$.
#
# Put in from the last block to the first, that is $\mathbf{z}_L \approx R\, \mathbf{z}_0$ with
#
# $$R = M_L M_{L-1} \cdots M_1, \qquad M_\ell = \tfrac12 \left(\mathbf{I} + \bar A_\ell\right).$$
#
# Rows of each $M_\ell$ sum to 1, so those of $R$ do: $R_{ij}$ is a share, how much of input token $j$ is in output token $i$. (Appendix D.8 of the paper mentions the mean over heads and the product; the identity is in Abnar and Zuidema's definition.)
# In loops, one image:

# %%
R_loops = np.eye(N + 1)
for layer in attention[:, 0].astype(np.float64):  # from the first block to the last
    mixed = np.zeros((N + 1, N + 1))
    for i in range(N + 1):
        mixed[i] = 0.5 * R_loops[i]  # what token i had, by the residual connection
        for j in range(N + 1):
            mixed[i] += 0.5 * layer[:, i, j].mean() * R_loops[j]  # what it reads of token j
    R_loops = mixed

R = inside.rollout(attention)  # (B, N + 1, N + 1)
agree("rollout", R[0], R_loops, rtol=1e-4)
agree("row sums", R.sum(axis=-1), np.ones(R.shape[:2]), rtol=1e-4)

# %%
show_source(inside.rollout)

# %% [markdown]
# The [class] token's row, as a picture: `read_by_head` picks it and drops the [class] column. We draw it as a multiple of the uniform share $1/(N+1)$. Beneath it, the attention of the last block alone, the mean over its heads.

# %%
maps = {
    "rollout": inside.read_by_head(R, config) * (N + 1),
    "last block": inside.read_by_head(attention[-1].mean(axis=1), config) * (N + 1),
}
shown = 7
figure, axes = plt.subplots(3, shown, figsize=(10, 4.6), layout="constrained")
for i in range(shown):
    axes[0, i].imshow(test.images[i])
    if test.name == "cifar10":
        axes[0, i].set_title(test.classes[predicted[i]], fontsize=9)
    for axis, values in zip(axes[1:, i], maps.values(), strict=True):
        picture = axis.imshow(values[i], norm="log", vmin=1 / 5, vmax=5)
axes[0, 0].set_ylabel("image", fontsize=9)
for axis, name in zip(axes[1:, 0], maps, strict=True):
    axis.set_ylabel(name, fontsize=9)
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
# The titles are the model's answers (only for CIFAR-10, which it was trained for). The rollout is flatter than the attention of one block: each factor is half identity, and a mean over heads levels what differs between them.
#
# ## Experiment: does the rollout point at what matters?
#
# It is tempting to find the object in such a picture. A picture that is right can be tested: blank out the patches that it ranks highest, and see how often the prediction changes. If the map knows something, this must hurt more than blanking as many
# patches at random, and blanking those ranked lowest must hurt less. A second control: the ranking of *another image*. Objects tend to be in the middle, and a map that always says "the middle" knows nothing of this image.
# No labels are needed, only the model's own answer before. A blank patch has the value 0, the mean colour.


# %%
def blanked(images, patches):
    """images: (B, height, width, C); patches: (B, K), numbers of the patches to set to 0 -> a copy."""
    out = images.copy()
    for image, chosen in zip(out, patches, strict=True):
        for patch in chosen:
            row, column = divmod(patch, columns)
            image[row * P : (row + 1) * P, column * P : (column + 1) * P] = 0
    return out


def changed(patches):
    """(B,): 1 for an image whose predicted class is another one without these patches, else 0."""
    with no_grad():
        return (trained(blanked(images, patches)).data.argmax(axis=1) != predicted).astype(float)


# %%
ranks = {name: (-values.reshape(len(images), -1)).argsort(axis=1) for name, values in maps.items()}
orders = {
    "highest by rollout": ranks["rollout"],
    "highest by the last block": ranks["last block"],
    "by another image's rollout": np.roll(ranks["rollout"], 1, axis=0),
    "at random": rng.permuted(np.tile(np.arange(N), (len(images), 1)), axis=1),
    "lowest by rollout": ranks["rollout"][:, ::-1],
}
counts = full_or_fast((4, 8, 16, 32), (4, 16))
changes = {name: np.array([changed(order[:, :n]) for n in counts]) for name, order in orders.items()}  # (counts, B)


def mean_and_error(values):
    """(..., B) -> the mean over the images and its standard error."""
    return values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
for (name, values), marker in zip(changes.items(), "os^xD", strict=True):
    axes.errorbar(counts, *mean_and_error(values), marker=marker, capsize=3, label=name)
axes.set(xlabel=f"blanked patches of {N}", ylabel="share of predictions that change", ylim=(0, 1))
_ = axes.legend()

# %%
print(f"blanked: {', '.join(map(str, counts))} of {N} patches")
for name, values in changes.items():
    print(f"{name:<26}", *(f"{share:6.0%}" for share in values.mean(axis=1)), sep="   ")
print('"highest by rollout", minus')
for name in list(changes)[1:]:
    gaps = zip(*mean_and_error(changes["highest by rollout"] - changes[name]), strict=True)
    print(f"{name:<26}", *(f"{100 * gap:+4.0f} ± {100 * error:.0f}" for gap, error in gaps), sep="   ")

# %% [markdown]
# All curves are measured on the same images. So their distance is not to be compared with the bars of the figure: take the differences image by image, and give *them* an error, as the lower table does (in percentage points; [15](15_data_scale.ipynb)).
# If "highest by rollout" minus "at random" is not clearly above zero, the rollout of this model does not find the patches that its decisions depend on, however plausible the pictures look. What is left of the difference to another image's rollout,
# if anything is, belongs to this image. Last, see whether the last block alone does better or worse, although it knows nothing of the blocks before. Whichever way it went in this run: the pictures alone could not have told you.
#
# Two cautions. A changed answer need not be a worse one; the first may have been wrong. And an image with blank patches is an image of a kind that the model has never seen; it may err for that reason too. This is why random patches are the reference, and not zero.
#
# ## Where this goes wrong in practice
#
# - **No control.** Structure in a picture is worth something only if an untrained model does not have it.
# - **Wrong normalisation.** Weights trained with another mean and standard deviation answer anyway. Before looking inside, compare the accuracy with the published one.
# - **Attention taken for importance.** The weight says how much of a value is read, not how large the value is, nor what the next layer does with it (exercise 18.4).
# - **The product in the wrong order.** $M_1 M_2 \cdots M_L$ has rows that sum to 1 as well, and gives a plausible picture.
# - **Attention of a kernel that does not compute it.** Fast kernels never hold the whole matrix $A$; to look at it, it has to be computed a second time, as `attention_weights` lets the model do.
# - **[class] tokens and registers counted as patches** when the map is reshaped to a grid: every patch is then drawn in its neighbour's place.
#
# ## Exercises
#
# **18.1 (two minutes).** An "image" is a row of three patches, each 4 pixels wide. A head attends uniformly. What is its mean attention distance, in pixels? Give a fraction, such as `7 / 3`.

# %%
answer = None  # your answer here: a number

check("18.1", answer)

# %% [markdown]
# **18.2 (fifteen minutes).** That the residual connection makes up one half is an assumption. Suppose somebody has measured its share in every block. Write the rollout with these shares in NumPy; with $\frac12$ everywhere it is the library's.


# %%
def rollout(attention, kept):
    """attention: (L, H, T, T), first block first, H heads, T tokens; kept: (L,), share of the residual connection
    -> (T, T)"""
    ...  # your answer here


check("18.2", rollout)

# %% [markdown]
# **18.3 (twenty minutes).** Appendix D.7 speaks of the distance to all *other* pixels. Write, in NumPy, the attention distance with the query itself left out as well: its own weight does not count, and the weights of the other patches sum to 1.
# Token 0 is [class]. Patches need not be square.


# %%
def distance_to_others(attention, grid, pitch):
    """attention: (H, 1 + N, 1 + N); grid: (rows, columns), N = rows * columns; pitch: pixels between neighbours,
    (down, across) -> (H,) pixels"""
    ...  # your answer here


check("18.3", distance_to_others)

# %% [markdown]
# **18.4 (an hour).** What token $i$ really gets from token $j$ in one block is a vector: the values of $j$, weighted by attention, of all heads side by side and projected by $\mathbf{U}_{msa}$ (Eq. 8),
#
# $$\mathbf{f}_{ij} = \left[A^{(1)}_{ij}\mathbf{v}^{(1)}_j;\ \cdots;\ A^{(k)}_{ij}\mathbf{v}^{(k)}_j\right] \mathbf{U}_{msa}.$$
#
# Kobayashi et al. (2020) look at its length instead of the weight. Write, in NumPy, the share of each token $j$ in the lengths that $i$ gets, $\lVert\mathbf{f}_{ij}\rVert / \sum_{m} \lVert\mathbf{f}_{im}\rVert$.


# %%
def shares_by_length(A, v, U):
    """A: (H, T, T) attention; v: (H, T, K) values; U: (H * K, D), head 0 first -> (T, T), rows sum to 1"""
    ...  # your answer here


check("18.4", shares_by_length)

# %% [markdown]
# Next: [19, [class] token or pooling](19_class_token_or_pooling.ipynb).

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
# # 21 Masked patch prediction
#
# Hide some patches of an image, and let a network say what stood there. This needs no labels. The ViT paper did it with mean colours
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929), appendix B.1.2). **BEiT** ([Bao et al. 2021](https://arxiv.org/abs/2106.08254))
# predicts *visual tokens*: a vocabulary has one number for each kind of patch. **SimMIM** ([Xie et al. 2021](https://arxiv.org/abs/2111.09886))
# predicts the pixels. At the end you will be able to
#
# - put [mask] tokens in the place of patches, and derive the backward pass,
# - compute the colour and the visual token of a patch, and draw the masks of all three systems,
# - compute the loss of the best constant answer,
# - judge on measurements what such a task teaches.
#
# You need notebooks [03](03_patches.ipynb), [04](04_tokens_and_positions.ipynb), [06](06_softmax_and_loss.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 30 s of CPU time (fast mode 8 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import record
from experiments import visual_tokens as stored
from experiments.masked_autoencoders import pretrain

from minivit import functional as F
from minivit.data import Augment
from minivit.lessons import agree, check, full_or_fast, photographs
from minivit.lessons.pictures import hiding
from minivit.lineage.beit import BEiT, BEiTConfig
from minivit.lineage.masked_patch import MASK, OTHER, MaskedPatch, MaskedPatchConfig, classes_of, mean_colours
from minivit.lineage.masked_tokens import blocks, weighted_cross_entropy, weights
from minivit.lineage.pictures import unpatchify
from minivit.lineage.simmim import SimMIM, SimMIMConfig
from minivit.lineage.typical import nearest
from minivit.models import ViT, ViTConfig
from minivit.models.relative import relative_index as library_index
from minivit.nn import patchify
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(21)
images, test = photographs(full_or_fast(10_000, 300), full_or_fast(500, 100))
pixels = images.fetch(np.arange(full_or_fast(500, 100)))[0]  # (B, 32, 32, 3), whole numbers from 0 to 255
print(f"data: {images.name}, {len(images):,} images, {len(pixels)} of them for the counts below")

# %% [markdown]
# ## Three tasks, and a fourth
#
# In the picture an m is a [mask] token. The orange frames are explained below.

# %%
_ = hiding.four_ways()

# %% [markdown]
# The first three systems send *all* tokens through the encoder, [mask] tokens included. One linear layer makes the prediction from the
# features of each patch. They differ in what is hidden and in what is predicted. The fourth is the masked autoencoder of notebook
# [22](22_masked_autoencoders.ipynb). Its encoder gets the visible patches alone.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N_p$ | patches | number | `Np` |
# | $D$ | width of the model | number | `D` |
# | $P$, $C$ | side of a patch in pixels; channels of the image | numbers | `P`, `C` |
# | $K$ | classes: colours, or visual tokens | number | `K` |
# | $\mathbf{e}$ | projected patches, $\mathbf{x}_p\mathbf{E}$, before positions are added | $(N_p, D)$ | `e` |
# | $\mathbf{m}$ | the [mask] token, learned | $(D,)$ | `m` |
# | $M$ | set of the hidden patches | | `hidden`, true there |
# | $c$, $s$ | class of every patch; share of every class among the targets | $(N_p,)$, $(K,)$ | `classes`, `shares` |
# | $\pi$ | number of the patch that stands in each place | $(N_p,)$ | `source` |
# | $\mathbf{g}$ | typical patches | $(K, P^2C)$ | `centres` |
# | $z$ | logits, of every patch | $(N_p, K)$ | `z` |
# | $p$ | probabilities, the softmax of the logits | $(N_p, K)$ | `p` |
# | $\mathbf{t}$, $\mathbf{y}$ | pixels of every patch, and their prediction | $(N_p, P^2C)$ | `t`, `y` |
# | $\mathcal{L}$ | the loss | number | `loss` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `de`, `dm`, `dz`, `dy` |
#
# ## Hide
#
# The [mask] token takes the place of hidden patches. Positions are added afterwards, so the network knows which patch is asked for:
#
# $$\mathbf{e}'_i = \begin{cases} \mathbf{m} & i \in M \\ \mathbf{e}_i & i \notin M \end{cases} \qquad\Longrightarrow\qquad
# \mathrm{d}\mathbf{e}_i = \begin{cases} 0 & i \in M \\ \mathrm{d}\mathbf{e}'_i & i \notin M, \end{cases} \qquad
# \mathrm{d}\mathbf{m} = \sum_{i \in M} \mathrm{d}\mathbf{e}'_i. \tag{1}$$
#
# The one vector $\mathbf{m}$ stands in many places, in all images of the batch. Its gradient is the sum over all of them.

# %%
B, Np, D, K = 3, 7, 4, 5
e, m, de_new = rng.standard_normal((B, Np, D)), rng.standard_normal(D), rng.standard_normal((B, Np, D))
hidden = np.array([[0, 1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 0]], bool)


# %% tags=["yours"]
def hide(e, m, hidden):
    """Equation 1.   e: (B, Np, D), m: (D,), hidden: (B, Np) -> (B, Np, D)."""
    return np.where(hidden[:, :, None], m, e)


def hide_gradients(de_new, hidden):
    """de_new: (B, Np, D), the gradient of what `hide` returns -> de (B, Np, D), dm (D,)."""
    return de_new * ~hidden[:, :, None], de_new[hidden].sum(axis=0)


# %%
small = ViTConfig(image_size=8, patch_size=4, width=4, depth=1, heads=1, mlp_width=4, num_classes=0)
objective = BEiT(BEiTConfig(K, block=1), ViT(small, 0, "float64"), 0, "float64")
objective.mask_token.data[...] = m
te = Tensor(e, requires_grad=True)
theirs = objective.masked(te, hidden)
agree("e'", hide(e, m, hidden), theirs)
de, dm = grad(theirs, [te, objective.mask_token], de_new)
for name, mine, right in zip(("de", "dm"), hide_gradients(de_new, hidden), (de, dm[0, 0]), strict=True):
    agree(name, mine, right)

# %% [markdown]
# ## Score what was hidden
#
# A visible patch could be read off its own token. Only hidden patches teach the network to look at *others*, so only they count:
#
# $$\mathcal{L} = -\frac{1}{|M|} \sum_{i \in M} \log p_{i c_i}, \qquad
# \mathrm{d}z_i = \begin{cases} (p_i - \text{one-hot}(c_i))\,/\,|M| & i \in M \\ 0 & i \notin M. \end{cases} \tag{2}$$
#
# $M$ holds the hidden patches of the whole *batch*. An image with more of them weighs more.

# %%
z, classes = rng.standard_normal((B, Np, K)), rng.integers(0, K, (B, Np))


# %% tags=["yours"]
def loss_of_hidden(z, classes, hidden):
    """Equation 2.   z: (B, Np, K), classes, hidden: (B, Np) -> the loss, dz (B, Np, K)."""
    q = np.exp(z - z.max(axis=2, keepdims=True))
    p, hot = q / q.sum(axis=2, keepdims=True), np.eye(z.shape[2])[classes]
    loss = -np.log((p * hot).sum(axis=2))[hidden].mean()
    return loss, (p - hot) * hidden[:, :, None] / hidden.sum()


# %%
loss, dz = loss_of_hidden(z, classes, hidden)
tz = Tensor(z, requires_grad=True)
theirs = weighted_cross_entropy(tz, classes, weights(hidden))
agree("loss", loss, theirs)
agree("dz", dz, grad(theirs, [tz])[0])


def slope(loss_at, x, seed=0):
    """The derivative of a loss along a random direction, by differences, and the direction."""
    along = np.random.default_rng(seed).standard_normal(x.shape)
    return (loss_at(x + 1e-6 * along)[0] - loss_at(x - 1e-6 * along)[0]) / 2e-6, along


measured, along = slope(lambda z: loss_of_hidden(z, classes, hidden), z)
agree("slope", (dz * along).sum(), measured, rtol=1e-7)

# %% [markdown]
# ## Mean colours
#
# The ViT paper asks for the mean colour of a patch, each channel in 3 bits. With the means $r, g, b$ from 0 to 255 this makes 512 classes:
#
# $$c = 64 \lfloor r/32 \rfloor + 8 \lfloor g/32 \rfloor + \lfloor b/32 \rfloor. \tag{3}$$
#
# First take the mean, then cut off bits. The paper does not say how it rounds, nor which channel comes first; (3) is a choice.

# %%
P, C = 4, 3


# %% tags=["yours"]
def colours(pixels, P):
    """Equation 3.   pixels: (B, height, width, 3) in 0..255 -> (B, Np), patches row by row."""
    B, height, width, C = pixels.shape
    means = pixels.reshape(B, height // P, P, width // P, P, C).mean(axis=(2, 4))
    return (means // 32 @ [64, 8, 1]).astype(int).reshape(B, -1)


# %%
agree("colours", colours(pixels, P), classes_of(mean_colours(pixels.astype(float), (P, P), (P, P)), 3)[..., 0])

# %% [markdown]
# **What is hidden.** Half of the patches are *chosen*. Of the chosen ones 80 % become a [mask] token, 10 % become another patch, and
# 10 % stay. The last two kinds have orange frames in the picture. In (1) the set $M$ holds the [mask] tokens, in (2) all chosen patches.
# Why not [mask] tokens alone? There are none in fine-tuning. So the network should also learn to judge patches that look as usual.
#
# The library draws a random number for each patch and chooses the patches with the smallest ones. A second number $u$ decides
# the kind. The other patch is `shift` places further; the first place follows the last. A `shift` from 1 to $N_p - 1$ never leads
# back to the patch itself.

# %%
Np, draws = 16, np.random.default_rng(3)
noise, u, shift = draws.random((B, Np)), draws.random((B, Np)), draws.integers(1, Np, (B, Np))
objective = MaskedPatch(
    MaskedPatchConfig(), ViT(ViTConfig(**(small.__dict__ | {"image_size": (16, 16)})), 0, "float64"), 0, "float64"
)
print(
    f"{objective.count} of {objective.patches} patches are chosen; kinds: {MASK} [mask], {OTHER} another, 3 as it is, 0 not chosen"
)


# %% tags=["yours"]
def draw(noise, u, shift):
    """All (B, Np) -> kind (B, Np) and source (B, Np): the number of the patch that stands in each place."""
    places = np.arange(noise.shape[1])
    chosen = noise.argsort(axis=1).argsort(axis=1) < noise.shape[1] // 2
    kind = chosen * np.where(u < 0.8, 1, np.where(u < 0.9, 2, 3))
    return kind, np.where(kind == 2, (places + shift) % len(places), places)


# %%
kind, source = draw(noise, u, shift)
theirs = objective.draw({"images": np.zeros((B, 16, 16, 3))}, 0, np.random.default_rng(3))
agree("kind", kind, theirs["kind"])
agree("source", source, theirs["source"])

# %% [markdown]
# **Backward.** First every place gets the patch that `source` names, then hidden ones get the [mask] token. A patch may stand in several
# places, its own and those of others. So its gradient is a sum:
#
# $$\mathbf{e}'_i = \mathbf{e}_{\pi(i)} \quad\Longrightarrow\quad \mathrm{d}\mathbf{e}_j = \sum_{i:\, \pi(i) = j} \mathrm{d}\mathbf{e}'_i. \tag{4}$$

# %%
e, de_new = rng.standard_normal((2, B, Np, D))


# %% tags=["yours"]
def corrupt(e, m, kind, source):
    """e: (B, Np, D) -> (B, Np, D)."""
    return hide(np.take_along_axis(e, source[:, :, None], axis=1), m, kind == 1)


def corrupt_gradients(de_new, kind, source):
    """de_new: (B, Np, D) -> de (B, Np, D), dm (D,)."""
    d, dm = hide_gradients(de_new, kind == 1)
    de = np.zeros_like(d)
    np.add.at(de, (np.arange(len(d))[:, None], source), d)
    return de, dm


# %%
objective.mask_token.data[...] = m
te = Tensor(e, requires_grad=True)
output = objective.corrupted(te, theirs)
agree("e'", corrupt(e, m, kind, source), output)
de, dm = grad(output, [te, objective.mask_token], de_new)
for name, mine, right in zip(("de", "dm"), corrupt_gradients(de_new, kind, source), (de, dm[0, 0]), strict=True):
    agree(name, mine, right)

# %% [markdown]
# ## The best constant answer
#
# Some colours are common. A network that ignores the image can still learn how common each is. Let $s_k$ be the share of class $k$ among
# the targets. The constant probabilities $p$ have the loss $-\sum_k s_k \log p_k$. Compare with $p = s$:
#
# $$-\sum_k s_k \log p_k = \underbrace{-\sum_k s_k \log s_k}_{\text{entropy}} + \sum_k s_k \log\frac{s_k}{p_k}, \qquad
# \sum_k s_k \log\frac{s_k}{p_k} \ge \sum_k s_k \Bigl(1 - \frac{p_k}{s_k}\Bigr) \ge 0, \tag{5}$$
#
# because $\log x \ge 1 - 1/x$. The sums are over the classes that occur. So the best constant is $p = s$, and its loss is the **entropy** of the
# classes. A network with a lower loss is better than every constant. That alone does not show that it uses the image: some colours may be
# more frequent at the top.


# %% tags=["yours"]
def entropy(classes):
    """In nats.   classes: whole numbers of any shape."""
    s = np.unique(classes, return_counts=True)[1] / np.size(classes)
    return -(s * np.log(s)).sum()


# %%
seen = colours(pixels, P)
shares = np.bincount(seen.ravel(), minlength=512) / seen.size
best = np.log(np.maximum(shares, 1e-300))
agree("entropy", entropy(seen), F.cross_entropy(Tensor(np.tile(best, (seen.size, 1))), seen.ravel()))
print(f"log 512 = {np.log(512):.2f}, entropy of the colours {entropy(seen):.2f}")
print(f"colours that occur: {np.count_nonzero(shares)} of 512; the most frequent has {shares.max():.1%} of the patches")

# %% [markdown]
# ## Visual tokens
#
# BEiT predicts one of $K$ visual tokens. In the paper a second network, trained on 250 million images, makes them. Here a token is the number of
# the nearest of $K$ *typical patches*. These are the centres $\mathbf{g}_k$ of k-means on patches of the training images. k-means repeats two
# steps: each patch joins its nearest centre, and each centre moves to the mean of its patches. For the nearest centre $|\mathbf{t}|^2$ does not
# matter:
#
# $$c = \arg\min_k |\mathbf{t} - \mathbf{g}_k|^2 = \arg\min_k \bigl(|\mathbf{g}_k|^2 - 2\,\mathbf{t} \cdot \mathbf{g}_k\bigr). \tag{6}$$

# %%
beit = BEiT(BEiTConfig(vocabulary=64, block=4), ViT(ViTConfig(**stored.VIT, num_classes=0), 0))
beit.begin(images, Augment(images.image_size), 0)
centres = beit.centres.data  # (64, P * P * C)
some = Augment(images.image_size)(test.fetch(np.arange(8))[0])  # normalised images
t = patchify(Tensor(some), (P, P)).data  # (8, Np, P * P * C)


# %% tags=["yours"]
def visual_tokens(t, centres):
    """Equation 6.   t: (B, Np, P * P * C), centres: (K, P * P * C) -> (B, Np)."""
    return ((centres**2).sum(axis=1) - 2 * t @ centres.T).argmin(axis=2)


# %%
tokens = visual_tokens(t, centres)
agree("tokens", tokens, nearest(t, centres))

typical = centres[np.argsort(centres.mean(axis=1))].reshape(4, 16, P, P, C)
sheet = np.pad(typical, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)], constant_values=1).transpose(0, 2, 1, 3, 4)
rows = {"image": some, "tokens": unpatchify(centres[tokens], beit.network.config)}
figure, axes = plt.subplot_mosaic(
    [[f"{name}{i}" for i in range(8)] for name in rows] + [["sheet"] * 8], figsize=(9, 4.6)
)
for name, pictures in rows.items():
    for i, picture in enumerate(pictures):
        axes[f"{name}{i}"].imshow(np.clip(picture / 2 + 0.5, 0, 1))
        axes[f"{name}{i}"].set(xticks=[], yticks=[])
    axes[f"{name}0"].set_ylabel(name)
axes["sheet"].imshow(np.clip(sheet.reshape(4 * (P + 1), -1, C) / 2 + 0.5, 0, 1))
axes["sheet"].set(xticks=[], yticks=[], ylabel="typical")
plt.show()

# %% [markdown]
# The second row has the typical patch in the place of every patch. About half of the 64 typical patches are of one colour, and the others
# have an edge or a gradient of brightness.
#
# ## Masks
#
# **Blocks.** BEiT hides blocks of patches, until about 40 % are hidden:
#
# 1. Draw the area uniformly between `smallest` and the number of patches still missing.
# 2. Let `stretch` be height by width. Draw its logarithm uniformly between $\log a$ and $-\log a$, with $a = 0.3$. The height is
#    $\sqrt{\text{area} \cdot \text{stretch}}$ and the width $\sqrt{\text{area} / \text{stretch}}$, both rounded.
# 3. A block as high or as wide as the grid is drawn again. Otherwise draw its top row, then its left column.
# 4. Count the patches that it hides *newly*. If there are none, or more than are missing, the block is drawn again.
#
# After ten failures in a row the mask stays as it is, so some masks hide fewer patches.


# %% tags=["yours"]
def block_mask(side, count, smallest, a, rng):
    """A mask (side, side) with `count` hidden patches, or a few less."""
    mask, failures = np.zeros((side, side), bool), 0
    while mask.sum() < count and failures < 10:
        left = count - mask.sum()
        area = rng.uniform(min(smallest, left), max(smallest, left))
        stretch = np.exp(rng.uniform(np.log(a), -np.log(a)))
        height, width = round(np.sqrt(area * stretch)), round(np.sqrt(area / stretch))
        failures += 1
        if height < side and width < side:
            top, column = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
            more = np.zeros_like(mask)
            more[top : top + height, column : column + width] = True
            if 0 < (more & ~mask).sum() <= left:
                mask, failures = mask | more, 0
    return mask


# %%
for seed in range(50):
    mine = block_mask(8, 25, 4, 0.3, np.random.default_rng(seed))
    assert (mine == blocks((8, 8), 25, 4, 0.3, np.random.default_rng(seed))).all(), seed
agree("the last", mine, blocks((8, 8), 25, 4, 0.3, np.random.default_rng(49)))

# %% [markdown]
# **Squares.** SimMIM cuts the image into squares of `unit` pixels, a multiple of $P$, and hides 60 % of them, rounded up.
#
# **Predict first.** A patch has neighbours to the left, to the right, above and below. What share of the hidden patches has no visible
# neighbour: with half of the patches hidden at random, with BEiT's blocks, with squares of 4, 8 and 16 pixels?


# %% tags=["yours"]
def enclosed(mask):
    """The share of hidden patches that have no visible neighbour.   mask: (B, rows, columns)."""
    wide = np.pad(mask, [(0, 0), (1, 1), (1, 1)], constant_values=True)
    around = wide[:, :-2, 1:-1] & wide[:, 2:, 1:-1] & wide[:, 1:-1, :-2] & wide[:, 1:-1, 2:]
    return (around & mask).sum() / mask.sum()


# %%
vit, many = ViT(ViTConfig(**stored.VIT, num_classes=0), 0), {"images": np.zeros((full_or_fast(2_000, 100), 1))}
half = MaskedPatch(MaskedPatchConfig(), vit).draw(many, 0, rng)["kind"] > 0
kinds = {"half, scattered": half, "BEiT's blocks": beit.draw(many, 0, rng)["mask"]}
kinds |= {
    f"squares of {unit} pixels": SimMIM(SimMIMConfig(unit=unit), vit).draw(many, 0, rng)["mask"] for unit in (4, 8, 16)
}
figure, axes = plt.subplots(1, 5, figsize=(9, 2.1))
for axis, (name, masks) in zip(axes, kinds.items(), strict=True):
    masks = masks.reshape(-1, 8, 8)
    axis.imshow(masks[0], cmap="gray_r", vmin=0, vmax=1.6)
    axis.spines[:].set_visible(True)
    axis.set(xticks=[], yticks=[], title=name)
    axis.title.set_fontsize(9)
    print(f"{name:<21} hidden {masks.mean():.1%}, of these without a visible neighbour {enclosed(masks):.1%}")
plt.show()

# %% [markdown]
# **In the stored run** 8.8 % of the hidden patches have no visible neighbour if half are hidden at random. With
# BEiT's blocks it is 31.9 %, although they hide fewer. With squares of 4, 8 and 16 pixels it is 17.5, 48.1 and 83.3 %.
#
# A patch with a visible neighbour can often be guessed by continuing that neighbour. Blocks and large squares make this harder.
#
# **Relative positions.** BEiT's encoder has no table of absolute positions. Each head has a learned number for each offset of two patches, which
# is added to the scores, as in the windows of notebook [30](30_windows_hierarchies_convolutions.ipynb). All blocks share one table in
# pre-training. Take the row and the column of the patch that asks, and subtract those of the patch that is looked at. With these differences $\Delta_r$ and $\Delta_c$, the
# pair uses row $(\Delta_r + h - 1)(2w - 1) + \Delta_c + w - 1$ of the table, on a grid of $h \times w$. Three more rows are for the [class]
# token: it asks, it is looked at, it looks at itself.


# %% tags=["yours"]
def relative_index(h, w):
    """(1 + h * w, 1 + h * w): the row of the table, the asking token first; [class] has number 0."""
    row, column = np.divmod(np.arange(h * w), w)
    offsets = (2 * h - 1) * (2 * w - 1)
    index = np.full((1 + h * w, 1 + h * w), offsets)
    index[1:, 1:] = (row[:, None] - row + h - 1) * (2 * w - 1) + column[:, None] - column + w - 1
    index[1:, 0], index[0, 0] = offsets + 1, offsets + 2
    return index


# %%
agree("index", relative_index(3, 5), library_index((3, 5), class_token=True))

# %% [markdown]
# ## Pixels
#
# SimMIM predicts the pixels of the hidden patches. The error is absolute:
#
# $$\mathcal{L} = \frac{1}{P^2 C\,|M|} \sum_{i \in M} \sum_j |y_{ij} - t_{ij}|, \qquad
# \mathrm{d}y_{ij} = \frac{\operatorname{sign}(y_{ij} - t_{ij})}{P^2 C\,|M|} \;\text{ for } i \in M, \text{ else } 0. \tag{7}$$
#
# The published code adds $10^{-5}$ to the number of hidden pixels, $P^2|M|$, so that nothing is divided by zero. The order of the $P^2C$
# outputs also differs from `patchify`: all of the first channel come first. Output $\gamma P^2 + P\rho + \kappa$ is channel $\gamma$ of row $\rho$ and
# column $\kappa$. In `patchify` this is number $C(P\rho + \kappa) + \gamma$. Here both arrays have the order of `patchify`.
#
# **The best constant.** If all predictions are one number $y$, the derivative of (7) is $\#\{t < y\} - \#\{t > y\}$, up to a factor. It grows with
# $y$ and is zero where as many pixels are below as above. So the best constant is the median of the pixels, not their mean.

# %%
unit, grid = 8, ViTConfig(image_size=16, patch_size=4, width=4, depth=1, heads=1, mlp_width=4, num_classes=0)
simmim = SimMIM(SimMIMConfig(unit=unit), ViT(grid, 0, "float64"), 0, "float64")
batch = {"images": rng.standard_normal((B, 16, 16, 3))}
batch |= simmim.draw(batch, 0, rng)
t, hidden = patchify(Tensor(batch["images"]), (P, P)).data, batch["mask"]
y = rng.standard_normal(t.shape)


# %% tags=["yours"]
def pixel_loss(y, t, hidden):
    """Equation 7 with the small constant.   y, t: (B, Np, P * P * 3), hidden: (B, Np) -> the loss, dy as y."""
    count = 3 * (hidden.sum() * y.shape[2] / 3 + 1e-5)
    error = (y - t) * hidden[:, :, None]
    return np.abs(error).sum() / count, np.sign(error) / count


# %%
loss, dy = pixel_loss(y, t, hidden)
ty = Tensor(simmim.shuffled(Tensor(y)).data, requires_grad=True)  # in the order of the published code
theirs = simmim.loss((ty,), batch)
agree("loss", loss, theirs)
agree("dy", dy, simmim.in_rows(grad(theirs, [ty])[0]))
measured, along = slope(lambda y: pixel_loss(y, t, hidden), y)
agree("slope", (dy * along).sum(), measured, rtol=1e-7)

# %% [markdown]
# ## Experiment, live: colours behind the mask
#
# A ViT with 4 blocks of width 96 learns mean colours. Its positions are rotary (notebook [25](25_modern_vit.ipynb)). They are relative, too.
#
# **Predict first.** Half of the patches are chosen, so most hidden ones have a visible neighbour. The first rival copies the
# nearest visible patch. The second makes a smooth fill: each pixel is a mean of the visible ones, weighted by 1/distance². After 200
# updates of 32 images, does the network name the colour more often than they do?

# %%
objective = stored.objective_of("colours", seed=0)
losses = pretrain(objective, images, full_or_fast(200, 6), seed=0, rate=2e-3, beta=0.98, size=32)
scores = stored.judge(objective, images, test)
for name, words in {
    "constant": "the most frequent colour",
    "smooth": "the smooth fill",
    "nearest": "the nearest patch",
    "network": "the network",
}.items():
    print(f"{words:<25} right for {scores[name]:.1%} of the [mask] patches")

figure, axis = plt.subplots(figsize=(5, 2.8))
axis.plot(losses, linewidth=1)
axis.axhline(scores["entropy"], color="grey", linewidth=1)
axis.annotate(
    "best constant", (len(losses) * 0.65, scores["entropy"]), xytext=(0, 4), textcoords="offset points", fontsize=9
)
axis.set(xlabel="update", ylabel="loss")
plt.show()

# %%
batch = {"images": some} | objective.draw({"images": some}, 0, np.random.default_rng(1))
said = objective.eval()(batch)[0].data.argmax(axis=-1)[..., 0]
patches = np.take_along_axis(patchify(Tensor(some), (P, P)).data, batch["source"][:, :, None], axis=1)
entered = np.where((batch["kind"] == MASK)[:, :, None], 0, patches)


def painted(classes):
    """Images of the colours of a class for every patch."""
    level = np.stack([classes // 64, classes // 8 % 8, classes % 8], axis=-1) * 32 + 16
    return unpatchify(np.tile(level / 127.5 - 1, P * P), objective.network.config)


right = stored.answers(objective, some)
rows = {
    "image": some,
    "entered": unpatchify(entered, objective.network.config),
    "predicted": painted(np.where(batch["kind"] > 0, said, right)),
    "colours": painted(right),
}
figure, axes = plt.subplots(4, 8, figsize=(9, 4.8))
for of_row, (name, pictures) in zip(axes, rows.items(), strict=True):
    for axis, picture in zip(of_row, pictures, strict=True):
        axis.imshow(np.clip(picture / 2 + 0.5, 0, 1))
        axis.set(xticks=[], yticks=[])
    of_row[0].set_ylabel(name)
plt.show()

# %% [markdown]
# **In the stored run** the network names 28.3 % of the hidden colours. The copy of the nearest patch is right for 25.5 %, the smooth fill for
# 20.2 %.
#
# The rows show the image, what entered the encoder ([mask] tokens in grey), the predicted colours of the chosen patches among the true
# colours of the others, and all true colours.

# %% [markdown]
# ## Experiment, long: what do the tasks teach?
#
# A longer run compares the tasks on CIFAR-10, with three seeds. Its results are stored in `notebooks/results/visual_tokens.json` and are *not*
# computed here. All runs have the network of the live experiment and 300 updates of 32 images.
#
# **Predict first.** (a) Which networks beat the copy of the nearest patch and the smooth fill? (b) What changes with a learned table of
# positions? (c) SimMIM hides squares of 4, 8 or 16 pixels. Which has the smallest error, and which has the best features? (d) Which task
# is the best start for a classifier with 1,000 labels? Is any better than no pre-training?

# %%
shipped = record.read("visual_tokens")
found, config = shipped["results"], shipped["config"]
print(shipped["command"])
print(f"data: {shipped['data']}; seeds: {len(found['tokens'])}; updates: {config['steps']} of {config['batch']} images")


def of(name, kind):
    """What all seeds found."""
    return np.array([by_seed[kind] for by_seed in found[name]])


def verdict(name, difference, unit="points", digits=1):
    """Print a mean of paired differences, its standard error, and whether the 95 % interval leaves out 0."""
    mean, error = record.mean_and_error(difference)
    said = "decided" if abs(mean) > 4.3 * error else "not decided"
    print(f"{name:<52} {mean:+6.{digits}f} +- {error:.{digits}f} {unit}: {said}")


# %% [markdown]
# Runs with one seed have the same images, so differences are taken seed by seed. With three seeds a 95 % interval is ± 4.3 standard
# errors, and a difference is *decided* if it is larger. Three seeds are few. Their errors also say nothing about other test images: these
# are the same for all seeds. A network and its controls are asked about the same patches of 500 images. "Smooth" for tokens and colours is
# the token or the colour of the smooth fill.

# %%
classed = {"tokens": "tokens", "tokens, learned positions": "tokens, learned\npositions", "colours": "colours"}
filled = {f"pixels, squares of {unit}": f"squares\nof {unit}" for unit in (4, 8, 16)}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for axis, names, factor in ((axes[0], classed, 100), (axes[1], filled, 1)):
    for i, (kind, marker) in enumerate({"network": "o", "nearest": "s", "smooth": "^", "constant": "x"}.items()):
        means, errors = np.transpose([record.mean_and_error(factor * of(name, kind)) for name in names])
        axis.errorbar(np.arange(3) + 0.1 * (i - 1.5), means, errors, fmt=marker, capsize=3, label=kind)
    axis.set_xticks(range(3), labels=names.values(), fontsize=9)
    axis.set(xlim=(-0.5, 2.5), ylim=(0, None))
axes[0].set_ylabel("hidden patches named, in %")
axes[1].set_ylabel("error of a hidden pixel, of 255")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
plt.show()

for name in classed:
    print(
        f"{name}: "
        + ", ".join(f"{kind} {100 * of(name, kind).mean():.1f} %" for kind in ("network", "nearest", "smooth"))
    )
for name in [*filled, "pixels, loss on all"]:
    print(f"{name}: " + ", ".join(f"{kind} {of(name, kind).mean():.1f}" for kind in ("network", "nearest", "smooth")))
for name in classed:
    verdict(f"{name}, network against nearest", 100 * (of(name, "network") - of(name, "nearest")))
for name in filled:
    verdict(f"error, {name}, network against smooth", of(name, "network") - of(name, "smooth"), "of 255", 2)
rotary, learned = (of(name, "network") for name in ("tokens", "tokens, learned positions"))
verdict("tokens, rotary against learned positions", 100 * (rotary - learned))
masked, every = (of(name, "network") for name in ("pixels, squares of 8", "pixels, loss on all"))
verdict("error, squares of 8, loss on hidden against on all", masked - every, "of 255", 2)

# %% [markdown]
# **In the stored run** every network with rotary positions beats all its controls: decided. It names tokens 2.7 ± 0.4 points more often than
# the copy of the nearest patch does, and colours 7.5 ± 0.2 points more often. Its error of pixels is smaller than that of the smooth
# fill, also with squares of 16. The network with learned positions is 7.0 ± 0.2 points *behind* the copy, and 9.7 ± 0.5 points behind the
# one with rotary positions.
#
# Why do positions matter so much? A [mask] token carries nothing but its position. A learned table begins with random vectors, so attention
# would first have to learn which places are neighbours. Relative positions offer "the patch to the left" from the start. The experiment
# does not test this explanation.
#
# The error with squares of 4, 8 and 16 pixels is 26.5, 33.5 and 44.0. The copy and the smooth fill become worse in the same order. So
# losses of different masks do not say which task teaches more. It is not decided whether a loss on all patches changes the error of the hidden ones.
#
# **What is it worth?** There are two measures, as in notebook [22](22_masked_autoencoders.ipynb). The *probe* is a linear classifier on the
# mean of the patches' features, fitted with 3,000 labels while the encoder stays fixed. *Fine-tuning* trains everything on 1,000 labels,
# with 100 updates. The controls are the probe of the encoder before training and of the pixels, and training from scratch with as many
# updates. No learning rate was tuned: it is 0.002 everywhere. All accuracies are of the same 2,000 test images.

# %%
tasks = [name for name in found if name not in ("scratch", "tokens, learned positions")]
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for axis, kind, label in (
    (axes[0], "probe", "probe, test accuracy in %"),
    (axes[1], "tuned", "fine-tuned, test accuracy in %"),
):
    controls = [("untrained", "probe"), ("of the pixels", "pixels")] if kind == "probe" else [("from scratch", "tuned")]
    for i, name in enumerate(tasks):
        mean, error = record.mean_and_error(100 * of(name, kind))
        axis.errorbar(mean, -i, xerr=error, fmt="o", capsize=4, color="C0")
    for i, (name, of_kind) in enumerate(controls):
        mean, error = record.mean_and_error(100 * of("scratch", of_kind))
        axis.axvspan(mean - error, mean + error, color=f"C{i + 1}", alpha=0.4, linewidth=0, label=name)
    axis.set(xlabel=label, ylim=(-len(tasks) + 0.5, 0.5))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
axes[0].set_yticks([-i for i in range(len(tasks))], labels=tasks)
plt.show()

for name in tasks:
    verdict(f"probe, {name} against untrained", 100 * (of(name, "probe") - of("scratch", "probe")))
verdict("probe, untrained against the pixels", 100 * (of("scratch", "probe") - of("scratch", "pixels")))
for name in tasks:
    verdict(f"fine-tuned, {name} against scratch", 100 * (of(name, "tuned") - of("scratch", "tuned")))
for one, other in (
    ("tokens", "colours"),
    ("pixels, squares of 4", "pixels, squares of 16"),
    ("pixels, squares of 8", "pixels, loss on all"),
):
    verdict(f"probe, {one} against {other.removeprefix('pixels, ')}", 100 * (of(one, "probe") - of(other, "probe")))

# %% [markdown]
# **In the stored run** the probe is better than that of the untrained encoder by 3.2 ± 0.3 points with pixels in squares of 4, by 2.4 ± 0.1 with
# squares of 8, and by 2.3 ± 0.5 with the loss on all patches: decided. Tokens (3.8 ± 1.0), colours (3.6 ± 1.4) and squares of 16 (1.4 ± 1.0)
# are not decided. Nor are the three comparisons of tasks. The probe of the pixels is itself 3.0 ± 0.4 points better than that of the
# untrained encoder. In fine-tuning no task is decidedly better than none: tokens bring 0.7 ± 0.7 points, colours 0.6 ± 0.3. After
# squares of 4 the classifier is 2.1 ± 0.4 points *worse* than from scratch: decided.
#
# So a network can beat every control in its own task and still be no better start for a classifier. Here it has seen 9,600 images. In
# notebook [22](22_masked_autoencoders.ipynb) a masked autoencoder has seen 64,000, and is ahead after equally many updates with labels.
#
# The published runs are far longer, and there pre-training helps. After masked patch prediction the ViT paper's B/16 reaches 79.9 % on
# ImageNet. That is 2 points more than from scratch, and 4 points less than after pre-training with labels. BEiT reports 83.2 % for a ViT-B
# on ImageNet, SimMIM 83.8 %.
#
# ## What the masked autoencoder changes
#
# The encoders of all three systems spend work on [mask] tokens, which carry nothing but their position. The masked autoencoder leaves them
# out: its **encoder does not see the hidden patches at all**. [mask] tokens enter in a small decoder only. So the encoder never meets a
# token that is missing in fine-tuning.

# %%
for name, side, patch, size, hide_share in (
    ("masked patch prediction", 224, 16, None, 0.5),
    ("BEiT", 224, 16, None, 75 / 196),
    ("SimMIM", 224, 16, 32, 0.6),
    ("MAE", 224, 16, None, 0.75),
):
    patches = (side // patch) ** 2
    gone = (
        round(patches * hide_share)
        if size is None
        else int(np.ceil((side // size) ** 2 * hide_share)) * (size // patch) ** 2
    )
    entering = patches - gone if name == "MAE" else patches
    print(f"{name:<24} {gone:3d} of {patches} patches hidden; the encoder processes {entering:3d} patches")

# %% [markdown]
# MAE's encoder processes a quarter of the patches. The price is a decoder, and tokens have to be taken away and put back. Notebook
# [22](22_masked_autoencoders.ipynb) derives how.
#
# ## Exercises
#
# `hint("21.1")` gives up to three hints for an exercise, one per call.
#
# **21.1 (five minutes).** The colour of one patch, with any number of bits. `patch` (P, P, 3) holds numbers from 0 to 255, red first.
# Return the class that (3) gives with `bits` bits for each channel.


# %%
def colour(patch, bits): ...


check("21.1", colour)

# %% [markdown]
# **21.2 (fifteen minutes).** The loss of masked patch prediction. `z` (B, Np, K) are logits, `classes` (B, Np) the right ones. `kind`
# (B, Np) is 0 for patches that were not chosen, 1 for a [mask] token, 2 for another patch, 3 for a chosen patch that stayed. Here images
# may have different numbers of chosen patches. Return the loss and `dz` (B, Np, K).


# %%
def loss_of_chosen(z, classes, kind): ...


check("21.2", loss_of_chosen)

# %% [markdown]
# **21.3 (ten minutes).** One block. `mask` (rows, columns) is True where a patch is hidden. The block has `height` rows from row `top` on,
# and `width` columns from column `left` on. `missing` patches are still to be hidden. Return the new mask and the number of newly hidden
# patches. If that number is 0 or larger than `missing`, return the mask as it was, and 0.


# %%
def add_block(mask, top, left, height, width, missing): ...


check("21.3", add_block)

# %% [markdown]
# **21.4 (half an hour).** SimMIM's loss for one image, in the order of the published code. In `y` (Np, P * P * C) the channel moves slowest,
# then the row, then the column. `image` (height, width, C) has patches of P × P pixels, counted row by row. `hidden` (Np,) is True for the
# hidden ones. Return the loss (7), without the small constant, and `dy` in the order of `y`.


# %%
def pixel_loss_of_image(y, image, hidden, P): ...


check("21.4", pixel_loss_of_image)

# %% [markdown]
# **21.5 (five minutes).** Who sees how much? An image has `side` × `side` pixels and patches of P × P. SimMIM hides `share` of its squares
# of `unit` pixels, rounded up. MAE hides `share` of its patches; `int(patches * (1 - share))` stay. Return three numbers: the *patches*
# that SimMIM hides, the tokens that its encoder processes, and those that MAE's encoder processes. Count the [class] token of each encoder.


# %%
def tokens_of_both(side, P, unit, share): ...


check("21.5", tokens_of_both)

# %% [markdown]
# Next: [22, masked autoencoders](22_masked_autoencoders.ipynb).

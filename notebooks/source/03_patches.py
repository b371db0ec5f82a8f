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
# # 03 Patches and the embedding E
#
# A Transformer reads a sequence of vectors, but an image is a grid of pixels. This notebook turns the grid into a
# sequence. It derives the terms $\mathbf{x}_p^1\mathbf{E}, \mathbf{x}_p^2\mathbf{E}, \ldots$ of **Eq. 1** of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1). At the end you will be able to
#
# - cut an image into patches, first with loops, then with a reshape, a transpose and a second reshape,
# - say for every pixel which token it goes to, and test it with one-hot images,
# - derive the backward pass, back to the pixels,
# - show that the whole step is a convolution whose stride is the side of its window.
#
# You need the vector-Jacobian product of a matrix product, and reshape and transpose (notebook [02](02_shapes.ipynb)).
# Notebook [04](04_tokens_and_positions.ipynb) adds the rest of Eq. 1: the [class] token and the positions.
#
# **Budget:** 5 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, photographs, running_digit, show_source
from minivit.lessons.pictures import cutting
from minivit.nn import PatchEmbed
from minivit.nn.layers import patchify
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(3)

# %% [markdown]
# ## The idea in a picture
#
# One digit runs through notebooks 03 to 11, with a small model that was trained on such digits. The image has 8 × 8
# pixels and one channel, grey. The model cuts it into 16 patches of 2 × 2 pixels, numbered row by row, as you read a
# page. It writes each patch as a row of four numbers and scales them from 0..255 to −1..1. One matrix $\mathbf{E}$
# turns each row into a token of 32 numbers. All patches share it. (Red cells of a token are positive, blue ones
# negative.)

# %%
model, digit, label = running_digit()
digit_tokens = model.patch_embed(model.tensor(normalize(digit[None]))).data[0]
print(f"the digit {label}: image {digit.shape}, tokens {digit_tokens.shape}")
cutting.to_tokens(digit[..., 0], 2, digit_tokens)

# %% [markdown]
# ## The equation
#
# The image $\mathbf{x} \in \mathbb{R}^{H_I \times W_I \times C}$ is cut into $N_p = H_I W_I/P^2$ squares of
# $P \times P$ pixels. Each square becomes one row of $P^2 C$ numbers, a **patch**. One learned matrix $\mathbf{E}$ maps
# every patch to a vector of width $D$, its **token**:
#
# $$\mathbf{z}_0 = [\mathbf{x}_{\mathrm{class}};\; \mathbf{x}_p^1\mathbf{E};\; \mathbf{x}_p^2\mathbf{E};\; \ldots;\; \mathbf{x}_p^{N_p}\mathbf{E}]
# + \mathbf{E}_{pos}, \qquad \mathbf{E} \in \mathbb{R}^{(P^2 C) \times D} \tag{Eq. 1}$$
#
# The paper writes $N$ for the number of patches. We write $N_p$, and keep $N$ for the number of tokens, [class]
# included.
#
# Why patches and not pixels? Attention compares every token with every token (notebook [07](07_attention.ipynb)). An
# image of 224 × 224 has 50,176 pixels. With one token per pixel that is 2.5 billion pairs. With 16 × 16 patches, as in
# ViT-B/16, there are 196 tokens and 38,416 pairs.
#
# Eq. 1 has no bias. The published code and this library add one, $\mathbf{b}$, to every token.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $H_I$, $W_I$ | height and width of the image in pixels | numbers | `height`, `width` |
# | $C$ | channels of the image | number | `C` |
# | $P$ | side of a patch in pixels | number | `P` |
# | $h$, $w$ | rows and columns of the grid of patches, $H_I/P$ and $W_I/P$ | numbers | `rows`, `columns` |
# | $N_p$ | patches, $h w$ of them | number | `Np` |
# | $D$ | width of the model, so of a token | number | `D` |
# | $\mathbf{x}$ | the image | $(H_I, W_I, C)$ | `x` |
# | $r$, $s$, $c$ | row, column and channel of an entry of the image, from 0 | numbers | `r`, `s`, `c` |
# | $n$, $m$ | its patch, and its place in the row of that patch, from 0 | numbers | `n`, `m` |
# | $i$, $j$ | row and column of a patch in the grid, from 0 | numbers | `i`, `j` |
# | $u$, $v$ | row and column inside a patch, from 0 | numbers | `u`, `v` |
# | $d$ | feature of a token, from 0 | number | `d` |
# | $\mathbf{x}_p$ | patches, one per row; row $n$ is $\mathbf{x}_p^{n+1}$, because code counts from 0 | $(N_p, P^2 C)$ | `patches` |
# | $\mathbf{E}$ | patch embedding | $(P^2 C, D)$ | `E` |
# | $\mathbf{b}$ | its bias | $(D)$ | `b` |
# | $\mathbf{t}$ | the tokens of the patches, $\mathbf{x}_p\mathbf{E} + \mathbf{b}$ | $(N_p, D)$ | `t` |
# | $y$ | result of the convolution | $(h, w, D)$ | `y` |
# | $E_{uvcd}$ | entry of $\mathbf{E}$ with its first axis split in three | $(P, P, C, D)$ | `kernel` |
# | $\mathrm{vec}$ | an array as one long row, in reading order | | `.ravel()` |
# | $R$ | routing matrix: which entry of the image goes where | $(H_I W_I C, N_p P^2 C)$ | `R` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# The lengths below differ, so most mixed-up axes raise an error. (The two sides of a patch cannot differ.)

# %%
height, width, C = 8, 10, 3
P, D = 2, 7
rows, columns = height // P, width // P  # of the grid of patches
Np = rows * columns

x = rng.standard_normal((height, width, C))
E = rng.standard_normal((P * P * C, D))
b = rng.standard_normal(D)
print(f"{Np} patches of {P * P * C} numbers, in a grid of {rows} rows and {columns} columns")

# %% [markdown]
# ## Forward, as loops
#
# Two orders must be fixed.
#
# - The patches follow one another **row by row**, as you read a page. The paper calls this raster order (appendix D.4).
# - Inside a patch the numbers follow in the order **(row, column, channel)**, the channel fastest. The paper does not
#   fix this order. It is the order of the published code. Weights trained with one order are useless with another.
#
# The entry in row $r$, column $s$ and channel $c$ of the image goes to patch $n$, place $m$:
#
# $$n = \lfloor r/P \rfloor\, w + \lfloor s/P \rfloor, \qquad m = \bigl((r \bmod P)\, P + (s \bmod P)\bigr)\, C + c.$$
#
# The first formula counts the patches in the grid rows above, then the patches to the left in the same grid row. The
# second counts in the same way inside the patch. In Python $\lfloor r/P \rfloor$ is `r // P`, and $r \bmod P$ is
# `r % P`.


# %% tags=["yours"]
def patches_loops(x, P):
    """x: (height, width, C) -> (Np, P P C), one entry at a time."""
    height, width, C = x.shape
    columns = width // P
    patches = np.zeros(((height // P) * columns, P * P * C))
    for r in range(height):
        for s in range(width):
            for c in range(C):
                n = (r // P) * columns + s // P
                m = ((r % P) * P + s % P) * C + c
                patches[n, m] = x[r, s, c]
    return patches


patches_by_loops = patches_loops(x, P)  # given
print(patches_by_loops.shape)

# %% [markdown]
# ## Forward, vectorised
#
# The loops split $r$ into two numbers: $\lfloor r/P \rfloor$ is the row of the patch in the grid, $r \bmod P$ the row
# inside the patch. A reshape splits a whole axis in this way. The axis of length `height` becomes two axes,
# `(rows, P)`. The axis of length `width` becomes `(columns, P)`. A transpose then moves the two axes that count patches
# to the front. A second reshape merges these two axes into one, and the other three into one.

# %% tags=["yours"]
# (row of patch, row in it, column of patch, column in it, channel)
split = x.reshape(rows, P, columns, P, C)
# (row of patch, column of patch, row in it, column in it, channel)
grouped = split.transpose(0, 2, 1, 3, 4)
# (patch, place in it)
patches = grouped.reshape(Np, P * P * C)

agree("patches", patches, patches_by_loops)

# %% [markdown]
# The transpose is easily forgotten. `x.reshape(Np, P * P * C)` runs and has the same shape, but its rows are not square
# patches. The experiment below shows them.
#
# The tokens are one matrix product, $\mathbf{t} = \mathbf{x}_p\mathbf{E} + \mathbf{b}$. All patches share the same
# $\mathbf{E}$.

# %%
t_loops = np.array(
    [[sum(patches[n, m] * E[m, d] for m in range(P * P * C)) + b[d] for d in range(D)] for n in range(Np)]
)

# %% tags=["yours"]
t = patches @ E + b

agree("t", t, t_loops)

# %% [markdown]
# ## Backward, step by step
#
# We are given $\mathrm{d}\mathbf{t}$, the gradient of the loss with respect to the tokens. Here it is drawn at random.
# We want the gradients of $\mathbf{E}$ and $\mathbf{b}$, which are learned. We also want the gradient of the pixels: it
# says how the loss would change with each pixel. The engine differentiates the same steps, so we can compare every
# intermediate gradient.

# %%
dt = rng.standard_normal(t.shape)

tx, tE, tb = (Tensor(a, requires_grad=True) for a in (x, E, b))
tsplit = tx.reshape(rows, P, columns, P, C)
tgrouped = tsplit.transpose(0, 2, 1, 3, 4)
tpatches = tgrouped.reshape(Np, P * P * C)
tt = tpatches @ tE + tb
names = ["patches", "E", "b", "grouped", "split", "x"]
engine = dict(zip(names, grad(tt, [tpatches, tE, tb, tgrouped, tsplit, tx], dt), strict=True))

# %% [markdown]
# **Step 1: $\mathbf{t} = \mathbf{x}_p\mathbf{E} + \mathbf{b}$, the factors.** Both factors of a matrix product get a
# gradient (notebook 02):
#
# $$\mathrm{d}\mathbf{x}_p = \mathrm{d}\mathbf{t}\,\mathbf{E}^\top, \qquad \mathrm{d}\mathbf{E} = \mathbf{x}_p^\top\,\mathrm{d}\mathbf{t}.$$
#
# The shapes help to remember the formulas: $(N_p, P^2C) = (N_p, D)(D, P^2C)$ and $(P^2C, D) = (P^2C, N_p)(N_p, D)$. The
# second product sums over the patches, because all of them use the same $\mathbf{E}$. In a batch it sums over the
# patches of all images.

# %% tags=["yours"]
dpatches = dt @ E.T
dE = patches.T @ dt

agree("dpatches", dpatches, engine["patches"])
agree("dE", dE, engine["E"])

# %% [markdown]
# **Step 2: the bias.** $\mathbf{b}$ was added to each of the $N_p$ rows, so its gradient is the sum over the rows:
#
# $$\mathrm{d}\mathbf{b} = \sum_n \mathrm{d}\mathbf{t}_n.$$

# %% tags=["yours"]
db = dt.sum(axis=0)

agree("db", db, engine["b"])

# %% [markdown]
# **Step 3: from $\mathbf{x}_p$ back to the image.** Cutting only moves numbers. Each entry of the image arrives at
# exactly one entry $(n, m)$ of $\mathbf{x}_p$. The derivative is 1 there and 0 everywhere else, so one term of the
# chain rule's sum is left:
#
# $$(\mathrm{d}\mathbf{x})_{rsc} = (\mathrm{d}\mathbf{x}_p)_{nm}, \qquad \text{with the } n \text{ and } m \text{ of the loops.}$$
#
# In words: each gradient returns to the pixel that its number came from. In array operations: undo the three moves in
# reverse order. The transpose swapped axes 1 and 2, and swapping them again undoes it.

# %% tags=["yours"]
dgrouped = dpatches.reshape(rows, columns, P, P, C)
dsplit = dgrouped.transpose(0, 2, 1, 3, 4)
dx = dsplit.reshape(height, width, C)

agree("dgrouped", dgrouped, engine["grouped"])
agree("dsplit", dsplit, engine["split"])
agree("dx", dx, engine["x"])

# %% [markdown]
# ## Check it numerically
#
# Central differences do not use our derivation, so they cannot repeat its mistakes. `check_vjp` draws a random
# cotangent and compares the prediction of the pullback with the measured change. For this we write the steps as an
# *op*, a function that returns its value and its pullback. The check compares the backward pass with the forward pass.
# If the forward pass itself is wrong, it passes. The loops test the forward pass.


# %% tags=["yours"]
def my_patch_embedding(x, E, b, P):
    """patches E + b, for the patches of x, and its pullback.   (height, width, C), (P P C, D), (D,) -> (Np, D)."""
    height, width, C = x.shape
    rows, columns = height // P, width // P
    patches = x.reshape(rows, P, columns, P, C).transpose(0, 2, 1, 3, 4).reshape(rows * columns, P * P * C)

    def vjp(dt):
        dpatches = dt @ E.T
        dx = dpatches.reshape(rows, columns, P, P, C).transpose(0, 2, 1, 3, 4).reshape(x.shape)
        return dx, patches.T @ dt, dt.sum(axis=0)

    return patches @ E + b, vjp


print(f"largest relative error of the gradients: {check_vjp(my_patch_embedding, x, E, b, P=P):.1e}")

# %% [markdown]
# ## The library
#
# `patchify` cuts a batch of images, and `PatchEmbed` adds the matrix product. Neither has a backward pass of its own:
# the engine walks back through reshape, transpose and the linear layer, as we did.

# %%
show_source(patchify)

# %%
show_source(PatchEmbed)

# %%
embed = PatchEmbed((P, P), C, D, rng, dtype="float64")
embed.projection.weight.data, embed.projection.bias.data = E, b

agree("patches", patchify(Tensor(x[None]), (P, P)), patches[None])
agree("tokens", embed(Tensor(x[None])), t[None])

# %% [markdown]
# ## The same thing as a convolution
#
# A convolution slides a window over the image. At each stop it takes a weighted sum of what the window sees. The
# *stride* is the number of pixels from one stop to the next. Let the stride be $P$, the side of the window. Then the
# windows touch without overlapping, and stop $(i, j)$ sees exactly patch $n = i\,w + j$. Its weighted sum for feature
# $d$ is
#
# $$y_{ijd} = \sum_{u=0}^{P-1} \sum_{v=0}^{P-1} \sum_{c=0}^{C-1} x_{iP+u,\; jP+v,\; c}\; E_{uvcd}.$$
#
# The product $\mathbf{x}_p\mathbf{E}$ has one sum over $m$. Here it is three sums over $u$, $v$ and $c$, because $m$
# counts in the order (row, column, channel). So $E_{uvcd}$ is $\mathbf{E}$ with its first axis split in three.
# The published code is written this way: its weight, the *kernel* of the convolution, has the shape $(P, P, C, D)$.
# Write the formula as loops over $i$, $j$, $d$ and over $u$, $v$, $c$.


# %% tags=["yours"]
def convolution_loops(x, kernel, P):
    """x: (height, width, C), kernel: (P, P, C, D) -> (height / P, width / P, D), one product at a time."""
    height, width, C = x.shape
    y = np.zeros((height // P, width // P, kernel.shape[3]))
    for i, j, d in np.ndindex(y.shape):
        for u in range(P):
            for v in range(P):
                for c in range(C):
                    y[i, j, d] += x[i * P + u, j * P + v, c] * kernel[u, v, c, d]
    return y


kernel = E.reshape(P, P, C, D)

agree("convolution", convolution_loops(x, kernel, P).reshape(Np, D) + b, t)

# %% [markdown]
# The library's convolution gives the same values and the same gradients. The gradient of the kernel is
# $\mathrm{d}\mathbf{E}$, reshaped. (`padding="valid"` means that no border of zeros is added.)

# %%
tkernel = Tensor(kernel, requires_grad=True)
ty = F.conv2d(tx[None], tkernel, stride=P, padding="valid")
dx_of_convolution, dkernel = grad(ty, [tx, tkernel], dt.reshape(ty.shape))

agree("conv2d", ty.data[0], convolution_loops(x, kernel, P))
agree("dx", dx_of_convolution, dx)
agree("dkernel", dkernel, dE.reshape(kernel.shape))

# %% [markdown]
# ## Experiment: where does each pixel go?
#
# We take a picture of 32 × 32 pixels: a photograph of CIFAR-10 if this machine has the data set, otherwise an
# artificial one. We cut it twice: with `patchify`, and with `x.reshape(Np, P * P * C)`, which forgets the transpose.
# Then we show each row of the result as a square again.
#
# **Predict first.** What will the rows without the transpose look like: small copies of the picture, stripes, or
# squares in a wrong order?

# %%
examples = photographs(56, 1)[0]
image = examples.images[55] / 255
side = 8  # of a patch
print(f"one image of {examples.name}, of the class {examples.classes[examples.labels[55]]}")
print(f"a patch has {side * side} pixels, a row of the image has {image.shape[1]}")


def cut(x, P):
    """x: (height, width, C) -> (Np, P P C)"""
    return patchify(Tensor(x[None]), (P, P)).data[0]


def cut_without_transpose(x, P):
    """x: (height, width, C) -> (Np, P P C), strips instead of squares."""
    return x.reshape(-1, P * P * x.shape[2])


def show_patches(axes, patches, P, columns):
    """Each row of patches (Np, P P C) as a square of pixels, with a white gap around it."""
    sheet = np.ones((len(patches) // columns * (P + 1), columns * (P + 1), patches.shape[1] // P**2))
    for n, patch in enumerate(patches):
        top, left = n // columns * (P + 1), n % columns * (P + 1)
        sheet[top : top + P, left : left + P] = patch.reshape(P, P, -1)
    axes.imshow(sheet)


# %%
across = image.shape[1] // side
figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
axes[0].imshow(image)
for n in range(across**2):
    left, top = n % across * side - 0.5, n // across * side - 0.5
    axes[0].add_patch(plt.Rectangle((left, top), side, side, fill=False, edgecolor="white"))
    axes[0].text(left + 0.4, top + 0.4, n, color="white", fontsize=11, weight="bold", va="top")
show_patches(axes[1], cut(image, side), side, across)
show_patches(axes[2], cut_without_transpose(image, side), side, across)
axes[0].set_title(f"the image, {image.shape[0]} × {image.shape[1]} pixels")
axes[1].set_title("rows of $\\mathbf{x}_p$")
axes[2].set_title("without the transpose")
for ax in axes:
    ax.set_axis_off()
plt.show()
row_of_pixel = np.broadcast_to(np.arange(float(image.shape[0]))[:, None, None], (*image.shape[:2], 1))
for function in (cut, cut_without_transpose):
    image_rows = np.unique(function(row_of_pixel, side)[0])
    print(f"{function.__name__}: patch 0 has pixels from {len(image_rows)} rows of the image")

# %% [markdown]
# **In the stored run** the image is a horse. On the right, each "patch" is the next 64 pixels in reading order. They
# come from 2 whole rows of 32 pixels instead of 8 rows, so the squares show stripes.
#
# A test is better than a picture. Set **one** entry of the image to 1 and all others to 0, and see where the 1 comes
# out. Each row of an identity matrix, reshaped, is such an image. Cutting it gives one row of the *routing matrix* $R$.
# The row of $R$ says which entry of the image was set, the column says where it arrived in $\mathbf{x}_p$. Both are
# counted in reading order.


# %%
def routing(cut, height, width, C, P):
    """1 in row a and column b if entry a of the image arrives at entry b of its patches, both in reading order."""
    one_hot = np.eye(height * width * C).reshape(-1, height, width, C)
    return np.array([cut(image, P).ravel() for image in one_hot])


R = routing(cut, height, width, C, P)
expected = np.zeros_like(R)
for entry, (r, s, c) in enumerate(np.ndindex(height, width, C)):
    n, m = (r // P) * columns + s // P, ((r % P) * P + s % P) * C + c
    expected[entry, n * P * P * C + m] = 1

agree("R", R, expected)
agree("patches", (x.ravel() @ R).reshape(patches.shape), patches)
agree("dx", (dpatches.ravel() @ R.T).reshape(x.shape), dx)
print("sums of the rows of R:", np.unique(R.sum(axis=1)), "  of its columns:", np.unique(R.sum(axis=0)))

# %% [markdown]
# Each row and each column of $R$ holds a single 1, so $R$ is a permutation matrix: no entry is lost, and none is used
# twice. Write an array as one long row, $\mathrm{vec}$. Then cutting is a matrix product, and so is the way back:
#
# $$\mathrm{vec}(\mathbf{x}_p) = \mathrm{vec}(\mathbf{x})\,R, \qquad \mathrm{vec}(\mathrm{d}\mathbf{x}) = \mathrm{vec}(\mathrm{d}\mathbf{x}_p)\,R^\top.$$
#
# For a permutation matrix $R R^\top$ is the identity: the way back undoes the cutting.
#
# Next we compare three functions: `cut`, `cut_without_transpose`, and `cut_by_columns`, which numbers the patches
# column by column. The image has 8 × 16 pixels, and $P = 4$.
#
# **Predict first.** We run four tests: the shape is right; $R$ is a permutation; patch 0 is a square; the result equals
# the loops. For each of the two mistakes, which tests find it?


# %%
def cut_by_columns(x, P):
    """x: (height, width, C) -> (Np, P P C), the patches of the first column first."""
    height, width, C = x.shape
    return x.reshape(height // P, P, width // P, P, C).transpose(2, 0, 1, 3, 4).reshape(-1, P * P * C)


def tests(cut, image, P):
    """The routing matrix of an image with one channel, and the results of the four tests."""
    height, width, _ = image.shape
    right = patches_loops(image, P)
    R = routing(cut, height, width, 1, P)
    one_each = bool(np.all(R.sum(axis=0) == 1) and np.all(R.sum(axis=1) == 1))
    sources = np.flatnonzero(R[:, : P * P].any(axis=1))  # the pixels that arrive in patch 0
    tall, wide = np.ptp(sources // width) + 1, np.ptp(sources % width) + 1
    patches = cut(image, P)
    return R, (patches.shape == right.shape, one_each, f"{tall} × {wide}", np.array_equal(patches, right))


wide_image = rng.standard_normal((8, 16, 1))
figure, axes = plt.subplots(1, 3, figsize=(11, 4.1), layout="constrained", sharey=True)
print(f"{'':<22} {'shape':<7} {'permutation':<12} {'patch 0':<9} equals the loops")
for ax, function in zip(axes, (cut, cut_without_transpose, cut_by_columns), strict=True):
    R, (shape, one_each, size, equal) = tests(function, wide_image, 4)
    print(f"{function.__name__:<22} {shape!s:<7} {one_each!s:<12} {size:<9} {equal}")
    ax.imshow(R, cmap="Greys", interpolation="nearest")
    ax.set(title=function.__name__, xlabel="entry of $\\mathbf{x}_p$, in reading order", xticks=range(0, 129, 32))
    ax.set_yticks(range(0, 129, 16))
    ax.vlines(np.arange(16, 128, 16) - 0.5, -0.5, 127.5, colors="tab:orange", linewidth=0.8)
axes[0].set_ylabel("pixel of the image, in reading order")
plt.show()

# %% [markdown]
# Orange lines separate the eight patches.
#
# **In the stored run** all three functions pass the tests of shape and permutation. Without the transpose, patch 0 is
# 1 × 16 pixels, one row of the image. `cut_by_columns` gives a correct patch 0 of 4 × 4 pixels, and only the comparison
# with the loops finds its mistake.
#
# Without the transpose $R$ is the *identity*: in reading order nothing has moved.
#
# The next figure shows for each pixel the two numbers of the loops: its patch $n$ and its place $m$ in that patch.

# %%
r, s = np.mgrid[:8, :16]
maps = {"patch $n$": (r // 4) * 4 + s // 4, "place $m$ in the patch": (r % 4) * 4 + s % 4}
figure, axes = plt.subplots(1, 2, figsize=(11, 3.5), layout="constrained")
for ax, (title, numbers) in zip(axes, maps.items(), strict=True):
    ax.imshow(numbers, cmap="Blues", vmin=0, vmax=2 * numbers.max())
    for place, number in np.ndenumerate(numbers):
        ax.text(place[1], place[0], number, ha="center", va="center", fontsize=10)
    ax.set(title=title, xlabel="column of the pixel", ylabel="row of the pixel", yticks=range(0, 8, 2))
    ax.set_xticks(range(0, 16, 2))
plt.show()

# %% [markdown]
# ## The digit's tokens
#
# We return to the digit of the first picture. Some of its patches are blank: all four pixels are 0, which the model
# scales to −1.
#
# **Predict first.** Do blank patches at different places of the image get different tokens?

# %%
digit_patches = cut(normalize(digit[None])[0], 2)
blank = np.flatnonzero((digit_patches == -1).all(axis=1))
difference = np.abs(digit_tokens[blank] - digit_tokens[blank[0]]).max()
print(f"blank patches: {blank.tolist()}; largest difference of their tokens: {difference:.1e}")

layer = model.patch_embed.projection
agree("blank token", digit_tokens[blank[0]], layer.bias.data - layer.weight.data.sum(axis=0), rtol=1e-5)

# %% [markdown]
# **In the stored run** the blank patches are 4, 8, 12 and 15, and their tokens are exactly equal: they differ by
# 0.0e+00. The embedding sees the pixels of a patch and not its place, so equal patches make equal tokens.
#
# A blank token is not zero. It is $\mathbf{b}$ minus the sum of the rows of $\mathbf{E}$, because its pixels are −1.
#
# The next notebook adds the places.
#
# ## Where this goes wrong in practice
#
# - **Reshape without transpose.** The shape is right, but each token is a strip of the image. An image of one colour
#   does not show the mistake.
# - **Rows and columns of the grid swapped.** The tokens come column by column. The shape is right for every image,
#   square or not. Compare values with a reference.
# - **Channels first.** PyTorch keeps images as $(C, H_I, W_I)$ and the weight of this convolution as $(D, C, P, P)$.
#   Training from scratch works equally well with patches in the order (channel, row, column), because this only
#   reorders the rows of $\mathbf{E}$. But with weights that were trained in the other order all tokens are wrong, and
#   no shape reveals it. Exercise 3.3 converts such weights.
# - **An image that the patches do not tile.** The published code uses a convolution without border. It silently drops
#   the pixels left over at the right and at the bottom. This library raises an error.
# - **Pixels in 0..255.** The published code first scales them to −1..1. $\mathbf{E}$ is initialised for inputs of about
#   that size.
#
# ## Exercises
#
# Each cell has a place for your answer, and its verdict appears below it. Answers are judged by what they return, on
# inputs of several shapes. `hint("3.4")` gives up to three hints, one per call.
#
# **3.1 (two lines).** The paper fine-tunes ViT-L/16 at 512 × 512 pixels on ImageNet (section 4.1). The 16 is $P$. How
# many patches does one image have?

# %%
number_of_patches = None  # your answer here

check("3.1", number_of_patches)

# %% [markdown]
# **3.2 (ten minutes).** Invert the two formulas of the loops: given the patch $n$ and the place $m$ in it, return $r$,
# $s$ and $c$.


# %%
def pixel_of(n, m, width, C, P):
    """n: patch, m: place in it, width: of the image in pixels, C: channels, P: side of a patch -> r, s, c"""
    ...  # your answer here


check("3.2", pixel_of)

# %% [markdown]
# **3.3 (twenty minutes).** A weight file from PyTorch holds the convolution `weight` of shape $(D, C, P, P)$. Its last
# two axes are row and column in the window. Convert it to our $\mathbf{E}$ of shape $(P^2C, D)$.


# %%
def embedding_from_pytorch(weight):
    """weight: (D, C, P, P) -> E (P P C, D), rows in the order (row, column, channel)"""
    ...  # your answer here


check("3.3", embedding_from_pytorch)

# %% [markdown]
# **3.4 (an hour).** Let the patches overlap. The window moves by `step` pixels, fewer than $P$. The grid has $\lfloor
# (H_I - P)/\mathtt{step} \rfloor + 1$ rows and $\lfloor (W_I - P)/\mathtt{step} \rfloor + 1$ columns. A pixel can now
# lie in several windows, and some pixels may lie in none. Write the backward pass of the cutting, from
# $\mathrm{d}\mathbf{x}_p$ of shape $(N_p, P^2C)$ to $\mathrm{d}\mathbf{x}$. What replaces "exactly one entry" in step
# 3?


# %%
def overlapping_patches_backward(dpatches, height, width, C, P, step):
    """dpatches: (Np, P P C), patches row by row -> dx (height, width, C)"""
    ...  # your answer here


check("3.4", overlapping_patches_backward)

# %% [markdown]
# Next: [04, tokens and positions](04_tokens_and_positions.ipynb).

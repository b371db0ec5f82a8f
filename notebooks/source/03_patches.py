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
# A Transformer reads a sequence of vectors. An image is a grid of pixels. This notebook turns the one into the other: it takes the
# terms $\mathbf{x}_p^i\,\mathbf{E}$ of **Eq. 1** of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1).
# At the end you will be able to
#
# - cut an image into patches as loops, and as one reshape, one transpose and one reshape,
# - say for every pixel which token it goes to, and test it with one-hot images,
# - derive the backward pass, back to the pixels,
# - show that the whole step is a convolution whose stride is its window.
#
# You need the vector-Jacobian product of a matrix product, and reshape and transpose (notebook [02](02_shapes.ipynb)). The [class] token and
# the positions, the rest of Eq. 1, follow in notebook [04](04_tokens_and_positions.ipynb).
#
# **Budget:** 5 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, photographs, show_source
from minivit.nn import PatchEmbed
from minivit.nn.layers import patchify
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(3)

# %% [markdown]
# ## The equation
#
# The image $\mathbf{x} \in \mathbb{R}^{H \times W \times C}$ is cut into $N = HW/P^2$ squares of $P \times P$ pixels. Each square is written as one row of
# $P^2 C$ numbers, its **patch** $\mathbf{x}_p^i$. One learned matrix $\mathbf{E}$ maps every patch to a vector of width $D$, its **token**:
#
# $$\mathbf{z}_0 = [\mathbf{x}_{\mathrm{class}};\; \mathbf{x}_p^1\mathbf{E};\; \mathbf{x}_p^2\mathbf{E};\; \ldots;\; \mathbf{x}_p^N\mathbf{E}]
# + \mathbf{E}_{pos}, \qquad \mathbf{E} \in \mathbb{R}^{(P^2 C) \times D} \tag{Eq. 1}$$
#
# (Why patches, and not pixels? A pixel per token would make 50 176 tokens of an image of 224 × 224, and attention compares every token with every
# other one, notebook [07](07_attention.ipynb). Patches of $16 \times 16$, as in ViT-B/16, make 196.)
#
# The published code adds a bias $\mathbf{b}$ to every token, which Eq. 1 does not write; so does this library.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $H$, $W$, $C$ | height and width of the image in pixels, channels | numbers | `height`, `width`, `C` |
# | $P$ | side of a patch in pixels | number | `P` |
# | $N = HW/P^2$ | patches | number | `N` |
# | $D$ | width of a token | number | `D` |
# | $\mathbf{x}$ | the image | $(H, W, C)$ | `x` |
# | $r$, $s$, $c$ | row, column and channel of a number of the image, from 0 | numbers | `r`, `s`, `c` |
# | $n$, $k$ | its patch, and its place in the patch, from 0 | numbers | `n`, `k` |
# | $X$ | all patches, one per row: row $n$ is $\mathbf{x}_p^{n+1}$, since code counts from 0 | $(N, P^2 C)$ | `X` |
# | $\mathbf{E}$, $\mathbf{b}$ | the patch embedding and its bias | $(P^2 C, D)$, $(D)$ | `E`, `b` |
# | $Z = X\mathbf{E} + \mathbf{b}$ | the tokens of the patches | $(N, D)$ | `Z` |
# | $\mathrm{d}A$ | gradient of the loss with respect to $A$ | that of $A$ | `dA` |
#
# $H$ and $W$ are as in the paper. Notebooks on attention write $H$ for the number of heads. The lengths below all differ, so that two axes that are
# mixed up make an error instead of a wrong number.

# %%
height, width, C = 8, 10, 3
P, D = 2, 7
rows, columns = height // P, width // P  # of the grid of patches
N = rows * columns

x = rng.standard_normal((height, width, C))
E = rng.standard_normal((P * P * C, D))
b = rng.standard_normal(D)
print(f"{N} patches of {P * P * C} numbers, in a grid of {rows} rows and {columns} columns")

# %% [markdown]
# ## Forward, as loops
#
# Two orders must be agreed on. The patches follow one another **row by row**, as one reads a page; the paper calls this raster order
# (appendix D.4). Inside a patch the numbers are in the order **(row, column, channel)**. The paper does not say so; it is the order of the published
# code, and weights trained with one order are useless in another.


# %%
def patches_loops(x, P):
    """x: (height, width, C) -> (N, P P C), one number at a time."""
    height, width, C = x.shape
    columns = width // P
    X = np.zeros(((height // P) * columns, P * P * C))
    for r in range(height):
        for s in range(width):
            for c in range(C):
                n = (r // P) * columns + s // P  # which patch: whole patches above, then to the left
                k = ((r % P) * P + s % P) * C + c  # which place in it: (row, column, channel)
                X[n, k] = x[r, s, c]
    return X


X_loops = patches_loops(x, P)
X_loops.shape

# %% [markdown]
# The two lines with `//` and `%` are all there is to know. $r = P\lfloor r/P \rfloor + (r \bmod P)$ splits the row of a pixel into the row of
# its patch and the row inside the patch; the same holds for the column.
#
# ## Forward, vectorised
#
# A reshape splits an axis in just that way: `height` becomes `(rows, P)`, `width` becomes `(columns, P)`. Then all axes that
# count patches go to the front, all that count inside a patch to the back, and a second reshape merges each group.

# %%
split = x.reshape(rows, P, columns, P, C)  # (row of patch, row in it, column of patch, column in it, channel)
grouped = split.transpose(0, 2, 1, 3, 4)  # (row of patch, column of patch, row in it, column in it, channel)
X = grouped.reshape(N, P * P * C)

agree("X", X, X_loops)

# %% [markdown]
# The transpose is the step that is forgotten. `x.reshape(N, P * P * C)` has the same shape, and runs; what it cuts is not a square. The
# experiment below shows it.
#
# The tokens are one matrix product. The same $\mathbf{E}$ serves all patches.

# %%
Z_loops = np.array([[sum(X[n, k] * E[k, d] for k in range(P * P * C)) + b[d] for d in range(D)] for n in range(N)])
Z = X @ E + b

agree("Z", Z, Z_loops)

# %% [markdown]
# ## Backward, step by step
#
# We are given $\mathrm{d}Z$, the gradient of the loss with respect to the tokens. It is drawn at random here. We want the gradients of
# $\mathbf{E}$ and $\mathbf{b}$, which learn, and of the pixels, which do not learn; their gradient says how the loss would change with each pixel.
# The engine differentiates the same chain and tells us every intermediate gradient.

# %%
dZ = rng.standard_normal(Z.shape)

tx, tE, tb = (Tensor(a, requires_grad=True) for a in (x, E, b))
tsplit = tx.reshape(rows, P, columns, P, C)
tgrouped = tsplit.transpose(0, 2, 1, 3, 4)
tX = tgrouped.reshape(N, P * P * C)
tZ = tX @ tE + tb
names = ["X", "E", "b", "grouped", "split", "x"]
engine = dict(zip(names, grad(tZ, [tX, tE, tb, tgrouped, tsplit, tx], dZ), strict=True))

# %% [markdown]
# **Step 1: $Z = X\mathbf{E} + \mathbf{b}$, the factors.** A matrix product hands its gradient to both factors (notebook 02):
#
# $$\mathrm{d}X = \mathrm{d}Z\,\mathbf{E}^\top, \qquad \mathrm{d}\mathbf{E} = X^\top\,\mathrm{d}Z.$$
#
# The shapes leave no choice: $(N, P^2C) = (N, D)(D, P^2C)$ and $(P^2C, D) = (P^2C, N)(N, D)$. The second product sums over the patches: every patch has
# its say about the one $\mathbf{E}$ (with a batch, every patch of every image).

# %%
dX = dZ @ E.T
dE = X.T @ dZ

agree("dX", dX, engine["X"])
agree("dE", dE, engine["E"])

# %% [markdown]
# **Step 2: the bias.** $\mathbf{b}$ was added to each of the $N$ rows, so its gradient is the sum over the rows:
#
# $$\mathrm{d}\mathbf{b} = \sum_n \mathrm{d}Z_n.$$

# %%
db = dZ.sum(axis=0)

agree("db", db, engine["b"])

# %% [markdown]
# **Step 3: from $X$ back to the image.** Cutting computes nothing, it only moves numbers. Every number $\mathbf{x}_{rsc}$ arrives at exactly one
# place $(n, k)$ of $X$. So $\partial X_{nk} / \partial \mathbf{x}_{rsc}$ is 1 for that place and 0 for all others, and of the chain rule's sum one
# term is left:
#
# $$\mathrm{d}\mathbf{x}_{rsc} = \mathrm{d}X_{nk}, \qquad n = \lfloor r/P \rfloor \tfrac{W}{P} + \lfloor s/P \rfloor, \quad
# k = \bigl((r \bmod P) P + (s \bmod P)\bigr) C + c.$$
#
# In words: the gradient goes back the way the number came. As array operations: the three moves, undone in the reverse order. The transpose
# swapped axes 1 and 2; swapping them again undoes it.

# %%
dgrouped = dX.reshape(rows, columns, P, P, C)
dsplit = dgrouped.transpose(0, 2, 1, 3, 4)
dx = dsplit.reshape(height, width, C)

agree("dgrouped", dgrouped, engine["grouped"])
agree("dsplit", dsplit, engine["split"])
agree("dx", dx, engine["x"])

# %% [markdown]
# ## Check it numerically
#
# The engine could be wrong in the same way as we are. Central differences cannot: `check_vjp` draws a random cotangent and compares what the
# pullback predicts with how much the value really changes. We write the chain as an *op*, a function that returns its value and its pullback.


# %%
def my_patch_embedding(x, E, b, P):
    """Z = X E + b, X the patches of x, and its pullback.   x: (height, width, C), E: (P P C, D), b: (D,) -> (N, D)."""
    height, width, C = x.shape
    rows, columns = height // P, width // P
    X = x.reshape(rows, P, columns, P, C).transpose(0, 2, 1, 3, 4).reshape(rows * columns, P * P * C)

    def vjp(dZ):
        dX = dZ @ E.T
        dx = dX.reshape(rows, columns, P, P, C).transpose(0, 2, 1, 3, 4).reshape(x.shape)
        return dx, X.T @ dZ, dZ.sum(axis=0)

    return X @ E + b, vjp


print(f"largest relative error of the gradients: {check_vjp(my_patch_embedding, x, E, b, P=P):.1e}")

# %% [markdown]
# ## The library
#
# `patchify` is the cutting, for a batch of images; `PatchEmbed` adds the matrix product. Neither has a backward pass of its own: the engine
# walks back through reshape, transpose and the linear layer, as we did.

# %%
show_source(patchify)

# %%
show_source(PatchEmbed)

# %%
embed = PatchEmbed((P, P), C, D, rng, dtype="float64")
embed.projection.weight.data, embed.projection.bias.data = E, b

agree("patches", patchify(Tensor(x[None]), (P, P)), X[None])
agree("tokens", embed(Tensor(x[None])), Z[None])

# %% [markdown]
# ## The same thing as a convolution
#
# A convolution with stride $S$ slides a window over the image, $S$ pixels at a time, and takes at each stop a weighted sum of what it sees:
#
# $$y_{ijd} = \sum_{u=0}^{P-1} \sum_{v=0}^{P-1} \sum_{c=0}^{C-1} \mathbf{x}_{iS+u,\; jS+v,\; c}\; w_{uvcd}.$$
#
# With $S = P$ the windows touch without overlapping: stop $(i, j)$ sees exactly patch $n = i\,\tfrac{W}{P} + j$. And the three sums over $(u, v, c)$ are
# the sum over $k$ in $X\mathbf{E}$, because $k$ counts in the order (row, column, channel). So $w$ is $\mathbf{E}$ with its first axis split,
# and nothing else. The published code is written this way: its weight has shape $(P, P, C, D)$. (`padding="valid"`: no border of zeros is added. The
# library, too, computes a convolution by cutting out the windows and one matrix product, so the two may agree to the last bit.)

# %%
w = E.reshape(P, P, C, D)
y = F.conv2d(Tensor(x[None]), Tensor(w), stride=P, padding="valid").data[0]

agree("convolution", y.reshape(N, D) + b, Z)

# %% [markdown]
# Their gradients must then agree as well, the one of $w$ being that of $\mathbf{E}$ reshaped.

# %%
tw = Tensor(w, requires_grad=True)
ty = F.conv2d(tx[None], tw, stride=P, padding="valid")
from_convolution = grad(ty, [tx, tw], dZ.reshape(ty.shape))

agree("dx", from_convolution[0], dx)
agree("dw", from_convolution[1], dE.reshape(w.shape))

# %% [markdown]
# ## Experiment: where does each pixel go?
#
# A picture of 32 × 32 pixels first, from CIFAR-10 if it is on this machine, else drawn. On the left its patches with their numbers; in the middle the
# rows of `X`, each drawn as a square again; on the right the rows of `x.reshape(N, P * P * C)`, without the transpose, drawn in the same way.

# %%
pictures = photographs(16, 1)[0]  # of CIFAR-10 if it is on this machine, else drawn shapes
image = pictures.images[13] / 255
side = 8  # of a patch
print("an image of", pictures.name)


def cut(x, P):
    """x: (height, width, C) -> (N, P P C)"""
    return patchify(Tensor(x[None]), (P, P)).data[0]


def cut_without_transpose(x, P):
    """x: (height, width, C) -> (N, P P C), strips instead of squares."""
    return x.reshape(-1, P * P * x.shape[2])


def draw_patches(axes, X, P, columns):
    """Each row of X (N, P P C) as a square of pixels, with a white gap around it."""
    sheet = np.ones((len(X) // columns * (P + 1), columns * (P + 1), X.shape[1] // P**2))
    for n, patch in enumerate(X):
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
    axes[0].text(left + 0.5, top + 2, n, color="white", backgroundcolor="black", fontsize=9)
draw_patches(axes[1], cut(image, side), side, across)
draw_patches(axes[2], cut_without_transpose(image, side), side, across)
axes[0].set_title(f"the image, {image.shape[0]} × {image.shape[1]} pixels")
axes[1].set_title("rows of X")
axes[2].set_title("without the transpose")
for ax in axes:
    ax.set_axis_off()
plt.show()

# %% [markdown]
# On the right each "patch" is the next $P^2$ pixels in reading order, folded into a square: here 64 pixels, two whole rows of the
# image. A picture convinces, but a test is better. Switch on **one** number of the image and see where it comes out. The images with a single 1 are the
# rows of an identity matrix, so one call per number gives the whole *routing matrix* $R$: row = number of the image, column = place in $X$.


# %%
def routing(cut, height, width, C, P):
    """R[i, j] = 1 if number i of the image arrives at place j of X, both read in order.   (H W C, H W C)."""
    one_hot = np.eye(height * width * C).reshape(-1, height, width, C)
    return np.array([cut(image, P).ravel() for image in one_hot])


R = routing(cut, height, width, C, P)
expected = np.zeros_like(R)
for i, (r, s, c) in enumerate(np.ndindex(height, width, C)):
    n, k = (r // P) * columns + s // P, ((r % P) * P + s % P) * C + c
    expected[i, n * P * P * C + k] = 1

agree("R", R, expected)
agree("X", (x.ravel() @ R).reshape(X.shape), X)
agree("dx", (dX.ravel() @ R.T).reshape(x.shape), dx)
print("sums of the rows of R:", np.unique(R.sum(axis=1)), "  of its columns:", np.unique(R.sum(axis=0)))

# %% [markdown]
# $R$ is a permutation matrix: each number goes to one place, each place is filled once, nothing is lost. Read $\mathbf{x}$ and $X$ in order, as rows of
# numbers: $X = \mathbf{x}R$. So $\partial X_j / \partial \mathbf{x}_i = R_{ij}$ and $\mathrm{d}\mathbf{x} = \mathrm{d}X\,R^\top$. For a permutation
# $R R^\top = I$: the way back undoes the way there.
#
# Is "it is a permutation" a sufficient test? We ask it of both functions, and ask as well how large a part of the image patch 0 comes from.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
for ax, function in zip(axes, (cut, cut_without_transpose), strict=True):
    R = routing(function, 8, 8, 1, 4)
    is_permutation = bool(np.all(R.sum(axis=0) == 1) and np.all(R.sum(axis=1) == 1))
    pixels = np.flatnonzero(R[:, :16].any(axis=1))  # those that arrive in patch 0
    tall, wide = np.ptp(pixels // 8) + 1, np.ptp(pixels % 8) + 1
    print(f"{function.__name__:<22} permutation: {is_permutation}   patch 0 is {tall} pixels tall and {wide} wide")
    ax.imshow(R, cmap="Greys", interpolation="nearest")
    ax.set(title=function.__name__, xlabel="place in X, read in order", ylabel="pixel of the image, read in order")
    ax.set_xticks(np.arange(0, 64, 16))
    ax.set_yticks(np.arange(0, 64, 8))
    ax.vlines(np.arange(16, 64, 16) - 0.5, -0.5, 63.5, colors="tab:orange", linestyles=":")
plt.show()

# %% [markdown]
# The image has 8 × 8 pixels and $P = 4$; dotted lines separate the four patches. Both matrices are permutations, so both functions pass that test,
# and a test of the shape. Only *where* the ones are tells them apart. The matrix on the right is the *identity*: read in order, nothing has moved; the
# reshape has only drawn new borders.
#
# The next figure shows the same for `cut` by the two numbers of step 3: which patch each pixel goes to, and which place in it.

# %%
r, s = np.mgrid[:8, :8]
maps = {"patch n": (r // 4) * 2 + s // 4, "place k in the patch": (r % 4) * 4 + s % 4}
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
for ax, (title, numbers) in zip(axes, maps.items(), strict=True):
    ax.imshow(numbers, cmap="Blues", vmin=0, vmax=2 * numbers.max())
    for place, number in np.ndenumerate(numbers):
        ax.text(place[1], place[0], number, ha="center", va="center", fontsize=10)
    ax.set(title=title, xlabel="column of the pixel", ylabel="row of the pixel")
plt.show()

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **Reshape without transpose.** The shape is right and the tokens are strips, as above. A test on an image of one colour cannot see it.
# - **Rows and columns of the grid swapped.** On square images the shapes agree again; the tokens come column by column. Test with
#   $H \ne W$, as in this notebook.
# - **Channels first.** PyTorch keeps images as $(C, H, W)$ and the weight of this convolution as $(D, C, P, P)$. Patches flattened as (channel, row,
#   column) are as good as ours for training from scratch: it only renames the rows of $\mathbf{E}$. With weights that were trained in the other order,
#   the tokens are wrong, and no shape complains. Exercise 3.3 converts them.
# - **An image that the patches do not tile.** The published code uses a convolution without border, which silently leaves out the pixels that
#   remain at the right and at the bottom. This library raises an error.
# - **Pixels in 0..255.** The published code scales them to −1..1 first. $\mathbf{E}$ is initialised for inputs of about that size.
#
# ## Exercises
#
# Each cell has a place for your answer; its verdict appears below it. Answers are judged by what they return, on inputs of several shapes.
#
# **3.1 (two lines).** The paper fine-tunes ViT-L/16 at 512 × 512 pixels on ImageNet (section 4.1); the 16 is $P$. How many patches is that?

# %%
number_of_patches = None  # your answer here

check("3.1", number_of_patches)

# %% [markdown]
# **3.2 (ten minutes).** Invert the two lines of the loops: given the number $n$ of a patch and the place $k$ in it, return the pixel's row, column
# and channel.


# %%
def pixel_of(n, k, width, C, P):
    """n: patch, k: place in it, width: of the image in pixels, C: channels, P: side of a patch -> r, s, c"""
    ...  # your answer here


check("3.2", pixel_of)

# %% [markdown]
# **3.3 (twenty minutes).** A weight file from PyTorch has the convolution `w` of shape $(D, C, P, P)$, its last two axes being row and column in the
# window. Write the conversion to our $\mathbf{E}$ of shape $(P^2C, D)$.


# %%
def embedding_from_pytorch(w):
    """w: (D, C, P, P) -> E (P P C, D), rows in the order (row, column, channel)"""
    ...  # your answer here


check("3.3", embedding_from_pytorch)

# %% [markdown]
# **3.4 (an hour).** Let the patches overlap: the window moves by $S < P$ pixels (`step` in the code), and the grid has
# $\lfloor (H - P)/S \rfloor + 1$ rows and $\lfloor (W - P)/S \rfloor + 1$ columns. A pixel can now arrive at several places. Write the backward pass of the
# cutting: from $\mathrm{d}X$ of shape $(N, P^2C)$ to $\mathrm{d}\mathbf{x}$. What replaces "exactly one place" in step 3?
# There may also be pixels that no window reaches.


# %%
def overlapping_patches_backward(dX, height, width, C, P, step):
    """dX: (N, P P C), patches row by row -> dx (height, width, C)"""
    ...  # your answer here


check("3.4", overlapping_patches_backward)

# %% [markdown]
# Next: [04, tokens and positions](04_tokens_and_positions.ipynb).

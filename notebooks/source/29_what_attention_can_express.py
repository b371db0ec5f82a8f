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
# # 29 What attention can express
#
# A convolution reads fixed neighbours. Attention chooses where to look. Can attention do what a convolution does? Yes: [Cordonnier, Loukas and
# Jaggi 2019](https://arxiv.org/abs/1911.03584) proved it, a year before the ViT. Nine heads whose scores depend on relative places can be any
# convolution of 3 × 3. This notebook goes through the proof and looks at its limits. At the end you will be able to
#
# - build a convolution out of attention, and say how wrong it is at finite sharpness, and what it does at the border,
# - prove that fewer heads are not enough, and that attention without positions is not either,
# - say whether gradient descent finds what the proof constructs.
#
# You need notebooks [06](06_softmax_and_loss.ipynb), [07](07_attention.ipynb), [08](08_multi_head.ipynb) and [20](20_hybrid.ipynb).
#
# **Budget:** 8 s of CPU time (fast mode 6 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import attention_as_convolution as imitation
from experiments import record

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, running_digit
from minivit.lessons.pictures import offsets as pictures
from minivit.lineage.axial import AxialAttention
from minivit.lineage.cordonnier import QuadraticAttention, as_convolution, encoding
from minivit.lineage.sasa import LocalAttention
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(29)

# %% [markdown]
# ## The idea
#
# Each pixel is a token. The query stands at one pixel. Each head has a **centre** $\Delta$, a step from the query: for example one row up and
# one column to the right. Its weights are largest at the pixel where this step ends. The **sharpness** $\alpha$ says how fast they fall around
# it. A very sharp head copies one pixel. Nine such heads fetch the nine pixels that a convolution of 3 × 3 reads.

# %%
_ = pictures.nine_heads(running_digit()[1][:, :, 0], (4, 4))

# %% [markdown]
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$ | tokens, [class] included; here one for each pixel, and no [class] token | number | `height * width` |
# | $H$ | heads | number | `heads`, `len(centres)` |
# | $C$, $E$ | channels of the image; channels of the result | numbers | |
# | $x$, $y$ | an image and the result, one row for each pixel | $(N, C)$, $(N, E)$ | `x`, `y` |
# | $\mathbf{u}$ | place of the query: row, column | $(2)$ | |
# | $\delta$ | place of the key minus place of the query: rows, columns | $(2)$ | `d` |
# | $\mathbf{r}_\delta$ | encoding of $\delta$ | $(3)$ | `r` |
# | $\Delta_i$, $\alpha_i$ | centre and sharpness of head $i$ | $(2)$, number | `centres`, `alpha` |
# | $\mathbf{a}_i$ | what a head multiplies the encoding by | $(3)$ | `head_vector` |
# | $S$ | attention scores | $(N, N)$ for each head | `S` |
# | $A$ | attention weights | $(N, N)$ for each head | `A` |
# | $\mathbf{W}_i$ | value and output matrix of head $i$ in one | $(C, E)$ | `W` |
# | $\mathbf{b}$ | bias | $(E)$ | `b` |
# | $\kappa_\delta$ | slice of a kernel at the place $\delta$ | $(C, E)$ | `kernel[i, j]` |
# | $\Lambda x$ | the four neighbours of a pixel, each less the pixel, added | as $x$ | `laplacian` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dA`, ... |
#
# ## Scores that know a distance
#
# We want a head whose scores fall with the squared distance from its centre:
#
# $$S_\delta = -\alpha\,\lVert \delta - \Delta \rVert^2.$$
#
# **Step 1.** Expand the square:
#
# $$-\alpha\,\lVert \delta - \Delta \rVert^2 = -\alpha\,\lVert\delta\rVert^2 + 2\alpha\,\Delta_1\delta_1 + 2\alpha\,\Delta_2\delta_2 - \alpha\,\lVert\Delta\rVert^2.$$
#
# **Step 2.** The last term is the same for all keys, so the softmax does not see it. The rest is an inner product of a vector of the head and a
# vector of the offset:
#
# $$S_\delta = \mathbf{a} \cdot \mathbf{r}_\delta, \qquad \mathbf{a} = -\alpha\,(1, -2\Delta_1, -2\Delta_2), \qquad
# \mathbf{r}_\delta = (\lVert\delta\rVert^2, \delta_1, \delta_2).$$
#
# This is the **quadratic encoding**. Three numbers per offset are enough. The content of the pixels plays no part: in the general formula of
# attention with relative positions, the matrices of queries and keys are zero.


# %% tags=["yours"]
def quadratic(height, width):
    """The encoding r of every query and key: (N, N, 3). Places are counted row by row."""
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    d = places[None] - places[:, None]  # key minus query
    return np.concatenate([(d**2).sum(axis=-1, keepdims=True), d], axis=-1)


def head_vector(centre, alpha):
    """The vector a of one head.   centre: (2,) -> (3,)."""
    return -alpha * np.array([1, -2 * centre[0], -2 * centre[1]])


def weights_by_place(centres, alpha, height, width):
    """A of all heads.   centres: (H, 2), alpha: a number for all -> (H, N, N)."""
    r = quadratic(height, width)
    return ops.softmax(np.stack([r @ head_vector(centre, alpha) for centre in centres]))[0]


# %%
height, width, C, E = 6, 5, 3, 2
kernel, b = rng.normal(0, 0.3, (3, 3, C, E)), rng.standard_normal(E)
nine = np.argwhere(np.ones((3, 3))) - 1  # row by row
agree("r", quadratic(height, width), encoding(height, width))
agree("A", weights_by_place(nine, 1.5, height, width), as_convolution(kernel, b, 1.5).weights(height, width))

# %% [markdown]
# ## Nine heads are a convolution
#
# **Step 3.** A head with weights $A_i$ sees $A_i x$. It multiplies by its value matrix, and then by its rows of the output matrix. Both
# together are one matrix $\mathbf{W}_i$. The layer is
#
# $$y = \sum_{i=1}^{H} A_i\, x\, \mathbf{W}_i + \mathbf{b}.$$
#
# **Step 4.** Let $\Delta_i$ be a whole number of pixels. As $\alpha$ grows, the softmax puts all its weight on the key with the smallest
# distance, $\delta = \Delta_i$. Then row $\mathbf{u}$ of $A_i x$ is the pixel $x_{\mathbf{u} + \Delta_i}$. With one head for each place of the
# kernel and $\mathbf{W}_i = \kappa_{\Delta_i}$,
#
# $$y_\mathbf{u} = \sum_\delta x_{\mathbf{u} + \delta}\, \kappa_\delta + \mathbf{b}.$$
#
# This is a convolution. A kernel of 5 × 5 takes 25 heads.
#
# **Step 5: the border.** Where $\mathbf{u} + \Delta_i$ lies outside the image, there is no such key. The softmax still adds up to 1. It chooses
# the nearest key that exists. That is the pixel of the edge that lies nearest to the missing place, and only one does. So the limit is the
# convolution of an image whose **edge is repeated**. Zeros around the image would be another function.


# %% tags=["yours"]
def attention_layer(x, centres, alpha, W, b):
    """x: (height, width, C), W: (H, C, E), b: (E,) -> (height, width, E)."""
    A = weights_by_place(centres, alpha, *x.shape[:2])
    seen = A @ x.reshape(-1, x.shape[2])  # (H, N, C)
    return ((seen @ W).sum(axis=0) + b).reshape(*x.shape[:2], -1)


def convolve(x, kernel, mode):
    """A convolution of 3 x 3 without bias.   mode: of np.pad, "edge" or "constant" (zeros)."""
    height, width = x.shape[:2]
    around = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode)
    return sum(around[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))


# %%
x = rng.standard_normal((height, width, C))
W = kernel.reshape(9, C, E)
agree("the layer", attention_layer(x, nine, 1.5, W, b), as_convolution(kernel, b, 1.5)(Tensor(x[None])).data[0])
agree("zeros around", convolve(x, kernel, "constant"), F.conv2d(Tensor(x[None]), Tensor(kernel)).data[0])

y = attention_layer(x, nine, 46.0, W, b)
for mode in ("edge", "constant"):
    off = np.abs(y - convolve(x, kernel, mode) - b).max(axis=2)
    print(
        f"alpha 46 against a convolution with {'its edge repeated' if mode == 'edge' else 'zeros around':<18}"
        f" inside: {off[1:-1, 1:-1].max():.0e}, at the border: {max(off[[0, -1]].max(), off[:, [0, -1]].max()):.0e}"
    )

# %% [markdown]
# ## How sharp is sharp enough?
#
# **Step 6.** Take a key beside the right one, at distance 1 from the centre. Its score is lower by $\alpha$, so its weight is about
# $e^{-\alpha}$. Four keys are that near. The next ones have the squared distance 2 and the weight $e^{-2\alpha}$. The weights of a row add up
# to 1, so the right key has $1 - 4e^{-\alpha}$ to first order. Hence the head sees
#
# $$(A_i x)_\mathbf{u} = x_{\mathbf{u}+\Delta_i} + e^{-\alpha} \sum_{\text{4 neighbours } \nu} \bigl(x_{\mathbf{u}+\Delta_i+\nu} - x_{\mathbf{u}+\Delta_i}\bigr) + O(e^{-2\alpha}).$$
#
# The sum is the discrete Laplacian $\Lambda x$ of the image. Add up the heads:
#
# $$y(\alpha) = \mathrm{conv}(x) + e^{-\alpha}\,\mathrm{conv}(\Lambda x) + O(e^{-2\alpha}).$$
#
# So the layer blurs a little before it convolves, and the error falls by the factor $e$ whenever $\alpha$ grows by 1. The formula holds at the
# border too, if $\Lambda$ is taken of the image with its edge repeated. For a centre outside, the two neighbours *along* the edge are farther
# by 1 than the nearest key. The neighbour *inwards* is farther by 3, so its weight is only about $e^{-3\alpha}$. In the repeated image its
# difference is 0.


# %% tags=["yours"]
def laplacian(x):
    """The differences from the four neighbours, added, the edge repeated.   x: (height, width, C) -> the same shape."""
    p = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * x


# %% [markdown]
# **Predict first.** The error at $\alpha = 5$ is about 0.1 here. How large is it at $\alpha = 10$?

# %%
limit = convolve(x, kernel, "edge") + b
repeated = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
blurred = convolve(laplacian(repeated), kernel, "edge")[1:-1, 1:-1]  # conv(Lap x)
sharpness = np.arange(1.0, 31.0)
errors = np.array([np.abs(attention_layer(x, nine, alpha, W, b) - limit).max() for alpha in sharpness])
derived = np.exp(-sharpness) * np.abs(blurred).max()

figure, axis = plt.subplots(figsize=(6, 3.2))
axis.semilogy(sharpness, errors, "o", markersize=4, label="measured")
axis.semilogy(sharpness, derived, color="C1", label=r"$e^{-\alpha}$ times the largest of $|\mathrm{conv}(\Lambda x)|$")
axis.set(xlabel=r"sharpness $\alpha$", ylabel="largest error")
axis.legend()
plt.show()

print("alpha  error    derived  error / derived")
for alpha in (1, 3, 5, 10, 20):
    e, d = errors[alpha - 1], derived[alpha - 1]
    print(f"{alpha:5d}  {e:.1e}  {d:.1e}  {e / d:.3f}")
first = (attention_layer(x, nine, 10.0, W, b) - limit) * np.exp(10.0)
agree("conv(Lap x)", first, blurred, rtol=1e-3)  # the next order is e^-10 = 5e-5

# %% [markdown]
# **In the stored run** measured and derived error agree within 2 % from $\alpha = 5$ on. At $\alpha = 10$ the ratio is 1.000. At $\alpha = 1$
# the terms of higher order matter: the ratio is 0.503.
#
# ## Fewer heads are not enough
#
# **Step 7.** Take one channel, $C = 1$, and let the heads be free: any weights $A_i(\delta)$ by offset, even negative ones. Far from the border
# the layer applies the kernel
#
# $$\kappa_{\delta e} = \sum_{i=1}^{H} A_i(\delta)\, W_{ie}, \qquad \text{as matrices} \quad (9 \times E) = (9 \times H)\,(H \times E).$$
#
# The rank of a product is at most $H$. A random kernel with nine or more filters has rank 9. **So it takes nine heads**, however they look.
# With $C$ channels the same argument holds for the kernel as a matrix of $9 \times CE$. Fewer heads can be enough only if its rank is lower.
#
# **Step 8.** The same argument gives a number. Each head hands on *one* number for each pixel, so the results of all pixels and images form a
# matrix $Y$ of rank $H$ at most. Of all such matrices, the truncated singular value decomposition of the target is nearest to it. It leaves
# over the squares of the remaining singular values $s_j$:
#
# $$\frac{\lVert Y - Y_\mathrm{target} \rVert^2}{\lVert Y_\mathrm{target} \rVert^2} \ge \frac{\sum_{j > H} s_j^2}{\sum_j s_j^2}.$$
#
# We call this the **floor** of $H$ heads. It holds for attention by content too.


# %% tags=["yours"]
def floor_of(target, heads):
    """The least share of the square of a target that a matrix of rank `heads` leaves over.   target: (rows, E)."""
    squares = np.linalg.svd(target, compute_uv=False) ** 2
    return squares[heads:].sum() / squares.sum()


# %%
pixels = rng.standard_normal((40, 6, 6, 1))
filters = rng.standard_normal((3, 3, 1, 16)) / 3
target = np.stack([convolve(image, filters, "edge") for image in pixels]).reshape(-1, 16)
places = weights_by_place(nine, 46.0, 6, 6)
print("rank of the kernel:", np.linalg.matrix_rank(filters.reshape(9, -1)))
print("heads  floor    best W of the first heads of the nine")
for heads in (4, 6, 8, 9):
    seen = (places[:heads] @ pixels.reshape(40, 1, 36, 1)).transpose(0, 2, 1, 3).reshape(-1, heads)
    left = target - seen @ np.linalg.lstsq(seen, target, rcond=None)[0]
    share = np.square(left).sum() / np.square(target).sum()
    print(f"{heads:5d}  {floor_of(target, heads):.1e}  {share:.1e}")
    assert share > floor_of(target, heads) - 1e-12
agree("the library's floor", floor_of(target, 6), imitation.floor_by_heads(target[None], 6))

# %% [markdown]
# ## Without positions it is impossible
#
# **Step 9.** Now the scores come from the content alone, and no token knows its place. Let $\Pi$ be a permutation matrix; $\Pi x$ is the image
# with its pixels shuffled. The scores $S = x\,\mathbf{M}\,x^\top$ become $\Pi S\,\Pi^\top$, for any matrix $\mathbf{M}$. The softmax works row
# by row, and the order of a row does not matter to it. So
#
# $$A(\Pi x) = \Pi\,A(x)\,\Pi^\top, \qquad y(\Pi x) = \Pi\,A(x)\,\Pi^\top\,\Pi\,x\,\mathbf{W} = \Pi\,y(x).$$
#
# The layer is **equivariant to permutations**: shuffle the pixels, and the results are shuffled in the same way. A convolution is not, because
# it depends on which pixels are neighbours. MLPs and LayerNorms work on each token alone. So all blocks of a ViT without positions are
# equivariant, too.


# %% tags=["yours"]
def content_attention(x, M, W):
    """One head whose scores are x M x^T.   x: (N, C), M: (C, C), W: (C, E) -> (N, E)."""
    A = ops.softmax(x @ M @ x.T)[0]
    return A @ x @ W


# %%
flat, M = x.reshape(-1, C), rng.standard_normal((C, C))
shuffle = rng.permutation(height * width)
mixed, plain = (
    attention_layer(z.reshape(height, width, C), nine, 46.0, W, 0 * b).reshape(-1, E) for z in (flat[shuffle], flat)
)
agree("by content", content_attention(flat[shuffle], M, W[0]), content_attention(flat, M, W[0])[shuffle])
print(f"nine heads by place, the same difference: {np.abs(mixed - plain[shuffle]).max():.1f}")

# %% [markdown]
# This gives a floor, too. Swap two pixels of equal value: the image stays the same, so the two results are equal. In each image all pixels of
# one value must get the same result. The best result is the mean of their targets. The experiment computes what this leaves over.
#
# ## What a head learns from
#
# The theorem says what a layer can be. To learn it, the gradient must move the centres.
#
# **Step 10.** Let $g = \mathrm{d}A$ be the gradient that arrives at a row of weights. The pullback of softmax is
# $\mathrm{d}S_\delta = A_\delta\,(g_\delta - \bar g)$ with $\bar g = \sum_\delta A_\delta\, g_\delta$ (notebook 06). With
# $S_\delta = -\alpha\,\lVert\delta-\Delta\rVert^2$,
#
# $$\mathrm{d}\Delta = \sum_\delta \mathrm{d}S_\delta \cdot 2\alpha\,(\delta - \Delta) = 2\alpha \sum_\delta A_\delta\,(g_\delta - \bar g)\,\delta, \qquad
# \mathrm{d}\alpha = -\sum_\delta A_\delta\,(g_\delta - \bar g)\,\lVert\delta-\Delta\rVert^2.$$
#
# The first step uses that the $\mathrm{d}S_\delta$ add up to 0. All queries share the head, so the gradients are added over the rows. Both sums
# are covariances under the weights of the head. $g$ covaries with the place only as far as the weights spread. A head that has become a copy of
# one pixel has no covariance, and learns no more.


# %% tags=["yours"]
def place_gradients(dA, A, d, centre, alpha):
    """dA, A: (N, N), d: (N, N, 2), centre: (2,) -> dcentre (2,), dalpha."""
    dS = A * (dA - (A * dA).sum(axis=1, keepdims=True))
    distance = ((d - centre) ** 2).sum(axis=-1)
    return 2 * alpha * (dS[:, :, None] * d).sum(axis=(0, 1)), -(dS * distance).sum()


# %%
def one_head(centre, alpha):
    """The weights of one head, and the pullback: to dcentre, dalpha.   centre: (2,), alpha: (1,)."""
    d = np.asarray(quadratic(4, 5)[..., 1:], centre.dtype)
    A = ops.softmax(-alpha[0] * ((d - centre) ** 2).sum(axis=-1))[0]

    def pullback(dA):
        dcentre, dalpha = place_gradients(dA, A, d, centre, alpha[0])
        return dcentre.astype(centre.dtype), np.array([dalpha], centre.dtype)

    return A, pullback


centre, alpha = np.array([0.4, -0.7]), np.array([0.8])
print(f"against differences, largest relative error: {check_vjp(one_head, centre, alpha):.1e}")

layer = QuadraticAttention(1, 1, 1, None, "float64")
layer.centres.data[0], layer.spread.data[0] = centre, np.sqrt(2 * alpha[0])  # the library learns s with alpha = s^2 / 2
dA = rng.standard_normal((20, 20))
dcentre, dalpha = one_head(centre, alpha)[1](dA)
engine = grad(layer.weights(4, 5), [layer.centres, layer.spread], dA[None])
agree("dcentre", dcentre, engine[0][0])
agree("dspread", dalpha * layer.spread.data, engine[1])

for alpha in (0.5, 2.0, 8.0, 32.0):
    drawn = [one_head(np.array([1.0, -1.0]), np.array([alpha]))[1](rng.standard_normal((20, 20))) for _ in range(200)]
    sizes = np.sqrt(np.mean([[np.square(c).sum(), a[0] ** 2] for c, a in drawn], axis=0))
    print(f"alpha {alpha:4.1f}: size of dcentre {sizes[0]:.1e}, of dalpha {sizes[1]:.1e}")

# %% [markdown]
# The last lines draw $\mathrm{d}A$ at random, with entries of size 1. At $\alpha = 32$ hardly anything arrives at a centre on a pixel. So heads
# begin blunt: the library draws $\alpha$ near 0.5.
#
# ## Experiment: does gradient descent find it?
#
# One layer learns to imitate a random convolution of 3 × 3 with 16 filters on the digits. Centres start at random, with a standard deviation of
# 2 pixels, and sharpness at 0.5. Centres, sharpness and $\mathbf{W}$ learn. The error is the squared error on the test images, divided by the
# square of the target: 1 is no better than the answer 0. Each seed draws another kernel. We repeat one of the stored runs here.

# %%
shipped = record.read("attention_as_convolution")
found = shipped["results"]
print(shipped["command"])
again = full_or_fast("9 heads", "1 heads")
print(f"{again}, seed 0: here {imitation.measure(again, 0)['error']:.2g}, stored {found[again][0]['error']:.2g}")

# %% [markdown]
# There are four controls.
#
# - **Fewer and more heads** than nine, with the floor of step 8.
# - **Frozen**: nine heads whose centres and sharpness stay as drawn. Only $\mathbf{W}$ learns.
# - **Absolute**: nine heads with a learned vector for each place, as in a ViT. Queries and keys are linear functions of it; pixels play no
#   part.
# - **Content**: nine heads whose scores come from the pixels alone, with the floor of step 9. They have fewer updates, because their weights
#   differ from image to image.
#
# **Predict first.** Does the layer with nine heads always come close to 0? How far is the layer with four heads from its floor?

# %%
by_heads = [f"{heads} heads" for heads in imitation.HEADS]
controls = ["9 heads, frozen", "absolute", "content"]


def logs(name, key="error"):
    """Base-10 logarithms of all runs, those below 1e-8 as 1e-8."""
    return np.log10(np.maximum([run[key] for run in found[name]], 1e-8))


figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, width_ratios=(2.2, 1))
for axis, names in zip(axes, (by_heads, controls), strict=True):
    for place, name in enumerate(names):
        mean, error = record.mean_and_error(logs(name))
        bars = [[10**mean - 10 ** (mean - error)], [10 ** (mean + error) - 10**mean]]
        axis.errorbar(place, 10**mean, bars, fmt="o", color="C0", capsize=4)
        axis.plot(place + np.linspace(-0.12, 0.12, len(found[name])), 10 ** logs(name), "k.", markersize=3)
        if logs(name, "floor").max() > -7:
            axis.plot([place - 0.35, place + 0.35], [10 ** logs(name, "floor").mean()] * 2, color="C1", linewidth=2)
    axis.set(yscale="log")
    axis.set_xticks(range(len(names)), [name.replace(" heads", "").replace("9, ", "") for name in names])
axes[0].set(xlabel="heads with learned places", ylabel="squared error / square of the target")
axes[1].set_xlabel("controls, nine heads")
plt.show()

print(f"{len(found['content'])} seeds; geometric mean of the error, times or divided by one standard error")
for name in (*by_heads, *controls):
    (mean, error), floor = record.mean_and_error(logs(name)), logs(name, "floor")
    known = f"floor {10 ** floor.mean():.2g}" if floor.max() > -7 else "no floor"
    spread = f"single runs {10 ** logs(name).min():.1e} to {10 ** logs(name).max():.1e}"
    print(f"{name:<16} {10**mean:.2g} x/ {10**error:.2f}, {known}; {spread}")
    assert (logs(name) > floor - 1e-3).all() or floor.max() < -7
for name, other in (("8 heads", "9 heads"), ("9 heads", "16 heads"), *((name, "9 heads") for name in controls)):
    mean, error = record.mean_and_error(logs(name) - logs(other))
    verdict = "decided" if abs(mean) > 2.26 * error else "not decided"  # 95 % of Student's t with 9 degrees of freedom
    print(f"{name} over {other}: 10^({mean:.2f} +- {error:.2f}), {verdict}")

# %% [markdown]
# Small dots are single runs, large ones geometric means. Orange lines are the floors. From nine heads on there is none. The last lines compare
# two errors seed by seed. A ratio is *decided* if its 95 % interval leaves out 1.
#
# **In the stored run** four heads leave over 0.12, near their floor of 0.091. Nine heads leave over 0.00075 in the geometric mean. But single
# runs lie between 3.5e-06 and 2.9e-02: gradient descent often ends before it reaches what the theorem promises. Sixteen heads leave over
# 1.4e-05, and this gain is decided; that of nine over eight heads is not. The lead of nine heads over the three controls is decided: 0.28
# frozen, 0.086 absolute, 0.64 content.
#
# The controls do not all fail for the same reason. Content cannot get below its floor of 0.45. Absolute places *could* be as good as relative
# ones (exercise 29.4), but with this start and this rate the layer did not find how.
#
# **Where do the centres go?** The figure shows the best and the worst run with nine heads. A cross is a place of the kernel. A larger dot is a
# sharper head. Below it we count the heads *at work*: the centre lies in the 3 × 3 square around the query, and the sharpness is at least 1.

# %%
runs = found["9 heads"]
tables = np.array([run["places"] for run in runs]).reshape(
    len(runs), -1, 9, 3
)  # seed, moment, head; row, column, alpha
errors = np.array([run["error"] for run in runs])
figure, axes = plt.subplots(2, 4, figsize=(11, 5.8), sharex=True, sharey=True)
for of_run, seed in zip(axes, (errors.argmin(), errors.argmax()), strict=True):
    for axis, moment in zip(of_run, (0, 2, 3, 4), strict=True):
        rows, columns, alpha = tables[seed, moment].T
        axis.plot(nine[:, 1], nine[:, 0], "+", color="grey", markersize=9)
        axis.scatter(columns, rows, s=20 + 20 * alpha, color="C0", alpha=0.6)
        axis.set(
            title=f"after {imitation.MOMENTS[moment]} updates",
            aspect="equal",
            xlim=(-6, 6),
            ylim=(6, -6),
            xticks=(-4, 0, 4),
        )
    of_run[0].set_ylabel(f"seed {seed}, error {errors[seed]:.0e}\nrows")
for axis in axes[1]:
    axis.set_xlabel("columns")
plt.show()

inside = np.abs(tables[..., :2]).max(axis=-1) <= 1.5
for moment, updates in enumerate(imitation.MOMENTS):
    mean, error = record.mean_and_error(inside[:, moment].sum(axis=1))
    print(f"after {updates:4d} updates: {mean:.1f} +- {error:.1f} of 9 centres in the square")
centres, sharp = tables[:, -1, :, :2], tables[:, -1, :, 2]
at_work = inside[:, -1] & (sharp >= 1)
near = (np.abs(centres - centres.round()) <= 0.25).all(axis=-1)[at_work].mean()
print(
    f"median sharpness of heads at work: {np.median(sharp[at_work]):.1f}; of all others: {np.median(sharp[~at_work]):.2f}"
)
print(f"{near:.0%} of those at work are within 0.25 of a pixel, in rows and in columns; by chance 25%")
for count in np.unique(at_work.sum(axis=1)):
    same = errors[at_work.sum(axis=1) == count]
    print(f"{count} heads at work: {len(same)} runs, errors {same.min():.1e} to {same.max():.1e}")

# %% [markdown]
# **In the stored run** the centres move into the square: 3.0 ± 0.5 of 9 lie there at the start, 8.5 ± 0.2 at the end. They do not find the grid
# of the theorem: 14 % of the heads at work are near a pixel. Runs with fewer heads at work have larger errors: 3.5e-06 to 6.3e-03 with all 9,
# 5.9e-03 to 6.5e-03 with 8, 1.2e-02 to 1.4e-02 with 7, and 2.9e-02 with 6.
#
# The heads that do not work are blunt, with a median sharpness of 0.00. Such a head sees the mean of the whole image, and it hardly comes back.
# By step 10 the gradient of its centre has the factor $\alpha$. The library learns $s$ with $\alpha = s^2/2$, and the gradient of $s$ has the
# factor $s$.
#
# The theorem puts each centre on a pixel. Learning does not need that. A head between two pixels sees a mixture of both. If nine mixtures of
# nine pixels are independent, $\mathbf{W}$ can unmix them (step 7).
#
# ## Experiment: where do heads look in a classifier?
#
# Now a whole network of such layers learns to classify CIFAR-10. It has 3 blocks of width 48 with nine heads each, on 8 × 8 patches of 4 × 4
# pixels, and gets 400 updates. In the control, centres and sharpness stay as drawn; all else learns. We measure how far a head looks: the
# distance from query to key, in patches, weighted by $A$.
#
# **Predict first.** Do heads learn to look nearer or farther? In which block do they look nearest? Does learning the places pay in accuracy?

# %%
shipped = record.read("where_heads_look")
looked, blocks = shipped["results"], shipped["config"]["depth"]
print(shipped["command"])
before, after = (
    np.array([run[when] for run in looked["learned"]]).reshape(-1, blocks, 9, 3) for when in ("before", "after")
)  # seeds, blocks, heads, (row, column, alpha)

figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), sharex=True, sharey=True)
titles = ["all blocks, at the start", *(f"block {i + 1}, learned" for i in range(blocks))]
for axis, table, title in zip(axes, (before, *after.swapaxes(0, 1)), titles, strict=True):
    rows, columns, alpha = table.reshape(-1, 3).T
    axis.scatter(columns, rows, s=10 + 15 * alpha, alpha=0.4)
    axis.plot(0, 0, "k+", markersize=12)
    axis.set(title=title, xlabel="columns", aspect="equal", xlim=(-7.5, 7.5), ylim=(7.5, -7.5))
axes[0].set_ylabel("rows")
plt.show()

r = quadratic(8, 8)


def distance(table):
    """Distance from query to key, weighted by A, the mean of all queries and heads.   (.., heads, 3) -> (..)."""
    v = np.concatenate([-table[..., 2:], 2 * table[..., 2:] * table[..., :2]], axis=-1)
    A = ops.softmax(np.einsum("...c,qkc->...qk", v, r))[0]
    return (A * np.sqrt(r[..., 0])).sum(axis=-1).mean(axis=(-1, -2))


for name, of in (("distance", distance), ("sharpness", lambda table: table[..., 2].mean(axis=-1))):
    changes = of(after) - of(before)
    for i in range(blocks):
        start, end, change = of(before)[:, i].mean(), of(after)[:, i].mean(), record.mean_and_error(changes[:, i])
        print(f"mean {name}, block {i + 1}: {start:.2f} before, {end:.2f} after", "({:+.2f} +- {:.2f})".format(*change))
    last = record.mean_and_error(of(after)[:, -1] - of(after)[:, 0])
    print(f"mean {name} after, last block less first:", "{:+.2f} +- {:.2f}".format(*last))
accuracy = {kind: np.array([100 * run["accuracy"] for run in runs]) for kind, runs in looked.items()}
accuracy["learned less frozen"] = accuracy["learned"] - accuracy["frozen"]
for name, values in accuracy.items():
    print(
        f"accuracy in %, {name}:", "{:.1f} +- {:.1f}".format(*record.mean_and_error(values)), f"({len(values)} seeds)"
    )

# %% [markdown]
# Differences are taken seed by seed. With five seeds a 95 % interval is ± 2.8 standard errors. A difference is *decided* if it is larger.
#
# **In the stored run** the heads of block 1 learn to look nearer, from 2.10 to 1.76 patches, and become sharper, from 0.50 to 1.59. Those of
# block 3 learn to look farther, from 2.16 to 2.84, and become blunter, 0.34. All four changes are decided; the change of distance in block 2 is
# not. Learned places give 1.1 ± 0.2 points more accuracy than frozen ones: decided.
#
# So the first block becomes local and the last one global, although no term of the loss asks for it. These are small networks after a short
# training.
#
# ## Two relatives: a window, and an axis at a time
#
# **Stand-alone self-attention** ([Ramachandran et al. 2019](https://arxiv.org/abs/1906.05909), SASA) replaces the 3 × 3 convolutions of a
# ResNet. A pixel attends to the window around it, with scores from content *and* place:
#
# $$S_\delta = \mathbf{q} \cdot \mathbf{k}_\delta + \mathbf{q} \cdot \mathbf{r}_\delta.$$
#
# Here $\mathbf{r}_\delta$ is learned. Its first half belongs to the row of $\delta$, its second half to the column. Can this layer be a
# convolution, too? Let the image have a channel that is always 1, and let the query read only this channel, the keys nothing. Then
# $\mathbf{q} \cdot \mathbf{r}_\delta$ is a number for the row plus a number for the column. Make both large, $\beta$, at the place wanted and 0
# elsewhere. The score is $2\beta$ there, and at most $\beta$ at the others. So the limit $\beta \to \infty$ is again one pixel per head.
#
# One thing differs: the border. A window that sticks out is filled with zeros, and these places take part in the softmax. A head whose place
# lies outside gets the value 0. So here the limit is the convolution **with zeros around**. The heads stand side by side, and the next layer
# mixes them.

# %%
beta = 40.0
image = np.concatenate([rng.standard_normal((6, 5, 1)), np.ones((6, 5, 1))], axis=2)  # a channel, and one that is 1
sasa = LocalAttention(2, 18, 9, None, "float64", window=3)  # nine heads of width 2
for i, (row, column) in enumerate(nine):
    sasa.query.weight.data[1, 2 * i : 2 * i + 2] = 1.0  # q = (1, 1) everywhere
    sasa.value.weight.data[0, 2 * i] = 1.0  # v = (the channel, 0)
    sasa.row_relative.data[i, 0, row + 1] = beta
    sasa.column_relative.data[i, 0, column + 1] = beta
seen = sasa(Tensor(image[None])).data[0, :, :, ::2]  # what the nine heads hand on: (6, 5, 9)
agree("SASA", seen @ filters.reshape(9, 16), convolve(image[..., :1], filters, "constant"))

# %% [markdown]
# **Axial attention** ([Ho et al. 2019](https://arxiv.org/abs/1912.12180), [Wang et al. 2020](https://arxiv.org/abs/2003.07853)) attends along
# the columns of the image, and in the next layer along its rows. In a square image each query has only $\sqrt{N}$ keys in each layer. So the
# two layers compare $2N\sqrt{N}$ pairs of tokens instead of $N^2$. After both, every pixel has seen every other.
#
# What can a pair express? Three heads along the columns fetch the pixel above, the pixel itself and the pixel below. Three heads along the rows
# fetch the left, the middle and the right of *these three*. That makes all nine places. So **three and three heads** are enough for any
# convolution of 3 × 3, if the first layer hands on all $3C$ channels. This does not contradict step 7: each head of the second layer sees $3C$
# numbers for each place.


# %% tags=["yours"]
def along_rows(x, alpha):
    """Three heads along the rows of an image, side by side: left, middle, right.   x: (height, width, C) -> (.., 3 C)."""
    d = np.arange(x.shape[1])[None] - np.arange(x.shape[1])[:, None]
    A = ops.softmax(np.stack([-alpha * (d - step) ** 2.0 for step in (-1, 0, 1)]))[0]  # (3, width, width)
    return np.concatenate([A[i] @ x for i in range(3)], axis=-1)


def along_columns(x, alpha):
    """The same along the columns: above, middle, below."""
    return along_rows(x.swapaxes(0, 1), alpha).swapaxes(0, 1)


# %%
both = along_rows(along_columns(x, 46.0), 46.0)  # (6, 5, 9 C): right, left and middle of above, middle and below
by_step = kernel.transpose(1, 0, 2, 3).reshape(9 * C, E)  # columns of the kernel outside, rows inside
agree("three and three", both @ by_step, convolve(x, kernel, "edge"))

image = rng.standard_normal((1, 12, 12, 4))


def reach(*layers):
    """How many pixels move one result: those whose gradient is not 0."""
    given = Tensor(image, requires_grad=True)
    z = given
    for layer in layers:
        z = layer(z)
    cotangent = np.zeros(z.shape)
    cotangent[0, 5, 5] = rng.standard_normal(z.shape[-1])
    return int((np.abs(grad(z, [given], cotangent)[0]).max(axis=-1) > 0).sum())


columns, rows = (AxialAttention(4, 4, 2, 12, rng, "float64", axis, normalise=False) for axis in ("height", "width"))
window = LocalAttention(4, 4, 2, rng, "float64", window=7)
print(f"one result of 12 x 12 pixels depends on: window of 7 x 7 {reach(window)}, two windows {reach(window, window)}")
print(f"columns {reach(columns)}, columns then rows {reach(columns, rows)}")
print("pairs of tokens   image   whole image   window of 7   columns and rows")
for side in (14, 56, 112):
    N = side**2
    print(f"{side:23d}{N**2:14,}{49 * N:14,}{2 * N * side:19,}")

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **The sign of the step.** $\delta$ is key minus query. With query minus key the kernel is mirrored, and a symmetric test kernel does not
#   show it.
# - **Zeros expected at the border.** See step 5. Compare at the border, not only inside.
# - **Sharp from the start.** With a large $\alpha$ at the start, the centres get no gradient (step 10).
# - **Scores of large images in half precision.** At $\alpha = 46$ and 20 pixels of distance a score is below $-18{,}000$. The softmax must
#   subtract the largest score of a row first, and bfloat16 has too few digits for $\lVert\delta\rVert^2$.
#
# ## Exercises
#
# `hint("29.1")` gives up to three hints for an exercise, one per call; import it from `minivit.lessons`.
#
# **29.1 (two lines).** A row of $A$ is compared with the right one: 1 at the centre, 0 elsewhere. The centre is a pixel far from the border.
# The error is the sum of the absolute differences, to first order in $e^{-\alpha}$. How large must $\alpha$ be for an error of $10^{-6}$?

# %%
answer = None  # your answer here: a number

check("29.1", answer)

# %% [markdown]
# **29.2 (ten minutes).** What does a very sharp head see? `x` (rows, columns) is an image, `centre` holds two integers, of any size. Return the
# image that the head hands on: the limit of $A x$ for $\alpha \to \infty$, in the shape of `x`.


# %%
def what_a_head_sees(x, centre):
    """x: (rows, columns), centre: (2,) integers -> (rows, columns)"""
    ...  # your answer here


check("29.2", what_a_head_sees)

# %% [markdown]
# **29.3 (twenty minutes).** The published code also has heads that are not round. Their scores are
# $S_\delta = -\frac12 (\delta - \Delta)^\top \mathbf{Q}\, (\delta - \Delta)$ with a symmetric matrix $\mathbf{Q}$. The encoding is now
# $\mathbf{r}_\delta = (\delta_1^2,\ \delta_1\delta_2,\ \delta_2^2,\ \delta_1,\ \delta_2)$. Return the vector $\mathbf{a}$ (5) with
# $S_\delta = \mathbf{a} \cdot \mathbf{r}_\delta$ up to a term that is equal for all keys.


# %%
def long_head(Q, centre):
    """Q: (2, 2), symmetric, centre: (2,) -> (5,)"""
    ...  # your answer here


check("29.3", long_head)

# %% [markdown]
# **29.4 (half an hour).** A ViT has no relative encoding. It adds a vector for the absolute place. Is this enough? `places` (N, 2) holds the
# row and column of each token. Return queries `q` (N, 3) and keys `k` (N, 3), made of `places`, `centre` and `alpha`, so that the softmax of
# `q @ k.T` (not scaled) is the head with this centre and sharpness.


# %%
def by_absolute_place(places, centre, alpha):
    """places: (N, 2), centre: (2,), alpha: a number -> q (N, 3), k (N, 3)"""
    ...  # your answer here


check("29.4", by_absolute_place)

# %% [markdown]
# Next: [30, windows, hierarchies and convolutions](30_windows_hierarchies_convolutions.ipynb).

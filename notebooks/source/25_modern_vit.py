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
# # 25 From the ViT of 2020 to a modern one, one swap at a time
#
# Later models keep the plan of the ViT and exchange its parts. EVA-02, RoPE-ViT and DINOv3 are such models. This
# notebook explains seven swaps, derives four of them, and measures each alone. At the end you will be able to
#
# - write RMSNorm, SwiGLU, rotary positions and QK-norm, forwards and backwards,
# - say what each of them removes or bounds,
# - judge which swaps an experiment decides and which it does not.
#
# You need notebooks [05](05_layer_norm.ipynb), [08](08_multi_head.ipynb), [09](09_mlp_and_gelu.ipynb) and
# [10b](10b_depth_and_normalisation.ipynb).
#
# **Budget:** 12 s of CPU time (fast mode 8 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import modern_vit, qk_norm, record

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast
from minivit.lessons.pictures import blocks as pictures
from minivit.lessons.pictures import rotation
from minivit.lineage.modern import Modern
from minivit.lineage.modern_config import ModernConfig
from minivit.models.rope import axial_angles, places
from minivit.nn.swiglu import SwiGLU
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(25)

# %% [markdown]
# ## What is exchanged
#
# RMS is RMSNorm. The small box $s$ is LayerScale. The two sums on the stream stay where they were.

# %%
_ = pictures.of_2020_and_later()

# %% [markdown]
# | part | 2020 | later | source |
# |---|---|---|---|
# | norm | LayerNorm | RMSNorm | [Zhang & Sennrich 2019](https://arxiv.org/abs/1910.07467) |
# | MLP | two matrices, GELU | SwiGLU: three matrices, a gate | [Shazeer 2020](https://arxiv.org/abs/2002.05202) |
# | positions | a learned table, added once | RoPE: queries and keys are turned | [Su et al. 2021](https://arxiv.org/abs/2104.09864) |
# | scores | queries and keys of any length | QK-norm | [Henry et al. 2020](https://arxiv.org/abs/2010.04245) |
# | branch | added as it is | LayerScale | [Touvron et al. 2021](https://arxiv.org/abs/2103.17239) |
# | extra tokens | [class] | registers | [Darcet et al. 2023](https://arxiv.org/abs/2309.16588) |
# | answer | read from [class] | read from the mean over the patches | notebook [19](19_class_token_or_pooling.ipynb) |
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$, $N_p$ | tokens, [class] included; patches | numbers | `N`, `Np` |
# | $D$, $F$ | width of the model; width of the MLP | numbers | `D`, `M` |
# | $H$, $D_h$ | heads; width of a head, $D/H$ | numbers | `H`, `Dh` |
# | $\mathbf{x}$, $\mathbf{y}$ | input and result of a part | $(N, D)$ | `x`, `y` |
# | $\boldsymbol{\gamma}$ | learned scale of a norm | $(D)$, in a head $(D_h)$ | `gamma` |
# | $\epsilon$ | small constant against a division by zero | number | `eps` |
# | $\rho$, $\hat{\mathbf{x}}$ | factor of each row; the normalised rows $\rho\,\mathbf{x}$ | $(N, 1)$, $(N, D)$ | `rho`, `x_hat` |
# | $\mathbf{g}$ | $\mathrm{d}\mathbf{y} \circ \boldsymbol{\gamma}$, the gradient of $\hat{\mathbf{x}}$ | $(N, D)$ | `g` |
# | $\overline{\mathbf{a}}$ | mean of each row of $\mathbf{a}$ | $(N, 1)$ | `mean(a)` |
# | $\mathbf{W}_G$, $\mathbf{W}_V$, $\mathbf{W}_O$ | matrices of SwiGLU: gate, value, out | $(D, F)$ twice, $(F, D)$ | `W_G`, `W_V`, `W_O` |
# | $\varphi$ | angle by which a pair of features is turned | $(N, D_h/2)$ | `phi` |
# | $R(\varphi)$ | matrix of the rotation by $\varphi$ | $(2, 2)$ | |
# | $f_i$, $\beta$ | frequency $i$; the base of the frequencies | $(D_h/4)$, number | `f`, `base` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values | $(H, N, D_h)$ each | `q`, `k`, `v` |
# | $S$, $A$ | attention scores; attention weights | $(H, N, N)$ each | `S`, `A` |
# | $s$ | LayerScale's factor on a branch | $(D)$ | `scale1.gamma`, ... |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |
#
# ## RMSNorm: LayerNorm without the mean
#
# RMSNorm divides each token by its root mean square. It subtracts no mean and adds no bias:
#
# $$\mathbf{y} = \boldsymbol{\gamma} \circ \hat{\mathbf{x}}, \qquad \hat{\mathbf{x}} = \rho\,\mathbf{x}, \qquad
# \rho = \frac{1}{\sqrt{\overline{\mathbf{x} \circ \mathbf{x}} + \epsilon}}. \tag{RMSNorm}$$
#
# **Backward.** $\boldsymbol{\gamma}$ is shared by all rows, so its gradient is a sum over the rows of
# $\mathrm{d}\mathbf{y} \circ \hat{\mathbf{x}}$. In one row, $x_j$ acts in two ways. It is a factor of $\hat{x}_j$, and
# it changes $\rho$. The second way needs $\partial\rho/\partial x_j = -\rho^3 x_j / D$, and the gradient of $\rho$ is
# $\sum_i g_i x_i = D\,\overline{\mathbf{g} \circ \mathbf{x}}$. Together
#
# $$\mathrm{d}\mathbf{x} = \rho\,\mathbf{g} - \rho^3\,\mathbf{x}\;\overline{\mathbf{g} \circ \mathbf{x}}
# = \rho\,\bigl(\mathbf{g} - \hat{\mathbf{x}}\;\overline{\mathbf{g} \circ \hat{\mathbf{x}}}\bigr).$$
#
# LayerNorm has one term more,
# $\mathrm{d}\mathbf{x} = \rho\,(\mathbf{g} - \overline{\mathbf{g}} - \hat{\mathbf{x}}\,\overline{\mathbf{g} \circ \hat{\mathbf{x}}})$.
# The term $\overline{\mathbf{g}}$ is the pullback of the subtracted mean. RMSNorm subtracts none.


# %%
def mean(a):
    return a.mean(axis=-1, keepdims=True)


N, D = 5, 7
x = 3 + rng.standard_normal((N, D)) * rng.uniform(0.5, 4, (N, 1))
gamma, dy = rng.uniform(0.5, 2, D), rng.standard_normal((N, D))


# %% tags=["yours"]
def rms_norm(x, gamma, eps=1e-6):
    """RMSNorm and its pullback, to dx and dgamma.   x: (N, D), gamma: (D,)."""
    rho = 1 / np.sqrt(mean(x * x) + eps)
    x_hat = rho * x

    def vjp(dy):
        g = dy * gamma
        return rho * (g - x_hat * mean(g * x_hat)), (dy * x_hat).sum(axis=0)

    return x_hat * gamma, vjp


# %%
y, vjp = rms_norm(x, gamma)
library, library_vjp = ops.rms_norm(x, gamma)
agree("y", y, library)
for name, mine, theirs in zip(("dx", "dgamma"), vjp(dy), library_vjp(dy), strict=True):
    agree(name, mine, theirs)
print(f"against differences, largest relative error: {check_vjp(rms_norm, x, gamma):.1e}")

# %% [markdown]
# LayerNorm is RMSNorm of the centred row, plus a bias. So the two agree on rows whose mean is 0.
#
# The gradients say what each norm does not see. A row that is multiplied by a number keeps its $\hat{\mathbf{x}}$, but
# for $\epsilon$. Therefore $\mathrm{d}\mathbf{x}$ is at right angles to $\mathbf{x}$ in RMSNorm. In LayerNorm it is at
# right angles to the centred row. If all features of a row grow by the same number, LayerNorm returns the same, so its
# $\mathrm{d}\mathbf{x}$ sums to 0. RMSNorm sees this change.

# %% tags=["yours"]
by_rms = rms_norm(x - mean(x), gamma)[0]  # LayerNorm with bias 0

# %%
layer, layer_vjp = ops.layer_norm(x, gamma, np.zeros(D))
agree("LayerNorm", by_rms, layer)
for name, row, dx in (("RMSNorm", x, vjp(dy)[0]), ("LayerNorm", x - mean(x), layer_vjp(dy)[0])):
    print(
        f"{name:<10} sum of dx * row {np.abs((dx * row).sum(axis=1)).max():.0e}, sum of dx {np.abs(dx.sum(axis=1)).max():.0e}"
    )

# %% [markdown]
# ## SwiGLU: an MLP with a gate
#
# The MLP of the ViT is $\mathrm{GELU}(\mathbf{x}\mathbf{W}_1)\,\mathbf{W}_2$. SwiGLU computes the hidden features
# twice. One copy, the **gate**, passes $\mathrm{silu}(a) = a\,\mathrm{sigmoid}(a)$ and multiplies the other one:
#
# $$\mathbf{a} = \mathbf{x}\mathbf{W}_G, \qquad \mathbf{b} = \mathbf{x}\mathbf{W}_V, \qquad \mathbf{u} = \mathrm{silu}(\mathbf{a}) \circ \mathbf{b}, \qquad
# \mathbf{y} = \mathbf{u}\mathbf{W}_O. \tag{SwiGLU}$$
#
# **Backward.** In a product each factor gets the gradient times the other factor. The gate passes its gradient through
# silu as well:
#
# $$\mathrm{d}\mathbf{u} = \mathrm{d}\mathbf{y}\,\mathbf{W}_O^\top, \qquad \mathrm{d}\mathbf{b} = \mathrm{d}\mathbf{u} \circ \mathrm{silu}(\mathbf{a}), \qquad
# \mathrm{d}\mathbf{a} = \mathrm{d}\mathbf{u} \circ \mathbf{b} \circ \mathrm{silu}'(\mathbf{a}), \qquad \mathrm{silu}'(a) = \mathrm{sigmoid}(a)\,\bigl(1 + a\,(1 - \mathrm{sigmoid}(a))\bigr).$$
#
# $\mathbf{x}$ is used twice, so its gradient is the sum
# $\mathrm{d}\mathbf{a}\,\mathbf{W}_G^\top + \mathrm{d}\mathbf{b}\,\mathbf{W}_V^\top$. The matrices get
# $\mathbf{x}^\top \mathrm{d}\mathbf{a}$, $\mathbf{x}^\top \mathrm{d}\mathbf{b}$ and
# $\mathbf{u}^\top \mathrm{d}\mathbf{y}$.

# %%
D, M = 6, 16
x, dy = rng.standard_normal((2, N, D))
mlp = SwiGLU(D, M, rng, "float64", bias=False)
W_G, W_V, W_O = (layer.weight.data for layer in (mlp.gate, mlp.value, mlp.out))


# %% tags=["yours"]
def swiglu_mlp(x, W_G, W_V, W_O):
    """SwiGLU without biases, and its pullback, to dx, dW_G, dW_V, dW_O.   x: (N, D)."""
    a, b = x @ W_G, x @ W_V
    sigmoid = 1 / (1 + np.exp(-a))
    u = a * sigmoid * b

    def vjp(dy):
        du = dy @ W_O.T
        da, db = du * b * sigmoid * (1 + a * (1 - sigmoid)), du * a * sigmoid
        return da @ W_G.T + db @ W_V.T, x.T @ da, x.T @ db, u.T @ dy

    return u @ W_O, vjp


# %%
y, vjp = swiglu_mlp(x, W_G, W_V, W_O)
tx = Tensor(x, requires_grad=True)
engine_y = mlp(tx)
agree("y", y, engine_y)
engine = grad(engine_y, [tx, mlp.gate.weight, mlp.value.weight, mlp.out.weight], dy)
for name, mine, theirs in zip(("dx", "dW_G", "dW_V", "dW_O"), vjp(dy), engine, strict=True):
    agree(name, mine, theirs)
print(f"against differences, largest relative error: {check_vjp(swiglu_mlp, x, W_G, W_V, W_O):.1e}")

# %% [markdown]
# **Equal size.** The old MLP has two matrices, $2DF$ parameters, with $F = 4D$. The gated one has three, $3DF$. Equal
# parameters need $3DF = 8D^2$, so $F = \tfrac{8}{3}D$. Multiply-adds for a token are as many as parameters, so they are
# equal, too.

# %%
widths = np.array([48, 64, 192, 768])

# %% tags=["yours"]
old = 2 * widths * 4 * widths  # parameters of the two matrices
inner = 8 * widths // 3  # F of SwiGLU, a whole number
new = 3 * widths * inner  # parameters of the three matrices

# %%
agree("F", inner, np.array([ModernConfig(width=int(width), heads=4, mlp="swiglu").mlp_width for width in widths]))
for width, F_new, n_old, n_new in zip(widths, inner, old, new, strict=True):
    print(f"D = {width:4d}: F = {4 * width:4d} with GELU, {F_new:4d} with SwiGLU; {n_old:9,} and {n_new:9,} parameters")

# %% [markdown]
# ## RoPE: positions as rotations
#
# The ViT adds a learned vector to each patch, once. RoPE adds nothing. In each block it turns queries and keys by
# angles that depend on the place of the patch.
#
# **One pair, one axis.** Take two features as a point of the plane. Turn the query's point by the angle $\varphi$ and
# the key's point by the angle $\varphi'$:
#
# $$R(\varphi) = \begin{pmatrix} \cos\varphi & -\sin\varphi \\ \sin\varphi & \cos\varphi \end{pmatrix}, \qquad
# \bigl(R(\varphi)\,\mathbf{q}\bigr)^\top R(\varphi')\,\mathbf{k} = \mathbf{q}^\top R(\varphi)^\top R(\varphi')\,\mathbf{k} = \mathbf{q}^\top R(\varphi' - \varphi)\,\mathbf{k}.$$
#
# The transpose of a rotation turns back, $R(\varphi)^\top = R(-\varphi)$, and two rotations add their angles. If the
# angle is proportional to the place, the score depends on the *offset* of the two places alone.
#
# **Many pairs, two axes.** A head has $D_h/2$ pairs of neighbouring features. Half of them turn with the row $r$ of the
# patch, the others with its column $c$. So each axis has $D_h/4$ frequencies, from fast to slow:
#
# $$\varphi = [\,r f_0, \ldots, r f_{D_h/4-1},\; c f_0, \ldots, c f_{D_h/4-1}\,], \qquad f_i = \beta^{-i/(D_h/4)}. \tag{RoPE}$$
#
# EVA-02 has $\beta = 10000$ and RoPE-ViT $\beta = 100$. The picture shows the four pairs of one axis for $D_h = 16$ and
# $\beta = 100$. The hand of a dial is the point $(1, 0)$, turned.

# %%
frequencies = 100.0 ** -(np.arange(4) / 4)
names = [f"$f_{i} = {f:.2f}$" for i, f in enumerate(frequencies)]
_ = rotation.turning_pairs(frequencies[:, None] * np.arange(6), names)

# %% [markdown]
# Fast pairs tell neighbours apart. Slow pairs tell near from far: a fast pair has gone full circle after about six
# columns.

# %%
Dh, grid, base = 16, (3, 4), 100.0
row, column = places(grid)  # of every patch, row by row
Np = len(row)
q, k, v = rng.standard_normal((3, Np, Dh))


# %% tags=["yours"]
def angles(row, column, Dh, base):
    """row, column: (Np,) -> phi: (Np, Dh / 2), first the pairs that turn with the row."""
    f = base ** -(np.arange(Dh // 4) / (Dh // 4))
    return np.concatenate([row[:, None] * f, column[:, None] * f], axis=1)


def rotate(x, phi):
    """Turn the pairs of features 0 and 1, 2 and 3, ...   x: (Np, Dh), phi: (Np, Dh / 2) -> (Np, Dh)."""
    y = np.empty_like(x)
    y[:, 0::2] = x[:, 0::2] * np.cos(phi) - x[:, 1::2] * np.sin(phi)
    y[:, 1::2] = x[:, 0::2] * np.sin(phi) + x[:, 1::2] * np.cos(phi)
    return y


# %%
phi = angles(row, column, Dh, base)
agree("angles", phi, axial_angles(grid, Dh, base)[:, 0])
agree("turned", rotate(q, phi), ops.rotate(q, phi)[0])

# %% [markdown]
# **Backward.** For fixed angles a rotation is a product with a matrix, so its pullback is the transposed matrix: turn
# back by $-\varphi$. The angles are constants. (RoPE-ViT has a variant in which frequencies learn.)

# %%
dy = rng.standard_normal(q.shape)

# %% tags=["yours"]
dq = rotate(dy, -phi)  # gradient of q from that of rotate(q, phi)

# %%
agree("dq", dq, ops.rotate(q, phi)[1](dy)[0])


def rotate_op(x):
    """`rotate` in the form that `check_vjp` wants."""
    return rotate(x, phi), lambda dy: (rotate(dy, -phi),)


print(f"against differences, largest relative error: {check_vjp(rotate_op, q):.1e}")

# %% [markdown]
# **The check that matters:** move all patches by 5 rows and 3 columns. If only offsets count, no score changes. The
# second line stretches the grid, for comparison. In the last two lines something is wrong.


# %%
def attend(phi, turn_k=True, turn_v=False):
    """One head: the result (Np, Dh) for these angles."""
    keys, values = (rotate(x, phi) if turned else x for x, turned in ((k, turn_k), (v, turn_v)))
    A = F.softmax(Tensor(rotate(q, phi) @ keys.T / np.sqrt(Dh))).data
    return A @ values


moved = angles(row + 5, column + 3, Dh, base)
stretched = angles(2 * row, 2 * column, Dh, base)
for name, other, options in (
    ("moved", moved, {}),
    ("stretched by 2", stretched, {}),
    ("moved, keys not turned", moved, {"turn_k": False}),
    ("moved, values turned, too", moved, {"turn_v": True}),
):
    change = np.abs(attend(other, **options) - attend(phi, **options)).max()
    print(f"{name:<26} largest change of the result {change:.0e}")

# %% [markdown]
# Values are not turned. A turned value would carry the place of its own patch, and no second rotation cancels it.
# Tokens without a place, [class] and registers, are not turned either. The score between [class] and a patch therefore
# depends on where the patch is.
#
# What does a score look like before anything is learned? Let the key equal the query. Then
# $\mathbf{q}^\top R\,\mathbf{q}$ is, on average, proportional to the sum of the cosines of all angles between the two
# places.

# %%
offsets = np.arange(-7, 8)
down, right = np.meshgrid(offsets, offsets, indexing="ij")
likeness = np.cos(angles(down.ravel(), right.ravel(), Dh, base)).mean(axis=1).reshape(15, 15)
figure, axis = plt.subplots(figsize=(4.6, 3.6))
shown = axis.imshow(likeness, extent=(-7.5, 7.5, 7.5, -7.5), cmap="viridis")
figure.colorbar(shown, label="mean cosine of the angles")
axis.set(xlabel="offset in columns", ylabel="offset in rows", xticks=range(-6, 7, 3), yticks=range(-6, 7, 3))
plt.show()

# %% [markdown]
# A patch that looks for patches like itself finds near ones first, and far ones in its own row and column. Projections
# can learn other patterns.
#
# ## QK-norm: bounded scores
#
# A score is $\mathbf{q}^\top\mathbf{k}/\sqrt{D_h}$. Nothing limits the lengths of $\mathbf{q}$ and $\mathbf{k}$, so
# scores can grow without limit during training. The authors of [ViT-22B](https://arxiv.org/abs/2302.05442) saw training
# diverge at around 8 billion parameters, with scores above 50,000 and weights that were nearly all 0 or 1. QK-norm
# normalises the query and the key of each head before the product, by RMSNorm or LayerNorm:
#
# $$S_{ij} = \frac{(\boldsymbol{\gamma}_q \circ \hat{\mathbf{q}}_i)^\top (\boldsymbol{\gamma}_k \circ \hat{\mathbf{k}}_j)}{\sqrt{D_h}}. \tag{QK-norm}$$
#
# **The bound.** The mean square of $\hat{\mathbf{q}}$ is at most 1, so its length is at most $\sqrt{D_h}$. The same
# holds for $\hat{\mathbf{k}}$. With the inequality of Cauchy and Schwarz
#
# $$|S_{ij}| \le \frac{\max|\boldsymbol{\gamma}_q \circ \boldsymbol{\gamma}_k|\; \lVert\hat{\mathbf{q}}_i\rVert\,\lVert\hat{\mathbf{k}}_j\rVert}{\sqrt{D_h}} \le \sqrt{D_h}\,\max|\boldsymbol{\gamma}_q \circ \boldsymbol{\gamma}_k|.$$
#
# The scores depend on $\boldsymbol{\gamma}$ and on directions, no longer on lengths. RoPE comes after the norm. It
# keeps lengths, so a bound remains: put $\max|\boldsymbol{\gamma}_q|\max|\boldsymbol{\gamma}_k|$ in the place of
# $\max|\boldsymbol{\gamma}_q \circ \boldsymbol{\gamma}_k|$.

# %%
H, N = 3, 9
q, k = rng.standard_normal((2, H, N, Dh))
gamma_q, gamma_k = rng.uniform(0.5, 1.5, (2, Dh))  # shared by all heads


# %% tags=["yours"]
def qk_norm_scores(q, k, gamma_q, gamma_k, eps=1e-6):
    """q, k: (H, N, Dh), gamma_q, gamma_k: (Dh,) -> S: (H, N, N)."""
    q_hat, k_hat = (x / np.sqrt(mean(x * x) + eps) for x in (q, k))
    return (q_hat * gamma_q) @ (k_hat * gamma_k).swapaxes(-1, -2) / np.sqrt(q.shape[-1])


bound = np.sqrt(Dh) * np.abs(gamma_q * gamma_k).max()

# %%
by_library = F.rms_norm(Tensor(q), Tensor(gamma_q)) @ F.rms_norm(Tensor(k), Tensor(gamma_k)).transpose(0, 2, 1)
agree("S", qk_norm_scores(q, k, gamma_q, gamma_k), by_library.data / np.sqrt(Dh))

dA = rng.standard_normal((H, N, N))
print(f"bound {bound:.2f}")
print("queries and keys times   largest score   largest weight   size of dS | with QK-norm: the same three")
for size in (1, 3, 10):
    told = []
    for S in (size**2 * q @ k.swapaxes(-1, -2) / np.sqrt(Dh), qk_norm_scores(size * q, size * k, gamma_q, gamma_k)):
        A, softmax_vjp = ops.softmax(S)
        told += [f"{np.abs(S).max():12.2f} {A.max():14.5f} {np.abs(softmax_vjp(dA)[0]).mean():14.5f}"]
    print(f"{size:4d}      {' | '.join(told)}")

# %% [markdown]
# `dS` is the gradient of the scores for a random gradient of the weights. Where scores are large, a weight is nearly 0
# or 1, and the gradient that comes back is nearly 0. The projections of queries and keys then learn no more. With
# QK-norm nothing changes.
#
# Two points are easily missed.
#
# - **The factor $1/\sqrt{D_h}$ stays.** For random directions $\hat{\mathbf{q}}^\top\hat{\mathbf{k}}$ has the standard
#   deviation $\sqrt{D_h}$. Divided by $\sqrt{D_h}$ it is 1, as before.
# - **Each head is normalised by itself.** A norm over all $D$ features bounds the length of the whole query by
#   $\sqrt{D}$. One head may have all of it. Then the bound is $D/\sqrt{D_h}$, which is $H$ times as large.

# %%
directions = [x / np.sqrt(mean(x * x)) for x in rng.standard_normal((2, 10_000, Dh))]
products = (directions[0] * directions[1]).sum(axis=1)
print(f"deviation of q.k: {products.std():.2f}, divided by sqrt(Dh): {products.std() / np.sqrt(Dh):.2f}")
q[1:] *= 0.01  # head 0 has nearly all of the length; each key equals its query
wide = q / np.sqrt((q * q).mean(axis=(0, 2), keepdims=True))
by_width = np.abs(wide @ wide.swapaxes(-1, -2)).max() / np.sqrt(Dh)
by_head = np.abs(qk_norm_scores(q, q, np.ones(Dh), np.ones(Dh))).max()
print(f"largest score, normalised by head {by_head:.2f}, over the whole width {by_width:.2f}")

# %% [markdown]
# ## LayerScale, registers, mean pooling, and all together
#
# - **LayerScale** multiplies a branch by a learned $s$ that starts small, $\mathbf{z} + s \circ f(\mathbf{z})$.
#   Notebook [10b](10b_depth_and_normalisation.ipynb) derives it.
# - **Registers** are learned tokens beside the patches. They pass through all blocks, and at the end nobody reads them.
#   In large models some patches serve as a store for the whole image; registers take over this work. They get a
#   gradient through attention alone.
# - **Mean pooling** reads the answer from $\frac{1}{N_p}\sum_i \mathbf{z}_i$ over the patches, without [class] and
#   registers. Each patch gets the gradient $\mathrm{d}\mathbf{y}/N_p$, all other tokens get 0.
#
# Now the whole block. The library's `Modern` has 4 registers, no [class] token, and no biases of queries, keys and
# values. Its matrix for the MLP is $[\mathbf{W}_G, \mathbf{W}_V]$ side by side.

# %%
size = {"image_size": 16, "patch_size": 4, "width": 24, "depth": 2, "heads": 2, "num_classes": 0}
swaps = {"norm": "rms", "mlp": "swiglu", "rope": "axial", "rope_base": 100.0, "qk_norm": True, "layer_scale": 0.1}
config = ModernConfig(**size, **swaps, register_tokens=4, qkv_bias="none")
model, tap = Modern(config, 0, "float64"), {}
for tensor in model.parameters():  # so that no scale is 1 and no bias 0
    tensor.data += 0.2 * rng.standard_normal(tensor.shape)
features = model(rng.standard_normal((1, 16, 16, 3)), tap=tap)
w = {name: tensor.data for name, tensor in model.blocks[1].named_parameters()}
z = tap["block0/output"].data[0]  # (4 + 16, 24)
phi = angles(*places(config.grid), 12, 100.0)


# %% tags=["yours"]
def modern_block(z, w, phi, H, registers):
    """z: (N, D), w: arrays of the block by name, phi: (N - registers, Dh / 2) -> (N, D)."""
    N, D = z.shape
    x = rms_norm(z, w["norm1.scale"])[0]
    qkv = (x @ w["attention.qkv.weight"]).reshape(N, 3, H, D // H)
    heads = []
    for i in range(H):
        q, k = (
            rms_norm(qkv[:, 0, i], w["attention.q_norm.scale"])[0],
            rms_norm(qkv[:, 1, i], w["attention.k_norm.scale"])[0],
        )
        q, k = (np.concatenate([part[:registers], rotate(part[registers:], phi)]) for part in (q, k))
        heads.append(ops.softmax(q @ k.T / np.sqrt(D // H))[0] @ qkv[:, 2, i])
    branch = np.concatenate(heads, axis=1) @ w["attention.out.weight"] + w["attention.out.bias"]
    z = z + w["scale1.gamma"] * branch
    hidden = rms_norm(z, w["norm2.scale"])[0] @ w["mlp.hidden.weight"] + w["mlp.hidden.bias"]
    a, b = np.split(hidden, 2, axis=1)
    return z + w["scale2.gamma"] * ((a / (1 + np.exp(-a)) * b) @ w["mlp.out.weight"] + w["mlp.out.bias"])


# %%
agree("block", modern_block(z, w, phi, 2, 4), tap["block1/output"].data[0])

encoded, dy = tap["encoded"], rng.standard_normal(features.shape)
dz, d_registers = grad(features, [encoded, model.register_tokens], dy)

# %% tags=["yours"]
pooled = encoded.data[0, 4:].mean(axis=0)
d_patch = dy[0] / 16  # gradient of each patch

# %%
agree("pooled", pooled, features.data[0])
agree("d_patch", np.tile(d_patch, (16, 1)), dz[0, 4:])
print(
    f"registers: largest gradient after the last block {np.abs(dz[0, :4]).max():.0e}, at the input {np.abs(d_registers).max():.0e}"
)

# %% [markdown]
# ## Experiment 1: one swap at a time
#
# Each model sees 12,800 photographs of CIFAR-10, each of them once, in the same order for all models of a seed. The
# start is a small ViT of 2020 with patches of 4 × 4 pixels. Each swap changes one part of it. Swaps that add or remove
# tokens pay with the width of the MLP. So all models need about the same number of multiply-adds in their matrix
# products.
#
# The learning rate is the best one for the ViT of 2020, and all use it. The control is the ViT of 2020 **drawn anew**,
# from other initial parameters. Its difference to the start is chance alone.

# %%
stored = record.read("modern_vit")
print(stored["command"])
print(f"data: {stored['data']}; learning rates tried: {stored['rates_tried']}")
work_of_2020 = modern_vit.multiply_adds(modern_vit.config("ViT of 2020"))
for swap in modern_vit.SWAPS:
    shape = modern_vit.config(swap)
    work = modern_vit.multiply_adds(shape)
    print(
        f"{swap:<13} {work:9,} multiply-adds ({work / work_of_2020 - 1:+.1%}), {shape.num_tokens} tokens, F = {shape.mlp_width}"
    )

# %% [markdown]
# **Predict first.** Which swap gains most? Which swaps differ from the start by no more than the control does?

# %%
runs = stored["results"]
seeds, alone, together = len(runs["all"]), 2.57, 4.66  # standard errors: 95 % by Student's t, for 6 seeds
shown = {"accuracy": ("accuracy in points", 100), "loss": ("test loss", 1)}


def verdict(difference, error):
    """decided: also if nine comparisons are made; suggested: if this were the only one."""
    size = abs(difference) / error
    return "decided" if size > together else "suggested" if size > alone else "open"


figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
print(f"{seeds} seeds. Differences to the ViT of 2020, seed by seed.")
print(f"decided: beyond {together} standard errors, suggested: beyond {alone}")
for axis, (kind, (label, unit)) in zip(axes, shown.items(), strict=True):
    values = {swap: unit * np.array([run[kind] for run in found]) for swap, found in runs.items()}
    print("{}: the ViT of 2020 has {:.3f} +- {:.3f}".format(label, *record.mean_and_error(values["ViT of 2020"])))
    for place, swap in enumerate(list(values)[1:]):
        mean_difference, error = record.mean_and_error(values[swap] - values["ViT of 2020"])
        said = verdict(mean_difference, error)
        colour = "grey" if swap == "drawn anew" else {"decided": "C2", "suggested": "C1", "open": "C0"}[said]
        axis.errorbar(mean_difference, -place, xerr=error, fmt="o", capsize=4, color=colour)
        print(f"  {swap:<13} {mean_difference:+.3f} +- {error:.3f}  {said}")
    axis.axvline(0, color="black", linewidth=0.8)
    better = "more" if kind == "accuracy" else "less"
    axis.set(xlabel=f"difference in {label}, {better} is better", yticks=-np.arange(9), yticklabels=list(values)[1:])
plt.show()

# %% [markdown]
# Bars are standard errors. A 95 % interval for one comparison is ± 2.57 of them, with 6 seeds. Nine comparisons give
# chance nine opportunities, so a difference is called decided only beyond 4.66 (a level of 5 % divided by nine).
# Between the two it is suggested. Colours: decided is green, suggested is orange, open is blue, the control is grey.
#
# **In the stored run** all swaps together lower the test loss by 0.047 ± 0.007, which is decided. Their accuracy is
# 1.415 ± 0.549 points higher, which is not. No single swap is decided. SwiGLU (+1.282 ± 0.446 points), RoPE (+1.375 ±
# 0.360) and LayerScale (+0.567 ± 0.209) are suggested to be better, mean pooling (-1.638 ± 0.399) to be worse, each of
# them in both measures. RMSNorm, QK-norm and registers are open, and so is the control.
#
# Open does not mean equal. RMSNorm begins with the same parameters as the start, so its error is small, and a
# difference of one point would have been decided. For RoPE, whose error is larger, it would not.
#
# Three cautions. The training is short, and the models classify only a third of the images correctly. All models use
# the rate of the ViT of 2020. Another rate may suit a swap better: in notebook [19](19_class_token_or_pooling.ipynb)
# pooling is behind at a common rate, and no difference is seen at the best rate of each. And registers were made for a
# fault of large models; a model as small as this one does not show what they are good for.
#
# ## Experiment 2: QK-norm and the learning rate
#
# A ViT for the digits has 6 blocks with heads of width 16. Adam makes 200 updates, at the usual rate 0.003 and at ten
# times this rate. At each rate it trains with and without QK-norm, from the same initial parameters for each seed. All
# norms are RMSNorm. Every 20 updates we look at the largest score in absolute value, over all blocks, heads and pairs
# of tokens, for 64 images. The usual rate is the control.
#
# First one run of each kind here, short, at the high rate.

# %%
for name in ("without", "QK-norm"):
    run = qk_norm.measure(name == "QK-norm", 3e-2, seed=0, steps=full_or_fast(60, 20))
    print(f"{name:<8} loss {run['loss']}, largest score {run['score']}")

# %% [markdown]
# The stored record has more updates and seeds.
#
# **Predict first.** By what factor do the scores grow without QK-norm, at each rate? At which rate does the loss
# differ? The bound $\sqrt{D_h}\max|\boldsymbol{\gamma}_q \circ \boldsymbol{\gamma}_k|$ begins at 4. Where does it end?

# %%
stored = record.read("qk_norm")
print(stored["command"])
every, steps = stored["config"]["every"], stored["config"]["steps"]
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
for (rate, by_name), marker in zip(stored["results"].items(), "os", strict=True):
    for name, colour in (("without", "C1"), ("QK-norm", "C0")):
        seeds, line = by_name[name], "-" if rate == "0.03" else ":"
        losses, scores = (np.array([run[kind] for run in seeds]) for kind in ("loss", "score"))
        for axis, values, places_of in (
            (axes[0], losses, np.arange(every, steps + 1, every) - every / 2),
            (axes[1], scores, np.arange(0, steps + 1, every)),
        ):
            points = np.transpose([record.mean_and_error(column) for column in values.T])
            style = {"fmt": marker + line, "color": colour, "capsize": 3, "markersize": 4}
            axis.errorbar(places_of, *points, **style, label=f"{name}, rate {rate}")
        told = [
            ("loss at the end", losses[:, -1]),
            ("largest score before", scores[:, 0]),
            ("at the end", scores[:, -1]),
        ]
        if name == "QK-norm":
            told.append(("bound at the end", np.array([run["bound"][-1] for run in seeds])))
        parts = ", ".join("{} {:.2f} +- {:.2f}".format(what, *record.mean_and_error(x)) for what, x in told)
        print(f"rate {rate}, {name:<8} {parts}")
    ends = {name: np.array([run["loss"][-1] for run in seeds]) for name, seeds in by_name.items()}
    difference, error = record.mean_and_error(ends["QK-norm"] - ends["without"])
    said = "decided" if abs(difference) > 2.36 * error else "not decided"
    print(f"rate {rate}, {len(seeds)} seeds: QK-norm changes the loss by {difference:+.2f} +- {error:.2f}, {said}")
usual, high = (
    np.array([run["loss"][-1] for run in stored["results"][rate][name]])
    for rate, name in (("0.003", "without"), ("0.03", "QK-norm"))
)
print("QK-norm at 0.03 less without at 0.003: {:+.2f} +- {:.2f}".format(*record.mean_and_error(high - usual)))
axes[0].set(xlabel="update", ylabel="training loss, mean of 20 updates", ylim=(0, 2.6))
axes[1].set(xlabel="updates", ylabel="largest score", yscale="log")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# Points are means over the seeds, bars are standard errors. A difference is decided if it is larger than 2.36 standard
# errors, the 95 % interval for 8 seeds.
#
# **In the stored run** at the usual rate the largest score goes from 4.27 to 7.99 without QK-norm, and the loss does
# not differ decidedly: +0.03 ± 0.03. At the high rate the largest score grows to 319.73 ± 43.48 without QK-norm, and
# the loss ends at 1.46 ± 0.10. With it the largest score ends at 7.20 ± 0.96, the bound at 9.87 ± 1.04 and the loss at
# 0.38 ± 0.04.
#
# So QK-norm lets this model learn at a rate at which it otherwise learns badly. At the usual rate the model has no
# problem that QK-norm could solve. The high rate with QK-norm is no decided gain over the usual rate without it.
#
# ## Where this goes wrong in practice
#
# - **Weights of another RoPE.** EVA-02 and RoPE-ViT turn neighbouring features, DINOv3 turns features $j$ and
#   $D_h/2 + j$. RoPE-ViT begins with the columns, EVA-02 with the rows. Shapes do not tell. Only a comparison of
#   outputs does.
# - **An MLP of 8/3 D counted with two matrices.** It has three.
# - **SwiGLU with the wrong half as the gate.** Packed weights hold gate and value side by side, in either order.
# - **The mean over all tokens.** Registers and [class] do not belong to it.
#
# ## Exercises
#
# `hint("25.1")` gives up to three hints for an exercise, one per call; import it from `minivit.lessons`.
#
# **25.1 (five minutes).** $D = 384$. An MLP with GELU has $F = 1536$. A SwiGLU has $F = 1024$. All their matrices have
# biases. How many parameters more does the SwiGLU have?

# %%
answer = None  # your answer here: a number

check("25.1", answer)

# %% [markdown]
# **25.2 (twenty minutes).** One head of attention with RoPE. Token 0 is [class] and has no place. Token $1 + i$ is the
# patch in row `row[i]` and column `column[i]`. Pairs are neighbouring features, and the first half of them turns with
# the row, as above.


# %%
def rope_attention(q, k, v, row, column, base):
    """q, k, v: (1 + Np, Dh), row, column: (Np,) -> softmax(scores / sqrt(Dh)) v: (1 + Np, Dh)"""
    ...  # your answer here


check("25.2", rope_attention)

# %% [markdown]
# **25.3 (half an hour).** The backward pass of QK-norm. `dS` is the gradient of the scores (QK-norm), with
# $\epsilon = 10^{-6}$. The scales are shared by all heads.


# %%
def qk_norm_backward(q, k, gamma_q, gamma_k, dS):
    """q, k: (H, N, Dh), gamma_q, gamma_k: (Dh,), dS: (H, N, N) -> dq, dk, dgamma_q, dgamma_k"""
    ...  # your answer here


check("25.3", qk_norm_backward)

# %% [markdown]
# **25.4 (ten minutes).** Scales are 1, $\epsilon$ is 0, heads have the width $D_h = 16$, and there are $N = 65$ tokens.
# What is the largest attention weight that QK-norm allows?

# %%
answer = None  # your answer here: a number

check("25.4", answer)

# %% [markdown]
# Next: [28, speed and memory](28_speed.ipynb).

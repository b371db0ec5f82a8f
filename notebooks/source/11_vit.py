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
# # 11 The whole Vision Transformer
#
# All parts are there. This notebook puts them together: **Eq. 1 to Eq. 4** of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1), from the pixels to the logits. At the end you will be able to
#
# - write the whole model from ops, in a few short functions that agree with `minivit.models.ViT` in the logits and in every gradient,
# - follow a gradient by hand from the loss through all blocks down to the patches,
# - count parameters and multiplications by formula, for every model of the paper's Table 1.
#
# It builds on patches ([03](03_patches.ipynb)), tokens and positions ([04](04_tokens_and_positions.ipynb)), LayerNorm
# ([05](05_layer_norm.ipynb)), the loss ([06](06_softmax_and_loss.ipynb)), attention ([07](07_attention.ipynb), [08](08_multi_head.ipynb)), the MLP
# ([09](09_mlp_and_gelu.ipynb)) and the residual stream ([10](10_residual_stream.ipynb)).
#
# **Budget:** 4 s of CPU time (fast mode 4 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_gradients, check_vjp
from minivit.lessons import agree, check, show_source
from minivit.models import ViT, ViTConfig
from minivit.nn import EncoderBlock
from minivit.tensor import Tensor, grad, tape

rng = np.random.default_rng(11)

# %% [markdown]
# ## The equations
#
# An image is cut into $N$ patches. Each is a row $\mathbf{x}_p^i$ of $P^2 C$ pixel values. A learned matrix projects it to the width $D$; a
# learned token is put in front, and a learned vector is added to each token, which tells the places apart:
#
# $$\mathbf{z}_0 = [\mathbf{x}_\mathrm{class};\, \mathbf{x}_p^1\mathbf{E};\, \mathbf{x}_p^2\mathbf{E};\, \cdots;\,
# \mathbf{x}_p^N\mathbf{E}] + \mathbf{E}_{pos} \tag{Eq. 1}$$
#
# Then come $L$ blocks. Each adds two things to the stream of tokens, what attention finds and what an MLP makes of each token:
#
# $$\mathbf{z}'_\ell = \mathrm{MSA}(\mathrm{LN}(\mathbf{z}_{\ell-1})) + \mathbf{z}_{\ell-1} \tag{Eq. 2}$$
#
# $$\mathbf{z}_\ell = \mathrm{MLP}(\mathrm{LN}(\mathbf{z}'_\ell)) + \mathbf{z}'_\ell, \qquad \ell = 1 \ldots L \tag{Eq. 3}$$
#
# At the end the first token is read, after one more LayerNorm:
#
# $$\mathbf{y} = \mathrm{LN}(\mathbf{z}_L^0) \tag{Eq. 4}$$
#
# A linear layer, the *head*, makes the logits $\mathbf{y}\mathbf{W}_\mathrm{head} + \mathbf{b}_\mathrm{head}$. (Such is the paper's head in
# fine-tuning. In pre-training it has a hidden layer as well, section 3.1; the library calls it `pre_logits`.)
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $P$, $C$ | side of a patch in pixels, channels | numbers | `P`, `C` |
# | $N$, $T = N + 1$ | patches, tokens | numbers | `N`, `T` |
# | $D$, $L$, $H$ | width, blocks, heads | numbers | `D`, `L`, `H` |
# | $F$ | width inside the MLP, $4D$ in the paper's models | number | `mlp_width` |
# | $K$ | classes | number | `K` |
# | $\mathbf{x}_p$ | patches | $(B, N, P^2C)$ | `x_p` |
# | $\mathbf{E}$ | patch projection; the code adds a bias $\mathbf{b}_E$ $(D)$ | $(P^2C, D)$ | `patch_embed.projection` |
# | $\mathbf{x}_\mathrm{class}$ | the [class] token | $(1, 1, D)$ | `class_token` |
# | $\mathbf{E}_{pos}$ | position embedding | $(1, T, D)$ | `position_embedding` |
# | $\mathbf{z}_\ell$, $\mathbf{z}'_\ell$ | the tokens after block $\ell$, and in its middle; an upper index is the token, 0 for [class] | $(B, T, D)$ | `stream` |
# | $\mathbf{y}$ | the image representation | $(B, D)$ | `y` |
#
# (In the library's docstrings $N$ counts all tokens, the [class] token included. In the code, `F` is the module of functions, and in notebooks 07
# and 08 `K` was the width of a head.)
#
# ## A small model
#
# The numbers of images, tokens, heads and classes and the widths all differ, and the image is not square, so that few mix-ups of axes can go
# unseen. We take the library's names and shapes of the parameters, and random values for all of them. The published initial values would
# not do: there the head is zero, so no gradient passes it (exercise 11.3).

# %%
config = ViTConfig(image_size=(8, 12), patch_size=4, width=22, depth=3, heads=2, mlp_width=14, num_classes=9)
model = ViT(config, seed=0, dtype="float64")
for tensor in model.parameters():
    tensor.data += 0.3 * rng.standard_normal(tensor.shape)

B, P, C, D, L, H, K = 5, 4, 3, config.width, config.depth, config.heads, config.num_classes
N = (8 // P) * (12 // P)
T = N + 1
images = rng.standard_normal((B, 8, 12, C))
labels = np.array([3, 5, 0, 8, 3])

for name, tensor in model.named_parameters():
    if "blocks" not in name or "blocks.0" in name:  # the other blocks are like the first
        print(f"{name:<32} {tensor.shape}")

# %% [markdown]
# ## Forward, as loops
#
# First without any engine: one image, one token, one head at a time. `w` holds the arrays by name.


# %%
def layer_norm_token(x, scale, bias):
    """One token (D,): mean 0, variance 1, then scale and shift."""
    return (x - x.mean()) / math.sqrt(x.var() + 1e-6) * scale + bias


def attention_loops(u, w, block):
    """MSA of the normalised tokens u (T, D): one head, one query at a time -> (T, D)."""
    T, D = u.shape
    width = D // H  # of a head
    qkv = u @ w[f"{block}.attention.qkv.weight"] + w[f"{block}.attention.qkv.bias"]
    result = np.zeros((T, D))
    for h in range(H):
        q, k, v = (qkv[:, part * D + h * width :][:, :width] for part in range(3))
        for t in range(T):
            scores = np.array([q[t] @ k[s] for s in range(T)]) / math.sqrt(width)
            e = np.exp(scores - scores.max())
            result[t, h * width : (h + 1) * width] = sum(e[s] / e.sum() * v[s] for s in range(T))
    return result @ w[f"{block}.attention.out.weight"] + w[f"{block}.attention.out.bias"]


def mlp_token(u, w, block):
    """MLP of one normalised token u (D,) -> (D,)."""
    hidden = u @ w[f"{block}.mlp.hidden.weight"] + w[f"{block}.mlp.hidden.bias"]
    gelu = hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3))) / 2
    return gelu @ w[f"{block}.mlp.out.weight"] + w[f"{block}.mlp.out.bias"]


# %% [markdown]
# Eq. 1 to 4 for one image. The patches are taken row by row; the pixels of a patch in the order row, column, channel.


# %%
def vit_loops(image, w):
    """One image (height, width, C) -> logits (K,)."""
    z = [w["class_token"][0, 0]]  # Eq. 1
    for row in range(0, image.shape[0], P):
        for column in range(0, image.shape[1], P):
            x = image[row : row + P, column : column + P].reshape(-1)
            z.append(x @ w["patch_embed.projection.weight"] + w["patch_embed.projection.bias"])
    z = np.array(z) + w["position_embedding"][0]
    for block in (f"blocks.{i}" for i in range(L)):
        u = np.array([layer_norm_token(t, w[f"{block}.norm1.scale"], w[f"{block}.norm1.bias"]) for t in z])
        z = attention_loops(u, w, block) + z  # Eq. 2
        u = [layer_norm_token(t, w[f"{block}.norm2.scale"], w[f"{block}.norm2.bias"]) for t in z]
        z = np.array([mlp_token(t, w, block) for t in u]) + z  # Eq. 3
    y = layer_norm_token(z[0], w["norm.scale"], w["norm.bias"])  # Eq. 4
    return y @ w["head.weight"] + w["head.bias"]


w = model.state_dict()
logits_loops = np.array([vit_loops(image, w) for image in images])
print(logits_loops.round(3))

# %% [markdown]
# ## Forward, for whole batches
#
# Now for the whole batch at once, with the ops of the engine, so that it can be differentiated. `p` holds Tensors by the same names. Heads and
# patches are axes that `reshape` makes and `transpose` moves (notebooks [03](03_patches.ipynb) and [08](08_multi_head.ipynb)).


# %%
def linear(x, p, name):
    """x W + b, for the layer called `name`."""
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def norm(x, p, name):
    return F.layer_norm(x, p[f"{name}.scale"], p[f"{name}.bias"], eps=1e-6)


def patches(images, P):
    """(B, height, width, C) -> (B, N, P P C)."""
    B, height, width, C = images.shape
    tiles = images.reshape(B, height // P, P, width // P, P, C)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, P * P * C)


def embed(images, p, P):
    """Eq. 1.   (B, height, width, C) -> (B, T, D)."""
    x = linear(patches(images, P), p, "patch_embed.projection")
    first = F.broadcast_to(p["class_token"], (x.shape[0], 1, x.shape[2]))
    return F.concat(first, x, axis=1) + p["position_embedding"]


# %%
def msa(x, p, name, H):
    """Eq. 5 to 8.   (B, T, D) -> (B, T, D)."""
    B, T, D = x.shape
    qkv = linear(x, p, f"{name}.qkv").reshape(B, T, 3, H, D // H).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]  # (B, H, T, D / H) each
    A = F.softmax(q @ k.transpose(0, 1, 3, 2) * (D // H) ** -0.5)
    heads = (A @ v).transpose(0, 2, 1, 3).reshape(B, T, D)
    return linear(heads, p, f"{name}.out")


def mlp(x, p, name):
    """(B, T, D) -> (B, T, F) -> (B, T, D)."""
    return linear(F.gelu(linear(x, p, f"{name}.hidden")), p, f"{name}.out")


def my_vit(images, p, P, H, L):
    """Eq. 1 to 4.   (B, height, width, C) -> logits (B, K), and the stream [z_0, z'_1, z_1, ..., z_L]."""
    stream = [embed(images, p, P)]
    for i in range(L):
        block, z = f"blocks.{i}", stream[-1]
        z_middle = msa(norm(z, p, f"{block}.norm1"), p, f"{block}.attention", H) + z  # Eq. 2
        z_next = mlp(norm(z_middle, p, f"{block}.norm2"), p, f"{block}.mlp") + z_middle  # Eq. 3
        stream += [z_middle, z_next]
    y = norm(stream[-1], p, "norm")[:, 0]  # Eq. 4
    return linear(y, p, "head"), stream


# %% [markdown]
# In Eq. 4 we normalise all tokens and then take the first. LayerNorm looks at one token at a time, so the order does not matter.

# %%
p = {name: Tensor(array, requires_grad=True) for name, array in w.items()}
logits, stream = my_vit(Tensor(images), p, P, H, L)
loss = F.cross_entropy(logits, labels)

agree("logits", logits, logits_loops)

# %% [markdown]
# ## Backward, step by step
#
# We go from the loss to the pixels by hand. The parts have their pullbacks from earlier notebooks: an op of `minivit.ops` takes arrays and
# returns its value and its pullback `vjp`. What is new is how the parts hang together. $\mathrm{d}X$ is the gradient of the loss with respect to
# $X$. For comparison, the engine gives the gradient at every place of the stream and for every parameter.

# %%
gradients = grad(loss, stream + list(p.values()))
engine_stream = gradients[: len(stream)]
engine = dict(zip(p, gradients[len(stream) :], strict=True))

# %% [markdown]
# **Step 1: the loss.** Mean cross-entropy over $B$ images hands back the softmax minus the right answer (notebook 06):
#
# $$\mathrm{d}\,\mathrm{logits} = \tfrac{1}{B}\left(\mathrm{softmax}(\mathrm{logits}) - \mathrm{onehot}\right).$$

# %%
probabilities, _ = ops.softmax(logits.data)
dlogits = (probabilities - np.eye(K)[labels]) / B

agree("head.bias", dlogits.sum(axis=0), engine["head.bias"])

# %% [markdown]
# **Step 2: the head**, a linear layer (notebook 02): $\mathrm{d}\mathbf{W} = \mathbf{y}^\top \mathrm{d}\,\mathrm{logits}$, and
# $\mathrm{d}\mathbf{y} = \mathrm{d}\,\mathrm{logits}\,\mathbf{W}^\top$.

# %%
z_L = stream[-1].data
y, norm_vjp = ops.layer_norm(z_L[:, 0], w["norm.scale"], w["norm.bias"])

dy = dlogits @ w["head.weight"].T
agree("head.weight", y.T @ dlogits, engine["head.weight"])

# %% [markdown]
# **Step 3: Eq. 4.** Only token 0 was read. So $\mathrm{d}\mathbf{z}_L$ is zero at every other token, and the LayerNorm's pullback of
# $\mathrm{d}\mathbf{y}$ at token 0.

# %%
dz = np.zeros((B, T, D))
dz[:, 0], dscale, _ = norm_vjp(dy)

agree("norm.scale", dscale, engine["norm.scale"])
agree("dz_L", dz, engine_stream[-1])

# %% [markdown]
# **Step 4: a residual branch.** Eq. 2 and Eq. 3 both read $\mathbf{z}_\mathrm{out} = f(\mathbf{z}) + \mathbf{z}$. The gradient of a sum goes to
# both terms unchanged, and what goes to $f(\mathbf{z})$ is pulled back through $f$:
#
# $$\mathrm{d}\mathbf{z} = \mathrm{d}\mathbf{z}_\mathrm{out} + f^*(\mathrm{d}\mathbf{z}_\mathrm{out}),$$
#
# where $f^*$ is the pullback of $f$. For Eq. 3, $f$ is a chain of three ops; its pullback calls theirs in reverse order.


# %%
def mlp_branch(z, w, block):
    """f = MLP(LN(z)), Eq. 3 without the sum, and its pullback with respect to z."""
    u, norm_vjp = ops.layer_norm(z, w[f"{block}.norm2.scale"], w[f"{block}.norm2.bias"])
    h, hidden_vjp = ops.linear(u, w[f"{block}.mlp.hidden.weight"], w[f"{block}.mlp.hidden.bias"])
    a, gelu_vjp = ops.gelu(h)
    f, out_vjp = ops.linear(a, w[f"{block}.mlp.out.weight"], w[f"{block}.mlp.out.bias"])

    def vjp(df):
        (da, _, _) = out_vjp(df)  # the second and third are the gradients of weight and bias
        (dh,) = gelu_vjp(da)
        (du, _, _) = hidden_vjp(dh)
        return norm_vjp(du)[0]

    return f, vjp


f, mlp_vjp = mlp_branch(stream[-2].data, w, f"blocks.{L - 1}")
agree("z_L", stream[-2].data + f, stream[-1])
agree("dz'_L", dz + mlp_vjp(dz), engine_stream[-2])

# %% [markdown]
# After this branch the other tokens still have no gradient: the MLP looks at one token at a time, and only token 0 was read. Attention
# changes that.
#
# **Step 5: the other branch**, Eq. 2, in the same way.


# %%
def attention_branch(z, w, block):
    """f = MSA(LN(z)), Eq. 2 without the sum, and its pullback with respect to z."""
    u, norm_vjp = ops.layer_norm(z, w[f"{block}.norm1.scale"], w[f"{block}.norm1.bias"])
    qkv, qkv_vjp = ops.linear(u, w[f"{block}.attention.qkv.weight"], w[f"{block}.attention.qkv.bias"])
    a, attention_vjp = ops.attention(qkv, H)
    f, out_vjp = ops.linear(a, w[f"{block}.attention.out.weight"], w[f"{block}.attention.out.bias"])

    def vjp(df):
        (da, _, _) = out_vjp(df)
        (dqkv,) = attention_vjp(da)
        (du, _, _) = qkv_vjp(dqkv)
        return norm_vjp(du)[0]

    return f, vjp


# %% [markdown]
# **Step 6: all blocks**, last to first. The loop runs over the stream backwards, one branch at a time.

# %%
for i in reversed(range(L)):
    for branch, place in ((mlp_branch, 2 * i + 1), (attention_branch, 2 * i)):
        _, branch_vjp = branch(stream[place].data, w, f"blocks.{i}")
        dz = dz + branch_vjp(dz)
        agree(f"dz_{i}" if place % 2 == 0 else f"dz'_{i + 1}", dz, engine_stream[place])
        print("    tokens with a gradient:", int((np.abs(dz).max(axis=(0, 2)) > 0).sum()), "of", T)

# %% [markdown]
# The gradient that entered at one token has spread over all of them in the first attention branch it met.
#
# **Step 7: Eq. 1.** $\mathbf{x}_\mathrm{class}$ and $\mathbf{E}_{pos}$ are the same for all images of the batch, so their gradients are sums over
# the batch. $\mathbf{E}$ is the same for all patches too:
#
# $$\mathrm{d}\mathbf{E}_{pos} = \sum_b \mathrm{d}\mathbf{z}_0^{(b)}, \qquad
# \mathrm{d}\mathbf{x}_\mathrm{class} = \sum_b \mathrm{d}\mathbf{z}_0^{(b), 0}, \qquad
# \mathrm{d}\mathbf{E} = \sum_b \sum_{i=1}^N \bigl(\mathbf{x}_p^{(b), i}\bigr)^\top \mathrm{d}\mathbf{z}_0^{(b), i}.$$
#
# Here $b$ counts images, the last upper index counts tokens, from the [class] token's 0 on. The last sum is one matrix product, with images and patches
# in one axis of rows.

# %%
x_p = patches(images, P)
dE_pos = dz.sum(axis=0, keepdims=True)
dclass = dE_pos[:, :1]
dE = x_p.reshape(B * N, -1).T @ dz[:, 1:].reshape(B * N, D)

agree("E_pos", dE_pos, engine["position_embedding"])
agree("x_class", dclass, engine["class_token"])
agree("E", dE, engine["patch_embed.projection.weight"])

# %% [markdown]
# ## Check it numerically
#
# Eq. 1 as an op of our own, with a random cotangent, against central differences:


# %%
def my_embedding(x_p, E, x_class, E_pos):
    """Eq. 1 and its pullback.   x_p: (B, N, P P C), E: (P P C, D), x_class: (1, 1, D), E_pos: (1, T, D)."""
    B, N, pixels = x_p.shape
    first = np.broadcast_to(x_class, (B, 1, E.shape[1]))
    z = np.concatenate([first, x_p @ E], axis=1) + E_pos

    def vjp(dz):
        dE_pos = dz.sum(axis=0, keepdims=True)
        dpatches = dz[:, 1:]
        dE = x_p.reshape(B * N, pixels).T @ dpatches.reshape(B * N, -1)
        return dpatches @ E.T, dE, dE_pos[:, :1], dE_pos

    return z, vjp


E = w["patch_embed.projection.weight"]
error = check_vjp(my_embedding, x_p, E, w["class_token"], w["position_embedding"])
print(f"largest relative error of the gradients of Eq. 1: {error:.1e}")

# %% [markdown]
# And the whole model: the random cotangent sits at the logits, and every parameter array is moved in three random directions. (All entries of
# an array move at once, so an error in one of them shows. The gradient of the images is exercise 11.4.)

# %%
names = list(p)
error = check_gradients(
    lambda *values: my_vit(Tensor(images), dict(zip(names, values, strict=True)), P, H, L)[0], *w.values()
)
print(f"{len(names)} parameter arrays, largest relative error of their gradients: {error:.1e}")

# %% [markdown]
# ## The library
#
# This is Eq. 1 in the library, a method of the model. For our `config`, `stem` is `None`, `patch_positions` returns `None`, and the only prefix is
# the [class] token; what remains are the lines of `embed` above.

# %%
show_source(ViT.embed)

# %% [markdown]
# Eq. 2 and 3, with two options of later papers (`scale1`, `scale2`), `dropout` and `drop_path` (notebook 14; here they do nothing), and a short
# cut: when only the [class] token is read, the last block computes no other row (`queries`).

# %%
show_source(EncoderBlock.forward)

# %% [markdown]
# The loop over the blocks and the LayerNorm of Eq. 4. Two lines are ours, `x = block(...)` and `self.norm(x)`; the others serve options that we do
# not use.

# %%
show_source(ViT.encode)

# %% [markdown]
# What follows Eq. 4: the [class] token is read, `encoded[:, 0]`, and `self.head(features)` makes logits of it. The other branches are again options.

# %%
show_source(ViT.classify)

# %% [markdown]
# The model is these three, one after another.

# %%
show_source(ViT.forward)

# %% [markdown]
# Do they agree? In the logits, and in the gradient of every parameter array:

# %%
library_logits = model(images)
library = grad(F.cross_entropy(library_logits, labels), model.parameters())

agree("logits", logits, library_logits)
for (name, _), gradient in zip(model.named_parameters(), library, strict=True):
    agree(name, engine[name], gradient)

# %% [markdown]
# The bias of `qkv` deserves a look: a third of it belongs to the keys, and its gradient is zero up to rounding. The same number added to all scores of a query
# changes no weight, and a bias of the keys does just that.

# %%
dbias = engine["blocks.0.attention.qkv.bias"].reshape(3, D)
print("largest gradient of the bias of q, k, v:", " ".join(f"{size:.1e}" for size in np.abs(dbias).max(axis=1)))

# %% [markdown]
# ## Counting parameters
#
# The shapes above are all we need. Part by part, biases included:
#
# | part | parameters |
# |---|---|
# | patch projection | $P^2CD + D$ |
# | [class] token and positions | $D + (N + 1)D$ |
# | a block's MSA | $3D^2 + 3D$ for queries, keys, values, and $D^2 + D$ for the projection after them |
# | a block's MLP | $DF + F + FD + D$ |
# | a block's two LayerNorms | $4D$ |
# | last LayerNorm | $2D$ |
# | head | $DK + K$ |
#
# The number of heads does not appear: heads share out the width.


# %%
def parameters(c):
    """Parameters of a ViT by part.   c: a ViTConfig with a [class] token and square patches -> {part: number}."""
    D, mlp_width, K, pixels = c.width, c.mlp_width, c.num_classes, c.patch_size[0] ** 2 * c.channels
    return {
        "patches": pixels * D + D,
        "positions": D + c.num_tokens * D,
        "attention": c.depth * (4 * D * D + 4 * D),
        "MLP": c.depth * (2 * D * mlp_width + mlp_width + D),
        "norms": c.depth * 4 * D + 2 * D,
        "head": D * K + K if K else 0,
    }


agree("our model", sum(parameters(config).values()), model.num_parameters())

# %% [markdown]
# The same for the models of the paper, and two smaller ones, introduced as DeiT-Ti and DeiT-S
# ([Touvron et al. 2020](https://arxiv.org/abs/2012.12877)). `ViT(config, seed=None)` draws no random numbers: its matrices are zeros, which the
# operating system hands out only when somebody writes to them. So even the largest is built at once, and can say how many parameters it has.

# %%
variants = {name: ViTConfig.variant(name) for name in ("Ti/16", "S/16", "B/16", "L/16", "H/14")}
print("name      width  depth  heads  parameters")
for name, c in variants.items():
    total = sum(parameters(c).values())
    assert total == ViT(c, seed=None).num_parameters()
    print(f"ViT-{name:<5} {c.width:5d} {c.depth:6d} {c.heads:6d}  {total:11,d}")

# %% [markdown]
# Table 1 of the paper says 86 million for ViT-Base, 307 million for ViT-Large, 632 million for ViT-Huge. It does not say for which patch size, nor
# whether the head is counted. We try: three patch sizes, without a head and with one for the 1,000 classes of ImageNet, images of 224 × 224 pixels. A star
# marks what rounds to the paper's number.

# %%
print("in millions     " + "".join(f"{f'patch {P}, {K} classes':>24}" for K in (0, 1000) for P in (14, 16, 32)))
for letter, paper in {"B": 86, "L": 307, "H": 632}.items():
    line = f"ViT-{letter} (Table 1: {paper})".ljust(22)
    for classes in (0, 1000):
        for patch in (14, 16, 32):
            c = ViTConfig.variant(f"{letter}/{patch}", num_classes=classes)
            millions = ViT(c, seed=None).num_parameters() / 1e6
            line += f"{millions:18.2f}{'*' if round(millions) == paper else ' '}     "
    print(line.rstrip())

# %% [markdown]
# Each number of Table 1 has its star, so the shapes of the table are those of our models. No column has three: none of these six ways of counting
# gives all three numbers. (The paper has ViT-B and ViT-L with patches of 16 and 32, ViT-H with patches of 14, so no single patch size would do.)
#
# ## Counting multiplications
#
# A product of matrices $(n, k)(k, m)$ takes $nkm$ multiply-adds. (One multiply-add counts as two FLOPs.) All else, LayerNorm, softmax, GELU, sums, is
# left out: it takes a few operations per element. (The softmax has $HT^2$ elements per block, quadratic in $T$ as well, but without the
# factor $D/H$ of the scores.) Per image, forward:
#
# | part | multiply-adds |
# |---|---|
# | patch projection | $N \cdot P^2C \cdot D$ |
# | projections of MSA, per block | $4TD^2$ |
# | $\mathbf{q}\mathbf{k}^\top$ and $A\mathbf{v}$, all heads, per block | $2T^2D$ |
# | MLP, per block | $2TDF$ |
# | head, one token | $DK$ |


# %%
def multiply_adds(c):
    """Multiply-adds of the matrix products of one forward pass of one image, by part -> {part: number}."""
    D, K, T, pixels = c.width, c.num_classes, c.num_tokens, c.patch_size[0] ** 2 * c.channels
    return {
        "patches": (T - 1) * pixels * D,
        "projections": c.depth * 4 * T * D * D,
        "scores": c.depth * 2 * T * T * D,
        "MLP": c.depth * 2 * T * D * c.mlp_width,
        "head": D * K,
    }


# %% [markdown]
# The *tape*, the engine's record of the operations, knows what was really done. It is a list of nodes, one per operation, with the shapes of its
# inputs and its output; `linear` and `matmul` sum over the last axis of their first input.

# %%
logits, _ = my_vit(Tensor(images), p, P, H, L)
products = [node for node in tape(logits) if node.op in ("linear", "matmul")]
counted = sum(math.prod(node.output_shape) * node.input_shapes[0][-1] for node in products)

agree("multiply-adds", B * sum(multiply_adds(config).values()), counted)
print(f"{len(products)} products: {L} blocks with 6 each, the patches and the head")

# %%
print("                 GMACs   " + "".join(f"{part:>13}" for part in multiply_adds(config)))
for name, c in variants.items():
    parts = multiply_adds(c)
    total = sum(parts.values())
    print(f"ViT-{name:<8} {total / 1e9:9.2f}   " + "".join(f"{count / total:13.1%}" for count in parts.values()))

# %% [markdown]
# (1 GMAC is $10^9$ multiply-adds; images of 224 × 224 pixels, 1,000 classes. The backward pass takes about twice as many: each product has two
# gradients, and each of them is a product of the same size.) At this image size attention's quadratic part is small. It grows with the *square* of the
# number of tokens, the rest of a block in proportion to that number. So we draw the parts of one block against the number of tokens, for ViT-B.

# %%
c = variants["B/16"]
tokens = np.geomspace(16, 16384, 60)
D, mlp_width = c.width, c.mlp_width
curves = {"MLP": 2 * tokens * D * mlp_width, "projections": 4 * tokens * D**2, "scores and $A v$": 2 * tokens**2 * D}

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
for (label, count), style in zip(curves.items(), ("-", "--", "-."), strict=True):
    left.loglog(tokens, count / 1e9, style, label=label)
for side, mark in ((224, "o"), (384, "s"), (1024, "^")):
    T_side = (side // 16) ** 2 + 1
    left.plot(T_side, 2 * T_side**2 * D / 1e9, mark, color="black", label=f"{side} x {side} pixels")
left.set(xlabel="tokens $T$", ylabel="GMACs of one block", title="one block of ViT-B/16")
left.legend(fontsize=9)

bottom = np.zeros(len(variants))
for part, hatch in zip(parameters(c), ("", "//", "", "..", "xx", "\\\\"), strict=True):
    share = np.array([parameters(v)[part] / sum(parameters(v).values()) for v in variants.values()])
    right.bar(list(variants), share, bottom=bottom, label=part, hatch=hatch)
    bottom += share
right.set(ylabel="share of the parameters", title="where the parameters are")
right.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

crossing = mlp_width + 1  # 2 T T D is more than 2 T D F if T is more than F
print(f"From {crossing} tokens on, scores and A v of a block of ViT-B cost more than its MLP.")
side = 16 * math.ceil(math.sqrt(crossing - 1))  # one token is [class]
print(f"Patches of 16 x 16 pixels are that many in square images of {side} pixels a side or more.")

# %% [markdown]
# Left: slopes 1 and 2 on the logarithmic axes; at 224 and at 384 pixels the quadratic part is below the others. Right: in the larger models the
# blocks hold nearly everything, and of a block the MLP about two thirds.
#
# ## Where this goes wrong in practice
#
# - **The last LayerNorm forgotten** (Eq. 4). The model trains, but weights from elsewhere give poor results, and the size of the stream, which
#   grows with depth, reaches the head (notebook [10](10_residual_stream.ipynb)).
# - **Positions added before the [class] token is prepended.** The table has then $N$ rows, not $N + 1$. Both conventions are in use; a file of weights
#   tells them apart by its shape only.
# - **Another order of the pixels in a patch**, (channel, row, column). From random initial values training cannot tell; with published weights the
#   result is noise.
# - **The form of GELU and the epsilon of LayerNorm.** The published code uses tanh and 1e-6. Another choice moves the logits a little, too little to
#   see in an accuracy and enough to fail a comparison.
# - **A gradient check at the published initial values** checks almost nothing: all gradients before a head of zeros are zero.
# - **FLOPs or multiply-adds?** Papers call either of them FLOPs. They differ by a factor of 2.
#
# ## Exercises
#
# **11.1 (two lines).** How many parameters has one block, as a function of $D$ and $F$? All biases and both LayerNorms count.


# %%
def parameters_of_block(D, F):
    """D, F: whole numbers -> a whole number"""
    ...  # your answer here


check("11.1", parameters_of_block)

# %% [markdown]
# **11.2 (ten minutes).** For $F = 4D$, derive the ratio of the multiply-adds of a block's attention (its four projections, $\mathbf{q}\mathbf{k}^\top$
# and $A\mathbf{v}$) to those of its MLP. Simplify until $T$ and $D$ appear once each. At how many tokens is it 1?


# %%
def attention_to_mlp(T, D):
    """T tokens, width D -> the ratio, a number"""
    ...  # your answer here


check("11.2", attention_to_mlp)

# %% [markdown]
# **11.3 (ten minutes).** The published code begins with a head of zeros. Which parameters have a gradient other than zero in the first step?
# Choose `"all"`, `"last block and head"`, `"head"` or `"none"`. Derive it from steps 1 to 3 before you try it with `ViT(config, seed=0)`.

# %%
answer = None  # your answer here

check("11.3", answer)

# %% [markdown]
# **11.4 (twenty minutes).** Step 8: the gradient with respect to the pixels. It says which pixels the loss depends on, and is the start of most
# adversarial examples (images changed a little to deceive a model). Given $\mathrm{d}\mathbf{z}_0$ of shape $(B, N + 1, D)$ and $\mathbf{E}$ of shape $(P^2C, D)$, compute the gradient of the images in NumPy,
# $(B, \mathrm{height}, \mathrm{width}, C)$.


# %%
def image_gradient(dz0, E, height, width, P):
    """dz0: (B, N + 1, D), E: (P P C, D); height, width: of the image in pixels -> (B, height, width, C)."""
    ...  # your answer here


check("11.4", image_gradient)

# %% [markdown]
# **11.5 (an hour).** The whole model in NumPy alone, in the form that has no [class] token: the mean over all tokens is read, after the last LayerNorm
# (appendix D.3; `classifier="gap"` in the library). `w` is what `state_dict()` of such a model returns: the names are those printed at
# the top, without `class_token`. Find the number of blocks from the names. Write everything yourself, LayerNorm, softmax and GELU (tanh) included.


# %%
def vit_with_mean(images, w, P, H):
    """images: (B, height, width, C), w: arrays by name, P: side of a patch, H: heads -> logits (B, K)."""
    ...  # your answer here


check("11.5", vit_with_mean)

# %% [markdown]
# Next: [12, optimisers](12_optimisers.ipynb).

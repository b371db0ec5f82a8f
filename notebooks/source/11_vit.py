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
# You have built all the parts. This notebook puts them together: **Eq. 1 to Eq. 4** of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1), from the pixels to the logits. At the end you will be able to
#
# - write the whole model in a few short functions that agree with `minivit.models.ViT` in the logits and in every gradient,
# - follow the gradient by hand from the loss through all blocks to the parameters of Eq. 1,
# - count parameters and multiply-adds by formula, for ViT-B/16, ViT-L/16 and ViT-H/14 of the paper.
#
# You need patches ([03](03_patches.ipynb)), tokens and positions ([04](04_tokens_and_positions.ipynb)), LayerNorm
# ([05](05_layer_norm.ipynb)), the loss ([06](06_softmax_and_loss.ipynb)), attention ([07](07_attention.ipynb), [08](08_multi_head.ipynb)), the MLP
# ([09](09_mlp_and_gelu.ipynb)) and the residual stream ([10](10_residual_stream.ipynb)).
#
# **Budget:** 6 s of CPU time (fast mode 6 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_gradients, check_vjp
from minivit.lessons import agree, check, digits, running_digit
from minivit.lessons.pictures import whole_model as pictures
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad, no_grad, tape

rng = np.random.default_rng(11)

# %% [markdown]
# ## The idea in a picture
#
# A small trained ViT reads a digit. The image is cut into patches. In the second array each row holds the pixels of one patch. Every
# patch becomes a token, and the [class] token is put in front. The blocks change the tokens. At the end only the [class] token is read. Its
# row in $\mathbf{z}_0$ is nearly white, because its values there are small. Each array of tokens has its own colour scale. The dict `tap`
# collects arrays on the way.

# %%
digit_model, digit, digit_label = running_digit()
digit_pixels = normalize(digit[None])  # (1, 8, 8, 1), from -1 to 1
seen = {}
with no_grad():
    digit_logits = digit_model(digit_pixels, tap=seen).data[0]

digit_patches = digit[..., 0].reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
digit_probabilities, _ = ops.softmax(digit_logits)
before, after = seen["embedded"].data[0], seen["block2/output"].data[0]
_ = pictures.overview(digit[..., 0], digit_patches, before, after, digit_probabilities)

# %% [markdown]
# ## The equations
#
# Each of the $N_p$ patches is a row $\mathbf{x}_p^i$ of $P^2 C$ pixel values. The learned matrix $\mathbf{E}$ projects it to the width $D$. The
# learned [class] token comes first. Each place has a learned vector, which is added to the token there:
#
# $$\mathbf{z}_0 = [\mathbf{x}_\mathrm{class};\, \mathbf{x}_p^1\mathbf{E};\, \mathbf{x}_p^2\mathbf{E};\, \cdots;\,
# \mathbf{x}_p^{N_p}\mathbf{E}] + \mathbf{E}_{pos} \tag{Eq. 1}$$
#
# Each of the $L$ blocks adds to the tokens twice, first by attention, then by an MLP:
#
# $$\mathbf{z}'_\ell = \mathrm{MSA}(\mathrm{LN}(\mathbf{z}_{\ell-1})) + \mathbf{z}_{\ell-1} \tag{Eq. 2}$$
#
# $$\mathbf{z}_\ell = \mathrm{MLP}(\mathrm{LN}(\mathbf{z}'_\ell)) + \mathbf{z}'_\ell, \qquad \ell = 1 \ldots L \tag{Eq. 3}$$
#
# At the end the [class] token, token 0, passes one more LayerNorm:
#
# $$\mathbf{y} = \mathrm{LN}(\mathbf{z}_L^0) \tag{Eq. 4}$$
#
# A linear layer, the *head*, computes the logits $z = \mathbf{y}\mathbf{W}_\mathrm{head} + \mathbf{b}_\mathrm{head}$. The paper uses this head in fine-tuning.
# In pre-training the head has one more layer (section 3.1). The library calls that layer `pre_logits`.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $P$ | side of a patch in pixels | number | `P` |
# | $C$ | channels of the image | number | `C` |
# | $N_p$ | patches; the paper writes $N$ for them | number | `N - 1` |
# | $N$ | tokens, [class] included, $N_p + 1$ | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $L$ | blocks | number | `L` |
# | $H$ | heads | number | `H` |
# | $D_h$ | width of a head, $D/H$ | number | `Dh` |
# | $F$ | width of the MLP, $4D$ in the paper's models | number | `M` |
# | $K$ | classes | number | `K` |
# | $\mathbf{x}_p$ | patches | $(B, N_p, P^2C)$ | `x_p` |
# | $\mathbf{E}$ | patch embedding; the code adds a bias $(D)$ | $(P^2C, D)$ | `patch_embed.projection` |
# | $\mathbf{x}_\mathrm{class}$ | the [class] token | $(1, 1, D)$ | `class_token` |
# | $\mathbf{E}_{pos}$ | position embedding | $(1, N, D)$ | `position_embedding` |
# | $\mathbf{z}_\ell$ | tokens after block $\ell$; an upper index is the token | $(B, N, D)$ | `stream` |
# | $\mathbf{z}'_\ell$ | tokens in the middle of block $\ell$ | $(B, N, D)$ | `stream` |
# | $\mathbf{u}$ | normalised tokens, what a branch reads | $(B, N, D)$ | `u` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values | $(B, H, N, D_h)$ | `q`, `k`, `v` |
# | $A$ | attention weights | $(B, H, N, N)$ | `A` |
# | $\mathbf{U}_{qkv}$ | projection to queries, keys and values; the code adds a bias | $(D, 3D)$ | `attention.qkv` |
# | $\mathbf{U}_{msa}$ | projection of the joined heads; the code adds a bias | $(D, D)$ | `attention.out` |
# | $W_1$, $b_1$, $W_2$, $b_2$ | matrices and biases of the MLP | $(D, F)$, $(F)$, $(F, D)$, $(D)$ | `mlp.hidden`, `mlp.out` |
# | $\mathbf{y}$ | image representation | $(B, D)$ | `y` |
# | $\mathbf{W}_\mathrm{head}$, $\mathbf{b}_\mathrm{head}$ | matrix and bias of the head | $(D, K)$, $(K)$ | `head` |
# | $z$ | logits | $(B, K)$ | `logits` |
# | onehot | 1 at the right class of each image, else 0 | $(B, K)$ | `np.eye(K)[labels]` |
# | $f$, $f^*$ | a branch with its LayerNorm, and its pullback | $(B, N, D) \to (B, N, D)$ | `mlp_branch`, ... |
# | $b$, $i$ | upper indices: the image and the token | numbers | |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dz`, ... |
#
# (In the code `F` is the module of functions, so the width of the MLP is `M`.)
#
# ## A small model
#
# The numbers of images, tokens, heads and classes differ, and so do the widths. The image is not square. So most mistakes with axes
# show. We take names and shapes of the parameters from the library, and draw random values. Exercise 11.3 is about the published
# initial values.

# %%
config = ViTConfig(image_size=(8, 12), patch_size=4, width=22, depth=3, heads=2, mlp_width=14, num_classes=9)
model = ViT(config, seed=0, dtype="float64")
for tensor in model.parameters():
    tensor.data += 0.3 * rng.standard_normal(tensor.shape)

B, P, C, D, L, H, K = 5, 4, 3, config.width, config.depth, config.heads, config.num_classes
N = (8 // P) * (12 // P) + 1
images = rng.standard_normal((B, 8, 12, C))
labels = np.array([3, 5, 0, 8, 3])

for name, tensor in model.named_parameters():
    if "blocks" not in name or "blocks.0" in name:  # the other blocks are like the first
        print(f"{name:<32} {tensor.shape}")

# %% [markdown]
# ## Forward, as loops
#
# First we use no engine, and take one image, one token, one head at a time. `w` holds the arrays by name.


# %%
def layer_norm_token(x, scale, bias):
    """One token (D,): mean 0, variance 1, then scale and shift."""
    return (x - x.mean()) / math.sqrt(x.var() + 1e-6) * scale + bias


def attention_loops(u, w, block):
    """MSA of the normalised tokens u (N, D): one head, one query at a time -> (N, D)."""
    N, D = u.shape
    Dh = D // H
    qkv = u @ w[f"{block}.attention.qkv.weight"] + w[f"{block}.attention.qkv.bias"]
    result = np.zeros((N, D))
    for head in range(H):
        q, k, v = (qkv[:, part * D + head * Dh :][:, :Dh] for part in range(3))
        for i in range(N):
            scores = np.array([q[i] @ k[j] for j in range(N)]) / math.sqrt(Dh)
            e = np.exp(scores - scores.max())
            result[i, head * Dh : (head + 1) * Dh] = sum(e[j] / e.sum() * v[j] for j in range(N))
    return result @ w[f"{block}.attention.out.weight"] + w[f"{block}.attention.out.bias"]


def mlp_token(u, w, block):
    """MLP of one normalised token u (D,) -> (D,)."""
    hidden = u @ w[f"{block}.mlp.hidden.weight"] + w[f"{block}.mlp.hidden.bias"]
    gelu = hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3))) / 2
    return gelu @ w[f"{block}.mlp.out.weight"] + w[f"{block}.mlp.out.bias"]


# %% [markdown]
# Eq. 1 to 4 for one image. The patches are taken row by row. The pixels of a patch have the order row, column, channel.


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
# Now we take the whole batch at once, with the ops of the engine. So the result can be differentiated. `params` holds the same arrays as Tensors, by
# the same names.
# `reshape` and `transpose` make axes for heads and patches (notebooks [03](03_patches.ipynb) and [08](08_multi_head.ipynb)).


# %%
def linear(x, params, name):
    """x W + b, for the layer called `name`."""
    return F.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])


def norm(x, params, name):
    """LayerNorm, for the layer called `name`."""
    return F.layer_norm(x, params[f"{name}.scale"], params[f"{name}.bias"], eps=1e-6)


def patches(images, P):
    """(B, height, width, C) -> (B, patches, P P C)."""
    B, height, width, C = images.shape
    tiles = images.reshape(B, height // P, P, width // P, P, C)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, P * P * C)


# %% [markdown]
# Eq. 1: project the patches, put the [class] token in front (`F.broadcast_to` repeats it for all images, `F.concat` joins along
# an axis), add the positions.


# %% tags=["yours"]
def embed(images, params, P):
    """Eq. 1, with `linear(x, params, "patch_embed.projection")`.   (B, height, width, C) -> (B, N, D)."""
    x = linear(patches(images, P), params, "patch_embed.projection")
    first = F.broadcast_to(params["class_token"], (x.shape[0], 1, x.shape[2]))
    return F.concat(first, x, axis=1) + params["position_embedding"]


# %% [markdown]
# Attention and MLP come from notebooks 08 and 09:
#
# $$[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{u}\,\mathbf{U}_{qkv} \tag{Eq. 5}$$
#
# $$A = \mathrm{softmax}\bigl(\mathbf{q}\mathbf{k}^\top / \sqrt{D_h}\bigr) \tag{Eq. 6}$$
#
# $$\mathrm{SA}(\mathbf{u}) = A\mathbf{v} \tag{Eq. 7}$$
#
# $$\mathrm{MSA}(\mathbf{u}) = [\mathrm{SA}_1(\mathbf{u}); \cdots; \mathrm{SA}_H(\mathbf{u})]\,\mathbf{U}_{msa} \tag{Eq. 8}$$
#
# $$\mathrm{MLP}(\mathbf{u}) = \mathrm{gelu}(\mathbf{u}W_1 + b_1)\,W_2 + b_2$$
#
# The layer `qkv` gives each token $3D$ numbers: first all queries, then all keys, then all values. Within each third head 0 comes first. So
# these numbers have the axes $(3, H, D_h)$. `F.softmax` works along the last axis.


# %% tags=["yours"]
def msa(u, params, name, H):
    """Eq. 5 to 8, with the layers {name}.qkv and {name}.out.   (B, N, D) -> (B, N, D)."""
    B, N, D = u.shape
    Dh = D // H
    qkv = linear(u, params, f"{name}.qkv").reshape(B, N, 3, H, Dh).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]  # (B, H, N, Dh) each
    A = F.softmax(q @ k.transpose(0, 1, 3, 2) * Dh**-0.5)
    heads = (A @ v).transpose(0, 2, 1, 3).reshape(B, N, D)
    return linear(heads, params, f"{name}.out")


def mlp(u, params, name):
    """The layers {name}.hidden and {name}.out, with F.gelu between them.   (B, N, D) -> (B, N, D)."""
    return linear(F.gelu(linear(u, params, f"{name}.hidden")), params, f"{name}.out")


# %% [markdown]
# The blocks (Eq. 2 and 3), then Eq. 4 and the head. LayerNorm looks at one token at a time, so it does not matter whether the
# [class] token is taken before or after it.


# %% tags=["yours"]
def my_vit(images, params, P, H, L):
    """Eq. 1 to 4.   (B, height, width, C) -> logits (B, K), and the stream [z_0, z'_1, z_1, ..., z_L].

    Block i has the layers blocks.{i}.norm1, .attention, .norm2 and .mlp; at the end come norm and head.
    """
    stream = [embed(images, params, P)]
    for i in range(L):
        block, z = f"blocks.{i}", stream[-1]
        z_middle = msa(norm(z, params, f"{block}.norm1"), params, f"{block}.attention", H) + z  # Eq. 2
        z_next = mlp(norm(z_middle, params, f"{block}.norm2"), params, f"{block}.mlp") + z_middle  # Eq. 3
        stream += [z_middle, z_next]
    y = norm(stream[-1], params, "norm")[:, 0]  # Eq. 4
    return linear(y, params, "head"), stream


# %%
params = {name: Tensor(array, requires_grad=True) for name, array in w.items()}
logits, stream = my_vit(Tensor(images), params, P, H, L)
loss = F.cross_entropy(logits, labels)

agree("logits", logits, logits_loops)

# %% [markdown]
# ## The digit, step by step
#
# `my_vit` takes any weights of this form, so it also takes those of the trained model above. We follow the digit through it, and
# compare the logits with the library's.

# %%
digit_params = {name: Tensor(array) for name, array in digit_model.state_dict().items()}
mine, digit_stream = my_vit(Tensor(digit_pixels), digit_params, P=2, H=4, L=3)

for stage, value in (
    ("image", digit_pixels),
    ("patches", patches(digit_pixels, 2)),
    ("z_0, Eq. 1", digit_stream[0]),
    *((f"z_{i}, Eq. 2 and 3", digit_stream[2 * i]) for i in (1, 2, 3)),
    ("y, Eq. 4", norm(digit_stream[-1], digit_params, "norm")[:, 0]),
    ("logits", mine),
):
    print(f"{stage:<18} {value.shape}")
print("logits       ", " ".join(f"{number:6.2f}" for number in mine.data[0]))
print("probabilities", " ".join(f"{share:6.3f}" for share in digit_probabilities))
print(f"predicted class {mine.data.argmax()}, label {digit_label}")
agree("logits", mine, digit_logits[None], rtol=1e-4)

# %% [markdown]
# The head is trained to read the [class] token after the last block. The residual stream lets us read earlier. We apply the same
# LayerNorm and head to the [class] token after the embedding or after an earlier block. This is called the *logit lens*. The head was
# never trained for those places. So a wrong reading does not mean that the token lacks the information.
#
# **Predict first.** From which place on does the head recognise most of the 359 test digits? What share does it get right when it reads
# $\mathbf{z}_0$?

# %%
_, test = digits()
test_stream = my_vit(Tensor(normalize(test.images)), digit_params, P=2, H=4, L=3)[1]
for i in range(4):
    early = linear(norm(test_stream[2 * i], digit_params, "norm")[:, 0], digit_params, "head").data
    acc = (early.argmax(axis=1) == test.labels).mean()
    error = math.sqrt(acc * (1 - acc) / len(test))
    own = linear(norm(digit_stream[2 * i], digit_params, "norm")[:, 0], digit_params, "head").data.argmax()
    said = len(np.unique(early.argmax(axis=1)))
    print(
        f"read from z_{i}: {acc:6.1%} +- {error:.1%} of {len(test)} right, {said:2d} classes named; our digit is a {own}"
    )

# %% [markdown]
# Each $\pm$ is the standard error of a share of 359 digits.
#
# **In the stored run** every block raises the share of right answers: from 7.5 % to 30.9, 81.1 and 96.7 %. From $\mathbf{z}_2$ our 7 is
# read as a 2. From $\mathbf{z}_0$ only 1 class is ever named, because there the [class] token has seen nothing of the image.
#
# ## Backward, step by step
#
# We go by hand from the loss along the stream to the parameters of Eq. 1. (Exercise 11.4 goes on to the pixels.) An op of `minivit.ops`
# takes arrays and returns its value and its pullback `vjp`. The pullback returns a tuple with one gradient for each array, in the order of
# the arguments. An op of one array returns a tuple of one gradient. Earlier notebooks derived these pullbacks, with the gradients of all
# parameters. Here we put them together. Inside the blocks we follow only the stream.
#
# For comparison, the engine gives the gradient at every place of the stream and for every parameter.

# %%
gradients = grad(loss, stream + list(params.values()))
engine_stream = gradients[: len(stream)]
engine = dict(zip(params, gradients[len(stream) :], strict=True))

# %% [markdown]
# **Step 1: the loss.** The gradient of the mean cross-entropy of $B$ images is the softmax minus the right answer (notebook 06):
#
# $$\mathrm{d}z = \tfrac{1}{B}\left(\mathrm{softmax}(z) - \mathrm{onehot}\right).$$
#
# **Step 2: the head**, a linear layer (notebook 02): $\mathrm{d}\mathbf{W}_\mathrm{head} = \mathbf{y}^\top \mathrm{d}z$ and
# $\mathrm{d}\mathbf{y} = \mathrm{d}z\,\mathbf{W}_\mathrm{head}^\top$; the gradient of its bias is the sum of $\mathrm{d}z$ over the images.

# %%
probabilities, _ = ops.softmax(logits.data)
z_L = stream[-1].data
y, norm_vjp = ops.layer_norm(z_L[:, 0], w["norm.scale"], w["norm.bias"])

# %% tags=["yours"]
dlogits = (probabilities - np.eye(K)[labels]) / B
dhead = y.T @ dlogits
dhead_bias = dlogits.sum(axis=0)
dy = dlogits @ w["head.weight"].T

agree("head.weight", dhead, engine["head.weight"])
agree("head.bias", dhead_bias, engine["head.bias"])

# %% [markdown]
# **Step 3: Eq. 4.** Only token 0 was read. So $\mathrm{d}\mathbf{z}_L$ is zero at every other token. At token 0 it is the pullback of
# $\mathrm{d}\mathbf{y}$ through the LayerNorm. `norm_vjp` returns the gradients of input, scale and bias.


# %% tags=["yours"]
def last_norm_back(dy, norm_vjp):
    """dy (B, D) -> dz_L (B, N, D) and the gradient of the scale (D,)."""
    dz = np.zeros((B, N, D))
    dz[:, 0], dscale, _ = norm_vjp(dy)
    return dz, dscale


# %%
dz, dscale = last_norm_back(dy, norm_vjp)
agree("norm.scale", dscale, engine["norm.scale"])
agree("dz_L", dz, engine_stream[-1])

# %% [markdown]
# **Step 4: a residual branch.** Eq. 2 and Eq. 3 are both of the form $\mathbf{z}_\mathrm{out} = f(\mathbf{z}) + \mathbf{z}$. With $f^*$ the pullback
# of $f$,
#
# $$\mathrm{d}\mathbf{z} = \mathrm{d}\mathbf{z}_\mathrm{out} + f^*(\mathrm{d}\mathbf{z}_\mathrm{out}).$$
#
# For Eq. 3, $f$ is a chain of four ops. Its pullback calls theirs in reverse order. The arguments of `ops.linear` are input, weight and
# bias. `ops.gelu` has one argument.


# %% tags=["yours"]
def mlp_branch(z, w, block):
    """f = MLP(LN(z)), Eq. 3 without the sum, and its pullback: df -> the gradient of z.   z: (B, N, D).

    The ops are `ops.layer_norm`, `ops.linear`, `ops.gelu` and `ops.linear`.
    """
    u, norm_vjp = ops.layer_norm(z, w[f"{block}.norm2.scale"], w[f"{block}.norm2.bias"])
    x, hidden_vjp = ops.linear(u, w[f"{block}.mlp.hidden.weight"], w[f"{block}.mlp.hidden.bias"])
    a, gelu_vjp = ops.gelu(x)
    f, out_vjp = ops.linear(a, w[f"{block}.mlp.out.weight"], w[f"{block}.mlp.out.bias"])

    def vjp(df):
        (da, _, _) = out_vjp(df)
        (dx,) = gelu_vjp(da)
        (du, _, _) = hidden_vjp(dx)
        return norm_vjp(du)[0]

    return f, vjp


# %%
f, mlp_vjp = mlp_branch(stream[-2].data, w, f"blocks.{L - 1}")
agree("z_L", stream[-2].data + f, stream[-1])
agree("dz'_L", dz + mlp_vjp(dz), engine_stream[-2])

# %% [markdown]
# **Step 5: the other branch**, Eq. 2, is written in the same way. `ops.attention(qkv, H)` computes Eq. 6 and 7 for all heads and joins them.
# It is an op of one array, `qkv`.


# %% tags=["yours"]
def attention_branch(z, w, block):
    """f = MSA(LN(z)), Eq. 2 without the sum, and its pullback: df -> the gradient of z.   z: (B, N, D).

    The ops are `ops.layer_norm`, `ops.linear`, `ops.attention` and `ops.linear`.
    """
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
# **Step 6: all blocks.** We go from the last to the first, one branch at a time.


# %% tags=["yours"]
def blocks_back(dz_L, stream, w):
    """The gradient at all places of the stream, first to last, from that at the last."""
    gradients = [dz_L]
    for i in reversed(range(L)):
        for branch, place in ((mlp_branch, 2 * i + 1), (attention_branch, 2 * i)):
            _, branch_vjp = branch(stream[place].data, w, f"blocks.{i}")
            gradients.insert(0, gradients[0] + branch_vjp(gradients[0]))
    return gradients


# %% [markdown]
# **Predict first.** The gradient enters the last block at one token. How many of the 7 tokens have a gradient at $\mathbf{z}'_3$, before
# the last MLP? And how many at $\mathbf{z}_2$, before the last attention?

# %%
stream_gradients = blocks_back(dz, stream, w)
agree("all places", np.array(stream_gradients), np.array(engine_stream))

places = ["z_0", *(name for i in range(1, L + 1) for name in (f"z'_{i}", f"z_{i}"))]
for place, gradient in reversed(list(zip(places, stream_gradients, strict=True))):
    print(f"tokens with a gradient at {place:<5} {int((np.abs(gradient).max(axis=(0, 2)) > 0).sum())} of {N}")
dz_0 = stream_gradients[0]

# %% [markdown]
# **In the stored run** 1 token has a gradient before the last MLP, because an MLP looks at one token at a time. Before the last attention
# all 7 have one, because the [class] token has read all of them.
#
# **Step 7: Eq. 1.** All images share $\mathbf{x}_\mathrm{class}$ and $\mathbf{E}_{pos}$, so their gradients are sums over the batch. All patches
# of all images share $\mathbf{E}$, so its gradient is a sum over both:
#
# $$\mathrm{d}\mathbf{E}_{pos} = \sum_b \mathrm{d}\mathbf{z}_0^{(b)}, \qquad
# \mathrm{d}\mathbf{x}_\mathrm{class} = \sum_b \mathrm{d}\mathbf{z}_0^{(b), 0}, \qquad
# \mathrm{d}\mathbf{E} = \sum_b \sum_{i=1}^{N_p} \bigl(\mathbf{x}_p^{(b), i}\bigr)^\top \mathrm{d}\mathbf{z}_0^{(b), i}.$$
#
# Here $b$ counts images and $i$ counts tokens; the [class] token is 0. The last sum is one matrix product, with images and
# patches in one axis of rows. The bias that the code adds to each $\mathbf{x}_p^i\mathbf{E}$ gets the sum of $\mathrm{d}\mathbf{z}_0^{(b), i}$ over the
# same $b$ and $i$.

# %%
x_p = patches(images, P)

# %% tags=["yours"]
dE_pos = dz_0.sum(axis=0, keepdims=True)
dclass = dE_pos[:, :1]
dE = x_p.reshape(B * (N - 1), -1).T @ dz_0[:, 1:].reshape(B * (N - 1), D)
dE_bias = dz_0[:, 1:].sum(axis=(0, 1))

agree("E_pos", dE_pos, engine["position_embedding"])
agree("x_class", dclass, engine["class_token"])
agree("E", dE, engine["patch_embed.projection.weight"])
agree("bias of E", dE_bias, engine["patch_embed.projection.bias"])

# %% [markdown]
# ## Check it numerically
#
# We write Eq. 1 as an op of our own, for given patches `x_p`, and compare its pullback with central differences. The cotangent is random.


# %%
def my_embedding(E, x_class, E_pos):
    """Eq. 1 of the patches `x_p`, and its pullback.   E: (P P C, D), x_class: (1, 1, D), E_pos: (1, N, D)."""
    x = x_p.astype(E.dtype)  # the check runs in float32 too
    first = np.broadcast_to(x_class, (B, 1, D))
    z = np.concatenate([first, x @ E], axis=1) + E_pos

    def vjp(dz):
        dE_pos = dz.sum(axis=0, keepdims=True)
        dpatches = dz[:, 1:]
        dE = x.reshape(B * (N - 1), -1).T @ dpatches.reshape(B * (N - 1), D)
        return dE, dE_pos[:, :1], dE_pos

    return z, vjp


E = w["patch_embed.projection.weight"]
error = check_vjp(my_embedding, E, w["class_token"], w["position_embedding"])
print(f"largest relative error of the gradients of Eq. 1: {error:.1e}")

# %% [markdown]
# Then we check the whole model, with a random cotangent at the logits. Each parameter array is moved as a whole in three random
# directions.

# %%
names = list(params)
error = check_gradients(
    lambda *values: my_vit(Tensor(images), dict(zip(names, values, strict=True)), P, H, L)[0], *w.values()
)
print(f"{len(names)} parameter arrays, largest relative error of their gradients: {error:.1e}")

# %% [markdown]
# ## The library
#
# The library's model holds its layers as objects. `ViT.forward` in [`minivit/models/vit.py`](../minivit/models/vit.py) has many
# options: other position embeddings, a convolutional stem, pooling instead of a [class] token, a tap. Without the options these
# lines remain:


# %% tags=["yours"]
def forward(model, images):
    """`patch_embed`, `class_token`, `position_embedding`, `blocks`, `norm` and `head` of a model.   -> logits (B, K)."""
    x = model.patch_embed(images)
    first = F.broadcast_to(model.class_token, (x.shape[0], 1, x.shape[2]))
    z = F.concat(first, x, axis=1) + model.position_embedding
    for block in model.blocks:
        z = block(z)
    return model.head(model.norm(z)[:, 0])


# %%
library_logits = model(images)
agree("cut version", forward(model, Tensor(images)), library_logits)
agree("my_vit", logits, library_logits)

# %% [markdown]
# The gradients of all parameter arrays must agree too.

# %%
library = grad(F.cross_entropy(library_logits, labels), model.parameters())
everything = [np.concatenate([g.ravel() for g in side]) for side in (engine.values(), library)]
agree(f"{len(library)} gradients", *everything)

# %% [markdown]
# A third of the bias of `qkv` belongs to the keys. Its gradient is zero up to rounding. A bias of the keys adds the same number to all
# scores of a query, and that changes no attention weight.

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
# | patch embedding | $P^2CD + D$ |
# | [class] token and positions | $D + ND$ |
# | a block's MSA | $3D^2 + 3D$ for queries, keys, values, and $D^2 + D$ for the projection after them |
# | a block's MLP | $DF + F + FD + D$ |
# | a block's two LayerNorms | $4D$ |
# | last LayerNorm | $2D$ |
# | head | $DK + K$ |
#
# The number of heads does not appear, because the heads divide the width among them. In the code below "positions" contains the [class]
# token, and "norms" contains the last LayerNorm.


# %% tags=["yours"]
def parameters(c):
    """Parameters of a ViT by part: "patches", "positions", "attention", "MLP", "norms", "head".

    c: a ViTConfig with a [class] token; c.width, c.mlp_width, c.num_classes (0: no head), c.num_tokens, c.depth, c.channels,
    c.patch_size (rows, columns).
    """
    D, M, K, pixels = c.width, c.mlp_width, c.num_classes, c.patch_size[0] ** 2 * c.channels
    return {
        "patches": pixels * D + D,
        "positions": D + c.num_tokens * D,
        "attention": c.depth * (4 * D * D + 4 * D),
        "MLP": c.depth * (2 * D * M + M + D),
        "norms": c.depth * 4 * D + 2 * D,
        "head": D * K + K if K else 0,
    }


# %%
agree("our model", sum(parameters(config).values()), model.num_parameters())

# %% [markdown]
# We count three models of the paper and two smaller ones, which were introduced as DeiT-Ti and DeiT-S
# ([Touvron et al. 2020](https://arxiv.org/abs/2012.12877)). `ViT(config, seed=None)` draws no random numbers. All its matrices are zeros.
# The operating system provides memory for zeros only when something else is written there. So even the largest model is built at once.
#
# **Predict first.** Which part of ViT-B/16 holds most parameters? About what share is it? How many million parameters are position
# embeddings?

# %%
variants = {name: ViTConfig.variant(name) for name in ("Ti/16", "S/16", "B/16", "L/16", "H/14")}
print("name      width  depth  heads  parameters   attention    MLP   positions")
for name, c in variants.items():
    parts = parameters(c)
    total = sum(parts.values())
    assert total == ViT(c, seed=None).num_parameters()
    shares = f"{parts['attention'] / total:9.1%} {parts['MLP'] / total:8.1%} {parts['positions'] / 1e6:7.2f} M"
    print(f"ViT-{name:<5} {c.width:5d} {c.depth:6d} {c.heads:6d}  {total:11,d} {shares}")

# %% [markdown]
# **In the stored run** the MLPs of ViT-B/16 hold 65.5 % of the parameters and attention 32.7 %. The positions are 0.15 million of 86,567,656.
#
# Table 1 of the paper says 86 million for ViT-Base, 307 million for ViT-Large and 632 million for ViT-Huge. It does not say for which
# patch size, nor whether the head counts. We count the paper's five models both ways, for images of 224 × 224 pixels; the head
# has the 1,000 classes of ImageNet. A star marks what rounds to the number of the table.

# %%
print("in millions   Table 1   without head   with head")
for name, paper in {"B/16": 86, "B/32": 86, "L/16": 307, "L/32": 307, "H/14": 632}.items():
    line = f"ViT-{name:<8} {paper:8d}"
    for classes in (0, 1000):
        millions = ViT(ViTConfig.variant(name, num_classes=classes), seed=None).num_parameters() / 1e6
        line += f"{millions:12.2f}{'*' if round(millions) == paper else ' '}"
    print(line.rstrip())

# %% [markdown]
# **In the stored run** the 86 fits B/16 without a head (85.80), the 307 fits L/32 with one (306.54), and the 632 fits H/14 with one
# (632.05). No single way of counting gives all three.
#
# So a count that differs from a published number need not be a bug. A ViT-L/16 with 1,000 classes has 304.33 million parameters, not
# 307 million.
#
# ## Counting multiply-adds
#
# A product of matrices of shapes $(n, m)$ and $(m, r)$ takes $nmr$ multiply-adds. (One multiply-add counts as two FLOPs.) We leave out
# LayerNorm, softmax, GELU and sums, which take a few operations per element. Per image, forward:
#
# | part | multiply-adds |
# |---|---|
# | patch embedding | $N_p \cdot P^2C \cdot D$ |
# | projections of MSA, per block | $4ND^2$ |
# | $\mathbf{q}\mathbf{k}^\top$ and $A\mathbf{v}$, all heads, per block | $2N^2D$ |
# | MLP, per block | $2NDF$ |
# | head, one token | $DK$ |
#
# In the code below "scores" contains both $\mathbf{q}\mathbf{k}^\top$ and $A\mathbf{v}$.


# %% tags=["yours"]
def multiply_adds(c):
    """Multiply-adds of the matrix products of one image, by part: "patches", "projections", "scores", "MLP", "head"."""
    D, M, K, N, pixels = c.width, c.mlp_width, c.num_classes, c.num_tokens, c.patch_size[0] ** 2 * c.channels
    return {
        "patches": (N - 1) * pixels * D,
        "projections": c.depth * 4 * N * D * D,
        "scores": c.depth * 2 * N * N * D,
        "MLP": c.depth * 2 * N * D * M,
        "head": D * K,
    }


# %% [markdown]
# The engine records each operation on its *tape*. The tape is a list of nodes, one per operation. A node holds the shapes of the inputs
# and of the output. So we can count what was really computed. `linear` and `matmul` sum over the last axis of their first input.

# %%
logits, _ = my_vit(Tensor(images), params, P, H, L)
products = [node for node in tape(logits) if node.op in ("linear", "matmul")]
counted = sum(math.prod(node.output_shape) * node.input_shapes[0][-1] for node in products)

agree("multiply-adds", B * sum(multiply_adds(config).values()), counted)
print(f"{len(products)} products: {L} blocks with 6 each, the patches and the head")

# %% [markdown]
# **Predict first.** The part $2N^2D$ of attention is quadratic in the number of tokens. What is its share of the multiply-adds of ViT-B/16
# at 224 × 224 pixels? From which image size on is it larger than the part of the MLP?

# %%
print("                 GMACs   " + "".join(f"{part:>13}" for part in multiply_adds(config)))
for name, c in variants.items():
    parts = multiply_adds(c)
    total = sum(parts.values())
    print(f"ViT-{name:<8} {total / 1e9:9.2f}   " + "".join(f"{count / total:13.1%}" for count in parts.values()))

crossing = variants["B/16"].mlp_width + 1  # 2 N N D is more than 2 N D F if N is more than F
print(f"From {crossing:,d} tokens on, scores and A v of a block of ViT-B cost more than its MLP.")
side = 16 * math.ceil(math.sqrt(crossing - 1))  # one token is [class]
tokens_there = (side // 16) ** 2 + 1
print(
    f"The first square images with so many have {side} pixels a side, so {tokens_there:,d} tokens (patches of 16 x 16)."
)

# %% [markdown]
# One GMAC is $10^9$ multiply-adds. The images have 224 × 224 pixels, and the head has 1,000 classes. The backward pass takes about twice
# as many multiply-adds as the forward pass. Each product has two gradients, and each of these is a product of the same size.

# %%
c = variants["B/16"]
tokens = np.geomspace(16, 16384, 60)
D, M = c.width, c.mlp_width
curves = {"MLP": 2 * tokens * D * M, "projections": 4 * tokens * D**2, "scores and $A\\mathbf{v}$": 2 * tokens**2 * D}

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
for (name, count), style in zip(curves.items(), ("-", "--", "-."), strict=True):
    left.loglog(tokens, count / 1e9, style, label=name)
for side in (224, 384, 1024):
    count = (side // 16) ** 2 + 1
    cost = 2 * count**2 * D / 1e9
    left.plot(count, cost, "o", color="black")
    side_of = {"xytext": (-8, 6), "ha": "right"} if side == 1024 else {"xytext": (10, -8)}  # off the lines
    left.annotate(f"{side} x {side}", (count, cost), textcoords="offset points", fontsize=9, **side_of)
left.vlines(crossing, 1e-4, 2 * crossing * D * M / 1e9, color="grey", linewidth=1)
left.annotate(
    f"{crossing:,d} tokens", (crossing, 0.0006), xytext=(-6, 0), textcoords="offset points", fontsize=9, ha="right"
)
left.set(xlabel="tokens $N$ (points: image size in pixels)", ylabel="GMACs of one block", title="one block of ViT-B/16")
left.set_ylim(1e-4, None)
left.set_xticks((16, 64, 256, 1024, 4096, 16384), ("16", "64", "256", "1,024", "4,096", "16,384"))
left.set_yticks((0.001, 0.01, 0.1, 1, 10, 100), ("0.001", "0.01", "0.1", "1", "10", "100"))
left.minorticks_off()
left.legend()

bottom = np.zeros(len(variants))
for part, hatch in zip(parameters(c), ("", "//", "", "..", "xx", "\\\\"), strict=True):
    share = np.array([parameters(v)[part] / sum(parameters(v).values()) for v in variants.values()])
    name = part if share.max() > 0.005 else f"{part} (at most {share.max():.1%})"  # too thin to be seen
    right.bar(list(variants), share, bottom=bottom, label=name, hatch=hatch)
    bottom += share
right.set(ylabel="share of the parameters", title="where the parameters are")
right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# **In the stored run** the quadratic part is 4.1 % of ViT-B/16. It is larger than the part of the MLP from 3,073 tokens on. The first square
# images with so many tokens have 896 pixels a side and 3,137 tokens.
#
# On logarithmic axes the linear parts have slope 1 and the quadratic part has slope 2. The MLP holds about two thirds of the parameters
# of a block.
#
# ## Where this goes wrong in practice
#
# - **The last LayerNorm forgotten** (Eq. 4). The model trains, but published weights give poor results. The head then reads a stream whose
#   size grows with the depth (notebook [10b](10b_depth_and_normalisation.ipynb)).
# - **Positions added before the [class] token is put in front.** The position embedding then has $N_p$ rows, not $N_p + 1$. Both
#   conventions are in use. The shape tells which one a file of weights follows.
# - **Another order of the pixels in a patch**, such as channel, row, column. A model trained from random values does not mind. With
#   published weights the predictions are wrong.
# - **Another GELU or another epsilon of LayerNorm.** The published code uses tanh and 1e-6. Another choice moves the logits a little. That
#   is often too little to change the accuracy, but enough to fail a comparison.
# - **A gradient check at the published initial values.** It checks less than it seems to (exercise 11.3).
# - **FLOPs or multiply-adds?** Papers call both FLOPs. They differ by a factor of 2.
#
# ## Exercises
#
# `hint("11.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **11.1 (two lines).** How many parameters does one block have, as a function of $D$ and $F$? All biases and both LayerNorms count.


# %%
def parameters_of_block(D, F):
    """D, F: whole numbers -> a whole number"""
    ...  # your answer here


check("11.1", parameters_of_block)

# %% [markdown]
# **11.2 (ten minutes).** For $F = 4D$, derive the ratio of the multiply-adds of a block's attention (its four projections, $\mathbf{q}\mathbf{k}^\top$
# and $A\mathbf{v}$) to those of its MLP. Simplify until $N$ and $D$ appear once each.


# %%
def attention_to_mlp(N, D):
    """N tokens, width D -> the ratio, a number"""
    ...  # your answer here


check("11.2", attention_to_mlp)

# %% [markdown]
# **11.3 (ten minutes).** The published code begins with a head of zeros. Which parameters have a nonzero gradient in the first update?
# Choose `"all"`, `"last block and head"`, `"head"` or `"none"`. Derive it from steps 1 to 3 before you try it with `ViT(config, seed=0)`.

# %%
answer = None  # your answer here

check("11.3", answer)

# %% [markdown]
# **11.4 (twenty minutes).** Step 8: the gradient with respect to the pixels. It says which pixels the loss depends on. Many adversarial
# examples (images changed a little to deceive a model) start from it. Given $\mathrm{d}\mathbf{z}_0$ of shape $(B, N, D)$ and $\mathbf{E}$ of shape
# $(P^2C, D)$, compute the gradient of the images in NumPy, $(B, \mathrm{height}, \mathrm{width}, C)$.


# %%
def image_gradient(dz0, E, height, width, P):
    """dz0: (B, N, D), E: (P P C, D); height, width: of the image in pixels -> (B, height, width, C)."""
    ...  # your answer here


check("11.4", image_gradient)

# %% [markdown]
# **11.5 (an hour).** Write the whole model in NumPy alone, for a ViT without a [class] token. Its head reads the mean of all tokens
# (appendix D.3). As in the published code, the mean is taken after the last LayerNorm. (In the library this is `classifier="gap"`.) `w` is what
# `state_dict()` of such a model returns. It has the names printed at the top, without `class_token`, and $\mathbf{E}_{pos}$ has $N_p$ rows.
# Find the number of blocks from the names. Write everything yourself, LayerNorm, softmax and GELU (tanh) included.


# %%
def vit_with_mean(images, w, P, H):
    """images: (B, height, width, C), w: arrays by name, P: side of a patch, H: heads -> logits (B, K)."""
    ...  # your answer here


check("11.5", vit_with_mean)

# %% [markdown]
# Next: [12, optimisers](12_optimisers.ipynb).

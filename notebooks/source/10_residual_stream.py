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
# # 10 The residual stream
#
# A Transformer does not turn its tokens into something else, layer by layer. It *adds* to them. What runs from the first block to the last
# and is only added to is called the **residual stream** ([Elhage et al. 2021](https://transformer-circuits.pub/2021/framework/index.html)).
# This notebook takes **Eq. 2 and Eq. 3** of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1) and
# asks where the LayerNorm belongs. At the end you will be able to
#
# - write the stream as one sum over all branches, and its gradient as another,
# - say what happens to the gradient in a block that normalises before its branches (**pre-LN**, the ViT) and in one that normalises after
#   them (**post-LN**, the first Transformer),
# - show it: gradient by depth, what one small update does, and training with and without warm-up (a learning rate that begins small).
#
# It builds on LayerNorm ([05](05_layer_norm.ipynb)), attention ([07](07_attention.ipynb), [08](08_multi_head.ipynb)) and the MLP
# ([09](09_mlp_and_gelu.ipynb)), which appear here as finished parts.
#
# **Budget:** 85 s of CPU time (fast mode 8 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.nn import MLP, EncoderBlock, MultiHeadAttention
from minivit.tensor import Tensor, grad, no_grad

rng = np.random.default_rng(10)

# %% [markdown]
# ## The equations
#
# A block has two **branches**: multi-head self-attention (MSA), which lets the tokens exchange information, and an MLP, which works on each
# token by itself. Each branch reads the normalised stream, and its result is added to the stream:
#
# $$\mathbf{z}'_\ell = \mathrm{MSA}(\mathrm{LN}(\mathbf{z}_{\ell-1})) + \mathbf{z}_{\ell-1}, \qquad \ell = 1 \ldots L \tag{Eq. 2}$$
#
# $$\mathbf{z}_\ell = \mathrm{MLP}(\mathrm{LN}(\mathbf{z}'_\ell)) + \mathbf{z}'_\ell, \qquad \ell = 1 \ldots L \tag{Eq. 3}$$
#
# This is pre-LN. The Transformer of [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762) was post-LN: there the stream itself is
# normalised, after each addition.
#
# $$\mathbf{z}'_\ell = \mathrm{LN}\bigl(\mathrm{MSA}(\mathbf{z}_{\ell-1}) + \mathbf{z}_{\ell-1}\bigr), \qquad
# \mathbf{z}_\ell = \mathrm{LN}\bigl(\mathrm{MLP}(\mathbf{z}'_\ell) + \mathbf{z}'_\ell\bigr) \tag{post-LN}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $N$, $D$ | images, tokens, width | numbers | `B`, `N`, `D` |
# | $L$ | number of blocks | number | `L` |
# | $\mathbf{z}_\ell$ | the stream after block $\ell$; $\mathbf{z}_0$ comes from Eq. 1 | $(B, N, D)$ | `stream[2 * l]` |
# | $\mathbf{z}'_\ell$ | the stream in the middle of block $\ell$ | $(B, N, D)$ | `stream[2 * l - 1]` |
# | $f_i$ | branch $i = 1 \ldots 2L$ with its LayerNorm: $\mathrm{MSA}(\mathrm{LN}(\cdot))$ or $\mathrm{MLP}(\mathrm{LN}(\cdot))$ | $(B, N, D) \to (B, N, D)$ | `branches[i - 1]` |
# | $f^*$ | its pullback: takes the gradient of its result to that of its input | as $f$ | `pull_back` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dz`, ... |
#
# (GPT-2 and the ViT are pre-LN, BERT is post-LN.) We take the library's block for its parts, with random values in all parameters.

# %%
B, N, D, L = 2, 5, 6, 3
blocks = [  # 2 heads, 8 features inside the MLP
    EncoderBlock(MultiHeadAttention(D, 2, rng, "float64"), MLP(D, 8, rng, "float64"), D, "float64") for _ in range(L)
]
for block in blocks:
    for tensor in block.parameters():
        tensor.data += 0.3 * rng.standard_normal(tensor.shape)
z0 = rng.standard_normal((B, N, D))

# %% [markdown]
# ## Forward, as loops
#
# One token at a time for what works on single tokens. Attention needs all tokens of an image, but one image at a time will do.


# %%
def norm_token(x, norm):
    """LayerNorm of one token (D,)."""
    return (x - x.mean()) / np.sqrt(x.var() + norm.eps) * norm.scale.data + norm.bias.data


def mlp_token(u, mlp):
    """The MLP of one token (D,)."""
    hidden, _ = ops.gelu(u @ mlp.hidden.weight.data + mlp.hidden.bias.data)
    return hidden @ mlp.out.weight.data + mlp.out.bias.data


def block_loops(z, block):
    """Eq. 2 and 3.   z: (B, N, D) -> (B, N, D)."""
    z = z.copy()
    for b in range(len(z)):
        normed = np.array([norm_token(token, block.norm1) for token in z[b]])
        z[b] += block.attention(Tensor(normed[None])).data[0]  # Eq. 2
        for n in range(z.shape[1]):
            z[b, n] += mlp_token(norm_token(z[b, n], block.norm2), block.mlp)  # Eq. 3
    return z


z_loops = z0
for block in blocks:
    z_loops = block_loops(z_loops, block)

# %% [markdown]
# ## Forward, the whole stream
#
# We list the $2L$ branches in their order. Then the stream is one line: add what the branch makes of it.

# %%
branches = []
for block in blocks:
    branches.append(lambda z, block=block: block.attention(block.norm1(z)))
    branches.append(lambda z, block=block: block.mlp(block.norm2(z)))

stream = [Tensor(z0, requires_grad=True)]
added = []
for f in branches:
    added.append(f(stream[-1]))
    stream.append(stream[-1] + added[-1])

agree("z_L", stream[-1], z_loops)

# %% [markdown]
# Nothing but sums happened to the stream. So the last one is the first plus everything that was added, in any order:
#
# $$\mathbf{z}_L = \mathbf{z}_0 + \sum_{i=1}^{2L} f_i(\text{the stream before branch } i).$$
#
# The head of a ViT reads this sum (after one LayerNorm, Eq. 4). Each block speaks to it directly.

# %%
agree("the sum", sum(f.data for f in added) + z0, stream[-1])

# %% [markdown]
# ## Backward, step by step
#
# $\mathrm{d}\mathbf{z}_L$ comes from above; we draw it at random. The engine gives the gradient at every place of the stream for comparison.

# %%
dz_L = rng.standard_normal((B, N, D))
engine = grad(stream[-1], stream, dz_L)

# %% [markdown]
# **Step 1: a sum.** Let $\mathbf{z}_\mathrm{out} = \mathbf{z} + f$. If $\mathbf{z}$ alone changes by a small amount,
# $\mathbf{z}_\mathrm{out}$ changes by the same; likewise $f$. So both get the gradient of the sum, unchanged: along the stream
# $\mathrm{d}\mathbf{z}_\mathrm{out}$, and into the branch $\mathrm{d}f = \mathrm{d}\mathbf{z}_\mathrm{out}$.
#
# **Step 2: through the branch.** $f$ depends on $\mathbf{z}$ too. Its pullback turns $\mathrm{d}f$ into the gradient of its input, and the two ways add up:
#
# $$\mathrm{d}\mathbf{z} = \mathrm{d}\mathbf{z}_\mathrm{out} + f^*(\mathrm{d}\mathbf{z}_\mathrm{out}).$$
#
# The pullback of a single branch is known from the notebooks before this one. Here we let the engine compute it, for this one branch alone.


# %%
def pull_back(f, z, df):
    """f*: the gradient of the input of f from that of its result.   f: a branch, z, df: (B, N, D) -> (B, N, D)."""
    z = Tensor(z, requires_grad=True)
    return grad(f(z), [z], df)[0]


last = len(branches) - 1
dz = dz_L + pull_back(branches[last], stream[last].data, dz_L)
agree("dz'_L", dz, engine[last])

# %% [markdown]
# **Step 3: all branches**, last to first. We keep what each branch contributes.

# %%
dz, contributions = dz_L, []
for i in reversed(range(len(branches))):
    contributions.append(pull_back(branches[i], stream[i].data, dz))
    dz = dz + contributions[-1]
    agree(f"place {i}", dz, engine[i])

# %% [markdown]
# **Step 4: unrolled.** The gradient is a sum too, and its first term is $\mathrm{d}\mathbf{z}_L$ itself, not multiplied by anything:
#
# $$\mathrm{d}\mathbf{z}_0 = \mathrm{d}\mathbf{z}_L + \sum_{i=1}^{2L} f_i^*(\text{the gradient after branch } i).$$
#
# Each $f_i^*$ is applied to a gradient that already holds the later terms. With the Jacobians $J_i$ of the branches, written for one image as one
# long vector, this is a product too: $\mathrm{d}\mathbf{z}_0 = (I + J_1^\top)(I + J_2^\top)\cdots(I + J_{2L}^\top)\,\mathrm{d}\mathbf{z}_L$.
# A plain chain of layers has $J_1^\top J_2^\top \cdots$, where every gradient must pass through every layer. The identities open a way that passes
# through none. How long the whole product is, step 7 will say.

# %%
agree("dz_0", dz_L + sum(contributions), engine[0])

# %% [markdown]
# **Step 5: post-LN.** Now the stream passes a LayerNorm after each sum: $\mathbf{s} = f(\mathbf{z}) + \mathbf{z}$,
# $\mathbf{z}_\mathrm{out} = \mathrm{LN}(\mathbf{s})$, where $f$ is MSA or MLP alone, with no LayerNorm of its own. So the gradient is first pulled
# back through the LayerNorm, on *both* ways:
#
# $$\mathrm{d}\mathbf{s} = \mathrm{LN}^*(\mathrm{d}\mathbf{z}_\mathrm{out}), \qquad \mathrm{d}\mathbf{z} = \mathrm{d}\mathbf{s} + f^*(\mathrm{d}\mathbf{s}).$$

# %%
block = blocks[0]
z = Tensor(z0, requires_grad=True)
s = block.mlp(z) + z
z_out = block.norm2(s)
engine_ds, engine_dz = grad(z_out, [s, z], dz_L)

_, norm_vjp = ops.layer_norm(s.data, block.norm2.scale.data, block.norm2.bias.data)
ds, _, _ = norm_vjp(dz_L)
agree("ds", ds, engine_ds)
agree("dz", ds + pull_back(block.mlp, z0, ds), engine_dz)

# %% [markdown]
# **Step 6: what $\mathrm{LN}^*$ does to a gradient.** With scale 1 and $g = \mathrm{d}\mathbf{z}_\mathrm{out}$, notebook 05 found for one token
#
# $$\mathrm{d}\mathbf{s} = \frac{1}{\sigma}\Bigl(g - \mathrm{mean}(g) - \hat{x}\,\mathrm{mean}(g \circ \hat{x})\Bigr),$$
#
# where $\sigma$ is the standard deviation of the token's features and $\hat{x}$ the normalised token. The bracket takes away the part of $g$
# along the vector of ones and the part along $\hat{x}$. So it cannot be longer than $g$, and
#
# $$\lVert \mathrm{d}\mathbf{s} \rVert \le \lVert g \rVert / \sigma.$$
#
# In post-LN, $\mathbf{z}$ has just been normalised, so its features have variance 1 (while the scale of LN is 1). If the branch adds
# something independent of variance $a$, then $\sigma = \sqrt{1 + a}$: on the direct way, past all branches, each LayerNorm shortens the
# gradient by about this factor. In pre-LN nothing lies on the direct way.
#
# **Step 7: the whole gradient.** The branch adds its part. Let it be random: $f(\mathbf{z}) = \mathbf{z}W$ with independent entries of mean 0 and
# variance $a/D$ in $W$. Forwards it turns variance 1 into variance $a$. Its pullback $g \mapsto gW^\top$ does the same to a gradient: about
# $\sqrt{a}$ times the length, in a random direction, so nearly at right angles to the gradient that it is added to. By Pythagoras:
#
# - **post-LN**: $\lVert \mathrm{d}\mathbf{s} + f^*(\mathrm{d}\mathbf{s}) \rVert \approx \sqrt{1 + a}\,\lVert \mathrm{d}\mathbf{s} \rVert$. The branch gives back
#   what the LayerNorm took: the gradient keeps its length. What is lost is the direct way; nearly all gradient comes through branches.
# - **pre-LN**: here $f(\mathbf{z}) = \mathrm{LN}(\mathbf{z})\,W$, so $f^*$ contains the $1/\sigma$ of the LayerNorm, and the length grows by the factor $\sqrt{1 + a/\sigma^2}$.
#   Forwards the variance of the stream grows from $\sigma^2$ to $\sigma^2 + a$: by the *same* factor, squared. Over many layers, with
#   $\mathbf{z}_{(i)}$ the stream after $i$ branches and $\sigma_i$ its deviation:
#
# $$\lVert \mathrm{d}\mathbf{z}_{(i)} \rVert \approx \frac{\sigma_{2L}}{\sigma_i}\,\lVert \mathrm{d}\mathbf{z}_L \rVert. \tag{pre-LN}$$
#
# And $\mathrm{d}\mathbf{z}_L$ comes out of the last LayerNorm (Eq. 4), which divides by $\sigma_{2L}$. So the gradient after $i$ branches goes like
# $1/\sigma_i$: largest in the first blocks, where the stream is small, and there the same in a deep model as in a shallow one.


# %%
def normalise(z):
    """LayerNorm with scale 1 and bias 0, and its pullback.   z: (1, 64)."""
    y, vjp = ops.layer_norm(z, np.ones(64), np.zeros(64))
    return y, lambda g: vjp(g)[0]


def chains(a, layers):
    """One token through a post-LN and a pre-LN chain of random branches: their pullbacks, and the token after the pre-LN one."""
    post = pre = normalise(rng.standard_normal((1, 64)))[0]
    steps = []
    for _ in range(layers):
        W = rng.standard_normal((64, 64)) * np.sqrt(a / 64)
        post, post_norm = normalise(post + post @ W)
        u, pre_norm = normalise(pre)
        pre = pre + u @ W
        steps.append((W, post_norm, pre_norm))
    return steps, pre


# %%
def lengths(a, layers=24):
    """Length of the gradient after the chain, relative to before: post-LN directly, post-LN, pre-LN; and sigma of pre-LN."""
    steps, end = chains(a, layers)
    g = direct = post = pre = rng.standard_normal((1, 64))
    for W, post_norm, pre_norm in reversed(steps):
        direct = post_norm(direct)
        ds = post_norm(post)
        post = ds + ds @ W.T
        pre = pre + pre_norm(pre @ W.T)
    return [np.linalg.norm(x) / np.linalg.norm(g) for x in (direct, post, pre)] + [end.std()]


for a in (0.0, 0.25, 1.0):
    direct, post, pre, sigma = np.mean([lengths(a) for _ in range(50)], axis=0)
    print(f"a = {a:4.2f}, post-LN: direct {direct:.1e} (expected {(1 + a) ** -12.0:.1e}), whole {post:.2f} (1)")
    print(f"          pre-LN:  direct 1, whole {pre:.2f} ({sigma:.2f}, the deviation at the end)")

# %% [markdown]
# (24 branches: 12 blocks. In brackets what the argument expects, $\sigma^{-24} = (1+a)^{-12}$ for the direct way. With $a = 0$ the post-LN lengths
# are just below 1: every LayerNorm takes away the same two of 64 directions, and after the first nothing is left to take.)
#
# ## Check it numerically
#
# Eq. 3 as an op of our own: value and pullback, for the stream and all parameters, with a random cotangent.


# %%
def pre_ln_mlp(z, scale, bias, W1, b1, W2, b2):
    """Eq. 3 and its pullback.   z: (B, N, D), W1: (D, F), W2: (F, D)."""
    u, norm_vjp = ops.layer_norm(z, scale, bias)
    a, hidden_vjp = ops.linear_gelu(u, W1, b1)
    f, out_vjp = ops.linear(a, W2, b2)

    def vjp(dz_out):
        da, dW2, db2 = out_vjp(dz_out)  # the sum hands dz_out to the branch ...
        du, dW1, db1 = hidden_vjp(da)
        dz, dscale, dbias = norm_vjp(du)
        return dz_out + dz, dscale, dbias, dW1, db1, dW2, db2  # ... and to the stream

    return z + f, vjp


mlp = block.mlp
parameters = (block.norm2.scale, block.norm2.bias, mlp.hidden.weight, mlp.hidden.bias, mlp.out.weight, mlp.out.bias)
error = check_vjp(pre_ln_mlp, z0, *(tensor.data for tensor in parameters))
print(f"largest relative error of the gradients: {error:.1e}")

# %% [markdown]
# ## The library
#
# Eq. 2 and 3, with dropout and some options of later papers. Without these, four lines remain: two branches, two sums.

# %%
show_source(EncoderBlock.forward)

# %%
z = Tensor(z0, requires_grad=True)
result = z
for block in blocks:
    result = block(result)

agree("z_L", stream[-1], result)
agree("dz_0", dz, grad(result, [z], dz_L)[0])

# %% [markdown]
# ## Experiment 1: before training
#
# A post-LN block has the same parts in another order. We build ViTs for the digits with both, at the published initial values, but with a random head
# instead of zeros, so that there is a gradient. (The last LayerNorm of the ViT stays in both; on normalised tokens it changes nothing at the start.)


# %%
class PostBlock(EncoderBlock):
    """The same parts, normalised after the sums."""

    def forward(self, x, rng=None, tap=None, queries=None):
        z = x if queries is None else x[:, :queries]
        z = self.norm1(self.attention(x, rng, tap, queries) + z)
        z = self.norm2(self.mlp(z, rng) + z)
        if tap is not None:
            tap["output"] = z
        return z


def build(depth, block, seed=0):
    """A ViT for the digits with `depth` blocks of the class `block`."""
    config = ViTConfig(
        image_size=8, patch_size=2, width=32, depth=depth, heads=4, mlp_width=64, num_classes=10, channels=1
    )
    model = ViT(config, seed)
    for layer in model.blocks:
        layer.__class__ = block  # the same parameters, another forward
    return model


# %% [markdown]
# We measure three things: the deviation of the [class] token, which the head reads, after each block; the gradient of a matrix in each block; and
# what one small update of the blocks does to the logits. The optimiser that we will use in experiment 2, AdamW (notebook
# [12](12_optimisers.ipynb)), divides each gradient by its recent size. Its first update moves *every* weight by about the learning rate $\eta$, against the sign of its
# gradient, however small that is. This we do by hand.

# %%
train, test = digits()
images, labels = normalize(train.images[:128]), train.labels[:128]
seeds = range(full_or_fast(10, 2))
eta = 1e-4


def measure(depth, block, seed):
    """Deviation after each block, gradient norm of each block (both (depth,)), change of the logits relative to their size."""
    model, tap = build(depth, block, seed), {}
    model.head.weight.data += np.random.default_rng(seed).standard_normal((32, 10)) / np.sqrt(32)
    logits = model(images, tap=tap)
    weights = [tensor for layer in model.blocks for tensor in layer.parameters()]
    gradients = dict(zip(weights, grad(F.cross_entropy(logits, labels), weights), strict=True))
    deviation = [tap[f"block{i}/output"].data[:, 0].std(axis=-1).mean() for i in range(depth)]
    norms = [np.linalg.norm(gradients[layer.mlp.hidden.weight]) for layer in model.blocks]
    for tensor in weights:
        tensor.data -= eta * np.sign(gradients[tensor])
    with no_grad():
        change = model(images).data - logits.data
    return np.array(deviation), np.array(norms), np.linalg.norm(change) / np.linalg.norm(logits.data)


# %%
depths = (2, 6, 12)
kinds = {"pre-LN": EncoderBlock, "post-LN": PostBlock}
measured = {
    (kind, depth): [np.array(values) for values in zip(*(measure(depth, block, seed) for seed in seeds), strict=True)]
    for kind, block in kinds.items()
    for depth in depths
}


def mean_and_error(values):
    """Mean over the seeds (the first axis), and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
styles = {"pre-LN": ("C0", "-"), "post-LN": ("C1", "--")}
for (kind, depth), values in measured.items():
    colour, line = styles[kind]
    style = {"color": colour, "linestyle": line, "marker": {2: "o", 6: "s", 12: "^"}[depth], "capsize": 3}
    for axis, result in zip(axes, values[:2], strict=False):
        axis.errorbar(range(1, depth + 1), *mean_and_error(result), label=f"{kind}, {depth} blocks", **style)
for kind, (colour, line) in styles.items():
    points = [mean_and_error(measured[kind, depth][2]) for depth in depths]
    axes[2].errorbar(
        depths, *zip(*points, strict=True), color=colour, linestyle=line, marker="o", capsize=3, label=kind
    )
axes[0].set(title="deviation of the stream", xlabel="after block", ylabel="standard deviation", ylim=(0, None))
axes[1].set(title="gradient of the MLP's first matrix", xlabel="in block", ylabel="norm", ylim=(0, None))
axes[2].set(
    title="one update of the blocks by $10^{-4}$", xlabel="number of blocks", ylabel="relative change of the logits"
)
axes[2].set(ylim=(0, None))
for axis in axes:
    axis.set_xticks(range(2, 13, 2))
figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
axes[2].legend(fontsize=9)
plt.show()

# %%
for (kind, depth), (deviation, norms, change) in measured.items():
    first, last, product, moved = (
        "{:.2f} +- {:.2f}".format(*mean_and_error(x))
        for x in (norms[:, 0], norms[:, -1], norms[:, -1] * deviation[:, -1], 100 * change)
    )
    print(
        f"{kind:<8} {depth:2d} blocks: gradient in the first {first}, in the last {last}, last times deviation {product}"
    )
    print(f"                    the update changes the logits by {moved} %")

# %% [markdown]
# The bars and the $\pm$ are standard errors over the seeds.
#
# **Left.** The pre-LN stream grows, because everything is added to it; the post-LN stream has deviation 1 after each block. (Models of different depth
# coincide where they overlap: their first blocks are the same. The [class] token enters block 1 with the small deviation of its position embedding.)
#
# **Middle.** A matrix's gradient is the product of its input and of the gradient of its result, summed over the tokens. The input of the MLP's first matrix is a
# normalised token (in post-LN too), so step 7 expects the matrix's gradient to follow the stream's: like $1/\sigma_i$ in pre-LN, largest in the first block and there independent of the depth, and level in post-LN.
# The last block's gradient times the stream's deviation, printed above, should be the same for all pre-LN models. Two things are not as in
# step 7: the branches are not quite random, and in the last block only the [class] token has a gradient, which attention hands on to all tokens in the blocks before. So expect
# rough agreement, and a slope in post-LN.
#
# [Xiong et al. 2020](https://arxiv.org/abs/2002.04745) derive, for wide models, how the gradient *in the last block* depends on the depth: in pre-LN it falls like
# $1/\sqrt{L}$ (which is $1/\sigma$ again), in post-LN it does not fall. They conclude that a large learning rate on these large gradients near the output makes post-LN
# unstable, hence warm-up. But Adam divides by the size of the gradient, so for Adam this cannot be the whole story.
#
# **Right.** [Liu et al. 2020](https://arxiv.org/abs/2004.08249) look for it elsewhere. They, too, find that unbalanced gradients are not the root of the trouble. A post-LN layer depends more on its branch, so a *change of the weights* of a
# given size changes the output more, and the more so the deeper the model. That is the third panel (they analyse random
# changes, ours is Adam's first). In post-LN each branch has the share $a/(1+a)$ of the
# variance, whatever the depth. In pre-LN the sum that the head reads is divided by $\sigma_{2L}$, so with more branches each weighs less.
# Compare how fast the two curves grow: a step that is small for a shallow post-LN model may be too large for a deep one.
#
# ## Experiment 2: training with and without warm-up
#
# The same models, shallow and deep, trained with AdamW at three learning rates: at the full rate from the first update on, and with **warm-up**, where
# the rate rises from 0 during the first 30 % of the updates. (In both it then falls to 0 along half a cosine, notebook 12.) Constant probabilities of 1/10 give a loss of $\log 10$, the grey line.

# %%
updates = full_or_fast(120, 10)
rates = full_or_fast((1e-3, 3e-3, 1e-2), (1e-3, 1e-2))
tried_depths = full_or_fast((2, 12), (2, 6))
settings = {
    "pre-LN": ("pre-LN", 0.0),
    "pre-LN, warm-up": ("pre-LN", 0.3),
    "post-LN": ("post-LN", 0.0),
    "post-LN, warm-up": ("post-LN", 0.3),
}


def final_loss(kind, depth, rate, warmup):
    """Mean training loss over the last 20 updates."""
    model = build(depth, kinds[kind])
    history = fit(model, train, updates, batch_size=64, lr=rate, warmup=warmup, weight_decay=0.0, clip_norm=None)
    return np.mean([result.loss for result in history[-20:]])


losses = {
    (name, depth): [final_loss(kind, depth, rate, warmup) for rate in rates]
    for name, (kind, warmup) in settings.items()
    for depth in tried_depths
}

# %%
figure, axes = plt.subplots(1, len(tried_depths), figsize=(9, 3.4), sharey=True)
for axis, depth in zip(axes, tried_depths, strict=True):
    for name, style in zip(settings, ("C0o-", "C0o:", "C1s--", "C1s:"), strict=True):
        axis.semilogx(rates, losses[name, depth], style, label=name)
    axis.axhline(np.log(10), color="grey", linewidth=1)
    axis.set(title=f"{depth} blocks", xlabel="learning rate")
axes[0].set(ylabel="training loss at the end", ylim=(0, None))
axes[0].legend(fontsize=9, loc="lower left")
plt.show()

for (name, depth), row in losses.items():
    failed = [f"{rate:g}" for rate, loss in zip(rates, row, strict=True) if loss > 0.9 * np.log(10)]
    verdict = f"did not learn at {', '.join(failed)}" if failed else "learned at every rate"
    print(f"{name:<18} {depth:2d} blocks: " + "  ".join(f"{loss:.2f}" for loss in row) + f"   {verdict}")

# %% [markdown]
# Compare, at the right end of each panel, the learning rate at which a model stops learning, and how it moves with the depth. The verdicts are printed: "did
# not learn" is a loss above 90 % of $\log 10$. (In fast mode there are too few updates to learn anything.) Each point is one run with one seed, and three
# rates give the limit to a factor of 3 only: the large effect may show, small differences between the curves mean nothing. Which of the two
# explanations holds, this experiment cannot decide.
#
# The paper uses pre-LN *and* warm-up (section 3.1 and Table 3). Whether warm-up helps pre-LN here, compare the two pre-LN rows.
#
# ## Where this goes wrong in practice
#
# - **The normalised tokens put into the stream**: `x = norm(x); x = x + f(x)`. That is post-LN in disguise: with a LayerNorm at the end it computes
#   $\mathrm{LN}(\mathbf{z} + f(\mathbf{z}))$ again and again. The shapes are right.
# - **No LayerNorm at the end** of a pre-LN model (Eq. 4). The head then sees features whose size grows with the depth.
# - **`x += f(x)` in place**, on an array that a pullback has kept. The gradient is then wrong without an error, in engines that do not notice.
# - **Dropout or a scale on the stream** instead of on the branch. What multiplies the stream multiplies it $2L$ times.
# - **A deeper model with the learning rate of the shallow one.** Lower the rate, add warm-up, or make the branches smaller at the start
#   (exercises 10.2 and 10.5).
#
# ## Exercises
#
# **10.1 (two lines).** In a pre-LN model the features of $\mathbf{z}_0$ have variance 1, and each branch adds something independent of
# variance 1. What is the variance of the features of $\mathbf{z}_L$ for $L = 12$ blocks?

# %%
answer = None  # your answer here: a number

check("10.1", answer)

# %% [markdown]
# **10.2 (ten minutes).** *LayerScale* ([Touvron et al. 2021](https://arxiv.org/abs/2103.17239)) multiplies each feature of a branch by a
# learned factor that is small at first: $\mathbf{z}_\mathrm{out} = \mathbf{z} + \gamma \circ f$, with $\gamma$ of shape $(D)$. Given $f$,
# $\gamma$ and $\mathrm{d}\mathbf{z}_\mathrm{out}$, return the gradients along the stream, of $\gamma$, and of $f$.


# %%
def layer_scale_backward(f, gamma, dz_out):
    """f, dz_out: (B, N, D), gamma: (D,) -> dz (along the stream only), dgamma, df"""
    ...  # your answer here


check("10.2", layer_scale_backward)

# %% [markdown]
# **10.3 (ten minutes).** Let the second matrix of every MLP be zero at the start, `mlp.out.weight = 0`, but not the head. In a pre-LN model,
# which of the MLP's matrices have the gradient zero in the first step? Choose `"hidden"`, `"out"`, `"both"` or `"neither"`.

# %%
answer = None  # your answer here

check("10.3", answer)

# %% [markdown]
# **10.4 (twenty minutes).** A post-LN layer with the simplest branch: $\mathbf{z}_\mathrm{out} = \mathrm{LN}(\mathbf{z} + \mathbf{z}W)$, with
# scale 1, bias 0 and epsilon $10^{-6}$ in LN. Write its backward pass.


# %%
def post_ln_backward(z, W, dz_out):
    """z, dz_out: (N, D), W: (D, D) -> dz (N, D), dW (D, D)"""
    ...  # your answer here


check("10.4", post_ln_backward)

# %% [markdown]
# **10.5 (an hour).** *DeepNorm* ([Wang et al. 2022](https://arxiv.org/abs/2203.00555)) makes post-LN trainable at great depth by weighting
# the stream more than the branch: $\mathbf{z}_\ell = \mathrm{LN}(\alpha\,\mathbf{z}_{\ell-1} + f_\ell(\mathbf{z}_{\ell-1}))$. (For an encoder of $L$ blocks
# $\alpha = (2L)^{1/4}$, and some weights of the branches begin smaller, by $(8L)^{-1/4}$.) Take the branches
# $f_\ell(\mathbf{z}) = \mathbf{z}W_\ell$, here $L$ of them, and LN as in 10.4. Write the backward pass of the whole stack: run forward, keep
# what is needed, go back. `alpha` is given; use it as it is.


# %%
def deep_norm_backward(z0, W, alpha, dz_L):
    """z0, dz_L: (N, D), W: (L, D, D), alpha: a number -> dz_0 (N, D), dW (L, D, D)"""
    ...  # your answer here


check("10.5", deep_norm_backward)

# %% [markdown]
# Next: [11, the whole ViT](11_vit.ipynb).

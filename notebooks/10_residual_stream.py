# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 The residual stream
#
# A Transformer does not turn its tokens into something else, layer by layer. It *adds* to them. What runs from the first block to the last
# and is only added to is called the **residual stream**. This notebook takes **Eq. 2 and Eq. 3** of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1) and asks where the LayerNorm belongs. At the end you will be able to
#
# - write the stream as one sum over all branches, and its gradient as another,
# - say what happens to the gradient in a block that normalises before its branches (**pre-LN**, the ViT) and in one that normalises after
#   them (**post-LN**, the first Transformer),
# - show it: gradient by depth, and training with and without warm-up.
#
# It builds on LayerNorm ([05](05_layer_norm.ipynb)), attention ([07](07_attention.ipynb), [08](08_multi_head.ipynb)) and the MLP
# ([09](09_mlp_and_gelu.ipynb)), which appear here as finished parts.
#
# **Budget:** 80 s of CPU time (fast mode 8 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.nn import EncoderBlock
from minivit.tensor import Tensor, grad

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
# | $f$ | a branch with its LayerNorm: $\mathrm{MSA}(\mathrm{LN}(\cdot))$ or $\mathrm{MLP}(\mathrm{LN}(\cdot))$ | $(B, N, D) \to (B, N, D)$ | `branches[i]` |
# | $f^*$ | its pullback: takes the gradient of its result to that of its input | as $f$ | `pull_back` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dz`, ... |
#
# We take the library's block for its parts, with random values in all parameters.

# %%
B, N, D, L = 2, 5, 6, 3
blocks = [EncoderBlock(D, 2, 8, rng, "float64") for _ in range(L)]  # 2 heads, 8 features inside the MLP
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
# A plain chain of layers would have a *product* of $2L$ Jacobians here, which shrinks or grows exponentially with $L$ unless each is just right.

# %%
agree("dz_0", dz_L + sum(contributions), engine[0])

# %% [markdown]
# **Step 5: post-LN.** Now the stream passes a LayerNorm after each sum: $\mathbf{s} = f(\mathbf{z}) + \mathbf{z}$,
# $\mathbf{z}_\mathrm{out} = \mathrm{LN}(\mathbf{s})$. So the gradient is first pulled back through the LayerNorm, on *both* ways:
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
# something independent of variance $a$, then $\sigma = \sqrt{1 + a} > 1$, and each of the $2L$ LayerNorms shortens the gradient on the direct
# way. In pre-LN nothing lies on the direct way.

# %%
scale_one, bias_zero = np.ones(64), np.zeros(64)
x, _ = ops.layer_norm(rng.standard_normal((1, 64)), scale_one, bias_zero)  # a normalised token of 64 features
g = rng.standard_normal((1, 64))
for a in (0.0, 0.25, 1.0):
    length = []
    for _ in range(200):
        _, vjp = ops.layer_norm(x + np.sqrt(a) * rng.standard_normal(x.shape), scale_one, bias_zero)
        length.append(np.linalg.norm(vjp(g)[0]) / np.linalg.norm(g))
    remains, expected = np.mean(length) ** 24, (1 + a) ** -12.0
    print(f"variance of the branch {a:4.2f}: 24 LayerNorms leave {remains:.1e}, 1 / sigma^24 = {expected:.1e}")

# %% [markdown]
# (24 LayerNorms: 12 blocks. The first line is below 1 because the bracket takes two of 64 directions away.)
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
# ## Experiment 1: the gradient by depth, before training
#
# A post-LN block has the same parts in another order. We build ViTs for the digits with both, at the published initial values, but with a random head
# instead of zeros, so that there is a gradient.


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


# %%
train, test = digits()
images, labels = normalize(train.images[:128]), train.labels[:128]
seeds = range(full_or_fast(5, 1))


def by_depth(depth, block):
    """Standard deviation of the features after each block, gradient norm of each block's MLP: (2, depth)."""
    sizes = []
    for seed in seeds:
        model, tap = build(depth, block, seed), {}
        model.head.weight.data += np.random.default_rng(seed).standard_normal((32, 10)) / np.sqrt(32)
        loss = F.cross_entropy(model(images, tap=tap), labels)
        gradients = grad(loss, [layer.mlp.hidden.weight for layer in model.blocks])
        deviation = [tap[f"block{i}/output"].data.std(axis=-1).mean() for i in range(depth)]
        sizes.append([deviation, [np.linalg.norm(g) for g in gradients]])
    return np.mean(sizes, axis=0)


depths = (2, 6, 12)
kinds = {"pre-LN": EncoderBlock, "post-LN": PostBlock}
measured = {(kind, depth): by_depth(depth, block) for kind, block in kinds.items() for depth in depths}

figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
for (kind, depth), (deviation, norms) in measured.items():
    style = {2: "o", 6: "s", 12: "^"}[depth] + ("-" if kind == "pre-LN" else "--")
    colour = "C0" if kind == "pre-LN" else "C1"
    for axis, values in zip(axes, (deviation, norms), strict=True):
        axis.plot(range(1, depth + 1), values, style, color=colour, label=f"{kind}, {depth} blocks")
axes[0].set(title="standard deviation of the stream", xlabel="after block", ylim=(0, None))
axes[1].set(title="norm of the gradient of the MLP's first matrix", xlabel="of block", yscale="log")
axes[1].legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

for (kind, depth), (deviation, norms) in measured.items():
    text = f"deviation at the end {deviation[-1]:.2f}, gradient in the last block {norms[-1]:.2f}"
    print(f"{kind:<8} {depth:2d} blocks: {text}")

# %% [markdown]
# Left: the pre-LN stream grows, because everything is added to it; the post-LN stream has deviation 1 after each block.
#
# Right: look at the *last* block of each model, where hardly any chain rule lies in between. In pre-LN the LayerNorms divide by the deviation
# of the stream, so the deeper the model, the smaller the gradient there. [Xiong et al. 2020](https://arxiv.org/abs/2002.04745) derive that it
# falls like $1/\sqrt{L}$, and that in post-LN it does not fall with depth: the same learning rate, applied to more blocks at once, then moves
# the result too far. So they explain why post-LN needs warm-up. (Adam divides by the size of the gradient, so with Adam this cannot be all.)
# The printed numbers, means over a few seeds, say whether the last block behaves so here.
#
# Step 6 was about the direct way alone. The branches contribute too, so the whole gradient in post-LN need not shrink towards the first blocks.
#
# ## Experiment 2: training without warm-up
#
# The same models, trained with AdamW at three learning rates, from the full rate on. Post-LN also gets a second chance, with warm-up
# over 30 % of the updates. Chance level is a loss of $\log 10$.

# %%
updates = full_or_fast(120, 10)
rates = full_or_fast((1e-3, 3e-3, 1e-2), (1e-3, 1e-2))
tried_depths = full_or_fast((2, 6, 12), (2, 6))
settings = {"pre-LN": ("pre-LN", 0.0), "post-LN": ("post-LN", 0.0), "post-LN, warm-up": ("post-LN", 0.3)}


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
figure, axes = plt.subplots(1, len(tried_depths), figsize=(11, 3.4), sharey=True)
for axis, depth in zip(axes, tried_depths, strict=True):
    for name, style in zip(settings, ("o-", "s--", "^:"), strict=True):
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
# Compare the curves at the right end of each panel: the learning rate at which a model stops learning, and how it moves with the depth. The
# verdicts are printed: "did not learn" is a loss above 90 % of chance level. (In fast mode there are too few updates to learn anything.) One
# seed and short runs show the large effect only; small differences between the curves mean nothing here.
#
# The paper uses pre-LN *and* warm-up (section 3.1 and Table 3). Pre-LN makes warm-up less necessary, not useless: Adam's own averages need time to fill
# (notebook [12](12_optimisers.ipynb)).
#
# ## Where this goes wrong in practice
#
# - **The normalised tokens put into the stream**: `x = norm(x); x = x + f(x)`. That is neither pre-LN nor post-LN. The stream is normalised
#   again and again, and the shapes are right.
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
# the stream more than the branch: $\mathbf{z}_\ell = \mathrm{LN}(\alpha\,\mathbf{z}_{\ell-1} + f_\ell(\mathbf{z}_{\ell-1}))$ with
# $\alpha = (2L)^{1/4}$ for $L$ blocks. Take the branches $f_\ell(\mathbf{z}) = \mathbf{z}W_\ell$ and LN as in 10.4, and write the backward
# pass of the whole stack: run forward, keep what is needed, go back.


# %%
def deep_norm_backward(z0, W, alpha, dz_L):
    """z0, dz_L: (N, D), W: (L, D, D), alpha: a number -> dz_0 (N, D), dW (L, D, D)"""
    ...  # your answer here


check("10.5", deep_norm_backward)

# %% [markdown]
# Next: [11, the whole ViT](11_vit.ipynb).

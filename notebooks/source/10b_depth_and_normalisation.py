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
# # 10b Depth and normalisation
#
# LayerNorm can stand in two places. In **pre-LN** it stands at the start of the branch. In **post-LN** it stands on the stream, after the
# sum. The ViT is pre-LN. The first Transformer ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)) and BERT are post-LN. This
# notebook compares gradients and training of deep models in both orders. At the end you will be able to
#
# - write the backward pass of a post-LN layer,
# - estimate the norm of the gradient at every depth, in both orders,
# - say what warm-up, LayerScale and DeepNorm are for, and show what they do.
#
# You need notebook [10](10_residual_stream.ipynb).
#
# **Budget:** 40 s of CPU time (fast mode 8 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored

from minivit import functional as F
from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, digits, fit, full_or_fast
from minivit.lessons.pictures import blocks as pictures
from minivit.models import ViT, ViTConfig
from minivit.nn import EncoderBlock
from minivit.tensor import Tensor, grad, no_grad

rng = np.random.default_rng(10)

# %% [markdown]
# ## Two orders
#
# The boxes are the same. In post-LN the LayerNorms lie on the stream.

# %%
_ = pictures.pre_and_post_ln()

# %% [markdown]
# Pre-LN is Eq. 2 and 3 of the paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), section 3.1). Post-LN is
#
# $$\mathbf{z}'_\ell = \mathrm{LN}\bigl(\mathbf{z}_{\ell-1} + \mathrm{MSA}(\mathbf{z}_{\ell-1})\bigr), \qquad
# \mathbf{z}_\ell = \mathrm{LN}\bigl(\mathbf{z}'_\ell + \mathrm{MLP}(\mathbf{z}'_\ell)\bigr). \tag{post-LN}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$ | tokens, [class] included | number | `N` |
# | $D$ | width of the model | number | `D` |
# | $L$ | blocks, with two branches each | number | `depth` |
# | $\mathbf{z}_{(i)}$ | the stream after $i = 0 \ldots 2L$ branches | $(N, D)$ | `z` |
# | $f$ | a branch: MSA or MLP, in pre-LN with its LayerNorm | $(N, D) \to (N, D)$ | `np.tanh(z @ W)`, `z @ W` |
# | $W$ | matrix of a branch in the examples | $(D, D)$ | `W` |
# | $f^*$ | its pullback: it turns the gradient of the result into the gradient of the input | as $f$ | `ds @ W.T` for `z @ W` |
# | $\mathbf{s}$ | the sum before a LayerNorm on the stream | $(N, D)$ | `z + t`, `s` |
# | $g$ | a gradient that arrives at a LayerNorm or a branch | $(N, D)$ | `dz_out`, `g` |
# | $\hat{x}$ | a normalised token, before scale and bias | $(D)$ | |
# | $\sigma$ | standard deviation of the features of a token; $\sigma_i$ after $i$ branches | number | `s.std()` |
# | $a$ | variance of what a branch adds | number | `a` |
# | $\alpha$ | DeepNorm's factor on the stream | number | `alpha` |
# | $\gamma$ | LayerScale's factor on a branch | $(D)$ | `gamma` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dz`, ... |
# | $\eta$ | learning rate | number | `eta`, `rate` |
#
# ## Backward through a post-LN layer
#
# **Step 1.** One layer is $\mathbf{s} = \mathbf{z} + f(\mathbf{z})$ and $\mathbf{z}_\mathrm{out} = \mathrm{LN}(\mathbf{s})$. The gradient first passes
# the LayerNorm. Then it splits, as in notebook 10:
#
# $$\mathrm{d}\mathbf{s} = \mathrm{LN}^*(\mathrm{d}\mathbf{z}_\mathrm{out}), \qquad \mathrm{d}\mathbf{z} = \mathrm{d}\mathbf{s} + f^*(\mathrm{d}\mathbf{s}).$$
#
# We take the branch $f(\mathbf{z}) = \tanh(\mathbf{z}W)$. `ops.layer_norm` returns a value and a pullback; the pullback returns the gradients of input,
# scale and bias.


# %% tags=["yours"]
def post_ln_layer(z, W, scale, bias):
    """LN(z + tanh(z W)) and its pullback, to dz, dW, dscale, dbias.   z: (N, D), W: (D, D)."""
    t = np.tanh(z @ W)
    z_out, norm_vjp = ops.layer_norm(z + t, scale, bias)

    def vjp(dz_out):
        ds, dscale, dbias = norm_vjp(dz_out)
        dx = ds * (1 - t**2)
        return ds + dx @ W.T, z.T @ dx, dscale, dbias

    return z_out, vjp


# %%
N, D = 5, 6
inputs = [rng.standard_normal(shape) for shape in ((N, D), (D, D), D, D)]
dz_out = rng.standard_normal((N, D))
z, W, scale, bias = (Tensor(x, requires_grad=True) for x in inputs)
z_out = F.layer_norm(z + F.tanh(z @ W), scale, bias)
mine, vjp = post_ln_layer(*inputs)

agree("z_out", mine, z_out)
for name, gradient, engine in zip(
    ("dz", "dW", "dscale", "dbias"), vjp(dz_out), grad(z_out, [z, W, scale, bias], dz_out), strict=True
):
    agree(name, gradient, engine)
print(f"against differences, largest relative error: {check_vjp(post_ln_layer, *inputs):.1e}")

# %% [markdown]
# ## The norm of the gradient
#
# **Step 2: the direct path.** Follow the gradient along the stream, past all branches. In pre-LN nothing lies on this path. In
# post-LN every LayerNorm lies on it. Let its scale be 1 and its bias 0, as at the start. Notebook 05 found for one token, with
# $g = \mathrm{d}\mathbf{z}_\mathrm{out}$,
#
# $$\mathrm{d}\mathbf{s} = \frac{1}{\sigma}\Bigl(g - \mathrm{mean}(g) - \hat{x}\,\mathrm{mean}(g \circ \hat{x})\Bigr),$$
#
# where $\hat{x}$ is the normalised token. The bracket removes two of the $D$ components of $g$. So
#
# $$\lVert \mathrm{d}\mathbf{s} \rVert \le \lVert g \rVert / \sigma.$$
#
# The features of $\mathbf{z}$ have variance 1, because the layer before ended in a LayerNorm. An independent branch of variance $a$ makes
# $\sigma = \sqrt{1 + a}$. So each LayerNorm multiplies the norm of the direct gradient by about $1/\sqrt{1 + a}$.
#
# **Step 3: all paths.** Take a random branch $f(\mathbf{z}) = \mathbf{z}W$, with independent entries of mean 0 and variance $a/D$ in $W$. It
# turns variance 1 into variance $a$. Its pullback $g \mapsto gW^\top$ multiplies the norm of a gradient by about $\sqrt{a}$. The result
# has a random direction, nearly at right angles to $g$. So the squares of the norms add up.
#
# - **post-LN**: $\lVert \mathrm{d}\mathbf{s} + f^*(\mathrm{d}\mathbf{s}) \rVert \approx \sqrt{1 + a}\,\lVert \mathrm{d}\mathbf{s} \rVert$. This cancels the factor of the
#   LayerNorm. The whole gradient keeps its norm, but nearly all of it has come through branches.
# - **pre-LN**: here $f(\mathbf{z}) = \mathrm{LN}(\mathbf{z})\,W$, and $f^*$ contains the $1/\sigma$ of its LayerNorm. So the norm of the gradient grows by
#   the factor $\sqrt{1 + a/\sigma^2}$. Forwards, the variance of the stream grows from $\sigma^2$ to $\sigma^2 + a$. So the deviation grows by the
#   same factor. Over many layers
#
# $$\lVert \mathrm{d}\mathbf{z}_{(i)} \rVert \approx \frac{\sigma_{2L}}{\sigma_i}\,\lVert \mathrm{d}\mathbf{z}_{(2L)} \rVert. \tag{pre-LN}$$
#
# In a model, $\mathrm{d}\mathbf{z}_{(2L)}$ comes out of the last LayerNorm (Eq. 4), which divides by $\sigma_{2L}$. So the gradient after $i$ branches is
# proportional to $1/\sigma_i$. It is largest in the first blocks. There its norm does not depend on the depth of the model.
#
# **Step 4: two remedies.** *DeepNorm* ([Wang et al. 2022](https://arxiv.org/abs/2203.00555)) is post-LN with a heavier stream,
# $\mathrm{LN}(\alpha\,\mathbf{z} + f(\mathbf{z}))$ with $\alpha = (2L)^{1/4}$ in an encoder. Then $\sigma^2 = \alpha^2 + a$. Each layer multiplies the norm
# of the direct gradient by $\alpha/\sigma = 1/\sqrt{1 + a/\alpha^2}$, which is nearer to 1. (Some weights of the branches are also multiplied
# by $(8L)^{-1/4}$ at the start.)
# *LayerScale* ([Touvron et al. 2021](https://arxiv.org/abs/2103.17239)) is pre-LN with lighter branches,
# $\mathbf{z} + \gamma \circ f(\mathbf{z})$, where the learned $\gamma$ starts small. If all its entries are equal, each branch adds only the
# variance $\gamma^2 a$.


# %%
def normalise(z):
    """LayerNorm with scale 1 and bias 0, and its pullback.   z: (1, D)."""
    width = z.shape[1]
    y, vjp = ops.layer_norm(z, np.ones(width), np.zeros(width))
    return y, lambda g: vjp(g)[0]


def post_chain(a, alpha, layers, width):
    """One token through many layers LN(alpha z + z W).   -> the W, the pullbacks of LN, the product of all alpha / sigma."""
    z, matrices, pullbacks, product = normalise(rng.standard_normal((1, width)))[0], [], [], 1.0
    for _ in range(layers):
        W = rng.standard_normal((width, width)) * np.sqrt(a / width)
        s = alpha * z + z @ W
        z, pull = normalise(s)
        matrices.append(W)
        pullbacks.append(pull)
        product *= alpha / s.std()
    return matrices, pullbacks, product


# %% tags=["yours"]
def post_back(matrices, pullbacks, alpha, g):
    """The gradient before the chain from that after it, on the direct path and on all paths.   g: (1, D)."""
    direct = whole = g
    for W, pull in zip(reversed(matrices), reversed(pullbacks), strict=True):
        direct = alpha * pull(direct)
        ds = pull(whole)
        whole = alpha * ds + ds @ W.T
    return direct, whole


# %%
def post_lengths(a, alpha=1.0, layers=24, width=64):
    """Norms of the gradient before the chain over that after it, direct path and all paths; then the product."""
    matrices, pullbacks, product = post_chain(a, alpha, layers, width)
    g = rng.standard_normal((1, width))
    return [np.linalg.norm(x) / np.linalg.norm(g) for x in post_back(matrices, pullbacks, alpha, g)] + [product]


def pre_lengths(a, gamma=1.0, layers=24, width=64):
    """Norm of the gradient before a chain of z + gamma LN(z) W over that after it; then sigma at the end."""
    z, steps = normalise(rng.standard_normal((1, width)))[0], []
    for _ in range(layers):
        W = gamma * rng.standard_normal((width, width)) * np.sqrt(a / width)
        u, pull = normalise(z)
        z = z + u @ W
        steps.append((W, pull))
    g = whole = rng.standard_normal((1, width))
    for W, pull in reversed(steps):
        whole = whole + pull(whole @ W.T)
    return [np.linalg.norm(whole) / np.linalg.norm(g), z.std()]


# %% [markdown]
# **Predict first.** There are 24 branches, as in 12 blocks. Each adds the variance $a = 1$. By what factor is the norm of the direct
# gradient multiplied in post-LN? And in DeepNorm with $\alpha^2 = \sqrt{24} \approx 4.9$?

# %%
runs = full_or_fast(300, 20)
alpha = 24**0.25
for a in (0.25, 1.0):
    print(f"a = {a}, mean of {runs} chains and its standard error; in brackets what the argument expects")
    for name, factor in (("post-LN", 1.0), ("DeepNorm", alpha)):
        lengths = np.array([post_lengths(a, factor) for _ in range(runs)])
        (direct, whole, product), (e_direct, e_whole, _) = lengths.mean(axis=0), lengths.std(axis=0) / np.sqrt(runs)
        expected = (1 + a / factor**2) ** -12.0
        print(
            f"  {name:<10} direct {direct:.1e} +- {e_direct:.0e} ({expected:.1e}; product {product:.1e}), "
            f"all paths {whole:.2f} +- {e_whole:.2f} (1.00)"
        )
    for name, gamma in (("pre-LN", 1.0), ("LayerScale", 0.1)):
        lengths = np.array([pre_lengths(a, gamma) for _ in range(runs)])
        (whole, sigma), (e_whole, _) = lengths.mean(axis=0), lengths.std(axis=0) / np.sqrt(runs)
        expected = np.sqrt(1 + 24 * gamma**2 * a)
        print(f"  {name:<10} all paths {whole:.2f} +- {e_whole:.2f} ({expected:.2f}), deviation at the end {sigma:.2f}")

for width in (64, 512):  # z W has independent entries of variance a = 1 for a normalised z
    s = normalise(rng.standard_normal((10_000, width)))[0] + rng.standard_normal((10_000, width))
    variance = s.var(axis=1)  # its mean is 1 + (1 - 1 / width)
    of_mean = 1 / np.sqrt(1 - 1 / (2 * width)) - 1
    of_scatter = (1 / np.sqrt(variance)).mean() * np.sqrt(variance.mean()) - 1
    print(
        f"width {width}, a = 1: sigma^2 scatters by {variance.std() / 2:.0%}; 1/sigma is too large by "
        f"{of_mean:.2%} (its mean) and {of_scatter:.2%} (the scatter)"
    )
wide = [post_lengths(1.0, width=512) for _ in range(full_or_fast(20, 2))]
print("post-LN, a = 1, width 512: direct {:.1e}, product {:.1e}".format(*np.mean(wide, axis=0)[[0, 2]]))

# %% [markdown]
# The width $D$ is finite, so $1/\sigma$ is on average a little larger than $1/\sqrt{1 + a}$. There are two reasons. First, the variance of a
# token's features is taken about their own mean. So the variance of $\mathbf{z}W$ is $(1 - 1/D)\,a$ on average. Second, $\sigma^2$ scatters
# from token to token. $1/\sqrt{x}$ is a convex function, so the scatter makes its mean larger.
#
# **In the stored run** the norm of the direct gradient in post-LN is multiplied by 3.0e-04 for $a = 1$, and by 1.1e-01 in DeepNorm. On all
# paths the factors are near the expected ones: 0.97 in post-LN, 0.99 in DeepNorm, 5.00 in pre-LN and 1.11 with LayerScale. The argument
# expects 2.4e-04 for post-LN. With 64 features the two reasons make $1/\sigma$ too large by 0.39 % and 0.90 %. The layers multiply this excess, so
# the product of all $1/\sigma$ is 3.4e-04. The two components that $\mathrm{LN}^*$ removes bring it down to 3.0e-04. With 512 features
# $\sigma^2$ scatters by 5 %, not by 15 %, and the direct norm is 2.5e-04.
#
# ## Experiment 1: before training
#
# We build ViTs for the digits in three ways: pre-LN, post-LN, and post-LN with DeepNorm. They start at the published initial values. In
# DeepNorm some of them are then multiplied by $(8L)^{-1/4}$. The head is random, not zero, so that there is a gradient. All keep the last
# LayerNorm of the ViT. In post-LN it changes nothing at the start, because its input is normalised already.
#
# A block of the library has three options. `rng` draws dropout, which is off here. `tap` collects values. `queries` is the number of
# tokens that are still needed: the last block computes only the [class] token, but its attention reads all tokens.


# %% tags=["yours"]
def post_forward(block, x, rng=None, tap=None, queries=None):
    """LN(alpha z + f(z)) for both branches of a block, alpha being `block.alpha`.   x: (B, N, D).

    queries: None, or the number of tokens to compute, the first ones. `block.attention(x, rng, tap, queries)` and
    `block.mlp(z, rng)` are the branches, `block.norm1` and `block.norm2` the LayerNorms.
    """
    z = x if queries is None else x[:, :queries]
    z = block.norm1(z * block.alpha + block.attention(x, rng, tap, queries))
    return block.norm2(z * block.alpha + block.mlp(z, rng))


# %%
class PostBlock(EncoderBlock):
    """The parts of a block, normalised after the sums."""

    alpha = 1.0

    def forward(self, x, rng=None, tap=None, queries=None):
        z = post_forward(self, x, rng, tap, queries)
        if tap is not None:
            tap["output"] = z
        return z


def build(depth, kind, seed=0):
    """A ViT for the digits with `depth` blocks: "pre-LN", "post-LN" or "DeepNorm"."""
    config = ViTConfig(
        image_size=8, patch_size=2, width=32, depth=depth, heads=4, mlp_width=64, num_classes=10, channels=1
    )
    model = ViT(config, seed)
    for block in model.blocks if kind != "pre-LN" else ():
        block.__class__ = PostBlock  # the same parameters, another forward
        if kind == "DeepNorm":
            block.alpha = (2 * depth) ** 0.25
            block.attention.qkv.weight.data[:, 2 * 32 :] *= (8 * depth) ** -0.25  # values, not queries and keys
            for layer in (block.attention.out, block.mlp.hidden, block.mlp.out):
                layer.weight.data *= (8 * depth) ** -0.25
    return model


# %% [markdown]
# We measure three things.
#
# - The deviation of the [class] token after each block. The head reads this token.
# - The norm of the gradient of the MLP's first matrix in each block. This gradient is the input of the matrix, transposed, times the
#   gradient of its output. The input is normalised in both orders. So the norm shows how large the gradient in the branch is. In pre-LN
#   step 3 expects it to be proportional to $1/\sigma_i$. Then the product of deviation and norm is the same in all blocks.
# - The change of the logits after one small update of all blocks. Experiment 2 trains with Adam (notebook [12](12_optimisers.ipynb)). Adam
#   divides each gradient by its recent size. So its first update moves *every* weight by about $\eta$, against the sign of its
#   gradient. We do this by hand.
#
# In DeepNorm the pullback of LayerNorm divides by $\sigma \approx \alpha$, and the MLP's second matrix is smaller. Both make the gradients
# in the branches smaller.

# %%
train, _ = digits()
images, labels = normalize(train.images[:128]), train.labels[:128]
seeds = range(full_or_fast(20, 2))
eta = 1e-4


def measure(depth, kind, seed):
    """Deviation after each block, gradient norm of each block (both (depth,)), change of the logits relative to their size."""
    model, tap = build(depth, kind, seed), {}
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


def mean_and_error(values):
    """Mean over the seeds (the first axis), and its standard error."""
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


# %% [markdown]
# **Predict first.** A model gets 12 blocks instead of 2. By what factor does the change of the logits grow, in each of the three? In which
# is it largest? Where is the gradient largest in pre-LN?

# %%
depths = (2, 6, 12)
kinds = ("pre-LN", "post-LN", "DeepNorm")
measured = {
    (kind, depth): [np.array(values) for values in zip(*(measure(depth, kind, seed) for seed in seeds), strict=True)]
    for kind in kinds
    for depth in depths
}

# %%
figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
styles = dict(zip(kinds, ("C0o-", "C1s-", "C2^:"), strict=True))
for kind in kinds:
    deviation, norms, change = measured[kind, 12]
    for axis, values in ((axes[0, 0], deviation), (axes[0, 1], deviation * norms)):
        axis.errorbar(range(1, 13), *mean_and_error(values), fmt=styles[kind], capsize=3, label=kind)
    points = zip(*(mean_and_error(100 * measured[kind, depth][2]) for depth in depths), strict=True)
    axes[0, 2].errorbar(depths, *points, fmt=styles[kind], capsize=3, label=kind)
for axis, kind in zip(axes[1], kinds, strict=True):
    for depth, line, colour, shift in zip(
        depths, ("^:", "s--", "o-"), ("C7", "C4", "k"), (-0.15, 0, 0.15), strict=True
    ):
        place = np.arange(1, depth + 1) + shift
        result = mean_and_error(measured[kind, depth][1])
        axis.errorbar(place, *result, fmt=line, color=colour, capsize=3, label=f"{depth} blocks")
    axis.set(title=f"{kind}: gradient of\nthe MLP's first matrix", xlabel="in block", ylabel="norm", ylim=(0, 2.2))
axes[0, 0].set(title="deviation of the [class] token,\n12 blocks", xlabel="after block", ylabel="standard deviation")
axes[0, 1].set(
    title="deviation times norm of the\ngradient, 12 blocks", xlabel="block", ylabel="product", ylim=(0, 2.2)
)
axes[0, 2].set(
    title="logits after one update by $10^{-4}$", xlabel="blocks of the model", ylabel="relative change in %"
)
for axis in axes.flat:
    axis.set_xticks(range(2, 13, 2))
    axis.set_ylim(0, None)
    axis.legend()
plt.show()

# %%
for (kind, depth), (_, norms, change) in measured.items():
    first, last, moved = (
        "{:.2f} +- {:.2f}".format(*mean_and_error(x)) for x in (norms[:, 0], norms[:, -1], change * 100)
    )
    print(f"{kind:<8} {depth:2d} blocks: gradient in block 1 {first}, in the last {last}; logits change by {moved} %")

deviation, norms, _ = measured["pre-LN", 12]
product = [f"{mean:.2f} +- {error:.2f}" for mean, error in zip(*mean_and_error(deviation * norms), strict=True)]
print("pre-LN, 12 blocks, deviation times norm in blocks 1, 4, 8, 12:", ", ".join(product[i] for i in (0, 3, 7, 11)))
growth = (f"{kind} {measured[kind, 12][2].mean() / measured[kind, 2][2].mean():.1f}" for kind in kinds)
print("change of the logits with 12 blocks, divided by that with 2:", ", ".join(growth))

# %% [markdown]
# Bars and $\pm$ are standard errors over the seeds. In the lower panels the points are moved aside a little, so that the bars can be told
# apart. Step 3 holds only roughly here. Attention averages over tokens, GELU is not linear, and the [class] token starts with the small
# deviation of its position embedding.
#
# **In the stored run** the gradient of pre-LN with 12 blocks falls from 1.35 in block 1 to 0.32 in the last. The product of deviation and
# norm is nearly constant: 1.11, 1.14, 0.99 and 1.05 in blocks 1, 4, 8 and 12. In block 1 the three depths do not differ beyond their
# errors: 1.42, 1.25 and 1.35. In the last block of post-LN they do not differ either: 1.08, 1.04 and 0.95. The update changes the logits
# of 12 blocks by 26.09 % in post-LN, by 11.32 % in pre-LN and by 5.39 % in DeepNorm. That is 7.6, 2.7 and 1.9 times the change with 2
# blocks.
#
# [Xiong et al. 2020](https://arxiv.org/abs/2002.04745) derive how the gradient *in the last block* depends on the depth. In pre-LN it falls like
# $1/\sqrt{L}$, which is $1/\sigma$ again. In post-LN it does not fall. They conclude that a large learning rate makes post-LN unstable
# near the output. But Adam divides by the size of the gradient, so for Adam this cannot be the whole story.
# [Liu et al. 2020](https://arxiv.org/abs/2004.08249) look at the *update* instead. In post-LN the output depends more strongly on each
# branch. So the same change of the weights changes the output more, and this effect grows with the depth. In post-LN each branch has the
# share $a/(1+a)$ of the variance of its own sum, at every depth. In pre-LN the end of the stream is divided by $\sigma_{2L}$. So with
# more branches each of them weighs less.
#
# ## Experiment 2: training with and without warm-up
#
# We build and train ViTs in six ways, at five learning rates, with 2 and with 12 blocks. Adam makes 120 updates. **Warm-up** means that
# the rate rises from 0 during the first 30 % of the updates. Without it the rate is full from the first update. In both cases the rate
# then falls to 0 along half a cosine (notebook 12). DeepNorm and LayerScale have no warm-up. LayerScale starts at $\gamma = 0.1$. The
# head starts at zero, as published; in experiment 1 it was random. The result is the mean training loss over the last 20 updates.
# A model that gives every class the probability 1/10 has the loss $\log 10 \approx 2.30$.
#
# First we run two of these settings here, once each.


# %%
def final_loss(kind, depth, rate, warmup=0.0):
    """Mean training loss over the last 20 updates."""
    model, updates = build(depth, kind), full_or_fast(120, 20)
    history = fit(model, train, updates, batch_size=64, lr=rate, warmup=warmup, weight_decay=0.0, clip_norm=None)
    return np.mean([result.loss for result in history[-20:]])


deep = full_or_fast(12, 6)
for kind in ("pre-LN", "post-LN"):
    print(f"{kind:<8} {deep} blocks, learning rate 0.004: loss {final_loss(kind, deep, 4e-3):.2f}")

# %% [markdown]
# All settings take a quarter of an hour. To run them, call `python -m experiments.norm_depth` in the folder `notebooks`. The stored record
# has 5 seeds for each point.
#
# **Predict first.** Which of the six reaches the lowest loss with 12 blocks? Which of them stops learning first when the rate grows?
# Does warm-up cure it?

# %%
stored = record.read("norm_depth")["results"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
styles = dict(zip(stored, ("C0o-", "C0o:", "C1s-", "C1s:", "C2^-", "C3D-"), strict=True))
for axis, depth in zip(axes, ("2", "12"), strict=True):
    for name, by_depth in stored.items():
        rates = [float(rate) for rate in by_depth[depth]]
        points = np.transpose([mean_and_error(losses) for losses in by_depth[depth].values()])
        axis.errorbar(rates, *points, fmt=styles[name], capsize=3, label=name)
    axis.axhline(np.log(10), color="grey", linewidth=1, label=r"$\log 10$: all classes equally likely")
    axis.set(title=f"{depth} blocks", xlabel="learning rate", xscale="log", ylim=(0, 2.5))
    axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axis.minorticks_off()
axes[0].set_ylabel("training loss at the end")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

print("mean loss at the rates", ", ".join(f"{rate:g}" for rate in rates))
for name, by_depth in stored.items():
    for depth, runs in by_depth.items():
        row = "  ".join("{:.2f} +- {:.2f}".format(*mean_and_error(losses)) for losses in runs.values())
        failed = sum(loss > 0.95 * np.log(10) for losses in runs.values() for loss in losses)
        print(f"{name:<16} {depth:>2} blocks: {row}   {failed} of {sum(map(len, runs.values()))} did not learn")

# %% [markdown]
# "Did not learn" means a loss above 95 % of $\log 10$.
#
# **In the stored run** every model with 2 blocks learns, at every rate. With 12 blocks, post-LN without warm-up fails in 18 of 25 runs. At
# rates of 0.004 and above every run fails. Warm-up helps at 0.002 (1.66 +- 0.10 instead of 2.16 +- 0.07), but 14 of 25 runs still fail.
# Pre-LN always learns. DeepNorm learns at rates up to 0.008. With 12 blocks LayerScale reaches the lowest loss, 0.38.
#
# The experiment shows that this post-LN model with 12 blocks needs smaller rates than the others, in 120 updates. It does not decide
# which of the two explanations above is right. The paper uses pre-LN and warm-up (section 3.1 and Table 3). It does not compare them
# with post-LN.
#
# ## Where this goes wrong in practice
#
# - **A deeper model with the learning rate of the shallow one.** Lower the rate, add warm-up, or make the branches smaller at the
#   start.
# - **Weights of a pre-LN model in a post-LN model.** Names and shapes of the parameters are the same, so they load without an error.
# - **The last LayerNorm left out when changing post-LN to pre-LN.** A post-LN block ends in a LayerNorm. A pre-LN model needs an extra
#   one at the end (Eq. 4).
# - **LayerScale with a large learning rate.** Adam's first updates move $\gamma$ by about the learning rate. If $\gamma$ is $10^{-5}$ and
#   the rate $10^{-3}$, that is a hundred times its size.
#
# ## Exercises
#
# `hint("10b.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **10b.1 (two lines).** A pre-LN model has $L = 12$ blocks. The features of $\mathbf{z}_0$ have variance 1. Each branch adds features of
# variance 1 that are independent of the stream. What is the variance of the features of $\mathbf{z}_L$?

# %%
answer = None  # your answer here: a number

check("10b.1", answer)

# %% [markdown]
# **10b.2 (ten minutes).** LayerScale multiplies each feature of a branch by a learned factor:
# $\mathbf{z}_\mathrm{out} = \mathbf{z} + \gamma \circ f$, with $\gamma$ of shape $(D)$. Given $f$, $\gamma$ and $\mathrm{d}\mathbf{z}_\mathrm{out}$,
# return the gradients along the stream, of $\gamma$, and of $f$.


# %%
def layer_scale_backward(f, gamma, dz_out):
    """f, dz_out: (B, N, D), gamma: (D,) -> dz (along the stream only), dgamma, df"""
    ...  # your answer here


check("10b.2", layer_scale_backward)

# %% [markdown]
# **10b.3 (twenty minutes).** A third order: *res-post-norm* ([Liu et al. 2021](https://arxiv.org/abs/2111.09883)) normalises the result of
# the branch before it is added, $\mathbf{z}_\mathrm{out} = \mathbf{z} + \mathrm{LN}(\mathbf{z}W)$. Scale is 1, bias 0 and epsilon $10^{-6}$. Write the
# backward pass.


# %%
def res_post_norm_backward(z, W, dz_out):
    """z, dz_out: (N, D), W: (D, D) -> dz (N, D), dW (D, D)"""
    ...  # your answer here


check("10b.3", res_post_norm_backward)

# %% [markdown]
# **10b.4 (an hour).** A DeepNorm stack has $m$ layers with one branch each:
# $\mathbf{z}_{(i)} = \mathrm{LN}(\alpha\,\mathbf{z}_{(i-1)} + \mathbf{z}_{(i-1)}W_i)$ for $i = 1 \ldots m$, with LN as in 10b.3. Write its backward pass: run
# forward, keep what is needed, go back. `alpha` is given; use it as it is.


# %%
def deep_norm_backward(z0, W, alpha, dz_out):
    """z0, dz_out: (N, D), W: (m, D, D), alpha: a number -> dz_0 (N, D), dW (m, D, D)"""
    ...  # your answer here


check("10b.4", deep_norm_backward)

# %% [markdown]
# Next: [11, the whole ViT](11_vit.ipynb).

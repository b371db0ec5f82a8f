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
# # 19 [class] token or pooling
#
# After the last block there are many tokens, and the classifier needs one vector. The paper prepends a learned **[class] token** and reads that one (Eq. 4).
# A convolutional network would take the mean over all places instead: **global average pooling** (GAP), or mean pooling. Appendix D.3 of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) tells how the authors first found pooling much worse, and then found out why: it needed
# another learning rate (Figure 9). They kept the token to stay close to the Transformer for text. At the end you will be able to
#
# - write both heads and their backward passes, and say which tokens get a gradient from each,
# - compare two methods fairly: each at its own best learning rate, over several seeds,
# - add the tanh layer that the paper pre-trains with.
#
# You need notebooks [04](04_tokens_and_positions.ipynb), [07](07_attention.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 180 s of CPU time (fast mode 15 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(19)

# %% [markdown]
# ## The equations
#
# The encoder ends with tokens $\mathbf{z}_L$, of which row 0 is the [class] token if there is one. Both heads end in the same linear layer; they differ in the
# vector $\mathbf{y}$ that they give it:
#
# $$\text{token:}\quad \mathbf{y} = \mathrm{LN}(\mathbf{z}_L^0) \tag{Eq. 4}$$
#
# $$\text{mean pooling (D.3):}\quad \mathbf{y} = \frac1N \sum_{i=1}^{N} \mathrm{LN}(\mathbf{z}_L^i)$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$, $D$, $L$ | patches, width, blocks | numbers | `N`, `D` |
# | $\mathbf{z}_L^i$ | token $i$ after the last block: 0 is [class], 1 to $N$ are patches | $(D,)$ | |
# | $\mathrm{LN}$ | LayerNorm, notebook 05 | $(D,) \to (D,)$ | `F.layer_norm` |
# | $\mathbf{x}$ | tokens after the LayerNorm, $\mathrm{LN}(\mathbf{z}_L)$ | $(N, D)$, with a [class] token $(N + 1, D)$ | `x` |
# | $\mathbf{y}$ | what the classifier reads | $(D,)$ | `y` |
# | $\mathrm{d}\mathbf{y}$, $\mathrm{d}\mathbf{x}$ | gradients of the loss | as $\mathbf{y}$, $\mathbf{x}$ | `dy`, `dx` |
#
# The published code has no [class] token at all with pooling, and takes the mean after the LayerNorm, over all tokens. In the code its patches are therefore
# the rows 0 to $N - 1$.
#
# ## Forward and backward
#
# The mean as a loop, and as one call. The same random rows serve both heads here; a model has either a [class] token in row 0 or only patches.

# %%
N, D = 5, 3
x = rng.standard_normal((N, D))

y_loops = np.zeros(D)
for i in range(N):
    for c in range(D):
        y_loops[c] += x[i, c] / N

y_pool = x.mean(axis=0)  # x read as the N patches of a model without [class] token
y_token = x[0]  # x read as the tokens of a model whose row 0 is the [class] token
agree("mean", y_pool, y_loops)

# %% [markdown]
# **Backward.** Pooling: $y_c = \frac1N\sum_i x_{ic}$, so $\partial y_c/\partial x_{ic} = 1/N$ for every token $i$, and for no other feature. Each token gets
# the same gradient:
#
# $$\mathrm{d}\mathbf{x}_i = \tfrac1N\,\mathrm{d}\mathbf{y} \quad\text{for all } i.$$
#
# Token: $\mathbf{y} = \mathbf{x}_0$, so $\mathrm{d}\mathbf{x}_0 = \mathrm{d}\mathbf{y}$, and all other tokens get zero.

# %%
dy = rng.standard_normal(D)
dx_pool = np.repeat(dy[None] / N, N, axis=0)
dx_token = np.zeros((N, D))
dx_token[0] = dy

tx = Tensor(x, requires_grad=True)
agree("dx, pooling", dx_pool, grad(tx.mean(axis=0), [tx], dy)[0])
agree("dx, token", dx_token, grad(tx[0], [tx], dy)[0])


# %% [markdown]
# As an op, value and pullback together, checked numerically with a random cotangent:


# %%
def mean_pooling(x):
    """y = mean over the tokens.   x: (N, D), y: (D,)."""

    def vjp(dy):
        return (np.zeros_like(x) + dy / len(x),)

    return x.mean(axis=0), vjp


print(f"largest relative error of the gradient: {check_vjp(mean_pooling, x):.1e}")

# %% [markdown]
# ## The library
#
# Both heads are in `ViT.classify`; look for `classifier`. `encoded` holds all tokens after the last LayerNorm. (`tap` collects intermediate results. With the
# token head and no tap the last block computes only the rows that are read.)

# %%
show_source(ViT.classify)

# %% [markdown]
# ## Which tokens get a gradient?
#
# With the token head only row 0 gets one *directly*. The patches of the last layer hear of the loss through attention: the [class] token's query looks at
# their keys and values. We measure the size of the gradient at each token, once at the input of the last block and once at its output.

# %%
train, test = digits()


def model_of(head, seed=0, depth=3):
    """A small ViT for the digits with one of the three heads."""
    choices = {
        "token": {"classifier": "token"},
        "token, tanh": {"classifier": "token", "representation_size": 32},
        "pooling": {"classifier": "gap"},
    }
    config = ViTConfig(
        image_size=8, patch_size=2, width=32, depth=depth, heads=4, channels=1, num_classes=10, **choices[head]
    )
    return ViT(config, seed=seed)


def gradient_per_token(model, images, labels):
    """Length of the loss's gradient at each token, mean over images; at input and output of the last block."""
    tap = {}
    loss = F.cross_entropy(model(images, tap=tap), labels)
    last = model.config.depth - 1
    places = [tap[f"block{last - 1}/output"], tap[f"block{last}/output"]]
    return [np.linalg.norm(g, axis=-1).mean(axis=0) for g in grad(loss, places)]


images = train.images[:64].astype(np.float32) / 127.5 - 1
labels = train.labels[:64]
figure, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained", sharey=True)
for axis, head in zip(axes, ("token", "pooling"), strict=True):
    model = model_of(head)
    fit(model, train, full_or_fast(60, 5), lr=3e-3)  # the head of a fresh model is zero and passes no gradient on
    before, after = gradient_per_token(model, images, labels)
    places = np.arange(len(before))
    axis.bar(places - 0.2, before, 0.4, label="input of the last block")
    axis.bar(places + 0.2, after, 0.4, label="its output", hatch="//")
    axis.set(title=head, xlabel="token (0 is [class])" if head == "token" else "token", xticks=places[::2])
    axis.set_yscale("symlog", linthresh=1e-6)
    zeros = int((after == 0).sum())
    print(f"{head}: {zeros} of {len(after)} tokens have no gradient at all at the output of the last block")
axes[0].set_ylabel("size of the gradient")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# Left, the hatched bars of the patches have the height 0: what the last block makes of a patch nobody reads. At its input the patches have a gradient, through
# their keys and values alone; compare it with that of the [class] token, and with the bars on the right, where all tokens are read alike. Why the heads should
# want different learning rates this does not explain (Adam divides the size of a gradient out again, notebook [12](12_optimisers.ipynb)), nor does the paper.
#
# ## Experiment: the learning rate decides
#
# A comparison in the manner of the paper's Figure 9, with more learning rates. At a single rate we would compare how well that rate suits each head. The third
# head is the one that the paper pre-trains with (section 3.1, D.3): an MLP with one hidden layer and tanh.
#
# Every point is the mean over seeds, with its standard error, $s/\sqrt n$: $s$ is the standard deviation over the $n$ seeds.

# %%
heads = ["token", "token, tanh", "pooling"]
rates = full_or_fast([1e-3, 3e-3, 1e-2, 3e-2, 1e-1], [3e-3, 3e-2])
seeds = full_or_fast(range(3), range(2))
steps = full_or_fast(150, 10)

results = {head: np.zeros((len(rates), len(seeds))) for head in heads}
for head in heads:
    for i, lr in enumerate(rates):
        for j, seed in enumerate(seeds):
            model = model_of(head, seed)
            fit(model, train, steps, lr=lr, seed=seed)
            results[head][i, j] = accuracy(model, test)

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (head, values), marker in zip(results.items(), "osD", strict=True):
    error = values.std(axis=1, ddof=1) / np.sqrt(len(seeds))
    axes.errorbar(rates, values.mean(axis=1), error, marker=marker, capsize=3, label=head)
axes.set(
    xscale="log",
    xlabel="learning rate",
    ylabel="accuracy on the test digits",
    title=f"{steps} steps, {len(seeds)} seeds",
)
axes.legend()
plt.show()

# %%
best = {}
for head, values in results.items():
    i = int(values.mean(axis=1).argmax())
    best[head] = values[i].mean(), values[i].std(ddof=1) / np.sqrt(len(seeds))
    print(f"{head:<12} best at {rates[i]:g}: {best[head][0]:.1%} ± {best[head][1]:.1%}")

print("\ntoken minus pooling, in percentage points:")
for i, lr in enumerate(rates):
    difference = 100 * (results["token"][i] - results["pooling"][i])  # seed by seed
    print(f"  both at {lr:<6g} {difference.mean():+6.1f} ± {difference.std(ddof=1) / np.sqrt(len(seeds)):.1f}")
print(f"  each at its best {100 * (best['token'][0] - best['pooling'][0]):+.1f}")
p = best["token"][0]
print(f"another {len(test)} test digits would move an accuracy by about ± {100 * np.sqrt(p * (1 - p) / len(test)):.1f}")

# %% [markdown]
# Compare the difference of the heads at their best with those at a common rate. The paper's finding (D.3) is that the first is small: the difference in
# performance came from the learning rate alone. There pooling did badly at the rate that suited the token. Look which head suffers here, and where: the
# lesson, that one common rate can favour either head, does not depend on the direction.
#
# The errors after ± are those of the seeds; so few of them give only a rough idea. The choice of test images, in the last line, comes on top (less of it for a
# difference, since the images are the same). Differences of one or two points are not resolved here.
#
# The tanh layer is one more layer between the blocks and the loss. If it does worse here, the experiment does not say why; the paper uses it for pre-training,
# which is long.
#
# Both heads are in use: DeiT ([Touvron et al. 2021](https://arxiv.org/abs/2012.12877)) reads the token, a later plain ViT of some of the authors
# ([Beyer et al. 2022](https://arxiv.org/abs/2205.01580)) pools.
#
# One caution in the other direction: the best of several rates was chosen here by the test accuracy, for each head alike. For a fair *ranking* of the heads
# that is enough; as an estimate of the accuracy on new images it is a little too high (notebook [13](13_training.ipynb)).
#
# ## Where this goes wrong in practice
#
# - **Pooling over the [class] token too.** A model that has one and pools must leave row 0 out. The published code has none with pooling.
# - **LayerNorm before or after the mean?** Before it in the paper's code, after it in some later models (`fc_norm` in the fine-tuning of MAE and BEiT). Weights trained the one way fail the other way.
# - **One learning rate for all methods** in a comparison. It measures the author's habits.
# - **The tanh layer kept for fine-tuning.** The paper removes the whole pre-training head and attaches a zero-initialised linear layer (section 3.2).
#
# ## Exercises
#
# **19.1 (two lines).** How many parameters fewer has a ViT of width $D$ with mean pooling, as in the published code, than one that reads its [class] token,
# everything else being equal? (Position embeddings count.)


# %%
def parameters_saved(D):
    """D: width -> a number"""
    ...  # your answer here


check("19.1", parameters_saved)

# %% [markdown]
# **19.2 (ten minutes).** In a batch of images of different sizes some tokens are padding. Write mean pooling that leaves them out, and its backward pass, in NumPy.


# %%
def masked_pooling(x, real, dy):
    """x: (B, N, D); real: (B, N), 1 for a token and 0 for padding; dy: (B, D) -> y (B, D), dx (B, N, D)"""
    ...  # your answer here


check("19.2", masked_pooling)

# %% [markdown]
# **19.3 (fifteen minutes).** Somebody replaces the mean by the *maximum* over the tokens, feature by feature. Write its backward pass in NumPy; no two tokens are equal
# in any feature.


# %%
def max_pooling_backward(x, dy):
    """x: (N, D), dy: (D,) -> dx (N, D) for y = max over the tokens"""
    ...  # your answer here


check("19.3", max_pooling_backward)

# %% [markdown]
# **19.4 (an hour).** Between the two heads lies a third: let a learned vector $p$, the *probe*, decide how much each token counts (attention pooling, as in
# Zhai et al. 2022, reduced to one head and no projections):
#
# $$a = \mathrm{softmax}(\mathbf{x} p / \sqrt D), \qquad \mathbf{y} = \sum_i a_i \mathbf{x}_i.$$
#
# With $p = 0$ it is mean pooling. In NumPy, write $\mathbf{y}$ and the gradients of $\mathbf{x}$ and $p$. Each token enters twice: count both ways.


# %%
def attention_pooling(x, p, dy):
    """x: (N, D), p: (D,), dy: (D,) -> y (D,), dx (N, D), dp (D,)"""
    ...  # your answer here


check("19.4", attention_pooling)

# %% [markdown]
# Next: [20, the hybrid](20_hybrid.ipynb).

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
# After the last block there are many tokens, and the classifier needs one vector. The paper prepends a learned
# **[class] token** and reads that one (Eq. 4). A convolutional network would take the mean over all places instead:
# **global average pooling** (GAP), or mean pooling. Appendix D.3 of the paper
# ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) reports that pooling first looked much worse, and that
# the reason was the learning rate (Figure 9). At the end you will be able to
#
# - write both heads and their backward passes, and say which tokens get a gradient from each,
# - compare two methods fairly: each at its own learning rate, chosen on held-out images, over several seeds,
# - add the tanh layer that the paper pre-trains with.
#
# A **head** is here the last part of the model, from the tokens to the logits. It has nothing to do with the heads of
# attention.
#
# You need notebooks [04](04_tokens_and_positions.ipynb), [07](07_attention.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 180 s of CPU time (fast mode 15 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit.data import Augment, eval_batches
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad, no_grad

rng = np.random.default_rng(19)

# %% [markdown]
# ## The equations
#
# The encoder ends with the tokens $\mathbf{z}_L$. Row 0 is the [class] token, if there is one. Both heads end in the
# same linear layer. They differ in the vector $\mathbf{y}$ that they give it:
#
# $$\text{token:}\quad \mathbf{y} = \mathrm{LN}(\mathbf{z}_L^0) \tag{Eq. 4}$$
#
# $$\text{mean pooling (D.3):}\quad \mathbf{y} = \frac{1}{N_p} \sum_{i=1}^{N_p} \mathrm{LN}(\mathbf{z}_L^i)$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $N$, $N_p$ | tokens, [class] included; patches | numbers | `N` |
# | $D$, $L$ | width of the model, blocks | numbers | `D` |
# | $\mathbf{z}_L^i$ | token $i$ after the last block: 0 is [class], 1 to $N_p$ are patches | $(D,)$ | |
# | $\mathrm{LN}$ | LayerNorm, notebook 05 | $(D,) \to (D,)$ | `F.layer_norm` |
# | $\mathbf{x}$ | tokens after the LayerNorm, $\mathrm{LN}(\mathbf{z}_L)$ | $(N, D)$ | `x` |
# | $\mathbf{y}$ | what the classifier reads | $(D,)$ | `y` |
# | $\mathrm{d}\mathbf{y}$, $\mathrm{d}\mathbf{x}$ | gradients of the loss | as $\mathbf{y}$, $\mathbf{x}$ | `dy`, `dx` |
#
# With pooling the published code has no [class] token at all. Then $N = N_p$, and the patches are the rows 0 to $N - 1$
# of `x`.
#
# ## Forward and backward
#
# The same random rows serve both heads here: as the patches of a model without a [class] token, and as the tokens of a
# model whose row 0 is the [class] token.

# %%
N, D = 5, 3
x = rng.standard_normal((N, D))

# %% tags=["yours"]
# mean pooling: (D,)
y_pool = x.mean(axis=0)
# the [class] token: (D,)
y_token = x[0]

# %%
y_loops = np.zeros(D)
for i in range(N):
    for c in range(D):
        y_loops[c] += x[i, c] / N
agree("mean", y_pool, y_loops)

# %% [markdown]
# **Backward.** Pooling: $y_c = \frac1N\sum_i x_{ic}$, so $\partial y_c/\partial x_{ic} = 1/N$ for every token $i$. All
# tokens get the same gradient:
#
# $$\mathrm{d}\mathbf{x}_i = \tfrac1N\,\mathrm{d}\mathbf{y} \quad\text{for all } i.$$
#
# Token: $\mathbf{y} = \mathbf{x}_0$, so $\mathrm{d}\mathbf{x}_0 = \mathrm{d}\mathbf{y}$, and all other tokens get zero.

# %%
dy = rng.standard_normal(D)

# %% tags=["yours"]
# gradient of the tokens with mean pooling: (N, D)
dx_pool = np.repeat(dy[None] / N, N, axis=0)
# gradient of the tokens with the token head: (N, D)
dx_token = np.concatenate([dy[None], np.zeros((N - 1, D))])

# %%
tx = Tensor(x, requires_grad=True)
agree("dx, pooling", dx_pool, grad(tx.mean(axis=0), [tx], dy)[0])
agree("dx, token", dx_token, grad(tx[0], [tx], dy)[0])


# %% [markdown]
# Value and pullback together as an op, checked numerically with a random cotangent:


# %% tags=["yours"]
def mean_pooling(x):
    """y = mean over the tokens, and its pullback dy -> (dx,).   x: (N, D), y: (D,)."""

    def vjp(dy):
        return (np.zeros_like(x) + dy / len(x),)

    return x.mean(axis=0), vjp


# %%
print(f"largest relative error of the gradient: {check_vjp(mean_pooling, x):.1e}")

# %% [markdown]
# ## The library
#
# Both heads are in `ViT.classify`; look for `classifier`. `encoded` holds all tokens after the last LayerNorm. `tap`
# collects intermediate results. (With the token head and no tap, the last block computes only the rows that are read.)

# %%
show_source(ViT.classify)

# %% [markdown]
# ## Which tokens get a gradient?
#
# With the token head only row 0 gets a gradient *directly*. The patches get theirs through attention: the query of the
# [class] token meets their keys and values. We measure the size of the gradient at each token, once at the input of the
# last block and once at its output.
#
# **Predict first.** With the token head, which tokens have a gradient at the output of the last block, and which at its
# input? And with pooling?

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
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", sharey=True)
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
    print(f"{head}: {zeros} of {len(after)} tokens have no gradient at the output of the last block")
    print(f"   at its input token 0 has {before[0]:.1e}, the others {before[1:].mean():.1e} in the mean")
axes[0].set_ylabel("size of the gradient")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# **In the stored run** 16 of 17 tokens have no gradient at the output of the last block with the token head: nobody
# reads them. At its input the patches have 2.8e-04 in the mean and the [class] token 3.6e-03, thirteen times as much.
# With pooling all tokens have about the same, 3.2e-04 and 3.3e-04.
#
# This does not explain why the heads should want different learning rates: Adam divides the size of a gradient out
# again (notebook [12](12_optimisers.ipynb)). The paper does not explain it either.
#
# ## Experiment: the learning rate decides
#
# A comparison in the manner of the paper's Figure 9, with more learning rates. At a single rate we would measure how
# well that rate suits each head. The third head is the one that the paper pre-trains with (section 3.1, D.3): an MLP
# with one hidden layer and tanh.
#
# Each head gets the learning rate that is best for it on **held-out** images. These are training digits that no model
# here is trained on. The test digits play no part in the choice, so the maximum over the rates favours no head on the
# test digits.

# %%
order = np.random.default_rng(19).permutation(len(train))
held_out, rest = train.subset(order[:400]), train.subset(order[400:])
heads = ["token", "token, tanh", "pooling"]
rates = full_or_fast([1e-3, 3e-3, 1e-2, 3e-2, 1e-1], [3e-3, 3e-2])
seeds = full_or_fast(range(3), range(2))
steps = full_or_fast(150, 10)


def right_answers(model, dataset):
    """(n,): 1 for each image that the model classifies correctly, else 0."""
    with no_grad():
        pairs = eval_batches(dataset, 500, Augment(dataset.image_size))
        return np.concatenate([(model(x).data.argmax(axis=1) == y).astype(float) for x, y in pairs])


chosen_by = {head: np.zeros((len(rates), len(seeds))) for head in heads}  # accuracy on the held-out digits
right = {head: np.zeros((len(rates), len(seeds), len(test))) for head in heads}  # right answers on the test digits
for head in heads:
    for i, lr in enumerate(rates):
        for j, seed in enumerate(seeds):
            model = model_of(head, seed)
            fit(model, rest, steps, lr=lr, seed=seed)
            chosen_by[head][i, j] = right_answers(model, held_out).mean()
            right[head][i, j] = right_answers(model, test)

# %% [markdown]
# **Predict first.** All models have the same number of updates. Which head suffers first when the rate grows? And how
# large is the difference between token and pooling, each at its own rate, compared with the largest difference at a
# common rate?

# %%
figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for (head, values), marker in zip(chosen_by.items(), "osD", strict=True):
    error = values.std(axis=1, ddof=1) / np.sqrt(len(seeds))
    axes.errorbar(rates, values.mean(axis=1), error, marker=marker, capsize=3, label=head)
axes.set(
    xscale="log",
    xlabel="learning rate",
    ylabel="accuracy on held-out digits",
    title=f"{steps} updates, mean and standard error of {len(seeds)} seeds",
    xticks=rates,
    xticklabels=[f"{lr:g}" for lr in rates],
)
axes.minorticks_off()
axes.legend()
plt.show()

# %% [markdown]
# A difference of two heads has two errors, as in notebook [17](17_higher_resolution.ipynb): one of the seeds, and one
# of the test images, computed image by image.


# %% tags=["yours"]
def difference(first, second):
    """Right answers (seeds, n) each -> the mean difference, its standard error over seeds and over images."""
    gaps = first - second
    of_seeds = gaps.mean(axis=1).std(ddof=1) / np.sqrt(gaps.shape[0])
    of_images = gaps.mean(axis=0).std(ddof=1) / np.sqrt(gaps.shape[1])
    return gaps.mean(), of_seeds, of_images


# %%
best = {head: int(values.mean(axis=1).argmax()) for head, values in chosen_by.items()}
for head, i in best.items():
    accuracies = right[head][i].mean(axis=1)
    error = accuracies.std(ddof=1) / np.sqrt(len(seeds))
    print(f"{head:<12} chosen rate {rates[i]:g}: {accuracies.mean():.1%} ± {error:.1%} on the test digits")

print("\ntoken minus pooling on the test digits, in percentage points")
for i, lr in enumerate(rates):
    gap, of_seeds, of_images = 100 * np.array(difference(right["token"][i], right["pooling"][i]))
    print(f"  both at {lr:<10g} {gap:+6.1f} ± {of_seeds:.1f} (seeds) ± {of_images:.1f} (images)")
gap, of_seeds, of_images = 100 * np.array(difference(right["token"][best["token"]], right["pooling"][best["pooling"]]))
print(f"  each at its own    {gap:+6.1f} ± {of_seeds:.1f} (seeds) ± {of_images:.1f} (images)")

# %% [markdown]
# **In the stored run** the token is ahead of pooling at the common rate 0.003, by 7.4 points (± 2.6 by the seeds, ± 1.3
# by the images). Each at its own rate, the difference is 0.3 points ± 1.9 and ± 1.0: none can be seen. For the token
# with tanh, 86.1 % ± 3.1 % against 90.0 % ± 0.6 %, three seeds do not decide.
#
# This is the paper's finding (D.3): the difference came from the learning rate. There pooling did badly at the rate
# that suited the token. Here both heads choose the same rate, and a smaller one would have favoured the token.
#
# Both heads are in use: DeiT ([Touvron et al. 2021](https://arxiv.org/abs/2012.12877)) reads the token, a later plain
# ViT of some of the authors ([Beyer et al. 2022](https://arxiv.org/abs/2205.01580)) pools.
#
# ## Where this goes wrong in practice
#
# - **Pooling over the [class] token too.** A model that has one and pools must leave row 0 out. The published code has
#   none with pooling.
# - **LayerNorm before or after the mean?** Before it in the paper's code, after it in some later models (`fc_norm` in
#   the fine-tuning of MAE and BEiT). Weights trained one way fail the other way.
# - **One learning rate for all methods** in a comparison. It measures the author's habits.
# - **The rate chosen on the test images.** The method with the noisier accuracies profits most from the best of several
#   tries.
# - **The tanh layer kept for fine-tuning.** The paper removes the whole pre-training head and attaches a linear layer
#   of zeros (section 3.2).
#
# ## Exercises
#
# `hint("19.2")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **19.1 (two lines).** A ViT of width $D$ pools as in the published code; another one reads its [class] token. All else
# is equal. How many parameters fewer does the first one have? (Position embeddings count.)


# %%
def parameters_saved(D):
    """D: width -> a number"""
    ...  # your answer here


check("19.1", parameters_saved)

# %% [markdown]
# **19.2 (ten minutes).** In a batch of images of different sizes some tokens are padding. Write mean pooling that
# leaves them out, and its backward pass, in NumPy.


# %%
def masked_pooling(x, real, dy):
    """x: (B, N, D); real: (B, N), 1 for a token and 0 for padding; dy: (B, D) -> y (B, D), dx (B, N, D)"""
    ...  # your answer here


check("19.2", masked_pooling)

# %% [markdown]
# **19.3 (fifteen minutes).** Somebody replaces the mean by the *maximum* over the tokens, feature by feature. Write its
# backward pass in NumPy. No two tokens are equal in any feature.


# %%
def max_pooling_backward(x, dy):
    """x: (N, D), dy: (D,) -> dx (N, D) for y = max over the tokens"""
    ...  # your answer here


check("19.3", max_pooling_backward)

# %% [markdown]
# **19.4 (an hour).** A third head lies between the two. A learned vector $\mathbf{u}$, the *probe*, decides how much
# each token counts (attention pooling, as in Zhai et al. 2022, reduced to one head and no projections):
#
# $$\mathbf{a} = \mathrm{softmax}(\mathbf{x} \mathbf{u} / \sqrt D), \qquad \mathbf{y} = \sum_i a_i \mathbf{x}_i.$$
#
# With $\mathbf{u} = 0$ it is mean pooling. In NumPy, write $\mathbf{y}$ and the gradients of $\mathbf{x}$ and
# $\mathbf{u}$. Each token enters twice: count both ways.


# %%
def attention_pooling(x, u, dy):
    """x: (N, D), u: (D,), dy: (D,) -> y (D,), dx (N, D), du (D,)"""
    ...  # your answer here


check("19.4", attention_pooling)

# %% [markdown]
# Next: [20, the hybrid](20_hybrid.ipynb).

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
# # 16 Depth, width or patches?
#
# A Vision Transformer can be made larger in three ways: more blocks, wider tokens, or more tokens from smaller patches. Which one is worth its price? The paper asks this in section 4.4 and appendix D.2 (Figure 8,
# [Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) and pays in compute. At the end you will be able to
#
# - count the arithmetic of a ViT, forward and backward, by a formula, and check the formula against the tape,
# - say when attention's $N^2$ starts to matter,
# - draw accuracy against compute, and read from it what to enlarge.
#
# You need notebooks [11](11_vit.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 70 s of CPU time (fast mode 5 s).

# %%
import dataclasses

import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored

from minivit import functional as F
from minivit import ops
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad, tape

rng = np.random.default_rng(16)

# %% [markdown]
# ## The price of a ViT, by formula
#
# Nearly all arithmetic is in matrix products. A product of $(n, k)$ and $(k, m)$ takes $nkm$ multiplications and as many additions: $2nkm$ **FLOP** (floating-point operations). For one image; all rows but the first once per block:
#
# | product | shapes | FLOP | which equation |
# |---|---|---|---|
# | patches to tokens | $(N_p, P^2C)(P^2C, D)$ | $2 N_p P^2 C D$ | Eq. 1 |
# | tokens to $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | $(N, D)(D, 3D)$ | $6 N D^2$ | Eq. 5 |
# | $\mathbf{q}\mathbf{k}^\top$, all heads | $H$ times $(N, D_h)(D_h, N)$ | $2 N^2 D$ | Eq. 6 |
# | $A\mathbf{v}$, all heads | $H$ times $(N, N)(N, D_h)$ | $2 N^2 D$ | Eq. 7 |
# | heads to tokens | $(N, D)(D, D)$ | $2 N D^2$ | Eq. 8 |
# | MLP | $(N, D)(D, F)$ and $(N, F)(F, D)$ | $4 N D F$ | Eq. 3 |
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $N_p$, $N = N_p + 1$ | patches; tokens, with the [class] token | `config.num_tokens` |
# | $P$, $C$ | side of a patch in pixels; channels | `config.patch_size`, `config.channels` |
# | $D$, $D_h = D/H$, $F$ | width; width of a head; width of the MLP | `D`, -, `M` (`F` is the module `functional` here) |
# | $L$, $H$ | blocks; heads ($H D_h = D$: their number does not change the arithmetic) | `config.depth`, `config.heads` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$; $A$ | queries, keys, values; attention weights (notebook [07](07_attention.ipynb)) | |
# | $K$ | classes | `config.num_classes` |
# | $W$ | work: FLOP of a forward pass for one image | `forward_flop(config)` |
#
# Together, with the classifier $2DK$ for $K$ classes:
#
# $$W = 2N_pP^2CD + L\,\bigl(8ND^2 + 4N^2D + 4NDF\bigr) + 2DK.$$


# %%
def forward_flop(config):
    """Arithmetic of the products of a forward pass, for one image."""
    N, D, M = config.num_tokens, config.width, config.mlp_width
    patches = config.grid[0] * config.grid[1]
    pixels = config.patch_size[0] * config.patch_size[1] * config.channels
    block = 8 * N * D**2 + 4 * N**2 * D + 4 * N * D * M
    return 2 * patches * pixels * D + config.depth * block + 2 * D * config.num_classes


# %% [markdown]
# ### The same as a loop over what really happened
#
# A formula like this is easy to get wrong by a factor. The tape knows better: it recorded every product with its shapes. We run one image through models of odd sizes and add up.


# %%
def counted_flop(config):
    """The same, from the operations on the tape of a forward pass."""
    logits = ViT(config)(np.zeros((1, *config.image_size, config.channels), np.float32), tap={})
    flop = 0
    for node in tape(logits):
        if node.op in ("linear", "linear_gelu"):  # (rows, k) times (k, m)
            k, m = node.input_shapes[1]
            flop += 2 * np.prod(node.output_shape[:-1]) * k * m
        elif node.op == "attention":  # q k^T and A v
            _, N, D = node.output_shape
            flop += 2 * (2 * N * N * D)
    return int(flop)


for changes in ({"width": 24, "heads": 3}, {"depth": 5, "mlp_width": 40}, {"patch_size": 4, "num_classes": 7}):
    config = dataclasses.replace(ViTConfig(image_size=16, patch_size=8, width=32, depth=2, heads=4), **changes)
    agree(str(changes), forward_flop(config), counted_flop(config))

# %% [markdown]
# (`tap={}` makes the last block compute all its rows. Without it the library leaves out those that the classifier does not read.)
#
# ### The backward pass costs twice as much
#
# For $Y = XU$, with weights $U$, the backward pass computes $\mathrm{d}X = \mathrm{d}Y\,U^\top$ and $\mathrm{d}U = X^\top\mathrm{d}Y$ (notebook [02](02_shapes.ipynb)): two products of $2nkm$ FLOP for one. The two products inside attention have two each as well. So a training step costs nearly $3W$ per image
# (only nearly, since the gradient of the pixels is not needed). The library's linear layer, with its three products:

# %%
show_source(ops.linear)

# %%
n, k, m = 5, 3, 4
X, U, dY = rng.standard_normal((n, k)), rng.standard_normal((k, m)), rng.standard_normal((n, m))
tX, tU = Tensor(X, requires_grad=True), Tensor(U, requires_grad=True)
engine = grad(F.linear(tX, tU), [tX, tU], dY)
agree("dX", dY @ U.T, engine[0])
agree("dU", X.T @ dY, engine[1])

# %% [markdown]
# ### Where the arithmetic goes
#
# The products with weights grow with $N$, those inside attention with $N^2$. For the models of Table 1, at 224 × 224 pixels and at larger images:

# %%
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
sizes = np.array([96, 160, 224, 384, 512, 768, 1024])
for name, marker in (("B/32", "v"), ("B/16", "o"), ("L/16", "s"), ("H/14", "D")):
    patch = int(name.split("/")[1])
    fitting = [size // patch * patch for size in sizes]
    share = []
    for size in fitting:
        config = ViTConfig.variant(name, image_size=size)
        inside = config.depth * 4 * config.num_tokens**2 * config.width
        share.append(inside / forward_flop(config))
    axes.plot(fitting, share, marker + "-", label=f"ViT-{name}")
axes.axvline(224, color="grey", linestyle=":")
axes.set(xlabel="side of the image (pixels)", ylabel="share of FLOP inside attention", ylim=(0, 0.6))
axes.legend()
plt.show()
for name in ("B/16", "L/16", "H/14"):
    config = ViTConfig.variant(name)
    inside = config.depth * 4 * config.num_tokens**2 * config.width / forward_flop(config)
    print(f"ViT-{name} at 224: {forward_flop(config) / 1e9:6.1f} GFLOP per image, {inside:.1%} of it inside attention")

# %% [markdown]
# "Attention is quadratic" is true, and at 224 pixels unimportant for the arithmetic: nearly all of it is done by products with weights. (For memory see notebook [28](28_speed.ipynb).)
#
# ## Experiment: what to enlarge?
#
# The paper starts from one model (8 blocks, width 1024, MLP width 2048, patches of 32 pixels), changes one dimension at a time, and draws accuracy against compute (Figure 8). We do the same twice: live, with tiny models on the digits; and with larger ones on CIFAR-10, in a run that takes half an hour and whose results are
# stored. In each, all models get the same images, in the same order, for the same number of steps, at the same learning rate; only the price of a step differs.


# %%
def variants(base, study, values):
    """The base model with another depth, another width (and an MLP in proportion), or another side of the patches."""
    factor = base.mlp_width // base.width
    if study == "depth":
        return [dataclasses.replace(base, depth=v) for v in values]
    if study == "width":
        return [dataclasses.replace(base, width=v, mlp_width=factor * v) for v in values]
    return [dataclasses.replace(base, patch_size=v) for v in values]


def draw(base, results, images, title):
    """Accuracy against compute. results: {study: {value: [accuracy per seed]}}; images: seen in training."""
    _, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for (study, by_value), style in zip(results.items(), ("o-", "s--", "D:"), strict=True):
        configs = variants(base, study, [int(value) for value in by_value])
        price = [3 * forward_flop(config) * images / 1e12 for config in configs]
        means, errors = zip(*[record.mean_and_error(runs) for runs in by_value.values()], strict=True)
        axes.errorbar(price, means, errors, fmt=style, capsize=3, label=study)
        for x, y, value, config in zip(price, means, by_value, configs, strict=True):
            if config != base:  # the base is where the three lines meet
                axes.annotate(str(value), (x, y), (6, -12), textcoords="offset points")
    axes.set(xscale="log", xlabel="arithmetic of training (TFLOP)", ylabel="test accuracy", title=title)
    axes.legend(title="what is changed")
    plt.show()


def summary(base, results):
    """What the step from the cheapest to the dearest model costs and brings, in each study."""
    for study, by_value in results.items():
        models = zip(variants(base, study, [int(value) for value in by_value]), by_value.values(), strict=True)
        (cheap, before), *_, (dear, after) = sorted(models, key=lambda model: forward_flop(model[0]))
        (a, da), (b, db) = record.mean_and_error(before), record.mean_and_error(after)
        flop = forward_flop(dear) / forward_flop(cheap)
        size = ViT(dear).num_parameters() / ViT(cheap).num_parameters()
        print(
            f"{study:<6} FLOP × {flop:5.1f}, parameters × {size:4.1f}, accuracy {b - a:+.1%} ± {np.hypot(da, db):.1%}"
        )


# %% [markdown]
# (The error of a difference of two independent means is the root of the sum of their squared errors: `np.hypot`.)
#
# ### Live: digits
#
# The base has 2 blocks, width 32 and patches of 2 × 2 pixels.

# %%
base = ViTConfig(image_size=8, channels=1, patch_size=2, width=32, depth=2, heads=2, mlp_width=64, num_classes=10)
train, test = digits()
seeds, steps = full_or_fast((range(3), 300), (range(2), 4))

live = {}
for study, values in {"depth": (1, 2, 6), "width": (16, 32, 64), "patch": (4, 2, 1)}.items():
    live[study] = {}
    for value, config in zip(values, variants(base, study, values), strict=True):
        live[study][value] = []
        for seed in seeds:
            model = ViT(config, seed)
            fit(model, train, steps, batch_size=64, lr=5e-3, seed=seed)
            live[study][value].append(accuracy(model, test))

draw(base, live, 64 * steps, f"digits, {steps} steps, mean and standard error of {len(seeds)} seeds")
summary(base, live)

# %% [markdown]
# A run this short measures mostly how *fast* a model learns. Few large patches are quick to learn from; many small ones, each of which says little, need time to be put together. So the line of the patches may well go the other way than in the paper.
#
# ### Stored: CIFAR-10
#
# The base has 3 blocks, width 48 and patches of 8 × 8 pixels. These numbers were not computed in this notebook but by the program that the next cell names.

# %%
stored = record.read("shape_scaling")
stored_base = ViTConfig(image_size=32, patch_size=8, width=48, depth=3, heads=3, num_classes=10)
print(stored["data"])
print("made by:", stored["command"])
stored_steps, stored_batch = stored["config"]["steps"], stored["config"]["batch_size"]
# A run that is still under way has one more seed of some models: take those seeds that all have.
count = min(len(runs) for by_value in stored["results"].values() for runs in by_value.values())
results = {
    study: {value: runs[:count] for value, runs in by_value.items()} for study, by_value in stored["results"].items()
}
title = f"CIFAR-10, {stored_steps} steps, mean and standard error of {count} seeds"
draw(stored_base, results, stored_steps * stored_batch, title)
summary(stored_base, results)

# %% [markdown]
# Compare the slopes: how much accuracy does a factor of compute buy? The paper found (D.2) that depth helped most, with diminishing returns after 16 blocks; that width made the smallest difference; and that smaller patches gave robust gains with no more parameters. Is the order the
# same here? It need not be. The paper's models were trained on hundreds of millions of images, and start from a width of 1024; our narrowest has heads of 8 numbers. All of ours take the same few steps at one learning rate. Larger models usually want a smaller rate, so the right ends
# of the lines may lie lower than they could. And compute can also be spent on more steps of a smaller model; we did not ask about that.
#
# One question can be carried over: does the number of *parameters* predict the accuracy, or the *arithmetic*? The paper suggests compute. Patches tell the two apart, since smaller ones take more arithmetic and no more parameters: does the model with the smallest patches reach the
# accuracy of deeper or wider models of about equal arithmetic, or that of the base, which has about as many parameters?
#
# ## Where this goes wrong in practice
#
# - **FLOP or MAC?** A multiply-add is two FLOP and one MAC. Papers use both words for both; a factor of two between two tables is usually this.
# - **FLOP are not seconds.** A model with half the FLOP can be slower (notebook [28](28_speed.ipynb)). Say which you compare.
# - **One learning rate for all sizes**, as here: no model gets its best.
# - **Conclusions from small models.** A slope measured over one decade of compute is a guess about the next.
#
# ## Exercises
#
# **16.1 (two lines).** The side of the patches is halved. How many tokens has the model now, if it had $N$, one of them the [class] token?


# %%
def tokens_after_halving(N):
    """N: tokens, one of them [class] -> tokens with patches of half the side"""
    ...  # your answer here


check("16.1", tokens_after_halving)

# %% [markdown]
# **16.2 (ten minutes).** At which number of tokens does the arithmetic inside attention ($4N^2D$ per block) equal that of the products with weights, for MLP width $F$?


# %%
def crossover(D, F):
    """D: width, F: width of the MLP -> N"""
    ...  # your answer here


check("16.2", crossover)

# %% [markdown]
# **16.3 (twenty minutes).** Of several models with known price and accuracy, only those matter to which no other is preferable: none that costs no more and is at least as accurate (and better in one of the two). Find this **Pareto front**.
# (No two models agree in both.)


# %%
def pareto_front(prices, accuracies):
    """prices, accuracies: (models,) -> the indices of the models on the front, cheapest first"""
    ...  # your answer here


check("16.3", pareto_front)

# %% [markdown]
# **16.4 (an hour).** You may spend a given arithmetic per image on a ViT with $F = 4D$ (forward pass, products in the blocks only; no [class] token). Find the smallest patch side that you can afford, a divisor of the image's side; `None` if even a single patch is too expensive.


# %%
def smallest_patch(side, D, L, budget):
    """side: of the image, in pixels; D: width; L: blocks; budget: FLOP per image -> patch side in pixels, or None"""
    ...  # your answer here


check("16.4", smallest_patch)

# %% [markdown]
# Next: [17, fine-tuning at higher resolution](17_higher_resolution.ipynb).

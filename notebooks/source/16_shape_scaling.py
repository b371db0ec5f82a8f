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
# A Vision Transformer can be enlarged in four ways: more blocks, wider tokens, a wider MLP, or more tokens from smaller
# patches. Which of them is worth its price? The paper asks this in section 4.4 and appendix D.2 (Figure 8,
# [Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)), and pays in compute. At the end you will be able to
#
# - count the arithmetic of a ViT, forward and backward, by a formula, and check the formula against the tape,
# - say when attention's $N^2$ starts to matter,
# - compare models of different size fairly, each at its own learning rate,
# - draw accuracy against compute, and read from it what to enlarge.
#
# You need notebooks [11](11_vit.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 70 s of CPU time (fast mode 6 s).

# %%
import dataclasses

import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored
from experiments.rates import best_rate
from experiments.shape_scaling import STUDIES, changed

from minivit import functional as F
from minivit import ops
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, show_source
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad, tape

rng = np.random.default_rng(16)

# %% [markdown]
# ## The price of a ViT, by formula
#
# Nearly all arithmetic is in matrix products. A product of $(a, b)$ and $(b, c)$ takes $abc$ multiplications and as many
# additions: $2abc$ **FLOP** (floating-point operations). These are the products for one image. The first row happens
# once, the others once in each block:
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
# | $N$, $N_p$ | tokens, [class] included; patches | `config.num_tokens` |
# | $P$, $C$ | side of a patch in pixels; channels of the image | `config.patch_size`, `config.channels` |
# | $D$, $F$ | width of the model; width of the MLP | `D`, `M` (`F` is the module `functional` here) |
# | $L$ | blocks | `config.depth` |
# | $H$, $D_h$ | heads; width of a head, $D/H$ | `config.heads` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values (notebook [07](07_attention.ipynb)) | |
# | $A$ | attention weights | |
# | $K$ | classes | `config.num_classes` |
# | $W$ | work: FLOP of a forward pass for one image | `forward_flop(config)` |
#
# The number of heads does not change the arithmetic, since $H D_h = D$. With the classifier, $2DK$, the sum is
#
# $$W = 2N_pP^2CD + L\,\bigl(8ND^2 + 4N^2D + 4NDF\bigr) + 2DK.$$


# %% tags=["yours"]
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
# A formula like this is easily wrong by a factor. The tape knows better: it has recorded every product with its shapes.
# We run one image through models of odd sizes and add up.


# %%
def counted_flop(config):
    """The same, from the operations on the tape of a forward pass."""
    logits = ViT(config)(np.zeros((1, *config.image_size, config.channels), np.float32), tap={})
    flop = 0
    for node in tape(logits):
        if node.op in ("linear", "linear_gelu"):  # (rows, a) times (a, b)
            a, b = node.input_shapes[1]
            flop += 2 * np.prod(node.output_shape[:-1]) * a * b
        elif node.op == "attention":  # q k^T and A v
            _, N, D = node.output_shape
            flop += 2 * (2 * N * N * D)
    return int(flop)


some = ViTConfig(image_size=16, patch_size=8, width=32, depth=2, heads=4)
odd = ({"width": 24, "heads": 3}, {"depth": 5, "mlp_width": 40}, {"patch_size": 4, "num_classes": 7})
configs = [dataclasses.replace(some, **changes) for changes in odd]
agree("FLOP", np.array([forward_flop(c) for c in configs]), np.array([counted_flop(c) for c in configs]))

# %% [markdown]
# (`tap={}` makes the last block compute all its rows. Otherwise the library leaves out the rows that the classifier does
# not read.)
#
# ### The backward pass costs twice as much
#
# For $Y = XU$ with weights $U$, the backward pass computes two products (notebook [02](02_shapes.ipynb)),
#
# $$\mathrm{d}X = \mathrm{d}Y\,U^\top, \qquad \mathrm{d}U = X^\top\mathrm{d}Y,$$
#
# each with as many FLOP as the forward product. The two products inside attention have two each as well. So a training
# step costs nearly $3W$ per image (slightly less, since nobody needs the gradient of the pixels).

# %%
a, b, c = 5, 3, 4
X, U, dY = rng.standard_normal((a, b)), rng.standard_normal((b, c)), rng.standard_normal((a, c))
tX, tU = Tensor(X, requires_grad=True), Tensor(U, requires_grad=True)
engine = grad(F.linear(tX, tU), [tX, tU], dY)

# %% tags=["yours"]
dX = dY @ U.T
dU = X.T @ dY
agree("dX", dX, engine[0])
agree("dU", dU, engine[1])

# %% [markdown]
# The library's linear layer has the same three products:

# %%
show_source(ops.linear)

# %% [markdown]
# ### Where the arithmetic goes
#
# The products with weights grow with $N$, those inside attention with $N^2$. Inside attention are $4N^2D$ FLOP per block.
# For the models of the paper's Table 1:


# %% tags=["yours"]
def attention_share(config):
    """The share of the forward pass's FLOP that is inside attention."""
    return config.depth * 4 * config.num_tokens**2 * config.width / forward_flop(config)


# %% [markdown]
# **Predict first.** Attention is quadratic in $N$. What share of a ViT-B/16's arithmetic is inside attention at 224 × 224
# pixels: about 5, 25 or 75 %? And at 1024 × 1024?

# %%
figure, axes = plt.subplots(figsize=(7, 3.4))
sizes = np.array([96, 160, 224, 384, 512, 768, 1024])
shares = {}
for name, marker in (("B/32", "v"), ("B/16", "o"), ("L/16", "s"), ("H/14", "D")):
    patch = int(name.split("/")[1])
    fitting = [size // patch * patch for size in sizes]
    shares[name] = [attention_share(ViTConfig.variant(name, image_size=size)) for size in fitting]
    axes.plot(fitting, 100 * np.array(shares[name]), marker + "-", label=f"ViT-{name}")
axes.axvline(224, color="grey", linestyle=":")
axes.annotate("224 pixels", (224, 50), xytext=(5, 0), textcoords="offset points", color="grey")
axes.set(xlabel="side of the image in pixels", ylabel="FLOP inside attention in %", ylim=(0, 60))
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
for name in ("B/16", "L/16", "H/14"):
    flop = forward_flop(ViTConfig.variant(name))
    print(f"ViT-{name} at 224: {flop / 1e9:6.1f} GFLOP per image, {shares[name][2]:.1%} of it inside attention")
print(f"ViT-B/16 at 1024: {shares['B/16'][-1]:.1%} inside attention")

# %% [markdown]
# **In the stored run** 4.1 % of a ViT-B/16's arithmetic is inside attention at 224 pixels, and 46.9 % at 1024.
#
# "Attention is quadratic" is true. At 224 pixels it hardly matters for the arithmetic: nearly all of it is in products
# with weights. (Notebook [28](28_speed.ipynb) is about memory.)
#
# ## A learning rate for each model
#
# Models of different size want different learning rates. How much does that matter for a comparison? On the digits we
# train two models: one of width 32, the other three times as wide. Each is tried at five rates, with accuracies on
# training images that were held out.
#
# **Predict first.** Which model looks better at the lowest rate, and which at the highest?

# %%
train, _ = digits()
held_out, rest = train.subset(range(400)), train.subset(range(400, len(train)))
narrow = ViTConfig(image_size=8, channels=1, patch_size=2, width=32, depth=2, heads=2, mlp_width=64, num_classes=10)
models = {"width 32": narrow, "width 96": dataclasses.replace(narrow, width=96)}
some_rates = full_or_fast((1.25e-3, 2.5e-3, 5e-3, 1e-2, 2e-2), (2.5e-3, 1e-2))
seeds, steps = full_or_fast((range(3), 200), (range(2), 4))

figure, axes = plt.subplots(figsize=(7, 3.6))
print("accuracy in %   " + "".join(f"{rate:<14g}" for rate in some_rates))
for (name, config), style in zip(models.items(), ("o-", "s--"), strict=True):
    found = []
    for rate in some_rates:
        runs = []
        for seed in seeds:
            model = ViT(config, seed)
            fit(model, rest, steps, batch_size=64, lr=rate, seed=seed)
            runs.append(100 * accuracy(model, held_out))
        found.append(record.mean_and_error(runs))
    print(f"{name}        " + "".join(f"{f'{mean:.1f} ± {error:.1f}':<14}" for mean, error in found))
    axes.errorbar(some_rates, *np.array(found).T, fmt=style, capsize=4, label=name)
axes.set(xscale="log", xlabel="learning rate", ylabel="accuracy on held-out digits in %")
axes.set_xticks(some_rates, labels=[f"{rate:g}" for rate in some_rates])
axes.minorticks_off()
axes.legend()
plt.show()

# %% [markdown]
# **In the stored run** the narrow model is best at rate 0.01 (82.7 ± 3.4 %), the wide one at 0.005 (77.4 ± 3.5 %). At
# rate 0.02 the wide one is far behind (49.8 against 82.2 %); at 0.00125 it is not (66.2 ± 1.1 against 61.2 ± 4.3 %). So a
# comparison at one rate says more about the rate than about the models.
#
# ## Experiment: what to enlarge?
#
# The paper starts from one model (8 blocks, width 1024, MLP width 2048, patches of 32 pixels) and draws accuracy against
# compute for changes of the depth, the width, the width of the MLP and the side of the patches, and for all of them
# together (Figure 8). We do the same for single changes on CIFAR-10. Our base has 3 blocks, width 48, MLP width 192 and
# patches of 8 pixels.
#
# All models of one seed see the same images in the same order, for the same number of updates. Each has its own learning
# rate, chosen on held-out training images. These numbers were not computed in this notebook but by the program that the
# next cell names.

# %%
stored = record.read("shape_scaling")
numbers, B = stored["config"]["steps"], stored["config"]["batch_size"]
base = changed("depth", STUDIES["depth"][1])
print(stored["data"])
print("made by:", stored["command"])
print(f"rates chosen with {numbers[0]} updates of {B} images\n")

print("model            chosen rate   rates tried and accuracy on held-out images")
for study, found in stored["rates_tried"].items():
    for value, tried in found.items():
        listed = "   ".join(f"{rate}: {tried[rate]:.1%}" for rate in sorted(tried, key=float))
        print(f"{study + ' ' + value if study != 'base' else study:<14}   {best_rate(tried):<11g}   {listed}")

# %% [markdown]
# **In the stored run** the wide models (width 96 and MLP width 768) and the deep one got a rate of 0.002, the base got
# 0.004 and the narrowest 0.008. Some curves are flat near the top: for 8 blocks the rates from 0.001 to 0.004 give 33.7 %
# each.
#
# A training step costs about $3W$ per image, so a run of $T$ updates of $B$ images costs $3WTB$.


# %% tags=["yours"]
def training_flop(config, T, B):
    """Arithmetic of a training run of T updates of B images."""
    return 3 * forward_flop(config) * T * B


# %% [markdown]
# **Predict first.** Which of the four changes brings most accuracy for its arithmetic? Will the answer be the same after
# 400 and after 1,000 updates?


# %%
def results(T):
    """study -> value -> accuracies of the seeds in %, after T updates."""
    found = stored["results"][str(T)]
    same = found["base"]["base"]
    return {
        study: {value: 100 * np.array(found.get(study, {}).get(str(value), same)) for value in values}
        for study, values in STUDIES.items()
    }


LABELS = {"depth": "depth", "width": "width", "mlp_width": "width of the MLP", "patch_size": "side of the patches"}
figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True)
for axes, T in zip(panels, numbers, strict=True):
    for (study, by_value), style in zip(results(T).items(), ("o-", "s--", "^-.", "D:"), strict=True):
        price = [training_flop(changed(study, value), T, B) / 1e12 for value in by_value]
        means, errors = np.array([record.mean_and_error(runs) for runs in by_value.values()]).T
        axes.errorbar(price, means, errors, fmt=style, capsize=3, label=LABELS[study])
        for x, y, value in zip(price, means, by_value, strict=True):
            if changed(study, value) != base:
                axes.annotate(str(value), (x, y), (6, 4), textcoords="offset points", fontsize=9)
    at = training_flop(base, T, B) / 1e12, results(T)["depth"][base.depth].mean()
    axes.plot(*at, "o", color="black", markersize=9)
    axes.annotate("base", at, (6, -14), textcoords="offset points", weight="bold")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5]
    axes.set(xscale="log", xlabel="arithmetic of training in TFLOP", title=f"{T:,} updates")
    axes.set_xticks([t for t in ticks if min(price) / 1.5 < t < max(price) * 1.5])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
panels[0].set_ylabel("test accuracy in %")
figure.legend(*panels[0].get_legend_handles_labels(), title="what is changed", loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# The models of one seed saw the same images in the same order. So we take the difference to the base seed by seed, as in
# notebook [15](15_data_scale.ipynb), with its 95 % interval ($t_2 = 4.30$ for three seeds):


# %% tags=["yours"]
def paired(first, second):
    """Accuracies of three runs each -> mean of first - second and the margin of its 95 % interval."""
    mean, error = record.mean_and_error(first - second)
    return mean, 4.30 * error


# %%
print("                                       accuracy, and difference to the base in points")
print("change             FLOP ×  parameters ×" + "".join(f"{f'{T:,} updates':>26}" for T in numbers))
of_base = {T: results(T)["depth"][base.depth] for T in numbers}
print("base                 1.00          1.00 " + "".join(f"{of_base[T].mean():9.1f} %{'':15}" for T in numbers))
for study, values in STUDIES.items():
    for value in values:
        config = changed(study, value)
        if config != base:
            flop = forward_flop(config) / forward_flop(base)
            size = ViT(config).num_parameters() / ViT(base).num_parameters()
            cells = ""
            for T in numbers:
                mean, margin = paired(results(T)[study][value], of_base[T])
                decided = " " if abs(mean) > margin else "?"
                cells += f"{results(T)[study][value].mean():9.1f} % {mean:+5.1f} ± {margin:3.1f} {decided}"
            print(f"{study:<10} {value:>4} {flop:9.2f} {size:13.2f} {cells}")
print("? the interval contains 0: not decided")

# %% [markdown]
# **In the stored run** only smaller patches help: by 4.9 ± 2.2 points after 400 updates and 5.8 ± 4.8 after 1,000, for 4.12
# times the arithmetic and without more parameters. A larger width brings nothing that is decided, and 8 blocks are worse
# than the base after 1,000 updates, by 2.5 ± 1.8 points. The number of updates matters: after 400 the model with one block
# is as good as the base, within ± 2.7 points; after 1,000 it is behind by 4.3 ± 3.6.
#
# The rates were chosen with 400 updates. With rates chosen for 1,000, the larger models might do better.
#
# The paper found in D.2 that depth helped most, with diminishing returns after 16 blocks; that width made the smallest
# difference; and that smaller patches gave robust gains with no more parameters. The order need not be the same here.
# The paper's base has width 1024; ours is tiny and takes a few hundred updates. Compute can also be spent on more updates
# of a smaller model; we did not ask about that.
#
# Does the number of *parameters* predict the accuracy, or the *arithmetic*? Here neither does. The models with 8 blocks,
# width 96 and MLP width 768 have two and a half times the arithmetic and the parameters of the base or more,
# and are no better. Smaller patches help with fewer parameters than the base.
#
# ## Where this goes wrong in practice
#
# - **FLOP or MAC?** A multiply-add is two FLOP and one MAC. Papers use both words for both. A factor of two between two
#   tables is usually this.
# - **FLOP are not seconds.** A model with half the FLOP can be slower (notebook [28](28_speed.ipynb)). Say which you
#   compare.
# - **One learning rate for all sizes.** It favours the model that happens to like it.
# - **Two numbers changed at once.** Many scale the MLP together with the width. Then nobody can say which of them helped.
# - **Conclusions from small models.** A slope measured over one decade of compute is a guess about the next.
#
# ## Exercises
#
# `hint("16.1")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **16.1 (two lines).** We halve the side of the patches. How many tokens does the model have now, if it had $N$ before,
# one of them the [class] token?


# %%
def tokens_after_halving(N):
    """N: tokens, one of them [class] -> tokens with patches of half the side"""
    ...  # your answer here


check("16.1", tokens_after_halving)

# %% [markdown]
# **16.2 (ten minutes).** At which number of tokens is the arithmetic inside attention ($4N^2D$ per block) equal to that
# of the products with weights, for MLP width $F$?


# %%
def crossover(D, F):
    """D: width, F: width of the MLP -> N"""
    ...  # your answer here


check("16.2", crossover)

# %% [markdown]
# **16.3 (twenty minutes).** You know the prices and accuracies of several models. A model is *beaten* if another one
# costs no more and is at least as accurate, and is better in one of the two. Find the **Pareto front**: the models that
# no other beats. (No two models agree in both.)


# %%
def pareto_front(prices, accuracies):
    """prices, accuracies: (models,) -> the indices of the models on the front, cheapest first"""
    ...  # your answer here


check("16.3", pareto_front)

# %% [markdown]
# **16.4 (an hour).** You may spend a given arithmetic per image on a ViT with $F = 4D$ (forward pass, products in the
# blocks only, no [class] token). Find the smallest patch side that you can afford. It must divide the image's side.
# Return `None` if even a single patch is too expensive.


# %%
def smallest_patch(side, D, L, budget):
    """side: of the image, in pixels; D: width; L: blocks; budget: FLOP per image -> patch side in pixels, or None"""
    ...  # your answer here


check("16.4", smallest_patch)

# %% [markdown]
# Next: [17, fine-tuning at higher resolution](17_higher_resolution.ipynb).

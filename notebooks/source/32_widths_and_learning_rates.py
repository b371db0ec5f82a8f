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
# # 32 Widths and learning rates
#
# A wider model usually needs a smaller learning rate. So a rate that was found with a small model is wrong for a large
# one. **muP** ([Yang et al. 2022](https://arxiv.org/abs/2203.03466)) is a set of rules for first values, rates and
# factors. With them the best rate stays about the same when the width grows. Then it can be found with a narrow model. At
# the end you will be able to
#
# - say how values inside a model, and their *changes* in an update, grow with the width,
# - derive the rules of muP for a ViT and Adam, and sort the parameters of a ViT by them,
# - check a model's form by a few updates at several widths, and judge what muP is worth here.
#
# You need notebooks [09b](09b_initialisation.ipynb), [11](11_vit.ipynb) and [12](12_optimisers.ipynb).
#
# **Budget:** 10 s of CPU time (fast mode 6 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored
from experiments import widths as experiment
from experiments.record import mean_and_error

from minivit import functional as F
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast, show_source
from minivit.lessons.pictures import widths as pictures
from minivit.lineage import mup
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(32)


def rms(x):
    """Root mean square."""
    return np.sqrt(np.mean(np.square(x)))


def told(of_seeds):
    """Mean and standard error as text."""
    return "{:.2f} +- {:.2f}".format(*mean_and_error(of_seeds))


def show(name, sizes):
    """Print sizes by number of terms, and their slope."""
    values = "  ".join(f"{n}: {size:6.2f}" for n, size in sizes.items())
    print(f"{name:<27} {values}   slope {mup.slope(sizes):.2f}")


# %% [markdown]
# ## Two kinds of sums
#
# Every output of a layer is a sum. Its size depends on the signs of the terms.
#
# - Terms with **independent** signs partly cancel. A sum of $n$ such terms of size 1 has the size $\sqrt{n}$ (notebook 09b).
# - Terms that are **aligned** have the same sign. Nothing cancels. A sum of $n$ such terms has a size proportional to $n$.
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $n$ | terms of a sum, inputs of a layer | number | `n` |
# | $N$ | tokens, [class] included | number | `N` |
# | $D$, $D_0$ | width of the model; width of the base model, the narrow one | numbers | `D`, `base` |
# | $m$ | $D/D_0$, how much wider the model is | number | `m` |
# | $D_h$ | width of a head, $D/H$ | number | `Dh` |
# | $P$, $C$ | side of a patch in pixels, channels of the image | numbers | |
# | $x$, $y$ | inputs and outputs of a layer, one token per row | $(N, n)$, $(N, n_\mathrm{out})$ | `x`, `y` |
# | $W$ | weights of a layer | $(n, n_\mathrm{out})$ | `W` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dW`, `dy` |
# | $\Delta X$ | change of $X$ in one update | that of $X$ | `delta_W`, `delta_y` |
# | $\eta$ | learning rate | number | `eta` |
# | $\lambda$ | weight decay | number | `decay` |
# | $f$, $w$ | features that the head reads; its weights for one class | $(D)$ | `f`, `w` |
# | $z$ | logits | number here | |
# | $a$ | a fixed factor on the logits | number | `a` |
# | $c$ | size of the change of a feature | number | `c` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values | $(N, D_h)$ each | `q`, `k` |
# | $S$ | attention scores | $(N, N)$ | |

# %%
lengths = (64, 128, 256, 512, 1024)
terms = rng.standard_normal((2_000, max(lengths)))

# %% tags=["yours"]
independent = {n: rms(terms[:, :n].sum(axis=1)) for n in lengths}  # the signs as they are
aligned = {n: rms(np.abs(terms[:, :n]).sum(axis=1)) for n in lengths}  # all signs made positive

# %%
show("independent", independent)
show("aligned", aligned)

# %% [markdown]
# The **slope** says by how many doublings a size grows when $n$ doubles: $1/2$ for $\sqrt{n}$, $1$ for $n$.
#
# ## At the start
#
# First weights are independent of the inputs. So the size of the outputs does not depend on $n$ if the weights have a
# standard deviation proportional to $1/\sqrt{n}$. Does the ViT start like this? The patch embedding reads $P^2C$
# pixels. The matrices of a block read $D$ or $2D$ numbers here.

# %%
print("first standard deviation times sqrt(n)")
for D in (64, 512):
    model = experiment.build("usual", D, 1, seed=0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            print(f"width {D:3d}  {name:<28} {parameter.data.std() * len(parameter.data) ** 0.5:.2f}")

# %% [markdown]
# It does. The head starts at zero. (Matrices that start with the deviation 0.02 at every width, as in timm's ViT, do
# not fit.) So the start is not the reason for smaller rates. The updates are.
#
# ## One update of Adam
#
# A layer computes $y = xW$. Its gradient is $\mathrm{d}W = x^\top \mathrm{d}y$. In the first update both averages of
# Adam hold one gradient. Their ratio is $\mathrm{d}W / |\mathrm{d}W|$, so every weight moves by $\eta$ (notebook 12,
# with $\epsilon$ left out):
#
# $$\Delta W = -\eta\,\mathrm{sign}(x^\top \mathrm{d}y), \qquad \Delta y = x\,\Delta W.$$

# %%
N, n, n_out, eta = 4, 6, 5, 0.01
x, W, dy = (rng.standard_normal(shape) for shape in ((N, n), (n, n_out), (N, n_out)))

# %% tags=["yours"]
dW = x.T @ dy
delta_W = -eta * np.sign(dW)
delta_y = x @ delta_W

# %%
learned = Tensor(W.copy(), requires_grad=True)
y = Tensor(x) @ learned
gradients = grad(y, [learned], dy)
agree("dW", dW, gradients[0])
AdamW([("W", learned)], eta, eps=1e-12).step(gradients)
agree("W", W + delta_W, learned)
agree("delta_y", delta_y, x @ learned.data - y.data)

# %% [markdown]
# Now let there be one token. Then $\mathrm{d}W_{ij} = x_i\,\mathrm{d}y_j$, and its sign is
# $\mathrm{sign}(x_i)\,\mathrm{sign}(\mathrm{d}y_j)$. So
#
# $$\Delta y_j = -\eta\,\mathrm{sign}(\mathrm{d}y_j) \sum_{i=1}^{n} |x_i|.$$
#
# All terms have the same sign: the sum is aligned. It grows with $n$. With the rate $\eta/m$ it does not.


# %% tags=["yours"]
def change_of_one_token(x, dy, eta):
    """x: (n,), dy: (n_out,) -> the change of y = x W in Adam's first update, (n_out,)."""
    return -eta * np.abs(x).sum() * np.sign(dy)


# %%
agree("one token", change_of_one_token(x[0], dy[0], eta), x[0] @ (-eta * np.sign(np.outer(x[0], dy[0]))))


def change(n, N, eta):
    """Root mean square of the change of y, of N random tokens and n inputs."""
    x, dy = rng.standard_normal((N, n)), rng.standard_normal((N, 64))
    return rms(x @ (-eta * np.sign(x.T @ dy)))


for N in (1, 16):
    for name, exponent in (("eta", 0), ("eta / m", 1)):
        sizes = {n: np.mean([change(n, N, eta / (n / 64) ** exponent) for _ in range(20)]) for n in lengths}
        show(f"tokens: {N}, rate {name}", sizes)

# %% [markdown]
# With several tokens, the sign of a weight's gradient is that of a sum over the tokens. More than half of these signs
# still agree with those of any one token. So its terms are aligned in part, and the sum still grows nearly like $n$.
#
# This gives the first rule. **Matrices of the blocks get the rate $\eta/m$.** The patch embedding does not: its inputs
# are $P^2C$ pixels at every width. Biases, positions, the [class] token and LayerNorm keep $\eta$ too. Each of their
# numbers is added to or multiplied with one value, so there is no sum.
#
# ## A factor in place of a rate
#
# One rate for all parameters is simpler to train with. There is another form of the same rule. Store $V = mW$, and
# compute
#
# $$y = \frac{1}{m}\,xV, \qquad \mathrm{d}V = \frac{1}{m}\,x^\top\mathrm{d}y, \qquad \mathrm{d}x = \frac{1}{m}\,\mathrm{d}y\,V^\top.$$
#
# Adam divides by the size of the gradient. So the factor in $\mathrm{d}V$ has no effect, and $V$ moves by $\eta$. Then
# $W = V/m$ moves by $\eta/m$.


# %% tags=["yours"]
def scaled_linear(x, V, m):
    """x V / m and its pullback.   x: (N, n), V: (n, n_out)."""
    y = x @ V / m

    def vjp(dy):
        return dy @ V.T / m, x.T @ dy / m

    return y, vjp


# %%
m, decay, labels = 4, 0.3, np.array([0, 3, 1, 1])
print(f"against differences, largest relative error: {check_vjp(scaled_linear, x, W, m=m):.1e}")


def after_three(stored, factor, eta, decay):
    """x times the weights, after three updates of the stored ones."""
    learned = Tensor(stored.copy(), requires_grad=True)
    adam = AdamW([("weight", learned)], eta, eps=1e-12, weight_decay=decay)
    for _ in range(3):
        adam.step(grad(F.cross_entropy(Tensor(x) @ (learned * factor), labels), [learned]))
    return x @ learned.data * factor


agree("both forms", after_three(W, 1, eta / m, m * decay), after_three(m * W, 1 / m, eta, decay))

# %% [markdown]
# **Weight decay.** AdamW subtracts $\eta\lambda W$ in each update. With the rate $\eta/m$ that is $m$ times less. So
# the first form needs the decay $m\lambda$, as above. The library's models use the second form.
#
# ## The readout
#
# The head computes the logit $z = f \cdot w$ of a class from $D$ features. Give it a factor, $z = a\,(f \cdot w)$. Two
# things change $z$:
#
# - Adam moves each entry of $w$ by $\eta$. For $\mathrm{d}z = 1$ the gradient of $w$ is $af$, so $\Delta w = -\eta\,\mathrm{sign}(f)$.
# - The blocks move each feature, say by $c$. The gradient of $f$ is $aw$, and we let $\Delta f = -c\,\mathrm{sign}(w)$.
#
# $$\Delta z = a\bigl[(f + \Delta f) \cdot (w + \Delta w) - f \cdot w\bigr]
# = -a\Bigl[\,\eta \sum_i |f_i| + c \sum_i |w_i| - \eta c \sum_i \mathrm{sign}(f_i w_i)\Bigr].$$
#
# The first two sums are aligned. Features have the size 1, so the first sum grows with $D$. The factor $a = 1/m$ makes
# up for this. It also lets the second sum grow with $D$, so the entries of $w$ may have the same size at every width.
# **The logits get the factor $1/m$. The head keeps the rate $\eta$, and its first deviation is that of the base
# model**, or zero.


# %% tags=["yours"]
def change_of_logit(f, w, eta, c, a):
    """f, w: (D,) -> the change of a (f . w)."""
    delta_f, delta_w = -c * np.sign(w), -eta * np.sign(f)
    return a * ((f + delta_f) @ (w + delta_w) - f @ w)


# %%
f, w = rng.standard_normal((2, 50))
sums = 0.01 * np.abs(f).sum() + 0.1 * np.abs(w).sum() - 0.01 * 0.1 * np.sign(f * w).sum()
agree("change of z", change_of_logit(f, w, 0.01, 0.1, 0.5), -0.5 * sums)

base = 64
for name, deviation, rate, factor in (
    ("rate eta, 1/sqrt(D)", lambda D: D**-0.5, lambda m: 0.01, lambda m: 1.0),
    ("rate eta / m, 1/sqrt(D)", lambda D: D**-0.5, lambda m: 0.01 / m, lambda m: 1.0),
    ("muP: eta, 1/sqrt(D_0), 1/m", lambda D: base**-0.5, lambda m: 0.01, lambda m: 1 / m),
):
    sizes = {}
    for D in (64, 256, 1024, 4096):
        draws, m = rng.standard_normal((50, 2, D)), D / base
        sizes[D] = rms([change_of_logit(f, deviation(D) * w, rate(m), 0.1, factor(m)) for f, w in draws])
    show(name, sizes)

# %% [markdown]
# The second line treats the head like a matrix of a block. This is not enough, because the second sum grows with
# $\sqrt{D}$.
#
# ## The scores
#
# A score $\mathbf{q} \cdot \mathbf{k}$ is a sum of $D_h$ terms. At the start queries and keys are independent, and
# $1/\sqrt{D_h}$ fits (notebook [07](07_attention.ipynb)). Training aligns the queries with the keys that they look
# for. Then the sum grows with $D_h$. **The scores get the factor $\sqrt{D_{h,0}}/D_h$ in place of $1/\sqrt{D_h}$**,
# where $D_{h,0}$ is the width of a head in the base model. In the base model both are equal. If the heads keep their
# width and their number grows, nothing changes.


# %% tags=["yours"]
def score_scale(Dh, Dh_base):
    """The factor on q . k in muP."""
    return Dh_base**0.5 / Dh


# %%
config = mup.MupConfig(image_size=8, patch_size=2, width=256, heads=4, base_width=64, base_heads=4)
agree("score_scale", score_scale(256 // 4, 64 // 4), config.score_scale)

for name, scale in (("1/sqrt(Dh)", lambda Dh: Dh**-0.5), ("muP", lambda Dh: score_scale(Dh, 16))):
    for kind, share in (("independent", 0.0), ("aligned", 1.0)):
        sizes = {}
        for Dh in (16, 64, 256):
            q, noise = rng.standard_normal((2, 500, Dh))
            k = share * q + (1 - share) * noise
            sizes[Dh] = rms(scale(Dh) * (q * k).sum(axis=1))
        show(f"{name}, {kind}", sizes)

# %% [markdown]
# In muP independent scores fall at the start. This is harmless: small scores mean nearly equal attention weights.
#
# ## The rules
#
# The picture shows each kind of parameter at the width $D_0$ and at $2D_0$. Count the sides that grow.

# %%
_ = pictures.growing_sides()

# %% [markdown]
# | parameter | sides that grow | first deviation | rate | decay | factor |
# |---|---|---|---|---|---|
# | patch embedding | 1 | $1/\sqrt{P^2C}$ | $\eta$ | $\lambda$ | 1 |
# | positions, [class], LayerNorm, biases | 1 | as ever | $\eta$ | as ever | 1 |
# | matrices of the blocks | 2 | proportional to $1/\sqrt{n}$ | $\eta/m$ | $m\lambda$ | 1 |
# | head | 1 | that of the base model, or 0 | $\eta$ | $\lambda$ | $1/m$ |
# | bias of the head | 0 | 0 | $\eta$ | as ever | 1 |
# | scores | | | | | $\sqrt{D_{h,0}}/D_h$ |
#
# The first values of the library's ViT fit already. Three things differ from the usual form: the rate of the matrices,
# the factor of the readout, the factor of the scores. For the rates it is enough to compare shapes. A side grows if it
# differs between the base model and a wider one. If both sides grow, the sum of the layer runs over the first side.
# $m$ is the growth of that side.


# %% tags=["yours"]
def rate_and_decay(shape, base, wider, eta, decay):
    """Shapes of a parameter in the model, in the base model, in one of another width -> its rate and weight decay."""
    growing = [side for side, (a, b) in enumerate(zip(base, wider, strict=True)) if a != b]
    if len(growing) < 2:
        return eta, decay
    m = shape[-2] / base[-2]
    return eta / m, decay * m


# %%
own, base_shapes, wider_shapes = (mup.shapes_of(experiment.build("usual", D, 2, seed=None)) for D in (256, 64, 128))
groups = mup.groups(own, base_shapes, wider_shapes, lr=1e-3, weight_decay=0.1)
mine = [rate_and_decay(own[name], base_shapes[name], wider_shapes[name], 1e-3, 0.1) for name in own]
agree("rates, decay", mine, [(group.lr, group.weight_decay) for group in groups.values()])
for name in ("patch_embed.projection.weight", "blocks.0.mlp.out.weight", "blocks.0.mlp.out.bias", "head.weight"):
    print(f"{name:<30} {own[name]!s:<12} {groups[name].infinite} growing, rate {groups[name].lr:g}")

# %%
show_source(mup.Readout)

# %% [markdown]
# For a ViT of timm's at four widths, these groups equal those of the published library.
#
# ## Experiment 1: the coordinate check
#
# Make a few updates at several widths, and measure how far values inside the model move. This is the **coordinate
# check**. It takes seconds and shows a wrong rule. The model is a ViT for the digits with two blocks and four heads,
# which grow with the width; $D_0 = 64$. The rate is 0.0005. The head starts random, because a head of zero passes no
# gradient to the blocks in the first update. $\epsilon$ of Adam is $10^{-12}$: gradients of matrices shrink when the
# width grows, and the usual $10^{-8}$ could then matter.
#
# The controls are muP with one rule broken.
#
# **Predict first.** By which slope do the changes of block outputs, scores and logits grow with the width in the usual
# form: 0, 1/2 or 1? Which of them grow if one rule of muP is broken?

# %%
for form in ("usual", "muP"):
    change = {
        D: experiment.checked(form, D, seed=0)["change1"]["output"] for D in full_or_fast((64, 128, 256), (64, 128))
    }
    print(f"{form:<6} change of the logits by width, one seed: ", {D: round(size, 2) for D, size in change.items()})

# %% [markdown]
# The record has five seeds, and more widths. The command below makes it.

# %%
shipped = record.read("widths")
print(shipped["command"])
names = dict(
    zip(experiment.PARTS, ("output of block 1", "output of block 2", "scores of block 2", "logits"), strict=True)
)
check_widths = experiment.CHECK["widths"]


def sizes_of(form, when, part):
    """(widths, seeds)."""
    return np.array([shipped["results"][f"check, {form}, width {D}"][when][part] for D in check_widths])


figure, axes = plt.subplots(1, 4, figsize=(12, 3.8), sharey=True, layout="constrained")
for axis, (part, name) in zip(axes, names.items(), strict=True):
    for form, colour in (("usual", "C1"), ("muP", "C0")):
        for when, line, label in (("change1", "o-", "1 update"), ("change5", "s--", "5 updates")):
            points = zip(*map(mean_and_error, sizes_of(form, when, part)), strict=True)
            axis.errorbar(check_widths, *points, fmt=line, color=colour, capsize=3, label=f"{form}, {label}")
    axis.set(title=name, xlabel="width", xscale="log", yscale="log")
    axis.set_xticks(check_widths, [str(D) for D in check_widths])
    axis.minorticks_off()
axes[0].set_ylabel("mean absolute change")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %%
print("slope of", " " * 20, "".join(f"{name:>19}" for name in names.values()))
for form in experiment.FORMS:
    for when, label in (("init", "start"), ("change1", "1 update"), ("change5", "5 updates")):
        row = ""
        for part in names:
            of_seeds = sizes_of(form, when, part).T
            found = [mup.slope(dict(zip(check_widths, of_seed, strict=True))) for of_seed in of_seeds]
            row += f"{told(found):>19}"
        print(f"{form:<18} {label:<10} {row}   {len(of_seeds)} seeds")

# %% [markdown]
# **In the stored run** the slopes after 1 update in the usual form are 0.97 and 0.84 for the blocks, 1.01 for the
# scores and 0.77 for the logits. In muP they are -0.05 ± 0.02 and -0.01 ± 0.02 for the blocks; the scores fall with
# -0.33 ± 0.03, and the logits have -0.17 ± 0.09, which 5 seeds do not tell from 0. Each control shows its broken rule:
# with the rate $\eta$ for matrices the blocks grow by 0.83 and 0.84, without $1/m$ the logits by 0.82, and with
# $1/\sqrt{D_h}$ the scores by 0.23.
#
# The rule for the scores prevents that aligned scores grow. Independent changes fall with it, and in the first updates
# the scores behave more like these. After five updates the changes are no longer small, and in both forms all slopes
# are smaller.
#
# ## Experiment 2: the best rate by width
#
# We train models of four widths at eight rates, in both forms, with $D_0 = 32$. Each run makes 100 updates on the
# digits. Both forms of one width and seed start with the same weights and see the same batches. There is no clipping
# of gradients, because their norm depends on the width. The result is the mean training loss of the last 20 updates.
# The control changes the depth: muP has no rule for it.
#
# First one width and one rate, here and now.

# %%
for form in ("usual", "muP"):
    print(f"{form:<6} width 64, rate 0.032: loss {experiment.measure(form, 64, 2, 3.2e-2, seed=0):.3f}")

# %% [markdown]
# The **best rate** of a seed is the minimum of a parabola through the lowest point and its two neighbours, over the
# logarithm of the rate. Let the three losses be $\ell_-, \ell_0, \ell_+$, at the places $-1, 0, 1$. The parabola
# through them is $\ell_0 + \tfrac12(\ell_+ - \ell_-)\,u + \tfrac12(\ell_+ + \ell_- - 2\ell_0)\,u^2$. Its minimum lies
# at
#
# $$u = \frac{\ell_- - \ell_+}{2\,(\ell_+ + \ell_- - 2\ell_0)}.$$


# %% tags=["yours"]
def lowest_place(before, middle, after):
    """Where a parabola through three points at -1, 0, 1 is lowest."""
    return (before - after) / (2 * (after + before - 2 * middle))


# %%
curve = np.polyfit([-1, 0, 1], [0.9, 0.4, 0.6], 2)
agree("lowest place", lowest_place(0.9, 0.4, 0.6), -curve[1] / (2 * curve[0]))

# %% [markdown]
# All runs take half an hour. The command printed above makes them, too.
#
# **Predict first.** From 32 to 256 the width doubles three times. By how many doublings does the best rate fall in the
# usual form, and in muP? Does it stay when the depth grows from 2 to 8 blocks?

# %%
rates = np.array(shipped["config"]["rates"])


def losses(form, D, depth=2):
    """(rates, seeds)."""
    form = "usual" if D == experiment.BASE else form
    return np.array(list(shipped["results"][experiment.name_of(form, D, depth)].values()))


def best_rates(of_seeds):
    """The base-2 logarithm of the best rate of every seed."""
    best = []
    for of_seed in of_seeds.T:
        i = of_seed.argmin()
        assert 0 < i < len(rates) - 1, "the lowest point is at an end of the grid"
        best.append(np.log2(rates[i]) + lowest_place(*of_seed[i - 1 : i + 2]))
    return np.array(best)


figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
styles = ("o-", "s--", "^-.", "D:")
panels = {
    "usual form, by width": [(f"width {D}", losses("usual", D)) for D in experiment.WIDTHS],
    "muP, by width": [(f"width {D}", losses("muP", D)) for D in experiment.WIDTHS],
    "width 32, by depth": [(f"{depth} blocks", losses("usual", 32, depth)) for depth in experiment.DEPTHS],
}
for axis, (title, curves) in zip(axes, panels.items(), strict=True):
    for (name, of_seeds), line in zip(curves, styles, strict=False):
        points = zip(*(mean_and_error(row) for row in of_seeds), strict=True)
        axis.errorbar(rates, *points, fmt=line, capsize=3, markersize=5, label=name)
    axis.set(title=title, xlabel="learning rate", xscale="log", ylim=(0, 2.4))
    axis.set_xticks(rates[1::2], [f"{rate:g}" for rate in rates[1::2]])
    axis.minorticks_off()
    axis.legend(loc="lower left")
axes[0].set_ylabel("training loss at the end")
plt.show()

# %%
narrow = losses("usual", experiment.BASE)
start, kept = best_rates(narrow), narrow.mean(axis=1).argmin()
print(
    f"width 32, 2 blocks, {len(start)} seeds: best rate {2 ** start.mean():.4f}, lowest loss {told(narrow.min(axis=0))}\n"
)
print(f"form   width blocks  best rate, doublings from there; by seed           lowest loss   loss at {rates[kept]}")
for form, D, depth in experiment.settings()[1:]:
    of_seeds = losses(form, D, depth)
    shifts = best_rates(of_seeds) - start
    by_seed = " ".join(f"{shift:+.2f}" for shift in shifts)
    ends = f"{told(of_seeds.min(axis=0))}  {told(of_seeds[kept])}"
    print(f"{form:<6} {D:5d} {depth:6d}  {told(shifts):>14}; {by_seed}   {ends}")
print()
for form in ("usual", "muP"):
    places = np.array([best_rates(losses(form, D)) for D in experiment.WIDTHS])
    falls = np.polyfit(np.log2(experiment.WIDTHS), places, 1)[0]
    print(f"{form:<6} doublings of the best rate for each doubling of the width: {told(falls)}")

# %% [markdown]
# **In the stored run** the best rate of the usual form falls by 3.95 ± 0.10 doublings from width 32 to 256. In muP it
# is 0.16 ± 0.15 doublings higher, and no width is further off than 0.30. The best rate of width 32 on the grid, 0.016,
# leaves width 256 with the loss 1.92 in the usual form and 0.39 in muP.
#
# **In the stored run** the best rate falls by 1.25 ± 0.15 doublings from 2 to 8 blocks. The best rate of a shallow
# model is wrong for a deep one, in muP too.
#
# Two more things can be seen. First, the best rate of the usual form falls by 1.30 ± 0.04 doublings for each doubling
# of the width. The argument for one update expects 1, so it does not explain all of the fall. Second, at its best rate
# the usual form gets worse with the width, from 0.47 to 0.92. One rate serves all its parameters, and a small one also
# slows down the patch embedding, positions and biases. This may be the reason; the experiment does not test it. It has
# short runs and one small data set. Other tasks can give other numbers.
#
# ## Where this goes wrong in practice
#
# - **The rate of the patch embedding is divided by $m$.** Its inputs do not grow. With $\eta/m$ it learns less and less.
# - **The head gets the rate $\eta/m$ and the factor $1/m$.** Then the change of the logits by the head itself falls like $1/m$.
# - **$1/\sqrt{D_h}$ stays although the heads grow.** Scores that training has aligned grow with $\sqrt{D_h}$.
# - **A norm of gradients is clipped.** The norm depends on the width, so the same limit acts differently.
# - **A coordinate check with a head of zero.** In the first update the blocks have no gradient. Look at the second one and later ones.
# - **A base model that is too narrow, or another depth, batch size or length of training.** The rules say nothing about these.
#
# ## Exercises
#
# `hint("32.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **32.1 (two lines).** In the usual form a ViT is widened from 64 to 1024, and the rate stays. By the argument for one
# token: by what factor does the change of the output of a $D \times D$ matrix grow, in Adam's first update? Its inputs
# have the size 1 at both widths.

# %%
answer = None  # your answer here: a number

check("32.1", answer)

# %% [markdown]
# **32.2 (ten minutes).** `x` (N, n) are tokens and `dy` (N, n_out) is the gradient of $y = xW$. Return the change of
# $y$ in Adam's first update, with $\epsilon$ left out.


# %%
def first_change(x, dy, eta):
    """x: (N, n), dy: (N, n_out) -> change of y (N, n_out)"""
    ...  # your answer here


check("32.2", first_change)

# %% [markdown]
# **32.3 (ten minutes).** A matrix has `n_in` inputs and `n_out` outputs. In the base model it has `base_in` and
# `base_out`. A side of the same length in both does not grow. Return the rate and the decay of this matrix for AdamW,
# which multiplies the decay by the rate.


# %%
def matrix_rate(n_in, n_out, base_in, base_out, eta, decay):
    """-> rate, decay"""
    ...  # your answer here


check("32.3", matrix_rate)

# %% [markdown]
# **32.4 (twenty minutes).** A layer uses $aW$, with a fixed factor $a$. $W$ has the first deviation `s`, the rate
# `eta` and the decay `decay` of AdamW ($\epsilon = 0$). Now $a$ is multiplied by `factor`. Which deviation, rate and
# decay give the same training, update for update?


# %%
def same_training(s, eta, decay, factor):
    """-> deviation, rate, decay"""
    ...  # your answer here


check("32.4", same_training)

# %% [markdown]
# **32.5 (five minutes).** A form of muP has one mistake. Its coordinate check gives these slopes for the changes in
# the first update: tokens before the first block $-1.0$, outputs of the blocks and logits between $-0.3$ and $0$.
# Which mistake is it?
#
# - "a": matrices of the blocks have the rate $\eta$
# - "b": the logits have no factor $1/m$
# - "c": the patch embedding and the positions have the rate $\eta/m$
# - "d": the scores have the factor $1/\sqrt{D_h}$

# %%
answer = None  # "a", "b", "c" or "d"

check("32.5", answer)

# %% [markdown]
# Back to the [index](index.ipynb).

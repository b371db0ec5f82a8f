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
# # 23 DINO
#
# A ViT can learn from images without labels. **DINO** ([Caron et al. 2021](https://arxiv.org/abs/2104.14294)) cuts several crops out of an image. A **student**
# network sees all of them, a **teacher** network sees the large ones. For each pair of different crops, the student's answer to one
# has to match the teacher's answer to the other. The teacher is not trained: its weights are an average of the student's own past.
# There are no other targets. At the end you will be able to
#
# - write the loss over pairs of crops and its gradient,
# - explain why both networks could collapse to one constant answer, and the tricks against it,
# - recognise both kinds of collapse in a curve,
# - judge features by their nearest neighbours, with two controls.
#
# You need notebooks [06](06_softmax_and_loss.ipynb), [13](13_training.ipynb) and [14](14_augmentation.ipynb).
#
# **Budget:** 8 s of CPU time (fast mode 8 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import record

from minivit import functional as F
from minivit.data import Augment
from minivit.lessons import agree, check, photographs, show_source
from minivit.lineage.dino import DINO, DINOConfig
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad

rng = np.random.default_rng(23)

# %% [markdown]
# ## The equations
#
# Teacher and student have the same architecture: a ViT, whose [class] token goes through a small MLP to $K$ numbers, the
# **outputs**. They are the logits of $K$ classes that mean nothing at first. The teacher's answer to crop $i$ is a softmax
# $\mathbf{r}_i$ over its outputs, the student's to crop $j$ a softmax $\mathbf{p}_j$:
#
# $$\mathbf{r}_i = \mathrm{softmax}\!\left(\frac{\mathbf{t}_i - \mathbf{c}}{\tau_t}\right), \qquad \mathbf{p}_j = \mathrm{softmax}\!\left(\frac{\mathbf{s}_j}{\tau_s}\right).$$
#
# The loss is their cross-entropy. It is averaged over the images of the batch and over all pairs of *different* crops of an image.
# Crop $i$ is one of the two large crops, crop $j$ is any crop. For one image:
#
# $$\mathcal{L} = -\frac{1}{\text{pairs}} \sum_{i=1}^{2} \sum_{j \ne i} \sum_k r_{ik} \log p_{jk}.$$
#
# Only the student has a gradient. An index $s$ marks the student, $t$ the teacher. After each update the teacher moves a little towards it, with all its parameters $\theta$, and the centre $\mathbf{c}$ moves towards
# the mean of the teacher's outputs over the batch:
#
# $$\theta_t \leftarrow m\,\theta_t + (1 - m)\,\theta_s, \qquad \mathbf{c} \leftarrow 0.9\,\mathbf{c} + 0.1\,\overline{\mathbf{t}}.$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $V$ | images in a batch, local crops of each | numbers | `B`, `V` |
# | $K$ | classes without a meaning at first: the outputs | number | `K` |
# | $\mathbf{s}$ | the student's outputs, two global crops first | $(B, 2 + V, K)$ | `s` |
# | $\mathbf{t}$ | the teacher's outputs for the global crops | $(B, 2, K)$ | `t` |
# | $\mathbf{c}$ | the centre | $(K,)$ | `c` |
# | $\tau_s$, $\tau_t$ | temperature of the student and of the teacher, 0.1 and (at the start) 0.04 in the paper | numbers | `tau_s`, `tau_t` |
# | $m$ | the teacher's momentum, 0.996 rising to 1 in the paper | number | `m` |
# | $\theta_s$, $\theta_t$ | parameters of student and teacher | | |
# | $\mathbf{p}$, $\mathbf{r}$ | answers of student and teacher, which sum to 1 over $k$ | as $\mathbf{s}$, $\mathbf{t}$ | `p`, `r` |
# | $\mathrm{d}\mathbf{s}$ | the gradient of the loss | as $\mathbf{s}$ | `ds` |
#
# ## Crops
#
# A **global** crop shows a large part of the image, in the paper 40 % or more. A **local** crop shows less and has fewer pixels. Each
# is flipped with probability 1/2, and the colours of most are changed at random. So colour or position alone does not make two answers
# agree. The next cell shows drawn shapes, if CIFAR-10 is not on this machine.

# %%
shape = ViTConfig(image_size=32, patch_size=8, width=16, depth=2, heads=2, num_classes=0)
config = DINOConfig(outputs=7, hidden=12, bottleneck=6, local_crops=3, local_size=16, norm_last_layer=False)
objective = DINO(config, ViT(shape, 0, "float64"), total_steps=100, dtype="float64").eval()

train, test = photographs(200, 50)
augment = Augment((32, 32), flip=True)
pictures = train.images[:3]
batch = objective.prepare({"images": pictures}, augment, rng)
batch |= objective.draw(batch, step=50, rng=rng)

figure, axes = plt.subplots(3, 6, figsize=(9, 4.6), layout="constrained")
for row, picture, large, small in zip(axes, pictures, batch["global_crops"], batch["local_crops"], strict=True):
    for axis, crop in zip(row, [picture / 127.5 - 1, *large, *small], strict=True):
        axis.imshow(np.clip(crop * 0.5 + 0.5, 0, 1))
        axis.axis("off")
for axis, title in zip(axes[0], ["image", "global", "global", "local", "local", "local"], strict=True):
    axis.set_title(title)
plt.show()

# %% [markdown]
# From a local crop the student has to predict both of the teacher's answers. From a global crop it has to predict the answer to the
# other one.
#
# Local crops have fewer patches than global ones. They use the position embedding of the global crops, resized as in notebook
# [17](17_higher_resolution.ipynb). The rest of a ViT takes any number of tokens.
#
# ## Forward, as loops

# %%
B, V, K = 3, 3, 7
tau_s, tau_t = 0.1, 0.04
s = 0.3 * rng.standard_normal((B, 2 + V, K))
t = 0.3 * rng.standard_normal((B, 2, K))
c = 0.1 * rng.standard_normal(K)


def softmax(z):
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# %% tags=["yours"]
r = softmax((t - c) / tau_t)
p = softmax(s / tau_s)

# %%
loss_loops, pairs = 0.0, 0
for i in range(2):
    for j in range(2 + V):
        if i != j:
            pairs += 1
            for b in range(B):
                loss_loops -= r[b, i] @ np.log(p[b, j]) / B
loss_loops /= pairs
print(f"{pairs} pairs, loss {loss_loops:.4f}; equal probabilities for all outputs would cost log K = {np.log(K):.4f}")

# %% [markdown]
# The loss is above $\log K$ here, because these answers are random and often sure of the wrong output.
#
# ## Forward, all at once
#
# Sum over all crops $j$, then subtract crop $i$. So the pairs need no loop:

# %% tags=["yours"]
log_p = np.log(p)
others = log_p.sum(axis=1, keepdims=True) - log_p[:, :2]  # (B, 2, K)
loss = -(r * others).sum() / (B * pairs)
agree("loss", loss, loss_loops)

# %% [markdown]
# ## Backward
#
# One pair is the cross-entropy of notebook [06](06_softmax_and_loss.ipynb) with the target $\mathbf{r}_i$. Its gradient with respect
# to the logits $\mathbf{s}_j / \tau_s$ is $\mathbf{p}_j - \mathbf{r}_i$. The chain rule through the temperature adds a factor
# $1/\tau_s$. The targets are constants: no gradient flows into the teacher. The gradient of a crop is the sum over its pairs:
#
# $$\mathrm{d}\mathbf{s}_j = \frac{1}{\tau_s\, B \cdot \text{pairs}} \sum_{i \ne j} (\mathbf{p}_j - \mathbf{r}_i).$$


# %% tags=["yours"]
def gradient(p, r):
    """p: (B, 2 + V, K), r: (B, 2, K) -> ds, as p."""
    ds = np.zeros_like(p)
    for i in range(2):
        for j in range(2 + V):
            if i != j:
                ds[:, j] += (p[:, j] - r[:, i]) / (tau_s * B * pairs)
    return ds


# %%
ts = Tensor(s, requires_grad=True)
tlog_p = F.log_softmax(ts / tau_s)
tothers = tlog_p.sum(axis=1, keepdims=True) - tlog_p[:, :2]
tloss = -(Tensor(r) * tothers).sum() / (B * pairs)
agree("ds", gradient(p, r), grad(tloss, [ts])[0])

# %% [markdown]
# ## The last layer
#
# The head ends in a linear layer without bias, from a few numbers $\mathbf{x}$ to $K$ outputs. Two things are unusual. First,
# $\mathbf{x}$ is divided by its length. Second, row $k$ of the weights is a length $g_k$ times a unit vector,
# $\mathbf{w}_k = g_k\,\mathbf{v}_k / \lVert\mathbf{v}_k\rVert$. This is **weight normalisation**
# ([Salimans & Kingma 2016](https://arxiv.org/abs/1602.07868)). The published code can keep all $g_k$ at 1 (`norm_last_layer`). Then an
# output is the cosine of two directions, between $-1$ and 1, and no output can win by long weights.
#
# With $\mathbf{u} = \mathbf{v} / \lVert\mathbf{v}\rVert$ the pullback of a row is
#
# $$\mathrm{d}\mathbf{v} = \frac{g}{\lVert\mathbf{v}\rVert}\,\bigl(\mathrm{d}\mathbf{w} - \mathbf{u}\,\langle\mathbf{u}, \mathrm{d}\mathbf{w}\rangle\bigr), \qquad \mathrm{d}g = \langle\mathbf{u}, \mathrm{d}\mathbf{w}\rangle.$$
#
# The part along $\mathbf{v}$ is taken away, since a longer $\mathbf{v}$ changes nothing. Here is one row, compared with the engine.
# Exercise 23.3 asks for all rows.

# %%
v, g, dw = rng.standard_normal(5), 1.7, rng.standard_normal(5)

# %% tags=["yours"]
length = np.sqrt(v @ v)
u = v / length
dv = g / length * (dw - u * (u @ dw))

# %%
tv = Tensor(v, requires_grad=True)
tw = tv / F.sqrt((tv * tv).sum()) * g
agree("dv", dv, grad(tw, [tv], dw)[0])
print(f"<v, dv> = {v @ dv:.1e}: the gradient has no part along v")

# %% [markdown]
# ## The library
#
# The loss and the update of the state stand in [`minivit/lineage/dino.py`](../minivit/lineage/dino.py). `outputs` come from
# `forward`: the student's logits for all crops, and the teacher's.

# %%
show_source(DINO.loss)

# %%
show_source(DINO.after_update)

# %%
tokens = (Tensor(s), Tensor(t))
objective.centre.data[...] = c
agree("loss of the library", objective.loss(tokens, batch).item(), loss)
entropy = objective.sums(tokens, batch)["entropy"] / B
agree("its entropy", entropy, -(r * np.log(r)).sum(axis=-1).mean())

# %% [markdown]
# ## Why it should collapse
#
# The loss asks for agreement only. Two networks that give the same answer to *every* image agree perfectly, and have learned
# nothing. The two extremes of such answers are: one output always wins, and the entropy of $\mathbf{r}$ is 0; or all outputs are
# equally likely, and the entropy is $\log K$.
#
# A model for pencil and paper shows the mechanism. Let the student learn perfectly in every round, $\mathbf{p} = \mathbf{r}$. Then
# $\mathbf{s} = \frac{\tau_s}{\tau_t}(\mathbf{t} - \mathbf{c})$, up to a constant that a softmax ignores. In this model we average the
# outputs of student and teacher, instead of their parameters:
#
# $$\mathbf{t} \leftarrow m\,\mathbf{t} + (1 - m)\,\frac{\tau_s}{\tau_t}\,(\mathbf{t} - \mathbf{c}).$$
#
# Write $\mathbf{t} = \overline{\mathbf{t}} + \mathbf{d}$. Here $\overline{\mathbf{t}}$ is the mean over all images, and $\mathbf{d}$
# the deviation of one image from it. The centre is near $\overline{\mathbf{t}}$. Therefore
#
# - **the common part** $\overline{\mathbf{t}}$ becomes $m\,\overline{\mathbf{t}}$. Centring makes it die out. Without a centre it is
#   multiplied by $m + (1 - m)\frac{\tau_s}{\tau_t}$, as $\mathbf{d}$ is;
# - **the differences** $\mathbf{d}$ are multiplied by $m + (1 - m)\frac{\tau_s}{\tau_t}$. With $\tau_t < \tau_s$ (**sharpening**) they
#   grow. With $\tau_t > \tau_s$ they die out too, and with $\tau_t = \tau_s$ they stay as they are.
#
# Sharpening alone lets the common part grow as fast as the differences, and at the start it is larger. Centring alone makes
# everything die out. Together, only the differences grow.
#
# **Predict first.** The left panel will show the mean entropy of an answer. The right panel will show the entropy of the mean answer
# minus the mean entropy of an answer: the information that an answer gives about the image. There are three cases: both tricks, no
# centring, no sharpening. Which of them end with sure answers? Which end with informative ones?

# %%
K, images, m = 16, 64, 0.9
common, different = rng.standard_normal(K), 0.05 * rng.standard_normal((images, K))
cases = {  # name: centring, temperature of the teacher
    "both": (True, 0.04),
    "no centring": (False, 0.04),
    "no sharpening": (True, 0.14),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for (name, (centring, heat)), style in zip(cases.items(), ("-", "--", ":"), strict=True):
    t, c = 0.1 * (common + different), np.zeros(K)
    curve = []
    for _ in range(80):
        r = softmax((t - c) / heat)
        each = -(r * np.log(r + 1e-12)).sum(axis=-1).mean()  # entropy of the answer to an image
        mean = r.mean(axis=0)
        curve.append((each, -(mean * np.log(mean + 1e-12)).sum() - each))  # information about the image
        s = tau_s / heat * (t - c)
        c = centring * (0.9 * c + 0.1 * t.mean(axis=0))
        t = m * t + (1 - m) * s
        t = t / max(1, np.abs(t).max())  # an output is a cosine
    for axis, values in zip(axes, zip(*curve, strict=True), strict=True):
        axis.plot(values, style, label=name)
    print(f"{name:<14} entropy {curve[-1][0]:.2f}, information {curve[-1][1]:.2f} nats after {len(curve)} rounds")
axes[0].axhline(np.log(K), color="gray", linewidth=0.8)
axes[0].annotate("log K", (2, np.log(K)), xytext=(0, -12), textcoords="offset points", color="gray")
axes[0].set(xlabel="round", ylabel="nats", title="mean entropy of an answer")
axes[1].set(xlabel="round", ylabel="nats", title="information about the image")
axes[1].legend()
plt.show()

# %% [markdown]
# Left: without sharpening the entropy goes to $\log K$. With sharpening the answers become sure, with and without a centre. Right:
# without a centre the sure answer is the same for all images. Only both tricks together tell the images apart.
#
# Real networks do not learn perfectly in each round. The experiment shows them.
#
# ## Experiment: which parts does DINO need?
#
# A small ViT trains on 10,000 images of CIFAR-10 in four ways: with all of DINO, without the centre, with $\tau_t = \tau_s$ ("no
# sharpening"), and with $m = 0$. With $m = 0$ the teacher copies the student after every update, so both always have the same weights.
# One more run with all of DINO is longer, 1,500 steps instead of 400. Global crops show 50 % of the image or more, local ones 20 to
# 50 %, and $m$ begins at 0.99. The curves are read from `notebooks/results/dino.json`; the command that made them is printed. Lines are
# means over seeds, bands one standard error.
#
# **Predict first.** Where does the entropy of the teacher's answers end in each of the four: near 0, near $\log K$, or between?

# %%
shipped = record.read("dino")
runs, most = shipped["results"], shipped["config"]["most_entropy"]
print(shipped["command"])
print(f"data:   {shipped['data']}")
print(f"config: {len(runs['full'])} seeds, {shipped['config']}")

variants = ["full", "no centring", "no sharpening", "the student teaches"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for name, style in zip([*variants, "full, longer"], ("-", "--", ":", "-.", "-"), strict=True):
    for axis, kind in zip(axes, ("entropy", "divergence"), strict=True):
        curves = np.array([run[kind] for run in runs[name]])
        steps = shipped["config"]["every"] * (0.5 + np.arange(curves.shape[1]))
        mean, error = np.array([record.mean_and_error(values) for values in curves.T]).T
        axis.plot(steps, mean, style, label=name, linewidth=1 if "longer" in name else 1.8)
        axis.fill_between(steps, mean - error, mean + error, alpha=0.2)
axes[0].axhline(most, color="gray", linewidth=0.8)
axes[0].annotate("log K", (1450, most), xytext=(0, -12), textcoords="offset points", color="gray", ha="right")
axes[0].set(xlabel="step", ylabel="nats", title="entropy of the teacher's answers")
axes[1].set(xlabel="step", ylabel="nats", title="divergence KL(teacher, student)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
plt.show()

# %%
print(f"at the end (log K is {most:.2f})       entropy          divergence")
for name in [*variants, "full, longer"]:
    ends = [record.mean_and_error([run[kind][-1] for run in runs[name]]) for kind in ("entropy", "divergence")]
    print(f"  {name:<22} " + "   ".join(f"{mean:8.3f} ± {error:.3f}" for mean, error in ends))

# %% [markdown]
# **In the stored run** $\log K$ is 5.55. The entropy ends near 0 without the centre, at 0.119 ± 0.085, and near $\log K$ without
# sharpening, at 5.501 ± 0.005. With the student as teacher it ends at 5.540 ± 0.004. With all of DINO it ends between, at
# 4.512 ± 0.036, and in the longer run at 3.789 ± 0.014.
#
# In our small model, $\tau_t = \tau_s$ leaves the differences as they are. In the real network the entropy rises to $\log K$: the
# student learns imperfectly, and errors even out the answers. With the student as teacher both tricks are in place, and the answers
# still become equally likely. So the slow teacher is a third part that this DINO needs.
#
# With all of DINO the entropy stays below $\log K$, and in the longer run it falls. The loss does not show this. It is the sum of both
# curves, and it is *smallest* without the centre.
#
# ## Experiment: what are the features worth?
#
# The paper uses the teacher's encoder. Its features are judged without training a classifier: the 20 nearest of 5,000 training images
# vote on the class of a test image, each with the weight $e^{\cos / 0.07}$ (section 4.1 of the paper; Wu et al. 2018). There are two
# controls: the same vote on the *pixels*, and on the features of the encoder *before the first step*.
#
# **Predict first.** Order these by accuracy: the pixels, the untrained encoder, DINO after 400 steps, DINO after 1,500 steps.

# %%
accuracy = {name: [run[name] for run in runs["controls"]] for name in ("pixels", "untrained")}
accuracy |= {name: [run["teacher"] for run in runs[name]] for name in [*variants, "full, longer"]}
accuracy["its student"] = [run["student"] for run in runs["full, longer"]]

figure, axis = plt.subplots(figsize=(9, 3.2), layout="constrained")
found = {name: record.mean_and_error(values) for name, values in accuracy.items()}
axis.bar(
    range(len(found)),
    [100 * mean for mean, _ in found.values()],
    yerr=[100 * error for _, error in found.values()],
    capsize=4,
)
for place, (mean, _) in enumerate(found.values()):
    axis.annotate(f"{100 * mean:.1f}", (place, 100 * mean), xytext=(0, 8), textcoords="offset points", ha="center")
axis.set_xticks(range(len(found)), labels=[name.replace(" ", "\n") for name in found])
axis.set(ylabel="accuracy of 20 neighbours in %", ylim=(0, 45))
axis.axhline(10, color="gray", linewidth=0.8)
plt.show()
for name, (mean, error) in found.items():
    print(f"{name:<22} {100 * mean:5.1f} ± {100 * error:.1f} %")
for control in ("pixels", "untrained"):
    gain = 100 * (np.array(accuracy["full, longer"]) - np.array(accuracy[control]))  # seed by seed
    mean, error = record.mean_and_error(gain)
    print(f"full, longer minus {control:<11} {mean:+5.1f} ± {error:.1f} points")

# %% [markdown]
# **In the stored run** the encoder of the longer run has 34.2 ± 0.4 %. That is 5.9 ± 0.7 points above the untrained encoder, and
# 2.4 ± 0.4 points below the pixels. After as few steps as the others, all of DINO (30.0 ± 0.7 %), no centring (30.0 ± 0.1 %) and no sharpening
# (29.6 ± 0.6 %) cannot be told apart.
#
# So after 400 steps the neighbours do not separate all of DINO from the runs whose entropy ends near 0 or $\log K$. Only the student
# that teaches itself is below the untrained encoder. The longer run saw each of 10,000 images about ten times, and is still below the
# pixels. Colour may be a reason: pixels depend on it, and DINO learns to ignore it. All of them are above chance, the grey line at 10 %; this means little.
#
# The published models were trained much longer: ViT-S/16 reaches 74.5 % of ImageNet by 20 neighbours after 800 epochs, and 77.0 % with
# a linear layer on the frozen features (the code's README).
#
# ## Where this goes wrong in practice
#
# - **A gradient into the teacher.** Then both move towards each other, and a constant answer is easy to reach.
# - **The same crop on both sides.** With $i = j$ nothing has to be recognised: student and teacher see the same pixels.
# - **The centre updated before it is used.** Then each batch changes the centre that is subtracted from it.
# - **Only the encoder averaged.** The teacher's head must follow too, since the student imitates its outputs.
# - **Stochastic depth in the teacher.** It belongs to the student alone (notebook [14](14_augmentation.ipynb)).
# - **A falling loss taken for success.** It falls without the centre, too. Look at the entropy and at neighbours.
# - **Positions of local crops resized by another rule.** The published code adds 0.1 to the number of cells before it computes the
#   scale, so its table differs a little from a plain resize.
#
# ## Exercises
#
# `hint("23.1")` gives up to three hints for an exercise, one per call.
#
# **23.1 (two lines).** The teacher sees two global crops, the student sees these and $V$ local ones. How many pairs does the loss have?


# %%
def pairs_of(V):
    """V: local crops -> a number"""
    ...  # your answer here


check("23.1", pairs_of)

# %% [markdown]
# **23.2 (half an hour).** Write the loss and its gradient with respect to the student's outputs, in NumPy, as means over the $B$
# images and over the pairs. The first two of the student's crops are the teacher's two.


# %%
def dino_loss(s, t, c, tau_s, tau_t):
    """s: (B, crops, K), t: (B, 2, K), c: (K,), two temperatures -> the loss and ds (B, crops, K)"""
    ...  # your answer here


check("23.2", dino_loss)

# %% [markdown]
# **23.3 (half an hour).** Write the pullback of weight normalisation, $\mathbf{w}_k = g_k\,\mathbf{v}_k / \lVert\mathbf{v}_k\rVert$, for all
# $K$ rows of length $D$, in NumPy.


# %%
def weight_norm_backward(v, g, dW):
    """v: (K, D), g: (K,), dW: (K, D) -> dv (K, D), dg (K,)"""
    ...  # your answer here


check("23.3", weight_norm_backward)

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
# network sees all of them, a **teacher** network sees the large ones. The student's answer to each crop has to match the teacher's answer to *another*. The teacher is not
# a trained model: it is an average of the student's own past. Nothing else says what the answers should be. At the end you will be able to
#
# - write the loss over pairs of crops and its gradient,
# - say why such a pair of networks could collapse to an answer that is always the same, and which two tricks work against it,
# - recognise both kinds of collapse in a curve,
# - judge features by their nearest neighbours, against the two controls that such a number needs.
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
# Teacher and student are the same network: a ViT, whose [class] token goes through a small MLP to $K$ numbers, the **outputs**. They are the logits of $K$ classes
# that mean nothing at first. With a softmax over them, the teacher's answer to crop $i$ is $\mathbf{q}_i$, the student's to crop $j$ is $\mathbf{p}_j$:
#
# $$\mathbf{q}_i = \mathrm{softmax}\!\left(\frac{\mathbf{t}_i - \mathbf{c}}{\tau_t}\right), \qquad \mathbf{p}_j = \mathrm{softmax}\!\left(\frac{\mathbf{s}_j}{\tau_s}\right).$$
#
# The loss is their cross-entropy, averaged over the images of the batch and over all pairs of *different* crops of an image, where $i$ is one of the two large crops and $j$ any crop. For one image:
#
# $$L = -\frac{1}{\text{pairs}} \sum_{i} \sum_{j \ne i} \sum_k q_{ik} \log p_{jk}.$$
#
# Only the student has a gradient. After each update the teacher moves a little towards it, with all its parameters $\theta$, and the centre $\mathbf{c}$ moves towards
# the mean of the teacher's outputs over the batch:
#
# $$\theta_t \leftarrow m\,\theta_t + (1 - m)\,\theta_s, \qquad \mathbf{c} \leftarrow 0.9\,\mathbf{c} + 0.1\,\overline{\mathbf{t}}.$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $V$, $K$ | images, local crops of each, outputs | numbers | `B`, `V`, `K` |
# | $\mathbf{s}$ | the student's outputs, two global crops first | $(B, 2 + V, K)$ | `s` |
# | $\mathbf{t}$ | the teacher's outputs for the global crops | $(B, 2, K)$ | `t` |
# | $\mathbf{c}$ | the centre | $(K,)$ | `c` |
# | $\tau_s$, $\tau_t$ | temperatures, 0.1 and 0.04 in the paper | numbers | `tau_s`, `tau_t` |
# | $m$ | the teacher's momentum, 0.996 rising to 1 in the paper | number | `m` |
# | $\mathbf{p}$, $\mathbf{q}$ | answers, which sum to 1 over $k$ | as $\mathbf{s}$, $\mathbf{t}$ | `p`, `q` |
# | $\mathrm{d}\mathbf{s}$ | the gradient of the loss | as $\mathbf{s}$ | `ds` |
#
# ## Crops
#
# The crops decide what the answers can have in common. A **global** crop shows 40 % of the image or more, a **local** one less, and has fewer pixels. Each is
# flipped with probability 1/2, and its colours are changed at random. So two answers cannot agree by colour alone, nor by the position of things.

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
# In each row the student has to predict, from every crop, the teacher's answer to the other global crops.
#
# The local crops have fewer patches than the global ones. Their positions are the table of the global crops, resized (notebook
# [17](17_higher_resolution.ipynb)); everything else in a ViT takes any number of tokens.
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


q = softmax((t - c) / tau_t)
p = softmax(s / tau_s)

loss_loops, pairs = 0.0, 0
for i in range(2):
    for j in range(2 + V):
        if i != j:
            pairs += 1
            for b in range(B):
                loss_loops -= q[b, i] @ np.log(p[b, j]) / B
loss_loops /= pairs
print(f"{pairs} pairs, loss {loss_loops:.4f}; answers that say nothing would cost log K = {np.log(K):.4f}")

# %% [markdown]
# ## Forward, all at once
#
# The inner sum over $j \ne i$ is the sum over all crops less the teacher's own. So the pairs need no loop:

# %%
log_p = np.log(p)
others = log_p.sum(axis=1, keepdims=True) - log_p[:, :2]  # (B, 2, K)
loss = -(q * others).sum() / (B * pairs)
agree("loss", loss, loss_loops)

# %% [markdown]
# ## Backward
#
# One pair is the cross-entropy of notebook [06](06_softmax_and_loss.ipynb) with the target $\mathbf{q}_i$, whose gradient with respect to the logits
# $\mathbf{s}_j / \tau_s$ is $\mathbf{p}_j - \mathbf{q}_i$. The chain rule through the temperature brings a factor $1/\tau_s$. The targets are numbers: nothing flows into the
# teacher. The gradient of a crop is the sum over its pairs:
#
# $$\mathrm{d}\mathbf{s}_j = \frac{1}{\tau_s\, B \cdot \text{pairs}} \sum_{i \ne j} (\mathbf{p}_j - \mathbf{q}_i).$$

# %%
ds = np.zeros_like(s)
for i in range(2):
    for j in range(2 + V):
        if i != j:
            ds[:, j] += (p[:, j] - q[:, i]) / (tau_s * B * pairs)

ts = Tensor(s, requires_grad=True)
tlog_p = F.log_softmax(ts / tau_s)
tothers = tlog_p.sum(axis=1, keepdims=True) - tlog_p[:, :2]
tloss = -(Tensor(q) * tothers).sum() / (B * pairs)
agree("ds", ds, grad(tloss, [ts])[0])

# %% [markdown]
# ## The last layer
#
# The head ends in a linear layer without bias from a few numbers $\mathbf{x}$ to $K$ outputs. Input and weights are given in an unusual way: $\mathbf{x}$ is divided by its
# length, and row $k$ of the weights is a direction with a length of its own, $\mathbf{w}_k = g_k\,\mathbf{v}_k / \lVert\mathbf{v}_k\rVert$ (**weight normalisation**,
# [Salimans & Kingma 2016](https://arxiv.org/abs/1602.07868)). In the published runs all $g_k$ stay 1. Then an output is the cosine of two directions, between $-1$ and 1, and no output can
# win because its weights have become long.
#
# With $\mathbf{u} = \mathbf{v} / \lVert\mathbf{v}\rVert$ the pullback of a row is
#
# $$\mathrm{d}\mathbf{v} = \frac{g}{\lVert\mathbf{v}\rVert}\,\bigl(\mathrm{d}\mathbf{w} - \mathbf{u}\,\langle\mathbf{u}, \mathrm{d}\mathbf{w}\rangle\bigr), \qquad \mathrm{d}g = \langle\mathbf{u}, \mathrm{d}\mathbf{w}\rangle.$$
#
# The part along $\mathbf{v}$ is taken away, since a longer $\mathbf{v}$ changes nothing. Here is one row, compared with the engine; exercise 23.3 asks for all rows.

# %%
v, g, dw = rng.standard_normal(5), 1.7, rng.standard_normal(5)
length = np.sqrt(v @ v)
u = v / length
dv = g / length * (dw - u * (u @ dw))

tv = Tensor(v, requires_grad=True)
tw = tv / F.sqrt((tv * tv).sum()) * g
agree("dv", dv, grad(tw, [tv], dw)[0])
print(f"<v, dv> = {v @ dv:.1e}")

# %% [markdown]
# ## The library
#
# The loss and the update of the state, in [`minivit/lineage/dino.py`](../minivit/lineage/dino.py). `outputs` come from `forward`: the student's logits for all crops, and the
# teacher's.

# %%
show_source(DINO.loss)
show_source(DINO.after_update)

# %%
tokens = (Tensor(s), Tensor(t))
objective.centre.data[...] = c
agree("loss of the library", objective.loss(tokens, batch).item(), loss)
entropy = objective.sums(tokens, batch)["entropy"] / B
agree("its entropy", entropy, -(q * np.log(q)).sum(axis=-1).mean())

# %% [markdown]
# ## Why it should collapse
#
# The loss asks for agreement only. Two networks that give the same answer to *every* image agree perfectly, and have learned nothing. There are two such answers: one
# output always wins (the entropy of $\mathbf{q}$ is 0), or all are as likely (the entropy is $\log K$).
#
# A model small enough for pencil and paper shows what happens. Let the student learn its lesson perfectly in every round, $\mathbf{p} = \mathbf{q}$. Then
# $\mathbf{s} = \frac{\tau_s}{\tau_t}(\mathbf{t} - \mathbf{c})$, up to a number that a softmax does not see. The teacher follows, here with its outputs in the place of its parameters:
#
# $$\mathbf{t} \leftarrow m\,\mathbf{t} + (1 - m)\,\frac{\tau_s}{\tau_t}\,(\mathbf{t} - \mathbf{c}).$$
#
# Write $\mathbf{t} = \overline{\mathbf{t}} + \mathbf{d}$: what the teacher says of all images, and what it says of this one beyond that. The centre is near
# $\overline{\mathbf{t}}$, so
#
# - **what is common to all images** becomes $m\,\overline{\mathbf{t}}$: centring makes it die out. Without a centre it is multiplied by
#   $m + (1 - m)\frac{\tau_s}{\tau_t}$, as $\mathbf{d}$ is;
# - **what differs between images** is multiplied by $m + (1 - m)\frac{\tau_s}{\tau_t}$. With $\tau_t < \tau_s$ (**sharpening**) it grows. With $\tau_t > \tau_s$ it dies out too.
#
# Sharpening alone lets the common answer grow as fast as the differences, and it was the larger at the start. Centring alone makes everything die out. Together,
# only the differences grow.

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
        q = softmax((t - c) / heat)
        each = -(q * np.log(q + 1e-12)).sum(axis=-1).mean()  # entropy of the answer to an image
        mean = q.mean(axis=0)
        curve.append((each, -(mean * np.log(mean + 1e-12)).sum() - each))  # what answers tell about the image
        s = tau_s / heat * (t - c)
        c = centring * (0.9 * c + 0.1 * t.mean(axis=0))
        t = m * t + (1 - m) * s
        t = t / max(1, np.abs(t).max())  # an output is a cosine
    for axis, values in zip(axes, zip(*curve, strict=True), strict=True):
        axis.plot(values, style, label=name)
axes[0].axhline(np.log(K), color="gray", linewidth=0.8)
axes[0].set(xlabel="round", ylabel="entropy of an answer (nats)", title="log K is the grey line")
axes[1].set(xlabel="round", ylabel="told about the image (nats)", title="entropy of the mean answer less that of each")
axes[0].legend()
plt.show()

# %% [markdown]
# Left: without sharpening the answers say nothing. With it they become sure, with and without a centre; their entropy stays above 0 since an output is at most 1.
# Right: without a centre the sure answer is the same for all images. Only with both do the answers tell the images apart.
#
# The real networks do not learn their lesson perfectly, and a student can find other ways. The experiment tells.
#
# ## Experiment
#
# A small ViT and 10,000 images of CIFAR-10, with all of DINO, without the centre, with $\tau_t = \tau_s$, and with $m = 0$: then the teacher *is* the student of the
# step before. One more run with all of DINO is longer, 1,500 steps instead of 400. The curves are read from `notebooks/results/dino.json`; the command that made them is printed. Lines are means over seeds, bands one standard error.

# %%
shipped = record.read("dino")
runs, most = shipped["results"], shipped["config"]["most_entropy"]
print(shipped["command"])
print(f"data:   {shipped['data']}")
print(f"config: {len(runs['full'])} seeds, {shipped['config']}")

variants = ["full", "no centring", "no sharpening", "the student teaches"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for name, style in zip(variants, ("-", "--", ":", "-."), strict=True):
    for axis, kind in zip(axes, ("entropy", "divergence"), strict=True):
        curves = np.array([run[kind] for run in runs[name]])
        steps = shipped["config"]["every"] * (0.5 + np.arange(curves.shape[1]))
        mean, error = np.array([record.mean_and_error(values) for values in curves.T]).T
        axis.plot(steps, mean, style, label=name)
        axis.fill_between(steps, mean - error, mean + error, alpha=0.2)
axes[0].axhline(most, color="gray", linewidth=0.8)
axes[0].set(xlabel="step", ylabel="entropy of the teacher's answers (nats)", title="log K is the grey line")
axes[1].set(xlabel="step", ylabel="divergence KL(teacher, student) (nats)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
plt.show()

# %%
print(f"at the end (log K is {most:.2f})       entropy          divergence")
for name in [*variants, "full, longer"]:
    ends = [record.mean_and_error([run[kind][-1] for run in runs[name]]) for kind in ("entropy", "divergence")]
    print(f"  {name:<22} " + "   ".join(f"{mean:8.3f} ± {error:.3f}" for mean, error in ends))

# %% [markdown]
# Without the centre one output wins within a hundred steps: the entropy falls towards 0, and the student agrees. With $\tau_t = \tau_s$ the entropy rises to $\log K$, and
# they agree again: the other collapse. With $m = 0$ they do not agree. The teacher jumps with every step, in another way with each seed, and all three end with an
# entropy of $\log K$.
#
# With all of DINO the entropy rises first, since the student has to give up the answer that is common to all images, and stops short of $\log K$. In the longer run
# it then falls: the answers begin to differ. The loss would not have told. It is the sum of both curves, at the end 0.2 without the centre, where nothing is
# learned, and 5.0 with all of DINO.
#
# ## What are the features worth?
#
# The teacher's encoder is what the paper uses. Its features are judged without training anything: the 20 nearest of 5,000 training images vote on the class of a
# test image, each with the weight $e^{\cos / 0.07}$ (section 4.1 of the paper; Wu et al. 2018). Two controls say what the number is worth: the same vote on the *pixels*, and on
# the features of the encoder *before the first step*, which are by no means useless.

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
axis.set_xticks(range(len(found)), labels=[name.replace(" ", "\n") for name in found])
axis.set(ylabel="accuracy of 20 neighbours in %", ylim=(0, 60))
axis.axhline(10, color="gray", linewidth=0.8)
plt.show()
for name, (mean, error) in found.items():
    print(f"{name:<22} {100 * mean:5.1f} ± {100 * error:.1f} %")
for control in ("pixels", "untrained"):
    gain = 100 * (np.array(accuracy["full, longer"]) - np.array(accuracy[control]))  # seed by seed
    mean, error = record.mean_and_error(gain)
    print(f"full, longer minus {control:<11} {mean:+5.1f} ± {error:.1f} points")

# %% [markdown]
# After 400 steps the neighbours cannot tell learning from collapse: all of DINO, no centring and no sharpening are within two standard errors of each
# other, and each is one to two points above the encoder that was not trained. Only the student that teaches itself has spoilt its features. The longer run is
# clearly above the untrained encoder, and clearly *below the pixels*, after ten passes over 10,000 images. Colour may be a part of it, since pixels go by
# it and DINO is taught not to. That all of them are above chance, the grey line at 10 %, means nothing.
#
# The published models are another matter: 74.5 % of ImageNet by 20 neighbours for ViT-S/16 after 800 epochs, 77.0 % with a linear layer on the frozen features (the
# code's README).
#
# ## Where this goes wrong in practice
#
# - **A gradient into the teacher.** Then both move towards each other, and a constant answer is easy to reach.
# - **The same crop on both sides.** With $i = j$ nothing has to be recognised: student and teacher see the same pixels.
# - **The centre updated before it is used.** It would contain the batch that it is subtracted from.
# - **Only the encoder averaged.** The teacher's head must follow too: its outputs are what the student imitates.
# - **Drop path in the teacher.** It belongs to the student alone.
# - **A loss that falls is no success.** It falls in both collapses; look at the entropy, and at neighbours.
# - **Positions of local crops resized by another rule.** The published code samples with the scale (cells + 0.1) / grid, which is not the same table.
#
# ## Exercises
#
# **23.1 (two lines).** The teacher sees two global crops, the student these and $V$ local ones. How many pairs does the loss have?


# %%
def pairs_of(V):
    """V: local crops -> a number"""
    ...  # your answer here


check("23.1", pairs_of)

# %% [markdown]
# **23.2 (half an hour).** Write the loss and its gradient with respect to the student's outputs, in NumPy, as means over the $B$ images. The first two of the student's crops are the teacher's two.


# %%
def dino_loss(s, t, c, tau_s, tau_t):
    """s: (B, crops, K), t: (B, 2, K), c: (K,), two temperatures -> the loss and ds (B, crops, K)"""
    ...  # your answer here


check("23.2", dino_loss)

# %% [markdown]
# **23.3 (half an hour).** Write the pullback of weight normalisation, $\mathbf{w}_k = g_k\,\mathbf{v}_k / \lVert\mathbf{v}_k\rVert$, for all rows, in NumPy.


# %%
def weight_norm_backward(v, g, dW):
    """v: (K, D), g: (K,), dW: (K, D) -> dv (K, D), dg (K,)"""
    ...  # your answer here


check("23.3", weight_norm_backward)

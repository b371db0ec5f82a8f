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
# # 26 CLIP in small
#
# A classifier knows the classes of its training data. **CLIP**
# ([Radford et al. 2021](https://arxiv.org/abs/2103.00020)) learns from images with captions. Two encoders turn an image
# and a text into vectors of one space. Then sentences about classes are a classifier, and no labels of these classes
# are needed. **SigLIP** ([Zhai et al. 2023](https://arxiv.org/abs/2303.15343)) has another loss and another head.
# At the end you will be able to
#
# - derive the contrastive loss and its gradient, down to the features and the temperature,
# - say how small the loss can become when captions repeat,
# - classify images by sentences, and by several sentences for each class,
# - derive SigLIP's loss, and say why its bias begins at −10.
#
# You need notebooks [06](06_softmax_and_loss.ipynb), [06b](06b_smoothing_sigmoid_temperature.ipynb) and
# [07](07_attention.ipynb).
#
# **Budget:** 12 s of CPU time (fast mode 5 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
from experiments import captions as small
from experiments import contrast as stored
from experiments import record

from minivit import functional as F
from minivit.data import scenes_words as words
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, full_or_fast
from minivit.lessons.pictures import pairs as pictures
from minivit.lineage import clip, siglip
from minivit.lineage.matching import share_found
from minivit.models import ViTConfig
from minivit.nn import lengths
from minivit.nn.attention_pool import AttentionPool
from minivit.optim import AdamW, warmup_cosine
from minivit.tensor import Tensor, grad
from minivit.update.step import step

rng = np.random.default_rng(26)

# %% [markdown]
# ## Pairs in place of classes
#
# A batch has $B$ pairs of an image and its text. The image encoder is a ViT, the text encoder a Transformer. Both give
# vectors of the same width $R$. The vectors are scaled to length 1, so their inner products are cosines. The loss sees
# the two batches only through the table of all cosines. Pairs that belong together stand on the diagonal.

# %%
_ = pictures.two_encoders()

# %% [markdown]
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch, each with its text | number | `B` |
# | $R$ | width of the space of both | number | `R` |
# | $\mathbf{f}, \mathbf{g}$ | results of the encoders for images and for texts | $(B, R)$ each | `f`, `g` |
# | $\hat{\mathbf{f}}, \hat{\mathbf{g}}$ | the same, each row scaled to length 1 | $(B, R)$ each | `f1`, `g1` |
# | $c_{ij}$ | cosine of image $i$ and text $j$, $\hat{\mathbf{f}}_i \cdot \hat{\mathbf{g}}_j$ | $(B, B)$ | `c` |
# | $s$ | logarithm of the scale, learned | number | `s` |
# | $\tau$ | temperature, $e^{-s}$ | number | |
# | $a$ | bias of SigLIP, learned | number | `a` |
# | $z$ | logits, a row for each image and a column for each text | $(B, B)$ | `z` |
# | $p$, $p'$ | probabilities, the softmax of the logits over each row, and over each column | $(B, B)$ each | `p`, `p_columns` |
# | $\mathcal{L}$ | the loss | number | `loss` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dz`, ... |
# | $m_i$ | pairs of the batch with the same text as pair $i$, itself included | number | `times` |
# | $D$ | width of the model | number | `D` |
#
# ## The loss and its gradient
#
# **Step 1: two questions.** Which text belongs to image $i$? The $B$ texts are the classes, and row $i$ has the logits
#
# $$z_{ij} = e^s c_{ij} = c_{ij}/\tau.$$
#
# Which image belongs to text $j$? Now the $B$ images are the classes, and column $j$ has the logits. The loss is the mean
# of both cross-entropies:
#
# $$\mathcal{L} = \frac12\Bigl[-\frac1B\sum_i \log p_{ii} - \frac1B\sum_j \log p'_{jj}\Bigr], \qquad
# p_{ij} = \frac{e^{z_{ij}}}{\sum_k e^{z_{ik}}}, \quad p'_{ij} = \frac{e^{z_{ij}}}{\sum_k e^{z_{kj}}}. \tag{1}$$
#
# If all logits are equal, every probability is $1/B$ and the loss is $\log B$. That is the loss at chance.
#
# Notebook 06 found the gradient of a mean cross-entropy: probabilities minus targets, divided by the number of rows.
# The targets are the identity matrix $I$ in both questions. So
#
# $$\mathrm{d}z = \frac{p + p' - 2I}{2B}. \tag{2}$$

# %%
B, R = 5, 3
z = 4 * rng.standard_normal((B, B))


# %% tags=["yours"]
def contrastive(z):
    """Equations 1 and 2.   z: (B, B) -> the loss, and its pullback."""
    B = len(z)
    rows = z - z.max(axis=1, keepdims=True)
    log_p = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    columns = z - z.max(axis=0)
    log_p_columns = columns - np.log(np.exp(columns).sum(axis=0))
    loss = -(np.trace(log_p) + np.trace(log_p_columns)) / (2 * B)

    def vjp(dloss):
        p, p_columns = np.exp(log_p), np.exp(log_p_columns)
        return (dloss * (p + p_columns - 2 * np.eye(B)) / (2 * B),)

    return loss, vjp


# %%
loss, vjp = contrastive(z)
tz, own = Tensor(z, requires_grad=True), np.arange(B)
theirs = (F.cross_entropy(tz, own) + F.cross_entropy(tz.T, own)) * 0.5
agree("loss", loss, theirs)
agree("dz", vjp(1.7)[0], grad(theirs, [tz], np.array(1.7))[0])
worst = check_vjp(contrastive, z, dtypes="float64")
print(f"against differences, largest relative error: {worst:.1e}")
print(f"all logits equal: {contrastive(np.full((B, B), 3.0))[0]:.4f}, log B = {math.log(B):.4f}")

# %% [markdown]
# **Step 2: from the logits to the features.** With $z = e^s\,\hat{\mathbf{f}}\,\hat{\mathbf{g}}^\top$
#
# $$\mathrm{d}\hat{\mathbf{f}} = e^s\,\mathrm{d}z\,\hat{\mathbf{g}}, \qquad \mathrm{d}\hat{\mathbf{g}} = e^s\,\mathrm{d}z^\top\hat{\mathbf{f}}, \qquad
# \mathrm{d}s = \sum_{ij} \mathrm{d}z_{ij}\,z_{ij}. \tag{3}$$
#
# The last one holds because $\partial z/\partial s = z$. The length of $\mathbf{f}_i$ has no effect on the loss, so the
# gradient has no part along $\hat{\mathbf{f}}_i$. The rest is divided by the length:
#
# $$\mathrm{d}\mathbf{f}_i = \frac{\mathrm{d}\hat{\mathbf{f}}_i - (\mathrm{d}\hat{\mathbf{f}}_i \cdot \hat{\mathbf{f}}_i)\,\hat{\mathbf{f}}_i}{|\mathbf{f}_i|}. \tag{4}$$

# %%
f, g = rng.standard_normal((2, B, R)) * rng.uniform(0.5, 3, (2, B, 1))
s = np.array([math.log(1 / 0.07)])  # the start of CLIP


# %% tags=["yours"]
def unit(x):
    """Rows of length 1, and the pullback (4).   x: (B, R)."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    u = x / length

    def vjp(du):
        return ((du - (du * u).sum(axis=1, keepdims=True) * u) / length,)

    return u, vjp


def clip_loss(f, g, s):
    """f, g: (B, R), s: (1,) -> the loss, and its pullback."""
    (f1, of_f), (g1, of_g) = unit(f), unit(g)
    z = np.exp(s) * (f1 @ g1.T)
    loss, of_z = contrastive(z)

    def vjp(dloss):
        (dz,) = of_z(dloss)
        (df,), (dg,) = of_f(np.exp(s) * (dz @ g1)), of_g(np.exp(s) * (dz.T @ f1))
        return df, dg, np.array([(dz * z).sum()])

    return loss, vjp


# %%
objective = clip.tiny("float64")[0]
objective.log_scale.data[...] = s
tf, tg = Tensor(f, requires_grad=True), Tensor(g, requires_grad=True)
theirs = objective.loss((lengths.unit(tf), lengths.unit(tg)), {})
loss, vjp = clip_loss(f, g, s)
agree("loss", loss, theirs)
for name, mine, engine in zip(
    ("df", "dg", "ds"), vjp(0.6), grad(theirs, [tf, tg, objective.log_scale], np.array(0.6)), strict=True
):
    agree(name, mine, engine)
worst = check_vjp(clip_loss, f, g, s, dtypes="float64")
print(f"against differences, largest relative error: {worst:.1e}")

# %% [markdown]
# **Step 3: the temperature.** Put (2) into (3). For each image there is the mean logit under its probabilities, minus
# the logit of its own text. The columns give the same for each text:
#
# $$\mathrm{d}s = \frac{1}{2B}\sum_i \Bigl[\Bigl(\sum_j p_{ij} z_{ij} - z_{ii}\Bigr) + \Bigl(\sum_j p'_{ji} z_{ji} - z_{ii}\Bigr)\Bigr].$$
#
# A mean is at most the largest value. Suppose that every pair has the largest logit of its row and of its column. Then no
# bracket is positive, and no step of gradient descent makes $s$ smaller, however large $s$ is. CLIP sets the scale
# $e^s$ back to 100 when an update makes it larger.
#
# The parameter is $s$, not $e^s$. An update of $s$ multiplies the scale, which stays positive.

# %%
s_now = np.array([4.604])
right, wrong = np.eye(B), np.roll(np.eye(B), 1, axis=0)

# %% tags=["yours"]
s_next = np.minimum(s_now + 0.01, math.log(100))  # after an update that adds 0.01

# %%
objective.log_scale.data[...] = s_now + 0.01
objective.after_update({}, {})
agree("clipped", s_next, objective.log_scale)
print(f"ds, all pairs right: {clip_loss(np.eye(B), right, s)[1](1.0)[2][0]:+.1e}")
print(f"ds, all pairs wrong: {clip_loss(np.eye(B), wrong, s)[1](1.0)[2][0]:+.1e}")

# %% [markdown]
# ## Equal captions
#
# In small data captions repeat. If image 1 and image 7 both show a red disc in the top left, text 7 is a right answer
# for image 1. The loss counts it as a wrong one: a **false negative**.
#
# **How small can the loss be?** Equal texts have equal vectors. Text $i$ occurs $m_i$ times, so
# its $m_i$ copies have the same logit in each row, and $p_{ii} \le 1/m_i$. For the columns, take the $m_i$ images whose
# text equals text $i$. Their columns are equal. The probabilities of these images in such a column sum to at most 1,
# and the mean of $-\log$ is smallest if all are $1/m_i$. Together
#
# $$\mathcal{L} \ge \frac1B\sum_i \log m_i. \tag{5}$$

# %%
sentence = np.array([0, 1, 0, 2, 3, 0, 2])  # equal numbers stand for equal sentences


# %% tags=["yours"]
def floor(sentence):
    """Equation 5.   sentence: (B,)."""
    times = (sentence[:, None] == sentence).sum(axis=1)
    return np.log(times).mean()


# %%
perfect = 50.0 * (sentence[:, None] == sentence)  # equal sentences share the largest logit
agree("floor", contrastive(perfect)[0], floor(sentence))

draws = [rng.integers(0, 64, size=(200, B)) for B in (16, 64, 128, 256)]  # 64 sentences, as in the experiments
for each in draws:
    B = each.shape[1]
    repeated = np.mean([((row[:, None] == row).sum(axis=1) > 1).mean() for row in each])
    smallest = np.mean([floor(row) for row in each])
    print(
        f"B = {B:3d}: {repeated:4.0%} of the pairs are repeated; the loss is at least {smallest:.2f}, log B = {math.log(B):.2f}"
    )

# %% [markdown]
# ## Sentences as a classifier
#
# Write a sentence for each class. The vectors of the sentences are the weights of a linear classifier, without any
# training for these classes: **zero-shot** classification. The class of an image is the nearest sentence.
#
# One class may have several sentences, called prompts. Scale each prompt to length 1, take the mean of the prompts of a
# class, and scale the mean again. The mean of different unit vectors is shorter than 1, and the more the prompts
# disagree, the shorter it is. Without the second scaling such a class would have cosines too near to 0.
#
# We train a small CLIP now. The pictures are [drawn scenes](../docs/drawn-world.md) of one shape: five kinds, four
# colours, four places. Training shows 64 of the 80 combinations. Every kind, colour and place occurs in it. The sixteen
# other combinations are held out: for each colour in each place, one kind. So colour and place are enough to choose
# among these sixteen sentences. A choice among all 80 needs the kind as well.

# %%
UPDATES, PAIRS = full_or_fast(200, 6), full_or_fast(3_000, 100)
config = clip.CLIPConfig(**small.TEXT, vocabulary=len(words.WORDS), context=words.CAPTION, end=words.END)
model = clip.CLIP(config, ViTConfig(**small.VIT, num_classes=0), seed=0)
train, held_out = small.pairs(PAIRS, 0, "train"), small.pairs(full_or_fast(500, 80), 1, "held-out")
optimizer = AdamW(
    model.named_parameters(), warmup_cosine(2e-3, UPDATES, UPDATES // 10), betas=(0.9, 0.98), weight_decay=0.1
)
losses, scales = [], []
for i in range(UPDATES):
    some = rng.permutation(PAIRS)[:64]
    batch = {name: values[some] for name, values in train.items()}
    batch |= model.draw(batch, i, rng)
    losses.append(step(model.train(), optimizer, batch, 1.0, seed=(0, i)).loss)
    scales.append(math.exp(model.log_scale.data[0]))
known = np.unique(held_out["caption"], axis=0)
cosines = stored.likeness(model, held_out["images"], known)
share = (known[cosines.argmax(axis=1)] == held_out["caption"]).all(axis=1).mean()
agree("share", share, share_found(model, held_out, known))
print(f"loss: first {losses[0]:.2f}, log 64 = {math.log(64):.2f}; last 20 {np.mean(losses[-20:]):.2f}")
print(f"scale: first {scales[0]:.1f}, last {scales[-1]:.1f}")
print(f"{share:.1%} of the held-out images find their sentence among 16")

# %% [markdown]
# Each cell below is the mean cosine between the images of one held-out combination and one sentence. A letter stands
# for the kind: (d)isc, (s)quare, (t)riangle, (c)ross or (r)ing. Both axes have the same order.

# %%
where = (held_out["caption"][:, None] == known).all(axis=2).argmax(axis=1)
table = np.array([cosines[where == i].mean(axis=0) if (where == i).any() else np.zeros(len(known)) for i in range(16)])
spoken = [words.decode(ids).split() for ids in known]
names = [f"{colour} {kind[0]}, {row} {side}" for _, colour, kind, _, _, row, side in spoken]

figure, axis = plt.subplots(figsize=(7, 5.6), layout="constrained")
shown = axis.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)
axis.set_xticks(range(16), names, rotation=90, fontsize=8)
axis.set_yticks(range(16), names, fontsize=8)
axis.set(xlabel="sentence", ylabel="images")
figure.colorbar(shown, label="mean cosine")
plt.show()

# %% [markdown]
# **Classes of several prompts.** Now a class is a kind and a colour, in any place. There are 20 classes. Each has four
# prompts, one for each place.

# %%
prompts = words.about_one()[:, : small.TOKENS]
colour_and_kind = np.unique(prompts[:, 2:4], axis=0)  # (20, 2)
by_class = np.stack([prompts[(prompts[:, 2:4] == pair).all(axis=1)] for pair in colour_and_kind])  # (20, 4, words)
texts = model.eval().text(by_class.reshape(80, -1)).data.reshape(20, 4, -1)  # unit vectors
images = np.concatenate(
    [model.image(held_out["images"][i : i + 250]).data for i in range(0, len(held_out["images"]), 250)]
)


# %% tags=["yours"]
def classify(images, prompts):
    """images: (B, R), prompts: (K, n, R), both of length 1 -> the classes (B,)."""
    means = prompts.mean(axis=1)
    means = means / np.linalg.norm(means, axis=1, keepdims=True)
    return (images @ means.T).argmax(axis=1)


# %%
label = (held_out["caption"][:, None, 2:4] == colour_and_kind).all(axis=2).argmax(axis=1)
agree("one prompt", classify(images, texts[:, :1]), (images @ texts[:, 0].T).argmax(axis=1))
for i, place in enumerate(words.PLACES):
    print(
        f"one prompt, {place:<12} {(classify(images, texts[:, i : i + 1]) == label).mean():.1%} in the right class of 20"
    )
print(f"four prompts             {(classify(images, texts) == label).mean():.1%}, by chance 5.0%")

# %% [markdown]
# Each prompt alone names one place for all classes, and only about a quarter of the pictures have the shape there. This
# is one model with 500 images, so each share has a standard error of about 2 points. The run does not decide whether
# four prompts are better than the best one.
#
# ## Experiment 1: combinations that were never seen
#
# Both presets were trained to their end, 15 epochs of 10,000 images with three seeds. The **control** is the same
# training after the captions were shuffled among the images: sentences and pictures stay, only their connection is gone.
# An image is classified by the nearest sentence. There are two tests with 2,000 new images of held-out combinations: the
# nearest of the sixteen sentences about these, and the nearest of all 80. A third test has 2,000 new images of
# trained combinations, and all 80 sentences.
#
# **Predict first.** A held-out image chooses among the 80 sentences. The model never saw its sentence, but it saw the 64
# others. Will such an image be right as often as a new image of a trained combination?

# %%
results = record.read("contrast")["results"]
asked = {"held out, of 16": 16, "held out, of 80": 80, "trained, of 80": 80}
runs = ["CLIP", "SigLIP", "CLIP, shuffled", "SigLIP, shuffled"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", width_ratios=(1.5, 1))
for i, name in enumerate(runs):
    for j, (test, known) in enumerate(asked.items()):
        mean, error = record.mean_and_error([100 * run[test] for run in results[name]])
        place = j + 0.16 * (i - 1.5)
        left.errorbar(place, mean, error, fmt="osDv"[i], color=f"C{i}", capsize=3, label=name if j == 0 else None)
        print(f"{name:<17} {test:<16} {mean:5.1f} +- {error:.1f} %, by chance {100 / known:.1f} %")
for j, known in enumerate(asked.values()):
    left.hlines(100 / known, j - 0.4, j + 0.4, color="grey", linewidth=1, label=None if j else "by chance")
left.set_xticks(range(3), [test.replace(", ", ",\n") for test in asked])
left.set(ylabel="images that find their sentence, %", ylim=(-3, 105))
left.legend(loc="center right", bbox_to_anchor=(1.0, 0.42), fontsize=9)
for i, name in enumerate(runs):
    for k, run in enumerate(results[name]):
        curve = [epoch["scale"] for epoch in run["epochs"]]
        right.plot(range(1, len(curve) + 1), curve, color=f"C{i}", linewidth=1, label=name if k == 0 else None)
right.set(xlabel="epoch", ylabel="scale $e^s$", ylim=(0, None), xticks=(1, 5, 10, 15))
plt.show()

# %%
for name in ("CLIP", "SigLIP"):
    gaps = [100 * (run["trained, of 80"] - run["held out, of 80"]) for run in results[name]]
    mean, error = record.mean_and_error(gaps)
    print(f"{name:<7} trained minus held out, of 80: {mean:.1f} +- {error:.1f} points")
    for word in ("colour", "kind", "place"):
        shares = [
            "{:5.1f} +- {:.1f}".format(*record.mean_and_error([100 * run[f"{test}, {word}"] for run in results[name]]))
            for test in ("held out", "trained")
        ]
        print(f"        the nearest of 80 names the right {word:<7} held out {shares[0]} %, trained {shares[1]} %")
    last = record.mean_and_error([run["epochs"][-1]["loss"] for run in results[name]])
    scale = record.mean_and_error([run["epochs"][-1]["scale"] for run in results[name]])
    print("        last epoch: loss {:.2f} +- {:.2f}, scale {:.1f} +- {:.1f}".format(*last, *scale))

# %% [markdown]
# **In the stored run** CLIP finds the sentence of 99.9 ± 0.0 % of the held-out images among 16, SigLIP that of
# 99.5 ± 0.2 %; after shuffled captions it is 8.0 ± 2.0 % and 9.2 ± 1.9 %. Among all 80 sentences CLIP finds
# 79.3 ± 0.3 % and SigLIP 57.4 ± 6.1 %, which is 16.9 ± 0.4 and 25.7 ± 2.1 points less than for new images of
# trained combinations. CLIP's nearest sentence names the right kind for 79.5 ± 0.3 % of the held-out images, the right
# colour for 100.0 ± 0.0 % and the right place for 99.9 ± 0.0 %.
#
# Both recognise combinations that they have never seen, far above the control, also among all 80. There the sentences of
# training compete, and new combinations are recognised less often than trained ones. CLIP's errors are nearly all in
# the kind. Its loss ends at 1.00 ± 0.00, near the bound (5) for 128 pairs, and its scale at 27.6 ± 0.4.
#
# Both systems had the same learning rate and the same number of updates. Neither was tuned, and three seeds are few. So
# their difference does not tell which loss is better.
#
# ## A question for every pair
#
# SigLIP asks another question: do image $i$ and text $j$ belong together? Each cell of the table is a classifier with
# two answers, and its logit has a bias $a$:
#
# $$z_{ij} = e^s c_{ij} + a, \qquad \mathcal{L} = -\frac1B\sum_{ij} \log \mathrm{sigmoid}(r_{ij}\,z_{ij}), \qquad
# r_{ij} = \begin{cases} 1 & i = j \\ -1 & i \ne j. \end{cases} \tag{6}$$
#
# Here $\mathrm{sigmoid}(x) = 1/(1 + e^{-x})$, the sigmoid of notebook 06b. The sum has $B^2$ terms and is divided by $B$. It is a mean over the
# images and a sum over the texts. With $1 - \mathrm{sigmoid}(z) = \mathrm{sigmoid}(-z)$, the derivative is again probability minus target:
#
# $$\mathrm{d}z = \frac{\mathrm{sigmoid}(z) - I}{B}, \qquad \mathrm{d}a = \sum_{ij}\mathrm{d}z_{ij}, \qquad \mathrm{d}s = \sum_{ij}\mathrm{d}z_{ij}\,(z_{ij} - a). \tag{7}$$
#
# No term needs the other logits of its row. So the sum can be computed block by block: each machine keeps its images,
# and the texts of the other machines visit it in turn. CLIP's softmax needs a sum over the whole row, and one over the
# whole column, before it knows any probability.

# %%
a = np.array([-10.0])
s = np.array([math.log(10)])


# %% tags=["yours"]
def siglip_loss(f, g, s, a):
    """Equation 6.   f, g: (B, R), s, a: (1,) -> the loss, and its pullback."""
    (f1, of_f), (g1, of_g) = unit(f), unit(g)
    c = f1 @ g1.T
    z, target = np.exp(s) * c + a, np.eye(len(c))
    wrong = np.where(target == 1, -z, z)
    loss = (np.maximum(wrong, 0) + np.log1p(np.exp(-abs(wrong)))).sum() / len(c)

    def vjp(dloss):
        dz = dloss * (0.5 * (1 + np.tanh(0.5 * z)) - target) / len(c)
        (df,), (dg,) = of_f(np.exp(s) * (dz @ g1)), of_g(np.exp(s) * (dz.T @ f1))
        return df, dg, np.array([(dz * np.exp(s) * c).sum()]), np.array([dz.sum()])

    return loss, vjp


# %%
objective = siglip.tiny("float64")[0]
theirs = objective.loss((lengths.unit(tf), lengths.unit(tg)), {})
loss, vjp = siglip_loss(f, g, s, a)
agree("loss", loss, theirs)
wanted = grad(theirs, [tf, tg, objective.log_scale, objective.bias], np.array(0.6))
for name, mine, engine in zip(("df", "dg", "ds", "da"), vjp(0.6), wanted, strict=True):
    agree(name, mine, engine, rtol=1e-8)
worst = check_vjp(siglip_loss, f, g, s, a, dtypes="float64")
print(f"against differences, largest relative error: {worst:.1e}")

# %% [markdown]
# **Why −10?** At the start the features know nothing. Let all cosines be 0. Then every logit is $a$. Of the $B$
# questions about an image, $B - 1$ have the answer no:
#
# $$\mathcal{L} = (B - 1)\log(1 + e^{a}) + \log(1 + e^{-a}), \qquad \mathrm{d}a = (B - 1)\,\mathrm{sigmoid}(a) - \mathrm{sigmoid}(-a). \tag{8}$$
#
# With $a = 0$ the loss is $B\log 2$, and each of the $B - 1$ wrong texts pushes its image away with the weight
# $\mathrm{sigmoid}(0) = 1/2$. Nearly all of the gradient says no. With $a = -10$ this weight is $\mathrm{sigmoid}(-10)$, and the right text pulls
# with nearly 1. $\mathrm{d}a$ is zero where $\mathrm{sigmoid}(a) = 1/B$. That is $a = -\log(B - 1)$, which is −10.4 for 32,768
# pairs and −4.8 for 128. The scale $e^s$ begins at 10, so no logit is above 0 at the start.


# %% tags=["yours"]
def at_the_start(B, a):
    """Equation 8.   -> the loss and da, all cosines 0."""
    loss = (B - 1) * np.log1p(np.exp(a)) + np.log1p(np.exp(-a))
    return loss, (B - 1) / (1 + np.exp(-a)) - 1 / (1 + np.exp(a))


# %%
f0, g0 = np.eye(2 * 64)[:64], np.eye(2 * 64)[64:]  # images and texts with nothing in common
for bias in (-10.0, 0.0):
    loss, vjp = siglip_loss(f0, g0, s, np.array([bias]))
    agree(f"a = {bias:.0f}", np.stack(at_the_start(64, bias)), np.array([loss, vjp(1.0)[3][0]]))
    print(f"B = 64, a = {bias:.0f}: loss {loss:.2f}, da {vjp(1.0)[3][0]:+.2f}")
print(f"da is 0 for a = {-math.log(32_767):.1f} with 32,768 pairs, {-math.log(127):.1f} with 128")

# %% [markdown]
# **The head.** SigLIP's ViT has no [class] token. After the last block one learned query, the **probe**
# ([Zhai et al. 2021](https://arxiv.org/abs/2106.04560)), reads the patches once. With the patches $\mathbf{x}$ behind
# the last LayerNorm
#
# $$\mathbf{y} = \mathrm{MHA}(\text{probe};\, \mathbf{x}), \qquad \mathbf{f} = \mathbf{y} + \mathrm{MLP}(\mathrm{LN}(\mathbf{y})).$$
#
# MHA is attention with one query: keys and values come from the patches. This head is called MAP, multi-head attention
# pooling. Unlike a block, it does *not* add the probe to $\mathbf{y}$. The function below has one head.

# %%
D = 6
pool = AttentionPool(D, 1, 2 * D, np.random.default_rng(1), "float64")
for tensor in pool.attention.parameters():
    tensor.data += 0.3 * rng.standard_normal(tensor.shape)
x = rng.standard_normal((7, D))  # seven patches
probe = pool.probe.data[0]  # (1, D)
Wq, Wk, Wv, Wo = ((part.weight.data, part.bias.data) for part in (
    pool.attention.query, pool.attention.key, pool.attention.value, pool.attention.out))  # fmt: skip


# %% tags=["yours"]
def read_patches(x):
    """MHA(probe; x) with one head.   (patches, D) -> (1, D)."""
    q = probe @ Wq[0] + Wq[1]
    k = x @ Wk[0] + Wk[1]
    v = x @ Wv[0] + Wv[1]
    e = np.exp(q @ k.T / math.sqrt(D))
    A = e / e.sum()
    return A @ v @ Wo[0] + Wo[1]


# %%
y = Tensor(read_patches(x)[None])
agree("MAP head", y + pool.mlp(pool.norm(y)), pool(Tensor(x[None])))

# %% [markdown]
# ## Experiment 2: batches, biases, a frozen tower
#
# These runs are shorter: 4 epochs, three seeds. All see nearly the same number of images: 2,500 updates with 16 pairs,
# 624 with 64 and 156 with 256. All have the learning rate of the presets. Two more runs have batches of 64 and one
# change each. In one, SigLIP's bias begins at 0. In the other, CLIP's image tower stays as it was drawn; the text tower
# and both projections learn.
#
# **Predict first.** In a larger batch each image is compared with more wrong texts. But there are only 64 different
# sentences here. Is a batch of 256 better than one of 64?

# %%
tests = ("held out, of 16", "held out, of 80", "trained, of 80")
short = [name for name in stored.RUNS if "batch" in name]
print(f"{'':<37}" + "  ".join(f"{test:<15}" for test in tests) + "  first loss")
for name in short:
    shares = [record.mean_and_error([100 * run[test] for run in results[name]]) for test in tests]
    first = record.mean_and_error([run["epochs"][0]["first"] for run in results[name]])[0]
    row = "  ".join(f"{mean:5.1f} +- {error:.1f} %  " for mean, error in shares)
    print(f"{name:<37}{row}  {first:5.1f}")

print()
for name, one, other in (
    ("CLIP, 64 pairs minus 256", "CLIP, batch 64", "CLIP, batch 256"),
    ("SigLIP, bias -10 minus 0", "SigLIP, batch 64", "SigLIP, batch 64, bias 0"),
    ("CLIP, trained tower minus frozen", "CLIP, batch 64", "CLIP, batch 64, image tower frozen"),
):
    gaps = [100 * (x[tests[1]] - y[tests[1]]) for x, y in zip(results[one], results[other], strict=True)]
    print("{:<33} {}: {:.1f} +- {:.1f} points".format(name, tests[1], *record.mean_and_error(gaps)))

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for axis, test in zip(axes, tests[1:], strict=True):
    for i, name in enumerate(stored.SYSTEMS):
        rows = [[100 * run[test] for run in results[f"{name}, batch {size}"]] for size in stored.BATCHES]
        mean, error = np.transpose([record.mean_and_error(row) for row in rows])
        axis.errorbar(stored.BATCHES, mean, error, fmt="os"[i] + "-", color=f"C{i}", capsize=3, label=name)
    for k, (name, change) in enumerate((("SigLIP", "bias 0"), ("CLIP", "image tower frozen"))):
        mean, error = record.mean_and_error([100 * run[test] for run in results[f"{name}, batch 64, {change}"]])
        axis.errorbar(64, mean, error, fmt="Dv"[k], color=f"C{2 + k}", capsize=3, label=f"{name}, {change}")
    axis.set(xscale="log", xlabel="pairs in a batch", title=test, ylim=(0, 100))
    axis.set_xticks(stored.BATCHES, stored.BATCHES)
    axis.minorticks_off()
axes[0].set_ylabel("images that find their sentence, %")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
plt.show()

# %% [markdown]
# **In the stored run** CLIP finds 44.3 ± 6.9, 62.1 ± 3.0 and 25.6 ± 7.1 % of the held-out images among 80 with 16, 64
# and 256 pairs, SigLIP 22.5 ± 4.9, 24.0 ± 5.6 and 6.8 ± 4.2 %. CLIP is 36.5 ± 9.8 points better with 64 pairs than with
# 256. SigLIP is 15.1 ± 5.2 points better with a bias that starts at −10 than at 0. CLIP is 18.4 ± 4.8 points better with
# a trained image tower than with a frozen one. Each difference is above two standard errors, but three seeds are few.
#
# Batches of 256 leave a quarter of the updates of batches of 64, and nearly all of their pairs are repeated. The runs do
# not tell which of the two matters more. Published runs have far more sentences than pairs in a batch. SigLIP's preset, 15 epochs
# with 128 pairs, comes much further than these short runs.
#
# The first losses of SigLIP differ from (8), because at the start the cosines are not 0.
#
# ## Where this goes wrong in practice
#
# - **One question alone.** Rows ask about texts, columns about images. With rows alone no text is asked for its image.
# - **$s$ used as the scale.** The parameter is a logarithm: the logits are $e^s c$.
# - **The last position read.** A text ends with `<end>`, padding may follow. CLIP reads the first `<end>`. SigLIP reads
#   the last position, and its texts are padded to one length for that.
# - **SigLIP's loss divided by $B^2$.** Then its gradient is $B$ times too small.
# - **A causal mask in SigLIP's text tower.** CLIP has one, SigLIP has none.
# - **The probe added to the result.** There is no sum around the attention of the MAP head.
# - **Mirrored images.** A mirrored picture with "left" in its caption is a wrong pair.
#
# ## Exercises
#
# `hint("26.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **26.1 (ten minutes).** A batch has `B` pairs. Each caption is one of `sentences` equally likely ones, drawn
# independently. What share of the pairs is expected to have a caption that occurs again in the batch?


# %%
def repeated(B, sentences):
    """-> a number from 0 to 1"""
    ...  # your answer here


check("26.1", repeated)

# %% [markdown]
# **26.2 (twenty minutes).** All captions differ. Every pair has the cosine 1, and all other cosines are equal. How small
# can the loss (1) be if the parameter $s$ stays as it is? The width is as large as you like. Mind that two vectors can be
# opposite to each other, but three cannot.


# %%
def smallest_loss(B, s):
    """B: at least 2, s: the logarithm of the scale -> a number"""
    ...  # your answer here


check("26.2", smallest_loss)

# %% [markdown]
# **26.3 (twenty minutes).** Repair the false negatives. Row $i$ gets the target $1/m_i$ at each of the $m_i$ right texts
# of image $i$. Column $i$ gets $1/m_i$ at each of the $m_i$ right images of text $i$. Return
# the loss, the mean of both cross-entropies with these targets, and its gradient. Logits may be in the thousands.


# %%
def shared_targets(z, sentence):
    """z: (B, B), sentence: (B,), equal numbers for equal captions -> loss, dz (B, B)"""
    ...  # your answer here


check("26.3", shared_targets)

# %% [markdown]
# **26.4 (ten minutes).** Captions repeat. If a sentence occurs $m$ times, its $m$ images and its $m$ texts make $m^2$
# pairs. Let all of these have one and the same logit. How small can SigLIP's loss (6) be? Pairs of different sentences
# cost nothing, and neither does a sentence that occurs once.


# %%
def siglip_floor(sentence):
    """sentence: (B,), equal numbers for equal captions -> a number"""
    ...  # your answer here


check("26.4", siglip_floor)

# %% [markdown]
# Next: [28, speed and memory](28_speed.ipynb).

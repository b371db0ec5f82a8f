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
# # 14 Augmentation and regularisation
#
# A Vision Transformer can learn a small training set by heart, and then does badly on new images. Two kinds of noise
# work against this. **Augmentation** changes the images: flips, crops, mixtures of two. **Regularisation** disturbs the
# model: dropout, stochastic depth. The paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), appendix
# B.1) "found strong regularization to be key when training models from scratch on ImageNet". At the end you will be
# able to
#
# - write dropout with its backward pass, say why it enlarges what it keeps, and where the paper puts it,
# - say of each change of an image what it tells the model,
# - compare methods over several seeds, and say which differences are larger than the noise.
#
# You need notebooks [06](06_softmax_and_loss.ipynb), [11](11_vit.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 40 s of CPU time (fast mode 6 s).

# %%
import json

import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import Augment, cutmix, mixup, one_hot, randaugment
from minivit.data.augment import crop, draw_corners, draw_flips, flip
from minivit.data.mixing import draw_mixup
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, fit, full_or_fast, photographs, result_file, show_source
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor, grad, watch

rng = np.random.default_rng(14)

# %% [markdown]
# ## Dropout
#
# While training, every entry of an array is set to zero with probability $p_\mathrm{drop}$, independently. The entries
# that are kept are divided by $1 - p_\mathrm{drop}$. In evaluation nothing happens.
#
# $$y_i = m_i\, x_i, \qquad m_i = \begin{cases} 0 & \text{with probability } p_\mathrm{drop} \\ \dfrac{1}{1-p_\mathrm{drop}} & \text{otherwise} \end{cases}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $p_\mathrm{drop}$ | rate of dropout, the probability to be dropped | number, $0 \le p_\mathrm{drop} < 1$ | `rate` |
# | $x$, $y$ | values before and after | any, the same | `x`, `y` |
# | $m$ | factors, drawn anew in every step | that of $x$ | `m` |
# | $\mathrm{d}x$, $\mathrm{d}y$ | gradient of the loss with respect to $x$ and $y$ | that of $x$ | `dx`, `dy` |
# | $B$, $N$, $D$ | images in a batch; tokens, [class] included; width of the model | numbers | `B`, `N`, `D` |
# | $L$ | blocks | number | `depth` |
# | $C$, $K$ | channels of the image; classes | numbers | `C`, 10 |
# | $\mathbf{t}$ | label of an image as a distribution over the classes | $(K,)$ | `labels[i]` |
# | $z$, $p$ | logits; probabilities, the softmax of the logits | $(K,)$ | `logits`, `p` |
# | $\mathcal{L}$ | the loss | $()$ | `loss` |
# | $\lambda_\mathrm{mix}$ | share of the first of two mixed images | number in $0 \ldots 1$ | `lam` |
# | $\alpha$ | parameter of the distribution of $\lambda_\mathrm{mix}$ | positive number | `mixup=0.2`, `cutmix=1.0` |
#
# **Why divide?** The expected value of a factor is
# $p_\mathrm{drop} \cdot 0 + (1-p_\mathrm{drop}) \cdot \frac{1}{1-p_\mathrm{drop}} = 1$, so $\mathbb{E}[y_i] = x_i$. On
# average the next layer sees what it will see in evaluation, and evaluation needs no correction. This is called
# *inverted* dropout.
#
# **Why drop anything?** The model cannot rely on a feature that may be missing in the next step. It has to base each
# answer on many.
#
# As a loop over numbers `u`, each uniform between 0 and 1:

# %%
rate = 0.3
x = rng.standard_normal((4, 5))
u = rng.random(x.shape)
dy = rng.standard_normal(x.shape)

y_loops = np.zeros_like(x)
for i in range(x.shape[0]):
    for j in range(x.shape[1]):
        if u[i, j] >= rate:  # happens with probability 1 - rate
            y_loops[i, j] = x[i, j] / (1 - rate)

# %% [markdown]
# And as one product:

# %% tags=["yours"]
m = (u >= rate) / (1 - rate)
y = x * m
agree("y", y, y_loops)

# %% [markdown]
# Is the mean over many draws equal to $x$? We measure its deviation in standard errors. Among 20 normal numbers the
# largest absolute value is usually about 2 and almost never above 4.

# %%
draws = 20_000
values = x * (rng.random((draws, *x.shape)) >= rate) / (1 - rate)
deviations = abs(values.mean(axis=0) - x) / (values.std(axis=0) / np.sqrt(draws))
print(f"largest deviation of the mean from x: {deviations.max():.1f} standard errors")

# %% [markdown]
# **Backward.** $y_i$ depends on $x_i$ alone, with slope $m_i$. So the gradient goes through the *same* factors:
#
# $$\mathrm{d}x_i = m_i\, \mathrm{d}y_i.$$
#
# A dropped entry gets no gradient in this step. The factors must be kept for the backward pass; new ones would be
# wrong.

# %% tags=["yours"]
dx = m * dy

# %% [markdown]
# We compare with the engine, which differentiates the product, and check the library's op with a random cotangent. A
# numerical derivative needs the same factors at every call, so the op gets a new generator with the same seed each
# time. In the library `keep_mask` draws the factors.

# %%
tx = Tensor(x, requires_grad=True)
agree("dx", dx, grad(tx * Tensor(m), [tx], dy)[0])


def dropout_with_one_seed(x):
    return ops.dropout(x, rate, np.random.default_rng(0))


print(f"largest relative error of the gradient: {check_vjp(dropout_with_one_seed, x):.1e}")

# %%
show_source(ops.dropout)

# %% [markdown]
# ## Where dropout stands
#
# Appendix B.1: "Dropout, when used, is applied after every dense layer except for the the qkv-projections and directly
# after adding positional- to patch embeddings." In a block these are three places: after the projection of the heads,
# after the hidden layer of the MLP (in the published code after its GELU), and after its second layer. With one more
# after the embeddings, $L$ blocks have $3L + 1$. `watch` calls a function after every op, so we can count them.

# %%
small = {"image_size": 32, "patch_size": 8, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128, "num_classes": 10}
model = ViT(ViTConfig(**small, dropout=0.1))
model.train()
names = []
with watch(lambda name, inputs, output: names.append(name)):
    model(np.zeros((1, 32, 32, 3), np.float32), rng=rng)
expected = 3 * small["depth"] + 1
print(f"dropout ran {names.count('dropout')} times, 3 L + 1 = {expected}")
assert names.count("dropout") == expected

# %% [markdown]
# The attention weights have a rate of their own, `attention_dropout`. It is 0 in all configurations that the authors
# released. Table 3 has dropout 0.1 for ImageNet and ImageNet-21k, and none for JFT-300M, the largest set.
#
# ## Stochastic depth
#
# This is dropout of a whole residual branch (Huang et al. 2016), for each image on its own:
# $\mathbf{z}' = \mathbf{z} + m\, f(\mathbf{z})$. The factor $m$ is one number per image, 0 or
# $\frac{1}{1-p_\mathrm{drop}}$. Where it is 0, the image skips the branch $f$, and the residual connection carries it
# past. All later blocks build on what the first ones find, so the rate rises linearly from 0 at the first block to its
# full value at the last. The paper does not use stochastic depth; DeiT (Touvron et al. 2021) and many after it do.
# Exercise 14.2 asks for its backward pass.
#
# ## Changes that keep the label
#
# A mirrored cat is a cat. So is a cat two pixels further left. Such images tell the model what it should *not* look at.
# Each change is an assumption about the labels: a mirrored 2 is no 2.
#
# **Flip**: mirror each image with probability ½. **Crop**: pad with black all round, then cut out a window of the old
# size at a random place. That shifts the image. The library draws first and applies then, so our loops can use the same
# draws.

# %%
train, _ = photographs(full_or_fast(1000, 200), 200)
images = train.images[:5]  # (B, height, width, C) uint8
B, height, width, C = images.shape
flipped = draw_flips(B, rng)  # (B,) True or False
padding = 4
tops, lefts = draw_corners(B, padding, rng)  # of each window, 0..2 padding


# %% tags=["yours"]
def flip_and_crop(images, flipped, tops, lefts, padding):
    """Two arrays as images, (B, height, width, C): the flipped images, and the cropped ones."""
    flipped_images, cropped = np.zeros_like(images), np.zeros_like(images)
    for b in range(B):
        for r in range(height):
            for c in range(width):
                flipped_images[b, r, c] = images[b, r, width - 1 - c] if flipped[b] else images[b, r, c]
                r_old, c_old = r + tops[b] - padding, c + lefts[b] - padding  # where this pixel was
                if 0 <= r_old < height and 0 <= c_old < width:
                    cropped[b, r, c] = images[b, r_old, c_old]
    return flipped_images, cropped


# %%
flip_loops, crop_loops = flip_and_crop(images, flipped, tops, lefts, padding)
agree("flip", flip(images, flipped), flip_loops)
agree("crop", crop(images, padding, np.stack([tops, lefts])), crop_loops)

# %%
show_source(crop)

# %% [markdown]
# **RandAugment** (Cubuk et al. 2020) applies a few operations to each image, drawn from a list such as rotate,
# posterise, change the contrast. (The paper has fourteen, the code that the library follows sixteen.) Two numbers
# describe it: how many operations, and one magnitude for all. At magnitude 10 a shift moves the image by 45 % of its
# width. In a photograph of 32 × 32 pixels little may be left of the object then. At magnitude 5 shifts and rotations
# are half as large, but not all operations are weaker: posterise keeps two bits of each value instead of four.
#
# ## Changes that mix labels
#
# **mixup** (Zhang et al. 2018) blends two images and blends their labels in the same proportion:
#
# $$\tilde{\mathbf{x}} = \lambda_\mathrm{mix} \mathbf{x}_a + (1 - \lambda_\mathrm{mix})\,\mathbf{x}_b, \qquad
# \tilde{\mathbf{t}} = \lambda_\mathrm{mix} \mathbf{t}_a + (1-\lambda_\mathrm{mix})\,\mathbf{t}_b, \qquad \lambda_\mathrm{mix} \sim \mathrm{Beta}(\alpha, \alpha).$$
#
# The partner of image $i$ is image $i-1$ of the batch. For small $\alpha$ the Beta distribution has most of its mass
# near 0 and 1, so most mixtures are nearly one image. The library takes the larger of $\lambda_\mathrm{mix}$ and
# $1 - \lambda_\mathrm{mix}$, as later code of the ViT's authors (big_vision) does. So image $i$ dominates.

# %%
pixels = images / 127.5 - 1
labels = one_hot(train.labels[:B], 10).astype(np.float64)  # (B, K), one 1 in each row
lam = draw_mixup(0.2, np.random.default_rng(3)).share  # 0.5..1


# %% tags=["yours"]
def mixed(values, lam):
    """values: (B, ...), images or labels -> each mixed with the one before it; values[-1] is the last."""
    result = np.zeros_like(values)
    for i in range(len(values)):
        result[i] = lam * values[i] + (1 - lam) * values[i - 1]
    return result


# %%
x_mixed, t_mixed = mixup(pixels, labels, 0.2, np.random.default_rng(3))
agree("images", x_mixed, mixed(pixels, lam))
agree("labels", t_mixed, mixed(labels, lam))

# %%
show_source(draw_mixup)

# %% [markdown]
# The loss takes such labels as they are. The cross-entropy $\mathcal{L}(z, \mathbf{t}) = -\sum_k t_k \ln p_k$ with
# $p = \mathrm{softmax}(z)$ is linear in $\mathbf{t}$. So for one image
#
# $$\mathcal{L}(z, \tilde{\mathbf{t}}) = \lambda_\mathrm{mix}\, \mathcal{L}(z, \mathbf{t}_a) + (1-\lambda_\mathrm{mix})\,\mathcal{L}(z, \mathbf{t}_b),
# \qquad \mathrm{d}z = p - \tilde{\mathbf{t}}.$$
#
# The second is the derivative of notebook 06, which used only that $\mathbf{t}$ sums to 1. It is zero when the model
# answers with the mixture itself: certainty does not pay any more.

# %%
logits = Tensor(rng.standard_normal((B, 10)), requires_grad=True)
partner = np.roll(labels, 1, axis=0)
loss = F.cross_entropy(logits, t_mixed)
agree("loss", loss, lam * F.cross_entropy(logits, labels) + (1 - lam) * F.cross_entropy(logits, partner))

# %% tags=["yours"]
e = np.exp(logits.data - logits.data.max(axis=1, keepdims=True))
p = e / e.sum(axis=1, keepdims=True)
dz = (p - t_mixed) / B  # over B: the loss is the mean over the images
agree("dz", dz, grad(loss, [logits])[0])

# %% [markdown]
# **CutMix** (Yun et al. 2019) replaces a box of one image by the same box of another. The labels are mixed in the
# proportion of the pixels. Exercise 14.4 is to write it.
#
# Five images under each change follow. The two mixtures have $\alpha = 1$, so that they can be seen; in the experiment
# mixup has $\alpha = 0.2$.
#
# **Predict first.** Under which of the changes will you still name all five objects?

# %%
changes = {
    "image": images / 255,
    "flip": flip(images, flipped) / 255,
    "crop": crop(images, padding, np.stack([tops, lefts])) / 255,
    "RandAugment\n(2, 5)": randaugment(images, 2, 5, np.random.default_rng(1)) / 255,
    "RandAugment\n(2, 10)": randaugment(images, 2, 10, np.random.default_rng(1)) / 255,
    "mixup": mixup(images / 255, labels, 1.0, np.random.default_rng(2))[0],
    "CutMix": cutmix(images / 255, labels, 1.0, np.random.default_rng(6))[0],
}
figure, axes = plt.subplots(len(changes), B, figsize=(6, 7.8), layout="constrained")
for row, (name, pictures) in zip(axes, changes.items(), strict=True):
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(np.clip(picture, 0, 1))
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, fontsize=9)
plt.show()

# %% [markdown]
# ## By heart, and not by heart
#
# A model with patches of 8 × 8 pixels, width 64 and four blocks sees 1,000 images again and again. We train it once
# without any of this, and once with flip, crop and mixup together.
#
# **Predict first.** Which of the two has the higher accuracy on the training images at the end? Which on the test
# images?

# %%
seen, unseen = photographs(full_or_fast(1000, 200), full_or_fast(2000, 200))
steps, every, batch_size = full_or_fast((600, 100, 64), (4, 2, 32))
three = {"augment": Augment((32, 32), flip=True, crop_padding=4), "mixup": 0.2}
curves = {}
for name, arguments in (("none", {}), ("flip, crop, mixup", three)):
    model, curve = ViT(ViTConfig(**small)), []

    def measure(done, model=model, curve=curve):
        if done % every == 0:
            curve.append((accuracy(model, seen), accuracy(model, unseen)))

    fit(model, seen, steps, batch_size=batch_size, lr=2e-3, watch=measure, **arguments)
    curves[name] = np.array(curve)
    on_train, on_test = curve[-1]
    print(f"{name:<18} training images {on_train:.1%}   test images {on_test:.1%}")
print(f"{seen.name}: {len(seen)} training images, each seen {steps * batch_size / len(seen):.0f} times")

figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
for (name, curve), color in zip(curves.items(), ("C0", "C1"), strict=True):
    for column, style, split in ((0, "o--", "training"), (1, "s-", "test")):
        axis.plot(every * np.arange(1, len(curve) + 1), curve[:, column], style, color=color, label=f"{name}: {split}")
axis.set(xlabel="step", ylabel="accuracy", ylim=(0, 1.04))
figure.legend(loc="outside right center")
plt.show()

# %% [markdown]
# **In the stored run** the model without noise learns its images by heart, 100.0% of them, and classifies 26.0% of the
# test images. With the three methods it is 38.9% and 32.9%.
#
# One run each decides little. So the next section repeats such runs.
#
# ## Experiment: what each brings
#
# `notebooks/experiments/augmentation.py` trained the same model for 1,000 steps of 64 images, on 1,000 photographs of
# CIFAR-10: without anything, with one method at a time, and with three together. Eight seeds each, 80 runs, about 25
# minutes of CPU time. A seed draws the training images, the first weights and the order, the same for all methods. So
# we look at the *difference* to "none", seed by seed. That removes what the runs of a seed have in common. All runs are
# measured on the same 10,000 test images.
#
# The settings are common ones. They are not equally strong, and none was tuned: in four blocks, stochastic depth 0.1
# has a mean rate of 0.05.
#
# **Predict first.** Which method brings most? Does any of them do harm?


# %%
record = json.loads(result_file("augmentation.json").read_text(encoding="utf-8"))
on_train = {name: 100 * np.array(runs) for name, runs in record["train_accuracy"].items()}  # (seeds,)
on_test = {name: 100 * np.array(runs) for name, runs in record["results"].items()}  # (seeds, ten parts of the images)


def standard_error(values):
    return values.std(ddof=1) / np.sqrt(len(values))


# %% tags=["yours"]
def paired_difference(first, second):
    """first, second: (seeds, parts), accuracies of the same seeds on the same images.

    -> the mean difference, its standard error over the seeds, and that over the parts of the test images.
    """
    difference = first - second
    return difference.mean(), standard_error(difference.mean(axis=1)), standard_error(difference.mean(axis=0))


# %%
differences = {name: paired_difference(runs, on_test["none"]) for name, runs in on_test.items() if name != "none"}
of_seeds, of_images = np.sqrt(np.mean([(a**2, b**2) for _, a, b in differences.values()], axis=0))
pooled = np.hypot(of_seeds, of_images)

for name, runs in on_test.items():
    mean, of_runs = runs.mean(), standard_error(runs.mean(axis=1))
    line = f"{name:<20} training {on_train[name].mean():5.1f} %   test {mean:4.1f} ± {of_runs:.1f} %"
    print(line + (f"   difference {differences[name][0]:+.1f} ± {differences[name][1]:.1f}" if name != "none" else ""))
print(f"standard error of a difference: {of_seeds:.2f} over the seeds, {of_images:.2f} over the test images,")
print(f"together {pooled:.2f} points, pooled over the methods")
clear = [f"{name} ({mean:+.1f})" for name, (mean, _, _) in differences.items() if abs(mean) > 3 * pooled]
unclear = [name for name, (mean, _, _) in differences.items() if abs(mean) <= 3 * pooled]
print("differences of more than three of these:", ", ".join(clear) or "not one")
print("smaller:", ", ".join(unclear) or "not one")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained", sharey=True)
places = np.arange(len(on_test))
bars = (("training images", on_train, -0.2, "//"), ("test images", {k: v.mean(1) for k, v in on_test.items()}, 0.2, ""))
for split, runs, shift, hatch in bars:
    means, errors = [r.mean() for r in runs.values()], [standard_error(r) for r in runs.values()]
    left.barh(places + shift, means, 0.4, xerr=errors, capsize=3, hatch=hatch, label=split)
right.axvspan(-3 * pooled, 3 * pooled, color="0.92", label="within three standard errors of 0")
right.axvline(0, color="gray", linewidth=0.8)
means, errors, _ = np.transpose(list(differences.values()))
right.errorbar(means, places[1:], xerr=errors, fmt="o", capsize=3, label="mean of eight seeds, its standard error")
left.set(yticks=places, yticklabels=list(on_test), xlabel="accuracy in %", title="mean and standard error")
right.set(xlabel='difference to "none" on test images, in points', title="the same seeds compared")
left.invert_yaxis()
figure.legend(loc="outside lower center", ncols=4, fontsize=9)
plt.show()

# %% [markdown]
# **In the stored run** seven of the nine methods bring more than three pooled errors of 0.41 points. CutMix brings 6.0
# points, crop 5.3, RandAugment (2, 5) 5.1; flip, crop and mixup together bring 6.5. None does harm: even RandAugment
# (2, 10), whose images can hardly be recognised, brings 3.6. The +0.7 of dropout and the +0.2 of stochastic depth may
# be chance.
#
# Three things help to read such a table.
#
# - **Training accuracy may fall.** That is no defect: the model is asked a harder question. The *test* accuracy counts.
# - **Which differences are more than noise?** A standard error from eight seeds is itself uncertain. So the last lines
#   pool it: they take the root of the mean square over all methods. They add the error from the choice of test images,
#   which ten parts of them give. And they ask for *three* standard errors, because among nine comparisons one of two
#   may well arise by chance. If a difference is not listed, the data do not tell its sign; it need not be zero.
# - **All nine are differences to the same eight runs of "none".** Had these been bad by chance, all methods would look
#   good at once.
#
# The result holds for this model, this number of images and this number of steps. Steiner et al. (2021) compare amounts
# of augmentation and regularisation in thousands of trainings. They find that the best amount depends on the model, on
# the data set and on how long one trains.
#
# ## Where this goes wrong in practice
#
# - **Dropout left on in evaluation**, or off in training, because nobody called `eval()` or `train()`. Nothing crashes;
#   accuracy is worse (notebook [13](13_training.ipynb), check 6).
# - **The class defaults of the published code have dropout 0.1.** A configuration that does not mention dropout trains
#   with it.
# - **A change that does not keep the label**: flips of digits or of text, colour changes where the colour is the class,
#   crops that cut the object off.
# - **Test images augmented too.** `Augment.evaluation()` gives the same normalisation with nothing random.
# - **Every worker with the same seed.** Then all draw the same changes. The library's loader draws from generators
#   seeded with run and step (`Loader.generator`).
# - **Training accuracy that looks bad under mixup.** It compares with one of two labels. Measure on unchanged images,
#   as here.
#
# ## Exercises
#
# `hint("14.1")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **14.1 (one minute).** Photographs of traffic lights, three lamps one above the other, are to be classified as red,
# yellow or green. Which change does *not* keep the labels: `"shift"` by a few pixels, `"flip"` left to right, `"hue"`
# (all colours turned on the colour circle by one random angle), `"rotate"` by five degrees?

# %%
answer = None  # your answer here: one of the four words

check("14.1", answer)

# %% [markdown]
# **14.2 (ten minutes).** Stochastic depth with its backward pass. A branch has computed `f` for each image. `u` holds
# one uniform number per image, and the branch is dropped where `u < rate`. In NumPy, return
# $\mathbf{z}' = \mathbf{z} + m f$ and the gradients of $\mathbf{z}$ and of $f$.


# %%
def stochastic_depth(z, f, u, rate, dz_new):
    """z, f, dz_new: (B, N, D); u: (B,); rate: number -> z_new, dz, df, all (B, N, D)"""
    ...  # your answer here


check("14.2", stochastic_depth)

# %% [markdown]
# **14.3 (ten minutes).** The rates of $L \ge 2$ blocks rise linearly from 0 at the first to $p_\mathrm{drop}$ at the
# last. How many blocks does an image pass on average? Count a block's two branches as halves: each is skipped on its
# own with the block's rate.


# %%
def expected_depth(L, rate):
    """L: blocks, at least 2; rate: of the last block -> a number"""
    ...  # your answer here


check("14.3", expected_depth)

# %% [markdown]
# **14.4 (an hour).** Write CutMix in NumPy. $\lambda_\mathrm{mix}$ and the centre of the box, `(row, column)`, are
# given, the same for all images. The partner of image $i$ is image $i - 1$.
#
# - The box should have the share $1 - \lambda_\mathrm{mix}$ of the area and the proportions of the image: its height is
#   `round(height * s)` and its width `round(width * s)`, for the right $s$.
# - It begins `box_height // 2` rows above and `box_width // 2` columns left of the centre. What lies outside of the
#   image is cut off.
# - Label $i$ keeps the share of the pixels that image $i$ keeps, *really* keeps.


# %%
def my_cutmix(images, labels, lam, centre):
    """images: (B, height, width, C); labels: (B, K); lam: 0..1; centre: (row, column) -> mixed images, mixed labels"""
    ...  # your answer here


check("14.4", my_cutmix)

# %% [markdown]
# Next: [15, how much data?](15_data_scale.ipynb)

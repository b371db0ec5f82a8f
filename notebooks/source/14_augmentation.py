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
# A Vision Transformer can learn a small training set by heart, and then does badly on new images. Everything that works
# against this is called **regularisation**. Weight decay (notebook [12](12_optimisers.ipynb)) and label smoothing
# ([06b](06b_smoothing_sigmoid_temperature.ipynb)) belong to it. This notebook has two more kinds, and both are random.
# **Augmentation** changes the images: flips, crops, mixtures of two. **Dropout** and **stochastic depth** leave out
# parts of the model. The paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), appendix B.1) "found
# strong regularization to be key when training models from scratch on ImageNet". At the end you will be able to
#
# - write dropout with its backward pass, and say why it enlarges what it keeps and where the paper puts it,
# - say of each change of an image what it tells the model,
# - compare methods over several seeds, and say which differences are larger than the noise.
#
# You need notebooks [06](06_softmax_and_loss.ipynb), [11](11_vit.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 40 s of CPU time (fast mode 6 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored

from minivit import functional as F
from minivit import ops
from minivit.data import Augment, cutmix, mixup, one_hot, randaugment
from minivit.data.augment import crop, draw_corners, draw_flips, flip
from minivit.data.mixing import draw_cutmix, draw_mixup
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, fit, full_or_fast, photographs, show_source
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
# | $m$ | factors, drawn anew in every step | that of $x$; in stochastic depth one per image | `m` |
# | $\mathrm{d}x$, $\mathrm{d}y$ | gradient of the loss with respect to $x$ and $y$ | that of $x$ | `dx`, `dy` |
# | $B$, $N$, $D$ | images in a batch; tokens, [class] included; width of the model | numbers | `B`, `N`, `D` |
# | $L$ | blocks | number | `depth` |
# | $\mathbf{z}$, $\mathbf{z}'$ | tokens before and after a residual branch | $(B, N, D)$ | `z`, `z_new` |
# | $f$ | a residual branch; in exercise 14.2 what it has computed | $(B, N, D)$ | `f` |
# | $\mathbf{x}$ | an image | $(H_I, W_I, C)$ | `images[i]` |
# | $C$, $K$ | channels of the image; classes | numbers | `C`, 10 |
# | $\mathbf{t}$ | label of an image as a distribution over the classes | $(K,)$ | `labels[i]` |
# | $\tilde{\mathbf{x}}$, $\tilde{\mathbf{t}}$ | mixture of two images, of two labels; the index $a$ is the first of the two, $b$ the second | as $\mathbf{x}$, as $\mathbf{t}$ | `x_mixed[i]`, `t_mixed[i]` |
# | $z$, $p$ | logits; probabilities, the softmax of the logits | $(K,)$ | `logits`, `p` |
# | $\mathcal{L}$ | the loss | $()$ | `loss` |
# | $\lambda_\mathrm{mix}$ | share of the first of two mixed images | number in $0 \ldots 1$ | `lam` |
# | $\alpha$ | parameter of the Beta distribution of $\lambda_\mathrm{mix}$ | positive number | `mixup=0.2`, `cutmix=1.0` |
#
# **Why divide?** The expected value of a factor is
# $p_\mathrm{drop} \cdot 0 + (1-p_\mathrm{drop}) \cdot \frac{1}{1-p_\mathrm{drop}} = 1$, so $\mathbb{E}[y_i] = x_i$. On
# average the next layer gets what it will get in evaluation, and evaluation needs no correction. This is called
# *inverted* dropout.
#
# **Why drop anything?** Any feature may be missing in the next step, so the model cannot rely on a single one.
#
# As a loop over random numbers `u`, each uniform between 0 and 1:

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
# As one product:

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
# A dropped entry gets no gradient in this step. The forward pass must keep its factors for the backward pass. New ones
# would be wrong.

# %% tags=["yours"]
dx = m * dy

# %% [markdown]
# We compare with the engine, which differentiates the product. Then we check the library's op with a random cotangent.
# A numerical derivative needs the same factors in every call. So each call gets a new generator with the same seed. In
# the library `keep_mask` draws the factors.

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
# after adding positional- to patch embeddings." In a block these are three places: after the projection of the joined
# heads, after the hidden layer of the MLP (in the published code after its GELU), and after its second layer. There is
# one more after the embeddings. So a model of $L$ blocks has $3L + 1$. `watch` calls a function after every op, and we
# count.

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
# This is dropout of a whole residual branch ([Huang et al. 2016](https://arxiv.org/abs/1603.09382)), drawn for each
# image separately: $\mathbf{z}' = \mathbf{z} + m\, f(\mathbf{z})$. The factor $m$ is one number per image, 0 or
# $\frac{1}{1-p_\mathrm{drop}}$. If it is 0, only the residual connection is left: the tokens of this image stay as they
# are.
#
# The rate rises linearly from 0 in the first block to its full value in the last, because all later blocks need what
# the first ones compute. The paper does not use stochastic depth. DeiT ([Touvron et al.
# 2021](https://arxiv.org/abs/2012.12877)) does. Exercise 14.2 asks for its backward pass.
#
# ## Changes that keep the label
#
# A mirrored cat is a cat. So is a cat two pixels further left. Such images tell the model what does *not* matter. Each
# change is an assumption about the labels: a mirrored 2 is no 2.
#
# **Flip**: mirror each image left to right with probability ½. **Crop**: pad with black on all sides, then cut out a
# window of the old size at a random place. This shifts the image. In the library one function draws and another applies
# the draws, so our loops can use the same draws.

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
# **RandAugment** ([Cubuk et al. 2020](https://arxiv.org/abs/1909.13719)) applies a few random operations to each image,
# such as rotating, posterising or changing the contrast. (Its paper has a list of fourteen, the code that the library
# follows one of sixteen.) Two numbers describe it: how many operations, and one magnitude for all. At magnitude 10 a
# shift moves the image by 45 % of its width. In a photograph of 32 × 32 pixels little of the object may then be left.
# At magnitude 5 shifts and rotations are half as large. But not all operations are weaker: posterise keeps two bits of
# each value instead of four.
#
# ## Changes that mix labels
#
# **mixup** ([Zhang et al. 2018](https://arxiv.org/abs/1710.09412)) blends two images and blends their labels in the
# same proportion:
#
# $$\tilde{\mathbf{x}} = \lambda_\mathrm{mix} \mathbf{x}_a + (1 - \lambda_\mathrm{mix})\,\mathbf{x}_b, \qquad
# \tilde{\mathbf{t}} = \lambda_\mathrm{mix} \mathbf{t}_a + (1-\lambda_\mathrm{mix})\,\mathbf{t}_b, \qquad \lambda_\mathrm{mix} \sim \mathrm{Beta}(\alpha, \alpha).$$
#
# In the library the partner of image $i$ is image $i-1$ of the batch, and one $\lambda_\mathrm{mix}$ is drawn for the
# whole batch. It uses the larger of the drawn $\lambda_\mathrm{mix}$ and $1 - \lambda_\mathrm{mix}$, as big_vision,
# later code of the ViT's authors, does. So image $i$ always has the larger share. For small $\alpha$ the Beta
# distribution has most of its mass near 0 and 1, and most mixtures are nearly one image.

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
# The formula for $\mathrm{d}z$ is that of notebook [06](06_softmax_and_loss.ipynb), where we used only that
# $\mathbf{t}$ sums to 1. The gradient is zero if $p$ equals the mixed label. So the loss is lowest there, and not if
# the model is certain of one class.

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
# **CutMix** ([Yun et al. 2019](https://arxiv.org/abs/1905.04899)) replaces a box of one image by the same box of
# another. The labels are mixed in the proportion of the pixels. You write it in exercise 14.4.
#
# We draw five images under each change. Both mixtures have $\alpha = 1$ here, so that you can see them. In the
# experiment mixup has $\alpha = 0.2$.
#
# **Predict first.** After which of the changes can you still name all five objects?

# %%
of_mixup = draw_mixup(1.0, np.random.default_rng(2)).share
of_cutmix = draw_cutmix(height, width, 1.0, np.random.default_rng(6)).share
share = "$\\lambda_\\mathrm{mix}$ = "
blended, _ = mixup(images / 255, labels, 1.0, np.random.default_rng(2))
boxed, _ = cutmix(images / 255, labels, 1.0, np.random.default_rng(6))
changes = {
    "image": images / 255,
    "flip": flip(images, flipped) / 255,
    "crop": crop(images, padding, np.stack([tops, lefts])) / 255,
    "RandAugment\n(2, 5)": randaugment(images, 2, 5, np.random.default_rng(1)) / 255,
    "RandAugment\n(2, 10)": randaugment(images, 2, 10, np.random.default_rng(1)) / 255,
    f"mixup\n{share}{of_mixup:.2f}": blended,
    f"CutMix\n{share}{of_cutmix:.2f}": boxed,
}
figure, axes = plt.subplots(len(changes), B, figsize=(6, 7.8), layout="constrained")
for row, (name, pictures) in zip(axes, changes.items(), strict=True):
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(np.clip(picture, 0, 1))
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, fontsize=9)
for i in np.flatnonzero(flipped):
    axes[1, i].text(width / 2, 1, "mirrored", fontsize=9, color="white", ha="center", va="top", backgroundcolor="black")
plt.show()

# %% [markdown]
# ## By heart, and not by heart
#
# A model with patches of 8 × 8 pixels, width 64 and four blocks learns from 1,000 images. We train it once with none of
# the methods, and once with flip, crop and mixup together.
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
# **In the stored run** the model with none of the methods classifies 100.0% of its training images correctly, but only
# 26.0% of the test images. With the three methods it is right on 38.9% and 32.9%.
#
# One run each decides little. So the next section repeats such runs.
#
# ## Experiment: what each brings
#
# `notebooks/experiments/augmentation.py` trained the same model for 1,000 steps of 64 images, on 1,000 photographs of
# CIFAR-10: with none of the methods, with one at a time, and with three together. With eight seeds these are 80 runs,
# about 25 minutes of CPU time. The seed determines the training images, the first weights and the order, the same for
# all methods. So we look at the *difference* to "none", seed by seed. This removes what the runs with one seed have in
# common. All runs are measured on the same 10,000 test images.
#
# The settings are common ones. They are not equally strong, and we tuned none. For example, stochastic depth 0.1 has a
# mean rate of only 0.05 in the four blocks.
#
# **Predict first.** Which method raises the test accuracy most? Does any of them lower it?


# %%
stored = record.read("augmentation")
on_train = {name: 100 * np.array(runs) for name, runs in stored["train_accuracy"].items()}  # (seeds,)
on_test = {name: 100 * np.array(runs) for name, runs in stored["results"].items()}  # (seeds, ten parts of the images)


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
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.8), layout="constrained", sharey=True)
places = np.arange(len(on_test))
bars = (("training images", on_train, -0.2, "//"), ("test images", {k: v.mean(1) for k, v in on_test.items()}, 0.2, ""))
for split, runs, shift, hatch in bars:
    means, errors = [r.mean() for r in runs.values()], [standard_error(r) for r in runs.values()]
    left.barh(places + shift, means, 0.4, xerr=errors, capsize=3, hatch=hatch, label=split)
right.axvspan(-3 * pooled, 3 * pooled, color="0.92", label="within three pooled errors of 0")
right.axvline(0, color="gray", linewidth=0.8)
means, errors, _ = np.transpose(list(differences.values()))
right.errorbar(means, places[1:], xerr=errors, fmt="o", capsize=3, label="mean of eight seeds and its standard error")
left.set(yticks=places, yticklabels=list(on_test), xlabel="accuracy in %", title="mean and standard error")
right.set(xlabel='difference to "none" on test images, in points', title="the same seeds compared")
left.invert_yaxis()
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=9)
right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=1, fontsize=9)
plt.show()

# %% [markdown]
# **In the stored run** seven of the nine differences are larger than three pooled errors of 0.41 points. CutMix gains
# 6.0 points, crop 5.3, RandAugment (2, 5) 5.1. Flip, crop and mixup together gain 6.5. No method lowers the test
# accuracy: even RandAugment (2, 10), after which some images are hard to recognise, gains 3.6. The +0.7 of dropout and
# the +0.2 of stochastic depth may be chance.
#
# Three remarks on such a table.
#
# - **Training accuracy may fall.** This does no harm: the task in training is harder. The *test* accuracy counts.
# - **Which differences are more than noise?** A standard error from eight seeds is itself uncertain. So we pool it: we
#   take the root of the mean square over all methods. We add the error from the choice of the test images, which we
#   estimate from ten parts of them. And we ask for *three* standard errors, because among nine comparisons a difference
#   of two may well arise by chance. The sign of a smaller difference is not decided, and the difference need not be
#   zero.
# - **All nine are differences to the same eight runs of "none".** If these were bad by chance, all methods would look
#   good at once.
#
# The result holds for this model, this number of images and this number of steps. [Steiner et al.
# 2021](https://arxiv.org/abs/2106.10270) compare amounts of augmentation and regularisation in thousands of trainings.
# They find that the best amount depends on the model, on the data set and on the length of training.
#
# ## Where this goes wrong in practice
#
# - **Dropout left on in evaluation**, or off in training, because nobody called `eval()` or `train()`. There is no
#   error. Left on, it lowers the accuracy and makes it random (notebook [13](13_training.ipynb), check 6).
# - **A default overlooked.** In the published code the default of dropout is 0.1. A configuration that does not mention
#   dropout trains with it.
# - **A change that does not keep the label**: flips of digits or of text, colour changes where the colour is the class,
#   crops that cut the object off.
# - **Test images augmented too.** `Augment.evaluation()` gives the same normalisation with nothing random.
# - **Every worker with the same seed.** Then all draw the same changes. In the library's loader each step of a run has
#   a generator of its own (`Loader.generator`).
# - **Training accuracy measured on mixed images.** A mixed image has two labels, and the accuracy counts only one of
#   them as right. Measure on unchanged images, as we do here.
#
# ## Exercises
#
# `hint("14.1")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **14.1 (one minute).** Each photograph shows one lit lamp of a traffic light, cut out, without the other two. The
# classes are red, yellow and green. Which change does *not* keep the labels: `"shift"` by a few pixels, `"flip"` left
# to right, `"hue"` (all colours turned on the colour circle by one random angle), `"rotate"` by five degrees?

# %%
answer = None  # your answer here: one of the four words

check("14.1", answer)

# %% [markdown]
# **14.2 (ten minutes).** Write stochastic depth with its backward pass, in NumPy. A branch has computed `f` for each
# image. `u` holds one uniform number per image. The branch is dropped for the images with `u < rate`. Return
# $\mathbf{z}' = \mathbf{z} + m f$ and the gradients with respect to $\mathbf{z}$ and $f$. Treat `z` and `f` as two
# independent inputs: `dz` is the gradient through the residual connection alone. (The branch would turn `df` into a
# second part of it, but it is not given here.)


# %%
def stochastic_depth(z, f, u, rate, dz_new):
    """z, f, dz_new: (B, N, D); u: (B,); rate: number -> z_new, dz, df, all (B, N, D)"""
    ...  # your answer here


check("14.2", stochastic_depth)

# %% [markdown]
# **14.3 (ten minutes).** The rates of $L \ge 2$ blocks rise linearly from 0 at the first to $p_\mathrm{drop}$ at the
# last. How many blocks does an image go through on average? Each of the two branches of a block counts one half and is
# dropped independently, with the rate of the block.


# %%
def expected_depth(L, rate):
    """L: blocks, at least 2; rate: of the last block -> a number"""
    ...  # your answer here


check("14.3", expected_depth)

# %% [markdown]
# **14.4 (an hour).** Write CutMix in NumPy. $\lambda_\mathrm{mix}$ and the centre of the box, `(row, column)`, are
# given, the same for all images. The partner of image $i$ is image $i - 1$.
#
# - The box should have the share $1 - \lambda_\mathrm{mix}$ of the area and the proportions of the image. Its height is
#   `round(height * side)` and its width `round(width * side)`. Find the right `side`.
# - It begins `box_height // 2` rows above and `box_width // 2` columns left of the centre. The part outside the image
#   is cut off.
# - The weight of label $i$ is the share of the pixels that image $i$ keeps, counted after this cut.


# %%
def my_cutmix(images, labels, lam, centre):
    """images: (B, height, width, C); labels: (B, K); lam: 0..1; centre: (row, column) -> mixed images, mixed labels"""
    ...  # your answer here


check("14.4", my_cutmix)

# %% [markdown]
# Next: [15, how much data?](15_data_scale.ipynb)

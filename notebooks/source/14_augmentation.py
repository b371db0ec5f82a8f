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
# A Vision Transformer can learn a small training set by heart, and then does badly on new images. Two kinds of noise work against this. **Augmentation** changes the images: flips, crops, mixtures of two.
# **Regularisation** disturbs the model: dropout, stochastic depth. The paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), appendix B.1) "found strong regularization to be key when training models from scratch
# on ImageNet", and says where its dropout stands. At the end you will be able to
#
# - write dropout with its backward pass, say why what is kept is made larger, and where the paper puts it,
# - say of each change of an image what it tells the model,
# - compare methods over several seeds, and say which differences are larger than the noise.
#
# You need notebooks [06](06_softmax_and_loss.ipynb), [11](11_vit.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 240 s of CPU time (fast mode 8 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.data import Augment, cutmix, mixup, one_hot, randaugment
from minivit.data.augment import crop, draw_corners, draw_flips, flip
from minivit.data.mixing import draw_mixup
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, fit, full_or_fast, photographs, show_source
from minivit.models import ViT, ViTConfig
from minivit.nn import EncoderBlock
from minivit.tensor import Tensor, grad, watch

rng = np.random.default_rng(14)

# %% [markdown]
# ## Dropout
#
# While training, every number of an array is set to zero with probability $p$, independently. What is kept is divided by $1 - p$. In evaluation nothing happens.
#
# $$y_i = m_i\, x_i, \qquad m_i = \begin{cases} 0 & \text{with probability } p \\ \dfrac{1}{1-p} & \text{otherwise} \end{cases}$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $p$ | rate, the probability to be dropped | number, $0 \le p < 1$ | `rate` |
# | $x$, $y$ | values before and after | any, the same | `x`, `y` |
# | $m$ | factors, drawn anew in every step | that of $x$ | `m` |
# | $\mathrm{d}x$, $\mathrm{d}y$ | gradients of the loss | that of $x$ | `dx`, `dy` |
# | $\mathbf{t}$ | label of an image as a distribution over the classes | $(K,)$ | `labels[i]` |
# | $K$ | classes | number | 10 |
# | $\lambda$ | share of the first of two mixed images | number in 0..1 | `lam` |
# | $\alpha$ | parameter of the distribution of $\lambda$ | positive number | `mixup=0.2`, `cutmix=1.0` |
#
# **Why divide?** The expected value of a factor is $p \cdot 0 + (1-p) \cdot \frac{1}{1-p} = 1$, so $\mathbb{E}[y_i] = x_i$: the next layer sees on average what it will see in evaluation, and evaluation needs no correction. This is called *inverted* dropout.
#
# **Why drop anything?** A feature that may be missing in the next step cannot be relied on. So the model has to base each answer on many.
#
# As a loop over numbers `u`, each uniform between 0 and 1, and as one product:

# %%
rate = 0.3
x = rng.standard_normal((4, 5))
u = rng.random(x.shape)

y_loops = np.zeros_like(x)
for i in range(x.shape[0]):
    for j in range(x.shape[1]):
        if u[i, j] >= rate:  # happens with probability 1 - rate
            y_loops[i, j] = x[i, j] / (1 - rate)

m = (u >= rate) / (1 - rate)
y = x * m
agree("y", y, y_loops)

# %% [markdown]
# The mean over many draws, beside $x$: the largest deviation, in standard errors of a mean. Of the absolute values of 20 normally distributed numbers one expects the largest to be about two, and hardly ever above four.

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
# What was dropped learns nothing in this step. The factors must be kept for the backward pass; new ones would be wrong. We compare with the engine, which differentiates the product, and check the library's op with a random cotangent. For a
# numerical derivative the op has to draw the same factors at every call, so it gets a new generator with the same seed. In the library `keep_mask` draws the factors.

# %%
dy = rng.standard_normal(x.shape)
tx = Tensor(x, requires_grad=True)
agree("dx", m * dy, grad(tx * Tensor(m), [tx], dy)[0])


def dropout_with_one_seed(x):
    return ops.dropout(x, rate, np.random.default_rng(0))


print(f"largest relative error of the gradient: {check_vjp(dropout_with_one_seed, x):.1e}")

# %%
show_source(ops.dropout)

# %% [markdown]
# ## Where dropout stands
#
# Appendix B.1: "Dropout, when used, is applied after every dense layer except for the the qkv-projections and directly after adding positional- to patch embeddings." In a block these are three places: after the projection of the heads, after the hidden layer of the MLP
# (the published code: after its GELU), and after its second layer. With one more after the embeddings, $L$ blocks have $3L + 1$. Let us count: `watch` calls a function after every op.

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
# The attention weights have a rate of their own, `attention_dropout`, which is 0 in all configurations that the authors released. Table 3 has dropout 0.1 for ImageNet and ImageNet-21k, and none for JFT-300M, the largest set.
#
# ## Stochastic depth
#
# Dropout of a whole residual branch (Huang et al. 2016), for each image on its own: $\mathbf{z}' = \mathbf{z} + m\, f(\mathbf{z})$, with one number $m$ per image, 0 or $\frac{1}{1-p}$. The image skips the branch, and the residual connection carries it past. The
# rate rises linearly from 0 at the first block to its full value at the last: all later blocks build on what the first ones find. The paper does not use it; DeiT (Touvron et al. 2021) and many after it do. Both kinds stand in the block below,
# `dropout` also inside of `mlp`. (`scale1`, `scale2` and `queries` belong to other matters and have nothing to do with noise.)

# %%
show_source(EncoderBlock.forward)

# %% [markdown]
# ## Changes that keep the label
#
# A mirrored cat is a cat. So is a cat two pixels further left. Showing such images tells the model what it should *not* look at. Each change is an assumption about the labels: a mirrored 2 is no 2.
#
# **Flip**: mirror each image with probability ½. **Crop**: pad with black all round, then cut a window of the old size out at a random place; that shifts the image. The library draws first and applies then, so that the loops can use the same draws.

# %%
train, _ = photographs(full_or_fast(1000, 200), 200)
images = train.images[:5]  # (B, height, width, C) uint8
B, height, width, C = images.shape
flipped = draw_flips(B, rng)  # (B,) True or False
padding = 4
tops, lefts = draw_corners(B, padding, rng)  # of each window, 0..2 padding

flip_loops, crop_loops = np.zeros_like(images), np.zeros_like(images)
for b in range(B):
    for r in range(height):
        for c in range(width):
            flip_loops[b, r, c] = images[b, r, width - 1 - c] if flipped[b] else images[b, r, c]
            r_old, c_old = r + tops[b] - padding, c + lefts[b] - padding  # where this pixel was
            if 0 <= r_old < height and 0 <= c_old < width:
                crop_loops[b, r, c] = images[b, r_old, c_old]

agree("flip", flip(images, flipped), flip_loops)
agree("crop", crop(images, padding, np.stack([tops, lefts])), crop_loops)

# %%
show_source(crop)

# %% [markdown]
# **RandAugment** (Cubuk et al. 2020): a few operations per image, drawn from a list such as rotate, posterise, change the contrast (fourteen in their paper, sixteen in the code that the library follows), all with one magnitude. Two numbers, in the code `(2, 10)`,
# instead of a policy that has to be searched for. At this magnitude some images of 32 × 32 pixels can hardly be recognised, as the figure below shows. Then the label is not kept, and the test accuracy may suffer.
#
# ## Changes that mix labels
#
# **mixup** (Zhang et al. 2018) blends two images and blends their labels in the same proportion:
#
# $$\tilde{\mathbf{x}} = \lambda \mathbf{x}_a + (1 - \lambda)\,\mathbf{x}_b, \qquad \tilde{\mathbf{t}} = \lambda \mathbf{t}_a + (1-\lambda)\,\mathbf{t}_b, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha).$$
#
# The partner of image $i$ is image $i-1$ of the batch. For small $\alpha$ the Beta distribution has most of its mass near 0 and 1: most mixtures are nearly one image. The library takes the larger of $\lambda$ and $1 - \lambda$, as later code of the ViT's authors (big_vision) does, so that image $i$ dominates.

# %%
pixels = images / 127.5 - 1
labels = one_hot(train.labels[:B], 10).astype(np.float64)  # (B, K), one 1 in each row
lam = draw_mixup(0.2, np.random.default_rng(3)).share  # 0.5..1

x_loops, t_loops = np.zeros_like(pixels), np.zeros_like(labels)
for i in range(B):
    x_loops[i] = lam * pixels[i] + (1 - lam) * pixels[i - 1]  # image -1 is the last one
    t_loops[i] = lam * labels[i] + (1 - lam) * labels[i - 1]

x_mixed, t_mixed = mixup(pixels, labels, 0.2, np.random.default_rng(3))
agree("images", x_mixed, x_loops)
agree("labels", t_mixed, t_loops)

# %%
show_source(draw_mixup)

# %% [markdown]
# The loss takes such labels as they are. Cross-entropy $\mathcal{L}(\mathbf{s}, \mathbf{t}) = -\sum_k t_k \ln y_k$ with $\mathbf{y} = \mathrm{softmax}(\mathbf{s})$ is linear in $\mathbf{t}$, so
#
# $$\mathcal{L}(\mathbf{s}, \tilde{\mathbf{t}}) = \lambda\, \mathcal{L}(\mathbf{s}, \mathbf{t}_a) + (1-\lambda)\,\mathcal{L}(\mathbf{s}, \mathbf{t}_b), \qquad \mathrm{d}\mathbf{s} = \mathbf{y} - \tilde{\mathbf{t}}$$
#
# for one image; the second is the derivative of notebook 06, which needed of $\mathbf{t}$ only that it sums to 1. It is zero when the model answers with the mixture itself: certainty does not pay any more.

# %%
logits = Tensor(rng.standard_normal((B, 10)), requires_grad=True)
partner = np.roll(labels, 1, axis=0)
loss = F.cross_entropy(logits, t_mixed)
agree("loss", loss, lam * F.cross_entropy(logits, labels) + (1 - lam) * F.cross_entropy(logits, partner))

e = np.exp(logits.data - logits.data.max(axis=1, keepdims=True))
y = e / e.sum(axis=1, keepdims=True)
agree("d logits", (y - t_mixed) / B, grad(loss, [logits])[0])  # over B: the loss is the mean over the images

# %% [markdown]
# **CutMix** (Yun et al. 2019) replaces a box of one image by the same box of another, and the labels are mixed in the proportion of the pixels. Exercise 14.4 is to write it. Five images under each change; the two mixtures with $\alpha = 1$, so that they can be seen (in the experiment mixup has $\alpha = 0.2$):

# %%
changes = {
    "image": images / 255,
    "flip": flip(images, flipped) / 255,
    "crop": crop(images, padding, np.stack([tops, lefts])) / 255,
    "RandAugment": randaugment(images, 2, 10, np.random.default_rng(1)) / 255,
    "mixup": mixup(images / 255, labels, 1.0, np.random.default_rng(2))[0],
    "CutMix": cutmix(images / 255, labels, 1.0, np.random.default_rng(6))[0],
}
figure, axes = plt.subplots(len(changes), B, figsize=(6, 6.8), layout="constrained")
for row, (name, pictures) in zip(axes, changes.items(), strict=True):
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(np.clip(picture, 0, 1))
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, fontsize=9)
plt.show()

# %% [markdown]
# ## Experiment: what each brings
#
# A model with patches of 8 × 8 pixels, width 64 and four blocks, and few images, which it sees many times. It is trained without any of this, then with one method at a time, then with three together, with the same number of steps each. Each seed draws its own training and test images. For one seed all
# start from the same weights (dropout adds none) and see the same images in the same order; so we look at the *difference* to "none", seed by seed. That removes what the runs of a seed have in common.
#
# The settings are common ones, and not equally strong. In four blocks, for one, stochastic depth 0.1 has a mean rate of 0.05. The training accuracy shows how strong each is here.


# %%
size = (32, 32)
methods = {  # name: (fields of the model's configuration, arguments of fit)
    "none": ({}, {}),
    "flip": ({}, {"augment": Augment(size, flip=True)}),
    "crop": ({}, {"augment": Augment(size, crop_padding=4)}),
    "RandAugment": ({}, {"augment": Augment(size, randaugment=(2, 10))}),  # operations, magnitude
    "mixup": ({}, {"mixup": 0.2}),
    "CutMix": ({}, {"cutmix": 1.0}),
    "dropout": ({"dropout": 0.1}, {}),
    "stochastic depth": ({"drop_path": 0.1}, {}),
    "flip, crop, mixup": ({}, {"augment": Augment(size, flip=True, crop_padding=4), "mixup": 0.2}),
}
seeds = full_or_fast(range(3), range(2))
data = {seed: photographs(full_or_fast(1000, 200), full_or_fast(2000, 200), seed) for seed in seeds}
steps, batch_size = full_or_fast((300, 64), (4, 32))


def measured(name, seed):
    """Train with one method -> accuracy on the training images, unchanged, and on the test images."""
    fields, arguments = methods[name]
    train, test = data[seed]
    model = ViT(ViTConfig(**small, **fields), seed)
    fit(model, train, steps, batch_size=batch_size, lr=2e-3, seed=seed, **arguments)
    return accuracy(model, train), accuracy(model, test)


results = {name: np.array([measured(name, seed) for seed in seeds]) for name in methods}  # (seeds, 2)
print(f"{train.name}: {len(train)} training images, each seen {steps * batch_size / len(train):.0f} times")


# %%
def mean_and_error(values):
    """Mean over the seeds and its standard error: standard deviation / sqrt(seeds), as percentages."""
    return 100 * values.mean(), 100 * values.std(ddof=1) / np.sqrt(len(values))


differences = {name: mean_and_error(values[:, 1] - results["none"][:, 1]) for name, values in results.items()}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained", sharey=True)
places = np.arange(len(methods))
for column, (split, shift, hatch) in enumerate((("training images", -0.2, "//"), ("test images", 0.2, ""))):
    means, errors = np.transpose([mean_and_error(values[:, column]) for values in results.values()])
    left.barh(places + shift, means, 0.4, xerr=errors, capsize=3, hatch=hatch, label=split)
means, errors = np.transpose(list(differences.values()))
right.errorbar(means[1:], places[1:], xerr=errors[1:], fmt="o", capsize=3)
right.axvline(0, color="gray", linewidth=0.8)
left.set(yticks=places, yticklabels=list(methods), xlabel="accuracy in %", title="mean and standard error")
right.set(xlabel='difference to "none" on test images, in points', title="the same seeds compared")
left.invert_yaxis()
figure.legend(loc="outside lower left", ncols=2)
plt.show()

# %%
for name, values in results.items():
    (on_train, _), (on_test, error) = mean_and_error(values[:, 0]), mean_and_error(values[:, 1])
    mean, of_difference = differences[name]
    difference = "" if name == "none" else f"   difference {mean:+5.1f} ± {of_difference:.1f}"
    print(f"{name:<18} training {on_train:5.1f} %   test {on_test:5.1f} ± {error:.1f} %" + difference)

pooled = np.sqrt(np.mean([error**2 for name, (_, error) in differences.items() if name != "none"]))
clear = [f"{name} ({mean:+.1f})" for name, (mean, _) in differences.items() if abs(mean) > 3 * pooled]
print(f"standard error of a difference, pooled over the methods: {pooled:.1f} points")
print("differences of more than three of these:", ", ".join(clear) or "not one")

# %% [markdown]
# Three things to read off.
#
# - **The gap of "none"**, training against test accuracy. It is what all these methods are about. If it is small, the model has not learned the images by heart yet, and there is little to regularise.
# - **Training accuracy** may fall, compared with "none". That is not a defect: the model is asked a harder question. Whether the *test* accuracy rises is what counts.
# - **Which differences are more than noise?** A standard error from three seeds is itself uncertain, and may be small by luck. The last lines therefore pool it: they take the root of the mean of the squares over all methods, as if the noise were the same for all. They ask for three of
#   these, not two, since among eight comparisons one of two standard errors may well come about by chance. A difference that is not listed is not shown to be zero; it is not shown to be anything.
#   And all eight are differences to the same runs of "none": had these been bad by chance, all methods would look good at once.
#
# The number of steps was the same for all, and small. A method whose *training* accuracy is still low here has not had the time to show what it can do; one that has learned the images by heart has. So this figure does not rank the methods for long runs, and that three together bring more than one alone is not to be expected in a short one.
# With a quarter of an hour to spend, set `steps` to 1000 and see which differences grow.
# Steiner et al. (2021) compare amounts of augmentation and regularisation in thousands of trainings, and find that the best one depends on the size of the model and of the data set, and on how long one trains.
#
# ## Where this goes wrong in practice
#
# - **Dropout left on in evaluation**, or off in training, because nobody called `eval()` or `train()`. Nothing crashes; accuracy is a little worse.
# - **The class defaults of the published code have dropout 0.1.** A configuration that does not mention dropout trains with it.
# - **A change that does not keep the label**: flips of digits or of text, colour changes where the colour is the class, crops that cut the object off.
# - **Test images augmented too.** `Augment.evaluation()` exists to give the same normalisation with nothing random.
# - **Every worker with the same seed.** Then all draw the same changes. The library's loader draws from generators seeded with run and step (`Loader.generator`).
# - **Training accuracy that looks bad under mixup.** It compares with one of two labels; measure on unchanged images, as here.
#
# ## Exercises
#
# **14.1 (one minute).** Photographs of traffic lights, three lamps one above the other, are to be classified as red, yellow or green. Which change does *not* keep the labels: `"shift"` by a few pixels, `"flip"` left to right, `"hue"` (all colours turned
# on the colour circle by one random angle), `"rotate"` by five degrees?

# %%
answer = None  # your answer here: one of the four words

check("14.1", answer)

# %% [markdown]
# **14.2 (ten minutes).** Stochastic depth, with its backward pass. A branch has computed `f` for each image; `u` holds one uniform number per image, which is dropped where `u < rate`. In NumPy, return $\mathbf{z}' = \mathbf{z} + m f$ and the gradients of $\mathbf{z}$ and of $f$.


# %%
def stochastic_depth(z, f, u, rate, dz_new):
    """z, f, dz_new: (B, N, D); u: (B,); rate: number -> z_new, dz, df, all (B, N, D)"""
    ...  # your answer here


check("14.2", stochastic_depth)

# %% [markdown]
# **14.3 (ten minutes).** The rates of $L \ge 2$ blocks rise linearly from 0 at the first to $p$ at the last. How many blocks does an image pass on average? Count a block's two branches as halves: each is skipped on its own with the block's rate.


# %%
def expected_depth(L, p):
    """L: blocks, at least 2; p: rate of the last block -> a number"""
    ...  # your answer here


check("14.3", expected_depth)

# %% [markdown]
# **14.4 (an hour).** Write CutMix in NumPy. $\lambda$ and the centre of the box, `(row, column)`, are given, the same for all images; the partner of image $i$ is image $i - 1$.
#
# - The box is to have the share $1 - \lambda$ of the area and the proportions of the image: its height is `round(height * s)` and its width `round(width * s)`, for the right $s$.
# - It begins `box_height // 2` rows above and `box_width // 2` columns left of the centre. What lies outside of the image is cut off.
# - Label $i$ keeps the share of the pixels that image $i$ keeps, *really* keeps.


# %%
def my_cutmix(images, labels, lam, centre):
    """images: (B, height, width, C); labels: (B, K); lam: 0..1; centre: (row, column) -> mixed images, mixed labels"""
    ...  # your answer here


check("14.4", my_cutmix)

# %% [markdown]
# Next: [15, how much data?](15_data_scale.ipynb)

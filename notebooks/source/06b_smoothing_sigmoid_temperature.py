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
# # 06b Label smoothing, the sigmoid loss, temperature
#
# This notebook treats three variants of the softmax cross-entropy of notebook [06](06_softmax_and_loss.ipynb). **Label
# smoothing** changes the targets, the **sigmoid loss** asks other questions, and a **temperature** changes how sure the
# softmax is. The paper ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2)) has no formula for any of them.
# Temperatures come back in notebooks [23](23_dino.ipynb) and [24](24_distillation.ipynb). At the end you will be able
# to
#
# - say at which logits the smoothed loss is lowest,
# - derive the sigmoid cross-entropy and its gradient, and compute it for logits of any size,
# - say what the first loss of a training run should be,
# - use a temperature to find out whether a model is surer than it should be.
#
# You need the loss and its gradient $(p - t)/B$ (notebook [06](06_softmax_and_loss.ipynb)).
#
# **Budget:** 5 s of CPU time (fast mode 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import ops
from minivit.data import normalize
from minivit.gradcheck import check_vjp
from minivit.lessons import agree, check, digits, running_digit, show_source
from minivit.lessons.pictures import loss as pictures

rng = np.random.default_rng(66)

# %% [markdown]
# ## The symbols
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch | number | `B` |
# | $K$ | classes | number | `K` |
# | $z$ | logits | $(B, K)$ | `z` |
# | $p$ | probabilities, the softmax of the logits | $(B, K)$ | `p` |
# | $t$ | targets; rows sum to 1 for the softmax, to anything for the sigmoid | $(B, K)$ | `t_smooth`, `t_multi` |
# | $\mathcal{L}$ | the loss | number | `loss` |
# | $\alpha_\mathrm{smooth}$ | label smoothing | number in $[0, 1)$ | `smoothing` |
# | $a$ | logit of the right class, if all others are 0 | number | `a`, many values |
# | $\mathrm{sigmoid}(z)$ | $1/(1 + e^{-z})$, the probability of "yes" | that of $z$ | `yes`, one entry |
# | $\mathrm{softplus}(z)$ | $\log(1 + e^z)$ | that of $z$ | `softplus` |
# | $\beta$ | bias of the head, the same for all classes | number | only in exercise 6b.2 |
# | $\tau$ | temperature | number | `tau` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dX` |

# %%
B, K = 4, 5
z = rng.standard_normal((B, K))
labels = rng.integers(0, K, B)
log_p, _ = ops.log_softmax(z)
dloss = rng.standard_normal()  # a random cotangent, as in notebook 06
labels

# %% [markdown]
# ## Label smoothing
#
# With a one-hot target the loss falls as long as the logit of the right class grows. The loss approaches 0 but never
# reaches it. **Label smoothing** ([Szegedy et al. 2016](https://arxiv.org/abs/1512.00567)) takes a share
# $\alpha_\mathrm{smooth}$ from the right class and spreads it evenly over *all* $K$ classes, the right one included:
#
# $$t = (1 - \alpha_\mathrm{smooth})\,\mathrm{onehot} + \frac{\alpha_\mathrm{smooth}}{K}.$$
#
# The loss and its gradient $(p - t)/B$ keep their form (exercise 6b.3). The gradient is zero at $p = t$, and now finite
# logits reach this point.
#
# The paper tunes label smoothing together with weight decay and dropout when it pre-trains on its smaller data sets
# (section 4.3). It gives no value. The published configurations for fine-tuning have none.

# %% tags=["yours"]
smoothing = 0.1  # given
# the targets, from the one-hot rows np.eye(K)[labels], and the loss
t_smooth = (1 - smoothing) * np.eye(K)[labels] + smoothing / K
loss_smooth = -(t_smooth * log_p).sum() / B

agree("loss", loss_smooth, ops.cross_entropy(z, labels, label_smoothing=smoothing)[0])
print("targets of the first image:", t_smooth[0], "sum", t_smooth[0].sum())

# %% [markdown]
# ### Where is the lowest point?
#
# Take one image. Its right class has the logit $a$, and the $K - 1$ wrong ones have 0. At the lowest point $p = t$. The
# ratio of the probabilities of the right class and of a wrong class is $e^a$, so it must equal the ratio of their targets:
#
# $$a = \log\frac{1 - \alpha_\mathrm{smooth} + \alpha_\mathrm{smooth}/K}{\alpha_\mathrm{smooth}/K}.$$
#
# **Predict first.** Take ten classes and $\alpha_\mathrm{smooth} = 0.1$. Is the lowest point at $a$ near 2, near 4 or near
# 20?


# %% tags=["yours"]
def lowest_point(smoothing, classes):
    """The logit a of the right class at which the smoothed loss is lowest, if all other logits are 0."""
    return np.log((1 - smoothing + smoothing / classes) / (smoothing / classes))


# %%
a = np.linspace(-2, 14, 161)
one_image = np.zeros((len(a), 10))
one_image[:, 0] = a
log_p_image, _ = ops.log_softmax(one_image)
curves = {share: -log_p_image @ ((1 - share) * np.eye(10)[0] + share / 10) for share in (0, 0.1, 0.3)}

figure, axis = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
for (share, curve), style in zip(curves.items(), ["-", "--", ":"], strict=True):
    axis.plot(a, curve, style, linewidth=2, label=f"$\\alpha_\\mathrm{{smooth}}$ = {share}")
    if share:
        axis.plot(a[curve.argmin()], curve.min(), "k.", markersize=11)
axis.set(title="10 classes; dots: lowest points", xlabel="logit $a$ of the right class", ylabel="loss")
axis.legend(loc="upper center")
plt.show()

for share in (0.1, 0.3):
    found, formula = a[curves[share].argmin()], lowest_point(share, 10)
    print(f"smoothing {share}: lowest loss of the curve at a = {found:.1f}, formula {formula:.2f}")
print(f"without smoothing the loss at a = 14 is {curves[0][-1]:.1e} and still falls")

# %% [markdown]
# **In the stored run** the lowest points are at 4.5 and 3.2, where the formula puts them (4.51 and 3.19). Beyond them the
# loss rises again: smoothing punishes a model that is too sure.
#
# ## Sigmoid cross-entropy
#
# The softmax makes classes compete, which fits one label per image. But an image may show several things. The sigmoid
# loss asks $K$ **yes-or-no questions** instead and *sums* their losses. The maintainers of the paper's code
# [say](https://github.com/google-research/vision_transformer/issues/34) that pre-training used it.
#
# $$\mathcal{L} = -\frac{1}{B}\sum_b\sum_k \Bigl[t_{bk} \log \mathrm{sigmoid}(z_{bk}) + (1 - t_{bk}) \log \mathrm{sigmoid}(-z_{bk})\Bigr] \tag{sigmoid cross-entropy}$$
#
# $\mathrm{sigmoid}(z) = 1/(1 + e^{-z})$ is the probability of "yes", and $\mathrm{sigmoid}(-z) = 1 - \mathrm{sigmoid}(z)$
# is the probability of "no". Each $t_{bk}$ is between 0 and 1. Rows need not sum to 1.
#
# **Forward without overflow.** Define $\mathrm{softplus}(z) = \log(1 + e^z)$. Then
# $\log\mathrm{sigmoid}(-z) = -\mathrm{softplus}(z)$ and $\log\mathrm{sigmoid}(z) = z - \mathrm{softplus}(z)$. One term of
# the loss is therefore
#
# $$-\bigl[t\,(z - \mathrm{softplus}(z)) - (1 - t)\,\mathrm{softplus}(z)\bigr] = \mathrm{softplus}(z) - t z,
# \qquad \mathrm{softplus}(z) = \max(z, 0) + \log\bigl(1 + e^{-|z|}\bigr).$$
#
# In the last form no exponent is positive, so nothing overflows.
#
# **Backward.** The derivative of the softplus is $e^z/(1 + e^z) = \mathrm{sigmoid}(z)$, so
#
# $$\mathrm{d}z = \frac{\mathrm{sigmoid}(z) - t}{B}\,\mathrm{d}\mathcal{L}.$$
#
# Again this is prediction minus target, divided by $B$.

# %%
t_multi = (rng.uniform(size=(B, K)) < 0.4).astype(float)  # several labels per image, or none
loss_loops = 0.0
for b in range(B):
    for k in range(K):
        yes = 1 / (1 + np.exp(-z[b, k]))
        loss_loops -= (t_multi[b, k] * np.log(yes) + (1 - t_multi[b, k]) * np.log(1 - yes)) / B

# %% tags=["yours"]
# the softplus of all logits, the loss, and the gradient of z for the cotangent dloss
softplus = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
loss_sigmoid = (softplus - t_multi * z).sum() / B
dz_sigmoid = (1 / (1 + np.exp(-z)) - t_multi) / B * dloss

agree("loss", loss_sigmoid, loss_loops)

# %% [markdown]
# The library's op computes the sigmoid as $\frac12(1 + \tanh\frac z2)$, which cannot overflow. The $e^{-z}$ of our cell
# can.

# %%
show_source(ops.sigmoid_cross_entropy)

# %%
value, pullback = ops.sigmoid_cross_entropy(z, t_multi)
agree("loss", loss_sigmoid, value)
agree("dz", dz_sigmoid, pullback(dloss)[0])
print(f"largest relative error of its gradients: {check_vjp(ops.sigmoid_cross_entropy, z, t_multi):.1e}")

# %% [markdown]
# ## The first loss of a run
#
# The *head*, the last linear layer, makes the logits. In a new ViT its weights are zero, so the first logits are its
# bias, whatever the image. If the bias is zero too, you know the first loss beforehand. If a run then begins with
# another loss, look for a bug.
#
# **Predict first.** All logits are 0, and one of $K$ classes is right. What is the softmax loss, and what is the sigmoid
# loss? Which grows faster with $K$?

# %%
for classes in (10, 1000):
    zeros, one_label = np.zeros((1, classes)), np.zeros(1, int)
    softmax_loss, sigmoid_loss = ops.cross_entropy(zeros, one_label)[0], ops.sigmoid_cross_entropy(zeros, one_label)[0]
    print(f"K = {classes:>4}: softmax {softmax_loss:.4f} (log K = {np.log(classes):.4f})", end="   ")
    print(f"sigmoid {sigmoid_loss:.2f} (K log 2 = {classes * np.log(2):.2f})")

# %% [markdown]
# **In the stored run** the softmax loss is $\log K$: 2.3026 for 10 classes and 6.9078 for 1000. The sigmoid loss is
# $K \log 2$: 6.93 and 693.15.
#
# Most of the 693 comes from questions whose answer is "no". For one image, each of these $K - 1$ questions has the
# gradient $\frac12$ at its logit, and the one "yes" has $-\frac12$. So the first steps teach the model to say "no",
# whatever the image. The maintainers [say](https://github.com/google-research/vision_transformer/issues/2) that
# pre-training started the bias of the head at $-10$. There the answer is "no" from the start. We suppose that this is
# the reason; exercise 6b.2 gives a bias close to $-10$.
#
# ## Temperature
#
# Divide the logits by a **temperature** $\tau$ before the softmax:
#
# $$p = \mathrm{softmax}(z/\tau).$$
#
# The largest logit stays the largest, so the answer stays the same. Only the confidence changes: a high temperature
# makes the probabilities more equal, and a low one makes the largest larger.
#
# **Predict first.** The model gave the digit of notebook 06 the probability 0.9996. Does $\tau = 4$ bring it below one
# half?

# %%
model, image, label = running_digit()
logits = model(normalize(image[None])).data[0].astype(float)
pictures.temperatures(logits, [1, 2, 4, 8])

# %%
for tau in (1, 2, 4, 8):
    print(f"tau = {tau}: largest probability {ops.softmax(logits / tau)[0].max():.4f}")

# %% [markdown]
# **In the stored run** the largest probability falls from 0.9996 at $\tau = 1$ to 0.9492, 0.5966 and 0.2899. So it is
# still above one half at $\tau = 4$, and below at $\tau = 8$.
#
# ## Experiment: is the model as sure as it should be?
#
# A model is **calibrated** if each of its probabilities comes true as often as it says. Among all answers to which it
# gives the probability 0.9, nine in ten are right, and likewise for every other probability. Then the mean of its
# largest probabilities equals its accuracy. We test only this equality. If the two differ, the model is not calibrated.
# If they agree, it may still not be. We take the small trained model and the 359 test digits, which it has not seen in
# training.
#
# **Predict first.** Is the model surer than it should be, or less sure? Would $\tau > 1$ or $\tau < 1$ lower its loss?
#
# We look for the best $\tau$ on one half of the test images and measure the loss on the other half. Then the halves
# change roles. [Guo et al. 2017](https://arxiv.org/abs/1706.04599) call this *temperature scaling*. Each image has a
# loss with and one without $\tau$, so we compare image by image.

# %%
_, test = digits()
z_test = model(normalize(test.images)).data.astype(float)
images = len(z_test)
p_test, _ = ops.softmax(z_test)
right = z_test.argmax(axis=1) == test.labels
surplus = p_test.max(axis=1) - right
print(f"{images} images: mean of the largest probability {p_test.max(axis=1).mean():.1%}, accuracy {right.mean():.1%}")
print(f"difference {surplus.mean():.1%}, standard error {surplus.std(ddof=1) / images**0.5:.1%}")


# %% tags=["yours"]
def losses(z, labels, tau):
    """Cross-entropy of each row of z / tau.   z: (B, K), labels: (B,) -> (B,)"""
    log_p, _ = ops.log_softmax(z / tau)
    return -log_p[np.arange(len(z)), labels]


# %%
taus = np.geomspace(0.5, 4, 121)
order = rng.permutation(images)
halves = order[: images // 2], order[images // 2 :]
gain = np.zeros(images)
for fitted, held_out in (halves, halves[::-1]):
    means = [losses(z_test[fitted], test.labels[fitted], tau).mean() for tau in taus]
    best_tau = taus[np.argmin(means)]
    before = losses(z_test[held_out], test.labels[held_out], 1)
    after = losses(z_test[held_out], test.labels[held_out], best_tau)
    gain[held_out] = before - after
    print(
        f"best tau of one half {best_tau:.2f}; loss of the other half {before.mean():.3f} at tau 1, {after.mean():.3f}"
    )
print(f"gain per image {gain.mean():.4f}, standard error {gain.std(ddof=1) / images**0.5:.4f}")

# %%
curve = [losses(z_test, test.labels, tau).mean() for tau in taus]
figure, axis = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
axis.plot(taus, curve, linewidth=2)
axis.axvline(1, color="grey", linestyle=":")
axis.annotate("as trained", (1, max(curve)), (1.05, max(curve)), color="grey", va="top")
axis.plot(taus[np.argmin(curve)], min(curve), "k.", markersize=11)
axis.set_xscale("log")
axis.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
axis.minorticks_off()
axis.set(title="all test images; dot: lowest point", xlabel="temperature $\\tau$", ylabel="mean loss")
plt.show()

# %% [markdown]
# **In the stored run** the model is surer than it should be: the largest probability is 98.7% on average, the accuracy
# 96.7%, and the difference is 2.0% with a standard error of 0.8%. On both halves the best temperature is above 1: 1.39
# and 1.41. The loss falls by 0.0193 per image. The standard error is 0.0121, so 359 images do not decide whether
# anything is gained.
#
# ## Where this goes wrong in practice
#
# - **Another convention of smoothing.** Some texts spread the share over the $K - 1$ wrong classes only, and call this
#   label smoothing too. To get the same targets, their share must be our $\alpha_\mathrm{smooth}$ times $(K - 1)/K$.
# - **Smoothing in the validation loss.** The lowest value of this loss is above 0. Do not compare it with a loss
#   without smoothing.
# - **Mean instead of sum over the classes.** The sigmoid loss here is summed over classes. Other libraries take the
#   mean, so their gradient is smaller by the factor $K$. This matters for *clipping*, which shortens gradients that are
#   too long (notebook [12](12_optimisers.ipynb)).
# - **The sigmoid applied twice.** The op wants logits, not probabilities, as in notebook 06.
# - **Temperature on one side.** A loss that compares two softmaxes may divide the logits of both by a temperature, or
#   of one. Notebook 23 has two temperatures, notebook 24 has one for both.
# - **A temperature chosen on the test images whose loss is then reported.** Choose it on other images, as above.
#
# ## Exercises
#
# Write your answer in the cell; `check` says at once whether it is right. `hint("6b.1")`, from `minivit.lessons`, gives
# up to three hints, one per call.
#
# **6b.1 (ten minutes).** A model for ImageNet-21k has $K = 21843$ classes. Its head starts with zero weights and the
# bias $-10$ for every class. An image has one label. What is the sigmoid cross-entropy of the first step? Give a
# formula, or a number to a relative accuracy of $10^{-4}$.

# %%
first_loss = None  # your answer here

check("6b.1", first_loss)

# %% [markdown]
# **6b.2 (ten minutes).** Again the weights are zero, all $K = 21843$ classes have the same bias $\beta$, and one class is
# right. Which $\beta$ makes the first sigmoid loss as small as possible? Give a formula or six digits.

# %%
best_bias = None  # your answer here

check("6b.2", best_bias)

# %% [markdown]
# **6b.3 (ten minutes).** Write $\partial\mathcal{L}/\partial z$ of the cross-entropy with label smoothing, from the
# class numbers, without calling the library.


# %%
def smoothed_gradient(z, labels, smoothing):
    """z: (B, K), labels: (B,) class numbers, smoothing: a number -> dz (B, K), of the mean loss."""
    ...  # your answer here


check("6b.3", smoothed_gradient)

# %% [markdown]
# **6b.4 (half an hour).** Some methods learn the temperature. Derive both gradients of the mean cross-entropy of
# $p = \mathrm{softmax}(z/\tau)$: that for $z$ and that for $\tau$.


# %%
def temperature_gradients(z, t, tau):
    """z, t: (B, K), rows of t sum to 1, tau: a number -> dz (B, K) and dtau, a number."""
    ...  # your answer here


check("6b.4", temperature_gradients)

# %% [markdown]
# Next: [07, scaled dot-product attention](07_attention.ipynb).

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
# # 13 Training
#
# All parts are there: the model (notebook [11](11_vit.ipynb)), the loss ([06](06_softmax_and_loss.ipynb)), its gradient
# ([01](01_autodiff.ipynb)) and the optimiser ([12](12_optimisers.ipynb)). Here they make a program that learns. At the end you will be able to
#
# - write the training loop by hand and show that the library's is the same,
# - run the three checks that find most mistakes before an hour is lost: the loss at the start, one batch learned by heart, the learning rate,
# - read a pair of learning curves and a confusion matrix.
#
# The recipe is that of the paper for ImageNet (section 4.1, Table 3), scaled down: Adam, weight decay (decoupled here, as in AdamW), linear warm-up, cosine decay,
# gradients clipped at global norm 1; without its dropout.
#
# **Budget:** 130 s of CPU time (fast mode 10 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivit import functional as F
from minivit.data import Augment, Loader, eval_batches, normalize
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, photographs, show_source
from minivit.models import ViT, ViTConfig
from minivit.models.inside import confusion_counts
from minivit.optim import AdamW, clip_by_global_norm, warmup_cosine
from minivit.tensor import grad, no_grad
from minivit.update.step import by_piece, step

train, test = digits()
print(
    f"{len(train)} training images, {len(test)} test images of {train.image_size} pixels, {train.channels} channel, {len(train.classes)} classes"
)

# %% [markdown]
# ## The equations
#
# Training looks for parameters $\theta$ that make the mean loss over the training images small. Each **step** takes a **batch** of $B$ images
# and labels, computes the mean loss on them and its gradient, and moves the parameters against it:
#
# $$L(\theta) = \frac1B \sum_{b=1}^{B} \mathrm{CE}\bigl(f_\theta(x_b), y_b\bigr), \qquad
# g = \frac{\partial L}{\partial \theta}, \qquad
# \theta \leftarrow \mathrm{AdamW}\Bigl(\theta,\; g \cdot \min\bigl(1, \tfrac{1}{\lVert g \rVert}\bigr),\; \eta_t\Bigr).$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $C$ | images in a batch; classes | numbers | `batch_size`, `classes` |
# | $x_b$, $y_b$ | an image in $-1 \ldots 1$, its class number | (height, width, channels), () | `images[b]`, `labels[b]` |
# | $f_\theta(x_b)$ | logits of the model | $(C,)$ | `model(images)[b]` |
# | $\mathrm{CE}$ | cross-entropy of the softmax of the logits, notebook 06 | () | `F.cross_entropy` |
# | $g$, $\lVert g \rVert$ | gradient of all parameters; its global norm, over all of them together | as $\theta$, () | `gradients` |
# | $\eta_t$ | learning rate at step $t$: warm-up, then cosine, notebook 12 | () | `schedule(t)` |
#
# An **epoch** is one pass over the training images, in a new random order.
#
# ## One step by hand
#
# A small ViT for the digits: patches of 2 × 2 pixels, 16 of them, and the [class] token.

# %%
classes = len(train.classes)
config = ViTConfig(image_size=8, patch_size=2, width=32, depth=4, heads=4, channels=1, num_classes=classes)
print(config.description)


def batches(steps, batch_size=128, seed=0):
    """Training batches: images (B, 8, 8, 1) in -1..1 and labels (B,)."""
    scale = Augment(train.image_size)  # no random changes: it only scales the pixels to -1..1
    return Loader(train, batch_size, scale, total_steps=steps, seed=seed)


# %% [markdown]
# The loop in six lines. Most of them were a notebook.


# %%
def train_by_hand(model, steps, lr):
    """Losses of `steps` updates of the model."""
    parameters = model.parameters()
    optimizer = AdamW(model.named_parameters(), warmup_cosine(lr, steps, steps // 10), weight_decay=0.05)
    losses = []
    for images, labels in batches(steps):
        loss = F.cross_entropy(model(images), labels)  # forward: the tape grows
        gradients = grad(loss, parameters)  # backward: the tape is walked back
        gradients, _ = clip_by_global_norm(gradients, 1.0)
        optimizer.step(gradients)
        losses.append(loss.item())
    return losses


by_hand = ViT(config, seed=1)
losses_by_hand = train_by_hand(by_hand, steps=10, lr=3e-3)

# %% [markdown]
# The library's loop calls `minivit.update.step.step`, which does the same. It is longer because it can cut the batch into pieces for several
# threads, and because it trains anything that has a loss, an *objective*. Of classification `objective(part, rng)` gives the logits, and
# `objective.loss` is the cross-entropy.

# %%
show_source(step)

# %%
show_source(by_piece)

# %%
by_library = ViT(config, seed=1)
history = fit(by_library, train, steps=10, lr=3e-3)

agree("losses", losses_by_hand, [result.loss for result in history], rtol=1e-5)
for (name, mine), (_, library) in zip(by_hand.named_parameters(), by_library.named_parameters(), strict=True):
    if name.startswith(("head", "norm")):
        agree(name, mine, library, rtol=1e-5)

# %% [markdown]
# `fit` uses one thread. There the library does the same operations in the same order, so the numbers are equal to the last bit. With several threads the gradient is a
# sum of the pieces' gradients, and the rounding differs a little.
#
# ## Check 1: the loss at the start
#
# The head of a fresh ViT is zero (the published code initialises it so), all logits are equal, and each class gets probability $1/C$. So the
# loss must be $\log C$, up to rounding. A different number means that the labels, the head or the loss are not what you think.

# %%
model = ViT(config)
images, labels = next(iter(batches(1)))
start = F.cross_entropy(model(images), labels).item()
print(f"loss at the start {start:.6f}, log C = {np.log(classes):.6f}")
agree("first loss", start, np.log(classes), rtol=1e-6)

# %% [markdown]
# ## Check 2: one batch learned by heart
#
# A model that cannot learn 32 images by heart will not learn more either, and this takes seconds. The loss must fall far below $\log C$, towards zero. (It flattens at the end because the schedule takes the learning rate to zero.) If it
# does not: is the gradient cut off somewhere, is the learning rate 0, are images and labels in the same order?

# %%
few = train.subset(np.arange(32))
history = fit(ViT(config), few, steps=full_or_fast(200, 40), lr=3e-3, batch_size=32)
shuffled = train.subset(np.arange(32))
shuffled.labels = np.random.default_rng(0).permutation(shuffled.labels)
model_by_heart = ViT(config)
by_heart = fit(model_by_heart, shuffled, steps=full_or_fast(200, 40), lr=3e-3, batch_size=32)

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.semilogy([result.loss for result in history], label="true labels")
axes.semilogy([result.loss for result in by_heart], "--", label="labels shuffled among the images")
axes.axhline(np.log(classes), color="grey", linestyle=":", label="$\\log C$: knows nothing")
axes.set(xlabel="step", ylabel="training loss", title="32 images")
axes.legend()
plt.show()
print(f"last losses: {history[-1].loss:.4f} with true labels, {by_heart[-1].loss:.4f} with shuffled ones")
print(f"of the shuffled labels {accuracy(model_by_heart, shuffled):.0%} are reproduced")

# %% [markdown]
# The second curve is a warning as well: labels that mean nothing are learned by heart too. A training loss near zero says that the
# optimisation works. It says nothing about what the model knows: for that there is the test set.
#
# ## Check 3: the learning rate
#
# The learning rate is the one number that cannot be left to chance. Try powers of a constant, a short run each, and compare the loss
# at the end.

# %%
rates = full_or_fast([1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1], [1e-4, 3e-3, 1e-1])
sweep = {}
for lr in rates:
    history = fit(ViT(config), train, steps=full_or_fast(120, 15), lr=lr)
    sweep[lr] = np.mean([result.loss for result in history[-10:]])

best = min(sweep, key=sweep.get)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.semilogx(list(sweep), list(sweep.values()), "o-")
axes.axhline(np.log(classes), color="grey", linestyle=":", label="$\\log C$")
axes.set(xlabel="learning rate", ylabel="loss, mean of the last 10 steps", title="A short run at each learning rate")
axes.legend()
plt.show()
print(
    f"lowest loss {sweep[best]:.3f} at learning rate {best:g}; at its neighbours",
    ", ".join(f"{loss:.3f} ({lr:g})" for lr, loss in sweep.items() if lr != best and 0.2 < lr / best < 5),
)

# %% [markdown]
# Such a curve has a shape worth knowing: too small a rate is too slow, too large a one makes little progress or none, and between them lies a stretch where it
# matters less. The best rate belongs to the length of the run, the batch and the model, so a short sweep gives only its neighbourhood. We take its lowest point. (Each point is one run with one seed.)
#
# ## Training on the digits
#
# Now in earnest, with and without one regulariser, **mixup** (two images and their labels blended; notebook
# [14](14_augmentation.ipynb) explains it).

# %%
steps = full_or_fast(500, 30)
plain, mixed = ViT(config), ViT(config)
histories = {"plain": fit(plain, train, steps, lr=best), "mixup": fit(mixed, train, steps, lr=best, mixup=0.4)}

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for (name, history), style in zip(histories.items(), ("-", "--"), strict=True):
    axes.semilogy([result.loss for result in history], style, label=name, linewidth=1)
axes.set(xlabel="step", ylabel="training loss", title="Digits")
axes.legend()
plt.show()
for name, model in (("plain", plain), ("mixup", mixed)):
    right = accuracy(model, test)
    margin = 1.96 * np.sqrt(right * (1 - right) / len(test))
    print(
        f"{name}: accuracy {accuracy(model, train):.1%} on the training images, {right:.1%} ± {margin:.1%} on the test images"
    )

# %% [markdown]
# Two things to read here. The training loss with mixup is higher, because its blended labels cannot be predicted exactly; compare the test accuracies instead.
# The training loss with mixup also jumps: the share of the second image is drawn anew for every batch, and an even blend has a high loss even when it is predicted perfectly (the entropy of its label).
#
# The ± is $1.96\sqrt{p(1-p)/n}$, the 95 % interval for the accuracy $p$ of *this* trained model on new images, from $n$ test images (a rough one near 0 % and 100 %). A difference smaller than it decides nothing. It does not contain the luck of the seed: for a claim about mixup we would train both several times, and count the images on which the two models differ.
#
# ### Which digits are confused?
#
# For the model trained with mixup: row $i$, column $j$ of the **confusion matrix** counts the images of class $i$ that were taken for class $j$.

# %%
with no_grad():
    predictions = np.concatenate(
        [mixed(x).data.argmax(axis=1) for x, _ in eval_batches(test, 300, Augment(test.image_size))]
    )
counts = confusion_counts(test.labels, predictions, classes)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
axes[0].imshow(np.log1p(counts), cmap="Blues")
for i, j in zip(*np.nonzero(counts), strict=True):
    axes[0].text(j, i, counts[i, j], ha="center", va="center", color="white" if i == j else "black", fontsize=9)
axes[0].set(
    xticks=range(classes),
    yticks=range(classes),
    xlabel="predicted",
    ylabel="true",
    title="Confusion matrix of the test images",
)
wrong = np.flatnonzero(predictions != test.labels)[:8]
axes[1].axis("off")
axes[1].set_title("Some that were wrong: true → predicted")
for place, i in enumerate(wrong):
    inset = axes[1].inset_axes((0.25 * (place % 4), 0.5 - 0.5 * (place // 4), 0.23, 0.36))
    inset.imshow(test.images[i, :, :, 0], cmap="gray_r")
    inset.set(xticks=[], yticks=[])
    inset.set_title(f"{test.labels[i]} → {predictions[i]}", fontsize=9)
plt.show()
print(f"{len(test) - counts.trace()} of {len(test)} test images are wrong")

# %% [markdown]
# ## Training on photographs
#
# The same loop on colour images of 32 × 32 pixels: CIFAR-10 if it is on this machine, drawn shapes otherwise. 5,000 images are few, and patches of
# 8 × 8 pixels are coarse: the point is what the curves look like, not the record.

# %%
photos, test_photos = photographs(full_or_fast(5000, 500), full_or_fast(2000, 200))
print(f"{photos.name}: {len(photos)} training images, {len(test_photos)} test images")
config_photos = ViTConfig(image_size=32, patch_size=8, width=64, depth=4, heads=4, num_classes=10)
model = ViT(config_photos)

steps, every = full_or_fast((600, 75), (10, 5))
seen_images = photos.subset(np.arange(min(1000, len(photos))))
curve = []


def measure(done):
    if done % every == 0:
        curve.append((accuracy(model, seen_images), accuracy(model, test_photos)))


fit(model, photos, steps, lr=1e-3, watch=measure)
seen = 128 * every * np.arange(1, len(curve) + 1) / len(photos)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(seen, [a for a, _ in curve], "o-", label="training images")
axes.plot(seen, [b for _, b in curve], "s--", label="test images")
axes.axhline(1 / 10, color="grey", linestyle=":", label="guessing")
axes.set(
    xlabel="epochs",
    ylabel="accuracy",
    ylim=(0, 1),
    title=f"{photos.name}: ViT, {config_photos.num_tokens} tokens, width {config_photos.width}",
)
axes.legend()
plt.show()
print(
    f"training images {curve[-1][0]:.1%}, test images {curve[-1][1]:.1%}: a gap of {100 * (curve[-1][0] - curve[-1][1]):.1f} points"
)

# %% [markdown]
# The gap between the curves is the **generalisation gap**: what the model knows about the images it has seen and about no others. While the test curve still rises, a growing gap does no harm; where the test curve falls, one speaks of **over-fitting**. More data (notebook [15](15_data_scale.ipynb)) and augmentation
# (notebook [14](14_augmentation.ipynb)) narrow the gap. (Both curves flatten at the end also because the schedule takes the learning rate to zero.)
#
# For training in earnest there is the command, with checkpoints, evaluation and resumption: `python -m minivit.train --data cifar10`.
#
# ## Where this goes wrong in practice
#
# - **Images scaled differently at test time.** The model expects $-1 \ldots 1$; the next cell gives the model trained with mixup $0 \ldots 255$.
# - **Dropout left on at test time.** Dropout (notebook 14) sets random features to 0 while training. `model.eval()` before measuring, `model.train()` before going on.
# - **The test set used for choices.** The learning rate above was chosen by the *training* loss. Whoever chooses by the test accuracy
#   reports the luck of the test set with it; take some of the training images away for such choices, a *validation set*.
# - **The best of many epochs reported.** The maximum of a noisy curve is higher than its end. Report the end.

# %%
with no_grad():
    raw = test.images.astype(np.float32)
    for name, x in (("-1..1", normalize(test.images)), ("0..255", raw)):
        print(f"pixels in {name:<7} accuracy {np.mean(mixed(x).data.argmax(axis=1) == test.labels):.1%}")

# %% [markdown]
# ## Exercises
#
# **13.1 (one line).** CIFAR-100 has 100 classes. What is the loss of a freshly initialised ViT on it?

# %%
answer = None  # your answer here: a number

check("13.1", answer)

# %% [markdown]
# **13.2 (five minutes).** To train with large batches in little memory, the batch is cut into pieces, and the gradients of their mean losses are combined
# (this is in `step`, above). The pieces may have different sizes. Combine them into the gradient of the mean loss over the whole batch.


# %%
def combined(gradients, sizes):
    """gradients: (pieces, parameters), of the mean loss of each piece; sizes: (pieces,) images in each -> (parameters,)"""
    ...  # your answer here


check("13.2", combined)

# %% [markdown]
# **13.3 (ten minutes).** The accuracy hides classes that are always wrong when they are rare. Write the **balanced accuracy**: the mean over the classes
# of the share of images of that class that were classified correctly; classes without images do not count.


# %%
def balanced_accuracy(labels, predictions, classes):
    """labels, predictions: (images,) class numbers in 0..classes-1 -> a number in 0..1"""
    ...  # your answer here


check("13.3", balanced_accuracy)

# %% [markdown]
# **13.4 (an hour).** Automate check 3: find the best learning rate between $10^{-6}$ and $1$ with at most 20 short runs. You are given a function that trains with a
# learning rate and returns the final loss, which is `nan` or infinite where training diverged. Return a rate whose logarithm (base 10) is within 0.1 of
# the best one. The loss has one minimum, and training diverges at all rates above some rate. Try yours on the digits as well.


# %%
def find_learning_rate(final_loss):
    """final_loss: a function, learning rate -> loss -> the best learning rate"""
    ...  # your answer here


check("13.4", find_learning_rate)

# %% [markdown]
# Next: [14, augmentation and regularisation](14_augmentation.ipynb).

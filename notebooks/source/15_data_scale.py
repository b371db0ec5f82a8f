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
# # 15 How much data
#
# A convolutional network has two assumptions built in before it sees an image. Neighbouring pixels belong together, and
# a pattern means the same wherever it is. A Vision Transformer has to learn most of this. How many images does that
# take? The paper answers in section 4.3 ([Dosovitskiy et al. 2020](https://arxiv.org/abs/2010.11929v2), Figures 3 and
# 4): with little data the convolutional network is ahead, with much data the Transformer. We ask the same question at
# the scale of two CPU cores. Our answer is different, so we also ask why. At the end you will be able to
#
# - set up a comparison in which only the amount of data varies, with a learning rate for each model at each amount,
# - put error bars on differences, and say which differences they support,
# - measure what a convolutional network gains from the neighbourhood of pixels,
# - see a crossing that more updates undo.
#
# There is no new equation of the model here. You need its training (notebook [13](13_training.ipynb)). Flips and crops
# are explained in notebook [14](14_augmentation.ipynb).
#
# **Budget:** 150 s of CPU time (fast mode 15 s).

# %%
import itertools
import time

import matplotlib.pyplot as plt
import numpy as np
from experiments import crossing, record  # notebooks/experiments: what longer runs have stored
from experiments.data_scale import MODELS, SmallCNN, measure, shuffle_pixels, small_vit
from experiments.rates import best_rate

from minivit.data import Augment, Dataset
from minivit.lessons import agree, check, fit, full_or_fast, photographs, show_source

# %% [markdown]
# ## The question
#
# The paper trains ViTs and ResNets of similar cost on random subsets of 9, 30 and 90 million images and on all 300
# million, with the same settings for all (section 4.3). Then it fits a linear classifier on the learned features to
# five images of each class of another data set, ImageNet. Figure 4 shows the accuracy of this classifier: ViT-B/32 is
# much worse than a ResNet50 after 9 million images, and better after 90 million and more. We leave out the second data
# set. Our models are trained and tested on images of the same kind.
#
# | symbol | meaning | unit or range | in the code |
# |---|---|---|---|
# | $n$ | different training images | images | `size` |
# | $T$, $B$ | updates of a training run; images in a batch | numbers | `steps`, 128 |
# | $\mathrm{acc}$ | accuracy on test images | 0 to 1 | `accuracy` |
# | $e = 1 - \mathrm{acc}$ | error on test images | 0 to 1 | `error` |
# | $R$ | runs that differ in their seed alone | number | `seeds` |
# | $\overline{\mathrm{acc}}$, $s$ | mean of the accuracies of the runs, and how far they scatter | 0 to 1 | |
# | $\mathrm{SE}$ | standard error of the mean | 0 to 1 | |
# | $a$, $b$ | factor and exponent of a power law, $e = a\,n^{-b}$ | positive | |
#
# **We keep the number of updates $T$ fixed**, and with it the work. A run on $n$ images goes through them $TB/n$ times.
# If we kept the number of passes fixed, small sets would get fewer updates, and the figure would mix two effects.
#
# ## The models
#
# The convolutional network (CNN) is small enough to be read at a glance.

# %%
show_source(SmallCNN)

# %% [markdown]
# The ViT is that of notebook [11](11_vit.ipynb), with 16 patches of 8×8 pixels.

# %%
show_source(small_vit)

# %% [markdown]
# The third model is linear: its logits are a linear function of the pixels. One function trains and tests them all:

# %%
show_source(measure)

# %% [markdown]
# The paper compares models of about the same cost. Ours should cost about the same per update, too.

# %%
pool, test = photographs(32_000, full_or_fast(2_000, 300))
print(f"data: {pool.name}, {len(pool):,} training images to choose from, {len(test):,} test images")

print("\nmodel    parameters   CPU time of an update")
for name in ("ViT", "CNN", "linear"):
    begin = time.process_time()
    measure(name, pool.limit(128), test.limit(1), 1e-3, seed=0, steps=5)
    milliseconds = (time.process_time() - begin) / 5 * 1000
    print(f"{name:<8} {MODELS[name](0).num_parameters():10,}   {milliseconds:6.1f} ms")

# %% [markdown]
# ## Subsets
#
# Which $n$ images? `limit` draws them at random, with all classes equally often. With the same seed, a smaller subset is
# part of a larger one.

# %%
show_source(Dataset.limit)

# %%
few, more = pool.limit(50, seed=3), pool.limit(100, seed=3)
contained = {image.tobytes() for image in few.images} <= {image.tobytes() for image in more.images}
print("images of each class:", np.bincount(few.labels))
print("the 50 images are among the 100:", contained)

# %% [markdown]
# ## A learning rate for each model and each size
#
# A model does well only at a rate that suits it. And the rate that suits 500 images need not suit 32,000. So we choose
# a rate for every model **at every size**. The choice is made on 5,000 *training* images that are held out; a choice on
# the test images would make the test accuracy too good. We try a rate, then its double and its half, and go on until
# the best rate has a worse one on either side.
#
# This takes too long for a notebook. The results are in `notebooks/results/data_scale.json`, and the next cell prints
# the command that made them. "JPEG copy" means that this CIFAR-10 came from a mirror that had stored the images as
# JPEG, so the pixels differ a little from the original ones.
#
# **Predict first.** Is the best rate of the CNN for 32,000 images lower than for 500, the same, or higher? And that of
# the ViT?

# %%
stored = record.read("data_scale")
T, B = stored["config"]["steps"], stored["config"]["batch_size"]
print(stored["command"])
print(f"data: {stored['data']}; {T} updates of {B} images")


def by_size(part, steps=T):
    """A part of the stored results at this number of updates, as {model: {size: what was found}}."""
    return {name: {int(n): found for n, found in sizes.items()} for name, sizes in part[str(steps)].items()}


tried = by_size(stored["rates_tried"])
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
for axis, name in zip(axes, ("ViT", "CNN"), strict=True):
    for marker, (size, scores) in zip("os^D", tried[name].items(), strict=True):
        rates = sorted(scores, key=float)
        axis.plot([float(r) for r in rates], [100 * scores[r] for r in rates], marker + "-", label=f"n = {size:,}")
    axis.set(xscale="log", xlabel="learning rate", title=name)
    ticks = sorted({float(rate) for scores in tried[name].values() for rate in scores})
    axis.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
axes[0].set_ylabel("accuracy on held-out images in %")
axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

rates = {name: {size: best_rate(scores) for size, scores in sizes.items()} for name, sizes in tried.items()}
print("chosen rate".ljust(15) + "".join(f"n = {size:<9,}" for size in rates["ViT"]))
for name, chosen in rates.items():
    print(f"{name:<15}" + "".join(f"{rate:<13g}" for rate in chosen.values()))

# %% [markdown]
# **In the stored run** the best rate of the CNN was 0.025 with 500 images and 0.05 with more. That of the ViT lay between
# 0.001 and 0.004, in no order. The curves are flat near the top and every point is one run, so the choice between
# neighbours is partly luck; it costs little.
#
# ## Error bars
#
# Two runs with different seeds give different accuracies: other images, other starting weights, another order. With
# $R$ runs and accuracies $\mathrm{acc}_1, \dots, \mathrm{acc}_R$ we report the mean and its **standard error**:
#
# $$\overline{\mathrm{acc}} = \frac1R \sum_i \mathrm{acc}_i, \quad s^2 = \frac1{R-1} \sum_i (\mathrm{acc}_i - \overline{\mathrm{acc}})^2, \quad \mathrm{SE} = s/\sqrt{R}.$$
#
# $s$ says how far a run lies from the others. $\mathrm{SE}$ says how far the mean of $R$ runs lies from the mean of very
# many. We test both on numbers whose true mean we know: 10,000 times 5 draws.

# %%
draws = np.random.default_rng(15).normal(0.5, 0.02, (10_000, 5))
errors = np.array([record.mean_and_error(runs)[1] for runs in draws])

agree("SE", record.mean_and_error(draws[0])[1], np.sqrt(((draws[0] - draws[0].mean()) ** 2).sum() / 4 / 5))
print(f"the means of 5 scatter by {draws.mean(axis=1).std():.4f}; 0.02 / sqrt(5) is {0.02 / 5**0.5:.4f}")
print(f"the mean lies within 1 SE of the truth in {np.mean(abs(draws.mean(axis=1) - 0.5) < errors):.0%} of the cases")

# %% [markdown]
# You may know 68 % from the normal distribution. Here it is less, because SE itself is estimated from five numbers. An
# interval that holds the truth in 95 % of the cases is
#
# $$\overline{\mathrm{acc}} \pm t_{R-1}\,\mathrm{SE}.$$
#
# The factor comes from Student's distribution: 12.71 for two runs, 4.30 for three, 3.18 for four, 2.78 for five. For
# many runs it comes down to 1.96.

# %%
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # runs -> factor, for 95 %
half_width = T95[5] * errors
print(f"within {T95[5]} SE: {np.mean(abs(draws.mean(axis=1) - 0.5) < half_width):.1%} of the cases")

# %% [markdown]
# ### Differences
#
# Run $i$ of the ViT and run $i$ of the CNN see the same images in the same order. So we take the differences run by run,
#
# $$d_i = \mathrm{acc}_i^{\mathrm{CNN}} - \mathrm{acc}_i^{\mathrm{ViT}}, \qquad \bar d \pm t_{R-1}\,\mathrm{SE}(d),$$
#
# and what a lucky subset does to both models drops out. A difference is *supported* if its 95 % interval does not
# contain 0.


# %% tags=["yours"]
def paired(first, second):
    """Accuracies of R runs each -> mean of first - second and the margin of its 95 % interval, both in points."""
    mean, error = record.mean_and_error(100 * (np.array(first) - np.array(second)))
    return mean, T95[len(first)] * error


# %%
mean, margin = paired([0.52, 0.58, 0.55], [0.50, 0.55, 0.54])
agree("mean", mean, 2.0)
agree("margin", margin, 4.30 / 3**0.5)  # the differences are 2, 3 and 1 points: s = 1

# %% [markdown]
# ## Experiment, live
#
# Few sizes, few seeds, a short training. The rates are those of the nearest size above; they were chosen for more
# updates than we make here.
#
# **Predict first.** Which model is best with 500 images? Does the ViT overtake one of the others as $n$ grows?


# %%
def chosen_rate(name, size):
    """The rate chosen at the nearest size."""
    return rates[name][min(rates[name], key=lambda n: abs(np.log(n / size)))]


sizes = full_or_fast([500, 2_000, 8_000], [200, 1_000])
seeds = full_or_fast(3, 2)
steps = full_or_fast(150, 15)

live = {name: {size: [] for size in sizes} for name in ("ViT", "CNN", "linear")}
for name in live:
    for size in sizes:
        for seed in range(seeds):
            live[name][size].append(
                measure(name, pool.limit(size, seed), test, chosen_rate(name, size), seed, steps)[0]
            )


# %%
STYLES = {"ViT": "C0o-", "CNN": "C1s--", "linear": "C2^:", "CNN, shuffled": "C3D-."}


def draw(axis, results, ylabel, factor=1, place="best"):
    """Means over the seeds times `factor`, against the number of images; bars of one standard error."""
    for name, of_size in results.items():
        mean, error = factor * np.array([record.mean_and_error(runs) for runs in of_size.values()]).T
        axis.errorbar(list(of_size), mean, error, fmt=STYLES[name], capsize=4, label=name)
    axis.set(xscale="log", xlabel="different training images, $n$", ylabel=ylabel)
    axis.set_xticks(list(of_size), labels=[f"{size:,}" for size in of_size])
    axis.minorticks_off()
    axis.legend(loc=place)


def table(results, first="CNN", second="ViT"):
    """Print, for each size, the accuracies of two models, their paired difference and who leads."""
    print(f"     n   {first:>13}   {second:>5}   difference     ahead")
    for size in results[first]:
        mean, margin = paired(results[first][size], results[second][size])
        leader = "not decided" if abs(mean) <= margin else first if mean > 0 else second
        both = f"{np.mean(results[first][size]):13.1%}   {np.mean(results[second][size]):5.1%}"
        print(f"{size:6,}   {both}   {mean:+5.1f} ± {margin:4.1f}   {leader}")


figure, axis = plt.subplots(figsize=(7, 3.6))
draw(axis, live, "test accuracy in %", 100)
axis.set_title(f"live: {steps} updates, mean and standard error of {seeds} seeds")
plt.show()

print(f"live ({pool.name}): accuracies, difference in points with its 95 % interval")
table(live)
table(live, "linear", "ViT")

# %% [markdown]
# **In the stored run** the CNN leads at every size, by 10.4 points with 500 images and by 9.8 with 8,000. The ViT
# overtakes nobody: from 2,000 images on even the linear model is ahead of it.
#
# ## Experiment, long
#
# The stored run has up to 32,000 images, more updates, and all 10,000 test images of CIFAR-10.
#
# **Predict first.** The paper's effect has two parts: the CNN leads with few images, and its lead shrinks and then turns
# as $n$ grows. Which parts will the table show?

# %%
everything = by_size(stored["results"])
long = {name: everything[name] for name in ("ViT", "CNN", "linear")}

figure, axis = plt.subplots(figsize=(7, 3.6))
draw(axis, long, "test accuracy in %", 100)
axis.set_title(f"stored: {T} updates, mean and standard error of {len(long['ViT'][500])} seeds")
plt.show()

print("stored: accuracies, difference in points with its 95 % interval")
table(long)
table(long, "linear", "ViT")

lead = {n: 100 * (np.array(long["CNN"][n]) - np.array(long["ViT"][n])) for n in long["ViT"]}
smallest, largest = min(lead), max(lead)
mean, margin = paired(lead[largest] / 100, lead[smallest] / 100)
print(f"lead of the CNN, from n = {smallest:,} to n = {largest:,}: changes by {mean:+.1f} ± {margin:.1f} points")

# %% [markdown]
# **In the stored run** the CNN leads at every size: by 11.5 points with 500 images, by 13.1 with 32,000. Whether the lead
# grows is not decided (+1.6 ± 1.8 points); it does not turn. From 2,000 images on the linear model is ahead of the ViT,
# too.
#
# Three runs can lie close together by luck: a margin much smaller than its neighbours is no sign of precision.
#
# ## What is locality worth?
#
# Is the CNN ahead because it knows which pixels are neighbours? We can take this knowledge away. One fixed shuffle
# changes all images alike: the pixels of every patch change places in the same way, and the patches change places. The
# CNN now sees neighbours that belong to nothing.

# %%
side, grid = 8, 4  # pixels along a patch, patches along the image
rng = np.random.default_rng(15)
within, among = rng.permutation(side * side), rng.permutation(grid * grid)

figure, axes = plt.subplots(1, 6, figsize=(10, 2))
for k, axis in enumerate(axes):
    image = pool.images[k // 2][None]
    axis.imshow((image if k % 2 == 0 else shuffle_pixels(image, side, within, among))[0])
    axis.set_title(pool.classes[pool.labels[k // 2]] if k % 2 == 0 else "shuffled")
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ### The ViT cannot tell
#
# Eq. 1 makes a token from patch $\mathbf{x}_p^j$, a row of $P^2C$ entries: $\mathbf{x}_p^j\mathbf{E} + \mathbf{E}_{pos}^j$.
# Suppose pixel $i$ of every shuffled patch is pixel $w_i$ of the old one, and shuffled patch $j$ is old patch $g_j$.
# Shuffle the rows of the weights in the same way:
#
# $$\tilde{\mathbf{E}}_i = \mathbf{E}_{w_i}, \qquad \tilde{\mathbf{E}}_{pos}^j = \mathbf{E}_{pos}^{g_j}.$$
#
# (Each $\mathbf{E}_i$ has the rows of the $C$ channels of pixel $i$. The position of [class] stays.) Then token $j$ of
# the shuffled image is token $g_j$ of the old image. Attention, MLP and LayerNorm treat all tokens alike, so the [class]
# token sees the same set of tokens, and the logits stay.

# %%
whole, shuffled = small_vit(0), small_vit(0)
fit(whole, pool.limit(500), full_or_fast(60, 5), lr=2e-3)  # so that no weight is still zero
shuffled.load_state_dict(whole.state_dict())
images = Augment(pool.image_size)(test.images[:100])  # pixels as the model takes them, in -1..1
E = whole.patch_embed.projection.weight.data.reshape(side * side, 3, -1)  # (pixels, channels, D)
E_pos = whole.position_embedding.data[0]  # (1 + patches, D)

# %% tags=["yours"]
E_shuffled = E[within]
E_pos_shuffled = np.concatenate([E_pos[:1], E_pos[1:][among]])

# %%
shuffled.patch_embed.projection.weight.data[...] = E_shuffled.reshape(side * side * 3, -1)
shuffled.position_embedding.data[0] = E_pos_shuffled
images_shuffled = shuffle_pixels(images, side, within, among)
agree("logits", shuffled(images_shuffled), whole(images), rtol=1e-4)
difference = abs(whole(images_shuffled).data - whole(images).data).max()
print(f"without the shuffle of the weights they differ by {difference:.1f}")

# %% [markdown]
# Training cannot tell either. The rows of $\mathbf{E}$ and of $\mathbf{E}_{pos}$ are drawn alike, and AdamW treats every
# entry alike. So the curve of the ViT holds for shuffled photographs, too. The same is true of the linear model. The
# CNN was trained again on shuffled photographs, with learning rates of its own and another shuffle for each seed.
#
# **Predict first.** Of its lead over the ViT at $n = 32{,}000$, how much does the CNN keep on shuffled photographs: all,
# half, or nothing?

# %%
figure, axis = plt.subplots(figsize=(7, 3.8))
draw(axis, {name: everything[name] for name in ("CNN", "CNN, shuffled", "ViT")}, "test accuracy in %", 100)
plt.show()

table(everything, "CNN, shuffled", "ViT")
print()
for size in everything["CNN"]:
    (all_of_it, _), (rest, _) = (
        paired(everything[name][size], everything["ViT"][size]) for name in ("CNN", "CNN, shuffled")
    )
    lost, margin = paired(everything["CNN"][size], everything["CNN, shuffled"][size])
    print(
        f"n = {size:6,}: lead of the CNN {all_of_it:4.1f} points, shuffled {rest:4.1f} ({rest / all_of_it:.0%} of it); "
        f"the shuffle takes {lost:.1f} ± {margin:.1f}"
    )

# %% [markdown]
# **In the stored run** the shuffle takes 4.4 points from the CNN with 500 images and 5.4 with 32,000. Of its lead
# over the ViT, 62 % stay with 500 images and 59 % with 32,000. So neighbours are worth something, but most of the
# lead has another cause. (Perhaps layers of shared filters learn more from one update. We did not test that.)
#
# ## Data, updates or size: what is missing?
#
# The paper explains the ViT's weakness on small sets by over-fitting. Over-fitting shows on the training side: a low loss
# on the training images, without a high accuracy on others. The long run has stored the training loss, averaged over its
# last 50 updates, with augmentation as in training.
#
# **Predict first.** Does the ViT know its images by heart at $n = 500$? At $n = 32{,}000$?

# %%
every_loss = by_size(stored["train_loss"])
losses = {name: every_loss[name] for name in long}

figure, axis = plt.subplots(figsize=(7, 3.4))
draw(axis, losses, "training loss at the end", place="lower right")
axis.axhline(np.log(10), color="grey", linewidth=1)
axis.annotate("a guess: log 10", (smallest, np.log(10)), xytext=(0, -12), textcoords="offset points", fontsize=9)
plt.show()

# %% tags=["yours"]
passes = {size: T * B / size for size in losses["ViT"]}  # how often a run uses each image

# %%
print("                  loss on training batches, accuracy on test images")
print("     n   passes " + "".join(f"{name:>16}" for name in long))
for size in losses["ViT"]:
    cells = [f"{np.mean(losses[name][size]):8.2f}, {np.mean(long[name][size]):5.1%}" for name in long]
    print(f"{size:6,} {passes[size]:8.1f} " + "".join(f"{cell:>16}" for cell in cells))

# %% [markdown]
# Three things can be missing.
#
# - **Data**: the training loss is low, and the accuracy is low. The model knows its images by heart.
# - **Updates**: neither loss nor accuracy changes from one $n$ to the next, and each image was used only a few times. The
#   model has had no time to notice that there are more images.
# - **Size**: the training loss is high even for few images and many passes. (Augmentation raises it too.)
#
# **In the stored run** the ViT's accuracy hardly changes from 2,000 images on (35.3, 35.0 and 34.9 %), while a run uses
# each image 19.2, 4.8 and 1.2 times. That is the second case: updates are missing. With 500 images its training loss is
# 1.00, so it does not know its images by heart yet.
#
# ### More updates
#
# If updates are missing, more updates must help. The stored run also trained the ViT and the CNN for a third and for
# three times as many updates, with schedules and learning rates of their own.
#
# **Predict first.** With which number of images does the ViT gain more from 900 instead of 300 updates, 500 or 32,000?
# Does the lead of the CNN shrink?

# %%
numbers = sorted(int(steps) for steps in stored["results"])
figure, axis = plt.subplots(figsize=(7, 3.6))
print("updates       n      CNN     ViT   lead of the CNN in points   training loss of the ViT")
for marker, size in (("o-", smallest), ("s--", largest)):
    points = []
    for number in numbers:
        found, loss = by_size(stored["results"], number), by_size(stored["train_loss"], number)["ViT"][size]
        points.append(paired(found["CNN"][size], found["ViT"][size]))
        both = f"{np.mean(found['CNN'][size]):6.1%}  {np.mean(found['ViT'][size]):6.1%}"
        lead_and_margin = f"{points[-1][0]:+5.1f} ± {points[-1][1]:.1f}"
        print(f"{number:7,}  {size:6,}   {both}   {lead_and_margin:<25}   {np.mean(loss):.2f}")
    means, margins = np.array(points).T
    axis.errorbar(numbers, means, margins, fmt=marker, capsize=4, label=f"n = {size:,}")
axis.axhline(0, color="grey", linewidth=1)
axis.set(xscale="log", xlabel="updates of the run", ylabel="lead of the CNN in points")
axis.set_xticks(numbers, labels=[f"{number:,}" for number in numbers])
axis.minorticks_off()
axis.legend()
plt.show()

# %% [markdown]
# **In the stored run** 900 instead of 300 updates lift the ViT from 34.9 to 45.1 % with 32,000 images. With 500 images
# they do not help (30.8 and 30.6 %), and its training loss falls to 0.00. So updates are missing with many images, and
# images with few. The CNN profits as well: after 900 updates its lead is 12.4
# points with 500 images and 16.2 with 32,000.
#
# So in our range the ViT does not catch up. The paper's ViT-B/32 passed seven times through 303 million images
# (Table 3), in batches of 4,096; our longest run sees 115,200 images in all.
#
# ## A crossing that does not last
#
# Can a small experiment show the figure of the paper at all? We looked for one on drawn images of three glyphs. The class
# is the kind of the leftmost glyph, so a model has to compare places that are far apart. The CNN here has residual
# connections and sees the whole image.

# %%
drawn = crossing.draw(5, seed=1)
figure, axes = plt.subplots(1, 5, figsize=(9, 2))
for axis, image, label in zip(axes, drawn.images, drawn.labels, strict=True):
    axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255)
    axis.set_title(drawn.classes[label])
    axis.set_axis_off()
plt.show()
for name, make in crossing.MODELS.items():
    print(f"{name}: {make(0).num_parameters():,} parameters")

# %% [markdown]
# `experiments/crossing.py` trains both models on 500 and on 12,800 of these images, for 200 and for 600 updates of 64
# images, at every rate of a list, with five seeds. Every run has two accuracies: one on images to choose the rate by, one
# on others, to report.

# %%
crossed = record.read("crossing")
scores = {  # updates -> model -> size -> rate -> (seeds, 2): accuracy to choose by, accuracy to report
    int(number): {
        name: {
            int(n): {float(rate): 100 * np.array(found[rate]) for rate in sorted(found, key=float)}
            for n, found in sizes.items()
        }
        for name, sizes in models.items()
    }
    for number, models in crossed["results"].items()
}
small, large = crossed["config"]["sizes"]


# %% tags=["yours"]
def chosen(found):
    """found: rate -> (seeds, 2) -> the rate with the highest mean accuracy on the images to choose by (column 0)."""
    return max(found, key=lambda rate: found[rate][:, 0].mean())


# %%
print(crossed["command"])
for number, models in scores.items():
    print(f"\n{number} updates: mean test accuracy in % by learning rate; * is the chosen one")
    for name, of_size in models.items():
        for n, found in of_size.items():
            cells = [f"{r:g}: {runs[:, 1].mean():.1f}{'*' if r == chosen(found) else ' '}" for r, runs in found.items()]
            print(f"{name} {n:6,}   " + "  ".join(cells))

# %% [markdown]
# **Predict first.** Below is one panel with the rates of $n = 500$ for both sizes, one with a rate for each size, and one
# with a rate for each size and three times the updates. Will they show the same?

# %%
few, more = scores
panels = {
    f"{few} updates,\nthe rates of n = {small}": (
        few,
        {name: chosen(sizes[small]) for name, sizes in scores[few].items()},
    ),
    f"{few} updates,\na rate for each size": (few, None),
    f"{more} updates,\na rate for each size": (more, None),
}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.8), sharey=True)
for axis, (title, (number, fixed)) in zip(axes, panels.items(), strict=True):
    print(title.replace("\n", " "))
    shown = {}
    for name, of_size in scores[number].items():
        at = {n: fixed[name] if fixed else chosen(found) for n, found in of_size.items()}
        shown[name] = {n: of_size[n][rate][:, 1] for n, rate in at.items()}
        mean, error = np.array([record.mean_and_error(runs) for runs in shown[name].values()]).T
        axis.errorbar([0, 1], mean, error, fmt=STYLES[name], capsize=4, label=name)
        for n, runs in shown[name].items():
            print(f"  {name} {n:6,}: {runs.mean():5.1f} %, runs " + ", ".join(f"{run:.0f}" for run in sorted(runs)))
    for n in (small, large):
        mean, margin = paired(shown["CNN"][n] / 100, shown["ViT"][n] / 100)
        print(f"  lead of the CNN at n = {n:,}: {mean:+.1f} ± {margin:.1f} points")
    axis.set_xticks([0, 1], labels=[f"{small:,}", f"{large:,}"])
    axis.set(title=title, xlabel="different training images, $n$", xlim=(-0.2, 1.2))
axes[0].set_ylabel("test accuracy in %")
axes[2].legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# **In the stored run** the means after 200 updates give the figure of the paper, also with a rate for each size. With 500
# images the CNN is ahead by 11.6 ± 14.8 points, which is not decided. With 12,800 the ViT is ahead by 20.3 ± 17.6. After
# 600 updates the CNN is ahead at both sizes, by 8.1 ± 4.7 and 2.0 ± 1.0 points.
#
# The single runs tell why. After 200 updates the CNN's runs with 12,800 images end anywhere between 51 and 88 %, and after
# 600 all five are near 100 %. It finds the rule later than the ViT, at a moment that differs from run to run, and 200
# updates stop many runs before it. So the crossing shows who learns this rule faster. It does not show what more data
# can do.
#
# Look at the rates as well. After 200 updates at rate 0.01, more images make the CNN worse (72.3 to 56.4 %); at 0.001
# they make it better (45.0 to 57.3 %). An experiment at one rate can find either effect. (The CNN's
# rate for 500 images and 600 updates is the highest that we tried there. A higher one could only raise its lead.)
#
# **Our result:** at this scale we found no crossing that survives a rate for each size and more updates.
#
# ## A power law?
#
# Errors of many models fall roughly as a power of the number of training examples: $e(n) = a\,n^{-b}$. This is an
# observation; there is no general proof. Taking logarithms makes it a straight line,
#
# $$\log e = \log a - b \log n, \qquad b = \frac{\log(e_1/e_2)}{\log(n_2/n_1)} \text{ between two sizes } n_1 < n_2.$$
#
# If $b$ is the same between all neighbouring sizes, the law fits.

# %%
log_errors = {name: {n: np.log(1 - np.array(runs)) for n, runs in of_size.items()} for name, of_size in long.items()}

figure, axis = plt.subplots(figsize=(7, 3.4))
draw(axis, log_errors, "logarithm of the test error, $\\log e$")
plt.show()


# %% tags=["yours"]
def exponents(sizes, log_error):
    """sizes: m of them; log_error: (m, R) -> b between neighbouring sizes, (m - 1, R)."""
    return -np.diff(log_error, axis=0) / np.diff(np.log(sizes))[:, None]


# %%
agree("exponents", exponents([10, 100, 1000], np.log([[5.0], [0.5], [0.5]])), np.array([[1.0], [0.0]]))
print("exponent b between neighbouring sizes, mean ± 1 SE over the seeds")
print("model    " + "".join(f"{first:>9,} to {second:<6,}" for first, second in itertools.pairwise(long["ViT"])))
for name, of_size in log_errors.items():
    slopes = exponents(list(of_size), list(of_size.values()))
    print(f"{name:<8} " + "".join("    {:+.3f} ± {:.3f}".format(*record.mean_and_error(runs)) for runs in slopes))

# %% [markdown]
# **In the stored run** the exponents fall from left to right: for the CNN from 0.067 to -0.008, for the ViT from 0.048 to
# -0.001. No power law describes these errors.
#
# When the exponents fall from left to right, the curve flattens: something else has begun to limit the model, its size
# or the number of updates. Then a line through the points says nothing about a million images.
#
# ## Where this goes wrong in practice
#
# - **Epochs held fixed instead of updates.** Small sets are then trained less, and the curve mixes two effects.
# - **Too few updates.** With updates held fixed, the right end of the curve may show how long was trained, not what the
#   data can do.
# - **One learning rate for all sizes or all models.** It can turn the sign of an effect.
# - **Settings chosen on the test set.** Choose on held-out training images.
# - **One seed.** The difference of two single runs says little when both scatter. Write the number of runs next to
#   every error bar, and which bar it is: $s$, $\mathrm{SE}$ and a 95 % interval differ by factors of 2 and more.
# - **Two bars that do not overlap.** Whether they overlap is no test. With paired runs, look at the differences.
# - **Only the learning rate chosen.** Stronger regularisation may well help on small sets (notebook
#   [14](14_augmentation.ipynb)). The paper stops each run at its best validation accuracy; we train to the end.
# - **The small experiment taken for the large one.** The paper's sets of 90 and 300 million images are more than a
#   thousand times larger than ours, our images have 32×32 pixels, our ViT has 16 patches. Our result can neither prove
#   nor refute the paper's claim.
#
# ## Exercises
#
# `hint("15.1")` gives up to three hints, one per call (`from minivit.lessons import hint`).
#
# **15.1 (two lines).** Compute the mean of $R$ accuracies and its standard error from memory.


# %%
def mean_and_standard_error(accuracies):
    """accuracies: (R,), R >= 2 -> mean, standard error: two numbers."""
    ...  # your answer here


check("15.1", mean_and_standard_error)

# %% [markdown]
# **15.2 (a minute).** Another run makes 800 updates on batches of 128. With $n = 500$, how many times is each image used,
# on average over all 500?

# %%
times_used = None  # your answer here

check("15.2", times_used)

# %% [markdown]
# **15.3 (twenty minutes).** Fit a power law: given sizes and errors, return $a$ and $b$ of $e = a\,n^{-b}$, by least
# squares in the logarithms. Then apply it to `long` and draw your lines into the figure above. Where do they miss the
# points?


# %%
def fit_power_law(n, error):
    """n, error: (m,), m >= 2 -> a, b: two numbers."""
    ...  # your answer here


check("15.3", fit_power_law)

# %% [markdown]
# **15.4 (ten minutes).** Two models follow power laws with $(a_1, b_1)$ and $(a_2, b_2)$, $b_1 \ne b_2$. At which $n$ do
# they meet? Apply it to the ViT and the CNN of the long run. Then leave out one of the four sizes, fit again, and see
# how far the crossing moves. On which side of the data does it lie, and what would that mean? (If $n$ comes out below
# one image, the lines meet for no real set.)


# %%
def meeting_size(a1, b1, a2, b2):
    """The n, a number, at which a1 n^-b1 = a2 n^-b2."""
    ...  # your answer here


check("15.4", meeting_size)

# %% [markdown]
# **15.5 (an hour).** No model can tell some images apart, so the error has a floor: $e = a\,n^{-b} + c$. Fit all three
# numbers. For each $c$ the rest is exercise 15.3; search for the $c$ that fits best. (Your function is tried on points
# that lie exactly on such curves; 2 % is near enough.)


# %%
def fit_with_floor(n, error):
    """n, error: (m,), m >= 4 -> a, b, c: three numbers, with 0 <= c < error.min()."""
    ...  # your answer here


check("15.5", fit_with_floor)

# %% [markdown]
# Next: [16, shape and scale](16_shape_scaling.ipynb).

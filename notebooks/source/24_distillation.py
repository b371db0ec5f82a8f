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
# # 24 Distillation: learning from a teacher
#
# A ViT needs many images, because few assumptions about images are built into it (notebook [15](15_data_scale.ipynb)). A convolutional
# network assumes that neighbouring pixels belong together. **DeiT** ([Touvron et al. 2020](https://arxiv.org/abs/2012.12877)) lets a
# ViT learn from such a network, the **teacher**. A second learned token, **[distillation]**, goes through the blocks beside [class].
# Its head learns to predict the teacher's answer. At the end you will be able to
#
# - derive the gradients of soft and of hard distillation, and explain the temperature,
# - follow images, labels and the teacher's answers through one training step,
# - judge an experiment on distillation by its controls.
#
# You need notebooks [06](06_softmax_and_loss.ipynb), [13](13_training.ipynb) and [14](14_augmentation.ipynb).
#
# **Budget:** 15 s of CPU time (fast mode 6 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from experiments import record  # notebooks/experiments: what longer runs have stored

from minivit import functional as F
from minivit.data.mixing import Mixing, mix, one_hot
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, digits, fit, full_or_fast, show_source
from minivit.lineage import deit
from minivit.models import ResNet, ResNetConfig
from minivit.tensor import Tensor, grad, no_grad

rng = np.random.default_rng(24)

# %% [markdown]
# ## The equations
#
# The student has the logits $z$ at its [class] token and $d$ at its [distillation] token. The teacher has the logits $t$. With the
# label $y$ and the cross-entropy $\mathrm{CE}$ of logits (notebook [06](06_softmax_and_loss.ipynb)),
#
# $$\text{hard:}\quad \mathcal{L} = (1 - \alpha)\,\mathrm{CE}(z, y) + \alpha\,\mathrm{CE}\bigl(d, \arg\max t\bigr),$$
#
# $$\text{soft:}\quad \mathcal{L} = (1 - \alpha)\,\mathrm{CE}(z, y) + \alpha\,\tau^2\,\mathrm{KL}(p \,\|\, q), \qquad
# p = \mathrm{softmax}(t/\tau), \quad q = \mathrm{softmax}(d/\tau).$$
#
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$, $K$ | images in a batch, classes | numbers | `B`, `K` |
# | $z$, $d$ | logits of the student at [class] and at [distillation] | $(B, K)$ | `z`, `d` |
# | $t$ | logits of the teacher, which is frozen | $(B, K)$ | `t` |
# | $y$ | labels, as classes or as rows of shares | $(B,)$ or $(B, K)$ | `y` |
# | $\alpha$ | weight of the teacher's term | number | `alpha` |
# | $\tau$ | temperature | number | `tau` |
# | $p$, $q$ | probabilities, the softmax of the logits of teacher and student at this temperature | $(B, K)$ | `p`, `q` |
# | $\mathrm{KL}(p\,\Vert\,q)$ | $\sum_k p_k (\log p_k - \log q_k)$, the mean over images | number | |
#
# Hard distillation treats the teacher's first choice as a label. Soft distillation
# ([Hinton et al. 2015](https://arxiv.org/abs/1503.02531)) asks for all its probabilities. They contain more than a label does: that a
# truck looks a little like a car, for example, and not like a frog. After training, the student answers with the mean of both heads'
# logits, as in the published code. (The paper adds their probabilities.)
#
# ## The temperature
#
# A well-trained teacher is often nearly certain, so its other probabilities hardly count. Dividing its logits by $\tau > 1$
# raises the small probabilities.


# %%
def softmax(x):
    """Rows of probabilities.   (B, K) -> (B, K)"""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


said = np.array([[9.0, 6.0, 5.0, 1.0, -2.0]])
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for i, tau in enumerate((1, 3, 10)):
    axes.bar(
        np.arange(5) + 0.27 * (i - 1), softmax(said / tau)[0], 0.27, label=f"$\\tau$ = {tau}", hatch=("", "//", "..")[i]
    )
axes.set(xticks=range(5), xticklabels=[f"{x:g}" for x in said[0]], xlabel="logit of the teacher", ylabel="probability")
axes.legend()
plt.show()

# %% [markdown]
# At $\tau = 1$ the second class has a twentieth of the first one's probability, at $\tau = 3$ more than a third.
#
# ## Forward and backward
#
# We derive the gradients of the teacher's terms without $\alpha$. It multiplies them at the end. Two symbols look alike: $\mathrm{d}d$ is
# the gradient with respect to the logits $d$.
#
# **Soft.** Only $q$ depends on the student: $\log q_k = d_k/\tau - \log\sum_j e^{d_j/\tau}$. As for the cross-entropy of notebook 06,
#
# $$\frac{\partial}{\partial d_j}\Bigl(-\sum_k p_k \log q_k\Bigr) = \frac{1}{\tau}\,(q_j - p_j),
# \qquad\text{so}\qquad \mathrm{d}d = \frac{\tau^2}{B}\cdot\frac{1}{\tau}\,(q - p) = \frac{\tau}{B}\,(q - p).$$
#
# **Why $\tau^2$?** For a large $\tau$ every exponential is nearly linear, $e^{d_j/\tau} \approx 1 + d_j/\tau$. With $\bar d$ the mean over
# the classes, the sum of them is $\sum_j e^{d_j/\tau} \approx K\,(1 + \bar d/\tau)$. So
# $q_j \approx \frac1K\bigl(1 + (d_j - \bar d)/\tau\bigr)$, and likewise $p_j$. Then
#
# $$\tau\,(q_j - p_j) \approx \frac1K\bigl((d_j - \bar d) - (t_j - \bar t)\bigr),$$
#
# which does not depend on $\tau$. The student's logits are pulled towards the teacher's, as in least squares. Without the factor
# $\tau^2$ the gradient would vanish as $1/\tau^2$.
#
# **Hard.** This is a cross-entropy with labels from the teacher: $\mathrm{d}d = (\mathrm{softmax}(d) - \mathrm{onehot}(\arg\max t))/B$.


# %% tags=["yours"]
def soft(d, t, tau):
    """tau^2 KL(softmax(t / tau) || softmax(d / tau)), the mean over images -> loss, vjp: g -> (dd,)."""
    p, q = softmax(t / tau), softmax(d / tau)
    loss = tau**2 * (p * (np.log(p) - np.log(q))).sum(axis=1).mean()

    def vjp(g):
        return (g * tau * (q - p) / len(d),)

    return loss, vjp


# %%
B, K = 5, 4
d, t = 2 * rng.standard_normal((2, B, K))
print(f"largest relative error of the gradient: {check_vjp(lambda d: soft(d, t.astype(d.dtype), 3.0), d):.1e}")

td = Tensor(d, requires_grad=True)
loss = deit.divergence(td, Tensor(t), 3.0)
agree("soft", soft(d, t, 3.0)[0], loss)
agree("dd, soft", soft(d, t, 3.0)[1](1.0)[0], grad(loss, [td])[0])

# %% tags=["yours"]
dd_hard = (softmax(d) - one_hot(t.argmax(axis=1), K)) / B

# %%
hard = F.cross_entropy(td, t.argmax(axis=1))
agree("dd, hard", dd_hard, grad(hard, [td])[0])

# %% [markdown]
# Here is the limit in numbers: the size of the gradient at several temperatures, and its distance from the gradient of least squares
# on centred logits.

# %%
centred = ((d - d.mean(axis=1, keepdims=True)) - (t - t.mean(axis=1, keepdims=True))) / K / B
for tau in (1.0, 3.0, 10.0, 100.0):
    (dd,) = soft(d, t, tau)[1](1.0)
    far = np.linalg.norm(dd - centred) / np.linalg.norm(centred)
    print(f"tau = {tau:>5g}: size of the gradient {np.linalg.norm(dd):.3f}, from least squares {far:6.1%}")

# %% [markdown]
# The published code also divides the divergence by the number of classes (`by_class` in the library). The paper does not. Exercise
# 24.2 asks for the $\alpha$ that makes up for it.
#
# ## The library
#
# `DeiT` is a `Classification` with a teacher. Its loss, and what the teacher adds:

# %%
show_source(deit.DeiT.loss)

# %%
show_source(deit.DeiT.of_teacher)

# %% [markdown]
# In evaluation mode the loss is the cross-entropy of the student's answer, the mean of both heads, since a test should measure that answer.
#
# ## The teacher sees what the student sees
#
# In the paper images are mirrored, cropped and mixed with one another (notebook [14](14_augmentation.ipynb)). The label of a
# mixed picture gives each image its share, even if one of the two things is hard to see. The teacher sees the mixed picture itself.
# Here a teacher that was trained on digits looks at digits whose left half comes from another digit:

# %%
train, test = digits()
teacher = ResNet(ResNetConfig((1, 1), 8, width=16, groups=4, channels=1, num_classes=10, root="3x3"))
fit(teacher, train, full_or_fast(150, 20), lr=3e-3)
print(f"accuracy of the teacher: {accuracy(teacher, test):.1%}")

order = rng.permutation(len(test))
images, labels = test.images[order].astype(np.float32) / 127.5 - 1, test.labels[order]
mixed, shares = mix(images, one_hot(labels, 10), Mixing(0.5, (0, 8, 0, 4)))  # left halves from the image before
with no_grad(), teacher.evaluating():
    says = softmax(teacher(mixed).data)

figure, axes = plt.subplots(2, 6, figsize=(10, 3.6), layout="constrained", height_ratios=(2, 1))
shown = [i for i in range(1, len(test)) if labels[i - 1] != labels[i]][:6]
for column, i in enumerate(shown):
    axes[0, column].imshow(mixed[i, ..., 0], cmap="gray")
    axes[0, column].set(title=f"½ {labels[i - 1]} + ½ {labels[i]}", xticks=[], yticks=[])
    axes[1, column].bar(range(10), says[i])
    axes[1, column].set(xticks=range(10), ylim=(0, 1), yticks=[0, 1] if column == 0 else [])
plt.show()

different = labels != np.roll(labels, 1)
first = says.argmax(axis=1)
either = (first == labels) | (first == np.roll(labels, 1))
print(
    f"in {np.mean(either[different]):.0%} of {different.sum()} mixed images, the teacher's first choice is one of the two digits"
)
print(f"the median of its highest probability is {np.median(says[different].max(axis=1)):.0%}")

# %% [markdown]
# The label is above the picture, the teacher's answer below it. The label always gives one half to each of the two digits. The
# teacher's answer depends on the picture. So it carries information that the label lacks.
#
# ## Experiment: who may teach?
#
# A small ViT learns from 5,000 images of CIFAR-10, always in the same number of steps. It learns from labels alone, or with a
# teacher as well. The teacher is a small ResNet that was trained on the same 5,000 images. Images are mirrored, not mixed. As in the paper, hard distillation has
# $\alpha = 0.5$, soft distillation $\alpha = 0.1$ and $\tau = 3$. So the two differ in the weight of the teacher, too. There are two
# controls:
#
# - *hard, untrained*: the teacher has learned nothing. This shows the effect of a second token and of useless answers.
# - *hard, another ViT*: the teacher is the ViT that was trained alone, with the same seed. This shows whether the teacher has to be another
#   *kind* of network.
#
# The program that the next cell names computed the numbers. We call a difference *not decided* if it is below two standard errors.
#
# **Predict first.** The ResNet is six points more accurate than the student, the other ViT is as good as the student. Does the ResNet
# help more, and by how many points?

# %%
stored = record.read("distillation")
print(stored["data"], "made by:", stored["command"])
results = stored["results"]
count = min(map(len, results.values()))  # seeds that all have
names = ["alone", "soft", "hard", "hard, untrained", "hard, another ViT"]
scores = {name: np.array([run["accuracy"] for run in results[name][:count]]) for name in ["teacher", *names]}

heads = {
    name: np.array([run.get("class_accuracy", run["accuracy"]) for run in results[name][:count]]) for name in names
}

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
floor = 100 * scores["alone"].min() - 2
for i, name in enumerate(names):
    color = "C0" if i < 3 else "C1"
    for values, place, marker in ((scores[name], 0.1, "o"), (heads[name], -0.1, "s"))[: 1 + (name != "alone")]:
        mean, error = record.mean_and_error(values)
        fill = color if marker == "o" else "white"
        axes.errorbar(
            i + place, 100 * mean, 100 * error, fmt=marker, color=color, markerfacecolor=fill, capsize=4, ms=7
        )
    if scores[name].mean() * 100 < floor:
        axes.annotate(f"both heads: {scores[name].mean():.0%}", (i + 0.1, floor + 0.3), ha="center")
axes.axhline(100 * scores["teacher"].mean(), linestyle=":", color="black")
axes.set(xticks=range(len(names)), xticklabels=names, ylabel="test accuracy (%)", ylim=(floor, None))
plt.show()


def difference(a, b):
    """Of two runs in percentage points, seed by seed: mean and standard error, in words."""
    mean, error = record.mean_and_error(100 * (a - b))
    return f"{mean:+.1f} ± {error:.1f} points"


print(f"teacher: {scores['teacher'].mean():.1%}, alone: {scores['alone'].mean():.1%}; {count} seeds. Against alone:")
for name in names[1:]:
    print(f"  {name:<18} {difference(scores[name], scores['alone'])}")
print(f"  [class] head alone of hard, untrained: {difference(heads['hard, untrained'], heads['alone'])}")
print(f"hard against hard, another ViT: {difference(scores['hard'], scores['hard, another ViT'])}")

# %% [markdown]
# Discs are the students' answers, squares are their [class] heads alone. Each is a mean over seeds with its standard error. The dotted
# line is the ResNet, orange marks the controls.
#
# **In the stored run** hard distillation gains +1.1 ± 0.2 points, and soft distillation +0.3 ± 0.4, which is not decided. The ViT as a
# teacher gains +1.0 ± 0.1. The two teachers of hard distillation differ by +0.1 ± 0.2 points: not decided.
#
# The paper finds (section 5.2) that convolutional networks are the better teachers. Our experiment does not show this, although the
# ResNet is clearly more accurate than the ViT. The paper has a million images, larger students, and about 250 times as many updates.
#
# Does a second token help by itself? With the untrained teacher the gain of the [class] head is not decided. The [distillation] head
# is at chance there, and ruins the mean of both. So nothing here shows that a second token helps by itself.
#
# ### The two heads

# %%
print(f"{'':<18} {'accuracy of':^21}  {'agrees with its teacher':^25}")
print(f"{'':<18} {'[class]':>10} {'[distill.]':>10}  {'[class]':>12} {'[distill.]':>12}")
for name in names[1:]:
    means = [
        np.mean([run[key] for run in results[name][:count]])
        for key in ("class_accuracy", "distillation_accuracy", "class_agrees", "distillation_agrees")
    ]
    print(f"{name:<18} {means[0]:>10.1%} {means[1]:>10.1%}  {means[2]:>12.1%} {means[3]:>12.1%}")

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for shift, name, marker in zip((-0.09, -0.03, 0.03, 0.09), names[1:], "osD^", strict=True):
    cosines = np.array([run["cosines"] for run in results[name][:count]])
    error = cosines.std(axis=0, ddof=1) / np.sqrt(count)
    places = shift + np.arange(cosines.shape[1])  # beside each other, not on top
    axes.errorbar(places, cosines.mean(axis=0), error, marker=marker, capsize=3, label=name)
axes.set(xticks=range(cosines.shape[1]), xlabel="blocks passed", ylabel="cosine of [class] and [distillation]")
axes.legend()
plt.show()

# %% [markdown]
# In the table, the [distillation] head agrees with the ResNet more often than the [class] head does. In the figure, the two tokens of a
# student with a trained teacher are far from parallel before the first block and nearly parallel after it. With the untrained teacher
# they stay nearly orthogonal. In the paper the cosine grows from 0.06 for the tokens themselves to 0.93 after the last block (section
# 4). We measure after the position embedding has been added.
#
# ## Where this goes wrong in practice
#
# - **A teacher in training mode.** With dropout or batch statistics, its answer to the same image changes from step to step.
# - **A teacher that learns.** Its parameters must stay out of the optimiser.
# - **The divergence the wrong way round.** $\mathrm{KL}(q\,\|\,p)$ is also 0 at $q = p$. But where $q_k$ is nearly 0 its term
#   $q_k \log(q_k/p_k)$ is nearly 0, too, however large $p_k$ is.
# - **$\tau^2$ forgotten.** Then another temperature also means another weight of the teacher's term.
# - **Images prepared differently.** The pixels must be normalised by the mean and standard deviation with which the teacher was
#   trained. The library refuses others.
# - **A comparison without controls.** A second token, longer training, softer labels: each might explain a gain.
#
# ## Exercises
#
# `hint("24.1")` gives up to three hints for an exercise, one per call.
#
# **24.1 (two lines).** How many more learned numbers does a student with a [distillation] token have than the same ViT without one? Its positions are learned.


# %%
def parameters_more(D, K):
    """D: width, K: classes -> a number"""
    ...  # your answer here


check("24.1", parameters_more)

# %% [markdown]
# **24.2 (ten minutes).** With soft distillation, the paper's loss is $(1 - \alpha)\,\mathrm{CE} + \alpha\,\tau^2\,\mathrm{KL}$. The
# published code divides the second term by $K$, the number of classes. Which $\alpha'$ makes the loss of the code equal to the paper's,
# up to a constant factor?


# %%
def alpha_of_code(alpha, K):
    """alpha: of the paper, 0 < alpha < 1; K: classes -> alpha' of the code"""
    ...  # your answer here


check("24.2", alpha_of_code)

# %% [markdown]
# **24.3 (twenty minutes).** Write the loss of hard distillation, both terms, and its gradients, in NumPy. The labels are mixed: every
# row of $y$ holds shares of classes that sum to 1.


# %%
def hard_distillation(z, d, t, y, alpha):
    """z, d, t: (B, K) logits; y: (B, K); alpha: number -> loss, dz (B, K), dd (B, K)"""
    ...  # your answer here


check("24.3", hard_distillation)

# %% [markdown]
# **24.4 (an hour).** A teacher can be asked for its order of preference alone. The student has to find the class that the teacher puts
# first. Among the remaining classes it has to find the teacher's second, and so on for $m$ places. This is the Plackett-Luce likelihood
# of an order. With $c_1, \dots, c_K$ the classes in the teacher's order, the first choice first,
#
# $$\mathcal{L} = -\frac1B \sum_{\text{images}} \sum_{i=1}^{m} \Bigl(d_{c_i} - \log\sum_{j=i}^{K} e^{d_{c_j}}\Bigr).$$
#
# With $m = 1$ it is hard distillation. Write $\mathcal{L}$ and its gradient. Logits may be large.


# %%
def order_distillation(d, t, m):
    """d, t: (B, K) logits, no two of t alike in a row; m: number of places -> loss, dd (B, K)"""
    ...  # your answer here


check("24.4", order_distillation)

# %% [markdown]
# Next: [28, speed](28_speed.ipynb).

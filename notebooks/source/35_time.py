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
# # 35 Time
#
# A clip is a sequence of frames. A Vision Transformer can read it like an image: cut it into pieces, make each piece a
# token, and let tokens attend to each other. **ViViT** ([Arnab et al. 2021](https://arxiv.org/abs/2103.15691)) and
# **TimeSformer** ([Bertasius et al. 2021](https://arxiv.org/abs/2102.05095)) do this in different ways. At the end you
# will be able to
#
# - say how much of a motion can be told from one frame, from frames without their order, and from frames in order,
# - cut a clip into tubelets, and start their kernel from that of an image model,
# - write joint, divided and factorised attention with one function and three ways to reshape,
# - count what each costs when the number of frames grows,
# - find the place where a video model begins to see motion.
#
# You need notebooks [03](03_patches.ipynb), [07](07_attention.ipynb) and [13](13_training.ipynb).
#
# **Budget:** 8 s of CPU time (fast mode 4 s).

# %%
import math
import time
from collections import Counter
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from experiments import record
from experiments import video as stored

from minivit import functional as F
from minivit.gradcheck import check_vjp
from minivit.lessons import accuracy, agree, check, fit, full_or_fast
from minivit.lessons.pictures import frames as pictures
from minivit.lineage.timesformer import TimeSformer, TimeSformerConfig
from minivit.lineage.vivit import inflated
from minivit.nn import patchify
from minivit.nn.tubelets import tubelets as their_tubelets
from minivit.tensor import Tensor, grad, no_grad

rng = np.random.default_rng(35)

# %% [markdown]
# The picture shows a clip of three frames with nine patches each. The orange token attends to itself and to
# the blue ones.

# %%
_ = pictures.who_sees_whom()

# %% [markdown]
# | symbol | meaning | shape | in the code |
# |---|---|---|---|
# | $B$ | images in a batch, here clips | number | `B` |
# | $J$ | frames of a clip | number | `J` |
# | $t$, $P$ | frames of a tubelet; side of a patch in pixels | numbers | `t`, `P` |
# | $G$ | slices of a clip, $J/t$ | number | `G` |
# | $N_p$ | patches, here of one frame | number | `Np` |
# | $C$ | channels of the image, here of one frame | number | `C` |
# | $D$, $D_h$ | width of the model; width of a head, $D/H$ | numbers | `D`, `Dh` |
# | $\mathbf{E}$ | patch embedding, here of tubelets | $(tP^2C, D)$ | `E` |
# | $\mathbf{q}, \mathbf{k}, \mathbf{v}$ | queries, keys, values, here of one head | $(B, J, N_p, D_h)$ each | `q`, `k`, `v` |
# | $S$, $A$ | attention scores; attention weights | see below | `S`, `A` |
# | $\mathrm{d}X$ | gradient of the loss with respect to $X$ | that of $X$ | `dq`, ... |
#
# ## What a frame cannot tell
#
# Our clips show one shape that moves left, right, up or down with constant speed. A shape that leaves on one side
# comes back on the other, and it starts anywhere. Which share of the directions can the best possible reader tell?
#
# **One frame: 1/4.** Every position is equally likely, whatever the direction. So a frame says nothing about it.
#
# **All frames, without their order: 1/2.** The shape visits a row or a column of positions, so the line of the motion
# is known. But play a clip backwards: it shows the same set of frames, it is as likely as the clip itself, and it has the
# opposite direction. A reader of the set gives both the same answer, so it is wrong for one of them.
#
# **Frames in order: 1.** Two frames are enough if the speed is less than half a picture.
#
# The best reader answers for each view the direction that most often produces it. We can count this for a small
# world: a shape on a grid of $n \times n$ places that moves one place from frame to frame.

# %%
steps = [(0, -1), (0, 1), (-1, 0), (1, 0)]  # row and column: left, right, up, down


def worlds_of(n, J):
    """All clips (J pairs of row and column) on n x n places, with their directions."""
    return [
        (tuple(((row + j * down) % n, (column + j * right) % n) for j in range(J)), way)
        for way, (down, right) in enumerate(steps)
        for row, column in product(range(n), range(n))
    ]


worlds = worlds_of(5, 3)


# %% tags=["yours"]
def ceiling(worlds, view):
    """Share of right answers of the best reader of view(clip).   worlds: pairs (clip, direction), equally likely."""
    counts = {}
    for clip, way in worlds:
        counts.setdefault(view(clip), Counter())[way] += 1
    return sum(max(ways.values()) for ways in counts.values()) / len(worlds)


# %%
views = {"one frame": lambda clip: clip[0], "set of frames": frozenset, "frames in order": lambda clip: clip}
shares = {name: ceiling(worlds, view) for name, view in views.items()}
print(shares)
agree("ceilings", list(shares.values()), [1 / 4, 1 / 2, 1])


def quarters(clip):
    """Which quarter of a picture of 4 x 4 places the shape is in, in each frame."""
    return tuple((row // 2, column // 2) for row, column in clip)


print("quarters of the picture, in order:", ceiling(worlds_of(4, 3), quarters))

# %% [markdown]
# The last line reads which quarter of the picture the shape is in. To the left or to the right, it goes from one half to
# the other and back. So a grid of $2 \times 2$ patches shows the direction only by what happens inside a patch. The
# models below have $4 \times 4$ patches.
#
# **A model that cannot know the order.** A simple baseline reads every frame with the same ViT and takes the mean of the
# results. TimeSformer's variant "space" does this. The mean does not change when frames are exchanged. So neither can
# expect more than 1/2, however long it learns. The same limit holds for every model on clips whose frames have been
# **shuffled**: this is our control.
#
# ## From a clip to tokens
#
# A **tubelet** is a block of $t$ frames and $P \times P$ pixels. Its $tP^2C$ numbers become a token by one matrix, as
# those of a patch do in notebook 03:
#
# $$\mathbf{x}_{g,p} = \mathrm{vec}(\text{pixels of tubelet } p \text{ in slice } g)\,\mathbf{E} + \mathbf{b}. \tag{1}$$
#
# Two reshapes and a transpose cut the clip. First split frames, rows and columns, then bring the axes that count
# tubelets to the front.

# %%
B, J, C, P, t, D = 2, 4, 3, 4, 2, 5
clips = rng.standard_normal((B, J, 8, 12, C))


# %% tags=["yours"]
def tubelets(clips, t, P):
    """(B, J, height, width, C) -> (B, G, Np, t P P C): pixels of a tubelet in the order frame, row, column, channel."""
    B, J, height, width, C = clips.shape
    split = clips.reshape(B, J // t, t, height // P, P, width // P, P, C)
    front = split.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return front.reshape(B, J // t, (height // P) * (width // P), t * P * P * C)


# %%
agree("tubelets", tubelets(clips, t, P), their_tubelets(Tensor(clips), (t, P, P)).data)
agree("t = 1: patches of the frames", tubelets(clips, 1, P)[:, 2], patchify(Tensor(clips[:, 2]), (P, P)).data)

# %% [markdown]
# **Backwards.** (1) is a matrix product, so $\mathrm{d}\mathbf{E}$ sums over all tubelets of all clips:
# $\mathrm{d}\mathbf{E} = \sum \mathrm{vec}(\text{pixels})^\top\,\mathrm{d}\mathbf{x}$. Cutting only moves numbers, and
# its pullback moves them back.


# %% tags=["yours"]
def embed(clips, E, t, P):
    """(1) without bias, and its pullback.   clips: (B, J, height, width, C), E: (t P P C, D) -> (B, G, Np, D)."""
    B, J, height, width, C = clips.shape
    pixels = tubelets(clips, t, P)

    def vjp(dx):
        dE = pixels.reshape(-1, len(E)).T @ dx.reshape(-1, E.shape[1])
        front = (dx @ E.T).reshape(B, J // t, height // P, width // P, t, P, P, C)
        return front.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(clips.shape), dE

    return pixels @ E, vjp


# %%
E = rng.standard_normal((t * P * P * C, D))
print(f"against differences, largest relative error: {check_vjp(embed, clips, E, t=t, P=P):.1e}")

# %% [markdown]
# **What a tubelet can see.** Write $\mathbf{E}$ as $t$ kernels $\mathbf{E}_0, \ldots, \mathbf{E}_{t-1}$, one for each
# of its frames. With $t = 1$ a token knows one moment. With $t = 2$ and $\mathbf{E}_1 = -\mathbf{E}_0$ it is a weighted
# sum of the changes from one frame to the next: 0 where nothing moves. So a kernel of two frames can see motion before
# any attention.
#
# **Starting from an image model.** A trained ViT has a kernel $\mathbf{K}$ for patches of one frame. ViViT's authors
# start from one of two choices:
#
# $$\text{central: } \mathbf{E}_{\lfloor t/2 \rfloor} = \mathbf{K}, \text{ all others } 0; \qquad \text{inflated: } \mathbf{E}_i = \mathbf{K}/t \text{ for all } i. \tag{2}$$
#
# If the clip stands still, all frames are equal, and both give the token of the image, because the kernels sum to
# $\mathbf{K}$. At the start neither kernel sees motion: one knows a single frame, the other the mean of $t$ frames.


# %% tags=["yours"]
def inflate(K, t, how):
    """K: (P P C, D) -> E: (t P P C, D).   how: "central" or "inflate"."""
    shares = np.eye(t)[t // 2] if how == "central" else np.full(t, 1 / t)
    return (shares[:, None, None] * K).reshape(-1, K.shape[1])


# %%
K = rng.standard_normal((P * P * C, D))
still = np.repeat(clips[:, :1], J, axis=1)
for how in ("central", "inflate"):
    E = inflate(K, 3, how)
    agree(how, E, inflated(K.reshape(P, P, C, D), 3, how).reshape(-1, D))
    tokens = embed(still, inflate(K, t, how), t, P)[0]
    agree("a clip that stands still", tokens[:, 1], embed(clips[:, :1], K, 1, P)[0][:, 0])
change = np.concatenate([-K, K])
agree("a kernel of changes sees nothing", embed(still, change, t, P)[0], np.zeros((B, G := J // t, 6, D)))
print(f"{G} slices; on the moving clip its largest entry is {np.abs(embed(clips, change, t, P)[0]).max():.1f}")

# %% [markdown]
# ## Who sees whom
#
# From here on a token is one patch of one frame. Attention works on the last two axes of its arrays: tokens and
# features. All axes before them are separate problems. So one function does for all three kinds: joint, in time, in
# space. Only the arrangement differs:
#
# | | arrangement | scores |
# |---|---|---|
# | joint | $(B, J N_p, D_h)$ | $(J N_p)^2$ |
# | in time | $(B, N_p, J, D_h)$: one problem for each place | $N_p J^2$ |
# | in space | $(B, J, N_p, D_h)$: one problem for each frame | $J N_p^2$ |
#
# Notebook 07 derived the function and its pullback.


# %% tags=["yours"]
def attention(q, k, v):
    """softmax(q k^T / sqrt(Dh)) v on the last two axes, and its pullback."""
    scale = 1 / math.sqrt(q.shape[-1])
    S = scale * q @ k.swapaxes(-1, -2)
    e = np.exp(S - S.max(axis=-1, keepdims=True))
    A = e / e.sum(axis=-1, keepdims=True)

    def vjp(dy):
        dA = dy @ v.swapaxes(-1, -2)
        dS = A * (dA - (A * dA).sum(axis=-1, keepdims=True))
        return scale * dS @ k, scale * dS.swapaxes(-1, -2) @ q, A.swapaxes(-1, -2) @ dy

    return A @ v, vjp


def joint(q, k, v):
    """q, k, v: (B, J, Np, Dh) -> the same shape."""
    B, J, Np, Dh = q.shape
    y, vjp = attention(*(x.reshape(B, J * Np, Dh) for x in (q, k, v)))
    return y.reshape(q.shape), lambda dy: tuple(d.reshape(q.shape) for d in vjp(dy.reshape(B, J * Np, Dh)))


def in_time(q, k, v):
    """q, k, v: (B, J, Np, Dh) -> the same shape."""
    y, vjp = attention(*(x.swapaxes(1, 2) for x in (q, k, v)))
    return y.swapaxes(1, 2), lambda dy: tuple(d.swapaxes(1, 2) for d in vjp(dy.swapaxes(1, 2)))


in_space = attention

# %% [markdown]
# **A second way to the same result.** Attention in time is joint attention in which each token may only see its own
# place. Attention in space is joint attention in which it may only see its own frame. With masks on the joint scores
# the library must give the same results.

# %%
B, J, Np, Dh = 2, 3, 4, 5
q, k, v, dy = rng.standard_normal((4, B, J, Np, Dh))
frame, place = np.divmod(np.arange(J * Np), Np)
same_place, same_frame = place[:, None] == place, frame[:, None] == frame
allowed = {joint: same_place | True, in_time: same_place, in_space: same_frame}
for function, mask in allowed.items():
    tensors = [Tensor(x.reshape(B, J * Np, Dh), requires_grad=True) for x in (q, k, v)]
    masked = F.attend(*tensors, heads=1, mask=mask)
    y, vjp = function(q, k, v)
    agree(function.__name__, y, masked.data.reshape(q.shape))
    for name, mine, theirs in zip("qkv", vjp(dy), grad(masked, tensors, dy.reshape(masked.shape)), strict=True):
        agree("d" + name, mine, theirs.reshape(q.shape))
print(f"against differences, largest relative error: {check_vjp(in_time, q, k, v):.1e}")
print("time, then space: every token reaches every other:", bool((same_frame.astype(int) @ same_place).all()))

# %% [markdown]
# The last line says that **divided** attention connects every pair of tokens. Attention in time carries token $(j', p')$, frame $j'$
# and place $p'$, to $(j, p')$. Attention in space carries it on to $(j, p)$.
#
# TimeSformer's block has both, and a [class] token, which takes no part in time. In space [class] enters the attention of
# every frame, and the mean of its $J$ results is added to it:
#
# $$\mathbf{x}' = \mathbf{x} + \mathrm{MSA}_\mathrm{time}(\mathrm{LN}(\mathbf{x}))\,\mathbf{W} + \mathbf{b}, \qquad
# \mathbf{x}'' = \mathbf{x}' + \mathrm{MSA}_\mathrm{space}(\mathrm{LN}(\mathbf{x}_\mathrm{class}; \mathbf{x}')), \qquad \text{then the MLP.} \tag{3}$$
#
# We take the LayerNorms, the attention layers and the MLP from the library and write the arrangement. Patches come in
# the order (place, frame): the frame counts fastest.

# %%
shape = {"image_size": 8, "patch_size": 4, "frames": 3, "channels": 9, "width": 8, "depth": 1, "heads": 2}
block = TimeSformer(TimeSformerConfig(**shape, mlp_width=12), seed=0, dtype="float64").eval().blocks[0]
x = rng.standard_normal((2, 1 + 4 * 3, 8))


# %% tags=["yours"]
def divided(block, x, J):
    """Equation 3.   x: (B, 1 + Np J, D) -> the same shape."""
    token, x = x[:, :1], x[:, 1:]
    B, tokens, D = x.shape
    Np = tokens // J
    y = block.temporal_attention(block.temporal_norm(Tensor(x.reshape(B * Np, J, D)))).data
    x = x + block.temporal_out(Tensor(y.reshape(B, tokens, D))).data
    frames = x.reshape(B, Np, J, D).swapaxes(1, 2)
    each = np.concatenate([np.repeat(token[:, None], J, axis=1), frames], axis=2).reshape(B * J, 1 + Np, D)
    y = block.attention(block.norm1(Tensor(each))).data.reshape(B, J, 1 + Np, D)
    x = x + y[:, :, 1:].swapaxes(1, 2).reshape(B, tokens, D)
    x = np.concatenate([token + y[:, :, 0].mean(axis=1, keepdims=True), x], axis=1)
    return x + block.mlp(block.norm2(Tensor(x))).data


# %%
agree("divided block", divided(block, x, 3), block(Tensor(x), frames=3).data)

# %% [markdown]
# **When does TimeSformer learn about order?** Attention in time does not know which frame comes first. If frames are exchanged,
# its results are exchanged in the same way. Only the table of times, which is added to the patches before the first
# block, tells frames apart. TimeSformer's table begins at zero. With it a clip and the same clip backwards have the same
# logits, so the model cannot tell left from right until the table has changed. With a table that is drawn at random
# the logits differ:

# %%
model = TimeSformer(TimeSformerConfig(**shape, mlp_width=12, num_classes=4), seed=0, dtype="float64").eval()
model.head.weight.data[...] = rng.standard_normal(model.head.weight.shape)
some = rng.standard_normal((5, 3, 8, 8, 3))
for table in (np.zeros(model.time_embedding.shape), rng.standard_normal(model.time_embedding.shape)):
    model.time_embedding.data[...] = table
    moved = np.abs(model(some).data - model(some[:, ::-1]).data).max()
    print(
        f"table of times {'drawn' if table.any() else 'zero'}: the logits of a clip and its reverse differ by {moved:.1e}"
    )

# %% [markdown]
# ## What it costs
#
# The scores of one head in one block, with the [class] tokens of the published models:
#
# $$\text{joint: } (1 + J N_p)^2, \qquad \text{divided: } N_p J^2 + J (1 + N_p)^2, \qquad
# \text{factorised: } G (1 + N_p)^2 + (1 + G)^2. \tag{4}$$
#
# The last one counts one block of the first model and one of the second. With twice the frames joint attention has four times the
# scores. Divided attention has a part that grows by four, too, but with one factor $N_p$ in place of two. The scores of factorised
# attention a little more than double.
#
# We measure one block of TimeSformer with 16 patches for each frame, forwards.
#
# **Predict first.** How many frames does it take until joint attention is slower than divided attention? By (4) it
# has more scores from two frames on.


# %% tags=["yours"]
def scores(J, Np):
    """Of one head: joint, divided, factorised with t = 1.   Equation 4."""
    return (1 + J * Np) ** 2, Np * J**2 + J * (1 + Np) ** 2, J * (1 + Np) ** 2 + (1 + J) ** 2


# %%
def median_time(attention, J, calls=5):
    """CPU seconds of a forward pass of one block on four clips; its MLP is narrow, so that attention counts."""
    config = TimeSformerConfig(
        image_size=16, patch_size=4, frames=J, channels=3 * J, width=48, depth=1, heads=4, mlp_width=48, num_classes=0,
        attention=attention,
    )  # fmt: skip
    model, data = TimeSformer(config).eval(), rng.standard_normal((4, J, 16, 16, 3), dtype=np.float32)
    taken = []
    with no_grad():
        for _ in range(calls + 1):
            start = time.process_time()
            model(data)
            taken.append(time.process_time() - start)
    return float(np.median(taken[1:]))


lengths = full_or_fast([2, 4, 8, 16, 32, 64], [2, 4])
times = {name: np.array([median_time(name, J) for J in lengths]) for name in ("joint", "divided")}
counts = np.array([scores(J, 16) for J in lengths]).T
print("frames   scores: joint   divided   factorised   time: joint    divided")
for i, J in enumerate(lengths):
    numbers = f"{counts[0, i]:15,d} {counts[1, i]:9,d} {counts[2, i]:12,d}"
    print(f"{J:6d} {numbers} {1e3 * times['joint'][i]:10.1f} ms {1e3 * times['divided'][i]:7.1f} ms")
print("last doubling of the frames, scores times", {n: round(c[-1] / c[-2], 1) for n, c in zip(
    ("joint", "divided", "factorised"), counts.tolist(), strict=True)}, "time times",
    {name: round(float(found[-1] / found[-2]), 1) for name, found in times.items()})  # fmt: skip

figure, axes = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
for i, name in enumerate(("joint", "divided", "factorised")):
    axes[0].plot(lengths, counts[i], "os^"[i] + "-", color=f"C{i}", label=name)
    if name in times:
        axes[1].plot(lengths, 1e3 * times[name], "os^"[i] + "-", color=f"C{i}", label=name)
for axis, label in zip(axes, ("scores of a head", "CPU time of a block in ms"), strict=True):
    axis.set(xscale="log", yscale="log", xlabel="frames $J$", ylabel=label)
    axis.set_xticks(lengths, [str(J) for J in lengths])
    axis.minorticks_off()
    axis.legend()
plt.show()

# %% [markdown]
# **In the stored run** joint attention is faster up to 8 frames. With 16 it takes 4.3 ms and divided attention 2.5 ms, with 64 it is
# 38.4 ms against 16.7 ms. With the last doubling of the frames the scores grow by factors of 4.0, 3.3 and 2.2.
#
# The crossing comes later than (4) says. (4) counts scores only: it leaves out the second attention layer's matrices of divided
# attention, $\mathbf{W}$, and the larger number of calls of NumPy.

# %% [markdown]
# ## Experiment 1: where motion becomes visible
#
# Clips of four frames with 16 × 16 pixels. From frame to frame the shape moves by 0.12 to 0.3 of a side. ViViT has
# 4 × 4 patches in a frame, width 32 and two blocks in all: joint, factorised, or "frames", which takes the mean over
# slices. Each has tubelets of **two** frames or of **one**. Two parts could see motion, the kernel of the tubelets and attention
# between slices. The six models have both, one of them, or none.
#
# The task is the direction of **motion**. Joint attention with tubelets of two frames also gets the two other tasks: the direction
# with **shuffled** frames, which is the control, and the **colour** of the shape, which one frame shows. Each has four classes,
# so chance is 25 %. First a small piece live.

# %%
counts = full_or_fast((4000, 500), (200, 50))
train, test = (stored.clips("motion", count, seed, 4) for seed, count in enumerate(counts))
model = stored.model_of("vivit joint, 2", 4, seed=0)
history = fit(model, train, full_or_fast(300, 4), batch_size=32, lr=stored.RATE, seed=0)
print(f"loss {history[0].loss:.2f} -> {history[-1].loss:.2f}; accuracy on new clips {accuracy(model, test):.1%}")

# %% [markdown]
# **Predict first.** Which of the six models tell more than half of the directions? What remains with shuffled frames?

# %%
shipped = record.read("video")
found, config = shipped["results"], shipped["config"]
print(shipped["command"])
print(f"{shipped['data']}, batches of {config['batch_size']} clips, {stored.SEEDS} seeds; updates: {config['steps']}")


def compare(system):
    """Draw and print the accuracy of all models of a system."""
    names = [name for name in config["models"] if name.startswith(system.lower())]
    tasks = [[task for task in stored.TASKS if len(found.get(f"{name}: {task}", [])) == stored.SEEDS] for name in names]
    rows = [
        {task: record.mean_and_error(100 * np.array(found[f"{name}: {task}"])) for task in known}
        for name, known in zip(names, tasks, strict=True)
    ]
    _, axis = plt.subplots(figsize=(8.5, 1.1 + 0.5 * len(names)), layout="constrained")
    for i, task in enumerate(stored.TASKS):
        places = [j for j, row in enumerate(rows) if task in row]
        if not places:
            continue
        mean, error = np.transpose([rows[j][task] for j in places])
        axis.errorbar(mean, np.array(places) + (0, 0.22, -0.22)[i], xerr=error, fmt="os^"[i], capsize=3, label=task)
    for share in (25, 50):
        axis.axvline(share, color="grey", linewidth=1, linestyle=":")
    axis.set_yticks(range(len(names)), [name.removeprefix(system.lower() + " ") for name in names])
    axis.set(xlabel="accuracy on new clips in % (dotted: 1/4 and 1/2)", xlim=(15, 103), title=system)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()
    for name, row in zip(names, rows, strict=True):
        print(
            f"{name:<26}", "   ".join(f"{task}: {mean:5.1f} +- {error:4.1f} %" for task, (mean, error) in row.items())
        )


compare("ViViT")

# %% [markdown]
# **In the stored run** the three models with tubelets of two frames tell 91.3 ± 1.2, 81.2 ± 6.5 and 90.2 ± 1.3 % of the
# directions, with one frame 25.4 ± 0.6, 25.4 ± 0.6 and 25.5 ± 0.6 %: chance. With shuffled frames the joint model stays at 27.7 ± 1.5 %,
# and it tells every colour.
#
# The model "frames" takes a mean and cannot know the order of its slices. It tells the direction nonetheless, because each
# slice has two frames. So here the kernel of the tubelets sees the motion, and attention between slices is not needed for it. With one frame
# the joint and the factorised model could learn the direction by attention; 400 updates were not enough.
#
# ## Experiment 2: attention alone
#
# TimeSformer's patches have one frame, so only attention can compare frames. Clips have three frames here. Divided
# attention begins with a table of times that is drawn, with standard deviation 0.3, or with a table of zeros, as published.
# The published model starts from a ViT and learns for much longer. "Space" reads each frame alone and takes the mean.
# Only divided attention with the drawn table also gets the shuffled frames.
#
# **Predict first.** With a table of zeros the order counts only after training has changed the table. Are 700 updates
# enough for this?

# %%
compare("TimeSformer")

# %% [markdown]
# **In the stored run** divided attention tells 91.6 ± 0.7 % of the directions with the drawn table, and 48.2 ± 0.4 % with the
# table of zeros. With shuffled frames the drawn one tells 45.9 ± 0.6 %. Joint attention has 25.0 ± 0.6 % and "space" 26.0 ± 0.8 %.
#
# With a table of zeros the accuracy stays below 1/2, the ceiling of frames without their order. A model that finds the line of the
# motion and not its direction would do so. With a drawn table the order is there from the first update. Joint attention
# could learn the direction, too; 700 updates were not enough.

# %% [markdown]
# ## Where this goes wrong in practice
#
# - **Frames of different clips mix.** A batch of $B$ clips is read as $B J$ images. A reshape to $(J, B, \ldots)$ in place of
#   $(B, J, \ldots)$ runs without an error. Test: exchange two clips, and the results must be exchanged.
# - **Attention in time across places.** Without the right transpose, a "sequence of frames" is a row of patches. Test: the
#   mask above.
# - **A mirror that keeps the label.** A mirrored clip that moved left moves right.
# - **Chance is not always $1/K$.** A reader without order gets half of the four directions right. Compare with the ceiling.
#
# ## Exercises
#
# `hint("35.1")` gives up to three hints, one per call; import it from `minivit.lessons`.
#
# **35.1 (ten minutes).** From how many frames on does joint attention have at least `factor` times the scores of divided attention?
# `Np` is the number of patches of a frame, and `factor` is smaller than `Np`. Use (4).


# %%
def frames_needed(Np, factor):
    """Np: such as 196, factor: such as 5.0 -> the smallest whole number J"""
    ...  # your answer here


check("35.1", frames_needed)

# %% [markdown]
# **35.2 (fifteen minutes).** Put a clip together from its tubelets, as a model that generates clips has to.


# %%
def clip_of(tokens, grid, t, P):
    """tokens: (B, G, Np, t P P C), grid: rows and columns of patches -> (B, J, height, width, C)"""
    ...  # your answer here


check("35.2", clip_of)

# %% [markdown]
# **35.3 (ten minutes).** Each token gets the vector of its place plus the vector of its time. Write both tables of sums: for tokens
# that go frame after frame, as ViViT's do, and for tokens that go place after place with the frame fastest, as
# TimeSformer's do.


# %%
def tables(places, times):
    """places: (Np, D), times: (J, D) -> by_frame (J Np, D), by_place (Np J, D)"""
    ...  # your answer here


check("35.3", tables)

# %% [markdown]
# **35.4 (five minutes).** Clips are changed in training: mirrored (left and right exchanged), turned upside down (up and down
# exchanged), or played backwards, or several of these. Return the new labels. The labels are 0 left, 1 right, 2 up, 3 down.


# %%
def labels_after(labels, mirrored, upside_down, backwards):
    """labels: (B,) whole numbers, the rest True or False -> (B,)"""
    ...  # your answer here


check("35.4", labels_after)

"""Classes, arrays changed in place on own copies, loops over pixels and images, Python's own random numbers."""

import math
import random

import numpy as np
from given import vit, vit_loss_and_gradients


class Adam:
    """The optimiser as an object. Its state is written out as flat names."""

    def __init__(self, params, hyper, decay, state=None):
        self.p = {n: a.copy(order="F") for n, a in params.items()}
        self.b1, self.b2 = hyper["betas"]
        self.eps, self.wd, self.decay = hyper["eps"], hyper["weight_decay"], frozenset(decay)
        self.m = {n: np.zeros_like(a) for n, a in self.p.items()}
        self.v = {n: np.zeros_like(a) for n, a in self.p.items()}
        self.c1 = self.c2 = 1.0  # powers of the betas, as running products
        if state is not None:
            self.c1, self.c2 = state["powers"]
            for n in self.p:
                self.m[n] = state["m/" + n].copy()
                self.v[n] = state["v/" + n].copy()

    def step(self, grads, lr):
        self.c1 *= self.b1
        self.c2 *= self.b2
        root = math.sqrt(1 - self.c2)
        for n, p in self.p.items():
            m, v = self.m[n], self.v[n]
            m += (1 - self.b1) * (grads[n] - m)
            v *= self.b2
            v += (1 - self.b2) * np.square(grads[n])
            if n in self.decay:
                p *= 1 - lr * self.wd
            p -= lr * root / (1 - self.c1) * m / (np.sqrt(v) + self.eps * root)

    def state(self):
        moments = {"m/" + n: a for n, a in self.m.items()}
        moments.update({"v/" + n: a for n, a in self.v.items()})
        return {"powers": (self.c1, self.c2), **moments}


def adamw(params, grads, lrs, hyper, decay, state=None):
    adam = Adam(params, hyper, decay, state)
    for i in range(len(grads)):
        adam.step(grads[i], lrs[i])
    return adam.p, adam.state()


def decay_names(shapes):
    found = []
    for name in shapes:
        *_, last = name.split(".")
        if last == "weight":
            found.append(name)
    return found


def clip_by_global_norm(grads, max_norm):
    total = 0.0
    for g in grads.values():
        total += float(np.vdot(g, g))
    norm = np.sqrt(total)
    if norm >= max_norm and norm > 0:
        grads = {n: g / (norm / max_norm) for n, g in grads.items()}
    return grads, norm


class Schedule:
    def __init__(self, kind, base, total, warmup, final):
        self.shape = {"cosine": lambda x: (1 + math.cos(math.pi * x)) / 2, "linear": lambda x: 1 - x}[kind]
        self.base, self.total, self.warmup, self.final = base, total, warmup, final

    def __call__(self, step):
        if step < self.warmup:
            return np.float64(self.base) * (step / self.warmup)
        x = (
            1.0
            if step >= self.total and step > self.warmup
            else (step - self.warmup) / max(1, self.total - self.warmup)
        )
        return np.float64(self.final + (self.base - self.final) * self.shape(x))


def learning_rate(step, kind, base_lr, total_steps, warmup_steps, final_lr):
    return Schedule(kind, base_lr, total_steps, warmup_steps, final_lr)(step)


def batch_indices(n, batch_size, seed, step):
    epoch = 0
    while step >= n // batch_size:
        step -= n // batch_size
        epoch += 1
    order = list(range(n))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return np.array(order, dtype=np.int32)[step * batch_size :][:batch_size]


def channel_statistics(images):
    count = images[..., 0].size
    sums = images.sum(axis=(0, 1, 2), dtype=np.int64)
    squares = (images.astype(np.int64) ** 2).sum(axis=(0, 1, 2))
    variance = (count * squares - sums * sums) / count**2
    return sums / count / 255, np.sqrt(variance) / 255


def normalize(images, mean, std):
    out = images.astype(float)
    out /= 255
    for c in range(len(mean)):
        out[..., c] -= mean[c]
        out[..., c] /= std[c]
    return np.asfortranarray(out)


def augment(images, padding, seed):
    draw = random.Random(seed)
    out = np.zeros_like(images)
    height, width = images.shape[1:3]
    for source, target in zip(images, out):
        down, right = (draw.randint(-padding, padding) for _ in range(2))
        if draw.random() < 0.5:
            source = source[:, ::-1]
        for i in range(max(0, down), min(height, height + down)):
            for j in range(max(0, right), min(width, width + right)):
                target[i, j] = source[i - down, j - right]
    return out


def evaluate(params, config, images, labels, batch_size):
    loss, right = [], []
    for start in range(0, len(images), batch_size):
        logits = vit(params, config, images[start : start + batch_size])
        for row, label in zip(logits, labels[start:]):
            loss.append(np.logaddexp.reduce(row) - row[label])
            right.append(max(range(len(row)), key=row.__getitem__) == label)
    return {"loss": math.fsum(loss) / len(loss), "accuracy": sum(right) / len(right)}


def train(params, config, recipe, images, labels, until, state=None):
    start, losses, old = 0, [], None
    if state is not None:
        start, losses, old, params = state["step"], state["losses"][:], state["adam"], state["params"]
    adam = Adam(params, recipe, decay_names({n: a.shape for n, a in params.items()}), old)
    rate = Schedule(*(recipe[key] for key in ("kind", "base_lr", "total_steps", "warmup_steps", "final_lr")))
    for step in range(start, until):
        rows = batch_indices(len(images), recipe["batch_size"], recipe["seed"], step)
        loss, grads = vit_loss_and_gradients(adam.p, config, images[rows], labels[rows])
        losses.append(np.array(loss))
        if recipe["clip_norm"]:
            grads, _ = clip_by_global_norm(grads, recipe["clip_norm"])
        adam.step(grads, rate(step))
    return {"step": max(start, until), "losses": losses, "params": adam.p, "adam": adam.state(), "recipe": None}

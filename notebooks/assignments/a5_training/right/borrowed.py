"""Objects and generators, threads, log_softmax of A2; in place on own copies; tuples and nested states."""

import copy
import math
import random
from concurrent.futures import ThreadPoolExecutor

import given
import numpy as np


class Tagged(np.ndarray):
    """A subclass that results may be of."""


class Slot:
    def __init__(self, value, kept=None):
        self.value = np.array(value, dtype=np.float64)
        self.m, self.v = (
            (np.zeros_like(self.value), np.zeros_like(self.value))
            if kept is None
            else (np.array(k, dtype=np.float64) for k in kept)
        )

    def update(self, g, lr, hyper, t, decays):
        b1, b2 = hyper["betas"]
        self.m *= b1
        self.m += (1.0 - b1) * g
        self.v *= b2
        self.v += (1.0 - b2) * np.square(g)
        root = np.sqrt(self.v / -math.expm1(t * math.log(b2)) if b2 else self.v)
        root += hyper["eps"]
        direction = self.m / (1.0 - math.pow(b1, t)) / root
        if decays:
            self.value *= 1.0 - lr * hyper["weight_decay"]
        self.value -= lr * direction


def adamw(params, grads, lrs, hyper, decay, state=None):
    t = 0 if state is None else state["clock"]["t"]
    slots = {n: Slot(p, None if state is None else state["slots"][n]) for n, p in params.items()}
    for tree, lr in zip(grads, lrs):
        t = t + 1
        for n, slot in slots.items():
            slot.update(tree[n], lr, hyper, t, n in decay)
    return {n: s.value.view(Tagged) for n, s in slots.items()}, {
        "clock": {"t": t},
        "slots": {n: (s.m, s.v) for n, s in slots.items()},
    }


def decay_names(shapes):
    return [name for name in sorted(shapes) if name.split(".")[-1] == "weight"]


def clip_by_global_norm(grads, max_norm):
    total = math.sqrt(
        math.fsum(float(x) * float(x) for g in grads.values() for x in np.nditer(g, flags=["zerosize_ok"]))
    )
    if total >= max_norm and total > 0:
        return {n: np.transpose(np.transpose(g) * (max_norm / total)) for n, g in grads.items()}, total
    return grads, total


def learning_rate(step, kind, base_lr, total_steps, warmup_steps, final_lr):
    def shape(x):
        return {"cosine": lambda: math.cos(x * math.pi / 2) ** 2, "linear": lambda: 1.0 - x}[kind]()

    span = total_steps - warmup_steps
    progress = sorted((0.0, (step - warmup_steps) / (span if span > 1 else 1), 1.0))[1]
    value = np.float64(final_lr + (base_lr - final_lr) * shape(progress))
    return value * (step / warmup_steps) if step < warmup_steps else value


def _epochs(n, batch_size, seed, first):
    epoch = first
    while True:
        order = list(range(n))
        random.Random(f"epoch {epoch} of seed {seed}").shuffle(order)
        yield [order[i : i + batch_size] for i in range(0, n - batch_size + 1, batch_size)]
        epoch += 1


def batch_indices(n, batch_size, seed, step):
    per = n // batch_size
    return np.array(next(_epochs(n, batch_size, seed, step // per))[step % per], dtype=np.int64)


def channel_statistics(images):
    means, stds = [], []
    for c in range(images.shape[-1]):
        x = images[..., c].astype(np.longdouble) / 255
        mean = x.sum() / x.size
        means.append(float(mean))
        stds.append(float(np.sqrt(((x - mean) ** 2).sum() / x.size)))
    return [np.array(means), np.array(stds)]


def normalize(images, mean, std):
    out = images.astype(np.float64)
    out -= 255 * mean
    out /= 255 * std
    return out


def augment(images, padding, seed):
    n, h, w, c = images.shape
    dice = random.Random(seed)

    def one(job):
        image, top, left, flip = job
        board = np.zeros((h + 2 * padding, w + 2 * padding, c), dtype=np.uint8)
        board[padding : padding + h, padding : padding + w] = image
        if flip:
            board = board[:, ::-1]
        return board[top : top + h, left : left + w]

    jobs = [(i, dice.randint(0, 2 * padding), dice.randint(0, 2 * padding), dice.choice([False, True])) for i in images]
    with ThreadPoolExecutor(2) as pool:
        return np.array(list(pool.map(one, jobs)), dtype=np.uint8).reshape(n, h, w, c)


def evaluate(params, config, images, labels, batch_size):
    losses, hits = [], []
    for i in range(0, len(labels), batch_size):
        logits = given.vit(params, config, images[i : i + batch_size])
        logs = given.log_softmax(logits)
        for row, score, label in zip(logs, logits, labels[i : i + batch_size]):
            losses.append(-float(row[label]))
            hits.append(int(np.argmax(score)) == int(label))
    return {"loss": math.fsum(losses) / len(losses), "accuracy": sum(hits) / len(hits)}


class Run:
    def __init__(self, params, config, recipe):
        self.config, self.recipe = config, recipe
        self.step, self.losses, self.memory = 0, [], None
        self.params = None if params is None else copy.deepcopy(params)

    def load(self, state):
        state = copy.deepcopy(state)
        self.step, self.params, self.memory = state["step"], state["params"], state["rest"]["memory"]
        self.losses = list(state["losses"])
        return self

    def save(self):
        return {
            "rest": {"memory": self.memory},
            "losses": tuple(self.losses),
            "params": dict(self.params),
            "step": self.step,
        }

    def advance(self, images, labels):
        r = self.recipe
        at = batch_indices(len(labels), r["batch_size"], r["seed"], self.step)
        loss, grads = given.vit_loss_and_gradients(self.params, self.config, images[at], labels[at])
        self.losses.append(loss)
        if r["clip_norm"] is not None:
            grads = clip_by_global_norm(grads, r["clip_norm"])[0]
        lr = learning_rate(self.step, r["kind"], r["base_lr"], r["total_steps"], r["warmup_steps"], r["final_lr"])
        names = decay_names({n: np.shape(p) for n, p in self.params.items()})
        self.params, self.memory = adamw(self.params, [grads], [lr], r, names, self.memory)
        self.step += 1


def train(params, config, recipe, images, labels, until, state=None):
    run = Run(params, config, recipe)
    if state is not None:
        run.load(state)
    for _ in range(run.step, until):
        run.advance(images, labels)
    return run.save()

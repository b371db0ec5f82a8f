"""The reference: the adapters of A5 by minivit's own functions."""

import functools

import numpy as np

from minivit import functional as F
from minivit.data.augment import random_crop, random_flip
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW, schedules
from minivit.optim import clip_by_global_norm as clip_list
from minivit.optim.optimizers import is_kernel
from minivit.tensor import Tensor, grad, no_grad


def adamw(params, grads, lrs, hyper, decay, state=None):
    tensors = {name: Tensor(p.copy(), requires_grad=True) for name, p in params.items()}
    optimizer = AdamW(tensors.items(), decay=lambda name, _: name in decay, **_hyper(hyper))
    if state is not None:
        optimizer.load_state_dict(state)
    for g, lr in zip(grads, lrs, strict=True):
        optimizer.lr = lr
        optimizer.step([g[name] for name in tensors])
    return {name: tensor.data for name, tensor in tensors.items()}, optimizer.state_dict()


def _hyper(values):
    return {"betas": tuple(values["betas"]), "eps": values["eps"], "weight_decay": values["weight_decay"]}


def decay_names(shapes):
    return [name for name, shape in shapes.items() if is_kernel(name, Tensor(np.zeros(shape)))]


def clip_by_global_norm(grads, max_norm):
    clipped, norm = clip_list([np.asarray(g) for g in grads.values()], max_norm)
    return dict(zip(grads, clipped, strict=True)), norm


def learning_rate(step, kind, base_lr, total_steps, warmup_steps, final_lr):
    make = {"cosine": schedules.warmup_cosine, "linear": schedules.warmup_linear}[kind]
    return make(base_lr, total_steps, warmup_steps, final_lr)(step)


def batch_indices(n, batch_size, seed, step):
    epoch, place = divmod(step, n // batch_size)
    return np.random.default_rng((seed, epoch)).permutation(n)[place * batch_size : (place + 1) * batch_size]


def channel_statistics(images):
    pixels = images.astype("float64") / 255
    return pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))


def normalize(images, mean, std):
    return (images.astype("float64") / 255 - mean) / std


def augment(images, padding, seed):
    rng = np.random.default_rng(seed)
    return random_crop(random_flip(images, rng), padding, rng)


@functools.lru_cache
def _empty(config):
    return ViT(config, seed=None, dtype="float64")


def _model(params, config):
    model = _empty(ViTConfig(**config))
    model.load_state_dict(params)
    return model


def evaluate(params, config, images, labels, batch_size):
    model, loss, right = _model(params, config), 0.0, 0
    with no_grad():
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            logits = model(images[part])
            loss += float(F.cross_entropy(logits, labels[part]).data) * len(labels[part])
            right += int((logits.data.argmax(axis=1) == labels[part]).sum())
    return {"loss": loss / len(images), "accuracy": right / len(images)}


def train(params, config, recipe, images, labels, until, state=None):
    step, losses = (0, []) if state is None else (state["step"], list(state["losses"]))
    model = _model(params if state is None else state["params"], config)
    names, tensors = zip(*model.named_parameters(), strict=True)
    optimizer = AdamW(model.named_parameters(), **_hyper(recipe))
    if state is not None:
        optimizer.load_state_dict(state["optimizer"])
    schedule = [recipe[key] for key in ("kind", "base_lr", "total_steps", "warmup_steps", "final_lr")]
    while step < until:
        pick = batch_indices(len(images), recipe["batch_size"], recipe["seed"], step)
        loss = F.cross_entropy(model(images[pick]), labels[pick])
        grads = grad(loss, tensors)
        if recipe["clip_norm"] is not None:
            grads, _ = clip_list(grads, recipe["clip_norm"])
        optimizer.lr = learning_rate(step, *schedule)
        optimizer.step(grads)
        losses.append(float(loss.data))
        step += 1
    now = {name: tensor.data.copy() for name, tensor in zip(names, tensors, strict=True)}
    return {"step": step, "params": now, "losses": losses, "optimizer": optimizer.state_dict()}

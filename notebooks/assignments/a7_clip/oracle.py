"""The reference: both losses written with minivit's Tensors, their gradients by its backward pass."""

import numpy as np

from minivit import Tensor, grad
from minivit import functional as F


def _unit(x):
    return x / ((x * x).sum(axis=-1, keepdims=True)) ** 0.5


def _leaves(*values):
    return [Tensor(np.array(value, float), requires_grad=True) for value in values]


def _answer(loss, leaves):
    gradients = grad(loss, leaves)
    arrays = [np.array(g.data if isinstance(g, Tensor) else g) for g in gradients]
    return (float(loss.data), *(float(a) if a.ndim == 0 else a for a in arrays))


def clip_loss(image, text, log_scale):
    i, t, s = leaves = _leaves(image, text, log_scale)
    logits = F.exp(s) * (_unit(i) @ _unit(t).transpose((1, 0)))
    labels = np.arange(len(image))
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.transpose((1, 0)), labels)) * 0.5
    return _answer(loss, leaves)


def siglip_loss(image, text, log_scale, bias):
    i, t, s, b = leaves = _leaves(image, text, log_scale, bias)
    logits = F.exp(s) * (_unit(i) @ _unit(t).transpose((1, 0))) + b
    return _answer(F.sigmoid_cross_entropy(logits, np.eye(len(image))), leaves)


def zero_shot(image, class_texts):
    classes = [_unit(np.mean([_unit(prompt) for prompt in prompts], axis=0)) for prompts in class_texts]
    return np.array([np.argmax([row @ c for c in classes]) for row in _unit(image)])

"""The reference of A2: minivit's own functions, gradients by its autodiff. Students never have it."""

import numpy as np

from minivit import functional as F
from minivit.models.posemb import sincos_2d
from minivit.tensor import Tensor, grad


def _leaves(*arrays):
    return [Tensor(np.asarray(a, np.float64), requires_grad=True) for a in arrays]


def _cut_by_windows(x, patch):
    """By slices of single pixels of all patches: other steps than a reshape and a transpose."""
    batch, channels = len(x), x.shape[-1]
    pixels = [x[:, i :: patch[0], j :: patch[1]] for i in range(patch[0]) for j in range(patch[1])]
    pixels = [p.reshape(batch, -1, channels) for p in pixels]
    return np.concatenate(pixels, axis=-1)


def patchify(images, patch):
    return _cut_by_windows(images, patch)


def unpatchify(patches, patch, image_size):
    height, width = image_size
    batch, _, features = patches.shape
    channels = features // (patch[0] * patch[1])
    places = np.arange(height * width * channels).reshape(1, height, width, channels)
    images = np.empty((batch, height * width * channels))
    images[:, _cut_by_windows(places, patch).reshape(-1)] = patches.reshape(batch, -1)
    return images.reshape(batch, height, width, channels)


def _embedded(patches, weight, bias, class_token, positions):
    batch, count, features = patches.shape
    # each patch as an image of 1 x P pixels, and the published code's strided convolution over it
    strips = Tensor(patches.reshape(batch * count, 1, features, 1))
    kernel = F.reshape(weight, (1, features, 1, weight.shape[-1]))
    tokens = F.conv2d(strips, kernel, stride=features, padding="valid")
    tokens = F.reshape(tokens, (batch, count, weight.shape[-1])) + bias
    first = F.broadcast_to(class_token, (batch, 1, weight.shape[-1]))
    return F.concat(first, tokens, axis=1) + positions


def embed(patches, weight, bias, class_token, positions):
    return _embedded(patches, *map(Tensor, (weight, bias, class_token, positions))).data


def embed_backward(patches, weight, bias, class_token, positions, g):
    leaves = _leaves(weight, bias, class_token, positions)
    names = ("weight", "bias", "class_token", "positions")
    return dict(zip(names, grad(_embedded(patches, *leaves), leaves, g), strict=True))


def sincos_positions(grid, width):
    return sincos_2d(grid, width)


def layer_norm(x, scale, bias, eps):
    return F.layer_norm(Tensor(x), Tensor(scale), Tensor(bias), eps).data


def layer_norm_backward(x, scale, bias, eps, g):
    leaves = _leaves(x, scale, bias)
    return tuple(grad(F.layer_norm(*leaves, eps), leaves, g))


def softmax(x):
    return F.softmax(Tensor(x)).data


def log_softmax(x):
    return F.log_softmax(Tensor(x)).data


def softmax_backward(x, g):
    leaves = _leaves(x)
    return grad(F.softmax(*leaves), leaves, g)[0]


def log_softmax_backward(x, g):
    leaves = _leaves(x)
    return grad(F.log_softmax(*leaves), leaves, g)[0]


def cross_entropy(logits, labels, label_smoothing):
    leaves = _leaves(logits)
    loss = F.cross_entropy(*leaves, labels, label_smoothing)
    return float(loss.data), grad(loss, leaves)[0]


def sigmoid_cross_entropy(logits, labels):
    leaves = _leaves(logits)
    loss = F.sigmoid_cross_entropy(*leaves, labels)
    return float(loss.data), grad(loss, leaves)[0]

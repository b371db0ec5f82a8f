"""The reference of A4: the adapters made of minivit's own layers, models and engine, gradients by its autodiff.

Gradients stand in the order in which the backward pass makes them, from the head to the patches: so what a check
names first is nearest to the loss.
"""

import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.models import ViT, ViTConfig
from minivit.models.cost import multiply_adds
from minivit.nn import MLP, EncoderBlock, MultiHeadAttention
from minivit.tensor import Tensor, grad


def gelu(x, form):
    return ops.gelu(x, form)[0]


def gelu_backward(x, form, g):
    return ops.gelu(x, form)[1](g)[0]


def mlp(x, params, form):
    return _mlp(params, form)(Tensor(x)).data


def mlp_backward(x, params, form, g):
    return _backward(_mlp(params, form), x, g)


def block(x, params, config):
    return _block(params, config)(Tensor(x)).data


def block_backward(x, params, config, g):
    return _backward(_block(params, config), x, g)


def vit(params, config, images):
    return _vit(params, config)(images).data


def vit_loss_and_gradients(params, config, images, labels):
    model = _vit(params, config)
    loss = F.cross_entropy(model(images), labels)
    names, tensors = zip(*reversed(model.named_parameters()), strict=True)
    return loss.item(), dict(zip(names, grad(loss, tensors), strict=True))


def init_params(config, seed):
    return ViT(ViTConfig(**config), seed, "float64").state_dict()


def count_parameters(config):
    return ViT(ViTConfig(**config), seed=None).num_parameters()


def count_multiply_adds(config):
    return multiply_adds(ViTConfig(**config))


def dropout(x, rate, seed, training):
    return ops.dropout(x, rate, np.random.default_rng(seed))[0] if training and rate else x


def drop_path(x, rate, seed, training):
    return ops.drop_path(x, rate, np.random.default_rng(seed))[0] if training and rate else x


def _mlp(params, form):
    return _loaded(MLP(*params["hidden.weight"].shape, None, "float64", gelu=form), params)


def _block(params, config):
    width, heads = config["width"], config["heads"]
    attention = MultiHeadAttention(width, heads, None, "float64")
    branch = MLP(width, params["mlp.hidden.bias"].size, None, "float64", gelu=config["gelu"])
    return _loaded(EncoderBlock(attention, branch, width, "float64", norm_eps=config["norm_eps"]), params)


def _vit(params, config):
    return _loaded(ViT(ViTConfig(**config), None, "float64"), params)


def _loaded(module, params):
    module.load_state_dict(params)
    return module


def _backward(module, x, g):
    """(dx, {name: gradient}) of a module that gives a result of the shape of x."""
    x = Tensor(x, requires_grad=True)
    names, tensors = zip(*reversed(module.named_parameters()), strict=True)
    dx, *grads = grad(module(x), [x, *tensors], g)
    return dx, dict(zip(names, grads, strict=True))

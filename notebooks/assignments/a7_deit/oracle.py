"""The reference: minivit's ViT with a distillation token, and the losses in its Tensors."""

import numpy as np

from minivit import Tensor, grad
from minivit import functional as F
from minivit.models import ViT, ViTConfig


def _answer(loss, leaves):
    return (float(loss.data), *(np.array(g) for g in grad(loss, leaves)))


def _leaves(*arrays):
    return [Tensor(array.copy(), requires_grad=True) for array in arrays]


def hard_loss(class_logits, distil_logits, labels, teacher_logits):
    leaves = _leaves(class_logits, distil_logits)
    says = np.array([int(np.argmax(row)) for row in teacher_logits])
    return _answer((F.cross_entropy(leaves[0], labels) + F.cross_entropy(leaves[1], says)) * 0.5, leaves)


def soft_loss(class_logits, distil_logits, labels, teacher_logits, alpha, tau):
    leaves = _leaves(class_logits, distil_logits)
    taught = F.log_softmax(Tensor(teacher_logits / tau))
    learnt = F.log_softmax(leaves[1] * (1 / tau))
    divergence = (F.exp(taught) * (taught - learnt)).sum(axis=-1).mean()
    loss = F.cross_entropy(leaves[0], labels) * (1 - alpha) + divergence * (alpha * tau * tau)
    return _answer(loss, leaves)


def vit_distilled(params, config, images, training):
    names = ("width", "depth", "heads", "mlp_width", "gelu", "norm_eps", "channels", "num_classes")
    sizes = {name: tuple(config[name]) for name in ("image_size", "patch_size")}
    shape = ViTConfig(**{name: config[name] for name in names}, **sizes, distillation_token=True)
    model = ViT(shape, None, "float64")
    model.load_state_dict({name: value.copy() for name, value in params.items()})
    model.eval()
    x = model.encode(model.embed(Tensor(images)))
    both = model.head(x[:, 0]), model.distillation_head(x[:, 1])
    return tuple(np.array(y.data) for y in both) if training else np.array(model(images).data)

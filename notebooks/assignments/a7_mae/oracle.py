"""The reference: minivit's ViT on selected tokens, and the loss in its Tensors."""

import numpy as np

from minivit import Tensor, grad
from minivit import functional as F
from minivit.models import ViT, ViTConfig
from minivit.nn import patchify


def random_mask(batch, n, ratio, seed):
    rng, mask = np.random.default_rng(seed), []
    for _ in range(batch):
        row = np.arange(n) >= int(n * (1 - ratio))
        mask.append(rng.permutation(row))
    return np.array(mask)


def encode_visible(params, config, images, mask):
    names = ("width", "depth", "heads", "mlp_width", "gelu", "norm_eps", "channels")
    sizes = {name: tuple(config[name]) for name in ("image_size", "patch_size")}
    model = ViT(ViTConfig(**{name: config[name] for name in names}, **sizes, num_classes=0), None, "float64")
    model.load_state_dict({name: value.copy() for name, value in params.items()})
    model.eval()
    x = model.embed(Tensor(images))
    seen = np.array([np.flatnonzero(~row) for row in mask])
    return np.array(model.encode(F.concat(x[:, :1], F.select(x[:, 1:], seen), axis=1)).data)


def decoder_input(latent, mask, mask_token, positions):
    rows = []
    for tokens, hidden in zip(latent, mask):
        seen = iter(tokens[1:])
        rows.append([tokens[0], *(mask_token[0, 0] if missing else next(seen) for missing in hidden)])
    return np.array(rows) + positions


def mae_loss(prediction, images, patch, mask, norm_pix):
    leaf = Tensor(prediction.copy(), requires_grad=True)
    target = patchify(Tensor(images), patch)
    if norm_pix:
        mean = target.mean(axis=-1, keepdims=True)
        target = (target - mean) / F.sqrt(F.var(target, axis=-1, keepdims=True, ddof=1) + 1e-6)
    error = (leaf - target)[mask]
    loss = (error * error).mean()
    return float(loss.data), np.array(grad(loss, [leaf])[0])

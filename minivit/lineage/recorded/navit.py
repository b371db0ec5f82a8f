"""NaViT as it was recorded, with names of its own: no code of it was published whole."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.lineage.navit import NaViT, NaViTConfig, Pack, together
from minivit.lineage.published import Arrays, fill
from minivit.lineage.verify import Case
from minivit.models.layouts import Shapes
from minivit.tensor import Tensor, grad

_OURS = {  # theirs -> ours
    "embed.weight": "patch_embed.weight",
    "embed.bias": "patch_embed.bias",
    "pos_y": "row_embedding",
    "pos_x": "column_embedding",
    "norm": "norm.scale",
}
_IN_BLOCK = {
    "norm1": "norm1.scale",
    "qkv": "attention.qkv.weight",
    "q_norm": "attention.q_norm.scale",
    "k_norm": "attention.k_norm.scale",
    "out": "attention.out.weight",
    "norm2": "norm2.scale",
    "fc1": "mlp.hidden.weight",
    "fc2": "mlp.out.weight",
}


def views(state: Arrays) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, under recorded names; the shapes are the same."""
    outside, inside = ({ours: name for name, ours in names.items()} for names in (_OURS, _IN_BLOCK))
    found = {}
    for name, x in state.items():
        block = re.match(r"blocks\.(\d+)\.(.*)", name)
        found[f"block{block[1]}.{inside[block[2]]}" if block else outside.get(name, name)] = x
    return found


def build(config: Mapping[str, Any], arrays: Arrays, source: str = "the file") -> NaViT:
    """The model of recorded weights."""
    shapes = Shapes(arrays, source, "NaViT's")
    pixels, width = shapes("embed.weight", 2)
    table = shapes("pos_y", 2)[0], shapes("pos_x", 2)[0]
    fields: dict[str, Any] = {
        "image_size": (1, pixels),  # the recording says nothing of the shape of a patch
        "patch_size": (1, pixels),
        "channels": 1,
        "table": table,
        "width": width,
        "depth": shapes.depth(r"block(\d+)\."),
        "heads": config["heads"],
        "mlp_width": shapes("block0.fc1", 2)[1],
        "num_classes": shapes("head.bias", 1)[0],
        "pool": "gap",
        "norm_eps": config.get("norm_eps", 1e-6),
    }
    model = NaViT(NaViTConfig(**fields), None, "float64")
    fill(views({name: tensor.data for name, tensor in model.named_tensors()}), arrays, source)
    return model


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that NaViT defines, by its name there."""
    model = build(case.config, case.weights, case.name).eval()
    places, owners = case.input("patch_yx"), case.input("image_of_token")
    patches = Tensor(case.input("patches"), requires_grad=True)
    tap: dict[str, Any] = {}
    images = np.arange(owners.max() + 1)
    given = Pack(patches.reshape(1, *patches.shape), places[None], owners[None], 0 * images, images)
    logits = model.packed(given, tap)
    loss = F.cross_entropy(logits, case.input("labels"))
    names, learning = zip(*model.named_parameters(), strict=True)
    in_patches, *gradients = grad(loss, [patches, *learning])
    found = {f"grad/{name}": g for name, g in views(dict(zip(names, gradients, strict=True))).items()}
    found |= {f"tap/block{i}": tap[f"block{i}/output"].data[0] for i in range(model.config.depth)}
    found |= {"tap/norm": tap["encoded"].data[0], "tap/embed": tap["embedded"].data[0]}
    alone = []
    for image in images:
        own = owners == image
        part = Pack(patches.data[None, own], places[None, own], 0 * owners[None, own], images[:1], images[:1])
        alone.append(model.packed(part).data)
    return {
        **found,
        "mask": together(owners[None])[0, 0],
        "output": logits.data,
        "logits": logits.data,
        "loss": loss.data,
        "alone/logits": np.concatenate(alone),
        "grad_input/patches": in_patches,
        "grad_norm": np.sqrt(sum((g**2).sum() for g in gradients)),
    }

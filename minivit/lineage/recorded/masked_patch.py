"""Masked patch prediction as it was recorded: names and shapes of its arrays, and what was recorded of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.lineage.masked_patch import OTHER, MaskedPatch, MaskedPatchConfig, mean_colours
from minivit.lineage.masked_tokens import weights
from minivit.lineage.published import Arrays, fill
from minivit.lineage.recorded import masked_tokens
from minivit.lineage.verify import Case
from minivit.tensor import Tensor

_OWN = ("mask_token", "head.weight", "head.bias")


def own_views(state: Arrays) -> dict[str, np.ndarray]:
    """What stands beside the encoder, in PyTorch's shapes."""
    return {name: state[name].T if name == "head.weight" else state[name] for name in _OWN}


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> MaskedPatch:
    """The objective with these weights. Raises CheckpointError."""
    own = {name: x for name, x in arrays.items() if name in _OWN}
    if len(own) < len(_OWN):
        raise CheckpointError(f"{source}: expected {', '.join(_OWN)}")
    rest = {name: x for name, x in arrays.items() if name not in own}
    encoder = masked_tokens.encoder_of(config, rest, dtype, source)
    channels = encoder.config.channels
    cells = config.get("cells", 1)
    classes = config.get("classes", len(own["head.bias"]) // cells**2)
    bits = config.get("bits", (classes.bit_length() - 1) // channels)
    objective = MaskedPatch(MaskedPatchConfig(bits=bits, cells=cells), encoder, None, dtype)
    fill(own_views({name: tensor.data for name, tensor in objective.named_tensors()}), own, source)
    return objective


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that masked patch prediction defines, by its name there."""
    objective = build(case.config, case.weights, source=case.name).eval()
    images, kind = Tensor(case.images("image"), requires_grad=True), case.input("kind")
    kind = kind.reshape(len(kind), -1)
    pixels, patch = case.images("pixels"), objective.encoder.config.patch_size
    source = np.where(kind == OTHER, case.input("other").reshape(kind.shape), np.arange(objective.patches))
    colour = objective.colours(pixels)
    batch: dict[str, Any] = {"images": images, "kind": kind, "source": source, "weight": weights(kind > 0)}
    batch["colour"] = colour
    tap: dict[str, Any] = {}
    objective.encode(images, lambda x: objective.corrupted(x, batch), tap=tap)
    outputs = objective(batch)
    loss = objective.loss(outputs, batch)
    named, found = case.differentiated(loss, images, objective)
    side = patch[0] // objective.config.cells, patch[1] // objective.config.cells
    found |= {
        "mean_colour": mean_colours(pixels, patch, side),
        "target": colour,
        "logits": outputs[0].data,
        "loss": loss.data,
    }
    for name in ("mean_colour", "target", "logits"):
        if name in case.arrays and found[name].size == case.arrays[name].size:
            found[name] = found[name].reshape(case.arrays[name].shape)
    found |= masked_tokens.taps_of(objective, tap)
    return {**found, **masked_tokens.gradients_of(case, named, objective, own_views(named), "")}

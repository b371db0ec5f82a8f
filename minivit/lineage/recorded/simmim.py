"""SimMIM as published code has it: names and shapes of its arrays, and what was recorded of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.pictures import unpatchify
from minivit.lineage.published import Arrays, fill
from minivit.lineage.recorded import masked_tokens
from minivit.lineage.simmim import SimMIM, SimMIMConfig
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.tensor import Tensor

_OWN = {"mask_token": "encoder.mask_token", "decoder.weight": "decoder.0.weight", "decoder.bias": "decoder.0.bias"}


def own_views(state: Arrays) -> dict[str, np.ndarray]:
    """What stands beside the encoder, under its published names; the matrix is a kernel of one pixel."""
    found = {theirs: state[name] for name, theirs in _OWN.items()}
    return {name: x.T[:, :, None, None] if name == "decoder.0.weight" else x for name, x in found.items()}


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> SimMIM:
    """The objective with these weights.   config: num_heads, img_size, norm_eps, mask_ratio, mask_patch_size, as far as
    they are known. Raises CheckpointError."""
    arrays = {name.removeprefix("module."): x for name, x in arrays.items()}
    own = {name: x for name, x in arrays.items() if name in _OWN.values()}
    if len(own) < len(_OWN):
        raise CheckpointError(f"{source}: expected {', '.join(_OWN.values())}, as of a SimMIM with a ViT")
    beside = [name for name in arrays if name not in own and not name.startswith("encoder.")]
    if beside:
        raise CheckpointError(f"{source} has {beside[0]}, which a SimMIM with a ViT has not")
    rest = {name.removeprefix("encoder."): x for name, x in arrays.items() if name not in own}
    encoder = masked_tokens.encoder_of(config, rest, dtype, source)
    unit = config.get("mask_patch_size", unit_of(encoder))
    objective = SimMIM(SimMIMConfig(config.get("mask_ratio", 0.6), unit), encoder, None, dtype)
    fill(own_views({name: tensor.data for name, tensor in objective.named_tensors()}), own, source)
    return objective


def unit_of(encoder: Any) -> int:
    """32 pixels if that fits the encoder, else the smallest unit that does."""
    (height, width), patch = encoder.config.image_size, encoder.config.patch_size
    fitting = [n for n in range(1, height + 1) if height % n == width % n == 0 and n % patch[0] == n % patch[1] == 0]
    return 32 if 32 in fitting or not fitting else fitting[0]


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> SimMIM:
    """The objective of a file of published weights (.safetensors) of a SimMIM with a ViT.   fields: num_heads, img_size
    and others, as in `build`. Raises CheckpointError and ConfigError."""
    path = expanded(path)
    return build(fields, read_arrays(path)[0], dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that SimMIM defines, by its name there."""
    objective = build(case.config, case.weights, source=case.name).eval()
    images, mask = Tensor(case.images("image"), requires_grad=True), case.input("mask").astype(bool)
    mask = mask.reshape(len(mask), -1)
    batch: dict[str, Any] = {"images": images, "mask": mask, "weight": objective.weights(mask)}
    tap: dict[str, Any] = {}
    encoded = objective.encode(images, lambda x: objective.masked(x, mask), tap=tap)
    outputs = (objective.decoder(encoded),)
    loss = objective.loss(outputs, batch)
    named, found = case.differentiated(loss, images, objective)
    painted = unpatchify(objective.in_rows(outputs[0].data), objective.encoder.config)
    found |= {"reconstruction": case.laid_out(painted), "loss": loss.data}
    found |= masked_tokens.taps_of(objective, tap)
    return {**found, **masked_tokens.gradients_of(case, named, objective, own_views(named), "encoder.")}

"""BEiT's pre-training as published code has it: names and shapes of its arrays, and what was recorded of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.beit import BEiT, BEiTConfig
from minivit.lineage.masked_tokens import weights
from minivit.lineage.published import Arrays, fill
from minivit.lineage.recorded import masked_tokens, modern, modules
from minivit.lineage.recorded.modern_shapes import stated
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.relative import relative_index
from minivit.tensor import Tensor

_OWN = {  # ours -> microsoft/unilm
    "mask_token": "mask_token",
    "head.weight": "lm_head.weight",
    "head.bias": "lm_head.bias",
}


def own_views(state: Arrays) -> dict[str, np.ndarray]:
    """What stands beside the encoder, under its published names."""
    return {theirs: state[name].T if name == "head.weight" else state[name] for name, theirs in _OWN.items()}


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> BEiT:
    """The objective with these weights, by the names of the official code or Hugging Face's.   config: Hugging Face's,
    as far as it is known. Raises CheckpointError."""
    beside = {masked_tokens.bare(name): x for name, x in arrays.items()}
    beside = {name: x for name, x in beside.items() if name in _OWN.values()}
    if "lm_head.bias" not in beside or "mask_token" not in beside:
        raise CheckpointError(f"{source}: expected mask_token and lm_head of a BEiT in pre-training")
    encoder = modern.build(config, arrays, dtype, source)
    objective = BEiT(BEiTConfig(len(beside["lm_head.bias"])), encoder, None, dtype)
    fill(own_views({name: tensor.data for name, tensor in objective.named_tensors()}), beside, source)
    return objective


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> BEiT:
    """The objective of a file of published weights (.safetensors) of masked image modelling, official or Hugging
    Face's, whose config.json is read beside the file.   fields: as there. Raises CheckpointError and ConfigError."""
    path = expanded(path)
    return build({**stated(path), **fields}, read_arrays(path)[0], dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that BEiT defines, by its name there."""
    objective = build(case.config, case.weights, source=case.name).eval()
    images, mask = Tensor(case.images("image"), requires_grad=True), case.input("mask").astype(bool)
    mask = mask.reshape(len(mask), -1)
    batch: dict[str, Any] = {"images": images, "mask": mask, "weight": weights(mask)}
    batch["tokens"] = case.input("tokens").reshape(mask.shape)
    tap: dict[str, Any] = {}
    with modules.noted(objective) as inner:
        encoded = objective.encode(images, lambda x: objective.masked(x, mask), tap=tap)
        outputs = (objective.head(encoded),)
    inner["network.embedded"] = tap["embedded"].data
    last = tap[f"block{objective.encoder.config.depth - 1}/output"]
    inner["network.norm"] = objective.encoder.norm(last).data
    for i, attention in enumerate(block.attention for block in objective.encoder.blocks):
        if attention.q_bias is not None:
            bias = (attention.q_bias.data, 0 * attention.q_bias.data, attention.v_bias.data)
            inner[f"network.blocks.{i}.attn.qkv"] += np.concatenate(bias)
    loss = objective.loss(outputs, batch)
    named, found = case.differentiated(loss, images, objective)
    found |= {"logits": outputs[0].data, "loss": loss.data, **masked_tokens.taps_of(objective, tap)}
    found |= modules.taps(case, "", inner, {r"beit\.": "network.", r"(?!lm_head)": "network."})
    found["relative_position_index"] = relative_index(objective.grid, True)
    return {**found, **masked_tokens.gradients_of(case, named, objective, own_views(named))}

"""Encoders with a [mask] token as they are recorded: a ViT of timm's names, or BEiT's encoder."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minivit.lineage.masked_tokens import MaskedTokens
from minivit.lineage.published import Arrays, fill, pair
from minivit.lineage.recorded import modern
from minivit.lineage.recorded.modern_shapes import official_name
from minivit.lineage.verify import Case
from minivit.models import ViT
from minivit.models.convert_timm import infer_config, to_timm
from minivit.models.layouts import Shapes

Views = Callable[[Arrays], dict[str, np.ndarray]]
_SAID = {"heads": "num_heads", "image": "img_size", "image_size": "img_size"}  # recordings' words -> timm's


def encoder_of(config: Mapping[str, Any], arrays: Arrays, dtype: str, source: str) -> Any:
    """The encoder with these weights, under timm's names or those of microsoft/unilm.   config: with timm's words, or
    heads, image and norm_eps. Raises CheckpointError."""
    said = {_SAID.get(name, name): x for name, x in config.items()}
    eps = said.get("norm_eps", 1e-6)
    if any("relative_position" in name or re.search(r"\.[qv]_bias$|gamma_1$", name) for name in arrays):
        return modern.build({"norm_layer": f"eps {eps}", **said, "global_pool": "token"}, arrays, dtype, source)
    known: dict[str, Any] = {"norm_eps": eps}
    known["gelu"] = "tanh" if str(said.get("gelu", "")).startswith("tanh") else "erf"
    if "num_heads" in said:
        known["heads"] = said["num_heads"]
    if "img_size" in said:
        known["image_size"] = pair(said["img_size"])
    shape = infer_config(Shapes(arrays, source, "masked ViT's"), known)
    network = ViT(shape, None, dtype)
    fill(to_timm({name: x.data for name, x in network.named_tensors()}, shape), arrays, source)
    return network


def gradients_of(case: Case, named: Arrays, objective: MaskedTokens, own: Arrays, prefix: str = "") -> Arrays:
    """Recorded gradients by their names there.   named: all gradients by our names; own: those beside the encoder, by
    published names; prefix: of the encoder's arrays in the recording."""
    inside = {name.removeprefix("network."): x for name, x in named.items() if name.startswith("network.")}
    encoder, found = objective.encoder, dict(own)
    if isinstance(encoder, ViT):
        found |= {f"{prefix}{name}": x for name, x in to_timm(inside, encoder.config).items()}
    else:
        for name, x in inside.items():
            for option in modern.options(name, x, encoder.config):
                found |= {f"{prefix}{theirs}": g for theirs, g in option.items()}
    gradients = {}
    for recorded in [name for name in case.arrays if name.startswith("grad/")]:
        name = recorded.removeprefix("grad/")
        names = name, prefix + official_name(name.removeprefix(prefix)), bare(name)
        if known := [inner for inner in names if inner in found]:
            gradients[recorded] = found[known[0]].reshape(case.arrays[recorded].shape)
    return gradients


def bare(name: str) -> str:
    """A name without those of the modules that hold the array."""
    return re.sub(r"^(module\.|model\.|beit\.|embeddings\.)+", "", name)


def taps_of(objective: MaskedTokens, tap: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What stands between the parts of the encoder."""
    found = dict.fromkeys(("embedded", "embeddings"), tap["embedded"].data)
    found |= dict.fromkeys(("encoded", "norm"), tap["encoded"].data)
    depth = objective.encoder.config.depth
    blocks = {i: tap[f"block{i}/output"].data for i in range(depth)}
    found |= {name: x for i, x in blocks.items() for name in (f"block{i}", f"blocks.{i}")}
    return {f"tap/{name}": x for name, x in found.items()}

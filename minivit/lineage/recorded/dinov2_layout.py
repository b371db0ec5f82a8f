"""The layouts of DINOv2's encoder: the official code's and Hugging Face's names and shapes of its arrays."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, shown
from minivit.lineage.dinov2 import DINOv2Config, DINOv2Network
from minivit.lineage.published import Arrays, fill, gelu, pair, renamed
from minivit.lineage.recorded import classifier
from minivit.models.layouts import HEADS, Shapes

_HUB = (  # of Hugging Face, in files and (version 5) in memory, and others -> the official code
    (r"^(module\.|teacher\.|backbone\.|model\.|dinov2\.|dinov2_with_registers\.)+", ""),
    (r"^embeddings\.cls_token", "cls_token"),
    (r"^embeddings\.(mask_token|register_tokens)", r"\1"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^(encoder\.layer|encoder\.layers|layers|layer)\.(?=\d)", "blocks."),
    (r"^blocks\.\d+\.(?=\d+\.)", "blocks."),  # the official code cuts the blocks into pieces of several, or not
    (r"^(layernorm|norm)(?=\.|$)", "norm"),
    (r"^(classifier|linear_head)\.", "head."),
    (r"(?<=\d\.)attention\.(output\.dense|o_proj)", "attn.proj"),
    (r"(?<=\d\.)attention\.(attention\.)?(query|q_proj)", "attn.0"),
    (r"(?<=\d\.)attention\.(attention\.)?(key|k_proj)", "attn.1"),
    (r"(?<=\d\.)attention\.(attention\.)?(value|v_proj)", "attn.2"),
    (r"layer_scale([12])\.lambda1", r"ls\1.gamma"),
    (r"mlp\.weights_in", "mlp.w12"),
    (r"mlp\.weights_out", "mlp.w3"),
    (r"mlp\.gate_proj", "mlp.w1"),  # in memory of version 5
    (r"mlp\.up_proj", "mlp.w2"),
    (r"mlp\.down_proj", "mlp.w3"),
)
_OWN = (  # ours -> the official code
    (r"^class_token", "cls_token"),
    (r"^position_embedding", "pos_embed"),
    (r"^patch_embed\.projection", "patch_embed.proj"),
    (r"(?<=\d\.)attention\.qkv", "attn.qkv"),
    (r"(?<=\d\.)attention\.out", "attn.proj"),
    (r"(?<=\d\.)scale([12])\.", r"ls\1."),
    (r"\.scale$", ".weight"),
)
_MLPS = {"gelu": {"hidden": "fc1", "out": "fc2"}, "swiglu": {"gate": "w1", "value": "w2", "out": "w3"}}


def official_name(name: str) -> str:
    """A name of another layout in the official code; queries, keys and values, which that packs, are attn.0, attn.1 and
    attn.2."""
    return renamed(name, _HUB)


def canonical(arrays: Arrays, source: str = "the file") -> dict[str, np.ndarray]:
    """The arrays of a file under the official names, but gate and value of SwiGLU apart, as w1 and w2. The heads of a
    training checkpoint's teacher are left out. Raises CheckpointError."""
    found = classifier.official_arrays(arrays, official_name, source)
    found = {name: x for name, x in found.items() if not name.startswith(("dino_head.", "ibot_head."))}
    for name in [name for name in found if ".mlp.w12." in name]:
        x = found.pop(name)
        if len(x) % 2:
            raise CheckpointError(f"{source}: {shown(name)} has {len(x)} rows, which are no gates and values")
        found |= {name.replace("w12", part): half for part, half in zip(("w1", "w2"), np.split(x, 2), strict=True)}
    return found


def views(state: Arrays, config: DINOv2Config) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the names of `canonical` and in the official shapes."""
    found = {}
    for name, x in state.items():
        theirs = renamed(name, _OWN)
        for ours, official in _MLPS[config.mlp].items():
            theirs = theirs.replace(f".mlp.{ours}.", f".mlp.{official}.")
        if name == "patch_embed.projection.weight":
            x = x.reshape(*config.patch_size, config.channels, -1).transpose(3, 2, 0, 1)
        elif name.endswith(".weight"):
            x = x.T
        found[theirs] = x
    return found


def packed(arrays: Arrays) -> dict[str, np.ndarray]:
    """Arrays under canonical names, and gate and value of SwiGLU also in one, as the official code has them."""
    pairs = [(name, name.replace(".w1.", ".w2.")) for name in arrays if ".mlp.w1." in name]
    joined = {one.replace(".w1.", ".w12."): np.concatenate([arrays[one], arrays[other]]) for one, other in pairs}
    return {**arrays, **joined}


def told_by(arrays: Arrays, hub: bool, config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of DINOv2Config: from the shapes of canonical arrays, and from a configuration of Hugging Face's, as
    far as it is known. Raises CheckpointError."""
    shapes = Shapes(arrays, source, "DINOv2's")
    width, channels, *patch = shapes("patch_embed.proj.weight", 4)
    side = math.isqrt(max(1, shapes("pos_embed", 3)[1] - 1))
    registers = shapes("register_tokens", 3)[1] if "register_tokens" in shapes else 0
    gated = "blocks.0.mlp.w1.weight" in shapes
    return {
        "image_size": pair(config.get("image_size", [side * pixels for pixels in patch])),
        "patch_size": tuple(patch),
        "width": width,
        "depth": shapes.depth(r"blocks\.(\d+)\."),
        "heads": config.get("num_attention_heads", HEADS.get(width, max(1, width // 64))),
        "mlp_width": shapes(f"blocks.0.mlp.{'w1' if gated else 'fc1'}.weight", 2)[0],
        "num_classes": shapes("head.bias", 1)[0] if "head.bias" in shapes else 0,
        "channels": channels,
        "mlp": "swiglu" if gated else "gelu",
        "gelu": gelu(config.get("hidden_act", "gelu"), source),
        "norm_eps": config.get("layer_norm_eps", 1e-6),
        "register_tokens": registers,
        "mask_token": "mask_token" in shapes,
        "layer_scale": 1e-5 if "blocks.0.ls1.gamma" in shapes else None,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "resize": "antialias" if registers else "size" if hub else "offset",
    }


def build(
    config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file", **fields: Any
) -> DINOv2Network:
    """The network with these weights, of any published names.   config: Hugging Face's, as far as it is known. fields:
    of DINOv2Config, which prevail. Raises CheckpointError and ConfigError."""
    official, hub = canonical(arrays, source), any("patch_embeddings." in name for name in arrays)
    shape = DINOv2Config(**{**told_by(official, hub, config, source), **fields})
    network = DINOv2Network(shape, None, dtype)
    fill(views({name: tensor.data for name, tensor in network.named_tensors()}, shape), official, source)
    return network

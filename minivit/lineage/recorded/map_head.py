"""A ViT with attention pooling as published code has it: big_vision's and timm's files, and what was recorded."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.map_head import MapHead, MapHeadConfig
from minivit.lineage.published import Arrays, pair
from minivit.lineage.recorded import pooling
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import HEADS, Shapes
from minivit.tensor import Tensor


def told_by(arrays: Arrays, official: bool, source: str, size: Any = None) -> dict[str, Any]:
    """The fields of MapHeadConfig that canonical arrays tell, and the usual for the rest.   size: of the image, one
    side or two, if it is known; else the grid is a square."""
    shapes = Shapes(arrays, source, "ViT's with attention pooling")
    if official:
        down, across, channels, width = shapes("embedding/kernel", 4)
        depth, block = shapes.depth(r"Transformer/encoderblock_(\d+)/"), "Transformer/encoderblock_0/"
        heads = shapes(f"{block}MultiHeadDotProductAttention_1/query/kernel", 3)[1]
        pool_heads = shapes("MAPHead_0/MultiHeadDotProductAttention_0/query/kernel", 3)[1]
        mlp_width = shapes(f"{block}MlpBlock_3/Dense_0/kernel", 2)[1]
        pool_mlp = shapes("MAPHead_0/MlpBlock_0/Dense_0/kernel", 2)[1]
        position, bias = "Transformer/posembed_input/pos_embedding", "head/bias"
    else:
        width, channels, down, across = shapes("patch_embed.proj.weight", 4)
        depth, heads = shapes.depth(r"blocks\.(\d+)\."), HEADS.get(width, max(1, width // 64))
        mlp_width, pool_heads = shapes("blocks.0.mlp.fc1.weight", 2)[0], 0
        pool_mlp = shapes("attn_pool.mlp.fc1.weight", 2)[0]
        position, bias = "pos_embed", "head.bias"
    before = int("cls_token" in shapes) + (shapes("reg_token", 3)[1] if "reg_token" in shapes else 0)
    rows, (height, wide) = shapes(position, 3)[1], size if isinstance(size, tuple) else (size, size)
    for_all = rows == before + (height // down) * (wide // across) if size else math.isqrt(rows) ** 2 != rows
    side = math.isqrt(max(1, rows - before * for_all))
    return {
        "image_size": size or (side * down, side * across),
        "patch_size": (down, across),
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_width": mlp_width,
        "pool_heads": pool_heads if pool_heads != heads else 0,
        "pool_mlp_width": pool_mlp if pool_mlp != mlp_width else 0,
        "num_classes": shapes(bias, 1)[0] if bias in shapes else 0,
        "channels": channels,
        "class_token": "cls_token" in shapes,
        "register_tokens": before - ("cls_token" in shapes),
        "no_embed_class": before > 0 and not for_all,
        "layer_scale": 1e-5 if "blocks.0.ls1.gamma" in shapes else None,
        "qkv_bias": official or "blocks.0.attn.qkv.bias" in shapes,
        "gelu": "tanh" if official else "erf",
    }


def build(arrays: Arrays, dtype: str = "float64", source: str = "the file", **fields: Any) -> MapHead:
    """The model of the arrays of a file, in either layout.   fields: of MapHeadConfig, which prevail. Raises
    CheckpointError and ConfigError."""
    weights, official = pooling.read(arrays, source)
    config = MapHeadConfig(**{**told_by(weights, official, source, fields.get("image_size")), **fields})
    model = MapHead(config, None, dtype)
    pooling.load(model, weights, config.base, official, source)
    return model


def load(path: str | Path, dtype: str = "float32", **fields: Any) -> MapHead:
    """The model of a file of published weights: big_vision's (.npz) or timm's (.safetensors).

    fields: of MapHeadConfig, such as `heads` and `gelu`, which arrays of timm's do not tell: it has the erf form unless
    the model is said to have "gelu_tanh".
    Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    return build(read_arrays(path)[0], dtype, str(path), **fields)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that the model defines, by its name there."""
    config: Mapping[str, Any] = case.config
    stated = {"img_size": "image_size", "image_size": "image_size", "num_heads": "heads", "heads": "heads"}
    stated["pool_include_prefix"] = "pool_prefix"
    fields = {ours: pair(config[theirs]) for theirs, ours in stated.items() if theirs in config}
    acts = {"gelu_tanh": "tanh", "gelu_pytorch_tanh": "tanh", "tanh": "tanh", "gelu": "erf", "erf": "erf"}
    act = config.get("act_layer", config.get("gelu"))
    fields |= {"gelu": acts[act]} if act in acts else {}
    model = build(case.weights, source=case.name, **fields).eval()
    images = Tensor(case.images("image"), requires_grad=True)
    tap: dict[str, Any] = {}
    logits = model(images, tap)
    loss = case.loss(logits)
    named, found = case.differentiated(loss, images, model)
    found |= pooling.gradients(named, model.config.base, case.arrays)
    found |= {f"tap/blocks.{i}": tap[f"block{i}/output"].data for i in range(model.config.depth)}
    pooled, encoded = tap["features"].data, tap["encoded"].data
    found |= {"tap/norm": encoded, "tap/map": pooled, "tap/attn_pool": pooled, "tap/embedded": tap["embedded"].data}
    return {**found, "output": logits.data, "logits": logits.data, "loss": loss.data}

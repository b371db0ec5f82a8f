"""The layout of timm's Vision Transformers (.safetensors).

Kernels are (out, in), the patch projection is a convolution (D, C, height, width), and queries, keys and values are
packed as ours. `fc_norm` and `cls_token` show whether and where the mean over patches is taken. A token for masked
patches (DINOv2) is dropped: only pre-training reads it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.models.config import ViTConfig
from minivit.models.layouts import Arrays, Layout, Shapes, split_name, torch_view

_MODULES = {  # ours -> timm's
    "patch_embed.projection": "patch_embed.proj",
    "class_token": "cls_token",
    "distillation_token": "dist_token",
    "register_tokens": "reg_token",
    "position_embedding": "pos_embed",
    "norm1": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "scale1": "ls1",
    "norm2": "norm2",
    "mlp.hidden": "mlp.fc1",
    "mlp.out": "mlp.fc2",
    "scale2": "ls2",
    "norm": "norm",
    "head": "head",
    "distillation_head": "head_dist",
}


def to_timm(state: Arrays, config: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays as views under timm's names and in timm's shapes."""
    arrays = {}
    for name, array in state.items():
        block, module, leaf = split_name(name)
        theirs = "fc_norm" if module == "norm" and config.fc_norm else _MODULES[module]
        path = (
            [f"blocks.{block}"] * (block is not None) + [theirs] + ["weight" if leaf == "scale" else leaf] * bool(leaf)
        )
        arrays[".".join(path)] = torch_view(array, module, leaf, config)
    return arrays


def infer_config(shapes: Shapes, known: Mapping[str, Any]) -> ViTConfig:
    """The ViTConfig of a timm file, from its keys and shapes. Raises CheckpointError.

    The arrays do not record three things: the number of heads, taken from the published model of this width; a
    non-square image; and timm's defaults, erf GELU and LayerNorm epsilon 1e-6.
    """
    width, channels, patch_h, patch_w = shapes("patch_embed.proj.weight", 4)
    has_class, fc_norm = "cls_token" in shapes, "fc_norm.weight" in shapes
    classifier = known.get("classifier", "token" if has_class and not fc_norm else "gap")
    fields = {
        "patch_size": (patch_h, patch_w),
        "width": width,
        "depth": shapes.depth(r"blocks\.(\d+)\."),
        "heads": shapes.heads(width, known),
        "mlp_width": shapes("blocks.0.mlp.fc1.weight", 2)[0],
        "num_classes": shapes("head.bias", 1)[0] if "head.bias" in shapes else 0,
        "channels": channels,
        "classifier": classifier,
        "class_token": has_class,
        "register_tokens": shapes("reg_token", 3)[1] if "reg_token" in shapes else 0,
        "distillation_token": "dist_token" in shapes,
        "fc_norm": fc_norm,
        "layer_scale": 1e-5 if "blocks.0.ls1.gamma" in shapes else None,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "gelu": "erf",
    }
    return shapes.config({**fields, **known}, "pos_embed")


TIMM = Layout(
    name="timm",
    title="timm",
    position="pos_embed",
    landmark="patch_embed.proj.weight",
    canonical=lambda arrays, source: {key: array for key, array in arrays.items() if key != "mask_token"},
    config=infer_config,
    views=to_timm,
    resize="bicubic_antialias",
    untold=("heads", "no_embed_class", "classifier"),
    fixed={"position": ("learned", "none"), "representation_size": (None,), "stem": (None,)},
)

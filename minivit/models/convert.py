"""The layout of the released ViT files (google-research/vision_transformer and big_vision, .npz).

Kernels are stored as (in, out), as ours. Queries, keys and values are separate (D, H, Dh) kernels, which are placed
side by side in our one (D, 3D) weight. In the released files the submodules of a block are numbered by call order:
LayerNorm_0, MultiHeadDotProductAttention_1, LayerNorm_2, MlpBlock_3. Later code (flax.linen) numbers them by kind.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.models.config import ViTConfig
from minivit.models.convert_hybrid import infer_stem, released_stem_name, with_group_norm_axes
from minivit.models.layouts import MAX_DEPTH, Arrays, Layout, Shapes

_BLOCK = "Transformer/encoderblock_{}/"
_ATTENTION = "MultiHeadDotProductAttention_1/"
_POSITION = "Transformer/posembed_input/pos_embedding"
_IN_BLOCK = {  # ours -> released, apart from the packed qkv
    "norm1.scale": "LayerNorm_0/scale",
    "norm1.bias": "LayerNorm_0/bias",
    "attention.out.weight": _ATTENTION + "out/kernel",
    "attention.out.bias": _ATTENTION + "out/bias",
    "norm2.scale": "LayerNorm_2/scale",
    "norm2.bias": "LayerNorm_2/bias",
    "mlp.hidden.weight": "MlpBlock_3/Dense_0/kernel",
    "mlp.hidden.bias": "MlpBlock_3/Dense_0/bias",
    "mlp.out.weight": "MlpBlock_3/Dense_1/kernel",
    "mlp.out.bias": "MlpBlock_3/Dense_1/bias",
}
_QKV = ("query", "key", "value")
_STACKED = {*_IN_BLOCK.values(), *(f"{_ATTENTION}{part}/{kind}" for part in _QKV for kind in ("kernel", "bias"))}
_AROUND = {
    "patch_embed.projection.weight": "embedding/kernel",
    "patch_embed.projection.bias": "embedding/bias",
    "class_token": "cls",
    "position_embedding": _POSITION,
    "norm.scale": "Transformer/encoder_norm/scale",
    "norm.bias": "Transformer/encoder_norm/bias",
    "pre_logits.weight": "pre_logits/kernel",
    "pre_logits.bias": "pre_logits/bias",
    "head.weight": "head/kernel",
    "head.bias": "head/bias",
}
_LINEN = {  # flax.linen's numbers -> those of the released files
    "MultiHeadDotProductAttention_0/": _ATTENTION,
    "LayerNorm_1/": "LayerNorm_2/",
    "MlpBlock_0/": "MlpBlock_3/",
}


def canonical(arrays: Arrays, source: str) -> dict[str, np.ndarray]:
    """The arrays under the names of the released files, from any of the published dialects.

    These are the names of flax.linen, big_vision's place of the position table, blocks stacked along a leading axis
    ("scan"), and GroupNorm parameters of one axis. Raises CheckpointError if two arrays would get one name, or for an
    impossible stack.
    """
    found: list[tuple[str, np.ndarray]] = []
    for key, array in arrays.items():
        name = _released_name(key)
        inner = name.removeprefix("Transformer/encoderblock/")
        found += _layers(inner, array, source) if inner in _STACKED else [(name, array)]
    if len(dict(found)) != len(found):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    return with_group_norm_axes(dict(found))


def _released_name(name: str) -> str:
    if name == "pos_embedding":
        return _POSITION
    for linen, released in _LINEN.items():
        name = re.sub(rf"^(Transformer/encoderblock(?:_\d+)?/){linen}", rf"\1{released}", name)
    return name


def _layers(inner: str, stack: np.ndarray, source: str) -> list[tuple[str, np.ndarray]]:
    """The arrays of every block from their stack, with their names."""
    if stack.ndim == 0 or len(stack) > MAX_DEPTH:
        raise CheckpointError(f"{source} is not a ViT: it has a stack of blocks of shape {stack.shape}")
    return [(_BLOCK.format(i) + inner, layer) for i, layer in enumerate(stack)]


def leaves_position_open(arrays: Arrays) -> bool:
    """Whether a file, in any dialect, lacks a position table because its code may have a fixed one (big_vision's
    sincos2d)."""
    linen = any("MultiHeadDotProductAttention_0/" in key for key in arrays)
    return linen and not any(key.endswith("pos_embedding") for key in arrays)


def infer_config(shapes: Shapes, known: Mapping[str, Any]) -> ViTConfig:
    """The ViTConfig of a released file, from its canonical keys and shapes. Raises CheckpointError."""
    block = _BLOCK.format(0)
    patch_h, patch_w, channels, width = shapes("embedding/kernel", 4)
    fields = {
        "patch_size": (patch_h, patch_w),
        "width": width,
        "depth": shapes.depth(r"Transformer/encoderblock_(\d+)/"),
        "heads": shapes(block + _ATTENTION + "query/kernel", 3)[1],
        "mlp_width": shapes(block + "MlpBlock_3/Dense_0/kernel", 2)[1],
        "num_classes": shapes("head/bias", 1)[0] if "head/bias" in shapes else 0,
        "channels": channels,
        **infer_stem(shapes),
        "classifier": "token" if "cls" in shapes else "gap",
        "representation_size": shapes("pre_logits/bias", 1)[0] if "pre_logits/bias" in shapes else None,
    }
    return shapes.config({**fields, **known}, _POSITION)


def to_official(state: Arrays, config: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays as views under the released names and in the released shapes. Also works for gradients."""
    arrays = {}
    width, heads, head_dim = config.width, config.heads, config.width // config.heads
    for name, array in state.items():
        block = re.match(r"blocks\.(\d+)\.(.*)", name)
        prefix = _BLOCK.format(block[1]) if block else ""
        if block and block[2].startswith("attention.qkv."):
            kind = "kernel" if block[2].endswith("weight") else "bias"
            rows = (width,) if kind == "kernel" else ()
            for part, values in zip(_QKV, np.split(array, 3, axis=-1), strict=True):
                arrays[f"{prefix}{_ATTENTION}{part}/{kind}"] = values.reshape(*rows, heads, head_dim)
        elif block and block[2] == "attention.out.weight":
            arrays[prefix + _IN_BLOCK[block[2]]] = array.reshape(heads, head_dim, width)
        elif name == "patch_embed.projection.weight":
            arrays[_AROUND[name]] = array.reshape(*config.patch_size, config.map_channels, width)
        elif name.startswith("stem."):
            arrays[released_stem_name(name, config)] = array if array.ndim == 4 else array.reshape(1, 1, 1, -1)
        else:
            arrays[prefix + (_IN_BLOCK[block[2]] if block else _AROUND[name])] = array
    return arrays


OFFICIAL = Layout(
    name="official",
    title="released ViT",
    position=_POSITION,
    landmark="embedding/kernel",
    canonical=canonical,
    config=infer_config,
    views=to_official,
    resize="align_corners",
    untold=("no_embed_class",),
    fixed={
        "position": ("learned", "none"),
        "gelu": ("tanh",),
        "norm_eps": (1e-6,),
        "register_tokens": (0,),
        "class_token": (None,),
        "distillation_token": (False,),
        "no_embed_class": (False,),
        "fc_norm": (False,),
        "layer_scale": (None,),
        "qkv_bias": (True,),
    },
)

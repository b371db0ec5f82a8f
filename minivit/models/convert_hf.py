"""The layout of Hugging Face's ViT and DeiT (.safetensors with a config.json beside it).

Kernels are (out, in), the patch projection is a convolution (D, C, height, width); queries, keys and values are three
layers. A file of the bare model has no `vit.` before its keys, and its "pooler" is our representation layer. From
version 5 on, layers have other names in memory than in files; both are read.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.models.config import ViTConfig
from minivit.models.layouts import Arrays, Layout, Shapes, split_name, torch_view

LANDMARK = "embeddings.patch_embeddings.projection.weight"
_INNER = ("vit.", "deit.")  # what a model with a classifier calls the rest
_BLOCK = "vit.encoder.layer.{}."
_IN_BLOCK = {  # ours -> theirs, apart from the packed qkv
    "norm1": "layernorm_before",
    "attention.out": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.hidden": "intermediate.dense",
    "mlp.out": "output.dense",
}
_AROUND = {
    "patch_embed.projection": "vit.embeddings.patch_embeddings.projection",
    "class_token": "vit.embeddings.cls_token",
    "distillation_token": "vit.embeddings.distillation_token",
    "register_tokens": "vit.embeddings.distillation_token",  # one that no head reads
    "position_embedding": "vit.embeddings.position_embeddings",
    "norm": "vit.layernorm",
    "pre_logits": "vit.pooler.dense",
    "head": "classifier",
    "distillation_head": "distillation_classifier",
}
_VERSION_5 = {  # in a block: version 5 in memory -> in files
    "attention.q_proj.": "attention.attention.query.",
    "attention.k_proj.": "attention.attention.key.",
    "attention.v_proj.": "attention.attention.value.",
    "attention.o_proj.": "attention.output.dense.",
    "mlp.fc1.": "intermediate.dense.",
    "mlp.fc2.": "output.dense.",
}


def canonical(arrays: Arrays, source: str) -> dict[str, np.ndarray]:
    """The arrays under the names of a file of ViTForImageClassification, from any of the published dialects.

    Arrays that the other code does not use are dropped: the pooler of a model with a classifier, and a token for masked
    patches. Raises CheckpointError if two arrays would get one name.
    """
    found: list[tuple[str, np.ndarray]] = []
    for key, array in arrays.items():
        name = key.replace("cls_classifier.", "classifier.") if key.startswith("cls_classifier.") else key
        if not name.startswith(("classifier.", "distillation_classifier.")):
            name = "vit." + key.removeprefix(next((inner for inner in _INNER if key.startswith(inner)), ""))
        if block := re.fullmatch(r"vit\.layers\.(\d+)\.(.*)", name):
            inner = block[2]
            for new, old in _VERSION_5.items():
                inner = old + inner.removeprefix(new) if inner.startswith(new) else inner
            name = _BLOCK.format(block[1]) + inner
        found.append((name, array))
    if len(dict(found)) != len(found):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    idle = ("vit.embeddings.mask_token", *["vit.pooler."] * ("classifier.weight" in dict(found)))
    return {name: array for name, array in found if not name.startswith(idle)}


def to_hf(state: Arrays, config: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays as views under Hugging Face's names and in its shapes."""
    arrays = {}
    for name, array in state.items():
        block, module, leaf = split_name(name)
        suffix = f".{'weight' if leaf == 'scale' else leaf}" if leaf else ""
        if module == "attention.qkv":
            for part, values in zip(("query", "key", "value"), np.split(array, 3, axis=-1), strict=True):
                theirs = f"{_BLOCK.format(block)}attention.attention.{part}{suffix}"
                arrays[theirs] = torch_view(values, module, leaf, config)
        else:
            theirs = _AROUND[module] if block is None else _BLOCK.format(block) + _IN_BLOCK[module]
            arrays[theirs + suffix] = torch_view(array, module, leaf, config)
    return arrays


def infer_config(shapes: Shapes, known: Mapping[str, Any]) -> ViTConfig:
    """The ViTConfig of a Hugging Face file, from its canonical keys and shapes, and `known` from its config.json.

    Without config.json: the heads of the published model of this width, erf GELU and LayerNorm epsilon 1e-12. Raises
    CheckpointError.
    """
    width, channels, patch_h, patch_w = shapes("vit." + LANDMARK, 4)
    pooler = "vit.pooler.dense.bias"
    # DeiT with one classifier, which reads the [class] token alone, or none: its second token is one that nobody reads
    second, two_heads = "vit.embeddings.distillation_token" in shapes, "distillation_classifier.bias" in shapes
    fields = {
        "patch_size": (patch_h, patch_w),
        "width": width,
        "depth": shapes.depth(r"vit\.encoder\.layer\.(\d+)\."),
        "heads": shapes.heads(width, known),
        "mlp_width": shapes(_BLOCK.format(0) + "intermediate.dense.weight", 2)[0],
        "num_classes": shapes("classifier.bias", 1)[0] if "classifier.bias" in shapes else 0,
        "channels": channels,
        "representation_size": shapes(pooler, 1)[0] if pooler in shapes else None,
        "distillation_token": second and two_heads,
        "register_tokens": int(second and not two_heads),
        "no_embed_class": False,
        "qkv_bias": _BLOCK.format(0) + "attention.attention.query.bias" in shapes,
        "gelu": "erf",
        "norm_eps": 1e-12,
    }
    return shapes.config({**fields, **known}, "vit.embeddings.position_embeddings")


def headless(arrays: Arrays, config: ViTConfig) -> dict[str, np.ndarray]:
    """The arrays as in the file of a bare model (ViTModel), without `vit.`, if there is no head.

    Raises ValueError for a model with both a representation layer and a head, which their code does not have.
    """
    if config.num_classes and config.representation_size:
        raise ValueError("export: the hf layout cannot express representation_size together with num_classes")
    return {name if config.num_classes else name.removeprefix("vit."): array for name, array in arrays.items()}


def to_json(config: ViTConfig) -> dict[str, Any]:
    """The config.json that Hugging Face needs beside the weights."""
    (height, width), (patch_h, patch_w) = config.image_size, config.patch_size
    return {
        "architectures": ["ViTForImageClassification" if config.num_classes else "ViTModel"],
        "model_type": "vit",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": "gelu" if config.gelu == "erf" else "gelu_pytorch_tanh",
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "image_size": height if height == width else [height, width],
        "patch_size": patch_h if patch_h == patch_w else [patch_h, patch_w],
        "num_channels": config.channels,
        "qkv_bias": config.qkv_bias,
        "pooler_output_size": config.representation_size or config.width,
        "pooler_act": "tanh",
        "id2label": {str(i): f"LABEL_{i}" for i in range(config.num_classes)},
        "label2id": {f"LABEL_{i}": i for i in range(config.num_classes)},
    }


HF = Layout(
    name="hf",
    title="Hugging Face",
    position="vit.embeddings.position_embeddings",
    landmark=LANDMARK,
    inner=_INNER,
    canonical=canonical,
    config=infer_config,
    views=to_hf,
    resize="bicubic",
    untold=("heads",),
    fixed={
        "classifier": ("token",),
        "position": ("learned",),
        "register_tokens": (0,),
        "class_token": (None,),
        "distillation_token": (False,),
        "no_embed_class": (False,),
        "fc_norm": (False,),
        "layer_scale": (None,),
        "stem": (None,),
    },
)

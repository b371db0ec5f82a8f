"""CLIP as published code has it: names and shapes of its arrays, and what was recorded of it."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import xp_of
from minivit.files import expanded
from minivit.lineage.clip import CLIP, CLIPConfig
from minivit.lineage.published import Arrays, beside, fill
from minivit.lineage.recorded import towers
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.nn import CausalAttention, Module
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

_PARTS = {  # ours -> OpenAI's, Hugging Face's
    "image_tower.patch_embed.projection": ("visual.conv1", "vision_model.embeddings.patch_embedding"),
    "image_tower.class_token": ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    "image_tower.position_embedding": (
        "visual.positional_embedding",
        "vision_model.embeddings.position_embedding.weight",
    ),
    "image_tower.before": ("visual.ln_pre", "vision_model.pre_layrnorm"),  # so it is spelled
    "image_tower.blocks": ("visual.transformer.resblocks", "vision_model.encoder.layers"),
    "image_tower.norm": ("visual.ln_post", "vision_model.post_layernorm"),
    "image_projection.weight": ("visual.proj", "visual_projection.weight"),
    "text_tower.words.table": ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    "text_tower.positions": ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    "text_tower.blocks": ("transformer.resblocks", "text_model.encoder.layers"),
    "text_tower.norm": ("ln_final", "text_model.final_layer_norm"),
    "text_projection.weight": ("text_projection", "text_projection.weight"),
    "log_scale": ("logit_scale", "logit_scale"),
}
_LAYERS = {
    "norm1": ("ln_1", "layer_norm1"),
    "attention.qkv": ("attn.in_proj", "self_attn"),
    "attention.out": ("attn.out_proj", "self_attn.out_proj"),
    "norm2": ("ln_2", "layer_norm2"),
    "mlp.hidden": ("mlp.c_fc", "mlp.fc1"),
    "mlp.out": ("mlp.c_proj", "mlp.fc2"),
}
_LEFT_OUT = ("position_ids", "input_resolution", "context_length", "vocab_size")  # numbers that files have beside


def views(state: Arrays, image: ViTConfig, hub: bool) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the names and in the shapes of Hugging Face, or of OpenAI."""
    return {theirs: view for name, x in state.items() for theirs, view in _views(name, x, image, hub)}


def _views(name: str, x: np.ndarray, image: ViTConfig, hub: bool) -> Iterator[tuple[str, np.ndarray]]:
    part = next(part for part in _PARTS if name == part or name.startswith(f"{part}."))
    theirs, rest = _PARTS[part][hub], name.removeprefix(part).removeprefix(".")
    if part.endswith("blocks"):
        number, _, layer = rest.partition(".")
        layer, _, leaf = layer.rpartition(".")
        theirs, rest = f"{theirs}.{number}.{_LAYERS[layer][hub]}", leaf
        if layer == "attention.qkv":
            if not hub:
                yield f"{theirs}_{leaf}", x.T
            for i, letter in enumerate("qkv" if hub else ""):
                width = x.shape[-1] // 3
                yield f"{theirs}.{letter}_proj.{leaf}", x[..., i * width : (i + 1) * width].T
            return
    leaf = {"scale": "weight"}.get(rest, rest)
    if part.endswith("patch_embed.projection"):
        x = x.reshape(*image.patch_size, image.channels, -1).transpose(3, 2, 0, 1)
    elif part in ("image_tower.class_token", "image_tower.position_embedding", "log_scale"):
        x = x.reshape({"image_tower.class_token": (-1,), "log_scale": ()}.get(part, x.shape[1:]))
    elif leaf == "weight" or (hub and part.endswith("projection.weight")):
        x = x.T
    yield f"{theirs}.{leaf}".removesuffix("."), x


def load(arrays: Arrays, objective: CLIP, source: str = "the file") -> None:
    """Copy published weights, OpenAI's or Hugging Face's, into the objective. Raises CheckpointError."""
    given = {name: x for name, x in arrays.items() if name.rpartition(".")[2] not in _LEFT_OUT}
    state = {name: tensor.data for name, tensor in objective.named_tensors()}
    fill(views(state, objective.encoder.config, is_hub(arrays)), given, source)


def is_hub(arrays: Arrays) -> bool:
    """Whether the names are Hugging Face's, not OpenAI's."""
    return "visual.conv1.weight" not in arrays


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> CLIP:
    """The objective with these weights. What they tell of its shape need not stand in the configuration, which is
    Hugging Face's; without one, heads are of 64 features, and the largest id of a text is its <end>."""
    told = told_by(arrays, source)
    image, fields, text = towers.of_both(config, told, "quick_gelu", 1e-5, source)
    end = text.get("eos_token_id", 2)
    own = CLIPConfig(
        **fields,
        end=None if end == 2 else end,  # 2 stands in old files, whose <end> is the largest id
        shared=config.get("projection_dim", text["projection"]),
    )
    objective = CLIP(own, image, None, dtype)
    load(arrays, objective, source)
    return objective


def told_by(arrays: Arrays, source: str) -> dict[str, dict[str, Any]]:
    """What the shapes of the arrays tell of Hugging Face's configuration, a square grid and heads of 64 features."""
    hub, shapes = is_hub(arrays), Shapes(arrays, source, "CLIP")
    patches = _PARTS["image_tower.patch_embed.projection"][hub]
    width, channels, *patch = shapes(f"{patches}.weight", 4)
    side = math.isqrt(max(1, shapes(_PARTS["image_tower.position_embedding"][hub], 2)[0] - 1))
    vocabulary, text_width = shapes(_PARTS["text_tower.words.table"][hub], 2)
    found: dict[str, dict[str, Any]] = {
        "vision": {"image_size": [side * p for p in patch], "patch_size": patch, "num_channels": channels},
        "text": {
            "vocab_size": vocabulary,
            "max_position_embeddings": shapes(_PARTS["text_tower.positions"][hub], 2)[0],
            "projection": shapes(_PARTS["text_projection.weight"][hub], 2)[0 if hub else 1],
        },
    }
    for tower, blocks, wide in (("vision", "image_tower.blocks", width), ("text", "text_tower.blocks", text_width)):
        prefix = _PARTS[blocks][hub]
        hidden = shapes(f"{prefix}.0.{_LAYERS['mlp.hidden'][hub]}.weight", 2)[0]
        depth = shapes.depth(rf"{re.escape(prefix)}\.(\d+)\.")
        found[tower] |= dict(zip(towers.SHAPE.values(), (wide, depth, max(1, wide // 64), hidden), strict=True))
    return found


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> CLIP:
    """The objective of a file of published weights (.safetensors), both towers, with OpenAI's names or Hugging Face's.

    fields: as in Hugging Face's config.json, which is read where it lies beside the file; hidden_act="gelu" for LAION's
    models without one. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    return build({**beside(path, "clip"), **fields}, read_arrays(path)[0], dtype, str(path))


class Padded(CausalAttention):
    """Causal attention that does not look at padding either, as Hugging Face's code where it is given a mask.

    present: (B, T), whether a token is one. Rows before the padding are the same with or without it.
    """

    def __init__(self, attention: Module, present: np.ndarray):
        vars(self).update(vars(attention))
        self.present = present

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, queries: int | None = None) -> Tensor:
        tokens, width = x.shape[1:]
        qkv = self.qkv(x)
        q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
        mask = xp_of(x.data).tri(tokens, dtype=bool) & self.present[:, None, None, :]
        return self.out(F.attend(q, k, v, heads=self.heads, mask=mask))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that CLIP defines, by its name there: of each part that has a loss."""
    return {part + name: x for part in towers.parts(case) for name, x in _recompute(case, part).items()}


def _recompute(case: Case, part: str) -> dict[str, np.ndarray]:
    objective = build(case.config, case.weights, source=case.name).eval()
    images = Tensor(case.images("image"), requires_grad=True)
    if f"{part}attention_mask" in case.arrays:
        present = case.input(f"{part}attention_mask").astype(bool)
        for block in objective.text_tower.blocks:
            block.attention = Padded(block.attention, present)
    found, named, tap = towers.recompute(case, objective, images)
    found |= {
        "tap/vision_embeddings": ViT.embed(objective.image_tower, images).data,
        "tap/vision_pre_layernorm": tap["embedded"].data,
        "tap/vision_post_layernorm": tap["features"].data,
    }
    for name, hub_name in (("embeddings", "embeddings"), ("pre_layernorm", "pre_layrnorm"), ("post_layernorm",) * 2):
        found[f"tap/vision_model.{hub_name}"] = found[f"tap/vision_{name}"]
    for hub in (False, True):
        published = views(named, objective.encoder.config, hub)
        found |= {f"grad/{name}": g for name, g in published.items()}
    return found

"""SigLIP as Hugging Face's files have it: names and shapes of its arrays, and what was recorded of it."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.published import Arrays, beside, fill
from minivit.lineage.recorded import towers
from minivit.lineage.siglip import SigLIP, SigLIPConfig
from minivit.lineage.verify import Case
from minivit.models import ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.layouts import HEADS, Shapes
from minivit.tensor import Tensor

_PARTS = {  # ours -> Hugging Face's
    "image_tower.patch_embed.projection": "vision_model.embeddings.patch_embedding",
    "image_tower.position_embedding": "vision_model.embeddings.position_embedding.weight",
    "image_tower.blocks": "vision_model.encoder.layers",
    "image_tower.norm": "vision_model.post_layernorm",
    "image_tower.pool.probe": "vision_model.head.probe",
    "image_tower.pool.attention.out": "vision_model.head.attention.out_proj",
    "image_tower.pool.attention": "vision_model.head.attention",
    "image_tower.pool.norm": "vision_model.head.layernorm",
    "image_tower.pool.mlp.hidden": "vision_model.head.mlp.fc1",
    "image_tower.pool.mlp.out": "vision_model.head.mlp.fc2",
    "text_tower.words.table": "text_model.embeddings.token_embedding.weight",
    "text_tower.positions": "text_model.embeddings.position_embedding.weight",
    "text_tower.blocks": "text_model.encoder.layers",
    "text_tower.norm": "text_model.final_layer_norm",
    "text_head": "text_model.head",
    "log_scale": "logit_scale",
    "bias": "logit_bias",
}
_LAYERS = {
    "norm1": "layer_norm1",
    "attention.qkv": "self_attn",
    "attention.out": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp.hidden": "mlp.fc1",
    "mlp.out": "mlp.fc2",
}
_POOL = "vision_model.head.attention.in_proj_"  # query, key and value in one array
_POOLED = ("query", "key", "value")


def views(state: Arrays, image: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under Hugging Face's names and in its shapes. in_proj_weight and
    in_proj_bias are three views each: with "/query", "/key" and "/value" behind the name."""
    return {theirs: view for name, x in state.items() for theirs, view in _views(name, x, image)}


def _views(name: str, x: np.ndarray, image: ViTConfig) -> Iterator[tuple[str, np.ndarray]]:
    part = next(part for part in _PARTS if name == part or name.startswith(f"{part}."))
    theirs, rest = _PARTS[part], name.removeprefix(part).removeprefix(".")
    layer, _, leaf = rest.rpartition(".")
    if part.endswith("pool.attention"):
        yield f"{_POOL}{leaf}/{layer}", x.T
        return
    if part.endswith("blocks"):
        number, _, layer = layer.partition(".")
        theirs = f"{theirs}.{number}.{_LAYERS[layer]}"
    if layer == "attention.qkv":
        width = x.shape[-1] // 3
        for i, letter in enumerate("qkv"):
            yield f"{theirs}.{letter}_proj.{leaf}", x[..., i * width : (i + 1) * width].T
        return
    if part.endswith("patch_embed.projection") and leaf == "weight":
        x = x.reshape(*image.patch_size, image.channels, -1).transpose(3, 2, 0, 1)
    elif part.endswith("position_embedding"):
        x = x[0]
    elif leaf == "weight":
        x = x.T
    leaf = {"scale": "weight"}.get(leaf, leaf)
    yield f"{theirs}.{leaf}".removesuffix("."), x


def split(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays of a file under the names of `views`."""
    found: dict[str, np.ndarray] = {}
    for name, x in arrays.items():
        if name.startswith(_POOL) and x.shape[0] % 3 == 0:
            found |= {f"{name}/{of}": y for of, y in zip(_POOLED, np.split(x, 3), strict=True)}
        elif not name.endswith("position_ids"):
            found[name] = x.reshape(1) if name in ("logit_scale", "logit_bias") and x.size == 1 else x
    return found


def joined(named: Arrays) -> dict[str, np.ndarray]:
    """`views` with query, key and value joined, as in files."""
    whole = {name.partition("/")[0] for name in named}
    return {
        name: named[name] if name in named else np.concatenate([named[f"{name}/{of}"] for of in _POOLED])
        for name in whole
    }


def load(arrays: Arrays, objective: SigLIP, source: str = "the file") -> None:
    """Copy published weights into the objective. Raises CheckpointError."""
    state = {name: tensor.data for name, tensor in objective.named_tensors()}
    fill(views(state, objective.encoder.config), split(arrays), source)


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> SigLIP:
    """The objective with these weights. What they tell of its shape need not stand in the configuration, which is
    Hugging Face's. Without one, heads are of 64 features, or as in the published sizes."""
    image, fields, _ = towers.of_both(config, told_by(arrays, source), "gelu_pytorch_tanh", 1e-6, source)
    objective = SigLIP(SigLIPConfig(**fields), image, None, dtype)
    load(arrays, objective, source)
    return objective


def told_by(arrays: Arrays, source: str) -> dict[str, dict[str, Any]]:
    """What the shapes of the arrays tell of Hugging Face's configuration, with a square grid."""
    shapes = Shapes(arrays, source, "SigLIP")
    width, channels, *patch = shapes(f"{_PARTS['image_tower.patch_embed.projection']}.weight", 4)
    side = math.isqrt(shapes(_PARTS["image_tower.position_embedding"], 2)[0])
    vocabulary, text_width = shapes(_PARTS["text_tower.words.table"], 2)
    context = shapes(_PARTS["text_tower.positions"], 2)[0]
    found: dict[str, dict[str, Any]] = {
        "vision": {"image_size": [side * p for p in patch], "patch_size": patch, "num_channels": channels},
        "text": {"vocab_size": vocabulary, "max_position_embeddings": context},
    }
    for tower, wide in (("vision", width), ("text", text_width)):
        prefix = _PARTS[f"{'image' if tower == 'vision' else 'text'}_tower.blocks"]
        hidden = shapes(f"{prefix}.0.mlp.fc1.weight", 2)[0]
        depth, heads = shapes.depth(rf"{re.escape(prefix)}\.(\d+)\."), HEADS.get(wide, max(1, wide // 64))
        found[tower] |= dict(zip(towers.SHAPE.values(), (wide, depth, heads, hidden), strict=True))
    return found


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> SigLIP:
    """The objective of a file of published weights (.safetensors), both towers, with Hugging Face's names.

    fields: as in Hugging Face's config.json, which is read where it lies beside the file. Raises CheckpointError and
    ConfigError.
    """
    path = expanded(path)
    return build({**beside(path, "siglip"), **fields}, read_arrays(path)[0], dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that SigLIP defines, by its name there: of each part that has a loss."""
    objective = build(case.config, case.weights, source=case.name).eval()
    found, named, tap = towers.recompute(case, objective, Tensor(case.images("image"), requires_grad=True))
    found |= {
        "tap/vision_embeddings": tap["embedded"].data,
        "tap/vision_post_layernorm": tap["encoded"].data,
        "tap/map_head": tap["features"].data,
    }
    gradients = joined(views(named, objective.encoder.config))
    found |= {f"grad/{name}": g for name, g in gradients.items()}
    return {part + name: x for part in towers.parts(case) for name, x in found.items()}

"""BLIP-2 as published code has it: names and shapes of its arrays, its files, and what was recorded of it."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.blip2 import BLIP2, BLIP2Config, chances
from minivit.lineage.published import Arrays, beside, fill, gelu, pair, renamed
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.tensor import Tensor

_NAMES = (  # ours -> Hugging Face's, of which parts are called as in `views`
    (r"^vision\.class_token$", "vision_model.embeddings.class_embedding"),
    (r"^vision\.position_embedding$", "vision_model.embeddings.position_embedding"),
    (r"^vision\.patch_embed\.projection\.", "vision_model.embeddings.patch_embedding."),
    (r"^vision\.norm\.", "vision_model.post_layernorm."),
    (r"^vision\.blocks\.(\d+)\.norm", r"vision_model.encoder.layers.\1.layer_norm"),
    (r"^vision\.blocks\.(\d+)\.attention\.out\.", r"vision_model.encoder.layers.\1.self_attn.projection."),
    (r"^vision\.blocks\.(\d+)\.attention\.", r"vision_model.encoder.layers.\1.self_attn."),
    (r"^vision\.blocks\.(\d+)\.mlp\.hidden\.", r"vision_model.encoder.layers.\1.mlp.fc1."),
    (r"^vision\.blocks\.(\d+)\.mlp\.out\.", r"vision_model.encoder.layers.\1.mlp.fc2."),
    (r"^qformer\.queries$", "query_tokens"),
    (r"^qformer\.(words|positions)\.table$", r"embeddings.\1_embeddings.weight"),
    (r"^embeddings\.words_", "embeddings.word_"),
    (r"^embeddings\.positions_", "embeddings.position_"),
    (r"^qformer\.norm\.", "qformer.layernorm."),
    (r"^qformer\.layers\.", "qformer.encoder.layer."),
    (r"(?<=\d)\.attention\.out\.", ".attention.output.dense."),
    (r"(?<=\d)\.attention\.qkv\.", ".attention.attention.qkv."),
    (r"(?<=\d)\.norm1\.", ".attention.output.LayerNorm."),
    (r"(?<=\d)\.cross\.out\.", ".crossattention.output.dense."),
    (r"(?<=\d)\.cross\.", ".crossattention.attention."),
    (r"(?<=\d)\.cross_norm\.", ".crossattention.output.LayerNorm."),
    (r"(?<=\d)\.query_mlp\.hidden\.", ".intermediate_query.dense."),
    (r"(?<=\d)\.query_mlp\.out\.", ".output_query.dense."),
    (r"(?<=\d)\.query_norm\.", ".output_query.LayerNorm."),
    (r"(?<=\d)\.mlp\.hidden\.", ".intermediate.dense."),
    (r"(?<=\d)\.mlp\.out\.", ".output.dense."),
    (r"(?<=\d)\.norm2\.", ".output.LayerNorm."),
    (r"^image_projection\.", "vision_projection."),
    (r"^match\.", "itm_head."),
    (r"^transform\.", "lm_head.dense."),
    (r"^transform_norm\.", "lm_head.LayerNorm."),
    (r"^words_bias$", "lm_head.bias"),
    (r"^temperature$", "temp"),
    (r"\.scale$", ".weight"),
)
_LAVIS = (  # LAVIS's -> Hugging Face's
    (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual_encoder\.blocks\.(\d+)\.norm", r"vision_model.encoder.layers.\1.layer_norm"),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision_model.encoder.layers.\1.self_attn.projection."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.", r"vision_model.encoder.layers.\1.self_attn."),
    (r"^visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision_model.encoder.layers.\1.mlp."),
    (r"^ln_vision\.", "vision_model.post_layernorm."),
    (r"^vision_proj\.", "vision_projection."),
    (r"^text_proj\.", "text_projection."),
    (r"^Qformer\.cls\.predictions\.transform\.", "lm_head."),
    (r"^Qformer\.cls\.predictions\.", "lm_head."),
    (r"^Qformer\.bert\.embeddings\.LayerNorm\.", "qformer.layernorm."),
    (r"^Qformer\.bert\.embeddings\.", "embeddings."),
    (r"^Qformer\.bert\.", "qformer."),
    (r"(?<=attention\.)self(?=\.(query|key|value)\.)", "attention"),
)
_DROPPED = re.compile(r"(^|\.)position_ids$")
_TABLE = "embeddings.word_embeddings.weight"
_TIED = {"lm_head.decoder.weight": _TABLE, "lm_head.decoder.bias": "lm_head.bias"}
_SHAPES = {"query_tokens": (1,), "temp": ()}
_OURS = {  # fields of the Q-Former
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "intermediate_size": "mlp_width",
    "cross_attention_frequency": "cross_every",
    "vocab_size": "vocabulary",
    "max_position_embeddings": "positions",
    "pad_token_id": "pad",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "norm_eps",
}


def canonical(arrays: Arrays, source: str = "the file") -> dict[str, np.ndarray]:
    """The arrays of a file in either layout, under Hugging Face's names without "model.". Raises CheckpointError for
    one whose logits have a table of their own."""
    kept = {name.removeprefix("model."): x for name, x in arrays.items() if not _DROPPED.search(name)}
    found = {hub_name(name): x for name, x in kept.items()}
    if len(found) < len(arrays) - sum(map(bool, map(_DROPPED.search, arrays))):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    for name, original in _TIED.items():
        copy = found.pop(name, None)
        if copy is not None and not np.array_equal(copy, found.setdefault(original, copy)):
            raise CheckpointError(f"{source}: {name} differs from {original}, with which BLIP-2 shares it")
    for name in [name for name in found if name.endswith(".q_bias")]:  # keys have no bias
        queries, values = found.pop(name), found.pop(name.replace("q_bias", "v_bias"))
        found[name.replace("q_bias", "qkv.bias")] = np.concatenate([queries, 0 * queries, values])
    return found


def hub_name(name: str) -> str:
    """A name of either layout as Hugging Face has it, without "model."."""
    return renamed(name.removeprefix("model."), _LAVIS)


def views(state: Arrays, vision: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under Hugging Face's names without "model.", and in its shapes."""
    found: dict[str, np.ndarray] = {}
    for name, x in state.items():
        theirs = renamed(name, _NAMES)
        if "patch_embed." in name and x.ndim == 2:
            x = x.reshape(*vision.patch_size, vision.channels, -1).transpose(3, 2, 0, 1)
        elif name.endswith(".weight"):
            x = x.T
        elif theirs in _SHAPES:
            x = x.reshape(_SHAPES[theirs] + (x.shape if theirs == "query_tokens" else ()))
        parts = {theirs: x}
        if ".attention.attention.qkv." in theirs:
            kinds, third = ("query", "key", "value"), len(x) // 3
            parts = {theirs.replace("qkv", k): x[i * third : (i + 1) * third] for i, k in enumerate(kinds)}
        found |= parts
    return found


def told_by(arrays: Arrays, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of the encoder's ViTConfig and of BLIP2Config that the arrays tell, and the usual for the rest."""
    shapes = Shapes(arrays, source, "BLIP-2")
    wide, channels, *patch = shapes("vision_model.embeddings.patch_embedding.weight", 4)
    side = math.isqrt(max(1, shapes("vision_model.embeddings.position_embedding", 3)[1] - 1))
    vision = {
        "image_size": tuple(side * pixels for pixels in patch),
        "patch_size": tuple(patch),
        "channels": channels,
        "width": wide,
        "depth": shapes.depth(r"vision_model\.encoder\.layers\.(\d+)\."),
        "heads": max(1, wide // (88 if wide % 88 == 0 else 64)),  # of EVA-CLIP g, and of the others
        "mlp_width": shapes("vision_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
        "num_classes": 0,
        "gelu": "erf",
        "norm_eps": 1e-6,
        "qkv_bias": "vision_model.encoder.layers.0.self_attn.qkv.bias" in arrays,
    }
    _, queries, width = shapes("query_tokens", 3)
    crossing = sorted({int(m[1]) for m in (re.search(r"layer\.(\d+)\.crossattention", name) for name in arrays) if m})
    depth = shapes.depth(r"qformer\.encoder\.layer\.(\d+)\.")
    own: dict[str, Any] = {
        "queries": queries,
        "width": width,
        "depth": depth,
        "heads": max(1, width // 64),
        "mlp_width": shapes("qformer.encoder.layer.0.intermediate_query.dense.weight", 2)[0],
        "cross_every": crossing[1] if len(crossing) > 1 else depth,
        "vocabulary": shapes(_TABLE, 2)[0],
        "positions": shapes("embeddings.position_embeddings.weight", 2)[0],
        "shared": shapes("text_projection.weight", 2)[0],
    }
    return vision, own


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> BLIP2:
    """The objective with these arrays, `canonical` ones. What they tell of its shape need not stand in the
    configuration, which is Hugging Face's; bos: the id of [DEC], by default the last. Nothing of it is frozen. Raises
    CheckpointError."""
    shape, own = told_by(arrays, source)
    vision, text = (config.get(name, config.get(f"{name}_config", {})) for name in ("vision", "qformer"))
    theirs = {"image_size": "image_size", "patch_size": "patch_size", "num_attention_heads": "heads"}
    theirs |= {"layer_norm_eps": "norm_eps", "qkv_bias": "qkv_bias"}
    shape |= {ours: pair(vision[name]) for name, ours in theirs.items() if name in vision}
    shape["gelu"] = gelu(vision.get("hidden_act", "gelu"), source)
    own |= {ours: text[name] for name, ours in _OURS.items() if text.get(name) is not None}
    own["gelu"] = gelu(text.get("hidden_act", "gelu"), source)
    own["start"] = config.get("bos", own["vocabulary"] - 1)
    own["pad"] = config.get("pad", own.get("pad", 0))
    objective = BLIP2(BLIP2Config(**own, frozen=False), ViT(ViTConfig(**shape), None, dtype), None, dtype)
    fill(
        views({name: tensor.data for name, tensor in objective.named_tensors()}, objective.vision.config),
        arrays,
        source,
    )
    return objective


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> BLIP2:
    """The objective of a file of stage 1 (.safetensors), with LAVIS's names or Hugging Face's.   fields: as in Hugging
    Face's config.json, which is read where it lies beside the file. Raises CheckpointError and ConfigError."""
    path = expanded(path)
    arrays, stated = read_arrays(path)[0], {**beside(path, "blip-2"), **fields}
    objective = build(stated, canonical(arrays, str(path)), dtype, str(path))
    if "ln_vision.weight" in arrays and not stated:
        objective.vision.norm.eps = 1e-5  # in LAVIS of this LayerNorm alone
    return objective


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that BLIP-2 defines, by its name there."""
    objective = build({**case.meta, **case.config}, canonical(case.weights, case.name), source=case.name).eval()
    count, own = objective.config.queries, objective.config
    images, ids, seen = Tensor(case.images("image"), requires_grad=True), case.input("input_ids"), None
    seen = case.input("attention_mask") if "attention_mask" in case.arrays else (ids != own.pad).astype(np.int64)
    batch: dict[str, Any] = {"images": images, "caption": ids, "seen": seen}
    outputs = objective(batch)
    alone: dict[str, Any] = {}
    joint: dict[str, Any] = {}
    patches, former = outputs[0], objective.qformer
    queries, text = former(patches, tap=alone), former(None, ids, seen)
    former(patches, objective.begun(ids), seen, causal=True, tap=joint)
    similar = objective.similarity(outputs)
    wrong = case.input("itm/negative_image_of_text"), case.input("itm/negative_text_of_image")
    pairs = objective.pairs(patches, batch, *wrong)
    losses = {name: loss_of(objective, batch, wrong, (name,)) for name in ("itc", "itm", "itg")}
    total = loss_of(objective, batch, wrong, tuple(losses))
    allowed = former.mask(ids, seen, count, True)[:, 0]
    found = {
        **{f"queries/{name}": x.data for name, x in alone.items()},
        **{f"joint/{name}": x.data for name, x in joint.items()},
        "vision/output": patches.data,
        "queries/output": queries.data,
        "text/output": text.data,
        "itc/image_features": outputs[1].data,
        "itc/text_features": outputs[2].data,
        "itc/similarity_per_query": objective.by_query(outputs).data,
        "itc/sim_i2t": similar.data,
        "itc/sim_t2i": similar.data.T,
        "itm/weights_t2i": chances(similar.data.T),
        "itm/weights_i2t": chances(similar.data),
        "itm/logits": pairs.data,
        "itg/decoder_input_ids": objective.begun(ids),
        "itg/labels": objective.labels(ids),
        "itg/allowed": np.broadcast_to(allowed, (len(ids), *allowed.shape[1:])),
        "itg/logits": outputs[3].data,
    }
    for before, loss in {"": total, **{f"{name}/": loss for name, loss in losses.items()}}.items():
        asked = {name.removeprefix(before) for name in case.arrays if name.startswith(f"{before}grad")}
        if not asked and f"{before}loss" not in case.arrays:
            continue
        named, new = case.differentiated(loss, images, objective)
        new |= {"loss": loss.data, **gradients_of(named, objective.vision.config, asked)}
        found |= {f"{before}{name}": x for name, x in new.items()}
    return found


def gradients_of(named: Arrays, vision: ViTConfig, asked: Iterable[str]) -> dict[str, np.ndarray]:
    """Gradients by our names -> those of which a recording has the names, in either layout."""
    gradients, found = views(named, vision), {}
    gradients |= {name: gradients[original] for name, original in _TIED.items()}
    for name in [name for name in gradients if name.endswith(".qkv.bias")]:  # LAVIS has no biases of keys
        queries, _, values = np.split(gradients[name], 3)
        gradients |= {name.replace("qkv.bias", "q_bias"): queries, name.replace("qkv.bias", "v_bias"): values}
    for name in (name.removeprefix("grad/") for name in asked if name.startswith("grad/")):
        if hub_name(name) in gradients:
            found[f"grad/{name}"] = gradients[hub_name(name)]
    return found


def loss_of(objective: BLIP2, batch: dict[str, Any], wrong: tuple[np.ndarray, ...], names: tuple[str, ...]) -> Tensor:
    """The sum of some of the three losses, with the recorded wrong pairs."""
    outputs = objective(batch)
    similar, total = objective.similarity(outputs), Tensor(np.zeros(()))
    for name in names:
        pairs = objective.pairs(outputs[0], batch, *wrong) if name == "itm" else None
        total = total + (
            getattr(objective, name)(outputs, batch, similar) if pairs is None else objective.matching(pairs)
        )
    return total

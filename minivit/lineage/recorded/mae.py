"""MAE as published code has it: names and shapes of its arrays, and what was recorded of it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.mae import MAE, MAEConfig
from minivit.lineage.published import Arrays, beside, fill, gelu, pair
from minivit.lineage.recorded import modules
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.convert_timm import to_timm
from minivit.models.layouts import HEADS, Shapes
from minivit.nn import patchify
from minivit.tensor import Tensor

_SIZES = {"image_size": "image_size", "patch_size": "patch_size"}  # ours -> Hugging Face's
_DECODER_SHAPE = {
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
}
_ENCODER = {**_DECODER_SHAPE, "channels": "num_channels"}
_DECODER = {"embed": "decoder_embed", "norm": "decoder_norm", "pixels": "decoder_pred"}  # ours -> theirs
_USUAL = {"layer_norm_eps": 1e-12, "norm_pix_loss": False}  # where Hugging Face's configuration does not say
_MODULES = {  # what names of modules begin with -> the same for ours
    r"vit\.": "network.",
    r"decoder\.decoder_(layers|encoder\.layer)\.": "decoder.blocks.",
    r"decoder_blocks\.": "decoder.blocks.",
    r"decoder\.": "decoder.",
    r"(?=decoder_)": "decoder.",
    "": "network.",
}
_HUB = (  # of Hugging Face, in files and (version 5) in memory -> models_mae.py
    (r"^vit\.(?=embeddings|encoder|layers|layernorm)", ""),
    (r"^embeddings\.cls_token", "cls_token"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^(encoder\.layer|layers)\.", "blocks."),
    (r"^layernorm\.", "norm."),
    (r"^decoder\.(decoder_layers|decoder_encoder\.layer)\.", "decoder_blocks."),
    (r"^decoder\.", ""),
    (r"(?<=\d\.)layernorm_before", "norm1"),
    (r"(?<=\d\.)layernorm_after", "norm2"),
    (r"(?<=\d\.)attention\.(output\.dense|o_proj)", "attn.proj"),
    (r"(?<=\d\.)attention\.(attention\.)?(query|q_proj)", "attn.0"),
    (r"(?<=\d\.)attention\.(attention\.)?(key|k_proj)", "attn.1"),
    (r"(?<=\d\.)attention\.(attention\.)?(value|v_proj)", "attn.2"),
    (r"(?<=\d\.)intermediate\.dense", "mlp.fc1"),
    (r"(?<=\d\.)output\.dense", "mlp.fc2"),
)


def official_name(name: str) -> str:
    """A name of Hugging Face's as models_mae.py has it; queries, keys and values, which that packs, are attn.0, attn.1
    and attn.2."""
    for theirs, official in _HUB:
        name = re.sub(theirs, official, name)
    return name


def canonical(arrays: Arrays, source: str = "the file") -> dict[str, np.ndarray]:
    """The arrays of a file in either layout, under the official names. Raises CheckpointError."""
    found = {official_name(name.removeprefix("model.")): x for name, x in arrays.items()}
    if len(found) < len(arrays):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    for name in [name for name in found if ".attn.0." in name]:
        parts = [name.replace(".attn.0.", f".attn.{i}.") for i in range(3)]
        if all(part in found for part in parts):
            found[name.replace(".attn.0.", ".attn.qkv.")] = np.concatenate([found.pop(part) for part in parts])
    return found


def views(state: Arrays, encoder: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the official names and in the official shapes."""
    inside = {prefix: _under(f"{prefix}.", state) for prefix in ("network", "decoder")}
    blocks = {name: x for name, x in inside["decoder"].items() if name.startswith("blocks.")}
    arrays = to_timm(inside["network"], encoder)
    arrays |= {f"decoder_{name}": x for name, x in to_timm(blocks, encoder).items()}
    for name in inside["decoder"].keys() - blocks.keys():
        module, _, leaf = name.partition(".")
        theirs = {"mask_token": "mask_token", "positions": "decoder_pos_embed"}.get(name)
        theirs = theirs or f"{_DECODER[module]}.{'weight' if leaf == 'scale' else leaf}"
        arrays[theirs] = inside["decoder"][name].T if leaf == "weight" else inside["decoder"][name]
    return arrays


def _under(prefix: str, state: Arrays) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}


def load(arrays: Arrays, objective: MAE, source: str = "the file") -> None:
    """Copy published weights, official or Hugging Face's, into the objective. Raises CheckpointError."""
    own = views({name: tensor.data for name, tensor in objective.named_tensors()}, objective.encoder.config)
    fill(own, canonical(arrays, source), source)


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> MAE:
    """The objective that a configuration of Hugging Face's describes, with these weights."""
    shape = ViTConfig(
        **{name: pair(config[theirs]) for name, theirs in _SIZES.items()},
        **{name: config[theirs] for name, theirs in _ENCODER.items()},
        num_classes=0,
        gelu=gelu(config.get("hidden_act", "gelu"), source),
        norm_eps=config.get("layer_norm_eps", 1e-12),  # Hugging Face's default; the official code has 1e-6
        qkv_bias=config.get("qkv_bias", True),
    )
    own = MAEConfig(
        **{name: config[f"decoder_{theirs}"] for name, theirs in _DECODER_SHAPE.items()},
        masked=config.get("mask_ratio", 0.75),
        normalise=config.get("norm_pix_loss", False),
    )
    objective = MAE(own, ViT(shape, None, dtype), None, dtype)
    load(arrays, objective, source)
    return objective


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> MAE:
    """The objective of a file of published weights, encoder and decoder, official or Hugging Face's (.safetensors).

    fields: as in Hugging Face's config.json, which is read where it lies beside the file. Where there is none the
    shapes tell most, and for the rest it is taken to be like those that are published: a square grid, heads of 64
    features in the encoder and of 32 in the decoder, epsilon 1e-6. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    arrays = canonical(read_arrays(path)[0], str(path))
    stated = beside(path, "vit_mae")
    theirs = _USUAL if stated else {}
    config = {**told_by(arrays, str(path)), **theirs, **stated, **fields}
    return build(config, arrays, dtype, str(path))


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """What the shapes of the official arrays tell of Hugging Face's configuration, and the usual for the rest."""
    shapes = Shapes(arrays, source, "masked autoencoder's")
    width, channels, *patch = shapes("patch_embed.proj.weight", 4)
    own, side = shapes("decoder_embed.weight", 2)[0], math.isqrt(max(1, shapes("pos_embed", 3)[1] - 1))
    return {
        "image_size": [side * pixels for pixels in patch],
        "patch_size": patch,
        "num_channels": channels,
        "hidden_size": width,
        "num_hidden_layers": shapes.depth(r"blocks\.(\d+)\."),
        "num_attention_heads": HEADS.get(width, max(1, width // 64)),
        "intermediate_size": shapes("blocks.0.mlp.fc1.weight", 2)[0],
        "decoder_hidden_size": own,
        "decoder_num_hidden_layers": shapes.depth(r"decoder_blocks\.(\d+)\."),
        "decoder_num_attention_heads": max(1, own // 32),
        "decoder_intermediate_size": shapes("decoder_blocks.0.mlp.fc1.weight", 2)[0],
        "layer_norm_eps": 1e-6,
        "qkv_bias": "blocks.0.attn.qkv.bias" in arrays,
        "norm_pix_loss": True,
    }


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that MAE defines, by its name there."""
    weights = canonical(case.weights, case.name)
    told = told_by(weights, case.name) | (_USUAL if case.config else {})
    objective = build({**told, **case.config}, weights, source=case.name).eval()
    images, order = Tensor(case.images("image"), requires_grad=True), case.input("noise").argsort(axis=1)
    batch: dict[str, Any] = {"images": images, "order": order, "back": order.argsort(axis=1)}
    with modules.noted(objective) as inner:
        outputs = objective(batch)
    pixels, targets = outputs[0].data, objective.targets(images).data
    loss = objective.loss(outputs, batch)
    named, differentiated = case.differentiated(loss, images, objective)
    found = {
        "mask": (batch["back"] >= objective.visible).astype(np.int64),
        "ids_restore": batch["back"],
        "logits": pixels,
        "target": patchify(images, objective.encoder.config.patch_size).data,
        "target_used": targets,
        "loss_per_patch": np.square(pixels - targets).mean(axis=-1),
        "loss": loss.data,
        **differentiated,
    }
    official = in_both_layouts(views(named, objective.encoder.config), case)
    found |= {f"grad/{name}": g for name, g in official.items()}
    taps = inside(objective, batch)
    inner |= {"network.embedded": taps["embeddings"], "network.norm": taps["latent"]}
    inner |= {"decoder.decoder_embed": taps["decoder_embed"], "decoder.decoder_norm": taps["decoder_norm"]}
    inner |= {"decoder.decoder_pred": inner["decoder.pixels"]}
    found |= modules.taps(case, "", inner, _MODULES)
    return found | {f"tap/{name}": x for name, x in taps.items()}


def inside(objective: MAE, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What stands between the parts of the two networks."""
    tap: dict[str, Any] = {"embeddings": objective.embed(batch)}  # type: ignore[arg-type]
    encoded = objective.encoder.encode(tap["embeddings"], tap=tap)
    decoder = objective.decoder
    embedded = decoder.embed(encoded)
    hidden = decoder.in_place(embedded, batch["back"])
    tap.update(latent=encoded, decoder_embed=embedded, decoder_tokens=hidden)
    for i, block in enumerate(decoder.blocks):
        tap[f"decoder{i}"] = hidden = block(hidden)
    tap["decoder_norm"] = decoder.norm(hidden)
    return {re.sub(r"^block(\d+)(/output)?", r"encoder\1", name): getattr(x, "data", x) for name, x in tap.items()}


def in_both_layouts(official: Arrays, case: Case) -> dict[str, np.ndarray]:
    """Gradients under their official names, and those that the recording names in Hugging Face's layout."""
    found = dict(official)
    for name in (name.removeprefix("grad/") for name in case.arrays if name.startswith("grad/")):
        theirs = official_name(name)
        packed = re.sub(r"\.attn\.\d\.", ".attn.qkv.", theirs)
        if name not in found and packed in official:
            part = re.search(r"\.attn\.(\d)\.", theirs)
            found[name] = np.split(official[packed], 3)[int(part[1])] if part else official[packed]
    return found

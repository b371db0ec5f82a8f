"""MAE as published code has it: names and shapes of its arrays, and what was recorded of it."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.lineage.mae import MAE, MAEConfig
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.convert_timm import to_timm
from minivit.nn import patchify
from minivit.nn.module import check_match
from minivit.tensor import Tensor, grad

Arrays = Mapping[str, np.ndarray]

_DECODER = {"embed": "decoder_embed", "norm": "decoder_norm", "pixels": "decoder_pred"}  # ours -> theirs
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


def canonical(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays of a file in either layout, under the official names."""
    found = {official_name(name.removeprefix("model.")): x for name, x in arrays.items()}
    for name in [name for name in found if ".attn.0." in name]:
        parts = [found.pop(name.replace(".attn.0.", f".attn.{i}.")) for i in range(3)]
        found[name.replace(".attn.0.", ".attn.qkv.")] = np.concatenate(parts)
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
    given = canonical(arrays)
    check_match({name: view.shape for name, view in own.items()}, given, source)
    for name, view in own.items():
        view[...] = given[name]


def build(config: Mapping, arrays: Arrays) -> MAE:
    """The objective that a configuration of Hugging Face's describes, with these weights, in float64."""
    size, patch = config["image_size"], config["patch_size"]
    shape = ViTConfig(
        image_size=tuple(size) if isinstance(size, list) else size,
        patch_size=tuple(patch) if isinstance(patch, list) else patch,
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_width=config["intermediate_size"],
        num_classes=0,
        channels=config["num_channels"],
        gelu="erf" if config.get("hidden_act", "gelu") == "gelu" else "tanh",
        norm_eps=config["layer_norm_eps"],
        qkv_bias=config.get("qkv_bias", True),
    )
    own = MAEConfig(
        masked=config["mask_ratio"],
        width=config["decoder_hidden_size"],
        depth=config["decoder_num_hidden_layers"],
        heads=config["decoder_num_attention_heads"],
        mlp_width=config["decoder_intermediate_size"],
        normalise=config["norm_pix_loss"],
    )
    objective = MAE(own, ViT(shape, None, "float64"), None, "float64")
    load(arrays, objective)
    return objective


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that MAE defines, by its name there."""
    objective = build(case.config, case.weights).eval()
    images, order = Tensor(case.images("image"), requires_grad=True), case.input("noise").argsort(axis=1)
    back = order.argsort(axis=1)
    batch: dict[str, Any] = {"images": images, "order": order, "back": back}
    tap: dict[str, Any] = {}
    outputs = objective.forward(batch, tap=tap)
    pixels, targets = outputs[0].data, objective.targets(images).data
    loss = objective.loss(outputs, batch)
    in_images, *gradients = grad(loss, [images, *objective.parameters()])
    named = {name: g for (name, _), g in zip(objective.named_parameters(), gradients, strict=True)}
    found = {
        "mask": (back >= objective.visible).astype(np.int64),
        "ids_restore": back,
        "logits": pixels,
        "target": patchify(images, objective.encoder.config.patch_size).data,
        "target_used": targets,
        "loss_per_patch": np.square(pixels - targets).mean(axis=-1),
        "loss": loss.data,
        "grad_input/image": np.moveaxis(in_images, -1, 1),
        "grad_norm": np.sqrt(sum(float(np.square(g).sum()) for g in gradients)),
        "tap/latent": tap["encoded"].data,
    }
    for name, x in tap.items():
        theirs = name.removesuffix("/output").replace("block", "encoder")
        found[f"tap/{theirs}"] = x.data if isinstance(x, Tensor) else x
    official = in_both_layouts(views(named, objective.encoder.config), case)
    return found | {f"grad/{name}": g for name, g in official.items()}


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

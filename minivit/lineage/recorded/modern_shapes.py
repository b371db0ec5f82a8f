"""What published files of modern ViTs tell of their shape: official names as timm's, arrays as a configuration."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.lineage.modern_config import NAMES, ModernConfig, fields
from minivit.lineage.published import Arrays, pair
from minivit.models.beside_weights import read_json
from minivit.models.layouts import HEADS, Shapes

_OFFICIAL = (  # names of the official code and of Hugging Face -> timm's, in this order
    (r"^(module\.|model\.|backbone\.|beit\.|dinov3_vit\.|vit\.)+", ""),
    (r"^(model\.)?layers?\.(?=\d)", "blocks."),
    (r"^encoder\.layer\.", "blocks."),
    (r"^embeddings\.cls_token", "cls_token"),
    (r"^embeddings\.(register_tokens)", "reg_token"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^storage_tokens", "reg_token"),
    (r"^freqs$", "rope.freqs"),
    (r"^(encoder\.relative|shared)_position_bias\.", "rel_pos_bias."),
    (r"^pooler\.layernorm", "fc_norm"),
    (r"^layernorm", "norm"),
    (r"^classifier", "head"),
    (r"(?<=\d\.)layernorm_before", "norm1"),
    (r"(?<=\d\.)layernorm_after", "norm2"),
    (r"(?<=\d\.)attention\.output\.dense|(?<=\d\.)attention\.o_proj", "attn.proj"),
    (r"(?<=\d\.)(attention\.attention\.)?relative_position_bias\.", "attn."),
    (r"(?<=\d\.)attention\.(attention\.)?([qkv])(uery|ey|alue|_proj)(?=\.)", r"attn.\2_proj"),
    (r"(?<=\d\.)intermediate\.dense", "mlp.fc1"),
    (r"(?<=\d\.)output\.dense", "mlp.fc2"),
    (r"(?<=\d\.)attention(?=\.|$)", "attn"),
    (r"(?<=\d\.)(lambda_|layer_scale|ls)([12])(\.lambda1|\.gamma|)$", r"gamma_\2"),
    (r"(?<=mlp\.)w12(?=\.)", "fc1"),
    (r"(?<=mlp\.)(w1|gate_proj)(?=\.)", "fc1_g"),
    (r"(?<=mlp\.)(w2|up_proj)(?=\.)", "fc1_x"),
    (r"(?<=mlp\.)(w3|down_proj)(?=\.)", "fc2"),
    (r"(?<=mlp\.)ffn_ln", "norm"),
    (r"(?<=attn\.)inner_attn_ln", "norm"),
)
# Tables that are made anew, and what only pre-training needs.
_LEFT_OUT = (
    r"relative_position_index$|mask_token$|periods$|bias_mask$|^rope\.(?!freqs$)|freqs_(cos|sin|t_x|t_y)$|inv_freq$"
)
_LEFT_OUT += r"|^lm_head\.|^local_cls_norm"
_NAMED = ("rope", "rope_base", "rope_x_first", "rope_halves", "rope_grid", "norm_eps")  # by the name of a model
_HUB = {"num_attention_heads": "num_heads", "image_size": "img_size", "rope_theta": "rope_temperature"}
_UNKNOWN = ("use_post_norm", "num_kv_heads", "rope_mrope_section")  # options of timm's that change what arrays mean


def official_name(name: str) -> str:
    """A published name as timm has it."""
    for theirs, timm in _OFFICIAL:
        name = re.sub(theirs, timm, name)
    return name


def canonical(arrays: Arrays, source: str) -> dict[str, np.ndarray]:
    """The arrays of a file under timm's names, without tables that are made anew. Raises CheckpointError."""
    masked = any(name.endswith("bias_mask") for name in arrays)
    kept = {name: x for name, x in arrays.items() if not re.search(_LEFT_OUT, name)}
    found = {official_name(name): x for name, x in kept.items()}
    if len(found) < len(kept):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    gated = "blocks.0.mlp.fc1_g.weight" in found
    for name in list(found):
        if not gated and ".mlp.fc1_x." in name:  # up_proj of an MLP without gate
            found[name.replace("fc1_x", "fc1")] = found.pop(name)
        elif masked and name.endswith("attn.qkv.bias"):  # the part of the keys is not used
            q, _, v = np.split(found.pop(name), 3)
            found |= {name.replace("qkv.bias", "q_bias"): q, name.replace("qkv.bias", "v_bias"): v}
    return found


def stated(path: Path) -> dict[str, Any]:
    """What a config.json beside a file tells: timm's has the name of the model, Hugging Face's its `model_type`. Raises
    CheckpointError for one of another kind of model."""
    place = path.with_name("config.json")
    found = read_json(place) if place.is_file() else {}
    kind = found.get("model_type")
    if kind not in (None, "beit", "dinov3_vit"):
        raise CheckpointError(f"{place}: expected the configuration of timm, of a beit or of a dinov3_vit")
    if kind:
        return found
    told = {name: found[name] for name in ("architecture", "global_pool") if name in found}
    return {**told, **found.get("model_args", {})}


def in_timms_words(config: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """What a configuration tells beside arrays: timm's as it is, Hugging Face's with its usual values."""
    if not {"hidden_size", "num_hidden_layers", "num_attention_heads", "model_type"} & config.keys():
        return dict(config)
    dino = "reg_token" in arrays or "num_register_tokens" in config
    return {
        "norm_layer": f"eps {config.get('layer_norm_eps', 1e-5 if dino else 1e-12)}",
        "global_pool": "avg" if config.get("use_mean_pooling", not dino) else "token",
        "use_rot_pos_emb": dino,
        **({"rope_type": "dinov3", "rope_rotate_half": True} if dino else {}),
        **{timm: config[name] for name, timm in _HUB.items() if name in config},
    }


def shape_of(config: Mapping[str, Any], arrays: Arrays, source: str) -> ModernConfig:
    """The configuration of arrays under timm's names.   config: what is known of it, in timm's or Hugging Face's words.
    Raises CheckpointError."""
    config = in_timms_words(config, arrays)
    shapes = Shapes(arrays, source, "modern ViT's")
    width, channels, *patch = shapes("patch_embed.proj.weight", 4)
    first = "blocks.0."
    gated = f"{first}mlp.fc1_g.weight" in shapes
    inner = shapes(f"{first}mlp.fc2.weight", 2)[1]
    gated = gated or shapes(f"{first}mlp.fc1.weight", 2)[0] == 2 * inner
    registers = arrays["reg_token"].shape[1] if "reg_token" in shapes else 0
    found: dict[str, Any] = {
        "patch_size": tuple(patch),
        "width": width,
        "depth": shapes.depth(r"blocks\.(\d+)\."),
        "heads": config.get("num_heads", HEADS.get(width, max(1, width // 64))),
        "mlp_width": inner,
        "num_classes": len(arrays["head.weight"]) if "head.weight" in shapes else 0,
        "channels": channels,
        "class_token": "cls_token" in shapes,
        "register_tokens": registers,
        "fc_norm": "fc_norm.weight" in shapes,
        "qk_norm": f"{first}attn.q_norm.weight" in shapes,
        "attention_norm": f"{first}attn.norm.weight" in shapes,
        "mlp_norm": f"{first}mlp.norm.weight" in shapes,
        "layer_scale": 1e-5 if f"{first}gamma_1" in shapes else None,
        **norms(config, arrays),
        "mlp": activation(config, gated, source),
    }
    biases = {name for name in ("qkv.bias", "q_bias", "q_proj.bias", "k_proj.bias") if f"{first}attn.{name}" in shapes}
    found["qkv_bias"] = "all" if biases & {"qkv.bias", "k_proj.bias"} else "qv" if biases else "none"
    found |= relative(config, shapes) | rope(config, arrays, gated)
    pool = config.get("global_pool", "token" if found["class_token"] and not averages(config, found) else "avg")
    found["classifier"] = {"token": "token", "avg": "gap"}.get(pool, pool)
    found |= named(config, source)
    found["image_size"] = image_size(config, arrays, found, patch)
    if "pos_embed" in shapes:
        cells = math.prod(side // p for side, p in zip(pair_of(found["image_size"]), patch, strict=True))
        found["position"] = "patches" if shapes("pos_embed", 3)[1] == cells else "learned"
    return ModernConfig(**found)


def named(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What the name of a published model tells beside its arrays. Raises CheckpointError for unknown parts."""
    name = config.get("architecture", "")
    if unknown := [option for option in _UNKNOWN if config.get(option)]:
        raise CheckpointError(f"{source}: {', '.join(unknown)}: not known here")
    if "_rpn_" in name:
        raise CheckpointError(f"{source}: {name} normalises after its branches, which is not known here")
    told = fields(name) if re.fullmatch(NAMES, name) else {}
    return {field: told[field] for field in _NAMED if field in told}


def averages(config: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a model with a [class] token answers by the mean over patches: if it has a norm after the mean, or by the
    defaults of timm's Eva and Beit."""
    stated = "embed_dim" in config and ("use_rot_pos_emb" in config or found["relative"] != "none")
    return bool(found["fc_norm"]) or stated


def norms(config: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Kind and epsilon of the norms."""
    text = str(config.get("norm_layer", ""))
    stated = re.search(r"eps[ =:]*([0-9.e-]+)", text)
    bare = "embed_dim" not in config and is_dinov3(arrays)
    usual = 1e-5 if "torch.nn" in text or bare else 1e-6
    noted = re.search(r"eps: norm1 ([0-9.e-]+)", config.get("notes", ""))
    eps = float(stated[1]) if stated else float(noted[1]) if noted else usual
    kind = (
        "layer" if "blocks.0.norm1.bias" in arrays else "rms" if not text or "rms" in text.lower() else "layer-no-bias"
    )
    return {"norm": kind, "norm_eps": eps}


def is_dinov3(arrays: Arrays) -> bool:
    """Whether these are the arrays of a DINOv3, whose positions are not learned."""
    return {"cls_token", "reg_token"} <= arrays.keys() and not has_tables(arrays)


def has_tables(arrays: Arrays) -> bool:
    """Whether there are tables of positions."""
    return any(re.search(r"^pos_embed|relative|rel_pos|^rope\.freqs", name) for name in arrays)


def activation(config: Mapping[str, Any], gated: bool, source: str) -> str:
    """The kind of MLP. timm's VisionTransformer hands its own act_layer, by default gelu, to any MLP."""
    layer, act = (str(config.get(name, "")) for name in ("mlp_layer", "act_layer"))
    if "GluMlp" in layer and "gate_last=False" not in layer:
        raise CheckpointError(f"{source}: the gate of its MLP comes last, expected it first")
    if not gated and "SiLU" in act:
        raise CheckpointError(f"{source}: an MLP without gate and with SiLU is not known")
    return ("geglu" if layer and "SiLU" not in act else "swiglu") if gated else "gelu"


def relative(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """The kind of relative positions."""
    for shared, prefixes in {"": ("blocks.0.attn.", "blocks.0.attn.rel_pos."), "shared": _SHARED}.items():
        for prefix in prefixes:
            if f"{prefix}relative_position_bias_table" in shapes:
                return {"relative": shared or "table"}
            if f"{prefix}mlp.fc1.weight" in shapes:
                swin = "swin-" if f"{prefix}mlp.fc2.bias" not in shapes else ""
                kind = f"{shared}-{swin}mlp" if shared else f"{swin}mlp"
                return {"relative": kind, "relative_width": shapes(f"{prefix}mlp.fc1.weight", 2)[0]}
    return {"relative": "none"}


_SHARED = ("rel_pos_bias.", "shared_rel_pos.")


def rope(config: Mapping[str, Any], arrays: Arrays, gated: bool) -> dict[str, Any]:
    """The form of rotary positions; without a configuration, that of the published models with such arrays."""
    said = "use_rot_pos_emb" in config
    kind = str(config.get("rope_type", ""))
    if "rope.freqs" in arrays:
        return {"rope": "mixed", "rope_x_first": config.get("rope_grid_indexing", "ij" if said else "xy") == "xy"}
    base = config.get("rope_temperature")
    if kind == "dinov3" or (not said and is_dinov3(arrays)):
        return {"rope": "dinov3", "rope_base": base, "rope_halves": config.get("rope_rotate_half", not said)}
    if said:
        if not config["use_rot_pos_emb"]:
            return {}
        grid = config.get("ref_feat_shape")
        return {
            "rope": "axial",
            "rope_base": base,
            "rope_x_first": config.get("rope_grid_indexing", "ij") == "xy",
            "rope_grid": None if grid is None else pair_of(pair(grid)),
            "rope_first": config.get("rope_grid_offset", 0.0),
        }
    free = not has_tables(arrays)
    if (gated and "pos_embed" in arrays and "blocks.0.norm1.bias" in arrays) or (free and "reg_token" in arrays):
        return {"rope": "axial", "rope_base": base, "rope_grid": (16, 16)}  # EVA-02, or timm's with registers
    if free and "blocks.0.gamma_1" in arrays:
        return {"rope": "axial", "rope_base": base or 100.0, "rope_x_first": True}  # RoPE-ViT
    return {}


def pair_of(size: Any) -> tuple[int, int]:
    """(height, width) of one side or two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def image_size(config: Mapping[str, Any], arrays: Arrays, found: Mapping[str, Any], patch: list[int]) -> Any:
    """As the configuration says; else of a square grid that fits the tables, or 224."""
    if "img_size" in config:
        return pair(config["img_size"])
    side = 224 // patch[0]
    if "pos_embed" in arrays:
        rows = arrays["pos_embed"].shape[1]
        fitting = [n for n in (rows, rows - 1 - found["register_tokens"], rows - 1) if math.isqrt(max(0, n)) ** 2 == n]
        side = math.isqrt(fitting[0]) if fitting else side
    for name, x in arrays.items():
        if name.endswith("relative_position_bias_table"):
            side = (math.isqrt(max(1, len(x))) + 1) // 2  # of (2 R - 1)^2 rows, and at most three for [class]
    return side * patch[0], side * patch[1]

"""LLaVA as published code has it: names and shapes of its arrays, its files, and what was recorded of it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.errors import CheckpointError, shown
from minivit.files import expanded
from minivit.lineage.llama import angles, shares
from minivit.lineage.llava import LLaVA, LLaVAConfig, greedy
from minivit.lineage.matching import Tower
from minivit.lineage.published import Arrays, beside, fill, pair, renamed
from minivit.lineage.recorded import llama, modules
from minivit.lineage.recorded.classifier import outputs as noted_outputs
from minivit.lineage.verify import Case
from minivit.models import ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.models.stated import GELU
from minivit.tensor import Tensor

_VISION, _PROJECTOR, _LANGUAGE = "model.vision_tower.", "model.multi_modal_projector.", "model.language_model."
_TABLE, _HEAD = f"{_LANGUAGE}embed_tokens.weight", "lm_head.weight"
_LAYER = r"model\.language_model\.layers\.(\d+)\."
_NAMES = (  # ours -> those of transformers 5
    (r"^vision\.class_token$", f"{_VISION}embeddings.class_embedding"),
    (r"^vision\.position_embedding$", f"{_VISION}embeddings.position_embedding.weight"),
    (r"^vision\.patch_embed\.projection\.", f"{_VISION}embeddings.patch_embedding."),
    (r"^vision\.before\.", f"{_VISION}pre_layrnorm."),  # so it is spelled
    (r"^vision\.norm\.", f"{_VISION}post_layernorm."),
    (r"^vision\.blocks\.(\d+)\.norm", rf"{_VISION}encoder.layers.\1.layer_norm"),
    (r"^vision\.blocks\.(\d+)\.attention\.out\.", rf"{_VISION}encoder.layers.\1.self_attn.out_proj."),
    (r"^vision\.blocks\.(\d+)\.attention\.qkv\.", rf"{_VISION}encoder.layers.\1.self_attn.{{}}_proj."),
    (r"^vision\.blocks\.(\d+)\.mlp\.hidden\.", rf"{_VISION}encoder.layers.\1.mlp.fc1."),
    (r"^vision\.blocks\.(\d+)\.mlp\.out\.", rf"{_VISION}encoder.layers.\1.mlp.fc2."),
    (r"^projector\.hidden\.", f"{_PROJECTOR}linear_1."),
    (r"^projector\.out\.", f"{_PROJECTOR}linear_2."),
    (r"^language\.words\.table$", _TABLE),
    (r"^language\.head\.", "lm_head."),
    (r"^language\.", _LANGUAGE),
    *llama.LAYERS,
)
_WHOLE = (  # of modules that hold others
    (r"^projector\.", _PROJECTOR),
    (r"(?<=\d)\.attention\.$", ".self_attn."),
    (r"^vision\.blocks\.", f"{_VISION}encoder.layers."),
)
_OTHERS = (  # those of transformers 4 and of haotian-liu/LLaVA -> those of transformers 5
    (r"^language_model\.model\.", _LANGUAGE),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^(model\.)?(vision_tower\.)+(vision_model\.)?", _VISION),
    (r"^multi_modal_projector\.", _PROJECTOR),
    (r"^model\.mm_projector\.(0\.)?(?=\w+$)", f"{_PROJECTOR}linear_1."),
    (r"^model\.mm_projector\.2\.", f"{_PROJECTOR}linear_2."),
    (r"^model\.(?=(embed_tokens|layers|norm)\.)", _LANGUAGE),
)
_DROPPED = re.compile(r"(^|\.)(position_ids|inv_freq)$")  # numbers that files have beside
_GELUS = {"quick_gelu": "quick", **GELU}

WORDS = ((r"(?<![^/])pixel_values$", "images"),)  # transformers' names -> those of recordings


def canonical(arrays: Arrays, source: str = "the file") -> dict[str, np.ndarray]:
    """The arrays of a file in any of the three layouts, under the names of transformers 5."""
    kept = {name: x for name, x in arrays.items() if not _DROPPED.search(name)}
    found = {renamed(name, _OTHERS): x for name, x in kept.items()}
    if len(found) < len(kept):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    return found


def views(state: Arrays, vision: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the names of transformers 5, and in its shapes."""
    found: dict[str, np.ndarray] = {}
    for name, x in state.items():
        theirs = renamed(name, _NAMES)
        if "patch_embed." in name:
            x = x.reshape(*vision.patch_size, vision.channels, -1).transpose(3, 2, 0, 1)
        elif name.endswith(".weight"):
            x = x.T
        elif name in ("vision.class_token", "vision.position_embedding"):
            x = x.reshape(-1) if name.endswith("token") else x[0]
        if ".qkv." in name:
            third = len(x) // 3
            found |= {theirs.format(k): x[i * third : (i + 1) * third] for i, k in enumerate("qkv")}
        else:
            found[theirs] = x
    return found


def told_by(arrays: Arrays, vision: Mapping[str, Any], source: str) -> ViTConfig:
    """The encoder's shape: what the arrays tell, a square grid and heads of 64 features unless it is stated."""
    shapes = Shapes(arrays, source, "LLaVA")
    width, channels, *patch = shapes(f"{_VISION}embeddings.patch_embedding.weight", 4)
    side = math.isqrt(max(1, shapes(f"{_VISION}embeddings.position_embedding.weight", 2)[0] - 1))
    return ViTConfig(
        image_size=pair(vision.get("image_size", [side * pixels for pixels in patch])),
        patch_size=pair(patch),
        channels=channels,
        width=width,
        depth=shapes.depth(r"model\.vision_tower\.encoder\.layers\.(\d+)\."),
        heads=vision.get("num_attention_heads", max(1, width // 64)),
        mlp_width=shapes(f"{_VISION}encoder.layers.0.mlp.fc1.weight", 2)[0],
        num_classes=0,
        norm_eps=vision.get("layer_norm_eps", 1e-5),
    )


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> LLaVA:
    """The objective with these arrays, `canonical` ones. What they tell of its shape need not stand in the
    configuration, which is Hugging Face's. Nothing of it is frozen. Raises CheckpointError."""
    vision, text = (config.get(name, config.get(f"{name}_config", {})) for name in ("vision", "text"))
    text = {name: config[name] for name in ("rope_theta", "rope_parameters") if name in config} | dict(text)
    act, head = vision.get("hidden_act", "quick_gelu"), config.get("projector_hidden_act", "gelu")
    if act not in _GELUS or head != "gelu":
        raise CheckpointError(
            f"{source}: hidden_act {shown(str(act))}, projector_hidden_act {shown(str(head))}: expected one of "
            f"{', '.join(_GELUS)}, and gelu"
        )
    own = llama.fields(text, Shapes(arrays, source, "LLaVA"), _TABLE, _LAYER, _HEAD)
    image = config.get("image_token", config.get("image_token_index", config.get("image_token_id")))
    chosen = str(config.get("select", config.get("vision_feature_select_strategy", "default")))
    shape = LLaVAConfig(
        **own,
        image=own["vocabulary"] - 1 if image is None else image,
        layer=config.get("feature_layer", config.get("vision_feature_layer", -2)),
        keep_class=chosen.startswith(("full", "cls")),
        projector=1 + (f"{_PROJECTOR}linear_2.weight" in arrays),
        learn="all",
    )
    tower = Tower(told_by(arrays, vision, source), _GELUS[act], None, dtype)
    objective = LLaVA(shape, tower, None, dtype)
    state = {name: tensor.data for name, tensor in objective.named_tensors()}
    fill(views(state, tower.config), arrays, source)
    return objective


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> LLaVA:
    """The objective of a file (.safetensors) with the encoder, in the layout of transformers 4 or 5, or of
    haotian-liu/LLaVA.   fields: as in Hugging Face's config.json, which is read where it lies beside the file. Raises
    CheckpointError and ConfigError."""
    path = expanded(path)
    stated = {**beside(path, "llava"), **fields}
    return build(stated, canonical(read_arrays(path)[0], str(path)), dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there."""
    config, ids = {**case.meta, **case.config}, case.input("input_ids")
    stated = config.get("text", {}).keys() | config.keys()
    if "rope/sin" in case.arrays and not stated & {"rope_theta", "rope_parameters", "rope_scaling"}:
        config["rope_theta"] = theta_of(case.arrays["rope/sin"], case.arrays["rope/cos"])
    objective = build(config, canonical(case.weights, case.name), source=case.name).eval()
    images, labels = Tensor(case.images("images"), requires_grad=True), case.input("labels")
    seen = case.input("attention_mask") if "attention_mask" in case.arrays else np.ones_like(ids)
    batch = {"images": images, "ids": ids, "labels": labels, "seen": seen, "weight": shares(labels)}
    tap: dict[str, Any] = {}
    with noted_outputs(objective) as inner:
        outputs = objective.forward(batch, tap=tap)
    loss = objective.loss(outputs, batch)
    named, differentiated = case.differentiated(loss, images, objective)
    found = {
        "logits": outputs[0].data,
        f"vision_layer_minus{-objective.config.layer}": tap["features"].data,
        "projected": tap["projected"].data,
        "final_norm": tap["encoded"].data,
        "loss": loss.data,
        "grad_norm": differentiated["grad_norm"],
        "grad_input/images": differentiated["grad_input/image"],
    }
    found |= {f"vision_layer{mark}{objective.config.layer}": tap["features"].data for mark in ("", "_")}
    found |= modules.under(case, "", inner, lambda path: renamed(path, (*_NAMES, *_WHOLE)))
    found["model.language_model"] = tap["encoded"].data
    for i in range(objective.config.depth):
        found[f"attention{i}"] = tap[f"layer{i}/attention"].data
        found[f"decoder_layer{i}"] = tap[f"layer{i}/output"].data
    theirs = views(named, objective.vision.config)
    for name in (name.removeprefix("grad/") for name in case.arrays if name.startswith("grad/")):
        if (place := renamed(name, _OTHERS)) in theirs:
            found[f"grad/{name}"] = theirs[place]
    if "greedy/prompt" in case.arrays:
        prompt = case.input("greedy/prompt")
        count = int((prompt == objective.config.image).sum()) // objective.image_tokens
        length = case.arrays["greedy/tokens"].size
        words = greedy(objective, images.data[:count], prompt, length)
        found["greedy/tokens"] = words.reshape(case.arrays["greedy/tokens"].shape)
    if "rope/q" in case.arrays:
        found |= rotated(case.input("rope/q"), objective.config.theta)
    return found


def theta_of(sines: np.ndarray, cosines: np.ndarray) -> float:
    """The base of the angles, which a recording may state by them alone.   (1, N, d): of position 1, feature 1."""
    angle = np.arctan2(sines[0, 1, 1], cosines[0, 1, 1])
    return round(float(angle ** (-sines.shape[-1] / 2)), 4)


def rotated(q: np.ndarray, theta: float) -> dict[str, np.ndarray]:
    """Queries (B, H, N, d) turned by their positions, and the cosines and sines, as recorded."""
    turn = angles(np.arange(q.shape[2]), q.shape[3], theta)
    twice = np.concatenate([turn, turn], axis=-1)[None]
    return {
        "rope/rotated": F.rotate(Tensor(q), turn, halves=True).data,
        "rope/cos": np.cos(twice),
        "rope/sin": np.sin(twice),
    }

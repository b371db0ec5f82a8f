"""CLIP as published code has it: names and shapes of its arrays, and what was recorded of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import xp_of
from minivit.errors import CheckpointError
from minivit.lineage.clip import CLIP, CLIPConfig
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.nn import CausalAttention, Module
from minivit.nn.layers import Rng, Tap
from minivit.nn.module import check_match
from minivit.tensor import Tensor, grad

Arrays = Mapping[str, np.ndarray]

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
    own = views(state, objective.encoder.config, hub="visual.conv1.weight" not in given)
    check_match({name: view.shape for name, view in own.items()}, given, source)
    for name, view in own.items():
        view[...] = given[name]


def build(config: Mapping, arrays: Arrays) -> CLIP:
    """The objective that a configuration of Hugging Face's describes, with these weights, in float64."""
    vision, text = config["vision"], config["text"]
    shared = {key: config[key] for key in ("hidden_act", "layer_norm_eps") if key in config}
    for key in ("hidden_act", "layer_norm_eps"):
        found = {tower.get(key, shared.get(key, _DEFAULTS[key])) for tower in (vision, text)}
        if len(found) > 1:
            raise CheckpointError(f"{key} is another one in each tower: {found}")
        shared[key] = found.pop()
    image = ViTConfig(
        image_size=_size(vision["image_size"]),
        patch_size=_size(vision["patch_size"]),
        width=vision["hidden_size"],
        depth=vision["num_hidden_layers"],
        heads=vision["num_attention_heads"],
        mlp_width=vision["intermediate_size"],
        num_classes=0,
        channels=vision.get("num_channels", 3),
    )
    end = text.get("eos_token_id", 2)
    own = CLIPConfig(
        width=text["hidden_size"],
        depth=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        mlp_width=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        context=text["max_position_embeddings"],
        end=None if end == 2 else end,  # 2 stands in old files, whose <end> is the largest id
        shared=config["projection_dim"],
        gelu=_GELU[shared["hidden_act"]],
        norm_eps=shared["layer_norm_eps"],
    )
    objective = CLIP(own, image, None, "float64")
    load(arrays, objective)
    return objective


_DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_GELU = {"quick_gelu": "quick", "gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def _size(size: Any) -> Any:
    return tuple(size) if isinstance(size, list) else size


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
    parts = [name.removesuffix("loss") for name in case.arrays if name.rpartition("/")[2] == "loss"]
    return {part + name: x for part in parts for name, x in _recompute(case, part).items()}


def _recompute(case: Case, part: str) -> dict[str, np.ndarray]:
    objective = build(case.config, case.weights).eval()
    ids, images = case.input("input_ids"), Tensor(case.images("image"), requires_grad=True)
    if f"{part}attention_mask" in case.arrays:
        present = case.input(f"{part}attention_mask").astype(bool)
        for block in objective.text_tower.blocks:
            block.attention = Padded(block.attention, present)
    image_tap: dict[str, Any] = {}
    text_tap: dict[str, Any] = {}
    outputs = objective.image(images, tap=image_tap), objective.text(ids, tap=text_tap)
    similar, loss = objective.similarity(outputs), objective.loss(outputs, {})
    in_images, *gradients = grad(loss, [images, *objective.parameters()])
    named = {name: g for (name, _), g in zip(objective.named_parameters(), gradients, strict=True)}
    found = {
        "logits_per_image": similar.data,
        "logits_per_text": similar.data.T,
        "image_embeds": outputs[0].data,
        "text_embeds": outputs[1].data,
        "loss": loss.data,
        "grad_input/image": np.moveaxis(in_images, -1, 1),
        "grad_norm": np.sqrt(sum(float(np.square(g).sum()) for g in gradients)),
        "tap/vision_embeddings": ViT.embed(objective.image_tower, images).data,
        "tap/vision_pre_layernorm": image_tap["embedded"].data,
        "tap/vision_post_layernorm": image_tap["features"].data,
        "tap/text_embeddings": text_tap["embedded"].data,
        "tap/text_final_layer_norm": text_tap["encoded"].data,
    }
    for tower, tap in (("vision", image_tap), ("text", text_tap)):
        for i in range(sum(name.endswith("/output") for name in tap)):
            found[f"tap/{tower}_block{i}"] = tap[f"block{i}/output"].data
    for hub in (False, True):
        published = views(named, objective.encoder.config, hub)
        found |= {f"grad/{name}": g for name, g in published.items()}
    return found

"""Modern ViTs as published code has them: names and shapes of their arrays, and what was recorded of them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.modern import Modern, ModernConfig
from minivit.lineage.published import Arrays, fill
from minivit.lineage.published_layers import outputs_inside
from minivit.lineage.recorded.modern_shapes import canonical, official_name, shape_of, stated
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.relative import log_offsets, relative_index
from minivit.tensor import Tensor

_NAMES = (  # ours -> timm's
    (r"^class_token", "cls_token"),
    (r"^register_tokens", "reg_token"),
    (r"^position_embedding", "pos_embed"),
    (r"^patch_embed\.projection", "patch_embed.proj"),
    (r"^rope\.frequencies", "rope.freqs"),
    (r"(?<=\d\.)attention\.", "attn."),
    (r"(?<=\.)attention$", "attn"),
    (r"(?<=attn\.)relative\.table", "relative_position_bias_table"),
    (r"(?<=attn\.)relative(?=\.|$)", "rel_pos"),
    (r"^relative\.table", "rel_pos_bias.relative_position_bias_table"),
    (r"^relative(?=\.)", "shared_rel_pos"),
    (r"^relative$", "rel_pos_bias"),
    (r"rel_pos\.hidden", "rel_pos.mlp.fc1"),
    (r"rel_pos\.out", "rel_pos.mlp.fc2"),
    (r"(?<=attn\.)out", "proj"),
    (r"(?<=\d\.mlp\.)hidden", "fc1"),
    (r"(?<=\d\.mlp\.)out", "fc2"),
    (r"scale([12])\.gamma", r"gamma_\1"),
    (r"(?<=\d\.)scale([12])$", r"ls\1"),
    (r"\.scale$", ".weight"),
)
_OTHERS = (  # the same arrays by timm's other names
    (r"\.q_bias$", ".q_proj.bias"),
    (r"\.v_bias$", ".v_proj.bias"),
    (r"(?<=attn\.)(?=relative_position_bias_table)", "rel_pos."),
    (r"^rel_pos_bias\.", "shared_rel_pos."),
    (r"gamma_([12])$", r"ls\1.gamma"),
)


def timm_name(name: str, config: ModernConfig) -> str:
    """The name of an array or a module of ours in timm."""
    for ours, theirs in _NAMES:
        name = re.sub(ours, theirs, name)
    return f"fc_{name}" if config.fc_norm and re.match(r"norm(\.|$)", name) else name


def options(name: str, x: np.ndarray, config: ModernConfig) -> Iterator[dict[str, np.ndarray]]:
    """An array of ours as a view by each of the names and in each of the shapes that it has in timm."""
    theirs = timm_name(name, config)
    if name == "patch_embed.projection.weight":
        x = x.reshape(*config.patch_size, config.channels, -1).transpose(3, 2, 0, 1)
    elif name.endswith(".weight"):
        x = x.T
    yield {theirs: x}
    for one, other in _OTHERS:
        if re.search(one, theirs):
            yield {re.sub(one, other, theirs): x}
    if ".attn.qkv." in theirs:
        yield {
            theirs.replace("qkv", f"{letter}_proj"): part for letter, part in zip("qkv", np.split(x, 3), strict=True)
        }
    if re.search(r"\d\.mlp\.fc1", theirs) and config.mlp != "gelu":
        parts = zip(("fc1_g", "fc1_x"), np.split(x, 2), strict=True)
        yield {theirs.replace("fc1", part): half for part, half in parts}


def views(state: Arrays, config: ModernConfig, names: Any = ()) -> dict[str, np.ndarray]:
    """Our arrays as views under timm's names; of two that timm has for an array, those that `names` hold."""
    found: dict[str, np.ndarray] = {}
    for name, x in state.items():
        all_options = list(options(name, x, config))
        found |= next((option for option in all_options if not option.keys().isdisjoint(names)), all_options[0])
    return found


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> Modern:
    """The network with these weights, of any published names.   config: timm's or Hugging Face's, as far as it is
    known. Raises CheckpointError."""
    arrays = canonical(arrays, source)
    model = Modern(shape_of(config, arrays, source), None, dtype)
    if "rope.freqs" in arrays:  # the official code has all heads in one row
        arrays["rope.freqs"] = arrays["rope.freqs"].reshape(dict(model.named_tensors())["rope.frequencies"].shape)
    fill(views({name: tensor.data for name, tensor in model.named_tensors()}, model.config, arrays), arrays, source)
    return model


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> Modern:
    """The network of a file of published weights (.safetensors): EVA-02, RoPE-ViT, DINOv3, BEiT, timm's vit_relpos, by
    timm's names, the official ones or those of Hugging Face.

    A config.json beside it, timm's or Hugging Face's, is believed. fields: options of timm's models, such as
    img_size=448 or use_rot_pos_emb=True. What nobody tells is as in the published models. Raises CheckpointError and
    ConfigError.
    """
    path = expanded(path)
    return build({**stated(path), **fields}, read_arrays(path)[0], dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that modern ViTs define, by its name there."""
    notes = " ".join(map(str, case.meta.get("notes", [])))
    model = build({**case.config, "notes": notes}, case.weights, source=case.name).eval()
    noted = re.search(r"q_norm ([0-9.e-]+)", notes)
    for attention in (block.attention for block in model.blocks if noted and block.attention.q_norm is not None):
        attention.q_norm.eps = attention.k_norm.eps = float(noted[1])  # type: ignore[index]
    found = tables(model, model.config.grid)
    for name in list(case.arrays):
        if re.fullmatch(r"((?!grad_input/)[^/]+/)?image", name):
            group = name.removesuffix("image")
            found |= {group + key: x for key, x in of_images(case, model, group).items()}
    for name, x in case.arrays.items():
        known = as_known(name)
        known = known if known in found else known.replace("fc1_x", "fc1")  # up_proj of an MLP without gate
        if name not in found and known in found:
            found[name] = found[known]
        if name in found and found[name].size == x.size:
            found[name] = found[name].reshape(x.shape)
    return found


def as_known(name: str) -> str:
    """The name of a recorded array with the official name in it replaced by timm's."""
    group, kind, inner = re.fullmatch(r"(.*?)(grad/|tap/|)([^/]*)", name).groups()  # type: ignore[union-attr]
    return f"{group}{kind}{official_name(inner) if kind else inner}"


def of_images(case: Case, model: Modern, group: str) -> dict[str, np.ndarray]:
    """Output, loss, gradients and what is inside, for the images of one group of arrays."""
    images = Tensor(case.images(f"{group}image"), requires_grad=True)
    tap: dict[str, Any] = {}
    with outputs_inside(model) as inside:
        output = model(images, tap)
    for name in [name for name in inside if re.search(r"[qk]_norm$", name)]:
        inside[name] = inside[name].transpose(0, 2, 1, 3)  # heads stand before tokens there
    gradients, found = case.differentiated(case.loss(output, group), images, model)
    for name, x in gradients.items():
        for option in options(name, x, model.config):
            found |= {f"grad/{theirs}": g for theirs, g in option.items()}
    grid = images.shape[1] // model.config.patch_size[0], images.shape[2] // model.config.patch_size[1]
    embedded, features = model.embed(images, grid).data, tap["features"].data
    found |= {f"tap/{name}": x for name, x in as_timm(inside, model.config).items()}
    for name, x in tap.items():
        if name.endswith("attention_weights"):
            found[f"tap/blocks.{name[5:].partition('/')[0]}.attn.attn_drop"] = x
    nothing: dict[str, Any] = dict.fromkeys(
        ("fc_norm", "head_drop", "head"), features
    )  # modules that may do nothing in such a model
    nothing |= dict.fromkeys(("pos_drop", "patch_drop", "norm_pre"), embedded)
    found = {f"tap/{name}": x for name, x in nothing.items()} | found
    return found | tables(model, grid) | {"output": output.data, "loss": case.loss(output, group).data}


def as_timm(inside: Mapping[str, np.ndarray], config: ModernConfig) -> dict[str, np.ndarray]:
    """The outputs of our modules by the names of timm's."""
    found = {timm_name(path, config): x for path, x in inside.items()}
    found.setdefault("norm", found[f"blocks.{config.depth - 1}"])  # with fc_norm there is none
    for name in [name for name in found if re.search(r"\d\.mlp\.fc1$", name)]:  # of a gated MLP, in one matrix or two
        found[f"{name}_g"], found[f"{name}_x"] = np.split(found[name], 2, axis=-1)
    found["patch_embed.proj"] = found["patch_embed.proj"].swapaxes(1, 2)
    return found | {name.removesuffix(".fc2"): x for name, x in found.items() if name.endswith("rel_pos.mlp.fc2")}


def tables(model: Modern, grid: Any) -> dict[str, np.ndarray]:
    """The tables of positions: sines and cosines of the angles of every feature, numbers of offsets."""
    config, found = model.config, {}
    if model.rope is not None:
        like = model.first_array()
        each = [model.rope.angles(grid, i, like) for i in range(config.depth if config.rope == "mixed" else 1)]
        angles = np.stack([(x.data if isinstance(x, Tensor) else x).transpose(1, 0, 2) for x in each])
        every = np.tile(angles, 2) if config.rope_halves else np.repeat(angles, 2, axis=-1)
        table = np.concatenate([np.sin(every), np.cos(every)], axis=-1)
        found["rope_table"] = table if config.rope == "mixed" else table[0, 0]
    if config.relative != "none":
        found["relative_position_index"] = relative_index(
            config.grid, "mlp" not in config.relative and config.class_token
        )
        found["rel_coords_log"] = log_offsets(config.grid, "swin" in config.relative)
        module: Any = model.relative or model.blocks[0].attention.relative
        bias = module().data
        found |= dict.fromkeys(("rel_pos_bias", "relative_position_bias", "bias"), bias)
    return found

"""SegFormer as published code has it: names and shapes of its arrays, and what was recorded of it."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.mit import MiT, MiTConfig
from minivit.lineage.published import Arrays, beside, pair, renamed
from minivit.lineage.published_layers import load, outputs_inside, views
from minivit.lineage.recorded import modules
from minivit.lineage.segformer import SegFormer, SegFormerConfig
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.nn.batch_norm import batch_statistics, statistics_rows, update_running
from minivit.tensor import Tensor

_OURS: tuple[tuple[str, Any], ...] = (  # -> transformers, version 5
    (r"^network\.", "segformer."),
    (r"\.embed(?=\.|$)", ".patch_embeddings"),
    (r"(?<=patch_embeddings\.)conv", "proj"),
    (r"(?<=patch_embeddings\.)norm", "layer_norm"),
    (r"(?<=\d\.)norm1", "layernorm_before"),
    (r"(?<=\d\.)norm2", "layernorm_after"),
    (r"(?<=\d\.)norm(?=\.|$)", "layer_norm"),
    (r"\.shrink\.conv", ".attention.sequence_reduction.sequence_reduction"),
    (r"\.shrink\.norm", ".attention.sequence_reduction.layer_norm"),
    (r"(?<=attention\.)(query|key|value|out)\b", lambda found: f"{found[1][0]}_proj"),
    (r"\.depthwise", ".dwconv.dwconv"),
    (r"^decoder\.project\.(\d+)", r"decode_head.linear_projections.\1.proj"),
    (r"^decoder\.fuse", "decode_head.linear_fuse"),
    (r"^decoder\.norm", "decode_head.batch_norm"),
    (r"^decoder\.classifier", "decode_head.classifier"),
)
_THEIRS: tuple[tuple[str, Any], ...] = (  # of files, official and of transformers 4 -> transformers 5
    (r"^backbone\.", "segformer."),
    (r"^segformer\.encoder\.", "segformer."),
    (r"^(segformer\.patch_embed)(\d)\.norm", lambda m: f"{m[1]}{m[2]}.layer_norm"),
    (r"^segformer\.patch_embed(\d)", lambda m: f"segformer.stages.{int(m[1]) - 1}.patch_embeddings"),
    (r"^segformer\.patch_embeddings\.(\d)", r"segformer.stages.\1.patch_embeddings"),
    (r"^segformer\.norm(\d)", lambda m: f"segformer.stages.{int(m[1]) - 1}.layer_norm"),
    (r"^segformer\.layer_norm\.(\d)", r"segformer.stages.\1.layer_norm"),
    (r"^segformer\.block(\d)\.", lambda m: f"segformer.stages.{int(m[1]) - 1}.blocks."),
    (r"^segformer\.block\.(\d)\.", r"segformer.stages.\1.blocks."),
    (r"(?<=\d\.)(norm1|layer_norm_1)", "layernorm_before"),
    (r"(?<=\d\.)(norm2|layer_norm_2)", "layernorm_after"),
    (r"\.attn\.q\.", ".attention.q_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attn\.norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.self\.(query|key|value)\.", lambda m: f".attention.{m[1][0]}_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense(\d)", r".mlp.fc\1"),
    (r"^decode_head\.linear_c(\d)\.", lambda m: f"decode_head.linear_projections.{int(m[1]) - 1}."),
    (r"^decode_head\.linear_c\.", "decode_head.linear_projections."),
    (r"^decode_head\.linear_fuse\.conv", "decode_head.linear_fuse"),
    (r"^decode_head\.linear_fuse\.bn", "decode_head.batch_norm"),
    (r"^decode_head\.linear_pred", "decode_head.classifier"),
)
_UNUSED = re.compile(r"^(decode_head\.conv_seg|segformer\.head|classifier)\.|num_batches_tracked$")


def theirs(name: str) -> str:
    """Our name of an array or a module -> that of transformers 5."""
    return renamed(name, _OURS)


def canonical(arrays: Arrays, source: str = "the file") -> dict[str, np.ndarray]:
    """The arrays of a file in any of the three layouts, under the names of transformers 5. Raises CheckpointError."""
    found: dict[str, np.ndarray] = {}
    for name, x in arrays.items():
        new = renamed(name, _THEIRS)
        parts = {new: x}
        if ".attn.kv." in new:  # keys first
            parts = {
                new.replace("attn.kv", f"attention.{kind}_proj"): half
                for kind, half in zip("kv", np.split(x, 2), strict=True)
            }
        if parts.keys() & found.keys():
            raise CheckpointError(f"{source} holds two arrays for {new}")
        found |= {key: part for key, part in parts.items() if not _UNUSED.search(key)}
    return found


def build(
    config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file", **changes: Any
) -> SegFormer:
    """The objective of a configuration of transformers', with these weights, whose shapes tell all other sizes.
    changes: fields of MiTConfig, such as map_eps."""
    arrays = canonical(arrays, source)
    shapes = Shapes(arrays, source, "SegFormer's")
    first = {i: f"segformer.stages.{i}." for i in range(config.get("num_encoder_blocks", 4))}
    kernels = [shapes(f"{at}patch_embeddings.proj.weight", 4) for at in first.values()]
    reduced = [f"{at}blocks.0.attention.sequence_reduction.sequence_reduction.weight" for at in first.values()]
    widths = tuple(kernel[0] for kernel in kernels)
    hidden = [shapes(f"{at}blocks.0.mlp.fc1.weight", 2)[0] for at in first.values()]
    fields = {
        "image_size": pair(config.get("image_size", 512)),
        "widths": widths,
        "depths": tuple(shapes.depth(rf"segformer\.stages\.{i}\.blocks\.(\d+)\.") for i in first),
        "heads": tuple(config.get("num_attention_heads", (1, 2, 5, 8))),
        "reductions": tuple(shapes(name, 4)[2] if name in arrays else 1 for name in reduced),
        "ratios": tuple(inner // width for inner, width in zip(hidden, widths, strict=True)),
        "windows": tuple(kernel[2] for kernel in kernels),
        "strides": tuple(config.get("strides", (4, 2, 2, 2))),
        "drop_path": config.get("drop_path_rate", 0.0),
        "num_classes": 0,
        "channels": kernels[0][1],
    }
    shape = MiTConfig(**{**fields, **changes})
    classes, width = shapes("decode_head.classifier.weight", 4)[:2]
    own = SegFormerConfig(classes, width, config.get("classifier_dropout_prob", 0.1))
    objective = SegFormer(own, MiT(shape, None, dtype), None, dtype)
    load(objective, arrays, source, theirs)
    return objective


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> SegFormer:
    """The objective of a file of published weights, by the names of the official code or of transformers, 4 or 5.

    A config.json beside the file is read. fields: others of it, or of MiTConfig: transformers computes with
    norm_eps=1e-5. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    own = {field.name for field in dataclasses.fields(MiTConfig)}
    stated = {**beside(path, "segformer"), **{name: x for name, x in fields.items() if name not in own}}
    changes = {name: x for name, x in fields.items() if name in own}
    return build(stated, read_arrays(path)[0], dtype, str(path), **changes)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that SegFormer defines, by its name there."""
    quiet = {**case.config, "classifier_dropout_prob": 0.0, "drop_path_rate": 0.0}
    found: dict[str, np.ndarray] = {}
    for name in [name for name in case.arrays if re.fullmatch("(.*/)?image", name) and "grad_input/" not in name]:
        group = name.removesuffix("image")
        trains = f"{group}running_mean_after" in case.arrays
        for before, eps in (("", 1e-6), ("transformers_eps_", 1e-5)):
            objective = build(quiet, case.weights, source=case.name, norm_eps=eps).train(trains)
            new = of_image(case, objective, group)
            found |= {f"{group}{before}{key}": x for key, x in new.items()}
    return found


def of_image(case: Case, objective: SegFormer, group: str) -> dict[str, np.ndarray]:
    """The arrays of one group, such as "square/"."""
    images = Tensor(case.images(f"{group}image"), requires_grad=True)
    batch = {"mask": case.input(f"{group}labels")}
    batch |= objective.draw(batch, 0, np.random.default_rng(0))
    with outputs_inside(objective) as inside, batch_statistics() as seen:
        fused = objective.decoder.fused(objective.network.maps(images))
        logits = objective.decoder(fused)
    loss = objective.loss((fused,), batch)
    gradients, found = case.differentiated(loss, images, objective)
    update_running(objective.decoder, statistics_rows(objective.decoder, seen, 1).data[0])
    norm = objective.decoder.norm
    for name, x in inside.items():
        stage = re.fullmatch(r"network\.stages\.(\d+)", name)
        if stage:
            found[f"stage{stage[1]}"] = case.laid_out(x)
    for name, x in views(objective, gradients, theirs).items():
        matrix = name in ("decode_head.linear_fuse.weight", "decode_head.classifier.weight")
        found[f"grad/{name}"] = x[:, :, None, None] if matrix else x
    found |= {
        "logits": case.laid_out(logits.data),
        "loss": loss.data,
        "running_mean_after": norm.running_mean.data,
        "running_var_after": norm.running_variance.data,
        "batch_norm_running_mean_after": norm.running_mean.data,
    }
    for name, x in list(inside.items()):
        if name.endswith(".depthwise"):
            inside[f"{name.removesuffix('.depthwise')}.dwconv"] = x
        if name.endswith(".shrink"):
            inside[f"{name.removesuffix('.shrink')}.attention.sequence_reduction"] = x
        if name.startswith("decoder.project."):
            inside[f"decode_head.linear_projections.{name.rpartition('.')[2]}"] = x
        if name.endswith(".mlp"):
            inside[f"{name}.dropout"] = x
    of_modules = modules.under(case, group, inside, theirs, maps=True)
    return found | {name.removeprefix(group): x for name, x in of_modules.items()}

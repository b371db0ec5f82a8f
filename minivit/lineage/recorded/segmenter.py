"""Segmenter as published code has it: names and shapes of its arrays, and what was recorded of it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.published import Arrays, fill, pair
from minivit.lineage.segmenter import EPS, Segmenter, SegmenterConfig
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.convert_timm import to_timm
from minivit.models.layouts import HEADS, Shapes
from minivit.tensor import Tensor

_DECODER = {  # ours -> theirs
    "class_tokens": "cls_emb",
    "patch_matrix": "proj_patch",
    "class_matrix": "proj_classes",
    "norm": "decoder_norm",
}
_UNUSED = re.compile(r"encoder\.(head|head_dist|pre_logits)\.")  # of the encoder's own classifier


def views(state: Arrays, encoder: ViTConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the official names and in the official shapes."""
    inside = {
        part: {name.removeprefix(f"{part}."): x for name, x in state.items() if name.startswith(f"{part}.")}
        for part in ("network", "decoder")
    }
    blocks = {name: x for name, x in inside["decoder"].items() if name.startswith("blocks.")}
    arrays = {f"encoder.{name}": x for name, x in to_timm(inside["network"], encoder).items()}
    arrays |= {f"decoder.{name}": x for name, x in to_timm(blocks, encoder).items()}
    for name in inside["decoder"].keys() - blocks.keys():
        module, _, leaf = name.partition(".")
        theirs = ".".join([_DECODER.get(module, module), *([{"scale": "weight"}.get(leaf, leaf)] if leaf else [])])
        x = inside["decoder"][name]
        arrays[f"decoder.{theirs}"] = x.T if leaf == "weight" else x
    return arrays


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> Segmenter:
    """The objective with these weights.   config: the published `encoder` and `decoder`; of it are read the sizes that
    the shapes of the arrays do not tell: image_size, n_heads, and rates."""
    shapes = Shapes(arrays, source, "Segmenter's")
    theirs, own = config["encoder"], config.get("decoder", {})
    width, channels, *patch = shapes("encoder.patch_embed.proj.weight", 4)
    encoder = ViTConfig(
        image_size=pair(theirs["image_size"]),
        patch_size=(patch[0], patch[1]),
        width=width,
        depth=shapes.depth(r"encoder\.blocks\.(\d+)\."),
        heads=theirs["n_heads"],
        mlp_width=shapes("encoder.blocks.0.mlp.fc1.weight", 2)[0],
        num_classes=0,
        channels=channels,
        dropout=theirs.get("dropout", 0.0),
        drop_path=theirs.get("drop_path_rate", 0.0),
        gelu="erf",
        norm_eps=EPS,
        distillation_token="encoder.dist_token" in arrays,
    )
    if "decoder.head.weight" in arrays:
        decoder = SegmenterConfig(shapes("decoder.head.weight", 2)[0], "linear")
    else:
        decoder = SegmenterConfig(
            classes=shapes("decoder.cls_emb", 3)[1],
            depth=shapes.depth(r"decoder\.blocks\.(\d+)\."),
            width=shapes("decoder.cls_emb", 3)[2],
            heads=own["n_heads"],
            mlp_width=shapes("decoder.blocks.0.mlp.fc1.weight", 2)[0],
            dropout=own.get("dropout", 0.0),
            drop_path=own.get("drop_path_rate", 0.0),
        )
    objective = Segmenter(decoder, ViT(encoder, None, dtype), None, dtype)
    named = views({name: tensor.data for name, tensor in objective.named_tensors()}, encoder)
    fill(named, {name: x for name, x in arrays.items() if not _UNUSED.match(name)}, source)
    return objective


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """What the shapes of the arrays tell of a configuration, and the usual for the rest: a square grid, heads of 64
    features."""
    shapes = Shapes(arrays, source, "Segmenter's")
    width, _, *patch = shapes("encoder.patch_embed.proj.weight", 4)
    patches = shapes("encoder.pos_embed", 3)[1] - 1 - ("encoder.dist_token" in arrays)
    own = width if "decoder.head.weight" in arrays else shapes("decoder.cls_emb", 3)[2]
    return {
        "encoder": {"image_size": [math.isqrt(max(1, patches)) * side for side in patch], "n_heads": heads_of(width)},
        "decoder": {"n_heads": heads_of(own)},
    }


def heads_of(width: int) -> int:
    """The number of heads of the published networks."""
    return HEADS.get(width, max(1, width // 64))


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> Segmenter:
    """The objective of a file of published weights (.safetensors), with either decoder, by the official names.

    fields: as of `net_kwargs` in the official variant.yml, those of the decoder under "decoder": what the shapes do not
    tell, see `told_by`, and rates. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    arrays = read_arrays(path)[0]
    told, own = told_by(arrays, str(path)), fields.pop("decoder", {})
    config = {"encoder": {**told["encoder"], **fields}, "decoder": {**told["decoder"], **own}}
    return build(config, arrays, dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that Segmenter defines, by its name there."""
    objective = build({**case.meta, **case.config}, case.weights, source=case.name).eval()
    found: dict[str, np.ndarray] = {}
    for name in [name for name in case.arrays if re.fullmatch("(.*/)?image", name) and "grad_input/" not in name]:
        group = name.removesuffix("image")
        found |= {f"{group}{key}": x for key, x in of_image(case, objective, group).items()}
    return found


def of_image(case: Case, objective: Segmenter, group: str) -> dict[str, np.ndarray]:
    """The arrays of one group, such as "odd/"."""
    images, tap = Tensor(case.images(f"{group}image"), requires_grad=True), dict[str, Any]()
    logits = objective.segment(images, tap=tap)
    if f"{group}labels" in case.arrays:
        batch = {"mask": case.input(f"{group}labels")}
        drawn = objective.draw(batch, 0, np.random.default_rng(0))
        loss = objective.loss((logits,), batch | drawn)
    else:
        loss = (logits * Tensor(case.images(f"{group}cotangent"))).sum()
    gradients, found = case.differentiated(loss, images, objective)
    found |= {
        "logits": case.laid_out(logits.data),
        "grid_logits": case.laid_out(tap["grid"].data),
        "encoded": tap["encoded"].data,
        "loss": loss.data,
    }
    found |= {f"grad/{name}": x for name, x in views(gradients, objective.encoder.config).items()}
    for name, x in tap.items():
        part = re.fullmatch(r"(decoder/)?block(\d+)/attention_weights", name)
        if part:
            weights = getattr(x, "data", x)
            found[f"attention_{'decoder' if part[1] else 'encoder'}_block{part[2]}"] = weights
            found |= {} if part[1] else {f"attention_block{part[2]}": weights}
    return found

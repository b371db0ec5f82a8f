"""ViTDet as published code has it: names and shapes of its arrays, and what was recorded of it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.published import Arrays, beside, pair, renamed
from minivit.lineage.published_layers import Names, load, views
from minivit.lineage.recorded import modules
from minivit.lineage.verify import Case
from minivit.lineage.vitdet import VARIANTS, ViTDet, ViTDetConfig
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.tensor import Tensor

_OURS: tuple[tuple[str, Any], ...] = (  # -> transformers, whose backbone is called net here
    (r"^positions$", "embeddings.position_embeddings"),
    (r"^patch_embed\.", "embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attention\.out\.", ".attention.proj."),
    (r"\.attention\.rows$", ".attention.rel_pos_h"),
    (r"\.attention\.columns$", ".attention.rel_pos_w"),
    (r"\.mlp\.hidden\.", ".mlp.fc1."),
    (r"\.mlp\.out\.", ".mlp.fc2."),
)
_THEIRS: tuple[tuple[str, Any], ...] = (  # of files, of detectron2 and of transformers -> as above
    (r"^(model\.)?backbone\.(?=net\.|simfp_)", ""),
    (r"^(model\.)?(vitdet|backbone)\.(?=embeddings\.|encoder\.)", ""),
    (r"^(?=simfp_)", "fpn."),
    (r"^(?=embeddings\.|encoder\.|pos_embed$|patch_embed\.|blocks\.)", "net."),
    (r"^net\.pos_embed$", "net.embeddings.position_embeddings"),
    (r"^net\.patch_embed\.proj\.", "net.embeddings.projection."),
    (r"^net\.blocks\.", "net.encoder.layer."),
    (r"\.attn\.", ".attention."),
)
_PLACES = {  # level -> numbers of its layers: transposed convolutions, the norm between, 1x1 and 3x3 convolutions
    2: {"enlarge.0": "0", "norm": "1", "enlarge.1": "3", "narrow": "4", "mix": "5"},
    3: {"enlarge.0": "0", "narrow": "1", "mix": "2"},
    4: {"narrow": "0", "mix": "1"},
    5: {"narrow": "1", "mix": "2"},
}


def names(config: ViTDetConfig) -> Names:
    """Our names of arrays -> those of the recording."""

    def theirs(name: str) -> str:
        if match := re.match(r"levels\.(\d+)\.(enlarge\.\d|norm|narrow|mix)\.(.*)", name):
            level = config.levels[int(match[1])]
            return f"fpn.simfp_{level}.{_PLACES[level][match[2]]}.{match[3].removeprefix('conv.')}"
        if match := re.match(r"branches\.(\d+)\.layers\.(\d)\.(conv|norm)\.(.*)", name):
            block = sorted(config.residual_blocks)[int(match[1])]
            return f"net.encoder.layer.{block}.residual.{match[3]}{int(match[2]) + 1}.{match[4]}"
        return name if name.startswith("head.") else f"net.{renamed(name, _OURS)}"

    return theirs


def build(
    config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file", **changes: Any
) -> ViTDet:
    """The backbone of a configuration of transformers', with these weights, whose shapes tell all other sizes.
    changes: fields of ViTDetConfig."""
    arrays = {renamed(name, _THEIRS): x for name, x in arrays.items()}
    shapes = Shapes(arrays, source, "ViTDet's")
    width, channels, patch, _ = shapes("net.embeddings.projection.weight", 4)
    depth, first = shapes.depth(r"net\.encoder\.layer\.(\d+)\."), "net.encoder.layer.0."
    levels = tuple(sorted({int(m[1]) for name in arrays if (m := re.match(r"fpn\.simfp_(\d)\.", name))}))
    known = next((fields for fields in VARIANTS.values() if (fields["width"], fields["depth"]) == (width, depth)), {})
    if "window_block_indices" in config:
        local = set(config["window_block_indices"])
    else:
        local = set(range(depth)) - set(known.get("global_blocks", ()))
    heads = config.get("num_attention_heads", known.get("heads"))
    if heads is None:
        raise CheckpointError(f"{source} does not say how many heads there are; pass num_attention_heads")
    table = "net.embeddings.position_embeddings"
    rows = shapes(table, 3)[1] if table in arrays else 0
    class_row = math.isqrt(rows) ** 2 != rows or rows == 1
    branch = re.compile(r"net\.encoder\.layer\.(\d+)\.residual\.")
    fields = {
        "image_size": pair(config.get("image_size", 1024)),
        "patch_size": patch,
        "pretrain_size": math.isqrt(rows - class_row) * patch if rows else config.get("pretrain_image_size", 224),
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_width": shapes(f"{first}mlp.fc1.weight", 2)[0],
        "window": config.get("window_size", 14 if known else 0),
        "global_blocks": tuple(sorted(set(range(depth)) - local)),
        "residual_blocks": tuple(sorted({int(m[1]) for name in arrays if (m := branch.match(name))})),
        "absolute": bool(rows),
        "class_row": class_row if rows else True,
        "relative": f"{first}attention.rel_pos_h" in arrays,
        "qkv_bias": f"{first}attention.qkv.bias" in arrays,
        "drop_path": config.get("drop_path_rate", 0.0),
        "norm_eps": config.get("layer_norm_eps", 1e-6),
        "pyramid": shapes(f"fpn.simfp_{levels[0]}.{_PLACES[levels[0]]['mix']}.weight", 4)[0] if levels else 0,
        "levels": levels or ViTDetConfig.levels,
        "num_classes": 0,
        "channels": channels,
    }
    shape = ViTDetConfig(**{**fields, **changes})
    network = ViTDet(shape, None, dtype)
    load(network, arrays, source, names(shape))
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> ViTDet:
    """The backbone, and the pyramid if the file has one, of published weights by the names of detectron2 or of
    transformers. Arrays of a detector's other parts are left out.

    A config.json beside the file is read. fields: others of it, such as image_size. Raises CheckpointError and
    ConfigError.
    """
    path = expanded(path)
    found = {renamed(name, _THEIRS): x for name, x in read_arrays(path)[0].items()}
    own = {name: x for name, x in found.items() if name.startswith(("net.", "fpn."))}
    return build({**beside(path, "vitdet"), **fields}, own, dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that ViTDet defines, by its name there."""
    network = build(case.config, case.weights, source=case.name, drop_path=0.0).eval()
    found: dict[str, np.ndarray] = {}
    for name in [name for name in case.arrays if re.fullmatch("(.*/)?image", name) and "grad_input/" not in name]:
        group = name.removesuffix("image")
        found |= {f"{group}{key}": x for key, x in of_image(case, network, group).items()}
    return found


def of_image(case: Case, network: ViTDet, group: str) -> dict[str, np.ndarray]:
    """The arrays of one group, such as "rect/". The loss is the sum of all outputs times their cotangents."""
    images, tap = Tensor(case.images(f"{group}image"), requires_grad=True), dict[str, Any]()
    with modules.noted(network) as inner:
        if network.levels:
            outputs = network.pyramid(images, tap)
        else:
            outputs = {"output": network.encode(images, tap)}
    outputs |= tap
    terms = [
        (outputs[name] * Tensor(case.images(f"{group}cotangent_{name}"))).sum()
        for name in outputs
        if f"{group}cotangent_{name}" in case.arrays
    ]
    found = {name: case.laid_out(x.data) for name, x in outputs.items()}
    theirs = names(network.config)
    inner |= {theirs(f"{key}.").removesuffix("."): x for key, x in inner.items() if not key.endswith("conv")}
    for i, level in enumerate(network.config.levels if network.levels else ()):
        inner[f"fpn.simfp_{level}"] = inner[f"levels.{i}"]
    inner["patch_embed.proj"] = inner["patch_embed"]
    named = modules.taps(case, group, inner, {r"net\.": ""})
    found = {name.removeprefix(group): x for name, x in named.items()} | found
    if not terms:
        return found
    loss = sum(terms[1:], terms[0])
    gradients, new = case.differentiated(loss, images, network)
    found |= new | {"loss": loss.data}
    return found | {f"grad/{name}": x for name, x in views(network, gradients, names(network.config)).items()}

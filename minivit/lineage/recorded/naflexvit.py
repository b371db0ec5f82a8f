"""NaFlexViT as timm has it: names and shapes of its arrays, and what was recorded of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.backend.resizing import resize_matrix
from minivit.errors import CheckpointError, shown
from minivit.files import expanded
from minivit.lineage.naflexvit import NaFlexViT, NaFlexViTConfig, filled
from minivit.lineage.published import Arrays, beside, fill, pair, renamed
from minivit.lineage.recorded import pooling
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import HEADS, Shapes
from minivit.tensor import Tensor, grad

_OURS = (  # paths in our model -> timm's
    (r"^patch_embed", "embeds.proj"),
    (r"^class_token$", "embeds.cls_token"),
    (r"^register_tokens$", "embeds.reg_token"),
    (r"^position_embedding$", "embeds.pos_embed"),
    (r"^row_embedding$", "embeds.pos_embed_y"),
    (r"^column_embedding$", "embeds.pos_embed_x"),
    (r"^pre_norm", "norm_pre"),
    (r"\.attention\.out", ".attn.proj"),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.hidden", ".mlp.fc1"),
    (r"\.mlp\.out", ".mlp.fc2"),
    (r"\.scale([12])\.\w+$", r".ls\1.gamma"),
    (r"\.scale$", ".weight"),
)
_STATED = {  # timm's arguments -> our fields
    "patch_size": "patch_size", "num_heads": "heads", "pos_embed_ar_preserving": "aspect",
    "pool_include_prefix": "pool_prefix", "use_key_only_attn_mask": "key_mask", "img_size": "image_size",
    "attn_pool_num_heads": "pool_heads",
}  # fmt: skip
_POOLS = {"avg": "gap", "token": "token", "map": "map", "max": "max", "avgmax": "gapmax"}


def views(state: Arrays) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under timm's names and in its shapes; keys and values of the pool are
    apart."""
    found = pooling.timm_views({name: x for name, x in state.items() if name.startswith(("pool.", "head."))})
    for name, x in state.items():
        if not name.startswith(("pool.", "head.")):
            found[renamed(name, _OURS)] = x.T if name.endswith(".weight") else x
    return found


def canonical(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays of a file under the names of `views`: a convolution as a matrix, old ViT's tables as maps."""
    found = {name.removeprefix("model."): x for name, x in arrays.items()}
    found = {re.sub(r"^(cls_token|reg_token|pos_embed\w*)$", r"embeds.\1", name): x for name, x in found.items()}
    found = pooling.split_kv({re.sub(r"^patch_embed\.", "embeds.", name): x for name, x in found.items()})
    kernel, table = found.get("embeds.proj.weight"), found.get("embeds.pos_embed")
    if kernel is not None and kernel.ndim == 4:
        found["embeds.proj.weight"] = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
    if table is not None and table.ndim == 3 and round(table.shape[1] ** 0.5) ** 2 == table.shape[1]:
        side = round(table.shape[1] ** 0.5)
        found["embeds.pos_embed"] = table.reshape(1, side, side, -1)
    return found


def told_by(arrays: Arrays, source: str, channels: int = 3) -> dict[str, Any]:
    """The fields of NaFlexViTConfig that canonical arrays tell, and the usual for the rest."""
    shapes = Shapes(arrays, source, "NaFlexViT's")
    width, pixels = shapes("embeds.proj.weight", 2)
    side = round((pixels / channels) ** 0.5)
    fields: dict[str, Any] = {
        "patch_size": side,
        "channels": channels,
        "width": width,
        "depth": shapes.depth(r"blocks\.(\d+)\."),
        "heads": HEADS.get(width, max(1, width // 64)),
        "mlp_width": shapes("blocks.0.mlp.fc1.weight", 2)[0],
        "num_classes": shapes("head.weight", 2)[0] if "head.weight" in shapes else 0,
        "positions": "none",
        "class_token": "embeds.cls_token" in shapes,
        "register_tokens": shapes("embeds.reg_token", 3)[1] if "embeds.reg_token" in shapes else 0,
        "norm": "norm.weight" in shapes,
        "fc_norm": "fc_norm.weight" in shapes,
        "pre_norm": "norm_pre.weight" in shapes,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "qk_norm": "blocks.0.attn.q_norm.weight" in shapes,
        "layer_scale": 1e-5 if "blocks.0.ls1.gamma" in shapes else None,
    }
    fields["classifier"] = "map" if "attn_pool.latent" in shapes else "gap"
    pool_mlp = shapes("attn_pool.mlp.fc1.weight", 2)[0] if "attn_pool.latent" in shapes else 0
    fields["pool_mlp_width"] = 0 if pool_mlp == fields["mlp_width"] else pool_mlp
    if fields["class_token"] and not fields["fc_norm"] and fields["classifier"] == "gap":
        fields["classifier"] = "token"
    if "embeds.pos_embed" in shapes:
        fields |= {"positions": "learned", "base_grid": shapes("embeds.pos_embed", 4)[1:3]}
    elif "embeds.pos_embed_y" in shapes:
        grid = shapes("embeds.pos_embed_y", 3)[1], shapes("embeds.pos_embed_x", 3)[1]
        fields |= {"positions": "factorised", "base_grid": grid}
    return fields


def stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of NaFlexViTConfig in timm's configuration that shapes do not tell. Raises CheckpointError for parts
    that are not here."""
    arguments = {"rope_type": "none", **config, **config.get("model_args", {})}
    if "_radio_" in str(config.get("architecture", "")):
        arguments["pos_embed_align_corners"] = True
    for name, known in (("rope_type", (None, "", "none")), ("pos_embed_align_corners", (None, False))):
        if arguments.get(name) not in known:
            raise CheckpointError(f"this NaFlexViT has {name} {shown(str(arguments[name]))}, which is not here")
    found = {ours: pair(arguments[theirs]) for theirs, ours in _STATED.items() if arguments.get(theirs) is not None}
    if arguments.get("global_pool") in _POOLS:
        found["classifier"] = _POOLS[arguments["global_pool"]]
    mode, sampled = arguments.get("pos_embed_interp_mode", "bicubic"), arguments.get("pos_embed_use_grid_sample")
    found["resize"] = mode if sampled else f"{mode}_antialias"
    if arguments.get("act_layer") in ("gelu_tanh", "gelu_pytorch_tanh"):
        found["gelu"] = "tanh"
    return found


def build(
    config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file", **fields: Any
) -> NaFlexViT:
    """The model of the arrays of a file.   config: as timm has it; fields: of NaFlexViTConfig, which prevail. Raises
    CheckpointError and ConfigError."""
    weights = canonical(arrays)
    told = {**told_by(weights, source, config.get("in_chans", 3)), **stated(config), **fields}
    down, across = told["patch_size"] if isinstance(told["patch_size"], tuple) else (told["patch_size"],) * 2
    rows, columns = told.get("base_grid", (16, 16))
    model = NaFlexViT(NaFlexViTConfig(**{"image_size": (down * rows, across * columns), **told}), None, dtype)
    fill(views({name: tensor.data for name, tensor in model.named_tensors()}), weights, source)
    return model


def load(path: str | Path, dtype: str = "float32", **fields: Any) -> NaFlexViT:
    """The model of a file of timm's weights (.safetensors), whose config.json is read where it lies beside it.

    fields: of NaFlexViTConfig, such as `aspect` and `heads`, which arrays do not tell. Raises CheckpointError and
    ConfigError.
    """
    path = expanded(path)
    config = beside(path, "naflexvit")
    name = str(config.get("architecture", ""))
    if "_par" in name:
        fields = {"aspect": True, **fields}
    if "siglip" in name:
        fields = {"gelu": "tanh", "resize": "bilinear_antialias", **fields}
    return build(config, read_arrays(path)[0], dtype, str(path), **fields)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that NaFlexViT defines, by its name there."""
    model = build(case.config, case.weights, source=case.name).eval()
    config = model.config
    found: dict[str, np.ndarray] = {}
    numbers = sorted(int(name.removeprefix("image")) for name in case.arrays if re.fullmatch(r"image\d+", name))
    images = [np.moveaxis(case.input(f"image{b}"), 0, -1) for b in numbers]
    if images:
        parts = filled(images, config.patch_size, case.arrays["patches"].shape[1])
    else:
        parts = tuple(case.input(name) for name in ("patches", "patch_coord", "patch_valid"))  # type: ignore[assignment]
    found |= dict(zip(("patches", "patch_coord", "patch_valid"), parts, strict=True))
    patches = Tensor(parts[0], requires_grad=True)
    tap: dict[str, Any] = {}
    output = model.padded(patches, parts[1], parts[2], tap)
    loss = case.loss(output)
    names, learning = zip(*model.named_parameters(), strict=True)
    in_patches, *gradients = grad(loss, [patches, *learning])
    named = pooling.with_kv(views(dict(zip(names, gradients, strict=True))))
    found |= {f"grad/{name}": g for name, g in named.items()}
    found |= {"grad_input/patches": in_patches, "grad_norm": np.sqrt(sum((g**2).sum() for g in gradients))}
    found |= {"output": output.data, "logits": output.data, "loss": loss.data}
    found |= {"tap/embeds": tap["embedded"].data, "tap/norm": tap["encoded"].data, "tap/fc_norm": tap["features"].data}
    found |= {f"tap/blocks.{i}": tap[f"block{i}/output"].data for i in range(config.depth)}
    found |= {f"alone/output{b}": model(image[None]).data for b, image in zip(numbers, images, strict=True)}
    return found | matrices(case, config)


def matrices(case: Case, config: NaFlexViTConfig) -> dict[str, np.ndarray]:
    """Recorded matrices that resize position tables: of a grid, "3x5", or of one axis, (new, old)."""
    method, places = "bilinear" if config.positions == "factorised" else config.resize, np.prod(config.base_grid)
    found = {}
    for name, x in case.arrays.items():
        kind, _, size = name.partition("/")
        grid = [int(side) for side in re.findall(r"\d+", size)]
        if "matrix" not in kind or x.ndim != 2:
            continue
        if len(grid) == 2 and x.shape == (grid[0] * grid[1], places):
            axes = zip(config.base_grid, grid, strict=True)
            found[name] = np.kron(*(resize_matrix(old, new, method) for old, new in axes))
        elif x.shape[1] in config.base_grid:
            found[name] = resize_matrix(x.shape[1], len(x), method)
    return found
